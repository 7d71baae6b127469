//! Whether debug files and the files that they belong to find each other, as GDB looks for them ("Debugging Information in
//! Separate Files" in its manual): by build id below `lib/debug/.build-id`, by the debug link in `.debug` beside the file.

use std::collections::BTreeSet;

use super::contents::{Contents, Node, View, split};
use super::elf::{Code, Elf, Machine};
use super::finding::{Finding, Kind};
use super::libraries::finding;

/// Where links are that are named after build ids.
const BUILD_IDS: &[u8] = b"lib/debug/.build-id/";

/// The debug files that belong to nothing, and the links that lead elsewhere than their names say.
pub(super) fn orphans<'a>(debug: View<'_>, others: impl Iterator<Item = &'a Contents>) -> Vec<Finding> {
    let known: BTreeSet<&[u8]> =
        others.flat_map(Contents::elfs).filter_map(|(_, elf)| elf.build_id.as_deref()).collect();
    let mut findings = Vec::new();
    for (path, elf) in debug.upper.elfs() {
        let id = elf.build_id.as_deref().filter(|id| !known.contains(id));
        findings.extend(id.map(|id| finding(path, Kind::OrphanedDebug, hex(id))));
    }
    for (path, node) in &debug.upper.nodes {
        let Some(name) = path.strip_prefix(BUILD_IDS).filter(|_| !matches!(node, Node::Directory)) else { continue };
        let named: Vec<u8> =
            name.strip_suffix(b".debug").unwrap_or(name).split(|&byte| byte == b'/').flatten().copied().collect();
        let named = String::from_utf8_lossy(&named).into_owned();
        let reached = debug.elf(b"", path).and_then(|elf| elf.build_id.as_deref());
        if reached.is_none_or(|id| hex(id) != named) {
            findings.push(finding(path, Kind::BuildIdLink, named.escape_default().to_string()));
        }
    }
    findings
}

/// The files whose debug file is not there. Theirs are the files with a debug link of their own name: what came from
/// elsewhere names another.
pub(super) fn lacking(contents: &Contents, debug: &Contents) -> Vec<Finding> {
    let mut findings = Vec::new();
    let debug = View { upper: debug, lower: None };
    for (path, elf) in contents.elfs() {
        let (directory, name) = split(path);
        let Some(link) = elf.debug_link.as_ref().filter(|link| is_own(link, name)) else { continue };
        if elf.build_id.is_none() {
            findings.push(finding(path, Kind::NoBuildId, String::new()));
        } else if !same(debug.elf(directory, format!(".debug/{link}").as_bytes()), elf) {
            findings.push(finding(path, Kind::LackingDebug, link.clone()));
        }
    }
    findings
}

/// The files of which no function looks for a smashed stack; not those whose debug file says that the compiler was told to
/// protect it, and so found nothing to protect.
pub(super) fn unprotected(contents: &Contents, machine: Machine, debug: Option<&Contents>) -> Vec<Finding> {
    let told = debug.iter().flat_map(|debug| debug.elfs()).filter(|(_, elf)| elf.protected == Some(true));
    let told: BTreeSet<&[u8]> = told.filter_map(|(_, elf)| elf.build_id.as_deref()).collect();
    let elfs = contents.elfs().filter(|(_, elf)| elf.machine == machine && elf.code == Code::Here);
    let unprotected = elfs.filter(|(_, elf)| elf.dynamic.as_ref().is_some_and(|dynamic| !dynamic.stack_protector));
    unprotected
        .filter(|(_, elf)| elf.build_id.as_deref().is_none_or(|id| !told.contains(id)))
        .map(|(path, _)| finding(path, Kind::NoStackProtector, String::new()))
        .collect()
}

fn is_own(link: &str, name: &[u8]) -> bool {
    link.strip_suffix(".debug").is_some_and(|stem| stem.as_bytes() == name)
}

fn same(debug: Option<&Elf>, elf: &Elf) -> bool {
    debug.is_some_and(|debug| debug.build_id == elf.build_id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
