//! The Debian mirror that this host's apt uses, as the tests' network.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test says what went wrong by panicking, and is asked for by an environment variable"
)]

use std::io::Write as _;
use std::path::Path;

use pgproof::lock::{Network, NetworkError};
use pgproof::lockfile::{Origin, Pin};
use pgproof::store::{Blob, Store};

/// Whether tests that need the mirror, apt or minutes are to run.
#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
pub(crate) fn slow_tests_are_wanted() -> bool {
    let wanted = std::env::var_os("PGPROOF_TEST_SLOW").is_some();
    if !wanted {
        eprintln!("not run: set PGPROOF_TEST_SLOW to run it");
    }
    wanted
}

pub(crate) struct Mirror {
    root: String,
    runtime: tokio::runtime::Runtime,
}

impl Mirror {
    /// The first mirror of Debian's main archive among apt's sources.
    pub(crate) fn of_this_host() -> Self {
        let mut sources: Vec<_> =
            Path::new("/etc/apt/sources.list.d").read_dir().unwrap().map(Result::unwrap).collect();
        sources.sort_by_key(std::fs::DirEntry::path);
        let root = sources
            .iter()
            .filter(|source| source.path().extension().is_some_and(|extension| extension == "sources"))
            .map(|source| std::fs::read_to_string(source.path()).unwrap())
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| {
                Some(line.strip_prefix("URIs:")?.split_whitespace().next()?.trim_end_matches('/').to_owned())
            })
            .find(|uri| uri.ends_with("/debian"))
            .expect("apt is configured with a mirror of Debian");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { root, runtime }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    fn stream(&self, origin: &Origin, limit: u64, mut out: impl std::io::Write) -> Result<(), NetworkError> {
        let Origin::Debian(path) = origin else { return Err("only the mirror is used here".into()) };
        self.runtime.block_on(async {
            let mut response = reqwest::get(format!("{}/{path}", self.root)).await?.error_for_status()?;
            let mut count = 0;
            while let Some(chunk) = response.chunk().await? {
                count += chunk.len() as u64;
                if count > limit {
                    return Err(format!("more than {limit} bytes").into());
                }
                out.write_all(&chunk)?;
            }
            Ok(())
        })
    }
}

impl Network for Mirror {
    fn get(&self, origin: &Origin, limit: u64) -> Result<Vec<u8>, NetworkError> {
        let mut bytes = Vec::new();
        self.stream(origin, limit, &mut bytes)?;
        Ok(bytes)
    }

    fn bring(&self, pin: &Pin, store: &Store) -> Result<Blob, NetworkError> {
        if let Some(blob) = store.find(pin.digest)? {
            return Ok(blob);
        }
        let mut failure: NetworkError = "no origin".into();
        for origin in &pin.origins {
            let mut incoming = store.incoming()?;
            match self.stream(origin, pin.size, &mut incoming) {
                Ok(()) => {
                    incoming.flush()?;
                    return Ok(incoming.commit_as(pin.digest, pin.size)?);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
