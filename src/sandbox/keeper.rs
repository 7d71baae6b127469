//! The first process in the box's outer namespaces: makes the box's file systems, starts the init, packs the output.
//!
//! It runs this program's code only, never the build's. What it unpacks, reads and walks is hostile; it resolves no path in
//! there but with [`pathrs`], which keeps within the box's root, and has no file of the host's in sight.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{Gid, Uid};

use super::furnish::{self, FurnishError, Rooms};
use super::helper::{self, Received};
use super::init::Init;
use super::message::{Failure, Pin, Report, Request, Task};
use super::{Exit, Medium, Outcome, Told, Wall, axes, specification, system};
use crate::digest::{Digest, Hasher};
use crate::lockfile::Name;
use crate::tree;
use crate::variation::{Axis, Variation};

/// The box's root file system, as the keeper sees it.
const ROOT: &str = "/root";
/// What the build may write to: `build`, `out` and `tmp`.
pub(super) const WORK: &str = "/work";
/// libcontainer's bundle.
const BUNDLE: &str = "/bundle";
/// libcontainer's state.
const STATE: &str = "/state";

/// What the keeper's own root file system may hold: a bundle and a few directories.
const OWN_SIZE: u64 = 4 << 20;

/// How many files and directories a root file system, or a build, may have.
const FILE_LIMIT: u64 = 4_000_000;

/// A file of one byte takes 1024 bytes in a tar and a page of 4096 in memory.
const PADDING: u64 = 4;

/// Directories of the host that are there everywhere, on one of which the keeper's root is made.
const FOOTHOLDS: [&str; 4] = ["/tmp", "/var", "/usr", "/mnt"];

/// Runs everything in the box, reports, and ends.
pub(super) fn main(received: Received, gate: UnixStream) -> ! {
    let reports = received.reports.try_clone();
    let result = keep(received, gate);
    let status = match (result, reports) {
        (Ok(()), _) => 0,
        (Err(Some(failure)), Ok(reports)) => {
            // If pgproof does not listen any more, it does not need to know.
            Report::Failed(failure).send(File::from(reports)).ok();
            1
        }
        (Err(_), _) => 1,
    };
    system::exit_now(status)
}

/// `Err(None)`: the failure is reported already, or nobody is there to hear it.
fn keep(received: Received, gate: UnixStream) -> Result<(), Option<Failure>> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(other)?;
    // The helper's connection to pgproof lay there.
    nix::unistd::dup2_stdin(File::open("/dev/null").map_err(other)?).map_err(other)?;
    if !helper::pass(&gate) {
        return Err(None);
    }
    let request = &received.request;
    // Before becoming the build's user, who may not come this way on the host.
    let scratch = request.scratch.as_deref().map(open_directory).transpose().map_err(other)?;
    become_user(&request.variation).map_err(wall(Wall::IdMap))?;
    // The kernel forgets the wish to die with the parent when ids change.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(other)?;
    if helper::is_closed(&gate).map_err(other)? {
        return Err(None);
    }
    let room = Room { scratch, medium: request.medium, disk: request.limits.disk };
    make_own_root(&room).map_err(wall(Wall::Root))?;
    system::loopback_up().map_err(wall(Wall::NetworkNamespace))?;
    let measured = furnish(&received)?;
    if !helper::pass(&gate) {
        return Err(None);
    }
    drop(gate);
    run(received, measured)
}

/// From here on this process has the ids of the build, and the capabilities that it has in its user namespace.
fn become_user(variation: &Variation) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(variation.uid), Gid::from_raw(variation.gid));
    match nix::unistd::setgroups(&[]) {
        // Not allowed to whoever could not have given up groups before either.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    // Changing ids takes away the right to read one's own files in /proc.
    prctl::set_dumpable(true)
}

/// Where the box's files go.
struct Room {
    scratch: Option<OwnedFd>,
    medium: Medium,
    disk: u64,
}

/// Makes an empty root file system in memory and leaves the host's behind.
fn make_own_root(room: &Room) -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let foothold = FOOTHOLDS
        .iter()
        .map(Path::new)
        .find(|path| path.is_dir())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("the host has none of {FOOTHOLDS:?}")))?;
    mount_tmpfs(foothold, OWN_SIZE, 0o755)?;
    let here = |path: &str| foothold.join(path.trim_start_matches('/'));
    // libcontainer finds no cgroups in there and leaves them alone.
    for path in ["/proc", "/dev", "/sys/fs/cgroup", ROOT, WORK, BUNDLE, STATE] {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(here(path))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &here("/proc"), Some("proc"), flags, none)?;
    for device in specification::DEVICES {
        File::create(here(device))?;
        mount(Some(device), &here(device), none, MsFlags::MS_BIND, none)?;
    }
    if let Some(scratch) = &room.scratch {
        let source = descriptor_path(scratch);
        for (directory, wanted) in [(WORK, true), (ROOT, room.medium == Medium::Disk)] {
            if wanted {
                let source = Path::new(&source).join(directory.trim_start_matches('/'));
                std::fs::DirBuilder::new().mode(0o755).create(&source)?;
                bind_harmless(&source, &here(directory))?;
            }
        }
    }
    std::env::set_current_dir(foothold)?;
    nix::unistd::pivot_root(".", ".")?;
    // The host's root now lies above this one.
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")?;
    if room.medium == Medium::Memory {
        mount_tmpfs(Path::new(WORK), room.disk, 0o755)?;
    }
    Ok(())
}

/// Binds a directory without what its file system allows beyond plain files.
fn bind_harmless(source: &Path, target: &Path) -> io::Result<()> {
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)?;
    // What the host's mount forbids cannot be allowed here, and has to be repeated.
    let flags = fstatvfs(File::open(target)?)?.flags();
    let mut wanted = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (has, keep) in [
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ] {
        wanted.set(keep, flags.contains(has));
    }
    mount(none, target, none, wanted, none)?;
    Ok(())
}

/// Mounts a file system in memory. With large pages, where the kernel knows them, programs in it start as fast as from a
/// disk's cache; without, forking and executing takes an eighth longer.
fn mount_tmpfs(target: &Path, size: u64, mode: u32) -> nix::Result<()> {
    let mount = |more: &str| {
        let options = format!("size={size},nr_inodes={FILE_LIMIT},mode={mode:o}{more}");
        mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
    };
    match mount(",huge=within_size") {
        Err(Errno::EINVAL) => mount(""),
        other => other,
    }
}

fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn descriptor_path(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Unpacks the root file system and the inputs and puts the build's own files in their places. Gives what it measured.
fn furnish(received: &Received) -> Result<Vec<(Axis, Outcome)>, Option<Failure>> {
    let Received { request, .. } = received;
    let Request { variation, limits, .. } = request;
    let rooms = Rooms { root: PathBuf::from(ROOT), build: Path::new(WORK).join("build") };
    let plain: u64 = request.inputs.iter().filter(|input| input.unpack.is_none()).map(|input| input.pin.size).sum();
    if request.medium != Medium::Disk {
        let size = request.rootfs.size.saturating_add(plain).saturating_mul(PADDING).saturating_add(OWN_SIZE);
        mount_tmpfs(&rooms.root, size, 0o755).map_err(wall(Wall::Root))?;
    }
    let what = "the root file system";
    if request.task == Task::Probe {
        rooms.make_places(variation).map_err(input(what))?;
    } else {
        let mut layer = Verified::new(&received.rootfs, request.rootfs).map_err(other)?;
        let made = rooms.make_root(&mut layer, variation);
        layer.judge(made).map_err(input(what))?;
    }
    let places =
        [(variation.build_root.as_str(), "build", 0o755), ("/pgproof/out", "out", 0o755), ("/tmp", "tmp", 0o1777)];
    for (place, name, mode) in places {
        let source = Path::new(WORK).join(name);
        std::fs::DirBuilder::new().mode(mode).create(&source).map_err(other)?;
        std::fs::set_permissions(&source, Permissions::from_mode(mode)).map_err(other)?;
        let target = rooms.directory(place).map_err(input(what))?;
        let none = None::<&str>;
        mount(Some(&source), descriptor_path(&target).as_str(), none, MsFlags::MS_BIND, none)
            .map_err(wall(Wall::Root))?;
    }
    let probed = axes::probe_order(&rooms.build, variation.reordered_directories).map_err(other)?;
    for (supply, blob) in request.inputs.iter().zip(&received.inputs) {
        let mut blob = Verified::new(blob, supply.pin).map_err(other)?;
        let brought = rooms.bring(supply, &mut blob, limits.disk, variation.source_time_offset_s);
        blob.judge(brought).map_err(input(&supply.name.to_string()))?;
    }
    if variation.reordered_directories {
        axes::reorder(&furnish::open_directory(&rooms.build).map_err(other)?).map_err(other)?;
    }
    let unpacked = request.inputs.iter().any(|input| input.unpack.is_some());
    Ok(vec![probed, (Axis::SourceTimes, axes::source_times(unpacked, variation))])
}

/// Reads a blob's file and gives an error in place of the end if it was not the blob.
struct Verified {
    file: File,
    hasher: Hasher,
    expected: Digest,
}

impl Verified {
    fn new(blob: &OwnedFd, pin: Pin) -> io::Result<Self> {
        Ok(Self { file: File::from(blob.try_clone()?), hasher: Hasher::default(), expected: pin.digest })
    }

    /// What came of using the bytes. If they are not the blob, that is why, whatever else was found wrong with them first.
    fn judge(mut self, outcome: Result<(), FurnishError>) -> Result<(), FurnishError> {
        if outcome.is_err() {
            io::copy(&mut self, &mut io::sink())?;
        }
        outcome
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let received = self.hasher.clone().finish();
            if received != self.expected {
                return Err(mismatch(self.expected, received));
            }
        }
        Ok(count)
    }
}

fn mismatch(expected: Digest, received: Digest) -> io::Error {
    let text =
        format!("expected {expected}, received {received}; `pgproof store verify --repair` removes damaged blobs");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Runs the steps and packs the output.
fn run(received: Received, measured: Vec<(Axis, Outcome)>) -> Result<(), Option<Failure>> {
    let Received { request, reports, trees, terminal, kept, rootfs, inputs, host } = received;
    drop((rootfs, inputs));
    let specification = specification::inner(&request).map_err(other)?;
    let bundle = Path::new(BUNDLE);
    let json = serde_json::to_vec(&specification).map_err(other)?;
    std::fs::write(bundle.join("config.json"), json).map_err(other)?;
    let talking = File::from(reports.try_clone().map_err(other)?);
    for (axis, outcome) in measured {
        if request.variation.axes.contains(&axis) {
            Report::Axis(axis, outcome).send(&talking).map_err(other)?;
        }
    }
    let is_build = request.task == Task::Build;
    let (archives, epoch, name) = (request.archives.clone(), request.epoch, request.name.clone());
    let init = Init::new(request, host, reports, terminal);
    let container = ContainerBuilder::new("box".to_owned(), SyscallType::default())
        .with_executor(init)
        .with_root_path(STATE)
        .map_err(other)?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build();
    let mut container = container.map_err(|error| not_started(&error))?;
    container.start().map_err(|error| not_started(&error))?;
    let pid = container.pid().ok_or(Failure::Other(Told::new("libcontainer does not know its init")))?;
    let exit = wait_for(pid.as_raw()).map_err(other)?;
    let work = Path::new(WORK);
    let unusable = |directory: &str| {
        let directory = directory.to_owned();
        move |error: tree::TreeError| Failure::Output(directory, Told::of(&error))
    };
    // A person looks at what a failed build left, too.
    let standard = tree::Limits::STANDARD;
    let keeping = kept.map(|kept| pack(&work.join("build"), ".", &name, epoch, standard, kept));
    match exit {
        Exit::Status(0) => {}
        // It said why.
        Exit::Status(1) => return Err(None),
        Exit::Status(_) | Exit::Signal(_) | Exit::NotRun(_) => {
            return Err(Some(Failure::Other(Told::new(format!("the box's first process {exit}")))));
        }
    }
    keeping.transpose().map_err(|error| Failure::Kept(Told::of(&error)))?;
    if is_build {
        Report::Packing.send(&talking).map_err(other)?;
        for (archive, pipe) in archives.iter().zip(trees) {
            let directory = archive.directory.as_str();
            pack(&work.join("out"), directory, &archive.name, epoch, tree::Limits::OUTPUT, pipe)
                .map_err(unusable(directory))?;
        }
    }
    Report::Done.send(&talking).map_err(other)?;
    Ok(())
}

/// Writes the directory `path` below `above` as a normalised tar. The build made both, and may have made links.
fn pack(
    above: &Path,
    path: &str,
    top: &Name,
    epoch: u32,
    limits: tree::Limits,
    out: OwnedFd,
) -> Result<(), tree::TreeError> {
    let mut directory = furnish::open_directory(above).map_err(not_a_directory(path))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for component in Path::new(path) {
        directory = openat(&directory, component, flags, Mode::empty()).map_err(not_a_directory(path))?;
    }
    tree::walk(directory, top, epoch, limits, File::from(out)).map(drop)
}

fn not_a_directory<E: Into<io::Error>>(path: &str) -> impl Fn(E) -> tree::TreeError {
    let path = PathBuf::from(path);
    move |errno| tree::TreeError::Io { action: "opened as a directory", path: path.clone(), source: errno.into() }
}

/// Waits for the init; whatever else ends meanwhile is reaped.
fn wait_for(pid: i32) -> io::Result<Exit> {
    loop {
        let reaped = system::wait_any()?;
        if reaped.pid.as_raw() == pid {
            return Ok(Exit::from_wait(reaped.status));
        }
    }
}

/// libcontainer says in words what it could not do; which wall that is, is tried.
fn not_started(error: &LibcontainerError) -> Failure {
    Failure::Wall(first_failing_inner().unwrap_or(Wall::Root), Told::of(error))
}

/// The namespaces that libcontainer makes.
pub(super) const INNER: [(Wall, CloneFlags); 5] = [
    (Wall::IpcNamespace, CloneFlags::CLONE_NEWIPC),
    (Wall::UtsNamespace, CloneFlags::CLONE_NEWUTS),
    (Wall::CgroupNamespace, CloneFlags::CLONE_NEWCGROUP),
    (Wall::PidNamespace, CloneFlags::CLONE_NEWPID),
    (Wall::TimeNamespace, CloneFlags::from_bits_retain(libc::CLONE_NEWTIME)),
];

/// Which of libcontainer's namespaces it is that cannot be made.
fn first_failing_inner() -> Option<Wall> {
    INNER.iter().find(|(_, flag)| unshare(*flag).is_err()).map(|(wall, _)| *wall)
}

fn wall<E: Into<io::Error>>(wall: Wall) -> impl FnOnce(E) -> Option<Failure> {
    move |error| Some(Failure::Wall(wall, Told::of(&error.into())))
}

fn other<E: std::error::Error>(error: E) -> Failure {
    Failure::Other(Told::of(&error))
}

/// What went wrong while `what` was unpacked: it, or the lack of space.
fn input<E: std::error::Error + 'static>(what: &str) -> impl FnOnce(E) -> Option<Failure> {
    let what = what.to_owned();
    move |error| {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let is_full = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| full.contains(&error.kind()));
        let told = Told::of(&error);
        Some(if is_full { Failure::Space(told) } else { Failure::Input(what, told) })
    }
}
