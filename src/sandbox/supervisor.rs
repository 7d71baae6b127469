//! pgproof's side of the box: starts the helper, listens, stores what comes out, and ends it when it has to.
//!
//! It returns only when nothing of the box is left: no process, mount, cgroup or directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;

use super::cgroup::Cgroups;
use super::keeper::WORK;
use super::message::{Failure, Pin, Report, Request, Supply, Task};
use super::place::{self, Place, SPARE_DISK};
use super::scratch::Scratch;
use super::tail::Tail;
use super::{
    Event, Exit, HELPER_ARGUMENT, Installed, Job, Limits, Medium, Outcome, Resource, SandboxError, StepReport, Told,
    Wall, remedy, system,
};
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::store::{Blob, Incoming, Store};
use crate::tree::{self, TreeError};
use crate::variation::{Axis, Variation};

/// The disk is looked at this often while a build writes to it; the build ends when less than [`SPARE_DISK`] is free.
const DISK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest line that the box may report.
const REPORT_LIMIT: usize = 1 << 20;

/// Asks a running build to end. Clones ask the same build.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<EventFd>);

impl Cancel {
    /// Not asked yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)))
    }

    /// Asks, from any thread.
    pub fn cancel(&self) {
        // It fails only when it has been asked 2^64 times.
        self.0.write(1).ok();
    }

    /// Readable once somebody has asked.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the pipes of a box gave.
struct Heard<'store> {
    log: Incoming<'store>,
    logged: u64,
    tail: Tail,
    trees: Vec<Incoming<'store>>,
    reports: Vec<u8>,
    walls: Vec<Wall>,
    axes: BTreeMap<Axis, Outcome>,
    steps: Vec<StepReport>,
    prepared: Duration,
    failure: Option<Failure>,
    done: bool,
}

impl<'store> Heard<'store> {
    /// To hear of so many `trees`.
    fn new(store: &'store Store, trees: usize) -> Result<Self, SandboxError> {
        let trees = (0..trees).map(|_| store.incoming()).collect::<Result<_, _>>()?;
        Ok(Self {
            log: store.incoming()?,
            logged: 0,
            tail: Tail::default(),
            trees,
            reports: Vec::new(),
            walls: Vec::new(),
            axes: BTreeMap::new(),
            steps: Vec::new(),
            prepared: Duration::ZERO,
            failure: None,
            done: false,
        })
    }
}

/// Why the box is ended before its time.
enum Stop {
    Timeout,
    Endless,
    Cancelled,
    /// The machine's disk has only that much left.
    Disk(u64),
    /// The build has more on disk than it may.
    Full,
    Broken(SandboxError),
}

/// A box that was started, and the ends of its pipes.
pub(super) struct Running {
    helper: Helper,
    cgroups: Cgroups,
    place: Place,
    pub(super) reports: File,
    trees: Vec<File>,
    pub(super) log: File,
    kept: Option<File>,
}

impl Running {
    /// Starts a box. `terminal` is the box's end of the socket that a shell's terminal is sent over.
    pub(super) fn start(
        job: &Job<'_>,
        store: &Store,
        task: Task,
        terminal: Option<OwnedFd>,
    ) -> Result<Self, SandboxError> {
        let place = Place::find(job, store)?;
        let request = request(job, &place, task)?;
        let (reports, reporting) = pipe()?;
        let (trees, packing): (Vec<_>, Vec<_>) =
            request.archives.iter().map(|_| pipe()).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let (log, logging) = pipe()?;
        let (kept, keeping) =
            if request.keep { pipe().map(|(from, to)| (Some(from), Some(to)))? } else { (None, None) };
        let helper = Helper::start(&job.helper, logging)?;
        let pipes = std::iter::once(reporting).chain(packing).chain(terminal).chain(keeping);
        let blobs = std::iter::once(job.rootfs).chain(job.inputs.iter().map(|(_, blob)| *blob));
        let files = blobs.map(|blob| Ok(store.file(blob)?.into()));
        let cgroups = helper.send(&request, pipes.map(Ok).chain(files))?;
        Ok(Self { helper, cgroups, place, reports, trees, log, kept })
    }

    /// Ends the box, if it has not ended, and removes what it had on the host.
    pub(super) fn end(self) -> Result<(), SandboxError> {
        self.helper.end()
    }
}

pub(super) fn run(
    job: &Job<'_>,
    store: &Store,
    events: &mut dyn FnMut(Event),
    cancel: &Cancel,
) -> Result<Installed, SandboxError> {
    let started = Instant::now();
    let mut heard = Heard::new(store, job.plan.archives().len())?;
    let mut running = Running::start(job, store, Task::Build, None)?;
    let kept = running.kept.take().zip(job.keep.as_deref());
    let medium = running.place.medium;
    let (stop, keeping, peak_memory, cgroups) = std::thread::scope(|scope| {
        let keeping = kept.map(|(pipe, directory)| scope.spawn(move || keep(pipe, directory)));
        let Place { scratch, free_at_start, .. } = &running.place;
        let listening = Listening { job, started, medium, scratch: scratch.as_ref(), free_at_start: *free_at_start };
        let pipes: Vec<&File> = [&running.reports, &running.log].into_iter().chain(&running.trees).collect();
        let stop = listening.listen(&pipes, &mut heard, events, cancel);
        let (peak_memory, cgroups) = (running.cgroups.peak_memory(), running.cgroups.outcomes.clone());
        running.end()?;
        let keeping = keeping.map_or(Ok(Ok(())), std::thread::ScopedJoinHandle::join);
        let keeping = keeping.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, SandboxError>((stop, keeping, peak_memory, cgroups))
    })?;
    let Heard { log, trees, tail, walls, axes, steps, prepared, failure, done, .. } = heard;
    let log = log.commit()?;
    match stop {
        Ok(()) => {}
        Err(Stop::Timeout) => return Err(SandboxError::Timeout { limit: job.limits.time, log }),
        Err(Stop::Endless) => return Err(SandboxError::Endless { limit: job.limits.log, log }),
        Err(Stop::Cancelled) => return Err(SandboxError::Cancelled),
        Err(Stop::Disk(available)) => {
            let place = store.root().display().to_string();
            return Err(SandboxError::Space { place, needed: SPARE_DISK, available });
        }
        Err(Stop::Full) => {
            let index = steps.len();
            let failure = Failure::Step { index, exit: Exit::Signal(libc::SIGKILL), full: true };
            return Err(explain(failure, job, log, tail.lines()));
        }
        Err(Stop::Broken(error)) => return Err(error),
    }
    if let Some(failure) = failure {
        return Err(explain(failure, job, log, tail.lines()));
    }
    // After the box's own word: of what it could not pack, only half arrives here.
    keeping?;
    if !done {
        return Err(silent(tail));
    }
    let trees = trees.into_iter().map(Incoming::commit).collect::<Result<_, _>>()?;
    Ok(Installed { trees, log, walls, cgroups, axes, steps, medium, prepared, peak_memory })
}

/// What came of raising every wall around nothing.
pub(super) struct Probed {
    pub(super) failure: Option<Failure>,
    pub(super) cgroups: Vec<(Resource, Outcome)>,
}

/// Raises every wall around nothing: why that failed, if it did, and what cgroups limit.
pub(super) fn probe(helper: &Path, limits: Limits) -> Result<Probed, SandboxError> {
    let io = |action| move |source| SandboxError::Io { action, source };
    let nothing = || File::open("/dev/null").map_err(io("open /dev/null"));
    let name = |text: &str| text.parse::<Name>().map_err(|error| io("name a probe")(io::Error::other(error)));
    let request = Request {
        task: Task::Probe,
        name: name("probe")?,
        variation: Variation::plain(1),
        environment: BTreeMap::new(),
        steps: Vec::new(),
        epoch: 0,
        archives: Vec::new(),
        rootfs: Pin { digest: Digest::of(b""), size: 0 },
        inputs: Vec::new(),
        limits,
        medium: Medium::Memory,
        scratch: None,
        ids: place::any_host_ids().map_err(io("read /proc/self/uid_map"))?,
        keep: false,
    };
    let (reports, reporting) = pipe()?;
    let (mut log, logging) = pipe()?;
    let helper = Helper::start(helper, logging)?;
    let cgroups = helper.send(&request, [reporting, nothing()?.into()].into_iter().map(Ok))?;
    let mut failure = None;
    let mut done = false;
    for line in io::BufReader::new(reports).lines() {
        let line = line.map_err(io("listen to its helper"))?;
        match serde_json::from_str(&line).map_err(|error| io("understand the box")(error.into()))? {
            Report::Failed(first) => {
                failure.get_or_insert(first);
            }
            Report::Done => done = true,
            Report::Prepared
            | Report::Walls(_)
            | Report::Axis(..)
            | Report::Started(_)
            | Report::Finished(..)
            | Report::Left(_)
            | Report::Packing => {}
        }
    }
    helper.end()?;
    if failure.is_none() && !done {
        let mut tail = Tail::default();
        let mut text = Vec::new();
        log.read_to_end(&mut text).map_err(io("listen to its helper"))?;
        tail.push(&text);
        return Err(silent(tail));
    }
    Ok(Probed { failure, cgroups: cgroups.outcomes.clone() })
}

/// Unpacks the build root.
fn keep(pipe: File, directory: &Path) -> Result<(), SandboxError> {
    let failed = |error| SandboxError::Keep { path: directory.to_owned(), source: Told::of(&error) };
    let io = |source| TreeError::Io { action: "created", path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(io).map_err(failed)?;
    let opened = File::open(directory).map_err(io).map_err(failed)?;
    let options = tree::Options {
        strip: 0,
        modes: tree::Modes::Kept,
        times: tree::Times::Shifted(0),
        limits: tree::Limits::STANDARD,
    };
    // Of a box that was stopped there is nothing, or half of it, and another error says why.
    let mut pipe = io::BufReader::new(pipe);
    if pipe.fill_buf().is_ok_and(<[u8]>::is_empty) {
        return Ok(());
    }
    let unpacked = tree::unpack(&mut pipe, opened, &options).map(drop);
    // The box would take a closed pipe for its own failure, and this one is the cause.
    let drained = io::copy(&mut pipe, &mut io::sink()).map_err(io);
    unpacked.map_err(failed)?;
    drained.map(drop).map_err(failed)
}

/// The helper was killed, or has a bug.
fn silent(tail: Tail) -> SandboxError {
    let last = tail.lines().pop().unwrap_or_default();
    SandboxError::Helper { source: Told::new(format!("it ended without a word: {last}")) }
}

/// What a failure in the box means to a caller.
pub(super) fn explain(failure: Failure, job: &Job<'_>, log: Blob, tail: Vec<String>) -> SandboxError {
    match failure {
        Failure::Wall(wall, source) => {
            SandboxError::NotClosed { wall, remedy: remedy::for_wall(wall, &source), source }
        }
        Failure::Input(what, source) => SandboxError::Input { what, source },
        Failure::Step { index, exit, full } => match job.plan.steps.get(index) {
            Some(step) => SandboxError::StepFailed {
                name: step.name.clone(),
                exit,
                hint: match exit {
                    _ if full => " (its disk is full: raise --disk)",
                    Exit::Signal(libc::SIGKILL) => " (perhaps by the kernel, for lack of memory: raise --memory)",
                    Exit::Status(_) | Exit::Signal(_) | Exit::NotRun(_) => "",
                },
                log,
                tail,
            },
            None => SandboxError::Helper { source: Told::new(format!("step {index} failed, which the plan has not")) },
        },
        Failure::Output(directory, source) => {
            SandboxError::Output { path: format!("/pgproof/out/{directory}"), log, source }
        }
        Failure::Kept(source) => match &job.keep {
            Some(path) => SandboxError::Keep { path: path.clone(), source },
            None => SandboxError::Helper { source },
        },
        Failure::Space(source) | Failure::Other(source) => SandboxError::Helper { source },
    }
}

/// The plan's inputs with what the job has for them.
pub(super) fn supplies(job: &Job<'_>) -> Result<Vec<Supply>, SandboxError> {
    let mut supplies = Vec::new();
    for (input, (given, blob)) in job.plan.inputs.iter().zip(&job.inputs) {
        let decompressed = input.unpack.as_ref().is_some_and(|unpack| unpack.tar_digest == Some(blob.digest()));
        if *given != input || !(decompressed || blob.digest() == input.digest) {
            return Err(SandboxError::Inputs { name: input.name.clone() });
        }
        let (name, unpack) = (input.name.clone(), input.unpack.clone());
        supplies.push(Supply { name, pin: Pin::of(blob), unpack, decompressed });
    }
    match job.plan.inputs.get(supplies.len()) {
        Some(input) => Err(SandboxError::Inputs { name: input.name.clone() }),
        None => Ok(supplies),
    }
}

fn request(job: &Job<'_>, place: &Place, task: Task) -> Result<Request, SandboxError> {
    let inputs = supplies(job)?;
    Ok(Request {
        task,
        name: job.plan.name.clone(),
        variation: job.variation.clone(),
        environment: job.plan.environment.clone(),
        steps: job.plan.steps.clone(),
        epoch: job.plan.source_date_epoch,
        archives: job.plan.archives(),
        rootfs: Pin::of(&job.rootfs),
        inputs,
        limits: job.limits,
        medium: place.medium,
        scratch: place.scratch.as_ref().map(|scratch| scratch.path().to_owned()),
        ids: place.ids,
        keep: job.keep.is_some(),
    })
}

/// The helper process; dropping it ends it and all of the box.
struct Helper {
    child: Child,
    socket: Option<UnixStream>,
}

impl Helper {
    /// Starts the helper; what it and the steps print goes to `log`.
    pub(super) fn start(program: &Path, log: OwnedFd) -> Result<Self, SandboxError> {
        let io = |source| SandboxError::Io { action: "start its helper", source };
        let (socket, theirs) = UnixStream::pair().map_err(io)?;
        let also = log.try_clone().map_err(io)?;
        #[expect(clippy::disallowed_methods, reason = "this is the sandbox")]
        let child = std::process::Command::new(program)
            // The box sees this name, and need not see where pgproof lies on the host.
            .arg0("pgproof")
            .arg(HELPER_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(also))
            // Ctrl-C in a terminal is for pgproof to hear.
            .process_group(0)
            .spawn()
            .map_err(io)?;
        Ok(Self { child, socket: Some(socket) })
    }

    fn pid(&self) -> Result<Pid, SandboxError> {
        let number = i32::try_from(self.child.id()).map_err(io::Error::other);
        number.map(Pid::from_raw).map_err(|source| SandboxError::Io { action: "start its helper", source })
    }

    /// Sends the request and the descriptors in the order that [`super::message`] tells, and puts the box into groups.
    fn send(
        &self,
        request: &Request,
        descriptors: impl Iterator<Item = Result<OwnedFd, SandboxError>>,
    ) -> Result<Cgroups, SandboxError> {
        let Some(mut socket) = self.socket.as_ref() else { return Ok(Cgroups::default()) };
        let io = |source| SandboxError::Io { action: "talk to its helper", source };
        let limits = request.limits;
        // Memory counts where it is first used, so the limit has to be there before anything is unpacked.
        let early = if limits.memory.is_some() { Some(Cgroups::new(self.pid()?, limits)) } else { None };
        request.send(socket).map_err(io)?;
        for descriptor in descriptors {
            system::send_fd(socket, descriptor?.as_raw_fd()).map_err(io)?;
        }
        let mut keeper = [0; 4];
        if socket.read_exact(&mut keeper).is_err() {
            // It has reported why.
            return Ok(early.unwrap_or_default());
        }
        // Entering a group takes the kernel 5 to 20 ms, in which the keeper unpacks.
        let keeper = Pid::from_raw(i32::from_ne_bytes(keeper));
        let cgroups = early.unwrap_or_else(|| Cgroups::new(keeper, limits));
        // If the keeper is gone, its report says why.
        socket.write_all(b"g").ok();
        Ok(cgroups)
    }

    /// Has the box end, if it has not, and waits until it has.
    pub(super) fn end(mut self) -> Result<(), SandboxError> {
        self.finish().map_err(|source| SandboxError::Io { action: "end its helper", source })
    }

    fn finish(&mut self) -> io::Result<()> {
        // The helper takes this for the wish that it end.
        self.socket = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // After `end` this does nothing. On the way out of an error there is nobody to tell.
        self.finish().ok();
    }
}

fn pipe() -> Result<(File, OwnedFd), SandboxError> {
    let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
        .map_err(|errno| SandboxError::Io { action: "make a pipe", source: errno.into() })?;
    // A compiler that waits for its warnings to be read does not compile; what is not granted is done without.
    nix::fcntl::fcntl(&to, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).ok();
    Ok((from.into(), to))
}

struct Listening<'a> {
    job: &'a Job<'a>,
    started: Instant,
    medium: Medium,
    scratch: Option<&'a Scratch>,
    /// How much the scratch directory's disk had free before anything was written to it.
    free_at_start: u64,
}

impl Listening<'_> {
    /// Reads the pipes (reports, log, trees) until all are closed, which is when nothing of the box is left.
    fn listen(
        &self,
        pipes: &[&File],
        heard: &mut Heard<'_>,
        events: &mut dyn FnMut(Event),
        cancel: &Cancel,
    ) -> Result<(), Stop> {
        let mut open = vec![true; pipes.len()];
        let mut buffer = vec![0; 256 << 10];
        // Preparing and the steps may take that long each.
        let mut preparing = true;
        let mut deadline = self.started.checked_add(self.job.limits.time);
        while open.contains(&true) {
            let ready = {
                let mut fds: Vec<PollFd<'_>> = std::iter::once(cancel.as_fd())
                    .chain(pipes.iter().zip(&open).filter(|(_, open)| **open).map(|(pipe, _)| pipe.as_fd()))
                    .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                    .collect();
                match poll(&mut fds, self.patience(deadline)) {
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(errno) => {
                        return Err(Stop::Broken(SandboxError::Io { action: "wait", source: errno.into() }));
                    }
                }
                fds.iter().map(|fd| fd.any() == Some(true)).collect::<Vec<_>>()
            };
            if ready[0] {
                return Err(Stop::Cancelled);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Stop::Timeout);
            }
            self.check_disk(heard)?;
            let mut readiness = ready[1..].iter();
            for index in 0..pipes.len() {
                if !open[index] || readiness.next() != Some(&true) {
                    continue;
                }
                let mut pipe = pipes[index];
                let count = pipe
                    .read(&mut buffer)
                    .map_err(|source| Stop::Broken(SandboxError::Io { action: "read from the box", source }))?;
                if count == 0 {
                    open[index] = false;
                    continue;
                }
                self.take(index, &buffer[..count], heard, events)?;
                if preparing && heard.prepared > Duration::ZERO {
                    preparing = false;
                    deadline = Instant::now().checked_add(self.job.limits.time);
                }
            }
        }
        Ok(())
    }

    fn patience(&self, deadline: Option<Instant>) -> PollTimeout {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let interval = self.scratch.map(|_| DISK_INTERVAL);
        match left.into_iter().chain(interval).min() {
            // A millisecond more, so that the deadline has passed when the time is over.
            Some(time) => PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        }
    }

    /// Nothing but this keeps a build on disk within its limit. Others write to the same disk, so what the build has is
    /// added up; but only once the disk has lost that much, for it takes time.
    fn check_disk(&self, heard: &Heard<'_>) -> Result<(), Stop> {
        let Some(scratch) = self.scratch else { return Ok(()) };
        let Ok(free) = place::free_disk(scratch.path()) else { return Ok(()) };
        if free < SPARE_DISK {
            return Err(Stop::Disk(free));
        }
        let limit = self.job.limits.disk;
        let running = heard.prepared > Duration::ZERO && heard.steps.len() < self.job.plan.steps.len();
        let lost = self.free_at_start.saturating_sub(free);
        // A build that hides its files from being counted is judged by what the disk has lost.
        if running && lost > limit && scratch.used(Path::new(WORK)).unwrap_or(lost) > limit {
            return Err(Stop::Full);
        }
        Ok(())
    }

    fn take(
        &self,
        pipe: usize,
        bytes: &[u8],
        heard: &mut Heard<'_>,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), Stop> {
        let store = |source| Stop::Broken(SandboxError::Io { action: "write to the store", source });
        match pipe {
            0 => {
                heard.reports.extend_from_slice(bytes);
                self.reports(heard, events)
            }
            1 => {
                let left = usize::try_from(self.job.limits.log - heard.logged).unwrap_or(usize::MAX);
                let kept = &bytes[..bytes.len().min(left)];
                heard.log.write_all(kept).map_err(store)?;
                heard.logged += kept.len() as u64;
                heard.tail.push(kept);
                events(Event::Output(kept.to_vec()));
                if kept.len() < bytes.len() { Err(Stop::Endless) } else { Ok(()) }
            }
            tree => heard.trees[tree - 2].write_all(bytes).map_err(store),
        }
    }

    fn reports(&self, heard: &mut Heard<'_>, events: &mut dyn FnMut(Event)) -> Result<(), Stop> {
        let broken = |source| Stop::Broken(SandboxError::Io { action: "understand the box", source });
        while let Some(end) = heard.reports.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = heard.reports.drain(..=end).collect();
            let report = serde_json::from_slice(&line).map_err(|error| broken(error.into()))?;
            self.report(report, heard, events);
        }
        if heard.reports.len() > REPORT_LIMIT {
            return Err(broken(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(())
    }

    fn report(&self, report: Report, heard: &mut Heard<'_>, events: &mut dyn FnMut(Event)) {
        let total = self.job.plan.steps.len();
        match report {
            Report::Prepared => {
                heard.prepared = self.started.elapsed();
                events(Event::Prepared { elapsed: heard.prepared, medium: self.medium });
            }
            Report::Walls(walls) => heard.walls = walls,
            Report::Axis(axis, outcome) => {
                heard.axes.insert(axis, outcome);
            }
            Report::Started(index) => {
                if let Some(step) = self.job.plan.steps.get(index) {
                    events(Event::StepStarted { index, total, name: step.name.clone() });
                }
            }
            Report::Finished(index, report) => {
                heard.steps.push(report.clone());
                events(Event::StepFinished { index, total, report });
            }
            Report::Packing => events(Event::Packing),
            Report::Left(_) => {}
            Report::Done => heard.done = true,
            // The first is the cause of the others.
            Report::Failed(failure) => {
                heard.failure.get_or_insert(failure);
            }
        }
    }
}
