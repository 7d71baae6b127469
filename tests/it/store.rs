//! What the store hands out is what was put in, or an error.

use std::error::Error;
use std::fs::{Permissions, read_dir, write};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pgproof::digest::Digest;
use pgproof::store::{Blob, Damage, Fault, Store, StoreError};
use proptest::prelude::*;

/// A new store, and the directory that is removed when the test ends.
pub(crate) fn new() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

/// A blob's file.
pub(crate) fn path(store: &Store, digest: Digest) -> PathBuf {
    store.root().join("blobs/sha256").join(digest.hex())
}

/// Changes a blob behind the store's back.
pub(crate) fn damage(store: &Store, blob: Blob, bytes: &[u8]) {
    let path = path(store, blob.digest());
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    write(path, bytes).unwrap();
}

/// What is in `ingest/`.
pub(crate) fn ingest(store: &Store) -> usize {
    read_dir(store.root().join("ingest")).unwrap().count()
}

fn read(store: &Store, blob: Blob) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.read(blob)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An error and its causes, with the store's directory left out.
fn message(store: &Path, error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.extend(["\n  because ", &cause.to_string()]);
        next = cause.source();
    }
    text.replace(store.to_str().unwrap(), "STORE")
}

proptest! {
    #[test]
    fn what_is_written_in_any_pieces_is_read_in_any_pieces(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..20),
        step in 1_usize..4000,
    ) {
        let (_directory, store) = new();
        let mut incoming = store.incoming().unwrap();
        for piece in &pieces {
            incoming.write_all(piece).unwrap();
        }
        let bytes = pieces.concat();
        prop_assert_eq!(incoming.digest().unwrap(), Digest::of(&bytes));
        let blob = incoming.commit().unwrap();
        prop_assert_eq!((blob.digest(), blob.size()), (Digest::of(&bytes), bytes.len() as u64));
        prop_assert_eq!(store.find(blob.digest()).unwrap(), Some(blob));

        let mut reader = store.read(blob).unwrap();
        let mut found = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            let count = reader.read(&mut buffer).unwrap();
            if count == 0 { break }
            found.extend_from_slice(&buffer[..count]);
        }
        prop_assert_eq!(found, bytes);
        prop_assert_eq!(ingest(&store), 0);
    }

    #[test]
    fn a_changed_byte_is_never_read_to_the_end(
        mut bytes in prop::collection::vec(any::<u8>(), 1..5000), at: prop::sample::Index, flip in 1..=u8::MAX, step in 1_usize..4000,
    ) {
        let (_directory, store) = new();
        let blob = store.admit(&bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        damage(&store, blob, &bytes);

        let mut reader = store.read(blob).unwrap();
        let mut buffer = vec![0; step];
        let mut count = 0;
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(0) => panic!("the end was reached"),
                Ok(some) => count += some,
                Err(error) => break error,
            }
        };
        // Whoever reads just as many bytes as the blob has must see it too.
        prop_assert!(count < bytes.len());
        let found = StoreError::find(&error).unwrap();
        prop_assert_eq!(found.fault(), Fault::Content);
        prop_assert!(matches!(found, StoreError::Damaged(damaged) if damaged.damage == Damage::Digest(Digest::of(&bytes))));
        prop_assert!(reader.read(&mut buffer).is_err(), "asking again does not help");
        prop_assert!(reader.finish().is_err());
    }
}

#[test]
fn a_blob_is_read_only_and_named_by_its_digest() {
    let (_directory, store) = new();
    let blob = store.admit(b"hello").unwrap();
    assert_eq!(std::fs::read(path(&store, Digest::of(b"hello"))).unwrap(), b"hello");
    assert_eq!(std::fs::metadata(path(&store, blob.digest())).unwrap().mode() & 0o7777, 0o444);
}

#[test]
fn a_blob_that_is_there_stays_and_one_that_is_too_short_is_replaced() {
    let (_directory, store) = new();
    let blob = store.admit(b"hello").unwrap();
    let inode = || std::fs::metadata(path(&store, blob.digest())).unwrap().ino();
    let first = inode();
    assert_eq!(store.admit(b"hello").unwrap(), blob);
    assert_eq!(inode(), first);

    damage(&store, blob, b"hell");
    assert_eq!(store.admit(b"hello").unwrap(), blob);
    assert_eq!(read(&store, blob).unwrap(), b"hello");
    assert_eq!(ingest(&store), 0);
}

#[test]
fn what_is_not_what_was_expected_does_not_come_in() {
    let (_directory, store) = new();
    let expected = Digest::of(b"hello");
    for (bytes, size) in [(&b"hullo"[..], 5), (b"hello", 6)] {
        let mut incoming = store.incoming().unwrap();
        incoming.write_all(bytes).unwrap();
        let error = incoming.commit_as(expected, size).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Content);
    }
    assert_eq!(store.find(expected).unwrap(), None);
    assert_eq!(store.find(Digest::of(b"hullo")).unwrap(), None);
    assert_eq!(ingest(&store), 0);
    let error = store.get(expected).unwrap_err();
    insta::assert_snapshot!(message(store.root(), &error), @"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is not in the store STORE");
}

#[test]
fn what_is_dropped_half_way_leaves_nothing() {
    let (_directory, store) = new();
    let mut incoming = store.incoming().unwrap();
    incoming.write_all(&vec![7; 1 << 20]).unwrap();
    assert_eq!(ingest(&store), 1);
    drop(incoming);
    assert_eq!(ingest(&store), 0);
}

#[test]
fn a_blob_of_another_length_is_damaged() {
    let (_directory, store) = new();
    let blob = store.admit(b"hello").unwrap();
    damage(&store, blob, b"hello, world");
    let error = store.read(blob).unwrap_err();
    insta::assert_snapshot!(message(store.root(), &error), @"blob STORE/blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is damaged: it has 12 bytes instead of 5; remove it with `pgproof store verify --repair` and run this again");

    // Who finds it only now has its length from the disk; then its bytes give it away.
    let blob = store.get(blob.digest()).unwrap();
    let error = read(&store, blob).unwrap_err();
    insta::assert_snapshot!(message(store.root(), &error), @"blob STORE/blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is damaged: it has the digest sha256:09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b; remove it with `pgproof store verify --repair` and run this again");
}

#[test]
fn a_blob_that_shrinks_while_it_is_read_is_damaged() {
    let (_directory, store) = new();
    let blob = store.admit(&vec![7; 100_000]).unwrap();
    let mut reader = store.read(blob).unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    damage(&store, blob, &[7; 5000]);
    let error = reader.finish().unwrap_err();
    let Some(StoreError::Damaged(damaged)) = StoreError::find(&error) else { panic!("{error}") };
    assert_eq!(damaged.damage, Damage::Size { expected: 100_000, found: 5000 });
}

#[test]
fn only_a_file_is_a_blob() {
    let (_directory, store) = new();
    let blob = store.admit(b"hello").unwrap();
    let path = path(&store, blob.digest());
    let elsewhere = store.root().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    let refused = || {
        for result in [store.find(blob.digest()).map(drop), store.read(blob).map(drop), store.file(blob).map(drop)] {
            let Err(StoreError::Damaged(damaged)) = result else { panic!("{result:?}") };
            assert_eq!(damaged.damage, Damage::NotAFile);
        }
        std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
    };
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    refused();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    refused();
    std::fs::create_dir(&path).unwrap();
    refused();
}

#[test]
fn damage_is_found_however_deep_the_error_lies() {
    let (_directory, store) = new();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(100_000);
    builder.append_data(&mut header, "file", std::io::repeat(7).take(100_000)).unwrap();
    let whole = builder.into_inner().unwrap();
    let damaged = |mut bytes: Vec<u8>| {
        let blob = store.admit(&bytes).unwrap();
        bytes[512 + 77] = 8;
        damage(&store, blob, &bytes);
        tar::Archive::new(store.read(blob).unwrap())
    };

    // The tar crate wraps what its reader says in an error of its own.
    let mut archive = damaged(whole[..whole.len() - 1024].to_vec());
    let error = archive.entries().unwrap().find_map(Result::err).unwrap();
    assert_eq!(StoreError::find(&error).unwrap().fault(), Fault::Content);

    // It stops at the archive's own end, which comes before the blob's; `finish` reads on.
    let mut archive = damaged(whole);
    assert!(archive.entries().unwrap().all(|entry| entry.is_ok()));
    let error = archive.into_inner().finish().unwrap_err();
    let wrapped = std::io::Error::other(std::io::Error::other(error));
    assert_eq!(StoreError::find(&wrapped).unwrap().fault(), Fault::Content);
    assert!(StoreError::find(&std::io::Error::other("something else")).is_none());
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path().join("thesis.tex"), "").unwrap();
    let error = Store::open(directory.path()).unwrap_err();
    insta::assert_snapshot!(message(directory.path(), &error), @r#"STORE is not a store: it holds "thesis.tex"; name an empty directory or a store with --store DIR"#);
    assert_eq!(error.fault(), Fault::Use);
    assert_eq!(read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_store_of_another_format_is_refused() {
    let (_directory, store) = new();
    write(store.root().join("version"), "2\n").unwrap();
    let error = Store::open(store.root()).unwrap_err();
    insta::assert_snapshot!(message(store.root(), &error), @r#"the store STORE has format "2", this pgproof reads 1: name another with --store DIR"#);
    write(store.root().join("version"), "1\n").unwrap();
    write(store.root().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(matches!(Store::open(store.root()), Err(StoreError::Format { found, .. }) if found == "2.0.0"));
}

#[test]
fn an_image_layout_of_another_tool_becomes_a_store() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
    write(directory.path().join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}\n").unwrap();
    write(directory.path().join("index.json"), INDEX).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(std::fs::read_to_string(directory.path().join("index.json")).unwrap(), INDEX);
    assert_eq!(store.images().unwrap().len(), 1);
}

/// An index with what the specification allows and pgproof never writes.
const INDEX: &str = r#"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "later": [1], "manifests": [
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7, "later": {}, "platform": {"architecture": "amd64", "os": "linux"},
     "digest": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
     "annotations": {"org.opencontainers.image.ref.name": "bookworm"}},
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7,
     "digest": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
     "annotations": {"org.opencontainers.image.ref.name": "../../etc"}},
    {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 7, "digest": "sha512-half:abc"}]}"#;

#[test]
fn a_tag_moves_and_other_images_stay() {
    let (_directory, store) = new();
    write(store.root().join("index.json"), INDEX).unwrap();
    let name = "bookworm".parse().unwrap();
    // Its manifest is not in the store.
    assert_eq!(store.tagged(&name).unwrap(), None);
    let manifest = store.admit(b"hello").unwrap();
    assert_eq!(store.tagged(&name).unwrap(), Some(manifest));
    let other = store.admit(b"{}").unwrap();
    store.tag(&name, other).unwrap();
    assert_eq!(store.tagged(&name).unwrap(), Some(other));
    store.tag(&"trixie".parse().unwrap(), manifest).unwrap();

    let images = store.images().unwrap();
    let images: Vec<_> = images.iter().map(|image| (image.name.as_str(), image.manifest)).collect();
    assert_eq!(images, [("bookworm", other.digest()), ("trixie", manifest.digest())]);
    let index = std::fs::read_to_string(store.root().join("index.json")).unwrap();
    assert!(index.contains("../../etc") && index.contains("sha512-half:abc"), "{index}");
}

#[test]
fn the_layout_is_the_one_of_the_specification() {
    let (_directory, store) = new();
    let read = |name| std::fs::read_to_string(store.root().join(name)).unwrap();
    assert_eq!(read("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(read("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#);
    let manifest = store.admit(b"{}").unwrap();
    store.tag(&"bookworm".parse().unwrap(), manifest).unwrap();
    insta::assert_snapshot!(read("index.json"), @r#"
    {
      "schemaVersion": 2,
      "manifests": [
        {
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
          "size": 2,
          "annotations": {
            "org.opencontainers.image.ref.name": "bookworm"
          }
        }
      ]
    }
    "#);
}

#[test]
fn a_hostile_index_is_refused() {
    let (_directory, store) = new();
    let manifest = |digest: &str, size: &str| {
        format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"{digest}","size":{size}}}]}}"#)
    };
    let digest = Digest::of(b"").to_string();
    let hostile = [
        ("a path for a digest", manifest("sha256:../../../../etc/passwd", "1")),
        ("a path for an algorithm", manifest("../../etc:abc", "1")),
        ("a short digest", manifest("sha256:abc", "1")),
        ("a size that is text", manifest(&digest, "\"1\"")),
        ("a negative size", manifest(&digest, "-1")),
        ("another schema", r#"{"schemaVersion":1,"manifests":[]}"#.to_owned()),
        ("no manifests", r#"{"schemaVersion":2}"#.to_owned()),
        ("nothing", String::new()),
        ("half of it", manifest(&digest, "1")[..60].to_owned()),
        ("depth", "[".repeat(1 << 20)),
    ];
    for (what, text) in hostile {
        write(store.root().join("index.json"), text).unwrap();
        let error = store.images().unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{what}: {error:?}");
        assert_eq!(error.fault(), Fault::Content);
    }
    write(store.root().join("index.json"), format!("{}{}", manifest(&digest, "1"), " ".repeat(4 << 20))).unwrap();
    assert!(matches!(store.images(), Err(StoreError::TooLarge { .. })));
}
