//! An installed pgproof rebuilds what a checkout rebuilds.

use std::path::Path;

use pgproof::definitions::{BUILT_IN, Definitions};

#[test]
fn what_is_committed_is_what_is_built_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text) in BUILT_IN {
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), *text, "{path}");
    }
    let checkout = Definitions::Directory(root.to_owned());
    for (folder, extension) in [("sysroots", "toml"), ("toolchains", "toml"), ("lockfiles", "lock")] {
        let names = checkout.names(folder, extension).unwrap();
        assert!(!names.is_empty());
        assert_eq!(Definitions::BuiltIn.names(folder, extension).unwrap(), names, "{folder}");
    }
}

#[test]
fn every_committed_definition_parses() {
    let definitions = Definitions::BuiltIn;
    for name in definitions.names("sysroots", "toml").unwrap() {
        let definition = definitions.definition(&name).unwrap();
        let lockfile = definitions.lockfile(&name).unwrap();
        assert_eq!(lockfile.name, name);
        assert_eq!(lockfile.sources.len(), definition.sources.len());
        for index in &definition.indices {
            assert!(!definitions.file(&index.keyring).unwrap().is_empty());
        }
    }
    for name in definitions.names("toolchains", "toml").unwrap() {
        let toolchain = definitions.toolchain(&name).unwrap();
        let compose = definitions.definition(&toolchain.sysroot).unwrap().compose.unwrap();
        assert_eq!(compose.target, toolchain.target);
        assert_eq!(definitions.toolchain_for(toolchain.target).unwrap().1, toolchain);
    }
}
