//! A lockfile holds what it says, and nothing that is not safe.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;

use pgproof::lockfile::Lockfile;

fn committed(name: &str) -> Lockfile {
    Lockfile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("lockfiles").join(name)).unwrap()
}

#[test]
fn the_committed_lockfiles_load() {
    assert!(committed("bookworm-amd64.lock").packages.len() > 150);
    let versions =
        committed("postgresql.lock").sources.iter().map(|source| source.version.to_string()).collect::<Vec<_>>();
    assert_eq!(versions, ["13.16", "15.18", "17.11", "18.6"]);
}
