//! Which libraries are the C library's own.
//!
//! # Why
//!
//! These alone come from the host. They are one whole with its loader and with each other: they share private symbols
//! (`GLIBC_PRIVATE`) that change from release to release. A bundled copy of any of them works only with the host's that it
//! was built beside. That is so for `librt`, `libutil` and `libresolv` as well, small as they are: the first two have been
//! empty since 2.34, and the last asks `libc` for its private resolver state.

use crate::target::GlibcVersion;

/// What the host has wherever there is the C library.
const HOST: [&str; 8] = ["libc", "libm", "libpthread", "libdl", "librt", "libresolv", "libutil", "ld-linux"];

/// What belongs to it besides, and is neither bundled nor counted upon.
const REST: [&str; 12] = [
    "libBrokenLocale",
    "libSegFault",
    "libanl",
    "libc_malloc_debug",
    "libmemusage",
    "libmvec",
    "libnsl",
    "libnss_compat",
    "libnss_dns",
    "libnss_files",
    "libpcprofile",
    "libthread_db",
];

/// Whether the host has this library, named as another file names it: `libc.so.6`, `ld-linux-x86-64.so.2`.
pub(super) fn of_host(name: &str) -> bool {
    stem(name).is_some_and(|stem| HOST.contains(&stem) || stem.starts_with("ld-linux-"))
}

/// Whether this library is the C library's.
pub(super) fn own(name: &str) -> bool {
    // libnsl.so.2 is another project's.
    name != "libnsl.so.2" && (of_host(name) || stem(name).is_some_and(|stem| REST.contains(&stem)))
}

fn stem(name: &str) -> Option<&str> {
    let (stem, version) = name.split_once(".so.")?;
    version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then_some(stem)
}

/// What a symbol version of the C library asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// A release.
    Release(GlibcVersion),
    /// Its private symbols, which only the very release has that a file was linked with.
    Private,
    /// Something that pgproof does not know.
    Unknown,
}

/// Tells what `GLIBC_2.34` asks for.
pub(super) fn wants(version: &str) -> Wants {
    match version.strip_prefix("GLIBC_") {
        Some("PRIVATE") => Wants::Private,
        // The loader's way to say that it understands DT_RELR.
        Some("ABI_DT_RELR") => Wants::Release(GlibcVersion { major: 2, minor: 36, patch: 0 }),
        Some(number) => number.parse().map_or(Wants::Unknown, Wants::Release),
        None => Wants::Unknown,
    }
}
