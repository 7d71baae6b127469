//! The resolver against the real apt, and the real archive against the committed lockfiles.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test panics, and this one runs apt")]

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::definitions::Definitions;
use pgproof::lock::packages::Universe;
use pgproof::lock::resolve::resolve;
use pgproof::lock::sources::SourcesError;
use pgproof::lock::{LockError, Request, lock};
use pgproof::lockfile::{DebianVersion, Name};
use pgproof::store::Store;
use proptest::prop_assert;
use proptest::test_runner::{Config, TestRunner};

use crate::lock_mirror::{Mirror, slow_tests_are_wanted};

/// Requests that take apt through or-groups, virtual packages, versioned provides and conflicts.
const REQUESTS: &[&str] = &[
    "postgresql",
    "python3-dev",
    "build-essential debhelper",
    "texlive-latex-extra",
    "default-jdk maven",
    "openjdk-17-jre-headless",
    "systemd network-manager",
    "gnome-shell",
    "task-kde-desktop",
    "libreoffice",
    "apache2 php",
    "emacs",
    "docker.io",
    "nginx r-base",
    "mutt",
    "sysvinit-core",
    "lxqt xorg",
    "rustc cargo ghc",
];

/// An apt of its own: no package is installed, and the one source is Debian 12.
struct Apt {
    root: tempfile::TempDir,
}

impl Apt {
    fn new(mirror: &Mirror) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["state/lists/partial", "cache/archives/partial", "etc/empty"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let keyring = Path::new(env!("CARGO_MANIFEST_DIR")).join("sysroots/keyrings/debian-archive.asc");
        let source = format!("deb [signed-by={}] {} bookworm main\n", keyring.display(), mirror.root());
        std::fs::write(root.path().join("etc/sources.list"), source).unwrap();
        let path = root.path().display();
        let configuration = format!(
            "Dir::State \"{path}/state\"; Dir::State::status \"/dev/null\"; Dir::Cache \"{path}/cache\";\n\
             Dir::Etc \"{path}/etc\"; Dir::Etc::sourceparts \"empty\"; Dir::Etc::preferencesparts \"empty\";\n\
             Dir::Etc::parts \"empty\"; APT::Architecture \"amd64\"; APT::Architectures \"amd64\";\n\
             APT::Sandbox::User \"root\"; Acquire::Languages \"none\";\n"
        );
        std::fs::write(root.path().join("apt.conf"), configuration).unwrap();
        let apt = Self { root };
        apt.run(&["update"]);
        apt
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("apt-get")
            .args(arguments)
            .env("APT_CONFIG", self.root.path().join("apt.conf"))
            .output()
            .expect("apt-get is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `name=version` of all that apt would install.
    fn choose(&self, request: &BTreeSet<Name>) -> BTreeSet<String> {
        let mut arguments = vec!["install", "--simulate", "--no-install-recommends"];
        arguments.extend(request.iter().map(Name::as_str));
        let installed = self.run(&arguments);
        let lines = installed.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_once(" ("));
        lines.map(|(name, rest)| format!("{name}={}", rest.split(' ').next().unwrap())).collect()
    }

    fn packages(&self) -> PathBuf {
        let lists = self.root.path().join("state/lists").read_dir().unwrap().map(|entry| entry.unwrap().path());
        lists.into_iter().find(|path| path.to_string_lossy().ends_with("_Packages")).unwrap()
    }
}

#[test]
fn the_same_packages_are_chosen_as_by_apt() {
    if !slow_tests_are_wanted() {
        return;
    }
    let apt = Apt::new(&Mirror::of_this_host());
    let mut universe = Universe::new("amd64".parse().unwrap());
    universe.read(BufReader::new(std::fs::File::open(apt.packages()).unwrap())).unwrap();
    universe.link();

    let definition = Definitions::Directory(env!("CARGO_MANIFEST_DIR").into())
        .definition(&"bookworm-amd64".parse().unwrap())
        .unwrap();
    let mut committed: BTreeSet<Name> = definition.compose.unwrap().packages.into_iter().collect();
    committed.extend(universe.essential());
    let names = |request: &&str| request.split(' ').map(|name| name.parse().unwrap()).collect();
    for request in std::iter::once(committed).chain(REQUESTS.iter().map(names)) {
        let chosen = resolve(&universe, &request).unwrap();
        let chosen: BTreeSet<_> =
            chosen.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
        assert!(!chosen.is_empty());
        assert_eq!(chosen, apt.choose(&request), "{request:?}");
    }
}

#[test]
fn the_real_archive_gives_well_formed_lockfiles_twice_the_same() {
    if !slow_tests_are_wanted() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (mirror, definitions) = (Mirror::of_this_host(), Definitions::Directory(env!("CARGO_MANIFEST_DIR").into()));
    for name in ["bookworm-amd64", "postgresql"] {
        let name: Name = name.parse().unwrap();
        let committed = definitions.lockfile(&name).unwrap();
        let request = Request {
            definitions: &definitions,
            name: &name,
            previous: Some(&committed),
            // A testing suite's index is valid for a week only.
            allow_expired: &["forky".parse().unwrap()],
            now: jiff::Timestamp::now(),
        };
        let first = match lock(&request, &store, &mirror) {
            Ok(first) => first,
            // The archive has moved on to another release: what is locked holds as long as the file is somewhere.
            Err(error @ LockError::Sources { source: SourcesError::NotThere { .. }, .. }) => {
                eprintln!("{name} is not locked anew: {error}: {}", std::error::Error::source(&error).unwrap());
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        let second = lock(&request, &store, &mirror).unwrap();
        assert_eq!(first.to_text().unwrap(), second.to_text().unwrap());
        // The archive moves on; while it has not, the committed file is what comes out.
        if first.indices == committed.indices {
            assert_eq!(first, committed);
        }
    }
}

#[test]
fn versions_are_compared_as_by_dpkg() {
    if !slow_tests_are_wanted() {
        return;
    }
    let version = "([0-2]:)?[0-2][0-2a.+~]{0,4}(-[0-2a.+~]{1,3})?";
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    runner
        .run(&(version, version), |(left, right)| {
            let order = left.parse::<DebianVersion>().unwrap().compare(&right.parse().unwrap());
            let operator = match order {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let agrees = Command::new("dpkg").args(["--compare-versions", &left, operator, &right]).status().unwrap();
            prop_assert!(agrees.success(), "{left} {operator} {right}");
            Ok(())
        })
        .unwrap();
}
