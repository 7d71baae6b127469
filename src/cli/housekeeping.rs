//! The commands that build nothing: `store`, `log`, `lock` and `doctor`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

use jiff::Timestamp;
use pgproof::definitions::Definitions;
use pgproof::fetch::{self, Network};
use pgproof::lock::{self, NetworkError};
use pgproof::lockfile::{Lockfile, Origin, Pin};
use pgproof::sandbox::{self, Standing};
use pgproof::store::{Blob, Outcome, Retain, Store};
use pgproof::text::printable;
use serde_json::json;

use super::arguments::{Lock, Log, StoreCommand};
use super::failure::Failure;
use super::ui::bytes;
use super::{Answer, Session, build, this_program};

/// How many of the newest builds `gc` keeps with their outputs, and `log` lists.
const RECENT: usize = 20;

/// Longer lines of a log are printed in parts.
const LINE_LIMIT: u64 = 64 << 10;

/// `pgproof store …`
pub(super) fn store(session: &Session, command: &StoreCommand) -> Result<Answer, Failure> {
    let mut store = session.store()?;
    match command {
        StoreCommand::Add { file } => {
            let blob = store.add_file(file)?;
            let json = json!({ "digest": blob.digest(), "size": blob.size() });
            Ok(Answer::new(blob.digest().to_string(), json))
        }
        StoreCommand::Verify { repair } => verify(session, &mut store, *repair),
        StoreCommand::Gc { all } => {
            let retain =
                Retain { blobs: needed(&session.definitions)?, runs: if *all { 0 } else { RECENT }, added: !all };
            let freed = store.gc(&retain)?;
            let text = format!(
                "removed {} blobs, {} unfinished downloads and {} records: {} are free again",
                freed.blobs,
                freed.partials,
                freed.runs,
                bytes(freed.bytes)
            );
            let json = json!({
                "blobs": freed.blobs, "partials": freed.partials, "runs": freed.runs, "bytes": freed.bytes,
            });
            Ok(Answer::new(text, json))
        }
        StoreCommand::Stat => {
            let contents = store.stat()?;
            let text = format!(
                "{}\n{:>8} blobs, {}\n{:>8} images\n{:>8} added files\n{:>8} unfinished downloads, {}\n{:>8} builds",
                store.root().display(),
                contents.blobs,
                bytes(contents.blob_bytes),
                contents.images,
                contents.added,
                contents.partials,
                bytes(contents.partial_bytes),
                contents.runs
            );
            let json = json!({
                "root": store.root(), "blobs": contents.blobs, "blobBytes": contents.blob_bytes, "images": contents.images,
                "added": contents.added, "partials": contents.partials, "partialBytes": contents.partial_bytes,
                "runs": contents.runs,
            });
            Ok(Answer::new(text, json))
        }
    }
}

fn verify(session: &Session, store: &mut Store, repair: bool) -> Result<Answer, Failure> {
    let total = store.stat()?.blob_bytes;
    let activity = session.ui.transfer("verify", total);
    let mut before = 0;
    let report = store.verify(&mut |done, _total| {
        activity.advance(done - before);
        before = done;
    })?;
    drop(activity);
    let removed = if repair && !report.damaged.is_empty() { store.repair(&report)? } else { 0 };
    let whole = report.damaged.is_empty() && report.missing.is_empty();
    let mut text = format!("{} blobs, {}: ", report.blobs, bytes(report.bytes));
    text.push_str(if whole { "all whole" } else { "not whole" });
    for damaged in &report.damaged {
        write!(text, "\n  {damaged}").ok();
    }
    for missing in &report.missing {
        write!(text, "\n  {missing}").ok();
    }
    if removed > 0 {
        write!(text, "\n{removed} damaged blobs removed: the next build fetches or makes them again").ok();
    }
    let told = |texts: Vec<String>| json!(texts);
    let json = json!({
        "blobs": report.blobs, "bytes": report.bytes, "removed": removed,
        "damaged": told(report.damaged.iter().map(ToString::to_string).collect()),
        "missing": told(report.missing.iter().map(ToString::to_string).collect()),
    });
    let repaired = repair && report.missing.is_empty();
    Ok(Answer::new(text, json).with_code(if whole || repaired { 0 } else { 3 }))
}

/// What the definitions need: all that their lockfiles and sysroots pin.
fn needed(definitions: &Definitions) -> Result<BTreeSet<pgproof::digest::Digest>, Failure> {
    let mut needed = BTreeSet::new();
    for name in definitions.names("lockfiles", "lock")? {
        let lockfile = definitions.lockfile(&name)?;
        needed.extend(lockfile.packages.iter().map(|package| package.digest));
        needed.extend(lockfile.sources.iter().flat_map(|source| [source.digest, source.tar_digest]));
    }
    Ok(needed)
}

/// `pgproof log`
pub(super) fn log(session: &Session, log: &Log) -> Result<Answer, Failure> {
    let store = session.store()?;
    let Some(wanted) = &log.build else {
        let records = store.runs(RECENT)?;
        let mut text = String::new();
        for record in &records {
            let outcome = match &record.outcome {
                Outcome::Built => "built".to_owned(),
                Outcome::Failed { why } => format!("failed: {}", printable(why.lines().next().unwrap_or_default())),
                Outcome::Cancelled => "stopped".to_owned(),
            };
            writeln!(text, "{}  {}  {outcome}", record.id(), record.name).ok();
        }
        let text = if text.is_empty() { "nothing was built yet".to_owned() } else { text.trim_end().to_owned() };
        let listed: Vec<_> = records.iter().map(|record| json!({ "id": record.id(), "record": record })).collect();
        return Ok(Answer::new(text, json!({ "builds": listed })));
    };
    let record = store.runs(usize::MAX)?.into_iter().find(|record| record.id() == *wanted);
    let record = record.ok_or_else(|| Failure::NoBuild(wanted.clone()))?;
    let digest = record.log.ok_or_else(|| Failure::NoLog(wanted.clone()))?;
    let blob = store.get(digest)?;
    if !session.json {
        show(BufReader::new(store.read(blob)?)).map_err(|source| Failure::File {
            action: "shown",
            path: store.root().join("blobs/sha256").join(digest.hex()),
            source,
        })?;
    }
    Ok(Answer::new(format!("({} of output)", bytes(blob.size())), json!({ "digest": digest, "size": blob.size() })))
}

/// Prints a log line by line: it may be larger than memory, and its lines too.
fn show(mut log: impl BufRead) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let mut line = Vec::new();
    while log.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)? > 0 {
        match stdout.write_all(printable(&String::from_utf8_lossy(&line)).as_bytes()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        line.clear();
    }
    Ok(())
}

/// `pgproof doctor`
pub(super) fn doctor() -> Result<Answer, Failure> {
    let diagnosis = sandbox::diagnose(&this_program())?;
    let mut text = String::new();
    for finding in &diagnosis.walls {
        match &finding.standing {
            Standing::Stands => writeln!(text, "stands     {}", finding.wall),
            Standing::NotTried => writeln!(text, "not tried  {}", finding.wall),
            Standing::Fails { why, remedy } => writeln!(text, "fails      {}: {why}\n{remedy}", finding.wall),
        }
        .ok();
    }
    for (resource, outcome) in &diagnosis.cgroups {
        match outcome {
            sandbox::Outcome::Held => writeln!(text, "limited    {resource}"),
            sandbox::Outcome::NotHeld(why) => writeln!(text, "unlimited  {resource}: {why}"),
        }
        .ok();
    }
    let closed = diagnosis.is_closed();
    text.push_str(if closed { "the box can be closed here" } else { "the box cannot be closed here" });
    let json = json!({ "closed": closed, "diagnosis": diagnosis });
    Ok(Answer::new(text, json).with_code(if closed { 0 } else { 4 }))
}

/// `pgproof lock`
pub(super) fn lock(session: &Session, request: &Lock) -> Result<Answer, Failure> {
    let network = session.network.as_ref().ok_or(Failure::Offline)?;
    // The files of the binary cannot be written.
    let root = match &session.definitions {
        Definitions::Directory(root) => root.clone(),
        Definitions::BuiltIn | Definitions::Carried(_) => Path::new(".").to_owned(),
    };
    let definitions = Definitions::Directory(root.clone());
    let names = match &request.name {
        Some(name) => vec![name.clone()],
        None => definitions.names("sysroots", "toml")?,
    };
    let store = session.store()?;
    let mut lines = Vec::new();
    let mut locked = Vec::new();
    for name in &names {
        let activity = session.ui.work("lock");
        activity.now(name.as_str());
        let path = root.join("lockfiles").join(format!("{name}.lock"));
        let previous = if path.exists() { Some(Lockfile::load(&path)?) } else { None };
        let asked = lock::Request {
            definitions: &definitions,
            name,
            previous: previous.as_ref(),
            allow_expired: &request.allow_expired,
            #[expect(
                clippy::disallowed_methods,
                reason = "whether an index has expired is asked here, and nowhere else"
            )]
            now: Timestamp::now(),
        };
        let lockfile = lock::lock(&asked, &store, &Door(network))?;
        drop(activity);
        let mut line =
            format!("{}: {} packages, {} sources", path.display(), lockfile.packages.len(), lockfile.sources.len());
        // Composed before either file is written: killed meanwhile, the old lock and the old pin still fit.
        if let Some(compose) = definitions.definition(name)?.compose {
            let rootfs = build::compose_for_lock(session, &store, &compose, &lockfile)?;
            definitions.pin(name, rootfs.manifest())?;
            write!(line, ", sysroot {}", rootfs.manifest()).ok();
        }
        lockfile.save(&path)?;
        lines.push(line);
        locked.push(json!({ "path": path, "packages": lockfile.packages.len(), "sources": lockfile.sources.len() }));
    }
    Ok(Answer::new(lines.join("\n"), json!({ "locked": locked })))
}

/// The network as locking wants it.
struct Door<'a>(&'a Network);

impl lock::Network for Door<'_> {
    fn get(&self, origin: &Origin, limit: u64) -> Result<Vec<u8>, NetworkError> {
        Ok(self.0.get(origin, limit)?)
    }

    fn bring(&self, pin: &Pin, store: &Store) -> Result<Blob, NetworkError> {
        fetch::fetch(std::slice::from_ref(pin), store, Some(self.0), &())?;
        Ok(store.get(pin.digest)?)
    }
}
