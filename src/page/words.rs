//! Quantities and conditions in words, the same on a page and in Markdown.

use indicatif::HumanBytes;

use super::report::{Build, Conditions, Report, Seconds};
use super::said::Said;
use crate::sandbox::{Exit, Medium, Outcome};
use crate::target::Target;
use crate::variation::{Axis, Label};

/// `34.2 MiB`.
pub(super) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// `0.4 s`, `12 s` or `3 min 04 s`.
pub(super) fn duration(seconds: Seconds) -> String {
    let seconds = seconds.get();
    if seconds < 0.05 {
        return "< 0.1 s".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    if seconds < 99.5 {
        return format!("{seconds:.0} s");
    }
    let whole = seconds.round();
    format!("{:.0} min {:02.0} s", (whole / 60.0).floor(), whole % 60.0)
}

/// `1,989`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file` or `2 files`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// How a step ended, if it did not end well.
pub(super) fn exit(exit: Exit) -> Option<String> {
    match exit {
        Exit::Status(0) => None,
        Exit::Status(status) => Some(format!("exit status {status}")),
        Exit::Signal(signal) => Some(format!("signal {signal}")),
        Exit::NotRun(errno) => Some(format!("did not begin (errno {errno})")),
    }
}

/// Where a build's files lay.
pub(super) fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Memory => "in memory",
        Medium::BuildOnDisk => "the build root on disk, the root file system in memory",
        Medium::Disk => "on disk",
    }
}

/// What a build is called.
pub(super) fn label(label: Label) -> &'static str {
    match label {
        Label::Plain => "plain build",
        Label::Shaken => "shaken build",
    }
}

/// What an axis is about.
pub(super) fn axis(axis: Axis) -> &'static str {
    match axis {
        Axis::HostName => "Host and domain name",
        Axis::User => "User and group",
        Axis::Home => "Home directory",
        Axis::BuildPath => "Build path",
        Axis::Umask => "File creation mask",
        Axis::TimeZone => "Time zone",
        Axis::Locale => "Locale",
        Axis::Terminal => "Terminal",
        Axis::Environment => "Environment",
        Axis::CpuCount => "Processors",
        Axis::Jobs => "Jobs at once",
        Axis::BootTime => "Time since boot",
        Axis::Clock => "Date and time",
        Axis::Kernel => "Kernel release",
        Axis::AddressSpace => "Address space",
        Axis::DirectoryOrder => "Directory order",
        Axis::SourceTimes => "Times of the sources",
        Axis::ProcessIds => "Process ids",
        Axis::FileSystem => "File system",
    }
}

/// What a cause is called; nothing if it is none that is known here.
pub(super) fn cause_title(cause: &Said) -> Option<&'static str> {
    const OTHERS: [(&str, &str); 4] = [
        ("hash-order", "Order of a hash table"),
        ("random", "Random"),
        ("race", "Race between jobs"),
        ("unknown", "Unknown cause"),
    ];
    let condition = Axis::ALL.into_iter().find(|axis| cause.is(|cause| cause == axis.as_str()));
    let other = || OTHERS.into_iter().find(|(name, _)| cause.is(|cause| cause == *name));
    condition.map(axis).or_else(|| other().map(|(_, title)| title))
}

/// What an axis was in a build.
pub(super) fn value(axis: Axis, conditions: &Conditions) -> Said {
    let own = |text: &str| Said::new(text);
    let differs = conditions.axes.contains(&axis);
    match axis {
        Axis::HostName => conditions.host_name.clone(),
        Axis::User => {
            let ids = own(&format!("{}:{}", conditions.uid, conditions.gid));
            let names = Said::joined(&[conditions.user_name.clone(), conditions.group_name.clone()], ":");
            Said::joined(&[names, ids], " ")
        }
        Axis::Home => conditions.home.clone(),
        Axis::BuildPath => conditions.build_root.clone(),
        Axis::Umask => own(&format!("{:03o}", conditions.umask)),
        Axis::TimeZone => variables(conditions, |name| name == "TZ"),
        Axis::Locale => variables(conditions, is_locale),
        Axis::Terminal => variables(conditions, is_terminal),
        Axis::Environment => variables(conditions, |name| name != "TZ" && !is_locale(name) && !is_terminal(name)),
        Axis::CpuCount => own(&conditions.cpus.to_string()),
        Axis::Jobs => own(&conditions.jobs.to_string()),
        Axis::BootTime => days(conditions.boot_offset_s, "the host's"),
        Axis::Clock => days(conditions.clock_offset_s, "the host's"),
        Axis::Kernel => own(if differs { "a 2.6 release" } else { "the host's" }),
        Axis::AddressSpace => own(if differs { "fixed" } else { "randomised" }),
        Axis::DirectoryOrder => own(if differs { "another" } else { "as unpacked" }),
        Axis::SourceTimes => days(conditions.source_time_offset_s, "the archive's"),
        Axis::ProcessIds => match conditions.skipped_pids {
            0 => own("from 1"),
            skipped => own(&format!("after {skipped} others")),
        },
        Axis::FileSystem => own(if differs { "on disk" } else { "in memory" }),
    }
}

fn is_locale(name: &str) -> bool {
    name.starts_with("LC_") || name.starts_with("LANG")
}

fn is_terminal(name: &str) -> bool {
    matches!(name, "TERM" | "COLUMNS" | "LINES")
}

/// `LC_ALL=POSIX LANG=C`
fn variables(conditions: &Conditions, wanted: impl Fn(&str) -> bool) -> Said {
    let pairs = conditions.environment.iter().filter(|(name, _)| name.is(&wanted));
    let set: Vec<_> = pairs.map(|(name, value)| Said::joined(&[name.clone(), value.clone()], "=")).collect();
    if set.is_empty() { Said::new("nothing") } else { Said::joined(&set, " ") }
}

/// An offset in days.
fn days(seconds: i64, none: &str) -> Said {
    match seconds / 86_400 {
        0 => Said::new(none),
        days => Said::new(&format!("{}{} days", if days > 0 { "+" } else { "−" }, count(days.unsigned_abs()))),
    }
}

/// How many of a build's axes held, and those that did not with the reason.
pub(super) fn held(build: &Build) -> (usize, Vec<(Axis, Said)>) {
    let held = build.axes.values().filter(|outcome| **outcome == Outcome::Held).count();
    let not = build.axes.iter().filter_map(|(axis, outcome)| match outcome {
        Outcome::NotHeld(why) => Some((*axis, Said::new(why))),
        Outcome::Held => None,
    });
    (held, not.collect())
}

/// Whether any condition of the second build differed.
pub(super) fn conditions(report: &Report) -> &'static str {
    let varied = report.builds.get(1).is_some_and(|shaken| held(shaken).0 > 0);
    if varied { "under different conditions" } else { "under the same conditions" }
}

/// `18 of 19 differed`, if there were two builds.
pub(super) fn tally(report: &Report) -> Option<String> {
    let shaken = report.builds.get(1)?;
    Some(format!("{} of {} differed", held(shaken).0, Axis::ALL.len()))
}

/// The verdict in a word or two.
pub(super) fn headline(report: &Report) -> &'static str {
    let unclean = report.check.as_ref().is_some_and(|check| check.clean == Some(false));
    match &report.verdict {
        Some(verdict) if verdict.reproduced && unclean => "Reproduced, but no release",
        Some(verdict) if verdict.reproduced => "Reproduced",
        Some(_) => "Not reproduced",
        None if report.builds.is_empty() => "Packed",
        None => "Built once",
    }
}

/// What builds the same again.
pub(super) fn command(report: &Report) -> String {
    match Target::of_archive(report.name.as_str()) {
        Some(Target { version, triple }) => format!("pgproof rebuild --compare {version} --target {triple}"),
        None => format!("pgproof rebuild --compare --plan {}.plan.json", report.name),
    }
}
