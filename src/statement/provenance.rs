//! How something was built: SLSA Provenance v1, with all that is needed to build it again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    BUILD_TYPE, Dependency, Identifier, Occasion, Origin, StatementError, Subject, Tool, ToolVersion, dependency, json,
    material,
};
use crate::Error;
use crate::definitions::Definitions;
use crate::digest::Digest;
use crate::lockfile::Name;
use crate::plan::{Plan, postgresql};
use crate::sandbox::{Medium, Wall};
use crate::target::{Target, Triple, Version};

/// How the subjects were built. What it holds belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// What was asked for.
    pub request: Request,
    /// The plan, with origins.
    pub plan: Plan,
    /// The definition files and lockfiles that it was made of, by path.
    pub files: BTreeMap<String, String>,
    /// Every input.
    pub dependencies: Vec<Dependency>,
    /// The walls that stood.
    pub walls: Vec<Wall>,
    /// Where files lay.
    pub medium: Medium,
    /// Who built, with what, when.
    pub origin: Origin,
    /// What else came of it.
    pub byproducts: Vec<Byproduct>,
}

/// What somebody asked to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// PostgreSQL.
    Release {
        /// Which.
        target: Target,
        /// With which toolchain.
        toolchain: Name,
    },
    /// A plan of their own.
    Plan,
}

/// Something that came of a build and is not published, or says how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Byproduct {
    /// Its name.
    pub name: Name,
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: Option<String>,
}

// SLSA Provenance v1 (https://slsa.dev/spec/v1.0/provenance), as pgproof fills it.

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: External,
    internal_parameters: Internal,
    resolved_dependencies: Vec<Dependency>,
}

/// What was asked for, by name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct External {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Triple>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    toolchain: Option<Name>,
    /// A plan of somebody's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<Digest>,
    sysroot: Name,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Internal {
    plan: Value,
    plan_digest: Digest,
    files: BTreeMap<String, String>,
    walls: Vec<Wall>,
    medium: Medium,
    pgproof: Tool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RunDetails {
    builder: Builder,
    metadata: Occasion,
    byproducts: Vec<WireByproduct>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Builder {
    id: Identifier,
    version: BTreeMap<String, ToolVersion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireByproduct {
    name: Name,
    digest: dependency::DigestSet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
}

/// The name of this program among a builder's versions.
const PROGRAM: &str = "pgproof";

/// Whether pgproof made this provenance.
pub(super) fn is_ours(body: &Value) -> bool {
    body.pointer("/buildDefinition/buildType").and_then(Value::as_str) == Some(BUILD_TYPE)
}

impl Provenance {
    /// The definition files as if they lay in a directory.
    pub fn definitions(&self) -> Definitions {
        Definitions::Carried(self.files.clone())
    }

    /// The plan that this pgproof makes of the same request and the same files: another one if its recipe is another. The
    /// plan itself where somebody asked for a plan.
    pub fn planned_here(&self) -> Result<Plan, Error> {
        let Request::Release { target, toolchain } = &self.request else { return Ok(self.plan.clone()) };
        let definitions = self.definitions();
        let toolchain = definitions.toolchain(toolchain)?;
        let mut sources = Vec::new();
        for name in definitions.names("lockfiles", "lock")? {
            sources.extend(definitions.lockfile(&name)?.sources);
        }
        let source = sources.into_iter().find(|source| source.version == target.version);
        match source {
            Some(source) => Ok(postgresql::plan(*target, &source, &toolchain, self.plan.sysroot.manifest)?),
            // Refused when it was parsed, and never made.
            None => Ok(self.plan.clone()),
        }
    }

    pub(super) fn read(body: Value) -> Result<Self, StatementError> {
        let malformed = |source| StatementError::Malformed { what: "the provenance", source };
        let Wire { build_definition, run_details } = json::typed(body).map_err(malformed)?;
        let BuildDefinition { external_parameters, internal_parameters, resolved_dependencies, .. } = build_definition;
        let plan = Plan::parse(&serde_json::to_vec(&internal_parameters.plan).map_err(malformed)?)?;
        if plan.digest() != internal_parameters.plan_digest {
            return Err(StatementError::contradiction(format!(
                "the plan has the digest {}, not {}",
                plan.digest(),
                internal_parameters.plan_digest
            )));
        }
        let RunDetails { builder, metadata, byproducts } = run_details;
        let tool = internal_parameters.pgproof;
        if builder.version != BTreeMap::from([(PROGRAM.to_owned(), tool.version.clone())]) {
            return Err(StatementError::contradiction("the builder's version is not that of its pgproof"));
        }
        let provenance = Self {
            request: external_parameters.request(&plan)?,
            plan,
            files: internal_parameters.files,
            dependencies: resolved_dependencies,
            walls: internal_parameters.walls,
            medium: internal_parameters.medium,
            origin: Origin { builder: builder.id, tool, occasion: metadata },
            byproducts: byproducts.into_iter().map(Byproduct::read).collect::<Result<_, _>>()?,
        };
        provenance.check()?;
        Ok(provenance)
    }

    pub(super) fn write(&self) -> Value {
        let Origin { builder, tool, occasion } = &self.origin;
        let wire = Wire {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: External::of(&self.request, &self.plan),
                internal_parameters: Internal {
                    plan: value(&self.plan),
                    plan_digest: self.plan.digest(),
                    files: self.files.clone(),
                    walls: self.walls.clone(),
                    medium: self.medium,
                    pgproof: tool.clone(),
                },
                resolved_dependencies: self.dependencies.clone(),
            },
            run_details: RunDetails {
                builder: Builder {
                    id: builder.clone(),
                    version: BTreeMap::from([(PROGRAM.to_owned(), tool.version.clone())]),
                },
                metadata: occasion.clone(),
                byproducts: self.byproducts.iter().map(Byproduct::write).collect(),
            },
        };
        value(&wire)
    }

    pub(super) fn check(&self) -> Result<(), StatementError> {
        material::check(&self.plan, &self.request, &self.files)?;
        self.check_dependencies()?;
        self.origin.occasion.check()
    }

    /// The list of inputs says nothing that the plan and its files do not say, but for the digests of keyrings, which only it
    /// has; and leaves nothing out.
    fn check_dependencies(&self) -> Result<(), StatementError> {
        let mut stated = BTreeMap::new();
        for dependency in &self.dependencies {
            if stated.insert(&dependency.name, &dependency.digest).is_some() {
                return Err(StatementError::contradiction(format!(
                    "the input {:?} is listed twice",
                    shown(dependency)
                )));
            }
        }
        let mut keyrings = BTreeMap::new();
        for path in dependency::keyrings(&self.plan, &self.definitions())? {
            let path = path.display().to_string();
            let digest = stated.get(&path).and_then(|digest| digest.sha256);
            let missing = || StatementError::contradiction(format!("the input {path:?} is not listed"));
            keyrings.insert(path.clone(), digest.ok_or_else(missing)?);
        }
        let derived = dependency::all(&self.plan, &self.files, &keyrings, &self.origin.tool)?;
        for dependency in &derived {
            let what = match stated.remove(&dependency.name) {
                Some(digest) if *digest == dependency.digest => continue,
                Some(_) => "is listed with another digest",
                None => "is not listed",
            };
            return Err(StatementError::contradiction(format!("the input {:?} {what}", dependency.name)));
        }
        match self.dependencies.iter().find(|dependency| stated.contains_key(&dependency.name)) {
            Some(more) => {
                Err(StatementError::contradiction(format!("the input {:?} is listed, but is none", shown(more))))
            }
            None => Ok(()),
        }
    }

    /// Whether the archives that the plan makes are among the subjects.
    pub(super) fn check_subjects(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        let names: BTreeSet<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
        for archive in self.plan.archives() {
            let file = format!("{}.tar.gz", archive.name);
            if !names.contains(file.as_str()) {
                return Err(StatementError::contradiction(format!("the plan makes {file}, which is no subject")));
            }
        }
        Ok(())
    }
}

fn shown(dependency: &Dependency) -> String {
    dependency.name.chars().take(120).collect()
}

/// What is known to be JSON, as a value.
fn value(wire: &impl Serialize) -> Value {
    serde_json::to_value(wire).expect("maps have strings for keys")
}

impl External {
    fn of(request: &Request, plan: &Plan) -> Self {
        let sysroot = plan.sysroot.name.clone();
        match request {
            Request::Release { target, toolchain } => Self {
                version: Some(target.version),
                target: Some(target.triple),
                toolchain: Some(toolchain.clone()),
                plan: None,
                sysroot,
            },
            Request::Plan => Self { version: None, target: None, toolchain: None, plan: Some(plan.digest()), sysroot },
        }
    }

    fn request(self, plan: &Plan) -> Result<Request, StatementError> {
        if self.sysroot != plan.sysroot.name {
            return Err(StatementError::contradiction(format!(
                "the sysroot asked for is {}, that of the plan {}",
                self.sysroot, plan.sysroot.name
            )));
        }
        match (self.version, self.target, self.toolchain, self.plan) {
            (Some(version), Some(triple), Some(toolchain), None) => {
                Ok(Request::Release { target: Target { version, triple }, toolchain })
            }
            (None, None, None, Some(digest)) if digest == plan.digest() => Ok(Request::Plan),
            (None, None, None, Some(_)) => Err(StatementError::contradiction("another plan was asked for")),
            _ => Err(StatementError::contradiction(
                "what was asked for is neither version, target and toolchain, nor a plan",
            )),
        }
    }
}

impl Byproduct {
    fn read(wire: WireByproduct) -> Result<Self, StatementError> {
        let digest = wire.digest.sha256.filter(|_| wire.digest.git_commit.is_none());
        let digest = digest.ok_or_else(|| {
            StatementError::contradiction(format!("the byproduct {} has not exactly a sha256", wire.name))
        })?;
        Ok(Self { name: wire.name, digest, media_type: wire.media_type })
    }

    fn write(&self) -> WireByproduct {
        WireByproduct {
            name: self.name.clone(),
            digest: dependency::DigestSet { sha256: Some(self.digest), git_commit: None },
            media_type: self.media_type.clone(),
        }
    }
}

impl Occasion {
    pub(super) fn check(&self) -> Result<(), StatementError> {
        if self.finished_on < self.started_on {
            return Err(StatementError::contradiction("it was finished before it was started"));
        }
        Ok(())
    }
}
