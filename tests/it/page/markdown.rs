//! Markdown of a report is read by what reads it on a forge: nothing that the report says is anything but code.

use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, parse_document};
use proptest::prelude::*;

use super::{HOSTILE, reproduced, run, run_of, saying, shown};
use pgproof::page;

/// GitHub's Markdown with all that it knows beyond the common, and what other forges know beside that.
fn options() -> Options<'static> {
    let mut options = Options::default();
    let extension = &mut options.extension;
    extension.strikethrough = true;
    extension.table = true;
    extension.autolink = true;
    extension.tasklist = true;
    extension.superscript = true;
    extension.footnotes = true;
    extension.math_dollars = true;
    extension.math_code = true;
    extension.alerts = true;
    extension.wikilinks_title_after_pipe = true;
    extension.underline = true;
    extension.spoiler = true;
    extension.header_id_prefix = None;
    options
}

/// What a document consists of, and what is code in it.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// The kinds of its nodes, code and text left out.
    nodes: Vec<String>,
    code: Vec<String>,
    blocks: Vec<String>,
    text: String,
}

fn read(markdown: &str) -> Read {
    fn walk<'a>(node: &'a AstNode<'a>, read: &mut Read) {
        let value = &node.data.borrow().value;
        if let NodeValue::Code(code) = value {
            read.code.push(code.literal.clone());
        } else if let NodeValue::CodeBlock(block) = value {
            read.nodes.push("block".to_owned());
            read.blocks.push(block.literal.clone());
        } else if let NodeValue::Text(text) = value {
            read.text.push_str(text);
        } else {
            let name = format!("{value:?}");
            read.nodes.push(name.split(['(', ' ', '{']).next().unwrap().to_owned());
        }
        for child in node.children() {
            walk(child, read);
        }
    }
    let arena = Arena::new();
    let mut found = Read::default();
    walk(parse_document(&arena, markdown, &options()), &mut found);
    found
}

/// The text as it stands in code: a bar is named, and quotes of a sentence are gone.
fn in_code(text: &str) -> String {
    shown(text).replace('|', "\\u{7c}")
}

#[test]
fn nothing_that_a_report_says_is_anything_but_code() {
    let plain = read(&page::markdown(&[run(&saying("plain"))]));
    assert!(plain.nodes.iter().any(|node| node == "Table") && plain.nodes.len() > 40, "{plain:?}");
    for text in HOSTILE {
        let markdown = page::markdown(&[run(&saying(text))]);
        let found = read(&markdown);
        assert_eq!(found.nodes, plain.nodes, "{text:?}\n{markdown}");
        // Outside of code there is the same, whatever the report says.
        assert_eq!(found.text, plain.text, "{text:?}\n{markdown}");
        let wanted = in_code(text);
        let times = found.code.iter().filter(|code| **code == wanted).count();
        assert!(times >= 6, "{times} times {wanted:?}\n{markdown}");
    }
}

#[test]
fn nothing_in_a_table_of_many_runs_is_either() {
    let table =
        |rebuilder: &str| read(&page::markdown(&[run_of(&reproduced(), rebuilder), run_of(&reproduced(), "zz")]));
    let plain = table("aa");
    for text in HOSTILE {
        let found = table(text);
        // Who is named otherwise may stand in another column.
        let sorted = |nodes: &[String]| nodes.to_vec();
        assert_eq!(sorted(&found.nodes), sorted(&plain.nodes), "{text:?}");
        assert!(found.code.contains(&in_code(text)), "{text:?} {:?}", found.code);
    }
}

proptest! {
    #[test]
    fn whatever_it_says_the_document_is_the_same(text in "([ -~]|\\PC|\n|`){1,60}") {
        let plain = read(&page::markdown(&[run(&saying("plain"))]));
        let found = read(&page::markdown(&[run(&saying(&text))]));
        prop_assert_eq!(found.nodes, plain.nodes);
        prop_assert_eq!(found.text, plain.text);
    }
}

#[test]
fn it_fits_a_comment_and_says_the_verdict_first() {
    let markdown = page::markdown(&[run(&reproduced())]);
    insta::assert_snapshot!(markdown, @r"
    ## ✅ Reproduced: `postgresql-17.11.0-x86_64-unknown-linux-gnu`

    Built twice from inputs pinned by digest, in a box without network, under different conditions. Both builds made the same archives, byte for byte.

    | | |
    |---|---|
    | Plan | `sha256:2222222222222222222222222222222222222222222222222222222222222222` |
    | Root file system | `bookworm-amd64` `sha256:3333333333333333333333333333333333333333333333333333333333333333` |
    | Input | `postgresql-17.11.tar.bz2` `sha256:4444444444444444444444444444444444444444444444444444444444444444` |
    | Conditions | 1 of 19 differed |
    | Time | 7 min 12 s and 7 min 12 s, side by side |
    | Rebuilder | `somebody` |
    | Built by | pgproof `0.1.0` |

    ### Archives

    | Archive | Size | Entries | SHA-256 of the `.tar.gz` |
    |---|--:|--:|---|
    | `postgresql-17.11.0-x86_64-unknown-linux-gnu` | 38.15 MiB | 3 | `sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` |

    ### Conditions that did not differ

    - Date and time: `no libfaketime`

    ### Redo it

    ```sh
    pgproof rebuild --compare 17.11 --target x86_64-unknown-linux-gnu
    echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  postgresql-17.11.0-x86_64-unknown-linux-gnu.tar.gz' | sha256sum --check
    ```
    ");
}
