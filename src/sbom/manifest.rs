//! `MANIFEST.json`: what an archive says of the libraries that it brings.
//!
//! It may come from a stranger: it is parsed once, into types that cannot hold a path that leads out or a version that is
//! none, and what names a package twice must name the same one.

use std::collections::BTreeSet;

use packageurl::PackageUrl;
use serde::Deserialize;

use crate::lockfile::{DebianVersion, Name};
use crate::plan::RelativePath;
use crate::text::printable;

/// Where it is, below the archive's top-level directory.
pub(super) const PATH: &str = "MANIFEST.json";

/// The format's version: the `version` field of every manifest.
const FORMAT: u32 = 1;

/// The largest manifest, in bytes: that of PostgreSQL takes 20 KiB.
pub(super) const SIZE_LIMIT: usize = 1 << 20;

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ManifestError {
    /// It is larger than any manifest.
    #[error("it is larger than {SIZE_LIMIT} bytes")]
    TooLarge,
    /// It is not of the format.
    #[error("it is malformed")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version of the format.
    #[error("it has format version {0}, this pgproof reads {FORMAT}")]
    Format(u32),
    /// It is another archive's.
    #[error("it is of {0}")]
    Name(Name),
    /// A file is listed twice.
    #[error("it lists {0} twice")]
    Twice(RelativePath),
    /// A package URL that names something else than the fields beside it.
    #[error("{purl:?} is not the package URL of Debian's {name} {version}")]
    Purl {
        /// The package URL.
        purl: String,
        /// The package.
        name: Name,
        /// Its version.
        version: DebianVersion,
    },
    /// A file that is not there.
    #[error("it names {0}, which is no file of the archive")]
    Missing(RelativePath),
}

/// A manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Manifest {
    version: u32,
    name: Name,
    /// PostgreSQL's own licence.
    pub(super) licence: RelativePath,
    pub(super) libraries: Vec<Library>,
    /// What is in another archive because it needs more of the host. Nothing here needs it.
    #[serde(default)]
    #[expect(dead_code, reason = "parsed so that a manifest which is none is refused")]
    separate: Option<Separate>,
}

/// A library that PostgreSQL did not make itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Library {
    /// Where it is, below the top-level directory.
    pub(super) file: RelativePath,
    /// The Debian package that it came with.
    pub(super) package: Name,
    pub(super) version: DebianVersion,
    pub(super) purl: String,
    /// The source package of that.
    pub(super) source: Name,
    pub(super) source_version: DebianVersion,
    pub(super) source_purl: String,
    /// The package's copyright file.
    pub(super) licence: RelativePath,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that a manifest which is none is refused")]
struct Separate {
    archive: Name,
    modules: Vec<Module>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that a manifest which is none is refused")]
struct Module {
    file: RelativePath,
    needs: Vec<String>,
}

impl Manifest {
    /// Parses and checks the manifest of the archive whose top-level directory is `name`.
    pub(super) fn parse(json: &[u8], name: &Name) -> Result<Self, ManifestError> {
        let mut manifest: Self = serde_json::from_slice(json)?;
        if manifest.version != FORMAT {
            return Err(ManifestError::Format(manifest.version));
        }
        if manifest.name != *name {
            return Err(ManifestError::Name(manifest.name));
        }
        let mut seen = BTreeSet::new();
        for library in &mut manifest.libraries {
            if !seen.insert(library.file.as_str().to_owned()) {
                return Err(ManifestError::Twice(library.file.clone()));
            }
            library.purl = canonical(&library.purl, &library.package, &library.version)?;
            library.source_purl = canonical(&library.source_purl, &library.source, &library.source_version)?;
        }
        Ok(manifest)
    }
}

/// A Debian package's URL in its canonical form, if that is what `purl` is.
fn canonical(purl: &str, name: &Name, version: &DebianVersion) -> Result<String, ManifestError> {
    let parsed = purl.parse::<PackageUrl<'_>>().ok().filter(|parsed| {
        let plain = |text: &str| text.parse::<Name>().is_ok();
        parsed.ty() == "deb"
            && parsed.namespace() == Some("debian")
            && parsed.name() == name.as_str()
            && parsed.version() == Some(version.to_string().as_str())
            && parsed.subpath().is_none()
            && parsed.qualifiers().len() <= 8
            && parsed.qualifiers().iter().all(|(key, value)| plain(key) && plain(value))
    });
    parsed.map(|parsed| parsed.to_string()).ok_or_else(|| ManifestError::Purl {
        purl: printable(&purl.chars().take(200).collect::<String>()),
        name: name.clone(),
        version: version.clone(),
    })
}
