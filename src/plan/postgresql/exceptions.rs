//! What the check of PostgreSQL's archives finds and accepts, and why.

use std::ops::RangeInclusive;

use crate::check::{Exception, Kind, Role};
use crate::target::Version;

/// Findings of one kind with one reason, in some releases.
struct Known {
    majors: RangeInclusive<u16>,
    roles: &'static [Role],
    kind: Kind,
    about: Option<&'static str>,
    reason: &'static str,
    files: &'static [&'static str],
}

const ALL: RangeInclusive<u16> = 13..=u16::MAX;
const BOTH: &[Role] = &[Role::Main, Role::Client];

/// Built with `-D_FORTIFY_SOURCE=2`, which changes only calls for which the compiler knows how large the target is.
const NO_SIZE: &str = "it is built with FORTIFY, and copies only into what the compiler does not know the size of";

/// Built with `-fstack-protector-strong`, which changes only functions that have an array or lend a variable's address.
const NO_ARRAY: &str = "it is built with the stack protector, and no function of it has anything to protect";

const RUNTIME: &str = "GCC's own runtime is built without";

const KNOWN: &[Known] = &[
    Known {
        majors: ALL,
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libperl.so.5.36"),
        reason: "the interpreter is the host's: its modules are of no use to another",
        files: &["lib/*plperl.so"],
    },
    Known {
        majors: ALL,
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libpython3.11.so.1.0"),
        reason: "the interpreter is the host's: its modules are of no use to another",
        files: &["lib/*plpython3.so"],
    },
    Known {
        majors: ALL,
        roles: &[Role::AddOn],
        kind: Kind::LackingLibrary,
        about: Some("libtcl8.6.so"),
        reason: "the interpreter is the host's: its modules are of no use to another",
        files: &["lib/pltcl.so"],
    },
    Known {
        majors: ALL,
        roles: BOTH,
        kind: Kind::BuildPath,
        about: Some("/build/"),
        reason: "Debian's OpenSSL tells the flags that it was compiled with, of which one maps this directory away",
        files: &["lib/libcrypto.so.3"],
    },
    Known {
        majors: ALL,
        roles: BOTH,
        kind: Kind::BuildPath,
        about: Some("/home/"),
        reason: "the release tarball's Turkish catalogues tell where their translator had the sources",
        files: &["share/locale/tr/LC_MESSAGES/*.mo"],
    },
    Known {
        majors: ALL,
        roles: BOTH,
        kind: Kind::NoBindNow,
        about: None,
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
    },
    Known {
        majors: 14..=u16::MAX,
        roles: BOTH,
        kind: Kind::NoBindNow,
        about: None,
        reason: "Debian builds it without -z now",
        files: &["lib/liblz4.so.1"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoBindNow,
        about: None,
        reason: "Debian builds it without -z now",
        files: &["lib/libgcc_s.so.1", "lib/libstdc++.so.6"],
    },
    Known {
        majors: ALL,
        roles: BOTH,
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/libffi.so.8", "lib/libhogweed.so.6"],
    },
    Known {
        majors: 14..=u16::MAX,
        roles: BOTH,
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/liblz4.so.1"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/liblzma.so.5"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        about: None,
        reason: RUNTIME,
        files: &["lib/libgcc_s.so.1", "lib/libstdc++.so.6"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &[
            "lib/_int.so",
            "lib/amcheck.so",
            "lib/bloom.so",
            "lib/btree_gist.so",
            "lib/cube.so",
            "lib/dict_snowball.so",
            "lib/fuzzystrmatch.so",
            "lib/hstore.so",
            "lib/isn.so",
            "lib/libpqwalreceiver.so",
            "lib/ltree.so",
            "lib/pageinspect.so",
            "lib/pg_stat_statements.so",
            "lib/pg_trgm.so",
            "lib/pgrowlocks.so",
            "lib/pgxml.so",
            "lib/plpgsql.so",
            "lib/postgres_fdw.so",
            "lib/seg.so",
            "lib/unaccent.so",
        ],
    },
    Known {
        majors: 13..=14,
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/dblink.so"],
    },
    Known {
        majors: 15..=u16::MAX,
        roles: &[Role::Main],
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/basic_archive.so", "lib/libecpg_compat.so.*", "lib/pg_walinspect.so", "lib/pgoutput.so"],
    },
    Known {
        majors: ALL,
        roles: &[Role::AddOn],
        kind: Kind::NoFortify,
        about: None,
        reason: NO_SIZE,
        files: &["lib/plperl.so", "lib/plpython3.so"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        about: None,
        reason: "it has no code",
        files: &["lib/libicudata.so.*"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        about: None,
        reason: RUNTIME,
        files: &["lib/libgcc_s.so.1", "lib/libstdc++.so.6"],
    },
    Known {
        majors: ALL,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        about: None,
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
    },
    Known {
        majors: 17..=u16::MAX,
        roles: &[Role::Main],
        kind: Kind::NoStackProtector,
        about: None,
        reason: NO_ARRAY,
        files: &["lib/basebackup_to_shell.so"],
    },
    Known {
        majors: ALL,
        roles: &[Role::AddOn],
        kind: Kind::NoStackProtector,
        about: None,
        reason: NO_ARRAY,
        files: &["lib/bool_plperl.so", "lib/ltree_plpython3.so"],
    },
];

/// What the check of the archives of `version` accepts.
pub fn exceptions(version: Version) -> Vec<Exception<'static>> {
    let known = KNOWN.iter().filter(|known| known.majors.contains(&version.major));
    known
        .flat_map(|known| {
            known.files.iter().map(|files| Exception {
                roles: known.roles,
                files,
                kind: known.kind,
                about: known.about,
                reason: known.reason,
            })
        })
        .collect()
}
