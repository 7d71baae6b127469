//! The archive serves on a system that is newer than the one it was built in, and has nothing that PostgreSQL needs but glibc and
//! a shell: Debian 13 in the sealed box.

use std::path::Path;

use pgproof::definitions::Definitions;
use pgproof::lockfile::Name;
use serde_json::json;

use super::{Dist, trial};

const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/newer");
const SYSROOT: &str = "trixie-amd64";

#[test]
fn a_newer_system_runs_it() {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rebuild-store");
    for dist in Dist::of_environment() {
        check(&dist, &store);
    }
}

pub(super) fn check(dist: &Dist, store: &Path) {
    let definition = Definitions::Directory(DEFINITIONS.into()).compose(&SYSROOT.parse::<Name>().unwrap()).unwrap();
    let plan = json!({
        "version": 1, "name": "trial", "sourceDateEpoch": 1,
        "sysroot": {"name": SYSROOT, "manifest": definition.manifest},
        "inputs": [dist.input("another place")],
        "environment": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        "steps": [{"name": "serve", "directory": ".", "argv": ["sh", "-euc", SERVE]}],
        "output": ".",
    });
    let answer = trial(dist, store, Some(Path::new(DEFINITIONS)), &plan).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(answer, ANSWER.replace("RELEASE", dist.release()));
}

/// That the host has neither time zones nor the libraries is seen first.
const SERVE: &str = r#"
    [ ! -e /usr/share/zoneinfo ]
    for library in icuuc xml2 ldap-2.5 gssapi_krb5 edit stdc++; do
        ! ls /usr/lib/x86_64-linux-gnu/lib$library.so* 2> /dev/null
    done
    export PATH="$PWD/another place/bin:$PATH"
    initdb --pgdata data --no-sync
    pg_ctl --pgdata data --wait --log log -o "-k /tmp -h ''" start
    psql -h /tmp -d postgres -v ON_ERROR_STOP=1 -qAt > /pgproof/out/answer <<'END'
        SHOW server_version;
        SET timezone = 'America/New_York';
        SELECT '2026-07-01 12:00+00'::timestamptz;
        CREATE EXTENSION pgcrypto;
        CREATE EXTENSION "uuid-ossp";
        SELECT encode(digest('a', 'sha256'), 'hex'), uuid_generate_v5(uuid_ns_dns(), 'example.org');
        SELECT xpath('//b/text()', '<a><b>xml</b></a>');
        SELECT string_agg(word, ' ' ORDER BY word COLLATE "de-x-icu") FROM unnest('{z,ä,a}'::text[]) AS words (word);
END
    pg_ctl --pgdata data stop
"#;

const ANSWER: &str = "RELEASE\n2026-07-01 08:00:00-04\n\
    ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb|aad03681-8b63-5304-89e0-8ca8f49461b5\n\
    {xml}\na ä z\n";
