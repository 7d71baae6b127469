//! What the check of PostgreSQL's archives finds and accepts, and why.

use std::ops::RangeInclusive;

use crate::check::{Exception, Kind, Role};
use crate::target::Version;

/// Findings of one kind with one reason, in some releases.
struct Known {
    majors: RangeInclusive<u16>,
    /// Only where debug information is not checked with the rest, which would tell the compiler's flags.
    undebugged: bool,
    roles: &'static [Role],
    kind: Kind,
    about: Option<&'static str>,
    reason: &'static str,
    files: &'static [&'static str],
}

/// What most have in common.
const ANY: Known = Known {
    majors: 0..=u16::MAX,
    undebugged: false,
    roles: &[],
    kind: Kind::Malformed,
    about: None,
    reason: "",
    files: &[],
};

const BOTH: &[Role] = &[Role::Main, Role::Client];

const INTERPRETER: &str = "the interpreter is the host's: its modules are of no use to another";

/// `-fstack-protector-strong` changes only functions that have an array or lend a variable's address.
const NO_ARRAY: &str = "it is built with the stack protector, and no function of it has anything to protect";

const KNOWN: &[Known] = &[
    Known {
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libperl.so.5.36"),
        reason: INTERPRETER,
        files: &["lib/*plperl.so"],
        ..ANY
    },
    Known {
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libpython3.11.so.1.0"),
        reason: INTERPRETER,
        files: &["lib/*plpython3.so"],
        ..ANY
    },
    Known {
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libtcl8.6.so"),
        reason: INTERPRETER,
        files: &["lib/pltcl.so"],
        ..ANY
    },
    Known {
        roles: BOTH,
        kind: Kind::BuildPath,
        about: Some("/build/"),
        reason: "Debian's OpenSSL tells the flags that it was compiled with, of which one maps this directory away",
        files: &["lib/libcrypto.so.3"],
        ..ANY
    },
    Known {
        roles: BOTH,
        kind: Kind::BuildPath,
        about: Some("/home/"),
        reason: "the release tarball's Turkish catalogues tell where their translator had the sources",
        files: &["share/locale/tr/LC_MESSAGES/*.mo"],
        ..ANY
    },
    Known {
        roles: BOTH,
        kind: Kind::NoBindNow,
        reason: "Debian builds it without -z now",
        files: &[
            "lib/libedit.so.2",
            "lib/libffi.so.8",
            "lib/libgmp.so.10",
            "lib/libgssapi_krb5.so.2",
            "lib/libk5crypto.so.3",
            "lib/libkrb5.so.3",
            "lib/libkrb5support.so.0",
            "lib/libz.so.1",
        ],
        ..ANY
    },
    Known {
        majors: 14..=u16::MAX,
        roles: BOTH,
        kind: Kind::NoBindNow,
        reason: "Debian builds it without -z now",
        files: &["lib/liblz4.so.1"],
        ..ANY
    },
    Known {
        roles: &[Role::Main],
        kind: Kind::NoBindNow,
        reason: "Debian builds it without -z now",
        files: &["lib/libgcc_s.so.1", "lib/libstdc++.so.6"],
        ..ANY
    },
    Known {
        roles: &[Role::Main, Role::Client, Role::AddOn],
        kind: Kind::NoFortify,
        about: Some("sizes"),
        reason: "FORTIFY changes no call for which the compiler does not know how large the target is",
        files: &["lib/*.so*"],
        ..ANY
    },
    Known {
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        reason: "GCC's own runtime is built without",
        files: &["lib/libstdc++.so.6"],
        ..ANY
    },
    Known {
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        reason: "it has no code",
        files: &["lib/libicudata.so.*"],
        ..ANY
    },
    Known {
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        reason: "GCC's own runtime is built without",
        files: &["lib/libgcc_s.so.1", "lib/libstdc++.so.6"],
        ..ANY
    },
    Known {
        undebugged: true,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        reason: NO_ARRAY,
        files: &[
            "lib/*_and_*.so",
            "lib/auth_delay.so",
            "lib/btree_gin.so",
            "lib/citext.so",
            "lib/dict_int.so",
            "lib/earthdistance.so",
            "lib/euc2004_sjis2004.so",
            "lib/lo.so",
            "lib/pg_freespacemap.so",
            "lib/tcn.so",
        ],
        ..ANY
    },
    Known {
        majors: 17..=u16::MAX,
        undebugged: true,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        reason: NO_ARRAY,
        files: &["lib/basebackup_to_shell.so"],
        ..ANY
    },
    Known {
        undebugged: true,
        roles: &[Role::AddOn],
        kind: Kind::NoStackProtector,
        reason: NO_ARRAY,
        files: &["lib/bool_plperl.so", "lib/ltree_plpython3.so"],
        ..ANY
    },
];

/// What the check of archives of `version` accepts; `debug`: the debug archive is checked with them.
pub fn exceptions(version: Version, debug: bool) -> Vec<Exception<'static>> {
    let applies = |known: &&Known| known.majors.contains(&version.major) && !(known.undebugged && debug);
    let exceptions = |known: &'static Known| {
        let &Known { roles, kind, about, reason, files, .. } = known;
        files.iter().map(move |files| Exception { roles, files, kind, about, reason })
    };
    KNOWN.iter().filter(applies).flat_map(exceptions).collect()
}
