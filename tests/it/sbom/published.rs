//! The documents beside the archives that they are of, as `pack`, `build` and `rebuild` leave them, and as anybody makes them again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use super::validators::{self, Minimum};
use super::{NAME, archives, licences_are_declared_as_shipped};
use crate::gate::{self, Need};

const PARTS: [&str; 4] = ["", "-client", "-debug", "-pl"];

/// What is published for a release.
const DOCUMENTS: [&str; 5] =
    [".spdx.json", ".cdx.json", ".sbom.txt", ".environment.spdx.json", ".environment.cdx.json"];

fn pgproof(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgproof"));
    command.arg("--quiet").env("PGPROOF_STORE", directory.join("store")).env("HOME", directory).current_dir(directory);
    command.env_remove("PGPROOF_DEFINITIONS");
    command
}

fn fine(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whoever has a release's archives has its documents, byte for byte, and others accept them.
pub(crate) fn published(dist: &Path, stem: &str) {
    again(dist, stem);
    let file = |ending: &str| dist.join(format!("{stem}{ending}"));
    validators::accept(&file(".spdx.json"), &file(".cdx.json"), Minimum::Met);
    validators::accept(&file(".environment.spdx.json"), &file(".environment.cdx.json"), Minimum::Met);
}

/// Makes the documents again from the archives alone.
fn again(dist: &Path, stem: &str) {
    let directory = tempfile::tempdir().unwrap();
    // In another order, and under names that say nothing.
    let copies: Vec<_> = PARTS
        .iter()
        .rev()
        .enumerate()
        .map(|(number, part)| {
            let copy = directory.path().join(format!("download-{number}"));
            std::fs::copy(dist.join(format!("{stem}{part}.tar.gz")), &copy).unwrap();
            copy
        })
        .collect();
    fine(pgproof(directory.path()).args(["sbom", "--out", "again"]).args(&copies));
    let version = stem.split('-').nth(1).unwrap().strip_suffix(".0").unwrap();
    let target = stem.splitn(3, '-').nth(2).unwrap();
    fine(pgproof(directory.path()).args(["sbom", "--environment", version, "--target", target, "--out", "again"]));
    for ending in DOCUMENTS {
        let [first, second] = [dist, &directory.path().join("again")]
            .map(|directory| std::fs::read(directory.join(format!("{stem}{ending}"))).unwrap());
        assert!(first == second, "{stem}{ending} is another");
    }
}

/// A tree as a build leaves it.
fn tree(directory: &Path) {
    for ((_, files), part) in archives().iter().zip(["main", "client", "debug", "pl"]) {
        for (path, content) in files {
            let place = directory.join(part).join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, content).unwrap();
        }
    }
}

#[test]
fn what_is_published_is_listed_and_made_again_by_anybody() {
    let scene = tempfile::tempdir().unwrap();
    tree(&scene.path().join("out"));
    let target = ["--target", "x86_64-unknown-linux-gnu"];
    fine(pgproof(scene.path()).args(["pack", "17.11", "--tree", "out"]).args(target));
    let dist = scene.path().join("dist");
    let sums = std::fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    for ending in DOCUMENTS {
        assert!(sums.lines().any(|line| line.ends_with(&format!("  {NAME}{ending}"))), "{ending} is not in {sums}");
    }
    fine(Command::new("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&dist));
    again(&dist, NAME);

    // Somebody who has the clients' archive alone.
    let client = dist.join(format!("{NAME}-client.tar.gz"));
    let text = fine(pgproof(scene.path()).arg("sbom").arg(&client));
    assert!(text.starts_with(&format!("{NAME}-client\n{NAME}-client.tar.gz: ")), "{text}");
    let json = fine(pgproof(scene.path()).args(["sbom", "--format", "spdx"]).arg(&client));
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let answer = fine(pgproof(scene.path()).args(["sbom", "--json", "--format", "cyclonedx"]).arg(&client));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["document"]["specVersion"], "1.6");
    fine(pgproof(scene.path()).args(["sbom", "--self", "--out", "own", "--format", "spdx"]));
    let own = std::fs::read_dir(scene.path().join("own")).unwrap();
    let names: Vec<_> = own.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, [format!("pgproof-{}.spdx.json", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn what_is_no_release_is_refused_with_the_right_code() {
    let scene = tempfile::tempdir().unwrap();
    tree(&scene.path().join("out"));
    std::fs::remove_file(scene.path().join("out/main/MANIFEST.json")).unwrap();
    let mut seen = String::new();
    std::fs::write(scene.path().join("letter"), "Dear all,\n").unwrap();
    for words in [
        &["pack", "17.11", "--tree", "out", "--target", "x86_64-unknown-linux-gnu"][..],
        &["sbom", "letter"],
        &["sbom", "nothing"],
        &["sbom"],
        &["sbom", "--self", "letter"],
        &["sbom", "--environment", "9.6", "--target", "x86_64-unknown-linux-gnu"],
    ] {
        let output = pgproof(scene.path()).args(words).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let text = text.split("\n\nUsage").next().unwrap().trim_end();
        writeln!(seen, "{text}\nexit {}", output.status.code().unwrap()).unwrap();
    }
    insta::assert_snapshot!(seen, @"
    error: cannot tell what the archives consist of
      because postgresql-17.11.0-x86_64-unknown-linux-gnu has no MANIFEST.json: pgproof did not make it, and which libraries it brings is not known
    exit 3
    error: cannot check
      because letter is no archive of a release but a text
    exit 3
    error: cannot check
      because nothing cannot be read
      because No such file or directory (os error 2)
    exit 6
    error: the following required arguments were not provided:
      <ARCHIVE>...
    exit 2
    error: the argument '--self' cannot be used with '[ARCHIVE]...'
    exit 2
    error: cannot use the definitions
      because PostgreSQL 9.6 for x86_64-unknown-linux-gnu is not locked; locked are 13.16, 15.18, 17.11, 18.6
    exit 2
    ");
    // Nothing is published of what cannot be told.
    assert!(!scene.path().join("dist").exists());
}

/// What an earlier build left, if somebody names it.
#[test]
fn a_release_is_told_as_it_was_built() {
    if !gate::open(Need::Slow) {
        return;
    }
    let Some(dist) = std::env::var_os("PGPROOF_TEST_DIST") else {
        eprintln!("not run: PGPROOF_TEST_DIST is not set; a rebuild tries the same with what was built");
        return;
    };
    let dist = Path::new(&dist);
    let mut files = BTreeMap::new();
    let archive = std::fs::File::open(dist.join(format!("{NAME}.tar.gz"))).unwrap();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if path.ends_with("MANIFEST.json") || path.contains("share/licenses/") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    licences_are_declared_as_shipped(&files, NAME);
    let fresh = tempfile::tempdir().unwrap();
    let archives = PARTS.map(|part| dist.join(format!("{NAME}{part}.tar.gz")));
    fine(pgproof(fresh.path()).args(["sbom", "--out", "."]).args(archives));
    let file = |ending: &str| fresh.path().join(format!("{NAME}{ending}"));
    validators::accept(&file(".spdx.json"), &file(".cdx.json"), Minimum::Met);
}
