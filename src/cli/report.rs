//! What is said about a run: a few lines for people, a JSON document for machines.

use std::fmt::Write as _;
use std::path::Path;

use pgproof::output::{self, Companion, Output};
use pgproof::plan::Plan;
use pgproof::rebuild::{Built, Order, Ready, Rebuilt};
use pgproof::sandbox::{Outcome, StepReport};
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

/// The report of two builds.
pub(super) fn rebuilt(ready: &Ready, rebuilt: &Rebuilt, order: Order) -> Value {
    let verdict = match &rebuilt.verdict {
        Verdict::Reproduced(_) => json!({ "reproduced": true }),
        Verdict::Different(differences) => json!({
            "reproduced": false,
            "first": differences.first,
            "second": differences.second,
            "compared": differences.compared,
            "different": differences.entries.len(),
            "differences": &differences.entries[..differences.entries.len().min(REPORTED)],
        }),
    };
    json!({
        "version": FORMAT,
        "pgproof": env!("CARGO_PKG_VERSION"),
        "name": ready.plan.name,
        "plan": ready.plan.digest(),
        "sysroot": ready.plan.sysroot,
        "verdict": verdict,
        "order": match order { Order::Together => "together", Order::InTurn => "in-turn" },
        "builds": [build(&rebuilt.plain), build(&rebuilt.shaken)],
    })
}

/// The report of one build.
pub(super) fn built(ready: &Ready, built: &Built) -> Value {
    json!({
        "version": FORMAT,
        "pgproof": env!("CARGO_PKG_VERSION"),
        "name": ready.plan.name,
        "plan": ready.plan.digest(),
        "sysroot": ready.plan.sysroot,
        "builds": [build(built)],
    })
}

/// The report of a tree that somebody else's runtime built.
pub(super) fn packed(plan: &Plan, output: &Output) -> Value {
    json!({
        "version": FORMAT,
        "pgproof": env!("CARGO_PKG_VERSION"),
        "name": plan.name,
        "plan": plan.digest(),
        "sysroot": plan.sysroot,
        "digests": digest_values(output),
    })
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
        "digests": digest_values(&built.output),
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

fn digest_values(output: &Output) -> Value {
    json!({
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
        "reproduced: {}\n  built twice from inputs pinned by digest, in a box without network, under {under};\n  both archives \
         have the same SHA-256\n",
        ready.plan.name
    );
    text.push_str(&digests(&rebuilt.plain.output));
    text.push_str(&conditions(rebuilt));
    text
}

/// The verdict for people, when the outputs differ.
pub(super) fn different(ready: &Ready, differences: &Differences) -> String {
    format!("not reproduced: {}\n{}", ready.plan.name, differences.limited(SHOWN))
}

/// What one build came to.
pub(super) fn once(ready: &Ready, built: &Built) -> String {
    let mut text = format!("built once: {} in {}\n", ready.plan.name, duration(built.elapsed));
    text.push_str(&digests(&built.output));
    text
}

/// Where the files are.
pub(super) fn published(output: &Output, directory: &Path) -> String {
    format!(
        "  in        {} ({})\n",
        directory.join(format!("{}.tar.gz", output.name())).display(),
        bytes(output.archive().size())
    )
}

/// The three digests.
pub(super) fn digests(output: &Output) -> String {
    format!(
        "  archive   {}\n  tar       {}\n  file list {}\n",
        output.archive().digest(),
        output.tar().digest(),
        output.list().digest()
    )
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

/// Writes the report beside the archive.
pub(super) fn write(report: &Value, plan: &Plan, directory: &Path) -> Result<(), Failure> {
    let name = format!("{}.report.json", plan.name).parse()?;
    let text = format!("{report:#}\n");
    Ok(output::publish_apart(&Companion { name: &name, bytes: text.as_bytes() }, directory)?)
}
