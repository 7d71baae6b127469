//! A lockfile comes from signed indices, and from nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::format_collect,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, makes small files by hand and counts those that are left"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;
use pgproof::definitions::Definitions;
use pgproof::digest::Digest;
use pgproof::lock::release::ReleaseError;
use pgproof::lock::sources::SourcesError;
use pgproof::lock::{LockError, Network, NetworkError, Request, lock};
use pgproof::lockfile::{Lockfile, Name, Origin, Pin};
use pgproof::store::{Blob, Store, StoreError};

use crate::lock_keys::{Key, MADE, Manner, SIGNED, clearsigned};

/// A mirror that exists only here, with one suite, `test`, that one key signs.
struct Archive {
    key: RefCell<Key>,
    /// By path below the mirror's root.
    files: BTreeMap<String, Vec<u8>>,
    /// Fields before the list of files.
    fields: String,
    /// Path below the suite, what `Release` says of it.
    listed: Vec<(String, Digest, u64)>,
    /// What was asked for.
    asked: RefCell<Vec<String>>,
}

impl Archive {
    fn new() -> Self {
        Self {
            key: RefCell::new(Key::new(1)),
            files: BTreeMap::new(),
            fields: "Codename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n".to_owned(),
            listed: Vec::new(),
            asked: RefCell::new(Vec::new()),
        }
    }

    /// With a small graph of packages and the source of PostgreSQL 17.11.
    fn filled() -> Self {
        let mut archive = Self::new();
        let packages = [("base", "Essential: yes"), ("tool", "Depends: lib (>= 1)"), ("lib", ""), ("unused", "")];
        let stanza = |(name, fields): &(&str, &str)| {
            let digest = Digest::of(name.as_bytes()).hex();
            let fields = if fields.is_empty() { String::new() } else { format!("{fields}\n") };
            format!(
                "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nSource: src (1.0)\n{fields}\
                 Filename: pool/main/{name}_1.0-1_amd64.deb\nSize: 7\nSHA256: {digest}\n\n"
            )
        };
        archive.index("main/binary-amd64/Packages", packages.iter().map(stanza).collect::<String>().as_bytes());
        archive.tarball(&tar(&[1_700_000_000, 1_750_000_000, 1_600_000_000]));
        archive
    }

    fn tarball(&mut self, tar: &[u8]) {
        let mut compressed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        compressed.write_all(tar).unwrap();
        let tarball = compressed.finish().unwrap();
        let stanza = format!(
            "Package: postgresql-17\nVersion: 17.11-1\nDirectory: pool/main/p\nChecksums-Sha256:\n {} {} postgresql-17_17.11.orig.tar.bz2\n",
            Digest::of(&tarball).hex(),
            tarball.len()
        );
        self.files.insert("pool/main/p/postgresql-17_17.11.orig.tar.bz2".to_owned(), tarball);
        self.listed.clear_of("main/source/Sources");
        self.index("main/source/Sources", stanza.as_bytes());
    }

    /// Adds an index, as it is and compressed.
    fn index(&mut self, path: &str, content: &[u8]) {
        let compressed = xz(content);
        self.listed.push((path.to_owned(), Digest::of(content), content.len() as u64));
        self.listed.push((format!("{path}.xz"), Digest::of(&compressed), compressed.len() as u64));
        self.files.insert(format!("dists/test/{path}.xz"), compressed);
    }

    fn release(&self) -> String {
        let list: String =
            self.listed.iter().map(|(path, digest, size)| format!(" {} {size} {path}\n", digest.hex())).collect();
        format!("{}SHA256:\n{list}", self.fields)
    }

    fn lock(&self, definition: &str) -> Result<Lockfile, LockError> {
        self.lock_with(definition, None, &[])
    }

    fn lock_with(&self, definition: &str, previous: Option<&Lockfile>, allow: &[Name]) -> Result<Lockfile, LockError> {
        let directory = tempfile::tempdir().unwrap();
        let sysroots = directory.path().join("sysroots");
        std::fs::create_dir(&sysroots).unwrap();
        let (armored, fingerprint) = (self.key.borrow().armored(), self.key.borrow().fingerprint());
        std::fs::write(sysroots.join("keys.asc"), armored).unwrap();
        let index = format!(
            "[[index]]\nsuite = \"test\"\narchive = \"debian\"\ncomponents = [\"main\"]\n\
             keyring = \"sysroots/keys.asc\"\nfingerprints = [\"{fingerprint}\"]\nsignatures = 1\n{definition}"
        );
        std::fs::write(sysroots.join("box.toml"), index).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let request = Request {
            definitions: &Definitions::Directory(directory.path().to_owned()),
            name: &"box".parse().unwrap(),
            previous,
            allow_expired: allow,
            now: Timestamp::from_second(i64::from(SIGNED) + 3600).unwrap(),
        };
        let locked = lock(&request, &store, self);
        let left = Path::new(&directory.path().join("store/ingest")).read_dir().unwrap().count();
        assert_eq!(left, 0, "something half-written was left in the store");
        locked
    }
}

impl Network for Archive {
    fn get(&self, origin: &Origin, limit: u64) -> Result<Vec<u8>, NetworkError> {
        assert!(limit < 64 << 20, "what is not known by digest has to be small");
        let origin = origin.to_string();
        self.asked.borrow_mut().push(origin.clone());
        match origin.as_str() {
            "debian:dists/test/InRelease" => {
                let mut key = self.key.borrow_mut();
                Ok(clearsigned(&self.release(), &mut [(&mut *key, Manner::default())]).into_bytes())
            }
            _ => Err("404".into()),
        }
    }

    fn bring(&self, pin: &Pin, store: &Store) -> Result<Blob, NetworkError> {
        self.asked.borrow_mut().push(pin.origins[0].to_string());
        let paths =
            pin.origins.iter().filter_map(|origin| Some(origin.to_string().strip_prefix("debian:")?.to_owned()));
        let bytes = paths.into_iter().find_map(|path| self.files.get(&path)).ok_or("404")?;
        let mut incoming = store.incoming()?;
        incoming.write_all(bytes)?;
        Ok(incoming.commit_as(pin.digest, pin.size)?)
    }
}

trait ClearOf {
    fn clear_of(&mut self, path: &str);
}

impl ClearOf for Vec<(String, Digest, u64)> {
    fn clear_of(&mut self, path: &str) {
        self.retain(|(listed, ..)| !listed.starts_with(path));
    }
}

const COMPOSE: &str = "[compose]\ntarget = \"x86_64-unknown-linux-gnu\"\nessential = true\npackages = [\"tool\"]\n\
    manifest = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\n";

const SOURCE: &str = "[[source]]\nversion = \"17.11\"\nsuite = \"test\"\npackage = \"postgresql-17\"\n\
    origins = [\"https://ftp.postgresql.org/17.tar.bz2\"]\n";

fn xz(content: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn tar(times: &[u64]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (number, time) in times.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(*time);
        header.set_size(1);
        builder.append_data(&mut header, format!("postgresql-17.11/{number}"), &b"x"[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An error with its causes, one a line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}\n{cause}");
        source = cause.source();
    }
    text
}

#[test]
fn packages_are_locked_with_all_that_is_needed_to_fetch_them() {
    let archive = Archive::filled();
    let locked = archive.lock(COMPOSE).unwrap();
    let text = locked.to_text().unwrap();
    let text = text.replace(&archive.key.borrow().fingerprint().to_string(), "[fingerprint]");
    let text = text.replace(&locked.indices[0].in_release.hex(), "[in-release]");
    insta::assert_snapshot!(text, @r#"
    # Written by `pgproof lock box` from sysroots/box.toml and the signed indices named below. Do not edit.
    version = 1
    name = "box"

    [[index]]
    suite = "test"
    archive = "debian"
    date = "2026-11-01T00:00:00Z"
    in-release = "sha256:[in-release]"
    signed-by = ["[fingerprint]"]

    [[package]]
    name = "base"
    version = "1.0-1"
    architecture = "amd64"
    source = "src"
    source-version = "1.0"
    digest = "sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2"
    size = 7
    origins = ["debian:pool/main/base_1.0-1_amd64.deb"]
    index = "test"

    [[package]]
    name = "lib"
    version = "1.0-1"
    architecture = "amd64"
    source = "src"
    source-version = "1.0"
    digest = "sha256:76b5a357391276b282a516f54f48ef3c207f46d8192dc58c208d5183d38415f8"
    size = 7
    origins = ["debian:pool/main/lib_1.0-1_amd64.deb"]
    index = "test"

    [[package]]
    name = "tool"
    version = "1.0-1"
    architecture = "amd64"
    source = "src"
    source-version = "1.0"
    digest = "sha256:7c9bbe5ec9b3fb774e8fa0f54247e93c34ddf8e5d16fe3073420de0ae81a262d"
    size = 7
    origins = ["debian:pool/main/tool_1.0-1_amd64.deb"]
    index = "test"
    "#);
}

#[test]
fn a_source_is_locked_with_what_only_its_content_says() {
    let locked = Archive::filled().lock(SOURCE).unwrap();
    let [source] = &*locked.sources else { panic!("one source was asked for") };
    let tar = tar(&[1_700_000_000, 1_750_000_000, 1_600_000_000]);
    assert_eq!(source.released.as_second(), 1_750_000_000);
    assert_eq!((source.tar_digest, source.tar_size), (Digest::of(&tar), tar.len() as u64));
    let origins: Vec<_> = source.origins.iter().map(Origin::to_string).collect();
    assert_eq!(
        origins,
        ["https://ftp.postgresql.org/17.tar.bz2", "debian:pool/main/p/postgresql-17_17.11.orig.tar.bz2"]
    );
}

#[test]
fn locking_twice_gives_the_same_bytes() {
    let archive = Archive::filled();
    let definition = format!("{COMPOSE}{SOURCE}");
    let first = archive.lock(&definition).unwrap();
    let second = archive.lock_with(&definition, Some(&first), &[]).unwrap();
    assert_eq!(first.to_text().unwrap(), second.to_text().unwrap());
    assert_eq!(Lockfile::parse("box.lock", &first.to_text().unwrap()).unwrap(), first);
}

#[test]
fn an_index_is_asked_for_by_its_digest_where_the_mirror_keeps_it_so() {
    let mut archive = Archive::filled();
    archive.fields.push_str("Acquire-By-Hash: yes\n");
    archive.lock(COMPOSE).unwrap();
    let asked = archive.asked.borrow();
    assert!(asked[1].starts_with("debian:dists/test/main/binary-amd64/by-hash/SHA256/"), "{asked:?}");
}

#[test]
fn an_index_that_does_not_match_the_release_is_refused() {
    let mut archive = Archive::filled();
    archive.listed[0].1 = Digest::of(b"other");
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Store(StoreError::Mismatch { .. })), "{error}");

    // The compressed file is fetch's to check; it says so too.
    let mut archive = Archive::filled();
    archive.listed[1].1 = Digest::of(b"other");
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Network { .. }), "{error}");
}

#[test]
fn a_bomb_is_not_decompressed_beyond_what_is_signed() {
    let mut archive = Archive::new();
    archive.index("main/binary-amd64/Packages", &vec![b'\n'; 64 << 20]);
    archive.listed[0].2 = 1000;
    match archive.lock(COMPOSE).unwrap_err() {
        LockError::Store(StoreError::Mismatch { received_size, .. }) => assert_eq!(received_size, 1001),
        other => panic!("{other}"),
    }
    archive.listed[0].2 = 1 << 40;
    assert!(matches!(archive.lock(COMPOSE), Err(LockError::TooLarge { .. })));
}

#[test]
fn what_is_not_xz_is_refused() {
    let mut archive = Archive::filled();
    archive.files.insert("dists/test/main/binary-amd64/Packages.xz".to_owned(), b"plain".to_vec());
    archive.listed[1].1 = Digest::of(b"plain");
    archive.listed[1].2 = 5;
    assert!(matches!(archive.lock(COMPOSE), Err(LockError::Compression { .. })));
}

#[test]
fn an_expired_index_is_used_only_when_allowed_by_name() {
    let mut archive = Archive::filled();
    archive.fields.push_str("Valid-Until: Sun, 01 Nov 2026 00:30:00 UTC\n");
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Expired { .. }));
    insta::assert_snapshot!(error, @"the index of test was to be used until 2026-11-01T00:30:00Z, now it is 2026-11-01T01:00:00Z: the mirror may be out of date. To lock what it has all the same, allow an expired index for test by name");
    let other: Name = "other".parse().unwrap();
    assert!(matches!(archive.lock_with(COMPOSE, None, &[other]), Err(LockError::Expired { .. })));
    archive.lock_with(COMPOSE, None, &["test".parse().unwrap()]).unwrap();
}

#[test]
fn an_index_of_another_time_or_suite_is_refused() {
    let mut archive = Archive::filled();
    archive.fields = "Codename: test\nDate: Sun, 01 Nov 2026 02:00:00 UTC\n".to_owned();
    assert!(matches!(archive.lock(COMPOSE), Err(LockError::Future { .. })));

    archive.fields = "Codename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n".to_owned();
    let newer = archive.lock(COMPOSE).unwrap();
    archive.fields = "Codename: test\nDate: Sat, 31 Oct 2026 00:00:00 UTC\n".to_owned();
    let error = archive.lock_with(COMPOSE, Some(&newer), &[]).unwrap_err();
    assert!(matches!(error, LockError::Older { .. }), "{error}");

    archive.fields = "Codename: evil\nSuite: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n".to_owned();
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Release { source: ReleaseError::Other { .. }, .. }), "{error}");
}

#[test]
fn a_malformed_release_is_refused() {
    let hostile = [
        ("no date", "Codename: test\n"),
        ("two dates", "Codename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\ndate: Sun, 01 Nov 2026 00:00:00 UTC\n"),
        ("a date that is none", "Codename: test\nDate: tomorrow\n"),
        ("two stanzas", "Codename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n\n"),
        ("a line that is no field", "Codename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\nevil\n"),
        ("a value that continues nothing", " x\nCodename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n"),
        ("a comment", "#x: y\nCodename: test\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n"),
    ];
    for (what, fields) in hostile {
        let mut archive = Archive::filled();
        archive.fields = fields.to_owned();
        match archive.lock(COMPOSE) {
            Err(LockError::Release { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    let mut archive = Archive::filled();
    archive.listed.push(("main/binary-amd64/Packages".to_owned(), Digest::of(b"other"), 5));
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Release { source: ReleaseError::Twice(_), .. }), "{error}");
    archive.listed.clear();
    let error = archive.lock(COMPOSE).unwrap_err();
    assert!(matches!(error, LockError::Release { source: ReleaseError::NotListed(_), .. }), "{error}");
}

#[test]
fn malformed_packages_are_refused() {
    let good = "Package: tool\nVersion: 1\nArchitecture: amd64\nFilename: pool/tool.deb\nSize: 7\nSHA256: \
        0000000000000000000000000000000000000000000000000000000000000000\n";
    let lock = |index: &str| {
        let mut archive = Archive::new();
        archive.index("main/binary-amd64/Packages", index.as_bytes());
        archive.lock(COMPOSE)
    };
    assert_eq!(lock(good).unwrap().packages.len(), 1);
    let hostile = [
        ("a path that leaves the archive", good.replace("pool/tool", "../../etc/passwd")),
        ("an absolute path", good.replace("pool/tool", "/etc/passwd")),
        ("a name with a path", good.replace("Package: tool", "Package: ../tool")),
        ("a version with a space", good.replace("Version: 1", "Version: 1 ; rm -rf /")),
        ("another architecture", good.replace("amd64", "arm64")),
        ("no digest", good.replace("SHA256", "SHA1")),
        ("a short digest", good.replace("0000", "00")),
        ("no size", good.replace("Size: 7", "Size: many")),
        ("a relation that is none", format!("{good}Depends: a (b)\n")),
        ("a relation for one architecture", format!("{good}Depends: a [amd64]\n")),
        ("a relation to nothing", format!("{good}Depends: a,,b\n")),
        ("a field twice", format!("{good}Version: 2\n")),
        ("two files of one version", format!("{good}\n{}", good.replace("0000", "1111"))),
    ];
    for (what, index) in hostile {
        match lock(&index) {
            Err(LockError::Packages { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    let mut archive = Archive::new();
    archive.index("main/binary-amd64/Packages", &[good.as_bytes(), b"Description: \xff\n"].concat());
    assert!(matches!(archive.lock(COMPOSE), Err(LockError::Packages { .. })));
}

#[test]
fn a_source_that_is_not_there_names_those_that_are() {
    let error = Archive::filled().lock(&SOURCE.replace("17.11", "17.12")).unwrap_err();
    assert!(matches!(error, LockError::Sources { source: SourcesError::NotThere { .. }, .. }));
    insta::assert_snapshot!(chain(&error), @r"
    main/source/Sources does not help
    it has no postgresql-17_17.12.orig.tar.bz2; of postgresql-17 it has postgresql-17_17.11.orig.tar.bz2. To lock another release, change the version in the definition; to keep this one, keep its entry: its digest holds as long as any origin has the file
    ");
    let error = Archive::filled().lock(&SOURCE.replace("suite = \"test\"", "suite = \"other\"")).unwrap_err();
    assert!(matches!(error, LockError::NoIndex { .. }), "{error}");
}

#[test]
fn a_tarball_that_is_none_is_refused() {
    let mut archive = Archive::filled();
    archive.tarball(&tar(&[]));
    assert!(matches!(archive.lock(SOURCE), Err(LockError::Tar { reason: "it has no files", .. })));
    archive.tarball(&tar(&[u64::from(u32::MAX) + 1]));
    assert!(matches!(archive.lock(SOURCE), Err(LockError::Tar { .. })));
    archive.tarball(&[b'x'; 2000]);
    assert!(matches!(archive.lock(SOURCE), Err(LockError::Compression { .. })));
    let mut torn = tar(&[u64::from(MADE), u64::from(MADE)]);
    torn.truncate(700);
    archive.tarball(&torn);
    assert!(matches!(archive.lock(SOURCE), Err(LockError::Compression { .. })));
}

#[test]
fn nothing_is_asked_of_the_network_that_the_definition_does_not_need() {
    let archive = Archive::filled();
    archive.lock(COMPOSE).unwrap();
    assert_eq!(
        *archive.asked.borrow(),
        ["debian:dists/test/InRelease", "debian:dists/test/main/binary-amd64/Packages.xz"]
    );
}
