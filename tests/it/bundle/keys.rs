//! Keys that openssl made, in each form that it writes.

use std::error::Error;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) const PASSWORD: &str = "a good password";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    P256,
    P384,
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Pkcs8Pem,
    Pkcs8Der,
    /// PBKDF2, openssl's own choice.
    EncryptedPem,
    EncryptedDer,
    ScryptPem,
    Sec1Pem,
    Sec1Der,
    /// With the curve's parameters in a block before it, as `openssl ecparam -genkey` writes.
    Sec1PemWithParameters,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Ed25519];

    fn curve(self) -> Option<&'static str> {
        match self {
            Self::P256 => Some("P-256"),
            Self::P384 => Some("P-384"),
            Self::Ed25519 => None,
        }
    }
}

impl Encoding {
    pub(crate) fn of(kind: Kind) -> Vec<Self> {
        let mut all = vec![Self::Pkcs8Pem, Self::Pkcs8Der, Self::EncryptedPem, Self::EncryptedDer, Self::ScryptPem];
        if kind != Kind::Ed25519 {
            all.extend([Self::Sec1Pem, Self::Sec1Der, Self::Sec1PemWithParameters]);
        }
        all
    }

    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Self::EncryptedPem | Self::EncryptedDer | Self::ScryptPem)
    }
}

/// One key of each kind for all tests.
pub(crate) fn private_key(kind: Kind, encoding: Encoding) -> Vec<u8> {
    static KEYS: [OnceLock<Vec<u8>>; 3] = [const { OnceLock::new() }; 3];
    let plain = KEYS[kind as usize].get_or_init(|| match kind.curve() {
        Some(curve) => openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")]),
        None => openssl(&["genpkey", "-algorithm", "ED25519"]),
    });
    let password = format!("pass:{PASSWORD}");
    let pkcs8 = |more: &[&str]| piped(Command::new("openssl").args(["pkcs8", "-topk8"]).args(more), plain);
    let ec = |more: &[&str]| piped(Command::new("openssl").arg("ec").args(more), plain);
    match encoding {
        Encoding::Pkcs8Pem => plain.clone(),
        Encoding::Pkcs8Der => pkcs8(&["-nocrypt", "-outform", "DER"]),
        Encoding::EncryptedPem => pkcs8(&["-passout", &password]),
        Encoding::EncryptedDer => pkcs8(&["-passout", &password, "-outform", "DER"]),
        // As costly as its default is, three keys in a test are too slow.
        Encoding::ScryptPem => pkcs8(&["-passout", &password, "-scrypt", "-scrypt_N", "1024"]),
        Encoding::Sec1Pem => ec(&[]),
        Encoding::Sec1Der => ec(&["-outform", "DER"]),
        Encoding::Sec1PemWithParameters => {
            let name = if kind == Kind::P256 { "prime256v1" } else { "secp384r1" };
            [openssl(&["ecparam", "-name", name]), ec(&[])].concat()
        }
    }
}

pub(crate) fn public_key(kind: Kind) -> Vec<u8> {
    piped(Command::new("openssl").args(["pkey", "-pubout"]), &private_key(kind, Encoding::Pkcs8Pem))
}

/// What openssl prints.
pub(crate) fn openssl(words: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(words).output().expect("openssl is not installed");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a program makes of its input.
pub(crate) fn piped(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An error and all its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        next = cause.source();
    }
    told
}

/// Whether a text quotes the lines of a key.
pub(crate) fn quotes(told: &str, secret: &[u8]) -> bool {
    let lines = String::from_utf8_lossy(secret).into_owned();
    lines.lines().filter(|line| line.len() >= 16 && !line.starts_with('-')).any(|line| told.contains(line))
}
