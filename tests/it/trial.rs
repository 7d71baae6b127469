//! PostgreSQL's own tests are counted as they print themselves.

use pgproof::trial::{Suite, Tests};

const TOKEN: &str = "pgproof-0123";

fn read(log: &str) -> Tests {
    Tests::read(log.as_bytes(), TOKEN).unwrap()
}

fn suite(name: &str, passed: usize, skipped: usize, failed: &[&str]) -> Suite {
    Suite { name: name.to_owned(), passed, skipped, failed: failed.iter().map(|name| (*name).to_owned()).collect() }
}

#[test]
fn tests_are_counted_as_newer_releases_print_them() {
    let tests = read(
        "ok 1         - too_early                                 10 ms\n\
        pgproof-0123 suites\n\
        make[1]: Entering directory '/build/postgresql-17.11/src/test'\n\
        make[2]: Entering directory '/build/postgresql-17.11/src/test/regress'\n\
        # using postmaster on /tmp, port 54321\n\
        ok 1         - test_setup                                383 ms\n\
        # parallel group (2 tests):  boolean char\n\
        ok 2         + boolean                                    38 ms\n\
        not ok 3     + char                                       20 ms\n\
        ok 4         - random                                     20 ms # SKIP\n\
        ok whatever this is\n\
        1..4\n\
        # 1 of 4 tests failed.\n\
        make[2]: Leaving directory '/build/postgresql-17.11/src/test/regress'\n\
        make[1]: Leaving directory '/build/postgresql-17.11/src/test'\n\
        make[1]: Entering directory '/build/postgresql-17.11/contrib/hstore'\n\
        ok 1         - hstore                                     90 ms\n\
        make[1]: Leaving directory '/build/postgresql-17.11/contrib/hstore'\n\
        pgproof-0123 status 2\n\
        ok 2         - too_late_for_nothing                        1 ms\n",
    );
    assert_eq!(tests.suites, [suite("src/test/regress", 2, 1, &["char"]), suite("contrib/hstore", 1, 0, &[])]);
    assert_eq!(tests.status, Some(2));
}

#[test]
fn tests_are_counted_as_older_releases_print_them() {
    let tests = read(
        "pgproof-0123 suites\n\
        make[2]: Entering directory '/build/postgresql-13.16/src/test/regress'\n\
        ============== running regression test queries        ==============\n\
        test tablespace                   ... ok          277 ms\n\
        parallel group (3 tests):  boolean char random\n\
        \x20    boolean                      ... ok           38 ms\n\
        \x20    char                         ... FAILED       38 ms\n\
        test random                       ... failed (ignored)       20 ms\n\
        configure: checking whether ... ok\n\
        pgproof-0123 status 0\n",
    );
    assert_eq!(tests.suites, [suite("src/test/regress", 2, 1, &["char"])]);
    assert_eq!(tests.status, Some(0));
}

#[test]
fn what_is_no_result_counts_for_nothing() {
    let log = format!(
        "pgproof-0124 suites\nok 1 - forged 1 ms\n{TOKEN} status 0\n{TOKEN} suites\nok\nok 1\nok 1 -\nok one - name 1 ms\n\
        not ok\ntest  ... ok\ntest a b ... ok\n ... ok\n{}\n: Entering directory '\n{TOKEN} status 999\n{TOKEN} status 1\n",
        "ok 1 - ".repeat(2000),
    );
    let tests = read(&log);
    assert!(tests.suites.len() <= 1, "{:?}", tests.suites);
    // The first answer counts.
    assert_eq!(tests.status, Some(0));
    assert_eq!(read("").status, None);
}
