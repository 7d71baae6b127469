//! Brings every pin into the store; the only door to the network for inputs.
//!
//! Bytes are hashed as they land, and only what has the locked digest becomes a blob. Whatever is wrong at one origin, the
//! next one is asked. It never believes a server: not its sizes, not its ranges, not its redirects, and its body ends where the
//! locked size ends. Without a [`Network`] no socket is opened; with one, the runtime and all connections are gone when
//! [`fetch()`] returns.
//!
//! # Why
//!
//! The largest files go first, so that the last one to finish is a small one. All pins are tried before an error is given: what
//! could be had is in the store then, and a person reads about every missing file at once.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use url::Url;

use crate::digest::Digest;
use crate::lockfile::Pin;
use crate::store::{Blob, Fault, Store, StoreError};

mod failure;
mod mirrors;
mod network;
mod transfer;

pub use failure::{Failure, Redirect};
pub use mirrors::{Mirror, MirrorError, Mirrors, SNAPSHOT, in_snapshot, of_host};
pub use network::{Limits, Network};

use network::{Connections, Vouched};
use transfer::{Outcome, Transfers};

/// How many inputs a message names.
const NAMED: usize = 5;

/// Threads that receive and hash; more than the network needs would only take turns.
const THREAD_LIMIT: usize = 4;

/// Hears how a fetch gets on. All calls come from the thread that called [`fetch()`].
pub trait Progress {
    /// So many files, of so many bytes in all, are not in the store.
    fn started(&self, _pins: usize, _bytes: u64) {}

    /// `pin` is being fetched.
    fn pin_started(&self, _pin: &Pin) {}

    /// `pin` is being fetched by another pgproof.
    fn pin_waiting(&self, _pin: &Pin) {}

    /// `pin` had `from` bytes and has `to` now: fewer, when bytes turned out to be wrong.
    fn pin_moved(&self, _pin: &Pin, _from: u64, _to: u64) {}

    /// `pin` is in the store.
    fn pin_finished(&self, _pin: &Pin) {}

    /// `tried` did not give `pin`.
    fn origin_failed(&self, _pin: &Pin, _tried: &Tried) {}

    /// No origin gave `pin`.
    fn pin_failed(&self, _pin: &Pin) {}
}

/// Nobody listens.
impl Progress for () {}

/// An origin that did not give what was asked of it.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Its URL, without password.
    pub origin: String,
    /// What was wrong.
    pub failure: Arc<Failure>,
}

/// What no origin gave.
#[derive(Debug, Clone)]
pub struct Unfetched {
    /// The pin's name, or the origin of something that is not locked.
    pub name: String,
    /// Every origin that was asked, in order.
    pub tried: Vec<Tried>,
}

/// Why inputs could not be had.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum FetchError {
    /// Files are missing and the network may not be used.
    #[error(
        "the store lacks {}, and the network may not be used: {}; run `pgproof fetch` without --offline once, or put files \
         in with `pgproof store add FILE`",
        count(missing.len(), "input"), listed(missing)
    )]
    Offline {
        /// The names of all missing inputs.
        missing: Vec<String>,
    },
    /// Files could be had from none of their origins.
    #[error("{}", told(failed, *asked))]
    Unfetched {
        /// Each of them.
        failed: Vec<Unfetched>,
        /// How many files were asked for.
        asked: usize,
    },
    /// The store has bytes of the locked digest and another size than the locked one.
    #[error(
        "{name} is locked with {locked} bytes, but {digest} has {actual}: the lockfile is wrong; write it anew with `pgproof lock NAME`"
    )]
    LockedSize {
        /// The pin's name.
        name: String,
        /// Its digest.
        digest: Digest,
        /// The size in the lock, in bytes.
        locked: u64,
        /// The size of the bytes with this digest.
        actual: u64,
    },
    /// The store cannot take it, or has damaged it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection can even be tried.
    #[error("the network client cannot be set up")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// The system does not give what networking needs: threads, file descriptors.
    #[error("networking cannot be started")]
    Runtime {
        /// Why.
        source: io::Error,
    },
}

/// What a transfer tells the thread that reports.
enum Event {
    Started(Arc<Pin>),
    Waiting(Arc<Pin>),
    Moved { pin: Arc<Pin>, from: u64, to: u64 },
    OriginFailed(Arc<Pin>, Tried),
    Ended(Arc<Pin>, Result<Outcome, StoreError>),
}

/// Brings every pin into the store and gives the blobs in the order of the pins. Without a network the store must have
/// them all.
pub fn fetch(
    pins: &[Pin],
    store: &Store,
    network: Option<&Network>,
    progress: &dyn Progress,
) -> Result<Vec<Blob>, FetchError> {
    let missing = missing(pins, store)?;
    if !missing.is_empty() {
        let Some(network) = network else {
            return Err(FetchError::Offline { missing: missing.iter().map(|pin| pin.name.clone()).collect() });
        };
        bring(missing, store, network, progress)?;
    }
    pins.iter()
        .map(|pin| match kept(pin, store)? {
            Some(blob) => Ok(blob),
            None => Err(StoreError::Missing { digest: pin.digest, store: store.root().to_owned() }.into()),
        })
        .collect()
}

/// The blob of `pin`, if the store has it.
fn kept(pin: &Pin, store: &Store) -> Result<Option<Blob>, FetchError> {
    match store.find(pin.digest)? {
        Some(blob) if blob.size() != pin.size => Err(misfit(pin, blob, store)),
        found => Ok(found),
    }
}

/// The pins that the store does not have, each digest once, the largest first.
fn missing(pins: &[Pin], store: &Store) -> Result<Vec<Arc<Pin>>, FetchError> {
    let mut missing = BTreeMap::new();
    for pin in pins {
        if kept(pin, store)?.is_none() {
            missing.entry(pin.digest).or_insert_with(|| Arc::new(pin.clone()));
        }
    }
    let mut missing: Vec<_> = missing.into_values().collect();
    missing.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    Ok(missing)
}

/// Says whether the lock or the store is wrong about a blob's size.
fn misfit(pin: &Pin, blob: Blob, store: &Store) -> FetchError {
    let name = pin.name.clone();
    match store.read(blob).map(|mut reader| io::copy(&mut reader, &mut io::sink())) {
        Ok(Ok(actual)) => FetchError::LockedSize { name, digest: pin.digest, locked: pin.size, actual },
        Ok(Err(error)) => match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(source) => StoreError::Io { action: "read", path: store.root().to_owned(), source }.into(),
        },
        Err(error) => error.into(),
    }
}

fn bring(pins: Vec<Arc<Pin>>, store: &Store, network: &Network, progress: &dyn Progress) -> Result<(), FetchError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREAD_LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(network.limits.connections.max(1))
        .enable_all()
        .build()
        .map_err(|source| FetchError::Runtime { source })?;
    runtime.block_on(async {
        let connections = Connections::open(network.limits, Vouched::ByItself)?;
        let slots = Semaphore::new(network.limits.connections.max(1));
        let (events, inbox) = mpsc::unbounded_channel();
        let (mirrors, store) = (network.mirrors.clone(), store.clone());
        let transfers = Arc::new(Transfers { connections, slots, mirrors, store, events });
        progress.started(pins.len(), pins.iter().fold(0, |sum, pin| sum.saturating_add(pin.size)));
        oversee(transfers, pins, inbox, progress).await
    })
}

/// Runs all transfers and reports, until all have ended or the store cannot take any more.
async fn oversee(
    transfers: Arc<Transfers>,
    pins: Vec<Arc<Pin>>,
    mut inbox: mpsc::UnboundedReceiver<Event>,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let asked = pins.len();
    // Dropped at the end, it stops what still runs.
    let mut tasks = JoinSet::new();
    for pin in pins {
        let transfers = Arc::clone(&transfers);
        tasks.spawn(async move {
            let outcome = transfers.bring(&pin).await;
            transfers.events.send(Event::Ended(pin, outcome)).ok();
        });
    }
    // The last task to end closes the inbox.
    drop(transfers);
    let mut failed = Vec::new();
    while let Some(event) = inbox.recv().await {
        match event {
            Event::Started(pin) => progress.pin_started(&pin),
            Event::Waiting(pin) => progress.pin_waiting(&pin),
            Event::Moved { pin, from, to } => progress.pin_moved(&pin, from, to),
            Event::OriginFailed(pin, tried) => progress.origin_failed(&pin, &tried),
            Event::Ended(pin, Ok(Outcome::Kept)) => progress.pin_finished(&pin),
            Event::Ended(pin, Ok(Outcome::Failed(tried))) => {
                progress.pin_failed(&pin);
                failed.push(Unfetched { name: pin.name.clone(), tried });
            }
            Event::Ended(_, Err(error)) => return Err(error.into()),
        }
    }
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    failed.sort_by(|a: &Unfetched, b| a.name.cmp(&b.name));
    Err(FetchError::Unfetched { failed, asked })
}

impl FetchError {
    /// Whether an input is not what is locked, rather than out of reach: an origin gave other content and none gave the
    /// right one, or the store's own copy is damaged.
    pub fn is_unverified(&self) -> bool {
        match self {
            Self::Unfetched { failed, .. } => failed.iter().any(Unfetched::is_unverified),
            Self::LockedSize { .. } => true,
            Self::Store(error) => error.fault() == Fault::Content,
            Self::Offline { .. } | Self::Client { .. } | Self::Runtime { .. } => false,
        }
    }
}

impl Unfetched {
    fn is_unverified(&self) -> bool {
        self.tried.iter().any(|tried| tried.failure.is_wrong_content())
    }

    /// Whether nobody says where it could be.
    fn is_homeless(&self) -> bool {
        self.tried.is_empty()
    }

    fn is_gone(&self) -> bool {
        self.tried.iter().all(|tried| tried.failure.is_gone())
    }
}

/// What one message says about everything that could not be fetched.
fn told(failed: &[Unfetched], asked: usize) -> String {
    let mut text = format!("{} of {} could not be fetched", failed.len(), count(asked, "input"));
    for unfetched in failed.iter().take(NAMED) {
        add(&mut text, format_args!("\n  {unfetched}"));
    }
    if failed.len() > NAMED {
        add(&mut text, format_args!("\n  and {} more", failed.len() - NAMED));
    }
    for remedy in remedies(failed) {
        add(&mut text, format_args!("\n{remedy}"));
    }
    text
}

/// What to do, once for each kind of trouble.
fn remedies(failed: &[Unfetched]) -> Vec<&'static str> {
    let (wrong, right): (Vec<_>, Vec<_>) = failed.iter().partition(|unfetched| unfetched.is_unverified());
    let (homeless, right): (Vec<_>, Vec<_>) = right.into_iter().partition(|unfetched| unfetched.is_homeless());
    let (gone, away): (Vec<_>, Vec<_>) = right.into_iter().partition(|unfetched| unfetched.is_gone());
    [
        (homeless.is_empty(), "nothing says where it could be had: put it in with `pgproof store add FILE`"),
        (wrong.is_empty(), "what an origin gave is not what is locked, and was not kept: name another with --mirror URL"),
        (
            gone.is_empty(),
            "no origin has it any more: name one that does with --mirror URL, or lock what there is now with `pgproof lock NAME`",
        ),
        (away.is_empty(), "check the network and run the same command again: what was received is kept"),
    ]
    .into_iter()
    .filter_map(|(none, remedy)| (!none).then_some(remedy))
    .collect()
}

/// The first few names.
fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        add(&mut text, format_args!(" and {} more", names.len() - NAMED));
    }
    text
}

/// `1 input`, `2 inputs`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn add(text: &mut String, more: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    text.write_fmt(more).ok();
}

/// `url` as it may be shown: a mirror's URL in apt's configuration may have a password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only where there is no host, and then there is no password.
    url.set_password(None).ok();
    url.set_username("").ok();
    url.into()
}

impl fmt::Display for Unfetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.tried.is_empty() {
            f.write_str(": there is no origin to ask")?;
        }
        self.tried.iter().try_for_each(|tried| write!(f, "\n    {tried}"))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin, self.failure)
    }
}
