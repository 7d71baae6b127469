//! Under which conditions it was built: the axes, and the walls of the box.

use maud::{Markup, html};

use crate::page::report::{Build, Report};
use crate::page::said::Said;
use crate::page::words::{axis, medium, value};
use crate::sandbox::{Outcome, Wall};
use crate::variation::Axis;

/// What the table is about.
pub(super) fn about(report: &Report) -> Markup {
    html! {
        @if report.builds.len() == 2 {
            "What should not matter was made to differ in the second build. Each value there is a canary: it occurs nowhere else, and so "
            "a leak names its own cause."
        } @else { "One build, under quiet, ordinary conditions." }
    }
}

/// A row for each axis, if there were two builds.
pub(super) fn table(report: &Report) -> Option<Markup> {
    let [plain, shaken] = &report.builds[..] else { return None };
    Some(html! {
        div.scroll { table.conditions {
            thead { tr {
                th scope="col" { "Condition" }
                th scope="col" { span.key.first { "plain" } }
                th scope="col" { span.key.second { "shaken" } }
                th scope="col" { "Differed" }
            } }
            tbody { @for axis in Axis::ALL { (row(axis, plain, shaken)) } }
        } }
    })
}

fn row(which: Axis, plain: &Build, shaken: &Build) -> Markup {
    let outcome = shaken.axes.get(&which);
    html! {
        tr {
            th scope="row" { (axis(which)) }
            td { (told(which, plain)) }
            td { (told(which, shaken)) }
            td {
                @match outcome {
                    Some(Outcome::Held) => span.state.good { "✓ yes" },
                    Some(Outcome::NotHeld(why)) => { span.state.warn { "✗ no" } p.quiet { (Said::new(why)) } },
                    None => span.quiet { "not asked for" },
                }
            }
        }
    }
}

fn told(which: Axis, build: &Build) -> Markup {
    html! { code { (value(which, &build.variation)) } }
}

/// What the walls are about.
pub(super) fn walls_about(report: &Report) -> Markup {
    html! {
        "The walls that stood around "
        @if report.builds.len() == 2 { "both builds" } @else { "the build" }
        ", measured from inside before the first step. A build without one of them does not begin."
        @for build in &report.builds { @if let Some(where_) = build.medium {
            " The " (build.variation.label) " build had its files " (medium(where_)) "."
        } }
    }
}

/// The walls, if there was a build.
pub(super) fn walls(report: &Report) -> Option<Markup> {
    let first = report.builds.first().filter(|build| !build.walls.is_empty())?;
    let second = report.builds.get(1);
    let in_both = |wall: &Wall| second.is_none_or(|second| second.walls.contains(wall));
    let only_second: Vec<_> =
        second.iter().flat_map(|second| &second.walls).filter(|wall| !first.walls.contains(wall)).collect();
    Some(html! {
        ul.walls {
            @for wall in &first.walls { li { @if in_both(wall) { "✓ " (wall) } @else { span.state.bad { "✗ " (wall) ", first build only" } } } }
            @for wall in only_second { li { span.state.bad { "✗ " (wall) ", second build only" } } }
        }
    })
}
