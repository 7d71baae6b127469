//! A PostgreSQL archive, as far as its tar tells: what it is for, what it holds.
//!
//! It may come from anybody: it is read as a stream with limits, nothing of it is unpacked here, and nothing in it is run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::TrialError;
use crate::check;
use crate::compression::Compression;
use crate::digest::{Digest, HashingReader};
use crate::target::Triple;
use crate::tree::{Defect, Entry, EntryPath, Kind, Limits, Member, Reader, Refusal, TreeError, Writer, check_text};

/// Enough for PostgreSQL with all that was ever built for it, and still within pgproof's memory.
const LIMITS: Limits = Limits { entries: 100_000, bytes: 4 << 30, names: 8 << 20 };

/// How many programs, extensions or modules there may be: each is a check. PostgreSQL has fifty of each.
const NAMES_LIMIT: usize = 1000;

/// What is read of a file to tell what it is.
const HEAD: usize = 512;

/// The bits of a mode that a set-id program has.
const SET_ID: u32 = 0o6000;

/// A PostgreSQL archive.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    pub(super) part: Part,
    /// The directory in it that has `bin/postgres`, without a trailing `/`; empty if that is the archive's own root.
    pub(super) top: String,
    pub(super) postgres: Program,
    pub(super) holdings: Holdings,
    /// All directories in it.
    directories: BTreeSet<EntryPath>,
}

/// A tar archive that was read once, and is written into a root file system later.
#[derive(Debug, Clone)]
pub(super) struct Part {
    path: PathBuf,
    pub(super) digest: Digest,
    compression: Compression,
}

/// What the archive has to be tested.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings {
    /// Programs in `bin`.
    pub(super) programs: BTreeSet<String>,
    /// Extensions with a control file.
    pub(super) extensions: BTreeSet<String>,
    /// Modules that a server can load.
    pub(super) modules: BTreeSet<String>,
    /// What has a name that none of PostgreSQL's files has; it is not tested.
    pub(super) odd: BTreeSet<String>,
}

/// What `bin/postgres` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// An ELF program for this platform.
    Elf(Triple),
    /// A program for another platform.
    Foreign(&'static str),
    /// A shell script; it runs anywhere, and is not PostgreSQL's.
    Script,
}

impl Archive {
    /// Reads all of the archive at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, TrialError> {
        let mut collected = Vec::new();
        let mut directories = BTreeSet::new();
        let mut postgres = Vec::new();
        let part = Part::examine(path, &mut |entry, piece| {
            let bytes = entry.path.as_bytes();
            match piece {
                None => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    if entry.member == Member::Directory {
                        directories.insert(entry.path.clone());
                    } else {
                        collected.push(text);
                    }
                }
                Some(piece) if server(bytes).is_some() && postgres.len() < HEAD => {
                    postgres.extend_from_slice(&piece[..piece.len().min(HEAD - postgres.len())]);
                }
                Some(_) => {}
            }
            Ok(())
        })?;
        let top = collected.iter().find_map(|path| server(path.as_bytes()));
        let top = top.ok_or_else(|| TrialError::NotAnArchive {
            path: path.to_owned(),
            what: "a tar archive without bin/postgres".to_owned(),
        })?;
        let top = String::from_utf8_lossy(top).into_owned();
        let holdings = Holdings::of(&top, &collected);
        for (what, names) in
            [("programs", &holdings.programs), ("extensions", &holdings.extensions), ("modules", &holdings.modules)]
        {
            if names.len() > NAMES_LIMIT {
                return Err(TrialError::TooMany { path: path.to_owned(), what, limit: NAMES_LIMIT });
            }
        }
        Ok(Self { part, top, postgres: Program::of(&postgres), holdings, directories })
    }

    /// Writes all of the archive below `directory`, as it is.
    pub(super) fn lay<W: Write>(&self, directory: &str, writer: &mut Writer<W>) -> Result<(), TrialError> {
        let made = writer.append(directory.as_bytes(), &Kind::Directory, 0o755, io::empty());
        made.map_err(|source| TrialError::Layer { source: TreeError::Write { source } })?;
        self.part.write(directory, writer, &|path| Some(path.clone()))
    }

    /// Writes what belongs to this archive, and lies below `directory` already, into it: the content of `part`'s one top-level
    /// directory.
    pub(super) fn lay_part<W: Write>(
        &self,
        part: &Part,
        directory: &str,
        writer: &mut Writer<W>,
    ) -> Result<(), TrialError> {
        part.write(directory, writer, &|path| {
            let mut moved = self.top.clone().into_bytes();
            for component in path.components().skip(1) {
                moved.push(b'/');
                moved.extend_from_slice(component);
            }
            EntryPath::parse(&moved).ok().filter(|moved| !self.directories.contains(moved))
        })
    }
}

impl Part {
    /// Reads all of the archive at `path`, whatever it holds.
    pub(super) fn read(path: &Path) -> Result<Self, TrialError> {
        Self::examine(path, &mut |_entry, _piece| Ok(()))
    }

    fn examine(path: &Path, visitor: &mut Visitor<'_>) -> Result<Self, TrialError> {
        let compression = recognise(path)?;
        let digest = visit(path, compression, visitor)?;
        Ok(Self { path: path.to_owned(), digest, compression })
    }

    /// Writes the archive below `directory`, each entry where `place` says, if it says anything.
    fn write<W: Write>(
        &self,
        directory: &str,
        writer: &mut Writer<W>,
        place: &dyn Fn(&EntryPath) -> Option<EntryPath>,
    ) -> Result<(), TrialError> {
        let failed = |source: io::Error| TreeError::Write { source };
        let mut open: Option<u64> = None;
        let digest = visit(&self.path, self.compression, &mut |entry, piece| {
            if let Some(piece) = piece {
                return writer.piece(piece).map_err(failed);
            }
            if let Some(size) = open.take() {
                writer.pad(size).map_err(failed)?;
            }
            let refused = |refusal| TreeError::Refused { path: entry.path.to_path_buf(), refusal };
            let Some(place) = place(&entry.path).filter(|place| !place.is_root()) else {
                return if entry.member == Member::Directory { Ok(()) } else { Err(refused(Refusal::Duplicate)) };
            };
            let kind = match &entry.member {
                Member::Directory => Kind::Directory,
                Member::File { size } => {
                    open = Some(*size);
                    Kind::File { size: *size }
                }
                Member::Symlink { target } => Kind::Symlink { target: target.clone() },
                Member::HardLink { .. } => return Err(refused(Refusal::HardLink)),
            };
            let path = [directory.as_bytes(), place.as_bytes()].join(&b'/');
            let path = EntryPath::parse(&path).map_err(refused)?;
            writer.begin(&path, &kind, entry.mode).map_err(failed)
        })?;
        if let Some(size) = open {
            let source = |source| TrialError::Layer { source: failed(source) };
            writer.pad(size).map_err(source)?;
        }
        if digest == self.digest { Ok(()) } else { Err(TrialError::Changed { path: self.path.clone() }) }
    }
}

impl Holdings {
    fn of(top: &str, paths: &[String]) -> Self {
        let mut holdings = Self::default();
        for path in paths {
            let below = if top.is_empty() { Some(path.as_str()) } else { path.strip_prefix(&format!("{top}/")) };
            let Some((directory, file)) = below.and_then(|below| below.rsplit_once('/')) else { continue };
            let (names, name) = match directory {
                "bin" => (&mut holdings.programs, file),
                "share/extension" | "share/postgresql/extension" => match file.strip_suffix(".control") {
                    Some(name) => (&mut holdings.extensions, name),
                    None => continue,
                },
                "lib" | "lib/postgresql" => match file.strip_suffix(".so") {
                    // What begins with lib is linked with; but for this module, which walreceivers load.
                    Some(name) if !name.starts_with("lib") || name == "libpqwalreceiver" => {
                        (&mut holdings.modules, name)
                    }
                    _ => continue,
                },
                _ => continue,
            };
            if is_plain(name) {
                names.insert(name.to_owned());
            } else if holdings.odd.len() < NAMES_LIMIT {
                holdings.odd.insert(path.clone());
            }
        }
        holdings
    }
}

impl Program {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(b"#!") {
            return Self::Script;
        }
        let (Some(&class), Some(&order), Some(machine)) = (head.get(4), head.get(5), head.get(18..20)) else {
            return Self::Foreign("no known platform: it is no program");
        };
        if !head.starts_with(b"\x7fELF") {
            return Self::Foreign(match head {
                [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "macOS",
                [b'M', b'Z', ..] => "Windows",
                _ => "no known platform: it is no program",
            });
        }
        // ELF's specification, e_ident and e_machine.
        let machine = match order {
            2 => u16::from_be_bytes([machine[0], machine[1]]),
            _ => u16::from_le_bytes([machine[0], machine[1]]),
        };
        match (machine, class) {
            (62, 2) => Self::Elf(Triple::X86_64UnknownLinuxGnu),
            (183, 2) => Self::Elf(Triple::Aarch64UnknownLinuxGnu),
            (3, _) => Self::Foreign("x86 with 32 bits"),
            (40, _) => Self::Foreign("Arm with 32 bits"),
            (62 | 183, _) => Self::Foreign("a 64-bit processor with 32-bit addresses"),
            (20 | 21, _) => Self::Foreign("PowerPC"),
            (22, _) => Self::Foreign("S/390"),
            (243, _) => Self::Foreign("RISC-V"),
            (258, _) => Self::Foreign("LoongArch"),
            _ => Self::Foreign("an unknown processor"),
        }
    }
}

/// The directory whose `bin/postgres` this is: the root, or one directory below it.
fn server(path: &[u8]) -> Option<&[u8]> {
    let top = path.strip_suffix(b"bin/postgres")?;
    let top = top.strip_suffix(b"/").unwrap_or(top);
    let whole = path.len() == top.len() + b"bin/postgres".len() + usize::from(!top.is_empty());
    (whole && !top.contains(&b'/')).then_some(top)
}

/// Whether a shell and a person take the name for nothing else.
fn is_plain(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    starts && name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// Hears of an entry, first without and then with each piece of its content.
type Visitor<'a> = dyn FnMut(&Entry, Option<&[u8]>) -> Result<(), TreeError> + 'a;

/// Goes through the archive and gives the digest of its file. What would lead out of the tree is refused, and so is what no
/// archive of PostgreSQL has: set-id programs, hard links, names that are no text.
fn visit(path: &Path, compression: Compression, visitor: &mut Visitor<'_>) -> Result<Digest, TrialError> {
    let unreadable = |source| TrialError::Unreadable { path: path.to_owned(), source };
    let mut file = HashingReader::new(File::open(path).map_err(unreadable)?);
    {
        let not_whole = |source| TrialError::NotAnArchive {
            path: path.to_owned(),
            what: format!("no whole {compression} file: {source}"),
        };
        let stream = compression.reader(&mut file).map_err(not_whole)?;
        let mut reader = Reader::new(stream, LIMITS);
        entries(&mut reader, visitor).map_err(|error| match &error {
            TreeError::Malformed { offset: 0, defect: Defect::Header | Defect::Truncated } => {
                match sniff(path, compression) {
                    Ok(what) => TrialError::NotAnArchive { path: path.to_owned(), what },
                    Err(source) => unreadable(source),
                }
            }
            TreeError::Read { source } => TrialError::NotAnArchive {
                path: path.to_owned(),
                what: format!("a broken {compression} file: {source}"),
            },
            TreeError::Malformed { .. }
            | TreeError::Refused { .. }
            | TreeError::TooMuch { .. }
            | TreeError::Write { .. }
            | TreeError::Io { .. } => TrialError::Refused { path: path.to_owned(), source: error },
        })?;
    }
    // Decompressors stop where they see an end; the digest is of all bytes.
    io::copy(&mut file, &mut io::sink()).map_err(unreadable)?;
    Ok(file.finish().0)
}

fn entries<R: Read>(reader: &mut Reader<R>, visitor: &mut Visitor<'_>) -> Result<(), TreeError> {
    let mut seen = BTreeSet::new();
    while let Some(entry) = reader.next()? {
        let refused = |refusal| Err(TreeError::Refused { path: entry.path.to_path_buf(), refusal });
        if let Err(refusal) = check_text(entry.path.as_bytes()) {
            return refused(refusal);
        }
        if entry.mode & SET_ID != 0 && entry.member != Member::Directory {
            return refused(Refusal::SetId);
        }
        match &entry.member {
            Member::Symlink { target } if entry.path.leaves(target) => return refused(Refusal::Escape),
            Member::Symlink { target } => {
                if let Err(refusal) = check_text(target) {
                    return refused(refusal);
                }
            }
            Member::HardLink { .. } => return refused(Refusal::Type("hard link")),
            Member::Directory | Member::File { .. } => {}
        }
        if entry.member != Member::Directory && !seen.insert(entry.path.clone()) {
            return refused(Refusal::Duplicate);
        }
        visitor(&entry, None)?;
        loop {
            let piece = reader.piece()?;
            if piece.is_empty() {
                break;
            }
            visitor(&entry, Some(piece))?;
        }
    }
    Ok(())
}

/// How the file is compressed.
fn recognise(path: &Path) -> Result<Compression, TrialError> {
    let unreadable = |source| TrialError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(TrialError::NotAnArchive { path: path.to_owned(), what: "a directory".to_owned() });
    }
    Ok(Compression::of(&head(file).map_err(unreadable)?))
}

/// What the file is instead of a tar.
fn sniff(path: &Path, compression: Compression) -> io::Result<String> {
    let head = head(compression.reader(File::open(path)?)?)?;
    let what = check::what_is(&head);
    Ok(match compression {
        Compression::None => what.to_owned(),
        Compression::Gzip | Compression::Bzip2 | Compression::Xz | Compression::Zstd => {
            format!("{what}, compressed with {compression}")
        }
    })
}

fn head(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}
