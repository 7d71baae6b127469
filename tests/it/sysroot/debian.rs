//! Packages and lockfiles made for a test, honest and other.

use std::io::Write as _;

use pgproof::definitions::Compose;
use pgproof::digest::Digest;
use pgproof::lockfile::Lockfile;

/// The name of every sysroot here.
pub(crate) const NAME: &str = "box";

/// A tar archive, entry by entry, as a stranger would write it.
#[derive(Clone)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    mode: u32,
    owner: u64,
    time: u64,
}

/// How a data member is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Gzip, Self::Xz, Self::Zstd];

    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::None => "data.tar",
            Self::Gzip => "data.tar.gz",
            Self::Xz => "data.tar.xz",
            Self::Zstd => "data.tar.zst",
        }
    }

    pub(crate) fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(0);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), mode: 0o644, owner: 0, time: 0 }
    }

    /// The mode, owner and time of the entries that follow.
    pub(crate) fn with(mut self, mode: u32, owner: u64, time: u64) -> Self {
        (self.mode, self.owner, self.time) = (mode, owner, time);
        self
    }

    pub(crate) fn add(mut self, kind: u8, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_mode(self.mode);
        header.set_uid(self.owner);
        header.set_gid(self.owner);
        header.set_mtime(self.time);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.add(b'0', name.as_bytes(), b"", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.add(b'5', name.as_bytes(), b"", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.add(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.add(b'1', name.as_bytes(), target.as_bytes(), b"")
    }

    /// The archive as it is so far, without an end.
    pub(crate) fn open(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        let mut bytes = self.open();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    /// A package with this archive.
    pub(crate) fn package(&self) -> Vec<u8> {
        package(&self.end(), Compression::Xz)
    }
}

/// An ordinary package with this tar archive.
pub(crate) fn package(tar: &[u8], compression: Compression) -> Vec<u8> {
    let control = Compression::Gzip.compress(&Archive::new().file("./postinst", "#!/bin/sh\nrm -rf /\n").end());
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), (compression.member(), &compression.compress(tar))])
}

/// An `ar` archive of these members.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 1, 0, 0, 100_644, content.len()).unwrap();
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A lockfile of these packages.
pub(crate) fn lockfile(packages: &[(&str, Vec<u8>)]) -> Lockfile {
    let digest = Digest::of(b"an index");
    let mut text = format!(
        "version = 1\nname = \"{NAME}\"\n[[index]]\nsuite = \"suite\"\narchive = \"debian\"\n\
         date = \"2026-07-11T10:16:37Z\"\nin-release = \"{digest}\"\nsigned-by = []\n"
    );
    for (name, bytes) in packages {
        let (digest, size) = (Digest::of(bytes), bytes.len());
        text += &[
            "[[package]]",
            &format!("name = \"{name}\""),
            "version = \"1.0\"",
            "architecture = \"amd64\"",
            &format!("source = \"{name}\""),
            "source-version = \"1.0\"",
            &format!("digest = \"{digest}\""),
            &format!("size = {size}"),
            &format!("origins = [\"debian:pool/{name}.deb\"]"),
            "index = \"suite\"\n",
        ]
        .join("\n");
    }
    Lockfile::parse("a lockfile", &text).unwrap()
}

/// A definition: what every one has, and `more`.
pub(crate) fn definition(pin: Digest, more: &str) -> Compose {
    let text = format!(
        "target = \"x86_64-unknown-linux-gnu\"\nmanifest = \"{pin}\"\nessential = false\npackages = []\n{more}"
    );
    toml::from_str(&text).unwrap()
}
