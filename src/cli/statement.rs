//! What is stated of a build, beside the archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pgproof::digest::{Digest, HashingReader};
use pgproof::lockfile::Name;
use pgproof::output::{self, Companion, Release, Sums};
use pgproof::plan::Plan;
use pgproof::rebuild::{Built, Ready, Rebuilt};
use pgproof::statement::{
    ArchiveDigests, Builds, Byproduct, Cause, Found, Identifier, Materials, Occasion, Origin, Request, Statement, Tool,
};
use pgproof::verdict::{Differences, Reproduced};

use super::arguments::Stating;
use super::failure::{Failure, chain};
use super::this_program;

/// How the file of provenance is called: `NAME.provenance.json`.
pub(super) const PROVENANCE: &str = "provenance";

/// How the file that says what a rebuild came to is called: `NAME.rebuild.json`.
pub(super) const REBUILD: &str = "rebuild";

/// What was published, and with what.
pub(super) struct Published {
    /// The files that `SHA256SUMS` lists.
    pub(super) files: BTreeMap<Name, Sums>,
    /// The report.
    pub(super) report: Digest,
}

/// Who states something of a build that has begun.
pub(super) struct Witness {
    builder: Identifier,
    tool: Tool,
    invocation: Option<Identifier>,
    started: Timestamp,
}

impl Witness {
    pub(super) fn new(stating: &Stating, started: Timestamp) -> Result<Self, Failure> {
        let builder = match &stating.builder_id {
            Some(named) => named.clone(),
            None => workflow(stating).unwrap_or_else(|| Identifier::UNNAMED.to_owned()).parse()?,
        };
        let invocation = run(stating).map(|uri| uri.parse()).transpose()?;
        Ok(Self { builder, tool: tool()?, invocation, started })
    }

    /// The origin of what is stated at `finished`.
    fn origin(&self, finished: Timestamp) -> Origin {
        let occasion = Occasion::new(self.invocation.clone(), self.started, finished);
        Origin { builder: self.builder.clone(), tool: self.tool.clone(), occasion }
    }

    /// States how the plain build was made.
    pub(super) fn provenance(
        &self,
        materials: &Materials,
        built: &Built,
        published: &Published,
        finished: Timestamp,
    ) -> Result<Statement, Failure> {
        let byproducts = byproducts(materials.plan(), built, published.report)?;
        Ok(Statement::of_build(materials, built, &published.files, byproducts, self.origin(finished))?)
    }

    /// States that both builds made the same.
    pub(super) fn reproduced(
        &self,
        reproduced: &Reproduced,
        ready: &Ready,
        rebuilt: &Rebuilt,
        published: &Published,
        finished: Timestamp,
    ) -> Result<Statement, Failure> {
        let builds = [&rebuilt.plain, &rebuilt.shaken];
        Ok(Statement::reproduced(reproduced, &ready.plan, builds, &published.files, self.origin(finished))?)
    }

    /// States whether both made what somebody published.
    pub(super) fn against_published(
        &self,
        published: &BTreeMap<Name, ArchiveDigests>,
        rebuilt: &Rebuilt,
        found: Option<Found>,
        plan: &Plan,
        finished: Timestamp,
    ) -> Result<Statement, Failure> {
        let builds = Builds::Twice(rebuilt);
        Ok(Statement::against_published(published, builds, found, Vec::new(), plan, self.origin(finished))?)
    }

    /// Which pgproof states it.
    pub(super) fn tool(&self) -> &Tool {
        &self.tool
    }

    /// States that they did not, and why as far as it is known.
    pub(super) fn not_reproduced(
        &self,
        differences: &Differences,
        causes: Vec<Cause>,
        ready: &Ready,
        rebuilt: &Rebuilt,
        finished: Timestamp,
    ) -> Result<Statement, Failure> {
        let builds = [&rebuilt.plain, &rebuilt.shaken];
        Ok(Statement::not_reproduced(differences, causes, &ready.plan, builds, self.origin(finished))?)
    }
}

/// What was asked for.
pub(super) fn request(release: Option<&Release>) -> Request {
    release.map_or(Request::Plan, |release| Request::Release {
        target: release.target,
        toolchain: release.toolchain.clone(),
    })
}

/// Writes a statement beside the archive, and says so to people. Its signature, if there is one, is a file of its own.
pub(super) fn write(statement: &Statement, kind: &str, plan: &Plan, directory: &Path) -> Result<String, Failure> {
    let name = format!("{}.{kind}.json", plan.name).parse()?;
    output::publish_apart(&Companion { name: &name, bytes: &statement.canonical() }, directory)?;
    Ok(format!("  stated    {} (unsigned)\n", directory.join(name.as_str()).display()))
}

/// Where [`write`] puts a statement.
pub(super) fn path(kind: &str, plan: &Plan, directory: &Path) -> PathBuf {
    directory.join(format!("{}.{kind}.json", plan.name))
}

/// Why there is no provenance, for people.
pub(super) fn unstated(error: &pgproof::statement::StatementError) -> String {
    let causes = chain(error).join(": ");
    format!("  stated    no provenance, because nobody could build the same from it: {causes}\n")
}

/// Which pgproof this is.
pub(super) fn tool() -> Result<Tool, Failure> {
    let path = this_program();
    let failed = |source| Failure::File { action: "read", path: path.clone(), source };
    let mut program = HashingReader::new(File::open(&path).map_err(failed)?);
    std::io::copy(&mut program, &mut std::io::sink()).map_err(failed)?;
    let (binary, _) = program.finish();
    Ok(Tool { version: env!("CARGO_PKG_VERSION").parse()?, commit: env!("PGPROOF_COMMIT").parse()?, binary })
}

fn byproducts(plan: &Plan, built: &Built, report: Digest) -> Result<Vec<Byproduct>, Failure> {
    let product = |name: String, digest, media_type: Option<&str>| {
        let media_type = media_type.map(str::to_owned);
        Ok::<_, Failure>(Byproduct { name: name.parse()?, digest, media_type })
    };
    let log = format!("{}.{}.log", plan.name, built.variation.label);
    let mut byproducts = vec![product(log, built.installed.log.digest(), Some("text/plain"))?];
    for output in &built.outputs {
        byproducts.push(product(format!("{}.files", output.name()), output.list().digest(), Some("text/plain"))?);
        byproducts.push(product(format!("{}.tar", output.name()), output.tar().digest(), Some("application/x-tar"))?);
    }
    byproducts.push(product(format!("{}.report.json", plan.name), report, Some("application/json"))?);
    Ok(byproducts)
}

/// The workflow that GitHub Actions runs this in: the identity that its tokens have, too.
fn workflow(stating: &Stating) -> Option<String> {
    let [server, workflow] =
        [&stating.github_server_url, &stating.github_workflow_ref].map(|value| given(value.as_ref()));
    Some(format!("{}/{}", server?, workflow?))
}

/// The run of it.
fn run(stating: &Stating) -> Option<String> {
    let [server, repository, run, attempt] =
        [&stating.github_server_url, &stating.github_repository, &stating.github_run_id, &stating.github_run_attempt]
            .map(|value| given(value.as_ref()));
    Some(format!("{}/{}/actions/runs/{}/attempts/{}", server?, repository?, run?, attempt.unwrap_or("1")))
}

fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}
