//! Tells the program which commit it is built from: `PGPROOF_COMMIT` is 40 hexadecimal digits, these with `-dirty` if what
//! the program is made of was changed since, or `unknown`.
//!
//! Who packages pgproof from something else than a git checkout sets the environment variable of that name.
//!
//! Only a release build is of a commit: for development, every commit would otherwise compile everything once more.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script asks git and its environment, and answers Cargo on standard output"
)]

use std::path::Path;
use std::process::Command;

/// What the program is made of.
const SOURCES: [&str; 7] = ["src", "sysroots", "lockfiles", "toolchains", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    println!("cargo::rerun-if-env-changed=PGPROOF_COMMIT");
    // Naming files keeps Cargo from running this again for every other file.
    println!("cargo::rerun-if-changed=build.rs");
    let released = || std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = || if released() { packaged().or_else(checked_out) } else { None };
    let commit = std::env::var("PGPROOF_COMMIT").ok().or_else(found);
    let commit = commit.unwrap_or_else(|| "unknown".to_owned());
    // Whoever sets it wrongly shall learn it now, not when the first statement is made.
    assert!(
        is_commit(&commit),
        "PGPROOF_COMMIT is {commit:?}: 40 or 64 lower-case hexadecimal digits, perhaps with -dirty"
    );
    println!("cargo::rustc-env=PGPROOF_COMMIT={commit}");
}

fn is_commit(text: &str) -> bool {
    let hex = text.strip_suffix("-dirty").unwrap_or(text);
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text == "unknown" || ([40, 64].contains(&hex.len()) && hex.bytes().all(digit))
}

/// What `cargo package` wrote down.
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = text.split_once("\"sha1\"")?;
    let hex = after.split('"').nth(1)?;
    let dirty =
        text.split_once("\"dirty\"").is_some_and(|(_, after)| after.trim_start_matches([':', ' ']).starts_with("true"));
    Some(marked(hex, dirty))
}

/// What git says, if this is a checkout of pgproof and not within one of something else.
fn checked_out() -> Option<String> {
    let top = std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != std::fs::canonicalize(".").ok()? {
        return None;
    }
    // A commit changes what HEAD names and leaves the sources as they are.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // Of a file that is not there, Cargo would think that it changes all the time.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let hex = git(&["rev-parse", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    let dirty = git(&status).is_none_or(|changes| !changes.is_empty());
    Some(marked(&hex, dirty))
}

fn marked(hex: &str, dirty: bool) -> String {
    if dirty { format!("{hex}-dirty") } else { hex.to_owned() }
}

/// What git prints, if it is there and content. It takes no lock: somebody may be committing.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
