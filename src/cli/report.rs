//! What is said about a run: a few lines for people, a JSON document for machines.

use std::fmt::Write as _;
use std::path::Path;

use pgproof::check;
use pgproof::digest::Digest;
use pgproof::output::{self, Companion, Output};
use pgproof::plan::{Input, Plan};
use pgproof::rebuild::{Built, Order, Ready, Rebuilt};
use pgproof::sandbox::{Outcome, StepReport};
use pgproof::text::printable;
use pgproof::verdict::{Differences, Verdict};
use serde_json::{Value, json};

use super::failure::Failure;
use super::ui::{bytes, duration};

/// The report format's version.
const FORMAT: u32 = 1;

/// How many differences people are shown.
const SHOWN: usize = 40;

/// How many differences the report has: it is held in memory. It says how many there are in all.
const REPORTED: usize = 10_000;

/// What became of checking the archives.
pub(super) enum Check {
    /// What was found.
    Done(check::Report),
    /// Somebody asked not to.
    Skipped,
    /// There is nothing to hold another project's archives against.
    Foreign,
    /// What was published is compared with, and nothing is released.
    Published,
}

impl Check {
    /// Whether the archives are no release.
    pub(super) fn fails(&self) -> bool {
        matches!(self, Self::Done(report) if !report.is_clean())
    }

    fn value(&self) -> Value {
        match self {
            Self::Done(report) => json!({ "clean": report.is_clean(), "found": report }),
            Self::Skipped => json!({ "skipped": "--no-check was given" }),
            Self::Foreign => json!({ "skipped": "the plan is not of the recipe for PostgreSQL" }),
            Self::Published => {
                json!({ "skipped": "what was built is compared with what was published, and not released" })
            }
        }
    }
}

/// What checking the archives found, for people: nothing in a line, or all of it.
pub(super) fn checked(check: &Check) -> String {
    match check {
        Check::Done(report) if report.is_clean() => {
            let accepted = report.parts.iter().map(|part| part.excepted.len()).sum::<usize>();
            let floor = report.floor.glibc.found.map_or_else(String::new, |glibc| format!("; needs glibc {glibc}"));
            format!("  check     self-contained and hardened; {accepted} findings are known and accepted{floor}\n")
        }
        Check::Done(report) => format!("the check failed:\n{}\n", printable(&report.to_string())),
        Check::Skipped => "  check     skipped\n".to_owned(),
        Check::Foreign | Check::Published => String::new(),
    }
}

/// The report of two builds.
pub(super) fn rebuilt(ready: &Ready, rebuilt: &Rebuilt, order: Order, check: &Check) -> Value {
    let verdict = match &rebuilt.verdict {
        Verdict::Reproduced(_) => json!({ "reproduced": true }),
        Verdict::Different(found) => {
            let mut verdict = differences(found);
            verdict["reproduced"] = json!(false);
            verdict
        }
    };
    let mut report = of(&ready.plan);
    report["verdict"] = verdict;
    report["order"] = json!(match order {
        Order::Together => "together",
        Order::InTurn => "in-turn",
    });
    report["builds"] = json!([build(&rebuilt.plain), build(&rebuilt.shaken)]);
    report["check"] = check.value();
    report
}

/// What differs, for machines.
pub(super) fn differences(differences: &Differences) -> Value {
    json!({
        "archives": differences.archives,
        "compared": differences.compared,
        "different": differences.entries.len(),
        "differences": &differences.entries[..differences.entries.len().min(REPORTED)],
    })
}

/// What differs, for people.
pub(super) fn limited(differences: &Differences) -> String {
    differences.limited(SHOWN).to_string()
}

/// The report of one build.
pub(super) fn built(ready: &Ready, built: &Built, check: &Check) -> Value {
    let mut report = of(&ready.plan);
    report["builds"] = json!([build(built)]);
    report["check"] = check.value();
    report
}

/// The report of trees that somebody else's runtime built.
pub(super) fn packed(plan: &Plan, outputs: &[Output]) -> Value {
    let mut report = of(plan);
    report["archives"] = json!(archives(outputs));
    report
}

/// What every report begins with.
fn of(plan: &Plan) -> Value {
    json!({
        "version": FORMAT,
        "pgproof": env!("CARGO_PKG_VERSION"),
        "name": plan.name,
        "plan": plan.digest(),
        "sysroot": plan.sysroot,
        "inputs": plan.inputs.iter().map(input).collect::<Vec<_>>(),
    })
}

fn input(input: &Input) -> Value {
    json!({ "name": input.name, "digest": input.digest, "size": input.size })
}

fn build(built: &Built) -> Value {
    let installed = &built.installed;
    json!({
        "variation": built.variation,
        "axes": installed.axes,
        "walls": installed.walls,
        "cgroups": installed.cgroups.iter().map(|(resource, outcome)| json!({ "resource": resource, "outcome": outcome })).collect::<Vec<_>>(),
        "medium": installed.medium,
        "steps": installed.steps.iter().map(step).collect::<Vec<_>>(),
        "preparedSeconds": installed.prepared.as_secs_f64(),
        "elapsedSeconds": built.elapsed.as_secs_f64(),
        "peakMemory": installed.peak_memory,
        "log": installed.log.digest(),
        "archives": archives(&built.outputs),
    })
}

fn step(step: &StepReport) -> Value {
    json!({
        "name": step.name,
        "exit": step.exit,
        "elapsedSeconds": step.elapsed.as_secs_f64(),
        "cpuSeconds": step.cpu.as_secs_f64(),
        "peakMemory": step.peak_memory,
    })
}

fn archives(outputs: &[Output]) -> Vec<Value> {
    outputs.iter().map(archive).collect()
}

fn archive(output: &Output) -> Value {
    json!({
        "name": output.name(),
        "archive": output.archive().digest(),
        "archiveSize": output.archive().size(),
        "tar": output.tar().digest(),
        "list": output.list().digest(),
        "entries": output.files().len(),
    })
}

/// The verdict for people, when both outputs are the same.
pub(super) fn reproduced(ready: &Ready, rebuilt: &Rebuilt) -> String {
    let under = if rebuilt.shaken.variation.axes.is_empty() { "the same conditions" } else { "different conditions" };
    let mut text = format!(
        "reproduced: {}\n  built twice from inputs pinned by digest, in a box without network, under {under};\n  what both \
         made has the same SHA-256\n",
        ready.plan.name
    );
    text.push_str(&digests(&rebuilt.plain.outputs));
    text.push_str(&conditions(rebuilt));
    text
}

/// The verdict for people, when the outputs differ.
pub(super) fn different(ready: &Ready, differences: &Differences) -> String {
    format!("not reproduced: {}\n{}", ready.plan.name, limited(differences))
}

/// What one build came to.
pub(super) fn once(ready: &Ready, built: &Built) -> String {
    let mut text = format!("built once: {} in {}\n", ready.plan.name, duration(built.elapsed));
    text.push_str(&digests(&built.outputs));
    text
}

/// Where the files are.
pub(super) fn published(outputs: &[Output], directory: &Path) -> String {
    let place = |output: &Output| {
        let file = directory.join(format!("{}.tar.gz", output.name()));
        format!("  in        {} ({})\n", file.display(), bytes(output.archive().size()))
    };
    outputs.iter().map(place).collect()
}

/// The three digests of the plan's archive, and one of each part.
pub(super) fn digests(outputs: &[Output]) -> String {
    let Some((own, parts)) = outputs.split_first() else { return String::new() };
    let mut text = format!(
        "  archive   {}\n  tar       {}\n  file list {}\n",
        own.archive().digest(),
        own.tar().digest(),
        own.list().digest()
    );
    for part in parts {
        let suffix = part.name().as_str().strip_prefix(own.name().as_str()).unwrap_or_default();
        writeln!(text, "  {suffix:<9} {}", part.archive().digest()).ok();
    }
    text
}

/// Which conditions differed, and which could not.
fn conditions(rebuilt: &Rebuilt) -> String {
    let axes = &rebuilt.shaken.installed.axes;
    let held = axes.values().filter(|outcome| **outcome == Outcome::Held).count();
    let mut text = format!("  different {held} of {} conditions\n", axes.len());
    for (axis, outcome) in axes {
        if let Outcome::NotHeld(why) = outcome {
            writeln!(text, "            not {axis}: {why}").ok();
        }
    }
    text
}

/// Writes the report beside the archive, and gives its digest.
pub(super) fn write(report: &Value, plan: &Plan, directory: &Path) -> Result<Digest, Failure> {
    let name = format!("{}.report.json", plan.name).parse()?;
    let text = format!("{report:#}\n");
    output::publish_apart(&Companion { name: &name, bytes: text.as_bytes() }, directory)?;
    Ok(Digest::of(text.as_bytes()))
}
