//! Whatever an archive has in it, checking it ends with an answer.

use std::sync::OnceLock;

use pgproof::check::{self, CheckError, Kind, Report};
use pgproof::tree::{Quantity, TreeError};
use proptest::prelude::*;

use crate::check::{Content, Files, NAME, Workshop, is_x86_64, part, roomy, tar};

/// A small library with all that the check reads: versions, notes, a RUNPATH.
fn small() -> &'static [u8] {
    static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
    SMALL.get_or_init(|| Workshop::new().library(&["-Wl,-rpath,$ORIGIN", "-Wl,-z,noseparate-code"]))
}

/// The report about an archive that has this as a file.
fn report(bytes: &[u8]) -> Report {
    let files: Files = vec![("lib/a.so", Content::File(bytes.to_vec())), ("lib/b.so", Content::Link("a.so"))];
    check::check(vec![part(NAME, tar(NAME, &files))], &roomy(&[])).unwrap()
}

fn kinds(report: &Report) -> Vec<Kind> {
    report.parts[0].findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_malformed() {
    if !is_x86_64() {
        return;
    }
    assert_eq!(kinds(&report(small())), []);
    for length in (4..small().len()).step_by(7) {
        assert_eq!(kinds(&report(&small()[..length])), [Kind::Malformed], "{length} bytes");
    }
}

#[test]
fn no_changed_byte_breaks_the_check() {
    if !is_x86_64() {
        return;
    }
    let mut malformed = 0;
    for at in 4..small().len() {
        for change in [0xff, 0x80] {
            let mut changed = small().to_vec();
            changed[at] ^= change;
            malformed += u32::from(kinds(&report(&changed)).contains(&Kind::Malformed));
        }
    }
    assert!(malformed > 100, "only {malformed}");
}

#[test]
fn counts_that_nobody_has_are_refused() {
    if !is_x86_64() {
        return;
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = small().to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        kinds(&report(&changed))
    };
    // The numbers of program and of section headers; none of the latter, and then as many as the first of them says.
    assert_eq!(with(56, &[0xff, 0xff]), [Kind::Malformed]);
    assert_eq!(with(60, &[0xff, 0xff]), [Kind::Malformed]);
    assert_eq!(with(60, &[0, 0]), [Kind::Malformed]);
    assert_eq!(with(40, &[0; 8]), [Kind::Malformed]);
    // One section header, over and over: its file is large enough for them all.
    let mut many = small().to_vec();
    many.resize(many.len() + 64 * 5000, 0);
    many[60..62].copy_from_slice(&5000_u16.to_le_bytes());
    let found = report(&many);
    assert_eq!(kinds(&found), [Kind::Malformed]);
    assert!(found.parts[0].findings[0].about.contains("more than 4096 section headers"), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_handful_of_changed_bytes_breaks_the_check(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        if is_x86_64() {
            let mut changed = small().to_vec();
            for (at, byte) in changes {
                let at = 4 + at.index(changed.len() - 4);
                changed[at] = byte;
            }
            prop_assert_eq!(report(&changed).parts[0].elf_files, 1);
        }
    }

    #[test]
    fn no_content_breaks_the_check(begins in prop::sample::select(vec![&b"\x7fELF\x02\x01\x01"[..], b"\x7fELF\x01\x02\x01", b"!<arch>\n", b"!<thin>\n"]), rest in prop::collection::vec(any::<u8>(), 0..600)) {
        if is_x86_64() {
            let files: Files = vec![
                ("lib/a", Content::File([begins, &rest].concat())),
                ("lib/sound.so", Content::File(small().to_vec())),
            ];
            let report = check::check(vec![part(NAME, tar(NAME, &files))], &roomy(&[])).unwrap();
            prop_assert_eq!(report.parts[0].files, 2);
        }
    }
}

#[test]
fn archives_that_are_too_much_are_refused() {
    let error = |tar: Vec<u8>| check::check(vec![part(NAME, tar)], &roomy(&[])).unwrap_err();
    // A file of more bytes than any release, with none of them there.
    let mut header = tar::Header::new_gnu();
    header.set_path(format!("{NAME}/huge")).unwrap();
    header.set_size(17 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    let error_of = error(header.as_bytes().to_vec());
    let CheckError::Tar { source: TreeError::TooMuch { quantity: Quantity::Bytes, .. }, .. } = error_of else {
        panic!("{error_of}");
    };
    // More names than any release.
    let mut many = Vec::new();
    for index in 0..100_001 {
        header.set_path(format!("{NAME}/{index}")).unwrap();
        header.set_size(0);
        header.set_cksum();
        many.extend_from_slice(header.as_bytes());
    }
    let error_of = error(many);
    let CheckError::Tar { source: TreeError::TooMuch { quantity: Quantity::Entries, .. }, .. } = error_of else {
        panic!("{error_of}");
    };
    let text: Files = vec![("share/README", Content::File(b"hello".to_vec()))];
    assert!(matches!(error(tar(NAME, &text)), CheckError::NoPrograms { .. }));
    assert!(matches!(error(tar("other", &text)), CheckError::TopLevel { .. }));
    assert!(matches!(error(tar(&format!("{NAME}x"), &text)), CheckError::TopLevel { .. }));
    assert!(matches!(error(Vec::new()), CheckError::Tar { .. }));
}

#[test]
fn links_that_lead_in_circles_lead_nowhere() {
    if !is_x86_64() {
        return;
    }
    let files: Files = vec![
        ("lib/a.so", Content::File(small().to_vec())),
        ("one", Content::Link("two")),
        ("two", Content::Link("one/three")),
        ("self", Content::Link("self")),
        ("up", Content::Link("..")),
        ("top", Content::Link(".")),
        ("through", Content::Link("lib/a.so/b")),
    ];
    let report = check::check(vec![part(NAME, tar(NAME, &files))], &roomy(&[])).unwrap();
    let dangling: Vec<_> = report.parts[0].findings.iter().map(|finding| (&*finding.file, finding.kind)).collect();
    let expected = ["one", "self", "through", "two", "up"].map(|file| (file, Kind::DanglingLink));
    assert_eq!(dangling, expected);
}
