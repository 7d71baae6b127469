//! The root file system is what the packages say, the same everywhere, and nothing that a package does gets out of it.

pub(crate) mod debian;
mod hostile;
mod real;

use std::error::Error;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use pgproof::digest::Digest;
use pgproof::store::{Store, StoreError};
use pgproof::sysroot::{self, Rootfs, SysrootError};
use proptest::prelude::*;

use crate::gate::{Need, open};
use crate::store::{damage, ingest, new, path};
use crate::store_accidents::play;
use debian::{Archive, Compression, ar, definition, lockfile, package};

type Packages = Vec<(&'static str, Vec<u8>)>;

/// Composes into a new store, whatever comes out.
fn compose(packages: &Packages, more: &str) -> Result<(tempfile::TempDir, Store, Rootfs), SysrootError> {
    let (directory, store) = new();
    for (_, bytes) in packages {
        store.admit(bytes).unwrap();
    }
    let definition = definition(Digest::of(b""), more);
    let rootfs = sysroot::compose_unpinned(&definition, &lockfile(packages), &store, &|_| {})?;
    Ok((directory, store, rootfs))
}

fn manifest(packages: &Packages, more: &str) -> Digest {
    compose(packages, more).unwrap().2.manifest()
}

/// The error of composing, with its causes.
fn refusal(packages: &Packages, more: &str) -> String {
    match compose(packages, more) {
        Ok(_) => "composed".to_owned(),
        Err(error) => chain(&error),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.extend(["\n  because ", &cause.to_string()]);
        next = cause.source();
    }
    text
}

/// What is in the layer, one line for each entry that `wanted` chooses.
fn layer(store: &Store, rootfs: &Rootfs, wanted: impl Fn(&str) -> bool) -> String {
    let mut archive = tar::Archive::new(store.read(rootfs.layer()).unwrap());
    let mut lines = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1_783_764_997));
        if wanted(&path) {
            let target =
                entry.link_name().unwrap().map(|target| format!(" -> {}", target.display())).unwrap_or_default();
            let kind = char::from(header.entry_type().as_byte());
            let line = format!("{kind} {:04o} {path}{target} {content}", header.mode().unwrap());
            lines += line.trim_end();
            lines += "\n";
        }
    }
    lines
}

fn shell() -> Packages {
    let libc = Archive::new()
        .with(0o755, 0, 5)
        .directory("./")
        .directory("./lib/")
        .directory("./lib/x86_64-linux-gnu/")
        .file("./lib/x86_64-linux-gnu/libc.so.6", "libc")
        .directory("./usr/")
        .directory("./usr/share/")
        .directory("./usr/share/doc/")
        .directory("./usr/share/doc/libc6/")
        .with(0o644, 0, 5)
        .file("./usr/share/doc/libc6/changelog", "long")
        .file("./usr/share/doc/libc6/copyright", "LGPL");
    let dash = Archive::new()
        .with(0o755, 0, 7)
        .directory("./")
        .directory("./bin/")
        .with(0o4755, 1000, 7)
        .file("./bin/dash", "dash")
        .with(0o777, 0, 7)
        .symlink("./bin/sh", "dash")
        .with(0o6750, 0, 7)
        .hard_link("./bin/dash.real", "./bin/dash")
        .directory("./usr/")
        .directory("./usr/share/")
        .with(0o1777, 0, 7)
        .directory("./var/tmp/")
        .with(0o2775, 0, 7)
        .directory("./var/local/")
        .with(0o600, 0, 7)
        .file("./usr/share/secret", "none");
    vec![("dash", dash.package()), ("libc6", libc.package())]
}

#[test]
fn packages_become_one_normalised_layer() {
    let more = "exclude = [\"usr/share/doc/*/**\"]\nkeep = [\"usr/share/doc/*/copyright\"]\n\
                links = { \"usr/bin/awk\" = \"mawk\" }\nfiles = { \"etc/passwd\" = \"root\" }\n";
    let (_directory, store, rootfs) = compose(&shell(), more).unwrap();
    insta::assert_snapshot!(layer(&store, &rootfs, |_| true), @"
    5 0755 usr/
    5 0755 usr/bin/
    2 0777 bin -> usr/bin
    5 0755 usr/lib/
    2 0777 lib -> usr/lib
    5 0755 usr/lib32/
    2 0777 lib32 -> usr/lib32
    5 0755 usr/lib64/
    2 0777 lib64 -> usr/lib64
    5 0755 usr/libx32/
    2 0777 libx32 -> usr/libx32
    5 0755 usr/sbin/
    2 0777 sbin -> usr/sbin
    5 0755 build/
    5 0755 dev/
    5 0755 pgproof/
    5 0755 pgproof/inputs/
    5 0755 pgproof/out/
    5 0755 proc/
    5 0755 run/
    5 0755 sys/
    5 1777 tmp/
    5 0755 var/
    5 1777 var/tmp/
    2 0777 usr/bin/awk -> mawk
    5 0755 etc/
    0 0644 etc/passwd root
    0 0755 usr/bin/dash dash
    2 0777 usr/bin/sh -> dash
    0 0755 usr/bin/dash.real dash
    5 0755 usr/share/
    5 0755 var/local/
    0 0644 usr/share/secret none
    5 0755 usr/lib/x86_64-linux-gnu/
    0 0755 usr/lib/x86_64-linux-gnu/libc.so.6 libc
    5 0755 usr/share/doc/
    5 0755 usr/share/doc/libc6/
    0 0644 usr/share/doc/libc6/copyright LGPL
    5 0755 var/lib/
    5 0755 var/lib/dpkg/
    5 0755 var/lib/dpkg/info/
    0 0644 var/lib/dpkg/info/dash.list /usr/bin/dash
    /usr/bin/dash.real
    /usr/bin/sh
    /usr/share
    /usr/share/secret
    /var/local
    0 0644 var/lib/dpkg/info/libc6.list /usr/lib/x86_64-linux-gnu
    /usr/lib/x86_64-linux-gnu/libc.so.6
    /usr/share/doc
    /usr/share/doc/libc6
    /usr/share/doc/libc6/copyright
    0 0644 var/lib/dpkg/status Package: dash
    Status: install ok installed
    Maintainer: unknown
    Architecture: amd64
    Source: dash (1.0)
    Version: 1.0
    Description: dash

    Package: libc6
    Status: install ok installed
    Maintainer: unknown
    Architecture: amd64
    Source: libc6 (1.0)
    Version: 1.0
    Description: libc6
    ");
    // The format: whoever changes it makes every pin in the world worthless.
    assert_eq!(
        rootfs.manifest().to_string(),
        "sha256:d1f340e2f59583ca8dab781177012eaf126527aca80bcd7777d1d50069acf6df"
    );
}

#[test]
fn the_image_is_an_oci_image() {
    let (_directory, store, rootfs) = compose(&shell(), "").unwrap();
    let read = |digest: Digest| {
        let mut text = String::new();
        store.read(store.get(digest).unwrap()).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let manifest = read(rootfs.manifest());
    insta::assert_snapshot!(manifest, @r#"{"config":{"digest":"sha256:8e2d4361d5df1fe42e2f70dab9646e6d0830096583c8bc7a56d07a239b406e1b","mediaType":"application/vnd.oci.image.config.v1+json","size":196},"layers":[{"digest":"sha256:c638f4ccfeef9caff690e40a1671eaaa04aa37fbbd8aeebb36868cebd7497b28","mediaType":"application/vnd.oci.image.layer.v1.tar","size":27136}],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}"#);
    let parsed: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    insta::assert_snapshot!(read(parsed["config"]["digest"].as_str().unwrap().parse().unwrap()), @r#"{"architecture":"amd64","config":{},"created":"2026-07-11T10:16:37Z","os":"linux","rootfs":{"diff_ids":["sha256:c638f4ccfeef9caff690e40a1671eaaa04aa37fbbd8aeebb36868cebd7497b28"],"type":"layers"}}"#);
    assert_eq!(store.tagged(&debian::NAME.parse().unwrap()).unwrap(), store.find(rootfs.manifest()).unwrap());
    assert_eq!(sysroot::find(&store, rootfs.manifest()).unwrap(), rootfs);
}

#[test]
fn neither_the_order_of_the_lock_nor_cores_nor_umask_show() {
    let expected = manifest(&shell(), "");
    let mut reversed = shell();
    reversed.reverse();
    assert_eq!(manifest(&reversed, ""), expected);

    let composed = std::thread::spawn(|| {
        // For this thread alone, and what it starts.
        unshare(CloneFlags::CLONE_FS).unwrap();
        umask(Mode::from_bits_truncate(0o777));
        let mut one = CpuSet::new();
        one.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
        let (_directory, store) = {
            umask(Mode::from_bits_truncate(0o077));
            new()
        };
        let packages = shell();
        for (_, bytes) in &packages {
            store.admit(bytes).unwrap();
        }
        let definition = definition(Digest::of(b""), "");
        sysroot::compose_unpinned(&definition, &lockfile(&packages), &store, &|_| {}).unwrap().manifest()
    });
    assert_eq!(composed.join().unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn neither_compression_nor_owners_nor_times_nor_set_id_bits_show(
        contents in prop::collection::vec("[a-z]{0,2000}", 1..6),
        special in 0_u32..8,
        owner in 0_u64..70_000,
        time in 0_u64..(1 << 32),
        compression in 0_usize..4,
    ) {
        let archive = |special: u32, owner, time| {
            let mut archive = Archive::new().with(0o755 | special << 9, owner, time).directory("./opt/");
            for (number, content) in contents.iter().enumerate() {
                archive = archive.file(&format!("./opt/{number}"), content);
            }
            archive.end()
        };
        // A sticky directory that all may write to is another directory; this one is not for all.
        let plain = vec![("p", package(&archive(0, 0, 0), Compression::Xz))];
        let other = vec![("p", package(&archive(special, owner, time), Compression::ALL[compression]))];
        prop_assert_eq!(manifest(&plain, ""), manifest(&other, ""));
    }

    #[test]
    fn a_package_that_was_cut_off_or_changed_is_an_error_or_another_package(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<bool>(),
        compression in 0_usize..4,
    ) {
        let tar = Archive::new().directory("./opt/").file("./opt/file", "content").symlink("./opt/link", "file").end();
        let whole = package(&tar, Compression::ALL[compression]);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = value }
        let outcome = compose(&vec![("p", bytes.clone())], "");
        if cut {
            // All of the compressed data are in the package, so nothing of it can be missing.
            let refused = matches!(outcome, Err(SysrootError::Layer { .. }));
            prop_assert!(refused);
        } else if bytes == whole {
            prop_assert!(outcome.is_ok());
        }
    }
}

#[test]
fn names_that_differ_in_case_are_two_names() {
    // Nothing is written under these names here, so it does not matter what this file system makes of them.
    let archive = Archive::new().directory("./opt/").file("./opt/Makefile", "one").file("./opt/makefile", "two");
    let (_directory, store, rootfs) = compose(&vec![("p", archive.package())], "").unwrap();
    insta::assert_snapshot!(layer(&store, &rootfs, |path| path.starts_with("opt/")), @"
    5 0755 opt/
    0 0644 opt/Makefile one
    0 0644 opt/makefile two
    ");
}

#[test]
fn long_names_come_through() {
    let long = format!("opt/{}", "d/".repeat(60)) + &"n".repeat(200);
    let archive =
        Archive::new().add(b'L', b"././@LongLink", b"", format!("{long}\0").as_bytes()).file("cut", "content");
    let (_directory, store, rootfs) = compose(&vec![("p", archive.package())], "").unwrap();
    assert_eq!(layer(&store, &rootfs, |path| path == long), format!("0 0644 {long} content\n"));
}

#[test]
fn packages_may_share_directories_and_equal_links() {
    let one = Archive::new().directory("./etc/").symlink("./etc/mtab", "/proc/mounts").file("./etc/one", "1");
    let two = Archive::new().directory("./etc/").symlink("./etc/mtab", "/proc/mounts").file("./etc/two", "2");
    let usr = Archive::new().symlink("./lib", "usr/lib").symlink("./sbin", "usr/sbin");
    let packages = vec![("one", one.package()), ("two", two.package()), ("usr", usr.package())];
    let (_directory, store, rootfs) = compose(&packages, "").unwrap();
    insta::assert_snapshot!(layer(&store, &rootfs, |path| path.starts_with("etc")), @"
    5 0755 etc/
    2 0777 etc/mtab -> /proc/mounts
    0 0644 etc/one 1
    0 0644 etc/two 2
    ");
}

#[test]
fn packages_that_do_not_fit_together_are_both_named() {
    let file = Archive::new().directory("./etc/").file("./etc/x", "1").package();
    let same = Archive::new().file("./etc/x", "1").package();
    let link = Archive::new().symlink("./etc/x", "y").package();
    let other_link = Archive::new().symlink("./etc/x", "z").package();
    let below = Archive::new().file("./etc/x/y", "1").package();
    let mut refusals = String::new();
    for (one, two) in
        [(&file, &same), (&file, &link), (&link, &other_link), (&file, &below), (&link, &below), (&below, &link)]
    {
        refusals += &refusal(&vec![("one", one.clone()), ("two", two.clone())], "");
        refusals += "\n";
    }
    let passwd = Archive::new().file("./etc/passwd", "root").package();
    refusals += &refusal(&vec![("one", passwd)], "files = { \"etc/passwd\" = \"root\" }");
    insta::assert_snapshot!(refusals, @r#"
    the sysroot box cannot be composed
      because both one 1.0 amd64 and two 1.0 amd64 have "etc/x"
    the sysroot box cannot be composed
      because both one 1.0 amd64 and two 1.0 amd64 have "etc/x"
    the sysroot box cannot be composed
      because both one 1.0 amd64 and two 1.0 amd64 have "etc/x"
    the sysroot box cannot be composed
      because two 1.0 amd64 has "etc/x/y", but "etc/x" of one 1.0 amd64 is no directory
    the sysroot box cannot be composed
      because two 1.0 amd64 has "etc/x/y", but "etc/x" of one 1.0 amd64 is no directory
    the sysroot box cannot be composed
      because both one 1.0 amd64 and two 1.0 amd64 have "etc/x"
    the sysroot box cannot be composed
      because both the definition of box and one 1.0 amd64 have "etc/passwd"
    "#);
}

#[test]
fn a_definition_that_cannot_be_followed_is_refused() {
    let mut refusals = String::new();
    for more in [
        "exclude = [\"[\"]",
        "exclude = [\"usr/share/nothing/**\"]",
        "keep = [\"usr/share/doc\"]\nexclude = [\"usr/bin/nothing\"]",
        "files = { \"/etc/passwd\" = \"\" }",
        "files = { \"../etc/passwd\" = \"\" }",
        "files = { \".\" = \"\" }",
        "files = { \"etc/a\\nb\" = \"\" }",
        "links = { \"etc/passwd\" = \"../../passwd\" }",
        "links = { \"usr/bin/sh/x\" = \"y\", \"usr/bin/sh\" = \"dash\" }",
    ] {
        refusals += &refusal(&shell(), more);
        refusals += "\n";
    }
    insta::assert_snapshot!(refusals, @r#"
    the definition of the sysroot box cannot be followed
      because the definition's pattern "[" is not a glob
      because error parsing glob '[': unclosed character class; missing ']'
    the definition of the sysroot box cannot be followed
      because the definition's pattern "usr/share/nothing/**" matches nothing in the packages: correct or remove it
    the definition of the sysroot box cannot be followed
      because the definition's pattern "usr/bin/nothing" matches nothing in the packages: correct or remove it
    the definition of the sysroot box has "/etc/passwd", which is refused: its path is absolute
    the definition of the sysroot box has "../etc/passwd", which is refused: its path has a ".."
    the definition of the sysroot box has ".", which names the root itself
    the definition of the sysroot box has "etc/a\nb", which has a control character
    the definition of the sysroot box has "../../passwd", which leads out of the root file system
    the sysroot box cannot be composed
      because the definition of box has "usr/bin/sh/x", but "usr/bin/sh" of the definition of box is no directory
    "#);
}

#[test]
fn what_is_pinned_is_composed_once_and_nothing_else_at_all() {
    let packages = shell();
    let expected = manifest(&packages, "");
    let (_directory, store) = new();
    for (_, bytes) in &packages {
        store.admit(bytes).unwrap();
    }
    let blobs = || std::fs::read_dir(store.root().join("blobs/sha256")).unwrap().count();

    let other = Digest::of(b"another image");
    let error = sysroot::compose(&definition(other, ""), &lockfile(&packages), &store, &|_| {}).unwrap_err();
    assert!(
        matches!(&error, SysrootError::Pin { expected: pinned, composed, .. } if (*pinned, *composed) == (other, expected))
    );
    assert!(error.to_string().contains(&other.to_string()) && error.to_string().contains(&expected.to_string()));
    assert_eq!(blobs(), packages.len(), "nothing of what was refused is kept");
    assert_eq!(ingest(&store), 0);

    let written = AtomicUsize::new(0);
    let progress = |count| written.store(count, Ordering::Relaxed);
    let pinned = definition(expected, "");
    let rootfs = sysroot::compose(&pinned, &lockfile(&packages), &store, &progress).unwrap();
    assert_eq!((rootfs.manifest(), written.load(Ordering::Relaxed)), (expected, packages.len()));
    assert_eq!(blobs(), packages.len() + 3);

    written.store(0, Ordering::Relaxed);
    for (_, bytes) in &packages {
        std::fs::remove_file(path(&store, Digest::of(bytes))).unwrap();
    }
    assert_eq!(sysroot::compose(&pinned, &lockfile(&packages), &store, &progress).unwrap(), rootfs);
    assert_eq!(written.load(Ordering::Relaxed), 0, "it is there already, the packages are not needed");

    std::fs::remove_file(path(&store, rootfs.layer().digest())).unwrap();
    let error = sysroot::compose(&pinned, &lockfile(&packages), &store, &progress).unwrap_err();
    assert!(matches!(error, SysrootError::NotFetched { .. }), "{error}");
    assert!(matches!(sysroot::find(&store, expected).unwrap_err(), SysrootError::Missing { .. }));
}

#[test]
fn a_package_that_was_changed_in_the_store_is_damaged_not_malformed() {
    let packages = shell();
    for changed in [0, packages[0].1.len() - 1] {
        let (_directory, store) = new();
        for (_, bytes) in &packages {
            store.admit(bytes).unwrap();
        }
        let mut bytes = packages[0].1.clone();
        bytes[changed] ^= 1;
        damage(&store, store.get(Digest::of(&packages[0].1)).unwrap(), &bytes);
        let definition = definition(Digest::of(b""), "");
        let error = sysroot::compose_unpinned(&definition, &lockfile(&packages), &store, &|_| {}).unwrap_err();
        assert!(matches!(StoreError::find(&error), Some(StoreError::Damaged(_))), "{}", chain(&error));
        assert!(chain(&error).contains("package dash 1.0 amd64"), "{}", chain(&error));
    }
}

#[test]
fn a_full_disk_while_composing_is_one_clear_error_and_leaves_nothing() {
    if !open(Need::Sandbox) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = play("compose", directory.path(), Some("mount -t tmpfs -o size=1m tmpfs \"$1\"")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

/// Runs in a process of its own, on a disk of 1 MiB.
pub(crate) fn compose_on_a_full_disk(root: &Path) {
    let store = Store::open(root).unwrap();
    // Too much for the scratch file; little enough for that, but too much for the layer beside it.
    for size in [2 << 20, 900 << 10] {
        let packages = vec![("p", Archive::new().file("./opt/file", &"x".repeat(size)).package())];
        store.admit(&packages[0].1).unwrap();
        let definition = definition(Digest::of(b""), "");
        let error = sysroot::compose_unpinned(&definition, &lockfile(&packages), &store, &|_| {}).unwrap_err();
        assert!(matches!(StoreError::find(&error), Some(StoreError::Full { .. })), "{}", chain(&error));
        assert!(chain(&error).contains("pgproof store gc"), "{}", chain(&error));
        assert_eq!(ingest(&store), 0);
    }
    assert_eq!(store.stat().unwrap().blobs, 2);
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn an_image_that_cannot_be_a_root_file_system_is_refused() {
    let (_directory, store, rootfs) = compose(&shell(), "").unwrap();
    let mut text = String::new();
    store.read(store.get(rootfs.manifest()).unwrap()).unwrap().read_to_string(&mut text).unwrap();
    let honest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let configuration: Digest = honest["config"]["digest"].as_str().unwrap().parse().unwrap();
    let mut configuration_text = String::new();
    store.read(store.get(configuration).unwrap()).unwrap().read_to_string(&mut configuration_text).unwrap();

    let layer = &honest["layers"][0];
    let with = |pointer: &str, value: serde_json::Value| {
        let mut changed = honest.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string()
    };
    let with_configuration = |from: &str, to: &str| {
        let blob = store.admit(configuration_text.replace(from, to).as_bytes()).unwrap();
        with("/config/digest", blob.digest().to_string().into())
    };
    let absent = Digest::of(b"absent").to_string();
    let manifests = [
        "{".to_owned(),
        "[".repeat(100_000),
        " ".repeat(2 << 20),
        with("/schemaVersion", 1.into()),
        with("/mediaType", "application/vnd.docker.distribution.manifest.v2+json".into()),
        with("/layers", serde_json::json!([])),
        with("/layers", serde_json::json!([layer, layer])),
        with("/layers/0/mediaType", "application/vnd.oci.image.layer.v1.tar+gzip".into()),
        with("/layers/0/digest", "sha256:../../../../etc/passwd".into()),
        with("/layers/0/digest", format!("sha512:{}", "0".repeat(128)).into()),
        with("/layers/0/size", 1.into()),
        with("/layers/0/digest", configuration.to_string().into()),
        with("/layers/0/digest", absent.into()),
        with("/config/digest", rootfs.layer().digest().to_string().into()),
        with_configuration(&rootfs.layer().digest().to_string(), &Digest::of(b"other").to_string()),
        with_configuration("layers", "stacks"),
        with_configuration("amd64", "mips"),
        with_configuration("linux", "windows"),
    ];
    let mut refusals = String::new();
    for manifest in manifests {
        let blob = store.admit(manifest.as_bytes()).unwrap();
        let error = sysroot::find(&store, blob.digest()).unwrap_err();
        refusals += &chain(&error)
            .replace(&blob.digest().to_string(), "MANIFEST")
            .replace(store.root().to_str().unwrap(), "STORE");
        refusals += "\n";
    }
    insta::assert_snapshot!(refusals, @"
    the image MANIFEST cannot be a root file system
      because its manifest is malformed
      because EOF while parsing an object at line 1 column 1
    the image MANIFEST cannot be a root file system
      because its manifest is malformed
      because invalid type: sequence, expected u32 at line 1 column 1
    the image MANIFEST cannot be a root file system
      because its manifest has 2097152 bytes, which is more than 1048576
    the image MANIFEST cannot be a root file system
      because its manifest is not an OCI image manifest of schema version 2
    the image MANIFEST cannot be a root file system
      because its manifest is not an OCI image manifest of schema version 2
    the image MANIFEST cannot be a root file system
      because it has not one layer but several or none
    the image MANIFEST cannot be a root file system
      because it has not one layer but several or none
    the image MANIFEST cannot be a root file system
      because its layer is not plain tar with an OCI image configuration
    the image MANIFEST cannot be a root file system
      because its manifest is malformed
      because Invalid encoded value ../../../../etc/passwd at line 1 column 212
    the image MANIFEST cannot be a root file system
      because its manifest has digests that are not SHA-256
    the image MANIFEST cannot be a root file system
      because its layer sha256:c638f4ccfeef9caff690e40a1671eaaa04aa37fbbd8aeebb36868cebd7497b28 has 27136 bytes in the store, its manifest says 1
    the image MANIFEST cannot be a root file system
      because its layer sha256:8e2d4361d5df1fe42e2f70dab9646e6d0830096583c8bc7a56d07a239b406e1b has 196 bytes in the store, its manifest says 27136
    the image MANIFEST is not in the store STORE as a whole
    the image MANIFEST cannot be a root file system
      because its configuration is malformed
      because expected value at line 1 column 1
    the image MANIFEST cannot be a root file system
      because its configuration is about another layer than its manifest
    the image MANIFEST cannot be a root file system
      because its configuration is about another layer than its manifest
    the image MANIFEST cannot be a root file system
      because it is for a platform that pgproof does not know
    the image MANIFEST cannot be a root file system
      because it is for a platform that pgproof does not know
    ");
}

#[test]
fn an_image_for_another_platform_is_not_this_sysroot() {
    let (_directory, store, rootfs) = compose(&shell(), "").unwrap();
    let mut other = definition(rootfs.manifest(), "");
    other.target = pgproof::target::Triple::Aarch64UnknownLinuxGnu;
    let error = sysroot::compose(&other, &lockfile(&shell()), &store, &|_| {}).unwrap_err();
    assert!(matches!(error, SysrootError::Target { .. }), "{error}");
}

#[test]
fn an_ar_archive_that_is_no_package_is_refused() {
    let data = Compression::Xz.compress(&Archive::new().end());
    let control: &[u8] = b"control";
    let good: [(&str, &[u8]); 3] = [("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", &data)];
    assert!(compose(&vec![("p", ar(&good))], "").is_ok());
    let wide = {
        let mut bytes = ar(&good);
        let size = bytes.iter().position(|byte| *byte == b'`').unwrap() - 10;
        bytes[size..size + 10].copy_from_slice(b"9999999999");
        bytes
    };
    let negative = {
        let mut bytes = ar(&good);
        let size = bytes.iter().position(|byte| *byte == b'`').unwrap() - 10;
        bytes[size..size + 2].copy_from_slice(b"-4");
        bytes
    };
    let archives: Vec<Vec<u8>> = vec![
        vec![],
        b"PK\x03\x04 and so on".to_vec(),
        ar(&[]),
        ar(&good[..1]),
        ar(&good[..2]),
        ar(&good[1..]),
        ar(&[good[0], good[2], good[1]]),
        ar(&[good[0], good[1], good[1], good[2]]),
        ar(&[good[0], good[1], good[2], good[2]]),
        ar(&[good[0], good[1], good[2], ("_gpgorigin", b"signature")]),
        ar(&[("debian-binary", b"3.0\n"), good[1], good[2]]),
        ar(&[("debian-binary", b"2.0\n2.0\n"), good[1], good[2]]),
        ar(&[good[0], good[1], ("data.tar.lzma", &data)]),
        ar(&[good[0], good[1], ("data.tar.gz", &data)]),
        ar(&[good[0], good[1], ("data.tar.zst", &data)]),
        ar(&[good[0], good[1], ("data.tar", &data)]),
        [ar(&good), b"\n".to_vec()].concat(),
        [ar(&good), vec![0; 512]].concat(),
        wide,
        negative,
    ];
    let refusals: String = archives.into_iter().map(|bytes| refusal(&vec![("p", bytes)], "") + "\n").collect();
    insta::assert_snapshot!(refusals, @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it ends within ar signature, or cannot be read
      because failed to fill whole buffer
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it is not a Debian package: it does not start with "!<arch>"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it ends within debian-binary, or cannot be read
      because failed to fill whole buffer
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it ends within control, or cannot be read
      because failed to fill whole buffer
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it ends within data, or cannot be read
      because failed to fill whole buffer
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because its member "control.tar.xz" stands where debian-binary is due
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because its member "data.tar.xz" stands where control.tar is due
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because its member "control.tar.xz" stands where data.tar, data.tar.gz, data.tar.xz or data.tar.zst is due
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its data.tar
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its data.tar
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it is of another format version than 2.0
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it is of another format version than 2.0
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because its member "data.tar.lzma" stands where data.tar, data.tar.gz, data.tar.xz or data.tar.zst is due
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive cannot be read
      because invalid gzip header
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive cannot be read
      because BadMagicNumber(1484404733)
      because Read wrong magic number: 0x587A37FD
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: it is truncated
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its data.tar
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its data.tar
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because it is of another format version than 2.0
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because the header of its debian-binary member is malformed
    "#);
}
