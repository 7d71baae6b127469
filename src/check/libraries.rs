//! Whether each file finds what it needs, as the loader would look for it (ld.so(8)).

use std::collections::{BTreeMap, BTreeSet};

use super::contents::{Node, Reached, View, split};
use super::elf::{Dynamic, Elf, Machine, Purpose};
use super::finding::{Finding, Kind};
use super::{glibc, printable};

/// The most directories that one file has its libraries looked for in.
const ELEMENTS: usize = 32;

/// The symbolic links that lead nowhere.
pub(super) fn dangling(view: View<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, node) in &view.upper.nodes {
        let (Node::Symlink(target) | Node::HardLink(target)) = node else { continue };
        if !matches!(view.reach(b"", path), Reached::There(_)) {
            findings.push(finding(path, Kind::DanglingLink, printable(target)));
        }
    }
    findings
}

/// What the ELF files need and do not find. What they need of the host goes into `host`.
pub(super) fn lacking(view: View<'_>, machine: Machine, host: &mut BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let places: BTreeMap<&[u8], &[u8]> = view.upper.nodes.keys().map(|path| (split(path).1, path.as_slice())).collect();
    let elfs = view.upper.elfs().filter(|(_, elf)| elf.machine == machine);
    for (path, elf) in elfs {
        let Some(dynamic) = &elf.dynamic else { continue };
        let directories = run_path(path, dynamic, view, &mut findings);
        let find = |library: &str| find(library, &directories, view, machine);
        for library in &dynamic.needed {
            if glibc::of_host(library) {
                host.insert(library.clone());
            } else if find(library).is_none() {
                host.insert(library.clone());
                let mut lacking = finding(path, Kind::LackingLibrary, library.clone());
                if let Some(elsewhere) = places.get(library.as_bytes()) {
                    lacking.seen = format!("it is in the archive as {}", printable(elsewhere));
                }
                findings.push(lacking);
            }
        }
        for (library, version) in &dynamic.wanted {
            // What is not found is said above.
            let found = if glibc::own(library) { None } else { find(library) };
            let has = |found: &Elf| found.dynamic.as_ref().is_some_and(|dynamic| dynamic.versions.contains(version));
            if found.is_some_and(|found| !has(found)) {
                findings.push(finding(path, Kind::LackingVersion, format!("{version} of {library}")));
            }
        }
    }
    findings
}

/// The directories of the archive in which a file's libraries are looked for; each an absolute way from the top.
fn run_path(path: &[u8], dynamic: &Dynamic, view: View<'_>, findings: &mut Vec<Finding>) -> Vec<Vec<u8>> {
    let mut directories = Vec::new();
    let origin = split(path).0;
    // With both, the loader takes the RUNPATH alone.
    let Some(elements) = dynamic.runpath.as_ref().or(dynamic.rpath.as_ref()) else { return directories };
    for (index, element) in elements.split(':').enumerate() {
        if index >= ELEMENTS {
            findings.push(finding(path, Kind::Runpath, format!("more than {ELEMENTS} elements")));
            break;
        }
        let from_origin = element.strip_prefix("$ORIGIN").or_else(|| element.strip_prefix("${ORIGIN}"));
        let inside = from_origin.filter(|rest| (rest.is_empty() || rest.starts_with('/')) && !rest.contains('$'));
        let reached = inside.map(|rest| view.reach(origin, rest.as_bytes()));
        match (inside, reached) {
            (Some(rest), Some(Reached::There(_) | Reached::Nothing)) => {
                directories.push([origin, rest.as_bytes()].join(&b'/'));
            }
            _ if dynamic.runpath.is_some() => findings.push(finding(path, Kind::Runpath, element.to_owned())),
            // An RPATH is wrong whatever it has.
            _ => {}
        }
    }
    directories
}

/// The library that the loader would take. It passes over what is for another machine.
fn find<'a>(library: &str, directories: &[Vec<u8>], view: View<'a>, machine: Machine) -> Option<&'a Elf> {
    // With a slash it is a path, and no directory is looked into.
    if library.is_empty() || library.contains('/') {
        return None;
    }
    let mut found = directories.iter().filter_map(|directory| view.elf(directory, library.as_bytes()));
    found.find(|elf| elf.purpose == Purpose::Shared && elf.machine == machine)
}

pub(super) fn finding(path: &[u8], kind: Kind, about: String) -> Finding {
    Finding { file: printable(path), kind, about, seen: String::new() }
}
