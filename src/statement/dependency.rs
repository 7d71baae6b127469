//! The inputs of a build as SLSA lists them: each with its digest, and the name by which others know it.
//!
//! Names are unique, because each kind has a prefix of its own:
//!
//! ```text
//! inputs/<name>                        a file that the plan reads; inputs/<name>#tar: decompressed
//! sysroots/<name>                      the root file system: the manifest of an OCI image
//! packages/<file>                      a package that it is composed of
//! sysroots/…, lockfiles/…, toolchains/…    a definition, a lockfile, a keyring
//! lockfiles/<name>.lock#dists/<suite>/InRelease    the signed index that a lockfile rests on
//! pgproof, pgproof#source              this program, and the commit that it was built from
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Commit, StatementError, Tool};
use crate::definitions::Definitions;
use crate::digest::Digest;
use crate::lockfile::{Lockfile, Name};
use crate::plan::Plan;

/// The media type of an OCI image manifest (OCI image specification, `media-types.md`).
const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An input of a build: a resource descriptor (in-toto attestation framework v1, `resource_descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dependency {
    /// What it is called here.
    pub name: String,
    /// What it is called everywhere: a package URL, or where it can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests.
    #[serde(default, skip_serializing_if = "DigestSet::is_empty")]
    pub digest: DigestSet,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
}

/// Digests by algorithm (in-toto attestation framework v1, `digest_set.md`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DigestSet {
    /// Of the bytes.
    #[serde(default, with = "bare", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The name of a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

/// What is known of an input besides its digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Annotations {
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// The commit, where it is none that a digest can name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

impl Dependency {
    fn new(name: String, uri: Option<String>, digest: Digest) -> Self {
        let digest = DigestSet { sha256: Some(digest), git_commit: None };
        Self { name, uri, digest, media_type: None, annotations: None }
    }

    fn sized(self, size: u64) -> Self {
        Self { annotations: Some(Annotations { size: Some(size), ..Annotations::default() }), ..self }
    }
}

impl DigestSet {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every input of `plan`, whose definitions are `carried` and whose keyrings have these digests.
pub(super) fn all(
    plan: &Plan,
    carried: &BTreeMap<String, String>,
    keyrings: &BTreeMap<String, Digest>,
    tool: &Tool,
) -> Result<Vec<Dependency>, StatementError> {
    let definitions = Definitions::Carried(carried.clone());
    let mut all = inputs(plan);
    let sysroot = &plan.sysroot;
    let image = format!("pkg:oci/{}@{}", quoted(sysroot.name.as_str()), quoted(&sysroot.manifest.to_string()));
    let image = Dependency::new(format!("sysroots/{}", sysroot.name), Some(image), sysroot.manifest);
    all.push(Dependency { media_type: Some(IMAGE_MANIFEST.to_owned()), ..image });
    let lockfile = definitions.lockfile(&sysroot.name)?;
    all.extend(packages(&lockfile));
    for name in definitions.names("lockfiles", "lock")? {
        let lockfile = definitions.lockfile(&name)?;
        let used = suites(&lockfile, plan);
        all.extend(lockfile.indices.iter().filter(|index| used.contains(&index.suite)).map(|index| {
            let path = format!("dists/{}/InRelease", index.suite);
            let of = Dependency::new(
                format!("lockfiles/{name}.lock#{path}"),
                Some(format!("debian:{path}")),
                index.in_release,
            );
            Dependency { annotations: Some(Annotations { date: Some(index.date), ..Annotations::default() }), ..of }
        }));
    }
    let file = |(path, digest)| Dependency::new(String::clone(path), Some(format!("urn:pgproof:file:{path}")), digest);
    all.extend(keyrings.iter().map(|(path, digest)| file((path, *digest))));
    all.extend(carried.iter().map(|(path, text)| file((path, Digest::of(text.as_bytes())))));
    all.extend(own(tool));
    Ok(all)
}

/// The keyrings that the signatures of the used indices were checked with, as far as the definitions are there.
pub(super) fn keyrings(plan: &Plan, definitions: &Definitions) -> Result<BTreeSet<PathBuf>, StatementError> {
    let mut keyrings = BTreeSet::new();
    let defined = definitions.names("sysroots", "toml")?;
    for name in definitions.names("lockfiles", "lock")?.iter().filter(|name| defined.contains(name)) {
        let used = suites(&definitions.lockfile(name)?, plan);
        let requests = definitions.definition(name)?.indices;
        keyrings.extend(requests.into_iter().filter(|index| used.contains(&index.suite)).map(|index| index.keyring));
    }
    Ok(keyrings)
}

/// The suites whose indices vouch for what `plan` takes from `lockfile`.
fn suites(lockfile: &Lockfile, plan: &Plan) -> BTreeSet<Name> {
    let is_sysroot = lockfile.name == plan.sysroot.name;
    let is_input = |digest: Digest| plan.inputs.iter().any(|input| input.digest == digest);
    let packages = lockfile.packages.iter().filter(|package| is_sysroot || is_input(package.digest));
    let sources = lockfile.sources.iter().filter(|source| is_input(source.digest));
    packages.map(|package| package.index.clone()).chain(sources.map(|source| source.index.clone())).collect()
}

fn inputs(plan: &Plan) -> Vec<Dependency> {
    let mut all = Vec::new();
    for input in &plan.inputs {
        let name = format!("inputs/{}", input.name);
        let uri = input.origins.first().map(ToString::to_string);
        all.push(Dependency::new(name.clone(), uri, input.digest).sized(input.size));
        let tar = input.unpack.as_ref().and_then(|unpack| unpack.tar_digest);
        all.extend(tar.map(|digest| Dependency::new(format!("{name}#tar"), None, digest)));
    }
    all
}

fn packages(lockfile: &Lockfile) -> Vec<Dependency> {
    let pins = lockfile.package_pins();
    let packages = lockfile.packages.iter().zip(pins).map(|(package, pin)| {
        let uri = format!(
            "pkg:deb/debian/{}@{}?arch={}&distro={}",
            quoted(package.name.as_str()),
            quoted(&package.version.to_string()),
            package.architecture,
            package.index
        );
        Dependency::new(format!("packages/{}", pin.name), Some(uri), package.digest).sized(package.size)
    });
    packages.collect()
}

fn own(tool: &Tool) -> [Dependency; 2] {
    let uri = format!("pkg:generic/pgproof@{}", quoted(tool.version.as_str()));
    let git_commit = tool.commit.clean().map(ToOwned::to_owned);
    // A commit that is not all of the source must not be taken for its digest.
    let commit = git_commit.is_none().then(|| tool.commit.clone());
    let source = Dependency {
        name: "pgproof#source".to_owned(),
        uri: Some(uri.clone()),
        digest: DigestSet { sha256: None, git_commit },
        media_type: None,
        annotations: commit.map(|commit| Annotations { commit: Some(commit), ..Annotations::default() }),
    };
    [Dependency::new("pgproof".to_owned(), Some(uri), tool.binary), source]
}

/// `text` as a package URL has it (purl specification, character encoding): the colon stays as it is.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut quoted, byte| {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            quoted.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            write!(quoted, "%{byte:02X}").ok();
        }
        quoted
    })
}

/// A digest without its algorithm's name, which the key beside it is.
mod bare {
    use super::{Deserialize, Deserializer, Digest, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => serializer.serialize_str(&digest.hex()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Digest::from_hex(&hex).map(Some).map_err(serde::de::Error::custom)
    }
}
