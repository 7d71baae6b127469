//! What has to be at hand to build the same again: the plan, and the definition files that it was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Dependency, Request, StatementError, Tool, dependency};
use crate::definitions::Definitions;
use crate::digest::Digest;
use crate::inputs;
use crate::lockfile::{Lockfile, Name};
use crate::plan::Plan;
use crate::target::Target;

/// A plan with its origins, and the files that it was made of: they belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materials {
    pub(super) request: Request,
    pub(super) plan: Plan,
    pub(super) files: BTreeMap<String, String>,
    keyrings: BTreeMap<String, Digest>,
}

impl Materials {
    /// Takes from `definitions` what belongs to `plan`. Fails if they do not make its root file system.
    pub fn gather(plan: &Plan, request: Request, definitions: &Definitions) -> Result<Self, StatementError> {
        let mut plan = plan.clone();
        let pins = inputs::pins(&plan, definitions)?;
        for (input, pin) in plan.inputs.iter_mut().zip(pins) {
            input.origins = pin.origins;
        }
        let mut files = BTreeMap::new();
        for path in chosen(&plan, &request, definitions)? {
            let text = String::from_utf8(definitions.file(Path::new(&path))?);
            let text = text.map_err(|_encoding| StatementError::contradiction(format!("{path} is no text")))?;
            files.insert(path, text);
        }
        check(&plan, &request, &files)?;
        let mut keyrings = BTreeMap::new();
        for path in dependency::keyrings(&plan, &Definitions::Carried(files.clone()))? {
            keyrings.insert(path.display().to_string(), Digest::of(&definitions.file(&path)?));
        }
        Ok(Self { request, plan, files, keyrings })
    }

    /// Every input, this program included.
    pub(super) fn dependencies(&self, tool: &Tool) -> Result<Vec<Dependency>, StatementError> {
        dependency::all(&self.plan, &self.files, &self.keyrings, tool)
    }
}

/// The definition files that belong to `plan`.
fn chosen(plan: &Plan, request: &Request, definitions: &Definitions) -> Result<BTreeSet<String>, StatementError> {
    let sysroot = &plan.sysroot.name;
    let mut chosen = BTreeSet::from([format!("sysroots/{sysroot}.toml"), format!("lockfiles/{sysroot}.lock")]);
    if let Request::Release { toolchain, .. } = request {
        chosen.insert(format!("toolchains/{toolchain}.toml"));
    }
    let defined = definitions.names("sysroots", "toml")?;
    for name in definitions.names("lockfiles", "lock")? {
        if locks_an_input(&definitions.lockfile(&name)?, plan) {
            chosen.insert(format!("lockfiles/{name}.lock"));
            if defined.contains(&name) {
                chosen.insert(format!("sysroots/{name}.toml"));
            }
        }
    }
    Ok(chosen)
}

fn locks_an_input(lockfile: &Lockfile, plan: &Plan) -> bool {
    let packages = lockfile.packages.iter().map(|package| package.digest);
    let mut locked = packages.chain(lockfile.sources.iter().map(|source| source.digest));
    locked.any(|digest| plan.inputs.iter().any(|input| input.digest == digest))
}

/// Whether `files` are those that `plan` was made of, as far as that can be told without the recipe.
pub(super) fn check(plan: &Plan, request: &Request, files: &BTreeMap<String, String>) -> Result<(), StatementError> {
    let no = |what: String| Err(StatementError::Contradiction(what));
    let definitions = Definitions::Carried(files.clone());
    let sysroot = &plan.sysroot;
    for path in [format!("sysroots/{}.toml", sysroot.name), format!("lockfiles/{}.lock", sysroot.name)] {
        if !files.contains_key(&path) {
            return no(format!("the plan's sysroot is {}, but {path} is not there", sysroot.name));
        }
    }
    let compose = definitions.compose(&sysroot.name)?;
    if compose.manifest != sysroot.manifest {
        return no(format!(
            "the plan's sysroot {} has the manifest {}, its definition pins {}",
            sysroot.name, sysroot.manifest, compose.manifest
        ));
    }
    for name in definitions.names("lockfiles", "lock")? {
        let stated = definitions.lockfile(&name)?.name;
        if stated != name {
            return no(format!("lockfiles/{name}.lock says that it is of {stated}"));
        }
    }
    if let Request::Release { target, toolchain } = request {
        check_release(plan, *target, toolchain, &definitions)?;
        if compose.target != target.triple {
            return no(format!("sysroots/{}.toml is for {}, not for {}", sysroot.name, compose.target, target.triple));
        }
    }
    let chosen = chosen(plan, request, &definitions)?;
    if let Some(path) = files.keys().find(|path| !chosen.contains(*path)) {
        return no(format!("{} has nothing to do with the plan", path.chars().take(120).collect::<String>()));
    }
    Ok(())
}

/// Whether `plan` is one that may be called PostgreSQL `target`.
fn check_release(
    plan: &Plan,
    target: Target,
    toolchain: &Name,
    definitions: &Definitions,
) -> Result<(), StatementError> {
    let no = |what: String| Err(StatementError::Contradiction(what));
    if plan.name.as_str() != target.archive_stem() {
        return no(format!("the plan makes {}, not {}", plan.name, target.archive_stem()));
    }
    let path = format!("toolchains/{toolchain}.toml");
    if !definitions.names("toolchains", "toml")?.contains(toolchain) {
        return no(format!("the toolchain is {toolchain}, but {path} is not there"));
    }
    let made = definitions.toolchain(toolchain)?;
    if made.target != target.triple {
        return no(format!("{path} builds for {}, not for {}", made.target, target.triple));
    }
    if made.sysroot != plan.sysroot.name {
        return no(format!("{path} builds in {}, the plan in {}", made.sysroot, plan.sysroot.name));
    }
    let mut locked = Vec::new();
    for name in definitions.names("lockfiles", "lock")? {
        locked.extend(definitions.lockfile(&name)?.sources);
    }
    let Some(source) = locked.iter().find(|source| source.version == target.version) else {
        return no(format!("no lockfile that is there has PostgreSQL {}", target.version));
    };
    let is_source = |input: &&crate::plan::Input| input.digest == source.digest;
    let Some(input) = plan.inputs.iter().find(is_source) else {
        return no(format!("the lockfile's PostgreSQL {} is not among the plan's inputs", target.version));
    };
    let tar = input.unpack.as_ref().and_then(|unpack| unpack.tar_digest);
    if input.size != source.size || tar != Some(source.tar_digest) {
        return no(format!("the plan's {} has another size or tar than in the lockfile", input.name));
    }
    if i64::from(plan.source_date_epoch) != source.released.as_second() {
        return no(format!("the plan's time is not that of the release of PostgreSQL {}", target.version));
    }
    Ok(())
}
