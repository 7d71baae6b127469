//! A run from its verdict to how to redo it.

use maud::{Markup, html};

use super::{Body, archives, builds, conditions, differences, digest, files, section};
use crate::page::Run;
use crate::page::mood::Mood;
use crate::page::report::{Check, Finding, Input, Order, Report};
use crate::page::words::{self, bytes, command, count, counted, duration, headline, tally};

/// How many findings of the check are shown.
const FINDINGS: usize = 200;

/// The page of a single run.
pub(super) fn alone(run: &Run) -> Body {
    let report = &run.report;
    let parts = parts(run, "");
    let markup = html! {
        section.verdict.(Mood::of(report).class()) aria-labelledby="verdict" {
            p.sign aria-hidden="true" { (Mood::of(report).sign()) }
            div {
                h1 #verdict { (headline(report)) }
                p.subject { code { (report.name) } }
                p.summary { (summary(report)) }
            }
            (facts(run))
        }
        @for part in &parts { (part.markup) }
    };
    let title = format!("{}: {}", headline(report), report.name);
    Body { title, parts: parts.into_iter().map(|part| (part.id, part.short)).collect(), markup }
}

/// A part of a run under a heading of its own.
pub(super) struct Part {
    id: String,
    short: &'static str,
    pub(super) markup: Markup,
}

/// All parts of a run but the verdict. Their ids begin with `prefix`.
pub(super) fn parts(run: &Run, prefix: &str) -> Vec<Part> {
    let report = &run.report;
    let mut parts = Vec::new();
    let mut add = |id: &str, short: &'static str, heading: &str, about: Markup, content: Option<Markup>| {
        let id = format!("{prefix}{id}");
        parts.extend(content.map(|content| Part {
            markup: section(&id, heading, &about, &content, !prefix.is_empty()),
            id,
            short,
        }));
    };
    let different = report.verdict.as_ref().is_some_and(|verdict| !verdict.reproduced);
    add("causes", "Causes", "Why they differ", differences::causes_about(report), differences::causes(report));
    add("differences", "Differences", "What differs", differences::about(report), differences::list(report, prefix));
    add("archives", "Archives", "Archives", archives::about(report), archives::table(report));
    add("builds", "Time", "Where the time went", builds::about(report), builds::table(report));
    add("conditions", "Conditions", "Conditions", conditions::about(report), conditions::table(report));
    add("files", "Files", "Files", files::about(run), files::tree(run, prefix, different));
    add("inputs", "Inputs", "Inputs", inputs_about(), Some(inputs(report)));
    add("walls", "Box", "The box", conditions::walls_about(report), conditions::walls(report));
    add("check", "Check", "Check of the archives", html! {}, report.check.as_ref().map(check));
    add("redo", "Redo it", "Redo it", html! {}, Some(redo(report)));
    parts
}

/// The verdict in a sentence or two.
pub(super) fn summary(report: &Report) -> Markup {
    let conditions = words::conditions(report);
    match &report.verdict {
        Some(verdict) if verdict.reproduced => html! {
            "Built twice from inputs pinned by digest, in a box without network, " (conditions)
            ". Both builds made the same archives, byte for byte."
        },
        Some(verdict) if verdict.different == 0 => html! {
            "Built twice from inputs pinned by digest, in a box without network, " (conditions)
            ". All entries are equal, but the digests are not."
        },
        Some(verdict) => html! {
            strong { (count(verdict.different)) " of " (counted(verdict.compared, "entry", "entries")) " differ" }
            " between two builds from the same inputs, in a box without network, " (conditions) "."
        },
        None if report.builds.is_empty() => {
            html! { "Made of a tree that another runtime built. Nothing was compared." }
        }
        None => html! { "Built once from inputs pinned by digest, in a box without network. Nothing was compared." },
    }
}

/// What most readers look for.
fn facts(run: &Run) -> Markup {
    let report = &run.report;
    let same = report.verdict.as_ref().is_none_or(|verdict| verdict.reproduced);
    html! {
        dl.facts {
            @if let (true, Some(archive)) = (same, report.first_archives().first()) {
                div.wide { dt { "Archive" } dd { (digest(archive.archive)) " " span.quiet { (bytes(archive.archive_size)) } } }
            }
            div.wide { dt { "Plan" } dd { (digest(report.plan)) } }
            @if let Some(held) = tally(report) { div { dt { "Conditions" } dd { (held) } } }
            @if let Some(time) = time(report) { div { dt { "Time" } dd { (time) } } }
            div { dt { "Rebuilder" } dd { (run.rebuilder) } }
            div { dt { "Built by" } dd { "pgproof " (report.pgproof) } }
        }
    }
}

fn time(report: &Report) -> Option<Markup> {
    match &report.builds[..] {
        [] => None,
        [one, ..] => Some(html! {
            (duration(one.elapsed_seconds))
            @if let Some(two) = report.builds.get(1) {
                " and " (duration(two.elapsed_seconds))
                @match report.order {
                    Some(Order::Together) => ", side by side",
                    Some(Order::InTurn) => ", in turn",
                    None => "",
                }
            }
        }),
    }
}

fn inputs_about() -> Markup {
    html! { "All that the builds read, by digest. Nothing else was within reach: the box has no network." }
}

fn inputs(report: &Report) -> Markup {
    let row = |what: &str, input: &Input| {
        html! {
            tr { th scope="row" { code { (input.name) } } td { (what) } td.number { (bytes(input.size)) } td { (digest(input.digest)) } }
        }
    };
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "Input" } th scope="col" { "Kind" } th.number scope="col" { "Size" } th scope="col" { "SHA-256" } } }
            tbody {
                tr {
                    th scope="row" { code { (report.sysroot.name) } } td { "root file system" } td.number {}
                    td { (digest(report.sysroot.manifest)) }
                }
                @for input in &report.inputs { (row("source", input)) }
                tr { th scope="row" { code { (report.name) } } td { "plan" } td.number {} td { (digest(report.plan)) } }
            }
        } }
    }
}

fn check(check: &Check) -> Markup {
    let Some(found) = &check.found else {
        return html! { p { "Not checked: " @match &check.skipped { Some(why) => (why), None => "nobody says why" } "." } };
    };
    let list = |findings: &[Finding]| {
        html! {
            ul.plain {
                @for finding in findings.iter().take(FINDINGS) {
                    li {
                        code { (finding.file) } " " span.tag { (finding.kind) }
                        @if !finding.about.is_empty() { " " code { (finding.about) } }
                        @if !finding.reason.is_empty() { " — " (finding.reason) }
                    }
                }
                @if findings.len() > FINDINGS { li.more { "and " (findings.len() - FINDINGS) " more" } }
            }
        }
    };
    html! {
        @for part in &found.parts {
            details.line open[!part.findings.is_empty()] {
                summary {
                    code { (part.name) } " "
                    @if part.findings.is_empty() && part.unlisted == 0 { span.state.good { "✓ nothing found" } }
                    @else { span.state.bad { "✗ " (counted(part.findings.len() as u64 + part.unlisted, "finding", "findings")) } }
                    " " span.quiet {
                        (counted(part.files, "file", "files")) ", " (count(part.elf_files)) " of them ELF, "
                        (counted(part.excepted.len() as u64, "known finding", "known findings"))
                    }
                }
                @if !part.findings.is_empty() { (list(&part.findings)) }
                @if part.unlisted > 0 { p.more { "and " (count(part.unlisted)) " more that the report does not list" } }
                @if !part.excepted.is_empty() { p.quiet { "Known and accepted:" } (list(&part.excepted)) }
            }
        }
    }
}

fn redo(report: &Report) -> Markup {
    let same = report.verdict.as_ref().is_none_or(|verdict| verdict.reproduced);
    let archive = report.first_archives().first().filter(|_| same);
    html! {
        p { "Nobody has to believe this page. On a machine of your own:" }
        pre.command { code {
            (command(report))
        } }
        @if let Some(archive) = archive {
            p { "The archive that it leaves has to have the SHA-256 above, and so has the one that you were given:" }
            pre.command { code { "echo '" (archive.archive.hex()) "  " (archive.name) ".tar.gz' | sha256sum --check" } }
        } @else {
            p { "Where it comes to another verdict, what differs between the two machines is the cause." }
        }
    }
}
