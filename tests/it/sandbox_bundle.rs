//! Another runtime gets the same tree from the same plan, and a person gets a shell where the steps would run.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pgproof::sandbox::{self, Cancel, Exit, SandboxError};
use pgproof::tree;
use pgproof::variation::Variation;

use crate::gate::{self, Need};
use crate::sandbox::{Fixture, plan, plan_with};

/// Set for the test whose standard input is a shell's.
const SHELL: &str = "PGPROOF_TEST_SHELL";

/// Words that a shell would do something with.
const WORDS: [&str; 6] = ["a'b", "$HOME `id` $(id)", "\"x\\", "*", "new\nline", ""];

/// crun 1.8 refuses a host that has controllers in both versions of cgroups.
const WITHOUT_HYBRID: &str =
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";

#[test]
fn other_runtimes_make_the_same_tree() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let source = fixture.store.admit(b"content\n").unwrap();
    let inputs = serde_json::json!([{"name": "source.txt", "digest": source.digest(), "size": source.size()}]);
    let script = "mkdir -p /pgproof/out/bin && cp /bin/busybox /pgproof/out/bin/program && ln -s bin /pgproof/out/sbin; \
                  printf '%s|' \"$@\" > /pgproof/out/words; cp /pgproof/inputs/source.txt /pgproof/out; \
                  env | grep -v SHLVL | sort > /pgproof/out/environment; \
                  grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status > /pgproof/out/status; \
                  (chmod u+s . || umount / || echo > /x || unshare -U true) 2>/dev/null && touch /pgproof/out/not-sealed; true";
    let mut argv = vec!["sh", "-c", script, "name"];
    argv.extend(WORDS);
    let plan = plan_with(&[("make", &argv), ("true", &["true"])], &inputs);
    let variation = Variation::plain(2);
    let own = fixture.run(&plan, &variation).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    for runtime in if is_root { &["runc", "crun"][..] } else { &["runc"] } {
        let bundle = fixture.directory.path().join(runtime);
        sandbox::export(&fixture.job(&plan, &variation), &fixture.store, &bundle).unwrap();
        let state = fixture.directory.path().join("state");
        let mut command = if is_root { Command::new("unshare") } else { Command::new("env") };
        if is_root {
            command.args(["--mount", "sh", "-c", WITHOUT_HYBRID, "sh"]);
            // The ids that the bundle is mapped to have to come this far.
            let reachable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(fixture.directory.path(), reachable).unwrap();
        }
        let name = format!("pgproof-test-{runtime}-{}", std::process::id());
        let output = command
            .args([runtime, "--root", state.to_str().unwrap(), "run", &name])
            .current_dir(&bundle)
            .output()
            .unwrap();
        assert!(output.status.success(), "{runtime}: {}", String::from_utf8_lossy(&output.stderr));
        let out = std::fs::File::open(bundle.join("out")).unwrap();
        let mut tar = fixture.store.incoming().unwrap();
        tree::walk(out, &plan.name, plan.source_date_epoch, tree::Limits::STANDARD, &mut tar).unwrap();
        assert_eq!([tar.commit().unwrap()], *own.trees, "{runtime}:\n{}", listing(&bundle.join("out")));
        assert!(!bundle.join("out/not-sealed").exists());
    }
}

fn listing(directory: &Path) -> String {
    let script = "find . | sort; cat environment status words";
    let output = Command::new("sh").args(["-c", script]).current_dir(directory).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_bundle_replaces_nothing() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let (plan, variation) = (plan("true"), Variation::plain(2));
    let error = sandbox::export(&fixture.job(&plan, &variation), &fixture.store, fixture.directory.path()).unwrap_err();
    assert!(matches!(error, SandboxError::Export { source: sandbox::ExportError::Occupied, .. }), "{error}");
}

/// What another test types into.
#[test]
fn the_shell() {
    if std::env::var_os(SHELL).is_none() {
        return;
    }
    let fixture = Fixture::new();
    let (plan, variation) = (plan("true"), Variation::plain(2));
    let exit = sandbox::shell(&fixture.job(&plan, &variation), &fixture.store, "vt100", &Cancel::new().unwrap());
    assert_eq!(exit.unwrap(), Exit::Status(42));
}

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox_bundle::the_shell", "--nocapture"])
        .env(SHELL, "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let typed = "tty; pwd; echo $TERM; id -u; stty size; grep Seccomp: /proc/self/status; exit 42\n";
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("/dev/pts/0\r\n/build\r\nvt100\r\n1000\r\n24 80\r\nSeccomp:\t2\r\n"), "{printed}");
}

#[test]
fn a_build_root_is_kept_even_of_a_failed_build() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    let (plan, variation) = (plan("mkdir src && echo text > src/file && exit 1"), Variation::plain(2));
    let mut job = fixture.job(&plan, &variation);
    let kept = fixture.directory.path().join("kept");
    job.keep = Some(kept.clone());
    let error = sandbox::run(&job, &fixture.store, &mut |_| {}, &Cancel::new().unwrap()).unwrap_err();
    assert!(matches!(error, SandboxError::StepFailed { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(kept.join("fixture/src/file")).unwrap(), "text\n");
}

#[test]
fn a_build_root_that_cannot_be_kept_is_told_by_its_cause() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let fixture = Fixture::new();
    for script in ["mkfifo fifo", "ln -s /etc/passwd link"] {
        let (plan, variation) = (plan(script), Variation::plain(2));
        let mut job = fixture.job(&plan, &variation);
        job.keep = Some(fixture.directory.path().join("kept"));
        let error = sandbox::run(&job, &fixture.store, &mut |_| {}, &Cancel::new().unwrap()).unwrap_err();
        let SandboxError::Keep { source, .. } = error else { panic!("{error}") };
        let told = source.to_string();
        assert!(told.contains(script.rsplit(' ').next().unwrap()) && !told.contains("truncated"), "{told}");
    }
}
