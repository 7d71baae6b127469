//! What a person can do when a wall cannot be raised on a machine.

use std::path::Path;

use super::{Told, Wall};

/// How to find out that it is this, for a wall, and what to do then.
type Cause = (fn(Wall) -> bool, fn() -> String);

/// What to look for on a machine, and what helps where it is found. The first that is found is it.
const CAUSES: [Cause; 6] = [
    (
        |_| is("/proc/sys/user/max_user_namespaces", "0"),
        || "user namespaces are switched off here; as root: sysctl user.max_user_namespaces=10000".to_owned(),
    ),
    (
        |_| ordinary() && is("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        || {
            "this kernel keeps user namespaces from ordinary users; as root: sysctl kernel.unprivileged_userns_clone=1"
                .to_owned()
        },
    ),
    (
        |wall| wall == Wall::TimeNamespace && !Path::new("/proc/self/ns/time").exists(),
        || "this kernel has no time namespaces; Linux 5.6 or newer with CONFIG_TIME_NS=y has".to_owned(),
    ),
    (
        |wall| wall == Wall::CgroupNamespace && !Path::new("/proc/self/ns/cgroup").exists(),
        || "this kernel has no cgroup namespaces; Linux 4.6 or newer with CONFIG_CGROUPS=y has".to_owned(),
    ),
    (
        |_| in_container(),
        || {
            "this is inside a container whose runtime forbids it; start that one with: docker run --security-opt \
         seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined (podman run: \
         --security-opt seccomp=unconfined --security-opt unmask=ALL)"
                .to_owned()
        },
    ),
    (|_| ordinary() && is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"), apparmor),
];

/// What to do when this wall cannot be raised, for this reason.
pub(super) fn for_wall(wall: Wall, why: &Told) -> String {
    // Switches and security modules forbid; anything else is neither's doing.
    let forbidden = ["not permitted", "denied", "No space left", "Invalid argument", "none of this kind"];
    if !forbidden.iter().any(|word| why.mentions(word)) {
        return format!(
            "this should not happen, whatever the machine: please report it, with what is said of the {wall}"
        );
    }
    let cause = CAUSES.iter().find(|(found, _)| found(wall));
    cause.map_or_else(
        || {
            format!(
                "nothing that is known to forbid the {wall} was found; a security module or a system call filter that \
                 this session runs under may (look into the kernel's log), and root may do more than an ordinary user"
            )
        },
        |(_, remedy)| remedy(),
    )
}

/// Ubuntu's since 23.10.
fn apparmor() -> String {
    let program = std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/usr/bin/pgproof".into());
    let program = program.display();
    format!(
        "AppArmor keeps ordinary programs from using user namespaces. Allow this one, as root:\n\
         cat > /etc/apparmor.d/pgproof <<'END'\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile pgproof \"{program}\" flags=(unconfined) {{\n  userns,\n}}\n\
         END\n\
         apparmor_parser -r /etc/apparmor.d/pgproof\n\
         or switch the restriction off until the next boot: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    )
}

fn is(path: &str, wanted: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == wanted)
}

fn ordinary() -> bool {
    !nix::unistd::geteuid().is_root()
}

/// Whether a container runtime has left its mark and a system call filter.
fn in_container() -> bool {
    let filtered = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|text| text.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')));
    filtered || Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
}
