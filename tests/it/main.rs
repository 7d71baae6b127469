//! Every promise that pgproof makes, one module each.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that fails panics; it reads its environment and starts processes, and says when it does not run"
)]

mod architecture;
mod bundle;
mod check;
mod check_hostile;
mod cli;
mod consumers;
mod definitions;
mod digest;
mod fetch;
mod fetch_hostile;
mod fetch_mirrors;
mod fetch_process;
mod gate;
mod lock;
mod lock_apt;
mod lock_keys;
mod lock_mirror;
mod lock_resolver;
mod lock_signature;
mod lockfile;
mod origin;
mod output;
mod page;
mod plan;
mod policy;
mod rebuild;
mod sandbox;
mod sandbox_axes;
mod sandbox_bundle;
mod sandbox_ends;
mod statement;
mod sigstore;
mod sbom;
mod store;
mod store_accidents;
mod store_sweep;
mod sysroot;
mod tree;
mod trial;
mod verdict;
mod workflows;
