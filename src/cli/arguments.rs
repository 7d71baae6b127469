//! The words of the command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use pgproof::fetch::Mirror;
use pgproof::lockfile::Name;
use pgproof::target::{Triple, Version};
use pgproof::variation::Axis;

/// Builds PostgreSQL in a sealed box from inputs pinned by digest, twice, under different conditions, and shows that both
/// came out the same byte for byte.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

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
    Rebuild(Rebuild),
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
    /// Test an archive as PostgreSQL in the sealed box, beside a C library and a shell only
    Test(Test),
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
#[derive(Debug, Args)]
pub(crate) struct Subject {
    /// The PostgreSQL version
    #[arg(default_value = "17.11")]
    pub(crate) version: Version,

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

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) limits: Limits,

    /// Compare the two builds' outputs
    #[arg(long, required = true, action = ArgAction::SetTrue)]
    pub(crate) compare: bool,

    /// Where the archive, its digests and the report go
    #[arg(long, value_name = "DIR", default_value = "dist", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,

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
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) subject: Subject,
    #[command(flatten)]
    pub(crate) limits: Limits,

    /// Where the archive, its digests and the report go
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
