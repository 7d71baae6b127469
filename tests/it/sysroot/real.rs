//! The committed sysroot.

use std::path::Path;
use std::process::Command;

use pgproof::definitions::Definitions;
use pgproof::fetch::{Limits, Mirrors, Network, SNAPSHOT, fetch, of_host};
use pgproof::sysroot;

use super::{compose, debian, shell};
use crate::gate::{Need, open};
use crate::store::new;

#[test]
fn the_committed_sysroot_composes_to_its_pin() {
    if !open(Need::Slow) {
        return;
    }
    let name = "bookworm-amd64".parse().unwrap();
    let lockfile = Definitions::BuiltIn.lockfile(&name).unwrap();
    let definition = Definitions::BuiltIn.definition(&name).unwrap().compose.unwrap();
    let (_directory, store) = new();
    let mirrors = Mirrors::new(of_host(Path::new("/etc/apt")), SNAPSHOT.parse().unwrap());
    let network = Network::new(mirrors, Limits::default());
    fetch(&lockfile.package_pins(), &store, Some(&network), &()).unwrap();
    let rootfs = sysroot::compose(&definition, &lockfile, &store, &|_| {}).unwrap();
    assert_eq!(rootfs.manifest(), definition.manifest);
    assert_eq!(rootfs.target(), definition.target);
}

#[test]
fn other_tools_read_the_image() {
    if !open(Need::Slow) {
        return;
    }
    let (_directory, store, rootfs) = compose(&shell(), "").unwrap();
    let image = format!("oci:{}:{}", store.root().display(), debian::NAME);
    let inspected = Command::new("skopeo").args(["inspect", &image]).output().unwrap();
    assert!(inspected.status.success(), "{}", String::from_utf8_lossy(&inspected.stderr));
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["Digest"], rootfs.manifest().to_string());
    assert_eq!(inspected["Layers"][0], rootfs.layer().digest().to_string());
    assert_eq!(inspected["Architecture"], "amd64");
}
