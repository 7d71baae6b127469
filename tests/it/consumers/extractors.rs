//! Every common extractor makes the same tree of an archive: the one that its published list of files describes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{Dist, digest_of, said};

/// Programs with an extractor of their own, and how each is told to unpack `$1` where it stands.
const EXTRACTORS: [(&str, &str); 5] = [
    ("GNU tar", "tar -xzf \"$1\""),
    ("libarchive", "bsdtar -xf \"$1\""),
    ("BusyBox", "busybox tar -xzf \"$1\""),
    ("Python", "python3 -I -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(filter=\"data\")' \"$1\""),
    ("Node", "node -e 'require(\"tar\").extract({file: process.argv[1], sync: true, strict: true})' \"$1\""),
];

#[test]
fn every_extractor_makes_the_tree_that_is_published() {
    Dist::of_environment().iter().for_each(check);
}

pub(super) fn check(dist: &Dist) {
    for name in dist.names() {
        let published = std::fs::read_to_string(dist.directory.join(format!("{name}.files"))).unwrap();
        for (extractor, script) in EXTRACTORS {
            let directory = tempfile::tempdir().unwrap();
            let mut sh = Command::new("sh");
            sh.args(["-euc", &format!("umask 022; {script}"), "sh"])
                .arg(std::path::absolute(dist.archive(&name)).unwrap());
            said(sh.current_dir(directory.path()));
            differences(&published, &list(directory.path()), extractor, &name);
        }
    }
    parts_fit_together(dist);
}

/// Fails with the lines that differ: the lists are long.
fn differences(published: &str, extracted: &str, extractor: &str, name: &str) {
    let [published, extracted] = [published, extracted].map(|text| text.lines().collect::<BTreeSet<_>>());
    let different: Vec<_> = published.symmetric_difference(&extracted).take(20).collect();
    assert!(different.is_empty(), "{extractor} makes something else of {name}: {different:#?}");
}

/// The tree in the form of the published list.
fn list(top: &Path) -> String {
    fn walk(directory: &Path, name: &str, list: &mut String) {
        let entries: BTreeMap<_, _> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .collect();
        for (entry, path) in entries {
            let name = format!("{name}/{entry}");
            let found = path.symlink_metadata().unwrap();
            let mode = found.permissions().mode() & 0o7777;
            if found.is_dir() {
                writeln!(list, "{name} type=dir mode={mode:04o}").unwrap();
                walk(&path, &name, list);
            } else if found.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                writeln!(list, "{name} type=link mode={mode:04o} link={}", target.display()).unwrap();
            } else {
                let (size, digest) = (found.len(), digest_of(&path).hex());
                writeln!(list, "{name} type=file mode={mode:04o} size={size} sha256digest={digest}").unwrap();
            }
        }
    }
    let mut text = "#mtree\n. type=dir\n".to_owned();
    walk(top, ".", &mut text);
    text
}

/// Debug symbols and languages can be unpacked over PostgreSQL: they have no file in common with it or each other.
fn parts_fit_together(dist: &Dist) {
    let [main, client, debug, pl] = dist.names().map(|name| {
        let list = std::fs::read_to_string(dist.directory.join(format!("{name}.files"))).unwrap();
        files(&list, &name)
    });
    for (one, other) in [(&main, &debug), (&main, &pl), (&debug, &pl)] {
        let common: Vec<_> = one.keys().filter(|path| other.contains_key(*path)).collect();
        assert!(common.is_empty(), "{common:#?}");
    }
    // A client's files are PostgreSQL's own, but for what describes the archive itself.
    let own: Vec<_> =
        client.iter().filter(|(path, file)| main.get(*path) != Some(file)).map(|(path, _)| path).collect();
    assert_eq!(own, ["MANIFEST.json"]);
}

/// All but directories: path below the top-level directory, and the rest of the line.
fn files(list: &str, name: &str) -> BTreeMap<String, String> {
    let prefix = format!("./{name}/");
    let lines = list.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once(' '));
    let files = lines.filter(|(_, rest)| !rest.starts_with("type=dir "));
    files.map(|(path, rest)| (path.to_owned(), rest.to_owned())).collect()
}
