//! What differs, and why: causes with what to do about them, then each file with both sides of each place.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::sides;
use crate::page::report::{Cause, Change, Content, Detail, Difference, Report, Sureness};
use crate::page::said::Said;
use crate::page::words::{bytes, cause_title, count, counted};

/// How many files of a cause are named.
const FILES: usize = 12;

/// How many files that differ are shown; the others are counted.
const SHOWN: usize = 1_000;

/// How many files that differ are open from the start.
const OPEN: usize = 5;

/// How many places of a file are shown.
const PLACES: usize = 40;

/// How many bytes both sides of all places may have together.
const SIDES: usize = 4 << 20;

/// How long a path may be where it is a heading, in characters.
const PATH: usize = 400;

/// What the causes are about.
pub(super) fn causes_about(report: &Report) -> Markup {
    html! {
        @match report.more_builds {
            0 => "Told by what differs alone: no further build was needed.",
            builds => { (counted(builds, "more build was", "more builds were")) " made to find this out." },
        }
    }
}

/// The causes, if any is known.
pub(super) fn causes(report: &Report) -> Option<Markup> {
    if report.causes.is_empty() {
        return None;
    }
    Some(html! { @for found in &report.causes { (cause(found, &top(report))) } })
}

fn cause(found: &Cause, top: &str) -> Markup {
    html! {
        div.cause {
            h3 {
                span { (capital(&found.cause)) }
                span.quiet { (counted(found.count.max(found.files.len() as u64), "file", "files")) }
                @match found.sureness {
                    Some(Sureness::Rebuilt) => span.tag { "building again showed it" },
                    Some(Sureness::Likely) => span.tag { "likely" },
                    Some(Sureness::Sure) | None => {},
                }
            }
            p { (sentence(&found.explanation, top)) }
            (files("", &found.files, found.count, top))
            @if !found.consequences.is_empty() {
                (files("From these follow: ", &found.consequences, found.consequences.len() as u64, top))
            }
            @if !found.steps.is_empty() {
                p.quiet { "It begins in " @for (index, step) in found.steps.iter().enumerate() { @if index > 0 { ", " } code { (step) } } "." }
            }
            @for fix in &found.fixes { p.fix { strong { "Fix: " } (sentence(fix, top)) } }
        }
    }
}

fn files(before: &str, files: &[Said], all: u64, top: &str) -> Markup {
    let more = all.max(files.len() as u64).saturating_sub(FILES as u64);
    html! {
        @if !before.is_empty() || files.len() > 1 {
            p {
                (before)
                @for (index, file) in files.iter().take(FILES).enumerate() { @if index > 0 { ", " } code { (file.without(top)) } }
                @if more > 0 { " and " (count(more)) " more" }
            }
        }
    }
}

/// A sentence in which names are quoted as code.
fn sentence(text: &Said, top: &str) -> Markup {
    html! { @for (index, part) in text.quoted().iter().enumerate() { @if index % 2 == 1 { code { (part.without(top)) } } @else { (part) } } }
}

fn capital(cause: &Said) -> Markup {
    html! { @if let Some(title) = cause_title(cause) { (title) } @else { (cause) } }
}

/// What the list of files is about.
pub(super) fn about(report: &Report) -> Markup {
    let Some(verdict) = &report.verdict else { return html! {} };
    let listed = verdict.differences.len() as u64;
    html! {
        (count(verdict.different)) " of " (counted(verdict.compared, "entry", "entries")) " differ"
        @if listed < verdict.different { "; the report has the first " (count(listed)) }
        "."
    }
}

/// Each file that differs, if any does. The ids begin with `prefix`.
pub(super) fn list(report: &Report, prefix: &str) -> Option<Markup> {
    let differences = &report.verdict.as_ref().filter(|verdict| !verdict.differences.is_empty())?.differences;
    let causes = causes_by_file(report);
    let top = top(report);
    let mut room = SIDES;
    Some(html! {
        @for (index, difference) in differences.iter().enumerate().take(SHOWN) {
            @let id = format!("{prefix}difference-{index}");
            details.difference id=(id) open[index < OPEN && prefix.is_empty()] {
                summary {
                    (name(&difference.path.without(&top)))
                    span.quiet { (change(&difference.change)) }
                    @for cause in causes.get(&difference.path).into_iter().flatten() { span.tag { (capital(cause)) } }
                }
                div.inside { (inside(difference, &mut room)) }
            }
        }
        @if differences.len() > SHOWN { p.more { "and " (count((differences.len() - SHOWN) as u64)) " more" } }
    })
}

fn name(path: &Said) -> Markup {
    let (path, left_out) = path.shortened(PATH);
    html! { code { (path) @if left_out > 0 { "…" } } }
}

fn inside(difference: &Difference, room: &mut usize) -> Markup {
    let mut shown = Vec::new();
    for detail in difference.details.iter().take(PLACES) {
        if *room == 0 {
            break;
        }
        let detail = place(detail);
        *room = room.saturating_sub(detail.0.len());
        shown.push(detail);
    }
    let more = difference.more + (difference.details.len() - shown.len()) as u64;
    html! {
        (contents(&difference.change))
        @for detail in &shown { (detail) }
        @if more > 0 { p.more { "and " (counted(more, "more place", "more places")) } }
    }
}

fn place(detail: &Detail) -> Markup {
    html! {
        p.place {
            (sentence(&detail.place, ""))
            @if let Some(normaliser) = &detail.normaliser { " " span.tag { "equal but for " (normaliser) } }
        }
        (sides::of(detail.first.as_ref(), detail.second.as_ref()))
    }
}

/// What is known of an entry without looking into it.
fn contents(change: &Change) -> Markup {
    let row = |label: &str, class: &str, content: &Content| {
        html! {
            div.build.(class) {
                span.lane { (label) }
                @match content {
                    Content::Directory => "directory",
                    Content::Symlink { target } => { "symbolic link to " code { (target) } },
                    Content::File { digest, .. } => (super::digest(*digest)),
                }
            }
        }
    };
    match change {
        Change::OnlyInFirst(content) => row("plain", "first", content),
        Change::OnlyInSecond(content) => row("shaken", "second", content),
        Change::Changed { first, second } => html! { (row("plain", "first", first)) (row("shaken", "second", second)) },
    }
}

/// How an entry differs, in a few words.
pub(super) fn change(change: &Change) -> Markup {
    match change {
        Change::OnlyInFirst(content) => html! { "only in the first build: " (kind(content)) },
        Change::OnlyInSecond(content) => html! { "only in the second build: " (kind(content)) },
        Change::Changed {
            first: Content::File { size, executable, format, .. },
            second: Content::File { size: size_2, executable: executable_2, format: format_2, .. },
        } => html! {
            (format) @if format != format_2 { " → " (format_2) }
            ", " (bytes(*size)) @if size != size_2 { " → " (bytes(*size_2)) " (" (count(*size)) " → " (count(*size_2)) " bytes)" }
            @if executable != executable_2 { ", mode " (mode(*executable)) " → " (mode(*executable_2)) }
        },
        Change::Changed { first, second } => html! { (kind(first)) " → " (kind(second)) },
    }
}

fn kind(content: &Content) -> Markup {
    match content {
        Content::Directory => html! { "directory" },
        Content::File { size, format, .. } => html! { (format) ", " (bytes(*size)) },
        Content::Symlink { target } => html! { "symbolic link to " code { (target) } },
    }
}

const fn mode(executable: bool) -> &'static str {
    if executable { "0755" } else { "0644" }
}

/// The causes that name a file.
fn causes_by_file(report: &Report) -> BTreeMap<&Said, Vec<&Said>> {
    let mut by_file = BTreeMap::<_, Vec<_>>::new();
    for cause in &report.causes {
        for file in cause.files.iter().chain(&cause.consequences) {
            by_file.entry(file).or_default().push(&cause.cause);
        }
    }
    by_file
}

/// What nearly all paths begin with, and so need not be told: the first archive's directory.
fn top(report: &Report) -> String {
    format!("{}/", report.name)
}
