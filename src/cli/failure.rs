//! What a person is told when a command has no result, and the exit code.

use std::error::Error as StdError;
use std::path::PathBuf;

use pgproof::text::printable;
use pgproof::{Error, Trouble};
use serde_json::json;

use super::Answer;

/// The exit code for two outputs that differ.
pub(crate) const DIFFERENT: u8 = 1;
/// The exit code for a build that failed, or whose archives have findings.
pub(crate) const BUILD: u8 = 5;

/// The exit code for trouble that may pass.
pub(crate) const PASSING: u8 = 6;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A stage failed.
    #[error(transparent)]
    Stage(Box<Error>),
    /// A build failed, and what it printed is kept.
    #[error("{error}")]
    Logged {
        /// Why.
        error: Box<Error>,
        /// The name of its record.
        build: String,
    },
    /// There is nowhere to keep things.
    #[error("there is no home directory to keep things in: name a directory with --store DIR")]
    NoHome(#[source] etcetera::HomeDirError),
    /// A file cannot be used.
    #[error("{path} cannot be {action}")]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such build.
    #[error("there is no build {0:?}: `pgproof log` lists them")]
    NoBuild(String),
    /// The build ended before it printed anything that was kept.
    #[error("nothing that the build {0} printed was kept: it was stopped, or its first step never began")]
    NoLog(String),
    /// Locking asks the mirrors.
    #[error("locking reads today's indices: it cannot be done with --offline")]
    Offline,
    /// Services have to be asked.
    #[error(
        "without a key, a certificate authority, a log and a timestamp authority are asked: that cannot be done with --offline"
    )]
    OfflineSigning,
    /// Nobody to sign as.
    #[error(
        "there is nobody to sign as: give --key or --identity-token, or run where the CI service shows an identity"
    )]
    NoIdentity,
    /// What the CI service offers cannot be had.
    #[error("the identity that this CI service offers cannot be had: {0}")]
    Ambient(String),
    /// Connections cannot be set up.
    #[error("connections cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// A variable that is named is not there.
    #[error("there is no environment variable {0}, or it is not text")]
    NoVariable(String),
    /// Something on the command line contradicts itself.
    #[error("{0}")]
    Usage(&'static str),
    /// A file is none for this.
    #[error("{path} {why}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// There is no terminal for a prompt.
    #[error("a prompt needs a terminal on standard input and output")]
    NoTerminal,
    /// Something is there already.
    #[error("{0} is not empty: name another directory, or remove it")]
    Occupied(PathBuf),
    /// Nobody knows how much memory there is.
    #[error("this machine does not tell how much memory is free: /proc/meminfo has to be readable")]
    Memory(#[source] std::io::Error),
    /// Signals cannot be caught.
    #[error("Ctrl-C cannot be caught, and without that nothing is built")]
    Signals(#[source] std::io::Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Stage(Box::new(error.into()))
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Stage(error) | Self::Logged { error, .. } => match error.trouble() {
                Trouble::Use => 2,
                Trouble::Input => 3,
                Trouble::Sandbox => 4,
                Trouble::Build => BUILD,
                Trouble::Passing => PASSING,
                // What a shell tells of a program that Ctrl-C ended.
                Trouble::Cancelled => 130,
            },
            Self::NoHome(_)
            | Self::NoBuild(_)
            | Self::NoLog(_)
            | Self::NoTerminal
            | Self::OfflineSigning
            | Self::NoIdentity
            | Self::NoVariable(_)
            | Self::Usage(_)
            | Self::Unfit { .. }
            | Self::Occupied(_)
            | Self::Offline => 2,
            Self::File { .. } | Self::Memory(_) | Self::Signals(_) | Self::Ambient(_) | Self::Runtime(_) => PASSING,
        }
    }

    /// The chain of causes, once.
    pub(crate) fn answer(&self) -> Answer {
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> =
            if let Self::Logged { error, .. } = self { Some(error) } else { Some(self) };
        while let Some(error) = next {
            let text = printable(&error.to_string());
            // Transparent errors say what their source says.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            // `io::Error::source` is the source of what it carries, and so skips what it carries.
            next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(carried) => carried.source(),
                None => error.source(),
            };
        }
        let mut text = format!("error: {}", causes.join("\n  because "));
        let mut json = json!({ "error": { "exitCode": self.code(), "causes": causes } });
        if let Self::Logged { build, .. } = self {
            text.extend(["\nall that it printed: pgproof log ", build]);
            json["error"]["log"] = json!(build);
        }
        Answer::new(text, json).with_code(self.code())
    }
}
