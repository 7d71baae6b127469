//! The workflows cannot change what they were given, and run only what is pinned.

use std::path::{Path, PathBuf};
use std::process::Command;

fn workflows() -> Vec<(PathBuf, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let workflows: Vec<_> = paths.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    assert!(!workflows.is_empty());
    workflows
}

/// What is wrong with a workflow, line by line.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("- ");
        if let Some(action) = line.strip_prefix("uses:") {
            let (action, comment) = action.split_once('#').unwrap_or((action, ""));
            let commit = action.trim().split_once('@').map_or("", |(_, commit)| commit);
            let full = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !full || !comment.trim().starts_with('v') {
                faults.push(format!("not pinned by commit with its version in a comment: {line}"));
            }
        }
        if line.contains(": write") || line.contains("write-all") {
            faults.push(format!("may write: {line}"));
        }
    }
    if !text.contains("\npermissions:\n  contents: read\n") {
        faults.push("does not state read-only permissions".to_owned());
    }
    faults
}

#[test]
fn actions_are_pinned_and_may_only_read() {
    for (path, text) in workflows() {
        assert_eq!(faults(&text), [""; 0], "{}", path.display());
    }
}

#[test]
fn a_loose_workflow_is_noticed() {
    let pinned = "on: push\npermissions:\n  contents: read\njobs:\n  - uses: a/b@0123456789012345678901234567890123456789 # v1\n";
    assert_eq!(faults(pinned), [""; 0]);
    for (from, to) in [
        ("@0123456789012345678901234567890123456789", "@v1"),
        (" # v1", ""),
        ("permissions:\n  contents: read\n", ""),
        ("contents: read\n", "contents: read\n  packages: write\n"),
    ] {
        assert_eq!(faults(&pinned.replace(from, to)).len(), 1, "{from:?} as {to:?}");
    }
}

#[test]
fn the_linters_find_nothing() {
    for (linter, arguments) in [("actionlint", &["-no-color"][..]), ("zizmor", &["--offline", "--no-progress"])] {
        let mut command = Command::new(linter);
        command.args(arguments);
        command.args(workflows().into_iter().map(|(path, _)| path));
        match command.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                assert!(output.status.success(), "{linter}: {said}");
            }
            // Those who run `tests/run` have both.
            Err(error) => eprintln!("not run: {linter}: {error}"),
        }
    }
}
