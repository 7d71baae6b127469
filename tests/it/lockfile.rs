//! A lockfile holds what it says, and nothing that is not safe.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and counts files"
)]

use std::path::Path;

use jiff::Timestamp;
use pgproof::digest::Digest;
use pgproof::lockfile::{Archive, DebianVersion, Index, Lockfile, LockfileError, Name, Origin, Package, Source};
use pgproof::target::{Target, Triple, Version};
use proptest::prelude::*;

fn committed(name: &str) -> Lockfile {
    Lockfile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("lockfiles").join(name)).unwrap()
}

#[test]
fn the_committed_lockfiles_load() {
    assert!(committed("bookworm-amd64.lock").packages.len() > 150);
    let versions =
        committed("postgresql.lock").sources.iter().map(|source| source.version.to_string()).collect::<Vec<_>>();
    assert_eq!(versions, ["13.16", "15.18", "17.11", "18.6"]);
}

/// A small lockfile; each bad one differs from it in one thing.
const GOOD: &str = r#"version = 1
name = "box"

[[index]]
suite = "bookworm"
archive = "debian"
date = "2026-07-11T10:16:37Z"
in-release = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
signed-by = ["B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"]

[[package]]
name = "tool"
version = "1:2.0~rc1-3+b1"
architecture = "amd64"
source = "tool"
source-version = "1:2.0~rc1-3"
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
size = 7
origins = ["debian:pool/main/t/tool_2.0~rc1-3+b1_amd64.deb"]
index = "bookworm"
"#;

/// What is said of a lockfile, with all causes.
fn refusal(text: &str) -> String {
    let error = Lockfile::parse("box.lock", text).unwrap_err();
    let mut said = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        said.push('\n');
        said.push_str(&cause.to_string());
        source = cause.source();
    }
    said
}

#[test]
fn bad_lockfiles_are_refused_with_a_reason() {
    Lockfile::parse("box.lock", GOOD).unwrap();
    let package = &GOOD[GOOD.find("[[package]]").unwrap()..];
    let index = &GOOD[GOOD.find("[[index]]").unwrap()..GOOD.find("[[package]]").unwrap()];
    let hostile = [
        (GOOD.replace("size = 7", "size = 7\nscript = \"rm -rf /\""), "unknown field `script`"),
        (GOOD.replace("size = 7", "size = -7"), "invalid value"),
        (GOOD.replace("size = 7\n", ""), "missing field `size`"),
        (GOOD.replace("sha256:e3b0", "sha256:E3B0"), "is not 64 lower-case hexadecimal digits"),
        (GOOD.replace("sha256:", "md5:"), "does not start with \"sha256:\""),
        (GOOD.replace("pool/main/t", "pool/../../etc"), "is not a plain relative path"),
        (GOOD.replace("debian:pool", "debian:/pool"), "is not a plain relative path"),
        (GOOD.replace("debian:pool", "file:///pool"), "is not an origin"),
        (GOOD.replace("name = \"tool\"", "name = \"../tool\""), "is not a name"),
        (GOOD.replace("1:2.0~rc1-3+b1\"", "1:2.0\\u001b[31m\""), "is not a Debian version"),
        (GOOD.replace("B8B80B5B", "b8b80b5b"), "is not an OpenPGP fingerprint"),
        (GOOD.replace("archive = \"debian\"", "archive = \"ubuntu\""), "unknown variant `ubuntu`"),
        (GOOD.replace("index = \"bookworm\"", "index = \"sid\""), "names the index sid, which is not in the file"),
        (
            GOOD.replace("[\"debian:pool/main/t/tool_2.0~rc1-3+b1_amd64.deb\"]", "[]"),
            "package tool:amd64 has no origin",
        ),
        (format!("{GOOD}\n{package}"), "package tool:amd64 is there twice"),
        (GOOD.replace(index, &format!("{index}{index}")), "index bookworm is there twice"),
        (GOOD.replace("version = 1\n", "version = 2\n"), "has format version 2, this pgproof reads 1"),
        (String::new(), "missing field `version`"),
    ];
    for (text, reason) in hostile {
        assert_ne!(text, GOOD, "{reason}");
        let said = refusal(&text);
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn a_file_without_end_is_not_read_to_the_end() {
    let error = Lockfile::load(Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(error, LockfileError::TooLarge { .. }), "{error}");
}

#[test]
fn a_version_that_is_not_locked_names_those_that_are() {
    let target = Target { version: "16.1".parse().unwrap(), triple: Triple::X86_64UnknownLinuxGnu };
    let error = committed("postgresql.lock").source(target).unwrap_err();
    insta::assert_snapshot!(error, @"PostgreSQL 16.1 for x86_64-unknown-linux-gnu is not locked; locked are 13.16, 15.18, 17.11, 18.6");
}

#[test]
fn committed_lockfiles_are_as_pgproof_writes_them() {
    for name in ["bookworm-amd64.lock", "postgresql.lock"] {
        let lockfile = committed(name);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lockfiles").join(name);
        assert_eq!(lockfile.to_text().unwrap(), std::fs::read_to_string(path).unwrap());
        assert!(lockfile.packages.is_sorted_by(|left, right| left.name < right.name));
        assert!(lockfile.sources.is_sorted_by(|left, right| left.version < right.version));
    }
}

#[test]
fn saving_replaces_the_file_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("box.lock");
    std::fs::write(&path, "old").unwrap();
    let lockfile = Lockfile::parse("box.lock", GOOD).unwrap();
    lockfile.save(&path).unwrap();
    assert_eq!(Lockfile::load(&path).unwrap(), lockfile);
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    assert!(matches!(lockfile.save(&directory.path().join("no/box.lock")), Err(LockfileError::Unwritable { .. })));
}

fn names() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9][a-zA-Z0-9+.:~_-]{0,12}".prop_map(|name| name.parse().unwrap())
}

fn versions() -> impl Strategy<Value = DebianVersion> {
    "([0-9]{1,3}:)?[0-9a-zA-Z][0-9a-zA-Z.+~]{0,6}(-[0-9a-zA-Z.+~]{1,4})?".prop_map(|version| version.parse().unwrap())
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn times() -> impl Strategy<Value = Timestamp> {
    (0..u32::MAX).prop_map(|seconds| Timestamp::from_second(seconds.into()).unwrap())
}

fn origins() -> impl Strategy<Value = Vec<Origin>> {
    let origin = "(debian:pool(/[a-z0-9]{1,8}){1,4}|https?://[a-z]{1,8}\\.org/[a-z0-9.]{0,9}[a-z])";
    prop::collection::vec(origin.prop_map(|origin| origin.parse().unwrap()), 1..3)
}

/// Lockfiles whose entries name one index and have different names.
fn lockfiles() -> impl Strategy<Value = Lockfile> {
    let index = (names(), times(), digests(), prop::collection::vec("[0-9A-F]{40}", 0..3)).prop_map(
        |(suite, date, in_release, signed_by)| Index {
            suite,
            archive: Archive::Debian,
            date,
            in_release,
            signed_by: signed_by.iter().map(|fingerprint| fingerprint.parse().unwrap()).collect(),
        },
    );
    let size = 0..=i64::MAX.unsigned_abs();
    let package = (versions(), names(), names(), versions(), digests(), size.clone(), origins());
    let source = (any::<u16>(), digests(), size.clone(), digests(), size, times(), origins());
    (
        index,
        prop::collection::btree_map(names(), package, 0..4),
        prop::collection::btree_map(any::<u16>(), source, 0..4),
    )
        .prop_map(|(index, packages, sources)| Lockfile {
            version: 1,
            name: "box".parse().unwrap(),
            packages: packages
                .into_iter()
                .map(|(name, (version, architecture, source, source_version, digest, size, origins))| Package {
                    name,
                    version,
                    architecture,
                    source,
                    source_version,
                    digest,
                    size,
                    origins,
                    index: index.suite.clone(),
                })
                .collect(),
            sources: sources
                .into_iter()
                .map(|(major, (minor, digest, size, tar_digest, tar_size, released, origins))| Source {
                    version: Version { major, minor },
                    digest,
                    size,
                    tar_digest,
                    tar_size,
                    released,
                    origins,
                    index: index.suite.clone(),
                })
                .collect(),
            indices: vec![index],
        })
}

proptest! {
    #[test]
    fn text_and_lockfile_round_trip(lockfile in lockfiles()) {
        let text = lockfile.to_text().unwrap();
        let parsed = Lockfile::parse("box.lock", &text).unwrap();
        prop_assert_eq!(&parsed, &lockfile);
        prop_assert_eq!(parsed.to_text().unwrap(), text);
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,200}") {
        prop_assert!(Lockfile::parse("box.lock", &text).is_err());
    }

    #[test]
    fn versions_have_one_order(left in versions(), middle in versions(), right in versions()) {
        prop_assert_eq!(left.compare(&right), right.compare(&left).reverse());
        if left.compare(&middle) == middle.compare(&right) {
            prop_assert_eq!(left.compare(&right), left.compare(&middle));
        }
    }
}

#[test]
fn versions_are_ordered_as_deb_version_7_says() {
    let ordered = [
        "0~~", "0~~a", "0~", "0", "0a", "0+", "1.0~rc1", "1.0", "1.0-0.1", "1.0-1", "1.0a", "1.0+b1", "1.9", "1.10",
        "1:0",
    ];
    for pair in ordered.windows(2) {
        let [left, right] = [pair[0], pair[1]].map(|version| version.parse::<DebianVersion>().unwrap());
        assert!(left.compare(&right).is_lt(), "{left} {right}");
    }
    for (left, right) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("1.0-", "1.0")] {
        let (Ok(left), Ok(right)) = (left.parse::<DebianVersion>(), right.parse()) else {
            assert_eq!(left, "1.0-", "an empty revision is no version");
            continue;
        };
        assert!(left.compare(&right).is_eq(), "{left} {right}");
    }
}
