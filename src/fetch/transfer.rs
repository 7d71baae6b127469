//! Brings one pin into the store, from the first origin that gives it.
//!
//! # Why
//!
//! A transfer that broke off goes on where it stopped, at the same origin or another, in this run or the next, and without
//! `If-Range`: the digest decides in the end, and a mirror of several machines answers with a different `ETag` from each, so
//! that asking for one would only throw away good bytes. If the digest then does not fit, the beginning may have been the
//! fault, so the same origin is asked once more for everything before it is blamed.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode, Version};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::block_in_place;
use url::Url;

use super::failure::Failure;
use super::mirrors::Mirrors;
use super::network::{Connections, Interrupted, SHOWN};
use super::{Event, Tried, shown};
use crate::digest::Digest;
use crate::lockfile::Pin;
use crate::store::{Admission, Ingest, Settled, Store, StoreError};

/// How long to wait before looking again whether another pgproof has finished a file.
const BUSY: Duration = Duration::from_millis(100);

/// An origin that got this many bytes farther before it broke off gets all its attempts back.
const HEADWAY: u64 = 1 << 20;

/// How many bytes land between two reports.
const REPORT: u64 = 64 << 10;

/// What all transfers of one [`super::fetch()`] share.
pub(super) struct Transfers {
    pub(super) connections: Connections,
    pub(super) slots: Semaphore,
    pub(super) mirrors: Mirrors,
    pub(super) store: Store,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

/// What became of a pin.
pub(super) enum Outcome {
    /// It is in the store.
    Kept,
    /// No origin gave it.
    Failed(Vec<Tried>),
}

/// One pin on its way.
struct Transfer<'shared> {
    shared: &'shared Transfers,
    pin: &'shared Arc<Pin>,
    ingest: Ingest,
    /// Whether all that has landed came from the origin that is asked now.
    unmixed: bool,
    /// The position that was reported last.
    reported: u64,
}

/// What became of a transfer at one origin.
#[expect(clippy::large_enum_variant, reason = "one at a time, and a transfer is large either way")]
enum Ended<'shared> {
    Kept,
    Failed(Transfer<'shared>, Failure),
}

impl Transfers {
    /// Brings `pin` into the store.
    pub(super) async fn bring(&self, pin: &Arc<Pin>) -> Result<Outcome, StoreError> {
        let mut told = false;
        loop {
            let slot = self.slots.acquire().await;
            // Another task or process may have finished it since; taking up what is there hashes it, which takes time.
            match block_in_place(|| self.store.ingest(pin.digest))? {
                Admission::Kept(_) => return Ok(Outcome::Kept),
                Admission::Open(ingest) => {
                    self.tell(Event::Started(Arc::clone(pin)));
                    let unmixed = ingest.size() == 0;
                    return Transfer { shared: self, pin, ingest, unmixed, reported: 0 }.run().await;
                }
                Admission::Busy => {
                    drop(slot);
                    if !std::mem::replace(&mut told, true) {
                        self.tell(Event::Waiting(Arc::clone(pin)));
                    }
                    tokio::time::sleep(BUSY).await;
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the fetch has been given up: then nobody is to know.
        self.events.send(event).ok();
    }
}

impl<'shared> Transfer<'shared> {
    async fn run(mut self) -> Result<Outcome, StoreError> {
        if self.ingest.size() > self.pin.size {
            self.restart()?;
        }
        self.report(0);
        if self.ingest.size() == self.pin.size {
            // An earlier run was stopped just before its end.
            match self.land()? {
                Ok(()) => return Ok(Outcome::Kept),
                Err((emptied, _)) => self = emptied,
            }
        }
        let mut tried = Vec::new();
        let urls = self.pin.origins.iter().flat_map(|origin| self.shared.mirrors.urls(origin, self.pin.seen));
        let mut urls = urls.collect::<Vec<_>>().into_iter();
        while let Some(url) = urls.next() {
            match self.run_at(&url, urls.len() > 0).await? {
                Ended::Kept => return Ok(Outcome::Kept),
                Ended::Failed(rest, failure) => {
                    self = rest;
                    let (pin, failure) = (Arc::clone(self.pin), Arc::new(failure));
                    tried.push(Tried { origin: shown(&url), failure: Arc::clone(&failure) });
                    self.shared.tell(Event::OriginFailed(pin, Tried { origin: shown(&url), failure }));
                }
            }
        }
        Ok(Outcome::Failed(tried))
    }

    /// Asks one origin until it has given all or nothing more can be expected of it. Where there are `others` to ask, one
    /// that cannot be reached is not asked again.
    async fn run_at(mut self, url: &Url, others: bool) -> Result<Ended<'shared>, StoreError> {
        let mut retry = self.shared.connections.retry();
        let mut farthest = self.ingest.size();
        let mut in_parts = true;
        self.unmixed = farthest == 0;
        loop {
            let before = self.ingest.size();
            let failure = match self.attempt(url, in_parts).await {
                Ok(()) => match self.land()? {
                    Ok(()) => return Ok(Ended::Kept),
                    // The beginning may be what was wrong, and somebody else's fault.
                    Err((emptied, _)) if !emptied.unmixed => {
                        self = Self { unmixed: true, ..emptied };
                        continue;
                    }
                    Err((emptied, received)) => {
                        let failure = Failure::Digest { expected: emptied.pin.digest, received };
                        return Ok(Ended::Failed(emptied, failure));
                    }
                },
                Err(Interrupted::ByTaker(error)) => return Err(error),
                // It cannot go on in the middle, or not well.
                Err(Interrupted::ByOrigin(Failure::Range { .. } | Failure::Status { status: 416, .. }))
                    if in_parts && before > 0 =>
                {
                    in_parts = false;
                    continue;
                }
                Err(Interrupted::ByOrigin(failure)) => failure,
            };
            if failure.is_wrong_content() && self.ingest.size() != before {
                self.restart()?;
            }
            if self.ingest.size() >= farthest.saturating_add(HEADWAY) {
                farthest = self.ingest.size();
                retry.renew();
            }
            let refused = others && matches!(failure, Failure::Unreachable { .. });
            let paused = if refused { Err(failure) } else { retry.pause(failure).await };
            if let Err(failure) = paused {
                if failure.is_silence() {
                    self.shared.connections.shun(failure.redirected_to().unwrap_or(url));
                }
                return Ok(Ended::Failed(self, failure));
            }
        }
    }

    /// Asks one origin once, for what is missing (`in_parts`) or for everything.
    async fn attempt(&mut self, url: &Url, in_parts: bool) -> Result<(), Interrupted<StoreError>> {
        let (size, landed) = (self.pin.size, if in_parts { self.ingest.size() } else { 0 });
        let response = self.shared.connections.ask(url, landed).await?;
        let from = starts_at(&response, landed, size)?;
        if let Some(length) = response.content_length()
            && length != size - from
        {
            return Err(Failure::Size { expected: size, received: from.saturating_add(length) }.into());
        }
        if from < self.ingest.size() {
            self.restart().map_err(Interrupted::ByTaker)?;
        }
        let has_end = response.version() >= Version::HTTP_2 || response.headers().contains_key(TRANSFER_ENCODING);
        let connections = &self.shared.connections;
        let received = connections.receive(url, response, from, size, |part| self.write(part)).await?;
        if received == size {
            Ok(())
        } else if has_end {
            Err(Failure::Size { expected: size, received }.into())
        } else {
            // HTTP/1.0 ends a body by closing the connection: nobody can tell whether that was on purpose.
            Err(Failure::Short { expected: size, received }.into())
        }
    }

    /// Puts the whole content into the store, or gives the emptied transfer back with the digest of what it was.
    fn land(mut self) -> Result<Result<(), (Self, Digest)>, StoreError> {
        let ingest = self.ingest;
        match block_in_place(|| ingest.commit(self.pin.size))? {
            Settled::Kept(_) => Ok(Ok(())),
            Settled::Refused { ingest, received } => {
                self.ingest = ingest;
                self.report(0);
                Ok(Err((self, received)))
            }
        }
    }

    fn write(&mut self, part: &[u8]) -> Result<(), StoreError> {
        self.ingest.write(part)?;
        self.report(REPORT);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        self.unmixed = true;
        self.ingest.restart()?;
        self.report(0);
        Ok(())
    }

    /// Reports the position if it moved by more than `by` bytes, or reached the end.
    fn report(&mut self, by: u64) {
        let (from, to) = (self.reported, self.ingest.size());
        if from.abs_diff(to) > by || (from != to && to == self.pin.size) {
            self.reported = to;
            self.shared.tell(Event::Moved { pin: Arc::clone(self.pin), from, to });
        }
    }
}

/// Where in the content the body of `response` starts. `asked` is where it should, `size` is how long the content is.
fn starts_at(response: &Response, asked: u64, size: u64) -> Result<u64, Failure> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = response.headers().get(CONTENT_RANGE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let range = range.unwrap_or_default();
    let parsed = content_range(&range);
    match parsed {
        Some((_, _, Some(complete))) if complete != size => Err(Failure::Size { expected: size, received: complete }),
        Some((first, last, _)) if asked > 0 && first == asked && last.checked_add(1) == Some(size) => Ok(asked),
        _ => Err(Failure::Range { range: range.chars().take(SHOWN).collect() }),
    }
}

/// The first and last byte of `bytes <first>-<last>/<complete or *>`, RFC 9110 section 14.4, and how many there are in all.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, complete) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let complete = if complete == "*" { None } else { Some(complete.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, complete))
}
