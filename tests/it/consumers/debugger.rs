//! gdb finds the debug symbols of the archive's programs.

use std::path::Path;
use std::process::Command;

use super::Dist;

#[test]
fn gdb_finds_debug_symbols() {
    Dist::of_environment().iter().for_each(check);
}

pub(super) fn check(dist: &Dist) {
    let directory = tempfile::tempdir().unwrap();
    let [bare, whole, apart] = ["bare", "whole", "apart"].map(|name| directory.path().join(name));
    dist.unpack(&[""], &bare);
    dist.unpack(&["", "-debug"], &whole);
    dist.unpack(&["-debug"], &apart);

    // Unpacked over the programs, through the link beside each.
    let sources = format!("/usr/src/postgresql-{}", dist.release());
    let backend = asked(
        &whole.join("bin/postgres"),
        &[],
        &["info line exec_simple_query", "list exec_simple_query,+1", "info source"],
    );
    assert!(backend.contains("of \"postgres.c\" starts at address"), "{backend}");
    assert!(backend.contains(&format!("Compilation directory is {sources}/src/backend/tcop")), "{backend}");
    for (file, question, source) in [
        ("bin/psql", "info line main", "startup.c"),
        ("lib/libpq.so.5", "info line PQconnectdb", "fe-connect.c"),
        ("lib/pgcrypto.so", "info line pg_digest", "pgcrypto.c"),
    ] {
        let answer = asked(&whole.join(file), &[], &[question]);
        assert!(answer.contains(&format!("of \"{source}\" starts at address")), "{file}: {answer}");
    }

    // Anywhere else, through the build id.
    let found = format!("set debug-file-directory {}", apart.join("lib/debug").display());
    let backend = asked(&bare.join("bin/postgres"), &[&found], &["info line exec_simple_query"]);
    assert!(backend.contains("of \"postgres.c\" starts at address"), "{backend}");

    // And not at all without them: it was not the programs themselves that had them.
    let backend = asked(&bare.join("bin/postgres"), &[], &["info line exec_simple_query"]);
    assert!(!backend.contains("postgres.c"), "{backend}");

    // Sources that lie elsewhere are found by their compilation directory.
    let elsewhere = directory.path().join("sources");
    let tcop = elsewhere.join("src/backend/tcop");
    std::fs::create_dir_all(&tcop).unwrap();
    std::fs::write(tcop.join("postgres.c"), "/* a line of the source */\n".repeat(6000)).unwrap();
    let substitute = format!("set substitute-path {sources} {}", elsewhere.display());
    let backend = asked(&whole.join("bin/postgres"), &[&substitute], &["list exec_simple_query"]);
    assert!(backend.contains("/* a line of the source */"), "{backend}");
}

/// What gdb answers about a program, with what it is told before it reads it.
fn asked(program: &Path, before: &[&str], questions: &[&str]) -> String {
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--nx", "-iex", "set debuginfod enabled off"]);
    gdb.args(before.iter().flat_map(|command| ["-iex", command]));
    gdb.args(questions.iter().flat_map(|question| ["-ex", question])).arg(program);
    // A question that cannot be answered is no failure of gdb: the answers are looked at.
    let output = gdb.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
