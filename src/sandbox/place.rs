//! Where a box's files go, in memory or on disk, and as whom its processes run on the host.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::message::HostIds;
use super::scratch::Scratch;
use super::{Job, Medium, SandboxError};
use crate::store::Store;

/// What a build tree grows to, for each byte of unpacked source, and at least. PostgreSQL's takes four.
const GROWTH: u64 = 6;
const GROWTH_LEAST: u64 = 256 << 20;

/// What has to be left for everything else on the machine.
const SPARE_MEMORY: u64 = 512 << 20;

/// What has to be left of the disk.
pub(super) const SPARE_DISK: u64 = 256 << 20;

/// The first id of the range that builds are mapped to when pgproof runs as root: nobody is given ids this high.
const FIRST_HOST_ID: u32 = 0x7000_0000;

/// How many builds one process runs at once at most: numbers are given again after so many.
const BUILDS: u32 = 64;

/// Where the pieces of a job go.
pub(super) struct Place {
    pub(super) medium: Medium,
    pub(super) scratch: Option<Scratch>,
    pub(super) free_at_start: u64,
    pub(super) ids: HostIds,
}

impl Place {
    /// Decides where things go.
    pub(super) fn find(job: &Job<'_>, store: &Store) -> Result<Self, SandboxError> {
        let io = |action| move |source| SandboxError::Io { action, source };
        let available = available_memory().map_err(io("read /proc/meminfo"))?;
        let (root, build) = needs(job);
        let medium = if available < root + SPARE_MEMORY {
            Medium::Disk
        } else if job.variation.on_disk || available < memory_needed(job) + SPARE_MEMORY {
            Medium::BuildOnDisk
        } else {
            Medium::Memory
        };
        let unique = unique();
        let ids = host_ids(unique).map_err(io("read /proc/self/uid_map"))?;
        if medium == Medium::Memory {
            return Ok(Place { medium, scratch: None, free_at_start: 0, ids });
        }
        // What is more than that it may not write.
        let build = build.min(job.limits.disk);
        let needed = SPARE_DISK + build + if medium == Medium::Disk { root } else { 0 };
        let free = free_disk(store.root()).map_err(io("ask how much disk is free"))?;
        if free < needed {
            return Err(SandboxError::Space { place: store.root().display().to_string(), needed, available: free });
        }
        let name = format!("{}-{unique}", std::process::id());
        let scratch = Scratch::new(&store.root().join("scratch"), &name, ids)
            .map_err(io("make a scratch directory in the store"))?;
        Ok(Place { medium, scratch: Some(scratch), free_at_start: free, ids })
    }
}

/// How many bytes the root file system takes, and the build if it is given them.
fn needs(job: &Job<'_>) -> (u64, u64) {
    let mut root = job.rootfs.size() + job.rootfs.size() / 16;
    let mut build = 0;
    for (input, blob) in &job.inputs {
        match &input.unpack {
            None => root += blob.size(),
            // Compressed sources shrink to a sixth or so.
            Some(unpack) if unpack.tar_digest != Some(blob.digest()) => build += blob.size() * 6 * GROWTH,
            Some(_) => build += blob.size() * GROWTH,
        }
    }
    (root, build.max(GROWTH_LEAST))
}

/// How many bytes of memory a build's files are expected to take, whatever its limits: what does not fit goes to disk. Its
/// processes need more.
fn memory_needed(job: &Job<'_>) -> u64 {
    let (root, build) = needs(job);
    if job.variation.on_disk { root } else { root + build }
}

/// A number that no other build on this machine has now.
fn unique() -> u32 {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    std::process::id().wrapping_mul(BUILDS).wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed) % BUILDS)
}

/// The ids outside that a build's could be mapped to.
pub(super) fn any_host_ids() -> io::Result<HostIds> {
    host_ids(unique())
}

/// The ids outside that the build's are mapped to: the caller's own; for root ones that nobody has.
fn host_ids(unique: u32) -> io::Result<HostIds> {
    let user = nix::unistd::geteuid();
    if !user.is_root() {
        return Ok(HostIds { user: user.as_raw(), group: nix::unistd::getegid().as_raw() });
    }
    Ok(HostIds { user: host_id("/proc/self/uid_map", unique)?, group: host_id("/proc/self/gid_map", unique)? })
}

/// An id of the range for builds; where root has not been given that range itself, the highest that it has.
fn host_id(map: &str, unique: u32) -> io::Result<u32> {
    let wanted = FIRST_HOST_ID + unique % 0x0fff_0000;
    let mut highest = 0;
    for line in std::fs::read_to_string(map)?.lines() {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [inside, _, count] = numbers[..]
            && let Some(more) = count.checked_sub(1)
        {
            let last = inside.saturating_add(more);
            if (inside..=last).contains(&wanted) {
                return Ok(wanted);
            }
            highest = highest.max(last);
        }
    }
    Ok(highest)
}

/// How many bytes of memory this machine could give without swapping, as the kernel estimates it.
pub fn available_memory() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "MemAvailable"))
}

/// How many bytes a file system has free for this user.
pub(super) fn free_disk(path: &Path) -> io::Result<u64> {
    let status = nix::sys::statvfs::statvfs(path)?;
    Ok(status.blocks_available() * status.fragment_size())
}
