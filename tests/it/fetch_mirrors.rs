//! A file of Debian's archive is asked for where this host's apt would, and then of the snapshot service.

use std::path::Path;

use pgproof::fetch::{self, Mirror, Mirrors, Network};
use pgproof::lockfile::Pin;

use crate::fetch::{Scene, content, limits, pin};
use crate::origin::{Origin, Request};

fn mirrors(texts: &[&str]) -> Vec<Mirror> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn etc_apt(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    directory
}

fn of(files: &[(&str, &str)]) -> Vec<Mirror> {
    fetch::of_host(etc_apt(files).path())
}

#[test]
fn a_host_without_apt_has_none() {
    assert_eq!(fetch::of_host(Path::new("/nonexistent")), []);
    assert_eq!(of(&[]), []);
}

#[test]
fn one_line_entries() {
    let list = "\
        # deb http://comment.test/debian bookworm main\n\
        deb http://one.test/debian bookworm main # and a comment\n\
        deb [ arch=amd64,i386 signed-by=/usr/share/keyrings/x.gpg ] https://two.test/some/debian/ bookworm contrib main\n\
        \tdeb-src\thttp://three.test:3142/debian\tbookworm\tmain\n\
        deb http://one.test/debian bookworm-updates main\n\
        deb [arch=amd64] http://other.test/debian-security bookworm-security main\n\
        deb http://ubuntu.test/ubuntu noble main\n\
        deb http://docker.test/linux/debian bookworm stable\n\
        deb cdrom:[Debian GNU/Linux 12]/ bookworm main\n\
        deb ftp://four.test/debian bookworm main\n\
        deb file:/srv/debian bookworm main\n\
        deb [ unclosed http://five.test/debian bookworm main\n\
        debug http://six.test/debian bookworm main\n\
        deb http://flat.test/debian ./\n\
        deb\n";
    let expected =
        mirrors(&["http://one.test/debian", "https://two.test/some/debian/", "http://three.test:3142/debian"]);
    assert_eq!(of(&[("sources.list", list)]), expected);
}

#[test]
fn stanzas() {
    let sources = "\
# A comment
Types: deb
# http://comment.test/debian
URIs: http://one.test/debian
 https://two.test/debian
# in the middle
 \thttp://three.test/ubuntu
Suites: bookworm bookworm-updates
components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://key.test/debian

Enabled: No
URIs: http://disabled.test/debian
Components: main

uris: http://four.test/debian
Suites: bookworm
Components: contrib main
Enabled: yes

URIs: http://docker.test/linux/debian
Components: stable
";
    let expected = mirrors(&["http://one.test/debian", "https://two.test/debian", "http://four.test/debian"]);
    assert_eq!(of(&[("sources.list.d/debian.sources", sources)]), expected);
}

#[test]
fn files_are_read_in_apts_order() {
    let line = |host: &str| format!("deb http://{host}.test/debian bookworm main\n");
    let found = of(&[
        ("sources.list.d/b.list", &line("third")),
        ("sources.list.d/a.sources", "URIs: http://second.test/debian\nComponents: main"),
        ("sources.list.d/a.list.disabled", &line("disabled")),
        ("sources.list.d/c.save", &line("saved")),
        ("sources.list", &line("first")),
    ]);
    assert_eq!(found, mirrors(&["http://first.test/debian", "http://second.test/debian", "http://third.test/debian"]));
}

#[test]
fn lists_of_mirrors() {
    let lists =
        etc_apt(&[("debian.list", "# mine\nhttp://one.test/debian\tpriority:1\nhttp://two.test/debian\nnonsense\n")]);
    let list = lists.path().join("debian.list");
    let found = of(&[
        ("sources.list", &format!("deb mirror+file:{} bookworm main\n", list.display())),
        ("sources.list.d/x.list", "deb mirror+file:/nonexistent bookworm main\n"),
    ]);
    assert_eq!(found, mirrors(&["http://one.test/debian", "http://two.test/debian"]));
}

#[test]
fn hostile_configuration() {
    let many: Vec<_> = (0..1000).map(|index| format!("deb http://host{index}.test/debian bookworm main\n")).collect();
    assert_eq!(of(&[("sources.list", &many.concat())]).len(), 16);
    let huge = format!("{}deb http://one.test/debian bookworm main\n", "#\n".repeat(600_000));
    assert_eq!(of(&[("sources.list", &huge)]), []);
    let directory = etc_apt(&[("sources.list.d/a.list/file", "")]);
    assert_eq!(fetch::of_host(directory.path()), []);
}

#[test]
fn what_is_no_mirror() {
    for text in [
        "",
        "debian",
        "/srv/debian",
        "file:///srv/debian",
        "ftp://host/debian",
        "http://",
        "http://host/debian?x",
        "data:x",
    ] {
        assert!(text.parse::<Mirror>().is_err(), "{text:?}");
    }
}

#[test]
fn mirrors_are_asked_in_order_and_the_snapshot_service_last() {
    let scene = Scene::new();
    let file = content(100, 1);
    let (first, second) = (Origin::of_status("404 Not Found"), Origin::of_status("403 Forbidden"));
    let snapshot = Origin::of_file(&file);
    let mirrors = [first.url("debian").parse().unwrap(), second.url("deep/debian/").parse().unwrap()];
    let mirrors = Mirrors::new(mirrors, snapshot.url("archive/debian").parse().unwrap());
    let network = Network::new(mirrors, limits());
    let origin = "debian:pool/main/g/g++/g++_4%3a12~1+b1_amd64.deb".replace("%3a", ":");
    let pin = Pin { seen: Some("2026-07-11T10:16:37Z".parse().unwrap()), ..pin("g++", &file, &[origin]) };

    let unseen = Pin { seen: None, ..pin.clone() };
    let error = fetch::fetch(&[unseen], &scene.store, Some(&network), &()).unwrap_err();
    assert!(!error.is_unverified());
    assert_eq!(snapshot.connections(), 0, "no instant, no snapshot");

    fetch::fetch(&[pin], &scene.store, Some(&network), &()).unwrap();
    let path = |request: &Request| request.path.clone();
    let pool = "pool/main/g/g++/g++_4:12~1+b1_amd64.deb";
    assert_eq!(path(&first.requests()[1]), format!("/debian/{pool}"));
    assert_eq!(path(&second.requests()[1]), format!("/deep/debian/{pool}"));
    // A day later than the index: that snapshot has all that the index names.
    assert_eq!(path(&snapshot.requests()[0]), format!("/archive/debian/20260712T101637Z/{pool}"));
}

#[test]
fn what_no_mirror_has_any_more_is_to_be_locked_anew() {
    let scene = Scene::new();
    let (mirror, snapshot) = (Origin::of_status("404 Not Found"), Origin::of_status("404 Not Found"));
    let mirrors = Mirrors::new([mirror.url("debian").parse().unwrap()], snapshot.url("archive").parse().unwrap());
    let pin = Pin {
        seen: Some("2026-07-11T10:16:37Z".parse().unwrap()),
        ..pin("make.deb", b"make", &["debian:pool/make.deb".to_owned()])
    };
    let error = fetch::fetch(&[pin], &scene.store, Some(&Network::new(mirrors, limits())), &()).unwrap_err();
    let text =
        error.to_string().replace(&mirror.url(""), "http://mirror/").replace(&snapshot.url(""), "http://snapshot/");
    insta::assert_snapshot!(text, @"
    1 of 1 input could not be fetched
      make.deb
        http://mirror/debian/pool/make.deb answered 404 Not Found
        http://snapshot/archive/20260712T101637Z/pool/make.deb answered 404 Not Found
    no origin has it any more: name one that does with --mirror URL, or lock what there is now with `pgproof lock NAME`
    ");
}
