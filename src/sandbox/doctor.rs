//! Why a wall cannot be raised here, and what to do.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Wall;

/// What `pgproof doctor` found out about a wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The wall.
    pub wall: Wall,
    /// Whether it can be raised.
    pub standing: Standing,
}

/// Whether a wall can be raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It was raised, and seen from inside.
    Stands,
    /// It was not tried, because another wall failed before.
    NotTried,
    /// It cannot be raised.
    Fails {
        /// Why.
        why: String,
        /// What to do.
        remedy: String,
    },
}

/// Placeholder until the box can be tried without a plan.
pub fn diagnose() -> Vec<Finding> {
    Vec::new()
}

/// What to do when a wall cannot be raised on this machine.
pub(super) fn remedy(wall: Wall) -> String {
    let is = |path: &str, wanted: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == wanted);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "this kernel forbids user namespaces to ordinary users: as root, `sysctl kernel.unprivileged_userns_clone=1`"
            .to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off: as root, `sysctl user.max_user_namespaces=10000`".to_owned()
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") && !nix::unistd::geteuid().is_root() {
        "AppArmor".to_owned()
    } else if wall == Wall::TimeNamespace && !Path::new("/proc/self/ns/time").exists() {
        "the kernel has no time namespaces: Linux 5.6 or newer with CONFIG_TIME_NS is needed".to_owned()
    } else {
        "run `pgproof doctor`".to_owned()
    }
}
