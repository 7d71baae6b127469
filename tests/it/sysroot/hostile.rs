//! A package's data may hold anything; each of these gets one error, and none of them memory or disk.

use super::debian::{Archive, Compression, ar, package};
use super::{compose, refusal};

fn refusals(archives: impl IntoIterator<Item = Vec<u8>>) -> String {
    archives.into_iter().map(|tar| refusal(&vec![("p", package(&tar, Compression::Xz))], "") + "\n").collect()
}

#[test]
fn names_and_links_that_lead_out_are_refused() {
    let new = Archive::new;
    insta::assert_snapshot!(refusals([
        new().file("/etc/passwd", "").end(),
        new().file("../etc/passwd", "").end(),
        new().file("./opt/../../etc/passwd", "").end(),
        new().directory("./opt/..").end(),
        new().file(".", "").end(),
        new().add(b'0', b"./opt/\xff", b"", b"").end(),
        new().file("./opt/a\x1b[2Jb", "").end(),
        new().symlink("./opt/up", "../../etc").end(),
        new().symlink("./opt/up", "/opt/../../etc").end(),
        new().symlink("./opt/up", "").end(),
        new().symlink("./opt/up", "a\nb").end(),
        new().symlink("./bin", "/tmp").end(),
        new().symlink("./opt", "/").file("./opt/etc/passwd", "").end(),
        new().symlink("./usr/lib", "/tmp").file("./lib/libc.so", "").end(),
        new().hard_link("./opt/shadow", "/etc/shadow").end(),
        new().hard_link("./opt/shadow", "../etc/shadow").end(),
        new().hard_link("./opt/shadow", "./etc/shadow").end(),
        new().symlink("./opt/link", "/etc/shadow").hard_link("./opt/shadow", "./opt/link").end(),
        new().hard_link("./opt/self", "./opt/self").end(),
    ]), @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "/etc/passwd" is refused: its path is absolute
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "../etc/passwd" is refused: its path has a ".."
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/../../etc/passwd" is refused: its path has a ".."
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/.." is refused: its path has a ".."
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "." is refused: its path is empty, has a NUL byte or names a directory
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because the name of its entry "opt/�" is not UTF-8
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because the name of its entry "opt/a\u{1b}[2Jb" has a control character
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because the target "../../etc" of its link "opt/up" leads out of the root file system
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because the target "/opt/../../etc" of its link "opt/up" leads out of the root file system
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/up" is refused: its link target is empty, too long or has a NUL byte
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because the target "a\nb" of its link "opt/up" has a control character
    the sysroot box cannot be composed
      because both the definition of box and p 1.0 amd64 have "usr/bin"
    the sysroot box cannot be composed
      because p 1.0 amd64 has "opt/etc/passwd", but "opt" of p 1.0 amd64 is no directory
    the sysroot box cannot be composed
      because both the definition of box and p 1.0 amd64 have "usr/lib"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/shadow" is refused: it is a hard link to something else than a file that came before it
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/shadow" is refused: it is a hard link to something else than a file that came before it
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its entry "opt/shadow" is a hard link to "etc/shadow", which is no file before it in the package, or is left out
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its entry "opt/shadow" is a hard link to "opt/link", which is no file before it in the package, or is left out
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its entry "opt/self" is a hard link to "opt/self", which is no file before it in the package, or is left out
    "#);
}

#[test]
fn what_is_no_file_directory_or_link_is_refused() {
    let new = Archive::new;
    let of = |kind: u8| new().add(kind, b"./opt/thing", b"", b"").end();
    insta::assert_snapshot!(refusals([
        of(b'3'), of(b'4'), of(b'6'), of(b'7'), of(b'S'), of(b'V'), of(b's'),
        new().file("./opt/thing/", "a file with a directory's name").end(),
        new().add(b'5', b"./opt/", b"", b"a directory with content").end(),
        new().add(b'2', b"./opt/link", b"target", b"a link with content").end(),
        new().file("./opt/twice", "1").file("./opt/twice", "2").end(),
        new().file("./opt/twice", "1").directory("./opt/twice").end(),
    ]), @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a character device; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a block device; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a fifo; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a contiguous file; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a sparse file; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a thing of unknown type; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing" is refused: it is a thing of unknown type; only files, directories and links are accepted
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "./opt/thing/" is refused: its path is empty, has a NUL byte or names a directory
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: an entry that is no file has content
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: an entry that is no file has content
    the sysroot box cannot be composed
      because p 1.0 amd64 has "opt/twice" twice
    the sysroot box cannot be composed
      because p 1.0 amd64 has "opt/twice" twice
    "#);
}

#[test]
fn archives_that_are_cut_off_or_go_on_are_refused() {
    let new = Archive::new;
    let honest = new().file("./opt/file", "content");
    let mut unsummed = honest.end();
    unsummed[0] = b',';
    let mut half = honest.open();
    half.truncate(600);
    let mut after = honest.end();
    after.extend_from_slice(&honest.end());
    let long = |size: usize| new().add(b'L', b"././@LongLink", b"", &vec![b'n'; size]).file("./opt/x", "").end();
    let pax = |record: &[u8]| new().add(b'x', b"pax", b"", record).file("./opt/x", "").end();
    insta::assert_snapshot!(refusals([
        vec![],
        honest.open(),
        half,
        unsummed,
        after,
        long(2 << 20),
        new().add(b'L', b"././@LongLink", b"", b"name\0").end(),
        new().add(b'L', b"././@LongLink", b"", b"a\0").add(b'L', b"././@LongLink", b"", b"b\0").file("x", "").end(),
        new().add(b'L', b"././@LongLink", b"", b"../../etc/passwd\0").file("./opt/x", "").end(),
        pax(b"28 path=../../../etc/passwd\n"),
        pax(b"22 GNU.sparse.major=1\n"),
        pax(b"99 size=1\n"),
    ]), @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: it is truncated
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after "opt/file"
      because the archive is malformed at byte 1024: it is truncated
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after "opt/file"
      because the archive is malformed at byte 0: it is truncated
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: this is not a tar header
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after "opt/file"
      because the archive is malformed at byte 1024: data follows the end of the archive
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: the extended headers of one entry are longer than 1048576 bytes
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: the extended header does not belong to exactly one entry
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: the extended header does not belong to exactly one entry
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "../../etc/passwd" is refused: its path has a ".."
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "../../../etc/passwd" is refused: its path has a ".."
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: the extended header is malformed
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: the extended header is malformed
    "#);
}

#[test]
fn something_after_the_compressed_data_is_refused() {
    let tar = Archive::new().file("./opt/file", "content").end();
    let mut refusals = String::new();
    for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
        for more in [vec![0; 4], compression.compress(&tar)] {
            let data = [compression.compress(&tar), more].concat();
            let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), (compression.member(), &data)]);
            refusals += &refusal(&vec![("p", bytes)], "");
            refusals += "\n";
        }
    }
    insta::assert_snapshot!(refusals, @"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because it is malformed
      because something follows the end of its compressed data
    ");
}

/// A zstd frame of `header`, then zeros: each 128 KiB of them are four bytes here.
fn zeros(header: &[u8], blocks: usize) -> Vec<u8> {
    // RFC 8878: magic number, frame header without sizes, window descriptor of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let block = |size: usize, kind: usize, last: usize| ((size << 3) | (kind << 1) | last).to_le_bytes()[..3].to_vec();
    frame.extend(block(header.len(), 0, 0));
    frame.extend_from_slice(header);
    for number in 0..blocks {
        frame.extend(block(128 << 10, 1, usize::from(number + 1 == blocks)));
        frame.push(0);
    }
    frame
}

#[test]
fn a_decompression_bomb_is_defused() {
    let header = |size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path("opt/bomb").unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let bomb =
        |data: &[u8]| vec![("p", ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.zst", data)]))];
    // More than all packages may have is refused before any of it is written; what is left out is not written at all.
    let huge = refusal(&bomb(&zeros(&header(1 << 40), 1)), "");
    let long = refusal(&bomb(&zeros(&header(8 << 30), 17_000)), "exclude = [\"opt/bomb\"]");
    let endless = refusal(&bomb(&zeros(&[0; 512], 17_000)), "");
    insta::assert_snapshot!([huge, long, endless].join("\n"), @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because "opt/bomb" is refused: the tree has more than 17179869184 bytes of content
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after "opt/bomb"
      because the archive cannot be read
      because it decompresses to more than 2147483648 bytes
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after their start
      because the archive is malformed at byte 0: data follows the end of the archive
    "#);
}

#[test]
fn a_decoder_gets_the_memory_that_packages_need_and_no_more() {
    let tar = Archive::new().file("./opt/file", "content").end();
    let with_dictionary = |size: u8| {
        let mut data = Compression::Xz.compress(&tar);
        // The .xz format, 3.1: the block header starts after the 12 bytes of the stream header; its first byte is its size.
        let end = 12 + (usize::from(data[12]) + 1) * 4;
        let filter = (13..end).find(|at| data[*at..*at + 2] == [0x21, 1]).unwrap();
        data[filter + 2] = size;
        let mut crc = flate2::Crc::new();
        crc.update(&data[12..end - 4]);
        data[end - 4..end].copy_from_slice(&crc.sum().to_le_bytes());
        vec![("p", ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.xz", &data)]))]
    };
    // 8 MiB as Debian's packages, 64 MiB as `xz -9`, 96 MiB, 4 GiB.
    assert!(compose(&with_dictionary(22), "").is_ok());
    assert!(compose(&with_dictionary(28), "").is_ok());
    let mut refusals = [29, 40].map(|size| refusal(&with_dictionary(size), "") + "\n").concat();
    let mut frame = Compression::Zstd.compress(&tar);
    // RFC 8878: a frame header that names a window, of 2 GiB.
    frame.splice(4.., [0, 21 << 3]);
    refusals +=
        &refusal(&vec![("p", ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.zst", &frame)]))], "");
    insta::assert_snapshot!(refusals, @"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data need more than 67584 KiB of memory to decompress
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data need more than 67584 KiB of memory to decompress
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data need more than 67584 KiB of memory to decompress
    ");
}

#[test]
fn more_names_than_fit_into_memory_are_refused() {
    let many = (0..100_001).fold(Archive::new(), |archive, number| archive.directory(&format!("./opt/{number}/")));
    let target = "t".repeat(3000);
    let long = (0..3000).fold(Archive::new(), |archive, number| {
        archive
            .add(b'K', b"././@LongLink", b"", format!("{target}\0").as_bytes())
            .symlink(&format!("./opt/{number}"), "")
    });
    insta::assert_snapshot!(refusals([many.end(), long.end()]), @r#"
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because its data are refused after "opt/99999"
      because "./opt/100000/" is refused: the tree has more than 100000 entries
    the sysroot box cannot be composed
      because package p 1.0 amd64 is refused
      because at its entry "opt/2789" there are more than 8388608 bytes of names in all packages
    "#);
}

#[test]
fn the_first_package_that_is_to_blame_is_blamed_however_fast_the_others_are() {
    let bad = Archive::new().file("/etc/passwd", "").package();
    let good = Archive::new().file("./opt/file", &"x".repeat(1 << 20)).package();
    for _ in 0..20 {
        let packages = vec![("a", good.clone()), ("b", good.clone()), ("c", bad.clone()), ("d", bad.clone())];
        assert!(refusal(&packages, "").contains("both a 1.0 amd64 and b 1.0 amd64 have"), "{}", refusal(&packages, ""));
        let packages = vec![("a", good.clone()), ("b", bad.clone()), ("c", bad.clone())];
        assert!(refusal(&packages, "").contains("package b 1.0 amd64 is refused"), "{}", refusal(&packages, ""));
    }
}
