//! Both builds' time lines, step by step.

use maud::{Markup, html};

use crate::page::report::{Build, Report, Seconds, Step};
use crate::page::words::{bytes, duration, exit, label, medium};

/// How wide the time lines are, in units of their own.
const WIDTH: f64 = 1000.0;

/// A stretch of a build's time.
struct Stretch<'a> {
    name: &'a str,
    start: f64,
    length: f64,
    step: Option<&'a Step>,
}

/// What the table is about.
pub(super) fn about(report: &Report) -> Markup {
    html! {
        @for (index, build) in report.builds.iter().enumerate() {
            @if index > 0 { " " }
            span.key.(lane(index)) { (capital(label(build.variation.label))) }
            " " (duration(build.elapsed_seconds))
            @if let Some(where_) = build.medium { ", " (medium(where_)) }
            @if let Some(memory) = build.peak_memory { ", at most " (bytes(memory)) " of memory" }
            "."
        }
    }
}

/// A row for each step, if there is a build.
pub(super) fn table(report: &Report) -> Option<Markup> {
    let stretches: Vec<_> = report.builds.iter().map(stretches).collect();
    let rows = stretches.iter().map(Vec::len).max()?;
    let total = report.builds.iter().map(|build| build.elapsed_seconds.get()).fold(0.0, f64::max).max(1e-3);
    Some(html! {
        div.scroll { table.times {
            thead {
                tr {
                    th scope="col" { "Step" }
                    th.bars scope="col" { span.axis { span { "0" } span { (duration_of(total)) } } }
                    @for (index, build) in report.builds.iter().enumerate() {
                        th.number scope="col" { span.key.(lane(index)) { (build.variation.label) } }
                    }
                    th.number scope="col" { "Processor time" }
                    th.number scope="col" { "Peak memory" }
                }
            }
            tbody {
                @for row in 0..rows {
                    @let both: Vec<_> = stretches.iter().map(|build| build.get(row)).collect();
                    tr {
                        th scope="row" { (both.iter().flatten().map(|stretch| stretch.name).next().unwrap_or_default()) }
                        td.bars { (bars(&both, total)) }
                        @for stretch in &both { td.number { @if let Some(stretch) = stretch { (length(stretch)) } } }
                        td.number { (each(&both, |step| duration(step.cpu_seconds))) }
                        td.number { (each(&both, |step| bytes(step.peak_memory))) }
                    }
                }
            }
        } }
    })
}

/// The stretches of a build, in order: what is before, between and after its steps included.
fn stretches(build: &Build) -> Vec<Stretch<'_>> {
    let prepared = build.prepared_seconds.get();
    let mut all = vec![Stretch { name: "unpack", start: 0.0, length: prepared, step: None }];
    let mut now = prepared;
    for step in &build.steps {
        let length = step.elapsed_seconds.get();
        all.push(Stretch { name: step.name.as_str(), start: now, length, step: Some(step) });
        now += length;
    }
    let rest = (build.elapsed_seconds.get() - now).max(0.0);
    all.push(Stretch { name: "pack and compress", start: now, length: rest, step: None });
    all
}

/// The name by which the style sheet knows a build's colour.
fn lane(index: usize) -> &'static str {
    if index == 0 { "first" } else { "second" }
}

/// Two bars, one above the other. The numbers beside them tell the same.
fn bars(both: &[Option<&Stretch<'_>>], total: f64) -> Markup {
    html! {
        svg viewBox={ "0 0 " (WIDTH) " 20" } preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            @for (index, stretch) in both.iter().enumerate() {
                @if let Some(stretch) = stretch {
                    @let (x, width) = placed(stretch, total);
                    rect.(lane(index)) x=(format!("{x:.1}")) y=(2 + 9 * index) width=(format!("{width:.1}")) height="7" rx="2" {}
                }
            }
        }
    }
}

fn placed(stretch: &Stretch<'_>, total: f64) -> (f64, f64) {
    let x = (stretch.start / total * WIDTH).clamp(0.0, WIDTH - 3.0);
    // Something that took no time is still seen.
    let width = (stretch.length / total * WIDTH).clamp(3.0, WIDTH - x);
    (x, width)
}

fn length(stretch: &Stretch<'_>) -> Markup {
    html! {
        (duration_of(stretch.length))
        @if let Some(how) = stretch.step.and_then(|step| exit(step.exit)) { " " span.state.bad { (how) } }
    }
}

fn duration_of(seconds: f64) -> String {
    duration(Seconds::try_from(seconds).unwrap_or(Seconds::ZERO))
}

/// What a step came to in each build: once, if that reads the same.
fn each(both: &[Option<&Stretch<'_>>], told: impl Fn(&Step) -> String) -> Markup {
    let mut all: Vec<_> = both.iter().flatten().filter_map(|stretch| stretch.step).map(told).collect();
    all.dedup();
    html! { @for (index, one) in all.iter().enumerate() { @if index > 0 { span.quiet { " · " } } (one) } }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
