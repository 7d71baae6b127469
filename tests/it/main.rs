//! Every promise that pgproof makes, one module each.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that fails panics; it reads its environment and starts processes, and says when it does not run"
)]

mod definitions;
mod digest;
mod gate;
mod lockfile;
mod output;
mod plan;
mod sandbox;
mod sandbox_axes;
mod sandbox_bundle;
mod sandbox_ends;
mod store;
mod store_accidents;
mod store_sweep;
mod tree;
mod verdict;
