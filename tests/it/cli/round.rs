//! The whole round: somebody builds, signs and publishes; somebody else rebuilds from the statement alone and signs; a third
//! verifies both, offline. And what is wrong on the way is said.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::scene::Scene;
use crate::gate::{self, Need};
use crate::sigstore::{Identity, Rekor, Sigstore};

const ARCHIVE: &str = "dist/hello-1.0.tar.gz";

/// A new P-256 key, `NAME.key`, and its public half, `NAME.pub`.
fn key(scene: &Scene, name: &str) {
    let openssl = |words: &[&str]| {
        assert!(Command::new("openssl").args(words).current_dir(scene.path("")).output().unwrap().status.success());
    };
    let (secret, public) = (format!("{name}.key"), format!("{name}.pub"));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &secret]);
    openssl(&["pkey", "-in", &secret, "-pubout", "-out", &public]);
    std::fs::set_permissions(scene.path(&secret), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A published release of the fixture, signed with `builder.key`.
fn published(scene: &Scene) {
    key(scene, "builder");
    scene.run(&["rebuild", "--compare", "--plan", "plan.json", "--sign", "--key", "builder.key"]).fine();
}

/// Somebody who has nothing but what was published: no plan, no definitions of their own.
fn elsewhere(scene: &Scene) {
    for name in ["plan.json", "definitions/sysroots/box.toml", "definitions/lockfiles/box.lock"] {
        std::fs::remove_file(scene.path(name)).unwrap();
    }
    std::fs::rename(scene.path("store"), scene.path("first-store")).unwrap();
}

fn policy(scene: &Scene, text: &str) {
    std::fs::write(scene.path("policy.toml"), text).unwrap();
}

fn verify(scene: &Scene, words: &[&str]) -> (Option<i32>, Value) {
    let ran = scene.run(&[&["verify", ARCHIVE, "--json", "--offline"], words].concat());
    (ran.code, ran.json())
}

#[test]
fn a_release_is_signed_rebuilt_from_its_statement_and_verified_by_two_of_two() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let Some(sigstore) = Sigstore::shared() else { return };
    let scene = Scene::new();
    std::fs::write(scene.path("services.json"), sigstore.configuration(Rekor::V2, None).to_string()).unwrap();
    let token = format!("@{}", sigstore.token_file(Identity::Builder).display());
    let root = sigstore.file("trusted_root.json");
    let root = root.to_str().unwrap();
    let built = scene
        .run(&[
            "rebuild",
            "--compare",
            "--plan",
            "plan.json",
            "--sign",
            "--identity-token",
            &token,
            "--trusted-root",
            root,
            "--signing-config",
            "services.json",
        ])
        .fine();
    assert!(built.stdout.contains("signed: dist/hello-1.0.provenance.sigstore.json"), "{}", built.stdout);

    elsewhere(&scene);
    key(&scene, "alice");
    let issuer = sigstore.issuer(Identity::Builder);
    let identity = ["--certificate-identity", Identity::Builder.subject(), "--certificate-oidc-issuer", &issuer];
    let rebuilt = scene.run(
        &[&["rebuild", "--compare", ARCHIVE, "--trusted-root", root, "--sign", "--key", "alice.key"][..], &identity]
            .concat(),
    );
    let said = rebuilt.fine().stdout;
    for wanted in
        ["reproduced: hello-1.0, as published in dist", Identity::Builder.subject(), "hello-1.0.rebuild.sigstore.json"]
    {
        assert!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    assert!(!said.contains("UNVERIFIED"), "{said}");
    std::fs::copy(
        scene.path("rebuilt/hello-1.0.rebuild.sigstore.json"),
        scene.path("dist/hello-1.0.rebuild.alice.sigstore.json"),
    )
    .unwrap();

    std::fs::copy(root, scene.path("root.json")).unwrap();
    let text = |threshold: u32, more: &str| {
        format!(
            "version = 1\nthreshold = {threshold}\nnegative = \"veto\"\ntrusted-root = \"root.json\"\n\
             [require]\nwalls = \"all\"\naxes = [\"build-path\", \"host-name\"]\n{more}\
             [[builder]]\nname = \"ci\"\ncertificate-identity = \"{}\"\ncertificate-oidc-issuer = \"{issuer}\"\n\
             claims = {{ \"workflow-repository\" = \"pgproof/releases\" }}\n\
             [[rebuilder]]\nname = \"alice\"\nkey = \"alice.pub\"\n",
            Identity::Builder.subject()
        )
    };
    policy(&scene, &text(2, "predicate-types = [\"urn:pgproof:rebuild:1\", \"https://slsa.dev/provenance/v1\"]\n"));
    let (code, verdict) = verify(&scene, &["--policy", "policy.toml"]);
    assert_eq!(code, Some(0), "{verdict:#}");
    let names: Vec<_> =
        verdict["policy"]["vouchers"].as_array().unwrap().iter().map(|voucher| &voucher["name"]).collect();
    assert_eq!(names, ["ci", "alice"]);

    // A key alone shows no time, and its own word for it is none.
    policy(&scene, &text(2, "max-age-days = 1\n"));
    let (code, verdict) = verify(&scene, &["--policy", "policy.toml"]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert_eq!(verdict["policy"]["uncounted"][0]["reason"], "no-time");

    // Alice twice is one.
    std::fs::copy(
        scene.path("dist/hello-1.0.rebuild.alice.sigstore.json"),
        scene.path("dist/hello-1.0.rebuild.again.sigstore.json"),
    )
    .unwrap();
    std::fs::remove_file(scene.path("dist/hello-1.0.provenance.sigstore.json")).unwrap();
    policy(&scene, &text(2, ""));
    let (code, verdict) = verify(&scene, &["--policy", "policy.toml"]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert_eq!(verdict["policy"]["vouchers"].as_array().unwrap().len(), 1);
    assert_eq!(
        verdict["because"],
        json!(["1 of 2 vouch for it", "no builder whom the policy names says where it comes from"])
    );
}

#[test]
fn what_is_stated_is_rebuilt_and_a_failure_is_stated_signed_and_vetoes() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    // What it makes depends on when it is built: both builds of one pair agree, and two pairs do not.
    scene.write_steps(&[("script", "mkdir -p /pgproof/out/bin; date +%s | cut -c1-9 > /pgproof/out/bin/made; stat -c %s /proc/self/exe >> /pgproof/out/bin/made")]);
    key(&scene, "builder");
    key(&scene, "alice");
    let conditions = ["--no-vary", "clock"];
    let mut built = scene.run(
        &[&["rebuild", "--compare", "--plan", "plan.json", "--sign", "--key", "builder.key"][..], &conditions].concat(),
    );
    // Its first builds may lie on both sides of the ten seconds.
    if built.code == Some(1) {
        built = scene.run(
            &[&["rebuild", "--compare", "--plan", "plan.json", "--sign", "--key", "builder.key"][..], &conditions]
                .concat(),
        );
    }
    built.fine();
    std::thread::sleep(std::time::Duration::from_secs(10));
    let words = ["rebuild", "--compare", ARCHIVE, "--published-key", "builder.pub", "--sign", "--key", "alice.key"];
    let again = scene.run(&[&words[..], &conditions].concat());
    assert_eq!(again.code, Some(1), "{}", again.seen());
    for wanted in ["not reproduced: hello-1.0, as published in dist", "bin/made: text", "published sha256:"] {
        assert!(again.stdout.contains(wanted), "{wanted:?} is not in {}", again.stdout);
    }
    std::fs::copy(
        scene.path("rebuilt/hello-1.0.rebuild.sigstore.json"),
        scene.path("dist/hello-1.0.rebuild.alice.sigstore.json"),
    )
    .unwrap();
    // Who is asked says no, so that it is not verified; the builder alone says yes.
    assert_eq!(verify(&scene, &["--key", "builder.pub"]).0, Some(0));
    let (code, verdict) = verify(&scene, &["--key", "builder.pub", "--key", "alice.pub"]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert!(verdict["because"][0].as_str().unwrap().ends_with("could not reproduce it"), "{verdict:#}");
    for (negative, expected) in [("veto", Some(1)), ("report", Some(0))] {
        policy(
            &scene,
            &format!(
                "version = 1\nthreshold = 1\nnegative = \"{negative}\"\n[[builder]]\nname = \"b\"\nkey = \"builder.pub\"\n\
                 [[rebuilder]]\nname = \"alice\"\nkey = \"alice.pub\"\n"
            ),
        );
        let (code, verdict) = verify(&scene, &["--policy", "policy.toml"]);
        assert_eq!(
            (code, verdict["policy"]["negatives"][0]["name"].as_str()),
            (expected, Some("alice")),
            "{verdict:#}"
        );
    }
}

#[test]
fn a_release_on_a_server_is_rebuilt_and_what_is_wrong_there_is_said() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    published(&scene);
    elsewhere(&scene);
    let directory = scene.path("dist");
    let server = crate::origin::Origin::serve(move |request, reply| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        match std::fs::read(directory.join(Path::new(name).file_name().unwrap_or_default())) {
            Ok(bytes) => reply.whole("200 OK", &[], &bytes),
            Err(_) => reply.whole("404 Not Found", &[], b"no"),
        }
    });
    let rebuild = |published: &str, out: &str, more: &[&str]| {
        scene.run(&[&["rebuild", "--compare", published, "--out", out], more].concat())
    };
    let key = ["--published-key", "builder.pub"];
    for place in [
        "releases/download/1.0/hello-1.0.tar.gz",
        "releases/tag/1.0",
        "releases/download/1.0/hello-1.0.provenance.sigstore.json",
    ] {
        let ran = rebuild(&server.url(place), "elsewhere", &key);
        assert_eq!(ran.code, Some(0), "{place}: {}", ran.seen());
    }
    // A stranger's plan needs somebody who vouches for it, or has read it.
    let unverified = rebuild(ARCHIVE, "elsewhere", &[]);
    assert_eq!(unverified.code, Some(2), "{}", unverified.seen());
    assert!(unverified.stderr.contains("nobody vouches for it"), "{}", unverified.stderr);
    let read = rebuild(ARCHIVE, "elsewhere", &["--plan", "dist/hello-1.0.plan.json"]);
    assert_eq!(read.code, Some(0), "{}", read.seen());
    assert!(read.stdout.contains("UNVERIFIED"), "{}", read.stdout);
    assert_eq!(rebuild(ARCHIVE, "dist", &key).code, Some(2), "it would replace the builder's statement");
    // Somebody else's signature.
    self::key(&scene, "other");
    let other = rebuild(ARCHIVE, "elsewhere", &["--published-key", "other.pub"]);
    assert_eq!(other.code, Some(1), "{}", other.seen());
    assert!(other.stdout.contains("not verified: nobody who was named"), "{}", other.stdout);
    // Another archive than the one that is stated.
    let mut archive = std::fs::read(scene.path(ARCHIVE)).unwrap();
    *archive.last_mut().unwrap() ^= 1;
    std::fs::write(scene.path(ARCHIVE), archive).unwrap();
    let changed = rebuild(ARCHIVE, "elsewhere", &key);
    assert_eq!(changed.code, Some(1), "{}", changed.seen());
    let changed = rebuild("dist", "elsewhere", &key);
    assert_eq!(changed.code, Some(3), "{}", changed.seen());
    assert!(changed.stderr.contains("and the statement is about"), "{}", changed.stderr);
}

#[test]
fn verifying_names_what_failed_and_never_asks_for_nobody() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    published(&scene);
    key(&scene, "other");
    let ran = scene.run(&["verify", ARCHIVE, "--key", "builder.pub", "--type", "rebuild"]).fine();
    for wanted in ["verified: hello-1.0.tar.gz", "it came out the same", "proven    ", "unproven  "] {
        assert!(ran.stdout.contains(wanted), "{wanted:?} is not in {}", ran.stdout);
    }
    let digest = pgproof::digest::Digest::of(&std::fs::read(scene.path(ARCHIVE)).unwrap()).to_string();
    let bundle = ["--bundle", "dist/hello-1.0.provenance.sigstore.json", "--key", "builder.pub"];
    scene.run(&[&["verify", &digest], &bundle[..]].concat()).fine();
    // Whatever else was published is stated too.
    scene.run(&["verify", "dist/hello-1.0.files", "--key", "builder.pub"]).fine();
    let refused = |words: &[&str], code: i32, wanted: &str| {
        let ran = scene.run(&[&["verify"], words].concat());
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.seen());
        assert!(ran.seen().contains(wanted), "{words:?}: {wanted:?} is not in {}", ran.seen());
    };
    refused(&[ARCHIVE], 2, "say who must have signed");
    refused(&[ARCHIVE, "--certificate-identity", "me"], 2, "both --certificate-identity and");
    refused(&[&digest, "--key", "builder.pub"], 2, "name the bundle with --bundle");
    refused(&[ARCHIVE, "--key", "other.pub"], 1, "nobody who was named signed this file");
    refused(&[ARCHIVE, "--key", "builder.key"], 2, "it is a private key");
    refused(
        &[ARCHIVE, "--key", "builder.pub", "--type", "spdxjson"],
        1,
        "made a statement of the type https://spdx.dev/Document",
    );
    refused(&[&["dist/hello-1.0.report.json"], &bundle[..]].concat(), 1, "nobody who was named signed this file");
    // The project's own tarball is in no lockfile; then another package than the one that was built with.
    let lockfiles = [&[ARCHIVE, "--lockfiles"], &bundle[..]].concat();
    refused(&lockfiles, 1, "because   hello-1.0.tar (sha256:2f57");
    let lock = scene.path("definitions/lockfiles/box.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    let (before, after) = text.split_once("\ndigest = \"sha256:").unwrap();
    std::fs::write(&lock, format!("{before}\ndigest = \"sha256:{}{}", "0".repeat(64), &after[64..])).unwrap();
    refused(&lockfiles, 1, "busybox");
}
