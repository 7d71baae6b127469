//! PostgreSQL's own tests, `make installcheck-world`, from the pinned sources against a server from an archive.
//!
//! The sources are configured as for a build, but only what the tests themselves consist of is built of them: server,
//! programs and libraries are the archive's. The box is the one that PostgreSQL is built in, because the tests need make, a
//! compiler and more. TAP tests are not part of it: they are not configured.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::archive::{Archive, Part};
use super::{Inputs, Place, TrialError, layer, run, seconds};
use crate::Error;
use crate::digest::Digest;
use crate::plan::{Plan, Step};
use crate::rebuild::Workshop;
use crate::target::{Target, Triple, Version};
use crate::variation::Variation;

/// What is run in the box.
const SCRIPT: &str = include_str!("regress.sh");

/// What the tests consist of, below the sources.
const BUILT: [&str; 5] = [
    "src/interfaces/libpq",
    "src/test/regress",
    "src/test/isolation",
    "src/interfaces/ecpg",
    "src/interfaces/ecpg/test",
];

/// Options of `configure` by which make leaves out what needs an interpreter.
const WITHOUT_LANGUAGES: [&str; 3] = ["with_perl=no", "with_python=no", "with_tcl=no"];

/// More suites or failed tests than there are in PostgreSQL: the rest is left out.
const LIMIT: usize = 2000;

/// Longer lines are read in parts.
const LINE_LIMIT: u64 = 4096;

/// What PostgreSQL's own tests found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Regress {
    /// Whose sources.
    pub version: Version,
    /// In the order in which they ran.
    pub suites: Vec<Suite>,
    /// What make ended with; none if it did not.
    pub status: Option<u8>,
    /// Why the tests did not come to their end.
    pub ended: Option<String>,
    /// What they printed, with the differences that they found.
    pub log: Digest,
    /// The plan that was run.
    pub plan: Digest,
    /// Whether the languages that need an interpreter were tested.
    pub languages: bool,
    /// How long it took, building the tests included.
    #[serde(rename = "elapsedS", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// The tests of one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suite {
    /// The directory below the sources: `contrib/hstore`.
    pub name: String,
    /// How many tests passed.
    pub passed: usize,
    /// How many were skipped, or failed as somebody foresaw.
    pub skipped: usize,
    /// The names of those that failed.
    pub failed: Vec<String>,
}

/// Runs the tests of `version` on the archive; with `languages`, an archive of PL/Perl, PL/Python and PL/Tcl, theirs too.
pub fn regress(
    workshop: &Workshop<'_>,
    archive: &Path,
    languages: Option<&Path>,
    version: Version,
) -> Result<Regress, Error> {
    let started = Instant::now();
    let archive = Archive::read(archive)?;
    let languages = languages.map(Part::read).transpose()?;
    let here = Place::random(&archive);
    let token = format!("pgproof-{:032x}", fastrand::u128(..));

    let recipe = workshop.plan(Target { version, triple: Triple::host()? }, None)?;
    let mut inputs = Inputs::new(workshop.store);
    inputs.add_passing("token", &format!("{token}\n"))?;
    inputs.add("regress.sh", SCRIPT)?;
    let plan = plan(recipe, inputs.sorted(), &here.path, languages.is_some())?;
    let digest = plan.digest();
    let ready = workshop.prepare(plan)?;
    let layer = layer(ready.rootfs.layer(), workshop.store, &mut |writer| {
        archive.lay(&here.directory, writer)?;
        languages.as_ref().map_or(Ok(()), |part| archive.lay_part(part, &here.directory, writer))
    })?;
    inputs.passing.push(layer);
    let variation = Variation::plain(workshop.cpus);
    let ran = run(workshop, &ready, layer, &variation)?;
    drop(inputs);

    let reader = BufReader::new(workshop.store.read(ran.log)?);
    let tests = Tests::read(reader, &token).map_err(|source| TrialError::Log { source })?;
    Ok(Regress {
        version,
        suites: tests.suites,
        status: tests.status,
        ended: ran.ended,
        log: ran.log.digest(),
        plan: digest,
        languages: languages.is_some(),
        elapsed: started.elapsed(),
    })
}

/// The recipe's plan up to `configure`, and then the tests instead of the build.
fn plan(recipe: Plan, inputs: Vec<crate::plan::Input>, archive: &str, languages: bool) -> Result<Plan, Error> {
    let mut plan = recipe;
    plan.name = "postgresql-regress".parse()?;
    plan.steps.truncate(1);
    let sources = plan.steps[0].directory.clone();
    for (index, directory) in BUILT.iter().enumerate() {
        plan.steps.push(Step {
            name: format!("build-tests-{}", index + 1).parse()?,
            argv: ["make", "-C", directory, "all"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("rpathdir={archive}/lib")])
                .collect(),
            directory: sources.clone(),
        });
    }
    let mut argv = ["sh", "/pgproof/inputs/regress.sh", archive].map(str::to_owned).to_vec();
    if !languages {
        argv.extend(WITHOUT_LANGUAGES.map(str::to_owned));
    }
    plan.steps.push(Step { name: "installcheck-world".parse()?, argv, directory: sources });
    plan.inputs.extend(inputs);
    plan.inputs.sort_by(|one, other| one.name.cmp(&other.name));
    plan.output = ".".parse()?;
    plan.parts.clear();
    Ok(plan)
}

impl Regress {
    /// Passed, failed and skipped tests of all suites.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.suites.iter().fold((0, 0, 0), |(passed, failed, skipped), suite| {
            (passed + suite.passed, failed + suite.failed.len(), skipped + suite.skipped)
        })
    }

    /// Whether all was run and nothing failed.
    pub fn passed(&self) -> bool {
        let (passed, failed, _) = self.counts();
        self.ended.is_none() && self.status == Some(0) && passed > 0 && failed == 0
    }
}

/// What `make installcheck-world` printed, read as results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tests {
    /// In the order in which they ran.
    pub suites: Vec<Suite>,
    /// What make ended with; none if it did not.
    pub status: Option<u8>,
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Passed,
    Failed,
    Skipped,
}

impl Tests {
    /// Reads a log. Nothing counts before the line `<token> suites`; a line `<token> status <number>` tells how make ended.
    pub fn read(mut log: impl BufRead, token: &str) -> io::Result<Self> {
        let mut tests = Self { suites: Vec::new(), status: None };
        let (mut running, mut directories, mut line) = (false, Vec::new(), Vec::new());
        while io::Read::take(&mut log, LINE_LIMIT).read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            let text = text.trim_end();
            if let Some(told) = text.strip_prefix(token) {
                running = told == " suites";
                if let Some(status) = told.strip_prefix(" status ") {
                    tests.status = tests.status.or(status.parse().ok());
                }
            } else if running {
                if let Some(directory) = entering(text) {
                    directories.push(directory.to_owned());
                } else if text.contains(": Leaving directory '") {
                    directories.pop();
                } else if let Some((name, grade)) = result(text) {
                    tests.count(directories.last().map_or("", String::as_str), name, grade);
                }
            }
        }
        Ok(tests)
    }

    fn count(&mut self, directory: &str, name: &str, grade: Grade) {
        // The build root's path and the sources' directory say nothing.
        let suite = directory.split_once("/postgresql-").and_then(|(_, rest)| rest.split_once('/'));
        let suite: String = suite.map_or(directory, |(_, suite)| suite).chars().take(200).collect();
        let index = self.suites.iter().position(|known| known.name == suite);
        let index = match index {
            Some(index) => index,
            None if self.suites.len() == LIMIT => return,
            None => {
                self.suites.push(Suite { name: suite, ..Suite::default() });
                self.suites.len() - 1
            }
        };
        let suite = &mut self.suites[index];
        match grade {
            Grade::Passed => suite.passed += 1,
            Grade::Skipped => suite.skipped += 1,
            Grade::Failed => {
                if suite.failed.len() < LIMIT {
                    suite.failed.push(name.chars().take(200).collect());
                }
            }
        }
    }
}

/// `make[2]: Entering directory '/build/postgresql-17.11/contrib/hstore'`
fn entering(line: &str) -> Option<&str> {
    line.split_once(": Entering directory '")?.1.strip_suffix('\'')
}

/// A test's name and grade, in both formats of `pg_regress`:
///
/// ```text
/// ok 12        + boolean                                    38 ms      since 16; + in a parallel group, - alone
/// not ok 13    - char                                       20 ms
/// test tablespace                   ... ok          277 ms             until 15
///      boolean                      ... FAILED       38 ms
///      random                       ... failed (ignored)   20 ms
/// ```
fn result(line: &str) -> Option<(&str, Grade)> {
    let passed = line.strip_prefix("ok ").map(|rest| (rest, Grade::Passed));
    if let Some((rest, grade)) = passed.or_else(|| line.strip_prefix("not ok ").map(|rest| (rest, Grade::Failed))) {
        let mut words = rest.split_whitespace();
        let number = words.next()?.bytes().all(|byte| byte.is_ascii_digit());
        let sign = matches!(words.next()?, "+" | "-");
        let grade = if rest.contains("# SKIP") || rest.contains("# TODO") { Grade::Skipped } else { grade };
        return words.next().filter(|_| number && sign).map(|name| (name, grade));
    }
    let (name, outcome) = line.split_once(" ... ")?;
    let name = name.strip_prefix("test ").or_else(|| name.strip_prefix("     "))?.trim();
    let outcome = outcome.trim_start();
    let grade = if outcome.starts_with("ok") {
        Grade::Passed
    } else if outcome.starts_with("failed (ignored)") || outcome.starts_with("skipped") {
        Grade::Skipped
    } else if outcome.starts_with("FAILED") {
        Grade::Failed
    } else {
        return None;
    };
    (!name.is_empty() && !name.contains(' ')).then_some((name, grade))
}
