//! `pgproof test`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use pgproof::digest::Digest;
use pgproof::store::{Outcome, Record, Store};
use pgproof::text::printable;
use pgproof::trial::{self, Counts, Regress, Report, Request, Suite};
use serde_json::json;

use super::arguments::Test;
use super::build::{Bench, cancel_on_signals, now};
use super::failure::{DIFFERENT, Failure};
use super::ui::duration;
use super::{Answer, Session};

/// How many lines of what a failed check printed are shown to a person, and how many names of what was left out.
const SHOWN: usize = 5;

/// `pgproof test`
pub(super) fn test(session: &Session, request: &Test) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &request.limits);
    cancel_on_signals(workshop.cancel).map_err(Failure::Signals)?;
    let asked = Request { archive: request.archive.clone(), older: request.upgrade_from.clone() };
    let mut started = now();
    let report = trial::smoke(&workshop, &asked)?;
    let mut text = told(&report);
    let mut passed = report.passed();
    let log = match (report.plan, report.log) {
        (Some(plan), Some(log)) => Some(record(&bench.store, "postgresql-test", started, plan, log, passed)?),
        _ => None,
    };
    if let Some(log) = log.as_ref().filter(|_| !passed) {
        write!(text, "\nall that it printed: pgproof log {log}").ok();
    }
    let mut json = json!({ "counts": report.counts(), "run": log, "report": report });
    // Without a server that says what it is there are no tests of that version.
    let version = report.version.as_deref().and_then(|version| version.split(' ').next()?.parse().ok());
    if let Some(version) = version.filter(|_| request.regress) {
        started = now();
        let regress = trial::regress(&workshop, &request.archive, request.with.as_deref(), version)?;
        passed = passed && regress.passed();
        let log = record(&bench.store, "postgresql-regress", started, regress.plan, regress.log, regress.passed())?;
        write!(text, "\n{}\nall that they printed: pgproof log {log}", tests(&regress)).ok();
        json["regress"] = json!({ "run": log, "report": regress });
    } else if request.regress {
        text.push_str("\nPostgreSQL's own tests were not run: the archive does not tell its version");
    }
    json["passed"] = json!(passed);
    Ok(Answer::new(text, json).with_code(if passed { 0 } else { DIFFERENT }))
}

/// Keeps what a test printed, and gives the name of its record.
fn record(
    store: &Store,
    name: &str,
    started: Timestamp,
    plan: Digest,
    log: Digest,
    passed: bool,
) -> Result<String, Failure> {
    let outcome = if passed { Outcome::Built } else { Outcome::Failed { why: "not all passed".to_owned() } };
    let record = Record {
        started,
        name: name.parse()?,
        plan,
        variation: "test".parse()?,
        outcome,
        log: Some(log),
        outputs: BTreeMap::new(),
    };
    store.record_run(&record)?;
    Ok(record.id())
}

/// PostgreSQL's own tests: what failed, then how many there were of each suite.
fn tests(regress: &Regress) -> String {
    let mut text = String::new();
    for suite in &regress.suites {
        let Suite { name, passed, skipped, failed } = suite;
        for test in failed {
            writeln!(text, "failed   {}: {}", printable(name), printable(test)).ok();
        }
        let failed = failed.len();
        writeln!(text, "         {}: {passed} passed, {failed} failed, {skipped} skipped", printable(name)).ok();
    }
    if let Some(ended) = &regress.ended {
        writeln!(text, "the tests did not come to their end: {}", printable(ended)).ok();
    }
    let (passed, failed, skipped) = regress.counts();
    write!(
        text,
        "{}: installcheck-world of PostgreSQL {}: {passed} tests passed, {failed} failed, {skipped} skipped in {} suites{} ({})",
        if regress.passed() { "passed" } else { "failed" },
        regress.version,
        regress.suites.len(),
        if regress.languages { "" } else { ", PL/Perl, PL/Python and PL/Tcl left out" },
        duration(regress.elapsed)
    )
    .ok();
    text
}

/// What failed, check by check; what was left out, reason by reason; how many there were.
fn told(report: &Report) -> String {
    let mut text = String::new();
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for check in &report.checks {
        match &check.outcome {
            trial::Outcome::Failed => {
                writeln!(text, "failed   {}", check.name).ok();
                for line in check.said.iter().skip(check.said.len().saturating_sub(SHOWN)) {
                    writeln!(text, "           {}", printable(line)).ok();
                }
            }
            trial::Outcome::Skipped(reason) => skipped.entry(reason).or_default().push(&check.name),
            trial::Outcome::Passed | trial::Outcome::NotRun => {}
        }
    }
    for (reason, names) in skipped {
        let more = names.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let names = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
        writeln!(text, "skipped  {names}{more}: {}", printable(reason)).ok();
    }
    let Counts { passed, failed, skipped, not_run } = report.counts();
    if not_run > 0 {
        writeln!(text, "not run  {not_run} checks that make no sense after these").ok();
    }
    if let Some(ended) = &report.ended {
        writeln!(text, "the test did not come to its end: {}", printable(ended)).ok();
    }
    let version = report.version.as_deref().map(|version| format!("PostgreSQL {}: ", printable(version)));
    write!(
        text,
        "{}: {}{passed} checks passed, {failed} failed, {skipped} skipped, {not_run} not run ({})",
        if report.passed() { "passed" } else { "failed" },
        version.unwrap_or_default(),
        duration(report.elapsed)
    )
    .ok();
    text
}
