//! gpg accepts what is signed; keys that must not be used do not sign.

use std::process::Command;

use jiff::Timestamp;
use pgproof::bundle::{OpenPgpKey, Secret};

use super::{keys, now};
use crate::lock_keys::{Key, MADE, Shape, Subkey};

const SUMS: &[u8] = b"0000  a.tar.gz\n1111  b.tar.gz\n";

/// A home of gpg's own; its agent ends with it.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        // An agent's socket must not have a long path.
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o700);
        Self(tempfile::Builder::new().prefix("gpg").permissions(private).tempdir_in("/tmp").unwrap())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
            .args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Vec<u8> {
        let output = self.command(words).output().expect("gpg is not installed");
        assert!(output.status.success(), "gpg {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Whether gpg finds a good signature.
    fn accepts(&self, armored: &str, file: &[u8]) -> bool {
        let (signature, signed) = (self.0.path().join("sums.asc"), self.0.path().join("sums"));
        std::fs::write(&signature, armored).unwrap();
        std::fs::write(&signed, file).unwrap();
        let output = self.command(&["--verify"]).args([&signature, &signed]).output().unwrap();
        output.status.success()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let end = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).output();
        drop(end);
    }
}

fn read(armored: &[u8], password: Option<&str>) -> Result<OpenPgpKey, String> {
    let password = password.map(|password| Secret::new(password.into()).unwrap());
    OpenPgpKey::read(&Secret::new(armored.to_vec()).unwrap(), password.as_ref()).map_err(|error| keys::chain(&error))
}

#[test]
fn gpg_accepts_signatures_by_keys_that_it_made() {
    for (algorithm, password) in [("ed25519", ""), ("rsa2048", keys::PASSWORD), ("nistp256", keys::PASSWORD)] {
        let gpg = Gpg::new();
        gpg.run(&["--passphrase", password, "--quick-gen-key", "Test <test@example.org>", algorithm, "sign", "never"]);
        let secret = gpg.run(&["--passphrase", password, "--armor", "--export-secret-keys"]);
        let key = read(&secret, Some(password)).unwrap();
        let detached = key.sign(SUMS, Timestamp::now()).unwrap_or_else(|error| panic!("{}", keys::chain(&error)));
        assert!(gpg.accepts(&detached.armored, SUMS), "{algorithm}");
        assert!(!gpg.accepts(&detached.armored, b"0000  other\n"), "{algorithm}");
        let listed = String::from_utf8(gpg.run(&["--with-colons", "--list-keys"])).unwrap();
        assert!(listed.contains(&detached.fingerprint.to_string()), "{listed}");
        let told =
            Command::new("gpg").args(["--list-packets"]).arg(gpg.0.path().join("sums.asc")).output().unwrap().stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        // 8 is SHA-256, 9 SHA-384, 10 SHA-512: RFC 9580, section 9.5.
        assert!(
            ["digest algo 8", "digest algo 9", "digest algo 10"].iter().any(|strong| told.contains(strong)),
            "{told}"
        );
        if !password.is_empty() {
            for wrong in [None, Some("wrong")] {
                let told = keys::chain(&read(&secret, wrong).unwrap().sign(SUMS, Timestamp::now()).unwrap_err());
                assert!(told.contains("password is wrong"), "{told}");
                assert!(!told.contains(keys::PASSWORD), "{told}");
            }
        }
    }
}

#[test]
fn a_signing_subkey_signs_where_the_primary_key_only_certifies() {
    let gpg = Gpg::new();
    gpg.run(&["--passphrase", "", "--quick-gen-key", "Test <test@example.org>", "ed25519", "cert", "never"]);
    let listed = String::from_utf8(gpg.run(&["--with-colons", "--list-keys"])).unwrap();
    let primary = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':');
    for algorithm in ["cv25519", "ed25519"] {
        let usage = if algorithm == "cv25519" { "encr" } else { "sign" };
        gpg.run(&["--passphrase", "", "--quick-add-key", primary, algorithm, usage, "never"]);
    }
    let secret = gpg.run(&["--armor", "--export-secret-keys"]);
    let detached = read(&secret, None).unwrap().sign(SUMS, Timestamp::now()).unwrap();
    assert_eq!(detached.fingerprint.to_string(), primary);
    assert!(gpg.accepts(&detached.armored, SUMS));
}

#[test]
fn keys_that_must_not_be_used_do_not_sign() {
    let told = |shape: &Shape, at: Timestamp| {
        let key = Key::shaped(2, shape);
        read(key.secret().as_bytes(), None).unwrap().sign(SUMS, at).map(|_| ()).map_err(|error| keys::chain(&error))
    };
    let shape = Shape::default;
    assert_eq!(told(&shape(), now()), Ok(()));
    for (bad, wanted) in [
        (Shape { revoked: true, ..shape() }, "revoked"),
        (Shape { expires_d: Some(30), ..shape() }, "not valid when"),
        (Shape { signs: false, ..shape() }, "not for signing"),
        (Shape { revoked: true, subkey: Some(Subkey::Agreed), ..shape() }, "revoked"),
    ] {
        let error = told(&bad, now()).unwrap_err();
        assert!(error.contains(wanted), "{error}, not {wanted}");
    }
    // Of two parts, the one that may is used.
    assert_eq!(told(&Shape { subkey: Some(Subkey::Revoked), ..shape() }, now()), Ok(()));
    let before = Timestamp::from_second(i64::from(MADE) - 10).unwrap();
    assert!(told(&shape(), before).is_err());
}

#[test]
fn what_is_no_openpgp_key_is_refused() {
    for nonsense in
        [&b"hello"[..], b"", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n"]
    {
        assert!(read(nonsense, None).is_err());
    }
    assert!(read(Key::new(3).armored().as_bytes(), None).is_err(), "a public key");
}
