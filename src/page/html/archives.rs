//! What was made: archives and their three digests.

use maud::{Markup, html};

use super::digest;
use crate::digest::Digest;
use crate::page::report::{Archive, Report};
use crate::page::words::{bytes, count, counted};

/// What the table is about.
pub(super) fn about(report: &Report) -> Markup {
    html! {
        "Each archive has three digests, so that another compressor, or another way to write a tar, cannot make equal content look "
        "different."
        @if report.builds.len() == 2 { " What both builds agree on is there once." }
    }
}

/// The archives of both builds, if there are any.
pub(super) fn table(report: &Report) -> Option<Markup> {
    let first = report.first_archives();
    if first.is_empty() {
        return None;
    }
    let second = report.builds.get(1).map(|build| &build.archives[..]);
    Some(html! {
        div.scroll { table.archives {
            thead { tr { th scope="col" { "Archive" } th scope="col" { "Of" } th scope="col" { "SHA-256" } } }
            @for (index, archive) in first.iter().enumerate() {
                @let other = second.and_then(|second| second.get(index)).filter(|other| other.name == archive.name);
                tbody {
                    tr {
                        th scope="rowgroup" rowspan="3" {
                            code { (archive.name) }
                            p.quiet { (size(archive, other)) }
                        }
                        td { ".tar.gz" } td { (pair(archive.archive, other.map(|other| other.archive), second.is_some())) }
                    }
                    tr { td { ".tar" } td { (pair(archive.tar, other.map(|other| other.tar), second.is_some())) } }
                    tr { td { "file list" } td { (pair(archive.list, other.map(|other| other.list), second.is_some())) } }
                }
            }
        } }
    })
}

fn size(archive: &Archive, other: Option<&Archive>) -> Markup {
    html! {
        (bytes(archive.archive_size))
        @if let Some(other) = other.filter(|other| other.archive_size != archive.archive_size) { " and " (bytes(other.archive_size)) }
        ", " (counted(archive.entries, "entry", "entries"))
        @if let Some(other) = other.filter(|other| other.entries != archive.entries) { " and " (count(other.entries)) }
    }
}

/// A digest in both builds: one, if it is the same.
fn pair(first: Digest, second: Option<Digest>, compared: bool) -> Markup {
    match second {
        Some(second) if first == second => html! { (digest(first)) " " span.state.good { "✓ equal" } },
        Some(second) => html! {
            div.build.first { span.lane { "plain" } (digest(first)) }
            div.build.second { span.lane { "shaken" } (digest(second)) " " span.state.bad { "✗ other" } }
        },
        None if compared => html! { (digest(first)) " " span.state.bad { "✗ first build only" } },
        None => digest(first),
    }
}
