//! All that a command needs, in a directory of its own: the program, definitions of a box with a shell, a mirror, a project.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgproof::digest::Digest;
use pgproof::store::Store;
use pgproof::sysroot;
use serde_json::Value;

use crate::origin::Origin;
use crate::sysroot::debian::{Archive, Compression, definition, lockfile, package};

/// The digest of the archive of `tests/fixtures/hello`, wherever and by whomever it is built.
pub(super) const HELLO: &str = "sha256:cc2fe34ab6830aa9cddbe328e06cdeeb22dedc6578e91afd403e86ae75afd974";

/// The digest of its sources.
const RELEASE: &str = "2f57ad216c8452f66e32bef4085f649f702d8cdad625ab09b6ac5216d8d96201";

/// An unprivileged user that nobody is.
const ORDINARY: &str = "61235";

pub(super) struct Scene {
    directory: tempfile::TempDir,
    pub(super) mirror: Origin,
    /// What starts the program: nothing, or other programs that prepare its surroundings.
    around: Vec<String>,
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Standard output as it was.
    raw: String,
}

/// A command that runs, and what it has said on standard error.
pub(super) struct Running {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Scene {
    /// A scene with a good mirror.
    pub(super) fn new() -> Self {
        let (deb, tarball) = (&busybox().0, tarball());
        Self::with(Origin::serve(move |request, reply| match request.path.rsplit('/').next() {
            Some("busybox.deb") => reply.file(request, deb),
            Some("hello-1.0.tar") => reply.file(request, &tarball),
            _ => reply.whole("404 Not Found", &[], b"no"),
        }))
    }

    pub(super) fn with(mirror: Origin) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = Self { directory, mirror, around: Vec::new() };
        // Processes are told apart by where their program lies.
        let program = Path::new(env!("CARGO_BIN_EXE_pgproof"));
        std::fs::hard_link(program, scene.program())
            .or_else(|_| std::fs::copy(program, scene.program()).map(drop))
            .unwrap();
        let (deb, manifest) = busybox();
        for folder in ["sysroots", "lockfiles", "toolchains"] {
            std::fs::create_dir_all(scene.path("definitions").join(folder)).unwrap();
        }
        let definition = format!(
            "index = []\n[compose]\ntarget = \"{}\"\nmanifest = \"{manifest}\"\nessential = false\npackages = [\"busybox\"]\n",
            pgproof::target::Triple::X86_64UnknownLinuxGnu
        );
        std::fs::write(scene.path("definitions/sysroots/box.toml"), definition).unwrap();
        lockfile(&[("busybox", deb.clone())]).save(&scene.path("definitions/lockfiles/box.lock")).unwrap();
        scene.write_plan(&scene.plan());
        scene
    }

    /// The same, but everything is done by an ordinary user. Nothing changes for who is one already.
    pub(super) fn by_ordinary_user(mut self) -> Self {
        if nix::unistd::geteuid().is_root() {
            self.around =
                ["setpriv", "--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups"].map(Into::into).into();
            std::fs::set_permissions(self.directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        self
    }

    /// The same, within what these words start.
    pub(super) fn around(mut self, words: &[&str]) -> Self {
        self.around = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("pgproof")
    }

    /// The fixture's plan, with what only this scene knows.
    pub(super) fn plan(&self) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hello.plan.json");
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.replace("@MANIFEST@", &busybox().1.to_string());
        serde_json::from_str(&text.replace("@ORIGIN@", self.mirror.url("").trim_end_matches('/'))).unwrap()
    }

    pub(super) fn write_plan(&self, plan: &Value) {
        std::fs::write(self.path("plan.json"), plan.to_string()).unwrap();
    }

    /// Writes a plan whose only step is this script.
    pub(super) fn write_script(&self, script: &str) {
        self.write_steps(&[("script", script)]);
    }

    pub(super) fn write_steps(&self, steps: &[(&str, &str)]) {
        let mut plan = self.plan();
        plan["inputs"] = serde_json::json!([]);
        plan["output"] = ".".into();
        let step = |(name, script): &(&str, &str)| serde_json::json!({"name": name, "directory": ".", "argv": ["sh", "-c", script]});
        plan["steps"] = steps.iter().map(step).collect();
        self.write_plan(&plan);
    }

    /// The store as a library sees it.
    pub(super) fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    /// A pgproof that is asked for nothing yet.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut line = self.around.iter().map(Into::into).chain([self.program().into_os_string()]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).args(words).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PGPROOF_STORE", self.path("store")).env("PGPROOF_DEFINITIONS", self.path("definitions"));
        command.env("PGPROOF_MIRROR", self.mirror.url("debian")).env("HOME", self.directory.path());
        command
    }

    /// The same with nothing but a home directory.
    pub(super) fn bare(&self, words: &[&str]) -> Ran {
        let mut command = self.command(words);
        for variable in ["PGPROOF_STORE", "PGPROOF_DEFINITIONS", "PGPROOF_MIRROR"] {
            command.env_remove(variable);
        }
        self.end_of(&mut command)
    }

    /// What a person types, to its end.
    pub(super) fn run(&self, words: &[&str]) -> Ran {
        self.end_of(&mut self.command(words))
    }

    pub(super) fn end_of(&self, command: &mut Command) -> Ran {
        self.ran(command.output().unwrap())
    }

    fn ran(&self, output: Output) -> Ran {
        let [raw, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Ran { code: output.status.code(), stdout: self.redacted(&raw), stderr: self.redacted(&stderr), raw }
    }

    /// A program that is not to end by itself.
    pub(super) fn start(&self, words: &[&str]) -> Running {
        let mut child = self.command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Running { child, said }
    }

    /// The text as it is on every machine and every time.
    fn redacted(&self, text: &str) -> String {
        let text = text.replace(self.directory.path().to_str().unwrap(), "[DIR]");
        let text = text.replace(self.mirror.url("").trim_end_matches('/'), "[MIRROR]");
        let text = text.replace(&busybox().1.to_string(), "[BOX]");
        text.lines().flat_map(|line| [steady(line), "\n".to_owned()]).collect()
    }

    /// The digest of the archive that was published last.
    pub(super) fn published(&self) -> String {
        self.report()["builds"][0]["archives"][0]["archive"].as_str().unwrap().to_owned()
    }

    pub(super) fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("dist/hello-1.0.report.json")).unwrap()).unwrap()
    }

    /// The names in a directory of this scene, sorted; none if it is not there.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until nothing that the program started runs any more, and looks for what it may have left on this machine.
    pub(super) fn nothing_runs(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "{:?} live on", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "{mounts}");
    }

    /// The processes that run this scene's program, or a step that has this scene's path among its arguments.
    pub(super) fn processes(&self) -> Vec<PathBuf> {
        let directory = self.directory.path();
        let ours = |path: &PathBuf| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            std::fs::read_link(path.join("exe")).is_ok_and(|program| program.starts_with(directory))
                || String::from_utf8_lossy(&line).contains(directory.to_str().unwrap())
        };
        std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(ours).collect()
    }

    /// Nothing runs, and the store and the output have nothing that is not whole.
    pub(super) fn nothing_is_left(&self) {
        self.nothing_runs();
        assert_eq!(self.names("store/ingest"), Vec::<String>::new());
        assert_eq!(self.names("store/scratch"), Vec::<String>::new());
        let unfinished: Vec<_> = self.names("dist").into_iter().filter(|name| name.starts_with('.')).collect();
        assert_eq!(unfinished, Vec::<String>::new());
        let verified = self.run(&["store", "verify"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}

impl Ran {
    /// All that a person sees, and the exit code.
    pub(super) fn seen(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!("{}{}exit {code}", self.stdout, self.stderr)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.raw).unwrap()
    }

    /// Itself, if it went well.
    pub(super) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.seen());
        self
    }
}

impl Running {
    /// Waits for a line on standard error.
    pub(super) fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "it ended without saying {wanted:?}");
        }
    }

    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// The exit code, or the signal that ended it as a shell shows it.
    pub(super) fn end(self) -> i32 {
        self.told().0
    }

    /// The same, and what it said that nobody has waited for.
    pub(super) fn told(mut self) -> (i32, String) {
        use std::os::unix::process::ExitStatusExt as _;
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        (status.code().or_else(|| Some(128 + status.signal()?)).unwrap(), said)
    }
}

/// A line without what differs between machines and times: durations, sizes and digests that depend on this machine's
/// busybox, random names.
fn steady(line: &str) -> String {
    for (before, after) in [(" (", " s)"), (" took ", " s"), (" in ", " s")] {
        if let Some((text, time)) = line.strip_suffix(after).and_then(|line| line.rsplit_once(before))
            && time.parse::<f64>().is_ok()
        {
            return steady(&format!("{text}{before}[TIME]{after}"));
        }
    }
    for (before, instead) in [("/ingest/incoming-", "[RANDOM]\""), ("printed: pgproof log ", "[BUILD]")] {
        if let Some((text, _)) = line.split_once(before) {
            return format!("{text}{before}{instead}");
        }
    }
    if let Some((text, rest)) = line.split_once(" MiB") {
        let (text, _) = text.rsplit_once(' ').unwrap();
        return format!("{text} [SIZE] MiB{rest}");
    }
    // `sha256:…`, or a blob's path.
    let Some(at) = ["sha256:", "sha256/"].iter().filter_map(|before| line.find(before)).min() else {
        return line.to_owned();
    };
    let (text, rest) = line.split_at(at + "sha256:".len());
    let (digest, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_hexdigit).count());
    let known = digest.len() != 64 || [&HELLO[7..], RELEASE].contains(&digest);
    format!("{text}{}{}", if known { digest } else { "[DIGEST]" }, steady(rest))
}

/// A package with busybox under its many names, and the manifest of the box that is composed of it.
pub(super) fn busybox() -> &'static (Vec<u8>, Digest) {
    static BUSYBOX: OnceLock<(Vec<u8>, Digest)> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        let mut archive = Archive::new().with(0o755, 0, 1).directory("./").directory("./bin/");
        let places = ["/bin/busybox", "/usr/bin/busybox"];
        if let Some(program) = places.into_iter().find(|path| Path::new(path).exists()) {
            archive = archive.add(b'0', b"./bin/busybox", b"", &std::fs::read(program).unwrap());
            let applets = Command::new(program).arg("--list").output().unwrap().stdout;
            for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
                archive = archive.symlink(&format!("./bin/{applet}"), "busybox");
            }
        } else {
            let needed = std::env::var_os("PGPROOF_TEST_SANDBOX").is_some();
            assert!(!needed, "these tests need a static busybox: install the package busybox-static");
            // Where nothing is run, a box without programs does.
            archive = archive.add(b'0', b"./bin/busybox", b"", &vec![0; 2_000_000]);
        }
        let deb = package(&archive.end(), Compression::None);
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.admit(&deb).unwrap();
        let (definition, lockfile) = (definition(Digest::of(b""), ""), lockfile(&[("busybox", deb.clone())]));
        let rootfs = sysroot::compose_unpinned(&definition, &lockfile, &store, &|_| {}).unwrap();
        (deb, rootfs.manifest())
    })
}

/// The fixture's sources as a release of them.
pub(super) fn tarball() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hello");
    let mut files = vec![PathBuf::from("greetings/de"), "greetings/en".into(), "greetings/fr".into()];
    files.extend(["README", "VERSION", "build", "configure", "hello.in", "install"].map(PathBuf::from));
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut content = Vec::new();
        std::fs::File::open(root.join(&file)).unwrap().read_to_end(&mut content).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(if content.starts_with(b"#!") { 0o755 } else { 0o644 });
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, Path::new("hello-1.0").join(&file), &*content).unwrap();
    }
    tar.into_inner().unwrap()
}
