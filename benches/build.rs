//! What the whole job costs, against the bare compiler: `configure`, `make` and `make install` of the same steps in a plain
//! chroot of the same tree on disk.
//!
//! ```sh
//! cargo bench --bench build               # one round, about a quarter of an hour on two cores
//! cargo bench --bench build -- 3          # three rounds
//! ```
//!
//! Each round runs bare, `pgproof build` and `pgproof rebuild --compare` one after the other, from a warm store, and prints
//! wall and processor seconds; at the end the medians and their ratios. It needs user namespaces (or root) and the network
//! once.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark starts programs, prints, and has nobody to hand an error to"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use pgproof::plan::Plan;
use pgproof::store::Store;
use pgproof::{sysroot, tree};

/// Seconds of wall and of processor time.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-store");

    // Warms the store, and gives the plan.
    let status = pgproof(&store, &["fetch"], directory.path()).status().unwrap();
    assert!(status.success());
    let plan = pgproof(&store, &["plan", "--quiet"], directory.path()).stderr(Stdio::null()).output().unwrap();
    let plan = Plan::parse(plan.stdout.trim_ascii_end()).unwrap();

    let (mut bare_runs, mut build_runs, mut twin_runs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        // First, so that the root file system is composed when the bare run wants to unpack it.
        twin_runs.push(run(&mut pgproof(&store, &["rebuild", "--compare", "--quiet"], directory.path())));
        build_runs.push(run(&mut pgproof(&store, &["build", "--quiet"], directory.path())));
        bare_runs.push(bare(&plan, &Store::open(&store).unwrap(), directory.path(), cores));
        for (name, runs) in [("bare", &bare_runs), ("build", &build_runs), ("rebuild", &twin_runs)] {
            let cost = runs[round - 1];
            println!("round {round}: {name:8} {:6.1} s wall, {:6.1} s processor", cost.wall, cost.cpu);
        }
    }
    let (bare, build, twin) = (median(&bare_runs), median(&build_runs), median(&twin_runs));
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 cores")]
    let ideal = 2.0 * bare.cpu / cores as f64;
    println!("medians of {rounds} on {cores} cores: bare {:.1} s, {:.1} s of processors", bare.wall, bare.cpu);
    println!("build   / bare, wall:                          {:.3}", build.wall / bare.wall);
    println!("rebuild / two bare runs in turn, wall:         {:.3}", twin.wall / (2.0 * bare.wall));
    println!("rebuild / two bare runs' processors by cores:  {:.3}", twin.wall / ideal);
}

fn pgproof(store: &Path, words: &[&str], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgproof"));
    command.arg(words[0]).arg("--store").arg(store).args(&words[1..]).stdout(Stdio::null());
    if matches!(words[0], "build" | "rebuild") {
        command.arg("--out").arg(out.join("dist"));
    }
    if words[0] == "plan" {
        command.stdout(Stdio::piped());
    }
    command
}

/// The plan's steps in a chroot on disk. Unpacking is not counted.
fn bare(plan: &Plan, store: &Store, directory: &Path, cores: usize) -> Cost {
    let root = directory.join("root");
    let rootfs = sysroot::find(store, plan.sysroot.manifest).unwrap();
    unpack(store, rootfs.layer(), &root, 0);
    for input in &plan.inputs {
        let unpacked = input.unpack.as_ref().unwrap();
        let tar = store.get(unpacked.tar_digest.unwrap()).unwrap();
        unpack(store, tar, &root.join("build").join(unpacked.into.as_str()), unpacked.strip);
    }
    for folder in ["dev", "proc", "tmp", "pgproof/out"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let mut script = String::from(
        "mount --rbind /dev \"$0/dev\" && mount --rbind /proc \"$0/proc\" && mount --bind \"$0/tmp\" \"$0/tmp\"",
    );
    for step in &plan.steps {
        let words: Vec<_> = step.argv.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let place = format!("/build/{}", step.directory);
        write!(script, " && chroot \"$0\" env -C '{place}' {} >/dev/null", words.join(" ")).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script]).arg(&root).env_clear().stderr(Stdio::null());
    command.envs(&plan.environment).env("MAKEFLAGS", format!("-j{cores}")).env("LC_ALL", "C.UTF-8").env("HOME", "/tmp");
    // What the box adds for the wrapper of its compiler.
    command.env("PGPROOF_BUILD_ROOT", "/build");
    command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let cost = run(&mut command);
    std::fs::remove_dir_all(&root).unwrap();
    // Creating files is slow for a while after so many were removed.
    std::thread::sleep(std::time::Duration::from_mins(1));
    cost
}

fn unpack(store: &Store, blob: pgproof::store::Blob, directory: &PathBuf, strip: u32) {
    std::fs::create_dir_all(directory).unwrap();
    let root = std::fs::File::open(directory).unwrap();
    let options = tree::Options {
        strip,
        modes: tree::Modes::Kept,
        times: tree::Times::Shifted(0),
        limits: tree::Limits::STANDARD,
    };
    tree::unpack(store.read(blob).unwrap(), &root, &options).unwrap();
}

fn run(command: &mut Command) -> Cost {
    let before = processor();
    let started = Instant::now();
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}");
    Cost { wall: started.elapsed().as_secs_f64(), cpu: processor() - before }
}

/// Processor seconds of all children so far.
fn processor() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of some minutes")]
            let seconds = time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            seconds
        })
        .sum()
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |value: fn(&Cost) -> f64| {
        let mut values: Vec<_> = costs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { wall: middle(|cost| cost.wall), cpu: middle(|cost| cost.cpu) }
}
