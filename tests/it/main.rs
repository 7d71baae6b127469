//! Every promise that pgproof makes, one module each.

mod digest;
mod lock;
mod lock_apt;
mod lock_keys;
mod lock_mirror;
mod lock_resolver;
mod lock_signature;
mod lockfile;
