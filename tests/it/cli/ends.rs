//! However and whenever pgproof ends, nothing is lost or left, and the same command works again.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::scene::{HELLO, Scene, busybox, tarball};
use crate::gate::{self, Need};
use crate::origin::Origin;

const REBUILD: [&str; 4] = ["rebuild", "--compare", "--plan", "plan.json"];

#[test]
fn a_build_can_be_interrupted() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    // The scene's path is what its processes are known by.
    let mut plan = scene.plan();
    let marker = scene.path("marker").display().to_string();
    let script =
        format!("setsid sh -c 'sleep 86387' {marker} & sh -c 'trap \"\" INT TERM; sleep 86387' {marker}; true");
    plan["steps"]
        .as_array_mut()
        .unwrap()
        .insert(1, serde_json::json!({"name": "wait", "directory": ".", "argv": ["sh", "-c", script]}));
    scene.write_plan(&plan);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut running = scene.start(&REBUILD);
        running.wait_for("[2/4] wait");
        // pgproof, helper, keeper and init; the latter can only be looked at by root.
        let least = if nix::unistd::geteuid().is_root() { 4 } else { 1 };
        assert!(scene.processes().len() >= least);
        running.signal(signal);
        assert_eq!(running.end(), 130);
        scene.nothing_is_left();
        assert_eq!(scene.names("dist"), Vec::<String>::new());
    }
    let listed = scene.run(&["log"]).fine().stdout;
    assert_eq!(listed.matches("  stopped\n").count(), 3, "{listed}");
    scene.write_plan(&scene.plan());
    scene.run(&REBUILD).fine();
    assert_eq!(scene.published(), HELLO);
}

#[test]
fn a_fetch_can_be_interrupted() {
    let (deb, tarball) = (&busybox().0, tarball());
    let stalls = std::sync::atomic::AtomicBool::new(true);
    let scene = Scene::with(Origin::serve(move |request, reply| {
        if request.path.ends_with("hello-1.0.tar") {
            reply.file(request, &tarball);
        } else if stalls.swap(false, std::sync::atomic::Ordering::Relaxed) {
            reply.head("200 OK", &[("Content-Length", &deb.len().to_string()), ("Accept-Ranges", "bytes")]);
            reply.body(&deb[..deb.len() / 2]);
            reply.stall();
        } else {
            reply.file(request, deb);
        }
    }));
    let mut running = scene.start(&["fetch", "--plan", "plan.json"]);
    running.wait_for("to fetch");
    // Half of the package has come. On a busy machine that takes a while.
    let ingest = scene.path("store/ingest");
    let come = || {
        let entries = std::fs::read_dir(&ingest).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
    };
    let waiting = std::time::Instant::now();
    while come() < deb.len() as u64 / 2 && waiting.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    running.signal(Signal::SIGINT);
    let started = std::time::Instant::now();
    assert_eq!(running.end(), 130);
    assert!(started.elapsed() < Duration::from_secs(5));
    scene.run(&["fetch", "--plan", "plan.json"]).fine();
    scene.nothing_is_left();
    // What had come was not asked for again.
    assert!(scene.mirror.requests().last().unwrap().from() > Some(0));
}

/// What `rebuild` says when a phase begins.
const PHASES: [&str; 9] = [
    "inputs: 2 to fetch",
    "the root file system",
    "root file system sha256",
    "plain root file system and inputs verified",
    "[1/3] configure",
    "shaken [2/3] build",
    "plain packing",
    "plain sha256:",
    "shaken sha256:",
];

#[test]
fn a_pgproof_that_is_killed_costs_nothing_but_time() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let user: [fn(Scene) -> Scene; 2] = [|scene| scene, Scene::by_ordinary_user];
    for (number, phase) in PHASES.iter().enumerate() {
        let scene = user[number % 2](Scene::new());
        // At once, and when the phase is under way.
        for delay_ms in [0, 2, 5, 12, 30] {
            // Only the first has something to fetch and to compose.
            if number < 3 {
                std::fs::remove_dir_all(scene.path("store")).ok();
            }
            let mut running = scene.start(&REBUILD);
            running.wait_for(phase);
            std::thread::sleep(Duration::from_millis(delay_ms));
            running.signal(Signal::SIGKILL);
            running.end();
            scene.nothing_runs();
        }
        scene.run(&REBUILD).fine();
        assert_eq!(scene.published(), HELLO, "{phase}");
        // What a killed box was still writing when the next one began, on a slow disk, is for the one after that.
        for _ in 0..20 {
            if scene.names("store/scratch").is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            scene.run(&REBUILD).fine();
        }
        scene.nothing_is_left();
        assert_eq!(scene.names("dist").len(), 10);
    }
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    // For root no file is read-only: what an ordinary user may not open is seen only by one.
    for scene in [Scene::new(), Scene::new().by_ordinary_user(), Scene::new().by_ordinary_user()] {
        let others = [scene.start(&REBUILD), scene.start(&REBUILD)];
        scene.run(&REBUILD).fine();
        for other in others {
            let (code, said) = other.told();
            assert_eq!(code, 0, "{said}");
        }
        assert_eq!(scene.published(), HELLO);
        // One of them fetched.
        assert_eq!(scene.mirror.requests().iter().filter(|request| request.path.ends_with("busybox.deb")).count(), 1);
        scene.nothing_is_left();
        let sums =
            std::process::Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(scene.path("dist")).output();
        assert!(sums.unwrap().status.success());
    }
}
