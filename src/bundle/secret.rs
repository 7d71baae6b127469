//! Private keys and passwords: where they are read, and how they are kept from being seen.
//!
//! # Why
//!
//! A secret has no `Debug`, no `Display` and no `Serialize`, so that nothing can print it; it is overwritten when it is no longer
//! needed. From the first secret on, the process leaves no core dump and cannot be traced by its own user.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use nix::sys::resource::{Resource, setrlimit};
use pkcs8::der::SecretDocument;
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo};
use sigstore_types::{DerPublicKey, SignatureBytes};
use zeroize::Zeroizing;

use super::public_key::{PublicKey, PublicKeyError};

/// A file with a secret of more bytes is refused.
const SIZE_LIMIT: usize = 1 << 20;

/// Bytes that nobody may see.
pub struct Secret(Zeroizing<Vec<u8>>);

/// A private key to sign with: P-256, P-384 or Ed25519.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a secret or a key cannot be used. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum KeyError {
    /// The process cannot be kept from leaving a core dump.
    #[error("core dumps cannot be turned off, and they would have the key in them")]
    CoreDump(#[source] nix::Error),
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error("{path} is a private key without a password that others can read (mode {mode:04o}): chmod 600 it")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too large.
    #[error("it has more than {SIZE_LIMIT} bytes, which no key has")]
    TooLarge,
    /// It is no key.
    #[error(
        "it is not a private key in PKCS#8 (PRIVATE KEY, ENCRYPTED PRIVATE KEY) or SEC 1 (EC PRIVATE KEY), in PEM or DER"
    )]
    Format,
    /// It is a key of cosign's own form.
    #[error("it is a key in cosign's own form: make one that every tool reads, with openssl genpkey")]
    Cosign,
    /// It is a kind of key that is not signed with.
    #[error("it is not a key for P-256, P-384 or Ed25519")]
    Kind,
    /// There is no password.
    #[error(
        "the key is encrypted, and no password was given: PGPROOF_KEY_PASSWORD, COSIGN_PASSWORD or --key-password-file"
    )]
    NoPassword,
    /// The password is wrong, or the encryption is one that is not known.
    #[error(
        "the key cannot be decrypted: the password is wrong, or it is not encrypted with PBES2 (AES, and PBKDF2 or scrypt)"
    )]
    Password,
    /// Its public half cannot be used.
    #[error("its public half cannot be used")]
    Public(#[from] PublicKeyError),
    /// The cryptographic library failed.
    #[error("signing failed")]
    Failed,
}

impl Secret {
    /// Takes what came from elsewhere, such as the environment.
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        let secret = Self(Zeroizing::new(bytes));
        leave_no_core_dump()?;
        if secret.0.len() > SIZE_LIMIT { Err(KeyError::TooLarge) } else { Ok(secret) }
    }

    /// Reads a file. Its mode is looked at by whoever knows what is in it.
    pub(super) fn of_file(path: &Path) -> Result<(Self, u32), KeyError> {
        leave_no_core_dump()?;
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        // A pipe is nobody else's. As large as it may become: growing would leave copies behind.
        let mode = if metadata.is_file() { metadata.permissions().mode() & 0o7777 } else { 0o600 };
        let mut bytes = Zeroizing::new(Vec::with_capacity(SIZE_LIMIT + 64));
        file.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > SIZE_LIMIT { Err(KeyError::TooLarge) } else { Ok((Self(bytes), mode)) }
    }

    /// Reads a password from a file: its first line.
    pub fn password_of_file(path: &Path) -> Result<Self, KeyError> {
        let (mut secret, mode) = Self::of_file(path)?;
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
        let end = secret.0.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(secret.0.len());
        secret.0.truncate(end);
        Ok(secret)
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl SigningKey {
    /// Reads the key in a file. One without a password must be its owner's alone.
    pub fn of_file(path: &Path, password: Option<&Secret>) -> Result<Self, KeyError> {
        let (secret, mode) = Secret::of_file(path)?;
        let (key, encrypted) = Self::decode(&secret, password)?;
        if !encrypted && mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned(), mode });
        }
        Ok(key)
    }

    /// Reads a key in PKCS#8 or SEC 1, in PEM or DER. `password` is for one that is encrypted.
    pub fn read(secret: &Secret, password: Option<&Secret>) -> Result<Self, KeyError> {
        Self::decode(secret, password).map(|(key, _)| key)
    }

    /// The key, and whether it was encrypted.
    fn decode(secret: &Secret, password: Option<&Secret>) -> Result<(Self, bool), KeyError> {
        let document = match pem_block(secret.expose())? {
            Some((label, document)) => match label {
                Label::Encrypted => {
                    return Ok((Self::from_der(decrypt(document.as_bytes(), password)?.as_bytes())?, true));
                }
                Label::Plain => document,
            },
            None if EncryptedPrivateKeyInfo::try_from(secret.expose()).is_ok() => {
                return Ok((Self::from_der(decrypt(secret.expose(), password)?.as_bytes())?, true));
            }
            None => return Ok((Self::from_der(secret.expose())?, false)),
        };
        Ok((Self::from_der(document.as_bytes())?, false))
    }

    /// aws-lc reads PKCS#8 and SEC 1 alike, and refuses a key of another curve.
    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let ecdsa = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der);
        let (pair, public) = if let Ok(pair) =
            ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING).or_else(|_other| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING))
        {
            let public = pair.public_key().as_der().map_err(|_rejected| KeyError::Failed)?;
            (Pair::Ecdsa(pair), public)
        } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            let public = pair.public_key().as_der().map_err(|_rejected| KeyError::Failed)?;
            (Pair::Ed25519(pair), public)
        } else if PrivateKeyInfo::try_from(der).is_ok() {
            return Err(KeyError::Kind);
        } else {
            return Err(KeyError::Format);
        };
        let public = PublicKey::from_der(DerPublicKey::from_bytes(public.as_ref()))?;
        Ok(Self { pair, public })
    }

    /// The half of the key that others may see.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => {
                pair.sign(&SystemRandom::new(), message).map_err(|_unspecified| KeyError::Failed)?.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        };
        Ok(SignatureBytes::new(signature))
    }
}

enum Label {
    Plain,
    Encrypted,
}

/// The block of PEM with the key, whatever stands around it: openssl writes the curve's parameters before it. `None` if it is no
/// PEM.
fn pem_block(bytes: &[u8]) -> Result<Option<(Label, SecretDocument)>, KeyError> {
    if !bytes.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Ok(None);
    }
    let text = std::str::from_utf8(bytes).map_err(|_binary| KeyError::Format)?;
    for (label, kind) in
        [("ENCRYPTED PRIVATE KEY", Label::Encrypted), ("PRIVATE KEY", Label::Plain), ("EC PRIVATE KEY", Label::Plain)]
    {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let Some(block) =
            text.find(&begin).and_then(|from| text[from..].find(&end).map(|to| &text[from..][..to + end.len()]))
        else {
            continue;
        };
        let (_, document) = SecretDocument::from_pem(block).map_err(|_malformed| KeyError::Format)?;
        return Ok(Some((kind, document)));
    }
    let cosign = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
    if cosign.iter().any(|label| text.contains(label)) { Err(KeyError::Cosign) } else { Err(KeyError::Format) }
}

fn decrypt(der: &[u8], password: Option<&Secret>) -> Result<SecretDocument, KeyError> {
    let password = password.ok_or(KeyError::NoPassword)?;
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_malformed| KeyError::Format)?;
    // What the crates say of the reason would tell a wrong password from a right one only by chance.
    encrypted.decrypt(password.expose()).map_err(|_undecryptable| KeyError::Password)
}

/// Keeps secrets out of core dumps, and the process from being traced by others of its user.
fn leave_no_core_dump() -> Result<(), KeyError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(KeyError::CoreDump)?;
    nix::sys::prctl::set_dumpable(false).map_err(KeyError::CoreDump)
}
