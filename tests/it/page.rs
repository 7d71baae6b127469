//! Reports of strangers are shown: what they say never becomes markup, what contradicts itself is refused, and what is left out is
//! counted.

mod browser;
mod markdown;

use pgproof::page::{self, PageError, Report, Run, Said};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Texts that are something else than text to somebody.
pub(crate) const HOSTILE: &[&str] = &[
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=\"window.pwned=2\">",
    "' onmouseover='window.pwned=3' x='",
    "</title></style></script><svg onload=window.pwned=4>",
    "<!-- --><iframe srcdoc=\"<script>parent.pwned=5</script>\">",
    "<meta http-equiv=refresh content=\"0;url=http://192.0.2.1/\">",
    "<base href=\"http://192.0.2.1/\"><form action=/><input autofocus onfocus=window.pwned=6>",
    "javascript:window.pwned=7",
    "&lt;b&gt; &#60;i&#62; &amp;amp;",
    "]]> {{7*7}} ${7*7} <%= 7 %>",
    "gpj\u{202e}exe.\u{2066}x\u{2069}",
    "\u{5d0}\u{5d1} then \u{645}\u{631}",
    "zero\u{200b}width\u{feff}\u{ad}\u{2028}line",
    "bell\u{7}nul\0escape\u{1b}[31m\r\ntab\tend",
    "| --- | `code` ``more`` ```sh",
    "# heading\n\n- item\n\n[link](http://192.0.2.1/) ![image](http://192.0.2.1/) <http://192.0.2.1/> [x]: http://192.0.2.1/",
    "http://192.0.2.1/ www.example.com mail@example.com @everyone #1 GH-1 :tada: $x$ ~~no~~ **no** __no__ \\",
    "  spaces  ",
    "`",
    "\\|",
];

/// A text as it is shown: nothing in it is obeyed or overlooked.
pub(crate) fn shown(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let name = |c: char| match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\0' => "\\0".to_owned(),
        c if hidden(c) => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(name).collect()
}

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn build(label: &str, digit: char) -> Value {
    let name = "postgresql-17.11.0-x86_64-unknown-linux-gnu";
    json!({
        "variation": { "label": label, "hostName": "localhost", "environment": [["TZ", "UTC"]], "cpus": 2 },
        "axes": if label == "shaken" { json!({ "host-name": "held", "clock": { "notHeld": "no libfaketime" } }) } else { json!({}) },
        "walls": ["user-namespace", "network-namespace"],
        "medium": "memory",
        "steps": [
            { "name": "configure", "exit": { "status": 0 }, "elapsedSeconds": 28.5, "cpuSeconds": 15.6, "peakMemory": 106_799_104 },
            { "name": "build", "exit": { "status": 0 }, "elapsedSeconds": 388.8, "cpuSeconds": 434.2, "peakMemory": 306_913_280 },
        ],
        "preparedSeconds": 1.2,
        "elapsedSeconds": 431.9,
        "peakMemory": 1_166_503_936_u64,
        "log": digest('1'),
        "archives": [{ "name": name, "archive": digest(digit), "archiveSize": 40_000_000, "tar": digest(digit), "list": digest(digit), "entries": 3 }],
    })
}

/// A report of two equal builds.
pub(crate) fn reproduced() -> Value {
    json!({
        "version": 1,
        "pgproof": "0.1.0",
        "name": "postgresql-17.11.0-x86_64-unknown-linux-gnu",
        "plan": digest('2'),
        "sysroot": { "name": "bookworm-amd64", "manifest": digest('3') },
        "inputs": [{ "name": "postgresql-17.11.tar.bz2", "digest": digest('4'), "size": 21_563_824 }],
        "verdict": { "reproduced": true },
        "order": "together",
        "builds": [build("plain", 'a'), build("shaken", 'a')],
        "check": { "clean": true, "found": { "parts": [] } },
    })
}

/// A report of two builds in which one file differs, and each text of a stranger is `text`.
pub(crate) fn saying(text: &str) -> Value {
    let mut report = reproduced();
    report["builds"] = json!([build("plain", 'a'), build("shaken", 'b')]);
    report["pgproof"] = json!(text);
    report["builder"] = json!(text);
    let shaken = &mut report["builds"][1];
    shaken["axes"]["clock"]["notHeld"] = json!(text);
    for condition in ["hostName", "domainName", "userName", "groupName", "home", "buildRoot"] {
        shaken["variation"][condition] = json!(text);
    }
    shaken["variation"]["environment"] = json!([["TZ", text], [text, text]]);
    let file = |digit, format: &str| json!({ "kind": "file", "size": 4, "digest": digest(digit), "executable": false, "format": format });
    report["verdict"] = json!({
        "reproduced": false,
        "compared": 3,
        "different": 2,
        "differences": [
            {
                "path": text,
                "changed": { "first": file('5', text), "second": file('6', text) },
                "details": [
                    { "place": text, "first": { "offset": 1, "text": text }, "second": { "offset": 2, "text": "other" } },
                    { "place": text, "first": { "hex": "00ff" }, "second": { "text": text } },
                ],
            },
            { "path": "link", "onlyInSecond": { "kind": "symlink", "target": text } },
        ],
    });
    report["causes"] = json!([{
        "cause": text, "sureness": "likely", "explanation": text, "fixes": [text], "files": [text], "count": 1,
        "consequences": [text], "steps": [text],
    }]);
    let finding = json!({ "file": text, "kind": text, "about": text, "reason": text });
    let part = json!({ "name": "part", "files": 1, "elfFiles": 1, "findings": [finding], "excepted": [finding], "unlisted": 0 });
    report["check"] = json!({ "clean": false, "found": { "parts": [part] } });
    report
}

pub(crate) fn run(report: &Value) -> Run {
    run_of(report, "somebody")
}

pub(crate) fn run_of(report: &Value, rebuilder: &str) -> Run {
    let report = Report::parse(report.to_string().as_bytes()).unwrap();
    Run::of(report, Said::new(rebuilder))
}

fn refused(report: &Value) -> String {
    match Report::parse(report.to_string().as_bytes()) {
        Err(error) => match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {}", source.to_string().split(" at line ").next().unwrap()),
            None => error.to_string(),
        },
        Ok(_) => panic!("a report is taken that cannot be so"),
    }
}

/// The tags of a page, sorted because names are, without those that text may have in it: what isolates it, names a character, marks it or quotes it.
fn skeleton(html: &str) -> Vec<String> {
    let named = regex::Regex::new("<span class=\"named\">[^<>]*</span>").unwrap();
    let tags = regex::Regex::new("<[^<>]*>").unwrap();
    let own = ["<bdi>", "</bdi>", "<mark>", "</mark>", "<code>", "</code>"];
    let html = named.replace_all(html, "");
    let mut tags: Vec<_> = tags.find_iter(&html).map(|tag| tag.as_str().to_owned()).collect();
    tags.retain(|tag| !own.contains(&tag.as_str()));
    tags.sort();
    tags
}

#[test]
fn no_text_changes_the_page_that_it_is_on() {
    let plain = skeleton(&page::html(&[run(&saying("plain"))]));
    assert!(plain.len() > 300, "{plain:?}");
    for text in HOSTILE {
        // Slashes make directories of a path, and so do entries of a tree.
        let text = text.replace('/', "∕");
        let html = page::html(&[run(&saying(&text))]);
        assert_eq!(skeleton(&html), plain, "{text:?}");
    }
}

proptest! {
    #[test]
    fn whatever_a_report_says_the_page_has_the_same_tags(text in "[^/\n\r\u{85}\u{2028}\u{2029}]{1,40}") {
        let plain = skeleton(&page::html(&[run(&saying("plain"))]));
        prop_assert_eq!(skeleton(&page::html(&[run(&saying(&text))])), plain);
    }

    #[test]
    fn nothing_that_is_read_makes_it_panic(
        text in "(\\PC|\n|`|\\||<|/|\u{202e}){0,80}",
        hex in "([0-9a-f]{2}){0,80}",
        offset in any::<u64>(),
        differing in any::<u16>(),
    ) {
        let mut report = saying(&text);
        let first = json!({ "offset": offset, "hex": hex, "differing": [differing, differing / 2], "length": offset });
        report["verdict"]["differences"][0]["details"][1]["first"] = first;
        report["verdict"]["differences"][0]["details"][1]["second"] = json!({ "offset": offset, "hex": "00" });
        let runs = [run(&report), run(&reproduced())];
        prop_assert!(page::html(&runs).ends_with("</html>"));
        prop_assert!(page::markdown(&runs[..1]).len() <= 60_000);
        prop_assert!(page::json(&runs).is_object());
    }
}

#[test]
fn only_the_page_s_own_style_and_script_are_put_in_as_they_are() {
    let files = ["page.rs", "page/html.rs"];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut unescaped = Vec::new();
    let inside = ["page", "page/html"].map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let inside = inside.into_iter().flatten().map(|entry| entry.unwrap().path());
    for path in inside
        .chain(files.map(|file| root.join(file)))
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = text.lines().filter(|line| line.contains("PreEscaped") && !line.starts_with("use ")).count();
        unescaped.extend(std::iter::repeat_n(path.file_name().unwrap().to_owned(), found));
    }
    unescaped.dedup();
    assert_eq!(unescaped, ["html.rs"], "the page's markup is made by one macro, and text of its own by one function");
}

#[test]
fn the_policy_names_the_style_sheet_and_the_script() {
    let html = page::html(&[run(&reproduced())]);
    let policy = html.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = html.split(&format!("<{tag}>")).nth(1).unwrap().split(&format!("</{tag}>")).next().unwrap();
        let digest = pgproof::digest::Digest::of(text.as_bytes());
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest.as_bytes());
        assert!(policy.contains(&format!("{directive} 'sha256-{encoded}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn a_report_that_contradicts_itself_is_refused() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut report = reproduced();
        change(&mut report);
        refused(&report)
    };
    let refusals = [
        with(&|report| report["builds"][1]["archives"][0]["archive"] = json!(digest('f'))),
        with(&|report| report["verdict"]["reproduced"] = json!(false)),
        with(&|report| report["verdict"]["different"] = json!(1)),
        with(&|report| drop(report["builds"].as_array_mut().unwrap().pop())),
        with(&|report| report["builds"][1]["variation"]["label"] = json!("plain")),
        with(&|report| {
            for build in report["builds"].as_array_mut().unwrap() {
                build["archives"] = json!([]);
            }
        }),
        with(&|report| report["version"] = json!(2)),
        with(&|report| report["builds"][0]["elapsedSeconds"] = json!(-1.0)),
        with(&|report| report["plan"] = json!("sha256:0")),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    the report contradicts itself: it says reproduced, and the builds' archives have different digests
    the report contradicts itself: it says not reproduced, and the builds' archives have the same digests
    the report contradicts itself: it lists more differences than it counts
    the report contradicts itself: it has a verdict, and not two builds
    the report contradicts itself: both builds have the same label
    the report contradicts itself: it says reproduced, and there is no archive
    the report has format version 2, this pgproof reads 1
    it is not the report of a build: no build takes that long
    it is not the report of a build: digest "0" is not 64 lower-case hexadecimal digits
    "#);
    let with = |difference: Value| {
        let mut report = saying("x");
        report["verdict"]["differences"][1] = difference;
        refused(&report)
    };
    let directory = json!({ "kind": "directory" });
    let mut too_many = saying("x");
    too_many["verdict"]["compared"] = json!(1);
    assert_eq!(refused(&too_many), "the report contradicts itself: more entries differ than were compared");
    let refusals = [
        with(json!({ "path": "x" })),
        with(json!({ "path": "x", "onlyInFirst": directory, "onlyInSecond": directory })),
        with(json!({ "path": "x", "onlyInFirst": { "kind": "directory", "size": 1 } })),
        with(
            json!({ "path": "x", "onlyInFirst": directory, "details": [{ "place": "p", "first": { "text": "t", "hex": "00" } }] }),
        ),
        with(json!({ "path": "x", "onlyInFirst": directory, "details": [{ "place": "p", "first": { "hex": "0" } }] })),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @"
    it is not the report of a build: an entry has to be in the first build only, in the second only, or changed
    it is not the report of a build: an entry has to be in the first build only, in the second only, or changed
    it is not the report of a build: an entry has fields of another kind of entry
    it is not the report of a build: an excerpt has to be either text or an even number of hexadecimal digits
    it is not the report of a build: an excerpt has to be either text or an even number of hexadecimal digits
    ");
}

#[test]
fn what_no_report_is_is_refused_without_filling_the_memory() {
    let deep = "[".repeat(100_000);
    let many = json!(vec![build("plain", 'a'); 3]);
    let mut crowd = reproduced();
    crowd["builds"] = many;
    for (text, expected) in [
        (String::new(), "EOF while parsing"),
        ("[]".to_owned(), "invalid length 0"),
        (format!("{{\"version\": 1, \"x\": {deep}"), "EOF while parsing a list"),
        (crowd.to_string(), "more than 2 in a list"),
        ("{\"version\": 1, \"version\": 1}".to_owned(), "duplicate field"),
    ] {
        match Report::parse(text.as_bytes()) {
            Err(PageError::Malformed { source }) => assert!(source.to_string().contains(expected), "{source}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_later_pgproof_may_say_more() {
    let mut report = reproduced();
    report["novelty"] = json!({ "deep": [[[{}]]] });
    report["builds"][0]["novelty"] = json!(1);
    assert!(page::html(&[run(&report)]).contains("Reproduced"));
}

#[test]
fn what_is_left_out_is_counted() {
    let mut report = saying("x");
    let file = json!({ "kind": "file", "size": 4, "digest": digest('5'), "executable": false, "format": "text" });
    let difference = |index: usize| {
        let text = format!("{index} {}", "long ".repeat(200));
        json!({ "path": format!("dir/{index:05}"), "onlyInFirst": file, "details": [{ "place": "all", "first": { "text": text } }] })
    };
    report["verdict"]["differences"] = (0..12_000).map(difference).collect();
    report["verdict"]["different"] = json!(15_000);
    report["verdict"]["compared"] = json!(20_000);
    let runs = [run(&report)];
    let html = page::html(&runs);
    assert!(html.len() < 8 << 20, "{}", html.len());
    for told in ["15,000 of 20,000 entries", "the report has the first 12,000", "and 11,000 more", "more that differ"] {
        assert!(html.contains(told), "{told}");
    }
    let markdown = page::markdown(&runs);
    assert!(markdown.len() <= 60_000 && markdown.contains("and 14,960 more"), "{}", &markdown[..4000]);
}

#[test]
fn a_page_of_many_runs_says_who_agrees() {
    let mut other = reproduced();
    for build in other["builds"].as_array_mut().unwrap() {
        build["archives"][0]["archive"] = json!(digest('c'));
    }
    let agreeing = [run_of(&reproduced(), "one"), run_of(&reproduced(), "two"), run_of(&saying("x"), "three")];
    // A report's own word comes before where it lay.
    let markdown = page::markdown(&agreeing);
    assert!(markdown.contains("✅ 2 of 3"), "{markdown}");
    assert!(markdown.contains("2 of 3 runs reproduced"), "{markdown}");
    let disputing = [run_of(&reproduced(), "one"), run_of(&other, "two")];
    let markdown = page::markdown(&disputing);
    assert!(markdown.contains("❌ other digests") && markdown.contains("## ❌ All 2 runs reproduced"), "{markdown}");
    other["plan"] = json!(digest('d'));
    let markdown = page::markdown(&[run_of(&reproduced(), "one"), run_of(&other, "two")]);
    assert!(markdown.contains("| other plans |"), "{markdown}");
}

#[test]
fn json_says_what_was_understood_and_can_be_read_again() {
    let runs = page::json(&[run(&saying("text")), run(&reproduced())]);
    for (again, original) in runs["runs"].as_array().unwrap().iter().zip([saying("text"), reproduced()]) {
        let again = &again["report"];
        Report::parse(again.to_string().as_bytes()).unwrap();
        for part in ["verdict", "causes", "check", "inputs", "plan", "order"] {
            assert_eq!(again[part], original[part], "{part}");
        }
    }
}
