//! An output is the same bytes on every machine, keeps the archive's contract, and is published whole or not at all.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;

use flate2::read::GzDecoder;
use pgproof::digest::{Digest, Sha512};
use pgproof::lockfile::Name;
use pgproof::output::information::Information;
use pgproof::output::{self, About, Companion, Output, OutputError, Release, Sums, gzip};
use pgproof::plan::Plan;
use pgproof::store::{Blob, Store};
use pgproof::target::Target;
use pgproof::tree::{Kind, Writer};
use proptest::prelude::*;

pub(crate) const EPOCH: u32 = 1_770_000_000;

/// What an entry of a test's archive is.
#[derive(Clone, Copy)]
pub(crate) enum Planted<'a> {
    Directory,
    File(&'a [u8]),
    Program(&'a [u8]),
    Link(&'a str),
}

pub(crate) fn tar(entries: &[(&str, Planted<'_>)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new(), EPOCH);
    for &(path, planted) in entries {
        let (kind, mode, content) = match planted {
            Planted::Directory => (Kind::Directory, 0o755, b"".as_slice()),
            Planted::File(content) => (Kind::File { size: content.len() as u64 }, 0o644, content),
            Planted::Program(content) => (Kind::File { size: content.len() as u64 }, 0o755, content),
            Planted::Link(target) => (Kind::Symlink { target: target.into() }, 0o777, b"".as_slice()),
        };
        tar.append(path.as_bytes(), &kind, mode, content).unwrap();
    }
    tar.finish().unwrap()
}

pub(crate) fn collect(tar: &[u8], store: &Store) -> Result<Output, OutputError> {
    let blob = store.admit(tar).unwrap();
    output::collect(blob, &name("pg-1.0.0"), EPOCH, store)
}

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A plan that makes the archive `stem`.
fn plan(stem: &str) -> Plan {
    let manifest = Digest::of(b"a manifest");
    let plan = serde_json::json!({
        "version": 1, "name": stem, "sourceDateEpoch": EPOCH, "sysroot": {"name": "box", "manifest": manifest},
        "inputs": [], "environment": {}, "steps": [{"name": "make", "argv": ["/bin/make"], "directory": "."}], "output": ".",
    });
    Plan::parse(plan.to_string().as_bytes()).unwrap()
}

/// Publishes `output`, which the plan of its name made.
fn publish(
    output: &Output,
    companions: &[Companion<'_>],
    dist: &Path,
    store: &Store,
) -> Result<std::collections::BTreeMap<Name, Sums>, OutputError> {
    let plan = plan(output.name().as_str());
    output::publish(std::slice::from_ref(output), companions, &About { plan: &plan, release: None }, dist, store)
}

fn read(blob: Blob, store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(blob).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A small archive that has something of everything.
fn sample() -> Vec<u8> {
    let data: Vec<u8> = (0..400_000_u32).flat_map(|number| (number / 3).wrapping_mul(number).to_le_bytes()).collect();
    tar(&[
        ("pg-1.0.0", Planted::Directory),
        ("pg-1.0.0/bin", Planted::Directory),
        ("pg-1.0.0/bin/postgres", Planted::Program(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0")),
        ("pg-1.0.0/data", Planted::File(&data)),
        ("pg-1.0.0/lib", Planted::Directory),
        ("pg-1.0.0/lib/libpq.so", Planted::Link("libpq.so.5")),
        ("pg-1.0.0/share", Planted::Directory),
        ("pg-1.0.0/share/Fő [1]", Planted::File(b"")),
    ])
}

#[test]
fn the_published_bytes_are_pinned() {
    let (_directory, store) = store();
    let output = collect(&sample(), &store).unwrap();
    // Another digest here means that archives of the same content get other bytes.
    insta::assert_snapshot!(output.archive().digest(), @"sha256:120648f6aad4d5162f055d8c6a137c27fee36af454fca89f01cafa7daa466550");
    insta::assert_snapshot!(String::from_utf8(read(output.list(), &store)).unwrap(), @r"
    #mtree
    . type=dir
    ./pg-1.0.0 type=dir mode=0755
    ./pg-1.0.0/bin type=dir mode=0755
    ./pg-1.0.0/bin/postgres type=file mode=0755 size=18 sha256digest=8356ed2550b23e2f2f23f216dbe78c340651a6c34c757195a84bbb8860cfbfac
    ./pg-1.0.0/data type=file mode=0644 size=1600000 sha256digest=74f819bf4025f2ec2799ceda47994b7cc2a03c0c3e4d9d6e77899082067b69db
    ./pg-1.0.0/lib type=dir mode=0755
    ./pg-1.0.0/lib/libpq.so type=link mode=0777 link=libpq.so.5
    ./pg-1.0.0/share type=dir mode=0755
    ./pg-1.0.0/share/F\305\221\040\1331\135 type=file mode=0644 size=0 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    ");
}

#[test]
fn the_archive_is_one_gzip_member_of_the_tar() {
    let (_directory, store) = store();
    let tar = sample();
    let output = collect(&tar, &store).unwrap();
    let archive = read(output.archive(), &store);
    let mut decoder = GzDecoder::new(archive.as_slice());
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).unwrap();
    assert!(content == tar);
    assert!(decoder.into_inner().is_empty(), "something follows the first member");
    assert_eq!(archive[3..8], [0; 5], "a name or a time in the header");
    let smaller = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&tar).unwrap();
        gzip.finish().unwrap().len()
    };
    assert!(archive.len() <= smaller + smaller / 100, "{} bytes against {smaller}", archive.len());
}

fn compress(bytes: &[u8], pieces: usize, threads: usize) -> Vec<u8> {
    let mut encoder = gzip::Encoder::new(Vec::new(), NonZeroUsize::new(threads).unwrap()).unwrap();
    for piece in bytes.chunks(pieces) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut decoded).unwrap();
    decoded
}

#[test]
fn lengths_around_a_block_are_kept() {
    const BLOCK: usize = 128 << 10;
    for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 9 * BLOCK + 7] {
        let bytes: Vec<u8> = (0..length).map(|index| ((index * index) >> 7).to_le_bytes()[0]).collect();
        assert!(decompress(&compress(&bytes, 1 << 20, 2)) == bytes, "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_number_of_threads_does_not_show(
        seed in prop::collection::vec(any::<u8>(), 1..2_000),
        repeat in 1..300_usize,
        pieces in 1..300_000_usize,
        threads in 1..9_usize,
    ) {
        let bytes = seed.repeat(repeat);
        let alone = compress(&bytes, bytes.len(), 1);
        prop_assert!(compress(&bytes, pieces, threads) == alone);
        prop_assert!(decompress(&alone) == bytes);
    }
}

#[test]
fn an_encoder_that_is_given_up_ends() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() == 10 { Ok(10) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut encoder = gzip::Encoder::new(Full, NonZeroUsize::new(2).unwrap()).unwrap();
    let error = encoder.write_all(&vec![0; 10 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_tar_that_breaks_the_contract_is_refused() {
    use Planted::{Directory, File, Link};
    let (_directory, store) = store();
    let refusal = |tar: &[u8]| {
        let error = collect(tar, &store).unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    };
    let top = ("pg-1.0.0", Directory);
    insta::assert_snapshot!(refusal(&tar(&[])), @r#""pg-1.0.0" breaks the archive's contract: it is not in the one top-level directory"#);
    insta::assert_snapshot!(refusal(&tar(&[("pg-1.0.0", File(b""))])), @r#""pg-1.0.0" breaks the archive's contract: it is not in the one top-level directory"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-2.0.0", Directory)])), @r#""pg-2.0.0" breaks the archive's contract: it is not in the one top-level directory"#);
    insta::assert_snapshot!(refusal(&tar(&[("pg-1.0.0/a", File(b""))])), @r#""pg-1.0.0/a" breaks the archive's contract: there is no entry for the directory that it is in"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/a/b", File(b""))])), @r#""pg-1.0.0/a/b" breaks the archive's contract: there is no entry for the directory that it is in"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/a", File(b"")), ("pg-1.0.0/a/b", File(b""))])), @r#""pg-1.0.0/a/b" breaks the archive's contract: there is no entry for the directory that it is in"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/b", File(b"")), ("pg-1.0.0/a", File(b""))])), @r#""pg-1.0.0/a" breaks the archive's contract: it is not in its place in the order"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/a", File(b"")), ("pg-1.0.0/a", File(b""))])), @r#""pg-1.0.0/a" breaks the archive's contract: it is not in its place in the order"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/a", Directory), ("pg-1.0.0/a.b", File(b"")), ("pg-1.0.0/a/b", File(b""))])), @r#""pg-1.0.0/a/b" breaks the archive's contract: it is not in its place in the order"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/l", Link("/bin/sh"))])), @r#""pg-1.0.0/l" breaks the archive's contract: it is a symbolic link that is absolute or could lead out"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/l", Link("../x"))])), @r#""pg-1.0.0/l" breaks the archive's contract: it is a symbolic link that is absolute or could lead out"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/l", Link("a\nb"))])), @r#""pg-1.0.0/l" breaks the archive's contract: its name or link target is not plain UTF-8 text"#);
    insta::assert_snapshot!(refusal(&tar(&[top, ("pg-1.0.0/gp.\u{202e}txt", File(b""))])), @r#""pg-1.0.0/gp.\u{202e}txt" breaks the archive's contract: its name or link target is not plain UTF-8 text"#);
}

#[test]
fn what_a_reader_might_overlook_is_refused() {
    let (_directory, store) = store();
    let fine = tar(&[("pg-1.0.0", Planted::Directory), ("pg-1.0.0/a", Planted::File(b"x"))]);
    collect(&fine, &store).unwrap();
    // The second header begins at 512, its content at 1024; the fields are those of POSIX.1-2024, pax, "ustar Header Block".
    let refusal = |change: fn(&mut tar::Header)| {
        let mut tar = fine.clone();
        let mut header = tar::Header::from_byte_slice(&tar[512..1024]).clone();
        change(&mut header);
        header.set_cksum();
        // In the form that the normal header has it, so that it is not the checksum that gives the change away.
        let sum = format!("{:06o}\0 ", header.cksum().unwrap());
        header.as_old_mut().cksum.copy_from_slice(sum.as_bytes());
        tar[512..1024].copy_from_slice(header.as_bytes());
        collect(&tar, &store).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal(|_| ()), "");
    insta::assert_snapshot!(refusal(|header| header.set_mode(0o4755)), @r#""pg-1.0.0/a" breaks the archive's contract: its mode is not 0755 for a directory, 0755 or 0644 for a file, 0777 for a symbolic link"#);
    insta::assert_snapshot!(refusal(|header| header.set_mode(0o600)), @r#""pg-1.0.0/a" breaks the archive's contract: its mode is not 0755 for a directory, 0755 or 0644 for a file, 0777 for a symbolic link"#);
    insta::assert_snapshot!(refusal(|header| header.set_uid(1000)), @r#""pg-1.0.0/a" breaks the archive's contract: its header is not in the normal form"#);
    insta::assert_snapshot!(refusal(|header| header.set_mtime(1)), @r#""pg-1.0.0/a" breaks the archive's contract: its header is not in the normal form"#);
    insta::assert_snapshot!(refusal(|header| header.set_username("builder").unwrap()), @r#""pg-1.0.0/a" breaks the archive's contract: its header is not in the normal form"#);
    insta::assert_snapshot!(refusal(|header| header.as_old_mut().pad[100] = 1), @r#""pg-1.0.0/a" breaks the archive's contract: its header is not in the normal form"#);
    insta::assert_snapshot!(refusal(|header| header.as_old_mut().name[20] = b'x'), @r#""pg-1.0.0/a" breaks the archive's contract: its header is not in the normal form"#);
    insta::assert_snapshot!(refusal(|header| { header.set_entry_type(tar::EntryType::Link); header.set_size(0); header.set_link_name("pg-1.0.0").unwrap(); }), @r#""pg-1.0.0/a" breaks the archive's contract: it is a hard link"#);

    let mut padded = fine.clone();
    padded[1100] = b'x';
    let error = collect(&padded, &store).unwrap_err();
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"the archive is malformed at byte 512: the padding after the content is not zero");
    padded = fine.clone();
    padded.resize(padded.len() + 512, 0);
    insta::assert_snapshot!(collect(&padded, &store).unwrap_err(), @r#""pg-1.0.0/a" breaks the archive's contract: the archive's end is not in the normal form"#);
    let error = collect(&fine[..fine.len() - 1024], &store).unwrap_err();
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"the archive is malformed at byte 1536: it is truncated");
}

#[test]
fn a_tar_that_was_changed_in_the_store_is_found() {
    let (_directory, store) = store();
    let tar = sample();
    let blob = store.admit(&tar).unwrap();
    let path = store.root().join("blobs/sha256").join(blob.digest().hex());
    let mut changed = tar.clone();
    // Within the content of a file, where the archive's form stays as it is.
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, changed).unwrap();
    let mut error: &dyn std::error::Error = &output::collect(blob, &name("pg-1.0.0"), EPOCH, &store).unwrap_err();
    while let Some(source) = error.source() {
        error = source;
    }
    assert!(error.to_string().contains("is damaged"), "{error}");
}

#[expect(clippy::disallowed_methods, reason = "sorted below")]
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_published_checks_with_sha256sum() {
    let (_directory, store) = store();
    let output = collect(&sample(), &store).unwrap();
    let around = tempfile::tempdir().unwrap();
    let dist = around.path().join("a/dist");
    let plan = Companion { name: &name("pg-1.0.0.plan.json"), bytes: b"{}" };
    let published = publish(&output, &[plan], &dist, &store).unwrap();
    let expected = [
        "SHA256SUMS",
        "SHA512SUMS",
        "build-info.json",
        "pg-1.0.0.files",
        "pg-1.0.0.plan.json",
        "pg-1.0.0.tar.gz",
        "pg-1.0.0.tar.gz.sha256",
    ];
    assert_eq!(files(&dist), expected);
    assert_eq!(fs::read(dist.join("pg-1.0.0.tar.gz")).unwrap(), read(output.archive(), &store));
    assert_eq!(
        fs::read_to_string(dist.join("pg-1.0.0.tar.gz.sha256")).unwrap(),
        format!("{}  pg-1.0.0.tar.gz\n", output.archive().digest().hex())
    );
    let mut listed = Vec::new();
    for line in fs::read_to_string(dist.join("SHA256SUMS")).unwrap().lines() {
        let (hex, file) = line.split_once("  ").unwrap();
        let digest = Digest::of(&fs::read(dist.join(file)).unwrap());
        assert_eq!(digest.hex(), hex, "{file}");
        if file != "build-info.json" {
            assert_eq!(published[&name(file)].sha256, digest);
        }
        listed.push(file.to_owned());
    }
    assert_eq!(listed, expected[2..]);
    // What tells of the whole directory is not of this build alone.
    assert_eq!(published.len(), listed.len() - 1);
    for (line, file) in fs::read_to_string(dist.join("SHA512SUMS")).unwrap().lines().zip(&listed) {
        let digest = Sha512::of(&fs::read(dist.join(file)).unwrap());
        assert_eq!(line, format!("{}  {file}", digest.hex()));
        assert!(file == "build-info.json" || published[&name(file)].sha512 == digest);
    }
}

#[test]
fn publishing_again_keeps_what_others_published() {
    let (_directory, store) = store();
    let first = collect(&sample(), &store).unwrap();
    let dist = tempfile::tempdir().unwrap();
    publish(&first, &[], dist.path(), &store).unwrap();
    // As a killed pgproof leaves it.
    fs::write(dist.path().join(".pg-1.0.0.tar.gz.partial"), "half").unwrap();
    let blob = store.admit(&tar(&[("pg-2.0.0", Planted::Directory)])).unwrap();
    let second = output::collect(blob, &name("pg-2.0.0"), EPOCH, &store).unwrap();
    publish(&second, &[], dist.path(), &store).unwrap();
    publish(&first, &[], dist.path(), &store).unwrap();
    let expected = [
        "SHA256SUMS",
        "SHA512SUMS",
        "build-info.json",
        "pg-1.0.0.files",
        "pg-1.0.0.tar.gz",
        "pg-1.0.0.tar.gz.sha256",
        "pg-2.0.0.files",
        "pg-2.0.0.tar.gz",
        "pg-2.0.0.tar.gz.sha256",
    ];
    assert_eq!(files(dist.path()), expected);
    let sums = fs::read_to_string(dist.path().join("SHA256SUMS")).unwrap();
    let listed: Vec<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(listed, expected[2..]);
    assert_eq!(told(dist.path()), ["pg-1.0.0", "pg-2.0.0"]);

    for name in ["pg-2.0.0.files", "pg-2.0.0.tar.gz", "pg-2.0.0.tar.gz.sha256"] {
        fs::remove_file(dist.path().join(name)).unwrap();
    }
    publish(&first, &[], dist.path(), &store).unwrap();
    for sums in ["SHA256SUMS", "SHA512SUMS"] {
        assert_eq!(fs::read_to_string(dist.path().join(sums)).unwrap().lines().count(), 4, "{sums}");
    }
    assert_eq!(told(dist.path()), ["pg-1.0.0"]);
}

/// The builds that `build-info.json` tells of.
fn told(dist: &Path) -> Vec<String> {
    let information = Information::parse(&fs::read(dist.join("build-info.json")).unwrap()).unwrap();
    information.builds.keys().map(ToString::to_string).collect()
}

#[test]
fn what_is_told_of_the_builds_is_the_same_whoever_publishes_first() {
    let (_directory, store) = store();
    let stems = ["postgresql-15.18.0-x86_64-unknown-linux-gnu", "postgresql-17.11.0-x86_64-unknown-linux-gnu"];
    let floor = toml::from_str("glibc = \"2.36\"\nkernel = \"3.2.0\"\ncpu = \"x86-64\"\n").unwrap();
    let publish = |stem: &str, dist: &Path| {
        let blob = store.admit(&tar(&[(stem, Planted::Directory)])).unwrap();
        let output = output::collect(blob, &name(stem), EPOCH, &store).unwrap();
        let release = Release { target: Target::of_archive(stem).unwrap(), toolchain: name("gcc"), floor };
        let about = About { plan: &plan(stem), release: Some(&release) };
        output::publish(&[output], &[], &about, dist, &store).unwrap();
    };
    let texts = [[stems[0], stems[1], stems[0]], [stems[1], stems[0], stems[0]]].map(|order| {
        let dist = tempfile::tempdir().unwrap();
        for stem in order {
            publish(stem, dist.path());
        }
        let files = ["build-info.json", "SHA256SUMS", "SHA512SUMS"];
        files.map(|file| fs::read_to_string(dist.path().join(file)).unwrap())
    });
    assert_eq!(texts[0], texts[1]);
    let build = &Information::parse(texts[0][0].as_bytes()).unwrap().builds[&name(stems[1])];
    assert_eq!((build.plan, build.source_date_epoch), (plan(stems[1]).digest(), EPOCH));
    assert_eq!(build.archives.len(), 1);
    let shown = texts[0][0].split_once(stems[1]).unwrap().1.lines().skip(2).take(11).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(shown, @r#"
    "sourceDateEpoch": 1770000000,
    "sysroot": {
      "name": "box",
      "manifest": "sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9"
    },
    "postgresql": "17.11",
    "target": "x86_64-unknown-linux-gnu",
    "toolchain": "gcc",
    "floor": {
      "glibc": "2.36",
      "kernel": "3.2.0",
    "#);
}

#[test]
fn a_foreign_account_of_builds_is_not_overwritten() {
    let (_directory, store) = store();
    let output = collect(&sample(), &store).unwrap();
    let dist = tempfile::tempdir().unwrap();
    for foreign in ["{}", "[1]", "{\"version\": 2, \"builds\": {}}", "{\"version\": 1, \"builds\": {\"../x\": {}}}"] {
        fs::write(dist.path().join("build-info.json"), foreign).unwrap();
        let error = publish(&output, &[], dist.path(), &store).unwrap_err().to_string();
        assert!(error.contains("build-info.json is none that pgproof wrote"), "{error}");
        assert_eq!(files(dist.path()), ["build-info.json"]);
    }
}

#[test]
fn several_publish_into_one_directory_at_once() {
    let (_directory, store) = store();
    let dist = tempfile::tempdir().unwrap();
    let outputs: Vec<Output> = (0..6)
        .map(|number| {
            let top = format!("pg-{number}.0.0");
            let blob = store.admit(&tar(&[(&top, Planted::Directory)])).unwrap();
            output::collect(blob, &name(&top), EPOCH, &store).unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for output in &outputs {
            scope.spawn(|| publish(output, &[], dist.path(), &store).unwrap());
        }
    });
    let sums = fs::read_to_string(dist.path().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 19, "{sums}");
    assert_eq!(told(dist.path()).len(), 6);
}

#[test]
fn a_foreign_list_of_sums_is_not_overwritten() {
    let (_directory, store) = store();
    let output = collect(&sample(), &store).unwrap();
    let dist = tempfile::tempdir().unwrap();
    for (sums, digits) in [("SHA256SUMS", 64), ("SHA512SUMS", 128)] {
        for foreign in
            ["my notes\n", &format!("{}  ../escape\n", "0".repeat(digits)), &format!("{}  a\n", "0".repeat(96))]
        {
            fs::write(dist.path().join(sums), foreign).unwrap();
            let error = publish(&output, &[], dist.path(), &store).unwrap_err().to_string();
            assert!(error.contains(&format!("{sums}, line 1, is not")), "{error}");
            assert_eq!(fs::read_to_string(dist.path().join(sums)).unwrap(), foreign);
            assert_eq!(files(dist.path()), [sums]);
        }
        fs::remove_file(dist.path().join(sums)).unwrap();
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (_directory, store) = store();
    let output = collect(&sample(), &store).unwrap();
    let around = tempfile::tempdir().unwrap();
    let file = around.path().join("file");
    fs::write(&file, "").unwrap();
    let error = publish(&output, &[], &file.join("dist"), &store).unwrap_err();
    assert_eq!(error.to_string(), format!("{} cannot be created", file.join("dist").display()));

    let dist = around.path().join("dist");
    fs::create_dir_all(dist.join("pg-1.0.0.files/in the way")).unwrap();
    let error = publish(&output, &[], &dist, &store).unwrap_err();
    assert_eq!(error.to_string(), format!("{} cannot be written", dist.join("pg-1.0.0.files").display()));
    assert!(!files(&dist).iter().any(|name| name.ends_with(".partial")), "half a file is left");
}
