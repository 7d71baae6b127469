//! Where a service is out of reach or lies, nothing is signed and nothing is written.

use std::path::Path;
use std::process::{Command, Output};

use pgproof::bundle::{Artifact, Bundle, verify};
use serde_json::Value;

use super::clients::{ARTIFACT, Bench};
use super::{Identity, Mood, Rekor, Sigstore, now};

/// What is in the directory that is signed in.
const SIGNED: &str = "statement.json";
const BUNDLE: &str = "statement.sigstore.json";

/// `pgproof sign` with this configuration, as the builder.
fn sign(bench: &Bench, sigstore: &Sigstore, configuration: &Value) -> Output {
    let configuration = bench.write("signing_config.json", configuration.to_string().as_bytes());
    let token = sigstore.token_file(Identity::Builder);
    let mut command = pgproof(bench);
    command.args(["sign", SIGNED, "--identity-token"]).arg(format!("@{}", token.display()));
    command.arg("--trusted-root").arg(sigstore.file("trusted_root.json"));
    command.arg("--signing-config").arg(configuration).output().unwrap()
}

fn pgproof(bench: &Bench) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgproof"));
    command.current_dir(bench.path("")).env_clear().env("HOME", bench.path("home")).env("PATH", "/usr/bin:/bin");
    command
}

/// It ended with `code` and wrote nothing; gives what it said.
fn failed(bench: &Bench, output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!bench.path(BUNDLE).exists(), "{said}");
    let unfinished = bench.path("").read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(unfinished.filter(|name| name.starts_with('.')).count(), 0, "something unfinished is left");
    said
}

fn accepted(bench: &Bench, sigstore: &Sigstore, identity: Identity) {
    let bundle = Bundle::parse(&std::fs::read(bench.path(BUNDLE)).unwrap()).unwrap();
    let root = sigstore.trust_root();
    verify(&bundle, Artifact::Content(ARTIFACT), &[sigstore.signer(identity)], Some(&root), now()).unwrap();
}

#[test]
fn services_that_are_well_give_a_signature() {
    let Some(sigstore) = Sigstore::shared() else { return };
    for rekor in Rekor::ALL {
        let bench = Bench::new();
        let output = sign(&bench, &sigstore, &sigstore.configuration(rekor, None));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        accepted(&bench, &sigstore, Identity::Builder);
    }
}

#[test]
fn a_service_out_of_reach_ends_signing() {
    let Some(sigstore) = Sigstore::shared() else { return };
    // Nobody listens there: the port is bound and closed again.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for rekor in Rekor::ALL {
        for (services, mood) in [
            ("caUrls", Mood::Authority("down")),
            ("rekorTlogUrls", Mood::Log("down")),
            ("tsaUrls", Mood::Timestamps("down")),
        ] {
            let bench = Bench::new();
            let said = failed(&bench, &sign(&bench, &sigstore, &sigstore.configuration(rekor, Some(mood))), 6);
            assert!(said.contains(sigstore.url()), "{said}");
            let mut configuration = sigstore.configuration(rekor, None);
            configuration[services][0]["url"] = format!("http://{closed}").into();
            let said = failed(&bench, &sign(&bench, &sigstore, &configuration), 6);
            assert!(said.contains(&format!("http://{closed}")), "{said}");
        }
    }
}

#[test]
fn a_service_that_lies_ends_signing() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let moods = [
        Mood::Authority("expired"),
        Mood::Authority("no-promise"),
        Mood::Authority("forged-promise"),
        Mood::Authority("forged"),
        Mood::Authority("other-key"),
        Mood::Log("other-entry"),
        Mood::Log("forged"),
        Mood::Timestamps("other-message"),
        Mood::Timestamps("forged"),
    ];
    let bench = Bench::new();
    for rekor in Rekor::ALL {
        // So that there is another entry.
        assert!(sign(&bench, &sigstore, &sigstore.configuration(rekor, None)).status.success());
        std::fs::remove_file(bench.path(BUNDLE)).unwrap();
        for mood in moods {
            let said = failed(&bench, &sign(&bench, &sigstore, &sigstore.configuration(rekor, Some(mood))), 3);
            assert!(said.contains("nothing is signed") || said.contains("/as/"), "{mood:?}: {said}");
        }
    }
    let late = sigstore.configuration(Rekor::V1, Some(Mood::Log("late")));
    failed(&bench, &sign(&bench, &sigstore, &late), 3);
}

/// A certificate for somebody else would hold; it is only not what was asked for.
#[test]
fn a_certificate_for_somebody_else_is_not_used() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let bench = Bench::new();
    let other = sigstore.configuration(Rekor::V2, Some(Mood::Authority("other-identity")));
    let said = failed(&bench, &sign(&bench, &sigstore, &other), 3);
    assert!(said.contains("stranger@example.net"), "{said}");
}

#[test]
fn a_job_of_github_actions_signs_as_itself() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let bench = Bench::new();
    let configuration =
        bench.write("signing_config.json", sigstore.configuration(Rekor::V2, None).to_string().as_bytes());
    let run = |request_token: &str| {
        let mut command = pgproof(&bench);
        command.args(["sign", SIGNED, "--trusted-root"]).arg(sigstore.file("trusted_root.json"));
        command.arg("--signing-config").arg(&configuration).env("GITHUB_ACTIONS", "true");
        command.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/actions/token?identity=rebuilder", sigstore.url()));
        command.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", request_token).output().unwrap()
    };
    let refused = run("a-stolen-one");
    let said = format!("{}{}", String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    assert!(!refused.status.success() && !bench.path(BUNDLE).exists(), "{said}");
    assert!(!said.contains("a-stolen-one"), "{said}");
    let output = run("a-job-of-mine");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    accepted(&bench, &sigstore, Identity::Rebuilder);
    silent(&output, "a-job-of-mine");
}

/// A secret is in nothing that was printed.
fn silent(output: &Output, secret: &str) {
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_private_instance_is_found_by_its_repository() {
    let Some(sigstore) = Sigstore::shared() else { return };
    let bench = Bench::new();
    let token = std::fs::read_to_string(sigstore.token_file(Identity::Builder)).unwrap();
    let run = |root: &Path, words: &[&str]| {
        let mut command = pgproof(&bench);
        command.args(words).args(["sign", SIGNED, "--tuf-url"]).arg(format!("{}/tuf", sigstore.url()));
        command.arg("--tuf-root").arg(root).env("SIGSTORE_ID_TOKEN", &token).output().unwrap()
    };
    // Somebody else's root of trust.
    let mut forged: Value = serde_json::from_slice(&std::fs::read(sigstore.file("tuf-root.json")).unwrap()).unwrap();
    forged["signed"]["expires"] = "2048-01-01T00:00:00Z".into();
    let forged = bench.write("forged.json", forged.to_string().as_bytes());
    failed(&bench, &run(&forged, &[]), 3);
    let output = run(&sigstore.file("tuf-root.json"), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    accepted(&bench, &sigstore, Identity::Builder);
    silent(&output, &token);
    std::fs::remove_file(bench.path(BUNDLE)).unwrap();
    failed(&bench, &run(&sigstore.file("tuf-root.json"), &["--offline"]), 2);
}
