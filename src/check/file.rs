//! What one file alone tells.

use std::io::Read;

use object::read::archive::ArchiveFile;

use super::elf::{Code, Elf, ElfError, Purpose};
use super::finding::{Finding, Kind};
use super::glibc::{self, Wants};
use super::{Check, Checked, Role, contents, printable};
use crate::target::Cpu;
use crate::tree::{Reader, TreeError};

/// The largest ELF file or static library that is parsed, in bytes. It is held in memory.
const PARSED: usize = 512 << 20;

/// How an ELF file begins.
pub(super) const ELF: &[u8] = b"\x7fELF";
/// How a static library begins.
const ARCHIVE: &[u8] = b"!<arch>\n";
/// How a static library begins that names its members' files instead of having them.
const THIN: &[u8] = b"!<thin>\n";

/// The most findings of one file: with as many it is beyond mending one by one.
const FINDINGS: usize = 200;

/// [`Kind::NoFortify`] of a file that may just not know its sizes.
const SIZES: &str = "sizes";

/// What is found about one file.
struct Notes {
    file: String,
    findings: Vec<Finding>,
}

impl Notes {
    fn add(&mut self, kind: Kind, about: impl Into<String>) {
        self.add_seen(kind, about, "");
    }

    /// Adds a finding, if this is not said of this file already.
    fn add_seen(&mut self, kind: Kind, about: impl Into<String>, seen: impl Into<String>) {
        let about = about.into();
        if self.findings.len() < FINDINGS
            && !self.findings.iter().any(|finding| finding.kind == kind && finding.about == about)
        {
            self.findings.push(Finding { file: self.file.clone(), kind, about, seen: seen.into() });
        }
    }
}

impl Check<'_> {
    /// Reads a file's content to its end; gives it parsed, if it is a sound ELF file.
    pub(super) fn read_file(
        &mut self,
        path: &[u8],
        reader: &mut Reader<impl Read>,
        checked: &mut Checked,
    ) -> Result<Option<Box<Elf>>, TreeError> {
        let mut notes = Notes { file: printable(path), findings: Vec::new() };
        let mut search = self.places.search();
        let mut kept = Vec::new();
        let mut too_large = false;
        loop {
            let piece = reader.piece()?;
            if piece.is_empty() {
                break;
            }
            search.piece(piece);
            if kept.len() < ARCHIVE.len() || is_parsed(&kept) {
                kept.extend_from_slice(piece);
            }
            if kept.len() > PARSED {
                too_large = true;
                kept.truncate(ARCHIVE.len());
            }
        }
        for place in search.finish() {
            let times = if place.count > 1 { format!(", and {} more", place.count - 1) } else { String::new() };
            notes.add_seen(Kind::BuildPath, place.text, format!("{}{times}", place.shown));
        }
        let mut parsed = None;
        if kept.starts_with(ELF) {
            checked.elf_files += 1;
            if too_large {
                notes.add(Kind::Malformed, format!("it is larger than {PARSED} bytes"));
            } else {
                match Elf::parse(&kept) {
                    Ok(elf) => {
                        self.judge(&elf, checked, &mut notes);
                        parsed = Some(Box::new(elf));
                    }
                    Err(error) => notes.add(Kind::Malformed, error.to_string()),
                }
            }
        } else if kept.starts_with(ARCHIVE) || kept.starts_with(THIN) {
            checked.static_libraries += 1;
            if too_large {
                notes.add(Kind::Malformed, format!("it is larger than {PARSED} bytes"));
            } else if let Err(error) = self.judge_members(&kept, checked, &mut notes) {
                notes.add(Kind::Malformed, error.to_string());
            }
        }
        for finding in notes.findings {
            self.exceptions.sort(checked.role, finding, &mut checked.findings);
        }
        Ok(parsed)
    }

    /// The members of a static library are objects; each finding is said once, with the first member that it is about.
    fn judge_members(&mut self, bytes: &[u8], checked: &Checked, notes: &mut Notes) -> Result<(), ElfError> {
        let archive = ArchiveFile::parse(bytes)?;
        if archive.is_thin() {
            notes.add(Kind::Malformed, "it names files that have its members instead of having them");
            return Ok(());
        }
        for member in archive.members() {
            let member = member?;
            let data = member.data(bytes)?;
            if !data.starts_with(ELF) {
                continue;
            }
            let name = printable(member.name());
            match Elf::parse(data) {
                Ok(elf) => {
                    if elf.machine != self.machine {
                        notes.add_seen(Kind::WrongMachine, elf.machine.describe(), name);
                    } else if let Some(debug) = &elf.debug {
                        notes.add_seen(Kind::Unstripped, debug.clone(), name);
                    } else if let Some(cpu) = elf.cpu {
                        self.note_cpu(cpu, checked, notes);
                    }
                }
                Err(error) => notes.add_seen(Kind::Malformed, error.to_string(), name),
            }
        }
        Ok(())
    }

    fn judge(&mut self, elf: &Elf, checked: &Checked, notes: &mut Notes) {
        if elf.machine != self.machine {
            // Nothing else that it says means here what it means there.
            notes.add(Kind::WrongMachine, elf.machine.describe());
            return;
        }
        if checked.role == Role::Debug {
            judge_debug(elf, notes);
            return;
        }
        if elf.code == Code::Elsewhere {
            notes.add(Kind::Malformed, "its code is not in it: it is a debug file");
            return;
        }
        if let Some(debug) = elf.debug.as_deref().or(elf.symbols.then_some(".symtab"))
            && (elf.purpose != Purpose::Object || elf.debug.is_some())
        {
            notes.add(Kind::Unstripped, debug);
        }
        if let Some(cpu) = elf.cpu {
            self.note_cpu(cpu, checked, notes);
        }
        if elf.purpose == Purpose::Object {
            return;
        }
        judge_segments(elf, notes);
        let name = contents::split(notes.file.as_bytes()).1;
        let name = String::from_utf8_lossy(name).into_owned();
        let soname = elf.dynamic.as_ref().and_then(|dynamic| dynamic.soname.clone());
        if let Some(name) = [soname.unwrap_or_default(), name].into_iter().find(|name| glibc::own(name)) {
            notes.add(Kind::BundledGlibc, name);
        }
        let loader = loader(self.expected.target);
        if let Some(interpreter) = elf.interpreter.as_ref().filter(|interpreter| *interpreter != loader) {
            notes.add(Kind::WrongLoader, interpreter);
        }
        self.note_floor(elf, checked, notes);
    }

    fn note_floor(&mut self, elf: &Elf, checked: &Checked, notes: &mut Notes) {
        let by = |file: &str| format!("{}/{file}", checked.name);
        if let Some(kernel) = elf.kernel
            && self.floor.kernel.note(kernel, || by(&notes.file))
        {
            notes.add(Kind::KernelFloor, kernel.to_string());
        }
        for (library, version) in elf.dynamic.iter().flat_map(|dynamic| &dynamic.wanted) {
            if !glibc::own(library) {
                continue;
            }
            let above = match glibc::wants(version) {
                Wants::Release(release) => self.floor.glibc.note(release, || by(&notes.file)),
                Wants::Private | Wants::Unknown => true,
            };
            if above {
                notes.add_seen(Kind::GlibcFloor, version, library);
            }
        }
    }

    fn note_cpu(&mut self, cpu: Cpu, checked: &Checked, notes: &mut Notes) {
        if self.floor.cpu.note(cpu, || format!("{}/{}", checked.name, notes.file)) {
            notes.add(Kind::CpuFloor, cpu.as_str());
        }
    }
}

fn is_parsed(bytes: &[u8]) -> bool {
    bytes.starts_with(ELF) || bytes.starts_with(ARCHIVE) || bytes.starts_with(THIN)
}

/// The loader that programs of the platform name (psABI; it is the same path on every host with glibc).
const fn loader(triple: crate::target::Triple) -> &'static str {
    match triple {
        crate::target::Triple::X86_64UnknownLinuxGnu => "/lib64/ld-linux-x86-64.so.2",
        crate::target::Triple::Aarch64UnknownLinuxGnu => "/lib/ld-linux-aarch64.so.1",
    }
}

fn judge_debug(elf: &Elf, notes: &mut Notes) {
    if !elf.debug_info {
        notes.add(Kind::NoDebugInformation, "");
    }
    if elf.build_id.is_none() {
        notes.add(Kind::NoBuildId, "");
    }
    if elf.code == Code::Here {
        notes.add(Kind::DebugCode, "");
    }
}

fn judge_segments(elf: &Elf, notes: &mut Notes) {
    if elf.purpose == Purpose::Fixed {
        notes.add(Kind::NotPie, "");
    }
    if !elf.relro {
        notes.add(Kind::NoRelro, "");
    }
    match elf.executable_stack {
        Some(false) => {}
        Some(true) => notes.add(Kind::ExecutableStack, ""),
        None => notes.add_seen(Kind::ExecutableStack, "", "it has no PT_GNU_STACK"),
    }
    if elf.writable_code {
        notes.add(Kind::WritableCode, "");
    }
    let Some(dynamic) = &elf.dynamic else { return };
    if !dynamic.bind_now {
        notes.add(Kind::NoBindNow, "");
    }
    if dynamic.text_relocations {
        notes.add(Kind::TextRelocations, "");
    }
    if let Some(rpath) = &dynamic.rpath {
        notes.add(Kind::Rpath, rpath);
    }
    if elf.code == Code::Here && !dynamic.fortified && !dynamic.unfortified.is_empty() {
        let about = if dynamic.never_fortified { "" } else { SIZES };
        notes.add_seen(Kind::NoFortify, about, dynamic.unfortified.join(", "));
    }
}
