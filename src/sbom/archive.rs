//! One archive, read once to its end: its files with their digests, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA512};

use super::SbomError;
use super::inventory::{Algorithm, Sum};
use super::manifest::{self, Manifest, ManifestError};
use crate::check::{self, Role};
use crate::compression::Compression;
use crate::digest::Hasher;
use crate::lockfile::Name;
use crate::tree::{self, Limits, Member, Reader, Refusal, TreeError};

/// The largest licence text that is taken over, in bytes; all of them together may be [`TEXTS_LIMIT`].
const TEXT_LIMIT: usize = 1 << 20;

/// All licence texts of an archive together, in bytes: those of PostgreSQL's libraries take 1 MB.
const TEXTS_LIMIT: usize = 16 << 20;

/// The largest program or library that is asked for what it needs, in bytes. It is held in memory.
const ELF_LIMIT: usize = 256 << 20;

/// Names of libraries that all programs of an archive together may need.
const NEEDED_LIMIT: usize = 1 << 20;

/// An archive as it is published, compressed.
#[derive(Debug)]
pub struct Sealed<R> {
    /// Its one top-level directory.
    pub name: Name,
    /// How it is compressed.
    pub compression: Compression,
    /// Its bytes.
    pub bytes: R,
}

/// An archive that has been read.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) name: Name,
    pub(super) role: Role,
    pub(super) file_name: String,
    pub(super) sums: Vec<Sum>,
    pub(super) size: u64,
    /// The newest time in it, in seconds since 1970.
    pub(super) modified: u64,
    /// Its regular files, by their path below the top-level directory.
    pub(super) files: BTreeMap<String, Content>,
    pub(super) manifest: Option<Manifest>,
    /// The texts under `share/licenses`.
    pub(super) licences: BTreeMap<String, String>,
}

/// A regular file.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) sums: Vec<Sum>,
    /// The libraries that it needs, if it is a program or a library.
    pub(super) needed: Vec<String>,
}

impl Archive {
    /// Reads all of it.
    pub(super) fn read<R: Read>(sealed: Sealed<R>) -> Result<Self, SbomError> {
        let Sealed { name, compression, bytes } = sealed;
        let failed = |source| SbomError::Tar { name: name.clone(), source };
        let mut raw = Raw::new(bytes);
        let mut archive = Self {
            role: Role::of(&name),
            file_name: format!("{name}{}", ending(compression)),
            name: name.clone(),
            sums: Vec::new(),
            size: 0,
            modified: 0,
            files: BTreeMap::new(),
            manifest: None,
            licences: BTreeMap::new(),
        };
        {
            let tar = compression.reader(&mut raw).map_err(|source| failed(TreeError::Read { source }))?;
            archive.fill(&mut Reader::new(tar, Limits::OUTPUT))?;
        }
        // Decompressors stop where they see an end; the digest is of all bytes.
        io::copy(&mut raw, &mut io::sink()).map_err(|source| failed(TreeError::Read { source }))?;
        (archive.sums, archive.size) = raw.finish();
        archive.check()?;
        Ok(archive)
    }

    fn fill(&mut self, reader: &mut Reader<impl Read>) -> Result<(), SbomError> {
        let name = self.name.clone();
        let failed = |source| SbomError::Tar { name: name.clone(), source };
        let mut seen = BTreeSet::new();
        let mut needed = 0;
        while let Some(entry) = reader.next().map_err(failed)? {
            let refused = |refusal| failed(TreeError::Refused { path: entry.path.to_path_buf(), refusal });
            tree::check_text(entry.path.as_bytes()).map_err(refused)?;
            let path = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
            let below = match path.strip_prefix(name.as_str()) {
                Some("") if entry.member == Member::Directory => continue,
                Some(below) if below.starts_with('/') => below[1..].to_owned(),
                _ => return Err(SbomError::TopLevel { name, path }),
            };
            self.modified = self.modified.max(entry.modified);
            match entry.member {
                Member::HardLink { .. } => return Err(refused(Refusal::Type("hard link"))),
                Member::Symlink { .. } | Member::File { .. } if !seen.insert(below.clone()) => {
                    return Err(refused(Refusal::Duplicate));
                }
                // A link is no content: what it leads to is listed as what it is.
                Member::Directory | Member::Symlink { .. } => continue,
                Member::File { .. } => {}
            }
            let (content, kept) = self.content(&below, reader).map_err(failed)?;
            if below == manifest::PATH {
                let parsed = match kept {
                    Some(json) => Manifest::parse(&json, &self.name),
                    None => Err(ManifestError::TooLarge),
                };
                self.manifest = Some(parsed.map_err(|source| SbomError::Manifest { name: self.name.clone(), source })?);
            } else if let Some(text) = kept.filter(|_| is_licence(&below)) {
                // What is no UTF-8 is a text of older days: only what is not ASCII in it is lost, and the file itself is listed.
                self.licences.insert(below.clone(), String::from_utf8_lossy(&text).into_owned());
            }
            needed += content.needed.len();
            let texts: usize = self.licences.values().map(String::len).sum();
            if needed > NEEDED_LIMIT || texts > TEXTS_LIMIT {
                return Err(SbomError::TooMuch { name });
            }
            self.files.insert(below, content);
        }
        Ok(())
    }

    /// Hashes the current entry's content, and keeps what has to be read.
    fn content(&self, path: &str, reader: &mut Reader<impl Read>) -> Result<(Content, Option<Vec<u8>>), TreeError> {
        let text = path == manifest::PATH || is_licence(path);
        let (mut sha1, mut sha256) = (Context::new(&SHA1_FOR_LEGACY_USE_ONLY), Hasher::default());
        let mut kept = Some(Vec::new());
        let mut size = 0;
        loop {
            let piece = reader.piece()?;
            if piece.is_empty() {
                break;
            }
            sha1.update(piece);
            sha256.update(piece);
            let elf = self.role != Role::Debug && if size == 0 { check::is_elf(piece) } else { !text };
            size += piece.len() as u64;
            if let Some(bytes) = kept.as_mut().filter(|_| text || elf) {
                bytes.extend_from_slice(piece);
            } else {
                kept = None;
            }
            let limit = if text { TEXT_LIMIT } else { ELF_LIMIT };
            kept = kept.filter(|kept| kept.len() <= limit);
        }
        let needed = match &kept {
            Some(bytes) if !text => check::needed(bytes),
            _ => Vec::new(),
        };
        let sums =
            vec![Sum { algorithm: Algorithm::Sha1, hex: hex(sha1.finish().as_ref()) }, Sum::sha256(sha256.finish())];
        Ok((Content { size, sums, needed }, kept.filter(|_| text)))
    }

    /// What the manifest names is there.
    fn check(&self) -> Result<(), SbomError> {
        let Some(manifest) = &self.manifest else {
            // The others are unpacked over the main archive, and bring nothing that is not PostgreSQL's own.
            return match self.role {
                Role::Main | Role::Client => Err(SbomError::NoManifest { name: self.name.clone() }),
                Role::AddOn | Role::Debug => Ok(()),
            };
        };
        let libraries = manifest.libraries.iter().flat_map(|library| [&library.file, &library.licence]);
        for path in libraries.chain([&manifest.licence]) {
            if !self.files.contains_key(path.as_str()) {
                let source = ManifestError::Missing(path.clone());
                return Err(SbomError::Manifest { name: self.name.clone(), source });
            }
        }
        Ok(())
    }
}

/// What is kept to be told: the licences of packages.
fn is_licence(path: &str) -> bool {
    path.starts_with("share/licenses/")
}

/// What the name of an archive ends in.
fn ending(compression: Compression) -> &'static str {
    match compression {
        Compression::None => ".tar",
        Compression::Gzip => ".tar.gz",
        Compression::Bzip2 => ".tar.bz2",
        Compression::Xz => ".tar.xz",
        Compression::Zstd => ".tar.zst",
    }
}

/// Hashes an archive's own bytes.
struct Raw<R> {
    inner: R,
    sha256: Hasher,
    sha512: Context,
    size: u64,
}

impl<R> Raw<R> {
    fn new(inner: R) -> Self {
        Self { inner, sha256: Hasher::default(), sha512: Context::new(&SHA512), size: 0 }
    }

    fn finish(self) -> (Vec<Sum>, u64) {
        let sha512 = Sum { algorithm: Algorithm::Sha512, hex: hex(self.sha512.finish().as_ref()) };
        (vec![Sum::sha256(self.sha256.finish()), sha512], self.size)
    }
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sha256.update(&buffer[..count]);
        self.sha512.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

/// SPDX's package verification code (clause 7.9): the SHA-1 of all files' SHA-1, sorted and written as one text.
pub(super) fn verification_code<'a>(sha1: impl Iterator<Item = &'a str>) -> String {
    let mut sums: Vec<&str> = sha1.collect();
    sums.sort_unstable();
    hex(aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, sums.concat().as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").ok();
        hex
    })
}
