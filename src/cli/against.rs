//! `rebuild --compare PUBLISHED`: builds again what somebody published, from what was stated of it, and compares.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use pgproof::bundle::Signer;
use pgproof::compression::Compression;
use pgproof::digest::Digest;
use pgproof::lockfile::Name;
use pgproof::output::{self, Output};
use pgproof::plan::Plan;
use pgproof::rebuild::{Rebuilt, Workshop};
use pgproof::release::{ARCHIVE, Place, Published};
use pgproof::statement::{ArchiveDigests, Found, Predicate, Provenance, Statement, Verdict as Stated};
use pgproof::store::{Store, StoreError};
use pgproof::target::Target;
use pgproof::testimony::{self, Document, Subject, Testimony};
use pgproof::text::printable;
use pgproof::verdict::{Comparison, Differences, Verdict};
use serde_json::{Value, json};

use super::arguments::Rebuild;
use super::build::{Bench, Twins, now};
use super::failure::{DIFFERENT, Failure, chain};
use super::report::{self, Check};
use super::sign::{self, Signatory};
use super::statement::{self, REBUILD};
use super::{Answer, Session};

/// The largest archive that is compared with, in bytes; the largest tar in it.
const ARCHIVE_LIMIT: u64 = 1 << 30;
const TAR_LIMIT: u64 = 16 << 30;

/// How many lines about other inputs people are shown.
const SHOWN: usize = 5;

/// What the rebuild stands on.
struct Basis {
    plan: Plan,
    /// What was published, by stem.
    expected: BTreeMap<Name, Digest>,
    /// What was stated of it; without it, plan and locks are this pgproof's own.
    stated: Option<Box<Provenance>>,
    /// What to tell of where this comes from.
    words: Vec<(&'static str, String)>,
    verified: bool,
}

/// `pgproof rebuild --compare PUBLISHED`
pub(super) fn rebuild(session: &Session, request: &Rebuild, text: &str) -> Result<Answer, Failure> {
    let subject = &request.subject;
    if subject.version.is_some() || subject.target.is_some() || subject.toolchain.is_some() {
        return Err(Failure::Usage("what was published says what is built: name no version, target or toolchain"));
    }
    if request.no_check {
        return Err(Failure::Usage(
            "what is compared with something published is not checked: --no-check says nothing here",
        ));
    }
    if request.signing.openpgp_key.is_some() {
        return Err(Failure::Usage("OpenPGP signs the SHA256SUMS of a release; what is compared with one has none"));
    }
    let signers = request.who.signers(&request.published_keys)?;
    let published = Published::find(text, session.network.as_ref())?;
    let out = request.out.clone().unwrap_or_else(|| PathBuf::from("rebuilt"));
    if is_same(&published.place, &out) {
        return Err(Failure::Usage(
            "the statement would replace that of whoever published: name another directory with --out",
        ));
    }
    let signatory = request.sign.then(|| Signatory::new(session, &request.signing, false)).transpose()?;
    let bench = Bench::new(session)?;
    let basis = match basis(session, request, &bench, &published, &signers)? {
        Ok(basis) => basis,
        Err(answer) => return Ok(answer),
    };
    let archives = published_archives(&published, &basis, session)?;

    let (workshop, order) = bench.for_twins(session, request)?;
    let definitions = basis.stated.as_ref().map(|stated| stated.definitions());
    let workshop = Workshop { definitions: definitions.as_ref().unwrap_or(workshop.definitions), ..workshop };
    let twins = Twins::build(&bench, &workshop, request, basis.plan.clone(), order)?;
    let Twins { ready, rebuilt, witness } = &twins;

    let differences = differences(&bench.store, &basis, &archives, rebuilt)?;
    let expected = digests(&basis.expected);
    let found = differences.as_ref().ok().map(Found::of);
    let statement = witness.against_published(&expected, rebuilt, found, &ready.plan, now())?;
    let same = matches!(statement.predicate(), Predicate::Rebuild(rebuild) if rebuild.verdict == Stated::Reproduced);
    let mut report = report::rebuilt(ready, rebuilt, order, &Check::Published);
    report["published"] = told(&basis, &published.place, same, &differences);
    report::write(&report, &ready.plan, &out)?;
    let mut text = words(&basis, &published.place, same, &differences, rebuilt);
    if let Some(stated) = &basis.stated
        && let Some(line) = other_pgproof(stated, witness.tool())
    {
        text.push_str(&line);
    }
    text.push_str(&statement::write(&statement, REBUILD, &ready.plan, &out)?);
    if let Some(signatory) = signatory {
        let path = statement::path(REBUILD, &ready.plan, &out);
        let signed = sign::sign_release(session, &signatory, &out, &[path], false)?;
        text.push_str(&signed.text);
        report["signed"] = signed.json["signed"].clone();
    }
    Ok(Answer::new(text.trim_end(), report).with_code(if same { 0 } else { DIFFERENT }))
}

/// Whether what would be written would lie among what was published.
fn is_same(place: &Place, out: &Path) -> bool {
    let Place::Directory(directory) = place else { return false };
    match (directory.canonicalize(), out.canonicalize()) {
        (Ok(directory), Ok(out)) => directory == out,
        // What is not there is not the same.
        _ => false,
    }
}

/// What to build, or the answer that nobody who was named vouches for it.
fn basis(
    session: &Session,
    request: &Rebuild,
    bench: &Bench<'_>,
    published: &Published,
    signers: &[Signer],
) -> Result<Result<Basis, Answer>, Failure> {
    let at_hand = named_digest(published, session)?;
    let given = request.subject.plan.as_deref().map(Plan::load).transpose()?;
    let documents: Vec<_> =
        published.documents.iter().map(|document| Document { name: &document.name, bytes: &document.bytes }).collect();
    let candidates = if signers.is_empty() {
        let statements = testimony::unverified(&documents);
        statements.into_iter().map(|(source, statement)| Candidate { source, statement, signer: None }).collect()
    } else {
        let root = request.signing.trust.root_for(session, signers)?;
        let heard = testimony::hear(&documents, Subject::Any, signers, root.as_ref(), now());
        let candidates: Vec<_> = heard.testimonies.into_iter().filter_map(Candidate::of).collect();
        if !candidates.iter().any(|candidate| candidate.is_about(at_hand)) {
            return Ok(Err(unverified(published, &heard.disregarded)));
        }
        candidates
    };
    let mut about: Vec<_> = candidates.into_iter().filter(|candidate| candidate.is_about(at_hand)).collect();
    about.dedup_by_key(|candidate| candidate.plan());
    let candidate = match (about.pop(), about.is_empty()) {
        (Some(only), true) => only,
        (None, _) => return local(bench, session, published, at_hand, given).map(Ok),
        (Some(_), false) => {
            return Err(Failure::Usage("what lies there states several plans: name one archive or one statement"));
        }
    };
    let basis = candidate.into_basis(session)?;
    if let Some(given) = given {
        if given.digest() != basis.plan.digest() {
            return Err(Failure::OtherPlan { stated: basis.plan.digest(), given: given.digest() });
        }
    } else if !basis.verified && !is_own_recipe(&basis) {
        return Err(Failure::Usage(
            "the statement's plan is not one that pgproof's recipe makes, and nobody vouches for it: say who must have \
             signed it, or give the plan that you have read with --plan FILE",
        ));
    }
    Ok(Ok(basis))
}

/// A provenance that may be the one.
struct Candidate {
    source: String,
    statement: Statement,
    /// Who signed it, if that was verified.
    signer: Option<String>,
}

impl Candidate {
    fn of(testimony: Testimony) -> Option<Self> {
        let signer = Some(testimony.verified.signer().identity().to_string());
        let statement = testimony.said.into_statement()?;
        Some(Self { source: testimony.source, statement, signer })
    }

    fn provenance(&self) -> Option<&Provenance> {
        if let Predicate::Provenance(provenance) = self.statement.predicate() { Some(provenance) } else { None }
    }

    fn plan(&self) -> Option<Digest> {
        self.provenance().map(|provenance| provenance.plan.digest())
    }

    /// Whether it says how the archive was built, if one was named.
    fn is_about(&self, archive: Option<Digest>) -> bool {
        self.provenance().is_some() && archive.is_none_or(|archive| self.statement.subject(archive).is_some())
    }

    fn into_basis(self, session: &Session) -> Result<Basis, Failure> {
        let Some(provenance) = self.provenance() else { return Err(Failure::Usage("there is no provenance")) };
        let mut expected = BTreeMap::new();
        for archive in provenance.plan.archives() {
            let file = format!("{}{ARCHIVE}", archive.name);
            let subject = self.statement.subjects().iter().find(|subject| subject.name == file);
            expected.extend(subject.map(|subject| (archive.name.clone(), subject.sha256)));
        }
        let mut words = vec![match &self.signer {
            Some(signer) => ("stated by", format!("{signer} [{}]", self.source)),
            None => (
                "UNVERIFIED",
                format!(
                    "nobody was named who must have signed {}: whoever could write there could have written it. Name them \
                     with --certificate-identity and --certificate-oidc-issuer, or --published-key",
                    self.source
                ),
            ),
        }];
        let own = provenance.planned_here().is_ok_and(|plan| plan.digest() == provenance.plan.digest());
        words.push((
            "recipe",
            match (own, &provenance.request) {
                (true, pgproof::statement::Request::Release { .. }) => "the plan is the one that this pgproof makes for it".to_owned(),
                _ => "the plan is NOT of this pgproof's recipe: what it does is for whoever vouches for it, or for you to read".to_owned(),
            },
        ));
        let beside = provenance.inputs_beside(&session.definitions)?;
        if beside.differences.is_empty() {
            words.push(("inputs", format!("all {} are those of the lockfiles at hand", beside.count)));
        } else {
            let count = beside.differences.len();
            words.push(("inputs", format!("{count} of {} are not those of the lockfiles at hand:", beside.count)));
            words.extend(beside.differences.into_iter().take(SHOWN).map(|line| ("", line)));
        }
        Ok(Basis {
            plan: provenance.plan.clone(),
            expected,
            verified: self.signer.is_some(),
            stated: Some(Box::new(provenance.clone())),
            words,
        })
    }
}

fn is_own_recipe(basis: &Basis) -> bool {
    let Some(stated) = &basis.stated else { return true };
    matches!(stated.request, pgproof::statement::Request::Release { .. })
        && stated.planned_here().is_ok_and(|plan| plan.digest() == basis.plan.digest())
}

/// The digest of the archive that was named, if it lies here.
fn named_digest(published: &Published, session: &Session) -> Result<Option<Digest>, Failure> {
    let Some(Ok(name)) = published.archive.as_ref().map(|name| name.parse::<Name>()) else { return Ok(None) };
    let bytes = published.place.file(&name, ARCHIVE_LIMIT, session.network.as_ref())?;
    Ok(bytes.map(|bytes| Digest::of(&bytes)))
}

/// What this pgproof itself would build as the archive that was named: nothing is stated of that.
fn local(
    bench: &Bench<'_>,
    session: &Session,
    published: &Published,
    archive: Option<Digest>,
    given: Option<Plan>,
) -> Result<Basis, Failure> {
    let stem = published.archive.as_deref().and_then(|name| name.strip_suffix(ARCHIVE));
    let (Some(stem), Some(archive)) = (stem, archive) else {
        return Err(Failure::Usage(
            "there is no provenance that pgproof reads: name an archive, its statement, or their directory",
        ));
    };
    let plan = match (given, Target::of_archive(stem)) {
        (Some(plan), _) => plan,
        (None, Some(target)) => bench.workshop(session, &super::arguments::Limits::default()).plan(target, None)?,
        (None, None) => {
            return Err(Failure::Usage(
                "no provenance lies beside the archive, and its name is none of PostgreSQL's: give the plan with --plan FILE",
            ));
        }
    };
    let name: Name = stem.parse()?;
    if !plan.archives().iter().any(|archive| archive.name == name) {
        return Err(Failure::Usage("the plan makes no archive of this name"));
    }
    let words = vec![("UNSTATED", "no provenance lies beside it: plan and locks are those at hand".to_owned())];
    Ok(Basis { plan, expected: BTreeMap::from([(name, archive)]), stated: None, words, verified: false })
}

/// The answer where nobody who was named signed anything of use.
fn unverified(published: &Published, disregarded: &[testimony::Disregarded]) -> Answer {
    let mut text =
        format!("not verified: nobody who was named signed a provenance in {}; nothing was built\n", published.place);
    for disregarded in disregarded {
        writeln!(text, "  not       {}: {}", disregarded.source, chain(&disregarded.reason).join(": ")).ok();
    }
    let reasons: Vec<_> = disregarded
        .iter()
        .map(|disregarded| json!({ "source": disregarded.source, "reason": chain(&disregarded.reason) }))
        .collect();
    Answer::new(printable(text.trim_end()), json!({ "verified": false, "disregarded": reasons })).with_code(DIFFERENT)
}

/// The archives that lie there: each has to be the one that is stated.
fn published_archives(
    published: &Published,
    basis: &Basis,
    session: &Session,
) -> Result<BTreeMap<Name, Vec<u8>>, Failure> {
    let mut archives = BTreeMap::new();
    for (name, stated) in &basis.expected {
        let file: Name = format!("{name}{ARCHIVE}").parse()?;
        if let Some(bytes) = published.place.file(&file, ARCHIVE_LIMIT, session.network.as_ref())? {
            let found = Digest::of(&bytes);
            if found != *stated {
                let place = published.place.to_string();
                return Err(Failure::OtherThanStated { place, file: file.to_string(), found, stated: *stated });
            }
            archives.insert(name.clone(), bytes);
        }
    }
    Ok(archives)
}

fn digests(expected: &BTreeMap<Name, Digest>) -> BTreeMap<Name, ArchiveDigests> {
    let digests = |digest: Digest| ArchiveDigests { archive: digest, tar: None, list: None };
    expected.iter().map(|(name, digest)| (name.clone(), digests(*digest))).collect()
}

/// What differs between what was published and what was built, entry by entry; or why that cannot be told.
fn differences(
    store: &Store,
    basis: &Basis,
    archives: &BTreeMap<Name, Vec<u8>>,
    rebuilt: &Rebuilt,
) -> Result<Result<Differences, String>, Failure> {
    let ours: Vec<Output> =
        rebuilt.plain.outputs.iter().filter(|output| basis.expected.contains_key(output.name())).cloned().collect();
    if ours.iter().all(|output| basis.expected.get(output.name()) == Some(&output.archive().digest())) {
        return Ok(match &rebuilt.verdict {
            Verdict::Reproduced(_) => Err("nothing differs".to_owned()),
            Verdict::Different(differences) => Ok(differences.clone()),
        });
    }
    let mut theirs = Vec::new();
    for output in &ours {
        let Some(archive) = archives.get(output.name()) else {
            return Ok(Err(format!(
                "{}{ARCHIVE} does not lie there, so that only its digest can be compared",
                output.name()
            )));
        };
        match unpacked(store, archive, output.name(), basis.plan.source_date_epoch)? {
            Ok(output) => theirs.push(output),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(match Comparison::between(&theirs, &ours).verdict() {
        Verdict::Different(differences) => Ok(differences),
        Verdict::Reproduced(_) => {
            Err("all that is in the archives is equal; they are compressed differently".to_owned())
        }
    })
}

/// A published archive as if it had been built here.
fn unpacked(store: &Store, archive: &[u8], name: &Name, epoch: u32) -> Result<Result<Output, String>, Failure> {
    let mut incoming = store.incoming()?;
    let copied = Compression::Gzip
        .reader(archive)
        .and_then(|reader| io::copy(&mut io::Read::take(reader, TAR_LIMIT), &mut incoming));
    if let Err(error) = copied {
        return match error.downcast::<StoreError>() {
            Ok(error) => Err(error.into()),
            Err(error) => Ok(Err(format!("{name}{ARCHIVE}, as published, cannot be decompressed: {error}"))),
        };
    }
    match output::collect(incoming.commit()?, name, epoch, store) {
        Ok(output) => Ok(Ok(output)),
        Err(error @ (output::OutputError::Tree { .. } | output::OutputError::Contract { .. })) => {
            Ok(Err(format!("{name}{ARCHIVE}, as published, is none of pgproof's: {}", chain(&error).join(": "))))
        }
        Err(error) => Err(error.into()),
    }
}

/// The verdict for people.
fn words(
    basis: &Basis,
    place: &Place,
    same: bool,
    differences: &Result<Differences, String>,
    rebuilt: &Rebuilt,
) -> String {
    let mut text = if same {
        format!(
            "reproduced: {}, as published in {place}\n  built twice here from exactly the stated inputs, under different \
             conditions;\n  every archive came out with the published SHA-256\n",
            basis.plan.name
        )
    } else {
        format!("not reproduced: {}, as published in {place}\n", basis.plan.name)
    };
    for (name, published) in &basis.expected {
        let built = |built: &pgproof::rebuild::Built| {
            let output = built.outputs.iter().find(|output| output.name() == name);
            output.map_or_else(|| "nothing".to_owned(), |output| output.archive().digest().to_string())
        };
        let (plain, shaken) = (built(&rebuilt.plain), built(&rebuilt.shaken));
        writeln!(text, "  {name}\n    published {published}").ok();
        if [&plain, &shaken].into_iter().any(|digest| *digest != published.to_string()) {
            writeln!(text, "    plain     {plain}\n    shaken    {shaken}").ok();
        }
    }
    if !same {
        match differences {
            Ok(differences) => text.push_str(&report::limited(differences)),
            Err(why) => writeln!(text, "  {why}").unwrap_or_default(),
        }
    }
    for (heading, line) in &basis.words {
        writeln!(text, "  {heading:<9} {line}").ok();
    }
    printable(&text)
}

/// The verdict for machines.
fn told(basis: &Basis, place: &Place, same: bool, differences: &Result<Differences, String>) -> Value {
    let differences = match differences {
        _ if same => Value::Null,
        Ok(differences) => report::differences(differences),
        Err(why) => json!({ "unknown": why }),
    };
    json!({
        "place": place.to_string(),
        "reproduced": same,
        "verified": basis.verified,
        "archives": basis.expected,
        "notes": basis.words.iter().map(|(heading, line)| json!([heading, line])).collect::<Vec<_>>(),
        "differences": differences,
    })
}

/// Says so if what was published was built by another pgproof than this one.
fn other_pgproof(stated: &Provenance, here: &pgproof::statement::Tool) -> Option<String> {
    let there = &stated.origin.tool;
    let same = there.commit == here.commit && there.version == here.version && there.commit.clean().is_some();
    if same || there.binary == here.binary {
        return None;
    }
    Some(format!(
        "  pgproof   {} (commit {}) built it there, {} (commit {}) here\n",
        there.version, there.commit, here.version, here.commit
    ))
}
