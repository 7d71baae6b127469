//! Reports that builds have left are shown.

use super::scene::Scene;
use crate::gate::{self, Need};

#[test]
fn a_failed_rebuild_becomes_a_page_with_all_files() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.write_script("mkdir -p /pgproof/out/etc && cd /pgproof/out/etc && hostname > host && echo same > '<img src=x>' && echo same > 'a b'");
    scene.run(&["rebuild", "--compare", "--quiet", "--no-check", "--plan", "plan.json"]);
    let report = "dist/hello-1.0.report.json";
    let ran = scene.run(&["report", report, "--out", "page.html"]);
    assert_eq!(ran.code, Some(0), "{}", ran.seen());
    let page = std::fs::read_to_string(scene.path("page.html")).unwrap();
    // What is equal is known from the store, where both builds' lists are: nothing was published.
    for told in ["Not reproduced", "localhost", ">host</span>", "&lt;img src=x&gt;", ">a b</span>", "Only what differs"]
    {
        assert!(page.contains(told), "{told}\n{page}");
    }
    assert!(!page.contains("<img"));
    let markdown = scene.run(&["report", report, "--format", "markdown"]);
    assert!(markdown.stdout.contains("## ❌ Not reproduced: `hello-1.0`"), "{}", markdown.seen());
    assert!(markdown.stdout.contains("Rebuilder | `dist`"), "{}", markdown.seen());
    let json = scene.run(&["report", report, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["runs"][0]["report"]["verdict"]["reproduced"], false);
}

#[test]
fn the_lists_beside_a_report_are_used_only_if_they_are_its_own() {
    if !gate::open(Need::Sandbox) {
        return;
    }
    let scene = Scene::new();
    scene.run(&["rebuild", "--compare", "--quiet", "--plan", "plan.json"]).fine();
    let shown = || {
        // Another store, which has nothing.
        let words = ["--store", "empty", "report", "dist/hello-1.0.report.json"];
        let ran = scene.run(&words);
        assert_eq!(ran.code, Some(0), "{}", ran.seen());
        assert!(!scene.path("empty").exists(), "no store is made for a page");
        ran.stdout
    };
    assert!(shown().contains(">greetings.list</span>"));
    let list = scene.path("dist/hello-1.0.files");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("greetings.list", "greetings.lost")).unwrap();
    let page = shown();
    assert!(!page.contains("greetings") && page.contains("Reproduced"), "{page}");
}

#[test]
fn what_is_no_report_is_said_to_be_none() {
    let scene = Scene::new();
    std::fs::write(scene.path("words.json"), "no report").unwrap();
    std::fs::write(scene.path("lie.json"), "{\"version\": 1}").unwrap();
    let seen: String =
        [&["report"][..], &["report", "missing.json"], &["report", "words.json"], &["report", "lie.json"]]
            .map(|words| {
                let ran = scene.run(words);
                format!("{} {}\n", words.join(" "), ran.seen())
            })
            .concat();
    insta::assert_snapshot!(seen, @"
    report error: the following required arguments were not provided:
      <REPORT>...

    Usage: pgproof report --store <DIR> --definitions <DIR> --mirror <URL> <REPORT>...

    For more information, try '--help'.
    exit 2
    report missing.json error: cannot show the report
      because missing.json cannot be read
      because No such file or directory (os error 2)
    exit 6
    report words.json error: cannot show the report
      because words.json cannot be shown
      because it is not the report of a build
      because expected ident at line 1 column 2
    exit 3
    report lie.json error: cannot show the report
      because lie.json cannot be shown
      because it is not the report of a build
      because missing field `pgproof` at line 1 column 14
    exit 3
    ");
}
