//! Every promise that pgproof makes, one module each.

mod definitions;
mod digest;
mod lockfile;
mod plan;
mod tree;
