//! pgproof builds PostgreSQL in a sealed box from inputs pinned by digest, twice, under different conditions, and shows
//! that both came out the same byte for byte.
//!
//! The modules stand in reading order; a module uses those above it and none below.

pub mod digest;
pub mod target;
pub mod compression;
pub mod lockfile;
pub mod definitions;
pub mod store;
pub mod tree;
pub mod fetch;
pub mod lock;
pub mod sysroot;
pub mod plan;
pub mod inputs;
pub mod variation;
pub mod sandbox;
pub mod output;
pub mod verdict;
