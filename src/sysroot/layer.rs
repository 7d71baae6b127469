//! One layer from many packages, on all cores, in an order that does not depend on them.
//!
//! # Why
//!
//! The layer has the definition's own entries first, then each package's, packages sorted by name, a package's entries in
//! its own order; a directory stands where it is first needed. So the order is decided by the inputs alone, a package can be
//! written as soon as those before it are, and whoever unpacks it stays in one directory for long. Sorting all paths would
//! need every package decompressed before the first byte of the layer is known.
//!
//! Decompressing is nearly all of the work. Each core decompresses another package into a scratch file; whoever completes
//! the next one in order writes it, and all those behind it that are ready, to the layer. Memory is bounded by the decoders'
//! dictionaries; the scratch files are short-lived enough never to reach the disk on most machines.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::limits;
use super::merge::{Merge, MergeError};
use super::package::{Contents, PackageError, Scratch, Totals};
use super::selection::Selection;
use crate::store::{Blob, Store, StoreError};

/// A package to read.
pub(super) struct Input {
    pub(super) label: String,
    pub(super) blob: Blob,
}

/// Why packages do not become a layer.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum LayerError {
    /// A package is malformed or hostile.
    #[error("package {package} is refused")]
    Package {
        /// Name, version and architecture.
        package: String,
        /// Why.
        source: Box<PackageError>,
    },
    /// Two packages do not fit together, or the layer cannot be written.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// There is no scratch space.
    #[error(transparent)]
    Scratch(#[from] StoreError),
}

/// What the threads share.
struct Line<'a, W: Write> {
    inputs: &'a [Input],
    selection: &'a Selection,
    store: &'a Store,
    progress: &'a (dyn Fn(usize) + Sync),
    totals: Totals,
    /// The next package to read.
    taken: AtomicUsize,
    /// Held shared by a decoder of usual size, alone by one that needs more memory.
    memory: RwLock<()>,
    state: Mutex<State<W>>,
}

struct State<W: Write> {
    /// What has been read and waits for those before it.
    ready: BTreeMap<usize, Contents>,
    /// The next package to write.
    next: usize,
    /// `None` while somebody writes.
    merge: Option<Merge<W>>,
    /// The first package, in order, that is to blame: all before it are read whatever happens, so that the error does not
    /// depend on who was faster.
    failed: Option<(usize, LayerError)>,
}

/// Writes all of `inputs`, in order; `progress` is told how many have been written.
pub(super) fn write<W: Write + Send>(
    inputs: &[Input],
    selection: &Selection,
    store: &Store,
    merge: Merge<W>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Merge<W>, LayerError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores.min(limits::WORKERS).min(inputs.len());
    let scratches = (0..workers).map(|_| Scratch::new(store)).collect::<Result<Vec<_>, _>>()?;
    let line = Line {
        inputs,
        selection,
        store,
        progress,
        totals: Totals::default(),
        taken: AtomicUsize::new(0),
        memory: RwLock::new(()),
        state: Mutex::new(State { ready: BTreeMap::new(), next: 0, merge: Some(merge), failed: None }),
    };
    std::thread::scope(|scope| {
        for scratch in scratches {
            scope.spawn(|| line.work(scratch));
        }
    });
    let state = line.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (state.failed, state.merge) {
        (None, Some(merge)) => Ok(merge),
        (Some((_, error)), _) => Err(error),
        // A thread that panics inside the scope takes this one with it.
        (None, None) => unreachable!("the writer puts the layer back"),
    }
}

impl<W: Write> Line<'_, W> {
    fn work(&self, mut scratch: Scratch<'_>) {
        loop {
            let index = self.taken.fetch_add(1, Ordering::Relaxed);
            let Some(input) = self.inputs.get(index) else { return };
            if self.state().failed.as_ref().is_some_and(|(failed, _)| *failed < index) {
                return;
            }
            match self.read(input, &mut scratch) {
                Ok(contents) => self.hand_over(index, contents),
                Err(source) => {
                    let package = input.label.clone();
                    self.fail(index, LayerError::Package { package, source: Box::new(source) });
                }
            }
        }
    }

    fn read(&self, input: &Input, scratch: &mut Scratch<'_>) -> Result<Contents, PackageError> {
        let mut read =
            |memory_kib| Contents::read(self.store, input.blob, self.selection, scratch, &self.totals, memory_kib);
        let shared = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = read(limits::DECODER_KIB)? {
            return Ok(contents);
        }
        drop(shared);
        let _alone = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        read(limits::LONE_DECODER_KIB)?.ok_or(PackageError::Memory)
    }

    /// Gives `contents` to whoever writes, or writes all that can be written.
    fn hand_over(&self, index: usize, contents: Contents) {
        let mut state = self.state();
        state.ready.insert(index, contents);
        loop {
            let next = state.next;
            let Some(contents) = state.ready.remove(&next) else { return };
            let Some(mut merge) = state.merge.take() else {
                state.ready.insert(next, contents);
                return;
            };
            drop(state);
            merge.start(self.inputs[next].label.clone());
            let written = merge.package(&contents);
            state = self.state();
            state.merge = Some(merge);
            if let Err(error) = written {
                drop(state);
                self.fail(next, error.into());
                return;
            }
            state.next += 1;
            let written = state.next;
            drop(state);
            (self.progress)(written);
            state = self.state();
        }
    }

    fn fail(&self, index: usize, error: LayerError) {
        let mut state = self.state();
        if state.failed.as_ref().is_none_or(|(failed, _)| index < *failed) {
            state.failed = Some((index, error));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
