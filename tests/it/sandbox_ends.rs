//! However a build ends, its end is told and nothing of it is left.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgproof::plan::Plan;
use pgproof::sandbox::{self, Cancel, Class, Event, Exit, Medium, SandboxError};
use pgproof::variation::{Axis, Variation};

use crate::gate::{self, Need};
use crate::sandbox::{Fixture, all_axes, helper, plan, plan_of};

/// Set for the test that is to be killed.
const VICTIM: &str = "PGPROOF_TEST_VICTIM";

#[test]
fn a_failing_step_is_told_with_its_last_lines() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let script = "seq 100; printf 'a\\033[31mred\\n'; echo last >&2; exit 7";
    let plan = plan_of(&[("good", &["true"]), ("bad", &["sh", "-c", script]), ("never", &["touch", "/pgproof/out/x"])]);
    let error = fixture.run(&plan, &Variation::plain(2)).unwrap_err();
    assert_eq!(error.class(), Class::Build);
    let SandboxError::StepFailed { name, exit, tail, log, .. } = error else { panic!("{error}") };
    assert_eq!((name.to_string().as_str(), exit), ("bad", Exit::Status(7)));
    assert_eq!(tail.len(), 40);
    assert_eq!(tail[38..], ["a\u{fffd}[31mred", "last"]);
    assert!(fixture.text(log).starts_with("1\n2\n3\n"));
}

#[test]
fn a_program_that_is_not_there_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let error = fixture.run(&plan_of(&[("build", &["no-such-program"])]), &Variation::plain(2)).unwrap_err();
    assert!(matches!(error, SandboxError::StepFailed { exit: Exit::NotRun(libc::ENOENT), .. }), "{error}");
    assert!(error.to_string().starts_with("step build cannot be run: No such file or directory"), "{error}");
}

#[test]
fn a_step_that_is_killed_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let error = Fixture::new().run(&plan("kill -SEGV $$"), &Variation::plain(2)).unwrap_err();
    assert!(matches!(error, SandboxError::StepFailed { exit: Exit::Signal(libc::SIGSEGV), .. }), "{error}");
}

#[test]
fn time_and_output_are_limited() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.limits.time = Duration::from_secs(2);
    let started = Instant::now();
    let error = fixture.run(&plan("trap '' TERM; sleep 86399 & sleep 86399"), &Variation::plain(2)).unwrap_err();
    assert!(matches!(error, SandboxError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    fixture.limits.time = Duration::from_mins(1);
    let error = fixture.run(&plan("yes"), &Variation::plain(2)).unwrap_err();
    let SandboxError::Endless { limit, log } = error else { panic!("{error}") };
    assert_eq!(limit, log.size());
}

#[test]
fn disk_and_processes_are_limited() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.limits.disk = 4 << 20;
    let error = fixture
        .run(&plan("dd if=/dev/zero of=a bs=1M count=3 && dd if=/dev/zero of=b bs=1M count=3"), &Variation::plain(2));
    let error = error.unwrap_err();
    assert!(error.to_string().contains("its disk is full"), "{error}");
    fixture.limits.disk = 64 << 20;
    fixture.limits.processes = 32;
    let fork_bomb = plan("for i in $(seq 64); do sleep 86398 & done; echo unlimited");
    match fixture.run(&fork_bomb, &Variation::plain(2)) {
        Ok(installed) => assert!(!fixture.text(installed.log).contains("unlimited")),
        Err(error) => assert_eq!(error.class(), Class::Build, "{error}"),
    }
}

#[test]
fn preparation_is_limited_too() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.limits.time = Duration::ZERO;
    let mut heard = Vec::new();
    let (plan, variation) = (plan("true"), Variation::plain(2));
    let job = fixture.job(&plan, &variation);
    let ended = sandbox::run(&job, &fixture.store, &mut |event| heard.push(event), &Cancel::new().unwrap());
    assert!(matches!(ended, Err(SandboxError::Timeout { .. })), "{ended:?}");
    assert_eq!(heard, []);
}

#[test]
fn a_build_on_disk_is_limited_too() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.limits.disk = 4 << 20;
    // `sync` waits for everything that is on its way to the disk, other people's too.
    fixture.limits.time = Duration::from_mins(10);
    let variation = |plan: &Plan| Variation::shaken(plan.digest(), 2, &BTreeSet::from([Axis::FileSystem]));
    let large = plan("dd if=/dev/urandom of=a bs=1M count=12; sync; sleep 86394");
    let error = fixture.run(&large, &variation(&large)).unwrap_err();
    assert!(error.to_string().contains("its disk is full"), "{error}");
    let small = plan("dd if=/dev/urandom of=a bs=1M count=3; sync; sleep 2");
    assert_eq!(fixture.run(&small, &variation(&small)).unwrap().medium, Medium::BuildOnDisk);
}

#[test]
fn the_kernel_ends_the_box_first() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    assert_eq!(Fixture::new().output("cat /proc/self/oom_score_adj"), "1000\n");
}

#[test]
fn a_helper_that_cannot_go_on_says_why() {
    let output = Command::new(helper()).arg(sandbox::HELPER_ARGUMENT).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.starts_with("the box's helper cannot go on: "), "{printed}");
}

#[test]
fn what_a_step_leaves_running_is_ended_before_the_next() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let plan = plan_of(&[("daemon", &["sh", "-c", "setsid sleep 86397 & sleep 0.1"]), ("look", &["ps", "-o", "args"])]);
    let installed = fixture.run(&plan, &Variation::plain(2)).unwrap();
    let printed = fixture.text(installed.log);
    assert!(!printed.contains("86397"), "{printed}");
}

#[test]
fn an_output_that_is_missing_or_no_tree_of_files_is_refused() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    for script in [
        "true",
        "ln -s / /pgproof/out/made",
        "echo > /pgproof/out/made",
        "mkdir /pgproof/out/made && mkfifo /pgproof/out/made/fifo",
        "mkdir /pgproof/out/made && ln -s ../../../etc/passwd /pgproof/out/made/link",
    ] {
        let mut plan = plan(script);
        plan.output = "made".parse().unwrap();
        let error = fixture.run(&plan, &Variation::plain(2)).unwrap_err();
        assert!(matches!(error, SandboxError::Output { .. }), "{script}: {error}");
        assert_eq!(error.class(), Class::Build);
    }
}

#[test]
fn a_blob_that_changed_on_disk_is_noticed() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("blobs/sha256").join(fixture.layer.digest().hex());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let error = fixture.run(&plan("true"), &Variation::plain(2)).unwrap_err();
    assert_eq!(error.class(), Class::Input, "{error}");
}

#[test]
fn an_input_of_another_digest_is_refused() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let (variation, plan) = (Variation::plain(2), plan("true"));
    let wanted = serde_json::json!({"name": "a", "digest": fixture.layer.digest(), "size": 1});
    let input = serde_json::from_value(wanted).unwrap();
    let mut other = plan.clone();
    other.inputs.push(input);
    let mut job = fixture.job(&plan, &variation);
    job.plan = &other;
    let error = sandbox::run(&job, &fixture.store, &mut |_| {}, &Cancel::new().unwrap()).unwrap_err();
    assert!(matches!(error, SandboxError::Inputs { .. }), "{error}");
}

#[test]
fn a_build_can_be_cancelled() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let (plan, variation, cancel) = (plan("sleep 86396"), Variation::plain(2), Cancel::new().unwrap());
    let asking = cancel.clone();
    let mut events = |event: Event| {
        if let Event::StepStarted { .. } = event {
            asking.cancel();
        }
    };
    let error = sandbox::run(&fixture.job(&plan, &variation), &fixture.store, &mut events, &cancel).unwrap_err();
    assert_eq!(error.class(), Class::Cancelled, "{error}");
    assert_eq!(processes("86396"), Vec::<PathBuf>::new());
}

/// What another test kills.
#[test]
fn the_victim() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let mut fixture = Fixture::new();
    fixture.store = pgproof::store::Store::open(Path::new(&directory)).unwrap();
    fixture.layer = fixture.store.get(fixture.layer.digest()).unwrap();
    let plan = plan("setsid sleep 86395 & mkdir -p deep/er; echo started >&2; sleep 86395");
    let variation = Variation::shaken(plan.digest(), 2, &all_axes());
    let mut events = |event: Event| {
        if let Event::Output(bytes) = event {
            eprint!("{}", String::from_utf8_lossy(&bytes));
        }
    };
    let ended = sandbox::run(&fixture.job(&plan, &variation), &fixture.store, &mut events, &Cancel::new().unwrap());
    panic!("it was not killed: {ended:?}");
}

#[test]
fn nothing_outlives_a_killed_pgproof() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox_ends::the_victim", "--nocapture"])
        .env(VICTIM, fixture.directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "started"));
    assert!(!processes("86395").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes("86395").is_empty() {
        assert!(Instant::now() < deadline, "{:?} live on", processes("86395"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("pgproof"), "{mounts}");
    // The directory on disk is removed by the next build.
    let plan = plan("true");
    fixture.run(&plan, &Variation::shaken(plan.digest(), 2, &all_axes())).unwrap();
    let left = sorted(&fixture.directory.path().join("scratch"));
    assert_eq!(left, Vec::<PathBuf>::new());
}

/// The processes with this word among their arguments.
fn processes(word: &str) -> Vec<PathBuf> {
    let found = |path: &PathBuf| {
        std::fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
    };
    sorted(Path::new("/proc")).into_iter().filter(found).collect()
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
