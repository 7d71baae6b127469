//! Signatures before a Sigstore of one's own, which is `tests/sigstore`, and what other people's clients of it say.

mod clients;
mod failures;
mod interop;
mod samples;
mod tampering;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;
use pgproof::bundle::{CertificateIdentity, Instance, Pattern, Services, Signer, Token, TrustRoot};
use pgproof::fetch::{Limits, Mirrors, Network};
use serde_json::Value;

use crate::gate::{self, Need};

/// A Sigstore that runs as long as somebody has it.
#[derive(Debug)]
pub(crate) struct Sigstore {
    server: Child,
    /// The server ends when this is closed, so that a test which is killed leaves nothing behind.
    _lifeline: ChildStdin,
    directory: tempfile::TempDir,
    url: String,
}

/// The two kinds of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rekor {
    V1,
    V2,
}

/// Who may ask for certificates: the names are of `tests/sigstore/identities.mjs`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identity {
    /// The release workflow of a repository on GitHub.
    Builder,
    /// A workflow of somebody else's repository.
    Rebuilder,
    /// A person, by e-mail address.
    Person,
}

/// A service, and how it misbehaves: `tests/sigstore/server.mjs` has the moods.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Authority(&'static str),
    Log(&'static str),
    Timestamps(&'static str),
}

impl Rekor {
    pub(crate) const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// `v1`, as in the names of files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl Identity {
    /// The name of its token.
    fn name(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Rebuilder => "rebuilder",
            Self::Person => "person",
        }
    }

    /// What its certificates name.
    pub(crate) fn subject(self) -> &'static str {
        match self {
            Self::Builder => "https://github.com/pgproof/releases/.github/workflows/release.yml@refs/tags/v1",
            Self::Rebuilder => "https://github.com/elsewhere/rebuilds/.github/workflows/rebuild.yml@refs/heads/main",
            Self::Person => "rebuilder@example.org",
        }
    }
}

impl Sigstore {
    /// The one that all tests of this process share, if programs that not every machine has may be used.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Sigstore>> = Mutex::new(Weak::new());
        if !gate::open(Need::Slow) {
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start());
            *shared = Arc::downgrade(&started);
            started
        }))
    }

    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigstore/server.mjs");
        let mut server = Command::new("node")
            .arg(program)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lifeline = server.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim_end().strip_prefix("ready ").expect("the server starts: tests/run installs what it needs");
        Self { server, _lifeline: lifeline, directory, url: url.to_owned() }
    }

    /// A file that the server has written: `trusted_root.json`, `builder.jwt`, …
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn trust_root(&self) -> TrustRoot {
        TrustRoot::parse(&std::fs::read(self.file("trusted_root.json")).unwrap()).unwrap()
    }

    /// The signing configuration for one of the logs, in which one service may be in a mood.
    pub(crate) fn configuration(&self, rekor: Rekor, mood: Option<Mood>) -> Value {
        let path = self.file(&format!("signing_config_{}.json", rekor.name()));
        let mut configuration: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        if let Some(mood) = mood {
            let (services, mood) = match mood {
                Mood::Authority(mood) => ("caUrls", mood),
                Mood::Log(mood) => ("rekorTlogUrls", mood),
                Mood::Timestamps(mood) => ("tsaUrls", mood),
            };
            let url = &mut configuration[services][0]["url"];
            *url = url.as_str().unwrap().replace(&self.url, &format!("{}/as/{mood}", self.url)).into();
        }
        configuration
    }

    /// What signs here.
    pub(crate) fn instance(&self, rekor: Rekor, mood: Option<Mood>) -> Instance {
        let services = Services::parse(self.configuration(rekor, mood).to_string().as_bytes()).unwrap();
        Instance::new(services, self.trust_root(), network())
    }

    pub(crate) fn token_file(&self, identity: Identity) -> PathBuf {
        self.file(&format!("{}.jwt", identity.name()))
    }

    pub(crate) fn token(&self, identity: Identity) -> Token {
        Token::parse(&std::fs::read_to_string(self.token_file(identity)).unwrap()).unwrap()
    }

    /// Who attests an identity.
    pub(crate) fn issuer(&self, identity: Identity) -> String {
        match identity {
            Identity::Builder | Identity::Rebuilder => "https://token.actions.githubusercontent.com".to_owned(),
            Identity::Person => format!("{}/oauth2", self.url),
        }
    }

    pub(crate) fn signer(&self, identity: Identity) -> Signer {
        by_certificate(identity.subject(), &self.issuer(identity))
    }
}

impl Drop for Sigstore {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Exactly this identity, by exactly this issuer.
fn by_certificate(identity: &str, issuer: &str) -> Signer {
    let exactly = |text: &str| Pattern::exact(text).unwrap();
    Signer::Certificate(CertificateIdentity::new(exactly(identity), exactly(issuer)))
}

fn network() -> Network {
    Network::new(Mirrors::new([], "http://localhost:9".parse().unwrap()), Limits::default())
}

fn now() -> Timestamp {
    Timestamp::now()
}
