//! `pgproof check`: what is wrong with an archive, and what a file is that is none.

use std::fmt::Write as _;
use std::io::Write as _;

use super::scene::Scene;
use crate::check::{Content, Files, NAME, Workshop, is_x86_64, tar};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn findings_are_an_answer() {
    if !is_x86_64() {
        return;
    }
    let (scene, shop) = (Scene::new(), Workshop::new());
    let sound = shop.release();
    // What is compressed how is told by the bytes, not by the name.
    std::fs::write(scene.path("sound.tar"), gzip(&tar(NAME, &sound))).unwrap();
    let ran = scene.bare(&["check", "-q", "sound.tar"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.ends_with("nothing found\n"), "{ran:?}");
    let json = scene.bare(&["check", "--json", "sound.tar"]).fine().json();
    assert_eq!((&json["clean"], &json["check"]["parts"][0]["elfFiles"]), (&true.into(), &2.into()), "{json}");

    let mut broken: Files = sound.into_iter().filter(|(path, _)| *path != "lib/libgreet.so.1.0").collect();
    broken.push(("share/leak", Content::File(b"built in /builds/me/postgresql\n".to_vec())));
    std::fs::write(scene.path("broken.tar.gz"), gzip(&tar(NAME, &broken))).unwrap();
    let ran = scene.bare(&["check", "-q", "broken.tar.gz"]);
    let told = ran
        .seen()
        .lines()
        .filter(|line| !line.contains("needs of the host") && !line.contains(" of at most "))
        .fold(String::new(), |text, line| text + line + "\n");
    insta::assert_snapshot!(told, @"
    postgresql-17.11.0-x86_64-unknown-linux-gnu (main): 3 files, 1 of them ELF
      bin/program needs libgreet.so.1, which its RUNPATH does not lead to and which is not the C library's: it is in the archive as lib/libgreet.so.1
      lib/libgreet.so links to libgreet.so.1, which is not in the archive
      lib/libgreet.so.1 links to libgreet.so.1.0, which is not in the archive
      share/leak names a build place, /builds/: built in /builds/me/postgresql
    4 findings
    exit 1
    ");
    let ran = scene.bare(&["check", "--json", "broken.tar.gz"]);
    assert_eq!(
        (ran.code, &ran.json()["check"]["parts"][0]["findings"][0]["kind"]),
        (Some(1), &"lacking-library".into())
    );
    // All of it is for another machine.
    let ran = scene.bare(&["check", "-q", "--target", "aarch64-unknown-linux-gnu", "sound.tar"]);
    insta::assert_snapshot!(ran.seen(), @"
    error: cannot use the definitions
      because no toolchain under toolchains/ builds for aarch64-unknown-linux-gnu; there are bookworm-gcc for x86_64-unknown-linux-gnu
    exit 2
    ");
    let ran = scene.bare(&["check", "-q", "sound.tar", "sound.tar"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn what_is_no_archive_is_told_for_what_it_is() {
    let scene = Scene::new();
    let release = tar(NAME, &vec![("share/README", Content::File(vec![b'x'; 100_000]))]);
    let cut = gzip(&release);
    let html = b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>\n";
    let dump = b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n";
    let sum = format!("{}  {NAME}.tar.gz\n", "0f".repeat(32));
    let files: &[(&str, &[u8])] = &[
        ("an.elf", b"\x7fELF\x02\x01\x01\0\0\0"),
        ("a.zip", b"PK\x03\x04..."),
        ("a.deb", b"!<arch>\ndebian-binary   1410122664"),
        ("a.sql", dump),
        ("a.sql.gz", &gzip(dump)),
        ("a.dump", b"PGDMP\x01\x0e\0"),
        ("page.tar.gz", html),
        ("empty.tar.gz", b""),
        ("nothing.tar.gz", &gzip(b"")),
        ("cut.tar.gz", &cut[..cut.len() - 20]),
        ("cut.early.tar.gz", &cut[..12]),
        ("cut.tar", &release[..release.len() - 90_000]),
        ("a.tar.gz.sha256", sum.as_bytes()),
        ("a.txt", b"hello\n"),
        ("random", b"\x01\x02\x03\xff\xfe"),
        ("zeros", &[0; 2048]),
        ("no-program.tar.gz", &gzip(&release)),
        ("no-name.tar", &tar("a b", &vec![("etc", Content::Link("x"))])),
    ];
    let mut seen = String::new();
    for (name, bytes) in files {
        std::fs::write(scene.path(name), bytes).unwrap();
    }
    for name in files.iter().map(|(name, _)| *name).chain(["definitions", "/dev/null", "not-there.tar.gz"]) {
        writeln!(seen, "$ pgproof check {name}\n{}", scene.bare(&["check", "-q", name]).seen()).unwrap();
    }
    insta::assert_snapshot!(seen, @r#"
    $ pgproof check an.elf
    error: cannot check
      because an.elf is no archive of a release but an ELF file: a program, library or core dump
    exit 3
    $ pgproof check a.zip
    error: cannot check
      because a.zip is no archive of a release but a zip archive
    exit 3
    $ pgproof check a.deb
    error: cannot check
      because a.deb is no archive of a release but a Debian package
    exit 3
    $ pgproof check a.sql
    error: cannot check
      because a.sql is no archive of a release but an SQL dump of a PostgreSQL database
    exit 3
    $ pgproof check a.sql.gz
    error: cannot check
      because a.sql.gz is no archive of a release but an SQL dump of a PostgreSQL database, compressed with gzip
    exit 3
    $ pgproof check a.dump
    error: cannot check
      because a.dump is no archive of a release but a dump of a PostgreSQL database in pg_dump's custom format
    exit 3
    $ pgproof check page.tar.gz
    error: cannot check
      because page.tar.gz is no archive of a release but an HTML page: a server sent that in its place
    exit 3
    $ pgproof check empty.tar.gz
    error: cannot check
      because empty.tar.gz is no archive of a release but an empty file
    exit 3
    $ pgproof check nothing.tar.gz
    error: cannot check
      because nothing.tar.gz is no archive of a release but an empty file, compressed with gzip
    exit 3
    $ pgproof check cut.tar.gz
    error: cannot check
      because postgresql-17.11.0-x86_64-unknown-linux-gnu cannot be read to its end
      because the archive cannot be read
      because incomplete deflate stream
    exit 3
    $ pgproof check cut.early.tar.gz
    error: cannot check
      because cut.early.tar.gz is damaged or was not downloaded to its end
      because the archive cannot be read
      because incomplete deflate stream
    exit 3
    $ pgproof check cut.tar
    error: cannot check
      because postgresql-17.11.0-x86_64-unknown-linux-gnu cannot be read to its end
      because the archive is malformed at byte 0: it is truncated
    exit 3
    $ pgproof check a.tar.gz.sha256
    error: cannot check
      because a.tar.gz.sha256 is no archive of a release but a list of digests: name the archive that it belongs to
    exit 3
    $ pgproof check a.txt
    error: cannot check
      because a.txt is no archive of a release but a text
    exit 3
    $ pgproof check random
    error: cannot check
      because random is no archive of a release but something that pgproof does not know
    exit 3
    $ pgproof check zeros
    error: cannot check
      because zeros is no archive of a release but an empty tar archive
    exit 3
    $ pgproof check no-program.tar.gz
    error: cannot check
      because postgresql-17.11.0-x86_64-unknown-linux-gnu has no program and no library: it is no release
    exit 3
    $ pgproof check no-name.tar
    error: cannot check
      because no-name.tar is no archive of a release: its first entry is "a b/etc", not in a top-level directory with a plain name
    exit 3
    $ pgproof check definitions
    error: cannot check
      because definitions is no archive of a release but a directory
    exit 3
    $ pgproof check /dev/null
    error: cannot check
      because /dev/null is no archive of a release but a device, pipe or socket
    exit 3
    $ pgproof check not-there.tar.gz
    error: cannot check
      because not-there.tar.gz cannot be read
      because No such file or directory (os error 2)
    exit 6
    "#);
}
