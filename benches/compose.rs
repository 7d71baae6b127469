//! How long composing the committed sysroot takes, beside what it cannot do without.
//!
//! ```text
//! cargo bench --bench compose -- DIRECTORY [ROUNDS]
//! ```
//!
//! `DIRECTORY` holds the packages of `lockfiles/bookworm-amd64.lock`, as `apt-get download` or `pgproof fetch` brought them.
//! Each round runs all contestants one after the other, so that a busy machine slows all of them alike; what is printed are
//! the medians over the rounds, and of the multiples of the same round's `decompress`:
//!
//! - `compose`: from the packages in the store to a stored image: verified, merged, hashed, synced;
//! - `decompress`: only decompresses the packages' data members, on all cores, with the decoder that composing uses;
//! - `xz`: the same with `xz -dc`, one process for each member, as many at once as there are cores;
//! - `mmdebstrap`: unpacks and configures the same packages from a mirror in a directory (run as root, if it is installed).

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, starts its contestants, reads the clock and may panic"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pgproof::definitions::{Compose, Definitions};
use pgproof::digest::Digest;
use pgproof::lockfile::Lockfile;
use pgproof::store::Store;
use pgproof::sysroot;

const SYSROOT: &str = "bookworm-amd64";

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(directory) = arguments.first() else {
        eprintln!("not run: name the directory with the packages: cargo bench --bench compose -- DIRECTORY [ROUNDS]");
        return ExitCode::SUCCESS;
    };
    let rounds = arguments.get(1).map_or(5, |rounds| rounds.parse().unwrap());
    let name = SYSROOT.parse().unwrap();
    let lockfile = Definitions::BuiltIn.lockfile(&name).unwrap();
    let definition = Definitions::BuiltIn.definition(&name).unwrap().compose.unwrap();

    let files = packages(Path::new(directory), &lockfile);
    let scratch = tempfile::tempdir().unwrap();
    let members = scratch.path().join("members");
    std::fs::create_dir(&members).unwrap();
    let members: Vec<PathBuf> = files.iter().enumerate().map(|(n, file)| extract(file, &members, n)).collect();
    let root = scratch.path().join("store");
    let store = Store::open(&root).unwrap();
    for file in &files {
        store.admit(&std::fs::read(file).unwrap()).unwrap();
    }
    let mirror = mirror(scratch.path(), &files);

    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        let mut run = |name, contestant: &dyn Fn()| {
            let start = Instant::now();
            contestant();
            let time = start.elapsed().as_secs_f64();
            eprintln!("round {round}: {name} {time:.2} s");
            times.entry(name).or_default().push(time);
        };
        run("decompress", &|| decompress(&members));
        run("compose", &|| compose(&definition, &lockfile, &store));
        if available("xz") {
            run("xz", &|| xz(&members));
        }
        if let Some(mirror) = &mirror {
            run("mmdebstrap", &|| mmdebstrap(mirror, &definition, scratch.path()));
        }
    }
    for (name, seconds) in &times {
        // Within a round, not between the medians: the rounds may have met a quiet and a busy machine.
        let ratios = seconds.iter().zip(&times["decompress"]).map(|(time, least)| time / least).collect();
        println!("{name:<12} {:>7.2} s  {:>6.2} x decompress", median(seconds.clone()), median(ratios));
    }
    ExitCode::SUCCESS
}

/// Composes as if for the first time.
fn compose(definition: &Compose, lockfile: &Lockfile, store: &Store) {
    let rootfs = sysroot::compose_unpinned(definition, lockfile, store, &|_| {}).unwrap();
    for digest in [rootfs.manifest(), rootfs.layer().digest()] {
        std::fs::remove_file(store.root().join("blobs/sha256").join(digest.hex())).unwrap();
    }
}

fn decompress(members: &[PathBuf]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let mut buffer = vec![0; 256 << 10];
                while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = BufReader::with_capacity(256 << 10, File::open(member).unwrap());
                    let mut decoder = lzma_rust2::XzReader::new(file, false);
                    while decoder.read(&mut buffer).unwrap() > 0 {}
                }
            });
        }
    });
}

fn xz(members: &[PathBuf]) {
    let mut command = Command::new("xargs");
    command.args(["-P", &cores().to_string(), "-n", "1", "xz", "-dc"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let list: Vec<&str> = members.iter().map(|member| member.to_str().unwrap()).collect();
    io::Write::write_all(&mut child.stdin.take().unwrap(), list.join("\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn mmdebstrap(mirror: &Path, definition: &Compose, scratch: &Path) {
    let root = scratch.join("root");
    let include: Vec<&str> = definition.packages.iter().map(pgproof::lockfile::Name::as_str).collect();
    let status = Command::new("mmdebstrap")
        .args(["--mode=root", "--variant=essential", "--quiet", "--format=directory"])
        .arg(format!("--include={}", include.join(",")))
        .arg("bookworm")
        .arg(&root)
        .arg(format!("deb [trusted=yes] copy:{} ./", mirror.display()))
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(root).unwrap();
}

/// A mirror in a directory, if there is everything to make and use one.
fn mirror(scratch: &Path, files: &[PathBuf]) -> Option<PathBuf> {
    if !available("mmdebstrap") || !available("dpkg-scanpackages") || !nix::unistd::Uid::effective().is_root() {
        return None;
    }
    let mirror = scratch.join("mirror");
    std::fs::create_dir(&mirror).unwrap();
    for file in files {
        std::fs::copy(file, mirror.join(file.file_name().unwrap())).unwrap();
    }
    let listed =
        Command::new("dpkg-scanpackages").arg(".").current_dir(&mirror).stderr(Stdio::null()).output().unwrap();
    let (digest, size) = (Digest::of(&listed.stdout).hex(), listed.stdout.len());
    std::fs::write(mirror.join("Packages"), listed.stdout).unwrap();
    // mmdebstrap takes the essential packages of the suite that it was asked for.
    std::fs::write(mirror.join("Release"), format!("Codename: bookworm\nSHA256:\n {digest} {size} Packages\n"))
        .unwrap();
    Some(mirror)
}

/// The packages of the lockfile, found by digest: file names do not matter.
fn packages(directory: &Path, lockfile: &Lockfile) -> Vec<PathBuf> {
    let mut known = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            known.insert(Digest::of(&std::fs::read(&path).unwrap()), path);
        }
    }
    let find = |package: &pgproof::lockfile::Package| {
        known
            .get(&package.digest)
            .unwrap_or_else(|| panic!("{} is not in {}", package.name, directory.display()))
            .clone()
    };
    lockfile.packages.iter().map(find).collect()
}

/// Writes a package's data member to a file of its own.
fn extract(package: &Path, directory: &Path, number: usize) -> PathBuf {
    let member = directory.join(format!("{number}.tar.xz"));
    let status = Command::new("ar")
        .args(["p", package.to_str().unwrap(), "data.tar.xz"])
        .stdout(File::create(&member).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    member
}

fn available(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
