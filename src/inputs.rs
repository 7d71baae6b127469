//! Brings together what a plan reads: where every input can be had, and its bytes as the box wants them.
//!
//! An input is known by its digest alone. Where the plan has no origin for it, a lockfile that knows the digest has.

use std::io::{self, Read};

use crate::definitions::{Definitions, DefinitionsError};
use crate::digest::Digest;
use crate::lockfile::{Name, Pin};
use crate::plan::{Compression, Input, Plan};
use crate::store::{Blob, Store, StoreError};

/// The largest tar that a compressed input may hold, in bytes: more than any source release, less than a disk.
const TAR_LIMIT: u64 = 16 << 30;

/// A plan's inputs in the order of the plan: each one's blob or, where the plan states the digest of the decompressed tar, the
/// blob of that.
#[derive(Debug, Clone)]
pub struct Inputs(Vec<Blob>);

/// Why an input is not there.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum InputsError {
    /// The store does not have it, or cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be decompressed.
    #[error("the input {name} is not a whole {compression} file")]
    Compression {
        /// The input.
        name: Name,
        /// What it should be compressed with.
        compression: Compression,
        /// Why not.
        source: io::Error,
    },
    /// It holds more than any tar.
    #[error("the input {name} holds more than {TAR_LIMIT} bytes")]
    Bomb {
        /// The input.
        name: Name,
    },
    /// What it holds is not what the plan states.
    #[error("the input {name} holds a tar with the digest {received}, the plan states {expected}")]
    Tar {
        /// The input.
        name: Name,
        /// What the plan states.
        expected: Digest,
        /// What is there.
        received: Digest,
    },
}

impl Inputs {
    /// Takes from the store what was fetched, and decompresses what the plan wants decompressed once.
    pub fn gather(plan: &Plan, store: &Store) -> Result<Self, InputsError> {
        let prepared = plan.inputs.iter().map(|input| {
            let blob = store.get(input.digest)?;
            match tar_digest(input) {
                Some((compression, digest)) => decompressed(input, blob, compression, digest, store),
                None => Ok(blob),
            }
        });
        Ok(Self(prepared.collect::<Result<_, _>>()?))
    }

    /// Each input of `plan`, which must be the one that they were gathered for, with its blob.
    pub fn of<'plan>(&self, plan: &'plan Plan) -> Vec<(&'plan Input, Blob)> {
        plan.inputs.iter().zip(self.0.iter().copied()).collect()
    }
}

/// The inputs as pins: with the plan's origins first, then those of a lockfile that knows the digest.
pub fn pins(plan: &Plan, definitions: &Definitions) -> Result<Vec<Pin>, DefinitionsError> {
    let mut locked = Vec::new();
    for name in definitions.names("lockfiles", "lock")? {
        let lockfile = definitions.lockfile(&name)?;
        locked.extend(lockfile.package_pins());
        locked.extend(lockfile.sources.iter().map(|source| lockfile.source_pin(source)));
    }
    let pin = |input: &Input| {
        let known = locked.iter().find(|pin| pin.digest == input.digest);
        let mut origins = input.origins.clone();
        for origin in known.iter().flat_map(|pin| &pin.origins) {
            if !origins.contains(origin) {
                origins.push(origin.clone());
            }
        }
        Pin {
            name: input.name.to_string(),
            digest: input.digest,
            size: input.size,
            origins,
            seen: known.and_then(|pin| pin.seen),
        }
    };
    Ok(plan.inputs.iter().map(pin).collect())
}

fn tar_digest(input: &Input) -> Option<(Compression, Digest)> {
    let unpack = input.unpack.as_ref()?;
    Some((unpack.compression, unpack.tar_digest?))
}

fn decompressed(
    input: &Input,
    blob: Blob,
    compression: Compression,
    expected: Digest,
    store: &Store,
) -> Result<Blob, InputsError> {
    if let Some(tar) = store.find(expected)? {
        return Ok(tar);
    }
    let unreadable = |source| InputsError::Compression { name: input.name.clone(), compression, source };
    let mut incoming = store.incoming()?;
    let mut reader = compression.reader(store.read(blob)?).map_err(unreadable)?.take(TAR_LIMIT);
    let size = io::copy(&mut reader, &mut incoming).map_err(|error| match error.downcast::<StoreError>() {
        Ok(error) => InputsError::Store(error),
        Err(source) => unreadable(source),
    })?;
    if size == TAR_LIMIT {
        return Err(InputsError::Bomb { name: input.name.clone() });
    }
    match incoming.commit_as(expected, size) {
        Err(StoreError::Mismatch { received, .. }) => {
            Err(InputsError::Tar { name: input.name.clone(), expected, received })
        }
        result => Ok(result?),
    }
}
