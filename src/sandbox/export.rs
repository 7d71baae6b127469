//! A plan as a bundle of OCI's runtime specification, for people who trust another runtime more than this one.
//!
//! ```text
//! config.json     the box
//! rootfs/         the root file system, with the steps as a script in /pgproof/run
//! build/          the build root, with the inputs unpacked
//! out/            what the build leaves
//! plan.json       the plan
//! ```
//!
//! The directory cannot be moved: `config.json` has its path. `runc run` or `crun run` in there gives the tree that [`super::run`] gives. It never runs anything itself.
//!
//! # Why
//!
//! Other runtimes run one program, so the steps are a shell script there. Its words are quoted one by one, each is run with
//! `exec` in a subshell, so that no builtin of the shell is taken for a program, and the first failure ends it.
//!
//! runc and crun want to be root inside. Exported by root, the bundle maps root and the build's user to ids that nobody
//! has, and runs as the latter; exported by anybody else there is one id to map, and the build runs as root inside.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType, RootBuilder, Spec, SpecBuilder,
};

use super::furnish::{FurnishError, Rooms};
use super::message::Supply;
use super::supervisor::supplies;
use super::{Job, SandboxError, seccomp, specification};
use crate::plan::{Plan, Step};
use crate::store::{Store, StoreError};
use crate::variation::Variation;

/// The first of the ids that root's bundles are mapped to.
const FIRST_HOST_ID: u32 = 0x7fff_0000;

/// The script with the steps, inside.
const SCRIPT: &str = "/pgproof/run";

/// Why a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ExportError {
    /// There is something already.
    #[error("the directory is not empty: name another, or remove it")]
    Occupied,
    /// The file system said no.
    #[error("{path} cannot be written")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An input, or the root file system, cannot be unpacked.
    #[error("{what} cannot be put into its place")]
    Furnish {
        /// Which.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The specification's own rules are broken.
    #[error("the plan makes no OCI specification")]
    Specification(#[from] OciSpecError),
}

/// Writes a bundle into `directory`, which is made, or empty.
pub fn export(job: &Job<'_>, store: &Store, directory: &Path) -> Result<(), SandboxError> {
    let supplies = supplies(job)?;
    write(job, &supplies, store, directory)
        .map_err(|source| SandboxError::Export { path: directory.to_owned(), source })
}

fn write(job: &Job<'_>, supplies: &[Supply], store: &Store, directory: &Path) -> Result<(), ExportError> {
    let variation = job.variation;
    let make = |path: &Path| {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|source| ExportError::Io { path: path.to_owned(), source })
    };
    make(directory)?;
    #[expect(clippy::disallowed_methods, reason = "whether there is anything does not depend on the order")]
    let mut listing =
        std::fs::read_dir(directory).map_err(|source| ExportError::Io { path: directory.to_owned(), source })?;
    if listing.next().is_some() {
        return Err(ExportError::Occupied);
    }
    let rooms = Rooms { root: directory.join("rootfs"), build: directory.join("build") };
    let out = directory.join("out");
    for path in [&rooms.root, &rooms.build, &out] {
        make(path)?;
    }
    rooms.make_root(store.read(job.rootfs)?, variation).map_err(furnish("the root file system"))?;
    for (supply, (_, blob)) in supplies.iter().zip(&job.inputs) {
        rooms
            .bring(supply, store.read(*blob)?, job.limits.disk, variation.source_time_offset_s)
            .map_err(furnish(&supply.name.to_string()))?;
    }
    rooms.put(SCRIPT, script(job.plan, variation).as_bytes()).map_err(furnish(SCRIPT))?;
    let put = |name: &str, content: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, content).map_err(|source| ExportError::Io { path, source })
    };
    put("plan.json", &job.plan.canonical_with_origins())?;
    // The specification allows paths relative to the bundle, crun 1.8 does not.
    let absolute = directory.canonicalize().map_err(|source| ExportError::Io { path: directory.to_owned(), source })?;
    let specification = specification(job, &absolute)?;
    let mut json = serde_json::to_vec_pretty(&specification).map_err(OciSpecError::from)?;
    json.push(b'\n');
    put("config.json", &json)?;
    if nix::unistd::geteuid().is_root() {
        for path in [&rooms.root, &rooms.build, &out] {
            give(path, mappings(variation).1)?;
        }
    }
    Ok(())
}

/// Makes a tree belong to the build's user. The tree was unpacked by this process just now.
fn give(path: &Path, id: u32) -> Result<(), ExportError> {
    let io = |source| ExportError::Io { path: path.to_owned(), source };
    std::os::unix::fs::lchown(path, Some(id), Some(id)).map_err(io)?;
    if path.symlink_metadata().map_err(io)?.is_dir() {
        #[expect(clippy::disallowed_methods, reason = "every entry gets the same owner")]
        for entry in std::fs::read_dir(path).map_err(io)? {
            give(&entry.map_err(io)?.path(), id)?;
        }
    }
    Ok(())
}

fn furnish(what: &str) -> impl FnOnce(FurnishError) -> ExportError {
    let what = what.to_owned();
    move |source| ExportError::Furnish { what, source: source.into() }
}

/// Whether the one who exports is root, and the id outside that the build's user gets.
fn mappings(variation: &Variation) -> (Vec<(u32, u32)>, u32) {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        (vec![(0, FIRST_HOST_ID), (variation.uid, FIRST_HOST_ID + 1)], FIRST_HOST_ID + 1)
    } else {
        (vec![(0, user.as_raw())], user.as_raw())
    }
}

/// The box as another runtime makes it.
fn specification(job: &Job<'_>, directory: &Path) -> Result<Spec, OciSpecError> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let Job { plan, variation, .. } = job;
    let is_root = nix::unistd::geteuid().is_root();
    let map = |of: &[(u32, u32)]| -> Result<Vec<LinuxIdMapping>, OciSpecError> {
        of.iter()
            .map(|(inside, outside)| {
                LinuxIdMappingBuilder::default().container_id(*inside).host_id(*outside).size(1_u32).build()
            })
            .collect()
    };
    let users = mappings(variation).0;
    let groups = if is_root {
        vec![(0, FIRST_HOST_ID), (variation.gid, FIRST_HOST_ID + 1)]
    } else {
        vec![(0, nix::unistd::getegid().as_raw())]
    };
    let mut process = specification::process(variation, job.limits)?;
    let mut user = process.user().clone();
    if !is_root {
        user.set_uid(0).set_gid(0);
    }
    let environment = specification::environment(variation, &plan.environment, plan.source_date_epoch);
    process
        .set_user(user)
        .set_args(Some(["/bin/sh", SCRIPT].map(str::to_owned).to_vec()))
        .set_env(Some(environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()));
    let bind = |source: &str, destination: &str| {
        let options = ["bind", "rw", "nosuid", "nodev"];
        specification::mount("bind", destination, &options).map(|mut mount| {
            mount.set_source(Some(directory.join(source)));
            mount
        })
    };
    let mut mounts = specification::mounts()?;
    let size = format!("size={}", job.limits.disk);
    mounts.push(specification::mount("tmpfs", "/tmp", &["nosuid", "nodev", "mode=1777", &size])?);
    mounts.push(bind("build", &variation.build_root)?);
    mounts.push(bind("out", "/pgproof/out")?);
    let mut linux = LinuxBuilder::default()
        .namespaces(specification::namespaces(&[Cgroup, Ipc, Mount, Network, Pid, User, Uts])?)
        .uid_mappings(map(&users)?)
        .gid_mappings(map(&groups)?)
        .masked_paths(specification::masked())
        .readonly_paths(specification::read_only())
        .seccomp(seccomp::oci()?)
        .build()?;
    linux.set_resources(None);
    SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path("rootfs").readonly(true).build()?)
        .hostname(variation.host_name.as_str())
        .mounts(mounts)
        .process(process)
        .linux(linux)
        .build()
}

/// The steps as a shell script.
fn script(plan: &Plan, variation: &Variation) -> String {
    let mut script =
        "#!/bin/sh\n# The steps of a plan of pgproof's: /pgproof/out is what counts.\nset -eu\n".to_owned();
    // Writing to a String cannot fail.
    writeln!(script, "umask {:04o}", variation.umask).ok();
    for Step { name, argv, directory } in &plan.steps {
        let directory: PathBuf = Path::new(&variation.build_root).join(directory.as_str()).components().collect();
        let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
        let directory = quoted(&directory.display().to_string());
        let name = quoted(&name.to_string());
        writeln!(script, "\necho {name}\n(cd {directory} && unset OLDPWD && exec {} </dev/null)", words.join(" ")).ok();
    }
    script
}

/// A word that a shell takes as it is, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
