# Tests a PostgreSQL archive with nothing but a POSIX shell's own words and the programs under test.
#
#   sh smoke.sh ARCHIVE [OLDER]
#
# Lists of what to test lie in /pgproof/inputs, one name a line. What this prints on lines that begin with the token is the
# result; all other lines are what the programs printed. The checks' names are known to the reader beforehand.

inputs=/pgproof/inputs
archive=$1
older=$2
here=$PWD
bin=$archive/bin
read -r token <"$inputs/token"
passed=' '

say() {
    printf '\n%s %s\n' "$token" "$*"
}

uptime() {
    read -r now rest </proc/uptime
    now=${now%.*}${now#*.}
}

# check NAME COMMAND…: whatever it does, what follows is run.
check() {
    current=$1
    shift
    say "begin $current"
    uptime
    started=$now
    (
        exec 2>&1 </dev/null
        set -e
        "$@"
    )
    status=$?
    uptime
    case $status in
    0) outcome=passed passed="$passed$current " ;;
    77) outcome=skipped ;;
    *) outcome=failed ;;
    esac
    say "end $current $outcome $((now - started))"
}

skip() {
    say "reason $*"
    exit 77
}

# Whether a check passed, for those that make no sense without it.
has() {
    case $passed in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

fail() {
    printf '%s\n' "$*"
    exit 1
}

# is WHAT WANTED FOUND
is() {
    [ "$2" = "$3" ] || fail "$1 is '$3', not '$2'"
}

contains() {
    case $2 in *"$1"*) ;; *) fail "'$1' is not in: $2" ;; esac
}

since() {
    [ "$major" -ge "$1" ] || skip "this came with PostgreSQL $1"
}

copy() {
    while IFS= read -r line; do printf '%s\n' "$line"; done <"$1" >"$2"
}

main_port=54321 second_port=54322 standby_port=54323
main="$here/main server"
second="$here/second server"
standby="$here/standby server"
export PGHOST=/tmp PGPORT=$main_port PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=20
# What the box sets for builds is no condition of a test.
unset LC_ALL LANG LANGUAGE TZ PGOPTIONS
export LC_ALL=C.UTF-8

sql() {
    PGOPTIONS='-c statement_timeout=120s' "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# value SQL: what it gives.
value() {
    sql -c "$1"
}

# until_true SQL: asks again and again for a minute.
until_true() {
    tries=0
    while [ "$(value "$1")" != t ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "never became true: $1"
        value "SELECT pg_sleep(0.2)" >/dev/null
    done
}

start() {
    "$bin/pg_ctl" -D "$1" -l "$1.log" -w -t 120 start || {
        while IFS= read -r line; do printf '%s\n' "$line"; done <"$1.log"
        return 1
    }
}

stop() {
    "$bin/pg_ctl" -D "$1" -m fast -w -t 120 stop
}

# configure DIRECTORY PORT
configure() {
    printf '%s\n' "port = $2" "listen_addresses = '127.0.0.1'" "unix_socket_directories = '/tmp'" \
        "wal_level = logical" "max_connections = 40" "password_encryption = 'scram-sha-256'" "hot_standby = on" \
        "log_min_messages = warning" >>"$1/postgresql.conf"
    printf '%s\n' "local all all trust" "local replication all trust" \
        "hostssl all secret 127.0.0.1/32 scram-sha-256" "host all secret 127.0.0.1/32 scram-sha-256" \
        "host all postgres 127.0.0.1/32 trust" "host replication postgres 127.0.0.1/32 trust" >"$1/pg_hba.conf"
}

# --- What needs no server -------------------------------------------------------------------------------------------------

program() {
    "$bin/$1" --help >"$here/help" || {
        status=$?
        while IFS= read -r line; do printf '%s\n' "$line"; done <"$here/help"
        return $status
    }
    IFS= read -r line <"$here/help" || fail "$1 --help prints nothing"
}

version() {
    said=$("$bin/postgres" --version)
    printf '%s\n' "$said"
    case $said in "postgres (PostgreSQL) "[1-9]*) ;; *) fail "this is no version of PostgreSQL" ;; esac
    if [ -e "$inputs/version" ]; then
        read -r wanted <"$inputs/version"
        found=${said#postgres (PostgreSQL) }
        is "the version" "$wanted" "${found%% *}"
    fi
}

read_only() {
    if (: >"$archive/pgproof") 2>/dev/null; then fail "the archive can be written to"; fi
}

pg_config() {
    for option in bindir libdir pkglibdir sharedir includedir pkgincludedir includedir-server sysconfdir pgxs; do
        found=$("$bin/pg_config" --$option)
        case $found in "$archive"/*) ;; *) fail "--$option is '$found', outside of '$archive'" ;; esac
        case $option in
        bindir | libdir | pkglibdir | sharedir | includedir-server) [ -d "$found" ] || fail "--$option: no '$found'" ;;
        pgxs) [ -e "$found" ] || fail "--$option: no '$found'" ;;
        esac
    done
    contains "PostgreSQL $major" "$("$bin/pg_config" --version)"
}

# --- A server -------------------------------------------------------------------------------------------------------------

initdb_libc() {
    provider=
    [ "$major" -lt 15 ] || provider=--locale-provider=libc
    "$bin/initdb" -D "$main" -U postgres -A trust -E UTF8 --locale=C.UTF-8 $provider --data-checksums --no-sync
    configure "$main" $main_port
}

initdb_icu() {
    since 15
    "$bin/initdb" -D "$second" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=de-DE \
        --no-sync
    configure "$second" $second_port
}

# Before 15 there is no ICU for whole databases, and the second server has none.
initdb_second() {
    [ "$major" -lt 15 ] || skip "the server with ICU is the second one"
    "$bin/initdb" -D "$second" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync
    configure "$second" $second_port
}

server_version() {
    found=$(value "SHOW server_version")
    contains "PostgreSQL) ${found%% *}" "$("$bin/postgres" --version)"
}

encoding() {
    is server_encoding UTF8 "$(value "SHOW server_encoding")"
    is lc_collate C.UTF-8 "$(value "SELECT datcollate FROM pg_database WHERE datname = 'template1'")"
    is upper 'ÄÖÉŻ' "$(value "SELECT upper('äöéż')")"
}

time_zones() {
    is "Berlin in summer" "2024-07-01 14:00:00+02" \
        "$(value "SET timezone = 'Europe/Berlin'; SELECT timestamptz '2024-07-01 12:00:00+00'")"
    is "Berlin in winter" "2024-01-01 13:00:00+01" \
        "$(value "SET timezone = 'Europe/Berlin'; SELECT timestamptz '2024-01-01 12:00:00+00'")"
    is "Apia's missing day" "2011-12-31 00:00:00+14" \
        "$(value "SET timezone = 'Pacific/Apia'; SELECT timestamptz '2011-12-30 10:00:00+00'")"
    is abbreviation "2024-07-01 16:00:00+00" "$(value "SET timezone = 'UTC'; SELECT timestamptz '2024-07-01 12:00 EDT'")"
    is "more than 500 time zones" t "$(value "SELECT count(*) > 500 FROM pg_timezone_names")"
}

jit() {
    is sum 500500 "$(value "SET jit = on; SET jit_above_cost = 0; SELECT sum(n) FROM generate_series(1, 1000) n")"
}

text_search() {
    is english "'brown':3 'fox':4 'jump':5 'quick':2" "$(value "SELECT to_tsvector('english', 'The quick brown foxes jumped')")"
    is german "'haus':2 'schon':1" "$(value "SELECT to_tsvector('german', 'schöne Häuser')")"
    is match t "$(value "SELECT to_tsvector('english', 'databases') @@ to_tsquery('english', 'database')")"
}

icu_collation() {
    value "CREATE COLLATION phonebook (provider = icu, locale = 'de-u-co-phonebk');
        CREATE COLLATION numeric (provider = icu, locale = 'en-u-kn-true')"
    is phonebook "Ad Äd Af" \
        "$(value "SELECT string_agg(w, ' ' ORDER BY w COLLATE phonebook) FROM unnest('{Af,Äd,Ad}'::text[]) w")"
    is numeric "a2 a10" "$(value "SELECT string_agg(w, ' ' ORDER BY w COLLATE numeric) FROM unnest('{a10,a2}'::text[]) w")"
    is "a < B" t "$(value "SELECT 'a' < 'B' COLLATE \"en-x-icu\"")"
    is "a < B in C" f "$(value "SELECT 'a' < 'B' COLLATE \"C\"")"
}

icu_database() {
    start "$second"
    [ "$major" -lt 15 ] || is order "a ä B z" \
        "$(PGPORT=$second_port value "SELECT string_agg(w, ' ' ORDER BY w) FROM unnest('{z,ä,B,a}'::text[]) w")"
}

xml() {
    is xpath "{1,2}" "$(value "SELECT xpath('//b/text()', xmlparse(document '<a><b>1</b><b>2</b></a>'))")"
    is malformed f "$(value "SELECT xml_is_well_formed_document('<a>')")"
}

toast() {
    since 14
    is compression lz4 "$(value "SET default_toast_compression = lz4; CREATE TABLE toast_lz4 (x text);
        INSERT INTO toast_lz4 SELECT string_agg(n::text, ' ') FROM generate_series(1, 20000) n;
        SELECT pg_column_compression(x) FROM toast_lz4")"
    is content "$(value "SELECT md5(string_agg(n::text, ' ')) FROM generate_series(1, 20000) n")" \
        "$(value "SELECT md5(x) FROM toast_lz4")"
}

wal_compression() {
    since 15
    for method in lz4 zstd; do
        value "ALTER SYSTEM SET wal_compression = $method"
        value "SELECT pg_reload_conf()" >/dev/null
        until_true "SELECT current_setting('wal_compression') = '$method'"
        value "CHECKPOINT; CREATE TABLE wal_$method AS SELECT n FROM generate_series(1, 20000) n; CHECKPOINT;
            UPDATE wal_$method SET n = n + 1"
    done
}

# --- Extensions and modules -----------------------------------------------------------------------------------------------

# in_database COMMAND: in a database of its own; what is missing of an interpreter is nothing the archive should have.
in_extensions() {
    if said=$(sql -d extensions -c "$1" 2>&1); then return 0; fi
    printf '%s\n' "$said"
    case $said in
    *libperl*"cannot open shared object file"* | *libpython*"cannot open shared object file"* | \
        *libtcl*"cannot open shared object file"*)
        skip "needs the host's interpreter"
        ;;
    esac
    return 1
}

extension() {
    in_extensions "CREATE EXTENSION IF NOT EXISTS \"$1\" CASCADE"
}

module() {
    in_extensions "LOAD '$1'"
}

# uses EXTENSION
uses() {
    while IFS= read -r name; do
        [ "$name" != "$1" ] || return 0
    done <"$inputs/extensions"
    skip "the archive does not have $1"
}

pgcrypto() {
    uses pgcrypto
    is sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad \
        "$(sql -d extensions -c "SELECT encode(digest('abc', 'sha256'), 'hex')")"
    is aes "secret" "$(sql -d extensions -c "SELECT pgp_sym_decrypt(pgp_sym_encrypt('secret', 'key', 'cipher-algo=aes256'), 'key')")"
    is crypt t "$(sql -d extensions -c "SELECT crypt('a', h) = h FROM crypt('a', gen_salt('bf', 4)) h")"
}

uuid_ossp() {
    uses uuid-ossp
    is "version 5" 2ed6657d-e927-568b-95e1-2665a8aea6a2 \
        "$(sql -d extensions -c "SELECT uuid_generate_v5(uuid_ns_dns(), 'www.example.com')")"
    is "version 1" 1 "$(sql -d extensions -c "SELECT substr(uuid_generate_v1()::text, 15, 1)")"
}

xslt() {
    uses xml2
    is transformed "<b>1</b>" "$(sql -d extensions -c "SELECT xslt_process('<a>1</a>',
        '<xsl:stylesheet version=\"1.0\" xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\"><xsl:output
        omit-xml-declaration=\"yes\" indent=\"no\"/><xsl:template match=\"/\"><b><xsl:value-of select=\"a\"/></b></xsl:template>
        </xsl:stylesheet>')")"
}

# --- Dumps ----------------------------------------------------------------------------------------------------------------

prepare_dump() {
    value "CREATE DATABASE dumped"
    sql -d dumped -c "CREATE TABLE words (id int PRIMARY KEY, word text NOT NULL);
        INSERT INTO words SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
        CREATE INDEX ON words (word); CREATE VIEW few AS SELECT * FROM words WHERE id < 10"
}

# dump FORMAT OPTION…: there and back.
dump() {
    name=$1
    shift
    "$bin/pg_dump" "$@" -f "$here/$name.dump" dumped
    "$bin/createdb" "$name"
    "$bin/pg_restore" -e -d "$name" "$here/$name.dump"
    for query in "SELECT md5(string_agg(word, ',' ORDER BY id)) FROM words" "SELECT count(*) FROM few"; do
        is "$query" "$(sql -d dumped -c "$query")" "$(sql -d "$name" -c "$query")"
    done
}

dump_new() {
    since 16
    dump "$@"
}

dump_plain() {
    "$bin/pg_dump" -f "$here/plain.sql" dumped
    "$bin/createdb" plain
    sql -d plain -f "$here/plain.sql"
    is rows 5000 "$(sql -d plain -c "SELECT count(*) FROM words")"
    "$bin/pg_dumpall" -f "$here/all.sql"
}

# --- Connections ----------------------------------------------------------------------------------------------------------

scram() {
    value "CREATE ROLE secret LOGIN PASSWORD 'right horse'"
    is "who logged in" secret "$(PGHOST=127.0.0.1 PGUSER=secret PGPASSWORD='right horse' value "SELECT current_user")"
    if said=$(PGHOST=127.0.0.1 PGUSER=secret PGPASSWORD='wrong horse' value "SELECT 1" 2>&1); then
        fail "the wrong password is accepted"
    fi
    contains "password authentication failed" "$said"
}

tls() {
    umask 077
    copy "$inputs/server.crt" "$main/server.crt"
    copy "$inputs/server.key" "$main/server.key"
    umask 022
    copy "$inputs/authority.crt" "$here/authority.crt"
    copy "$inputs/stranger.crt" "$here/stranger.crt"
    value "ALTER SYSTEM SET ssl = on"
    value "SELECT pg_reload_conf()" >/dev/null
    until_true "SELECT current_setting('ssl') = 'on'"
    at="host=localhost hostaddr=127.0.0.1 port=$main_port dbname=postgres sslmode=verify-full"
    query="SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    is pg_stat_ssl "t|TLSv1.3" "$(sql -d "$at user=postgres sslrootcert='$here/authority.crt'" -c "$query")"
    is "the older protocol" "t|TLSv1.2" \
        "$(sql -d "$at user=postgres ssl_max_protocol_version=TLSv1.2 sslrootcert='$here/authority.crt'" -c "$query")"
    if said=$(sql -d "$at user=postgres sslrootcert='$here/stranger.crt'" -c "SELECT 1" 2>&1); then
        fail "a certificate of another authority is accepted"
    fi
    contains "certificate verify failed" "$said"
    if said=$(sql -d "host=elsewhere.example hostaddr=127.0.0.1 port=$main_port dbname=postgres user=postgres
        sslmode=verify-full sslrootcert='$here/authority.crt'" -c "SELECT 1" 2>&1); then
        fail "a certificate of another host is accepted"
    fi
    contains "does not match host name" "$said"
}

# Bound to the channel, so that both sides' OpenSSL have to agree on the certificate's hash.
channel_binding() {
    is "who logged in" secret "$(PGPASSWORD='right horse' sql -d "host=localhost hostaddr=127.0.0.1 port=$main_port
        dbname=postgres user=secret sslmode=verify-full sslrootcert='$here/authority.crt' channel_binding=require" \
        -c "SELECT current_user")"
}

# method NAME LINE: whether the server knows it, not whether anybody can log in.
method() {
    printf '%s\n' "$2" >>"$main/pg_hba.conf"
    value "SELECT pg_reload_conf()" >/dev/null
    is "the line's error" "" "$(value "SELECT string_agg(error, ', ') FROM pg_hba_file_rules WHERE auth_method IS NOT DISTINCT FROM '$1'
        OR error LIKE '%$1%'")"
    is "the line is there" t "$(value "SELECT count(*) > 0 FROM pg_hba_file_rules WHERE auth_method = '$1'")"
}

# --- Load, backups, replication -------------------------------------------------------------------------------------------

bench() {
    "$bin/createdb" bench
    "$bin/pgbench" -i -q -s 2 bench
    "$bin/pgbench" -T 3 -c 4 -j 2 bench
    is balance 0 "$(sql -d bench -c "SELECT (SELECT sum(abalance) FROM pgbench_accounts) - (SELECT sum(delta) FROM pgbench_history)")"
    "$bin/pgbench" -T 1 -c 2 -S -M prepared bench
}

base_backup() {
    "$bin/pg_basebackup" -D "$standby" -R -X stream -c fast --no-sync
    "$bin/pg_verifybackup" "$standby"
}

backup_server_side() {
    since 15
    "$bin/pg_basebackup" -D "$here/backup $1" -Ft --compress="server-$1" -X fetch -c fast --no-sync
    [ -s "$here/backup $1/base.tar.$2" ] || fail "there is no base.tar.$2"
}

# Decompressed by the client, which has the library too.
backup_extracted() {
    since 15
    "$bin/pg_basebackup" -D "$here/extracted $1" -Fp --compress="server-$1" -X stream -c fast --no-sync
    "$bin/pg_verifybackup" "$here/extracted $1"
}

streaming() {
    printf '%s\n' "port = $standby_port" >>"$standby/postgresql.conf"
    start "$standby"
    is "in recovery" t "$(PGPORT=$standby_port value "SELECT pg_is_in_recovery()")"
    value "CREATE TABLE streamed AS SELECT n FROM generate_series(1, 1000) n"
    PGPORT=$standby_port until_true "SELECT to_regclass('streamed') IS NOT NULL"
    PGPORT=$standby_port until_true "SELECT count(*) = 1000 FROM streamed"
    is streaming streaming "$(value "SELECT state FROM pg_stat_replication WHERE application_name = 'walreceiver'")"
}

promote() {
    "$bin/pg_ctl" -D "$standby" -w -t 120 promote
    PGPORT=$standby_port value "INSERT INTO streamed VALUES (1001)"
    stop "$standby"
}

logical() {
    value "CREATE TABLE logical (id int PRIMARY KEY, word text); INSERT INTO logical VALUES (1, 'before');
        CREATE PUBLICATION everything FOR TABLE logical"
    PGPORT=$second_port value "CREATE TABLE logical (id int PRIMARY KEY, word text)"
    PGPORT=$second_port value "CREATE SUBSCRIPTION mine CONNECTION
        'host=127.0.0.1 port=$main_port user=postgres dbname=postgres' PUBLICATION everything"
    value "INSERT INTO logical VALUES (2, 'after'); UPDATE logical SET word = 'changed' WHERE id = 1"
    PGPORT=$second_port until_true "SELECT string_agg(word, ' ' ORDER BY id) IS NOT DISTINCT FROM 'changed after' FROM logical"
    PGPORT=$second_port value "DROP SUBSCRIPTION mine"
}

amcheck() {
    since 14
    "$bin/pg_amcheck" --all --install-missing
}

# --- The end --------------------------------------------------------------------------------------------------------------

clean_stop() {
    for server in "$main" "$second" "$standby"; do
        [ ! -e "$server/postmaster.pid" ] || stop "$server"
    done
    for process in /proc/[0-9]*; do
        read -r line 2>/dev/null <"$process/stat" || continue
        case $line in *"(postgres)"*) fail "a process is left: $line" ;; esac
    done
    left=
    while read -r line; do left=$line; done </proc/sysvipc/shm
    case $left in *key*) ;; *) fail "shared memory is left: $left" ;; esac
    for file in /dev/shm/*; do
        [ ! -e "$file" ] || fail "shared memory is left: $file"
    done
    contains "shut down" "$("$bin/pg_controldata" -D "$main")"
}

checksums() {
    "$bin/pg_checksums" --check -D "$main"
}

upgrade() {
    [ -n "$older" ] || skip "no older archive was given"
    "$older/bin/initdb" -D "$here/older server" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync
    provider=
    [ "$major" -lt 15 ] || provider=--locale-provider=libc
    "$bin/initdb" -D "$here/newer server" -U postgres -A trust -E UTF8 --locale=C.UTF-8 $provider --data-checksums --no-sync
    "$bin/pg_upgrade" --check -U postgres -b "$older/bin" -B "$bin" -d "$here/older server" -D "$here/newer server" -s /tmp
}

# --- In this order --------------------------------------------------------------------------------------------------------

while IFS= read -r name; do
    check "program:$name" program "$name"
done <"$inputs/programs"
check version version
has version || exit 0
found=$("$bin/postgres" --version)
major=${found#postgres (PostgreSQL) }
major=${major%%[!0-9]*}
say "version ${found#postgres (PostgreSQL) }"
check read-only read_only
check pg-config pg_config
check upgrade-check upgrade

check initdb-c-utf8 initdb_libc
has initdb-c-utf8 || exit 0
check start start "$main"
has start || exit 0
check server-version server_version
check encoding encoding
check time-zones time_zones
check jit jit
check text-search text_search
check icu-collation icu_collation
check xml xml
check toast-lz4 toast
check wal-compression wal_compression

check extensions-database "$bin/createdb" extensions
if has extensions-database; then
    while IFS= read -r name; do
        check "extension:$name" extension "$name"
    done <"$inputs/extensions"
    while IFS= read -r name; do
        check "module:$name" module "$name"
    done <"$inputs/modules"
    check pgcrypto pgcrypto
    check uuid-ossp uuid_ossp
    check xslt xslt
fi

check dump-database prepare_dump
if has dump-database; then
    check dump-plain dump_plain
    check dump-gzip dump gzip -Fc -Z 6
    check dump-directory dump directory -Fd -j 2
    check dump-lz4 dump_new lz4 -Fc --compress=lz4
    check dump-zstd dump_new zstd -Fc --compress=zstd
fi

check scram scram
check tls tls
if has scram && has tls; then check channel-binding channel_binding; fi
check auth-gss method gss "host all gss 127.0.0.1/32 gss"
check auth-ldap method ldap "host all ldap 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapbasedn=\"dc=example\""
check auth-pam method pam "host all pam 127.0.0.1/32 pam"

check pgbench bench
check base-backup base_backup
if has base-backup; then
    check streaming-replication streaming
    if has streaming-replication; then check promote promote; fi
fi
check backup-gzip backup_server_side gzip gz
check backup-lz4 backup_server_side lz4 lz4
check backup-zstd backup_server_side zstd zst
check backup-extract-lz4 backup_extracted lz4
check backup-extract-zstd backup_extracted zstd

check initdb-icu initdb_icu
check initdb-second initdb_second
if has initdb-icu || has initdb-second; then
    check second-server icu_database
    if has second-server; then check logical-replication logical; fi
fi
check amcheck amcheck
check clean-stop clean_stop
if has clean-stop; then check checksums checksums; fi
exit 0
