//! Looking after the store, and disks that do not do what they should.

use std::fmt::Write as _;

use super::scene::{HELLO, Scene, tarball};
use crate::gate::{self, Need};

const BUILD: [&str; 4] = ["build", "--quiet", "--plan", "plan.json"];

#[test]
fn what_is_needed_survives_collection() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    std::fs::write(scene.path("hello.tar"), tarball()).unwrap();
    scene.run(&["store", "add", "hello.tar"]).fine();
    scene.run(&BUILD).fine();
    std::fs::write(scene.path("junk"), "junk").unwrap();
    let junk = scene.store().admit(b"nobody needs this").unwrap().digest();
    insta::assert_snapshot!(scene.run(&["store", "stat"]).seen(), @"
    [DIR]/store
          10 blobs, [SIZE] MiB
           1 images
           1 added files
           0 unfinished downloads, 0 B
           1 builds
    exit 0
    ");
    insta::assert_snapshot!(scene.run(&["store", "gc"]).seen(), @"
    removed 1 blobs, 0 unfinished downloads and 0 records: 17 B are free again
    exit 0
    ");
    assert!(scene.store().find(junk).unwrap().is_none());
    scene.run(&["build", "--quiet", "--offline", "--plan", "plan.json"]).fine();
    assert_eq!(scene.published(), HELLO);
    let freed = scene.run(&["store", "gc", "--all", "--json"]).fine().json();
    assert!(freed["blobs"].as_u64() >= Some(4) && freed["runs"] == 2, "{freed}");
    // The project's sources are gone, the box and its package are not.
    assert_eq!(scene.run(&["build", "--quiet", "--offline", "--plan", "plan.json"]).code, Some(6));
    scene.run(&BUILD).fine();
    assert_eq!(scene.mirror.requests().iter().filter(|request| request.path.ends_with("busybox.deb")).count(), 1);
    let json = scene.run(&["store", "stat", "--json"]).fine().json();
    assert_eq!((&json["images"], &json["added"], &json["runs"]), (&1.into(), &0.into(), &1.into()));
    scene.nothing_is_left();
}

#[test]
fn nothing_is_collected_under_a_build() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script("echo begun; sleep 86388");
    let mut running = scene.start(&["build", "--plan", "plan.json"]);
    running.wait_for("[1/1] script");
    insta::assert_snapshot!(scene.run(&["store", "gc"]).seen(), @"
    error: cannot use the store
      because the store [DIR]/store is in use by another pgproof: try again when that has finished
    exit 6
    ");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.end(), 130);
    scene.run(&["store", "gc"]).fine();
    scene.nothing_is_left();
}

/// The store as something else, for who is root within a user namespace.
fn mounted(scene: Scene, mount: &str) -> Scene {
    let script = format!("cd {}; mkdir -p store; {mount}; exec \"$@\"", scene.path("").display());
    scene.around(&["unshare", "-rm", "sh", "-euc", &script, "sh"])
}

#[test]
fn a_store_that_cannot_be_written_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let mut seen = String::new();
    scene.run(&["fetch", "--quiet", "--plan", "plan.json"]).fine();
    let scene = mounted(scene, "mount --bind store store; mount -o remount,bind,ro store");
    for words in [
        &BUILD[..],
        &["fetch", "--quiet", "--plan", "plan.json"],
        &["store", "verify", "--quiet"],
        &["store", "add", "plan.json"],
        &["store", "gc"],
    ] {
        writeln!(seen, "$ pgproof {}\n{}", words.join(" "), scene.run(words).seen()).unwrap();
    }
    insta::assert_snapshot!(seen, @r#"
    $ pgproof build --quiet --plan plan.json
    error: cannot compose the root file system
      because the store cannot hold the sysroot box
      because the store [DIR]/store is read-only: name one that can be written to with --store DIR
      because Read-only file system (os error 30) at path "[DIR]/store/ingest/incoming-[RANDOM]"
    exit 6
    $ pgproof fetch --quiet --plan plan.json
    all inputs are in [DIR]/store
    exit 0
    $ pgproof store verify --quiet
    2 blobs, [SIZE] MiB: all whole
    exit 0
    $ pgproof store add plan.json
    error: cannot use the store
      because the store [DIR]/store is read-only: name one that can be written to with --store DIR
      because Read-only file system (os error 30) at path "[DIR]/store/ingest/incoming-[RANDOM]"
    exit 6
    $ pgproof store gc
    error: cannot use the store
      because the store [DIR]/store is read-only: name one that can be written to with --store DIR
      because Read-only file system (os error 30)
    exit 6
    "#);
    let none = Scene::new();
    std::fs::write(none.path("file"), "").unwrap();
    let mut seen = String::new();
    for store in ["file", "file/store", "/proc/store", "definitions"] {
        let ran = none.run(&["fetch", "--quiet", "--plan", "plan.json", "--store", store]);
        writeln!(seen, "{}", ran.seen()).unwrap();
    }
    insta::assert_snapshot!(seen, @r#"
    error: cannot use the store
      because file is not a directory and cannot become one: name another with --store DIR
      because File exists (os error 17)
    exit 2
    error: cannot use the store
      because file/store is not a directory and cannot become one: name another with --store DIR
      because Not a directory (os error 20)
    exit 2
    error: cannot use the store
      because /proc/store cannot be created
      because No such file or directory (os error 2)
    exit 6
    error: cannot use the store
      because definitions is not a store: it holds "lockfiles"; name an empty directory or a store with --store DIR
    exit 2
    "#);
}

#[test]
fn somebody_elses_store_can_be_read() {
    if !gate::open(Need::Sandbox) || !nix::unistd::geteuid().is_root() {
        return;
    }
    let scene = Scene::new();
    scene.run(&["fetch", "--quiet", "--plan", "plan.json"]).fine();
    let scene = scene.by_ordinary_user();
    scene.run(&["fetch", "--quiet", "--offline", "--plan", "plan.json"]).fine();
    scene.run(&["store", "verify", "--quiet"]).fine();
    insta::assert_snapshot!(scene.run(&BUILD).seen(), @r#"
    error: cannot compose the root file system
      because the store cannot hold the sysroot box
      because the store [DIR]/store is read-only: name one that can be written to with --store DIR
      because Permission denied (os error 13) at path "[DIR]/store/ingest/incoming-[RANDOM]"
    exit 6
    "#);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut seen = String::new();
    // In the middle of fetching, of composing, of the build, and of publishing.
    for (store, script) in
        [("1m", "true"), ("3m", "true"), ("8m", "dd if=/dev/urandom of=/pgproof/out/file bs=1M count=9")]
    {
        let scene = mounted(Scene::new(), &format!("mount -t tmpfs -o size={store} tmpfs store"));
        scene.write_script(script);
        let ran = scene.run(&BUILD);
        writeln!(seen, "{}", ran.seen()).unwrap();
        assert_eq!(scene.names("dist"), Vec::<String>::new());
        scene.nothing_runs();
    }
    let scene = mounted(Scene::new(), "mkdir -p dist; mount -t tmpfs -o size=1m tmpfs dist");
    scene.write_script("dd if=/dev/urandom of=/pgproof/out/file bs=1M count=2");
    writeln!(seen, "{}", scene.run(&BUILD).seen()).unwrap();
    insta::assert_snapshot!(seen, @r#"
    error: cannot fetch
      because no space is left for the store [DIR]/store: make room (`pgproof store gc` removes what no lockfile and no recent run needs) or name a store on another disk with --store DIR
      because No space left on device (os error 28)
    exit 6
    error: cannot compose the root file system
      because the sysroot box cannot be composed
      because package busybox 1.0 amd64 is refused
      because its entry "bin/busybox" cannot be written to the store's scratch space
      because no space is left for the store [DIR]/store: make room (`pgproof store gc` removes what no lockfile and no recent run needs) or name a store on another disk with --store DIR
      because No space left on device (os error 28)
    exit 6
    error: there is no plain build
      because no space is left for the store [DIR]/store: make room (`pgproof store gc` removes what no lockfile and no recent run needs) or name a store on another disk with --store DIR
      because No space left on device (os error 28)
    exit 6
    error: cannot make the archive
      because dist/hello-1.0.tar.gz cannot be written
      because No space left on device (os error 28)
    exit 6
    "#);
    scene.nothing_runs();
}
