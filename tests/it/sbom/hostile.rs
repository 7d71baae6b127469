//! Archives that say what cannot be, and what is no archive.

use std::error::Error;
use std::fmt::Write as _;

use pgproof::Trouble;
use pgproof::sbom::{self, SbomError};
use serde_json::{Value, json};

use super::{Files, NAME, files, gzip, header, library, manifest, packed, sealed, sealed_bytes, taken};

/// One library, and all that it needs to be told.
fn small() -> (Files, Value) {
    let files = files([
        ("bin/postgres", "a server\n"),
        ("lib/libz.so.1", "zlib\n"),
        ("share/licenses/postgresql/COPYRIGHT", "PostgreSQL's own\n"),
        ("share/licenses/zlib1g/copyright", "zlib's\n"),
    ]);
    (files, manifest(NAME, &[library("lib/libz.so.1", "zlib1g", "zlib", "1:1.2.13-1")]))
}

/// The chain of causes of a refusal, which is about an input or about how it was asked for.
fn told(error: SbomError, expected: Trouble) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        write!(text, ": {cause}").unwrap();
        next = cause.source();
    }
    assert_eq!(pgproof::Error::from(error).trouble(), expected, "{text}");
    text
}

fn refused(json: &str) -> String {
    let (mut files, _) = small();
    files.insert("MANIFEST.json".to_owned(), json.as_bytes().to_vec());
    told(taken(&[(NAME.to_owned(), files)]).unwrap_err(), Trouble::Input)
}

#[test]
fn the_small_release_is_one() {
    let (mut files, manifest) = small();
    files.insert("MANIFEST.json".to_owned(), manifest.to_string().into_bytes());
    taken(&[(NAME.to_owned(), files)]).unwrap();
}

#[test]
fn a_manifest_that_cannot_be_is_refused() {
    let (_, good) = small();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        refused(&changed.to_string())
    };
    let mut seen = String::new();
    let fields: [(&str, Value); 13] = [
        ("file", "lib/libnot.so".into()),
        ("file", "../../etc/passwd".into()),
        ("file", "/etc/passwd".into()),
        ("licence", "share/licenses/not/copyright".into()),
        ("package", "zlib/../1g".into()),
        ("package", "libssl3".into()),
        ("version", "1 2".into()),
        ("version", json!(1)),
        ("purl", "pkg:deb/debian/zlib1g@1:1.2.13-2?arch=amd64".into()),
        ("purl", "pkg:npm/zlib1g@1:1.2.13-1".into()),
        ("purl", "pkg:deb/debian/zlib1g@1:1.2.13-1?arch=\u{1b}[31m".into()),
        ("sourcePurl", "\u{1b}]0;owned\u{7}".into()),
        ("surprise", true.into()),
    ];
    for (field, value) in fields {
        writeln!(seen, "{}", with(&|manifest| manifest["libraries"][0][field] = value.clone())).unwrap();
    }
    let of_manifest: [(&str, Value); 5] = [
        ("version", 2.into()),
        ("name", "postgresql-18.6.0-x86_64-unknown-linux-gnu".into()),
        ("libraries", json!([good["libraries"][0], good["libraries"][0]])),
        ("licence", "bin".into()),
        ("separate", json!({"archive": "other", "modules": [{"file": "lib/plperl.so", "needs": [1]}]})),
    ];
    for (field, value) in of_manifest {
        writeln!(seen, "{}", with(&|manifest| manifest[field] = value.clone())).unwrap();
    }
    let text = good.to_string();
    for json in [
        "",
        "[]",
        "nonsense",
        &text[..text.len() - 1],
        &format!("{text}{text}"),
        &text.replacen("\"version\":1", "\"version\":1,\"version\":1", 1),
        &"[".repeat(100_000),
        &format!("{text}{}", " ".repeat(1 << 20)),
    ] {
        writeln!(seen, "{}", refused(json)).unwrap();
    }
    assert!(!seen.contains('\u{1b}') && !seen.contains('\u{7}'), "{seen:?}");
    insta::assert_snapshot!(seen.replace(NAME, "NAME"), @r#"
    MANIFEST.json in NAME cannot be used: it names lib/libnot.so, which is no file of the archive
    MANIFEST.json in NAME cannot be used: it is malformed: "../../etc/passwd" is not a plain relative path at line 1 column 40
    MANIFEST.json in NAME cannot be used: it is malformed: "/etc/passwd" is not a plain relative path at line 1 column 35
    MANIFEST.json in NAME cannot be used: it names share/licenses/not/copyright, which is no file of the archive
    MANIFEST.json in NAME cannot be used: it is malformed: "zlib/../1g" is not a name: letters, digits and +-.:~_ only, starting with a letter or digit at line 1 column 104
    MANIFEST.json in NAME cannot be used: "pkg:deb/debian/zlib1g@1:1.2.13-1?arch=amd64&distro=bookworm" is not the package URL of Debian's libssl3 1:1.2.13-1
    MANIFEST.json in NAME cannot be used: it is malformed: "1 2" is not a Debian version: [epoch:]upstream[-revision] at line 1 column 305
    MANIFEST.json in NAME cannot be used: it is malformed: invalid type: integer `1`, expected a string at line 1 column 300
    MANIFEST.json in NAME cannot be used: "pkg:deb/debian/zlib1g@1:1.2.13-2?arch=amd64" is not the package URL of Debian's zlib1g 1:1.2.13-1
    MANIFEST.json in NAME cannot be used: "pkg:npm/zlib1g@1:1.2.13-1" is not the package URL of Debian's zlib1g 1:1.2.13-1
    MANIFEST.json in NAME cannot be used: "pkg:deb/debian/zlib1g@1:1.2.13-1?arch=�[31m" is not the package URL of Debian's zlib1g 1:1.2.13-1
    MANIFEST.json in NAME cannot be used: "�]0;owned�" is not the package URL of Debian's zlib 1:1.2.13-1
    MANIFEST.json in NAME cannot be used: it is malformed: unknown field `surprise`, expected one of `file`, `package`, `version`, `purl`, `source`, `sourceVersion`, `sourcePurl`, `licence` at line 1 column 299
    MANIFEST.json in NAME cannot be used: it has format version 2, this pgproof reads 1
    MANIFEST.json in NAME cannot be used: it is of postgresql-18.6.0-x86_64-unknown-linux-gnu
    MANIFEST.json in NAME cannot be used: it lists lib/libz.so.1 twice
    MANIFEST.json in NAME cannot be used: it names bin, which is no file of the archive
    MANIFEST.json in NAME cannot be used: it is malformed: invalid type: integer `1`, expected a string at line 1 column 490
    MANIFEST.json in NAME cannot be used: it is malformed: EOF while parsing a value at line 1 column 0
    MANIFEST.json in NAME cannot be used: it is malformed: invalid length 0, expected struct Manifest with 5 elements at line 1 column 2
    MANIFEST.json in NAME cannot be used: it is malformed: expected ident at line 1 column 2
    MANIFEST.json in NAME cannot be used: it is malformed: EOF while parsing an object at line 1 column 426
    MANIFEST.json in NAME cannot be used: it is malformed: trailing characters at line 1 column 428
    MANIFEST.json in NAME cannot be used: it is malformed: duplicate field `version` at line 1 column 436
    MANIFEST.json in NAME cannot be used: it is malformed: invalid type: sequence, expected u32 at line 1 column 1
    MANIFEST.json in NAME cannot be used: it is larger than 1048576 bytes
    "#);
}

#[test]
fn what_is_no_archive_of_one_release_is_named() {
    let (mut whole, manifest) = small();
    let mut seen = String::new();
    let mut add = |archives: &[(&str, &Files)], trouble| {
        let archives: Vec<_> = archives.iter().map(|(name, files)| ((*name).to_owned(), (*files).clone())).collect();
        writeln!(seen, "{}", told(taken(&archives).unwrap_err(), trouble)).unwrap();
    };
    add(&[], Trouble::Use);
    // Nobody's MANIFEST.json, another project's name.
    add(&[(NAME, &whole)], Trouble::Input);
    add(&[("hello-1.0", &whole)], Trouble::Input);
    whole.insert("MANIFEST.json".to_owned(), manifest.to_string().into_bytes());
    add(&[(NAME, &whole), (NAME, &whole)], Trouble::Use);
    let debug = files([("bin/.debug/postgres.debug", "x")]);
    add(&[(NAME, &whole), ("postgresql-18.6.0-x86_64-unknown-linux-gnu-debug", &debug)], Trouble::Use);
    // An archive of this name that has something else.
    let error = sbom::of_release(vec![sealed_bytes(NAME, packed("other", &whole))], None).unwrap_err();
    writeln!(seen, "{}", told(error, Trouble::Input)).unwrap();
    // Truncated, with something after it, and none at all.
    let bytes = packed(NAME, &whole);
    for bytes in [bytes[..bytes.len() / 2].to_vec(), [&bytes[..], b"more"].concat(), b"no archive".to_vec()] {
        let error = sbom::of_release(vec![sealed_bytes(NAME, bytes)], None).unwrap_err();
        writeln!(seen, "{}", told(error, Trouble::Input)).unwrap();
    }
    insta::assert_snapshot!(seen.replace(NAME, "NAME"), @r#"
    there is no archive
    NAME has no MANIFEST.json: pgproof did not make it, and which libraries it brings is not known
    hello-1.0 is no archive of a PostgreSQL release: those are named postgresql-<version>.0-<platform>, and -client, -debug or -pl after it
    NAME is there twice
    NAME and postgresql-18.6.0-x86_64-unknown-linux-gnu-debug are of two releases: name those of one
    "other/MANIFEST.json" is not in NAME: the archive does not have exactly one top-level directory
    NAME cannot be read to its end: the archive cannot be read: incomplete deflate stream
    NAME cannot be read to its end: the archive cannot be read: unexpected end of file
    NAME cannot be read to its end: the archive cannot be read: invalid gzip header
    "#);
}

#[test]
fn entries_that_hide_something_are_refused() {
    let (mut whole, manifest) = small();
    whole.insert("MANIFEST.json".to_owned(), manifest.to_string().into_bytes());
    let mut seen = String::new();
    for (kind, path, target) in [
        (b'1', format!("{NAME}/bin/again"), "bin/postgres"),
        (b'0', format!("{NAME}/bin/postgres"), ""),
        (b'2', format!("{NAME}/bin/postgres"), "elsewhere"),
        (b'0', format!("{NAME}/bin/\u{1b}[31m"), ""),
        (b'0', format!("{NAME}-more/bin/postgres"), ""),
        (b'0', NAME.to_owned(), ""),
        (b'6', format!("{NAME}/pipe"), ""),
    ] {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in &whole {
            tar.append_data(&mut header(content.len()), format!("{NAME}/{path}"), &**content).unwrap();
        }
        let mut odd = header(0);
        odd.set_entry_type(tar::EntryType::new(kind));
        if target.is_empty() {
            tar.append_data(&mut odd, path, &b""[..]).unwrap();
        } else {
            tar.append_link(&mut odd, path, target).unwrap();
        }
        let bytes = gzip(&tar.into_inner().unwrap());
        let error = sbom::of_release(vec![sealed_bytes(NAME, bytes)], None).unwrap_err();
        writeln!(seen, "{}", told(error, Trouble::Input)).unwrap();
    }
    assert!(!seen.contains('\u{1b}'), "{seen:?}");
    insta::assert_snapshot!(seen.replace(NAME, "NAME"), @r#"
    NAME cannot be read to its end: "NAME/bin/again" is refused: it is a hard link; only files, directories and links are accepted
    NAME cannot be read to its end: "NAME/bin/postgres" is refused: there already is an entry of this name
    NAME cannot be read to its end: "NAME/bin/postgres" is refused: there already is an entry of this name
    NAME cannot be read to its end: "NAME/bin/\u{1b}[31m" is refused: its name or link target has control characters
    "NAME-more/bin/postgres" is not in NAME: the archive does not have exactly one top-level directory
    "NAME" is not in NAME: the archive does not have exactly one top-level directory
    NAME cannot be read to its end: "NAME/pipe" is refused: it is a fifo; only files, directories and links are accepted
    "#);
}

/// What a text says does not matter, only that it is not shown to a terminal as it is.
#[test]
fn a_text_of_a_stranger_is_carried_and_not_obeyed() {
    let (mut files, _) = small();
    let libraries = [library("lib/libz.so.1", "libodd1", "odd", "1-1")];
    files.insert("MANIFEST.json".to_owned(), manifest(NAME, &libraries).to_string().into_bytes());
    files.insert("share/licenses/libodd1/copyright".to_owned(), b"\x1b[31mred \xff\n".to_vec());
    let documents = sbom::of_release(vec![sealed(NAME, &files)], None).unwrap();
    let spdx: Value = serde_json::from_slice(&documents.spdx).unwrap();
    assert_eq!(spdx["hasExtractedLicensingInfos"][0]["extractedText"], "\u{1b}[31mred \u{fffd}\n");
    for bytes in [&documents.spdx, &documents.cyclonedx, documents.text.as_bytes()] {
        assert!(!bytes.contains(&0x1b));
    }
    // Nobody here has locked it: nothing is said of its tarball.
    let packages = spdx["packages"].as_array().unwrap();
    assert!(!packages.iter().any(|package| package["SPDXID"] == "SPDXRef-Source-postgresql"));
    // The time is the newest in it.
    assert_eq!(spdx["creationInfo"]["created"], "2026-08-09T18:29:30Z");
}
