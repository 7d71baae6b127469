//! How long the box takes to begin and to end, and what it costs what runs in it.
//!
//! ```text
//! cargo bench --bench sandbox -- [ROUNDS [LAYER.tar]]
//! ```
//!
//! Each round runs all contestants one after the other, so that a busy machine slows all of them alike; what is printed are
//! the medians over the rounds, and of the multiples of the same round's `bwrap`. The root file system is a static busybox:
//!
//! - `start`: from nothing to the end of `/bin/true`. pgproof unpacks the root file system through its digest meanwhile, and
//!   stores the log and the output; the others find it unpacked;
//! - `forks`: a shell that starts 2000 programs, start and end of the box included;
//! - `layer`: until the given layer (an image's root file system as plain tar) is verified and in place, pgproof alone.
//!
//! bwrap has no system call filter and no limits here; runc has what `pgproof plan --oci-bundle` gives it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark prints, starts its contestants, reads the clock and may panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgproof::plan::Plan;
use pgproof::sandbox::{self, Cancel, Job, Limits};
use pgproof::store::{Blob, Store};
use pgproof::variation::Variation;

const FORKS: &str = "i=0; while [ $i -lt 2000 ]; do /bin/busybox true; i=$((i+1)); done";

struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    busybox: Blob,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let rounds = arguments.first().map_or(21, |rounds| rounds.parse().unwrap());
    let bench = Bench::new();
    for (name, argv) in [("start", vec!["/bin/true"]), ("forks", vec!["/bin/sh", "-c", FORKS])] {
        let plan = plan(&argv);
        let bundle = bench.bundle(&plan, name);
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            times[0].push(bench.bwrap(&bundle, &argv));
            times[1].push(bench.pgproof(&plan, bench.busybox).0);
            times[2].push(bench.runc(&bundle));
        }
        for (contestant, own) in ["bwrap", "pgproof", "runc"].iter().zip(&times) {
            let ratios = own.iter().zip(&times[0]).map(|(own, bwrap)| own.as_secs_f64() / bwrap.as_secs_f64());
            println!("{name:6} {contestant:8} {:8.1} ms {:6.2} x bwrap", milliseconds(own), median(ratios.collect()));
        }
    }
    if let Some(layer) = arguments.get(1) {
        let layer = bench.store.add_file(Path::new(layer)).unwrap();
        let plan = plan(&["true"]);
        let times: Vec<_> = (0..rounds.min(7)).map(|_| bench.pgproof(&plan, layer).1).collect();
        println!("layer  pgproof  {:8.1} ms for {} MB", milliseconds(&times), layer.size() / 1_000_000);
    }
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // runc's mapped users have to come this far.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let busybox = store.admit(&layer()).unwrap();
        Self { directory, store, busybox }
    }

    fn job<'a>(plan: &'a Plan, variation: &'a Variation, rootfs: Blob) -> Job<'a> {
        let limits =
            Limits { time: Duration::from_mins(5), log: 1 << 20, processes: 4096, memory: None, disk: 1 << 30 };
        let helper = env!("CARGO_BIN_EXE_pgproof").into();
        Job { plan, rootfs, inputs: Vec::new(), variation, limits, keep: None, helper }
    }

    /// Start to end, and start to the first step.
    fn pgproof(&self, plan: &Plan, rootfs: Blob) -> (Duration, Duration) {
        let (variation, cancel) = (Variation::plain(cpus()), Cancel::new().unwrap());
        let started = Instant::now();
        let installed = sandbox::run(&Self::job(plan, &variation, rootfs), &self.store, &mut |_| {}, &cancel).unwrap();
        (started.elapsed(), installed.prepared)
    }

    fn bundle(&self, plan: &Plan, name: &str) -> PathBuf {
        let bundle = self.directory.path().join(name);
        let variation = Variation::plain(cpus());
        sandbox::export(&Self::job(plan, &variation, self.busybox), &self.store, &bundle).unwrap();
        bundle
    }

    fn bwrap(&self, bundle: &Path, argv: &[&str]) -> Duration {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--die-with-parent", "--ro-bind"]).arg(bundle.join("rootfs")).args(["/"]);
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]).args(argv);
        timed(&mut command, self.directory.path())
    }

    fn runc(&self, bundle: &Path) -> Duration {
        let state = self.directory.path().join("state");
        let name = format!("pgproof-bench-{}", std::process::id());
        timed(Command::new("runc").arg("--root").arg(state).args(["run", &name]), bundle)
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn timed(command: &mut Command, directory: &Path) -> Duration {
    let started = Instant::now();
    let output = command.current_dir(directory).stdin(Stdio::null()).output().unwrap();
    let elapsed = started.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

fn plan(argv: &[&str]) -> Plan {
    let json = serde_json::json!({
        "version": 1,
        "name": "bench",
        "sourceDateEpoch": 1,
        "sysroot": {"name": "busybox", "manifest": format!("sha256:{}", "0".repeat(64))},
        "inputs": [],
        "environment": {"PATH": "/bin:/usr/bin"},
        "steps": [{"name": "step", "argv": argv, "directory": "."}],
        "output": ".",
    });
    Plan::parse(&serde_json::to_vec(&json).unwrap()).unwrap()
}

/// One program under three names.
fn layer() -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let program = std::fs::read(busybox.expect("install the package busybox-static")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header(tar::EntryType::Regular, program.len()), "bin/busybox", program.as_slice()).unwrap();
    for name in ["sh", "true"] {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0), format!("bin/{name}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size as u64);
    header
}

fn milliseconds(times: &[Duration]) -> f64 {
    median(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
