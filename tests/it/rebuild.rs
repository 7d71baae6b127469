//! The main job: PostgreSQL itself, built twice in full, is reproduced; and what comes out keeps the archive's contract.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::digest::Digest;
use pgproof::variation::Axis;

use crate::gate::{self, Need};
use crate::{consumers, sbom};

const STEM: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";
const OLDER: &str = "postgresql-15.18.0-x86_64-unknown-linux-gnu";

/// What every machine gets. A change of the recipe, the toolchain, the sysroot or the archive's form changes it, on purpose
/// only.
const ARCHIVE: &str = "sha256:3d3d4877a84c9ec2175ddbb7831207fd77ac5e2300745c1f65882f94f3a0b347";

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

    let mut kept = BTreeMap::new();
    for part in ["", "-client", "-debug", "-pl"] {
        let top = format!("{STEM}{part}");
        let files = contract(&std::fs::read(dist.path().join(format!("{top}.tar.gz"))).unwrap(), &top);
        for (path, bytes) in &files {
            for canary in ["pgproof-", "/build/postgresql", "libfaketime"] {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "{path} has {canary:?}");
            }
        }
        kept.insert(part, files);
    }
    let has = |part: &str, path: &str| kept[part].contains_key(&format!("{STEM}{part}/{path}"));
    for program in ["initdb", "pg_dump", "postgres", "psql"] {
        assert!(
            has("", &format!("bin/{program}")) && has("-debug", &format!("bin/.debug/{program}.debug")),
            "{program}"
        );
    }
    for module in ["pgcrypto.so", "uuid-ossp.so", "pgxml.so"] {
        assert!(has("", &format!("lib/{module}")), "{module}");
    }
    for module in ["plperl.so", "plpython3.so", "pltcl.so"] {
        assert!(has("-pl", &format!("lib/{module}")) && !has("", &format!("lib/{module}")), "{module}");
    }
    assert!(has("-client", "bin/psql") && !has("-client", "bin/postgres"));
    manifest(&kept[""]);
    sbom::licences_are_declared_as_shipped(&kept[""], STEM);
    sbom::published(dist.path(), STEM);

    let check = &report["check"];
    assert_eq!(check["clean"], true, "{check}");
    assert_eq!(check["found"]["stale"].as_array().unwrap().len(), 0, "{check}");
    assert_eq!(check["found"]["floor"]["glibc"]["declared"], "2.36");

    signed(&store, dist.path());

    let older = build(&store, dist.path(), "15.18");
    for (archive, older) in [(STEM, Some(older)), (OLDER, None)] {
        let mut test = Command::new(env!("CARGO_BIN_EXE_pgproof"));
        test.args(["test", "--json", "--store"]).arg(&store).arg(dist.path().join(format!("{archive}.tar.gz")));
        test.args(older.iter().flat_map(|older| [Path::new("--upgrade-from"), older]));
        let tested = test.output().unwrap();
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
    }
    consumers::check(&consumers::Dist::new(dist.path(), STEM), &store);
}

/// What is stated of the release is signed, and verified with its inputs held against the committed lockfiles.
fn signed(store: &Path, dist: &Path) {
    let openssl = |words: &[&str]| {
        assert!(Command::new("openssl").args(words).current_dir(dist).output().unwrap().status.success());
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "builder.key"]);
    openssl(&["pkey", "-in", "builder.key", "-pubout", "-out", "builder.pub"]);
    std::fs::set_permissions(dist.join("builder.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let pgproof = |words: &[&str]| {
        let mut pgproof = Command::new(env!("CARGO_BIN_EXE_pgproof"));
        pgproof.args(words).args(["--json", "--offline", "--store"]).arg(store).current_dir(dist);
        let ran = pgproof.output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stdout));
        serde_json::from_slice::<serde_json::Value>(&ran.stdout).unwrap()
    };
    pgproof(&["sign", ".", "--key", "builder.key"]);
    let archive = format!("{STEM}.tar.gz");
    let verified = pgproof(&["verify", &archive, "--key", "builder.pub", "--lockfiles"]);
    assert_eq!(verified["testimonies"].as_array().unwrap().len(), 2, "{verified:#}");
    // All packages of the box, and the tarball.
    assert!(verified["inputs"]["compared"].as_u64().unwrap() > 200, "{verified:#}");
    std::fs::remove_file(dist.join("builder.key")).unwrap();
}

/// Builds another release once, and gives its archive.
fn build(store: &Path, directory: &Path, version: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO_BIN_EXE_pgproof"));
    build.args(["build", version, "--quiet", "--target", "x86_64-unknown-linux-gnu", "--store"]).arg(store);
    let build = build.arg("--out").arg(directory).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    directory.join(format!("{OLDER}.tar.gz"))
}

/// Every library that PostgreSQL did not make itself is listed, with where it is from and under which licence.
fn manifest(files: &BTreeMap<String, Vec<u8>>) {
    let manifest: serde_json::Value = serde_json::from_slice(&files[&format!("{STEM}/MANIFEST.json")]).unwrap();
    let mut listed = BTreeSet::new();
    for library in manifest["libraries"].as_array().unwrap() {
        let text = |name: &str| library[name].as_str().unwrap();
        listed.insert(format!("{STEM}/{}", text("file")));
        let licence = &files[&format!("{STEM}/{}", text("licence"))];
        assert!(licence.len() > 100, "{library}");
        let purl = format!("pkg:deb/debian/{}@", text("package").replace('+', "%2B"));
        assert!(text("purl").starts_with(&purl) && text("sourcePurl").contains("?arch=source&"), "{library}");
        assert!(!text("version").is_empty() && !text("sourceVersion").is_empty(), "{library}");
    }
    let own = ["libecpg", "libpgtypes", "libpq"];
    let directory = format!("{STEM}/lib/");
    let bundled: BTreeSet<String> = files
        .keys()
        .filter(|path| path.strip_prefix(&directory).is_some_and(|name| !name.contains('/') && name.contains(".so.")))
        .filter(|path| !own.iter().any(|own| path[directory.len()..].starts_with(own)))
        .cloned()
        .collect();
    assert_eq!(listed, bundled);
    for module in manifest["separate"]["modules"].as_array().unwrap() {
        assert!(!files.contains_key(&format!("{STEM}/{}", module["file"].as_str().unwrap())), "{module}");
    }
}

/// Reads the archive as its consumers do, with a decoder that stops after the first gzip member; gives the regular files.
fn contract(archive: &[u8], top: &str) -> BTreeMap<String, Vec<u8>> {
    let mut directories = std::collections::BTreeSet::new();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_end_matches('/').to_owned();
        match path.rsplit_once('/') {
            Some((parent, _)) => assert!(directories.contains(parent), "{path} comes before its directory"),
            None => assert_eq!(path, top),
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
