//! The main job: PostgreSQL itself, built twice in full, is reproduced; and what comes out keeps the archive's contract.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use object::Endianness;
use object::elf::{
    DF_BIND_NOW, DT_FLAGS, DT_TEXTREL, ET_DYN, FileHeader64, PF_X, PT_GNU_RELRO, PT_GNU_STACK, ProgramType,
};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use pgproof::digest::Digest;
use pgproof::variation::Axis;

use crate::consumers;
use crate::gate::{self, Need};

const STEM: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";

/// What every machine gets. A change of the recipe, the toolchain, the sysroot or the archive's form changes it, on purpose
/// only.
const ARCHIVE: &str = "sha256:c4e2f7cc4792e67ae9202edb6c7fdda72cfcf07700c7b9e858c812f027e28587";

#[test]
fn postgresql_is_reproduced() {
    if !gate::open(Need::Slow) || !gate::open(Need::Sandbox) {
        return;
    }
    // Kept between runs of the tests: downloads, never a build.
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rebuild-store");
    let dist = tempfile::tempdir().unwrap();
    let rebuild = Command::new(env!("CARGO_BIN_EXE_pgproof"))
        .args(["rebuild", "17.11", "--compare", "--json", "--target", "x86_64-unknown-linux-gnu"])
        .arg("--store")
        .arg(&store)
        .arg("--out")
        .arg(dist.path())
        .output()
        .unwrap();
    let report = String::from_utf8(rebuild.stdout).unwrap();
    assert_eq!(rebuild.status.code(), Some(0), "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"]["reproduced"], true);
    let builds = report["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 2);
    assert_eq!(builds[0]["archives"], builds[1]["archives"]);
    assert_eq!(builds[0]["archives"][0]["archive"], ARCHIVE);
    // On a machine with one processor the second build cannot have fewer.
    let fewer_cpus = std::thread::available_parallelism().unwrap().get() > 1;
    for axis in Axis::ALL.into_iter().filter(|axis| fewer_cpus || *axis != Axis::CpuCount) {
        assert_eq!(builds[1]["axes"][axis.as_str()], "held", "{axis}");
    }

    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&dist);
    assert!(check.status().unwrap().success());
    let archive = std::fs::read(dist.path().join(format!("{STEM}.tar.gz"))).unwrap();
    let digest = Digest::of(&archive);
    assert_eq!(digest.to_string(), ARCHIVE);
    let beside = std::fs::read_to_string(dist.path().join(format!("{STEM}.tar.gz.sha256"))).unwrap();
    assert_eq!(beside, format!("{}  {STEM}.tar.gz\n", digest.hex()));

    let files = contract(&archive);
    for (path, bytes) in &files {
        for canary in ["pgproof-", "/build/postgresql", "libfaketime"] {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{path} has {canary:?}");
        }
        if bytes.starts_with(b"\x7fELF") {
            hardened(path, bytes);
        }
    }
    for program in ["initdb", "pg_dump", "postgres", "psql"] {
        assert!(files.contains_key(&format!("{STEM}/bin/{program}")), "{program}");
    }
    for module in ["plperl.so", "plpython3.so", "pltcl.so", "pgcrypto.so", "uuid-ossp.so", "pgxml.so"] {
        assert!(files.contains_key(&format!("{STEM}/lib/{module}")), "{module}");
    }
    let input = serde_json::json!({
        "name": "postgresql.tar.gz", "digest": ARCHIVE, "size": archive.len(),
        "unpack": {"compression": "gzip", "into": "moved", "strip": 1},
    });
    assert_eq!(answer(&store, dist.path(), &input, &report["sysroot"]), ANSWER);
    consumers::check(&consumers::Dist::new(dist.path(), STEM), &store);
}

/// What a server from the archive is asked, in the box that it was built in, and not where it was installed to.
const SERVE: &str = r#"
    export LD_LIBRARY_PATH=$PWD/moved/lib PATH=$PWD/moved/bin:$PATH
    initdb --pgdata data --no-sync
    pg_ctl --pgdata data --wait --log log -o "-k /tmp -h ''" start
    psql -h /tmp -d postgres -v ON_ERROR_STOP=1 -At > /pgproof/out/answer <<'END'
        create extension pgcrypto;
        create extension plperl;
        create extension plpython3u;
        create extension pltcl;
        create extension "uuid-ossp";
        create extension xml2;
        create function python() returns int language plpython3u as 'return 6 * 7';
        select python(), encode(digest('a', 'sha256'), 'hex');
        show server_version;
END
    pg_ctl --pgdata data stop
"#;

const ANSWER: &str = "CREATE EXTENSION\nCREATE EXTENSION\nCREATE EXTENSION\nCREATE EXTENSION\nCREATE EXTENSION\nCREATE EXTENSION\n\
    CREATE FUNCTION\n42|ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n17.11\n";

/// Has the archive serve: a plan of its own, whose input is what another plan made.
fn answer(store: &Path, directory: &Path, archive: &serde_json::Value, sysroot: &serde_json::Value) -> String {
    let plan = serde_json::json!({
        "version": 1, "name": "trial", "sourceDateEpoch": 1, "sysroot": sysroot, "inputs": [archive],
        "environment": {"PATH": "/usr/bin:/bin"},
        "steps": [{"name": "serve", "directory": ".", "argv": ["sh", "-euc", SERVE]}],
        "output": ".",
    });
    let path = directory.join("trial.json");
    std::fs::write(&path, plan.to_string()).unwrap();
    let mut build = Command::new(env!("CARGO_BIN_EXE_pgproof"));
    build.args(["build", "--offline", "--quiet", "--plan"]).arg(path);
    let build = build.arg("--store").arg(store).arg("--out").arg(directory).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let archive = std::fs::File::open(directory.join("trial.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut entry = archive.entries().unwrap().map(Result::unwrap).find(|entry| entry.header().entry_type().is_file());
    let mut text = String::new();
    entry.as_mut().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Reads the archive as its consumers do, with a decoder that stops after the first gzip member; gives the regular files.
fn contract(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut directories = std::collections::BTreeSet::new();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_end_matches('/').to_owned();
        match path.rsplit_once('/') {
            Some((parent, _)) => assert!(directories.contains(parent), "{path} comes before its directory"),
            None => assert_eq!(path, STEM),
        }
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            assert!(directories.insert(path));
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(files.insert(path, bytes).is_none());
        } else {
            assert!(kind.is_symlink(), "{path} is a {kind:?}");
        }
    }
    files
}

/// Position-independent, everything bound and sealed before it runs, no code that can be written to.
fn hardened(path: &str, bytes: &[u8]) {
    let header = FileHeader64::<Endianness>::parse(bytes).unwrap();
    let endian = header.endian().unwrap();
    assert_eq!(header.e_type(endian), ET_DYN, "{path} is not position-independent");
    let segments = header.program_headers(endian, bytes).unwrap();
    let segment = |kind: ProgramType| segments.iter().find(|segment| segment.p_type(endian) == kind);
    assert!(segment(PT_GNU_RELRO).is_some(), "{path} has no RELRO");
    let stack = segment(PT_GNU_STACK).expect("a note on the stack");
    assert_eq!(stack.p_flags(endian).0 & PF_X.0, 0, "{path} has an executable stack");
    let dynamic =
        segments.iter().find_map(|segment| segment.dynamic(endian, bytes).unwrap()).expect("a dynamic section");
    let flags = dynamic.iter().find(|entry| entry.d_tag(endian) == DT_FLAGS).map(|entry| entry.d_val(endian));
    assert!(flags.is_some_and(|flags| flags & DF_BIND_NOW.0 != 0), "{path} binds lazily");
    assert!(dynamic.iter().all(|entry| entry.d_tag(endian) != DT_TEXTREL), "{path} has text relocations");
}
