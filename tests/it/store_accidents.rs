//! Killed processes, full disks and read-only disks cost nothing but time.

use std::fs::{File, write};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pgproof::store::{Fault, Store, StoreError};

use crate::gate::{self, Need};
use crate::store::{ingest, new};

/// What another process is to do with a store.
const ROLE: &str = "PGPROOF_TEST_ROLE";
const STORE: &str = "PGPROOF_TEST_STORE";

/// A process of this test binary that does nothing but `role`; `set_up` is shell text that runs before it in namespaces of
/// its own, with the store's directory as `$1`.
pub(crate) fn play(role: &str, store: &Path, set_up: Option<&str>) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = match set_up {
        None => Command::new(&binary),
        Some(set_up) => {
            let mut command = Command::new("unshare");
            command
                .args(["-Urm", "sh", "-euc", &format!("{set_up}; shift; exec \"$@\""), "sh"])
                .arg(store)
                .arg(&binary);
            command
        }
    };
    command.args(["--exact", "store_accidents::plays_its_role", "--nocapture"]).env(ROLE, role).env(STORE, store);
    command
}

/// Not a test by itself: what [`play`] starts.
#[test]
fn plays_its_role() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let root = std::env::var_os(STORE).unwrap();
    let root = Path::new(&root);
    match role.to_str().unwrap() {
        "write" => write_until_killed(root),
        "fill" => fill(root),
        "read" => read_only(root),
        "compose" => crate::sysroot::compose_on_a_full_disk(root),
        role => panic!("{role}"),
    }
}

fn write_until_killed(root: &Path) {
    let store = Store::open(root).unwrap();
    let seed = std::process::id();
    for round in 0_u32.. {
        let mut bytes = [seed.to_le_bytes(), round.to_le_bytes()].concat();
        bytes.resize(300_000, 7);
        let blob = store.admit(&bytes).unwrap();
        store.tag(&format!("image-{}", round % 3).parse().unwrap(), blob).unwrap();
        let file = root.parent().unwrap().join(format!("{seed}-{}", round % 3));
        write(&file, &bytes[..8]).unwrap();
        store.add_file(&file).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_a_sound_store() {
    let (_directory, store) = new();
    for round in 0..12 {
        let mut children: Vec<_> =
            (0..2).map(|_| play("write", store.root(), None).stdout(Stdio::null()).spawn().unwrap()).collect();
        std::thread::sleep(Duration::from_millis(30 + 17 * round));
        for child in &mut children {
            assert_eq!(child.try_wait().unwrap(), None, "it failed before it was killed");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = Store::open(store.root()).unwrap();
        assert_eq!(ingest(&store), 0, "the next to open the store removes what was left");
        let report = store.verify(&mut |_, _| {}).unwrap();
        assert_eq!((report.damaged, report.missing), (vec![], vec![]));
        assert!(store.admit(b"and it still works").is_ok());
    }
    assert!(store.images().unwrap().len() == 3 && store.added().unwrap().len() > 3, "{:?}", store.stat());
}

#[test]
fn what_a_living_process_writes_is_not_taken_for_abandoned() {
    let (_directory, store) = new();
    let mut incoming = store.incoming().unwrap();
    let abandoned = store.root().join("ingest/incoming-of-a-process-that-is-gone");
    File::create(&abandoned).unwrap();
    Store::open(store.root()).unwrap();
    assert!(!abandoned.exists());
    incoming.write_all(b"hello").unwrap();
    let blob = incoming.commit().unwrap();
    store.read(blob).unwrap().finish().unwrap();
}

#[test]
fn a_full_disk_is_one_clear_error_and_leaves_nothing() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = play("fill", directory.path(), Some("mount -t tmpfs -o size=1m tmpfs \"$1\"")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

fn fill(root: &Path) {
    let store = Store::open(root).unwrap();
    let kept = store.admit(&vec![1; 100_000]).unwrap();
    let full = |error: &StoreError| matches!(error, StoreError::Full { .. }) && error.fault() == Fault::Disk;

    let error = store.admit(&vec![2; 2 << 20]).unwrap_err();
    assert!(full(&error), "{error:?}");
    let mut incoming = store.incoming().unwrap();
    let error = std::io::copy(&mut std::io::repeat(3), &mut incoming).unwrap_err();
    assert!(StoreError::find(&error).is_some_and(full), "{error:?}");
    // Whoever goes on all the same gets the same.
    assert!(full(&incoming.commit().unwrap_err()));
    assert_eq!(ingest(&store), 0);
    assert_eq!(store.stat().unwrap().blobs, 1);
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().damaged, []);
    store.read(kept).unwrap().finish().unwrap();

    let error = Store::open(root).and_then(|store| store.add_file(Path::new("/proc/self/exe"))).unwrap_err();
    assert!(full(&error), "{error:?}");
    assert_eq!(ingest(&store), 0);
    assert!(error.to_string().contains("pgproof store gc") && error.to_string().contains("--store DIR"), "{error}");
}

#[test]
fn a_read_only_store_can_be_read() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let (_directory, store) = new();
    let blob = store.admit(b"hello").unwrap();
    store.tag(&"bookworm".parse().unwrap(), blob).unwrap();
    // What a killed process left cannot be removed, and must not be in the way.
    File::create(store.root().join("ingest/incoming-of-a-process-that-is-gone")).unwrap();
    let set_up = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
    let root = store.root().to_owned();
    drop(store);
    let output = play("read", &root, Some(set_up)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}

fn read_only(root: &Path) {
    let mut store = Store::open(root).unwrap();
    let name = "bookworm".parse().unwrap();
    let blob = store.tagged(&name).unwrap().unwrap();
    let mut text = String::new();
    store.read(blob).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().blobs, 1);
    // Nothing changes: nothing is written.
    store.tag(&name, blob).unwrap();

    let refused = [
        store.admit(b"more").map(drop),
        store.incoming().map(drop),
        store.add_file(Path::new("/proc/self/exe")).map(drop),
        store.tag(&"other".parse().unwrap(), blob),
        store.gc(&pgproof::store::Retain { blobs: [].into(), runs: 0, added: false }).map(drop),
        Store::open(&root.join("new")).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("read-only: name one that can be written to with --store DIR"), "{error}");
        assert_eq!(error.fault(), Fault::Disk);
    }
    store.read(blob).unwrap().finish().unwrap();
}
