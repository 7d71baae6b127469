//! A person's terminal and the box's, one connected with the other.
//!
//! The box never gets a descriptor of the person's terminal: it has a pseudo-terminal of its own, of which pgproof holds the
//! other side and copies bytes. So nothing in there can type into the person's shell.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, Termios};

use super::message::{Report, Task};
use super::supervisor::{Cancel, Running, explain};
use super::{Exit, Job, SandboxError, Told, system};
use crate::store::Store;

/// How often the window's size is looked at.
const WINDOW_INTERVAL: Duration = Duration::from_millis(200);

/// What a terminal reads as the end of input.
const END_OF_TRANSMISSION: u8 = 4;

/// The window of a terminal that is none.
const USUAL_WINDOW: (u16, u16) = (24, 80);

/// A terminal that hands every key on at once, until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    /// `None` if standard input is no terminal.
    fn new() -> io::Result<Option<Self>> {
        let Ok(before) = termios::tcgetattr(io::stdin()) else { return Ok(None) };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal is gone, it needs no settings.
        termios::tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before).ok();
    }
}

/// What is known of a shell in a box.
#[derive(Default)]
struct Heard {
    reports: Vec<u8>,
    printed: Vec<u8>,
    exit: Option<Exit>,
    failed: Option<super::message::Failure>,
}

pub(super) fn shell(job: &Job<'_>, store: &Store, terminal: &str, cancel: &Cancel) -> Result<Exit, SandboxError> {
    let io = |source| SandboxError::Io { action: "connect the terminal", source };
    let (socket, theirs) = UnixStream::pair().map_err(io)?;
    let size = system::window_size(io::stdin().as_fd()).unwrap_or(USUAL_WINDOW);
    let task = Task::Shell { size, terminal: terminal.to_owned() };
    let mut running = Running::start(job, store, task, Some(OwnedFd::from(theirs)))?;
    let mut heard = Heard::default();
    let talked = talk(&mut running, &socket, &mut heard, size, cancel);
    running.end()?;
    if !talked.map_err(io)? {
        return Err(SandboxError::Cancelled);
    }
    match (heard.exit, heard.failed) {
        (_, Some(failure)) => Err(explain(failure, job, store.admit(&heard.printed)?, Vec::new())),
        (Some(exit), None) => Ok(exit),
        (None, None) => {
            let text = String::from_utf8_lossy(&heard.printed).into_owned();
            Err(SandboxError::Helper { source: Told::new(format!("it ended without a word: {}", text.escape_debug())) })
        }
    }
}

/// Copies bytes until the box has ended; `false` if somebody asked for it to end.
fn talk(
    running: &mut Running,
    socket: &UnixStream,
    heard: &mut Heard,
    mut size: (u16, u16),
    cancel: &Cancel,
) -> io::Result<bool> {
    let mut master: Option<File> = None;
    let mut raw = None;
    let mut input_open = true;
    let mut buffer = [0; 4096];
    let mut open = [true; 2];
    while open.contains(&true) {
        let stdin = io::stdin();
        let source = master.as_ref().map_or(socket.as_fd(), AsFd::as_fd);
        let readable = ready(&[
            Some(cancel.as_fd()),
            open[0].then(|| running.reports.as_fd()),
            open[1].then(|| running.log.as_fd()),
            Some(source).filter(|_| open[0]),
            (input_open && master.is_some()).then(|| stdin.as_fd()),
        ])?;
        if readable[0] {
            return Ok(false);
        }
        if readable[1] {
            let count = running.reports.read(&mut buffer)?;
            open[0] = count > 0;
            heard.take_report(&buffer[..count])?;
        }
        if readable[2] {
            let count = running.log.read(&mut buffer)?;
            open[1] = count > 0;
            heard.printed.truncate(4096);
            heard.printed.extend_from_slice(&buffer[..count]);
        }
        match &mut master {
            None if readable[3] => {
                // The other end may have been closed by a box that gave up.
                if let Ok(fd) = system::receive_fd(socket) {
                    master = Some(File::from(fd));
                    raw = Raw::new()?;
                } else {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            None => {}
            Some(master) => {
                if readable[3] {
                    match master.read(&mut buffer) {
                        Ok(count) => {
                            let mut output = io::stdout();
                            output.write_all(&buffer[..count])?;
                            output.flush()?;
                        }
                        // Nobody holds the other side any more.
                        Err(error) if error.raw_os_error() == Some(libc::EIO) => open[0] = !drained(running, heard)?,
                        Err(error) => return Err(error),
                    }
                }
                if readable[4] {
                    let count = io::stdin().read(&mut buffer)?;
                    input_open = count > 0;
                    let typed = if input_open { &buffer[..count] } else { &[END_OF_TRANSMISSION][..] };
                    master.write_all(typed)?;
                }
                let now = system::window_size(io::stdin().as_fd()).unwrap_or(size);
                if now != size {
                    size = now;
                    system::set_window_size(master.as_fd(), size)?;
                }
            }
        }
    }
    drop(raw);
    Ok(true)
}

/// Reads the reports to their end, which is that of the box.
fn drained(running: &mut Running, heard: &mut Heard) -> io::Result<bool> {
    let mut rest = Vec::new();
    running.reports.read_to_end(&mut rest)?;
    heard.take_report(&rest)?;
    Ok(true)
}

impl Heard {
    fn take_report(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reports.extend_from_slice(bytes);
        while let Some(end) = self.reports.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.reports.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                Report::Left(exit) => self.exit = Some(exit),
                Report::Failed(failure) => self.failed = Some(failure),
                Report::Prepared
                | Report::Walls(_)
                | Report::Axis(..)
                | Report::Started(_)
                | Report::Finished(..)
                | Report::Packing
                | Report::Done => {}
            }
        }
        Ok(())
    }
}

/// Waits until one of the descriptors can be read, or a while.
fn ready<const N: usize>(wanted: &[Option<BorrowedFd<'_>>; N]) -> io::Result<[bool; N]> {
    let mut fds: Vec<PollFd<'_>> = wanted.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let interval = PollTimeout::try_from(WINDOW_INTERVAL).unwrap_or(PollTimeout::NONE);
    match poll(&mut fds, interval) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut polled = fds.iter();
    Ok(wanted.each_ref().map(|fd| fd.is_some() && polled.next().is_some_and(|fd| fd.any() == Some(true))))
}
