//! The command that signs: `sign`. Nothing is written before everything is signed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pgproof::bundle::{Detached, Instance, Means, OpenPgpKey, Secret, Services, Signed, SigningKey, Token, Unsigned};
use pgproof::output::{Companion, publish_apart};
use pgproof::text::printable;
use serde_json::json;
use zeroize::Zeroizing;

use super::arguments::{Sign, Signing};
use super::build::now;
use super::failure::Failure;
use super::{Answer, Session, signature, trust};

/// The endings of the statements in a release.
const STATEMENTS: [&str; 2] = [".provenance.json", ".rebuild.json"];
/// What OpenPGP signs.
const SUMS: &str = "SHA256SUMS";
/// The ending of a bundle.
const BUNDLE: &str = ".sigstore.json";
/// A file to be signed of more bytes is refused: it is held in memory.
const FILE_LIMIT: u64 = 2 << 30;
/// A directory with more entries is no release.
const ENTRY_LIMIT: usize = 10_000;

/// All that signs, loaded: what is wrong with a key or a configuration is known before anything else is done.
pub(super) struct Signatory {
    way: Way,
    openpgp: Option<OpenPgpKey>,
}

enum Way {
    Key(SigningKey),
    LoggedKey(SigningKey, Box<Instance>),
    /// A token is had when it is needed: it lives for minutes.
    Identity(Option<Zeroizing<String>>, Box<Instance>),
    /// Nothing but OpenPGP was asked for.
    OpenPgpAlone,
}

/// What is to be signed, and where the signature goes.
enum Task {
    Statement(PathBuf),
    File(PathBuf),
    Sums(PathBuf),
}

/// What was signed.
enum Done {
    Bundle(PathBuf, Box<Signed>),
    OpenPgp(PathBuf, Detached),
}

/// `pgproof sign …`
pub(super) fn sign(session: &Session, request: &Sign) -> Result<Answer, Failure> {
    let openpgp = request.signing.openpgp_key.is_some();
    let mut tasks = Vec::new();
    for path in &request.paths {
        tasks.extend(tasks_of(path, request.blob, openpgp)?);
    }
    if openpgp && !tasks.iter().any(|task| matches!(task, Task::Sums(_))) {
        return Err(Failure::Usage("--openpgp-key signs SHA256SUMS, and there is none among what is to be signed"));
    }
    let alone = tasks.iter().all(|task| matches!(task, Task::Sums(_)));
    let signatory = Signatory::new(session, &request.signing, alone)?;
    let done = signatory.sign(session, &tasks)?;
    Ok(answer(&done))
}

/// Signs these statements and, with an OpenPGP key, the directory's `SHA256SUMS`; gives what to tell of it.
#[expect(dead_code, reason = "for `rebuild --sign`")]
pub(super) fn sign_release(
    session: &Session,
    signatory: &Signatory,
    directory: &Path,
    statements: &[PathBuf],
) -> Result<Answer, Failure> {
    let mut tasks: Vec<_> = statements.iter().cloned().map(Task::Statement).collect();
    if signatory.openpgp.is_some() {
        tasks.push(Task::Sums(directory.join(SUMS)));
    }
    Ok(answer(&signatory.sign(session, &tasks)?))
}

fn answer(done: &[Done]) -> Answer {
    let mut text = String::new();
    let mut signed = Vec::new();
    for done in done {
        match done {
            Done::Bundle(path, made) => {
                // Writing to a String cannot fail.
                write!(text, "signed: {}\n{}", path.display(), signature::text(made.verified())).ok();
                let mut json = signature::json(made.verified());
                json["bundle"] = json!(path);
                signed.push(json);
            }
            Done::OpenPgp(path, detached) => {
                let key = &detached.fingerprint;
                writeln!(text, "signed: {}\n  by        the OpenPGP key {key}", path.display()).ok();
                signed.push(json!({ "openpgp": path, "signer": { "openpgp": detached.fingerprint.to_string() } }));
            }
        }
    }
    Answer { end: "", ..Answer::new(printable(&text), json!({ "signed": signed })) }
}

/// What a path stands for.
fn tasks_of(path: &Path, blob: bool, openpgp: bool) -> Result<Vec<Task>, Failure> {
    let wrong = |why| Failure::Unfit { path: path.to_owned(), why };
    if path.is_dir() {
        if blob {
            return Err(wrong("is a directory: with --blob, name files"));
        }
        let mut tasks: Vec<_> = statements_in(path)?.into_iter().map(Task::Statement).collect();
        if openpgp {
            tasks.push(Task::Sums(path.join(SUMS)));
        }
        return if tasks.is_empty() {
            Err(wrong("has no statement to sign (NAME.provenance.json, NAME.rebuild.json)"))
        } else {
            Ok(tasks)
        };
    }
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if blob {
        return Ok(vec![Task::File(path.to_owned())]);
    }
    if name == SUMS && openpgp {
        return Ok(vec![Task::Sums(path.to_owned())]);
    }
    if name.ends_with(BUNDLE) {
        return Err(wrong("is a bundle already"));
    }
    if path.extension() == Some(OsStr::new("json")) {
        return Ok(vec![Task::Statement(path.to_owned())]);
    }
    Err(wrong("is not a statement in JSON: --blob signs any file, --openpgp-key signs SHA256SUMS"))
}

fn statements_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |source| Failure::File { action: "read", path: directory.to_owned(), source };
    let mut found = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    for entry in std::fs::read_dir(directory).map_err(failed)?.take(ENTRY_LIMIT) {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if STATEMENTS.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl Signatory {
    /// Loads what is asked for. `openpgp_alone` if nothing else is to be signed.
    pub(super) fn new(session: &Session, signing: &Signing, openpgp_alone: bool) -> Result<Self, Failure> {
        let openpgp = signing.openpgp_key.as_deref().map(openpgp_key).transpose()?;
        let witnessed = signing.log || signing.signing_config.is_some() || signing.trust.tuf_url.is_some();
        let way = match &signing.key {
            Some(path) => {
                let key = key(path, signing.key_password_file.as_deref())?;
                if witnessed { Way::LoggedKey(key, Box::new(instance(session, signing)?)) } else { Way::Key(key) }
            }
            None if openpgp_alone => Way::OpenPgpAlone,
            None => Way::Identity(token(signing)?, Box::new(instance(session, signing)?)),
        };
        Ok(Self { way, openpgp })
    }

    /// Signs all, then writes all.
    fn sign(&self, session: &Session, tasks: &[Task]) -> Result<Vec<Done>, Failure> {
        let activity = session.ui.work("sign");
        let token = match &self.way {
            Way::Identity(Some(token), _) => Some(Token::parse(token)?),
            Way::Identity(None, _) => Some(ambient()?),
            Way::Key(_) | Way::LoggedKey(..) | Way::OpenPgpAlone => None,
        };
        let mut done = Vec::new();
        for task in tasks {
            match task {
                Task::Statement(path) | Task::File(path) => {
                    activity.now(&path.display().to_string());
                    let means = self.means(token.as_ref()).ok_or(Failure::NoIdentity)?;
                    done.push(sign_one(task, path, means)?);
                }
                Task::Sums(path) => {
                    let Some(key) = &self.openpgp else { continue };
                    let bytes = trust::read(path)?;
                    done.push(Done::OpenPgp(beside(path, ".asc"), key.sign(&bytes, now())?));
                }
            }
        }
        for done in &done {
            match done {
                Done::Bundle(path, signed) => write(path, signed.bytes())?,
                Done::OpenPgp(path, detached) => write(path, detached.armored.as_bytes())?,
            }
        }
        drop(activity);
        Ok(done)
    }

    fn means<'a>(&'a self, token: Option<&'a Token>) -> Option<Means<'a>> {
        match &self.way {
            Way::Key(key) => Some(Means::Key(key)),
            Way::LoggedKey(key, instance) => Some(Means::LoggedKey(key, instance)),
            Way::Identity(_, instance) => token.map(|token| Means::Identity(token, instance)),
            Way::OpenPgpAlone => None,
        }
    }
}

fn sign_one(task: &Task, path: &Path, means: Means<'_>) -> Result<Done, Failure> {
    let bytes = trust::read_limited(path, FILE_LIMIT)?;
    let (what, to) = match task {
        Task::Statement(_) => {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let stem = name.strip_suffix(".json").unwrap_or(name);
            (Unsigned::Statement(&bytes), path.with_file_name(format!("{stem}{BUNDLE}")))
        }
        Task::File(_) | Task::Sums(_) => (Unsigned::File(&bytes), beside(path, BUNDLE)),
    };
    let signed = pgproof::bundle::sign(what, means, now())?;
    Ok(Done::Bundle(to, Box::new(signed)))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// The file appears whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let name = name.parse().map_err(pgproof::Error::from)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(publish_apart(&Companion { name: &name, bytes }, directory)?)
}

fn instance(session: &Session, signing: &Signing) -> Result<Instance, Failure> {
    let network = session.network.clone().ok_or(Failure::OfflineSigning)?;
    let (services, root) = match (&signing.signing_config, &signing.trust.trusted_root) {
        (Some(services), Some(_)) => (Services::parse(&trust::read(services)?)?, signing.trust.root(session)?),
        // Services of one instance and the trust root of another would sign what nobody can check.
        (None, Some(_)) => {
            return Err(Failure::Usage("--trusted-root without --signing-config does not say which services sign"));
        }
        (_, None) => {
            let repository = signing.trust.repository(session)?;
            (repository.services(Some(&network), now())?, repository.trust_root(Some(&network), now())?)
        }
    };
    Ok(Instance::new(services, root, network))
}

/// The key in a file, or in a variable.
fn key(place: &Path, password_file: Option<&Path>) -> Result<SigningKey, Failure> {
    let password = match password_file {
        Some(path) => Some(Secret::password_of_file(path)?),
        None => secret_of("PGPROOF_KEY_PASSWORD").or_else(|| secret_of("COSIGN_PASSWORD")).transpose()?,
    };
    Ok(match named(place)? {
        Some(secret) => SigningKey::read(&secret, password.as_ref())?,
        None => SigningKey::of_file(place, password.as_ref())?,
    })
}

fn openpgp_key(place: &Path) -> Result<OpenPgpKey, Failure> {
    let password = secret_of("PGPROOF_OPENPGP_PASSWORD").transpose()?;
    Ok(match named(place)? {
        Some(secret) => OpenPgpKey::read(&secret, password.as_ref())?,
        None => OpenPgpKey::of_file(place, password.as_ref())?,
    })
}

/// The secret in the variable that `env://VARIABLE` names, as cosign spells it.
fn named(place: &Path) -> Result<Option<Secret>, Failure> {
    let Some(variable) = place.to_str().and_then(|place| place.strip_prefix("env://")) else { return Ok(None) };
    let secret = secret_of(variable).ok_or_else(|| Failure::NoVariable(variable.to_owned()))?;
    Ok(Some(secret?))
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets come from the environment, so that no list of processes has them"
)]
fn secret_of(variable: &str) -> Option<Result<Secret, Failure>> {
    let value = std::env::var_os(variable)?;
    Some(Secret::new(std::os::unix::ffi::OsStringExt::into_vec(value)).map_err(Failure::from))
}

/// The token that was given. `None`: what the CI service offers is asked for later.
fn token(signing: &Signing) -> Result<Option<Zeroizing<String>>, Failure> {
    #[expect(clippy::disallowed_methods, reason = "where cosign and its kin look for it too")]
    let given = match &signing.identity_token {
        Some(token) => Some(token.0.clone()),
        None => std::env::var("SIGSTORE_ID_TOKEN").ok().filter(|token| !token.is_empty()).map(Zeroizing::new),
    };
    let Some(given) = given else { return Ok(None) };
    match given.strip_prefix('@') {
        Some(path) => {
            let bytes = Zeroizing::new(trust::read(Path::new(path))?);
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned().into()))
        }
        None => Ok(Some(given)),
    }
}

/// The identity that this machine's CI service shows: GitHub Actions, GitLab, Buildkite and others.
fn ambient() -> Result<Token, Failure> {
    use sigstore_sign::oidc::IdentityToken;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    match runtime.block_on(IdentityToken::detect_ambient()) {
        Ok(Some(token)) => Ok(Token::parse(token.expose_secret())?),
        Ok(None) => Err(Failure::NoIdentity),
        Err(error) => Err(Failure::Ambient(error.to_string())),
    }
}
