//! Every promise that pgproof makes, one module each.

mod digest;
mod lockfile;
