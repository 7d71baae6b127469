//! The whole story: what is missing is fetched, the root file system composed, the plan built twice, the outputs compared.
//!
//! It decides nothing and prints nothing: each stage's module does the work, an [`Observer`] hears of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Error;
use crate::check::{self, Expected, Part, Role};
use crate::definitions::{Compose, Definitions, Toolchain};
use crate::fetch::{self, Network};
use crate::inputs::{self, Inputs};
use crate::lockfile::{Lockfile, Name};
use crate::output::{self, Output, Release};
use crate::plan::{Plan, postgresql};
use crate::sandbox::{self, Cancel, Event, Installed, Job, Limits, Medium, Outcome, SandboxError};
use crate::store::{Store, StoreError};
use crate::sysroot::{self, Rootfs, SysrootError};
use crate::target::Target;
use crate::variation::{Axis, Label, PLACES, Variation};
use crate::verdict::{Comparison, Verdict};

/// The lockfile that has PostgreSQL's sources.
pub(crate) const SOURCES: &str = "postgresql";

/// What one build needs of memory, in bytes, to run beside another: the root file system, the build root, the output and
/// some compilers. PostgreSQL 17.11 was seen to need 1.1 GiB.
const MEMORY_OF_A_BUILD: u64 = 3 << 30;

/// Everything that the stages share.
pub struct Workshop<'a> {
    /// What is asked for.
    pub definitions: &'a Definitions,
    /// Where bytes are kept.
    pub store: &'a Store,
    /// Permission to fetch.
    pub network: Option<&'a Network>,
    /// This program, to be started again as the box's helper.
    pub helper: PathBuf,
    /// What a build may use.
    pub limits: Limits,
    /// How many processors builds may use.
    pub cpus: usize,
    /// Where to leave what the builds leave in their build roots: `<label>/build`.
    pub keep: Option<PathBuf>,
    /// Who hears of it.
    pub observer: &'a dyn Observer,
    /// How it is stopped.
    pub cancel: &'a Cancel,
}

/// Hears what goes on. Both builds' threads call it.
pub trait Observer: Sync {
    /// Something is to be fetched: whom to tell about it.
    fn fetching(&self, what: &str) -> Box<dyn fetch::Progress + '_>;

    /// So many of so many packages are part of the root file system.
    fn composing(&self, done: usize, total: usize);

    /// The root file system is there.
    fn composed(&self, rootfs: &Rootfs, elapsed: Duration);

    /// A build says something.
    fn event(&self, label: Label, event: Event);

    /// A build's installed trees are packed.
    fn packed(&self, label: Label, outputs: &[Output]);
}

/// A plan with all that it needs; nothing after this needs the network.
pub struct Ready {
    /// What is built.
    pub plan: Plan,
    /// The root file system.
    pub rootfs: Rootfs,
    /// The inputs.
    pub inputs: Inputs,
}

/// Where a plan's root file system comes from.
enum Root {
    /// It is in the store.
    Kept(Rootfs),
    /// It is composed of the lockfile's packages.
    Composed { definition: Box<Compose>, lockfile: Lockfile },
}

/// How much there was to bring into the store, counting what was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// The plan's inputs.
    pub inputs: usize,
    /// The packages of its root file system, if that has still to be composed.
    pub packages: usize,
}

/// One build.
pub struct Built {
    /// Its conditions.
    pub variation: Variation,
    /// How it went.
    pub installed: Installed,
    /// What it made: the plan's archive first, then its parts.
    pub outputs: Vec<Output>,
    /// From the start of the box to the packed archive.
    pub elapsed: Duration,
}

/// Two builds of one plan, compared.
pub struct Rebuilt {
    /// The first.
    pub plain: Built,
    /// The second.
    pub shaken: Built,
    /// Whether they made the same.
    pub verdict: Verdict,
}

/// How two builds share the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Both at once if memory allows, so that one's serial phases leave no processor idle.
    Together,
    /// One after the other.
    InTurn,
}

impl Workshop<'_> {
    /// PostgreSQL's plan. It needs neither network nor store: all is in the definitions.
    pub fn plan(&self, target: Target, toolchain: Option<&Name>) -> Result<Plan, Error> {
        let (_, toolchain) = self.toolchain(target, toolchain)?;
        let lockfile = self.definitions.lockfile(&SOURCES.parse()?)?;
        let source = lockfile.source(target)?;
        let compose = self.definitions.compose(&toolchain.sysroot)?;
        Ok(postgresql::plan(target, source, &toolchain, compose.manifest)?)
    }

    /// What is told of PostgreSQL's build besides its plan.
    pub fn release(&self, target: Target, toolchain: Option<&Name>) -> Result<Release, Error> {
        let (toolchain, Toolchain { floor, .. }) = self.toolchain(target, toolchain)?;
        Ok(Release { target, toolchain, floor })
    }

    /// Brings the plan's inputs and its root file system into the store.
    pub fn prepare(&self, plan: Plan) -> Result<Ready, Error> {
        let root = self.root(&plan)?;
        self.bring(&plan, &root)?;
        let inputs = Inputs::gather(&plan, self.store)?;
        let rootfs = match root {
            Root::Kept(rootfs) => rootfs,
            Root::Composed { definition, lockfile } => self.compose(&definition, &lockfile)?,
        };
        Ok(Ready { plan, rootfs, inputs })
    }

    /// Brings the plan's inputs and the packages of its root file system into the store.
    pub fn fetch(&self, plan: &Plan) -> Result<Fetched, Error> {
        let root = self.root(plan)?;
        let fetched = self.bring(plan, &root)?;
        Inputs::gather(plan, self.store)?;
        Ok(fetched)
    }

    /// Where the plan's root file system comes from. What nobody can make is refused before anything is fetched.
    fn root(&self, plan: &Plan) -> Result<Root, Error> {
        let (name, wanted) = (&plan.sysroot.name, plan.sysroot.manifest);
        match sysroot::find(self.store, wanted) {
            // Not there, or not all of it: `store verify --repair` may have removed the layer alone.
            Err(SysrootError::Missing { .. }) => {}
            found => return Ok(Root::Kept(found?)),
        }
        let definition = Box::new(self.definitions.compose(name)?);
        if definition.manifest != wanted {
            return Err(Error::ForeignSysroot { name: name.clone(), wanted, pinned: definition.manifest });
        }
        Ok(Root::Composed { definition, lockfile: self.definitions.lockfile(name)? })
    }

    /// Fetches all at once, so that everything that is missing is named at once.
    fn bring(&self, plan: &Plan, root: &Root) -> Result<Fetched, Error> {
        let mut pins = inputs::pins(plan, self.definitions)?;
        let packages = match root {
            Root::Kept(_) => Vec::new(),
            Root::Composed { lockfile, .. } => lockfile.package_pins(),
        };
        let fetched = Fetched { inputs: pins.len(), packages: packages.len() };
        pins.extend(packages);
        let progress = self.observer.fetching("inputs");
        fetch::fetch(&pins, self.store, self.network, &*progress)?;
        Ok(fetched)
    }

    fn compose(&self, definition: &Compose, lockfile: &Lockfile) -> Result<Rootfs, Error> {
        let (started, total) = (Instant::now(), lockfile.packages.len());
        let rootfs = sysroot::compose(definition, lockfile, self.store, &|done| self.observer.composing(done, total))?;
        self.observer.composed(&rootfs, started.elapsed());
        Ok(rootfs)
    }

    /// What the sandbox is asked to run.
    pub fn job<'job>(&self, ready: &'job Ready, variation: &'job Variation) -> Job<'job> {
        Job {
            plan: &ready.plan,
            rootfs: ready.rootfs.layer(),
            inputs: ready.inputs.of(&ready.plan),
            variation,
            limits: self.limits,
            keep: self.keep.as_ref().map(|keep| keep.join(variation.label.as_str()).join("build")),
            helper: self.helper.clone(),
        }
    }

    /// Builds once.
    pub fn build(&self, ready: &Ready, variation: Variation) -> Result<Built, Error> {
        let started = Instant::now();
        let label = variation.label;
        let installed = sandbox::run(
            &self.job(ready, &variation),
            self.store,
            &mut |event| self.observer.event(label, event),
            self.cancel,
        )
        .map_err(|source| Error::Build { label, source })?;
        let plan = &ready.plan;
        let outputs = plan
            .archives()
            .iter()
            .zip(&installed.trees)
            .map(|(archive, tree)| output::collect(*tree, &archive.name, plan.source_date_epoch, self.store))
            .collect::<Result<Vec<_>, _>>()?;
        self.observer.packed(label, &outputs);
        Ok(Built { variation, installed, outputs, elapsed: started.elapsed() })
    }

    /// Builds twice, the second time with `axes` different, and compares.
    pub fn rebuild(&self, ready: &Ready, axes: &BTreeSet<Axis>, order: Order) -> Result<Rebuilt, Error> {
        let plain = Variation::plain(self.cpus);
        let shaken = Variation::shaken(ready.plan.digest(), self.cpus, axes);
        let (plain, shaken) = match order {
            Order::InTurn => (self.build(ready, plain)?, self.build(ready, shaken)?),
            Order::Together => self.build_both(ready, plain, shaken)?,
        };
        let mut shaken = shaken;
        shaken.admit_alike(&plain);
        let verdict = Comparison::between(&plain.outputs, &shaken.outputs).verdict();
        Ok(Rebuilt { plain, shaken, verdict })
    }

    /// Holds a PostgreSQL release's archives against what its recipe and toolchain promise.
    pub fn check(&self, target: Target, toolchain: Option<&Name>, outputs: &[Output]) -> Result<check::Report, Error> {
        let (_, toolchain) = self.toolchain(target, toolchain)?;
        let exceptions = postgresql::exceptions(target.version, true);
        let expected =
            Expected { target: target.triple, floor: toolchain.floor, places: PLACES, exceptions: &exceptions };
        let part = |output: &Output| {
            let tar = self.store.read(output.tar())?;
            Ok(Part { name: output.name().clone(), role: Role::of(output.name()), tar })
        };
        let parts = outputs.iter().map(part).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(check::check(parts, &expected)?)
    }

    fn toolchain(&self, target: Target, name: Option<&Name>) -> Result<(Name, Toolchain), Error> {
        Ok(match name {
            Some(name) => (name.clone(), self.definitions.toolchain(name)?),
            None => self.definitions.toolchain_for(target.triple)?,
        })
    }

    /// One build's failure stops the other: there is nothing to compare it with.
    fn build_both(&self, ready: &Ready, plain: Variation, shaken: Variation) -> Result<(Built, Built), Error> {
        let build = |variation| {
            let result = self.build(ready, variation);
            if result.is_err() {
                self.cancel.cancel();
            }
            result
        };
        let (plain, shaken) = std::thread::scope(|scope| {
            let second = scope.spawn(|| build(shaken));
            let first = build(plain);
            let second = second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (first, second)
        });
        match (plain, shaken) {
            (Ok(plain), Ok(shaken)) => Ok((plain, shaken)),
            // The one that was only stopped is not the reason.
            (Err(Error::Build { source: SandboxError::Cancelled, .. }) | Ok(_), Err(error)) | (Err(error), _) => {
                Err(error)
            }
        }
    }
}

impl Built {
    /// Takes back what was measured on its own, and is no difference beside the other build.
    fn admit_alike(&mut self, plain: &Self) {
        let file_system = self.installed.axes.get_mut(&Axis::FileSystem);
        if let Some(outcome) = file_system
            && plain.installed.medium != Medium::Memory
        {
            *outcome = Outcome::NotHeld("the first build lay on disk too, because memory is short".to_owned());
        }
    }
}

impl Order {
    /// Both at once if `available` bytes of memory are enough for two builds.
    pub fn for_memory(available: u64) -> Self {
        if available >= 2 * MEMORY_OF_A_BUILD { Self::Together } else { Self::InTurn }
    }
}
