//! What no package may exceed: every bound on hostile input, in one place beside those of [`crate::tree`].
//!
//! Debian 12's packages are far below: 19 000 entries with 1.2 MB of names in 200 packages, 70 MB in the largest of them,
//! `gcc-12`, and an 8 MiB dictionary for every member.

/// Bytes of one package's decompressed data member.
pub(super) const PACKAGE_BYTES: u64 = 2 << 30;
/// Bytes of all packages' files together.
pub(super) const TOTAL_BYTES: u64 = 16 << 30;
/// Entries of all packages together: they are held in memory until the layer is written.
pub(super) const ENTRIES: u64 = 100_000;
/// Bytes of all packages' paths and link targets together.
pub(super) const NAME_BYTES: u64 = 8 << 20;
/// Bytes of a path's component: `NAME_MAX`.
pub(super) const COMPONENT_BYTES: usize = 255;
/// Bytes of an image's manifest or configuration.
pub(super) const JSON_BYTES: u64 = 1 << 20;
/// Memory of a decoder while others run beside it, in KiB: an 8 MiB dictionary and its tables.
pub(super) const DECODER_KIB: u32 = 9 << 10;
/// Memory of a decoder that runs alone, in KiB: the 64 MiB dictionary of `xz -9` and its tables.
pub(super) const LONE_DECODER_KIB: u32 = 66 << 10;
/// Packages that are read at once, however many cores there are: each may take [`DECODER_KIB`].
pub(super) const WORKERS: usize = 6;
