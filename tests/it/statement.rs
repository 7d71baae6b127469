//! A statement says what was built and nothing that does not follow from it, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use pgproof::definitions::Definitions;
use pgproof::digest::{Digest, Sha512};
use pgproof::lockfile::Name;
use pgproof::output::{self, Output, Sums};
use pgproof::plan::{Plan, postgresql};
use pgproof::rebuild::{Built, Rebuilt};
use pgproof::sandbox::{self, Installed, Medium, Wall};
use pgproof::statement::{
    ArchiveDigests, Builds, Byproduct, Cause, Commit, Identifier, Materials, Occasion, Origin, Predicate, Provenance,
    Rebuild, Request, Statement, Tool, Verdict,
};
use pgproof::store::Store;
use pgproof::target::Target;
use pgproof::tree::{Kind, Writer};
use pgproof::variation::{Axis, Variation};
use pgproof::verdict::{self, Comparison};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::gate::{self, Need};

const STEM: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";

/// The canonical bytes of the sample's provenance. A change of the format changes it, on purpose only; so does a change of the
/// definitions.
const CANONICAL: &str = "sha256:07d80c1725d1d73b1462c392a5bc1ea08df6c8dcdace9994f57102b42db36d8e";

/// A build of PostgreSQL 17.11 that nobody ran: its archives have one file each.
struct Sample {
    _directory: tempfile::TempDir,
    store: Store,
    plan: Plan,
    materials: Materials,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn origin() -> Origin {
    let builder: Identifier = "https://builder.example/x".parse().unwrap();
    let tool = Tool {
        version: "0.1.0".parse().unwrap(),
        commit: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
        binary: Digest::of(b"the program"),
    };
    let (started, finished): (Timestamp, Timestamp) =
        ("2026-11-26T10:00:00.123Z".parse().unwrap(), "2026-11-26T10:04:30Z".parse().unwrap());
    Origin { builder, tool, occasion: Occasion::new(Some("urn:run:7".parse().unwrap()), started, finished) }
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let target = Target::of_archive(STEM).unwrap();
        let toolchain = name("bookworm-gcc");
        let definitions = Definitions::BuiltIn;
        let made = definitions.toolchain(&toolchain).unwrap();
        let lockfile = definitions.lockfile(&name("postgresql")).unwrap();
        let manifest = definitions.compose(&made.sysroot).unwrap().manifest;
        let plan = postgresql::plan(target, lockfile.source(target).unwrap(), &made, manifest).unwrap();
        let materials = Materials::gather(&plan, Request::Release { target, toolchain }, &definitions).unwrap();
        Self { _directory: directory, store, plan, materials }
    }

    /// A build whose files all have this in them.
    fn built(&self, variation: Variation, content: &str) -> Built {
        let epoch = self.plan.source_date_epoch;
        let output = |stem: &Name| {
            let mut tar = Writer::new(Vec::new(), epoch);
            tar.append(stem.as_str().as_bytes(), &Kind::Directory, 0o755, io::empty()).unwrap();
            let size = content.len() as u64;
            tar.append(format!("{stem}/file").as_bytes(), &Kind::File { size }, 0o644, content.as_bytes()).unwrap();
            output::collect(self.store.admit(&tar.finish().unwrap()).unwrap(), stem, epoch, &self.store).unwrap()
        };
        let outputs: Vec<Output> = self.plan.archives().iter().map(|archive| output(&archive.name)).collect();
        let axes = variation.axes.iter().map(|axis| (*axis, sandbox::Outcome::Held));
        let installed = Installed {
            trees: outputs.iter().map(Output::tar).collect(),
            log: self.store.admit(b"a log").unwrap(),
            walls: Wall::ALL.into(),
            cgroups: Vec::new(),
            axes: axes.collect(),
            steps: Vec::new(),
            medium: Medium::Memory,
            prepared: Duration::ZERO,
            peak_memory: None,
        };
        Built { variation, installed, outputs, elapsed: Duration::ZERO }
    }

    fn twice(&self, first: &str, second: &str) -> Rebuilt {
        let axes = BTreeSet::from([Axis::HostName, Axis::Clock]);
        let plain = self.built(Variation::plain(2), first);
        let mut shaken = self.built(Variation::shaken(self.plan.digest(), 2, &axes), second);
        let why = sandbox::Outcome::NotHeld("the root file system has no libfaketime".to_owned());
        shaken.installed.axes.insert(Axis::Clock, why);
        let verdict = Comparison::between(&plain.outputs, &shaken.outputs).verdict();
        Rebuilt { plain, shaken, verdict }
    }

    fn provenance(&self) -> Statement {
        let built = self.built(Variation::plain(2), "content");
        let log = Byproduct {
            name: name("build.log"),
            digest: built.installed.log.digest(),
            media_type: Some("text/plain".to_owned()),
        };
        Statement::of_build(&self.materials, &built, &published(&built), vec![log], origin()).unwrap()
    }

    /// What two builds came to.
    fn rebuild(&self, rebuilt: &Rebuilt) -> Statement {
        let builds = [&rebuilt.plain, &rebuilt.shaken];
        match &rebuilt.verdict {
            verdict::Verdict::Reproduced(reproduced) => {
                Statement::reproduced(reproduced, &self.plan, builds, &published(&rebuilt.plain), origin()).unwrap()
            }
            verdict::Verdict::Different(differences) => {
                let cause = Cause::new(name("host-name"), ["a/file"], "the host's name is in it");
                Statement::not_reproduced(differences, vec![cause], &self.plan, builds, origin()).unwrap()
            }
        }
    }
}

fn published(built: &Built) -> BTreeMap<Name, Sums> {
    let sums = |output: &Output| {
        let sums = Sums { sha256: output.archive().digest(), sha512: Sha512::of(b"the archive") };
        (name(&format!("{}.tar.gz", output.name())), sums)
    };
    built.outputs.iter().map(sums).collect()
}

fn json_of(statement: &Statement) -> Value {
    serde_json::from_slice(&statement.canonical()).unwrap()
}

fn parse(json: &Value) -> Result<Statement, String> {
    Statement::parse(json.to_string().as_bytes()).map_err(|error| told(&error))
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn of_provenance(statement: &Statement) -> &Provenance {
    let Predicate::Provenance(provenance) = statement.predicate() else { panic!("{statement:?}") };
    provenance
}

fn of_rebuild(statement: &Statement) -> &Rebuild {
    let Predicate::Rebuild(rebuild) = statement.predicate() else { panic!("{statement:?}") };
    rebuild
}

#[test]
fn provenance_is_what_was_specified() {
    let sample = Sample::new();
    let statement = sample.provenance();
    let json = json_of(&statement);
    assert_eq!(json["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(json["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = json["subject"].as_array().unwrap();
    assert_eq!(subjects.len(), 4);
    assert!(subjects.iter().all(|subject| subject["digest"]["sha256"].as_str().unwrap().len() == 64));
    assert!(subjects.iter().all(|subject| subject["digest"]["sha512"].as_str().unwrap().len() == 128));
    let definition = &json["predicate"]["buildDefinition"];
    assert_eq!(
        definition["externalParameters"],
        json!({"version": "17.11", "target": "x86_64-unknown-linux-gnu", "sysroot": "bookworm-amd64",
               "toolchain": "bookworm-gcc"})
    );
    let internal = &definition["internalParameters"];
    assert_eq!(internal["planDigest"], sample.plan.digest().to_string());
    assert_eq!(internal["walls"].as_array().unwrap().len(), Wall::ALL.len());
    let files: Vec<_> = internal["files"].as_object().unwrap().keys().collect();
    insta::assert_snapshot!(files.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n"), @"
    lockfiles/bookworm-amd64.lock
    lockfiles/postgresql.lock
    sysroots/bookworm-amd64.toml
    sysroots/postgresql.toml
    toolchains/bookworm-gcc.toml
    ");
    let dependencies = definition["resolvedDependencies"].as_array().unwrap();
    let locked = Definitions::BuiltIn.lockfile(&name("bookworm-amd64")).unwrap().packages.len();
    let packages = |entry: &&Value| entry["name"].as_str().unwrap().starts_with("packages/");
    assert_eq!(dependencies.iter().filter(packages).count(), locked);
    let rest: Vec<_> = dependencies.iter().filter(|entry| !packages(entry)).map(line).collect();
    insta::assert_snapshot!(rest.join("\n"), @"
    inputs/postgresql-17.11.tar.bz2 https://ftp.postgresql.org/pub/source/v17.11/postgresql-17.11.tar.bz2 sha256 dd27f2b3
    inputs/postgresql-17.11.tar.bz2#tar https://ftp.postgresql.org/pub/source/v17.11/postgresql-17.11.tar.bz2#tar sha256 75615ab1
    sysroots/bookworm-amd64 pkg:oci/bookworm-amd64@sha256:352677f014343a451ff5ebc753eec21d6e32c8bd1778a0d89b9cd04260c34e4b sha256 352677f0
    lockfiles/bookworm-amd64.lock#dists/bookworm/InRelease debian:dists/bookworm/InRelease sha256 77737fa4
    lockfiles/postgresql.lock#dists/trixie/InRelease debian:dists/trixie/InRelease sha256 0584fba3
    sysroots/keyrings/debian-archive.asc urn:pgproof:file:sysroots/keyrings/debian-archive.asc sha256 2984cb44
    lockfiles/bookworm-amd64.lock urn:pgproof:file:lockfiles/bookworm-amd64.lock sha256 a9ca8b1b
    lockfiles/postgresql.lock urn:pgproof:file:lockfiles/postgresql.lock sha256 6a15d8ce
    sysroots/bookworm-amd64.toml urn:pgproof:file:sysroots/bookworm-amd64.toml sha256 bf3f724d
    sysroots/postgresql.toml urn:pgproof:file:sysroots/postgresql.toml sha256 ceebedd9
    toolchains/bookworm-gcc.toml urn:pgproof:file:toolchains/bookworm-gcc.toml sha256 0e1e1158
    pgproof pkg:generic/pgproof@0.1.0 sha256 50fda23b
    pgproof#source pkg:generic/pgproof@0.1.0 gitCommit 01234567
    ");
    let icu = dependencies.iter().find(|entry| entry["name"].as_str().unwrap().starts_with("packages/libstdc++6_"));
    insta::assert_snapshot!(line(icu.unwrap()), @"packages/libstdc++6_12.2.0-14+deb12u1_amd64.deb pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm sha256 5cd31712");
    assert!(dependencies.iter().all(|entry| entry.get("digest").is_some() && entry.get("uri").is_some()));
    let run = &json["predicate"]["runDetails"];
    assert_eq!(run["builder"], json!({"id": "https://builder.example/x", "version": {"pgproof": "0.1.0"}}));
    assert_eq!(
        run["metadata"],
        json!({"invocationId": "urn:run:7", "startedOn": "2026-11-26T10:00:00Z", "finishedOn": "2026-11-26T10:04:30Z"})
    );
    assert_eq!(run["byproducts"][0]["name"], "build.log");
    let size = statement.canonical().len();
    eprintln!("provenance of PostgreSQL takes {size} bytes");
    assert!(size < 300_000, "{size} bytes");
}

/// An input on one line.
fn line(entry: &Value) -> String {
    let digest = entry["digest"].as_object().unwrap().iter().next();
    let digest = digest.map(|(algorithm, hex)| format!("{algorithm} {:.8}", hex.as_str().unwrap()));
    format!(
        "{} {} {}",
        entry["name"].as_str().unwrap(),
        entry["uri"].as_str().unwrap_or("-"),
        digest.unwrap_or_default()
    )
}

#[test]
fn the_statement_alone_is_enough_to_plan_the_same() {
    let sample = Sample::new();
    let parsed = Statement::parse(&sample.provenance().canonical()).unwrap();
    let provenance = of_provenance(&parsed);
    assert_eq!(provenance.plan.digest(), sample.plan.digest());
    assert!(provenance.plan.inputs.iter().all(|input| !input.origins.is_empty()));
    assert_eq!(provenance.planned_here().unwrap().digest(), sample.plan.digest());
    let definitions = provenance.definitions();
    let (built_in, sysroot) = (Definitions::BuiltIn, name("bookworm-amd64"));
    assert_eq!(definitions.definition(&sysroot).unwrap(), built_in.definition(&sysroot).unwrap());
    assert_eq!(definitions.lockfile(&sysroot).unwrap(), built_in.lockfile(&sysroot).unwrap());
    assert_eq!(definitions.names("toolchains", "toml").unwrap(), [name("bookworm-gcc")]);
    let error = definitions.pin(&sysroot, Digest::of(b"")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the definitions are those that a statement carries: name a directory with --definitions DIR"
    );
    assert!(
        definitions
            .lockfile(&name("minimal-amd64"))
            .unwrap_err()
            .to_string()
            .contains("there is no lockfiles/minimal-amd64.lock")
    );
}

#[test]
fn the_canonical_bytes_are_pinned_and_parse_to_themselves() {
    let sample = Sample::new();
    let provenance = sample.provenance();
    assert_eq!(Digest::of(&provenance.canonical()).to_string(), CANONICAL);
    let published: BTreeMap<Name, ArchiveDigests> = sample
        .plan
        .archives()
        .iter()
        .map(|archive| (archive.name.clone(), ArchiveDigests { archive: Digest::of(b"x"), tar: None, list: None }))
        .collect();
    let (same, other) = (sample.twice("a", "a"), sample.twice("a", "b"));
    let against =
        |builds| Statement::against_published(&published, builds, None, Vec::new(), &sample.plan, origin()).unwrap();
    for statement in [
        provenance,
        sample.rebuild(&same),
        sample.rebuild(&other),
        against(Builds::Once(&same.plain)),
        against(Builds::Twice(&same)),
    ] {
        let bytes = statement.canonical();
        let parsed = Statement::parse(&bytes).unwrap();
        assert_eq!(parsed, statement);
        assert_eq!(parsed.canonical(), bytes);
        // Whoever writes it in another order or with spaces writes the same.
        let pretty = serde_json::to_vec_pretty(&json_of(&statement)).unwrap();
        assert_eq!(Statement::parse(&pretty).unwrap().canonical(), bytes);
    }
}

#[test]
fn two_builds_that_agree_are_stated_and_two_that_do_not() {
    let sample = Sample::new();
    let reproduced = sample.rebuild(&sample.twice("a", "a"));
    let rebuild = of_rebuild(&reproduced);
    assert_eq!((rebuild.verdict, rebuild.plan, rebuild.archives.len()), (Verdict::Reproduced, sample.plan.digest(), 4));
    assert_eq!(json_of(&reproduced)["predicateType"], "urn:pgproof:rebuild:1");
    let axes = rebuild.axes().unwrap();
    assert_eq!(axes[&Axis::HostName], sandbox::Outcome::Held);
    assert!(matches!(axes[&Axis::Clock], sandbox::Outcome::NotHeld(_)));
    assert!(!rebuild.is_of_published() && rebuild.found.is_none());
    let digest = reproduced.subjects()[0].sha256;
    assert_eq!((rebuild.says_of(digest), rebuild.says_of(Digest::of(b"z"))), (Some(true), None));

    let negative = sample.rebuild(&sample.twice("a", "b"));
    let rebuild = of_rebuild(&negative);
    assert_eq!(rebuild.verdict, Verdict::NotReproduced);
    let found = rebuild.found.as_ref().unwrap();
    assert_eq!((found.different, found.entries[0].path.as_str()), (4, format!("{STEM}/file").as_str()));
    assert_eq!(rebuild.causes[0].explanation, "the host's name is in it");
    // It is about what either build made: who has one of them finds it.
    let names: Vec<_> = negative.subjects().iter().map(|subject| subject.name.as_str()).collect();
    assert_eq!(names[..2], [format!("{STEM}.tar.gz"), format!("{STEM}.shaken.tar.gz")]);
    assert!(negative.subjects().iter().all(|subject| rebuild.says_of(subject.sha256) == Some(false)));
}

#[test]
fn what_was_published_is_compared_by_whoever_states_it() {
    let sample = Sample::new();
    let built = sample.twice("a", "a");
    let mut published: BTreeMap<Name, ArchiveDigests> =
        built.plain.outputs.iter().map(|output| (output.name().clone(), ArchiveDigests::of(output))).collect();
    let against = |published: &BTreeMap<_, _>, builds| {
        Statement::against_published(published, builds, None, Vec::new(), &sample.plan, origin()).unwrap()
    };
    // Whoever has the main archive alone need not have the others.
    let main: BTreeMap<_, _> = published
        .iter()
        .take(1)
        .map(|(name, digests)| (name.clone(), ArchiveDigests { tar: None, list: None, ..*digests }))
        .collect();
    for builds in [Builds::Once(&built.plain), Builds::Twice(&built)] {
        for published in [&published, &main] {
            let statement = against(published, builds);
            let rebuild = of_rebuild(&statement);
            assert_eq!(rebuild.verdict, Verdict::Reproduced);
            assert!(rebuild.is_of_published());
            assert_eq!(statement.subjects().len(), published.len());
            assert_eq!(Statement::parse(&statement.canonical()).unwrap(), statement);
        }
    }
    // Two builds that differ prove nothing, even if one of them is what was published.
    let differing = sample.twice("a", "b");
    assert_eq!(of_rebuild(&against(&published, Builds::Twice(&differing))).verdict, Verdict::NotReproduced);
    // What was published and not built is a difference.
    let extra = ArchiveDigests { archive: Digest::of(b"more"), tar: None, list: None };
    published.insert(name("postgresql-extra"), extra);
    let statement = against(&published, Builds::Twice(&built));
    assert_eq!(of_rebuild(&statement).verdict, Verdict::NotReproduced);
    assert_eq!(of_rebuild(&statement).says_of(extra.archive), Some(false));
    // Nothing published is nothing compared.
    let error = Statement::against_published(
        &BTreeMap::new(),
        Builds::Once(&built.plain),
        None,
        Vec::new(),
        &sample.plan,
        origin(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("compares one build with nothing")
            || error.to_string().contains("compares no archive"),
        "{error}"
    );
}

/// Changes the value at `pointer`, or removes it.
fn changed(json: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut json = json.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = json.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    let key = key.replace("~1", "/");
    match (parent, value) {
        (Value::Object(object), Some(value)) => drop(object.insert(key, value)),
        (Value::Object(object), None) => assert!(object.remove(&key).is_some(), "{pointer}"),
        (Value::Array(array), Some(value)) if key == "-" => array.push(value),
        (Value::Array(array), Some(value)) => array[key.parse::<usize>().unwrap()] = value,
        (Value::Array(array), None) => drop(array.remove(key.parse().unwrap())),
        (other, _) => panic!("{other}"),
    }
    json
}

#[test]
fn provenance_that_contradicts_itself_is_refused() {
    let sample = Sample::new();
    let good = json_of(&sample.provenance());
    let definition = "/predicate/buildDefinition";
    let (external, internal) = (format!("{definition}/externalParameters"), format!("{definition}/internalParameters"));
    let dependencies = format!("{definition}/resolvedDependencies");
    let hex = "0".repeat(64);
    let digest = format!("sha256:{hex}");
    let file = |path: &str, from: &str, to: &str| {
        let pointer = format!("{internal}/files/{}", path.replace('/', "~1"));
        let text = good.pointer(&pointer).unwrap().as_str().unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        (pointer, Some(json!(text.replacen(from, to, 1))))
    };
    let at = |pointer: &str| good.pointer(pointer).unwrap().clone();
    let manifest = sample.plan.sysroot.manifest.to_string();
    let tarball = sample.plan.inputs[0].digest.to_string();
    let cases: Vec<((String, Option<Value>), &str)> = vec![
        ((format!("{internal}/planDigest"), Some(json!(digest))), "the plan has the digest"),
        ((format!("{internal}/plan/environment/CFLAGS"), Some(json!("-O0"))), "the plan has the digest"),
        (
            (format!("{external}/sysroot"), Some(json!("minimal-amd64"))),
            "the sysroot asked for is minimal-amd64, that of the plan",
        ),
        ((format!("{external}/version"), Some(json!("15.18"))), "the plan makes postgresql-17.11.0"),
        ((format!("{external}/target"), Some(json!("aarch64-unknown-linux-gnu"))), "the plan makes postgresql-17.11.0"),
        (
            (format!("{external}/toolchain"), Some(json!("clang"))),
            "the toolchain is clang, but toolchains/clang.toml is not there",
        ),
        ((format!("{external}/toolchain"), None), "neither version, target and toolchain, nor a plan"),
        ((format!("{external}/plan"), Some(json!(digest))), "neither version, target and toolchain, nor a plan"),
        ((format!("{external}/more"), Some(json!(1))), "unknown field `more`"),
        ((format!("{internal}/more"), Some(json!(1))), "unknown field `more`"),
        ((format!("{internal}/walls/-"), Some(json!("moat"))), "unknown variant `moat`"),
        (
            (format!("{internal}/files/sysroots~1bookworm-amd64.toml"), None),
            "but sysroots/bookworm-amd64.toml is not there",
        ),
        (
            (format!("{internal}/files/lockfiles~1bookworm-amd64.lock"), None),
            "but lockfiles/bookworm-amd64.lock is not there",
        ),
        (
            (format!("{internal}/files/toolchains~1bookworm-gcc.toml"), None),
            "but toolchains/bookworm-gcc.toml is not there",
        ),
        (
            (format!("{internal}/files/lockfiles~1postgresql.lock"), None),
            "no lockfile that is there has PostgreSQL 17.11",
        ),
        (
            (
                format!("{internal}/files/lockfiles~1minimal-amd64.lock"),
                Some(json!("version = 1\nname = \"minimal-amd64\"\n")),
            ),
            "lockfiles/minimal-amd64.lock has nothing to do with the plan",
        ),
        ((format!("{internal}/files/etc~1passwd"), Some(json!(""))), "etc/passwd has nothing to do with the plan"),
        (file("sysroots/bookworm-amd64.toml", &manifest, &digest), "its definition pins sha256:0000"),
        (
            file("sysroots/bookworm-amd64.toml", "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
            "sysroots/bookworm-amd64.toml is for aarch64",
        ),
        (file("sysroots/bookworm-amd64.toml", "[compose]", "[decompose]"), "sysroots/bookworm-amd64.toml is malformed"),
        (file("lockfiles/postgresql.lock", &tarball, &digest), "PostgreSQL 17.11 is not among the plan's inputs"),
        (
            file("lockfiles/bookworm-amd64.lock", "name = \"bookworm-amd64\"", "name = \"other\""),
            "lockfiles/bookworm-amd64.lock says that it is of other",
        ),
        (
            file("lockfiles/bookworm-amd64.lock", "size = 70936", "size = 70937"),
            "\"lockfiles/bookworm-amd64.lock\" is listed with another digest",
        ),
        (file("lockfiles/bookworm-amd64.lock", "version = 1", "version = 2"), "format version 2"),
        (
            file("toolchains/bookworm-gcc.toml", "bookworm-amd64", "minimal-amd64"),
            "toolchains/bookworm-gcc.toml builds in minimal-amd64, the plan in bookworm-amd64",
        ),
        (
            file("toolchains/bookworm-gcc.toml", "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
            "toolchains/bookworm-gcc.toml builds for aarch64",
        ),
        ((format!("{dependencies}/0"), None), "the input \"inputs/postgresql-17.11.tar.bz2\" is not listed"),
        (
            (format!("{dependencies}/0/digest/sha256"), Some(json!(hex))),
            "the input \"inputs/postgresql-17.11.tar.bz2\" is listed with another digest",
        ),
        ((format!("{dependencies}/0/digest"), Some(json!({"md5": "00"}))), "unknown field `md5`"),
        ((format!("{dependencies}/20/digest/sha256"), Some(json!(hex))), "is listed with another digest"),
        ((format!("{dependencies}/20/digest"), None), "is listed with another digest"),
        ((format!("{dependencies}/-"), Some(at(&format!("{dependencies}/3")))), "is listed twice"),
        (
            (format!("{dependencies}/-"), Some(json!({"name": "curl", "digest": {"sha256": hex}}))),
            "the input \"curl\" is listed, but is none",
        ),
        (
            (format!("{internal}/pgproof/binary"), Some(json!(digest))),
            "the input \"pgproof\" is listed with another digest",
        ),
        (
            (format!("{internal}/pgproof/commit"), Some(json!("f".repeat(40)))),
            "the input \"pgproof#source\" is listed with another digest",
        ),
        ((format!("{internal}/pgproof/commit"), Some(json!("HEAD"))), "is not a commit"),
        ((format!("{internal}/pgproof/version"), Some(json!("9"))), "the builder's version is not that of its pgproof"),
        (
            ("/predicate/runDetails/metadata/startedOn".into(), Some(json!("2027-01-01T00:00:00Z"))),
            "finished before it was started",
        ),
        (("/predicate/runDetails/builder/id".into(), Some(json!("not a uri"))), "is not a URI"),
        (("/predicate/runDetails/byproducts/0/digest".into(), Some(json!({}))), "has not exactly a sha256"),
        (("/subject/0/name".into(), Some(json!("other.tar.gz"))), "which is no subject"),
    ];
    parse(&good).unwrap();
    for ((pointer, value), expected) in cases {
        let error = parse(&changed(&good, &pointer, value)).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
}

#[test]
fn the_time_and_the_tar_of_a_release_are_those_of_its_lock() {
    let sample = Sample::new();
    let target = Target::of_archive(STEM).unwrap();
    let gather = |plan: &Plan| {
        let request = Request::Release { target, toolchain: name("bookworm-gcc") };
        Materials::gather(plan, request, &Definitions::BuiltIn).map(|_| ()).unwrap_err().to_string()
    };
    let mut later = sample.plan.clone();
    later.source_date_epoch += 1;
    assert!(gather(&later).contains("time is not that of the release"));
    let mut larger = sample.plan.clone();
    larger.inputs[0].size += 1;
    assert!(gather(&larger).contains("another size or tar than in the lockfile"));
    larger.inputs[0] = sample.plan.inputs[0].clone();
    larger.inputs[0].unpack.as_mut().unwrap().tar_digest = Some(Digest::of(b""));
    assert!(gather(&larger).contains("another size or tar than in the lockfile"));
}

#[test]
fn a_rebuild_that_contradicts_itself_is_refused() {
    let sample = Sample::new();
    let (good, bad) =
        (json_of(&sample.rebuild(&sample.twice("a", "a"))), json_of(&sample.rebuild(&sample.twice("a", "b"))));
    let digest = format!("sha256:{}", "0".repeat(64));
    let long = "x".repeat(5000);
    let cases: Vec<(&Value, &str, Option<Value>, &str)> = vec![
        (&good, "/predicate/verdict", Some(json!("not-reproduced")), "says not reproduced, but all its digests agree"),
        (&bad, "/predicate/verdict", Some(json!("reproduced")), "says reproduced, but its digests differ"),
        (&good, "/predicate/verdict", Some(json!("fine")), "unknown variant `fine`"),
        (&good, "/predicate/archives/0/shaken/archive", Some(json!(digest)), "says reproduced, but its digests differ"),
        (&good, "/predicate/archives/2/shaken/list", Some(json!(digest)), "says reproduced, but its digests differ"),
        (&good, "/predicate/archives/0/plain", None, "that the plain build did not make"),
        (&good, "/predicate/archives/0/shaken", None, "are not those of its builds"),
        (&good, "/predicate/archives/0/published", Some(json!({"archive": digest})), "others are not"),
        (&good, "/predicate/archives/0/name", Some(json!(format!("{STEM}-debug"))), "compares an archive twice"),
        (&good, "/predicate/archives", Some(json!([])), "compares no archive"),
        (&good, "/predicate/builds/1", None, "compares one build with nothing"),
        (&good, "/predicate/builds", Some(json!([])), "neither a plain one nor a plain and a shaken one"),
        (&good, "/predicate/builds/0/axes", Some(json!({"user": "held"})), "differ from itself"),
        (
            &good,
            "/predicate/builds/1/axes/phase-of-the-moon",
            Some(json!("held")),
            "unknown variant `phase-of-the-moon`",
        ),
        (&good, "/predicate/builds/1/axes/user", Some(json!({"notHeld": long})), "a text of more than 4096 bytes"),
        (&good, "/predicate/found", Some(bad["predicate"]["found"].clone()), "says reproduced, but tells what differs"),
        (
            &good,
            "/predicate/causes",
            Some(bad["predicate"]["causes"].clone()),
            "says reproduced, but tells what differs",
        ),
        (&bad, "/predicate/found/different", Some(json!(1)), "lists more entries than differ"),
        (
            &bad,
            "/predicate/causes",
            Some(json!(vec![bad["predicate"]["causes"][0].clone(); 101])),
            "lists more than 100 entries or causes",
        ),
        (&bad, "/predicate/more", Some(json!(1)), "unknown field `more`"),
        (&good, "/subject/0/digest/sha256", Some(json!("0".repeat(64))), "is no subject, or with another digest"),
        (&good, "/subject/0/name", Some(json!("a/b")), "its name is not that of a file"),
        (&good, "/subject/1", Some(good["subject"][0].clone()), "it is there twice"),
        (
            &good,
            "/predicate/metadata/finishedOn",
            Some(json!("2020-01-01T00:00:00Z")),
            "finished before it was started",
        ),
    ];
    parse(&good).unwrap();
    parse(&bad).unwrap();
    for (json, pointer, value, expected) in cases {
        let error = parse(&changed(json, pointer, value)).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
}

#[test]
fn hostile_json_is_refused() {
    let sample = Sample::new();
    let good = json_of(&sample.rebuild(&sample.twice("a", "a")));
    let text = good.to_string();
    let refused = |text: &str, expected: &str| {
        let error = told(&Statement::parse(text.as_bytes()).unwrap_err());
        assert!(error.contains(expected), "{error}");
    };
    refused("", "the statement is malformed");
    refused("[]", "the statement is malformed");
    refused(&format!("{text} {text}"), "trailing characters");
    refused(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "levels deep");
    refused(&format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40)), "more than 32 levels deep");
    refused(&format!("{}{}", text, " ".repeat(5 << 20)), "more than 4194304");
    for (key, twice) in [
        ("\"verdict\":", "\"verdict\":\"reproduced\",\"verdict\":"),
        ("\"_type\":", "\"_type\":\"x\",\"_type\":"),
        ("\"sha256\":", "\"sha256\":\"00\",\"sha256\":"),
    ] {
        assert!(text.contains(key));
        refused(&text.replacen(key, twice, 1), "is there twice");
    }
    let subject = good["subject"][0].clone();
    let named = |count: usize| {
        let subjects: Vec<_> =
            (0..count).map(|index| changed(&subject, "/name", Some(json!(format!("f{index}"))))).collect();
        json!({"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://example.org/x", "predicate": {}})
    };
    for count in [0, 501, 1000] {
        refused(&named(count).to_string(), &format!("the statement has {count} subjects; 1 to 500 are allowed"));
    }
    assert_eq!(parse(&named(500)).unwrap().subjects().len(), 500);
    for (pointer, value, expected) in [
        ("/_type", json!("https://in-toto.io/Statement/v0.1"), "_type is \"https://in-toto.io/Statement/v0.1\""),
        ("/_type", json!(7), "invalid type"),
        ("/more", json!(1), "unknown field `more`"),
        ("/subject/0/more", json!(1), "unknown field `more`"),
        ("/subject/0/name", json!("../../etc/passwd"), "its name leads out"),
        ("/subject/0/name", json!("a/../../b"), "its name leads out"),
        ("/subject/0/name", json!("..\\b"), "its name leads out"),
        ("/subject/0/name", json!("/etc/passwd"), "its name leads out"),
        ("/subject/0/name", json!(""), "is empty, too long or has control characters"),
        ("/subject/0/name", json!("a\u{1b}[2J"), "is empty, too long or has control characters"),
        ("/subject/0/name", json!("x".repeat(2000)), "is empty, too long or has control characters"),
        ("/subject/0/digest", json!({"sha512": "0".repeat(128)}), "it has no sha256"),
        ("/subject/0/digest", json!({}), "it has no sha256"),
        ("/subject/0/digest/sha256", json!("00"), "is not 64 lower-case hexadecimal digits"),
        ("/subject/0/digest/sha256", json!("A".repeat(64)), "is not 64 lower-case hexadecimal digits"),
        ("/subject/0/digest/sha512", json!("0".repeat(64)), "is not 128 lower-case hexadecimal digits"),
    ] {
        refused(&changed(&named(1), pointer, Some(value)).to_string(), expected);
    }
    for key in ["/_type", "/subject", "/predicateType", "/predicate"] {
        refused(&changed(&named(1), key, None).to_string(), "missing field");
    }
}

#[test]
fn what_others_state_is_read_as_far_as_it_is_understood() {
    let foreign = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "pkg/dist/a.tar.gz", "digest": {"sha256": "0".repeat(64), "gitCommit": "1".repeat(40)}, "uri": "pkg:npm/a@1", "annotations": {"x": [1]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1", "externalParameters": {"workflow": {"ref": "main"}}, "later": null},
            "runDetails": {"builder": {"id": "https://github.com/actions/runner"}}},
    });
    let statement = parse(&foreign).unwrap();
    let Predicate::Other { predicate_type, body } = statement.predicate() else { panic!() };
    assert_eq!((predicate_type.as_str(), body), ("https://slsa.dev/provenance/v1", &foreign["predicate"]));
    assert_eq!(statement.subjects()[0].name, "pkg/dist/a.tar.gz");
    assert!(!statement.subjects()[0].is_plain());
    let again = Statement::parse(&statement.canonical()).unwrap();
    assert_eq!(again, statement);
    // A later version of our own is somebody else's, too.
    let later = changed(&foreign, "/predicate/buildDefinition/buildType", Some(json!("urn:pgproof:build:2")));
    assert!(matches!(parse(&later).unwrap().predicate(), Predicate::Other { .. }));
    let ours = changed(&foreign, "/predicate/buildDefinition/buildType", Some(json!("urn:pgproof:build:1")));
    assert!(parse(&ours).unwrap_err().contains("the provenance is malformed"));
}

#[test]
fn inputs_are_held_against_the_lockfiles_at_hand() {
    let sample = Sample::new();
    let statement = sample.provenance();
    let provenance = of_provenance(&statement);
    let beside = |files: &BTreeMap<String, String>| {
        provenance.inputs_beside(&Definitions::Carried(files.clone())).unwrap().differences
    };
    let packages = Definitions::BuiltIn.lockfile(&name("bookworm-amd64")).unwrap().packages.len();
    let same = provenance.inputs_beside(&Definitions::BuiltIn).unwrap();
    assert_eq!((same.count, same.differences), (packages + 1, Vec::new()));
    // Lockfiles are enough, and all that a directory may have.
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lockfiles")).unwrap();
    for (path, text) in provenance.files.iter().filter(|(path, _)| path.starts_with("lockfiles/")) {
        std::fs::write(directory.path().join(path), text).unwrap();
    }
    let alone = provenance.inputs_beside(&Definitions::Directory(directory.path().to_owned())).unwrap();
    assert!(alone.differences.is_empty(), "{alone:?}");

    let (box_lock, sources) = ("lockfiles/bookworm-amd64.lock", "lockfiles/postgresql.lock");
    let mut files = provenance.files.clone();
    let lock = files[box_lock].replacen("name = \"bash\"", "name = \"dash2\"", 1);
    files.insert(box_lock.to_owned(), lock.replacen("sha256:3eb1ea6d", "sha256:00000000", 1));
    assert_eq!(
        beside(&files),
        [
            "base-files:amd64 12.4+deb12u15 (sha256:3eb1ea6d85488f488cc2a163b98ad640ef88cee4c79287cf14e361aaf6206f47) is \
             12.4+deb12u15 (sha256:0000000085488f488cc2a163b98ad640ef88cee4c79287cf14e361aaf6206f47) in the lockfile at hand",
            "bash:amd64 is not in the lockfile at hand",
            "dash2:amd64 is in the lockfile at hand, but was not used",
        ]
    );
    files.remove(box_lock);
    files.remove(sources);
    let tarball = sample.plan.inputs[0].digest;
    assert_eq!(
        beside(&files),
        [
            format!("postgresql-17.11.tar.bz2 ({tarball}) is in no lockfile at hand"),
            "there is no lockfiles/bookworm-amd64.lock at hand".to_owned(),
        ]
    );
    let mut files = provenance.files.clone();
    let (definition, manifest) = ("sysroots/bookworm-amd64.toml", sample.plan.sysroot.manifest);
    let other = Digest::of(b"another image");
    files.insert(definition.to_owned(), files[definition].replace(&manifest.to_string(), &other.to_string()));
    let pinned = format!("the root file system bookworm-amd64 is {manifest}, and pinned at hand to {other}");
    assert_eq!(beside(&files), [pinned]);
}

#[test]
fn a_commit_that_is_not_all_of_the_source_is_no_digest_of_it() {
    let sample = Sample::new();
    let built = sample.built(Variation::plain(2), "content");
    for commit in [format!("{}-dirty", "a".repeat(40)), "unknown".to_owned()] {
        let mut origin = origin();
        origin.tool.commit = commit.parse().unwrap();
        assert_eq!(origin.tool.commit.clean(), None);
        let statement = Statement::of_build(&sample.materials, &built, &published(&built), Vec::new(), origin).unwrap();
        let last = of_provenance(&statement).dependencies.last().unwrap();
        assert_eq!((last.name.as_str(), &last.digest.git_commit), ("pgproof#source", &None));
        assert_eq!(last.annotations.as_ref().unwrap().commit.as_ref().unwrap().to_string(), commit);
        assert_eq!(Statement::parse(&statement.canonical()).unwrap(), statement);
    }
    for wrong in ["", "abc", "a\n", &"A".repeat(40), &format!("{}-clean", "a".repeat(40)), "unknown-dirty"] {
        assert!(wrong.parse::<Commit>().is_err(), "{wrong}");
    }
}

/// Reads statements as in-toto's own package does.
const SCRIPT: &str = "
import sys, google.protobuf.json_format as json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
for path in sys.argv[1:]:
    parsed = json_format.Parse(open(path, 'rb').read(), statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    if parsed.predicate_type == 'https://slsa.dev/provenance/v1':
        predicate = json_format.MessageToJson(parsed.predicate)
        provenance = json_format.Parse(predicate, provenance_pb2.Provenance())
        assert provenance.run_details.builder.id == 'https://builder.example/x'
        print(len(provenance.build_definition.resolved_dependencies))
    print(parsed.predicate_type, len(parsed.subject))
";

#[test]
fn others_tools_read_what_is_stated() {
    if !gate::open(Need::Slow) {
        return;
    }
    let sample = Sample::new();
    let directory = tempfile::tempdir().unwrap();
    let statements =
        [sample.provenance(), sample.rebuild(&sample.twice("a", "a")), sample.rebuild(&sample.twice("a", "b"))];
    let mut command = std::process::Command::new("python3");
    command.args(["-c", SCRIPT]).current_dir(directory.path());
    for (index, statement) in statements.iter().enumerate() {
        let file = format!("{index}.json");
        std::fs::write(directory.path().join(&file), statement.canonical()).unwrap();
        command.arg(file);
    }
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let inputs = of_provenance(&statements[0]).dependencies.len();
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        format!("{inputs}\nhttps://slsa.dev/provenance/v1 4\nurn:pgproof:rebuild:1 4\nurn:pgproof:rebuild:1 8\n")
    );
}

/// Runs the build script in a checkout of its own and tells the commit that it finds.
fn commit_of(script: &std::path::Path, checkout: &std::path::Path, variables: &[(&str, &str)]) -> String {
    let ran = std::process::Command::new(script)
        .current_dir(checkout)
        .env_remove("PGPROOF_COMMIT")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let told = String::from_utf8(ran.stdout).unwrap();
    let commit = told.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=PGPROOF_COMMIT=")).unwrap();
    commit.to_owned()
}

#[test]
fn a_release_knows_its_commit() {
    if !gate::open(Need::Slow) {
        return;
    }
    let around = tempfile::tempdir().unwrap();
    let (script, checkout) = (around.path().join("script"), around.path().join("checkout"));
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let compiled =
        std::process::Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&script).arg(source).status();
    assert!(compiled.unwrap().success());
    std::fs::create_dir_all(checkout.join("src")).unwrap();
    std::fs::write(checkout.join("src/main.rs"), "one").unwrap();
    let git = |words: &[&str]| {
        let ran = std::process::Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"])
            .args(words)
            .current_dir(&checkout)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    let release = [("PROFILE", "release")];
    assert_eq!(commit_of(&script, &checkout, &release), "unknown");
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    let head = git(&["rev-parse", "HEAD"]);
    assert_eq!(commit_of(&script, &checkout, &release), head);
    assert_eq!(commit_of(&script, &checkout, &[("PROFILE", "debug")]), "unknown");
    let given = format!("{}-dirty", "a".repeat(64));
    assert_eq!(commit_of(&script, &checkout, &[("PROFILE", "release"), ("PGPROOF_COMMIT", &given)]), given);
    assert_eq!(commit_of(&script, &checkout, &[("PROFILE", "release"), ("PATH", "/nonexistent")]), "unknown");
    // What the program is not made of does not make it another.
    std::fs::write(checkout.join("notes"), "").unwrap();
    assert_eq!(commit_of(&script, &checkout, &release), head);
    std::fs::write(checkout.join("src/main.rs"), "two").unwrap();
    assert_eq!(commit_of(&script, &checkout, &release), format!("{head}-dirty"));
    // Within somebody else's checkout it is nobody's commit.
    assert_eq!(commit_of(&script, &checkout.join("src"), &release), "unknown");
    // What `cargo package` leaves.
    let info = format!("{{\n  \"git\": {{\n    \"sha1\": \"{head}\"\n  }},\n  \"path_in_vcs\": \"\"\n}}");
    std::fs::write(checkout.join("src/.cargo_vcs_info.json"), &info).unwrap();
    assert_eq!(commit_of(&script, &checkout.join("src"), &release), head);
    let dirty = info.replace("\"\n  },", "\",\n    \"dirty\": true\n  },");
    std::fs::write(checkout.join("src/.cargo_vcs_info.json"), dirty).unwrap();
    assert_eq!(commit_of(&script, &checkout.join("src"), &release), format!("{head}-dirty"));
}

fn some_digest() -> impl Strategy<Value = ArchiveDigests> {
    let digest = || (0_u8..3).prop_map(|byte| Digest::from_bytes([byte; 32]));
    (digest(), proptest::option::of(digest()), proptest::option::of(digest()))
        .prop_map(|(archive, tar, list)| ArchiveDigests { archive, tar, list })
}

proptest! {
    /// Whatever digests a stranger writes down, what parses says reproduced if and only if they agree.
    #[test]
    fn a_verdict_is_that_of_its_digests(
        rows in proptest::collection::vec((proptest::option::of(some_digest()), some_digest(), proptest::option::of(some_digest())), 1..4),
        twice: bool,
        reproduced: bool,
    ) {
        let conditions = |label: &str| json!({"label": label, "axes": {}, "walls": ["root"], "medium": "memory", "log": Digest::of(b"")});
        let mut builds = vec![conditions("plain")];
        if twice {
            builds.push(conditions("shaken"));
        }
        let mut archives = Vec::new();
        let mut subjects = Vec::new();
        let mut agree = true;
        for (index, (published, plain, shaken)) in rows.iter().enumerate() {
            let mut row = json!({"name": format!("a{index}"), "plain": plain});
            if let Some(published) = published {
                row["published"] = json!(published);
            }
            if let Some(shaken) = shaken {
                row["shaken"] = json!(shaken);
            }
            archives.push(row);
            let subject = published.as_ref().unwrap_or(plain).archive;
            subjects.push(json!({"name": format!("a{index}.tar.gz"), "digest": {"sha256": subject.hex()}}));
            let all: Vec<_> = published.iter().chain([plain]).chain(shaken).collect();
            agree &= all.iter().all(|digests| digests.archive == all[0].archive)
                && all.iter().all(|digests| all[0].tar.zip(digests.tar).is_none_or(|(one, other)| one == other))
                && all.iter().all(|digests| all[0].list.zip(digests.list).is_none_or(|(one, other)| one == other));
        }
        let whole = rows.iter().all(|row| row.0.is_some() == rows[0].0.is_some() && row.2.is_some() == twice)
            && (twice || rows[0].0.is_some());
        let verdict = if reproduced { "reproduced" } else { "not-reproduced" };
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "urn:pgproof:rebuild:1",
            "predicate": {"verdict": verdict, "name": "a", "plan": Digest::of(b""), "sysroot": {"name": "box", "manifest": Digest::of(b"")},
                "archives": archives, "builds": builds, "builder": {"id": "urn:a"},
                "pgproof": {"version": "1", "commit": "unknown", "binary": Digest::of(b"")},
                "metadata": {"startedOn": "2026-01-01T00:00:00Z", "finishedOn": "2026-01-01T00:00:00Z"}},
        });
        let parsed = parse(&statement);
        prop_assert_eq!(parsed.is_ok(), whole && agree == reproduced, "{:?}", parsed);
        if let Ok(parsed) = parsed {
            prop_assert_eq!(Statement::parse(&parsed.canonical()).unwrap(), parsed);
        }
    }

    /// Nothing that a stranger sends makes parsing panic, and what parses is stable.
    #[test]
    fn any_bytes_are_a_statement_or_refused(at in 0_usize..2000, with: u8, cut in 0_usize..2000) {
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let good = GOOD.get_or_init(|| {
            let sample = Sample::new();
            sample.rebuild(&sample.twice("a", "b")).canonical()
        });
        let mut bytes = good.clone();
        let at = at % bytes.len();
        bytes[at] = with;
        for bytes in [&bytes[..], &bytes[..bytes.len() - cut.min(bytes.len())]] {
            if let Ok(statement) = Statement::parse(bytes) {
                let canonical = statement.canonical();
                prop_assert_eq!(Statement::parse(&canonical).unwrap().canonical(), canonical);
            }
        }
    }

    /// Identifiers and times come back as they were.
    #[test]
    fn an_origin_comes_back(host in "[a-z]{1,20}", path in "[a-zA-Z0-9@/._-]{0,40}", start in 0_i64..4_000_000_000, length in 0_i64..100_000) {
        static SAMPLE: std::sync::OnceLock<(Plan, Vec<u8>)> = std::sync::OnceLock::new();
        let (_, good) = SAMPLE.get_or_init(|| {
            let sample = Sample::new();
            (sample.plan.clone(), sample.rebuild(&sample.twice("a", "a")).canonical())
        });
        let mut json: Value = serde_json::from_slice(good).unwrap();
        let id = format!("https://{host}.example/{path}");
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        json["predicate"]["builder"]["id"] = json!(id);
        json["predicate"]["metadata"] = json!({"startedOn": time(start), "finishedOn": time(start + length)});
        let statement = parse(&json).unwrap();
        let origin = &of_rebuild(&statement).origin;
        prop_assert_eq!(origin.builder.as_str(), &id);
        prop_assert_eq!(origin.occasion.finished_on, time(start + length));
        prop_assert_eq!(json_of(&statement), json);
    }
}
