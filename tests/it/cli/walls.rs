//! A machine on which the box cannot be closed.

use super::scene::Scene;
use crate::gate::{self, Need};

#[test]
fn a_machine_without_user_namespaces_is_told_what_to_do() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.run(&["fetch", "--quiet", "--plan", "plan.json"]).fine();
    let off = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let scene = scene.around(&["unshare", "-r", "sh", "-euc", off, "sh"]);
    let build = scene.run(&["build", "--quiet", "--plan", "plan.json"]);
    insta::assert_snapshot!(build.seen(), @"
    error: there is no plain build
      because the sandbox is not closed: user namespace
    user namespaces are switched off here; as root: sysctl user.max_user_namespaces=10000
      because No space left on device (os error 28)
    exit 4
    ");
    let rebuild = scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]);
    assert_eq!(rebuild.code, Some(4), "{}", rebuild.seen());
    assert_eq!(scene.names("dist"), Vec::<String>::new());
    let doctor = scene.run(&["doctor"]);
    let walls: Vec<_> = doctor.stderr.lines().filter(|line| !line.contains("limited  ")).take(4).collect();
    insta::assert_snapshot!(walls.join("\n"), @"
    fails      user namespace: No space left on device (os error 28)
    user namespaces are switched off here; as root: sysctl user.max_user_namespaces=10000
    not tried  mount namespace
    not tried  pid namespace
    ");
    assert_eq!(doctor.code, Some(4));
    assert!(doctor.stderr.ends_with("the box cannot be closed here\n"), "{}", doctor.seen());
    let json = scene.run(&["doctor", "--json"]);
    assert_eq!((json.code, &json.json()["closed"]), (Some(4), &false.into()));
    scene.nothing_is_left();
}

#[test]
fn each_kind_of_namespace_is_missed_by_name() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    for (kind, wall) in [
        ("mnt", "mount namespace"),
        ("pid", "pid namespace"),
        ("net", "network namespace"),
        ("ipc", "ipc namespace"),
        ("uts", "uts namespace"),
        ("cgroup", "cgroup namespace"),
        ("time", "time namespace"),
    ] {
        let off = format!("echo 0 > /proc/sys/user/max_{kind}_namespaces; exec \"$@\"");
        let scene = Scene::new().around(&["unshare", "-r", "sh", "-euc", &off, "sh"]);
        let doctor = scene.run(&["doctor"]);
        assert_eq!(doctor.code, Some(4), "{}", doctor.seen());
        assert!(doctor.stderr.contains(&format!("fails      {wall}: ")), "{kind}: {}", doctor.seen());
        scene.nothing_runs();
    }
}

#[test]
fn a_machine_that_can_is_told_so() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    for scene in [Scene::new(), Scene::new().by_ordinary_user()] {
        let doctor = scene.run(&["doctor"]).fine();
        assert_eq!(doctor.stdout.matches("stands     ").count(), 19);
        assert!(doctor.stdout.ends_with("the box can be closed here\n"));
    }
}
