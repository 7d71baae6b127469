//! The permission to use the network, and the one place that opens connections with it.
//!
//! TLS is always verified, against the platform's authorities. The proxy variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
//! `NO_PROXY`, also in lower case) are honoured. Content is taken as it is sent: nothing is ever decompressed, since what
//! is locked are the bytes of the file and not what somebody made of them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{ACCEPT_ENCODING, DATE, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::failure::{Failure, Redirect};
use super::mirrors::Mirrors;
use super::{FetchError, Tried, Unfetched, shown};
use crate::lockfile::Origin;

/// How many redirects are followed.
const REDIRECT_LIMIT: usize = 10;

/// The length to which what a server sent is cut in a message, in characters.
pub(super) const SHOWN: usize = 80;

/// What an origin must send in [`Limits::idle`] to count as sending, in bytes.
const FLOOR: u64 = 4 << 10;

/// The permission to use the network. Whoever is not handed one cannot reach out.
#[derive(Debug, Clone)]
pub struct Network {
    pub(super) mirrors: Mirrors,
    pub(super) limits: Limits,
}

/// How much is asked for at once, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many files are fetched at once.
    pub connections: usize,
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// How long an origin may send next to nothing.
    pub idle: Duration,
    /// How often one origin is asked in vain before the next one is.
    pub attempts: u32,
    /// The pause after the first vain attempt; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause that pgproof makes of itself.
    pub backoff_limit: Duration,
    /// The longest pause that an origin may ask for (`Retry-After`); one that asks for more is not asked again.
    pub retry_after_limit: Duration,
}

/// What vouches for content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vouched {
    /// A digest or a signature, so that it does not matter who carries it.
    ByItself,
    /// The server's certificate alone.
    ByServer,
}

/// The network while it is open: lives no longer than the runtime that it belongs to.
pub(super) struct Connections {
    client: Client,
    has_authorities: bool,
    vouched: Vouched,
    limits: Limits,
    shunned: Mutex<BTreeSet<String>>,
}

/// Why a body was not received to its end.
#[derive(Debug)]
pub(super) enum Interrupted<E> {
    /// The origin did not send it.
    ByOrigin(Failure),
    /// Who takes it could not.
    ByTaker(E),
}

/// Counts vain attempts at one origin.
pub(super) struct Retry {
    limits: Limits,
    vain: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(20),
            attempts: 4,
            backoff: Duration::from_millis(500),
            backoff_limit: Duration::from_secs(4),
            retry_after_limit: Duration::from_mins(1),
        }
    }
}

impl Network {
    /// The permission, with the mirrors to use for `debian:` origins.
    pub fn new(mirrors: Mirrors, limits: Limits) -> Self {
        Self { mirrors, limits }
    }

    /// Fetches something that is not locked, of `limit` bytes at most.
    ///
    /// For [`Origin::Debian`] the mirrors are asked in order, over plain http too: that is for what carries its own
    /// signature (`InRelease`), which the caller must check. For [`Origin::Url`] the server's certificate is all that
    /// vouches for the content, so that plain http is refused.
    pub fn get(&self, origin: &Origin, limit: u64) -> Result<Vec<u8>, FetchError> {
        let vouched = match origin {
            Origin::Debian(_) => Vouched::ByItself,
            Origin::Url(_) => Vouched::ByServer,
        };
        runtime()?.block_on(async {
            let connections = Connections::open(self.limits, vouched)?;
            let mut tried = Vec::new();
            for url in self.mirrors.urls(origin, None) {
                match connections.get(&url, limit).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(failure) => tried.push(Tried { origin: shown(&url), failure: Arc::new(failure) }),
                }
            }
            Err(FetchError::Unfetched { failed: vec![Unfetched { name: origin.to_string(), tried }], asked: 1 })
        })
    }

    /// Fetches what lies at `url`, of `limit` bytes at most; `None` if the server says that there is nothing.
    ///
    /// The server's certificate is all that vouches for it, so that plain http is refused, but from this machine itself.
    pub fn find(&self, url: &Url, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let vouched = if is_loopback(url) { Vouched::ByItself } else { Vouched::ByServer };
        runtime()?.block_on(async {
            let connections = Connections::open(self.limits, vouched)?;
            match connections.get(url, limit).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(failure) if failure.is_gone() => Ok(None),
                Err(failure) => {
                    let tried = vec![Tried { origin: shown(url), failure: Arc::new(failure) }];
                    Err(FetchError::Unfetched { failed: vec![Unfetched { name: shown(url), tried }], asked: 1 })
                }
            }
        })
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, FetchError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|source| FetchError::Runtime { source })
}

/// Whether a connection to it stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(_)) | None => false,
    }
}

impl Connections {
    /// Sets up the client. No connection is made yet.
    pub(super) fn open(limits: Limits, vouched: Vouched) -> Result<Self, FetchError> {
        // Redirects are followed by `ask`, which knows where they may lead.
        let builder = || {
            Client::builder()
                .user_agent(concat!("pgproof/", env!("CARGO_PKG_VERSION")))
                .referer(false)
                // Whatever other crates have reqwest built with.
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .connect_timeout(limits.connect)
                .redirect(Policy::none())
        };
        let (client, has_authorities) = match builder().build() {
            Ok(client) => (client, true),
            // A small container without CA certificates can still fetch what is locked over plain http. With no
            // authority at all every https origin is refused.
            Err(_) => match builder().tls_certs_only([]).build() {
                Ok(client) => (client, false),
                Err(source) => return Err(FetchError::Client { source }),
            },
        };
        Ok(Self { client, has_authorities, vouched, limits, shunned: Mutex::default() })
    }

    /// Asks for `url`, from byte `from` on, and waits for the answer's head. Only success is an answer: 200 or 206.
    pub(super) async fn ask(&self, url: &Url, from: u64) -> Result<Response, Failure> {
        let mut passed = Vec::new();
        let mut at = url.clone();
        loop {
            let response = self.ask_at(&at, (!passed.is_empty()).then_some(&at), from).await?;
            let status = response.status().as_u16();
            match (status, response.headers().get(LOCATION)) {
                (200 | 206, _) => return Ok(response),
                (301 | 302 | 303 | 307 | 308, Some(to)) => {
                    let to = self.follow(&passed, &at, to).map_err(Failure::Redirect)?;
                    passed.push(std::mem::replace(&mut at, to));
                }
                _ => return Err(Failure::Status { status, retry_after: retry_after(response.headers()) }),
            }
        }
    }

    /// Asks `url` itself; `at` is the same, if another one redirected to it.
    async fn ask_at(&self, url: &Url, at: Option<&Url>, from: u64) -> Result<Response, Failure> {
        if url.scheme() == "https" && !self.has_authorities {
            return Err(Failure::NoAuthorities);
        }
        if self.is_shunned(url) {
            return Err(Failure::Shunned);
        }
        let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let patience = self.limits.connect + self.limits.idle;
        match timeout(patience, request.send()).await {
            Ok(answer) => answer.map_err(|source| Failure::of_request(at.cloned(), source)),
            Err(_) => Err(Failure::Stalled { at: at.cloned(), idle: patience }),
        }
    }

    /// Where the `Location` that `at` gave leads, after those that were `passed`.
    fn follow(&self, passed: &[Url], at: &Url, to: &HeaderValue) -> Result<Url, Redirect> {
        let shown = || String::from_utf8_lossy(to.as_bytes()).chars().take(SHOWN).collect();
        let joined = to.to_str().ok().and_then(|to| at.join(to).ok());
        let mut to = joined.ok_or_else(|| Redirect::Malformed(shown()))?;
        to.set_fragment(None);
        if !matches!(to.scheme(), "http" | "https") {
            Err(Redirect::Scheme(to))
        } else if to.scheme() == "http" && self.vouched == Vouched::ByServer {
            Err(Redirect::Insecure(to))
        } else if to == *at || passed.contains(&to) {
            Err(Redirect::Circle(to))
        } else if passed.len() >= REDIRECT_LIMIT {
            Err(Redirect::TooOften(REDIRECT_LIMIT))
        } else {
            Ok(to)
        }
    }

    /// Hands the body of what `asked` answered, which starts at byte `from` of the content, to `take`, part by part; gives where it ended.
    ///
    /// Content that would be longer than `limit` bytes is an error, and not one byte too many is handed on; content that is
    /// shorter is none.
    pub(super) async fn receive<E>(
        &self,
        asked: &Url,
        mut response: Response,
        from: u64,
        limit: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, Interrupted<E>> {
        let (mut received, mut window, mut deadline) = (from, 0_u64, Instant::now() + self.limits.idle);
        // Only where it did not go as asked is it worth telling.
        let at = (response.url().origin() != asked.origin()).then(|| response.url().clone());
        loop {
            let chunk = match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(received),
                Ok(Err(source)) => return Err(Failure::Broken { received, source: source.without_url() }.into()),
                Err(_) => return Err(Failure::Stalled { at, idle: self.limits.idle }.into()),
            };
            if chunk.len() as u64 > limit - received {
                return Err(Failure::TooLong { limit }.into());
            }
            take(&chunk).map_err(Interrupted::ByTaker)?;
            received += chunk.len() as u64;
            window += chunk.len() as u64;
            if window >= FLOOR {
                (window, deadline) = (0, Instant::now() + self.limits.idle);
            }
        }
    }

    pub(super) fn retry(&self) -> Retry {
        Retry { limits: self.limits, vain: 0 }
    }

    /// Asks no more for anything from where `url` points: a host that is down should be waited for once, not once for
    /// each of two hundred files.
    pub(super) fn shun(&self, url: &Url) {
        self.shunned().insert(host(url));
    }

    fn is_shunned(&self, url: &Url) -> bool {
        self.shunned().contains(&host(url))
    }

    fn shunned(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.shunned.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn get(&self, url: &Url, limit: u64) -> Result<Vec<u8>, Failure> {
        if url.scheme() != "https" && self.vouched == Vouched::ByServer {
            return Err(Failure::Insecure);
        }
        let mut retry = self.retry();
        loop {
            match self.get_once(url, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => retry.pause(failure).await?,
            }
        }
    }

    async fn get_once(&self, url: &Url, limit: u64) -> Result<Vec<u8>, Failure> {
        let response = self.ask(url, 0).await?;
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(Failure::TooLong { limit });
        }
        let mut bytes = Vec::new();
        let received = self.receive(url, response, 0, limit, |part| {
            bytes.extend_from_slice(part);
            Ok::<_, Infallible>(())
        });
        match received.await {
            Ok(_) => Ok(bytes),
            Err(Interrupted::ByOrigin(failure)) => Err(failure),
            Err(Interrupted::ByTaker(never)) => match never {},
        }
    }
}

impl Retry {
    /// The origin does give something: it gets all its attempts back.
    pub(super) fn renew(&mut self) {
        self.vain = 0;
    }

    /// Waits before the next attempt, or gives `failure` back if there should be none.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        self.vain += 1;
        let asked = failure.retry_after();
        if !failure.is_passing() || self.vain >= self.limits.attempts || asked > self.limits.retry_after_limit {
            return Err(failure);
        }
        let doubled = self.limits.backoff.saturating_mul(1 << (self.vain - 1).min(16)).min(self.limits.backoff_limit);
        // Jitter, so that sixteen connections that broke together do not come back together.
        let own = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::time::sleep(own.max(asked)).await;
        Ok(())
    }
}

impl<E> From<Failure> for Interrupted<E> {
    fn from(failure: Failure) -> Self {
        Self::ByOrigin(failure)
    }
}

/// `Retry-After`, RFC 9110 section 10.2.3: seconds, or a date, which is read by the server's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| rfc2822::parse(text).ok().map(|date| date.timestamp());
    let (until, now): (Timestamp, Timestamp) = (date(asked)?, date(text(DATE)?)?);
    Duration::try_from(until.duration_since(now)).ok()
}

/// What a connection is made to.
fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}
