//! The first process of the box: raises the last walls, measures all of them, runs the steps.
//!
//! It is libcontainer's child and runs this program's code under the build's user, without capabilities. The steps cannot
//! signal it (it is first in its pid namespace and asks for no signal) nor read or write its memory or descriptors (it is
//! not dumpable). It never runs a step before every wall was seen from inside.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, Pid};

use super::axes::{self, Inside};
use super::helper::{Host, namespaces};
use super::message::{Failure, Report, Request, Task};
use super::{Exit, StepReport, Told, Wall, seccomp, specification, system};
use crate::plan::Step;

/// The descriptor that reports go to; all above it are closed.
const REPORTS: i32 = 3;
/// The descriptor that the terminal is sent over.
const TERMINAL: i32 = 4;

/// What libcontainer runs in place of a program.
#[derive(Clone)]
pub(super) struct Init(Rc<State>);

struct State {
    request: Request,
    host: Host,
    reports: OwnedFd,
    terminal: Option<OwnedFd>,
}

/// Why the init cannot do its work.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{wall} is not there: {seen}")]
    Missing { wall: Wall, seen: String },
    #[error("{wall} cannot be raised or seen")]
    Wall { wall: Wall, source: Box<dyn std::error::Error> },
    #[error("the box's first process cannot {action}")]
    Io { action: &'static str, source: io::Error },
}

impl Init {
    pub(super) fn new(request: Request, host: Host, reports: OwnedFd, terminal: Option<OwnedFd>) -> Self {
        Self(Rc::new(State { request, host, reports, terminal }))
    }
}

impl Executor for Init {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let reports = self.0.keep_descriptors();
        let status = match reports {
            Ok(reports) => match self.0.serve(&reports) {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(error) => {
                    // If nobody listens any more, nobody needs to know.
                    Report::Failed(error.into()).send(&reports).ok();
                    1
                }
            },
            Err(_) => 1,
        };
        system::exit_now(status)
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The environment is made for each step; this process needs none.
    #[expect(clippy::disallowed_types, reason = "libcontainer's type")]
    fn setup_envs(&self, _: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

impl State {
    /// Closes every descriptor but those that this process needs. The objects that owned them are never dropped: this
    /// process ends without returning.
    fn keep_descriptors(&self) -> io::Result<File> {
        let mut first_closed = TERMINAL;
        system::place(&self.reports, self.terminal.as_ref(), REPORTS, TERMINAL)?;
        if self.terminal.is_some() {
            first_closed += 1;
        }
        system::close_from(first_closed)?;
        Ok(system::adopt(REPORTS))
    }

    /// `false` if a step failed; that is reported.
    fn serve(&self, reports: &File) -> Result<bool, InitError> {
        let walled = |wall: Wall| move |error: Errno| InitError::Wall { wall, source: Box::new(error) };
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(walled(Wall::PidNamespace))?;
        prctl::set_dumpable(false).map_err(walled(Wall::FileDescriptors))?;
        prctl::set_name(c"init").map_err(walled(Wall::Proc))?;
        let variation = &self.request.variation;
        axes::apply(variation).map_err(io("make the conditions"))?;
        let terminal = match self.request.task {
            Task::Build | Task::Probe => None,
            Task::Shell { size, .. } => Some(open_terminal(size).map_err(io("open a terminal"))?),
        };
        seccomp::install()
            .map_err(|error| InitError::Wall { wall: Wall::SystemCallFilter, source: Box::new(error) })?;
        let report = |what: Report| what.send(reports).map_err(io("report"));
        report(Report::Walls(self.walls()?))?;

        let environment = self.environment();
        let inside = Inside { variation, plan: &self.request.environment, environment: &environment, host: &self.host };
        for axis in &variation.axes {
            if let Some(outcome) = inside.measure(*axis) {
                report(Report::Axis(*axis, outcome))?;
            }
        }
        report(Report::Prepared)?;
        if let Some(terminal) = terminal {
            let exit = self.shell(&terminal, environment).map_err(io("start a shell"))?;
            report(Report::Left(exit))?;
            return Ok(true);
        }
        for (index, step) in self.request.steps.iter().enumerate() {
            report(Report::Started(index))?;
            let result = self.step(step, &environment).map_err(io("run a step"))?;
            let exit = result.exit;
            report(Report::Finished(index, result))?;
            if exit != Exit::Status(0) {
                let full = statvfs("/tmp").is_ok_and(|status| status.blocks_available() < 16);
                report(Report::Failed(Failure::Step { index, exit, full }))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let Request { variation, environment, epoch, .. } = &self.request;
        let mut all = specification::environment(variation, environment, *epoch);
        for (name, value) in axes::clock(variation) {
            match all.get_mut(&name) {
                // The plan preloads something of its own.
                Some(theirs) if name == "LD_PRELOAD" => *theirs = format!("{value}:{theirs}"),
                _ => {
                    all.insert(name, value);
                }
            }
        }
        all
    }

    /// Runs a step, and then ends whatever it left running.
    fn step(&self, step: &Step, environment: &BTreeMap<String, String>) -> io::Result<StepReport> {
        // Joining `.` leaves a trace of it; comparing components does not.
        let directory: PathBuf =
            Path::new(&self.request.variation.build_root).join(step.directory.as_str()).components().collect();
        let started = Instant::now();
        let run = start(&step.argv, environment, &directory, None)?;
        let mut exit = None;
        let mut cpu = Duration::ZERO;
        let mut peak_memory = 0;
        while exit.is_none() {
            let reaped = system::wait_any()?;
            if reaped.pid == run.pid {
                exit = Some(Exit::from_wait(reaped.status));
                cpu = duration(reaped.usage.ru_utime) + duration(reaped.usage.ru_stime);
                peak_memory = u64::try_from(reaped.usage.ru_maxrss).unwrap_or_default() * 1024;
            }
        }
        let elapsed = started.elapsed();
        system::end_all()?;
        let exit = run.failure()?.or(exit).unwrap_or(Exit::NotRun(0));
        Ok(StepReport { name: step.name.clone(), exit, elapsed, cpu, peak_memory })
    }

    /// Runs a shell on the box's terminal, of which pgproof gets the other side.
    fn shell(&self, terminal: &OwnedFd, mut environment: BTreeMap<String, String>) -> io::Result<Exit> {
        if let Task::Shell { terminal, .. } = &self.request.task {
            environment.insert("TERM".to_owned(), terminal.clone());
        }
        environment.remove("COLUMNS");
        environment.remove("LINES");
        environment.entry("PATH".to_owned()).or_insert_with(|| "/usr/bin:/bin".to_owned());
        let shell = ["/bin/bash", "/usr/bin/bash"].into_iter().find(|path| Path::new(path).exists());
        let argv = [shell.unwrap_or("/bin/sh").to_owned()];
        let run = start(&argv, &environment, Path::new(&self.request.variation.build_root), Some(terminal))?;
        let exit = loop {
            let reaped = system::wait_any()?;
            if reaped.pid == run.pid {
                break Exit::from_wait(reaped.status);
            }
        };
        system::end_all()?;
        Ok(run.failure()?.unwrap_or(exit))
    }

    /// Looks at every wall from inside.
    fn walls(&self) -> Result<Vec<Wall>, InitError> {
        let own = Own::read().map_err(io("read /proc/self"))?;
        for wall in Wall::ALL {
            match self.look(wall, &own) {
                Ok(None) => {}
                Ok(Some(seen)) => return Err(InitError::Missing { wall, seen }),
                Err(source) => return Err(InitError::Wall { wall, source: Box::new(source) }),
            }
        }
        Ok(Wall::ALL.to_vec())
    }

    /// What is to be seen where a wall should be; `None` if it is there.
    fn look(&self, wall: Wall, own: &Own) -> io::Result<Option<String>> {
        match wall {
            Wall::UserNamespace => Ok(self.namespace(own, "user")),
            Wall::MountNamespace => Ok(self.namespace(own, "mnt")),
            Wall::PidNamespace => Ok(if std::process::id() == 1 {
                self.namespace(own, "pid")
            } else {
                Some(format!("the first process has the number {}", std::process::id()))
            }),
            Wall::NetworkNamespace => Ok(self.namespace(own, "net").or(interfaces()?)),
            Wall::IpcNamespace => Ok(self.namespace(own, "ipc")),
            Wall::UtsNamespace => Ok(self.namespace(own, "uts")),
            Wall::CgroupNamespace => Ok(self.namespace(own, "cgroup")),
            Wall::TimeNamespace => Ok(self.namespace(own, "time")),
            Wall::IdMap => self.ids(),
            Wall::Root => self.mounts(),
            Wall::ReadOnlyRoot => writable_root(),
            Wall::Proc => proc(),
            Wall::Devices => devices(),
            Wall::Capabilities => Ok(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
                .into_iter()
                .map(|set| Ok((set, own.status(set)?)))
                .collect::<io::Result<Vec<_>>>()?
                .into_iter()
                .find(|(_, value)| value.bytes().any(|digit| digit != b'0'))
                .map(|(set, value)| format!("{set} is {value}"))),
            Wall::NoNewPrivileges => own.expect("NoNewPrivs", "1"),
            Wall::SystemCallFilter => Ok(own.expect("Seccomp", "2")?.or(filter_bites())),
            Wall::FileDescriptors => self.descriptors(),
            Wall::ProcessLimits => Ok(self.limits()),
            Wall::Session => Ok(match std::fs::File::open("/dev/tty") {
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => None,
                Err(error) => Some(format!("/dev/tty: {error}")),
                Ok(_) => Some("there is a controlling terminal".to_owned()),
            }),
        }
    }

    fn namespace(&self, own: &Own, name: &str) -> Option<String> {
        match (own.namespaces.get(name), self.host.namespaces.get(name)) {
            (Some(own), Some(hosts)) if own != hosts => None,
            (None, _) | (_, None) => Some("the kernel has none of this kind".to_owned()),
            (Some(_), Some(_)) => Some("it is the host's".to_owned()),
        }
    }

    fn ids(&self) -> io::Result<Option<String>> {
        let Request { variation, ids, .. } = &self.request;
        for (file, inside, outside) in [("uid_map", variation.uid, ids.user), ("gid_map", variation.gid, ids.group)] {
            let map = std::fs::read_to_string(format!("/proc/self/{file}"))?;
            let words: Vec<&str> = map.split_whitespace().collect();
            // The kernel tells the outer ids as this namespace's own parent sees them.
            if words != [inside.to_string().as_str(), outside.to_string().as_str(), "1"] || inside == 0 {
                return Ok(Some(format!("{file} is {words:?}")));
            }
        }
        Ok(None)
    }

    /// Nothing but what the box is made of is mounted.
    fn mounts(&self) -> io::Result<Option<String>> {
        let build_root = self.request.variation.build_root.as_str();
        let text = std::fs::read_to_string("/proc/self/mountinfo")?;
        for line in text.lines() {
            let place = line.split(' ').nth(4).unwrap_or_default();
            let own = ["/", "/tmp", "/pgproof/out", build_root].contains(&place)
                || ["/proc", "/dev"].iter().any(|above| Path::new(place).starts_with(above));
            if !own {
                return Ok(Some(format!("{place} is mounted")));
            }
        }
        Ok(None)
    }

    /// This process's own descriptors: the standard three, which its children inherit, and the reports'.
    fn descriptors(&self) -> io::Result<Option<String>> {
        for (fd, wanted) in [(0, SFlag::S_IFCHR), (1, SFlag::S_IFIFO), (2, SFlag::S_IFIFO)] {
            let kind = nix::sys::stat::fstat(system::borrow(fd))?.st_mode;
            if SFlag::from_bits_truncate(kind) & SFlag::S_IFMT != wanted {
                return Ok(Some(format!("descriptor {fd} is of the kind {kind:o}")));
            }
        }
        let mut found = Vec::new();
        let mut listing = nix::dir::Dir::open("/proc/self/fd", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let own = listing.as_raw_fd();
        for entry in listing.iter() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            found.extend(name.parse::<i32>().ok().filter(|fd| *fd != own && *fd > 2));
        }
        found.sort_unstable();
        for fd in &found {
            let flags = nix::fcntl::fcntl(system::borrow(*fd), nix::fcntl::FcntlArg::F_GETFD)?;
            if flags & libc::FD_CLOEXEC == 0 {
                return Ok(Some(format!("descriptor {fd} would be inherited")));
            }
        }
        // The reports', and for a shell its terminal's two sides.
        let most = if self.terminal.is_some() { 3 } else { 1 };
        Ok((found.len() > most).then(|| format!("the descriptors {found:?} are open")))
    }

    fn limits(&self) -> Option<String> {
        specification::limits(self.request.limits).into_iter().find_map(|(kind, soft, hard)| {
            let (seen_soft, seen_hard) = specification::own_limit(kind);
            (seen_soft > soft || seen_hard > hard).then(|| format!("{kind:?} is {seen_soft}, at most {seen_hard}"))
        })
    }
}

/// A process that runs a program, or tells why it cannot.
struct Started {
    pid: Pid,
    failed: OwnedFd,
}

impl Started {
    /// Why the program was never run. Asked after the process's end.
    fn failure(self) -> io::Result<Option<Exit>> {
        let mut errno = [0; 4];
        let mut pipe = File::from(self.failed);
        match pipe.read_exact(&mut errno) {
            Ok(()) => Ok(Some(Exit::NotRun(i32::from_ne_bytes(errno)))),
            // It was: the pipe was closed by running it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Starts a program in a session of its own.
fn start(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    directory: &Path,
    terminal: Option<&OwnedFd>,
) -> io::Result<Started> {
    let mut environment = environment.clone();
    environment.insert("PWD".to_owned(), directory.display().to_string());
    let (program, path) = (argv.first().map_or("", String::as_str), environment.get("PATH").map_or("", String::as_str));
    let programs = candidates(program, path)?;
    let argv: Vec<CString> = argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
    let environment = axes::c_environment(&environment)?;
    let (failed, failing) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    if let Some(pid) = system::fork()? {
        return Ok(Started { pid, failed });
    }
    let run = || -> nix::Result<()> {
        nix::unistd::setsid()?;
        if let Some(terminal) = terminal {
            system::set_controlling_terminal(terminal)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            nix::unistd::dup2_stdin(terminal)?;
            nix::unistd::dup2_stdout(terminal)?;
            nix::unistd::dup2_stderr(terminal)?;
        }
        system::default_signals();
        nix::unistd::chdir(directory)?;
        let program = programs.iter().find(|program| is_executable(program)).ok_or(Errno::ENOENT)?;
        nix::unistd::execve(program, &argv, &environment)?;
        Ok(())
    };
    if let Err(errno) = run() {
        // The parent reads it, or has died.
        File::from(failing).write_all(&(errno as i32).to_ne_bytes()).ok();
    }
    system::exit_now(127)
}

/// Where a program may be: itself if its name has a `/`, or in each directory of `path`.
fn candidates(program: &str, path: &str) -> io::Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    // An empty element means the working directory to a shell; nobody means that here.
    let directories = path.split(':').filter(|directory| !directory.is_empty());
    directories.map(|directory| Ok(CString::new(format!("{directory}/{program}"))?)).collect()
}

fn is_executable(program: &CStr) -> bool {
    let is_file = nix::sys::stat::stat(program)
        .is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG);
    is_file && nix::unistd::access(program, AccessFlags::X_OK).is_ok()
}

/// Makes a terminal of the box's own, sends pgproof one side of it, and gives the other.
fn open_terminal(size: (u16, u16)) -> io::Result<OwnedFd> {
    let window = nix::pty::Winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = nix::pty::openpty(Some(&window), None)?;
    let socket = std::os::unix::net::UnixStream::from(system::adopt_fd(TERMINAL));
    system::send_fd(&socket, pair.master.as_raw_fd())?;
    for fd in [&pair.master, &pair.slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    Ok(pair.slave)
}

/// What the kernel says of this process.
struct Own {
    namespaces: BTreeMap<String, u64>,
    /// `/proc/self/status`
    status: String,
}

impl Own {
    fn read() -> io::Result<Self> {
        Ok(Self { namespaces: namespaces()?, status: std::fs::read_to_string("/proc/self/status")? })
    }

    /// A line of the status.
    fn status(&self, name: &str) -> io::Result<&str> {
        self.status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("/proc/self/status has no {name}")))
    }

    fn expect(&self, name: &str, wanted: &str) -> io::Result<Option<String>> {
        let seen = self.status(name)?;
        Ok((seen != wanted).then(|| format!("{name} is {seen}")))
    }
}

/// What each of the filters has to answer, and the kernel itself never does.
fn filter_bites() -> Option<String> {
    let wanted = [
        ("clone3", system::clone3_of_nothing(), Errno::ENOSYS),
        ("fsetxattr", system::set_attribute_of_nothing(), Errno::ENOTSUP),
        ("prlimit64", system::limit_of_first_process(), Errno::EPERM),
        ("socket", system::netlink(), Errno::EAFNOSUPPORT),
    ];
    wanted
        .into_iter()
        .find(|(_, seen, wanted)| *seen != Err(*wanted))
        .map(|(call, seen, wanted)| format!("{call} gives {seen:?} in place of {wanted:?}"))
}

/// The network interfaces but for `lo`.
fn interfaces() -> io::Result<Option<String>> {
    let text = std::fs::read_to_string("/proc/self/net/dev")?;
    // Two lines of headings.
    let foreign = text.lines().skip(2).filter_map(|line| line.split(':').next()).find(|name| name.trim() != "lo");
    Ok(foreign.map(|name| format!("there is a network interface {}", name.trim())))
}

fn writable_root() -> io::Result<Option<String>> {
    let flags = statvfs("/")?.flags();
    let wanted = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV;
    Ok((!flags.contains(wanted)).then(|| format!("it is mounted with {flags:?}")))
}

/// `/proc` shows this process as the first, its settings cannot be written and its dangerous parts not read.
fn proc() -> io::Result<Option<String>> {
    let first = std::fs::read_link("/proc/self")?;
    let settings = statvfs("/proc/sys")?.flags();
    Ok(if first != Path::new("1") {
        Some(format!("/proc/self is {}", first.display()))
    } else if settings.contains(FsFlags::ST_RDONLY) {
        unmasked()?
    } else {
        Some("/proc/sys can be written".to_owned())
    })
}

/// A part of `/proc` that lacks its mask: an empty file system above a directory, the null device above a file.
fn unmasked() -> io::Result<Option<String>> {
    for path in specification::masked() {
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            // This kernel has no such part.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let masked = if found.is_dir() {
            statfs(path.as_str())?.filesystem_type() == TMPFS_MAGIC
        } else {
            found.file_type().is_char_device() && found.rdev() == makedev(1, 3)
        };
        if !masked {
            return Ok(Some(format!("{path} is not masked")));
        }
    }
    Ok(None)
}

/// Every device below `/dev` is one of the six, or a terminal of the box's own.
fn devices() -> io::Result<Option<String>> {
    let mut listing = nix::dir::Dir::open("/dev", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in listing.iter() {
        let path = Path::new("/dev").join(entry?.file_name().to_string_lossy().as_ref());
        let kind = std::fs::symlink_metadata(&path)?.file_type();
        let is_device = kind.is_char_device() || kind.is_block_device();
        if is_device && !specification::DEVICES.contains(&path.to_string_lossy().as_ref()) {
            return Ok(Some(format!("there is {}", path.display())));
        }
    }
    Ok(None)
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
}

fn io(action: &'static str) -> impl Fn(io::Error) -> InitError {
    move |source| InitError::Io { action, source }
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        let told = Told::of(&error);
        match error {
            InitError::Missing { wall, .. } | InitError::Wall { wall, .. } => Self::Wall(wall, told),
            InitError::Io { .. } => Self::Other(told),
        }
    }
}
