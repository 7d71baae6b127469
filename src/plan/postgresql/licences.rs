//! The licences of what travels with PostgreSQL, as SPDX expressions.
//!
//! # Why
//!
//! Debian's copyright files tell what holds for every file of a source package: tests, tools and build scripts that are in no
//! library. An expression for the library alone takes a person who reads, so it is written down here, with the words of the
//! file that say so; a test looks for them in the archive that is built. What those files leave open, or what no expression of
//! SPDX's list says exactly (krb5's fifty notices, libxml2's "No, this is not Expat"), is not here.

/// The licence of a source package's libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Licence {
    /// The source package.
    pub source: &'static str,
    /// The binary packages of it.
    pub packages: &'static [&'static str],
    /// The SPDX expression.
    pub expression: &'static str,
    /// What their copyright files say: each of these is in them.
    pub says: &'static [&'static str],
}

const fn licence(
    source: &'static str,
    packages: &'static [&'static str],
    expression: &'static str,
    says: &'static [&'static str],
) -> Licence {
    Licence { source, packages, expression, says }
}

/// All that are known, sorted by source package.
pub const LICENCES: &[Licence] = &[
    licence(
        "gcc-12",
        &["libgcc-s1", "libstdc++6"],
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        &["GNU General Public License (v3 or later) with version 3.1 of the GCC\nRuntime Library Exception"],
    ),
    licence("gmp", &["libgmp10"], "LGPL-3.0-or-later OR GPL-2.0-or-later", &["License: GPL-2+ or LGPL-3+\n"]),
    licence("gnutls28", &["libgnutls30"], "LGPL-2.1-or-later", &["LGPLv2.1+ for the main library"]),
    licence("keyutils", &["libkeyutils1"], "LGPL-2.0-or-later", &["Files: keyutils.*\n", "License: LGPL-2+\n"]),
    licence("libcap-ng", &["libcap-ng0"], "LGPL-2.1-or-later", &["Files: *\n", "License: LGPL-2.1+\n"]),
    licence("libedit", &["libedit2"], "BSD-3-Clause", &["License: BSD-3-clause\n"]),
    // One of its files is in the public domain, which asks for nothing.
    licence("libffi", &["libffi8"], "MIT", &["License: Expat\n"]),
    licence("libtasn1-6", &["libtasn1-6"], "LGPL-2.1-or-later", &["The library itself is licensed as LGPLv2.1+"]),
    licence(
        "libunistring",
        &["libunistring2"],
        "LGPL-3.0-or-later OR GPL-2.0-or-later",
        &["License: LGPL-3+ or GPL-2+\n"],
    ),
    licence(
        "libzstd",
        &["libzstd1"],
        "(BSD-3-Clause OR GPL-2.0-only) AND MIT",
        &["License: BSD-3-clause or GPL-2\n", "Files: lib/dictBuilder/divsufsort.*\n"],
    ),
    licence("lz4", &["liblz4-1"], "BSD-2-Clause", &["License: BSD-2-clause\n"]),
    licence(
        "ncurses",
        &["libtinfo6"],
        "X11-distribute-modifications-variant AND BSD-3-Clause",
        &["distribute, distribute with modifications, sublicense", "ncurses/tinfo/read_termcap.c\n"],
    ),
    licence("openssl", &["libssl3"], "Apache-2.0", &["Files: *\n", "License: Apache-2.0\n"]),
    // Beside these files it has some of util-linux that are in the public domain.
    licence("util-linux", &["libuuid1"], "BSD-3-Clause", &["Files: libuuid/*\n", "License: BSD-3-clause\n"]),
    licence("zlib", &["zlib1g"], "Zlib", &["License: Zlib\n"]),
];

/// The SPDX expression for what a binary package brings, if somebody has read that it is one.
pub fn licence_of(source: &str, package: &str) -> Option<&'static str> {
    let known = LICENCES.iter().find(|known| known.source == source && known.packages.contains(&package));
    known.map(|known| known.expression)
}
