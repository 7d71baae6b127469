//! Many runs side by side: releases down, rebuilders across, and whether the rebuilders of a release agree.

use std::collections::{BTreeMap, BTreeSet};

use super::Run;
use super::mood::Mood;
use super::said::Said;
use super::words::counted;
use crate::digest::Digest;
use crate::target::{Target, Triple};

/// How many digits of a digest tell archives apart at a glance. Agreement is decided by all of them.
const DIGITS: usize = 12;

/// Runs as a matrix.
#[derive(Debug)]
pub(super) struct Grid<'a> {
    pub(super) rebuilders: Vec<&'a Said>,
    pub(super) rows: Vec<Row<'a>>,
    runs: &'a [Run],
}

/// A release.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// Its version, or its name if it is no PostgreSQL.
    pub(super) version: String,
    pub(super) triple: Option<Triple>,
    /// The runs of each rebuilder.
    pub(super) cells: Vec<Vec<Cell<'a>>>,
    pub(super) agreement: Agreement,
}

/// A run.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) index: usize,
    pub(super) run: &'a Run,
    /// The first digits of its archive's digest, if its builds agree on one.
    pub(super) digits: Option<String>,
}

/// Whether those who built a release made the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// No run of it made one archive.
    None,
    /// One rebuilder did.
    Alone,
    /// Several did, and all of these the same.
    Same {
        /// How many did.
        made: usize,
        /// How many have runs of it.
        of: usize,
    },
    /// They made other archives of one plan.
    Other,
    /// They made other archives, of other plans.
    Plans,
}

impl<'a> Grid<'a> {
    /// Sorts runs into a matrix.
    pub(super) fn of(runs: &'a [Run]) -> Self {
        let rebuilders: BTreeSet<_> = runs.iter().map(|run| &run.rebuilder).collect();
        let rebuilders: Vec<_> = rebuilders.into_iter().collect();
        let key = |run: &Run| (Target::of_archive(run.report.name.as_str()), run.report.name.clone());
        let mut releases: Vec<_> = runs.iter().map(key).collect::<BTreeSet<_>>().into_iter().collect();
        // The newest version is what most look for.
        releases.sort_by(|(one, name), (two, other)| two.cmp(one).then_with(|| name.cmp(other)));
        let row = |(target, name): (Option<Target>, _)| {
            let of_release: Vec<_> = runs.iter().enumerate().filter(|(_, run)| run.report.name == name).collect();
            let cells = rebuilders.iter().map(|rebuilder| {
                let own = of_release.iter().filter(|(_, run)| run.rebuilder == **rebuilder);
                own.map(|&(index, run)| Cell {
                    index,
                    run,
                    digits: archive(run).map(|digest| digest.hex()[..DIGITS].to_owned()),
                })
                .collect()
            });
            Row {
                version: target.map_or_else(|| name.to_string(), |target| target.version.to_string()),
                triple: target.map(|target| target.triple),
                cells: cells.collect(),
                agreement: Agreement::between(of_release.iter().map(|(_, run)| *run)),
            }
        };
        Self { rows: releases.into_iter().map(row).collect(), rebuilders, runs }
    }

    /// How many runs reproduced, and how many compared at all.
    fn reproduced(&self) -> (usize, usize) {
        let verdicts = self.runs.iter().filter_map(|run| run.report.verdict.as_ref());
        verdicts.fold((0, 0), |(good, all), verdict| (good + usize::from(verdict.reproduced), all + 1))
    }

    /// The worst of the runs, or worse if rebuilders disagree.
    pub(super) fn mood(&self) -> Mood {
        let disputed = self.rows.iter().any(|row| row.agreement == Agreement::Other);
        let worst = self.runs.iter().map(|run| Mood::of(&run.report)).min();
        worst.filter(|_| !disputed).unwrap_or(Mood::Bad)
    }

    /// All runs in a few words.
    pub(super) fn headline(&self) -> String {
        match self.reproduced() {
            (_, 0) => counted(self.runs.len() as u64, "run", "runs"),
            (good, all) if good == all => format!("All {} reproduced", counted(all as u64, "run", "runs")),
            (good, all) => format!("{good} of {} reproduced", counted(all as u64, "run", "runs")),
        }
    }

    /// What they were of, and whether their makers agree.
    pub(super) fn summary(&self) -> String {
        let of = format!(
            "{} by {}.",
            counted(self.rows.len() as u64, "release", "releases"),
            counted(self.rebuilders.len() as u64, "rebuilder", "rebuilders")
        );
        let several = self.rows.iter().filter(|row| matches!(row.agreement, Agreement::Same { .. })).count();
        let disputed = self.rows.iter().filter(|row| row.agreement == Agreement::Other).count();
        match (several, disputed) {
            (0, 0) => of,
            (_, 0) => format!("{of} Where several built one, all made the same archives."),
            (_, disputed) => {
                format!(
                    "{of} On {} they disagree: they made other archives.",
                    counted(disputed as u64, "release", "releases")
                )
            }
        }
    }
}

impl Agreement {
    /// `all 3` or `2 of 3`.
    pub(super) fn tally(made: usize, of: usize) -> String {
        if made == of { format!("all {of}") } else { format!("{made} of {of}") }
    }

    fn between<'a>(runs: impl Iterator<Item = &'a Run>) -> Self {
        let runs: Vec<_> = runs.collect();
        let of = runs.iter().map(|run| &run.rebuilder).collect::<BTreeSet<_>>().len();
        let made: Vec<_> =
            runs.into_iter().filter_map(|run| Some((&run.rebuilder, run.report.plan, archive(run)?))).collect();
        let rebuilders = made.iter().map(|(rebuilder, ..)| rebuilder).collect::<BTreeSet<_>>().len();
        let mut by_plan = BTreeMap::<_, BTreeSet<_>>::new();
        for (_, plan, archive) in &made {
            by_plan.entry(plan).or_default().insert(archive);
        }
        let disputed = by_plan.values().any(|archives| archives.len() > 1);
        let archives = made.iter().map(|(.., archive)| archive).collect::<BTreeSet<_>>().len();
        match (rebuilders, archives) {
            (0, _) => Self::None,
            _ if disputed => Self::Other,
            (_, 2..) => Self::Plans,
            (1, _) => Self::Alone,
            (made, _) => Self::Same { made, of },
        }
    }
}

/// The digest of the archive that all builds of a run agree on.
fn archive(run: &Run) -> Option<Digest> {
    let differs = run.report.verdict.as_ref().is_some_and(|verdict| !verdict.reproduced);
    if differs { None } else { run.report.first_archives().first().map(|archive| archive.archive) }
}
