//! The page: its frame, and what all parts of it share.
//!
//! # Why
//!
//! The style sheet and the script are constants, and the content security policy names both by their digests: were a report's
//! text ever taken for markup, no browser would run it, or ask anybody for anything. Nothing is styled by attributes,
//! which the policy forbids too; the bars of the time lines are SVG. The colours follow the reader's system until
//! they choose otherwise, and that choice, like all that opens and closes, needs no script.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Run;
use super::mood::Mood;
use crate::digest::Digest;

mod archives;
mod builds;
mod conditions;
mod sides;
mod differences;
mod files;
mod matrix;
mod run;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// The page of all runs.
pub(super) fn document(runs: &[Run]) -> String {
    let (mood, body) = match runs {
        [run] => (Mood::of(&run.report), run::alone(run)),
        runs => matrix::all(runs),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content={ "pgproof " (env!("CARGO_PKG_VERSION")) };
                title { (body.title) }
                link rel="icon" href=(icon(mood));
                style { (own(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the verdict" }
                header.top {
                    p.maker { strong { "pgproof" } " report" }
                    nav aria-label="Parts of this page" {
                        ul { @for (id, text) in &body.parts { li { a href={ "#" (id) } { (text) } } } }
                    }
                    (themes())
                }
                main #main tabindex="-1" { (body.markup) }
                footer.end {
                    p {
                        "Made by pgproof " (env!("CARGO_PKG_VERSION")) " from "
                        @if runs.len() == 1 { "a report" } @else { (runs.len()) " reports" }
                        ". This page is one file. It asks nobody for anything, and shows what the "
                        @if runs.len() == 1 { "report says" } @else { "reports say" }
                        ": whether that is so, a rebuild tells."
                    }
                }
                script { (own(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What is between the page's header and footer.
struct Body {
    title: String,
    /// The parts that the navigation names: their ids, and what they are called.
    parts: Vec<(String, &'static str)>,
    markup: Markup,
}

/// What a browser shows beside the title.
const fn icon(mood: Mood) -> &'static str {
    match mood {
        Mood::Bad => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='8' fill='%23b3261e'/%3E%3Cpath d='M5 5l6 6M11 5l-6 6' stroke='white' stroke-width='2' stroke-linecap='round'/%3E%3C/svg%3E"
        }
        Mood::Open => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='8' fill='%23656d76'/%3E%3Cpath d='M4.5 8h7' stroke='white' stroke-width='2' stroke-linecap='round'/%3E%3C/svg%3E"
        }
        Mood::Good => {
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='8' fill='%231a7f37'/%3E%3Cpath d='M4.5 8.5l2.5 2.5 4.5-5' fill='none' stroke='white' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E"
        }
    }
}

/// The only text that is put into the page as it is: the page's own style sheet and script.
fn own(text: &'static str) -> Markup {
    PreEscaped(text.to_owned())
}

/// Nothing from anywhere, but for the page's own style sheet, script and icon.
fn policy() -> String {
    let named = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Digest::of(text.as_bytes()).as_bytes()));
    format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        named(STYLE),
        named(SCRIPT)
    )
}

fn themes() -> Markup {
    html! {
        fieldset.themes {
            legend { "Colours" }
            @for (id, text, chosen) in [("theme-system", "System", true), ("theme-light", "Light", false), ("theme-dark", "Dark", false)] {
                input type="radio" name="theme" id=(id) checked[chosen];
                label for=(id) { (text) }
            }
        }
    }
}

/// A part of the page under a heading, of a run among others if `nested`.
fn section(id: &str, heading: &str, about: &Markup, content: &Markup, nested: bool) -> Markup {
    let heading_id = format!("{id}-heading");
    html! {
        section id=(id) aria-labelledby=(heading_id) {
            @if nested { h4 id=(heading_id) { (heading) } } @else { h2 id=(heading_id) { (heading) } }
            @if !about.0.is_empty() { p.about { (about) } }
            (content)
        }
    }
}

/// A digest, which a click selects.
fn digest(digest: Digest) -> Markup {
    html! { code.digest { span.scheme { "sha256:" } span.hex { (digest.hex()) } } }
}
