//! The store keeps what is needed, and nothing is taken from a pgproof that uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::write;
use std::sync::atomic::{AtomicBool, Ordering};

use pgproof::digest::Digest;
use pgproof::store::{Contents, Damage, Fault, Freed, Outcome, Record, Retain, Store, StoreError};

use crate::store::{damage, ingest, new, path};

const NOTHING: Retain = Retain { blobs: BTreeSet::new(), runs: 0, added: false };

fn record(second: i64, log: Digest) -> Record {
    Record {
        started: jiff::Timestamp::from_second(second).unwrap(),
        name: "postgresql-17.11.0-x86_64-unknown-linux-gnu".parse().unwrap(),
        plan: Digest::of(b"plan"),
        variation: "plain".parse().unwrap(),
        outcome: Outcome::Failed { why: "make ended with status 2".to_owned() },
        log: Some(log),
        outputs: BTreeMap::new(),
    }
}

/// An image manifest.
fn manifest(config: Digest, layer: Digest) -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{config}","size":1}},"layers":[{{"mediaType":"a/b","digest":"{layer}","size":1}}]}}"#
    )
    .into_bytes()
}

#[test]
fn what_is_needed_is_kept() {
    let (directory, mut store) = new();
    let admit = |bytes: &[u8]| store.admit(bytes).unwrap().digest();
    let (config, layer) = (admit(b"config"), admit(b"layer"));
    let image = store.admit(&manifest(config, layer)).unwrap();
    store.tag(&"bookworm".parse().unwrap(), image).unwrap();
    // An index of an index, as other tools write them.
    let (config, layer) = (admit(b"other config"), admit(b"other layer"));
    let inner = store.admit(&manifest(config, layer)).unwrap();
    let outer = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1}}]}}"#, inner.digest());
    let outer = store.admit(outer.as_bytes()).unwrap();
    store.tag(&"other".parse().unwrap(), outer).unwrap();
    let locked = admit(b"locked");
    let (old, recent) = (admit(b"old log"), admit(b"recent log"));
    store.record_run(&record(1_000, old)).unwrap();
    store.record_run(&record(2_000, recent)).unwrap();
    let file = directory.path().join("patch.tar");
    write(&file, "by hand").unwrap();
    let added = store.add_file(&file).unwrap();
    assert_eq!(store.added().unwrap(), BTreeMap::from([(added.digest(), "patch.tar".to_owned())]));
    admit(b"needed by nobody");
    write(store.root().join("ingest/unfinished.partial"), "half").unwrap();

    let before = store.stat().unwrap();
    let all = Contents {
        blobs: 12,
        blob_bytes: before.blob_bytes,
        images: 2,
        added: 1,
        partials: 1,
        partial_bytes: 4,
        runs: 2,
    };
    assert_eq!(before, all);
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().missing, []);

    let freed = store.gc(&Retain { blobs: BTreeSet::from([locked]), runs: 1, added: true }).unwrap();
    assert_eq!(freed, Freed { blobs: 2, partials: 1, runs: 1, bytes: 16 + 7 + 4 });
    for gone in [old, Digest::of(b"needed by nobody")] {
        assert_eq!(store.find(gone).unwrap(), None);
    }
    assert_eq!(store.runs(9).unwrap(), [record(2_000, recent)]);
    let after = store.verify(&mut |_, _| {}).unwrap();
    assert_eq!((after.blobs, after.damaged, after.missing), (10, vec![], vec![]));

    store.gc(&NOTHING).unwrap();
    // The two images stay: they have names.
    assert_eq!(store.stat().unwrap(), Contents { blobs: 7, images: 2, ..store.stat().unwrap() });
    assert_eq!((store.added().unwrap(), store.runs(9).unwrap()), (BTreeMap::new(), vec![]));
    assert_eq!(store.find(added.digest()).unwrap(), None);
}

#[test]
fn nothing_is_removed_while_another_uses_the_store() {
    let (_directory, mut store) = new();
    let blob = store.admit(b"hello").unwrap();
    let other = Store::open(store.root()).unwrap();
    let error = store.gc(&NOTHING).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Disk);
    drop(other);
    // A clone is another user too.
    let clone = store.clone();
    assert!(matches!(store.gc(&NOTHING), Err(StoreError::InUse { .. })));
    // A refused attempt must not have given up this process's own hold on the store.
    let mut other = Store::open(store.root()).unwrap();
    assert!(matches!(other.gc(&NOTHING), Err(StoreError::InUse { .. })));
    assert_eq!(store.find(blob.digest()).unwrap(), Some(blob));
    drop((other, clone));
    assert_eq!(store.gc(&NOTHING).unwrap().blobs, 1);
    assert_eq!(store.find(blob.digest()).unwrap(), None);
}

#[test]
fn whoever_has_the_store_open_keeps_what_it_found() {
    let (_directory, store) = new();
    let root = store.root().to_owned();
    drop(store);
    let done = AtomicBool::new(false);
    let (swept, refused) = std::thread::scope(|scope| {
        let users: Vec<_> = (0_u8..3)
            .map(|user| {
                let root = &root;
                scope.spawn(move || {
                    for round in 0_u8..60 {
                        let store = Store::open(root).unwrap();
                        let bytes = [user, round, 7].repeat(5000);
                        let blob = store.admit(&bytes).unwrap();
                        // Shared by all, so that they meet.
                        let common = store.admit(b"common").unwrap();
                        std::thread::yield_now();
                        store.read(store.get(blob.digest()).unwrap()).unwrap().finish().unwrap();
                        store.read(common).unwrap().finish().unwrap();
                    }
                })
            })
            .collect();
        let sweeper = scope.spawn(|| {
            let (mut swept, mut refused) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                match Store::open(&root).unwrap().gc(&NOTHING) {
                    Ok(freed) => swept += freed.blobs,
                    Err(StoreError::InUse { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (swept, refused)
        });
        // All of them before the sweeper is told, and before any of them may fail this test: it would wait for ever.
        let users: Vec<_> = users.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let swept = sweeper.join().unwrap();
        users.into_iter().for_each(Result::unwrap);
        swept
    });
    // Otherwise nothing was tried.
    assert!(refused > 0, "swept {swept}, refused {refused}");
    let mut store = Store::open(&root).unwrap();
    let left = store.stat().unwrap();
    assert_eq!(left.partials, 0);
    assert_eq!(store.gc(&NOTHING).unwrap().blobs, left.blobs);
}

#[test]
fn verifying_finds_damage_and_repairing_removes_just_that() {
    let (_directory, mut store) = new();
    let good = store.admit(b"good").unwrap();
    let bad = store.admit(b"bad").unwrap();
    let layer = Digest::of(b"a layer that is not there");
    let image = store.admit(&manifest(good.digest(), layer)).unwrap();
    store.tag(&"bookworm".parse().unwrap(), image).unwrap();
    damage(&store, bad, b"BAD");

    let mut steps = Vec::new();
    let report = store.verify(&mut |done, total| steps.push((done, total))).unwrap();
    let total = good.size() + bad.size() + image.size();
    assert_eq!(steps.last(), Some(&(total, total)));
    assert!(steps.is_sorted());
    assert_eq!((report.blobs, report.bytes), (3, total));
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].path, path(&store, bad.digest()));
    assert_eq!(report.damaged[0].damage, Damage::Digest(Digest::of(b"BAD")));
    let missing: Vec<_> = report.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, [format!("{layer} is missing; the image bookworm needs it")]);

    assert_eq!(store.repair(&report).unwrap(), 1);
    assert_eq!(store.find(bad.digest()).unwrap(), None);
    assert_eq!(store.find(good.digest()).unwrap(), Some(good));
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().damaged, []);
    // What was put right meanwhile stays.
    store.admit(b"bad").unwrap();
    assert_eq!(store.repair(&report).unwrap(), 0);
}

#[test]
fn a_damaged_manifest_keeps_everything_from_being_swept() {
    let (_directory, mut store) = new();
    let layer = store.admit(b"layer").unwrap();
    let image = store.admit(&manifest(layer.digest(), layer.digest())).unwrap();
    store.tag(&"bookworm".parse().unwrap(), image).unwrap();
    damage(&store, image, &vec![b' '; usize::try_from(image.size()).unwrap()]);
    let error = store.gc(&NOTHING).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert_eq!(store.find(layer.digest()).unwrap(), Some(layer));
    let report = store.verify(&mut |_, _| {}).unwrap();
    assert_eq!((report.damaged.len(), report.missing.len()), (1, 0));
    assert_eq!(store.repair(&report).unwrap(), 1);
    assert_eq!(store.gc(&NOTHING).unwrap().blobs, 1);
    assert_eq!(ingest(&store), 0);
}

#[test]
fn records_come_back_newest_last() {
    let (_directory, store) = new();
    let log = store.admit(b"log").unwrap().digest();
    for second in [3_000, 1_000, 2_000] {
        store.record_run(&record(second, log)).unwrap();
    }
    assert_eq!(store.runs(2).unwrap(), [record(2_000, log), record(3_000, log)]);
    assert_eq!(record(1_000, log).id(), "19700101T001640.000000-64879f7d6b96-plain");
    let text = std::fs::read_to_string(store.root().join("runs").join(record(1_000, log).id() + ".json")).unwrap();
    insta::assert_snapshot!(text, @r#"{"started":"1970-01-01T00:16:40Z","name":"postgresql-17.11.0-x86_64-unknown-linux-gnu","plan":"sha256:64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525","variation":"plain","outcome":{"failed":{"why":"make ended with status 2"}},"log":"sha256:836ff184e7b41b1e13cb5fd89fa1de98dbbab99e9d2918913ff43b86a5c7c213"}"#);
}

#[test]
fn a_record_that_pgproof_did_not_write_is_refused() {
    let (_directory, store) = new();
    let path = store.root().join("runs/19700101T001640.json");
    let good = serde_json::to_string(&record(1_000, Digest::of(b""))).unwrap();
    for bad in [good.replace("\"name\"", "\"more\":1,\"name\""), good.replace("sha256:", "sha256:../"), String::new()] {
        write(&path, bad).unwrap();
        assert!(matches!(store.runs(9), Err(StoreError::Malformed { .. })));
    }
    write(&path, good + &" ".repeat(64 << 10)).unwrap();
    assert!(matches!(store.runs(9), Err(StoreError::TooLarge { .. })));
    let long = Record { outcome: Outcome::Failed { why: "x".repeat(64 << 10) }, ..record(2_000, Digest::of(b"")) };
    assert!(matches!(store.record_run(&long), Err(StoreError::TooLarge { .. })));
}
