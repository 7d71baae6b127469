//! What is no archive is named; what fails is named, and hides nothing else.

use std::io::Write as _;
use std::path::Path;

use super::scene::Scene;
use crate::gate::{self, Need};
use crate::sysroot::debian::{Archive, ar};

const TOP: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";

/// An archive with these programs, which are scripts.
fn archive(programs: &[(&str, &str)]) -> Archive {
    let archive = Archive::new().with(0o755, 0, 1).directory(&format!("{TOP}/")).directory(&format!("{TOP}/bin/"));
    programs.iter().fold(archive, |archive, (name, text)| {
        archive.file(&format!("{TOP}/bin/{name}"), &format!("#!/bin/sh\n{text}\n"))
    })
}

const POSTGRES: (&str, &str) = ("postgres", "echo 'postgres (PostgreSQL) 17.11'");

fn write(scene: &Scene, name: &str, bytes: &[u8]) {
    std::fs::write(scene.path(name), bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The box with busybox stands for the minimal one.
fn scene() -> Scene {
    let scene = Scene::new();
    let minimal = format!("minimal-{}", pgproof::target::Triple::host().unwrap().debian_architecture());
    for (folder, extension) in [("sysroots", "toml"), ("lockfiles", "lock")] {
        let text = std::fs::read_to_string(scene.path(&format!("definitions/{folder}/box.{extension}"))).unwrap();
        let text = text.replace("name = \"box\"", &format!("name = \"{minimal}\""));
        std::fs::write(scene.path(&format!("definitions/{folder}/{minimal}.{extension}")), text).unwrap();
    }
    scene
}

#[test]
fn what_is_no_archive_is_named() {
    let scene = scene();
    let tar = Archive::new().with(0o644, 0, 1).file("a/readme", "text").end();
    let whole = gzip(&archive(&[POSTGRES]).end());
    let mut zip = vec![b'P', b'K', 3, 4];
    zip.resize(600, 0);
    let samples: [(&str, Vec<u8>, &str); 14] = [
        ("empty", Vec::new(), "an empty file"),
        ("elf", std::fs::read(env!("CARGO_BIN_EXE_pgproof")).unwrap()[..4096].to_vec(), "an ELF file"),
        ("zip", zip, "a zip archive"),
        ("deb", ar(&[("debian-binary", b"2.0\n")]), "a Debian package"),
        ("html", b"\n<!DOCTYPE html><html>404</html>".to_vec(), "an HTML page"),
        ("text", "größer".into(), "a text"),
        ("script", b"#!/bin/sh\n".to_vec(), "a script"),
        ("data", vec![0xab; 4096], "something that pgproof does not know"),
        ("tar", tar.clone(), "a tar archive without bin/postgres"),
        ("tar.gz", gzip(&tar), "a tar archive without bin/postgres"),
        ("deep", gzip(&Archive::new().file("a/b/bin/postgres", "").end()), "a tar archive without bin/postgres"),
        ("text.gz", gzip(b"no tar"), "a text, compressed with gzip"),
        ("cut.gz", whole[..whole.len() / 2].to_vec(), "a broken gzip file"),
        ("zeros.gz", gzip(&[0; 10240]), "a tar archive without bin/postgres"),
    ];
    for (name, bytes, what) in samples {
        write(&scene, name, &bytes);
        let ran = scene.run(&["test", name]);
        assert_eq!(ran.code, Some(3), "{name}: {}", ran.seen());
        assert!(
            ran.stderr.contains(&format!("{name} is no PostgreSQL archive: it is {what}")),
            "{name}: {}",
            ran.seen()
        );
    }
    let ran = scene.run(&["test", "definitions"]);
    assert!(ran.stderr.contains("it is a directory"), "{}", ran.seen());
    assert_eq!(scene.run(&["test", "nothing"]).code, Some(6));
    assert_eq!(scene.run(&["test"]).code, Some(2));
    assert_eq!(scene.run(&["test", "tar", "--with", "tar"]).code, Some(2));
    assert_eq!(scene.run(&["--json", "test", "tar"]).json()["error"]["exitCode"], 3);
}

#[test]
fn what_no_archive_of_postgresql_has_is_refused() {
    let scene = scene();
    let samples: [(Archive, &str); 7] = [
        (archive(&[POSTGRES]).symlink(&format!("{TOP}/lib"), "/usr/lib"), "could lead out of the tree"),
        (archive(&[POSTGRES]).symlink(&format!("{TOP}/lib"), "../../etc"), "could lead out of the tree"),
        (archive(&[POSTGRES]).file("../escape", ""), "its path has a \"..\""),
        (archive(&[POSTGRES]).file(&format!("{TOP}/bin/\x1b[2J"), ""), "control characters"),
        (archive(&[POSTGRES, POSTGRES]), "there already is an entry of this name"),
        (archive(&[POSTGRES]).with(0o4755, 0, 1).file(&format!("{TOP}/bin/root"), ""), "it has a set-id bit"),
        (archive(&[POSTGRES]).add(b'3', b"null", b"", b""), "it is a character device"),
    ];
    for (archive, why) in samples {
        write(&scene, "archive.tar", &archive.end());
        let ran = scene.run(&["test", "archive.tar"]);
        assert_eq!(ran.code, Some(3), "{why}: {}", ran.seen());
        assert!(ran.stderr.contains("archive.tar is refused") && ran.stderr.contains(why), "{why}: {}", ran.seen());
    }
    let many = (0..1001).fold(archive(&[POSTGRES]), |archive, n| archive.file(&format!("{TOP}/bin/program{n}"), ""));
    write(&scene, "archive.tar", &many.end());
    let ran = scene.run(&["test", "archive.tar"]);
    assert!(ran.code == Some(3) && ran.stderr.contains("more than 1000 programs"), "{}", ran.seen());
}

/// The first bytes of an ELF program.
fn elf(class: u8, order: u8, machine: [u8; 2]) -> Vec<u8> {
    let mut elf = b"\x7fELF".to_vec();
    elf.extend([class, order, 1]);
    elf.resize(18, 0);
    elf.extend(machine);
    elf.resize(600, 0);
    elf
}

#[test]
fn an_archive_for_another_platform_is_an_answer_that_names_it() {
    let scene = scene();
    let other = if cfg!(target_arch = "x86_64") {
        ([183, 0], "aarch64-unknown-linux-gnu")
    } else {
        ([62, 0], "x86_64-unknown-linux-gnu")
    };
    let mut windows = b"MZ".to_vec();
    windows.resize(600, 0);
    let mut mac = vec![0xcf, 0xfa, 0xed, 0xfe];
    mac.resize(600, 0);
    for (program, platform) in [
        (elf(2, 1, other.0), other.1),
        (elf(1, 1, [3, 0]), "x86 with 32 bits"),
        (elf(2, 2, [0, 22]), "S/390"),
        (elf(2, 1, [0xff, 0xff]), "an unknown processor"),
        (windows, "Windows"),
        (mac, "macOS"),
        (b"text".to_vec(), "no known platform"),
    ] {
        let archive = archive(&[("psql", "")]).add(b'0', format!("{TOP}/bin/postgres").as_bytes(), b"", &program);
        write(&scene, "archive.tar.gz", &gzip(&archive.end()));
        let ran = scene.run(&["--offline", "test", "archive.tar.gz"]);
        assert_eq!(ran.code, Some(1), "{platform}: {}", ran.seen());
        assert!(ran.stdout.contains(&format!("bin/postgres is for {platform}")), "{platform}: {}", ran.seen());
        assert!(ran.stdout.contains("\nfailed: 1 checks passed, 1 failed, 0 skipped, "), "{}", ran.seen());
    }
}

/// A check of a report by its name.
fn check<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let checks = report["report"]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn a_check_that_fails_is_named_and_hides_no_other() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = scene();
    let programs = [
        POSTGRES,
        ("broken", "echo 'libgone.so.1: cannot open shared object file' >&2; exit 127"),
        // Whatever it prints, it is no result.
        (
            "forger",
            "echo help; echo 'pgproof-00 end program:broken passed 1'; echo 'end program:broken passed 1'; read line && echo $line; exit 3",
        ),
        ("silent", ""),
        ("writer", "echo help; echo x >\"${0%/*}/new\" && exit 0; exit 0"),
        ("initdb", "if [ \"$1\" = --help ]; then echo help; else echo 'no time zones'; exit 1; fi"),
    ];
    let archive = archive(&programs)
        .file(&format!("{TOP}/bin/odd name"), "")
        .directory(&format!("{TOP}/share/"))
        .directory(&format!("{TOP}/share/extension/"))
        .file(&format!("{TOP}/share/extension/hstore.control"), "");
    write(&scene, "archive.tar.gz", &gzip(&archive.end()));
    let ran = scene.run(&["--json", "test", "archive.tar.gz"]);
    assert_eq!(ran.code, Some(1), "{}", ran.seen());
    let json = ran.json();
    for (name, outcome) in [
        ("platform", "passed"),
        ("names", "failed"),
        ("program:postgres", "passed"),
        ("program:broken", "failed"),
        ("program:forger", "failed"),
        ("program:silent", "failed"),
        ("program:writer", "passed"),
        ("version", "passed"),
        ("read-only", "passed"),
        ("pg-config", "failed"),
        ("upgrade-check", "skipped"),
        ("initdb-c-utf8", "failed"),
        ("start", "not-run"),
        ("extension:hstore", "not-run"),
        ("clean-stop", "not-run"),
    ] {
        assert_eq!(check(&json, name)["outcome"], outcome, "{name}: {json}");
    }
    let said = check(&json, "program:broken")["said"].to_string();
    assert!(said.contains("libgone.so.1"), "{said}");
    assert!(check(&json, "initdb-c-utf8")["said"].to_string().contains("no time zones"));
    assert_eq!(check(&json, "upgrade-check")["reason"], "no older archive was given");
    let total = json["report"]["checks"].as_array().unwrap().len() as u64;
    let counts: Vec<_> =
        ["passed", "failed", "skipped", "notRun"].map(|key| json["counts"][key].as_u64().unwrap()).into();
    assert_eq!(counts.iter().sum::<u64>(), total);
    assert_eq!((counts[0], counts[1], counts[2]), (6, 6, 1), "{json}");
    assert_eq!((json["passed"].as_bool(), json["report"]["version"].as_str()), (Some(false), Some("17.11")));
    let path = json["report"]["path"].as_str().unwrap();
    assert!(path.starts_with("/opt/pgproof test ") && path.ends_with(&format!("/{TOP}")), "{path}");

    let people = scene.run(&["test", "archive.tar.gz"]);
    assert!(people.stdout.contains("failed   program:broken\n           libgone.so.1"), "{}", people.seen());
    assert!(people.stdout.contains("6 checks passed, 6 failed, 1 skipped"), "{}", people.seen());
    let log = people.stdout.lines().last().unwrap();
    assert!(log.contains("pgproof log "), "{log}");
    // Only what other runs share is still there.
    let left = scene.run(&["--json", "store", "stat"]).json()["blobBytes"].as_u64().unwrap();
    let again = scene.run(&["test", "archive.tar.gz"]);
    assert_eq!(again.code, Some(1));
    let grown = scene.run(&["--json", "store", "stat"]).json()["blobBytes"].as_u64().unwrap() - left;
    assert!(grown < 100_000, "{grown} bytes were left");
    scene.nothing_is_left();
}

#[test]
fn what_a_test_found_before_it_was_broken_off_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = scene();
    for (program, ended) in
        [("echo help; kill -9 $PPID; kill -9 -1", "smoke"), ("echo help; while :; do :; done", "did not end within")]
    {
        let text = format!("if [ \"$1\" = --help ]; then echo help; else {program}; fi");
        let programs = [("aaa", "echo help"), POSTGRES, ("pg_config", "exit 1"), ("initdb", text.as_str())];
        write(&scene, "archive.tar", &archive(&programs).end());
        let ran = scene.run(&["--json", "test", "archive.tar", "--timeout", "8"]);
        assert_eq!(ran.code, Some(1), "{}", ran.seen());
        let json = ran.json();
        let told = json["report"]["ended"].as_str().unwrap_or_default();
        assert!(told.contains(ended), "{json}");
        assert_eq!(check(&json, "program:aaa")["outcome"], "passed", "{json}");
        assert_eq!(check(&json, "pg-config")["outcome"], "failed", "{json}");
        assert_eq!(check(&json, "initdb-c-utf8")["outcome"], "failed", "{json}");
        assert_eq!(check(&json, "start")["outcome"], "not-run", "{json}");
    }
    scene.nothing_is_left();
}

#[test]
fn the_minimal_box_has_a_c_library_and_a_shell_only() {
    if !gate::open(Need::Slow) {
        return;
    }
    let scene = Scene::new();
    let definitions = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = scene.command(&["test", "archive.tar"]);
    command.env("PGPROOF_DEFINITIONS", definitions).env_remove("PGPROOF_MIRROR");
    if !cfg!(target_arch = "x86_64") || !gate::open(Need::Sandbox) {
        return;
    }
    let programs = [
        POSTGRES,
        (
            "initdb",
            "echo help; for f in /usr/bin/* /usr/sbin/* /usr/share/* /etc/*; do [ ! -e \"$f\" ] || printf '%s ' \"${f##*/}\"; done; printf '\\n'; exit 1",
        ),
    ];
    write(&scene, "archive.tar", &archive(&programs).end());
    let ran = scene.end_of(&mut command);
    assert_eq!(ran.code, Some(1), "{}", ran.seen());
    let found = "dash locale sh doc group hostname hosts nsswitch.conf passwd";
    assert!(ran.stdout.contains(found), "{}", ran.seen());
}
