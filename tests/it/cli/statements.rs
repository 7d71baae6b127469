//! What is stated of a build that was run.

use pgproof::digest::Digest;
use pgproof::statement::{Predicate, Provenance, Rebuild, Request, Statement, Verdict};
use serde_json::Value;

use super::scene::{HELLO, Scene, busybox};
use crate::gate::{self, Need};

fn statement(scene: &Scene, kind: &str) -> Statement {
    Statement::parse(&std::fs::read(scene.path(&format!("dist/hello-1.0.{kind}.json"))).unwrap()).unwrap()
}

fn provenance(statement: &Statement) -> &Provenance {
    let Predicate::Provenance(provenance) = statement.predicate() else { panic!("{statement:?}") };
    provenance
}

fn rebuild(statement: &Statement) -> &Rebuild {
    let Predicate::Rebuild(rebuild) = statement.predicate() else { panic!("{statement:?}") };
    rebuild
}

#[test]
fn what_was_built_and_built_again_is_stated() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let words = ["rebuild", "--compare", "--json", "--plan", "plan.json", "--builder-id", "https://builder.example/7"];
    let ran = scene.run(&words).fine();
    let (stated, again) = (statement(&scene, "provenance"), statement(&scene, "rebuild"));
    assert_eq!(stated.subjects(), again.subjects());
    // All that SHA256SUMS lists, but for what tells of the whole directory.
    let read = |file: &str| std::fs::read(scene.path(&format!("dist/{file}"))).unwrap();
    let text = |file: &str| String::from_utf8(read(file)).unwrap();
    let listed = |sums: &str| -> Vec<String> {
        text(sums).lines().filter(|line| !line.ends_with("  build-info.json")).map(str::to_owned).collect()
    };
    let subjects = stated.subjects().iter();
    let sha256: Vec<_> =
        subjects.clone().map(|subject| format!("{}  {}", subject.sha256.hex(), subject.name)).collect();
    let sha512: Vec<_> =
        subjects.map(|subject| format!("{}  {}", subject.sha512.unwrap().hex(), subject.name)).collect();
    assert_eq!((sha256, sha512), (listed("SHA256SUMS"), listed("SHA512SUMS")));

    let provenance = provenance(&stated);
    let plan = Digest::of(&read("hello-1.0.plan.json"));
    assert_eq!((&provenance.request, provenance.plan.digest()), (&Request::Plan, plan));
    assert_eq!(provenance.plan.sysroot.manifest, busybox().1);
    assert_eq!(provenance.walls.len(), 19);
    assert_eq!(provenance.files.keys().collect::<Vec<_>>(), ["lockfiles/box.lock", "sysroots/box.toml"]);
    assert_eq!(
        provenance.files["sysroots/box.toml"],
        std::fs::read_to_string(scene.path("definitions/sysroots/box.toml")).unwrap()
    );
    let inputs: Vec<_> = provenance.dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
    insta::assert_snapshot!(inputs.join("\n"), @"
    inputs/hello-1.0.tar
    sysroots/box
    packages/busybox_1.0_amd64.deb
    lockfiles/box.lock#dists/suite/InRelease
    lockfiles/box.lock
    sysroots/box.toml
    pgproof
    pgproof#source
    ");
    let digest_of = |name: &str| provenance.dependencies.iter().find(|known| known.name == name).unwrap().digest.sha256;
    assert_eq!(digest_of("packages/busybox_1.0_amd64.deb"), Some(Digest::of(&busybox().0)));
    assert_eq!(digest_of("pgproof"), Some(Digest::of(&std::fs::read(scene.path("pgproof")).unwrap())));
    let origin = &provenance.origin;
    assert_eq!(
        (origin.builder.as_str(), origin.tool.commit.to_string().as_str()),
        ("https://builder.example/7", env!("PGPROOF_COMMIT"))
    );
    assert_eq!((origin.tool.version.as_str(), &origin.occasion.invocation_id), (env!("CARGO_PKG_VERSION"), &None));
    let report = scene.report();
    let byproduct = |name: &str| provenance.byproducts.iter().find(|known| known.name.as_str() == name).unwrap().digest;
    assert_eq!(byproduct("hello-1.0.report.json"), Digest::of(&read("hello-1.0.report.json")));
    assert_eq!(byproduct("hello-1.0.plain.log").to_string(), report["builds"][0]["log"]);
    assert_eq!(byproduct("hello-1.0.files"), Digest::of(&read("hello-1.0.files")));
    assert_eq!(byproduct("hello-1.0.tar").to_string(), report["builds"][0]["archives"][0]["tar"]);

    let rebuild = rebuild(&again);
    assert_eq!((rebuild.verdict, rebuild.plan), (Verdict::Reproduced, plan));
    assert_eq!(rebuild.archives[0].plain.unwrap().archive.to_string(), HELLO);
    assert_eq!(rebuild.archives[0].plain, rebuild.archives[0].shaken);
    assert_eq!(serde_json::to_value(rebuild.axes().unwrap()).unwrap(), report["builds"][1]["axes"]);
    assert_eq!(rebuild.origin.builder, origin.builder);
    assert_eq!(ran.json()["verdict"]["reproduced"], true);

    let information: Value = serde_json::from_slice(&read("build-info.json")).unwrap();
    let build = &information["builds"]["hello-1.0"];
    assert_eq!(
        (build["plan"].as_str().unwrap(), build["archives"][0]["sha256"].as_str().unwrap()),
        (plan.to_string().as_str(), HELLO)
    );
    assert_eq!(build["archives"][0]["list"], Digest::of(&read("hello-1.0.files")).to_string());
}

#[test]
fn that_it_was_not_reproduced_is_stated_too() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script("hostname > /pgproof/out/host");
    assert_eq!(scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]).code, Some(1));
    assert_eq!(scene.names("dist"), ["hello-1.0.rebuild.json", "hello-1.0.report.json"]);
    let stated = statement(&scene, "rebuild");
    let rebuild = rebuild(&stated);
    assert_eq!(rebuild.verdict, Verdict::NotReproduced);
    assert_eq!(rebuild.found.as_ref().unwrap().entries[0].path, "hello-1.0/host");
    let archives = &scene.report()["verdict"]["archives"][0];
    let names: Vec<_> =
        stated.subjects().iter().map(|subject| (subject.name.as_str(), subject.sha256.to_string())).collect();
    let expected = [("hello-1.0.tar.gz", "first"), ("hello-1.0.shaken.tar.gz", "second")];
    assert_eq!(names, expected.map(|(name, which)| (name, archives[which]["archive"].as_str().unwrap().to_owned())));
}

#[test]
fn one_build_is_stated_and_nothing_that_was_not_done() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    let mut command = scene.command(&["build", "--quiet", "--plan", "plan.json"]);
    let github = [
        ("GITHUB_SERVER_URL", "https://github.example"),
        ("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/release.yml@refs/heads/main"),
        ("GITHUB_REPOSITORY", "o/r"),
        ("GITHUB_RUN_ID", "17"),
        ("GITHUB_RUN_ATTEMPT", "2"),
    ];
    scene.end_of(command.envs(github)).fine();
    assert!(!scene.names("dist").contains(&"hello-1.0.rebuild.json".to_owned()));
    let origin = provenance(&statement(&scene, "provenance")).origin.clone();
    assert_eq!(origin.builder.as_str(), "https://github.example/o/r/.github/workflows/release.yml@refs/heads/main");
    let run = origin.occasion.invocation_id.unwrap();
    assert_eq!(run.as_str(), "https://github.example/o/r/actions/runs/17/attempts/2");
    // Nobody has to have a name; whoever gives one gives a URI.
    scene.run(&["build", "--quiet", "--plan", "plan.json"]).fine();
    assert_eq!(provenance(&statement(&scene, "provenance")).origin.builder.as_str(), "urn:pgproof:builder:unnamed");
    let ran = scene.run(&["build", "--plan", "plan.json", "--builder-id", "me"]);
    assert_eq!(ran.code, Some(2), "{}", ran.seen());

    // A root file system that is in the store alone: it builds, but nobody else could.
    std::fs::remove_file(scene.path("definitions/sysroots/box.toml")).unwrap();
    std::fs::remove_dir_all(scene.path("dist")).unwrap();
    let ran = scene.run(&["build", "--quiet", "--plan", "plan.json"]).fine();
    let told = ran.stdout.lines().find(|line| line.contains("stated")).unwrap();
    insta::assert_snapshot!(told, @"  stated    no provenance, because nobody could build the same from it: a definition that belongs to the plan cannot be used: [DIR]/definitions/sysroots/box.toml cannot be read: No such file or directory (os error 2)");
    assert!(!scene.names("dist").contains(&"hello-1.0.provenance.json".to_owned()));
}
