//! Equal outputs are reproduced; of others, every difference is said.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::slice;

use pgproof::output::Output;
use pgproof::verdict::{Comparison, Differences, Reproduced, Verdict};
use proptest::prelude::*;

use crate::output::Planted::{Directory, File, Link, Program};
use crate::output::{Planted, collect, store, tar};

/// An output of these entries, below the top-level directory.
fn output(entries: &[(&str, Planted<'_>)]) -> Output {
    let (_directory, store) = store();
    let paths: Vec<String> = entries.iter().map(|(path, _)| format!("pg-1.0.0/{path}")).collect();
    let mut all = vec![("pg-1.0.0", Directory)];
    all.extend(paths.iter().map(String::as_str).zip(entries.iter().map(|(_, planted)| *planted)));
    collect(&tar(&all), &store).unwrap()
}

fn different(first: &Output, second: &Output) -> Differences {
    match Comparison::between(slice::from_ref(first), slice::from_ref(second)).verdict() {
        Verdict::Different(differences) => differences,
        Verdict::Reproduced(_) => panic!("different outputs are called reproduced"),
    }
}

fn reproduced(first: &Output, second: &Output) -> Reproduced {
    match Comparison::between(slice::from_ref(first), slice::from_ref(second)).verdict() {
        Verdict::Reproduced(reproduced) => reproduced,
        Verdict::Different(differences) => panic!("{}", differences.limited(9)),
    }
}

#[test]
fn equal_outputs_are_reproduced() {
    let entries = [("a", File(b"x".as_slice())), ("b", Link("a"))];
    let (first, second) = (output(&entries), output(&entries));
    assert_eq!(reproduced(&first, &second).outputs(), [first]);
}

#[test]
fn every_difference_is_said() {
    let elf = |kind| [b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".as_slice(), &[kind, 0], b"rest"].concat();
    let (library, longer, object) = (elf(3), [elf(3), elf(3)].concat(), elf(1));
    let first = output(&[
        ("a", File(b"same")),
        ("bin", Directory),
        ("bin/object", File(&object)),
        ("bin/postgres", Program(&library)),
        ("bin.txt", File(b"in the first")),
        ("copy", File(b"one\n")),
        ("empty", File(b"")),
        ("lib.a", File(b"!<arch>\nfirst")),
        ("link", Link("a")),
        ("script", File(b"#!/bin/sh\n")),
        ("thing", File(b"text")),
    ]);
    let second = output(&[
        ("a", File(b"same")),
        ("bin", Directory),
        ("bin/object", File(&object[..17])),
        ("bin/postgres", Program(&longer)),
        ("copy", File(b"two\n")),
        ("empty", File(b"\0")),
        ("lib.a", File(b"!<arch>\nother")),
        ("link", Link("copy")),
        ("new", Directory),
        ("new/catalogue.mo", File(b"\xde\x12\x04\x95")),
        ("script", Program(b"#!/bin/sh\n")),
        ("thing", Link("a")),
    ]);
    let differences = different(&first, &second);
    insta::assert_snapshot!(differences.limited(100), @"
    11 of 14 entries differ:
      bin/object: ELF object → binary file, 22 → 17 bytes
      bin/postgres: ELF library or executable, 22 → 44 bytes
      bin.txt: only in the first build (text, 12 bytes)
      copy: text, other content in the same 4 bytes
      empty: empty file → binary file, 0 → 1 bytes
      lib.a: static library, other content in the same 13 bytes
      link: symbolic link to a → symbolic link to copy
      new: only in the second build (directory)
      new/catalogue.mo: only in the second build (message catalogue, 4 bytes)
      script: script, mode 0644 → 0755
      thing: text, 4 bytes → symbolic link to a
    ");
    insta::assert_snapshot!(differences.limited(2), @"
    11 of 14 entries differ:
      bin/object: ELF object → binary file, 22 → 17 bytes
      bin/postgres: ELF library or executable, 22 → 44 bytes
      and 9 more
    ");
    insta::assert_snapshot!(different(&second, &first).limited(1), @"
    11 of 14 entries differ:
      bin/object: binary file → ELF object, 17 → 22 bytes
      and 10 more
    ");
}

#[test]
fn differences_have_a_form_for_machines() {
    let first = output(&[("a", File(b"one")), ("l", Link("a"))]);
    let second = output(&[("a", Program(b"two")), ("d", Directory)]);
    let json = serde_json::to_value(&different(&first, &second).entries).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r#"
    [
      {
        "changed": {
          "first": {
            "digest": "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            "executable": false,
            "format": "text",
            "kind": "file",
            "size": 3
          },
          "second": {
            "digest": "sha256:3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
            "executable": true,
            "format": "text",
            "kind": "file",
            "size": 3
          }
        },
        "path": "pg-1.0.0/a"
      },
      {
        "onlyInSecond": {
          "kind": "directory"
        },
        "path": "pg-1.0.0/d"
      },
      {
        "onlyInFirst": {
          "kind": "symlink",
          "target": "a"
        },
        "path": "pg-1.0.0/l"
      }
    ]
    "#);
}

#[test]
fn the_archives_name_is_compared_too() {
    let (_directory, store) = store();
    let first = collect(&tar(&[("pg-1.0.0", Directory)]), &store).unwrap();
    let blob = store.admit(&tar(&[("pg-2.0.0", Directory)])).unwrap();
    let second = pgproof::output::collect(blob, &"pg-2.0.0".parse().unwrap(), crate::output::EPOCH, &store).unwrap();
    assert_eq!(different(&first, &second).entries.len(), 2);
}

#[test]
fn digests_are_believed_more_than_entries() {
    let (_directory, store) = store();
    let blob = |epoch| {
        let mut tar = pgproof::tree::Writer::new(Vec::new(), epoch);
        tar.append(b"pg-1.0.0", &pgproof::tree::Kind::Directory, 0o755, std::io::empty()).unwrap();
        store.admit(&tar.finish().unwrap()).unwrap()
    };
    let output = |epoch| pgproof::output::collect(blob(epoch), &"pg-1.0.0".parse().unwrap(), epoch, &store).unwrap();
    let differences = different(&output(1), &output(2));
    assert!(differences.entries.is_empty());
    assert!(differences.limited(9).to_string().starts_with("all 1 entries are equal, but the digests are not:\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_comparison_is_fair(
        first in prop::collection::btree_map("[a-c./]{0,2}[a-c]", 0..3_u8, 0..6),
        second in prop::collection::btree_map("[a-c./]{0,2}[a-c]", 0..3_u8, 0..6),
    ) {
        // No directories: names with a slash are not what this is about.
        let make = |entries: &std::collections::BTreeMap<String, u8>| {
            let flat: std::collections::BTreeMap<String, u8> =
                entries.iter().map(|(name, byte)| (name.replace('/', "-").replace('.', "+"), *byte)).collect();
            let entries: Vec<(&str, Planted<'_>)> =
                flat.iter().map(|(name, byte)| (name.as_str(), File(&b"012"[usize::from(*byte)..]))).collect();
            (output(&entries), flat)
        };
        let ((one, flat_one), (other, flat_other)) = (make(&first), make(&second));
        let names: std::collections::BTreeSet<&String> = flat_one.keys().chain(flat_other.keys()).collect();
        let differing = names.iter().filter(|name| flat_one.get(**name) != flat_other.get(**name)).count();
        if differing == 0 {
            prop_assert_eq!(reproduced(&one, &other), reproduced(&other, &one));
        } else {
            let (forth, back) = (different(&one, &other), different(&other, &one));
            prop_assert_eq!(forth.entries.len(), differing);
            prop_assert_eq!(forth.compared, names.len() + 1);
            let paths = |found: &Differences| found.entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
            prop_assert_eq!(paths(&forth), paths(&back));
        }
    }
}
