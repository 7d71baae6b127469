//! A tree becomes the same bytes however it was made, and a hostile archive becomes nothing outside its directory.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use pgproof::digest::Digest;
use pgproof::lockfile::Name;
use pgproof::tree::{self, Kind, Limits, Modes, Options, Refusal, Summary, Times, TreeError, Writer};
use proptest::prelude::*;

const EPOCH: u32 = 1_770_000_000;

const OPTIONS: Options =
    Options { strip: 0, modes: Modes::Kept, times: Times::Constant(EPOCH), limits: Limits::STANDARD };

fn top() -> Name {
    "top-1.0".parse().unwrap()
}

fn walk(directory: &Path) -> Result<Vec<u8>, TreeError> {
    let mut tar = Vec::new();
    tree::walk(File::open(directory).unwrap(), &top(), EPOCH, Limits::STANDARD, &mut tar)?;
    Ok(tar)
}

fn unpack(tar: &[u8], directory: &Path, options: &Options) -> Result<Summary, TreeError> {
    tree::unpack(tar, File::open(directory).unwrap(), options)
}

/// An archive from headers as a stranger would make them.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, kind: u8, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o6755);
        header.set_mtime(1_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(b'0', name.as_bytes(), b"", content)
    }

    fn directory(self, name: &str) -> Self {
        self.add(b'5', name.as_bytes(), b"", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.add(b'1', name.as_bytes(), target.as_bytes(), b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Unpacks what must be refused; gives the error and checks that nothing outside of the directory came or went.
fn refusal(tar: &[u8]) -> String {
    let around = tempfile::tempdir().unwrap();
    let inside = around.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(around.path().join("outside"), "untouched").unwrap();
    let error = unpack(tar, &inside, &OPTIONS).unwrap_err();
    assert_eq!(fs::read(around.path().join("outside")).unwrap(), b"untouched");
    let metadata = fs::metadata(around.path().join("outside")).unwrap();
    assert_eq!(metadata.nlink(), 1, "a hard link leads out");
    assert_eq!(names(around.path()), ["inside", "outside"]);
    error.to_string()
}

#[test]
fn hostile_entries_are_refused() {
    let archive = Archive::default;
    insta::assert_snapshot!(refusal(&archive().file("/outside", b"x").end()), @r#""/outside" is refused: its path is absolute"#);
    insta::assert_snapshot!(refusal(&archive().file("../outside", b"x").end()), @r#""../outside" is refused: its path has a "..""#);
    insta::assert_snapshot!(refusal(&archive().directory("a").file("a/../../outside", b"x").end()), @r#""a/../../outside" is refused: its path has a "..""#);
    insta::assert_snapshot!(refusal(&archive().symlink("a", "..").file("a/outside", b"x").end()), @r#""a" is refused: it lies below a link or file"#);
    insta::assert_snapshot!(refusal(&archive().symlink("a", "../outside").file("a", b"x").end()), @r#""a" is refused: there already is an entry of this name"#);
    insta::assert_snapshot!(refusal(&archive().symlink("a", "..").directory("a").end()), @r#""a" is refused: it lies below a link or file"#);
    insta::assert_snapshot!(refusal(&archive().symlink("a", "..").directory("a/b").end()), @r#""a" is refused: it lies below a link or file"#);
    insta::assert_snapshot!(refusal(&archive().file("a", b"x").file("a/b", b"x").end()), @r#""a" is refused: it lies below a link or file"#);
    insta::assert_snapshot!(refusal(&archive().hard_link("a", "../outside").end()), @r#""a" is refused: it is a hard link to something else than a file that came before it"#);
    insta::assert_snapshot!(refusal(&archive().hard_link("a", "/etc/passwd").end()), @r#""a" is refused: it is a hard link to something else than a file that came before it"#);
    insta::assert_snapshot!(refusal(&archive().symlink("up", "..").hard_link("a", "up/outside").end()), @r#""a" is refused: it is a hard link to something else than a file that came before it"#);
    insta::assert_snapshot!(refusal(&archive().symlink("l", "../outside").hard_link("a", "l").end()), @r#""a" is refused: it is a hard link to something else than a file that came before it"#);
    insta::assert_snapshot!(refusal(&archive().hard_link("a", "a").end()), @r#""a" is refused: it is a hard link to something else than a file that came before it"#);
    insta::assert_snapshot!(refusal(&archive().file("a", b"x").file("./a", b"y").end()), @r#""a" is refused: there already is an entry of this name"#);
    insta::assert_snapshot!(refusal(&archive().directory("a").directory("a/").end()), @r#""a" is refused: there already is an entry of this name"#);
    insta::assert_snapshot!(refusal(&archive().add(b'3', b"dev/null", b"", b"").end()), @r#""dev/null" is refused: it is a character device; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(&archive().add(b'4', b"sda", b"", b"").end()), @r#""sda" is refused: it is a block device; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(&archive().add(b'6', b"pipe", b"", b"").end()), @r#""pipe" is refused: it is a fifo; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(&archive().add(b'S', b"holes", b"", b"").end()), @r#""holes" is refused: it is a sparse file; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(&archive().add(b'V', b"label", b"", b"").end()), @r#""label" is refused: it is a thing of unknown type; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(&archive().file("a/", b"x").end()), @r#""a/" is refused: its path is empty, has a NUL byte or names a directory"#);
    insta::assert_snapshot!(refusal(&archive().symlink(".", "..").end()), @r#""." is refused: its path is empty, has a NUL byte or names a directory"#);
    insta::assert_snapshot!(refusal(&archive().symlink("a", "").end()), @r#""a" is refused: its link target is empty, too long or has a NUL byte"#);
    insta::assert_snapshot!(refusal(&archive().file("\x1b[2J\u{202e}", b"x").file("\x1b[2J\u{202e}", b"x").end()), @r#""\u{1b}[2J\u{202e}" is refused: there already is an entry of this name"#);
    insta::assert_snapshot!(refusal(&archive().file(&"a/".repeat(50)[..99], b"x").add(b'L', b"././@LongLink", b"", &[b"b/".repeat(65).as_slice(), b"b\0"].concat()).file("b", b"x").end()).split(':').next_back().unwrap(), @" its path has more than 64 components");
}

#[test]
fn malformed_archives_are_refused() {
    let whole = Archive::default().directory("a").file("a/b", &[7; 1000]).end();
    let around = tempfile::tempdir().unwrap();
    for length in (0..whole.len() - 1023).filter(|length| length % 512 < 2 || length % 97 == 0) {
        let inside = tempfile::tempdir_in(&around).unwrap();
        let error = unpack(&whole[..length], inside.path(), &OPTIONS).unwrap_err();
        assert!(error.to_string().ends_with("it is truncated"), "{length}: {error}");
    }

    let archive = Archive::default;
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    insta::assert_snapshot!(refusal(&flipped), @"the archive is malformed at byte 0: this is not a tar header");
    insta::assert_snapshot!(refusal(&[whole.as_slice(), b"more"].concat()), @"the archive is malformed at byte 2048: data follows the end of the archive");
    insta::assert_snapshot!(refusal(&[whole.as_slice(), &whole].concat()), @"the archive is malformed at byte 2048: data follows the end of the archive");
    insta::assert_snapshot!(refusal(&archive().add(b'5', b"a", b"", b"content").end()), @"the archive is malformed at byte 0: an entry that is no file has content");
    insta::assert_snapshot!(refusal(&archive().add(b'L', b"l", b"", b"name\0").end()), @"the archive is malformed at byte 0: the extended header does not belong to exactly one entry");
    insta::assert_snapshot!(refusal(&archive().add(b'L', b"l", b"", b"a\0").add(b'L', b"l", b"", b"b\0").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header does not belong to exactly one entry");
    insta::assert_snapshot!(refusal(&archive().add(b'L', b"l", b"", b"a\0").add(b'x', b"x", b"", b"9 path=b\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header does not belong to exactly one entry");
    insta::assert_snapshot!(refusal(&archive().add(b'g', b"g", b"", b"9 path=b\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header does not belong to exactly one entry");
    insta::assert_snapshot!(refusal(&archive().add(b'x', b"x", b"", b"9999 path=b\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header is malformed");
    insta::assert_snapshot!(refusal(&archive().add(b'x', b"x", b"", b"4 path=b\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header is malformed");
    insta::assert_snapshot!(refusal(&archive().add(b'x', b"x", b"", b"10 size=99\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header is malformed");
    insta::assert_snapshot!(refusal(&archive().add(b'x', b"x", b"", b"22 GNU.sparse.major=1\n").file("c", b"").end()), @"the archive is malformed at byte 0: the extended header is malformed");
    insta::assert_snapshot!(refusal(&archive().add(b'L', b"l", b"", &vec![b'a'; 1 << 20]).file("c", b"").end()), @"the archive is malformed at byte 0: the extended headers of one entry are longer than 1048576 bytes");
}

/// Archives as an attacker would put them together: few names, so that entries meet each other, and any kind.
fn hostile_archive() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::collection::vec(prop::sample::select(vec!["a", "b", "..", ".", "", "outside"]), 1..4)
        .prop_map(|components| components.join("/"));
    let kind = prop::sample::select(b"0000555112221LKxg346".to_vec());
    let entry = (kind, name.clone(), name, 0..40_usize);
    let change = prop::option::of((0..8_192_usize, any::<u8>()));
    (prop::collection::vec(entry, 1..12), change).prop_map(|(entries, change)| {
        let mut tar = Archive::default();
        for (kind, name, target, length) in entries {
            let content = match kind {
                b'0' => vec![b'c'; length],
                b'L' | b'K' => [target.as_bytes(), b"\0"].concat(),
                b'x' | b'g' => format!("{} path={target}\n", target.len() + 9).into_bytes(),
                _ => Vec::new(),
            };
            tar = tar.add(kind, name.as_bytes(), target.as_bytes(), &content);
        }
        let mut tar = tar.end();
        if let Some((offset, byte)) = change {
            let offset = offset % tar.len();
            tar[offset] = byte;
        }
        tar
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_archive_reaches_outside(tar in hostile_archive(), strip in 0..2_u32) {
        let around = tempfile::tempdir().unwrap();
        let inside = around.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(around.path().join("outside"), "untouched").unwrap();
        let unpacked = unpack(&tar, &inside, &Options { strip, ..OPTIONS });
        prop_assert_eq!(fs::read(around.path().join("outside")).unwrap(), b"untouched");
        prop_assert_eq!(fs::metadata(around.path().join("outside")).unwrap().nlink(), 1);
        prop_assert_eq!(names(around.path()), ["inside", "outside"]);
        // What was taken whole can be written again, unless a link in it leads out.
        if unpacked.is_ok() {
            match walk(&inside) {
                Ok(_) | Err(TreeError::Refused { refusal: Refusal::Escape, .. }) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "sorted below")]
fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn endless_archives_end() {
    let end = Archive::default().end();
    let directory = tempfile::tempdir().unwrap();
    let endless = io::Read::chain(end.as_slice(), io::repeat(0));
    let error = tree::unpack(endless, File::open(&directory).unwrap(), &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), "the archive is malformed at byte 0: data follows the end of the archive");

    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[0] = b'a';
    header.set_size(1 << 50);
    header.set_mode(0o644);
    header.set_cksum();
    let bomb = io::Read::chain(header.as_bytes().as_slice(), io::repeat(7));
    let error = tree::unpack(bomb, File::open(&directory).unwrap(), &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), r#""a" is refused: the tree has more than 17179869184 bytes of content"#);

    let files = (0..20).fold(Archive::default(), |archive, index| archive.file(&format!("d{index}/f"), b"12345")).end();
    let limited = |limits| {
        let directory = tempfile::tempdir().unwrap();
        unpack(&files, directory.path(), &Options { limits, ..OPTIONS }).map_err(|error| error.to_string())
    };
    assert_eq!(limited(Limits { entries: 20, bytes: 100, names: 50 }), Ok(Summary { entries: 20, bytes: 100 }));
    insta::assert_snapshot!(limited(Limits { entries: 19, ..Limits::STANDARD }).unwrap_err(), @r#""d19/f" is refused: the tree has more than 19 entries"#);
    insta::assert_snapshot!(limited(Limits { bytes: 99, ..Limits::STANDARD }).unwrap_err(), @r#""d19/f" is refused: the tree has more than 99 bytes of content"#);
    insta::assert_snapshot!(limited(Limits { names: 49, ..Limits::STANDARD }).unwrap_err(), @r#""d19" is refused: the tree has more than 49 bytes of names"#);
}

#[test]
fn an_archive_is_unpacked_as_asked() {
    let tar = Archive::default()
        .add(b'g', b"pax_global_header", b"", b"13 comment=x\n")
        .directory("./")
        .directory("./p-1/")
        .file("./p-1/Makefile", b"all:\n")
        .file("./p-1/makefile", b"other\n")
        .symlink("./p-1/dangling", "../../../etc//./passwd/")
        .hard_link("p-1/second", "./p-1/Makefile")
        .add(b'x', b"x", b"", b"25 path=p-1/deep/er/file\n")
        .file("short", b"deep")
        .end();
    let directory = tempfile::tempdir().unwrap();
    let options = Options { strip: 1, times: Times::Shifted(5), ..OPTIONS };
    assert_eq!(unpack(&tar, directory.path(), &options).unwrap(), Summary { entries: 7, bytes: 15 });
    let at = |name: &str| directory.path().join(name);
    assert_eq!(fs::read(at("Makefile")).unwrap(), b"all:\n");
    assert_eq!(fs::read(at("makefile")).unwrap(), b"other\n");
    assert_eq!(fs::read(at("deep/er/file")).unwrap(), b"deep");
    assert_eq!(fs::read_link(at("dangling")).unwrap().as_os_str().as_bytes(), b"../../../etc//./passwd/");
    assert_eq!(fs::metadata(at("second")).unwrap().ino(), fs::metadata(at("Makefile")).unwrap().ino());
    for name in ["Makefile", "dangling", "deep", "deep/er", "deep/er/file"] {
        assert_eq!(fs::symlink_metadata(at(name)).unwrap().mtime(), 1_005, "{name}");
    }
    assert_eq!(fs::metadata(at("Makefile")).unwrap().mode() & 0o7777, 0o755, "set-id bits are dropped");

    let long_ago = Options { strip: 1, times: Times::Shifted(-5_000), ..OPTIONS };
    let directory = tempfile::tempdir().unwrap();
    unpack(&tar, directory.path(), &long_ago).unwrap();
    assert_eq!(fs::metadata(directory.path().join("makefile")).unwrap().mtime(), 0);

    let too_much = Options { strip: 2, ..OPTIONS };
    let error = unpack(&tar, directory.path(), &too_much).unwrap_err();
    assert_eq!(error.to_string(), r#""p-1/Makefile" is refused: its path has too few components to strip"#);
}

#[test]
fn read_only_directories_are_filled_before_they_are_closed() {
    let mut tar = Writer::new(Vec::new(), EPOCH);
    tar.append(b"closed", &Kind::Directory, 0o500, io::empty()).unwrap();
    tar.append(b"closed/file", &Kind::File { size: 1 }, 0o400, b"x".as_slice()).unwrap();
    let tar = tar.finish().unwrap();
    let directory = tempfile::tempdir().unwrap();
    unpack(&tar, directory.path(), &OPTIONS).unwrap();
    let closed = directory.path().join("closed");
    assert_eq!(fs::metadata(&closed).unwrap().mode() & 0o7777, 0o500);
    assert_eq!(fs::metadata(closed.join("file")).unwrap().mode() & 0o7777, 0o400);
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();

    let directory = tempfile::tempdir().unwrap();
    unpack(&tar, directory.path(), &Options { modes: Modes::Normalised, ..OPTIONS }).unwrap();
    assert_eq!(fs::metadata(directory.path().join("closed")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(directory.path().join("closed/file")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn what_is_there_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    unpack(&Archive::default().file("d/f", b"first").end(), directory.path(), &OPTIONS).unwrap();
    let error = unpack(&Archive::default().file("d/f", b"second").end(), directory.path(), &OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), r#""d/f" is refused: there already is an entry of this name"#);
    assert_eq!(fs::read(directory.path().join("d/f")).unwrap(), b"first");
}

/// How a tree is made; none of it may show.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    reverse: bool,
    hard_link: bool,
    permissions: u32,
    time: i64,
}

/// A small installed tree.
fn plant(directory: &Path, conditions: Conditions) {
    let long = "long/".repeat(25);
    let mut files = [
        ("bin/postgres".to_owned(), b"\x7fELF".to_vec(), true),
        ("bin.d/a".to_owned(), Vec::new(), false),
        ("bin/psql".to_owned(), b"same".to_vec(), true),
        ("bin/reindexdb".to_owned(), b"same".to_vec(), true),
        (format!("{long}name"), vec![1; 513], false),
        ("Fő tanúsítvány".to_owned(), vec![2; 300_000], false),
    ];
    if conditions.reverse {
        files.reverse();
    }
    for (path, content, executable) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let twin = path.with_file_name("psql");
        if conditions.hard_link && path.ends_with("reindexdb") && twin.exists() {
            fs::hard_link(twin, &path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
        let mode = conditions.permissions | 0o400 | if executable { 0o100 } else { 0 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(conditions.time.unsigned_abs());
        File::open(&path).unwrap().set_modified(time).unwrap();
    }
    fs::create_dir(directory.join("empty")).unwrap();
    symlink("postgres", directory.join("bin/postmaster")).unwrap();
    symlink("../../bin/./psql", directory.join("long/long/psql")).unwrap();
    symlink("x/".repeat(60), directory.join("dangling")).unwrap();
}

const PLAIN: Conditions = Conditions { reverse: false, hard_link: false, permissions: 0o644, time: 5 };

#[test]
fn the_format_is_pinned() {
    let directory = tempfile::tempdir().unwrap();
    plant(directory.path(), PLAIN);
    let tar = walk(directory.path()).unwrap();
    insta::assert_snapshot!(Digest::of(&tar), @"sha256:919327b9ddd006951c33e73fc0423be4498dfd624d0348d0bd2ec9f8c7001f1d");

    let copy = tempfile::tempdir().unwrap();
    unpack(&tar, copy.path(), &Options { strip: 1, ..OPTIONS }).unwrap();
    assert!(tar == walk(copy.path()).unwrap(), "unpacking and walking again changes nothing");
    assert_eq!(fs::metadata(copy.path().join("bin")).unwrap().mtime(), i64::from(EPOCH));

    let mut paths = Vec::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        paths.push(entry.unwrap().path().unwrap().display().to_string());
    }
    let mut tops: Vec<&str> = paths.iter().map(|path| path.split('/').nth(1).unwrap_or_default()).collect();
    tops.dedup();
    assert_eq!(tops, ["", "Fő tanúsítvány", "bin", "bin.d", "dangling", "empty", "long"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another program is the judge")]
fn gnu_tar_makes_the_same_archive() {
    let directory = tempfile::tempdir().unwrap();
    plant(directory.path(), PLAIN);
    let tar = walk(directory.path()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    unpack(&tar, copy.path(), &OPTIONS).unwrap();
    let theirs = std::process::Command::new("tar")
        .args(["--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--hard-dereference", "-b1"])
        .arg("-C")
        .arg(copy.path())
        .args(["-c", "top-1.0"])
        .output()
        .unwrap();
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
    assert!(tar == theirs.stdout);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn how_a_tree_was_made_does_not_show(
        reverse: bool,
        hard_link: bool,
        permissions in prop::sample::select(vec![0o000, 0o044, 0o066, 0o200, 0o244, 0o266]),
        time in 0..i64::from(u32::MAX),
    ) {
        let plain = tempfile::tempdir().unwrap();
        plant(plain.path(), PLAIN);
        let other = tempfile::tempdir().unwrap();
        plant(other.path(), Conditions { reverse, hard_link, permissions, time });
        prop_assert!(walk(plain.path()).unwrap() == walk(other.path()).unwrap());
    }
}

#[test]
fn a_build_cannot_smuggle() {
    let refusal = |plant: fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/file"), "").unwrap();
        plant(directory.path());
        walk(directory.path()).unwrap_err().to_string()
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    insta::assert_snapshot!(refusal(|tree| symlink("/etc/passwd", tree.join("d/l")).unwrap()), @r#""top-1.0/d/l" is refused: it is a symbolic link that is absolute or could lead out of the tree"#);
    insta::assert_snapshot!(refusal(|tree| symlink("../../x", tree.join("d/l")).unwrap()), @r#""top-1.0/d/l" is refused: it is a symbolic link that is absolute or could lead out of the tree"#);
    insta::assert_snapshot!(refusal(|tree| symlink("..", tree.join("l")).unwrap()), @r#""top-1.0/l" is refused: it is a symbolic link that is absolute or could lead out of the tree"#);
    insta::assert_snapshot!(refusal(|tree| { symlink("..", tree.join("d/up")).unwrap(); symlink("d/up/..", tree.join("l")).unwrap(); }), @r#""top-1.0/l" is refused: it is a symbolic link that is absolute or could lead out of the tree"#);
    insta::assert_snapshot!(refusal(|tree| symlink("a\nb", tree.join("l")).unwrap()), @r#""top-1.0/l" is refused: its name or link target has control characters"#);
    insta::assert_snapshot!(refusal(|tree| fs::write(tree.join("a\nb"), "").unwrap()), @r#""top-1.0/a\nb" is refused: its name or link target has control characters"#);
    insta::assert_snapshot!(refusal(|tree| fs::write(tree.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap()), @r#""top-1.0/\xFF" is refused: its name or link target is not UTF-8"#);
    insta::assert_snapshot!(refusal(|tree| drop(std::os::unix::net::UnixListener::bind(tree.join("s")).unwrap())), @r#""top-1.0/s" is refused: it is a socket; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(|tree| nix::unistd::mkfifo(&tree.join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap()), @r#""top-1.0/p" is refused: it is a fifo; only files, directories and links are accepted"#);
    insta::assert_snapshot!(refusal(|tree| fs::create_dir_all(tree.join("x/".repeat(65))).unwrap()).split(':').next_back().unwrap(), @" its path has more than 64 components");
    for set_id in [0o4755, 0o2755] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("f"), "").unwrap();
        mode(&directory.path().join("f"), set_id);
        assert_eq!(walk(directory.path()).unwrap_err().to_string(), r#""top-1.0/f" is refused: it has a set-id bit"#);
    }
}

#[test]
fn a_hostile_tree_is_limited() {
    let directory = tempfile::tempdir().unwrap();
    let holes = File::create(directory.path().join("holes")).unwrap();
    holes.set_len(1 << 43).unwrap();
    let error = walk(directory.path()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#""top-1.0/holes" is refused: the tree has more than 17179869184 bytes of content"#);
    holes.set_len(10).unwrap();
    let limited = |limits| {
        let tree = File::open(directory.path()).unwrap();
        tree::walk(tree, &top(), EPOCH, limits, io::sink()).map_err(|error| error.to_string())
    };
    assert_eq!(limited(Limits { entries: 2, bytes: 10, names: 5 }), Ok(Summary { entries: 2, bytes: 10 }));
    insta::assert_snapshot!(limited(Limits { entries: 1, ..Limits::STANDARD }).unwrap_err(), @r#""top-1.0" is refused: the tree has more than 1 entries"#);
    insta::assert_snapshot!(limited(Limits { names: 4, ..Limits::STANDARD }).unwrap_err(), @r#""top-1.0" is refused: the tree has more than 4 bytes of names"#);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    // The first bytes of the archive come out once the walk is at the file's second piece: then it changes.
    struct Changer<'a>(&'a File, u64);
    impl io::Write for Changer<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.set_len(self.1)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for length in [(1 << 20) - 1, (1 << 20) + 1] {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("log")).unwrap();
        file.set_len(1 << 20).unwrap();
        let tree = File::open(directory.path()).unwrap();
        let error = tree::walk(tree, &top(), EPOCH, Limits::STANDARD, Changer(&file, length)).unwrap_err();
        assert_eq!(error.to_string(), r#""top-1.0/log" is refused: it changed while it was read"#);
    }
}

#[test]
fn other_programs_read_long_and_strange_names() {
    let name = [b"d\xff".as_slice(), &[b'n'; 120], b"\xfe"].concat();
    let target = [b"./a//b/../".as_slice(), &[0xfd; 120]].concat();
    for (name, target) in [(name.as_slice(), target.as_slice()), (&name[..100], &target[..100]), (b"\xff", b"./a//b/")]
    {
        let mut tar = Writer::new(Vec::new(), EPOCH);
        tar.append(name, &Kind::Symlink { target: target.to_vec() }, 0o777, io::empty()).unwrap();
        let tar = tar.finish().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut entries = archive.entries().unwrap();
        let entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path_bytes(), name);
        assert_eq!(entry.link_name_bytes().unwrap(), target);
        assert_eq!(entry.header().mtime().unwrap(), u64::from(EPOCH));
        assert!(entries.next().is_none());
    }
}

#[test]
fn the_writer_refuses_what_a_reader_would() {
    for path in [b"".as_slice(), b".", b"/a", b"a/../b", b"a\0b"] {
        let error = Writer::new(io::sink(), EPOCH).append(path, &Kind::Directory, 0o755, io::empty()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
    }
    let short = Writer::new(io::sink(), EPOCH).append(b"a", &Kind::File { size: 2 }, 0o644, b"x".as_slice());
    assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let mut rest = b"xyz".as_slice();
    Writer::new(io::sink(), EPOCH).append(b"a", &Kind::File { size: 2 }, 0o644, &mut rest).unwrap();
    let mut left = Vec::new();
    rest.read_to_end(&mut left).unwrap();
    assert_eq!(left, b"z");
}

#[test]
fn a_full_disk_and_a_broken_source_are_told_apart() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("big"), vec![1; 1 << 20]).unwrap();
    let tree = File::open(directory.path()).unwrap();
    let error = tree::walk(tree, &top(), EPOCH, Limits::STANDARD, Full).unwrap_err();
    assert!(matches!(&error, TreeError::Write { source } if source.kind() == io::ErrorKind::StorageFull), "{error}");

    let begun = Archive::default().directory("a").0;
    for reader in [io::Read::chain([].as_slice(), Broken), io::Read::chain(begun.as_slice(), Broken)] {
        let directory = tempfile::tempdir().unwrap();
        let error = tree::unpack(reader, File::open(&directory).unwrap(), &OPTIONS).unwrap_err();
        assert!(matches!(error, TreeError::Read { .. }), "{error}");
    }
}
