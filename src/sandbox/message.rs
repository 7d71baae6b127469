//! What pgproof and the processes of the box say to each other.
//!
//! pgproof sends one [`Request`] as a length and JSON over a socket, then one file descriptor after the other: the pipe
//! for reports, a pipe for each installed tree, the socket for the terminal if the task is a shell, the pipe for the build
//! root if it is to be kept, the root file system's blob and those of the inputs. It hears [`Report`]s, one JSON text a
//! line. Only these processes ever hold these descriptors; the steps of the plan never do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Exit, Limits, Medium, Outcome, StepReport, Told, Wall};
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::plan::{Archive, Step, Unpack};
use crate::store::Blob;
use crate::variation::{Axis, Variation};

/// A request is as large as its plan at most, and a variation.
const REQUEST_LIMIT: u32 = 16 << 20;

/// What the helper is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Task {
    /// Run the steps and pack the output.
    Build,
    /// Start a shell on a terminal.
    Shell {
        /// The window: rows and columns.
        size: (u16, u16),
        /// `TERM`.
        terminal: String,
    },
    /// Raise every wall around nothing.
    Probe,
}

/// All that the box is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) task: Task,
    pub(super) name: Name,
    pub(super) variation: Variation,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) steps: Vec<Step>,
    pub(super) epoch: u32,
    /// What is packed, in order: each has its pipe.
    pub(super) archives: Vec<Archive>,
    pub(super) rootfs: Pin,
    pub(super) inputs: Vec<Supply>,
    pub(super) limits: Limits,
    pub(super) medium: Medium,
    /// An empty directory on disk for what does not go to memory.
    pub(super) scratch: Option<PathBuf>,
    pub(super) ids: HostIds,
    pub(super) keep: bool,
}

/// The user and group outside that the build's are mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostIds {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// A blob's digest and size.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// An input of the plan as it comes from the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Supply {
    pub(super) name: Name,
    pub(super) pin: Pin,
    pub(super) unpack: Option<Unpack>,
    /// Whether the blob is the decompressed tar already.
    pub(super) decompressed: bool,
}

/// What the box says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Report {
    /// All is in place.
    Prepared,
    /// These walls stand.
    Walls(Vec<Wall>),
    /// Whether an axis held.
    Axis(Axis, Outcome),
    /// A step begins.
    Started(usize),
    /// A step ended.
    Finished(usize, StepReport),
    /// The shell ended.
    Left(Exit),
    /// The steps are done and the tree is being packed.
    Packing,
    /// Everything went well.
    Done,
    /// Nothing more will come.
    Failed(Failure),
}

/// Why the box gave up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Failure {
    /// A wall cannot be raised.
    Wall(Wall, Told),
    /// What was to be unpacked is not what it should be.
    Input(String, Told),
    /// A step failed; the build's file system is full.
    Step { index: usize, exit: Exit, full: bool },
    /// A directory below `/pgproof/out` cannot be packed.
    Output(String, Told),
    /// The build root cannot be kept.
    Kept(Told),
    /// There is no space left for what is unpacked.
    Space(Told),
    /// Anything else.
    Other(Told),
}

impl Pin {
    pub(super) fn of(blob: &Blob) -> Self {
        Self { digest: blob.digest(), size: blob.size() }
    }
}

impl Request {
    pub(super) fn send(&self, mut socket: &UnixStream) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        socket.write_all(&length.to_ne_bytes())?;
        socket.write_all(&json)
    }

    pub(super) fn receive(mut socket: &UnixStream) -> io::Result<Self> {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let length = u32::from_ne_bytes(length);
        if length > REQUEST_LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut json = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        socket.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

impl Report {
    /// Writes a line.
    pub(super) fn send(&self, mut pipe: impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        pipe.write_all(&line)
    }
}
