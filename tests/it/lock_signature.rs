//! What counts as signed, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use jiff::Timestamp;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureType, Subpacket, SubpacketData};
use pgp::types::Duration;
use pgproof::lock::openpgp::{Keyring, KeyringError, SignatureError};
use proptest::prelude::*;

use crate::lock_keys::{Key, MADE, Manner, SIGNED, Shape, Subkey, clearsigned};

proptest! {
    #[test]
    fn no_change_of_a_signed_file_changes_its_text(at: prop::sample::Index, byte in 0..0x80_u8, insert: bool) {
        let mut key = Key::new(1);
        let file = clearsigned(TEXT, &mut [(&mut key, Manner::default())]);
        let mut bytes = file.into_bytes();
        let at = at.index(bytes.len());
        if insert {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        if let Ok(verified) = keyring(&[&key]).verify(&String::from_utf8(bytes).unwrap(), 1, now()) {
            prop_assert_eq!(verified.text(), TEXT);
        }
    }
}

const TEXT: &str = "Origin: Test\nCodename: test\n";

fn now() -> Timestamp {
    Timestamp::from_second(i64::from(SIGNED) + 3600).unwrap()
}

fn keyring(keys: &[&Key]) -> Keyring {
    let armored: String = keys.iter().map(|key| key.armored()).collect();
    let fingerprints: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
    Keyring::parse(&armored, &fingerprints).unwrap()
}

/// What verifying `TEXT`, signed by one key of this shape in this manner, says.
fn verdict(shape: &Shape, manner: Manner) -> Result<String, SignatureError> {
    let mut key = Key::shaped(1, shape);
    let file = clearsigned(TEXT, &mut [(&mut key, manner)]);
    keyring(&[&key]).verify(&file, 1, now()).map(|verified| verified.text().to_owned())
}

#[test]
fn a_good_signature_gives_the_text_that_was_signed() {
    let text = verdict(&Shape::default(), Manner::default()).unwrap();
    assert_eq!(text, TEXT);
}

#[test]
fn changed_text_is_refused() {
    let mut key = Key::new(1);
    let file = clearsigned(TEXT, &mut [(&mut key, Manner::default())]).replace("Codename: test", "Codename: tesu");
    let error = keyring(&[&key]).verify(&file, 1, now()).unwrap_err();
    assert!(matches!(error, SignatureError::Wrong { .. }), "{error}");
}

#[test]
fn other_keys_and_second_signatures_of_one_key_do_not_count() {
    let (mut ours, mut also_ours, mut foreign) = (Key::new(1), Key::new(2), Key::new(3));
    let keyring = keyring(&[&ours, &also_ours]);
    let by_foreign = clearsigned(TEXT, &mut [(&mut foreign, Manner::default())]);
    assert!(matches!(keyring.verify(&by_foreign, 1, now()), Err(SignatureError::TooFew { found: 0, needed: 1 })));
    // Not even where the definition asks for none.
    assert!(matches!(keyring.verify(&by_foreign, 0, now()), Err(SignatureError::TooFew { found: 0, needed: 1 })));

    let mut ours_again = Key::new(1);
    let twice = clearsigned(TEXT, &mut [(&mut ours, Manner::default()), (&mut ours_again, Manner::default())]);
    assert!(matches!(keyring.verify(&twice, 2, now()), Err(SignatureError::TooFew { found: 1, needed: 2 })));

    let signers =
        &mut [(&mut foreign, Manner::default()), (&mut also_ours, Manner::default()), (&mut ours, Manner::default())];
    let by_both = keyring.verify(&clearsigned(TEXT, signers), 2, now()).unwrap();
    let mut expected = vec![ours.fingerprint(), also_ours.fingerprint()];
    expected.sort();
    assert_eq!(by_both.signers().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn one_wrong_signature_of_a_stated_key_spoils_the_file() {
    let (mut good, mut bad) = (Key::new(1), Key::shaped(2, &Shape::rsa()));
    let weak = Manner { hash: HashAlgorithm::Sha1, ..Manner::default() };
    let file = clearsigned(TEXT, &mut [(&mut good, Manner::default()), (&mut bad, weak)]);
    let error = keyring(&[&good, &bad]).verify(&file, 1, now()).unwrap_err();
    assert!(matches!(error, SignatureError::WeakHash { hash: HashAlgorithm::Sha1, .. }), "{error}");
}

#[test]
fn weak_hashes_are_refused() {
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Md5, HashAlgorithm::Ripemd160, HashAlgorithm::Sha224] {
        let error = verdict(&Shape::rsa(), Manner { hash, ..Manner::default() }).unwrap_err();
        assert!(matches!(error, SignatureError::WeakHash { .. }), "{hash}: {error}");
    }
    for hash in [HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Sha3_256] {
        verdict(&Shape::default(), Manner { hash, ..Manner::default() }).unwrap();
    }
}

#[test]
fn signatures_from_the_future_and_expired_ones_are_refused() {
    let error = verdict(&Shape::default(), Manner { at: SIGNED + 7200, ..Manner::default() }).unwrap_err();
    assert!(matches!(error, SignatureError::Future { .. }), "{error}");
    let brief = Subpacket::regular(SubpacketData::SignatureExpirationTime(Duration::from_secs(60))).unwrap();
    let error = verdict(&Shape::default(), Manner { more: vec![brief], ..Manner::default() }).unwrap_err();
    assert!(matches!(error, SignatureError::Expired { .. }), "{error}");
}

#[test]
fn unusual_signatures_are_refused() {
    let binary = Manner { kind: SignatureType::Binary, ..Manner::default() };
    assert!(matches!(verdict(&Shape::default(), binary), Err(SignatureError::Unusual { .. })));
    let unknown = Subpacket::critical(SubpacketData::Experimental(100, vec![1].into())).unwrap();
    let critical = Manner { more: vec![unknown], ..Manner::default() };
    assert!(matches!(verdict(&Shape::default(), critical), Err(SignatureError::Unusual { .. })));
}

#[test]
fn a_key_may_have_expired_since_it_signed_but_not_before() {
    let days_until_signed = (SIGNED - MADE) / 86_400;
    let since = Shape { expires_d: Some(days_until_signed + 1), ..Shape::default() };
    // A year later the key is long expired, and what it signed in its time still holds.
    let mut key = Key::shaped(1, &since);
    let file = clearsigned(TEXT, &mut [(&mut key, Manner::default())]);
    let a_year_later = Timestamp::from_second(i64::from(SIGNED) + 365 * 86_400).unwrap();
    keyring(&[&key]).verify(&file, 1, a_year_later).unwrap();

    let before = Shape { expires_d: Some(days_until_signed - 1), ..Shape::default() };
    let error = verdict(&before, Manner::default()).unwrap_err();
    insta::assert_snapshot!(error.to_string().split_once("vouch").unwrap().1, @" for it: it was not valid when the signature was made");
}

#[test]
fn keys_that_must_not_be_used_are_refused() {
    let refused = |shape: Shape, reason: &str| match verdict(&shape, Manner::default()) {
        Err(SignatureError::Key { reason: found, .. }) => assert_eq!(found, reason),
        other => panic!("{reason}: {other:?}"),
    };
    refused(Shape { revoked: true, ..Shape::default() }, "it is revoked");
    refused(Shape { signs: false, ..Shape::default() }, "it is not for signing");
    refused(Shape { hash: HashAlgorithm::Sha1, ..Shape::rsa() }, "nothing binds its name to it");
    let subkey = |subkey| Shape { subkey: Some(subkey), signs: false, ..Shape::default() };
    refused(subkey(Subkey::Claimed), "its subkey does not agree to be bound to it");
    refused(subkey(Subkey::Revoked), "its subkey is revoked");
    // The other side: a subkey that agreed signs for a primary key that does not sign itself, as Debian's do.
    verdict(&subkey(Subkey::Agreed), Manner::default()).unwrap();
}

#[test]
fn a_signature_before_the_key_was_made_is_refused() {
    let error = verdict(&Shape::default(), Manner { at: MADE - 1, ..Manner::default() }).unwrap_err();
    assert!(matches!(error, SignatureError::Key { .. }), "{error}");
}

#[test]
fn nothing_may_stand_around_or_hide_in_the_message() {
    let mut key = Key::new(1);
    let keyring = keyring(&[&key]);
    let file = clearsigned(TEXT, &mut [(&mut key, Manner::default())]);
    keyring.verify(&file, 1, now()).unwrap();
    let mut sign = |text: &str| clearsigned(text, &mut [(&mut key, Manner::default())]);
    let hostile = [
        ("text before", format!("Codename: evil\n\n{file}")),
        ("an empty line before", format!("\n{file}")),
        ("text after", format!("{file}\nCodename: evil\n")),
        ("a second message", format!("{file}{file}")),
        ("no end of the last line", file.trim_end().to_owned()),
        ("a header that is not hashed", file.replacen("Hash: ", "Codename: evil\nHash: ", 1)),
        ("a header that looks like text", file.replacen("\n\n", "\nComment: x\n\n", 1)),
        ("carriage returns", file.replace('\n', "\r\n")),
        ("one carriage return", file.replacen("Origin: Test", "Origin: Test\rCodename: evil", 1)),
        ("a blank at the end of a line", file.replacen("Origin: Test", "Origin: Test ", 1)),
        ("a NUL", file.replacen("Origin: Test", "Origin: Te\0st", 1)),
        ("no signature", format!("{}\n", file.split_once("\n-----BEGIN PGP SIG").unwrap().0)),
        ("no message", file[file.find("-----BEGIN PGP SIGNATURE").unwrap()..].to_owned()),
        ("half a signature", format!("{}\n", file.split_once("\n-----END").unwrap().0)),
        ("an escaped line, honestly signed", sign("Origin: Test\n-----BEGIN PGP SIGNATURE-----\nCodename: test\n")),
        ("an escaped line that needs no escape", file.replacen("Codename", "- Codename", 1)),
        ("blanks at the end of a line, honestly signed", sign("Origin: Test \nCodename: test\n")),
        ("nothing", String::new()),
    ];
    for (what, file) in hostile {
        match keyring.verify(&file, 1, now()) {
            Err(SignatureError::Framing(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    let garbled = file.replacen("-----BEGIN PGP SIGNATURE-----\n\n", "-----BEGIN PGP SIGNATURE-----\n\n!!!!", 1);
    assert_ne!(garbled, file);
    assert!(matches!(keyring.verify(&garbled, 1, now()), Err(SignatureError::Malformed(_))));
}

#[test]
fn a_keyring_must_have_the_stated_keys() {
    let (key, other) = (Key::new(1), Key::new(2));
    let error = Keyring::parse(&key.armored(), &[key.fingerprint(), other.fingerprint()]).unwrap_err();
    assert!(matches!(error, KeyringError::Missing(missing) if missing == other.fingerprint()));
    assert!(matches!(Keyring::parse("no key", &[]), Err(KeyringError::Malformed(_))));
}
