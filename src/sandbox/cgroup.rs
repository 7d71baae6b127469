//! Limits for all processes of a box together, where the host lets us: cgroup version 2 or 1.
//!
//! They are a second fence, not a wall: without them each process is limited still, and memory by the machine. What could
//! not be limited is said, with the reason. A group that its owner left behind is empty, and removed by whoever comes next.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use super::{Limits, Outcome, Resource};

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// What every group of ours is called, before a number.
const PREFIX: &str = "pgproof-";

/// How often an own new group may be swept by somebody else before a process is in it.
const ATTEMPTS: u32 = 8;

/// A box's groups; dropping them removes them.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    groups: Vec<Group>,
    pub(super) outcomes: Vec<(Resource, Outcome)>,
}

#[derive(Debug)]
struct Group {
    directory: PathBuf,
    /// The file that tells the most memory used.
    peak: Option<&'static str>,
}

/// A limit in one version of cgroups.
struct Knob {
    resource: Resource,
    controller: &'static str,
    file: &'static str,
    peak: Option<&'static str>,
}

const VERSION_2: [Knob; 2] = [
    Knob { resource: Resource::Processes, controller: "pids", file: "pids.max", peak: None },
    Knob { resource: Resource::Memory, controller: "memory", file: "memory.max", peak: Some("memory.peak") },
];

const VERSION_1: [Knob; 2] = [
    Knob { resource: Resource::Processes, controller: "pids", file: "pids.max", peak: None },
    Knob {
        resource: Resource::Memory,
        controller: "memory",
        file: "memory.limit_in_bytes",
        peak: Some("memory.max_usage_in_bytes"),
    },
];

impl Cgroups {
    /// Puts the process, and all that it will start, into groups with the limits.
    pub(super) fn new(process: Pid, limits: Limits) -> Self {
        let unified = statfs(MOUNT).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
        let mut cgroups = Self::default();
        for knob in if unified { &VERSION_2 } else { &VERSION_1 } {
            let limit = match knob.resource {
                Resource::Processes => Some(limits.processes),
                Resource::Memory => limits.memory,
            };
            let outcome = match limit {
                None => Outcome::NotHeld("no limit was asked for".to_owned()),
                Some(limit) => {
                    let entered = if unified {
                        cgroups.enter_2(process, knob, limit)
                    } else {
                        cgroups.enter_1(process, knob, limit)
                    };
                    entered.map_or_else(|error| Outcome::NotHeld(error.to_string()), |()| Outcome::Held)
                }
            };
            cgroups.outcomes.push((knob.resource, outcome));
        }
        cgroups
    }

    /// The most memory used at once, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        self.groups.iter().find_map(|group| {
            let text = std::fs::read_to_string(group.directory.join(group.peak?)).ok()?;
            text.trim().parse().ok()
        })
    }

    /// One group has all controllers: it is made beside our own, or within.
    fn enter_2(&mut self, process: Pid, knob: &Knob, limit: u64) -> io::Result<()> {
        if self.groups.is_empty() {
            let own = own_group("")?;
            let above = [own.parent().filter(|above| above.starts_with(MOUNT)), Some(own.as_path())];
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for above in above.into_iter().flatten() {
                match make(above, process) {
                    Ok(directory) => {
                        self.groups.push(Group { directory, peak: Some("memory.peak") });
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            if self.groups.is_empty() {
                return Err(last);
            }
        }
        self.groups.first().map_or(Ok(()), |group| write(&group.directory.join(knob.file), &limit.to_string()))
    }

    /// Each controller has a hierarchy.
    fn enter_1(&mut self, process: Pid, knob: &Knob, limit: u64) -> io::Result<()> {
        let above = own_group(knob.controller)?;
        let directory = make(&above, process)?;
        let file = directory.join(knob.file);
        self.groups.push(Group { directory, peak: knob.peak });
        write(&file, &limit.to_string())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for group in &self.groups {
            // Whatever is left is empty, or will be soon, and goes at the next start.
            std::fs::remove_dir(&group.directory).ok();
        }
    }
}

/// Our own group in the hierarchy of a controller, or in version 2's.
fn own_group(controller: &str) -> io::Result<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup")?;
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    let path =
        path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no cgroup controller {controller}")))?;
    let group = Path::new(MOUNT).join(controller).join(path.trim_start_matches('/'));
    if group.is_dir() {
        Ok(group)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", group.display())))
    }
}

/// Makes a group with the process in it.
fn make(above: &Path, process: Pid) -> io::Result<PathBuf> {
    sweep(above);
    let directory = above.join(format!("{PREFIX}{process}"));
    for _ in 0..ATTEMPTS {
        match std::fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(&directory, &error)),
        }
        match write(&directory.join("cgroup.procs"), &process.to_string()) {
            // Somebody else swept it while it was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                std::fs::remove_dir(&directory).ok();
                return Err(error);
            }
            Ok(()) => return Ok(directory),
        }
    }
    Err(named(&directory, &io::ErrorKind::NotFound.into()))
}

/// Removes groups without processes; the kernel keeps the others.
fn sweep(above: &Path) {
    #[expect(clippy::disallowed_methods, reason = "the order in which remains are removed reaches nothing")]
    let Ok(listing) = std::fs::read_dir(above) else { return };
    for entry in listing.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            std::fs::remove_dir(entry.path()).ok();
        }
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    std::fs::write(file, text).map_err(|error| named(file, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
