//! Where an instance of Sigstore is: whom it asks to be believed, and the services that a signature is made with.
//!
//! Nothing here reaches out without the permission to. A trust root that was fetched is kept, and checked anew each time it is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sigstore_sign::SigningServices;
use sigstore_sign::rekor::RekorApiVersion;
use sigstore_trust_root::{
    SIGNING_CONFIG_MEDIA_TYPE, SIGNING_CONFIG_TARGET, SigningConfig, SigstoreInstance, TRUSTED_ROOT_TARGET,
};
use sigstore_tuf::{FileStore, HttpRepository, StoreRepository, Updater};
use url::{Host, Url};

use super::json;
use super::trust::{TrustError, TrustRoot};
use crate::digest::Digest;
use crate::fetch::Network;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long one request may take: a Rekor v2 log answers when the entry is in its tree, which takes seconds.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// The services that a signature is made with: certificate authority, transparency log, timestamp authority.
#[derive(Debug, Clone)]
pub struct Services {
    pub(super) fulcio: Url,
    pub(super) rekor: Url,
    pub(super) version: RekorApiVersion,
    pub(super) tsa: Url,
}

/// Where an instance of Sigstore publishes its trust root and its services, by The Update Framework (TUF).
#[derive(Debug, Clone)]
pub struct Repository {
    url: String,
    root: Vec<u8>,
    cache: PathBuf,
}

/// Why services cannot be used.
#[derive(Debug, thiserror::Error)]
#[must_use]
pub enum ServicesError {
    /// It is no JSON that is read.
    #[error("the signing configuration cannot be read")]
    Json(#[from] json::JsonError),
    /// It is no signing configuration.
    #[error("it is not what Sigstore calls a signing configuration ({SIGNING_CONFIG_MEDIA_TYPE})")]
    Malformed(#[source] serde_json::Error),
    /// It says that it is something else.
    #[error("it says that it is {0:?}, not a signing configuration ({SIGNING_CONFIG_MEDIA_TYPE})")]
    MediaType(String),
    /// It asks for something that pgproof does not do, or has no service for something.
    #[error("what the signing configuration asks for cannot be done")]
    Unusable(#[source] Box<sigstore_sign::Error>),
    /// It has no timestamp authority.
    #[error("the signing configuration has no timestamp authority, so that nothing would vouch for the time")]
    NoTimestamps,
    /// A service's address is none.
    #[error("{0:?} is not the URL of a service")]
    Url(String),
    /// A service would be talked to without encryption.
    #[error("{0} is not https, and identity tokens are sent to such services: only on this machine may that be")]
    Insecure(Url),
}

impl Services {
    /// Reads a `signing_config.json`. Refuses one that asks for more logs or timestamps than pgproof would ask for.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServicesError> {
        let config: SigningConfig = serde_json::from_value(json::read(bytes)?).map_err(ServicesError::Malformed)?;
        if config.media_type != SIGNING_CONFIG_MEDIA_TYPE {
            return Err(ServicesError::MediaType(config.media_type.chars().take(120).collect()));
        }
        let services =
            SigningServices::from_signing_config(&config).map_err(|error| ServicesError::Unusable(Box::new(error)))?;
        Ok(Self {
            fulcio: secure(services.fulcio_url())?,
            rekor: secure(services.rekor_url())?,
            version: services.rekor_api_version(),
            tsa: secure(services.tsa_url().ok_or(ServicesError::NoTimestamps)?)?,
        })
    }
}

fn secure(text: &str) -> Result<Url, ServicesError> {
    let wrong = || ServicesError::Url(text.chars().take(120).collect());
    let url: Url = text.parse().map_err(|_malformed| wrong())?;
    let here = match url.host().ok_or_else(wrong)? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err(ServicesError::Insecure(url)),
        _ => Err(wrong()),
    }
}

impl Repository {
    /// The public-good instance, which everybody may use. The root of trust that pgproof carries only serves to check newer ones.
    pub fn public_good(cache: &Path) -> Self {
        let instance = SigstoreInstance::PublicGood;
        Self::new(instance.tuf_url(), instance.tuf_root().to_vec(), cache)
    }

    /// A private instance: its repository's address, and a `root.json` that is believed.
    pub fn private(url: &Url, root: Vec<u8>, cache: &Path) -> Self {
        Self::new(url.as_str(), root, cache)
    }

    /// What is fetched is kept in a folder of its own under `cache`: no instance may answer for another one.
    fn new(url: &str, root: Vec<u8>, cache: &Path) -> Self {
        let name = Digest::of(&[url.as_bytes(), &[0], &root].concat()).hex();
        Self { url: url.to_owned(), root, cache: cache.join(&name[..16]) }
    }

    /// The trust root as the repository has it now; without a network, as it was fetched last, unless that has expired.
    pub fn trust_root(&self, network: Option<&Network>, now: Timestamp) -> Result<TrustRoot, TrustError> {
        TrustRoot::parse(&self.target(TRUSTED_ROOT_TARGET, network, now)?)
    }

    /// The services, in the same way.
    pub fn services(&self, network: Option<&Network>, now: Timestamp) -> Result<Services, TrustError> {
        Ok(Services::parse(&self.target(SIGNING_CONFIG_TARGET, network, now)?)?)
    }

    fn target(&self, name: &str, network: Option<&Network>, now: Timestamp) -> Result<Vec<u8>, TrustError> {
        runtime().map_err(TrustError::Runtime)?.block_on(async {
            let failed = |source| TrustError::Repository { url: self.url.clone(), source: Box::new(source) };
            let store = FileStore::new(&self.cache);
            let updater = if network.is_some() {
                let client = client().map_err(TrustError::Client)?;
                let repository = HttpRepository::new(&self.url).map_err(failed)?.with_http_client(client);
                Updater::new(repository, &self.root)
            } else if self.cache.is_dir() {
                Updater::new(StoreRepository::new(store.clone()), &self.root)
            } else {
                return Err(TrustError::NotFetched { url: self.url.clone() });
            };
            let mut updater = updater.map_err(failed)?.with_store(store);
            updater.refresh(now).await.map_err(failed)?;
            updater.get_target(name, now).await.map_err(failed)
        })
    }
}

/// A client that follows no redirect: a token must reach whom it is meant for and nobody else.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("pgproof/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
    };
    // Without CA certificates only services on this machine can be used.
    builder().build().or_else(|_no_authorities| builder().tls_certs_only([]).build())
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
