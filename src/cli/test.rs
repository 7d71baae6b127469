//! `pgproof test`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pgproof::store::{self, Record, Store};
use pgproof::trial::{self, Counts, Report, Request};
use serde_json::json;

use super::arguments::Test;
use super::build::{Bench, cancel_on_signals, now};
use super::failure::{DIFFERENT, Failure};
use super::ui::{duration, printable};
use super::{Answer, Session};

/// How many lines of what a failed check printed are shown to a person.
const SHOWN: usize = 5;

/// `pgproof test`
pub(super) fn test(session: &Session, request: &Test) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &request.limits);
    cancel_on_signals(workshop.cancel).map_err(Failure::Signals)?;
    let started = now();
    let asked = Request { archive: request.archive.clone(), older: request.upgrade_from.clone() };
    let report = trial::smoke(&workshop, &asked)?;
    let log = record(&bench.store, started, &report)?;
    let json = json!({ "passed": report.passed(), "counts": report.counts(), "run": log, "report": report });
    let mut text = told(&report);
    if let Some(log) = log.filter(|_| !report.passed()) {
        write!(text, "\nall that it printed: pgproof log {log}").ok();
    }
    Ok(Answer::new(text, json).with_code(if report.passed() { 0 } else { DIFFERENT }))
}

/// Keeps what the test printed.
fn record(store: &Store, started: jiff::Timestamp, report: &Report) -> Result<Option<String>, Failure> {
    let (Some(plan), Some(log)) = (report.plan, report.log) else { return Ok(None) };
    let Counts { failed, not_run, .. } = report.counts();
    let outcome = if report.passed() {
        store::Outcome::Built
    } else {
        store::Outcome::Failed { why: format!("{failed} checks failed, {not_run} were not run") }
    };
    let record = Record {
        started,
        name: "postgresql-test".parse()?,
        plan,
        variation: "test".parse()?,
        outcome,
        log: Some(log),
        outputs: BTreeMap::new(),
    };
    store.record_run(&record)?;
    Ok(Some(record.id()))
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        match &check.outcome {
            trial::Outcome::Passed => {}
            trial::Outcome::Failed => {
                writeln!(text, "failed   {}", check.name).ok();
                for line in check.said.iter().skip(check.said.len().saturating_sub(SHOWN)) {
                    writeln!(text, "           {}", printable(line)).ok();
                }
            }
            trial::Outcome::Skipped(reason) => {
                writeln!(text, "skipped  {}: {}", check.name, printable(reason)).ok();
            }
            trial::Outcome::NotRun => {
                writeln!(text, "not run  {}", check.name).ok();
            }
        }
    }
    if let Some(ended) = &report.ended {
        writeln!(text, "the test did not come to its end: {}", printable(ended)).ok();
    }
    let Counts { passed, failed, skipped, not_run } = report.counts();
    let version = report.version.as_deref().map_or("no version", |version| version);
    write!(
        text,
        "{}: PostgreSQL {}: {passed} checks passed, {failed} failed, {skipped} skipped, {not_run} not run ({})",
        if report.passed() { "passed" } else { "failed" },
        printable(version),
        duration(report.elapsed)
    )
    .ok();
    text
}
