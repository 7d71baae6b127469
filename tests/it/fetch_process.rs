//! What depends on the process: its environment, its sockets, its death.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pgproof::fetch::{self, FetchError};
use pgproof::lockfile::Pin;
use pgproof::store::{Store, StoreError};

use crate::fetch::{Scene, content, network, pin};
use crate::gate::{self, Need};
use crate::origin::Origin;

/// Where the other process's store is, and what it is to fetch.
const STORE: &str = "PGPROOF_TEST_FETCH_STORE";
const PIN: &str = "PGPROOF_TEST_FETCH_PIN";

/// The variables that decide over proxies and trust.
const AMBIENT: [&str; 10] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A process of this test binary that fetches `pin` into `store` and says how that went; `set_up` is shell text that runs
/// before it in namespaces of its own, with the store's directory as `$1`.
fn fetching(pin: &Pin, store: &Path, set_up: Option<&str>) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = match set_up {
        None => Command::new(&binary),
        Some(set_up) => {
            let mut command = Command::new("unshare");
            command
                .args(["-Urm", "sh", "-euc", &format!("{set_up}; shift; exec \"$@\""), "sh"])
                .arg(store)
                .arg(&binary);
            command
        }
    };
    for variable in AMBIENT {
        command.env_remove(variable);
    }
    command.args(["--exact", "fetch_process::fetches", "--nocapture"]);
    command.env(STORE, store).env(PIN, format!("{} {} {}", pin.digest, pin.size, pin.origins[0]));
    command
}

/// Not a test by itself: what [`fetching`] starts.
#[test]
fn fetches() {
    let Some(store) = std::env::var_os(STORE) else { return };
    let text = std::env::var_os(PIN).unwrap().into_string().unwrap();
    if let Some(origin) = text.strip_prefix("not locked ") {
        match network().get(&origin.parse().unwrap(), 10_000) {
            Ok(bytes) => eprintln!("{} bytes", bytes.len()),
            Err(error) => eprintln!("{error}"),
        }
        return;
    }
    let [digest, size, origin] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let pin = Pin {
        name: "file".to_owned(),
        digest: digest.parse().unwrap(),
        size: size.parse().unwrap(),
        origins: vec![origin.parse().unwrap()],
        seen: None,
    };
    let result = fetch::fetch(&[pin], &Store::open(Path::new(&store)).unwrap(), Some(&network()), &());
    // tokio keeps a pair of unix sockets, by which signals reach it.
    let unix = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    let sockets = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .filter(|inode| !unix.lines().any(|line| line.split(' ').any(|word| word == inode)))
        .count();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    eprintln!("{sockets} sockets, {threads} threads left");
    match result {
        Ok(_) => eprintln!("all is there"),
        Err(error) => {
            let full = matches!(error, FetchError::Store(StoreError::Full { .. }));
            eprintln!("full {full}, unverified {}: {error}", error.is_unverified());
        }
    }
}

fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn nothing_stays_open_after_a_fetch() {
    let scene = Scene::new();
    let file = content(100_000, 1);
    let origin = Origin::of_file(&file);
    let pin = pin("file", &file, &[origin.url("file")]);
    let said = said(&mut fetching(&pin, scene.store.root(), None));
    assert!(said.contains("all is there"), "{said}");
    // The test harness has the main thread and this test's.
    assert!(said.contains("0 sockets, 2 threads left"), "{said}");
}

#[test]
fn the_proxy_variables_are_honoured() {
    let file = content(1000, 2);
    let (proxy, direct) = (Origin::of_file(&file), Origin::of_file(&file));
    let pin_at = |url: String| pin("file", &file, &[url]);

    let scene = Scene::new();
    let pin = pin_at("http://origin.invalid/file".to_owned());
    let text = said(fetching(&pin, scene.store.root(), None).env("http_proxy", proxy.url("")));
    assert!(text.contains("all is there"), "{text}");
    assert_eq!(proxy.requests()[0].path, "http://origin.invalid/file");

    let scene = Scene::new();
    let pin = pin_at(direct.url("file"));
    let text =
        said(fetching(&pin, scene.store.root(), None).env("http_proxy", proxy.url("")).env("no_proxy", "127.0.0.1"));
    assert!(text.contains("all is there"), "{text}");
    assert_eq!(direct.requests()[0].path, "/file");
    assert_eq!(proxy.requests().len(), 1);

    // https goes through a tunnel, so that the proxy learns and changes nothing.
    let scene = Scene::new();
    let pin = pin_at("https://origin.invalid/file".to_owned());
    let text = said(fetching(&pin, scene.store.root(), None).env("HTTPS_PROXY", proxy.url("")));
    assert!(!text.contains("all is there"), "{text}");
    assert_eq!(proxy.requests()[1].path, "origin.invalid:443");
}

#[test]
fn a_certificate_authority_of_the_platform_is_trusted() {
    let scene = Scene::new();
    let file = content(1000, 3);
    let served = file.clone();
    let (origin, certificate) = Origin::serve_tls(move |request, reply| reply.file(request, &served));
    let path = scene.directory.path().join("authority.pem");
    std::fs::write(&path, certificate).unwrap();
    let pin = pin("file", &file, &[origin.url("file")]);
    let text = said(fetching(&pin, scene.store.root(), None).env("SSL_CERT_FILE", path));
    assert!(text.contains("all is there"), "{text}");
}

#[test]
fn a_redirect_from_https_to_http_is_for_what_is_locked() {
    let scene = Scene::new();
    let file = content(1000, 7);
    let plain = Origin::of_file(&file);
    let to = plain.url("there");
    let (secure, certificate) = Origin::serve_tls(move |request, reply| match request.path.as_str() {
        "/plain" => reply.whole("302 Found", &[("Location", &to)], b""),
        _ => reply.whole("200 OK", &[], b"secure"),
    });
    let authority = scene.directory.path().join("authority.pem");
    std::fs::write(&authority, certificate).unwrap();
    let pin = pin("file", &file, &[secure.url("plain")]);
    let run = |what: &str| {
        let mut command = fetching(&pin, scene.store.root(), None);
        said(command.env("SSL_CERT_FILE", &authority).env(PIN, what))
    };
    let text = run(&format!("not locked {}", secure.url("file")));
    assert!(text.contains("6 bytes"), "{text}");
    let text = run(&format!("not locked {}", secure.url("plain")));
    assert!(text.contains("which is plain http, and nothing vouches for what it gives"), "{text}");
    assert_eq!(plain.connections(), 0);
    let text = run(&format!("{} {} {}", pin.digest, pin.size, pin.origins[0]));
    assert!(text.contains("all is there"), "{text}");
    assert_eq!(plain.requests().len(), 1);
}

#[test]
fn a_host_without_authorities_can_use_plain_http_alone() {
    let file = content(1000, 4);
    let scene = Scene::new();
    let plain = Origin::of_file(&file);
    let blind =
        |command: &mut Command| said(command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/dev/null"));
    let served = file.clone();
    let (secure, _) = Origin::serve_tls(move |request, reply| reply.file(request, &served));
    let text = blind(&mut fetching(&pin("file", &file, &[secure.url("")]), scene.store.root(), None));
    assert!(text.contains("this host has no CA certificates"), "{text}");
    assert_eq!(secure.connections(), 0);
    let text = blind(&mut fetching(&pin("file", &file, &[plain.url("")]), scene.store.root(), None));
    assert!(text.contains("all is there"), "{text}");
}

#[test]
fn a_killed_fetch_is_taken_up_again() {
    let scene = Scene::new();
    let file = content(900_000, 5);
    let served = file.clone();
    let origin = Origin::serve(move |request, reply| {
        let from = request.from().unwrap_or(0);
        if from >= 600_000 {
            return reply.file(request, &served);
        }
        // A third each time, and then nothing more until the client is killed.
        let length = (served.len() - from).to_string();
        let range = format!("bytes {from}-{}/{}", served.len() - 1, served.len());
        match from {
            0 => reply.head("200 OK", &[("Content-Length", &length)]),
            _ => reply.head("206 Partial Content", &[("Content-Length", &length), ("Content-Range", &range)]),
        }
        reply.body(&served[from..from + 300_000]);
        std::thread::sleep(Duration::from_secs(10));
        reply.close();
    });
    let pin = pin("file", &file, &[origin.url("file")]);
    for round in 1..=2 {
        let mut child =
            fetching(&pin, scene.store.root(), None).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let name = format!("{}.partial", pin.digest.hex());
        while scene.partials() != [(name.clone(), round * 300_000)] {
            assert!(child.try_wait().unwrap().is_none(), "{:?}", scene.partials());
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(scene.store.find(pin.digest).unwrap().is_none());
    }
    scene.fetch(std::slice::from_ref(&pin)).unwrap();
    assert_eq!(scene.bytes(&pin), file);
    let asked: Vec<_> = origin.requests().iter().map(crate::origin::Request::from).collect();
    assert_eq!(asked, [None, Some(300_000), Some(600_000)]);
    assert_eq!(scene.partials(), []);
}

#[test]
fn a_full_disk_ends_the_fetch_at_once() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let file = content(3_000_000, 6);
    let origin = Origin::of_file(&file);
    let pin = pin("file", &file, &[origin.url("file")]);
    let full = "mount -t tmpfs -o size=2m tmpfs \"$1\"";
    let text = said(&mut fetching(&pin, scene.store.root(), Some(full)));
    assert!(text.contains("full true, unverified false"), "{text}");
    assert_eq!(origin.requests().len(), 1, "no other attempt is made");
    // The same store with room.
    scene.fetch(std::slice::from_ref(&pin)).unwrap();
    assert_eq!(scene.bytes(&pin), file);
}
