//! The source keeps its shape: modules use those above them, the top level holds what it is meant to hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What stands at the top of the repository.
const TOP_LEVEL: [&str; 25] = [
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".editorconfig",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "flake.lock",
    "flake.nix",
    "lockfiles",
    "rust-toolchain.toml",
    "src",
    "sysroots",
    "tests",
    "toolchains",
];

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The files that git knows; `None` where the source is not a git checkout (an unpacked package).
fn tracked() -> Option<Vec<String>> {
    let output = Command::new("git").args(["-C", ROOT, "ls-files", "-z"]).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = text.split_terminator('\0').map(str::to_owned).collect();
    // Of a directory within somebody else's checkout, git knows nothing.
    let known = output.status.success() && files.iter().any(|file| file == "src/lib.rs");
    if !known {
        eprintln!("not run: this is not a git checkout");
    }
    known.then_some(files)
}

/// The modules that a file's `mod` lines name, in their order.
fn modules(text: &str) -> Vec<&str> {
    fn name(line: &str) -> Option<&str> {
        line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')
    }
    text.lines().filter_map(|line| name(line.trim())).collect()
}

/// The files of a module: its own and those below it.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = vec![Path::new(ROOT).join(format!("src/{module}.rs"))];
    let mut directories = vec![Path::new(ROOT).join("src").join(module)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

/// The modules of this crate that a source text uses, comments left out: `crate::one`, `crate::{one, other::Thing}`.
fn used(text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let ident = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            used.insert(ident(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    used.insert(ident(&list[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::one::A;\nuse crate::{two, three::{B, C},\n    four::D};\n// crate::five\nlet x = crate::six::f();\n\
        pub(crate) fn g() {}";
    let found = used(text);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["four", "one", "six", "three", "two"]);
}

#[test]
fn a_module_uses_only_those_above_it() {
    let lib = read("src/lib.rs");
    let modules = modules(&lib);
    assert!(modules.contains(&"digest") && modules.contains(&"store"), "{modules:?}");
    let mut wrong = Vec::new();
    for (position, module) in modules.iter().enumerate() {
        for file in files_of(module) {
            let text = std::fs::read_to_string(&file).unwrap();
            let later = used(&text).into_iter().filter(|used| modules[position + 1..].contains(&used.as_str()));
            wrong.extend(later.map(|later| format!("{} uses {later}, which comes after {module}", file.display())));
            if text.contains("super::super::") {
                wrong.push(format!("{} says super::super: say crate::", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_source_file_belongs_to_a_module_that_is_listed() {
    let (lib, main) = (read("src/lib.rs"), read("src/main.rs"));
    let listed: BTreeSet<_> = modules(&lib).into_iter().chain(modules(&main)).chain(["lib", "main"]).collect();
    let entries = std::fs::read_dir(Path::new(ROOT).join("src")).unwrap();
    let stems: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let unlisted: Vec<_> = stems.iter().filter(|stem| !listed.contains(stem.as_str())).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}

#[test]
fn files_are_where_they_belong() {
    let Some(files) = tracked() else { return };
    let stray: Vec<_> = files
        .iter()
        .filter(|file| {
            let top = file.split('/').next().unwrap_or_default();
            !TOP_LEVEL.contains(&top) || file.ends_with("/mod.rs")
        })
        .collect();
    assert!(stray.is_empty(), "{stray:#?}");
}

/// Mirrors come from the host's configuration. One that is written down here would be asked by everybody, and would be the
/// one that fails.
#[test]
fn no_mirror_is_named() {
    let Some(files) = tracked() else { return };
    let mirrors = mirrors(Path::new("/etc/apt"));
    let mut named = Vec::new();
    for file in &files {
        // A file that was removed and not yet committed.
        let Ok(bytes) = std::fs::read(Path::new(ROOT).join(file)) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        named
            .extend(mirrors.iter().filter(|host| text.contains(host.as_str())).map(|host| format!("{host} in {file}")));
    }
    assert!(named.is_empty(), "{named:#?}");
}

/// The hosts that apt's configuration names; not the snapshot service, which is no mirror.
fn mirrors(apt: &Path) -> BTreeSet<String> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(apt.join("sources.list.d")) {
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut hosts = BTreeSet::new();
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            hosts.extend(line.split("://").skip(1).map(|rest| {
                let host = rest.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
                host.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
            }));
        }
    }
    // Names of this machine stand in tests.
    hosts.retain(|host| {
        host.contains(|c: char| c.is_ascii_alphabetic()) && host.contains('.') && host != "snapshot.debian.org"
    });
    hosts
}

#[test]
fn mirrors_are_found_in_both_formats_of_apt() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("sources.list.d")).unwrap();
    let list = "# deb http://commented.example/debian sid main\ndeb [arch=amd64] http://user@one.example:80/debian sid main\n\
        deb http://127.0.0.1/debian sid main\ndeb https://snapshot.debian.org/archive sid main\n";
    std::fs::write(directory.path().join("sources.list"), list).unwrap();
    let sources = "Types: deb\nURIs: https://two.example/debian http://three.example\nSuites: sid\n";
    std::fs::write(directory.path().join("sources.list.d/a.sources"), sources).unwrap();
    let found = mirrors(directory.path());
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["one.example", "three.example", "two.example"]);
}
