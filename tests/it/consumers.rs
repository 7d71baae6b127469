//! The archives are used as people use them: by programs that know nothing of pgproof, each with its own idea of a tar file, of
//! where PostgreSQL lies, and of what is on the machine.
//!
//! `PGPROOF_TEST_DIST` names a directory that `pgproof build` or `pgproof rebuild` has left, so that one consumer can be tried
//! without building anything: `PGPROOF_TEST_DIST=dist tests/run consumers::`.

mod debugger;
mod embedded;
mod extension;
mod extractors;
mod newer_system;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::digest::Digest;
use serde_json::{Value, json};

use crate::gate::{self, Need};

/// An unprivileged user that has a name on every machine, which `initdb` asks for: nobody.
const ORDINARY: &str = "65534";

/// A directory with the four archives of one PostgreSQL release.
#[derive(Clone, Debug)]
pub(crate) struct Dist {
    directory: PathBuf,
    report: Value,
}

impl Dist {
    /// The archives that `stem` begins the names of: `postgresql-17.11.0-x86_64-unknown-linux-gnu`.
    pub(crate) fn new(directory: &Path, stem: &str) -> Self {
        let report = std::fs::read(directory.join(format!("{stem}.report.json"))).unwrap();
        Self { directory: directory.to_owned(), report: serde_json::from_slice(&report).unwrap() }
    }

    /// What somebody has built to try the consumers with: all releases in their directory.
    fn of_environment() -> Vec<Self> {
        if !gate::open(Need::Slow) || !gate::open(Need::Sandbox) {
            return Vec::new();
        }
        let Some(directory) = std::env::var_os("PGPROOF_TEST_DIST") else {
            eprintln!("not run: PGPROOF_TEST_DIST is not set; after a rebuild the same is tried with what was built");
            return Vec::new();
        };
        let names =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut stems: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".report.json")?.to_owned())).collect();
        stems.sort();
        assert!(!stems.is_empty(), "{} has no report", directory.display());
        stems.iter().map(|stem| Self::new(Path::new(&directory), stem)).collect()
    }

    fn stem(&self) -> &str {
        self.report["name"].as_str().unwrap()
    }

    /// `17.11.0`.
    fn version(&self) -> &str {
        self.stem().split('-').nth(1).unwrap()
    }

    /// `17.11`: what PostgreSQL calls itself.
    fn release(&self) -> &str {
        self.version().strip_suffix(".0").unwrap()
    }

    fn sysroot(&self) -> &Value {
        &self.report["sysroot"]
    }

    /// The archives' names without `.tar.gz`, the main one first.
    fn names(&self) -> [String; 4] {
        ["", "-client", "-debug", "-pl"].map(|part| format!("{}{part}", self.stem()))
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.tar.gz"))
    }

    /// PostgreSQL's archive as the input of a plan, which finds it unpacked in a directory.
    fn input(&self, into: &str) -> Value {
        let archive = self.archive(self.stem());
        json!({
            "name": "postgresql.tar.gz", "digest": digest_of(&archive), "size": archive.metadata().unwrap().len(),
            "unpack": {"compression": "gzip", "into": into, "strip": 1},
        })
    }

    /// Unpacks archives over each other, without their top-level directory.
    fn unpack(&self, parts: &[&str], into: &Path) {
        std::fs::create_dir_all(into).unwrap();
        for part in parts {
            let archive = self.archive(&format!("{}{part}", self.stem()));
            said(Command::new("tar").args(["-xz", "--strip-components=1", "-C"]).arg(into).arg("-f").arg(archive));
        }
    }
}

/// Tries all that PostgreSQL's archives are used for. `store` may have what it takes to close the box.
pub(crate) fn check(dist: &Dist, store: &Path) {
    extractors::check(dist);
    embedded::check(dist);
    debugger::check(dist);
    extension::check(dist, store);
    newer_system::check(dist, store);
}

/// Runs a plan in the sealed box and gives what it wrote to `/pgproof/out/answer`, or what pgproof said instead.
fn trial(dist: &Dist, store: &Path, definitions: Option<&Path>, plan: &Value) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trial.json");
    std::fs::write(&path, plan.to_string()).unwrap();
    let pgproof = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgproof"));
        command.arg("--quiet").arg("--store").arg(store);
        command.args(definitions.iter().flat_map(|definitions| [Path::new("--definitions"), definitions]));
        command
    };
    said(pgproof().args(["store", "add"]).arg(dist.archive(dist.stem())));
    let build = pgproof().args(["build", "--plan"]).arg(path).arg("--out").arg(directory.path()).output().unwrap();
    if !build.status.success() {
        return Err(String::from_utf8_lossy(&build.stderr).into_owned());
    }
    Ok(said(Command::new("tar").arg("-xzOf").arg(directory.path().join("trial.tar.gz")).arg("trial/answer")))
}

/// Runs a command to its good end and gives what it said.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}\n{stdout}{stderr}");
    stdout
}

/// A command of a user that PostgreSQL serves: it refuses root.
fn as_ordinary_user(program: impl AsRef<OsStr>) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups"]).arg(program);
    command
}

/// A directory in which such a user may write.
fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

fn digest_of(path: &Path) -> Digest {
    Digest::of(&std::fs::read(path).unwrap())
}
