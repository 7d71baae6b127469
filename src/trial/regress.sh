# Runs PostgreSQL's own tests of an installed server against an archive's.
#
#   sh regress.sh ARCHIVE VARIABLE…
#
# in the configured sources, what the tests need built. The variables go to make. What pg_regress prints is the result.

archive=$1
shift
bin=$archive/bin
# Beside the sources, and without "..": a test wants a plain path.
data="${PWD%/*}/test server"
read -r token </pgproof/inputs/token
# What the box sets for builds is no condition of a test.
unset LANG LANGUAGE TZ
export LC_ALL=C PGHOST=/tmp PGPORT=54321

"$bin/initdb" -D "$data" -A trust -E UTF8 --no-locale --no-sync || exit 1
printf '%s\n' "port = $PGPORT" "listen_addresses = 'localhost'" "unix_socket_directories = '/tmp'" "fsync = off" \
    "max_prepared_transactions = 10" "wal_level = logical" "log_min_messages = fatal" >>"$data/postgresql.conf"
"$bin/pg_ctl" -D "$data" -l "$data.log" -w -t 120 start || exit 1
printf '\n%s suites\n' "$token"
# One at a time: the tests share a server. The libraries of test programs are the archive's.
MAKEFLAGS= make -k --print-directory installcheck-world bindir="$bin" rpathdir="$archive/lib" "$@" 2>&1
printf '\n%s status %s\n' "$token" $?
"$bin/pg_ctl" -D "$data" -m fast -w -t 120 stop
find . -name regression.diffs -size +0 -exec sh -c 'echo "--- $1"; head -c 1000000 "$1"' - {} \;
exit 0
