//! What a release consists of is told in SPDX and CycloneDX: all of it, the same every time, and in a form that other people's
//! programs accept; and an archive that lies about itself is refused.

mod hostile;
mod published;
mod validators;

pub(crate) use published::published;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::Path;

use pgproof::compression::Compression;
use pgproof::definitions::Definitions;
use pgproof::digest::Digest;
use pgproof::plan::postgresql::{LICENCES, licence_of};
use pgproof::sbom::{self, Documents, SbomError, Sealed};
use pgproof::target::{Target, Triple};
use serde_json::{Value, json};

const NAME: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";

/// The time of all entries of the fixture.
const EPOCH: u64 = 1_786_300_170;

const TARGET: Target =
    Target { version: pgproof::target::Version { major: 17, minor: 11 }, triple: Triple::X86_64UnknownLinuxGnu };

/// Files by their path below the top-level directory.
type Files = BTreeMap<String, Vec<u8>>;

fn files<const N: usize>(files: [(&str, &str); N]) -> Files {
    files.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec())).into()
}

/// An entry of a manifest.
fn library(file: &str, package: &str, source: &str, version: &str) -> Value {
    let purl =
        |name: &str, arch| format!("pkg:deb/debian/{}@{version}?arch={arch}&distro=bookworm", name.replace('+', "%2B"));
    json!({
        "file": file, "package": package, "version": version, "purl": purl(package, "amd64"),
        "source": source, "sourceVersion": version, "sourcePurl": purl(source, "source"),
        "licence": format!("share/licenses/{package}/copyright"),
    })
}

fn manifest(name: &str, libraries: &[Value]) -> Value {
    json!({ "version": 1, "name": name, "licence": "share/licenses/postgresql/COPYRIGHT", "libraries": libraries })
}

/// An archive with PostgreSQL, and a library of each licence that is known and one that is not.
fn release(name: &str) -> Files {
    let mut files = files([
        ("bin/postgres", "a server\n"),
        ("share/licenses/common/GPL-3", "a licence that several packages share\n"),
        ("share/licenses/postgresql/COPYRIGHT", "PostgreSQL's own\n"),
    ]);
    let known = LICENCES.iter().flat_map(|known| known.packages.iter().map(|package| (*package, known.source)));
    let mut libraries = Vec::new();
    for (package, source) in known.chain([("libodd1", "odd"), ("libodd-extra1", "odd")]) {
        let file = format!("lib/{package}.so");
        libraries.push(library(&file, package, source, "1.2-3"));
        files.insert(file, format!("{package}\n").into_bytes());
        let terms = format!("the terms of {source}, as nobody else has them\n");
        files.insert(format!("share/licenses/{package}/copyright"), terms.into_bytes());
    }
    files.insert("MANIFEST.json".to_owned(), manifest(name, &libraries).to_string().into_bytes());
    files
}

/// The archives of a release: role and files.
fn archives() -> Vec<(String, Files)> {
    let client = format!("{NAME}-client");
    let mut few = release(&client);
    few.remove("bin/postgres");
    few.insert("bin/psql".to_owned(), b"a client\n".to_vec());
    vec![
        (NAME.to_owned(), release(NAME)),
        (client, few),
        (format!("{NAME}-debug"), files([("bin/.debug/postgres.debug", "where its lines are\n")])),
        (format!("{NAME}-pl"), files([("lib/plperl.so", "a language\n")])),
    ]
}

/// The archive's bytes, compressed.
fn packed(name: &str, files: &Files) -> Vec<u8> {
    // Not compressed, so that no other compressor gives other bytes.
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none()));
    for (path, content) in files {
        tar.append_data(&mut header(content.len()), Path::new(name).join(path), &**content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn header(size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(EPOCH);
    header.set_size(size as u64);
    header
}

fn sealed(name: &str, files: &Files) -> Sealed<Cursor<Vec<u8>>> {
    sealed_bytes(name, packed(name, files))
}

fn sealed_bytes(name: &str, bytes: Vec<u8>) -> Sealed<Cursor<Vec<u8>>> {
    Sealed { name: name.parse().unwrap(), compression: Compression::Gzip, bytes: Cursor::new(bytes) }
}

fn taken(archives: &[(String, Files)]) -> Result<Documents, SbomError> {
    let source = sbom::source(&Definitions::BuiltIn, TARGET).unwrap();
    sbom::of_release(archives.iter().map(|(name, files)| sealed(name, files)).collect(), Some(&source))
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

#[test]
fn every_file_is_told_with_what_it_belongs_to() {
    let archives = archives();
    let documents = taken(&archives).unwrap();
    let (spdx, cyclonedx) = (parsed(&documents.spdx), parsed(&documents.cyclonedx));
    let relations: Vec<(&str, &str, &str)> = spdx["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["spdxElementId", "relationshipType", "relatedSpdxElement"].map(|key| one[key].as_str().unwrap()))
        .map(|[from, kind, to]| (from, kind, to))
        .collect();
    for (name, files) in &archives {
        let archive = format!("SPDXRef-Archive-{}", name.replace('_', "-"));
        assert!(relations.contains(&("SPDXRef-DOCUMENT", "DESCRIBES", &archive)), "{name}");
        let nested =
            cyclonedx["components"].as_array().unwrap().iter().find(|one| one["name"] == format!("{name}.tar.gz"));
        let nested = nested.unwrap()["components"].as_array().unwrap();
        assert_eq!(nested.len(), files.len(), "{name}");
        for (path, content) in files {
            let whole = format!("{name}/{path}");
            let file = spdx["files"].as_array().unwrap().iter().find(|file| file["fileName"] == format!("./{whole}"));
            let file = file.unwrap_or_else(|| panic!("{whole} is not listed"));
            let sha256 = Digest::of(content).hex();
            assert_eq!(file["checksums"][1], json!({"algorithm": "SHA256", "checksumValue": sha256}), "{whole}");
            let also = nested.iter().find(|one| one["name"] == whole).unwrap();
            assert_eq!(also["hashes"], json!([{"alg": "SHA-256", "content": sha256}]), "{whole}");

            let id = file["SPDXID"].as_str().unwrap();
            let mut holders: Vec<&str> = relations.iter().filter(|one| one.2 == id).map(|one| one.0).collect();
            holders.retain(|holder| *holder != archive);
            let package = path
                .strip_prefix("lib/")
                .and_then(|path| path.strip_suffix(".so"))
                .or_else(|| path.strip_prefix("share/licenses/")?.strip_suffix("/copyright"))
                .filter(|package| *package != "plperl");
            let expected = match (package, path.as_str()) {
                (Some(package), _) => vec![format!("SPDXRef-Library-{}", package.replace('+', "-"))],
                (None, "MANIFEST.json" | "share/licenses/common/GPL-3") => vec![],
                (None, _) => vec!["SPDXRef-postgresql".to_owned()],
            };
            assert_eq!(holders, expected, "{whole}");
        }
    }
}

#[test]
fn packages_are_told_with_where_they_are_from_and_under_which_terms() {
    let documents = taken(&archives()).unwrap();
    let spdx = parsed(&documents.spdx);
    let package = |id: &str| {
        let packages = spdx["packages"].as_array().unwrap();
        packages.iter().find(|package| package["SPDXID"] == format!("SPDXRef-{id}")).unwrap().clone()
    };
    let postgresql = package("postgresql");
    assert_eq!((&postgresql["versionInfo"], &postgresql["licenseDeclared"]), (&"17.11".into(), &"PostgreSQL".into()));
    let references: Vec<_> = postgresql["externalRefs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["referenceLocator"].as_str().unwrap())
        .collect();
    assert_eq!(references, ["cpe:2.3:a:postgresql:postgresql:17.11:*:*:*:*:*:*:*", "pkg:generic/postgresql@17.11"]);
    let tarball = package("Source-postgresql");
    let source = sbom::source(&Definitions::BuiltIn, TARGET).unwrap();
    assert_eq!(tarball["checksums"][0]["checksumValue"], source.digest.hex());
    assert_eq!(tarball["downloadLocation"], "https://ftp.postgresql.org/pub/source/v17.11/postgresql-17.11.tar.bz2");
    assert_eq!(package("Library-libzstd1")["licenseDeclared"], "(BSD-3-Clause OR GPL-2.0-only) AND MIT");
    assert_eq!(
        package("Library-libstdc--6")["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libstdc%2B%2B6@1.2-3?arch=amd64&distro=bookworm"
    );
    // Two packages of one source have one text.
    let odd = package("Library-libodd1")["licenseDeclared"].as_str().unwrap().to_owned();
    assert!(odd.starts_with("LicenseRef-odd-"), "{odd}");
    assert_eq!(package("Library-libodd-extra1")["licenseDeclared"], odd);
    let texts = spdx["hasExtractedLicensingInfos"].as_array().unwrap();
    assert_eq!(texts.len(), 1);
    assert_eq!(
        (&texts[0]["licenseId"], &texts[0]["extractedText"]),
        (&odd.as_str().into(), &"the terms of odd, as nobody else has them\n".into())
    );
    // What holds for an archive is what holds for all that is in it.
    let whole = package("Archive-postgresql-17.11.0-x86-64-unknown-linux-gnu");
    let terms = whole["licenseDeclared"].as_str().unwrap();
    for part in ["PostgreSQL", "Zlib", "(LGPL-3.0-or-later OR GPL-2.0-or-later)", odd.as_str()] {
        assert!(terms.split(" AND ").any(|term| term == part), "{part} is not in {terms}");
    }
    assert_eq!(whole["checksums"][0]["checksumValue"], Digest::of(&packed(NAME, &release(NAME))).hex());
    assert_eq!(whole["checksums"][1]["algorithm"], "SHA512");
}

/// The relation between libraries is what the loader does, not what somebody wrote down.
#[test]
fn what_is_linked_with_what_is_read_from_the_files() {
    if !crate::check::is_x86_64() {
        return;
    }
    let shop = crate::check::Workshop::new();
    let mut files = release(NAME);
    files.insert("lib/libgreet.so.1".to_owned(), shop.library(&[]));
    files.insert("bin/greet".to_owned(), shop.program(&[]));
    files.insert("share/licenses/libgreet1/copyright".to_owned(), b"free\n".to_vec());
    let libraries = [library("lib/libgreet.so.1", "libgreet1", "greet", "1:1.0-1~deb12u1")];
    files.insert("MANIFEST.json".to_owned(), manifest(NAME, &libraries).to_string().into_bytes());
    let documents = taken(&[(NAME.to_owned(), files)]).unwrap();
    let relations = parsed(&documents.spdx)["relationships"].clone();
    let depends: Vec<&Value> =
        relations.as_array().unwrap().iter().filter(|one| one["relationshipType"] == "DEPENDS_ON").collect();
    let expected = json!({
        "spdxElementId": "SPDXRef-postgresql", "relatedSpdxElement": "SPDXRef-Library-libgreet1", "relationshipType": "DEPENDS_ON",
    });
    assert_eq!(depends, [&expected]);
    let cyclonedx = parsed(&documents.cyclonedx);
    let graph = cyclonedx["dependencies"].as_array().unwrap();
    let of = |id: &str| graph.iter().find(|one| one["ref"] == id).map(|one| &one["dependsOn"]);
    assert_eq!(of("postgresql"), Some(&json!(["Library-libgreet1"])));
    assert_eq!(of("Library-libgreet1"), Some(&json!([])));
}

/// What everybody gets. A change of the documents changes it, on purpose only; `FORMAT` in src/sbom.rs then has to change, too.
#[test]
fn the_same_archives_give_the_same_bytes() {
    let mut archives = archives();
    let first = taken(&archives).unwrap();
    archives.reverse();
    assert_eq!(taken(&archives).unwrap(), first);
    assert_eq!(first.name, NAME);
    let digests = [&first.spdx, &first.cyclonedx, first.text.as_bytes()].map(|bytes| Digest::of(bytes).to_string());
    insta::assert_snapshot!(digests.join("\n"), @"
    sha256:566fa30ed4c3d8b29ea3107dc1b715818d03182b9eeb124450ebe9023c1ae6e1
    sha256:fb1d0a6981ee5e89a5299b94b6a052a3530ccb79393db6f508a47738414bf27f
    sha256:0fbb5605ce847867294af9bf3ad80bb46e0e618a5d82fdb01e148d10ba008035
    ");
    assert_eq!(parsed(&first.spdx)["creationInfo"]["created"], "2026-08-09T18:29:30Z");

    // Another content is another document, not another version of the same.
    archives[3].1.insert("share/more".to_owned(), b"more\n".to_vec());
    let other = taken(&archives).unwrap();
    let numbers = |documents: &Documents| {
        (parsed(&documents.spdx)["documentNamespace"].clone(), parsed(&documents.cyclonedx)["serialNumber"].clone())
    };
    let (first, other) = (numbers(&first), numbers(&other));
    assert!(first.0 != other.0 && first.1 != other.1);
}

#[test]
fn people_read_a_line_for_each_component() {
    let libraries = [
        library("lib/libz.so.1", "zlib1g", "zlib", "1:1.2.13.dfsg-1"),
        library("lib/libodd.so", "libodd1", "odd", "2+b1"),
    ];
    let mut files = files([
        ("bin/postgres", "a server\n"),
        ("lib/libodd.so", "odd\n"),
        ("lib/libz.so.1", "zlib\n"),
        ("share/licenses/libodd1/copyright", "ours\n"),
        ("share/licenses/postgresql/COPYRIGHT", "PostgreSQL's own\n"),
        ("share/licenses/zlib1g/copyright", "zlib's\n"),
    ]);
    let text = manifest(NAME, &libraries).to_string().replace("@2+b1", "@2%2Bb1");
    files.insert("MANIFEST.json".to_owned(), text.into_bytes());
    insta::assert_snapshot!(taken(&[(NAME.to_owned(), files)]).unwrap().text, @"
    postgresql-17.11.0-x86_64-unknown-linux-gnu
    postgresql-17.11.0-x86_64-unknown-linux-gnu.tar.gz: 7 files of 3 components
    component            version          licence                          package URL
    postgresql           17.11            PostgreSQL                       pkg:generic/postgresql@17.11
    libodd1              2+b1             LicenseRef-odd-13102ad5e68a577a  pkg:deb/debian/libodd1@2%2Bb1?arch=amd64&distro=bookworm
    zlib1g               1:1.2.13.dfsg-1  Zlib                             pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=bookworm
    odd (source)         2+b1             NOASSERTION                      pkg:deb/debian/odd@2%2Bb1?arch=source&distro=bookworm
    postgresql (source)  17.11            PostgreSQL                       pkg:generic/postgresql@17.11?checksum=sha256:dd27f2b3c59e73ed14aa3324901242bf69a032a6347805f274e6260322d42979&download_url=https:%2F%2Fftp.postgresql.org%2Fpub%2Fsource%2Fv17.11%2Fpostgresql-17.11.tar.bz2
    zlib (source)        1:1.2.13.dfsg-1  NOASSERTION                      pkg:deb/debian/zlib@1:1.2.13.dfsg-1?arch=source&distro=bookworm
    ");
}

#[test]
fn the_environment_is_told_package_by_package() {
    let documents = sbom::of_environment(&Definitions::BuiltIn, TARGET, None).unwrap();
    assert_eq!(documents, sbom::of_environment(&Definitions::BuiltIn, TARGET, None).unwrap());
    assert_eq!(documents.name, format!("{NAME}.environment"));
    let lockfile = Definitions::BuiltIn.lockfile(&"bookworm-amd64".parse().unwrap()).unwrap();
    let (spdx, cyclonedx) = (parsed(&documents.spdx), parsed(&documents.cyclonedx));
    for package in &lockfile.packages {
        let version = package.version.as_str().replace('+', "%2B");
        let (name, architecture) = (package.name.as_str().replace('+', "%2B"), &package.architecture);
        let purl = format!("pkg:deb/debian/{name}@{version}?arch={architecture}&distro=bookworm");
        let found = |of: &Value| {
            of.as_array().unwrap().iter().find(|one| one["name"] == package.name.as_str()).cloned().unwrap()
        };
        let (one, other) = (found(&spdx["packages"]), found(&cyclonedx["components"]));
        assert_eq!(
            (&one["externalRefs"][0]["referenceLocator"], &other["purl"]),
            (&purl.as_str().into(), &purl.as_str().into())
        );
        assert_eq!(one["checksums"][0]["checksumValue"], package.digest.hex(), "{name}");
        assert_eq!(other["hashes"][0]["content"], package.digest.hex(), "{name}");
        let place = one["downloadLocation"].as_str().unwrap();
        assert!(place.starts_with("https://snapshot.debian.org/archive/debian/2026"), "{place}");
        assert!(one["comment"].as_str().unwrap().ends_with(&format!("{} bytes.", package.size)), "{one}");
    }
    let kinds = |kind: &str| {
        let relations = spdx["relationships"].as_array().unwrap();
        let from = relations
            .iter()
            .filter(|one| one["relationshipType"] == kind)
            .map(|one| one["spdxElementId"].as_str().unwrap());
        from.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(kinds("BUILD_TOOL_OF").contains(&"SPDXRef-Package-gcc-amd64".to_owned()));
    assert!(kinds("BUILD_DEPENDENCY_OF").contains(&"SPDXRef-Package-libicu-dev-amd64".to_owned()));
    assert_eq!(kinds("CONTAINS").len(), lockfile.packages.len());
    let wrong = Target { version: "9.6".parse().unwrap(), ..TARGET };
    let error = sbom::of_environment(&Definitions::BuiltIn, wrong, None).unwrap_err();
    assert!(error.to_string().starts_with("PostgreSQL 9.6 for x86_64-unknown-linux-gnu is not locked"), "{error}");
}

#[test]
fn pgproof_tells_of_itself() {
    let documents = sbom::of_pgproof();
    assert_eq!(documents, sbom::of_pgproof());
    let lock: toml::Value = toml::from_str(include_str!("../../Cargo.lock")).unwrap();
    let spdx = parsed(&documents.spdx);
    let packages = spdx["packages"].as_array().unwrap();
    for locked in lock["package"].as_array().unwrap() {
        let [name, version] = ["name", "version"].map(|key| locked[key].as_str().unwrap());
        let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
        let found = packages.iter().find(|one| one["externalRefs"][0]["referenceLocator"] == purl);
        let found = found.unwrap_or_else(|| panic!("{purl} is not there"));
        let checksum = locked.get("checksum").and_then(toml::Value::as_str);
        assert_eq!(found["checksums"][0]["checksumValue"].as_str(), checksum, "{purl}");
    }
    // What only the tests use is none of the program's.
    let cyclonedx = parsed(&documents.cyclonedx);
    let scope = |name: &str| {
        let components = cyclonedx["components"].as_array().unwrap();
        components.iter().find(|one| one["name"] == name).unwrap()["scope"].clone()
    };
    assert_eq!((scope("insta"), scope("clap")), ("excluded".into(), Value::Null));
    let graph = cyclonedx["dependencies"].as_array().unwrap();
    let own = &graph.iter().find(|one| one["ref"] == "pgproof").unwrap()["dependsOn"];
    let names: Vec<_> = own.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("clap-")) && !names.iter().any(|name| name.starts_with("insta-")));
}

/// Every entry is used, is an expression, and says what the copyright files in the archive say.
pub(crate) fn licences_are_declared_as_shipped(files: &BTreeMap<String, Vec<u8>>, top: &str) {
    let manifest = parsed(&files[&format!("{top}/MANIFEST.json")]);
    let bundled: Vec<[&str; 3]> = manifest["libraries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|library| ["source", "package", "licence"].map(|key| library[key].as_str().unwrap()))
        .collect();
    for known in LICENCES {
        for package in known.packages {
            let library = bundled.iter().find(|[source, name, _]| source == &known.source && name == package);
            let [.., licence] = library.unwrap_or_else(|| panic!("{package} of {} is not bundled", known.source));
            let text = String::from_utf8_lossy(&files[&format!("{top}/{licence}")]);
            for words in known.says {
                assert!(text.contains(words), "{package}'s copyright file does not say {words:?}");
            }
        }
    }
    let known = bundled.iter().filter(|[source, package, _]| licence_of(source, package).is_some()).count();
    assert!(known * 3 > bundled.len(), "{known} of {}", bundled.len());
}

#[test]
fn licences_are_sorted_and_no_package_has_two() {
    assert!(LICENCES.windows(2).all(|pair| pair[0].source < pair[1].source));
    let mut packages: Vec<_> = LICENCES.iter().flat_map(|known| known.packages).collect();
    packages.sort();
    assert!(packages.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(LICENCES.iter().all(|known| !known.says.is_empty()));
    assert_eq!(licence_of("zlib", "libssl3"), None);
}

/// A gzip file of these bytes.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
