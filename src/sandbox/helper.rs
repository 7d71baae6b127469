//! The process between pgproof and the box: starts the keeper in new namespaces, writes its id maps, and waits.
//!
//! It has one thread, from its first instruction to its last, and no file descriptor but those that it was sent. It ends
//! only when everything in the box has.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::message::{Failure, Report, Request, Task};
use super::system::{self, Cloned};
use super::{Told, Wall, keeper};

/// The first argument with which a program is the helper.
pub const HELPER_ARGUMENT: &str = "pgproof-sandbox-helper";

/// The namespaces that the keeper starts in, with their walls, and their names under `/proc/self/ns`.
pub(super) const OUTER: [(Wall, CloneFlags, &str); 5] = [
    (Wall::UserNamespace, CloneFlags::CLONE_NEWUSER, "user"),
    (Wall::MountNamespace, CloneFlags::CLONE_NEWNS, "mnt"),
    (Wall::PidNamespace, CloneFlags::CLONE_NEWPID, "pid"),
    (Wall::NetworkNamespace, CloneFlags::CLONE_NEWNET, "net"),
    (Wall::CgroupNamespace, CloneFlags::CLONE_NEWCGROUP, "cgroup"),
];

/// The kernel's mark of what it kills first when memory is short.
const OOM_FIRST: &str = "1000";

/// What the helper was sent.
pub(super) struct Received {
    pub(super) request: Request,
    pub(super) reports: OwnedFd,
    pub(super) trees: Vec<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) kept: Option<OwnedFd>,
    pub(super) rootfs: OwnedFd,
    pub(super) inputs: Vec<OwnedFd>,
    pub(super) host: Host,
}

/// The host's conditions, which the box's are compared with.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// The inode of each namespace, by its name under `/proc/self/ns`.
    pub(super) namespaces: BTreeMap<String, u64>,
    /// Seconds since boot.
    pub(super) uptime_s: i64,
    /// How many processors may be used.
    pub(super) cpus: usize,
}

/// What the re-executed program runs: call it first thing in `main`, before any thread exists, when the first argument is
/// [`HELPER_ARGUMENT`].
pub fn helper_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // pgproof shows the last line of what it reads there. If nobody reads, nobody needs to know.
            io::stderr().write_all(format!("the box's helper cannot go on: {error}\n").as_bytes()).ok();
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    system::close_from(3)?;
    let socket = system::standard_input();
    if is_closed(&socket)? {
        // The parent died before the line above could make this process die with it.
        return Ok(());
    }
    // When memory is short, the kernel is to end the box rather than what the person has open. Where this cannot be asked
    // for, it decides as it would have.
    std::fs::write("/proc/self/oom_score_adj", OOM_FIRST).ok();
    // Each input is a descriptor.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let received = Received::from(&socket)?;
    let reports = received.reports.try_clone()?;
    match start(received) {
        // The gate is held to the end: the keeper takes its closing for this process's death.
        Ok((keeper, gate)) => {
            tell(&socket, keeper)?;
            wait(&socket, keeper, &gate)
        }
        Err(failure) => Report::Failed(failure).send(std::fs::File::from(reports)),
    }
}

impl Received {
    fn from(socket: &UnixStream) -> io::Result<Self> {
        let request = Request::receive(socket)?;
        let next = || system::receive_fd(socket);
        Ok(Self {
            reports: next()?,
            trees: request.archives.iter().map(|_| next()).collect::<io::Result<_>>()?,
            terminal: matches!(request.task, Task::Shell { .. }).then(next).transpose()?,
            kept: request.keep.then(next).transpose()?,
            rootfs: next()?,
            inputs: request.inputs.iter().map(|_| next()).collect::<io::Result<_>>()?,
            host: Host::measure()?,
            request,
        })
    }
}

impl Host {
    fn measure() -> io::Result<Self> {
        Ok(Self { namespaces: namespaces()?, uptime_s: uptime_s()?, cpus: super::axes::cpus()? })
    }
}

/// This process's namespaces.
pub(super) fn namespaces() -> io::Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        match std::fs::metadata(format!("/proc/self/ns/{name}")) {
            Ok(metadata) => {
                found.insert(name.to_owned(), metadata.ino());
            }
            // A kernel without this kind.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whole seconds since boot.
pub(super) fn uptime_s() -> io::Result<i64> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?.tv_sec())
}

/// Whether the other end is gone.
pub(super) fn is_closed(socket: &UnixStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)))
}

/// Starts the keeper.
fn start(received: Received) -> Result<(Pid, UnixStream), Failure> {
    let other = |error: io::Error| Failure::Other(Told::of(&error));
    let (mut gate, keepers_gate) = UnixStream::pair().map_err(other)?;
    let Request { variation, ids, .. } = &received.request;
    let maps = [
        IdMap { file: "uid_map", inside: variation.uid, outside: ids.user },
        IdMap { file: "gid_map", inside: variation.gid, outside: ids.group },
    ];
    let flags = OUTER.iter().fold(CloneFlags::empty(), |all, (_, flag, _)| all | *flag);
    let keeper = match system::clone_process(flags) {
        Ok(Cloned::Child) => {
            drop(gate);
            keeper::main(received, keepers_gate);
        }
        Ok(Cloned::Parent(keeper)) => keeper,
        Err(error) => {
            let wall = first_failing().unwrap_or(Wall::UserNamespace);
            return Err(Failure::Wall(wall, Told::of(&error)));
        }
    };
    drop((keepers_gate, received));
    let mapped = write_id_maps(keeper, &maps);
    if let Err(error) = mapped {
        // It waits at the gate, and its end is not awaited by anybody else.
        kill(keeper, Signal::SIGKILL)
            .and_then(|()| nix::sys::wait::waitpid(keeper, None))
            .map_err(|errno| other(errno.into()))?;
        return Err(Failure::Wall(Wall::IdMap, Told::of(&error)));
    }
    // If the keeper is dead already, its own report says why.
    gate.write_all(b"g")
        .or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(other(error)) })?;
    Ok((keeper, gate))
}

/// Which of the namespaces it is that cannot be made.
pub(super) fn first_failing() -> Option<Wall> {
    OUTER.iter().find(|(_, flag, _)| try_namespace(*flag).is_err()).map(|(wall, _, _)| *wall)
}

/// Starts a process in a user namespace and the one of `flag` that ends at once.
pub(super) fn try_namespace(flag: CloneFlags) -> io::Result<()> {
    match system::clone_process(CloneFlags::CLONE_NEWUSER | flag)? {
        Cloned::Child => system::exit_now(0),
        Cloned::Parent(pid) => {
            nix::sys::wait::waitpid(pid, None)?;
            Ok(())
        }
    }
}

/// One id inside and the one outside that it is mapped to.
pub(super) struct IdMap {
    /// The name below `/proc/<pid>`.
    pub(super) file: &'static str,
    pub(super) inside: u32,
    pub(super) outside: u32,
}

/// Maps one user and one group. Without privileges that is one's own, and no process inside may change its groups.
pub(super) fn write_id_maps(keeper: Pid, maps: &[IdMap; 2]) -> io::Result<()> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/{keeper}/{file}"), text)
            .map_err(|error| io::Error::new(error.kind(), format!("{file}: {error}")))
    };
    if !nix::unistd::geteuid().is_root() {
        write("setgroups", "deny".to_owned())?;
    }
    maps.iter().try_for_each(|IdMap { file, inside, outside }| write(file, format!("{inside} {outside} 1")))
}

/// Tells pgproof the keeper's number, so that it can put it into groups.
fn tell(mut socket: &UnixStream, keeper: Pid) -> io::Result<()> {
    socket.write_all(&keeper.as_raw().to_ne_bytes())
}

/// Waits for the keeper's end, which is that of everything in the box; brings it about when pgproof asks for it or is gone.
/// What else pgproof sends is the keeper's leave to go on.
fn wait(mut socket: &UnixStream, keeper: Pid, mut gate: &UnixStream) -> io::Result<()> {
    let pidfd = system::pidfd(keeper)?;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        if fds[1].any() == Some(true) {
            break;
        }
        let mut leave = [0];
        if socket.read(&mut leave).is_ok_and(|count| count == 1) {
            // If the keeper has just died, the next round finds out.
            gate.write_all(&leave).ok();
        } else {
            kill(keeper, Signal::SIGKILL)?;
            break;
        }
    }
    nix::sys::wait::waitpid(keeper, None)?;
    Ok(())
}

/// Whether the arguments of this program say that it is the helper.
pub fn is_helper(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.nth(1).as_deref() == Some(OsStr::new(HELPER_ARGUMENT))
}

/// Waits until the helper has written the id maps, or pgproof gives leave to go on; `false` if it is gone.
pub(super) fn pass(mut gate: &UnixStream) -> bool {
    gate.read_exact(&mut [0]).is_ok()
}
