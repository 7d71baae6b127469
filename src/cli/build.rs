//! The commands that build, and those that stop before: `rebuild`, `build`, `fetch`, `plan`, `pack` and `shell`.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use pgproof::Error;
use pgproof::definitions::Compose;
use pgproof::fetch::{self, Tried};
use pgproof::lockfile::{Lockfile, Pin};
use pgproof::output::{self, About, Companion, Output, Release};
use pgproof::plan::Plan;
use pgproof::rebuild::{Built, Observer, Order, Ready, Rebuilt, Workshop};
use pgproof::sandbox::{self, Cancel, Event};
use pgproof::statement::{Materials, StatementError};
use pgproof::store::{Outcome, Record, Store};
use pgproof::sysroot::Rootfs;
use pgproof::target::{Target, Triple, Version};
use pgproof::tree;
use pgproof::variation::{Axis, Label, Variation};
use pgproof::verdict::Verdict;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::arguments::{Build, Fetch, Limits, Pack, PlanCommand, Rebuild, ShellCommand, Subject};
use super::failure::{BUILD, DIFFERENT, Failure};
use super::report::Check;
use super::sign::{self, Signatory};
use super::statement::{PROVENANCE, Published, REBUILD, Witness};
use super::ui::{Activity, Ui, bytes, duration};
use super::{Answer, Session, against, report, sbom, statement, this_program};

/// What is built if nobody says what.
const DEFAULT_VERSION: &str = "17.11";

/// What a build may print, in bytes: PostgreSQL prints 4 MB.
const LOG_LIMIT: u64 = 256 << 20;

/// How many processes a build may have at once.
const PROCESS_LIMIT: u64 = 4096;

/// What a build may write, in bytes, where that much memory is free: PostgreSQL writes 1 GB.
const DISK_LIMIT: u64 = 8 << 30;

/// `pgproof rebuild --compare`
pub(super) fn rebuild(session: &Session, request: &Rebuild) -> Result<Answer, Failure> {
    if !request.sign && request.signing.is_asked_for() {
        return Err(Failure::Usage("what signs was named without --sign"));
    }
    let mut subject = request.subject.clone();
    match request.compare.as_str() {
        "" => {}
        // `rebuild --compare 17.11` is what `rebuild 17.11 --compare` is.
        text if subject.version.is_none() && !Path::new(text).exists() && text.parse::<Version>().is_ok() => {
            subject.version = text.parse().ok();
        }
        published => return against::rebuild(session, request, published),
    }
    if request.who.is_given() || !request.published_keys.is_empty() {
        return Err(Failure::Usage("it was said who must have signed, but not what: name it, as --compare PUBLISHED"));
    }
    let trust = &request.signing.trust;
    if !request.sign && (trust.trusted_root.is_some() || trust.tuf_url.is_some()) {
        return Err(Failure::Usage("a trust root was named, but nothing to verify or to --sign"));
    }
    rebuild_here(session, request, &subject)
}

/// Builds twice what the definitions at hand say.
fn rebuild_here(session: &Session, request: &Rebuild, subject: &Subject) -> Result<Answer, Failure> {
    let signatory = request.sign.then(|| Signatory::new(session, &request.signing, false)).transpose()?;
    let bench = Bench::new(session)?;
    let (workshop, order) = bench.for_twins(session, request)?;
    let release = release(&workshop, subject)?;
    let plan = plan_of(&workshop, subject)?;
    let materials = materials(&workshop, &plan, release.as_ref())?;
    let Twins { ready, rebuilt, witness } = Twins::build(&bench, &workshop, request, plan, order)?;
    let check = check(&workshop, subject, request.no_check, &rebuilt.plain.outputs)?;
    let mut report = report::rebuilt(&ready, &rebuilt, order, &check);
    let (plan, out) = (&ready.plan, &request.out.clone().unwrap_or_else(|| "dist".into()));
    let mut statements = Vec::new();
    // Bytes that were not reproduced are nobody's release, nor are those with findings: only the report tells of them.
    let (mut text, code) = match &rebuilt.verdict {
        Verdict::Reproduced(_) if check.fails() => {
            report::write(&report, plan, out)?;
            (format!("{}{}", report::reproduced(&ready, &rebuilt), report::checked(&check)), BUILD)
        }
        Verdict::Reproduced(reproduced) => {
            let about = About { plan, release: release.as_ref() };
            let published = publish(&workshop, &about, reproduced.outputs(), &report, out)?;
            let mut text = report::reproduced(&ready, &rebuilt);
            text.push_str(&report::checked(&check));
            text.push_str(&report::published(reproduced.outputs(), out));
            text.push_str(&state_build(&witness, &materials, &rebuilt.plain, &published, &ready, out)?);
            if materials.is_ok() {
                statements.push(statement::path(PROVENANCE, plan, out));
            }
            let statement = witness.reproduced(reproduced, &ready, &rebuilt, &published, now())?;
            text.push_str(&statement::write(&statement, REBUILD, plan, out)?);
            statements.push(statement::path(REBUILD, plan, out));
            (text, 0)
        }
        Verdict::Different(differences) => {
            report::write(&report, plan, out)?;
            let statement = witness.not_reproduced(differences, Vec::new(), &ready, &rebuilt, now())?;
            let told = statement::write(&statement, REBUILD, plan, out)?;
            statements.push(statement::path(REBUILD, plan, out));
            (format!("{}{told}", report::different(&ready, differences)), DIFFERENT)
        }
    };
    if let Some(signatory) = signatory.filter(|_| !statements.is_empty()) {
        let signed = sign::sign_release(session, &signatory, out, &statements, code == 0)?;
        text.push_str(&signed.text);
        report["signed"] = signed.json["signed"].clone();
    }
    Ok(Answer::new(text, report).with_code(code))
}

/// Two builds of one plan, and who states what they came to.
pub(super) struct Twins {
    pub(super) ready: Ready,
    pub(super) rebuilt: Rebuilt,
    pub(super) witness: Witness,
}

impl Twins {
    /// Builds both, keeps what is to be kept of them, and records them.
    pub(super) fn build(
        bench: &Bench<'_>,
        workshop: &Workshop<'_>,
        request: &Rebuild,
        plan: Plan,
        order: Order,
    ) -> Result<Self, Failure> {
        let ready = prepare(workshop, plan)?;
        let started = now();
        let witness = Witness::new(&request.stating, started)?;
        let rebuilt = match workshop.rebuild(&ready, &axes(request), order) {
            Ok(rebuilt) => rebuilt,
            Err(error) => return Err(record_failure(&bench.store, &ready.plan, started, error)),
        };
        for built in [&rebuilt.plain, &rebuilt.shaken] {
            record(&bench.store, &ready.plan, started, built)?;
        }
        if let Some(keep) = &request.keep {
            for built in [&rebuilt.plain, &rebuilt.shaken] {
                unpack(&bench.store, built, &keep.join(built.variation.label.as_str()).join("out"))?;
            }
        }
        Ok(Self { ready, rebuilt, witness })
    }
}

/// `pgproof build`
pub(super) fn build(session: &Session, request: &Build) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &request.limits);
    let ready = prepare(&workshop, plan_of(&workshop, &request.subject)?)?;
    let release = release(&workshop, &request.subject)?;
    let materials = materials(&workshop, &ready.plan, release.as_ref())?;
    let started = now();
    let witness = Witness::new(&request.stating, started)?;
    let built = match workshop.build(&ready, Variation::plain(workshop.cpus)) {
        Ok(built) => built,
        Err(error) => return Err(record_failure(&bench.store, &ready.plan, started, error)),
    };
    record(&bench.store, &ready.plan, started, &built)?;
    let check = check(&workshop, &request.subject, request.no_check, &built.outputs)?;
    let report = report::built(&ready, &built, &check);
    let mut text = report::once(&ready, &built);
    text.push_str(&report::checked(&check));
    if check.fails() {
        report::write(&report, &ready.plan, &request.out)?;
        return Ok(Answer::new(text, report).with_code(BUILD));
    }
    let about = About { plan: &ready.plan, release: release.as_ref() };
    let published = publish(&workshop, &about, &built.outputs, &report, &request.out)?;
    text.push_str(&report::published(&built.outputs, &request.out));
    text.push_str(&state_build(&witness, &materials, &built, &published, &ready, &request.out)?);
    Ok(Answer::new(text, report))
}

/// `pgproof fetch`
pub(super) fn fetch(session: &Session, request: &Fetch) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &Limits::default());
    let plan = plan_of(&workshop, &request.subject)?;
    let fetched = workshop.fetch(&plan)?;
    let text = format!("all inputs are in {}", bench.store.root().display());
    Ok(Answer::new(
        text,
        json!({ "inputs": fetched.inputs, "packages": fetched.packages, "store": bench.store.root() }),
    ))
}

/// `pgproof plan`
pub(super) fn plan(session: &Session, request: &PlanCommand) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &Limits::default());
    let plan = plan_of(&workshop, &request.subject)?;
    let digest = plan.digest();
    if let Some(directory) = &request.oci_bundle {
        let ready = workshop.prepare(plan)?;
        let variation = Variation::plain(workshop.cpus);
        sandbox::export(&workshop.job(&ready, &variation), &bench.store, directory)?;
        let shown = directory.display();
        let text = format!(
            "{shown} is an OCI runtime bundle of the plan {digest}; run it and pack what it made:\n  runc run --bundle {shown} \
             pgproof-bundle\n  pgproof pack {} --tree {shown}/out",
            subject_words(&request.subject)
        );
        return Ok(Answer::new(text, json!({ "digest": digest, "bundle": directory })));
    }
    let canonical = if request.origins { plan.canonical_with_origins() } else { plan.canonical() };
    session.ui.say(&format!("the plan's digest is {digest}"));
    let text = String::from_utf8_lossy(&canonical).into_owned();
    Ok(Answer::verbatim(text, json!({ "digest": digest, "plan": plan })))
}

/// `pgproof pack`
pub(super) fn pack(session: &Session, request: &Pack) -> Result<Answer, Failure> {
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &Limits::default());
    let plan = plan_of(&workshop, &request.subject)?;
    let file = |source| Failure::File { action: "opened", path: request.tree.clone(), source };
    let tree = std::fs::File::open(&request.tree).map_err(file)?;
    let mut outputs = Vec::new();
    for archive in plan.archives() {
        let directory = tree::open_below(&tree, Path::new(archive.directory.as_str()))?;
        let mut incoming = bench.store.incoming()?;
        tree::walk(&directory, &archive.name, plan.source_date_epoch, tree::Limits::OUTPUT, &mut incoming)?;
        outputs.push(output::collect(incoming.commit()?, &archive.name, plan.source_date_epoch, &bench.store)?);
    }
    let report = report::packed(&plan, &outputs);
    let release = release(&workshop, &request.subject)?;
    publish(&workshop, &About { plan: &plan, release: release.as_ref() }, &outputs, &report, &request.out)?;
    let text = format!("{}{}", report::digests(&outputs), report::published(&outputs, &request.out));
    Ok(Answer::new(text, report))
}

/// `pgproof shell`
pub(super) fn shell(session: &Session, request: &ShellCommand) -> Result<Answer, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    let bench = Bench::new(session)?;
    let workshop = bench.workshop(session, &request.limits);
    let ready = prepare(&workshop, plan_of(&workshop, &request.subject)?)?;
    let variation = Variation::plain(workshop.cpus);
    let exit = sandbox::shell(&workshop.job(&ready, &variation), &bench.store, &request.terminal, &bench.cancel)?;
    Ok(Answer::new(format!("the shell {exit}"), json!({ "exit": exit })))
}

/// Composes what a new lockfile names, whatever comes out: its digest becomes the pin.
pub(super) fn compose_for_lock(
    session: &Session,
    store: &Store,
    compose: &Compose,
    lockfile: &Lockfile,
) -> Result<Rootfs, Failure> {
    let observer = Display::new(&session.ui);
    let progress = observer.fetching("packages");
    fetch::fetch(&lockfile.package_pins(), store, session.network.as_ref(), &*progress)?;
    drop(progress);
    Ok(pgproof::sysroot::compose_unpinned(compose, lockfile, store, &|done| {
        observer.composing(done, lockfile.packages.len());
    })?)
}

/// What a workshop borrows.
pub(super) struct Bench<'ui> {
    pub(super) store: Store,
    display: Display<'ui>,
    cancel: Cancel,
    /// Free memory, in bytes.
    available: u64,
}

impl<'ui> Bench<'ui> {
    pub(super) fn new(session: &'ui Session) -> Result<Self, Failure> {
        let cancel = Cancel::new().map_err(Failure::Signals)?;
        let available = sandbox::available_memory().map_err(Failure::Memory)?;
        Ok(Self { store: session.store()?, display: Display::new(&session.ui), cancel, available })
    }

    /// A workshop for two builds, and how they share the machine.
    pub(super) fn for_twins<'a>(
        &'a self,
        session: &'a Session,
        request: &Rebuild,
    ) -> Result<(Workshop<'a>, Order), Failure> {
        if let Some(keep) = &request.keep {
            claim(keep)?;
        }
        let order = if request.sequential { Order::InTurn } else { Order::for_memory(self.available) };
        let mut workshop = Workshop { keep: request.keep.clone(), ..self.workshop(session, &request.limits) };
        if order == Order::Together && request.limits.memory_gib.is_none() {
            workshop.limits.memory = workshop.limits.memory.map(|memory| memory / 2);
        }
        Ok((workshop, order))
    }

    pub(super) fn workshop<'a>(&'a self, session: &'a Session, limits: &Limits) -> Workshop<'a> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Workshop {
            definitions: &session.definitions,
            store: &self.store,
            network: session.network.as_ref(),
            helper: this_program(),
            limits: sandbox::Limits {
                time: Duration::from_secs(limits.timeout_s),
                log: LOG_LIMIT,
                processes: PROCESS_LIMIT,
                memory: Some(limits.memory_gib.map_or(self.available / 10 * 9, |gib| gib << 30)),
                disk: limits.disk_gib.map_or_else(|| DISK_LIMIT.min(self.available / 3), |gib| gib << 30),
            },
            cpus: limits.cpus.map_or(cpus, |wanted| usize::from(wanted).min(cpus)),
            keep: None,
            observer: &self.display,
            cancel: &self.cancel,
        }
    }
}

fn prepare(workshop: &Workshop<'_>, plan: Plan) -> Result<Ready, Failure> {
    let ready = workshop.prepare(plan)?;
    // Until here a signal ends pgproof at once: what is fetched and composed is there as a whole or not at all.
    cancel_on_signals(workshop.cancel).map_err(Failure::Signals)?;
    Ok(ready)
}

fn plan_of(workshop: &Workshop<'_>, subject: &Subject) -> Result<Plan, Failure> {
    if let Some(path) = &subject.plan {
        return Ok(Plan::load(path)?);
    }
    Ok(workshop.plan(target_of(subject)?, subject.toolchain.as_ref())?)
}

fn target_of(subject: &Subject) -> Result<Target, Failure> {
    let version = subject.version.map_or_else(|| DEFAULT_VERSION.parse(), Ok)?;
    Ok(Target { version, triple: subject.target.map_or_else(Triple::host, Ok)? })
}

/// Checks what was built, if it is PostgreSQL and nobody asked not to.
fn check(workshop: &Workshop<'_>, subject: &Subject, skip: bool, outputs: &[Output]) -> Result<Check, Failure> {
    if skip {
        return Ok(Check::Skipped);
    }
    if subject.plan.is_some() {
        return Ok(Check::Foreign);
    }
    Ok(Check::Done(workshop.check(target_of(subject)?, subject.toolchain.as_ref(), outputs)?))
}

/// The words that name the same subject again.
fn subject_words(subject: &Subject) -> String {
    match &subject.plan {
        Some(path) => format!("--plan {}", path.display()),
        None => subject.version.map_or_else(|| DEFAULT_VERSION.to_owned(), |version| version.to_string()),
    }
}

fn axes(request: &Rebuild) -> BTreeSet<Axis> {
    if request.vary.is_empty() {
        Axis::ALL.into_iter().filter(|axis| !request.no_vary.contains(axis)).collect()
    } else {
        request.vary.iter().copied().collect()
    }
}

/// Makes the directory that trees are to be kept in: an earlier pair would mix with this one.
fn claim(directory: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::File { action: "created", path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    #[expect(clippy::disallowed_methods, reason = "only whether there is an entry matters")]
    let mut entries = std::fs::read_dir(directory).map_err(failed)?;
    if entries.next().is_some() { Err(Failure::Occupied(directory.to_owned())) } else { Ok(()) }
}

fn publish(
    workshop: &Workshop<'_>,
    about: &About<'_>,
    outputs: &[Output],
    report: &serde_json::Value,
    directory: &Path,
) -> Result<Published, Failure> {
    let plan = about.plan;
    let mut files = vec![(format!("{}.plan.json", plan.name).parse()?, plan.canonical())];
    // What another project's archives consist of is not known.
    if let Some(Release { target, toolchain, .. }) = about.release {
        files.extend(sbom::of_build(workshop.definitions, workshop.store, *target, Some(toolchain), outputs)?);
    }
    let companions: Vec<_> = files.iter().map(|(name, bytes)| Companion { name, bytes }).collect();
    // The report is of this run, with times: it is not among what SHA256SUMS lists, so that SHA256SUMS itself reproduces.
    let files = output::publish(outputs, &companions, about, directory, workshop.store)?;
    Ok(Published { files, report: report::write(report, plan, directory)? })
}

/// What is told of PostgreSQL; nothing of another plan.
fn release(workshop: &Workshop<'_>, subject: &Subject) -> Result<Option<Release>, Failure> {
    match subject.plan {
        Some(_) => Ok(None),
        None => Ok(Some(workshop.release(target_of(subject)?, subject.toolchain.as_ref())?)),
    }
}

/// What somebody else needs to build the same. Before the build: if it is not there for PostgreSQL, there is no use in one.
fn materials(
    workshop: &Workshop<'_>,
    plan: &Plan,
    release: Option<&Release>,
) -> Result<Result<Materials, StatementError>, Failure> {
    let materials = Materials::gather(plan, statement::request(release), workshop.definitions);
    match materials {
        Err(error) if release.is_some() => Err(error.into()),
        // Somebody's own plan may have a root file system that is in the store, and in no definition.
        materials => Ok(materials),
    }
}

/// States how something was built, or says why that is not stated.
fn state_build(
    witness: &Witness,
    materials: &Result<Materials, StatementError>,
    built: &Built,
    published: &Published,
    ready: &Ready,
    directory: &Path,
) -> Result<String, Failure> {
    match materials {
        Ok(materials) => {
            let statement = witness.provenance(materials, built, published, now())?;
            statement::write(&statement, PROVENANCE, &ready.plan, directory)
        }
        Err(error) => Ok(statement::unstated(error)),
    }
}

fn unpack(store: &Store, built: &Built, directory: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::File { action: "created", path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let root = std::fs::File::open(directory).map_err(failed)?;
    let options = tree::Options {
        strip: 0,
        modes: tree::Modes::Kept,
        times: tree::Times::Shifted(0),
        limits: tree::Limits::OUTPUT,
    };
    for tree in &built.installed.trees {
        tree::unpack(store.read(*tree)?, &root, &options)?;
    }
    Ok(())
}

fn record(store: &Store, plan: &Plan, started: Timestamp, built: &Built) -> Result<(), Failure> {
    let mut outputs = std::collections::BTreeMap::new();
    for output in &built.outputs {
        // `archive` of the plan's own, `archive-debug` of a part.
        let part = output.name().as_str().strip_prefix(plan.name.as_str()).unwrap_or_default();
        for (kind, blob) in [("archive", output.archive()), ("list", output.list()), ("tar", output.tar())] {
            outputs.insert(format!("{kind}{part}").parse()?, blob.digest());
        }
    }
    store.record_run(&Record {
        started,
        name: plan.name.clone(),
        plan: plan.digest(),
        variation: built.variation.label.as_str().parse()?,
        outcome: Outcome::Built,
        log: Some(built.installed.log.digest()),
        outputs,
    })?;
    Ok(())
}

/// Keeps the log of a build that failed, and tells where.
fn record_failure(store: &Store, plan: &Plan, started: Timestamp, error: Error) -> Failure {
    let Error::Build { label, source } = &error else { return error.into() };
    let outcome = if source.class() == sandbox::Class::Cancelled {
        Outcome::Cancelled
    } else {
        Outcome::Failed { why: source.to_string().lines().next().unwrap_or_default().to_owned() }
    };
    let log = source.log().map(|blob| blob.digest());
    let variation = match label.as_str().parse() {
        Ok(variation) => variation,
        Err(error) => return Failure::from(Error::from(error)),
    };
    let record = Record {
        started,
        name: plan.name.clone(),
        plan: plan.digest(),
        variation,
        outcome,
        log,
        outputs: std::collections::BTreeMap::new(),
    };
    // Why there is no build is what a person has to know first; that its log cannot be found later is not.
    match store.record_run(&record) {
        Ok(()) if log.is_some() => Failure::Logged { error: Box::new(error), build: record.id() },
        _ => error.into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock names the record of a run, and reaches nothing that is built")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// Asks the build to end at the first Ctrl-C, SIGTERM or SIGHUP, so that it leaves nothing behind; the second ends pgproof.
pub(super) fn cancel_on_signals(cancel: &Cancel) -> std::io::Result<()> {
    let asked = cancel.clone();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count == 0 {
                asked.cancel();
            } else {
                signal_hook::low_level::emulate_default_handler(signal).ok();
            }
        }
    })?;
    Ok(())
}

/// Shows on the screen what the library says is going on.
struct Display<'ui> {
    ui: &'ui Ui,
    composing: Mutex<Option<Activity<'ui>>>,
    builds: Mutex<[Option<Activity<'ui>>; 2]>,
}

/// A fetch on the screen.
struct FetchDisplay<'ui> {
    ui: &'ui Ui,
    what: String,
    activity: Mutex<Option<Activity<'ui>>>,
}

impl<'ui> Display<'ui> {
    fn new(ui: &'ui Ui) -> Self {
        Self { ui, composing: Mutex::new(None), builds: Mutex::new([None, None]) }
    }

    /// What `label`'s build shows, started if it is not there.
    fn with_build(&self, label: Label, show: impl FnOnce(&Activity<'ui>)) {
        let index = match label {
            Label::Plain => 0,
            Label::Shaken => 1,
        };
        if let Ok(mut builds) = self.builds.lock() {
            show(builds[index].get_or_insert_with(|| self.ui.work(label.as_str())));
        }
    }
}

impl Observer for Display<'_> {
    fn fetching(&self, what: &str) -> Box<dyn fetch::Progress + '_> {
        Box::new(FetchDisplay { ui: self.ui, what: what.to_owned(), activity: Mutex::new(None) })
    }

    fn composing(&self, done: usize, total: usize) {
        if let Ok(mut composing) = self.composing.lock() {
            let activity = composing.get_or_insert_with(|| {
                let activity = self.ui.work("compose");
                activity.now("the root file system");
                activity
            });
            activity.glimpse(&format!("{done} of {total} packages"));
        }
    }

    fn composed(&self, rootfs: &Rootfs, _elapsed: Duration) {
        if let Ok(mut composing) = self.composing.lock()
            && let Some(activity) = composing.take()
        {
            activity.done(&format!("root file system {}", rootfs.manifest()));
        }
    }

    fn event(&self, label: Label, event: Event) {
        match event {
            Event::Prepared { .. } => {
                self.with_build(label, |activity| activity.now("root file system and inputs verified"));
            }
            Event::StepStarted { index, total, name } => {
                self.with_build(label, |activity| activity.now(&format!("[{}/{total}] {name}", index + 1)));
            }
            Event::StepFinished { report, .. } => {
                self.ui.say(&format!("{:>9} {} took {}", label.as_str(), report.name, duration(report.elapsed)));
            }
            Event::Packing => self.with_build(label, |activity| activity.now("packing")),
            Event::Output(_) => {}
        }
    }

    fn packed(&self, label: Label, outputs: &[Output]) {
        let index = usize::from(label == Label::Shaken);
        if let Ok(mut builds) = self.builds.lock()
            && let Some(activity) = builds[index].take()
            && let Some(output) = outputs.first()
        {
            activity.done(&format!("{} {}", output.archive().digest(), bytes(output.archive().size())));
        }
    }
}

impl FetchDisplay<'_> {
    fn with(&self, show: impl FnOnce(&Activity<'_>)) {
        if let Ok(activity) = self.activity.lock()
            && let Some(activity) = &*activity
        {
            show(activity);
        }
    }
}

impl fetch::Progress for FetchDisplay<'_> {
    fn started(&self, pins: usize, total: u64) {
        let activity = self.ui.transfer("fetch", total);
        activity.now(&format!("{}: {pins} to fetch, {}", self.what, bytes(total)));
        if let Ok(mut slot) = self.activity.lock() {
            *slot = Some(activity);
        }
    }

    fn pin_waiting(&self, pin: &Pin) {
        self.with(|activity| activity.now(&format!("waiting for another pgproof to fetch {}", pin.name)));
    }

    fn pin_moved(&self, _pin: &Pin, from: u64, to: u64) {
        self.with(|activity| activity.moved(from, to));
    }

    fn origin_failed(&self, pin: &Pin, tried: &Tried) {
        self.with(|activity| activity.now(&format!("{}: {tried}", pin.name)));
    }
}

impl Drop for FetchDisplay<'_> {
    fn drop(&mut self) {
        self.with(|activity| activity.done(&format!("{}: fetched", self.what)));
    }
}
