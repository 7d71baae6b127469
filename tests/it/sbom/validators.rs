//! The documents in the hands of those who check such documents.

use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::definitions::Definitions;
use pgproof::sbom::{self, Documents, Form};

use super::{TARGET, archives, taken};
use crate::gate::{self, Need};

/// Holds each CycloneDX document against the official schema, and its references against its components.
const CYCLONEDX: &str = "
import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for path in sys.argv[1:]:
    with open(path, encoding='utf-8') as file:
        text = file.read()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        sys.exit(f'{path}: {error}')
    bom = Bom.from_json(json.loads(text))
    bom.validate()
    print('valid', len(bom.components))
";

/// What the programs say of a file must be what they say of a good one: they exit with 0 either way, some of them.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), format!("{stdout}{stderr}"))
}

/// Whether NTIA's minimum elements are there; the suppliers of crates are not in a lockfile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Minimum {
    Met,
    ButSuppliers,
}

/// All validators accept the documents, as files.
pub(crate) fn accept(spdx: &Path, cyclonedx: &Path, minimum: Minimum) {
    let (fine, text) = said(Command::new("pyspdxtools").arg("-i").arg(spdx));
    assert!(fine && text.is_empty(), "pyspdxtools of {}: {text}", spdx.display());
    let (_, text) = said(Command::new("ntia-checker").arg("--file").arg(spdx));
    for element in ["names", "versions", "identifiers", "suppliers"] {
        let met = minimum == Minimum::Met || element != "suppliers";
        let line = text.lines().find(|line| line.starts_with(&format!("All component {element} provided?")));
        let line = line.unwrap_or_else(|| panic!("ntia-checker: {text}"));
        assert_eq!(line.ends_with("True"), met, "ntia-checker of {}: {text}", spdx.display());
    }
    assert_eq!(text.contains("Conformant: True"), minimum == Minimum::Met, "{text}");
    let (fine, text) = said(Command::new("python3").args(["-c", CYCLONEDX]).arg(cyclonedx));
    assert!(fine && text.starts_with("valid "), "cyclonedx of {}: {text}", cyclonedx.display());
}

fn write(documents: &Documents, directory: &Path) -> [PathBuf; 2] {
    [Form::Spdx, Form::CycloneDx].map(|form| {
        let path = directory.join(format!("{}{}", documents.name, form.ending()));
        std::fs::write(&path, documents.form(form)).unwrap();
        path
    })
}

#[test]
fn validators_accept_every_document() {
    if !gate::open(Need::Slow) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let environment = sbom::of_environment(&Definitions::BuiltIn, TARGET, None).unwrap();
    for (documents, minimum) in [
        (taken(&archives()).unwrap(), Minimum::Met),
        (environment, Minimum::Met),
        (sbom::of_pgproof(), Minimum::ButSuppliers),
    ] {
        let [spdx, cyclonedx] = write(&documents, directory.path());
        accept(&spdx, &cyclonedx, minimum);
    }
}

/// A validator that accepts everything would prove nothing.
#[test]
fn validators_refuse_what_is_wrong() {
    if !gate::open(Need::Slow) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let documents = taken(&archives()).unwrap();
    let spoil = |bytes: &[u8], good: &str, bad: &str| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(good), "{good}");
        text.replacen(good, bad, 1)
    };
    let path = directory.path().join("bad.spdx.json");
    for (good, bad) in [("\"Zlib\"", "\"Zlob\""), ("\"SHA1\"", "\"SHA2\""), ("SPDXRef-postgresql", "SPDXRef-nothing")] {
        std::fs::write(&path, spoil(&documents.spdx, good, bad)).unwrap();
        let (fine, text) = said(Command::new("pyspdxtools").arg("-i").arg(&path));
        assert!(!fine, "{bad}: {text}");
    }
    let path = directory.path().join("bad.cdx.json");
    for (good, bad) in [("\"Zlib\"", "\"Zlob\""), ("\"library\"", "\"lib\""), ("urn:uuid:", "uuid:")] {
        std::fs::write(&path, spoil(&documents.cyclonedx, good, bad)).unwrap();
        let (fine, text) = said(Command::new("python3").args(["-c", CYCLONEDX]).arg(&path));
        assert!(!fine, "{bad}: {text}");
    }
}
