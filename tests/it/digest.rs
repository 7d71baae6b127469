//! A digest is parsed once, strictly.

use pgproof::digest::Digest;
use proptest::prelude::*;

#[test]
fn the_empty_digest_is_the_one_of_fips_180_4() {
    let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), empty);
    assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
}

proptest! {
    #[test]
    fn text_and_bytes_round_trip(bytes: [u8; 32]) {
        let digest = Digest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn nothing_else_parses(text in "(sha256:|sha512:|)[0-9a-fA-Fg]{60,66}") {
        let valid = text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        prop_assert_eq!(text.parse::<Digest>().is_ok(), valid);
    }
}
