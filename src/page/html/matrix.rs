//! Many runs: a matrix of what was built by whom, then each run.

use maud::{Markup, html};

use super::{Body, run, section};
use crate::page::Run;
use crate::page::grid::{Agreement, Cell, Grid};
use crate::page::mood::Mood;
use crate::page::words::{counted, headline};

/// How many bytes the runs below the matrix may have together.
const RUNS: usize = 16 << 20;

/// The page of many runs.
pub(super) fn all(runs: &[Run]) -> (Mood, Body) {
    let grid = Grid::of(runs);
    let told = grid.headline();
    let mood = grid.mood();
    let markup = html! {
        section.verdict.(mood.class()) aria-labelledby="verdict" {
            p.sign aria-hidden="true" { (mood.sign()) }
            div {
                h1 #verdict { (told) }
                p.summary { (grid.summary()) }
            }
        }
        (section("matrix", "Who built what", &about(), &table(&grid), false))
        (section("runs", "Runs", &html! {}, &details(runs), false))
    };
    let parts = vec![("matrix".to_owned(), "Matrix"), ("runs".to_owned(), "Runs")];
    (mood, Body { title: told, parts, markup })
}

fn about() -> Markup {
    html! {
        "A line is a release, a column is who built it. Rebuilders agree on a release when all their archives have the same SHA-256, "
        "of which the first digits are shown."
    }
}

fn table(grid: &Grid<'_>) -> Markup {
    html! {
        div.scroll { table.matrix {
            thead { tr {
                th scope="col" { "Version" }
                th scope="col" { "Target" }
                @for rebuilder in &grid.rebuilders { th scope="col" { (rebuilder) } }
                th scope="col" { "Agreement" }
            } }
            tbody {
                @for row in &grid.rows {
                    tr {
                        th scope="row" { (row.version) }
                        td { @if let Some(triple) = row.triple { code { (triple) } } }
                        @for cells in &row.cells { td { @for cell in cells { (shown(cell)) } @if cells.is_empty() { span.quiet { "·" } } } }
                        td { (agreement(row.agreement)) }
                    }
                }
            }
        } }
    }
}

fn shown(cell: &Cell<'_>) -> Markup {
    let mood = Mood::of(&cell.run.report);
    html! {
        p.cell {
            a.state.(mood.class()) href={ "#run-" (cell.index) } { (mood.sign()) " " (headline(&cell.run.report)) }
            @if let Some(digits) = &cell.digits { br; code { (digits) "…" } }
        }
    }
}

fn agreement(agreement: Agreement) -> Markup {
    match agreement {
        Agreement::None => html! { span.quiet { "–" } },
        Agreement::Alone => html! { span.quiet { "one alone" } },
        Agreement::Same { made, of } => html! { span.state.good { "✓ " (Agreement::tally(made, of)) } },
        Agreement::Other => html! { span.state.bad { "✗ other digests" } },
        Agreement::Plans => html! { span.state.warn { "other plans" } },
    }
}

fn details(runs: &[Run]) -> Markup {
    let mut order: Vec<_> = runs.iter().enumerate().collect();
    // Who has to look at something finds it first.
    order.sort_by_key(|(_, run)| Mood::of(&run.report));
    let mut room = RUNS;
    let mut left_out = 0_usize;
    let mut shown = Vec::new();
    for (index, run) in order {
        let detail = if room > 0 {
            one(index, run)
        } else {
            html! {}
        };
        left_out += usize::from(room == 0);
        room = room.saturating_sub(detail.0.len());
        shown.push(detail);
    }
    html! {
        @for run in &shown { (run) }
        @if left_out > 0 { p.more { "and " (counted(left_out as u64, "run that is", "runs that are")) " in the matrix only" } }
    }
}

fn one(index: usize, run: &Run) -> Markup {
    let report = &run.report;
    let mood = Mood::of(report);
    html! {
        details.run.(mood.class()) id={ "run-" (index) } {
            summary {
                h3 { span.state.(mood.class()) { (mood.sign()) " " (headline(report)) } " " code { (report.name) } " " span.quiet { "by " (run.rebuilder) } }
            }
            p { (run::summary(report)) }
            @for part in run::parts(run, &format!("run-{index}-")) { (part.markup) }
        }
    }
}
