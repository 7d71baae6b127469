//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use pgproof::fetch::Mirror;
use pgproof::lockfile::Name;
use pgproof::statement::Identifier;
use pgproof::target::{Triple, Version};
use pgproof::variation::Axis;

use super::who::Who;

/// Builds PostgreSQL in a sealed box from inputs pinned by digest, twice, under different conditions, and shows that both
/// came out the same byte for byte.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("PGPROOF_COMMIT"), ")");

const EXIT_CODES: &str = "\
Exit codes:
  0  reproduced, or done as asked
  1  not reproduced, or a test or check failed: an answer, not an error
  2  wrong use
  3  an input failed verification
  4  the sandbox cannot be closed here
  5  the build itself failed, or what it made fails its check
  6  network or disk trouble: nothing was decided, try again
  130  stopped by Ctrl-C";

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where fetched and built bytes are kept [default: pgproof in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "PGPROOF_STORE", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,

    /// A directory with sysroots/, toolchains/ and lockfiles/ that takes the place of those built into pgproof
    #[arg(long, global = true, value_name = "DIR", env = "PGPROOF_DEFINITIONS", value_hint = ValueHint::DirPath)]
    pub(crate) definitions: Option<PathBuf>,

    /// Never open a socket: everything must be in the store
    #[arg(long, global = true)]
    pub(crate) offline: bool,

    /// A mirror of Debian's archive to try before those this host's apt is configured with; repeatable
    #[arg(long = "mirror", global = true, value_name = "URL", env = "PGPROOF_MIRROR", value_delimiter = ',')]
    pub(crate) mirrors: Vec<Mirror>,

    /// Print the result as JSON on standard output, and nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build twice under different conditions and compare
    Rebuild(Box<Rebuild>),
    /// Build once
    Build(Build),
    /// Bring every input into the store; the network ends here
    Fetch(Fetch),
    /// Print the canonical plan; its SHA-256 is the build's identity
    Plan(PlanCommand),
    /// Pack an installed tree as a build's output: what another runtime left in an exported bundle
    Pack(Pack),
    /// Say what is wrong with a release's archives, without running anything of them
    Check(Check),
    /// Tell whether an archive is what somebody signed, and what was said of it
    Verify(Box<Verify>),
    /// Sign statements, releases or files: with a key, or with a certificate for the identity that this machine shows
    Sign(Sign),
    /// Test an archive as PostgreSQL in the sealed box, beside a C library and a shell only
    Test(Test),
    /// Say what a release consists of, as a bill of materials in SPDX and CycloneDX
    Sbom(Sbom),
    /// Show what runs came to: a page to look at, a comment for a pull request, or JSON
    Report(Report),
    /// Open a prompt in the sealed box, sources unpacked
    Shell(ShellCommand),
    /// Show what earlier builds and tests printed
    Log(Log),
    /// Resolve sysroots/*.toml into lockfiles/*.lock
    Lock(Lock),
    /// Look after the store
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Tell whether this machine can close the sandbox, and if not, what to do
    Doctor,
    /// Print a completion script
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}

/// What to build.
#[derive(Debug, Clone, Args)]
pub(crate) struct Subject {
    /// The PostgreSQL version [default: 17.11]
    pub(crate) version: Option<Version>,

    /// The platform [default: this machine's]
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<Triple>,

    /// The toolchain under toolchains/ [default: the one for the target]
    #[arg(long, value_name = "NAME")]
    pub(crate) toolchain: Option<Name>,

    /// Build this plan instead of PostgreSQL
    #[arg(long, value_name = "FILE", conflicts_with_all = ["version", "target", "toolchain"], value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,
}

/// How a build is held.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Stop a build that takes longer
    #[arg(long = "timeout", value_name = "SECONDS", default_value = "7200")]
    pub(crate) timeout_s: u64,

    /// Let a build write this much [default: 8, or a third of the free memory where that is less]
    #[arg(long = "disk", value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) disk_gib: Option<u64>,

    /// Let a build use this much memory, its files in memory included [default: nine tenths of what is free, shared by the builds]
    #[arg(long = "memory", value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) memory_gib: Option<u64>,

    /// Use at most this many processors [default: all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) cpus: Option<u16>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_s: 7200, disk_gib: None, memory_gib: None, cpus: None }
    }
}

/// Who states what was built.
#[derive(Debug, Args)]
pub(crate) struct Stating {
    /// The URI that statements call this builder [default: on GitHub Actions the workflow's, urn:pgproof:builder:unnamed elsewhere]
    #[arg(long, value_name = "URI", env = "PGPROOF_BUILDER_ID")]
    pub(crate) builder_id: Option<Identifier>,

    /// What GitHub Actions tells of itself.
    #[arg(long, hide = true, env = "GITHUB_SERVER_URL")]
    pub(crate) github_server_url: Option<String>,
    #[arg(long, hide = true, env = "GITHUB_WORKFLOW_REF")]
    pub(crate) github_workflow_ref: Option<String>,
    #[arg(long, hide = true, env = "GITHUB_REPOSITORY")]
    pub(crate) github_repository: Option<String>,
    #[arg(long, hide = true, env = "GITHUB_RUN_ID")]
    pub(crate) github_run_id: Option<String>,
    #[arg(long, hide = true, env = "GITHUB_RUN_ATTEMPT")]
    pub(crate) github_run_attempt: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) stating: Stating,

    /// Compare the two builds' outputs; and, if it is named, with what somebody published: an archive, a signed statement, a
    /// directory with a release, or a URL of one of them. Plan and locks are those of its statement then
    #[arg(long, required = true, num_args = 0..=1, value_name = "PUBLISHED", default_missing_value = "")]
    pub(crate) compare: String,

    /// Where archives, digests, statements and the report go [default: dist; rebuilt, beside what was published]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,

    /// Let only these conditions differ in the second build
    #[arg(long, value_name = "AXIS,…", value_delimiter = ',')]
    pub(crate) vary: Vec<Axis>,

    /// Let all conditions but these differ in the second build
    #[arg(long, value_name = "AXIS,…", value_delimiter = ',', conflicts_with = "vary")]
    pub(crate) no_vary: Vec<Axis>,

    /// Leave both builds' trees here: plain/build, plain/out, shaken/build and shaken/out. Empty, or not there yet
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) keep: Option<PathBuf>,

    /// Run one build after the other even if memory allows both at once
    #[arg(long)]
    pub(crate) sequential: bool,

    /// Do not check the archives
    #[arg(long)]
    pub(crate) no_check: bool,

    /// Sign what is stated: with --key, or keyless
    #[arg(long)]
    pub(crate) sign: bool,

    #[command(flatten)]
    pub(crate) signing: Signing,

    /// A public key that may have signed what was published; repeatable
    #[arg(long = "published-key", value_name = "FILE", help_heading = "Who must have signed", value_hint = ValueHint::FilePath)]
    pub(crate) published_keys: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A file, such as an archive, or its digest as sha256:…
    #[arg(value_name = "ARCHIVE", value_hint = ValueHint::FilePath)]
    pub(crate) artifact: String,

    /// A file with Sigstore bundles, one, or one a line; repeatable [default: all that lie beside the archive]
    #[arg(long = "bundle", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) bundles: Vec<PathBuf>,

    /// Whom to believe, and how many of them must vouch: a TOML file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "Who"], value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,

    /// Ask for a statement of this type too: provenance, rebuild, or any predicate type's URI
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) predicate_type: Option<String>,

    /// Hold the inputs that the provenance states against the lockfiles at hand, those of --definitions if it is given
    #[arg(long)]
    pub(crate) lockfiles: bool,

    /// A public key in PEM that may have signed; repeatable
    #[arg(long = "key", value_name = "FILE", help_heading = "Who must have signed", value_hint = ValueHint::FilePath)]
    pub(crate) keys: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) who: Who,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) stating: Stating,

    /// Where the archive, its digests, the report and the statements go
    #[arg(long, value_name = "DIR", default_value = "dist", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,

    /// Do not check the archives
    #[arg(long)]
    pub(crate) no_check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    pub(crate) subject: Subject,
}

#[derive(Debug, Args)]
pub(crate) struct PlanCommand {
    #[command(flatten)]
    pub(crate) subject: Subject,

    /// Print the inputs' origins too, so that the plan can be built with an empty store
    #[arg(long)]
    pub(crate) origins: bool,

    /// Write a standard OCI runtime bundle, for runc or crun to execute
    #[arg(long, value_name = "DIR", conflicts_with = "origins", value_hint = ValueHint::DirPath)]
    pub(crate) oci_bundle: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    #[command(flatten)]
    pub(crate) subject: Subject,

    /// The tree: the bundle's out/ directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) tree: PathBuf,

    /// Where the archive and its digests go
    #[arg(long, value_name = "DIR", default_value = "dist", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The archives of one release: the main one, -client, -pl, -debug; .tar.gz, .tar.xz, .tar.zst, .tar.bz2 or .tar
    #[arg(required = true, value_name = "ARCHIVE", value_hint = ValueHint::FilePath)]
    pub(crate) archives: Vec<PathBuf>,

    /// The platform that they are for [default: the one in the archive's name, or else this machine's]
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<Triple>,
}

#[derive(Debug, Args)]
pub(crate) struct Sbom {
    /// The archives of one release as pgproof publishes them: the main one, -client, -pl, -debug
    #[arg(required_unless_present_any = ["environment", "own"], value_name = "ARCHIVE", value_hint = ValueHint::FilePath)]
    pub(crate) archives: Vec<PathBuf>,

    /// Of what builds this version instead: the packages of the box, and the tarball
    #[arg(long, value_name = "VERSION", num_args = 0..=1, default_missing_value = "17.11", conflicts_with_all = ["archives", "own"])]
    pub(crate) environment: Option<Version>,

    /// Of pgproof itself instead
    #[arg(long = "self", conflicts_with_all = ["archives", "environment"])]
    pub(crate) own: bool,

    /// The form [default: text, or with --out all of them]
    #[arg(long, value_enum)]
    pub(crate) format: Option<SbomFormat>,

    /// Write NAME.spdx.json, NAME.cdx.json and NAME.sbom.txt there instead of printing
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,

    /// The platform of the environment [default: this machine's]
    #[arg(long, value_name = "TRIPLE", requires = "environment")]
    pub(crate) target: Option<Triple>,

    /// The toolchain of the environment, under toolchains/ [default: the one for the target]
    #[arg(long, value_name = "NAME", requires = "environment")]
    pub(crate) toolchain: Option<Name>,
}

/// A form of a bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    /// SPDX 2.3, as JSON
    Spdx,
    /// CycloneDX 1.6, as JSON
    Cyclonedx,
    /// A line for each component
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What builds left: NAME.report.json. Several make a matrix of releases and rebuilders, who are told apart by what the
    /// reports say or by the directories that these lie in
    #[arg(required = true, value_name = "REPORT", value_hint = ValueHint::FilePath)]
    pub(crate) reports: Vec<PathBuf>,

    /// In which form
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ReportFormat,

    /// Write it here [default: standard output]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// In which form runs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One self-contained page
    #[default]
    Html,
    /// Fits a comment on a pull request, or the summary of a job
    Markdown,
    /// The reports as they were understood
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ShellCommand {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) limits: Limits,

    /// The terminal's type, for programs in the box
    #[arg(long, value_name = "TYPE", env = "TERM", default_value = "dumb")]
    pub(crate) terminal: String,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The archive: a tar, compressed or not, that has bin/postgres
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) archive: PathBuf,

    /// An archive of an older major version, to check upgrading from
    #[arg(long, value_name = "ARCHIVE", value_hint = ValueHint::FilePath)]
    pub(crate) upgrade_from: Option<PathBuf>,

    /// Run PostgreSQL's own tests, make installcheck-world, too, from the locked sources of the archive's version
    #[arg(long)]
    pub(crate) regress: bool,

    /// The archive with PL/Perl, PL/Python and PL/Tcl: run their tests too
    #[arg(long, value_name = "ARCHIVE", requires = "regress", value_hint = ValueHint::FilePath)]
    pub(crate) with: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) limits: Limits,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// Statements (NAME.provenance.json, NAME.rebuild.json), directories with a release, or SHA256SUMS with --openpgp-key
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,

    /// Sign these files themselves, whatever they are: FILE.sigstore.json
    #[arg(long)]
    pub(crate) blob: bool,

    #[command(flatten)]
    pub(crate) signing: Signing,
}

const KEY_HELP: &str = "\
A private key to sign with: P-256, P-384 or Ed25519, in PKCS#8 or SEC 1, or env://VARIABLE with one in it. Its password is \
read from PGPROOF_KEY_PASSWORD or COSIGN_PASSWORD";
const TOKEN_HELP: &str = "\
The identity to sign as: a JSON Web Token, or @FILE with one [default: SIGSTORE_ID_TOKEN, or what the CI service offers]";
const OPENPGP_HELP: &str = "\
Sign SHA256SUMS with this secret OpenPGP key too: SHA256SUMS.asc. Its password is read from PGPROOF_OPENPGP_PASSWORD";

/// By what it is signed.
#[derive(Debug, Args, Default)]
#[expect(clippy::struct_field_names, reason = "the options' names are cosign's")]
#[command(next_help_heading = "Signing")]
pub(crate) struct Signing {
    #[arg(long, help = KEY_HELP, value_name = "FILE|env://VARIABLE")]
    pub(crate) key: Option<PathBuf>,

    /// A file with the key's password in its first line
    #[arg(long, value_name = "FILE", requires = "key", value_hint = ValueHint::FilePath)]
    pub(crate) key_password_file: Option<PathBuf>,

    /// With --key: have a log and a timestamp authority as witnesses too
    #[arg(long, requires = "key")]
    pub(crate) log: bool,

    #[arg(long, help = TOKEN_HELP, value_name = "TOKEN|@FILE", conflicts_with = "key")]
    pub(crate) identity_token: Option<Hidden>,

    /// The services to sign with, as a file [default: from the same place as the trust root]
    #[arg(long, value_name = "FILE", requires = "trusted_root", value_hint = ValueHint::FilePath)]
    pub(crate) signing_config: Option<PathBuf>,

    #[arg(long, help = OPENPGP_HELP, value_name = "FILE|env://VARIABLE")]
    pub(crate) openpgp_key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

impl Signing {
    /// Whether something in it only says how to sign.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.key.is_some()
            || self.identity_token.is_some()
            || self.signing_config.is_some()
            || self.openpgp_key.is_some()
    }
}

/// Which certificate authorities, logs and timestamp authorities are believed.
#[derive(Debug, Args, Default)]
pub(crate) struct Trust {
    /// The trust root, as a file [default: that of the public-good instance, fetched by TUF]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) trusted_root: Option<PathBuf>,

    /// The TUF repository of a private instance, to fetch the trust root from
    #[arg(long, value_name = "URL", requires = "tuf_root", conflicts_with = "trusted_root", value_hint = ValueHint::Url)]
    pub(crate) tuf_url: Option<url::Url>,

    /// That repository's root.json, which is believed
    #[arg(long, value_name = "FILE", requires = "tuf_url", value_hint = ValueHint::FilePath)]
    pub(crate) tuf_root: Option<PathBuf>,
}

/// What is on the command line and must not be seen anywhere else.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) zeroize::Zeroizing<String>);

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned().into()))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// A build, as `pgproof log` lists them; its output is printed
    pub(crate) build: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// The definition under sysroots/ [default: all]
    pub(crate) name: Option<Name>,

    /// Accept the index of this suite although its Valid-Until is past; repeatable
    #[arg(long, value_name = "SUITE")]
    pub(crate) allow_expired: Vec<Name>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Put a file into the store and print its digest
    Add {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Hash every blob again
    Verify {
        /// Remove damaged blobs, so that they are fetched again
        #[arg(long)]
        repair: bool,
    },
    /// Remove what no lockfile, image or recent build needs
    Gc {
        /// Remove added files and the outputs of recent builds too
        #[arg(long)]
        all: bool,
    },
    /// Tell what is there
    Stat,
}
