//! What is wrong with an archive is found before anybody runs it, and named with its file.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::check::{self, CheckError, Exception, Expected, Kind, Part, Report, Role};
use pgproof::target::{Cpu, Floor, Triple};

/// The top-level directory of the tests' release.
pub(crate) const NAME: &str = "postgresql-17.11.0-x86_64-unknown-linux-gnu";

/// A library that smashes no stack unseen.
const LIBRARY: &str = "#include <string.h>\n\
    int greet(const char *who) { char name[16]; strcpy(name, who); return name[3]; }\n";

/// A program that uses it.
const PROGRAM: &str = "#include <stdio.h>\n#include <string.h>\nint greet(const char *);\n\
    int main(int count, char **words) { char name[16]; strcpy(name, words[0]); puts(name);\n\
    #ifdef CERTAIN\n\
    printf(\"%d\", count);\n\
    #endif\n\
    return count + greet(name); }\n";

const HARDENED: [&str; 8] = [
    "-O2",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
    "-Wl,--enable-new-dtags",
    "-Wl,--build-id=sha1",
    "-Wl,-s",
];

/// A compiler and a directory for what it makes.
pub(crate) struct Workshop {
    directory: tempfile::TempDir,
}

/// An entry of an archive.
#[derive(Clone)]
pub(crate) enum Content {
    File(Vec<u8>),
    Link(&'static str),
}

pub(crate) type Files = Vec<(&'static str, Content)>;

impl Workshop {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, program: &str, words: &[&str]) {
        let ran = Command::new(program).args(words).current_dir(self.directory.path()).output().unwrap();
        assert!(ran.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn compile(&self, source: &str, output: &str, words: &[&str]) -> Vec<u8> {
        std::fs::write(self.path("source.c"), source).unwrap();
        let words = [&HARDENED[..], &["source.c", "-o", output], words].concat();
        self.run("gcc", &words);
        self.read(output)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn library(&self, words: &[&str]) -> Vec<u8> {
        let words = [&["-shared", "-fPIC", "-Wl,-soname,libgreet.so.1"], words].concat();
        self.compile(LIBRARY, "libgreet.so", &words)
    }

    pub(crate) fn program(&self, words: &[&str]) -> Vec<u8> {
        let words = [&["-fPIE", "-pie", "-L.", "-lgreet"], words].concat();
        self.compile(PROGRAM, "program", &words)
    }

    /// A release with nothing wrong.
    pub(crate) fn release(&self) -> Files {
        let library = self.library(&[]);
        let program = self.program(&[RUNPATH]);
        vec![
            ("bin/program", Content::File(program)),
            ("lib/libgreet.so", Content::Link("libgreet.so.1")),
            ("lib/libgreet.so.1", Content::Link("libgreet.so.1.0")),
            ("lib/libgreet.so.1.0", Content::File(library)),
            ("share/README", Content::File(b"It was built somewhere.\n".to_vec())),
        ]
    }
}

const RUNPATH: &str = "-Wl,-rpath,$ORIGIN/../lib";

/// The release with one file in another's place, or one more.
fn with(release: &Files, path: &'static str, content: Content) -> Files {
    let mut files: Files = release.iter().filter(|(other, _)| *other != path).cloned().collect();
    files.push((path, content));
    files
}

pub(crate) fn tar(name: &str, files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        let path = Path::new(name).join(path);
        match content {
            Content::File(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, &**bytes).unwrap();
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

pub(crate) fn part(name: &str, tar: Vec<u8>) -> Part<Cursor<Vec<u8>>> {
    let name = name.parse().unwrap();
    Part { role: Role::of(&name), name, tar: Cursor::new(tar) }
}

/// As much as any host has, so that the machine that the tests run on does not matter.
pub(crate) fn roomy<'a>(exceptions: &'a [Exception<'a>]) -> Expected<'a> {
    Expected {
        target: Triple::X86_64UnknownLinuxGnu,
        floor: Floor { glibc: "2.99".parse().unwrap(), kernel: "99.0.0".parse().unwrap(), cpu: Cpu::X86_64 },
        places: &["/build/", "/pgproof/", "pgproof-"],
        exceptions,
    }
}

fn checked(files: &Files) -> Report {
    check::check(vec![part(NAME, tar(NAME, files))], &roomy(&[])).unwrap()
}

/// All findings: file, kind, about.
fn found(report: &Report) -> Vec<(&str, Kind, &str)> {
    let findings = report.parts.iter().flat_map(|part| &part.findings);
    findings.map(|finding| (finding.file.as_str(), finding.kind, finding.about.as_str())).collect()
}

/// These tests make x86-64 files with the machine's own compiler.
pub(crate) fn is_x86_64() -> bool {
    let is = cfg!(target_arch = "x86_64");
    if !is {
        eprintln!("not run: this is no x86-64 machine");
    }
    is
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    if !is_x86_64() {
        return;
    }
    let report = checked(&Workshop::new().release());
    assert_eq!(found(&report), []);
    assert!(report.is_clean());
    let part = &report.parts[0];
    assert_eq!((part.files, part.elf_files, part.static_libraries), (3, 2, 0));
    assert!(part.host_libraries.contains("libc.so.6"), "{part:?}");
    assert!(report.floor.glibc.found.unwrap() >= "2.3.4".parse().unwrap(), "__strcpy_chk came with it");
    assert_eq!(report.floor.kernel.by.as_deref(), Some(&*format!("{NAME}/bin/program")));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["floor"]["glibc"]["declared"], "2.99");
    assert_eq!(json["parts"][0]["role"], "main");
    assert_eq!(json["parts"][0]["elfFiles"], 2);
}

/// What the compiler is told, and what is found then.
type Weakness<'a> = (&'a [&'a str], &'a [(Kind, &'a str)]);

#[test]
fn every_weakness_of_a_program_is_found() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    let weak: &[Weakness<'_>] = &[
        (&["-fno-pie", "-no-pie"], &[(Kind::NotPie, "")]),
        (&["-Wl,-z,norelro"], &[(Kind::NoRelro, "")]),
        (&["-Wl,-z,lazy"], &[(Kind::NoBindNow, "")]),
        (&["-Wl,-z,execstack"], &[(Kind::ExecutableStack, "")]),
        (&["-fno-stack-protector"], &[(Kind::NoStackProtector, "")]),
        (&["-U_FORTIFY_SOURCE"], &[(Kind::NoFortify, "sizes")]),
        (&["-U_FORTIFY_SOURCE", "-DCERTAIN"], &[(Kind::NoFortify, "")]),
        (&["-Wl,--dynamic-linker=/lib/ld-other.so.1"], &[(Kind::WrongLoader, "/lib/ld-other.so.1")]),
        (&["-Wl,--disable-new-dtags"], &[(Kind::Rpath, "$ORIGIN/../lib")]),
        (&["-Wl,-rpath,/opt/lib"], &[(Kind::Runpath, "/opt/lib")]),
        (&["-Wl,-rpath,lib"], &[(Kind::Runpath, "lib")]),
        (&["-Wl,-rpath,$ORIGIN/../../lib"], &[(Kind::Runpath, "$ORIGIN/../../lib")]),
        (&["-Wl,-rpath,$ORIGIN/$LIB"], &[(Kind::Runpath, "$ORIGIN/$LIB")]),
        (&["-Wl,-rpath,$ORIGINAL"], &[(Kind::Runpath, "$ORIGINAL")]),
        (&["-Wl,-rpath,/home/me/lib"], &[(Kind::Runpath, "/home/me/lib"), (Kind::BuildPath, "/home/")]),
        (&["-Wl,-z,x86-64-v3"], &[(Kind::CpuFloor, "x86-64-v3")]),
    ];
    for (words, expected) in weak {
        let program = shop.program(&[&[RUNPATH], *words].concat());
        let report = checked(&with(&release, "bin/program", Content::File(program)));
        let expected: Vec<_> = expected.iter().map(|(kind, about)| ("bin/program", *kind, *about)).collect();
        assert_eq!(found(&report), expected, "{words:?}");
    }
    let unstripped = |words: &[&str]| {
        std::fs::write(shop.path("source.c"), PROGRAM).unwrap();
        let words = [&HARDENED[..7], &["source.c", "-o", "program", "-L.", "-lgreet", "-pie", "-fPIE", RUNPATH], words];
        shop.run("gcc", &words.concat());
        let report = checked(&with(&release, "bin/program", Content::File(shop.read("program"))));
        report.parts[0].findings.iter().map(|finding| (finding.kind, finding.about.clone())).collect::<Vec<_>>()
    };
    assert_eq!(unstripped(&[]), [(Kind::Unstripped, ".symtab".to_owned())]);
    let with_debug = unstripped(&["-g", "-fdebug-prefix-map=/=/elsewhere/"]);
    assert_eq!(with_debug, [(Kind::Unstripped, ".debug_aranges".to_owned())]);
}

#[test]
fn every_weakness_of_a_library_is_found() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    let findings = |library: Vec<u8>| {
        let report = checked(&with(&release, "lib/libgreet.so.1.0", Content::File(library)));
        found(&report).into_iter().map(|(_, kind, about)| (kind, about.to_owned())).collect::<Vec<_>>()
    };
    let text = shop.compile(
        &format!("{LIBRARY}__asm__(\".text\\n.quad greet\\n\");"),
        "libtext.so",
        &["-shared", "-fPIC", "-Wl,-z,notext"],
    );
    assert_eq!(findings(text), [(Kind::TextRelocations, String::new())]);

    let sound = shop.library(&[]);
    let mut other = sound.clone();
    other[18] = 183;
    // The program that needs it does not find it any more: the loader passes over it.
    let expected = [(Kind::LackingLibrary, "libgreet.so.1"), (Kind::WrongMachine, "aarch64, 64-bit, little-endian")];
    assert_eq!(findings(other), expected.map(|(kind, about)| (kind, about.to_owned())));
    for (at, kind) in [(PT_LOAD, Kind::WritableCode), (PT_GNU_STACK, Kind::ExecutableStack)] {
        let mut patched = sound.clone();
        for header in segments(&sound, at) {
            patched[header + 4] |= 0b111;
        }
        assert_eq!(findings(patched), [(kind, String::new())]);
    }
    let mut silent = sound.clone();
    for header in segments(&sound, PT_GNU_STACK) {
        // PT_NULL
        silent[header..header + 4].fill(0);
    }
    assert_eq!(findings(silent), [(Kind::ExecutableStack, String::new())]);
    let data =
        shop.compile("const int answer = 42;", "libdata.so", &["-shared", "-nostdlib", "-Wl,-soname,libdata.so.1"]);
    assert_eq!(
        found(&checked(&with(&release, "lib/libdata.so.1", Content::File(data)))),
        [],
        "data need no protection"
    );
}

const PT_LOAD: u32 = 1;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// Where the program headers of this type begin (ELF-64, little-endian).
fn segments(elf: &[u8], kind: u32) -> Vec<usize> {
    let start = usize::try_from(u64::from_le_bytes(elf[32..40].try_into().unwrap())).unwrap();
    let count = usize::from(u16::from_le_bytes(elf[56..58].try_into().unwrap()));
    let headers = (0..count).map(|index| start + index * 56);
    headers.filter(|&at| elf[at..at + 4] == kind.to_le_bytes()).collect()
}

#[test]
fn what_a_file_needs_is_looked_for_as_the_loader_does() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    let lacking = [("bin/program", Kind::LackingLibrary, "libgreet.so.1")];

    // Not where the RUNPATH leads, though it is there.
    let lost = shop.program(&["-Wl,-rpath,$ORIGIN"]);
    let report = checked(&with(&release, "bin/program", Content::File(lost)));
    assert_eq!(found(&report), lacking);
    assert_eq!(report.parts[0].findings[0].seen, "it is in the archive as lib/libgreet.so.1");
    assert!(report.parts[0].host_libraries.contains("libgreet.so.1"));
    let without = shop.program(&[]);
    assert_eq!(found(&checked(&with(&release, "bin/program", Content::File(without)))), lacking);

    // Neither a link that leads nowhere nor something else of that name is a library.
    let report = checked(&with(&release, "lib/libgreet.so.1", Content::Link("gone")));
    let dangling =
        [("lib/libgreet.so", Kind::DanglingLink, "libgreet.so.1"), ("lib/libgreet.so.1", Kind::DanglingLink, "gone")];
    assert_eq!(found(&report), [&lacking[..], &dangling].concat());
    let report = checked(&with(&release, "lib/libgreet.so.1.0", Content::File(b"#!/bin/sh\n".to_vec())));
    assert_eq!(found(&report), lacking);
    for out in ["../../lib/libgreet.so.1", "/usr/lib/libgreet.so.1", "libgreet.so.1"] {
        let report = checked(&with(&release, "lib/libgreet.so.1", Content::Link(out)));
        assert_eq!(found(&report)[0], lacking[0], "{out}");
    }

    // Through a linked directory, with the other spelling.
    let mut linked = with(&release, "bin/program", Content::File(shop.program(&["-Wl,-rpath,${ORIGIN}/../lib64"])));
    linked.push(("lib64", Content::Link("lib")));
    assert_eq!(found(&checked(&linked)), []);

    // An empty element is the working directory.
    let empty = shop.program(&["-Wl,-rpath,$ORIGIN/../lib:"]);
    let report = checked(&with(&release, "bin/program", Content::File(empty)));
    assert_eq!(found(&report), [("bin/program", Kind::Runpath, "")]);

    let glibc = shop.library(&["-Wl,-soname,libm.so.6"]);
    let report = checked(&with(&release, "lib/private/libm.so.6", Content::File(glibc)));
    assert_eq!(found(&report), [("lib/private/libm.so.6", Kind::BundledGlibc, "libm.so.6")]);
}

#[test]
fn a_library_of_another_version_is_found() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    std::fs::write(shop.path("old.map"), "GREET_1 { global: greet; local: *; };").unwrap();
    std::fs::write(shop.path("new.map"), "GREET_1 { local: *; };\nGREET_2 { global: greet; } GREET_1;").unwrap();
    let old = shop.library(&["-Wl,--version-script=old.map"]);
    let new = shop.library(&["-Wl,--version-script=new.map"]);
    let program = shop.program(&[RUNPATH]);
    let files = |library: &[u8]| {
        vec![("bin/program", Content::File(program.clone())), ("lib/libgreet.so.1", Content::File(library.to_vec()))]
    };
    assert_eq!(found(&checked(&files(&new))), []);
    let expected = [("bin/program", Kind::LackingVersion, "GREET_2 of libgreet.so.1")];
    assert_eq!(found(&checked(&files(&old))), expected);
}

#[test]
fn a_higher_floor_than_declared_is_found() {
    if !is_x86_64() {
        return;
    }
    let release = Workshop::new().release();
    let floor = Floor { glibc: "2.3".parse().unwrap(), kernel: "2.6.32".parse().unwrap(), cpu: Cpu::X86_64 };
    let expected = Expected { floor, ..roomy(&[]) };
    let report = check::check(vec![part(NAME, tar(NAME, &release))], &expected).unwrap();
    let kinds: Vec<_> = found(&report).into_iter().map(|(file, kind, _)| (file, kind)).collect();
    assert!(kinds.contains(&("bin/program", Kind::KernelFloor)), "{kinds:?}");
    assert!(kinds.contains(&("lib/libgreet.so.1.0", Kind::GlibcFloor)), "{kinds:?}");
    let library = report.parts[0].findings.iter().find(|finding| finding.file.starts_with("lib/")).unwrap();
    assert_eq!((library.about.as_str(), library.seen.as_str()), ("GLIBC_2.3.4", "libc.so.6"));
}

#[test]
fn a_build_place_is_found_wherever_it_stands() {
    if !is_x86_64() {
        return;
    }
    let release = Workshop::new().release();
    let places = |text: &[u8]| {
        let report = checked(&with(&release, "share/text", Content::File(text.to_vec())));
        let findings = report.parts.into_iter().flat_map(|part| part.findings);
        findings.map(|finding| (finding.kind, finding.about, finding.seen)).collect::<Vec<_>>()
    };
    let one = |place: &str, seen: &str| vec![(Kind::BuildPath, place.to_owned(), seen.to_owned())];
    assert_eq!(places(b"gcc -I/home/me/include"), one("/home/", "gcc -I/home/me/include"));
    assert_eq!(places(b"\0\x01/builds/group/project\0"), one("/builds/", "/builds/group/project"));
    assert_eq!(places(b"x\n/build/a\n/build/b"), one("/build/", "/build/a, and 1 more"));
    assert_eq!(places(b"host pgproof-hostname-01234567."), one("pgproof-", "host pgproof-hostname-01234567."));
    assert_eq!(places(b"/root/\x1b[31mred"), []);
    for harmless in [
        "share/home/me",
        "https://example.org/home/me",
        "the directory /home/<user>",
        "/home/",
        "$HOME/root/x",
        "/tmp/x",
    ] {
        assert_eq!(places(harmless.as_bytes()), [], "{harmless}");
    }
    let long = [b"/home/me/".as_slice(), &[b'x'; 500]].concat();
    assert_eq!(places(&long)[0].2.len(), 120);

    // At each place around the ends of the pieces in which an archive is read.
    for piece in [64 << 10, 256 << 10] {
        for at in (piece - 140..piece + 3).chain([piece - 512 - 4]) {
            let text = [vec![b' '; at], b"/build/here/it/is".to_vec(), vec![b'\n'; 300_000]].concat();
            let found = places(&text);
            assert_eq!(found.len(), 1, "{at}");
            assert!(found[0].2.ends_with("/build/here/it/is"), "{at}: {found:?}");
        }
    }
}

#[test]
fn static_libraries_are_read_member_by_member() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    let member = |words: &[&str]| {
        std::fs::write(shop.path("source.c"), LIBRARY).unwrap();
        shop.run("gcc", &[&["-O2", "-c", "source.c", "-o", "a-member-with-a-long-name.o"], words].concat());
    };
    let library = |words: &[&str]| {
        std::fs::remove_file(shop.path("lib.a")).ok();
        shop.run("ar", &[words, &["lib.a", "a-member-with-a-long-name.o"]].concat());
        Content::File(shop.read("lib.a"))
    };
    member(&[]);
    let report = checked(&with(&release, "lib/libgreet.a", library(&["rcs"])));
    assert_eq!((found(&report), report.parts[0].static_libraries), (vec![], 1));
    let thin = checked(&with(&release, "lib/libgreet.a", library(&["rcsT"])));
    assert_eq!(found(&thin)[0].1, Kind::Malformed);
    member(&["-g", "-fdebug-prefix-map=/=/elsewhere/"]);
    let report = checked(&with(&release, "lib/libgreet.a", library(&["rcs"])));
    let finding = &report.parts[0].findings[0];
    assert_eq!((finding.kind, finding.seen.as_str()), (Kind::Unstripped, "a-member-with-a-long-name.o"));
    assert_eq!(report.parts[0].findings.len(), 1);
}

#[test]
fn debug_files_and_what_they_belong_to_find_each_other() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    std::fs::write(shop.path("source.c"), "int twice(int n) { return 2 * n; }\n").unwrap();
    let words = ["source.c", "-shared", "-fPIC", "-g", "-fdebug-prefix-map=/=/elsewhere/", "-o", "twice.so"];
    shop.run("gcc", &[&HARDENED[..7], &words].concat());
    let whole = shop.read("twice.so");
    shop.run("objcopy", &["--only-keep-debug", "twice.so", "twice.so.debug"]);
    shop.run("objcopy", &["--strip-all", "--add-gnu-debuglink=twice.so.debug", "twice.so", "stripped.so"]);
    let debug = shop.read("twice.so.debug");
    let id = std::str::from_utf8(
        &Command::new("readelf").args(["-n", "twice.so"]).current_dir(shop.path("")).output().unwrap().stdout,
    )
    .unwrap()
    .lines()
    .find_map(|line| line.trim().strip_prefix("Build ID: ").map(ToOwned::to_owned))
    .unwrap();
    let link: &'static str = format!("lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]).leak();

    let main = with(&release, "lib/twice.so", Content::File(shop.read("stripped.so")));
    let debug_name = format!("{NAME}-debug");
    let check = |files: &Files| {
        let parts = vec![part(&debug_name, tar(&debug_name, files)), part(NAME, tar(NAME, &main))];
        let report = check::check(parts, &roomy(&[])).unwrap();
        found(&report).into_iter().map(|(file, kind, _)| (file.to_owned(), kind)).collect::<Vec<_>>()
    };
    let sound: Files = vec![
        ("lib/.debug/twice.so.debug", Content::File(debug.clone())),
        (link, Content::Link("../../../.debug/twice.so.debug")),
    ];
    // It has nothing to protect, and its debug file tells that the compiler was asked to.
    assert_eq!(check(&sound), []);
    let alone = check::check(vec![part(NAME, tar(NAME, &main))], &roomy(&[])).unwrap();
    assert_eq!(found(&alone), [("lib/twice.so", Kind::NoStackProtector, "")]);

    let moved: Files = vec![("lib/twice.so.debug", Content::File(debug.clone()))];
    assert_eq!(check(&moved), [("lib/twice.so".to_owned(), Kind::LackingDebug)]);
    let mut astray = sound.clone();
    astray.push(("lib/debug/.build-id/ab/cdef.debug", Content::Link("../../../.debug/twice.so.debug")));
    assert_eq!(check(&astray), [("lib/debug/.build-id/ab/cdef.debug".to_owned(), Kind::BuildIdLink)]);
    let coded = with(&sound, "lib/.debug/twice.so.debug", Content::File(whole));
    assert_eq!(check(&coded), [("lib/.debug/twice.so.debug".to_owned(), Kind::DebugCode)]);
    let mut bare = sound.clone();
    bare.push(("lib/.debug/other.debug", Content::File(shop.library(&["-Wl,-soname,libother.so.1"]))));
    let other = "lib/.debug/other.debug".to_owned();
    let expected = [Kind::NoDebugInformation, Kind::DebugCode, Kind::OrphanedDebug].map(|kind| (other.clone(), kind));
    assert!(expected.iter().all(|expected| check(&bare).contains(expected)), "{:?}", check(&bare));

    let lost = check::check(vec![part(&debug_name, tar(&debug_name, &sound))], &roomy(&[])).unwrap_err();
    insta::assert_snapshot!(lost, @"postgresql-17.11.0-x86_64-unknown-linux-gnu-debug is unpacked over the main archive: name that too");
}

#[test]
fn an_add_on_may_need_what_the_main_archive_has() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let main = shop.release();
    let add_on: Files = vec![("bin/other", Content::File(shop.program(&[RUNPATH])))];
    let (name, client) = (format!("{NAME}-pl"), format!("{NAME}-client"));
    let check = |name: &str| {
        let parts = vec![part(name, tar(name, &add_on)), part(NAME, tar(NAME, &main))];
        check::check(parts, &roomy(&[])).unwrap()
    };
    assert_eq!(found(&check(&name)), []);
    // The client archive is to be used without the main one.
    assert_eq!(found(&check(&client)), [("bin/other", Kind::LackingLibrary, "libgreet.so.1")]);
    let twice = vec![part(NAME, tar(NAME, &main)), part(NAME, tar(NAME, &main))];
    assert!(matches!(check::check(twice, &roomy(&[])), Err(CheckError::Twice { role: Role::Main, .. })));
}

#[test]
fn what_is_excepted_is_told_with_its_reason_and_must_be_there() {
    if !is_x86_64() {
        return;
    }
    let shop = Workshop::new();
    let release = shop.release();
    let files = with(&release, "bin/program", Content::File(shop.program(&["-Wl,-z,lazy"])));
    let check =
        |exceptions: &[Exception<'_>]| check::check(vec![part(NAME, tar(NAME, &files))], &roomy(exceptions)).unwrap();
    let host = Exception {
        roles: &[Role::Main, Role::Client],
        files: "bin/*",
        kind: Kind::LackingLibrary,
        about: Some("libgreet.so.1"),
        reason: "the host greets",
    };
    let lazy = Exception { kind: Kind::NoBindNow, about: None, reason: "it is lazy", ..host };
    let report = check(&[host, lazy]);
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        report.parts[0].excepted.iter().map(|excepted| &*excepted.reason).collect::<Vec<_>>(),
        ["the host greets", "it is lazy"]
    );
    let text = report.to_string();
    let accepted: Vec<_> = text.lines().filter(|line| line.contains("accepted")).collect();
    insta::assert_snapshot!(accepted.join("\n"), @"
      accepted: bin/program needs …, which its RUNPATH does not lead to and which is not the C library's: the host greets
      accepted: bin/program binds functions lazily (no BIND_NOW): it is lazy
    ");

    let other = Exception { about: Some("libother.so.1"), ..host };
    let elsewhere = Exception { roles: &[Role::Client], ..host };
    let below = Exception { files: "*", ..lazy };
    let report = check(&[other, elsewhere, below, lazy]);
    assert_eq!(found(&report), [("bin/program", Kind::LackingLibrary, "libgreet.so.1")]);
    // What is for an archive that was not checked is not out of date.
    assert_eq!(report.stale.iter().map(|stale| &*stale.files).collect::<Vec<_>>(), ["bin/*", "*"]);
    assert_eq!(report.count(), 1);
    let glob = Exception { files: "[", ..host };
    let error = check::check(vec![part(NAME, tar(NAME, &files))], &roomy(&[glob])).unwrap_err();
    insta::assert_snapshot!(error, @r#"the exception's pattern "[" is not a glob"#);
}

/// What Debian itself built is read whole: programs, libraries, start files, static libraries, the loader.
#[test]
fn a_distribution_s_own_files_are_understood() {
    let Ok(listed) =
        Command::new("dpkg").args(["-L", "coreutils", "libc6", "libc6-dev", "libgcc-s1", "libstdc++6"]).output()
    else {
        eprintln!("not run: this is no Debian");
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let listed: std::collections::BTreeSet<_> =
        listed.lines().filter_map(|path| std::fs::canonicalize(path).ok()).filter(|path| path.is_file()).collect();
    let mut tar = tar::Builder::new(Vec::new());
    for path in &listed {
        let mut header = tar::Header::new_gnu();
        let bytes = std::fs::read(path).unwrap();
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, Path::new(NAME).join(path.strip_prefix("/").unwrap()), &*bytes).unwrap();
    }
    let Ok(target) = Triple::host() else { return };
    let report = check::check(vec![part(NAME, tar.into_inner().unwrap())], &Expected { target, ..roomy(&[]) }).unwrap();
    assert!(report.parts[0].elf_files > 20, "{report}");
    let wrong: Vec<_> = found(&report)
        .into_iter()
        .filter(|(_, kind, _)| matches!(kind, Kind::Malformed | Kind::WrongMachine | Kind::WrongLoader | Kind::NotPie))
        .map(|(file, kind, about)| (file.to_owned(), kind, about.to_owned()))
        .collect();
    assert_eq!(wrong, []);
    // It is what everybody else must not bring along.
    assert!(found(&report).iter().any(|(_, kind, about)| *kind == Kind::BundledGlibc && *about == "libc.so.6"));
}
