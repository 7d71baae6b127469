//! Publishes archives and what belongs to them into a directory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use super::information::{About, Information};
use super::{Output, OutputError};
use crate::digest::{Digest, Sha512, Sha512Reader};
use crate::lockfile::Name;
use crate::store::Store;

/// A file that is published with an archive.
#[derive(Debug, Clone, Copy)]
pub struct Companion<'a> {
    /// Its file name.
    pub name: &'a Name,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// The digests of a published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its SHA-512.
    pub sha512: Sha512,
}

/// The file that has the SHA-256 of all others.
const SHA256SUMS: &str = "SHA256SUMS";
/// The file that has the SHA-512 of all others.
const SHA512SUMS: &str = "SHA512SUMS";
/// The file that tells what the builds are.
const BUILD_INFO: &str = "build-info.json";

/// The largest list of sums, and the largest `build-info.json`, that is read, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// Writes the archives and what belongs to them into `directory`, which is made if it is not there:
///
/// ```text
/// NAME.tar.gz           an archive
/// NAME.tar.gz.sha256    <64 hex>  NAME.tar.gz
/// NAME.files            its file list
/// <companions>
/// build-info.json       what the builds in the directory are
/// SHA256SUMS            all these, and what was published there before; sorted by file name
/// SHA512SUMS            the same
/// ```
///
/// Each file appears whole or not at all, and `SHA256SUMS` last. Gives the digests of the files that are of this build alone, by
/// their names. Several pgproofs may publish into one directory: each waits for the other.
pub fn publish(
    outputs: &[Output],
    companions: &[Companion<'_>],
    about: &About<'_>,
    directory: &Path,
    store: &Store,
) -> Result<BTreeMap<Name, Sums>, OutputError> {
    let lock = claim(directory)?;
    // Before anything is written: what is in the way of it is somebody else's.
    let mut information = earlier_information(directory)?;
    let mut sha256 = earlier_sums(directory, SHA256SUMS, "SHA-256", Digest::from_hex)?;
    let mut sha512 = earlier_sums(directory, SHA512SUMS, "SHA-512", Sha512::from_hex)?;

    let mut published = BTreeMap::new();
    for output in outputs {
        let archive = name(&format!("{}.tar.gz", output.name));
        let sum = sum_line(&output.archive.digest().hex(), &archive);
        let list = name(&format!("{}.files", output.name));
        let sums = |sha256, sha512| Sums { sha256, sha512 };
        let large = place(directory, &archive, store.read(output.archive)?)?;
        let listed = place(directory, &list, store.read(output.list)?)?;
        let beside = name(&format!("{archive}.sha256"));
        let line = place(directory, &beside, sum.as_bytes())?;
        published.insert(beside, sums(Digest::of(sum.as_bytes()), line));
        published.insert(archive, sums(output.archive.digest(), large));
        published.insert(list, sums(output.list.digest(), listed));
    }
    for Companion { name, bytes } in companions {
        let sha512 = place(directory, name, *bytes)?;
        published.insert((*name).clone(), Sums { sha256: Digest::of(bytes), sha512 });
    }

    information.add(about, outputs, &published);
    let (file, text) = (name(BUILD_INFO), information.to_text());
    let digest = place(directory, &file, text.as_bytes())?;
    sha256.extend(published.iter().map(|(name, sums)| (name.clone(), sums.sha256)));
    sha512.extend(published.iter().map(|(name, sums)| (name.clone(), sums.sha512)));
    sha256.insert(file.clone(), Digest::of(text.as_bytes()));
    sha512.insert(file, digest);

    let lines: String = sha512.iter().map(|(name, digest)| sum_line(&digest.hex(), name)).collect();
    place(directory, &name(SHA512SUMS), lines.as_bytes())?;
    let lines: String = sha256.iter().map(|(name, digest)| sum_line(&digest.hex(), name)).collect();
    place(directory, &name(SHA256SUMS), lines.as_bytes())?;
    release(&lock, directory)?;
    Ok(published)
}

/// Writes a file that `SHA256SUMS` does not list because it is of one run, as a report is. It appears whole or not at all.
pub fn publish_apart(file: &Companion<'_>, directory: &Path) -> Result<(), OutputError> {
    let lock = claim(directory)?;
    place(directory, file.name, file.bytes)?;
    release(&lock, directory)
}

/// Makes a name of one that has an ending, or is a constant.
fn name(text: &str) -> Name {
    text.parse().expect("a plan's names leave room for endings")
}

/// Makes the directory if it is not there, and waits until no other pgproof publishes into it.
fn claim(directory: &Path) -> Result<File, OutputError> {
    let failed = |action| move |source| OutputError::Publish { action, path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed("created"))?;
    let lock = File::open(directory).map_err(failed("opened"))?;
    lock.lock().map_err(failed("locked"))?;
    Ok(lock)
}

/// Has the names on the disk.
fn release(lock: &File, directory: &Path) -> Result<(), OutputError> {
    lock.sync_all().map_err(|source| OutputError::Publish { action: "synced", path: directory.to_owned(), source })
}

/// A line as `sha256sum` and `sha512sum` write and check it.
fn sum_line(hex: &str, name: &Name) -> String {
    format!("{hex}  {name}\n")
}

/// What an earlier publication into the directory left, as far as it is still there.
fn earlier_sums<D>(
    directory: &Path,
    file: &str,
    algorithm: &'static str,
    parse: impl Fn(&str) -> Result<D, crate::digest::DigestError>,
) -> Result<BTreeMap<Name, D>, OutputError> {
    let path = directory.join(file);
    let text = earlier(&path)?;
    let mut sums = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = || OutputError::Sums { path: path.clone(), line: index + 1, algorithm };
        let (hex, name) = line.split_once("  ").ok_or_else(wrong)?;
        let digest = parse(hex).map_err(|_malformed| wrong())?;
        let name = Name::from_str(name).map_err(|_malformed| wrong())?;
        if directory.join(name.as_str()).exists() {
            sums.insert(name, digest);
        }
    }
    Ok(sums)
}

/// What an earlier publication told of the builds whose archives are still there.
fn earlier_information(directory: &Path) -> Result<Information, OutputError> {
    let path = directory.join(BUILD_INFO);
    let text = earlier(&path)?;
    if text.is_empty() {
        return Ok(Information::default());
    }
    let mut information =
        Information::parse(text.as_bytes()).map_err(|source| OutputError::Information { path, source })?;
    information.builds.retain(|name, _| directory.join(format!("{name}.tar.gz")).exists());
    Ok(information)
}

/// The text of a file; empty if there is none.
fn earlier(path: &Path) -> Result<String, OutputError> {
    let failed = |source| OutputError::Publish { action: "read", path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(SIZE_LIMIT).read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(error)),
    };
    Ok(text)
}

/// Writes a file under a name of its own and renames it when it is whole. Gives its SHA-512.
fn place(directory: &Path, name: &Name, content: impl Read) -> Result<Sha512, OutputError> {
    let path = directory.join(name.as_str());
    // Always the same, so that what a killed pgproof left is overwritten; the directory is locked.
    let partial = directory.join(format!(".{name}.partial"));
    let mut content = Sha512Reader::new(content);
    let mut write = || {
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        io::copy(&mut content, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&partial, &path)
    };
    match write() {
        Ok(()) => Ok(content.finish()),
        Err(source) => {
            // What is left of it is overwritten next time, if it cannot be removed now.
            std::fs::remove_file(&partial).ok();
            Err(OutputError::Publish { action: "written", path: path.clone(), source })
        }
    }
}
