//! Other people's clients of Sigstore, as a person would use them. `tests/run` installs them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Identity, Mood, Rekor, Sigstore};

/// A file that is signed, and a statement about it.
pub(super) const ARTIFACT: &[u8] = b"not really PostgreSQL\n";
pub(super) const STATEMENT: &str = r#"{"_type":"https://in-toto.io/Statement/v1","predicate":{"buildDefinition":{"buildType":"urn:pgproof:build:1","externalParameters":{"version":"17.11"}},"runDetails":{"builder":{"id":"urn:pgproof:test"}}},"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":"DIGEST"},"name":"artifact.tar.gz"}]}"#;

/// What a bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An envelope with a statement about the file.
    Statement,
    /// A signature of the file.
    File,
}

impl What {
    pub(super) const ALL: [Self; 2] = [Self::Statement, Self::File];

    /// As in the names of files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::File => "file",
        }
    }

    /// Whoever signs in the tests: workflows state, people sign files.
    pub(super) fn identity(self) -> Identity {
        match self {
            Self::Statement => Identity::Builder,
            Self::File => Identity::Person,
        }
    }
}

/// A client of Sigstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Cosign,
    Go,
    Javascript,
    Python,
}

impl Client {
    pub(super) const ALL: [Self; 4] = [Self::Cosign, Self::Go, Self::Javascript, Self::Python];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::Go => "sigstore-go",
            Self::Javascript => "sigstore-js",
            Self::Python => "sigstore-python",
        }
    }
}

/// A directory with what is signed, where clients work.
pub(super) struct Bench {
    directory: tempfile::TempDir,
}

/// The statement about the file.
pub(super) fn statement() -> String {
    STATEMENT.replace("DIGEST", &pgproof::digest::Digest::of(ARTIFACT).hex())
}

impl Bench {
    pub(super) fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        bench.write("artifact.tar.gz", ARTIFACT);
        bench.write("statement.json", statement().as_bytes());
        let statement: serde_json::Value = serde_json::from_str(&statement()).unwrap();
        bench.write("predicate.json", statement["predicate"].to_string().as_bytes());
        bench
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A bundle that somebody else's client makes, if it makes such ones.
    pub(super) fn sign(&self, client: Client, sigstore: &Sigstore, rekor: Rekor, what: What) -> Option<Vec<u8>> {
        let bundle = self.path("made.json");
        let token = sigstore.token_file(what.identity());
        let mut command = match client {
            Client::Cosign => {
                let mut command = self.command("cosign");
                command.arg(match what {
                    What::Statement => "attest-blob",
                    What::File => "sign-blob",
                });
                command.arg("--yes").arg("--identity-token").arg(token).arg("--bundle").arg(&bundle);
                command.arg("--trusted-root").arg(sigstore.file("trusted_root.json"));
                command.arg("--signing-config").arg(self.configuration(sigstore, rekor, None));
                match what {
                    What::Statement => command.arg("--statement").arg(self.path("statement.json")),
                    What::File => command.arg(self.path("artifact.tar.gz")),
                };
                command
            }
            Client::Python => {
                let mut command = self.python(sigstore, rekor);
                match what {
                    What::Statement => {
                        let predicate = self.path("predicate.json");
                        command.args(["attest", "--predicate-type", "https://slsa.dev/provenance/v1", "--predicate"]);
                        command.arg(predicate)
                    }
                    What::File => command.arg("sign"),
                };
                command.arg("--identity-token").arg(std::fs::read_to_string(token).unwrap());
                command.arg("--overwrite").arg("--bundle").arg(&bundle).arg(self.path("artifact.tar.gz"));
                command
            }
            // It sends the envelope to Rekor v2, which takes only digests.
            Client::Javascript if (what, rekor) == (What::Statement, Rekor::V2) => return None,
            Client::Javascript => return Some(self.sign_in_mood(sigstore, rekor, what, None)),
            // What it has for signing is an example, with the public instance's addresses.
            Client::Go => return None,
        };
        said(&mut command).unwrap();
        Some(std::fs::read(bundle).unwrap())
    }

    /// The JavaScript client takes what it is given, from services in any mood.
    pub(super) fn sign_in_mood(&self, sigstore: &Sigstore, rekor: Rekor, what: What, mood: Option<Mood>) -> Vec<u8> {
        let mut command = self.javascript();
        command.arg(match what {
            What::Statement => "attest",
            What::File => "sign",
        });
        command.arg(self.configuration(sigstore, rekor, mood)).arg(sigstore.token_file(what.identity()));
        match what {
            What::Statement => command.arg(self.path("statement.json")).arg(pgproof::bundle::PAYLOAD_TYPE),
            What::File => command.arg(self.path("artifact.tar.gz")),
        };
        said(&mut command).unwrap().into_bytes()
    }

    fn configuration(&self, sigstore: &Sigstore, rekor: Rekor, mood: Option<Mood>) -> PathBuf {
        self.write("signing_config.json", sigstore.configuration(rekor, mood).to_string().as_bytes())
    }

    /// What somebody else's client says of a bundle, which has to be `identity`'s.
    pub(super) fn verify(
        &self,
        client: Client,
        sigstore: &Sigstore,
        bundle: &[u8],
        what: What,
        identity: Identity,
    ) -> Result<String, String> {
        let bundle = self.write("given.json", bundle);
        let (subject, issuer) = (identity.subject(), sigstore.issuer(identity));
        let (artifact, root) = (self.path("artifact.tar.gz"), sigstore.file("trusted_root.json"));
        let mut command = match client {
            Client::Cosign => {
                let mut command = self.cosign_verify(what);
                command.args(["--certificate-identity", subject, "--certificate-oidc-issuer", &issuer]);
                command.arg("--trusted-root").arg(root).arg("--bundle").arg(bundle).arg(artifact);
                command
            }
            Client::Go => {
                let mut command = self.command("sigstore-go-verification");
                command.args(["-expectedSAN", subject, "-expectedIssuer", &issuer]);
                command.arg("-trustedrootJSONpath").arg(root).arg("-artifact").arg(artifact).arg(bundle);
                command
            }
            Client::Javascript => {
                let mut command = self.javascript();
                command.arg("verify").arg(bundle).arg(root).args([subject, &issuer]);
                // Of a statement, it checks the signature only.
                command.args((what == What::File).then_some(artifact));
                command
            }
            Client::Python => {
                let mut command = self.python(sigstore, Rekor::V1);
                command.args(["verify", "identity", "--offline", "--cert-identity", subject, "--cert-oidc-issuer"]);
                command.arg(issuer).arg("--bundle").arg(bundle).arg(artifact);
                command
            }
        };
        said(&mut command)
    }

    /// A key pair that OpenSSL makes, in files that everybody reads.
    pub(super) fn key(&self) -> (PathBuf, PathBuf) {
        let (key, public) = (self.path("key.pem"), self.path("key.pub"));
        if !key.exists() {
            let mut command = self.command("openssl");
            command.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]).arg(&key);
            said(&mut command).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
            said(self.command("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public)).unwrap();
        }
        (key, public)
    }

    /// The same key as cosign wants it.
    fn cosign_key(&self) -> PathBuf {
        let mut command = self.command("cosign");
        command.args(["import-key-pair", "--yes", "--output-key-prefix", "cosign", "--key"]).arg(self.key().0);
        said(&mut command).unwrap();
        self.path("cosign.key")
    }

    /// A bundle that cosign makes with the key and nothing else.
    pub(super) fn sign_with_cosign_key(&self, what: What) -> Vec<u8> {
        let key = self.cosign_key();
        let bundle = self.path("made.json");
        let nobody = self.write("nobody.json", NO_SERVICES.as_bytes());
        let mut command = self.command("cosign");
        match what {
            What::Statement => command.arg("attest-blob").arg("--statement").arg(self.path("statement.json")),
            What::File => command.arg("sign-blob").arg(self.path("artifact.tar.gz")),
        };
        command.arg("--yes").arg("--key").arg(key).arg("--bundle").arg(&bundle).arg("--signing-config").arg(nobody);
        said(&mut command).unwrap();
        std::fs::read(bundle).unwrap()
    }

    /// What cosign says of a bundle that was made with a key and nothing else.
    pub(super) fn verify_key_with_cosign(&self, bundle: &[u8], what: What, key: &Path) -> Result<String, String> {
        let bundle = self.write("given.json", bundle);
        let mut command = self.cosign_verify(what);
        command.arg("--insecure-ignore-tlog").arg("--key").arg(key).arg("--bundle").arg(bundle);
        said(command.arg(self.path("artifact.tar.gz")))
    }

    /// What cosign says of a bundle that was made with a key before witnesses.
    pub(super) fn verify_logged_key_with_cosign(
        &self,
        sigstore: &Sigstore,
        bundle: &[u8],
        what: What,
        key: &Path,
    ) -> Result<String, String> {
        let bundle = self.write("given.json", bundle);
        let mut command = self.cosign_verify(what);
        command.arg("--trusted-root").arg(sigstore.file("trusted_root.json")).arg("--key").arg(key);
        said(command.arg("--bundle").arg(bundle).arg(self.path("artifact.tar.gz")))
    }

    /// What the JavaScript client says of a bundle that was made with a key and nothing else.
    pub(super) fn verify_key_with_javascript(&self, bundle: &[u8], what: What, key: &Path) -> Result<String, String> {
        let bundle = self.write("given.json", bundle);
        let artifact = (what == What::File).then(|| self.path("artifact.tar.gz"));
        said(self.javascript().arg("verify-key").arg(bundle).arg(key).args(artifact))
    }

    fn cosign_verify(&self, what: What) -> Command {
        let mut command = self.command("cosign");
        match what {
            What::Statement => command.args(["verify-blob-attestation", "--type", "slsaprovenance1"]),
            What::File => command.arg("verify-blob"),
        };
        command
    }

    fn python(&self, sigstore: &Sigstore, rekor: Rekor) -> Command {
        let mut command = self.command("sigstore");
        command.arg("--trust-config").arg(sigstore.file(&format!("trust_config_{}.json", rekor.name())));
        command
    }

    fn javascript(&self) -> Command {
        let mut command = self.command("node");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigstore/client.mjs"));
        command
    }

    /// They keep things at home.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("HOME", self.directory.path()).env("COSIGN_PASSWORD", "secret");
        command.env_remove("GITHUB_ACTIONS").env_remove("ACTIONS_ID_TOKEN_REQUEST_URL");
        command
    }
}

/// A signing configuration without any service.
const NO_SERVICES: &str =
    r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

/// What a command says, or what it says of why it failed.
pub(super) fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(stdout) } else { Err(format!("{stdout}{stderr}")) }
}
