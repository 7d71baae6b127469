//! What is locked is brought into the store, once, by whatever way works.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use pgproof::digest::Digest;
use pgproof::fetch::{self, FetchError, Limits, Mirrors, Network, Progress, SNAPSHOT, Tried};
use pgproof::lockfile::{Origin as Address, Pin};
use pgproof::store::{Admission, Store};

use crate::origin::Origin;

/// Bytes that look like nothing else, so that a piece at the wrong place is noticed.
pub(crate) fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1 << 40;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

pub(crate) fn pin(name: &str, bytes: &[u8], origins: &[String]) -> Pin {
    let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    Pin { name: name.to_owned(), digest: Digest::of(bytes), size: bytes.len() as u64, origins, seen: None }
}

/// Impatient, so that tests are fast.
pub(crate) fn limits() -> Limits {
    Limits {
        connections: 16,
        connect: Duration::from_millis(500),
        idle: Duration::from_millis(400),
        attempts: 3,
        backoff: Duration::from_millis(10),
        backoff_limit: Duration::from_millis(40),
        retry_after_limit: Duration::from_secs(2),
    }
}

pub(crate) fn network() -> Network {
    Network::new(Mirrors::new([], SNAPSHOT.parse().unwrap()), limits())
}

pub(crate) struct Scene {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    pub(crate) fn fetch(&self, pins: &[Pin]) -> Result<Vec<pgproof::store::Blob>, FetchError> {
        fetch::fetch(pins, &self.store, Some(&network()), &())
    }

    /// The bytes that the store has under the pin's digest; reading them verifies them.
    pub(crate) fn bytes(&self, pin: &Pin) -> Vec<u8> {
        let mut bytes = Vec::new();
        let blob = self.store.get(pin.digest).unwrap();
        std::io::Read::read_to_end(&mut self.store.read(blob).unwrap(), &mut bytes).unwrap();
        bytes
    }

    /// What lies in the store's directory for what is not whole.
    pub(crate) fn partials(&self) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.store.root().join("ingest")).unwrap();
        let named =
            |entry: std::fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len());
        entries.map(|entry| named(entry.unwrap())).collect()
    }

    /// Puts bytes there that an earlier run may have left.
    pub(crate) fn leave(&self, pin: &Pin, bytes: &[u8]) {
        let Admission::Open(mut ingest) = self.store.ingest(pin.digest).unwrap() else { panic!("{}", pin.name) };
        ingest.write(bytes).unwrap();
    }
}

/// Writes down what it hears.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl Heard {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Progress for Heard {
    fn started(&self, pins: usize, bytes: u64) {
        self.add(format!("{pins} pins, {bytes} bytes"));
    }
    fn pin_started(&self, pin: &Pin) {
        self.add(format!("{} started", pin.name));
    }
    fn pin_waiting(&self, pin: &Pin) {
        self.add(format!("{} waiting", pin.name));
    }
    fn pin_moved(&self, pin: &Pin, from: u64, to: u64) {
        self.add(format!("{} {from} -> {to}", pin.name));
    }
    fn pin_finished(&self, pin: &Pin) {
        self.add(format!("{} finished", pin.name));
    }
    fn origin_failed(&self, pin: &Pin, tried: &Tried) {
        self.add(format!("{} {}", pin.name, tried.failure));
    }
    fn pin_failed(&self, pin: &Pin) {
        self.add(format!("{} failed", pin.name));
    }
}

#[test]
fn what_is_fetched_is_in_the_store_and_is_not_fetched_again() {
    let scene = Scene::new();
    let files: Vec<_> = (0..40).map(|index| content(1000 * index + 1, index as u64)).collect();
    let served = files.clone();
    let origin = Origin::serve(move |request, reply| {
        reply.file(request, &served[request.path[1..].parse::<usize>().unwrap()]);
    });
    let pins: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(index, file)| pin(&format!("file {index}"), file, &[origin.url(&index.to_string())]))
        .collect();

    let blobs = scene.fetch(&pins).unwrap();
    assert_eq!(
        blobs.iter().map(pgproof::store::Blob::digest).collect::<Vec<_>>(),
        pins.iter().map(|pin| pin.digest).collect::<Vec<_>>()
    );
    for (pin, file) in pins.iter().zip(&files) {
        assert_eq!(scene.bytes(pin), *file);
    }
    assert_eq!(scene.partials(), []);
    assert_eq!(origin.requests().len(), 40);
    // How many depends on who is faster: the connection that is free again, or the next request.
    assert!(origin.connections() < 40, "connections are used again: {}", origin.connections());

    assert_eq!(scene.fetch(&pins).unwrap(), blobs);
    assert_eq!(origin.requests().len(), 40);
}

#[test]
fn no_more_files_than_allowed_are_fetched_at_once() {
    let scene = Scene::new();
    let origin = Origin::serve(|request, reply| {
        std::thread::sleep(Duration::from_millis(20));
        reply.file(request, &content(100, request.path.len() as u64));
    });
    let pins: Vec<_> = (1..20)
        .map(|length| pin("file", &content(100, length as u64 + 1), &[origin.url(&"x".repeat(length))]))
        .collect();
    let network = Network::new(Mirrors::new([], SNAPSHOT.parse().unwrap()), Limits { connections: 3, ..limits() });
    fetch::fetch(&pins, &scene.store, Some(&network), &()).unwrap();
    assert_eq!(origin.busiest(), 3);
    assert!(origin.connections() <= 3);
}

#[test]
fn a_digest_that_is_pinned_twice_is_fetched_once() {
    let scene = Scene::new();
    let file = content(5000, 1);
    let origin = Origin::of_file(&file);
    let pins = [pin("a", &file, &[origin.url("a")]), pin("b", &file, &[origin.url("b")])];
    let blobs = scene.fetch(&pins).unwrap();
    assert_eq!(blobs[0], blobs[1]);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_empty_file_is_a_file() {
    let scene = Scene::new();
    let pin = pin("empty", b"", &[]);
    assert_eq!(scene.fetch(std::slice::from_ref(&pin)).unwrap()[0].size(), 0);
    assert_eq!(scene.bytes(&pin), b"");
}

#[test]
fn a_transfer_that_broke_off_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let file = content(600_000, 2);
    let served = file.clone();
    let origin = Origin::serve(move |request, reply| match request.from() {
        None => {
            reply.broken(&served, 200_000);
        }
        Some(200_000) => {
            reply.head(
                "206 Partial Content",
                &[("Content-Range", "bytes 200000-599999/600000"), ("Content-Length", "400000")],
            );
            reply.body(&served[200_000..350_000]);
            // Let the bytes be read: a reset takes along what was not.
            std::thread::sleep(Duration::from_millis(100));
            reply.reset();
        }
        Some(_) => reply.file(request, &served),
    });
    let pin = pin("file", &file, &[origin.url("file")]);
    let heard = Heard::default();
    fetch::fetch(std::slice::from_ref(&pin), &scene.store, Some(&network()), &heard).unwrap();
    assert_eq!(scene.bytes(&pin), file);
    let asked: Vec<_> = origin.requests().iter().map(crate::origin::Request::from).collect();
    assert_eq!(asked, [None, Some(200_000), Some(350_000)], "no byte is fetched twice");
    assert_eq!(heard.0.lock().unwrap()[0], "1 pins, 600000 bytes");
}

#[test]
fn another_run_and_another_origin_go_on_where_one_stopped() {
    let scene = Scene::new();
    let file = content(300_000, 3);
    let served = file.clone();
    let bad = Origin::serve(move |request, reply| match request.from() {
        None => reply.broken(&served, 100_000),
        Some(_) => reply.whole("404 Not Found", &[], b""),
    });
    let half = pin("file", &file, &[bad.url("file")]);
    assert!(!scene.fetch(std::slice::from_ref(&half)).unwrap_err().is_unverified());
    assert_eq!(scene.partials(), [(format!("{}.partial", half.digest.hex()), 100_000)]);

    let good = Origin::of_file(&file);
    let pin = pin("file", &file, &[bad.url("gone"), good.url("file")]);
    scene.fetch(std::slice::from_ref(&pin)).unwrap();
    assert_eq!(good.requests().iter().map(crate::origin::Request::from).collect::<Vec<_>>(), [Some(100_000)]);
    assert_eq!(scene.bytes(&pin), file);
    assert_eq!(scene.partials(), []);
}

#[test]
fn a_whole_partial_file_needs_no_request() {
    let scene = Scene::new();
    let file = content(3000, 4);
    let origin = Origin::of_file(&file);
    let pin = pin("file", &file, &[origin.url("file")]);
    scene.leave(&pin, &file);
    scene.fetch(std::slice::from_ref(&pin)).unwrap();
    assert_eq!(scene.bytes(&pin), file);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn wrong_bytes_that_an_earlier_run_left_cost_one_more_attempt() {
    for left in [content(2000, 99), content(3000, 99), content(4000, 99)] {
        let scene = Scene::new();
        let file = content(3000, 5);
        let origin = Origin::of_file(&file);
        let pin = pin("file", &file, &[origin.url("file")]);
        scene.leave(&pin, &left);
        let heard = Heard::default();
        fetch::fetch(std::slice::from_ref(&pin), &scene.store, Some(&network()), &heard).unwrap();
        assert_eq!(scene.bytes(&pin), file);
        let heard = heard.0.into_inner().unwrap();
        assert!(!heard.iter().any(|line| line.contains("gave other bytes")), "nobody is blamed: {heard:?}");
        assert_eq!(heard.last().unwrap(), "file finished");
    }
}

#[test]
fn progress_adds_up() {
    let scene = Scene::new();
    let file = content(500_000, 6);
    let (wrong, good) = (Origin::of_file(&content(500_000, 7)), Origin::of_file(&file));
    let pin = pin("file", &file, &[wrong.url(""), good.url("")]);
    scene.leave(&pin, &file[..1000]);
    let heard = Heard::default();
    fetch::fetch(&[pin], &scene.store, Some(&network()), &heard).unwrap();
    let heard = heard.0.into_inner().unwrap();
    let mut position = 0;
    for (from, to) in heard.iter().filter_map(|line| line.strip_prefix("file ")?.split_once(" -> ")) {
        assert_eq!(from.parse::<u64>().unwrap(), position);
        position = to.parse().unwrap();
    }
    assert_eq!(position, 500_000, "{heard:?}");
    let told: Vec<_> = heard.iter().filter(|line| !line.contains("->")).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[2].starts_with("file gave other bytes: expected sha256:"));
}

#[test]
fn two_at_once_fetch_a_file_once() {
    let scene = Scene::new();
    let file = content(100_000, 8);
    let served = file.clone();
    let origin = Origin::serve(move |_, reply| {
        reply.head("200 OK", &[("Content-Length", "100000")]);
        reply.body(&served[..50_000]);
        std::thread::sleep(Duration::from_millis(300));
        reply.body(&served[50_000..]);
    });
    let pins = [pin("file", &file, &[origin.url("file")])];
    let heard: Vec<Vec<String>> = std::thread::scope(|scope| {
        let run = || {
            let heard = Heard::default();
            fetch::fetch(&pins, &scene.store, Some(&network()), &heard).unwrap();
            heard.0.into_inner().unwrap()
        };
        let both = [scope.spawn(run), scope.spawn(run)];
        both.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(origin.requests().len(), 1);
    let waited = heard.iter().filter(|lines| lines.iter().any(|line| line == "file waiting")).count();
    assert_eq!(waited, 1, "{heard:?}");
    assert!(heard.iter().all(|lines| lines.last().unwrap() == "file finished"), "{heard:?}");
}

#[test]
fn without_a_network_nothing_is_asked() {
    let scene = Scene::new();
    let file = content(100, 9);
    let origin = Origin::of_file(&file);
    let pins: Vec<_> =
        (0..8).map(|index| pin(&format!("file {index}"), &content(10, index), &[origin.url("")])).collect();
    let error = fetch::fetch(&pins, &scene.store, None, &()).unwrap_err();
    assert!(!error.is_unverified());
    insta::assert_snapshot!(error, @"the store lacks 8 inputs, and the network may not be used: file 0, file 1, file 2, file 3, file 4 and 3 more; run `pgproof fetch` without --offline once, or put files in with `pgproof store add FILE`");
    assert_eq!(origin.connections(), 0);

    let there = pin("there", &file, &[origin.url("")]);
    scene.store.admit(&file).unwrap();
    assert_eq!(fetch::fetch(&[there], &scene.store, None, &()).unwrap()[0].size(), 100);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_store_that_has_everything_is_not_written_to() {
    let scene = Scene::new();
    let file = content(100, 10);
    scene.store.admit(&file).unwrap();
    std::fs::remove_dir(scene.store.root().join("ingest")).unwrap();
    scene.fetch(&[pin("there", &file, &[])]).unwrap();
    assert!(!scene.store.root().join("ingest").exists());
}

#[test]
fn a_lock_with_the_wrong_size_is_told_from_a_damaged_blob() {
    let scene = Scene::new();
    let file = content(100, 11);
    let blob = scene.store.admit(&file).unwrap();
    let wrong = Pin { size: 99, ..pin("file", &file, &[]) };
    let error = scene.fetch(&[wrong]).unwrap_err();
    assert!(error.is_unverified());
    insta::assert_snapshot!(error, @"file is locked with 99 bytes, but sha256:8b2600093a000da32946d884de199154a7b3519c26f81590d64f0eb658393924 has 100: the lockfile is wrong; write it anew with `pgproof lock NAME`");

    let path = scene.store.root().join("blobs/sha256").join(blob.digest().hex());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &file[..50]).unwrap();
    let error = scene.fetch(&[pin("file", &file, &[])]).unwrap_err();
    assert!(error.is_unverified());
    assert!(error.to_string().contains("is damaged"), "{error}");
}

#[test]
fn a_host_that_is_down_is_waited_for_once() {
    let scene = Scene::new();
    // Bound and dropped: nobody listens there.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = Origin::serve(|request, reply| reply.file(request, &content(100, request.path.len() as u64)));
    let pins: Vec<_> = (1..100)
        .map(|length| {
            let path = "x".repeat(length);
            pin("file", &content(100, length as u64 + 1), &[format!("http://{address}/{path}"), good.url(&path)])
        })
        .collect();
    let slow = Limits { attempts: 4, backoff: Duration::from_millis(200), ..limits() };
    let network =
        Network::new(Mirrors::new([], SNAPSHOT.parse().unwrap()), Limits { backoff_limit: slow.backoff, ..slow });
    let start = Instant::now();
    fetch::fetch(&pins, &scene.store, Some(&network), &()).unwrap();
    // Three pauses of 100 to 200 ms, once; seven times that if each file waited.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_host_that_says_nothing_is_waited_for_once() {
    let scene = Scene::new();
    let silent = Origin::serve(|_, reply| reply.stall());
    let good = Origin::serve(|request, reply| reply.file(request, &content(100, request.path.len() as u64)));
    let pins: Vec<_> = (1..100)
        .map(|length| {
            let path = "x".repeat(length);
            pin("file", &content(100, length as u64 + 1), &[silent.url(&path), good.url(&path)])
        })
        .collect();
    scene.fetch(&pins).unwrap();
    // Three attempts for each of those that were asking when the first of them gave up.
    assert!(silent.requests().len() <= 3 * 16 + 16, "{}", silent.requests().len());
}

#[test]
fn where_a_redirect_leads_is_not_held_against_who_redirects() {
    let scene = Scene::new();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origin = Origin::serve(move |request, reply| {
        if request.path == "/moved" {
            reply.whole("302 Found", &[("Location", &format!("http://{address}/x"))], b"");
        } else {
            reply.file(request, b"here");
        }
    });
    let pins = [pin("moved", b"moved", &[origin.url("moved")]), pin("here", b"here", &[origin.url("here")])];
    let network = Network::new(Mirrors::new([], SNAPSHOT.parse().unwrap()), Limits { connections: 1, ..limits() });
    let error = fetch::fetch(&pins, &scene.store, Some(&network), &()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("{} cannot be reached at http://{address}/x: Connection refused", origin.url("moved"))),
        "{error}"
    );
    assert!(scene.store.find(pins[1].digest).unwrap().is_some());
}

#[test]
fn what_is_not_locked_is_read_up_to_a_limit() {
    let origin = Origin::of_file(b"signed");
    let mirrors = Mirrors::new([origin.url("debian/").parse().unwrap()], SNAPSHOT.parse().unwrap());
    let network = Network::new(mirrors, limits());
    let in_release: Address = "debian:dists/bookworm/InRelease".parse().unwrap();
    assert_eq!(network.get(&in_release, 6).unwrap(), b"signed");
    assert_eq!(origin.requests()[0].path, "/debian/dists/bookworm/InRelease");
    let error = network.get(&in_release, 5).unwrap_err();
    assert!(error.to_string().contains("expected 5 bytes at most"), "{error}");
}

#[test]
fn what_is_neither_locked_nor_signed_needs_tls() {
    let origin = Origin::of_file(b"anything");
    let error = network().get(&origin.url("file").parse().unwrap(), 100).unwrap_err();
    assert!(error.to_string().contains("plain http"), "{error}");
    assert_eq!(origin.connections(), 0);
}
