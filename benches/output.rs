//! How fast trees are walked, packed and unpacked, beside the programs that people use for it.
//!
//! ```text
//! cargo bench --bench output -- TREE [SCRATCH]
//! ```
//!
//! TREE is an installed PostgreSQL, or any other tree; SCRATCH a directory in memory, `/dev/shm` unless it is given. Each
//! round runs everything once, so that a busy machine slows all alike; medians of the rounds are printed, and how often as
//! long as pgproof the others take. `pigz` and `libdeflate-gzip` are measured if they are installed.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark prints, runs other programs and stops at the first error"
)]

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pgproof::digest::HashingReader;
use pgproof::lockfile::Name;
use pgproof::output::{self, gzip};
use pgproof::store::Store;
use pgproof::tree::{self, Limits, Modes, Options, Times};

const ROUNDS: usize = 3;
const EPOCH: u32 = 1_770_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(source) = arguments.first().map(Path::new) else {
        println!("usage: cargo bench --bench output -- TREE [SCRATCH]");
        return;
    };
    let scratch = tempfile::tempdir_in(arguments.get(1).map_or("/dev/shm", String::as_str)).unwrap();
    let at = |name: &str| scratch.path().join(name);
    let name: Name = "top-1.0.0".parse().unwrap();
    let store = Store::open(&at("store")).unwrap();
    let threads = std::thread::available_parallelism().unwrap();

    // A copy in memory, normalised, so that everybody reads the same.
    let mut incoming = store.incoming().unwrap();
    let summary = tree::walk(File::open(source).unwrap(), &name, EPOCH, Limits::STANDARD, &mut incoming).unwrap();
    let blob = incoming.commit().unwrap();
    let options = Options { strip: 0, modes: Modes::Kept, times: Times::Constant(EPOCH), limits: Limits::STANDARD };
    fs::create_dir(at("tree")).unwrap();
    tree::unpack(store.file(blob).unwrap(), File::open(at("tree")).unwrap(), &options).unwrap();
    io::copy(&mut store.read(blob).unwrap(), &mut File::create(at("tar")).unwrap()).unwrap();
    println!("{} entries, {} bytes, {threads} cores, {ROUNDS} rounds", summary.entries, summary.bytes);

    let size = |name: &str| fs::metadata(at(name)).unwrap().len();
    let compress = |threads| {
        let out = BufWriter::new(File::create(at("ours.gz")).unwrap());
        let mut encoder = gzip::Encoder::new(out, threads).unwrap();
        io::copy(&mut io::BufReader::with_capacity(1 << 18, File::open(at("tar")).unwrap()), &mut encoder).unwrap();
        encoder.finish().unwrap().into_inner().unwrap();
        Some(size("ours.gz"))
    };
    let filter = |program: &str, arguments: &[&str]| {
        let run = Command::new(program)
            .args(arguments)
            .stdin(File::open(at("tar")).unwrap())
            .stdout(File::create(at("theirs.gz")).unwrap())
            .stderr(Stdio::null())
            .status();
        run.is_ok_and(|status| status.success()).then(|| size("theirs.gz"))
    };
    let tar = |arguments: &[&str], directory: &Path| {
        let run = Command::new("tar").arg("-C").arg(directory).args(arguments).status();
        run.is_ok_and(|status| status.success())
    };
    let fresh = |name: &str| {
        drop(fs::remove_dir_all(at(name)));
        fs::create_dir(at(name)).unwrap();
        at(name)
    };

    let (archive, theirs) = (at("tar").display().to_string(), at("theirs.tar").display().to_string());
    let normal = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-b1", "-cf", &theirs, "top-1.0.0"];
    let candidates: Vec<Candidate<'_>> = vec![
        (
            "walk",
            None,
            Box::new(|| {
                let out = File::create(at("ours.tar")).unwrap();
                tree::walk(File::open(at("tree/top-1.0.0")).unwrap(), &name, EPOCH, Limits::STANDARD, out).unwrap();
                Some(size("ours.tar"))
            }),
        ),
        ("tar -c --sort=name", Some("walk"), Box::new(|| tar(&normal, &at("tree")).then(|| size("theirs.tar")))),
        (
            "unpack",
            None,
            Box::new(|| {
                let directory = File::open(fresh("ours")).unwrap();
                Some(tree::unpack(File::open(at("tar")).unwrap(), directory, &options).unwrap().bytes)
            }),
        ),
        (
            "unpack and hash",
            None,
            Box::new(|| {
                let directory = File::open(fresh("ours")).unwrap();
                let mut reader = HashingReader::new(File::open(at("tar")).unwrap());
                tree::unpack(&mut reader, directory, &options).unwrap();
                Some(reader.finish().1)
            }),
        ),
        ("tar -x", Some("unpack"), Box::new(|| tar(&["-xf", &archive], &fresh("theirs")).then_some(summary.bytes))),
        ("compress", None, Box::new(|| compress(threads))),
        ("compress, 1 thread", None, Box::new(|| compress(NonZeroUsize::MIN))),
        ("gzip -9", Some("compress"), Box::new(|| filter("gzip", &["-9nc"]))),
        ("pigz -9", Some("compress"), Box::new(|| filter("pigz", &["-9nc"]))),
        ("libdeflate-gzip -9", Some("compress"), Box::new(|| filter("libdeflate-gzip", &["-9", "-c"]))),
        ("collect", None, Box::new(|| Some(output::collect(blob, &name, EPOCH, &store).unwrap().archive().size()))),
    ];

    let mut times = vec![Vec::new(); candidates.len()];
    let mut processor = times.clone();
    let mut sizes = vec![None; candidates.len()];
    for _ in 0..ROUNDS {
        for (index, (_, _, run)) in candidates.iter().enumerate() {
            let (start, before) = (Instant::now(), processor_time());
            sizes[index] = run();
            times[index].push(start.elapsed());
            processor[index].push(processor_time().saturating_sub(before));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let processor: Vec<f64> = processor.iter_mut().map(|times| median(times)).collect();
    println!("{:<20} {:>8} {:>8} {:>13}  ratio: time, processor time, bytes", "", "s", "cpu s", "bytes");
    for (index, (name, against, _)) in candidates.iter().enumerate() {
        let Some(size) = sizes[index] else {
            println!("{name:<20} not installed");
            continue;
        };
        let ours = against.and_then(|against| candidates.iter().position(|(name, ..)| *name == against));
        let ratio = ours.map(|ours| {
            let (time, processor) = (medians[index] / medians[ours], processor[index] / processor[ours]);
            let size = sizes[ours].map_or(0.0, |ours| quotient(size, ours));
            format!("{time:.2} {processor:.2} {size:.4} × {}", against.unwrap_or_default())
        });
        let (seconds, processor) = (medians[index], processor[index]);
        println!("{name:<20} {seconds:>8.3} {processor:>8.3} {size:>13}  {}", ratio.unwrap_or_default());
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("pgproof's peak memory: {}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
}

/// A thing to measure: its name, what it is compared with, and how to do it. It gives the size of what it made or read, or
/// nothing if the program is missing.
type Candidate<'a> = (&'static str, Option<&'static str>, Box<dyn Fn() -> Option<u64> + 'a>);

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// What pgproof and the programs that it waited for have used so far.
fn processor_time() -> Duration {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| getrusage(who).unwrap())
        .flat_map(|usage| [usage.user_time(), usage.system_time()])
        .map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
fn quotient(size: u64, ours: u64) -> f64 {
    size as f64 / ours as f64
}
