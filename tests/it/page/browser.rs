//! A page is opened in a real browser, with all that a hostile report can say.

use std::path::{Path, PathBuf};
use std::process::Command;

use pgproof::page::{self, Run};
use serde_json::{Value, json};

use super::{HOSTILE, reproduced, run, run_of, saying, shown};
use crate::gate::{self, Need};

/// What a browser saw of a page. `find` is typed into the field above the tree.
fn look(runs: &[Run], name: &str, find: &str) -> Value {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("page.html");
    std::fs::write(&file, page::html(runs)).unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/browser/look.cjs");
    let output = Command::new("node").arg(script).arg(&file).arg(&directory).env("LOOK_FOR", find).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(directory.join("seen.json")).unwrap()).unwrap()
}

/// What holds of every page.
fn well_behaved(seen: &Value) {
    let nothing = json!([]);
    // Nobody was asked for anything, nothing ran, and the policy had nothing to forbid.
    for what in ["requests", "console", "errors", "dialogs", "violations"] {
        assert_eq!(seen[what], nothing, "{what}");
    }
    assert_eq!((&seen["pwned"], &seen["structure"]["pwned"]), (&Value::Null, &Value::Null));
    let structure = &seen["structure"];
    assert_eq!(structure["scripts"], 1);
    for what in ["handlers", "deadLinks", "duplicateIds"] {
        assert_eq!(structure[what], nothing, "{what}");
    }
    for foreign in ["img", "iframe", "form", "base", "object", "embed", "audio", "video", "b", "i"] {
        assert!(!structure["elements"].as_array().unwrap().contains(&json!(foreign)), "{foreign}");
    }
    let links = structure["links"].as_array().unwrap();
    assert!(links.iter().all(|link| link.as_str().unwrap().starts_with('#') || link == "data:"), "{links:?}");
    // Accessible: one of each landmark, each part named, no heading level left out.
    assert_eq!(structure["landmarks"], json!([1, 1, 1, 1]));
    assert_eq!(structure["unlabelled"], 0);
    let levels: Vec<_> =
        structure["headings"].as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).collect();
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    // WCAG 2.2, success criterion 1.4.3.
    for colours in ["light", "dark", "lightChosen", "darkChosen"] {
        assert!(seen[colours]["worst"]["ratio"].as_f64().unwrap() >= 4.5, "{colours}: {}", seen[colours]);
    }
    assert_eq!(
        (&seen["light"]["page"], &seen["dark"]["page"]),
        (&seen["lightChosen"]["page"], &seen["darkChosen"]["page"])
    );
    assert_ne!(seen["light"]["page"], seen["dark"]["page"]);
    // By keyboard alone.
    assert_eq!(seen["skip"], json!({ "text": "Skip to the verdict", "left": true }));
    assert_eq!((&seen["skipped"], &seen["outline"]), (&json!("main"), &json!("solid")));
    assert_eq!(seen["overflow"], 0, "nothing is cut off on a narrow screen");
    assert!(seen["pdf"]["pages"].as_u64().unwrap() >= 1 && seen["pdf"]["size"].as_u64().unwrap() > 5_000);
    assert_eq!(seen["print"], json!({ "header": false, "sides": true }));
    assert_eq!(seen["withoutScript"]["headline"], structure["headline"]);
}

#[test]
fn what_a_hostile_report_says_is_text_in_a_browser() {
    if !gate::open(Need::Slow) {
        return;
    }
    // Each text in a report of its own would take a browser each: one report says all of them, each as a name and in full.
    let mut report = saying(HOSTILE[0]);
    let huge = "A".repeat(4000);
    let stacked = format!("x{}", "\u{301}".repeat(1500));
    let texts: Vec<_> = HOSTILE.iter().copied().chain([huge.as_str(), stacked.as_str()]).collect();
    let content = json!({ "kind": "symlink", "target": texts[1] });
    let difference = |text: &&str| {
        json!({
            "path": text.replace('/', "∕"), "onlyInSecond": content,
            "details": [{ "place": text, "first": { "text": text }, "second": { "text": "other" } }],
        })
    };
    report["verdict"]["differences"] = texts.iter().map(difference).collect();
    report["verdict"]["different"] = json!(texts.len());
    report["verdict"]["compared"] = json!(texts.len());
    let cause =
        |text: &&str| json!({ "cause": text, "explanation": text, "fixes": [text], "files": [text], "count": 1 });
    report["causes"] = texts.iter().map(cause).collect();
    let finding = |text: &&str| json!({ "file": text, "kind": text, "about": text });
    report["check"]["found"]["parts"][0]["findings"] = texts.iter().map(finding).collect();
    let seen = look(&[run(&report)], "hostile", "SCRIPT");
    well_behaved(&seen);
    let told = &seen["structure"]["texts"];
    let all = |what: &str| -> Vec<String> { serde_json::from_value(told[what].clone()).unwrap() };
    let (mut names, sides, findings) = (all("names"), all("sides"), all("findings"));
    let mut expected: Vec<_> = texts.iter().map(|text| shown(&text.replace('/', "∕"))).collect();
    let lines = |text: &str| text.lines().map(|line| shown(line) + "\n").collect::<String>();
    for text in &texts {
        assert!(findings.iter().any(|finding| finding.starts_with(&shown(text))), "{text:?}\n{findings:#?}");
        assert!(text.len() > 1000 || sides.contains(&lines(text)), "{text:?}\n{sides:#?}");
    }
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(seen["structure"]["headline"], "Not reproduced");
    // What is written is looked for, whatever it is.
    assert_eq!(seen["found"]["told"], "4 found");
    assert_eq!(seen["restored"], true);
    assert_eq!(seen["followed"], json!({ "open": true, "focus": "summary" }));
}

#[test]
fn a_page_is_walked_by_keyboard_and_found_in() {
    if !gate::open(Need::Slow) {
        return;
    }
    let mut report = saying("text");
    let file = json!({ "kind": "file", "size": 4, "digest": format!("sha256:{}", "7".repeat(64)), "executable": true, "format": "text" });
    let paths = [
        "bin/psql",
        "bin/postgres",
        "lib/libpq.so.5",
        "lib/pgxs/src/Makefile.global",
        "share/a",
        "share/b",
        "share/c/d",
    ];
    report["verdict"]["differences"] = paths.iter().map(|path| json!({ "path": path, "onlyInFirst": file })).collect();
    report["verdict"]["different"] = json!(paths.len());
    report["verdict"]["compared"] = json!(paths.len());
    let seen = look(&[run(&report)], "walked", "pgxs/src");
    well_behaved(&seen);
    assert_eq!(
        seen["walk"],
        json!([
            "bin/ 2 differ",
            "ArrowDown: only in the first build",
            "ArrowDown: only in the first build",
            "ArrowUp: only in the first build",
            "ArrowLeft: bin/ 2 differ",
            "ArrowLeft: bin/ 2 differ",
            "ArrowRight: bin/ 2 differ",
            "End: only in the first build",
            "Home: bin/ 2 differ",
        ])
    );
    assert_eq!(seen["found"], json!({ "told": "1 found", "shown": ["lib/", "pgxs/", "src/", "Makefile.global"] }));
    assert_eq!(seen["restored"], true);
}

#[test]
fn many_runs_are_a_matrix_in_a_browser() {
    if !gate::open(Need::Slow) {
        return;
    }
    let runs: Vec<_> =
        HOSTILE.iter().map(|text| run_of(&reproduced(), text)).chain([run(&saying(HOSTILE[0]))]).collect();
    let seen = look(&runs, "matrix", "nothing");
    well_behaved(&seen);
    let columns: Vec<String> = serde_json::from_value(seen["structure"]["texts"]["columns"].clone()).unwrap();
    for text in HOSTILE {
        assert!(columns.contains(&shown(text)), "{text:?}\n{columns:#?}");
    }
    assert_eq!(seen["structure"]["headline"], "20 of 21 runs reproduced");
    assert_eq!(seen["followed"]["open"], true);
}
