//! Makes the conditions of a build that are not walls, and measures from inside whether each held.
//!
//! It never assumes: an axis has held only if the box shows the condition that the variation asks for, and that it is not
//! what the first build has.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::personality::{self, Persona};
use nix::sys::stat::{Mode, fstat, futimens, mkdirat};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::helper::{Host, uptime_s};
use super::{Outcome, system};
use crate::variation::{Axis, Variation};

/// The directory that a directory's entries wait in while they are put back in another order.
const WAITING: &[u8] = b".pgproof-waiting";

/// How many names show what order a file system lists names in.
const PROBES: usize = 16;

/// How far the box's clocks may be from where they should be: a build may have been waiting for memory.
const TOLERANCE_S: i64 = 3600;

/// How long a program may take to say what it sees, and how many bytes that may be.
const ANSWER_TIME: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: usize = 4096;

/// Linux's `UNAME26`, which neither `libc` nor `nix` knows.
const UNAME26: i32 = 0x0002_0000;

/// Where Debian, and others, have libfaketime: the thread-safe one first.
const LIBFAKETIME: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib/libfaketimeMT.so.1",
];

/// Makes those conditions of this process that its children inherit.
pub(super) fn apply(variation: &Variation) -> io::Result<()> {
    nix::sys::stat::umask(Mode::from_bits_truncate(variation.umask));
    restrict_cpus(variation.cpus)?;
    let mut persona = personality::get()?;
    // A host where somebody switched it off for us does not decide it.
    persona.set(Persona::ADDR_NO_RANDOMIZE, variation.fixed_addresses);
    let uname26 = Persona::from_bits_retain(UNAME26);
    persona.set(uname26, variation.old_kernel);
    personality::set(persona)?;
    system::skip_process_ids(variation.skipped_pids)
}

/// Leaves this process the last `count` of the processors that it may use.
fn restrict_cpus(count: usize) -> io::Result<()> {
    let current = Pid::from_raw(0);
    let allowed = sched_getaffinity(current)?;
    let mut wanted = CpuSet::new();
    let mut left = count;
    for cpu in (0..CpuSet::count()).rev() {
        if left > 0 && allowed.is_set(cpu)? {
            wanted.set(cpu)?;
            left -= 1;
        }
    }
    Ok(sched_setaffinity(current, &wanted)?)
}

/// How many processors this process may use.
pub(super) fn cpus() -> io::Result<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)).count())
}

/// The variables that move the clock of dynamically linked programs, if the root file system has libfaketime.
pub(super) fn clock(variation: &Variation) -> BTreeMap<String, String> {
    let library = LIBFAKETIME.iter().find(|path| Path::new(path).is_file());
    let Some(library) = library.filter(|_| variation.clock_offset_s != 0) else { return BTreeMap::new() };
    [
        ("LD_PRELOAD", (*library).to_owned()),
        ("FAKETIME", format!("{:+}", variation.clock_offset_s)),
        // Waiting has to take the time that it takes.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        // make compares files' times with each other: they stay real where they are asked for, and also where a program
        // sets them to its own idea of now, as touch does.
        ("NO_FAKE_STAT", "1".to_owned()),
        ("FAKE_UTIME", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What the init knows of the build.
pub(super) struct Inside<'a> {
    pub(super) variation: &'a Variation,
    pub(super) plan: &'a BTreeMap<String, String>,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) host: &'a Host,
}

impl Inside<'_> {
    /// Whether the axis holds for the processes that this one will start; `None` if the keeper has said.
    pub(super) fn measure(&self, axis: Axis) -> Option<Outcome> {
        let outcome = match axis {
            Axis::HostName => self.host_name(),
            Axis::User => self.user(),
            Axis::Home => Ok(self.variables(&["HOME"])),
            Axis::BuildPath => self.build_path(),
            Axis::Umask => Ok(self.umask()),
            Axis::TimeZone => Ok(self.variables(&["TZ"])),
            Axis::Locale => Ok(self.variables(&["LC_ALL", "LANG", "LANGUAGE"])),
            Axis::Terminal => Ok(self.variables(&["TERM", "COLUMNS", "LINES"])),
            Axis::Environment => Ok(self.variables(&["PGPROOF_CANARY", "MAIL", "HOSTTYPE"])),
            Axis::CpuCount => self.cpu_count(),
            Axis::Jobs => Ok(self.variables(&["MAKEFLAGS"])),
            Axis::BootTime => self.boot_time(),
            Axis::Clock => self.date(),
            Axis::Kernel => kernel(),
            Axis::AddressSpace => addresses(),
            Axis::ProcessIds => self.process_ids(),
            Axis::FileSystem => self.file_system(),
            Axis::DirectoryOrder | Axis::SourceTimes => return None,
        };
        Some(outcome.unwrap_or_else(|error| Outcome::NotHeld(format!("it cannot be measured: {error}"))))
    }

    fn host_name(&self) -> io::Result<Outcome> {
        let system = nix::sys::utsname::uname()?;
        let seen = (system.nodename().to_string_lossy(), system.domainname().to_string_lossy());
        Ok(if seen == (self.variation.host_name.as_str().into(), self.variation.domain_name.as_str().into()) {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("the host name is {:?}, the domain name {:?}", seen.0, seen.1))
        })
    }

    fn user(&self) -> io::Result<Outcome> {
        let Variation { uid, gid, user_name, group_name, .. } = self.variation;
        let ids = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let named = |path: &str, name: &str| -> io::Result<bool> {
            Ok(std::fs::read_to_string(path)?.lines().any(|line| line.split(':').next() == Some(name)))
        };
        Ok(if ids != (*uid, *gid) {
            Outcome::NotHeld(format!("the ids are {ids:?}"))
        } else if named("/etc/passwd", user_name)? && named("/etc/group", group_name)? {
            self.variables(&["USER", "LOGNAME"])
        } else {
            Outcome::NotHeld("/etc/passwd or /etc/group lacks the name".to_owned())
        })
    }

    fn build_path(&self) -> io::Result<Outcome> {
        let here = std::fs::canonicalize(&self.variation.build_root)?;
        Ok(if here == Path::new(&self.variation.build_root) {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("the build root is {}", here.display()))
        })
    }

    fn umask(&self) -> Outcome {
        // There is no way to ask but to set it.
        let mask = nix::sys::stat::umask(Mode::from_bits_truncate(self.variation.umask)).bits();
        if mask == self.variation.umask { Outcome::Held } else { Outcome::NotHeld(format!("the umask is {mask:03o}")) }
    }

    /// Whether the steps get these variables as the variation has them, and not as the plan has them.
    fn variables(&self, names: &[&str]) -> Outcome {
        let fixed: Vec<_> = names.iter().filter(|name| self.plan.contains_key(**name)).copied().collect();
        let missing: Vec<_> = names.iter().filter(|name| !self.environment.contains_key(**name)).copied().collect();
        if !fixed.is_empty() {
            Outcome::NotHeld(format!("the plan sets {}", fixed.join(", ")))
        } else if !missing.is_empty() {
            Outcome::NotHeld(format!("the variation does not set {}", missing.join(", ")))
        } else {
            Outcome::Held
        }
    }

    fn cpu_count(&self) -> io::Result<Outcome> {
        let seen = cpus()?;
        let Variation { jobs, axes, .. } = self.variation;
        // A build without variation has as many jobs as processors, and this one's jobs tell how many.
        let plain = jobs.saturating_sub(usize::from(axes.contains(&Axis::Jobs))).min(self.host.cpus);
        Ok(if seen == plain {
            Outcome::NotHeld(format!("both builds have {seen}"))
        } else if seen == self.variation.cpus {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("{seen} processors can be used"))
        })
    }

    fn boot_time(&self) -> io::Result<Outcome> {
        let moved = uptime_s()? - self.host.uptime_s;
        Ok(if (0..TOLERANCE_S).contains(&(moved - self.variation.boot_offset_s)) {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("time since boot is {moved} s from the host's"))
        })
    }

    /// Asks a program, because the clock is moved in programs only.
    fn date(&self) -> io::Result<Outcome> {
        if !self.environment.contains_key("FAKETIME") {
            return Ok(Outcome::NotHeld("the root file system has no libfaketime".to_owned()));
        }
        let Some(date) = ["/usr/bin/date", "/bin/date"].into_iter().find(|path| Path::new(path).is_file()) else {
            return Ok(Outcome::NotHeld("it cannot be measured: the root file system has no date".to_owned()));
        };
        let text = output_of(&[date, "+%s"], self.environment)?;
        let Ok(seen) = text.trim().parse::<i64>() else {
            return Ok(Outcome::NotHeld(format!("date says {:?}", text.chars().take(80).collect::<String>())));
        };
        let real = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?.tv_sec();
        let moved = seen - real;
        Ok(if (moved - self.variation.clock_offset_s).abs() < TOLERANCE_S {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("the date is {moved} s from the host's"))
        })
    }

    fn process_ids(&self) -> io::Result<Outcome> {
        let Some(child) = system::fork()? else { system::exit_now(0) };
        system::wait_any()?;
        Ok(if i64::from(child.as_raw()) > i64::from(self.variation.skipped_pids) {
            Outcome::Held
        } else {
            Outcome::NotHeld(format!("the next process has the number {child}"))
        })
    }

    fn file_system(&self) -> io::Result<Outcome> {
        let found = statfs(self.variation.build_root.as_str())?.filesystem_type();
        Ok(if found == TMPFS_MAGIC {
            Outcome::NotHeld("the store's directory is in memory, as the first build is".to_owned())
        } else {
            Outcome::Held
        })
    }
}

fn kernel() -> io::Result<Outcome> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    Ok(if release.starts_with("2.6.") { Outcome::Held } else { Outcome::NotHeld(format!("the release is {release}")) })
}

fn addresses() -> io::Result<Outcome> {
    let randomised = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space")?;
    Ok(if randomised.trim() == "0" {
        Outcome::NotHeld("this machine's kernel randomises addresses for neither build".to_owned())
    } else if personality::get()?.contains(Persona::ADDR_NO_RANDOMIZE) {
        Outcome::Held
    } else {
        Outcome::NotHeld("the kernel still randomises addresses".to_owned())
    })
}

/// Whether the unpacked sources' times differ from the first build's.
pub(super) fn source_times(unpacked: bool, variation: &Variation) -> Outcome {
    if !unpacked {
        Outcome::NotHeld("the plan unpacks nothing".to_owned())
    } else if variation.source_time_offset_s == 0 {
        Outcome::NotHeld("the variation does not move them".to_owned())
    } else {
        Outcome::Held
    }
}

/// What a program prints. It runs with the environment that the steps have.
fn output_of(argv: &[&str], environment: &BTreeMap<String, String>) -> io::Result<String> {
    let argv: Vec<CString> = argv.iter().map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
    let environment = c_environment(environment)?;
    let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    if system::fork()?.is_none() {
        let run = || -> nix::Result<()> {
            nix::unistd::dup2_stdout(&to)?;
            nix::unistd::execve(&argv[0], &argv, &environment)?;
            Ok(())
        };
        system::exit_now(i32::from(run().is_err()));
    }
    drop(to);
    let read = read_for(&from, ANSWER_TIME);
    // The plan's environment may make it do anything, and it may have started others.
    system::end_all()?;
    String::from_utf8(read?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads to the end, but not for ever and not without end.
fn read_for(pipe: &OwnedFd, time: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + time;
    let mut bytes = Vec::new();
    let mut buffer = [0; ANSWER_LIMIT];
    while bytes.len() < ANSWER_LIMIT {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], patience) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match nix::unistd::read(pipe, &mut buffer)? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(bytes)
}

/// `NAME=value` for each.
pub(super) fn c_environment(environment: &BTreeMap<String, String>) -> io::Result<Vec<CString>> {
    environment.iter().map(|(name, value)| Ok(CString::new(format!("{name}={value}"))?)).collect()
}

/// Whether [`reorder`] changes what order a directory of `build` is listed in, compared with one in memory.
pub(super) fn probe_order(build: &Path, reordered: bool) -> io::Result<(Axis, Outcome)> {
    let names: Vec<Vec<u8>> = (0..PROBES).map(|number| format!("probe-{number}").into_bytes()).collect();
    let listed = |place: PathBuf, reordered: bool| -> io::Result<Vec<Vec<u8>>> {
        std::fs::create_dir(&place)?;
        for name in &names {
            File::create(place.join(String::from_utf8_lossy(name).as_ref()))?;
        }
        let directory = OwnedFd::from(File::open(&place)?);
        if reordered {
            reorder(&directory)?;
        }
        let order = list(directory.as_fd())?.into_iter().map(|(name, _)| name).collect();
        std::fs::remove_dir_all(&place)?;
        Ok(order)
    };
    // The keeper's own root file system is in memory.
    let usual = listed(PathBuf::from("/probe"), false)?;
    let here = listed(build.join(".pgproof-probe"), reordered)?;
    let outcome = if here == usual {
        Outcome::NotHeld("the file system lists names in one order whatever is done".to_owned())
    } else {
        Outcome::Held
    };
    Ok((Axis::DirectoryOrder, outcome))
}

/// Lists what a directory contains, in the file system's order.
fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let mut listing = Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut entries = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push((name.to_vec(), entry.file_type() == Some(Type::Directory)));
        }
    }
    Ok(entries)
}

/// Makes the file system list the entries of `directory`, and of those below it, in another order, where it lists them in
/// the order in which they were made: moves them away and back, the last first. Times stay.
pub(super) fn reorder(directory: &OwnedFd) -> io::Result<()> {
    let time = fstat(directory)?;
    let entries = list(directory.as_fd())?;
    let mut order: Vec<&[u8]> = entries.iter().map(|(name, _)| name.as_slice()).collect();
    // Some file systems list the newest first, some last.
    for _ in 0..2 {
        order.reverse();
        if order.len() > 1 && move_away_and_back(directory, &order)? {
            let now = list(directory.as_fd())?;
            if now != entries {
                break;
            }
        }
    }
    for (name, is_directory) in &entries {
        if *is_directory {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            reorder(&openat(directory, name.as_slice(), flags, Mode::empty())?)?;
        }
    }
    futimens(
        directory,
        &TimeSpec::new(time.st_atime, time.st_atime_nsec),
        &TimeSpec::new(time.st_mtime, time.st_mtime_nsec),
    )?;
    Ok(())
}

/// `false` if a name is in the way.
fn move_away_and_back(directory: &OwnedFd, order: &[&[u8]]) -> io::Result<bool> {
    match mkdirat(directory, WAITING, Mode::S_IRWXU) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    let waiting = openat(directory, WAITING, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for name in order {
        renameat(directory, *name, &waiting, *name)?;
    }
    for name in order {
        renameat(&waiting, *name, directory, *name)?;
    }
    unlinkat(directory, WAITING, UnlinkatFlags::RemoveDir)?;
    Ok(true)
}
