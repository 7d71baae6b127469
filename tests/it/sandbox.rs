//! The box is closed: each wall is tried from inside. As root and as an ordinary user.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pgproof::plan::Plan;
use pgproof::sandbox::{self, Cancel, Event, Installed, Job, Limits, SandboxError, Wall};
use pgproof::store::{Blob, Store};
use pgproof::variation::{Axis, Variation};

use crate::gate::{self, Need};

/// Where the helper is when the tests run as somebody who may not enter the place that it was built in.
pub(crate) const HELPER: &str = "PGPROOF_TEST_HELPER";

/// A store with a root file system of one program, busybox, under its many names.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) layer: Blob,
    pub(crate) limits: Limits,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let layer = store.admit(&layer()).unwrap();
        let limits =
            Limits { time: Duration::from_mins(1), log: 1 << 20, processes: 256, memory: None, disk: 256 << 20 };
        Self { directory, store, layer, limits }
    }

    pub(crate) fn job<'a>(&self, plan: &'a Plan, variation: &'a Variation) -> Job<'a> {
        let inputs = plan.inputs.iter().map(|input| (input, self.store.get(input.digest).unwrap())).collect();
        Job { plan, rootfs: self.layer, inputs, variation, limits: self.limits, keep: None, helper: helper() }
    }

    pub(crate) fn run(&self, plan: &Plan, variation: &Variation) -> Result<Installed, SandboxError> {
        sandbox::run(&self.job(plan, variation), &self.store, &mut |_: Event| {}, &Cancel::new().unwrap())
    }

    /// What a script prints in the box.
    pub(crate) fn output(&self, script: &str) -> String {
        let installed = self.run(&plan(script), &Variation::plain(2)).unwrap();
        self.text(installed.log)
    }

    pub(crate) fn text(&self, blob: Blob) -> String {
        let mut text = String::new();
        self.store.read(blob).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

pub(crate) fn helper() -> PathBuf {
    std::env::var_os(HELPER).map_or_else(|| env!("CARGO_BIN_EXE_pgproof").into(), PathBuf::from)
}

/// A plan that runs one shell script.
pub(crate) fn plan(script: &str) -> Plan {
    plan_of(&[("script", &["sh", "-c", script])])
}

pub(crate) fn plan_of(steps: &[(&str, &[&str])]) -> Plan {
    plan_with(steps, &serde_json::json!([]))
}

pub(crate) fn plan_with(steps: &[(&str, &[&str])], inputs: &serde_json::Value) -> Plan {
    let steps: Vec<_> =
        steps.iter().map(|(name, argv)| serde_json::json!({"name": name, "argv": argv, "directory": "."})).collect();
    let json = serde_json::json!({
        "version": 1,
        "name": "fixture",
        "sourceDateEpoch": 1_700_000_000,
        "sysroot": {"name": "busybox", "manifest": format!("sha256:{}", "0".repeat(64))},
        "inputs": inputs,
        "environment": {"PATH": "/bin"},
        "steps": steps,
        "output": ".",
    });
    Plan::parse(&serde_json::to_vec(&json).unwrap()).unwrap()
}

pub(crate) fn all_axes() -> BTreeSet<Axis> {
    Axis::ALL.into_iter().collect()
}

fn layer() -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("these tests need a static busybox: install the package busybox-static");
    let program = std::fs::read(busybox).unwrap();
    let applets = Command::new(busybox).arg("--list").output().unwrap().stdout;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = |kind: tar::EntryType, path: &str, link: Option<&str>, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        match link {
            Some(target) => tar.append_link(&mut header, path, target).unwrap(),
            None => tar.append_data(&mut header, path, content).unwrap(),
        }
    };
    for path in ["bin/", "etc/", "sys/", "usr/"] {
        header(tar::EntryType::Directory, path, None, &[]);
    }
    header(tar::EntryType::Regular, "bin/busybox", None, &program);
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        header(tar::EntryType::Symlink, &format!("bin/{applet}"), Some("busybox"), &[]);
    }
    tar.into_inner().unwrap()
}

#[test]
fn every_wall_stands() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let installed = fixture.run(&plan("true"), &Variation::plain(2)).unwrap();
    assert_eq!(installed.walls, Wall::ALL);
    let diagnosis = sandbox::diagnose(&helper()).unwrap();
    assert!(diagnosis.is_closed(), "{diagnosis:?}");
}

#[test]
fn nobody_is_reachable() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new().output(
        "tail -n +3 /proc/net/dev | cut -d: -f1; echo routes; tail -n +2 /proc/net/route; \
         echo; nc -w 1 192.0.2.1 80 </dev/null 2>&1 || echo unreachable; \
         (echo up | nc -l -p 4321 & sleep 0.2; nc 127.0.0.1 4321); ip addr 2>&1; true",
    );
    let lines: Vec<_> = printed.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["lo", "routes", ""], "{printed}");
    assert!(printed.contains("unreachable"), "{printed}");
    assert!(lines.contains(&"up"), "lo does not work: {printed}");
    assert!(printed.contains("Address family not supported"), "netlink answers: {printed}");
}

#[test]
fn nothing_of_the_host_is_visible() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new()
        .output("ls -A / /home /etc /pgproof; cat /proc/mounts; ps -o pid,args; cat /proc/cmdline /proc/1/cmdline");
    let (files, rest) = printed.split_once("proc /proc").unwrap();
    let root: Vec<_> = files.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert_eq!(root, ["bin", "build", "dev", "etc", "home", "pgproof", "proc", "sys", "tmp", "usr"], "{files}");
    assert!(files.contains("/etc:\ngroup\nhostname\nhosts\npasswd\n"), "{files}");
    assert!(!rest.contains(helper().to_str().unwrap()), "{rest}");
    // init, the step's shell and ps.
    assert_eq!(
        rest.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).count(),
        3,
        "{rest}"
    );
}

#[test]
fn what_is_not_the_builds_cannot_be_written() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new().output(
        "for place in / /bin /etc /home /pgproof /pgproof/inputs /proc/sys/kernel /build /tmp /pgproof/out /dev/shm; do \
           if (echo 300 > $place/domainname) 2>/dev/null; then echo $place yes; else echo $place no; fi; done",
    );
    let writable: Vec<_> = printed.lines().filter_map(|line| line.strip_suffix(" yes")).collect();
    assert_eq!(writable, ["/build", "/tmp", "/pgproof/out", "/dev/shm"], "{printed}");
}

#[test]
fn nothing_is_privileged() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new().output(
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id; cp /bin/busybox ./su; \
         chmod u+s su 2>&1; chmod g+s . 2>&1; chmod 755 su && echo plain; \
         unshare -U true 2>&1; mount -t tmpfs none /tmp 2>&1; mknod null c 1 3 2>&1; chroot / true 2>&1; \
         hostname other 2>&1; date -s 2001-01-01 2>&1; mkfifo fifo && echo fifo; su -c id 2>&1; dmesg 2>&1; \
         chown 0:0 su 2>&1; setsid setarch x86_64 true 2>&1; true",
    );
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(printed.contains(&format!("{set}:\t0000000000000000")), "{printed}");
    }
    assert!(printed.contains("NoNewPrivs:\t1\nSeccomp:\t2\n"), "{printed}");
    assert!(printed.contains("uid=1000(build) gid=1000(build)"), "{printed}");
    for refused in [
        "chmod: su: Operation not permitted",
        "chmod: .: Operation not permitted",
        "mknod: null: Operation not permitted",
        "hostname: sethostname: Operation not permitted",
        "date: can't set date: Operation not permitted",
        "dmesg: klogctl: Operation not permitted",
        "chown: su: Invalid argument",
    ] {
        assert!(printed.contains(refused), "{refused} is not in:\n{printed}");
    }
    assert!(printed.contains("unshare: ") && printed.contains("mount: ") && printed.contains("chroot: "), "{printed}");
    assert!(printed.contains("plain\n") && printed.contains("fifo\n"), "{printed}");
}

#[test]
fn nothing_but_the_standard_three_descriptors_is_open() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new().output("cd /proc/self/fd && echo * && readlink 0");
    // One more is the shell's own listing of the directory.
    assert_eq!(printed, "0 1 2 3\n/dev/null\n");
}

#[test]
fn the_environment_is_the_declared_one() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let installed = Fixture::new();
    let printed = installed.run(&plan_of(&[("env", &["env"])]), &Variation::plain(2)).unwrap();
    let mut lines: Vec<_> = installed.text(printed.log).lines().map(str::to_owned).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @"
    HOME=/home/build
    LC_ALL=C.UTF-8
    LOGNAME=build
    MAKEFLAGS=-j2
    PATH=/bin
    PGPROOF_BUILD_ROOT=/build
    PWD=/build
    SOURCE_DATE_EPOCH=1700000000
    TERM=dumb
    TMPDIR=/tmp
    TZ=UTC
    USER=build
    ");
}

#[test]
fn proc_is_masked() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let printed = Fixture::new().output(
        "wc -c < /proc/kcore; wc -c < /proc/keys; wc -c < /proc/timer_list; cat /proc/1/environ 2>&1; \
         ls /proc/1/fd 2>&1; (echo x > /proc/1/mem) 2>&1; kill -9 1; echo alive",
    );
    assert!(printed.starts_with("0\n0\n0\n") || printed.contains("0\n0\n"), "{printed}");
    assert_eq!(printed.matches("Permission denied").count() + printed.matches("nonexistent").count(), 3, "{printed}");
    assert!(printed.ends_with("alive\n"), "{printed}");
}

/// A program of this machine, as inputs that are run by the loader among them.
fn program(fixture: &Fixture, path: &str) -> serde_json::Value {
    let listed = String::from_utf8(Command::new("ldd").arg(path).output().unwrap().stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let input = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = if name.starts_with("ld-") { "loader" } else { name };
        let blob = fixture.store.admit(&std::fs::read(&path).unwrap()).unwrap();
        serde_json::json!({"name": name, "digest": blob.digest(), "size": blob.size()})
    };
    let mut inputs: Vec<_> = libraries.chain([PathBuf::from(path)]).map(input).collect();
    inputs.sort_by_key(|input| input["name"].to_string());
    inputs.into()
}

#[test]
fn the_first_process_cannot_be_crippled() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let inputs = program(&fixture, "/usr/bin/prlimit");
    let script = "cp /pgproof/inputs/* . && chmod 755 loader; prlimit() { ./loader --library-path . ./prlimit \"$@\" 2>&1; }; \
         prlimit --nofile=99:99 sh -c 'ulimit -n'; prlimit --pid 1 --nofile=0:0; prlimit --pid 1 --as=0:0; \
         for signal in SEGV BUS STOP KILL; do kill -$signal 1; done; \
         taskset -p 1 1; renice -n 19 -p 1; ionice -c 3 -p 1; chrt -i -p 0 1; true";
    let plan = plan_with(&[("harm", &["sh", "-c", script]), ("next", &["echo", "alive"])], &inputs);
    let installed = fixture.run(&plan, &Variation::plain(2)).unwrap();
    let printed = fixture.text(installed.log);
    assert!(printed.starts_with("99\n"), "{printed}");
    assert_eq!(printed.matches("prlimit: failed to").count(), 2, "{printed}");
    assert_eq!(printed.matches("Operation not permitted").count(), 2, "{printed}");
    assert!(printed.ends_with("alive\n"), "{printed}");
    assert_eq!(installed.steps.len(), 2);
}

/// A machine without user namespaces, as `pgproof doctor` sees it.
#[test]
fn the_doctor_names_the_wall_and_the_remedy() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" doctor")
        .arg(helper())
        .output()
        .unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(printed.contains("fails      user namespace"), "{printed}");
    assert!(printed.contains("sysctl user.max_user_namespaces=10000"), "{printed}");
}

/// Runs this test binary's sandbox tests again, as somebody who is not root.
#[test]
fn an_ordinary_user_gets_the_same_box() {
    if !gate::open(Need::Sandbox) || !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let copy = |from: &Path, name: &str| {
        let to = directory.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    let helper = copy(&helper(), "pgproof");
    let output = Command::new("setpriv")
        .args(["--reuid=61234", "--regid=61234", "--clear-groups"])
        .arg(tests)
        .args(["sandbox", "--skip", "an_ordinary_user_gets_the_same_box"])
        .env(HELPER, helper)
        .env("TMPDIR", directory.path())
        .env("HOME", directory.path())
        .current_dir(directory.path())
        .output()
        .unwrap();
    std::io::stdout().write_all(&output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
