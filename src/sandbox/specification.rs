//! The box as OCI's runtime specification says it, and the files that a variation puts into it.
//!
//! One description for libcontainer ([`inner`]) and for other runtimes ([`export()`](super::export())), so that they cannot
//! drift apart.

use std::collections::BTreeMap;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxTimeOffset, LinuxTimeOffsetBuilder, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::Limits;
use super::message::Request;
use crate::variation::Variation;

/// The devices of the box.
pub(super) const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Directories that every box has, beside its build root and its user's home.
pub(super) const PLACES: [&str; 6] = ["/dev", "/etc", "/pgproof/inputs", "/pgproof/out", "/proc", "/tmp"];

/// How many bytes `/dev/shm` may hold: PostgreSQL's own tests put shared memory there.
const SHARED_MEMORY_SIZE: u64 = 1 << 30;

/// How many files a process may have open, unless the host allows less.
const OPEN_FILES: u64 = 65_536;

/// The stack, which some programs' depth of recursion is decided by: what Linux gives where nobody changed it.
const STACK_SIZE: u64 = 8 << 20;

/// What nobody in the box may read: it tells of the host, or lets it be tampered with.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/schedstat",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// What nobody in the box may change.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// The specification that libcontainer runs: within the keeper's namespaces, with the init in place of a program.
pub(super) fn inner(request: &Request) -> Result<Spec, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Pid, Time, Uts};
    let variation = &request.variation;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(&[Pid, Ipc, Uts, Mount, Cgroup, Time])?)
        .masked_paths(masked())
        .readonly_paths(read_only())
        // An empty path would mean the keeper's own cgroup, and libcontainer removes what it finds there.
        .cgroups_path("/box")
        .build()?;
    linux.set_resources(None).set_time_offsets(time_offsets(variation)?);
    SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path("/root").readonly(true).build()?)
        .hostname(variation.host_name.as_str())
        .domainname(variation.domain_name.as_str())
        .mounts(mounts()?)
        .process(process(variation, request.limits)?)
        .linux(linux)
        .build()
}

/// The process, without capabilities, with limits.
pub(super) fn process(variation: &Variation, limits: Limits) -> Result<Process, OciSpecError> {
    ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(variation.uid).gid(variation.gid).umask(variation.umask).build()?)
        .args(vec!["init".to_owned()])
        // With HOME set, libcontainer does not look the user up, for which the C library would read the box's files.
        .env(vec![format!("HOME={}", variation.home)])
        .cwd(variation.build_root.as_str())
        .capabilities(no_capabilities()?)
        .rlimits(rlimits(limits)?)
        .no_new_privileges(true)
        .build()
}

fn no_capabilities() -> Result<LinuxCapabilities, OciSpecError> {
    LinuxCapabilitiesBuilder::default()
        .bounding(Capabilities::new())
        .effective(Capabilities::new())
        .inheritable(Capabilities::new())
        .permitted(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

/// Limits that hold for each process, or for all of the user's.
pub(super) fn limits(limits: Limits) -> Vec<(PosixRlimitType, u64, u64)> {
    vec![
        (PosixRlimitType::RlimitCore, 0, 0),
        (PosixRlimitType::RlimitFsize, limits.disk, limits.disk),
        // Programs that close "all" descriptors one by one, and select(), want the low limit that is usual.
        (PosixRlimitType::RlimitNofile, 1024, OPEN_FILES),
        (PosixRlimitType::RlimitNproc, limits.processes, limits.processes),
        (PosixRlimitType::RlimitStack, STACK_SIZE, u64::MAX),
    ]
}

fn rlimits(of: Limits) -> Result<Vec<PosixRlimit>, OciSpecError> {
    limits(of)
        .into_iter()
        .map(|(kind, soft, hard)| {
            // Nobody may raise a limit without privileges on the host.
            let (_, most) = own_limit(kind);
            PosixRlimitBuilder::default().typ(kind).soft(soft.min(most)).hard(hard.min(most)).build()
        })
        .collect()
}

/// This process's soft and hard limit.
pub(super) fn own_limit(kind: PosixRlimitType) -> (u64, u64) {
    use nix::sys::resource::{Resource, getrlimit};
    let resource = match kind {
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitAs
        | PosixRlimitType::RlimitCpu
        | PosixRlimitType::RlimitData
        | PosixRlimitType::RlimitLocks
        | PosixRlimitType::RlimitMemlock
        | PosixRlimitType::RlimitMsgqueue
        | PosixRlimitType::RlimitNice
        | PosixRlimitType::RlimitRss
        | PosixRlimitType::RlimitRtprio
        | PosixRlimitType::RlimitRttime
        | PosixRlimitType::RlimitSigpending => return (u64::MAX, u64::MAX),
    };
    getrlimit(resource).unwrap_or((u64::MAX, u64::MAX))
}

/// What libcontainer mounts. `/tmp`, the build root and the output are in place already.
pub(super) fn mounts() -> Result<Vec<Mount>, OciSpecError> {
    let shared_memory = format!("size={SHARED_MEMORY_SIZE}");
    Ok(vec![
        mount("proc", "/proc", &["nosuid", "nodev", "noexec"])?,
        mount("tmpfs", "/dev", &["nosuid", "noexec", "mode=0755", "size=65536"])?,
        mount("tmpfs", "/dev/shm", &["nosuid", "nodev", "noexec", "mode=1777", &shared_memory])?,
        mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])?,
    ])
}

pub(super) fn mount(kind: &str, destination: &str, options: &[&str]) -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .typ(kind)
        .source(kind)
        .destination(destination)
        .options(options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
        .build()
}

pub(super) fn namespaces(kinds: &[LinuxNamespaceType]) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    kinds.iter().map(|kind| LinuxNamespaceBuilder::default().typ(*kind).build()).collect()
}

/// What nobody in the box may read.
pub(super) fn masked() -> Vec<String> {
    MASKED.map(str::to_owned).to_vec()
}

/// What nobody in the box may change.
pub(super) fn read_only() -> Vec<String> {
    READ_ONLY.map(str::to_owned).to_vec()
}

#[expect(clippy::disallowed_types, reason = "oci-spec's type; the order of two clocks reaches nothing")]
type TimeOffsets = std::collections::HashMap<String, LinuxTimeOffset>;

fn time_offsets(variation: &Variation) -> Result<Option<TimeOffsets>, OciSpecError> {
    if variation.boot_offset_s == 0 {
        return Ok(None);
    }
    let offset = LinuxTimeOffsetBuilder::default().secs(variation.boot_offset_s).build()?;
    Ok(Some(["boottime", "monotonic"].map(|clock| (clock.to_owned(), offset.clone())).into_iter().collect()))
}

/// The files that name the build's user, group and host.
pub(super) fn files(variation: &Variation) -> [(&'static str, String); 4] {
    let Variation { user_name, group_name, host_name, uid, gid, home, .. } = variation;
    [
        (
            "/etc/passwd",
            format!(
                "root:x:0:0:root:/:/bin/sh\n{user_name}:x:{uid}:{gid}:{user_name}:{home}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/bin/false\n"
            ),
        ),
        ("/etc/group", format!("root:x:0:\n{group_name}:x:{gid}:\nnogroup:x:65534:\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost {host_name}\n::1 localhost\n")),
        ("/etc/hostname", format!("{host_name}\n")),
    ]
}

/// The environment of a step: the variation's, what the box adds, and the plan's, of which the later wins.
pub(super) fn environment(
    variation: &Variation,
    plan: &BTreeMap<String, String>,
    epoch: u32,
) -> BTreeMap<String, String> {
    let Variation { user_name, home, build_root, jobs, .. } = variation;
    let own = [
        ("HOME", home.clone()),
        ("LOGNAME", user_name.clone()),
        ("MAKEFLAGS", format!("-j{jobs}")),
        ("PGPROOF_BUILD_ROOT", build_root.clone()),
        ("SOURCE_DATE_EPOCH", epoch.to_string()),
        ("TMPDIR", "/tmp".to_owned()),
        ("USER", user_name.clone()),
    ];
    let mut environment: BTreeMap<String, String> = variation.environment.iter().cloned().collect();
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(plan.clone());
    environment
}
