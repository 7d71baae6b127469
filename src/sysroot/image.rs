//! The OCI image around a layer: configuration and manifest, as canonical JSON.
//!
//! Writes an image of one plain-tar layer, and takes nothing else for one.

use std::io::Read as _;

use jiff::Timestamp;
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, ImageConfiguration, ImageConfigurationBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, Os, RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};

use super::limits;
use crate::digest::Digest;
use crate::store::{Blob, Store, StoreError};
use crate::target::Triple;

/// The bytes of an image's configuration and manifest.
pub(super) struct Image {
    pub(super) configuration: Vec<u8>,
    pub(super) manifest: Vec<u8>,
}

/// An image in a store: its parts are there and fit together.
pub(super) struct Found {
    pub(super) layer: Blob,
    pub(super) target: Triple,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ImageError {
    /// A part of it is not in the store, or cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part cannot be read, or is damaged.
    #[error("its {part} {digest} cannot be read")]
    Unreadable {
        /// `manifest` or `configuration`.
        part: &'static str,
        /// The part.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// A part is larger than any.
    #[error("its {part} has {size} bytes, which is more than {limit}", limit = limits::JSON_BYTES)]
    TooLarge {
        /// `manifest` or `configuration`.
        part: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// A part is not what the OCI image specification says.
    #[error("its {part} is malformed")]
    Malformed {
        /// `manifest` or `configuration`.
        part: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is an image, but not one that can be a root file system here.
    #[error("{0}")]
    Unfit(&'static str),
    /// The layer in the store has another size than the manifest says.
    #[error("its layer {layer} has {found} bytes in the store, its manifest says {expected}")]
    LayerSize {
        /// The layer.
        layer: Digest,
        /// Bytes in the store.
        found: u64,
        /// Bytes in the manifest.
        expected: u64,
    },
    /// Its JSON cannot be written.
    #[error("it cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The OCI types miss a field.
    #[error("it cannot be described")]
    Describe(#[from] oci_spec::OciSpecError),
}

impl Image {
    /// The image of one layer.
    pub(super) fn of(layer: Digest, size: u64, target: Triple, created: Timestamp) -> Result<Self, ImageError> {
        let root = RootFsBuilder::default().typ("layers").diff_ids(vec![layer.to_string()]).build()?;
        let configuration = ImageConfigurationBuilder::default()
            .created(created.to_string())
            .architecture(architecture(target))
            .os(Os::Linux)
            .config(ConfigBuilder::default().build()?)
            .rootfs(root)
            .build()?;
        let configuration = serde_json_canonicalizer::to_vec(&configuration)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, Digest::of(&configuration), configuration.len() as u64)?)
            .layers(vec![descriptor(MediaType::ImageLayer, layer, size)?])
            .build()?;
        Ok(Self { configuration, manifest: serde_json_canonicalizer::to_vec(&manifest)? })
    }
}

/// Reads the image whose manifest is `manifest`; `None` if a part of it is not in the store.
pub(super) fn find(store: &Store, manifest: Digest) -> Result<Option<Found>, ImageError> {
    let Some(blob) = store.find(manifest)? else { return Ok(None) };
    let manifest: ImageManifest = json(store, blob, "manifest")?;
    let [layer] = manifest.layers().as_slice() else {
        return Err(ImageError::Unfit("it has not one layer but several or none"));
    };
    if manifest.schema_version() != SCHEMA_VERSION || manifest.media_type() != &Some(MediaType::ImageManifest) {
        return Err(ImageError::Unfit("its manifest is not an OCI image manifest of schema version 2"));
    }
    if manifest.config().media_type() != &MediaType::ImageConfig || layer.media_type() != &MediaType::ImageLayer {
        return Err(ImageError::Unfit("its layer is not plain tar with an OCI image configuration"));
    }
    let (Ok(layer_digest), Ok(configuration_digest)) =
        (layer.digest().as_ref().parse::<Digest>(), manifest.config().digest().as_ref().parse::<Digest>())
    else {
        return Err(ImageError::Unfit("its manifest has digests that are not SHA-256"));
    };
    let (Some(layer_blob), Some(blob)) = (store.find(layer_digest)?, store.find(configuration_digest)?) else {
        return Ok(None);
    };
    if layer_blob.size() != layer.size() {
        let (found, expected) = (layer_blob.size(), layer.size());
        return Err(ImageError::LayerSize { layer: layer_digest, found, expected });
    }
    let configuration: ImageConfiguration = json(store, blob, "configuration")?;
    if configuration.rootfs().typ() != "layers" || *configuration.rootfs().diff_ids() != [layer_digest.to_string()] {
        return Err(ImageError::Unfit("its configuration is about another layer than its manifest"));
    }
    let target = Triple::ALL.into_iter().find(|target| architecture(*target) == *configuration.architecture());
    match target {
        Some(target) if *configuration.os() == Os::Linux => Ok(Some(Found { layer: layer_blob, target })),
        _ => Err(ImageError::Unfit("it is for a platform that pgproof does not know")),
    }
}

fn json<T: serde::de::DeserializeOwned>(store: &Store, blob: Blob, part: &'static str) -> Result<T, ImageError> {
    if blob.size() > limits::JSON_BYTES {
        return Err(ImageError::TooLarge { part, size: blob.size() });
    }
    let mut bytes = Vec::new();
    let read = store.read(blob)?.read_to_end(&mut bytes);
    read.map_err(|source| ImageError::Unreadable { part, digest: blob.digest(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ImageError::Malformed { part, source })
}

fn descriptor(media_type: MediaType, digest: Digest, size: u64) -> Result<Descriptor, ImageError> {
    Ok(Descriptor::new(media_type, size, digest.hex().parse::<Sha256Digest>()?))
}

/// The platform as OCI names it.
fn architecture(target: Triple) -> Arch {
    match target {
        Triple::X86_64UnknownLinuxGnu => Arch::Amd64,
        Triple::Aarch64UnknownLinuxGnu => Arch::ARM64,
    }
}
