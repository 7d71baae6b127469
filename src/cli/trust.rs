//! Whom a command believes: a trust root from a file, or by TUF.

use std::path::Path;

use pgproof::bundle::{Repository, TrustRoot};

use super::Session;
use super::arguments::Trust;
use super::build::now;
use super::failure::Failure;

/// A trust root or a signing configuration of more bytes is refused.
const FILE_LIMIT: u64 = 4 << 20;

impl Trust {
    /// The trust root. Without a file it is fetched, and without a network what was fetched before is taken, unless it expired.
    pub(super) fn root(&self, session: &Session) -> Result<TrustRoot, Failure> {
        match &self.trusted_root {
            Some(path) => Ok(TrustRoot::parse(&read(path)?)?),
            None => Ok(self.repository(session)?.trust_root(session.network.as_ref(), now())?),
        }
    }

    /// Where it comes from, if not from a file.
    pub(super) fn repository(&self, session: &Session) -> Result<Repository, Failure> {
        let cache = session.store.join("tuf");
        match (&self.tuf_url, &self.tuf_root) {
            (Some(url), Some(root)) => Ok(Repository::private(url, read(root)?, &cache)),
            _ => Ok(Repository::public_good(&cache)),
        }
    }
}

/// Reads a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_limited(path, FILE_LIMIT)
}

/// Reads a file that must not have more than `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let failed = |source| Failure::File { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::Unfit { path: path.to_owned(), why: "is too large" });
    }
    Ok(bytes)
}
