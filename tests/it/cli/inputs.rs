//! Inputs that are not there, or not what is locked.

use std::fmt::Write as _;

use super::scene::{Scene, busybox, tarball};
use crate::gate::{self, Need};
use crate::origin::{Origin, Reply, Request};

/// A mirror whose project is not what the plan pins.
fn with_tarball(give: impl Fn(&Request, &mut Reply<'_>, &[u8]) + Send + Sync + 'static) -> Scene {
    let tarball = tarball();
    Scene::with(Origin::serve(move |request, reply| {
        if request.path.ends_with("busybox.deb") {
            reply.file(request, &busybox().0);
        } else {
            give(request, reply, &tarball);
        }
    }))
}

const FETCH: [&str; 4] = ["fetch", "--quiet", "--plan", "plan.json"];

#[test]
fn offline_opens_no_connection_and_tells_what_is_missing() {
    let scene = Scene::new();
    let mut seen = String::new();
    for words in [
        &["fetch", "--offline", "--plan", "plan.json"][..],
        &["rebuild", "--compare", "--offline", "--plan", "plan.json"],
    ] {
        writeln!(seen, "{}", scene.run(words).seen()).unwrap();
    }
    seen += &scene.bare(&["build", "--offline"]).seen();
    insta::assert_snapshot!(seen, @"
    error: cannot fetch
      because the store lacks 2 inputs, and the network may not be used: busybox_1.0_amd64.deb, hello-1.0.tar; run `pgproof fetch` without --offline once, or put files in with `pgproof store add FILE`
    exit 6
    error: cannot fetch
      because the store lacks 2 inputs, and the network may not be used: busybox_1.0_amd64.deb, hello-1.0.tar; run `pgproof fetch` without --offline once, or put files in with `pgproof store add FILE`
    exit 6
    error: cannot fetch
      because the store lacks 204 inputs, and the network may not be used: postgresql-17.11.tar.bz2, gcc-12_12.2.0-14+deb12u1_amd64.deb, g++-12_12.2.0-14+deb12u1_amd64.deb, libicu-dev_72.1-3+deb12u1_amd64.deb, cpp-12_12.2.0-14+deb12u1_amd64.deb and 199 more; run `pgproof fetch` without --offline once, or put files in with `pgproof store add FILE`
    exit 6
    ");
    assert_eq!(scene.mirror.connections(), 0);
    scene.run(&["fetch", "--plan", "plan.json"]).fine();
    let asked = scene.mirror.connections();
    scene.run(&["fetch", "--plan", "plan.json", "--offline"]).fine();
    assert_eq!(scene.mirror.connections(), asked);
}

#[test]
fn wrong_content_is_named_and_not_kept() {
    let mut wrong = tarball();
    wrong[600] ^= 1;
    let digest = with_tarball(move |request, reply, _| reply.file(request, &wrong));
    let longer = with_tarball(|request, reply, tarball| reply.file(request, &[tarball, b"more"].concat()));
    let endless = with_tarball(|_, reply, _| {
        reply.head("200 OK", &[("Transfer-Encoding", "chunked")]);
        while reply.is_open() {
            reply.chunk(&[0; 4096]);
        }
    });
    let mut seen = String::new();
    for scene in [digest, longer, endless] {
        let ran = scene.run(&FETCH);
        assert_eq!(ran.code, Some(3), "{}", ran.seen());
        writeln!(seen, "{}", ran.seen()).unwrap();
        // No build begins without it.
        assert_eq!(scene.run(&["build", "--quiet", "--plan", "plan.json"]).code, Some(3));
        scene.nothing_is_left();
    }
    insta::assert_snapshot!(seen, @"
    error: cannot fetch
      because 1 of 2 inputs could not be fetched
      hello-1.0.tar
        [MIRROR]/hello-1.0.tar gave other bytes: expected sha256:2f57ad216c8452f66e32bef4085f649f702d8cdad625ab09b6ac5216d8d96201, received sha256:[DIGEST]
    what an origin gave is not what is locked, and was not kept: name another with --mirror URL
    exit 3
    error: cannot fetch
      because 1 of 2 inputs could not be fetched
      hello-1.0.tar
        [MIRROR]/hello-1.0.tar gave another size: expected 10752 bytes, received 10756
    what an origin gave is not what is locked, and was not kept: name another with --mirror URL
    exit 3
    error: cannot fetch
      because 1 of 2 inputs could not be fetched
      hello-1.0.tar
        [MIRROR]/hello-1.0.tar gave too much: expected 10752 bytes at most, received more
    what an origin gave is not what is locked, and was not kept: name another with --mirror URL
    exit 3
    ");
}

#[test]
fn what_nobody_has_is_named() {
    let scene = with_tarball(|_, reply, _| reply.whole("404 Not Found", &[], b"no"));
    insta::assert_snapshot!(scene.run(&FETCH).seen(), @"
    error: cannot fetch
      because 1 of 2 inputs could not be fetched
      hello-1.0.tar
        [MIRROR]/hello-1.0.tar answered 404 Not Found
    no origin has it any more: name one that does with --mirror URL, or lock what there is now with `pgproof lock NAME`
    exit 6
    ");
    let mut plan = scene.plan();
    plan["inputs"][0]["origins"] = serde_json::json!([]);
    scene.write_plan(&plan);
    insta::assert_snapshot!(scene.run(&FETCH).seen(), @"
    error: cannot fetch
      because 1 of 1 input could not be fetched
      hello-1.0.tar: there is no origin to ask
    nothing says where it could be had: put it in with `pgproof store add FILE`
    exit 6
    ");
}

#[test]
fn a_file_that_was_added_by_hand_needs_no_origin() {
    let scene = Scene::new();
    std::fs::write(scene.path("hello.tar"), tarball()).unwrap();
    let mut plan = scene.plan();
    let input = plan["inputs"][0].as_object_mut().unwrap();
    input.remove("origins");
    let digest = input["digest"].as_str().unwrap().to_owned();
    scene.write_plan(&plan);
    let added = scene.run(&["store", "add", "hello.tar"]).fine();
    assert_eq!(added.stdout, format!("{digest}\n"));
    let json = scene.run(&["store", "add", "hello.tar", "--json"]).fine().json();
    assert_eq!(json, serde_json::json!({"digest": digest, "size": 10752}));
    scene.run(&FETCH).fine();
    assert!(scene.mirror.requests().iter().all(|request| request.path.ends_with("busybox.deb")));
    assert_eq!(scene.run(&["store", "add", "no-such-file"]).code, Some(6));
}

/// Writes other bytes of the same length into a blob, as a failing disk would.
fn damage(scene: &Scene, digest: &str) {
    let path = scene.path("store/blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn what_changed_on_disk_is_noticed_and_repaired() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let build = ["build", "--quiet", "--plan", "plan.json"];
    scene.run(&build).fine();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.path("store/blobs/sha256").join(busybox().1.hex())).unwrap())
            .unwrap();
    let parts = [
        ("layer", manifest["layers"][0]["digest"].as_str().unwrap().to_owned()),
        ("configuration", manifest["config"]["digest"].as_str().unwrap().to_owned()),
        ("manifest", busybox().1.to_string()),
        ("input", scene.plan()["inputs"][0]["digest"].as_str().unwrap().to_owned()),
    ];
    let mut seen = String::new();
    for (part, digest) in &parts {
        damage(&scene, digest);
        let ran = scene.run(&build);
        assert_eq!(ran.code, Some(3), "{part}: {}", ran.seen());
        writeln!(seen, "{part}\n{}", ran.seen()).unwrap();
        assert_eq!(scene.run(&["store", "verify"]).code, Some(3));
        let repaired = scene.run(&["store", "verify", "--repair", "--quiet"]);
        writeln!(seen, "{}", repaired.seen()).unwrap();
        scene.run(&build).fine();
        scene.nothing_is_left();
    }
    insta::assert_snapshot!(seen, @"
    layer
    error: there is no plain build
      because the root file system failed verification
      because it cannot be read or written
      because expected sha256:[DIGEST], received sha256:[DIGEST]; `pgproof store verify --repair` removes damaged blobs
    exit 3
    10 blobs, [SIZE] MiB: not whole
      blob [DIR]/store/blobs/sha256/[DIGEST] is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    1 damaged blobs removed: the next build fetches or makes them again
    exit 0
    configuration
    error: cannot compose the root file system
      because the image [BOX] cannot be a root file system
      because its configuration sha256:[DIGEST] cannot be read
      because blob [DIR]/store/blobs/sha256/[DIGEST] is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    exit 3
    10 blobs, [SIZE] MiB: not whole
      blob [DIR]/store/blobs/sha256/[DIGEST] is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    1 damaged blobs removed: the next build fetches or makes them again
    exit 0
    manifest
    error: cannot compose the root file system
      because the image [BOX] cannot be a root file system
      because its manifest [BOX] cannot be read
      because blob [DIR]/store/blobs/sha256/[DIGEST] is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    exit 3
    10 blobs, [SIZE] MiB: not whole
      blob [DIR]/store/blobs/sha256/[DIGEST] is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    1 damaged blobs removed: the next build fetches or makes them again
    exit 0
    input
    error: there is no plain build
      because hello-1.0.tar failed verification
      because it cannot be read or written
      because expected sha256:2f57ad216c8452f66e32bef4085f649f702d8cdad625ab09b6ac5216d8d96201, received sha256:[DIGEST]; `pgproof store verify --repair` removes damaged blobs
    exit 3
    10 blobs, [SIZE] MiB: not whole
      blob [DIR]/store/blobs/sha256/2f57ad216c8452f66e32bef4085f649f702d8cdad625ab09b6ac5216d8d96201 is damaged: it has the digest sha256:[DIGEST]; remove it with `pgproof store verify --repair` and run this again
    1 damaged blobs removed: the next build fetches or makes them again
    exit 0
    ");
    // Of the package only composing reads.
    damage(&scene, &pgproof::digest::Digest::of(&busybox().0).to_string());
    damage(&scene, &parts[0].1);
    scene.run(&["store", "verify", "--repair"]).fine();
    scene.run(&build).fine();
    scene.nothing_is_left();
}
