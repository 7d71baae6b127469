//! How long fetching the build environment's packages takes, against `curl` with as many connections on the same mirror.
//!
//! ```sh
//! cargo bench --bench fetch               # 9 rounds
//! cargo bench --bench fetch -- 21         # more of them
//! ```
//!
//! It needs `curl` and the first mirror of Debian that this host's apt is configured with. Each round runs both, one after the
//! other, in turns as to which comes first, into an empty directory on the same disk. curl writes what it gets; pgproof
//! also hashes it, compares the digests and syncs every file to the disk.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark runs curl, prints, and has nobody to hand an error to"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pgproof::fetch::{self, Limits, Mirror, Mirrors, Network, SNAPSHOT};
use pgproof::lockfile::{Lockfile, Origin, Pin};
use pgproof::store::Store;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let mirror =
        fetch::of_host(Path::new("/etc/apt")).into_iter().next().expect("apt is configured with a mirror of Debian");
    let lockfile = concat!(env!("CARGO_MANIFEST_DIR"), "/lockfiles/bookworm-amd64.lock");
    let pins = Lockfile::load(Path::new(lockfile)).unwrap().package_pins();
    let bytes: u64 = pins.iter().map(|pin| pin.size).sum();
    println!("{} files, {} MB", pins.len(), bytes / 1_000_000);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            theirs.push(curl(&pins, &mirror));
            ours.push(pgproof(&pins, &mirror));
        } else {
            ours.push(pgproof(&pins, &mirror));
            theirs.push(curl(&pins, &mirror));
        }
    }
    let mut ratios: Vec<_> =
        ours.iter().zip(&theirs).map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    println!("pgproof {:.3} s, curl {:.3} s (medians of {rounds})", median(&mut ours), median(&mut theirs));
    println!("pgproof / curl: median {:.2}, {:.2} to {:.2}", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
    // Not getrusage: what it says may be cargo's, from before the exec.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("pgproof's peak memory: {}", status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim());
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn pgproof(pins: &[Pin], mirror: &Mirror) -> Duration {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(directory.path()).unwrap();
    let start = Instant::now();
    let network = Network::new(Mirrors::new([mirror.clone()], SNAPSHOT.parse().unwrap()), Limits::default());
    fetch::fetch(pins, &store, Some(&network), &()).unwrap();
    start.elapsed()
}

fn curl(pins: &[Pin], mirror: &Mirror) -> Duration {
    use std::fmt::Write as _;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let base = mirror.to_string();
    let mut list = String::new();
    for pin in pins {
        let Origin::Debian(path) = &pin.origins[0] else { panic!("{}", pin.origins[0]) };
        let output = directory.path().join(pin.digest.hex());
        writeln!(list, "url = \"{}/{path}\"\noutput = \"{}\"", base.trim_end_matches('/'), output.display()).unwrap();
    }
    let config = directory.path().join("list");
    std::fs::write(&config, list).unwrap();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--parallel", "--parallel-max", "16", "--config"]).arg(&config);
    command.stderr(std::process::Stdio::null());
    let start = Instant::now();
    assert!(command.status().unwrap().success());
    start.elapsed()
}
