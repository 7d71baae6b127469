//! One ELF file, parsed once into what the check asks of it.
//!
//! The `object` crate reads the format. What a loader obeys are the program headers and the dynamic section; what tells
//! symbols and versions are the section headers. Where the two disagree, the file is malformed: a check of one would say
//! nothing about the other.

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, NoteIterator, ProgramHeader as _, SectionHeader as _, Sym as _};

use super::functions;
use super::printable;
use crate::target::{Cpu, KernelVersion, Triple};

/// The most section headers: an honest file of a release has below a hundred.
const SECTIONS: usize = 4096;
/// The most program headers.
const SEGMENTS: usize = 1024;
/// The most symbols that others see: the largest library of a release has some ten thousand.
const SYMBOLS: usize = 1 << 20;
/// The most entries of any other kind: libraries, versions, notes.
const ENTRIES: usize = 4096;
/// The longest text that is taken from a file, in bytes. Names are at most a path.
const TEXT: usize = 4096;
/// How many functions a finding names.
const NAMED: usize = 5;

/// What an ELF file is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be linked.
    Object,
    /// To be run at the one address that it was linked for.
    Fixed,
    /// To be loaded anywhere: a library or a position-independent program.
    Shared,
}

/// Whether there are instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// None: data only.
    None,
    /// In the file.
    Here,
    /// Their places are, but not they: this is another file's debug information.
    Elsewhere,
}

/// What a platform's files have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    architecture: elf::Machine,
    is_64: bool,
    is_little_endian: bool,
}

/// A parsed file.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that the file states or not, whatever the others are"
)]
pub(super) struct Elf {
    pub(super) purpose: Purpose,
    pub(super) machine: Machine,
    pub(super) code: Code,
    pub(super) interpreter: Option<String>,
    pub(super) dynamic: Option<Dynamic>,
    /// `PT_GNU_RELRO`
    pub(super) relro: bool,
    /// Whether the stack may be executed; `None` if the file leaves that to the kernel.
    pub(super) executable_stack: Option<bool>,
    /// A segment that is writable and executable.
    pub(super) writable_code: bool,
    /// `.symtab`
    pub(super) symbols: bool,
    /// The first section with debug information.
    pub(super) debug: Option<String>,
    /// `.debug_info` with content.
    pub(super) debug_info: bool,
    /// Whether every compiler that says in a debug file how it was called was told to protect the stack.
    pub(super) protected: Option<bool>,
    pub(super) build_id: Option<Vec<u8>>,
    /// `.gnu_debuglink`: the name of the file with the debug information.
    pub(super) debug_link: Option<String>,
    /// The oldest kernel, from the note that the C library's start files carry.
    pub(super) kernel: Option<KernelVersion>,
    /// What the note for x86 asks of the processor.
    pub(super) cpu: Option<Cpu>,
}

/// What the loader is told.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that the file states or not, whatever the others are"
)]
pub(super) struct Dynamic {
    /// The libraries that it loads.
    pub(super) needed: Vec<String>,
    pub(super) soname: Option<String>,
    pub(super) rpath: Option<String>,
    pub(super) runpath: Option<String>,
    pub(super) bind_now: bool,
    pub(super) text_relocations: bool,
    /// The symbol versions that it wants: library and version.
    pub(super) wanted: Vec<(String, String)>,
    /// The symbol versions that it has.
    pub(super) versions: Vec<String>,
    /// Whether it calls what a smashed stack ends in.
    pub(super) stack_protector: bool,
    /// Whether it calls a checking variant of a function.
    pub(super) fortified: bool,
    /// The functions that it calls although they have a checking variant; the first few.
    pub(super) unfortified: Vec<String>,
    /// Whether one of these would not be called if FORTIFY were on.
    pub(super) never_fortified: bool,
}

/// How a file breaks the format, or what pgproof accepts of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ElfError {
    #[error("{0}")]
    Format(#[from] object::read::Error),
    #[error("it is neither object, program nor library but of ELF type {0}")]
    Type(u16),
    #[error("it has no section headers, without which it cannot be checked")]
    NoSections,
    #[error("it has no dynamic section, without which it cannot be loaded")]
    NoDynamic,
    #[error("it has more than {1} {0}")]
    TooMany(&'static str, usize),
    #[error("its section headers and its dynamic section do not agree on {0}")]
    Disagree(&'static str),
    #[error("a text in it is not where it should be")]
    Text,
    #[error("its note for the C library is for another system than Linux")]
    System,
}

impl Machine {
    /// What files for `triple` have.
    pub(super) const fn of(triple: Triple) -> Self {
        let architecture = match triple {
            Triple::X86_64UnknownLinuxGnu => elf::EM_X86_64,
            Triple::Aarch64UnknownLinuxGnu => elf::EM_AARCH64,
        };
        Self { architecture, is_64: true, is_little_endian: true }
    }

    /// In words.
    pub(super) fn describe(self) -> String {
        let architecture = match self.architecture {
            elf::EM_X86_64 => "x86-64".to_owned(),
            elf::EM_386 => "i386".to_owned(),
            elf::EM_AARCH64 => "aarch64".to_owned(),
            elf::EM_ARM => "arm".to_owned(),
            elf::EM_RISCV => "riscv".to_owned(),
            elf::EM_PPC64 => "ppc64".to_owned(),
            elf::EM_S390 => "s390".to_owned(),
            other => format!("machine {}", other.0),
        };
        let class = if self.is_64 { 64 } else { 32 };
        format!("{architecture}, {class}-bit, {}-endian", if self.is_little_endian { "little" } else { "big" })
    }
}

impl Elf {
    /// Parses a whole file. Nothing that is in it makes this panic, or take more than a few passes over its bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        // EI_CLASS; what is neither is an error there.
        if bytes.get(4) == Some(&1) {
            File::<elf::FileHeader32<Endianness>>::open(bytes)?.read()
        } else {
            File::<elf::FileHeader64<Endianness>>::open(bytes)?.read()
        }
    }
}

impl Elf {
    /// About how many bytes it holds.
    pub(super) fn kept(&self) -> usize {
        let Some(dynamic) = &self.dynamic else { return size_of::<Self>() };
        let wanted = dynamic.wanted.iter().flat_map(|(library, version)| [library, version]);
        let texts = dynamic.needed.iter().chain(&dynamic.versions).chain(wanted);
        let texts = texts.chain(&dynamic.runpath).chain(&dynamic.rpath).chain(&dynamic.soname);
        size_of::<Self>() + texts.map(|text| text.len() + size_of::<String>()).sum::<usize>()
    }
}

/// A file whose headers have been found.
struct File<'data, H: FileHeader> {
    data: &'data [u8],
    header: &'data H,
    endian: Endianness,
    segments: &'data [H::ProgramHeader],
    sections: &'data [H::SectionHeader],
    names: &'data [u8],
}

impl<'data, H: FileHeader<Endian = Endianness>> File<'data, H> {
    fn open(data: &'data [u8]) -> Result<Self, ElfError> {
        let header = H::parse(data)?;
        let endian = header.endian()?;
        let segments = header.program_headers(endian, data)?;
        if segments.len() > SEGMENTS {
            return Err(ElfError::TooMany("program headers", SEGMENTS));
        }
        let sections = header.section_headers(endian, data)?;
        if sections.is_empty() {
            return Err(ElfError::NoSections);
        }
        if sections.len() > SECTIONS {
            return Err(ElfError::TooMany("section headers", SECTIONS));
        }
        let names = header.section_strings_index(endian, data)?;
        let names = sections.get(names.0).ok_or(ElfError::Text)?.data(endian, data)?;
        Ok(Self { data, header, endian, segments, sections, names })
    }

    fn read(&self) -> Result<Elf, ElfError> {
        let endian = self.endian;
        let purpose = match self.header.e_type(endian) {
            elf::ET_REL => Purpose::Object,
            elf::ET_EXEC => Purpose::Fixed,
            elf::ET_DYN => Purpose::Shared,
            other => return Err(ElfError::Type(other.0)),
        };
        let mut elf = Elf {
            purpose,
            machine: Machine {
                architecture: self.header.e_machine(endian),
                is_64: self.header.is_class_64(),
                is_little_endian: self.header.is_little_endian(),
            },
            code: Code::None,
            interpreter: None,
            dynamic: None,
            relro: false,
            executable_stack: None,
            writable_code: false,
            symbols: false,
            debug: None,
            debug_info: false,
            protected: None,
            build_id: None,
            debug_link: None,
            kernel: None,
            cpu: None,
        };
        self.read_sections(&mut elf)?;
        // The segments of a debug file are those of the file that it belongs to: what is in them is not here.
        if purpose != Purpose::Object && elf.code != Code::Elsewhere {
            self.read_segments(&mut elf)?;
            if purpose == Purpose::Shared && elf.dynamic.is_none() {
                return Err(ElfError::NoDynamic);
            }
        }
        Ok(elf)
    }

    fn read_sections(&self, elf: &mut Elf) -> Result<(), ElfError> {
        let endian = self.endian;
        for section in self.sections {
            let name = text(self.names, section.sh_name(endian).into())?;
            let kind = section.sh_type(endian);
            let is_empty = section.sh_size(endian).into() == 0;
            // What the C library's start files bring is no code of the file's own.
            let started = name == b".init" || name == b".fini" || name.starts_with(b".plt");
            if section.sh_flags(endian).contains(elf::SHF_EXECINSTR) && !is_empty && !started {
                if kind != elf::SHT_NOBITS {
                    elf.code = Code::Here;
                } else if elf.code == Code::None {
                    elf.code = Code::Elsewhere;
                }
            }
            elf.symbols |= kind == elf::SHT_SYMTAB;
            let debug = name.strip_prefix(b".z").or_else(|| name.strip_prefix(b".")).unwrap_or_default();
            if debug.starts_with(b"debug_") || debug.starts_with(b"stab") {
                elf.debug.get_or_insert_with(|| printable(name));
                elf.debug_info |= debug == b"debug_info" && kind != elf::SHT_NOBITS && !is_empty;
            }
            let is_plain = kind == elf::SHT_PROGBITS && !section.sh_flags(endian).contains(elf::SHF_COMPRESSED);
            if name == b".debug_str" && is_plain && elf.protected.is_none() {
                elf.protected = all_protected(section.data(endian, self.data)?);
            }
            if name == b".gnu_debuglink" && kind != elf::SHT_NOBITS {
                elf.debug_link = Some(printable(text(section.data(endian, self.data)?, 0)?));
            }
        }
        if elf.purpose == Purpose::Object || elf.code == Code::Elsewhere {
            let mut count = 0;
            for section in self.sections {
                if let Some(notes) = section.notes(endian, self.data)? {
                    self.read_notes(notes, &mut count, elf)?;
                }
            }
        }
        Ok(())
    }

    fn read_segments(&self, elf: &mut Elf) -> Result<(), ElfError> {
        let endian = self.endian;
        let mut count = 0;
        for segment in self.segments {
            let flags = segment.p_flags(endian);
            match segment.p_type(endian) {
                elf::PT_GNU_RELRO => elf.relro = true,
                elf::PT_GNU_STACK => elf.executable_stack = Some(flags.contains(elf::PF_X)),
                elf::PT_LOAD => elf.writable_code |= flags.contains(elf::PF_W) && flags.contains(elf::PF_X),
                elf::PT_DYNAMIC if elf.dynamic.is_some() => return Err(ElfError::Disagree("where that is")),
                elf::PT_DYNAMIC => elf.dynamic = Some(self.read_dynamic(segment)?),
                elf::PT_INTERP => {
                    let path = segment.interpreter(endian, self.data)?.unwrap_or_default();
                    elf.interpreter = Some(printable(&path[..path.len().min(TEXT)]));
                }
                _ => {}
            }
            if let Some(notes) = segment.notes(endian, self.data)? {
                self.read_notes(notes, &mut count, elf)?;
            }
        }
        Ok(())
    }

    fn read_notes(&self, mut notes: NoteIterator<'data, H>, count: &mut usize, elf: &mut Elf) -> Result<(), ElfError> {
        let endian = self.endian;
        while let Some(note) = notes.next()? {
            counted(count, "notes")?;
            if note.name() != elf::ELF_NOTE_GNU {
                continue;
            }
            let description = note.desc();
            match note.n_type(endian) {
                elf::NT_GNU_BUILD_ID => elf.build_id = Some(description[..description.len().min(64)].to_vec()),
                elf::NT_GNU_ABI_TAG => elf.kernel = Some(self.kernel(description)?),
                _ => {}
            }
            let Some(mut properties) = note.gnu_properties(endian) else { continue };
            while let Some(property) = properties.next()? {
                counted(count, "notes")?;
                if property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED {
                    elf.cpu = level(property.data_u32(endian)?).max(elf.cpu);
                }
            }
        }
        Ok(())
    }

    /// The note for the C library: the system, then three numbers of its oldest release that will do.
    fn kernel(&self, description: &[u8]) -> Result<KernelVersion, ElfError> {
        let mut words = description.chunks_exact(4).map(|word| {
            let word = word.try_into().unwrap_or_default();
            if self.endian == Endianness::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
        });
        let mut next = || words.next().ok_or(ElfError::Text);
        if next()? != elf::ELF_NOTE_OS_LINUX {
            return Err(ElfError::System);
        }
        Ok(KernelVersion([next()?, next()?, next()?]))
    }

    fn read_dynamic(&self, segment: &H::ProgramHeader) -> Result<Dynamic, ElfError> {
        let endian = self.endian;
        let entries = segment.dynamic(endian, self.data)?.unwrap_or_default();
        let at: u64 = segment.p_offset(endian).into();
        let section = |kind| self.sections.iter().find(move |section| section.sh_type(endian) == kind);
        let agrees = |section: &H::SectionHeader, address: u64| section.sh_addr(endian).into() == address;
        let table = section(elf::SHT_DYNAMIC).filter(|table| table.sh_offset(endian).into() == at);
        let strings = table.and_then(|table| self.sections.get(table.link(endian).0));
        let strings = strings.ok_or(ElfError::Disagree("where that is"))?;
        let texts = strings.data(endian, self.data)?;

        let mut dynamic = Dynamic::default();
        let mut count = 0;
        let [mut symbols, mut wanted, mut versions] = [false; 3];
        for entry in entries {
            let (tag, value): (_, u64) = (entry.d_tag(endian), entry.d_val(endian).into());
            let string = || Ok::<_, ElfError>(printable(text(texts, value)?));
            let holds = |kind| section(kind).is_some_and(|section| agrees(section, value));
            match tag {
                elf::DT_NULL => break,
                // All of these are loaded, some of them only by some loaders.
                elf::DT_NEEDED | elf::DT_FILTER | elf::DT_AUXILIARY | elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                    counted(&mut count, "libraries")?;
                    dynamic.needed.push(string()?);
                }
                elf::DT_SONAME => dynamic.soname = Some(string()?),
                elf::DT_RPATH => dynamic.rpath = Some(string()?),
                elf::DT_RUNPATH => dynamic.runpath = Some(string()?),
                elf::DT_BIND_NOW => dynamic.bind_now = true,
                elf::DT_TEXTREL => dynamic.text_relocations = true,
                elf::DT_FLAGS => {
                    dynamic.bind_now |= value & elf::DF_BIND_NOW.0 != 0;
                    dynamic.text_relocations |= value & elf::DF_TEXTREL.0 != 0;
                }
                elf::DT_FLAGS_1 => dynamic.bind_now |= value & elf::DF_1_NOW.0 != 0,
                elf::DT_STRTAB if !agrees(strings, value) => return Err(ElfError::Disagree("its texts")),
                elf::DT_SYMTAB => symbols = holds(elf::SHT_DYNSYM),
                elf::DT_VERNEED if !holds(elf::SHT_GNU_VERNEED) => return Err(ElfError::Disagree("versions")),
                elf::DT_VERNEED => wanted = true,
                elf::DT_VERDEF if !holds(elf::SHT_GNU_VERDEF) => return Err(ElfError::Disagree("versions")),
                elf::DT_VERDEF => versions = true,
                _ => {}
            }
        }
        if symbols {
            self.read_symbols(&mut dynamic)?;
        } else if !dynamic.needed.is_empty() {
            return Err(ElfError::Disagree("symbols"));
        }
        if wanted {
            self.read_wanted(&mut dynamic)?;
        }
        if versions {
            self.read_versions(&mut dynamic)?;
        }
        Ok(dynamic)
    }

    /// The functions that come from elsewhere.
    fn read_symbols(&self, dynamic: &mut Dynamic) -> Result<(), ElfError> {
        let endian = self.endian;
        let table = self.sections.iter().find(|section| section.sh_type(endian) == elf::SHT_DYNSYM);
        let Some(table) = table else { return Ok(()) };
        let symbols: &[H::Sym] = table.data_as_array(endian, self.data)?;
        if symbols.len() > SYMBOLS {
            return Err(ElfError::TooMany("symbols", SYMBOLS));
        }
        let texts = self.strings(table.link(endian).0)?;
        // The first is no symbol.
        for symbol in symbols.iter().skip(1).filter(|symbol| symbol.is_undefined(endian)) {
            let name = text(texts, symbol.st_name(endian).into())?;
            dynamic.stack_protector |= functions::guards_stack(name);
            dynamic.fortified |= functions::is_fortified(name);
            dynamic.never_fortified |= functions::is_never_plain(name);
            if dynamic.unfortified.len() < NAMED && functions::has_fortified(name) {
                dynamic.unfortified.push(printable(name));
            }
        }
        Ok(())
    }

    fn read_wanted(&self, dynamic: &mut Dynamic) -> Result<(), ElfError> {
        let endian = self.endian;
        let mut count = 0;
        for section in self.sections {
            let Some((mut libraries, link)) = section.gnu_verneed(endian, self.data)? else { continue };
            let texts = self.strings(link.0)?;
            while let Some((library, mut versions)) = libraries.next()? {
                counted(&mut count, "versions")?;
                let name = printable(text(texts, library.vn_file.get(endian).into())?);
                while let Some(version) = versions.next()? {
                    counted(&mut count, "versions")?;
                    // The loader does not insist on a weak one.
                    if !version.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                        let version = printable(text(texts, version.vna_name.get(endian).into())?);
                        dynamic.wanted.push((name.clone(), version));
                    }
                }
            }
        }
        Ok(())
    }

    fn read_versions(&self, dynamic: &mut Dynamic) -> Result<(), ElfError> {
        let endian = self.endian;
        let mut count = 0;
        for section in self.sections {
            let Some((mut definitions, link)) = section.gnu_verdef(endian, self.data)? else { continue };
            let texts = self.strings(link.0)?;
            while let Some((_, mut names)) = definitions.next()? {
                counted(&mut count, "versions")?;
                // What follows the first are the versions that it grew out of.
                if let Some(name) = names.next()? {
                    dynamic.versions.push(printable(text(texts, name.vda_name.get(endian).into())?));
                }
            }
        }
        Ok(())
    }

    fn strings(&self, index: usize) -> Result<&'data [u8], ElfError> {
        Ok(self.sections.get(index).ok_or(ElfError::Text)?.data(self.endian, self.data)?)
    }
}

/// The text at `offset` of a table of texts that end in NUL. A longer one than [`TEXT`] is an error, so that a table of many
/// references to one endless text costs little.
fn text(table: &[u8], offset: u64) -> Result<&[u8], ElfError> {
    let rest = usize::try_from(offset).ok().and_then(|offset| table.get(offset..)).ok_or(ElfError::Text)?;
    let rest = &rest[..rest.len().min(TEXT)];
    let end = rest.iter().position(|&byte| byte == 0).ok_or(ElfError::Text)?;
    Ok(&rest[..end])
}

/// Whether every compiler's call among these texts (`DW_AT_producer` of DWARF, as GCC writes it) asks for stack protection;
/// `None` if there is none.
fn all_protected(texts: &[u8]) -> Option<bool> {
    const NAME: &[u8] = b"GNU C";
    const OPTION: &[u8] = b" -fstack-protector";
    let mut all = None;
    for text in texts.split(|&byte| byte == 0).filter(|text| text.starts_with(NAME)) {
        let protected = text.windows(OPTION.len()).any(|window| window == OPTION);
        all = Some(protected && all.unwrap_or(true));
    }
    all
}

fn counted(count: &mut usize, what: &'static str) -> Result<(), ElfError> {
    *count += 1;
    if *count > ENTRIES { Err(ElfError::TooMany(what, ENTRIES)) } else { Ok(()) }
}

/// The highest level that the bits ask for.
fn level(bits: u32) -> Option<Cpu> {
    let levels = [
        (elf::GNU_PROPERTY_X86_ISA_1_V4, Cpu::X86_64V4),
        (elf::GNU_PROPERTY_X86_ISA_1_V3, Cpu::X86_64V3),
        (elf::GNU_PROPERTY_X86_ISA_1_V2, Cpu::X86_64V2),
        (elf::GNU_PROPERTY_X86_ISA_1_BASELINE, Cpu::X86_64),
    ];
    levels.into_iter().find(|(bit, _)| bits & bit != 0).map(|(_, cpu)| cpu)
}
