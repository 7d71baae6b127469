//! `pgproof sign`: what it writes, what it says, and what it never shows.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use pgproof::bundle::{Artifact, Bundle, PublicKey, Signer, verify};
use serde_json::Value;

use super::scene::{Ran, Scene};
use crate::bundle::keys::{Encoding, Kind, PASSWORD, private_key, public_key, quotes};
use crate::bundle::statement;
use crate::lock_keys::Key;

/// A scene with a release of two statements, a key, and sums.
fn release() -> Scene {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("dist")).unwrap();
    write(&scene, "dist/hello.provenance.json", &statement(b"one"));
    write(&scene, "dist/hello.rebuild.json", &statement(b"two"));
    write(&scene, "dist/hello.report.json", b"{}");
    write(&scene, "dist/SHA256SUMS", b"0000  hello\n");
    write(&scene, "key.pem", &private_key(Kind::P256, Encoding::Pkcs8Pem));
    scene
}

fn write(scene: &Scene, name: &str, bytes: &[u8]) {
    let path = scene.path(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn bundles(scene: &Scene) -> Vec<String> {
    scene
        .names("dist")
        .into_iter()
        .filter(|name| name.ends_with(".sigstore.json") || name == "SHA256SUMS.asc")
        .collect()
}

fn holds(scene: &Scene, name: &str, kind: Kind, artifact: Artifact<'_>) {
    let bundle = Bundle::parse(&std::fs::read(scene.path(name)).unwrap()).unwrap();
    let signer = Signer::Key(PublicKey::from_pem(&public_key(kind)).unwrap());
    verify(&bundle, artifact, &[signer], None, crate::bundle::now()).unwrap();
}

fn fails(ran: &Ran, code: i32, wanted: &str) {
    assert_eq!(ran.code, Some(code), "{}", ran.seen());
    assert!(ran.stderr.contains(wanted), "{}", ran.seen());
}

#[test]
fn a_release_is_signed_with_a_key() {
    let scene = release();
    let ran = scene.run(&["sign", "dist", "--key", "key.pem"]).fine();
    assert_eq!(bundles(&scene), ["hello.provenance.sigstore.json", "hello.rebuild.sigstore.json"]);
    for name in bundles(&scene) {
        holds(&scene, &format!("dist/{name}"), Kind::P256, Artifact::Unbound);
    }
    // That a key alone shows less than a log would is said plainly.
    assert!(ran.stdout.contains("NOT shown that others can see the signature"), "{}", ran.seen());
    let json = scene.run(&["--json", "sign", "dist/hello.rebuild.json", "--key", "key.pem"]).fine().json();
    let fingerprint = PublicKey::from_pem(&public_key(Kind::P256)).unwrap().fingerprint();
    assert_eq!(json["signed"][0]["signer"]["key"], Value::from(fingerprint.to_string()));
    assert_eq!(json["signed"][0]["bundle"], "dist/hello.rebuild.sigstore.json");
}

#[test]
fn any_file_is_signed_as_it_is() {
    let scene = release();
    write(&scene, "file.tar", b"one");
    write(&scene, "ed25519.pem", &private_key(Kind::Ed25519, Encoding::Pkcs8Pem));
    scene.run(&["sign", "--blob", "file.tar", "--key", "ed25519.pem"]).fine();
    holds(&scene, "file.tar.sigstore.json", Kind::Ed25519, Artifact::Content(b"one"));
}

#[test]
fn keys_and_passwords_come_from_the_environment_and_are_never_shown() {
    let scene = release();
    let secret = private_key(Kind::P256, Encoding::EncryptedPem);
    let variable = String::from_utf8(secret.clone()).unwrap();
    let sign = |password: &[(&str, &str)]| {
        let mut command = scene.command(&["sign", "dist", "--key", "env://SIGNING_KEY"]);
        command.env("SIGNING_KEY", &variable).envs(password.iter().copied());
        let ran = scene.end_of(&mut command);
        assert!(!ran.seen().contains(PASSWORD) && !quotes(&ran.seen(), &secret), "{}", ran.seen());
        ran
    };
    fails(&sign(&[]), 2, "no password was given");
    fails(&sign(&[("PGPROOF_KEY_PASSWORD", "another good password")]), 2, "password is wrong");
    assert_eq!(bundles(&scene), Vec::<String>::new());
    sign(&[("PGPROOF_KEY_PASSWORD", PASSWORD)]).fine();
    sign(&[("COSIGN_PASSWORD", PASSWORD)]).fine();
    assert_eq!(bundles(&scene).len(), 2);
    write(&scene, "password", format!("{PASSWORD}\n").as_bytes());
    write(&scene, "encrypted.pem", &secret);
    scene.run(&["sign", "dist", "--key", "encrypted.pem", "--key-password-file", "password"]).fine();
    fails(&scene.run(&["sign", "dist", "--key", "env://NOT_THERE"]), 2, "NOT_THERE");
}

#[test]
fn nothing_is_written_unless_all_is_signed() {
    let scene = release();
    write(&scene, "dist/more.rebuild.json", b"{\"_type\":\"something\"}");
    fails(&scene.run(&["sign", "dist", "--key", "key.pem"]), 2, "only in-toto statements");
    assert_eq!(bundles(&scene), Vec::<String>::new());
}

#[test]
fn what_cannot_be_meant_is_wrong_use() {
    let scene = release();
    std::fs::create_dir(scene.path("empty")).unwrap();
    let token = "header.payload.signature-of-somebody";
    for (words, wanted) in [
        (&["sign", "empty", "--key", "key.pem"][..], "has no statement"),
        (&["sign", "dist", "--key", "key.pem", "--blob"], "is a directory"),
        (&["sign", "dist/SHA256SUMS", "--key", "key.pem"], "--blob signs any file"),
        (&["sign", "dist/hello.rebuild.json", "--key", "key.pem", "--openpgp-key", "key.pem"], "there is none"),
        (&["sign", "dist", "--key", "key.pem", "--identity-token", token], "cannot be used with"),
        (&["sign", "dist", "--trusted-root", "key.pem"], "which services"),
        (&["--offline", "sign", "dist"], "--offline"),
    ] {
        let ran = scene.run(words);
        fails(&ran, 2, wanted);
        assert!(!ran.seen().contains(token), "{}", ran.seen());
    }
    std::fs::set_permissions(scene.path("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(&scene.run(&["sign", "dist", "--key", "key.pem"]), 2, "chmod 600");
    assert_eq!(bundles(&scene), Vec::<String>::new());
}

#[test]
fn a_certificate_authority_out_of_reach_is_trouble_that_may_pass() {
    let scene = release();
    // Nobody listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = format!(
        r#"[{{"url":"http://{free}","majorApiVersion":1,"validFor":{{"start":"2020-01-01T00:00:00Z"}},"operator":"x"}}]"#
    );
    let config = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":{service},"rekorTlogUrls":{service},"tsaUrls":{service},
            "rekorTlogConfig":{{"selector":"ANY"}},"tsaConfig":{{"selector":"ANY"}}}}"#
    );
    write(&scene, "services.json", config.as_bytes());
    write(&scene, "root.json", br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#);
    let instance = ["--trusted-root", "root.json", "--signing-config", "services.json"];
    // {"iss":"https://issuer.example","sub":"somebody","exp":9999999999}
    let token = "e30.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoic29tZWJvZHkiLCJleHAiOjk5OTk5OTk5OTl9.c2ln";
    write(&scene, "token", token.as_bytes());
    let ran = scene.run(&[&["sign", "dist", "--identity-token", "@token"][..], &instance].concat());
    fails(&ran, 6, "the certificate authority at");
    let ran = scene.run(&[&["sign", "dist", "--key", "key.pem", "--log"][..], &instance].concat());
    fails(&ran, 6, "the transparency log at");
    let ran = scene.run(&[&["sign", "dist", "--identity-token", "nonsense"][..], &instance].concat());
    fails(&ran, 2, "not a JSON Web Token");
    fails(&scene.run(&[&["sign", "dist"][..], &instance].concat()), 2, "nobody to sign as");
    // A token must not be sent in the clear to another machine.
    write(&scene, "services.json", config.replace(&free.to_string(), "192.0.2.1").as_bytes());
    let ran = scene.run(&[&["sign", "dist", "--identity-token", "@token"][..], &instance].concat());
    fails(&ran, 2, "is not https");
    assert!(!ran.seen().contains(token));
    assert_eq!(bundles(&scene), Vec::<String>::new());
}

#[test]
fn sums_are_signed_with_openpgp_too() {
    let scene = release();
    let key = Key::new(5);
    write(&scene, "openpgp.asc", key.secret().as_bytes());
    let ran = scene.run(&["sign", "dist", "--key", "key.pem", "--openpgp-key", "openpgp.asc"]).fine();
    assert!(ran.stdout.contains(&key.fingerprint().to_string()), "{}", ran.seen());
    assert_eq!(bundles(&scene).len(), 3);
    assert!(
        std::fs::read_to_string(scene.path("dist/SHA256SUMS.asc")).unwrap().starts_with("-----BEGIN PGP SIGNATURE")
    );
    // Alone it needs no other signer.
    std::fs::remove_file(scene.path("dist/SHA256SUMS.asc")).unwrap();
    scene.run(&["--offline", "sign", "dist/SHA256SUMS", "--openpgp-key", "openpgp.asc"]).fine();
    assert!(scene.path("dist/SHA256SUMS.asc").exists());
}

#[test]
fn a_process_with_a_key_leaves_no_core_dump() {
    let scene = release();
    let pipe = scene.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    let mut command = scene.command(&["sign", "dist", "--key", "pipe"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Opened by both: it is about to read the key.
    let mut end = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    end.write_all(&private_key(Kind::P256, Encoding::Pkcs8Pem)).unwrap();
    drop(end);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
