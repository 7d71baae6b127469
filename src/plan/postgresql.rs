//! PostgreSQL's recipe: one producer of plans.
//!
//! It decides the options and steps of each release from 13 on. It never patches PostgreSQL: what is built is the bytes of
//! the release tarball.

pub use exceptions::exceptions;
pub use licences::{LICENCES, licence_of};

use crate::definitions::Toolchain;
use crate::digest::Digest;
use crate::lockfile::{Origin, Source};
use crate::plan::{Compression, FORMAT, Input, Plan, Step, Sysroot, Unpack};
use crate::target::{Target, Version};

mod exceptions;
mod licences;

/// Where PostgreSQL believes to be installed: its own default. It finds its files relative to its programs.
const PREFIX: &str = "/usr/local/pgsql";

/// Makes relocatable archives of what was installed; runs in the box.
const ASSEMBLE: &str = include_str!("postgresql/assemble.py");

/// The directories below `/pgproof/out` that become further archives.
const PARTS: &[&str] = &["client", "debug", "pl"];

/// Where the linker writes that libraries are found: right for what lies in `bin` and in `lib`. On the command line of `make` it
/// takes the place of what is there for PL/Perl and PL/Python too.
const RUN_PATH: &str = "rpathdir=$$ORIGIN/../lib";

/// An option of `configure` that only some releases know.
struct Since {
    major: u16,
    option: &'static str,
}

/// What every release since 13 knows.
const OPTIONS: &[&str] = &[
    "--enable-nls",
    "--with-gssapi",
    "--with-icu",
    "--with-ldap",
    // Readline is under the GPL, and would make every archive that has psql so.
    "--with-libedit-preferred",
    "--with-libxml",
    "--with-libxslt",
    // Since 14 this is an older spelling of --with-ssl=openssl.
    "--with-openssl",
    "--with-pam",
    "--with-perl",
    "--with-python",
    "--with-tcl",
    "--with-uuid=e2fs",
];

/// What came later.
const LATER_OPTIONS: &[Since] =
    &[Since { major: 14, option: "--with-lz4" }, Since { major: 15, option: "--with-zstd" }];

/// The oldest release that has this recipe.
const OLDEST: u16 = 13;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum RecipeError {
    /// The release is older than any that the recipe knows.
    #[error("there is no recipe for PostgreSQL {0}: the oldest is for {OLDEST}")]
    TooOld(Version),
    /// The toolchain builds for another platform.
    #[error("the toolchain builds for {builds_for}, not for {asked_for}")]
    Toolchain {
        /// What the toolchain builds for.
        builds_for: crate::target::Triple,
        /// What was asked for.
        asked_for: crate::target::Triple,
    },
    /// The release date does not fit into a tar header's time.
    #[error("the release date {0} is before 1970 or after 2105")]
    Date(jiff::Timestamp),
}

/// The plan that builds `target` from `source` with `toolchain` in the sysroot whose manifest is `manifest`.
pub fn plan(target: Target, source: &Source, toolchain: &Toolchain, manifest: Digest) -> Result<Plan, RecipeError> {
    if target.version.major < OLDEST {
        return Err(RecipeError::TooOld(target.version));
    }
    if toolchain.target != target.triple {
        return Err(RecipeError::Toolchain { builds_for: toolchain.target, asked_for: target.triple });
    }
    let released = source.released;
    Ok(Plan {
        version: FORMAT,
        name: valid(&target.archive_stem()),
        source_date_epoch: u32::try_from(released.as_second()).map_err(|_too_large| RecipeError::Date(released))?,
        sysroot: Sysroot { name: toolchain.sysroot.clone(), manifest },
        inputs: vec![Input {
            name: valid(&format!("postgresql-{}.tar.bz2", source.version)),
            digest: source.digest,
            size: source.size,
            unpack: Some(Unpack {
                compression: Compression::Bzip2,
                into: valid(&sources(target.version)),
                strip: 1,
                tar_digest: Some(source.tar_digest),
            }),
            origins: source.origins.iter().map(Origin::clone).collect(),
        }],
        environment: toolchain.environment.clone(),
        steps: steps(target, toolchain),
        output: valid("main"),
        parts: PARTS.iter().map(|part| (valid(part), valid(part))).collect(),
    })
}

/// The directory below the build root that has the sources: debug information names it.
fn sources(version: Version) -> String {
    format!("postgresql-{version}")
}

fn steps(target: Target, toolchain: &Toolchain) -> Vec<Step> {
    let version = target.version;
    let mut configure = vec!["./configure".to_owned(), format!("--prefix={PREFIX}")];
    configure.extend(OPTIONS.iter().map(ToString::to_string));
    configure
        .extend(LATER_OPTIONS.iter().filter(|since| version.major >= since.major).map(|since| since.option.to_owned()));
    configure.sort_by(|one, other| (one.starts_with("--"), one).cmp(&(other.starts_with("--"), other)));

    let sources = sources(version);
    let contrib = format!("{sources}/contrib");
    let destination = "DESTDIR=/pgproof/out/installed";
    // What `pg_config` tells of the linker's flags: without a run path, which would be of no use to anybody else.
    let recorded = format!("STD_LDFLAGS={}", toolchain.environment.get("LDFLAGS").map_or("", String::as_str));
    let make = |name: &str, directory: &str, words: &[&str]| {
        step(name, directory, ["make"].iter().chain(words).copied().chain([RUN_PATH, &recorded]))
    };
    let mut steps = vec![step("configure", &sources, configure)];
    if version.major >= 15 {
        steps.push(make("build", &sources, &["world-bin"]));
        steps.push(make("install", &sources, &["install-world-bin", destination]));
    } else {
        steps.push(make("build", &sources, &["all"]));
        steps.push(make("build-contrib", &contrib, &["all"]));
        steps.push(make("install", &sources, &["install", destination]));
        steps.push(make("install-contrib", &contrib, &["install", destination]));
    }
    let installed = format!("/pgproof/out/installed{PREFIX}");
    // Makefile.global is installed for extensions, which read neither variable, and both hold the build path.
    let variables = "s/^(abs_top_(builddir|srcdir)) = .*/\\1 =/";
    let makefile = format!("{installed}/lib/pgxs/src/Makefile.global");
    steps.push(step("forget-build-path", ".", ["sed", "-i", "-E", variables, &makefile]));
    // pkg-config knows where it found a file.
    let mut relocate = vec!["sed".to_owned(), "-i".to_owned(), format!("s|{PREFIX}|${{pcfiledir}}/../..|g")];
    let libraries = ["libecpg", "libecpg_compat", "libpgtypes", "libpq"];
    relocate.extend(libraries.map(|library| format!("{installed}/lib/pkgconfig/{library}.pc")));
    steps.push(step("relocate-pkg-config", ".", relocate));
    let name = target.archive_stem();
    steps.push(step("assemble", ".", ["python3", "-I", "-c", ASSEMBLE, &installed, "/pgproof/out", &sources, &name]));
    steps
}

fn step(name: &str, directory: &str, argv: impl IntoIterator<Item = impl Into<String>>) -> Step {
    Step { name: valid(name), argv: argv.into_iter().map(Into::into).collect(), directory: valid(directory) }
}

/// Parses what this module wrote itself.
fn valid<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the recipe writes valid names")
}
