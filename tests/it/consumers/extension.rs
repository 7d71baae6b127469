//! Programs and extensions are built against the archive wherever it lies: by `pg_config` and PGXS, by `pkg-config`, by `ecpg`.

use std::path::Path;

use serde_json::json;

use super::{Dist, trial};

/// An extension that people use, as Debian has it.
const PGVECTOR: &str = "debian:pool/main/p/pgvector/pgvector_0.8.0.orig.tar.gz";
const PGVECTOR_DIGEST: &str = "sha256:867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0";
const PGVECTOR_SIZE: u64 = 122_290;

/// The newest PostgreSQL that this version of it can be built for.
const PGVECTOR_KNOWS: u32 = 17;

#[test]
fn extensions_and_programs_are_built_against_it() {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rebuild-store");
    for dist in Dist::of_environment() {
        check(&dist, &store);
    }
}

pub(super) fn check(dist: &Dist, store: &Path) {
    let mut inputs = vec![dist.input("elsewhere")];
    let mut steps = vec![
        json!({"name": "programs", "directory": ".", "argv": ["sh", "-euc", PROGRAMS]}),
        json!({"name": "serve", "directory": ".", "argv": ["sh", "-euc", SERVE]}),
    ];
    let mut wanted = ANSWER.replace("RELEASE", dist.release());
    if dist.release().split('.').next().unwrap().parse::<u32>().unwrap() <= PGVECTOR_KNOWS {
        let pgvector = json!({
            "name": "pgvector.tar.gz", "digest": PGVECTOR_DIGEST, "size": PGVECTOR_SIZE,
            "unpack": {"compression": "gzip", "into": "pgvector", "strip": 1}, "origins": [PGVECTOR],
        });
        inputs.insert(0, pgvector);
        steps.insert(0, json!({"name": "extension", "directory": "pgvector", "argv": ["sh", "-euc", EXTENSION]}));
        wanted.insert_str(0, EXTENSION_ANSWER);
    } else {
        eprintln!("not run: {PGVECTOR} cannot be built for PostgreSQL {}", dist.release());
    }
    let plan = json!({
        "version": 1, "name": "trial", "sourceDateEpoch": 1, "sysroot": dist.sysroot(), "inputs": inputs,
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "steps": steps, "output": ".",
    });
    let answer = trial(dist, store, None, &plan).unwrap_or_else(|said| {
        panic!(
            "{said}\nIf it is {PGVECTOR} that cannot be had: mirrors drop what Debian replaces. Give a newer version's name, \
             digest and size in this file (`apt-cache showsrc pgvector` has them)."
        )
    });
    assert_eq!(answer, wanted);
}

const EXTENSION: &str = r"
    make PG_CONFIG=../elsewhere/bin/pg_config OPTFLAGS=
    make PG_CONFIG=../elsewhere/bin/pg_config OPTFLAGS= install
";

const PROGRAMS: &str = r#"
    export PKG_CONFIG_PATH=$PWD/elsewhere/lib/pkgconfig PATH=$PWD/elsewhere/bin:$PATH
    lib=$(pg_config --libdir)
    [ "$lib" = "$PWD/elsewhere/lib" ]
    [ "$(pkg-config --modversion libpq)" = "$(pg_config --version | sed 's/.* //')" ]
    flags=$(pkg-config --cflags --libs libpq)
    [ "$flags" = "-I$PWD/elsewhere/lib/pkgconfig/../../include -L$PWD/elsewhere/lib/pkgconfig/../../lib -lpq " ] ||
        [ "$flags" = "-I$PWD/elsewhere/lib/pkgconfig/../../include -L$PWD/elsewhere/lib/pkgconfig/../../lib -lpq" ]
    cat > client.c <<'END'
#include <libpq-fe.h>
#include <stdio.h>
int main(void) {
    PGconn *connection = PQconnectdb("host=/tmp dbname=postgres");
    PGresult *result = PQexec(connection, "SELECT 'libpq ' || current_setting('server_version')");
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fputs(PQerrorMessage(connection), stderr);
        return 1;
    }
    puts(PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(connection);
    return 0;
}
END
    gcc client.c -o client $flags "-Wl,-rpath,$lib"
    cat > embedded.pgc <<'END'
#include <stdio.h>
EXEC SQL WHENEVER SQLERROR SQLPRINT;
int main(void) {
    EXEC SQL BEGIN DECLARE SECTION;
    int product;
    EXEC SQL END DECLARE SECTION;
    EXEC SQL CONNECT TO postgres;
    EXEC SQL SELECT 6 * 7 INTO :product;
    EXEC SQL DISCONNECT;
    printf("ecpg %d\n", product);
    return 0;
}
END
    ecpg embedded.pgc
    gcc embedded.c -o embedded $(pkg-config --cflags --libs libecpg) "-Wl,-rpath,$lib"
"#;

const SERVE: &str = r#"
    export PATH=$PWD/elsewhere/bin:$PATH PGHOST=/tmp
    initdb --pgdata data --no-sync
    pg_ctl --pgdata data --wait --log log -o "-k /tmp -h ''" start
    {
        if [ -d pgvector ]; then
            psql -d postgres -v ON_ERROR_STOP=1 -qAt <<'END'
                CREATE EXTENSION vector;
                CREATE TABLE items (id int, place vector(3));
                INSERT INTO items VALUES (1, '[1,2,3]'), (2, '[4,5,6]'), (3, '[7,8,9]');
                CREATE INDEX ON items USING hnsw (place vector_l2_ops);
                SET enable_seqscan = off;
                SELECT id, place <-> '[4,5,5]' FROM items ORDER BY place <-> '[4,5,5]' LIMIT 1;
END
        fi
        ./client
        ./embedded
    } > /pgproof/out/answer
    pg_ctl --pgdata data stop
"#;

const EXTENSION_ANSWER: &str = "2|1\n";
const ANSWER: &str = "libpq RELEASE\necpg 42\n";
