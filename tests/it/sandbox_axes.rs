//! Every condition that a variation names really differs, and a build that lets it leak is caught by the digest.

use std::collections::BTreeSet;

use pgproof::sandbox::{Medium, Outcome};
use pgproof::variation::{Axis, Variation};

use crate::gate::{self, Need};
use crate::sandbox::{Fixture, all_axes, plan, plan_with};

/// A script that lets an axis leak, and what the shaken build's output then has. `{canary}` is the axis's own.
const LEAKS: [(Axis, &str, &str); 16] = [
    (Axis::HostName, "hostname", "{canary}"),
    (Axis::User, "id", "uid=31337({canary}) gid=31338({canary}-group)"),
    (Axis::Home, "echo $HOME", "/home/{canary}"),
    (Axis::BuildPath, "pwd", "/{canary}/deeper"),
    (Axis::Umask, "umask", "0002"),
    (Axis::TimeZone, "date +%Z", "{canary}"),
    (Axis::Locale, "echo $LANGUAGE", "{canary}"),
    (Axis::Terminal, "echo $TERM $COLUMNS", "{canary} 317"),
    (Axis::Environment, "env", "PGPROOF_CANARY={canary}"),
    (Axis::CpuCount, "nproc", "1"),
    (Axis::Jobs, "echo $MAKEFLAGS", "-j3"),
    (Axis::BootTime, "uptime", "77"),
    (Axis::Kernel, "uname -r", "2.6."),
    (Axis::AddressSpace, "cat /proc/self/personality", "00040000"),
    (Axis::ProcessIds, "echo $$", "15"),
    (Axis::FileSystem, "stat -f -c %t .", ""),
];

#[test]
fn each_axis_bites() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let on_tmpfs =
        nix::sys::statfs::statfs(fixture.directory.path()).unwrap().filesystem_type() == nix::sys::statfs::TMPFS_MAGIC;
    for (axis, leak, seen) in LEAKS {
        if axis == Axis::FileSystem && on_tmpfs || axis == Axis::CpuCount && cpus() < 2 {
            continue;
        }
        let plan = plan(&format!("({leak}) > /pgproof/out/leak; cat /pgproof/out/leak"));
        let quiet = fixture.run(&plan, &Variation::plain(2)).unwrap();
        let shaken = fixture.run(&plan, &Variation::shaken(plan.digest(), 2, &BTreeSet::from([axis]))).unwrap();
        assert_eq!(shaken.axes[&axis], Outcome::Held, "{axis}");
        assert_ne!(quiet.trees, shaken.trees, "{axis}");
        let canary = format!("pgproof-{axis}-{}", &plan.digest().hex()[..8]);
        let seen = seen.replace("{canary}", &canary);
        assert!(fixture.text(shaken.log).contains(&seen), "{axis}: {}", fixture.text(shaken.log));
        assert!(quiet.axes.is_empty());
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn sources_are_listed_in_another_order_with_other_times() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let mut tar = tar::Builder::new(Vec::new());
    for number in 0..20 {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        header.set_size(1);
        tar.append_data(&mut header, format!("source-1.0/file-{number}"), b"x".as_slice()).unwrap();
    }
    let blob = fixture.store.admit(&tar.into_inner().unwrap()).unwrap();
    let inputs = serde_json::json!([{
        "name": "source.tar", "digest": blob.digest(), "size": blob.size(),
        "unpack": {"compression": "none", "into": "source", "strip": 1},
    }]);
    for (axis, leak) in [(Axis::DirectoryOrder, "find source -type f"), (Axis::SourceTimes, "stat -c %Y source/file-7")]
    {
        let script = format!("({leak}) > /pgproof/out/leak; cat /pgproof/out/leak");
        let plan = plan_with(&[("leak", &["sh", "-c", &script])], &inputs);
        let quiet = fixture.run(&plan, &Variation::plain(2)).unwrap();
        let shaken = fixture.run(&plan, &Variation::shaken(plan.digest(), 2, &BTreeSet::from([axis]))).unwrap();
        assert_eq!(shaken.axes[&axis], Outcome::Held);
        assert_ne!(quiet.trees, shaken.trees, "{axis}");
        let (quiet, shaken) = (fixture.text(quiet.log), fixture.text(shaken.log));
        if axis == Axis::SourceTimes {
            assert_eq!((quiet.as_str(), shaken.as_str()), ("1600000000\n", "1493382400\n"));
        } else {
            let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(sorted(&quiet), sorted(&shaken));
        }
    }
}

#[test]
fn what_does_not_leak_is_the_same_under_all_conditions() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let plan = plan("mkdir -p /pgproof/out/bin && cp /bin/busybox /pgproof/out/bin && ln -s bin /pgproof/out/sbin");
    let quiet = fixture.run(&plan, &Variation::plain(2)).unwrap();
    let shaken = fixture.run(&plan, &Variation::shaken(plan.digest(), 2, &all_axes())).unwrap();
    assert_eq!(quiet.trees, shaken.trees);
    assert_eq!((quiet.medium, shaken.medium), (Medium::Memory, Medium::BuildOnDisk));
    // This root file system has no libfaketime and this plan unpacks nothing; it says so.
    let not_held: Vec<_> =
        shaken.axes.iter().filter(|(_, outcome)| **outcome != Outcome::Held).map(|(axis, _)| *axis).collect();
    assert!(not_held.contains(&Axis::Clock) && not_held.contains(&Axis::SourceTimes), "{not_held:?}");
    assert_eq!(shaken.axes.len(), Axis::ALL.len());
}

#[test]
fn a_plan_that_fixes_a_condition_is_told() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let mut plan = plan("true");
    plan.environment.insert("LC_ALL".to_owned(), "C".to_owned());
    let shaken = fixture.run(&plan, &Variation::shaken(plan.digest(), 2, &BTreeSet::from([Axis::Locale]))).unwrap();
    assert_eq!(shaken.axes[&Axis::Locale], Outcome::NotHeld("the plan sets LC_ALL".to_owned()));
}

#[test]
fn one_processor_is_no_fewer_than_one() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let plan = plan("true");
    let axes = BTreeSet::from([Axis::CpuCount, Axis::Jobs]);
    let shaken = Fixture::new().run(&plan, &Variation::shaken(plan.digest(), 1, &axes)).unwrap();
    assert_eq!(shaken.axes[&Axis::CpuCount], Outcome::NotHeld("both builds have 1".to_owned()));
}
