//! The command that says whether an archive is what somebody signed: `verify`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pgproof::bundle::{Signer, TrustRoot};
use pgproof::definitions::Definitions;
use pgproof::digest::Digest;
use pgproof::policy::{self, Judgement, Policy};
use pgproof::release::Published;
use pgproof::statement::{Commit, Predicate, Rebuild};
use pgproof::testimony::{self, Disregarded, Document, Heard, Said, Subject, Testimony};
use pgproof::text::printable;
use serde_json::{Value, json};

use super::arguments::{Trust, Verify};
use super::build::now;
use super::failure::{DIFFERENT, Failure};
use super::{Answer, Session, failure, trust};

/// A larger file is not held in memory; signatures of files with keys that need all of it cannot be checked then.
const CONTENT_LIMIT: u64 = 1 << 30;

/// How many differences from a lockfile people are told.
const SHOWN: usize = 10;

/// What is to be verified.
struct Artifact {
    /// What to call it.
    name: String,
    digest: Digest,
    /// All of it, where it is a file that is not too large.
    content: Option<Vec<u8>>,
}

/// What the lockfiles at hand say of a statement's inputs.
struct Inputs {
    /// How many were compared.
    compared: usize,
    /// What is not in them, or different.
    differences: Vec<String>,
}

/// `pgproof verify`
pub(super) fn verify(session: &Session, request: &Verify) -> Result<Answer, Failure> {
    let policy = request.policy.as_deref().map(Policy::load).transpose()?;
    let asked = request.who.signers(&request.keys)?;
    let signers = policy.as_ref().map_or(asked.as_slice(), Policy::signers);
    if signers.is_empty() {
        return Err(Failure::Usage(
            "say who must have signed: --certificate-identity with --certificate-oidc-issuer, --key, or --policy",
        ));
    }
    let root = root(session, &request.trust, policy.as_ref(), signers)?;
    let artifact = Artifact::open(&request.artifact)?;
    let documents = documents(request)?;
    let heard = artifact.hear(&documents, signers, root.as_ref());

    let wanted = request.predicate_type.as_deref().map(predicate_type);
    let judgement = policy.as_ref().map(|policy| policy.judge(artifact.digest, &heard.testimonies, now()));
    let inputs = request.lockfiles.then(|| inputs(&heard, &session.definitions)).transpose()?;
    let answer = Verdict { artifact: &artifact, heard: &heard, judgement, wanted, inputs };
    let code = if answer.lacks().is_empty() { 0 } else { DIFFERENT };
    Ok(Answer::new(answer.text(), answer.json()).with_code(code))
}

/// The trust root, where one is given or certificates need one.
fn root(
    session: &Session,
    trust: &Trust,
    policy: Option<&Policy>,
    signers: &[Signer],
) -> Result<Option<TrustRoot>, Failure> {
    let of_policy = policy.and_then(Policy::trusted_root).filter(|_| trust.trusted_root.is_none());
    if let Some(path) = of_policy {
        return Ok(Some(TrustRoot::parse(&trust::read(path)?)?));
    }
    trust.root_for(session, signers)
}

/// Where to look: the files that were named, or what lies beside the archive.
fn documents(request: &Verify) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    if !request.bundles.is_empty() {
        let document = |path: &PathBuf| Ok((path.display().to_string(), trust::read(path)?));
        return request.bundles.iter().map(document).collect();
    }
    if request.artifact.parse::<Digest>().is_ok() {
        return Err(Failure::Usage("nothing lies beside a digest: name the bundle with --bundle"));
    }
    // A statement that nobody signed says nothing here.
    let beside = Published::beside(Path::new(&request.artifact))?;
    Ok(beside.into_iter().filter(|document| document.signed).map(|document| (document.name, document.bytes)).collect())
}

/// The short names that cosign knows some types by, and our own.
fn predicate_type(text: &str) -> &str {
    match text {
        "slsaprovenance1" | "provenance" => pgproof::statement::PROVENANCE,
        "rebuild" => pgproof::statement::REBUILD,
        "spdxjson" => "https://spdx.dev/Document",
        "cyclonedx" => "https://cyclonedx.org/bom",
        uri => uri,
    }
}

impl Artifact {
    fn open(text: &str) -> Result<Self, Failure> {
        if let Ok(digest) = text.parse::<Digest>() {
            return Ok(Self { name: digest.to_string(), digest, content: None });
        }
        let path = Path::new(text);
        let name = path.file_name().map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned());
        let unreadable = |source| Failure::File { action: "read", path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.len() <= CONTENT_LIMIT {
            let content = std::fs::read(path).map_err(unreadable)?;
            return Ok(Self { name, digest: Digest::of(&content), content: Some(content) });
        }
        let mut hasher = pgproof::digest::Hasher::default();
        std::io::copy(&mut file, &mut hasher).map_err(unreadable)?;
        Ok(Self { name, digest: hasher.finish(), content: None })
    }

    fn hear(&self, documents: &[(String, Vec<u8>)], signers: &[Signer], root: Option<&TrustRoot>) -> Heard {
        let documents: Vec<_> = documents.iter().map(|(name, bytes)| Document { name, bytes }).collect();
        let subject = match &self.content {
            Some(content) => Subject::Content(content, self.digest),
            None => Subject::Digest(self.digest),
        };
        testimony::hear(&documents, subject, signers, root, now())
    }
}

/// Holds the inputs of every provenance that was heard against the lockfiles at hand.
fn inputs(heard: &Heard, at_hand: &Definitions) -> Result<Inputs, Failure> {
    let mut inputs = Inputs { compared: 0, differences: Vec::new() };
    for testimony in &heard.testimonies {
        if let Some(Predicate::Provenance(provenance)) = testimony.said.predicate() {
            let compared = provenance.inputs_beside(at_hand)?;
            inputs.compared += compared.count;
            inputs.differences.extend(compared.differences);
        }
    }
    Ok(inputs)
}

/// What all comes to.
struct Verdict<'a> {
    artifact: &'a Artifact,
    heard: &'a Heard,
    judgement: Option<Judgement>,
    /// The type of statement that was asked for.
    wanted: Option<&'a str>,
    inputs: Option<Inputs>,
}

impl Verdict<'_> {
    /// What is missing; verified if nothing is.
    fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if let Some(judgement) = &self.judgement {
            lacks.extend(judgement.lacks.iter().map(ToString::to_string));
        } else {
            let negative = |testimony: &&Testimony| policy::is_negative(testimony, self.artifact.digest);
            if self.heard.testimonies.is_empty() {
                lacks.push("nobody who was named signed this file, or a statement about it".to_owned());
            }
            let signer =
                |testimony: &Testimony| format!("{} could not reproduce it", testimony.verified.signer().identity());
            lacks.extend(self.heard.testimonies.iter().filter(negative).map(signer));
        }
        if let Some(wanted) = self.wanted
            && !self.heard.testimonies.iter().any(|testimony| testimony.said.predicate_type() == Some(wanted))
        {
            lacks.push(format!("nobody who was named made a statement of the type {wanted}"));
        }
        if let Some(inputs) = &self.inputs {
            if inputs.compared == 0 {
                lacks.push(
                    "no provenance that holds tells of its inputs, so that none can be compared with the lockfiles"
                        .to_owned(),
                );
            }
            lacks.extend(inputs.differences.iter().take(SHOWN).cloned());
            if inputs.differences.len() > SHOWN {
                lacks.push(format!(
                    "and {} more inputs are not those of the lockfiles",
                    inputs.differences.len() - SHOWN
                ));
            }
        }
        lacks
    }

    fn text(&self) -> String {
        let lacks = self.lacks();
        let verdict = if lacks.is_empty() { "verified" } else { "not verified" };
        let mut text = format!("{verdict}: {}\n  {}\n", self.artifact.name, self.artifact.digest);
        for lack in &lacks {
            writeln!(text, "  because   {lack}").ok();
        }
        for testimony in &self.heard.testimonies {
            tell(&mut text, testimony, self.artifact.digest);
        }
        if let Some(judgement) = &self.judgement {
            let names: Vec<_> =
                judgement.vouchers.iter().map(|voucher| format!("{} ({})", voucher.name, voucher.role)).collect();
            let whom = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            writeln!(text, "  counted   {} of {}: {whom}", judgement.vouchers.len(), judgement.threshold).ok();
            for uncounted in &judgement.uncounted {
                writeln!(text, "  not       {} by {}: {}", uncounted.source, uncounted.name, uncounted.reason).ok();
            }
            for negative in &judgement.negatives {
                writeln!(text, "  against   {}, in {}: could not reproduce it", negative.name, negative.source).ok();
            }
        }
        if let Some(inputs) = self.inputs.as_ref().filter(|inputs| inputs.differences.is_empty() && inputs.compared > 0)
        {
            writeln!(text, "  inputs    all {} are those of the lockfiles at hand", inputs.compared).ok();
        }
        for Disregarded { source, reason } in &self.heard.disregarded {
            writeln!(text, "  not       {source}: {}", failure::chain(reason).join(": ")).ok();
        }
        printable(text.trim_end())
    }

    fn json(&self) -> Value {
        let lacks = self.lacks();
        json!({
            "verified": lacks.is_empty(),
            "artifact": { "name": self.artifact.name, "digest": self.artifact.digest },
            "because": lacks,
            "testimonies": self.heard.testimonies.iter().map(|testimony| told(testimony, self.artifact.digest)).collect::<Vec<_>>(),
            "policy": self.judgement,
            "inputs": self.inputs.as_ref().map(|inputs| json!({ "compared": inputs.compared, "differences": inputs.differences })),
            "disregarded": self.heard.disregarded.iter().map(|disregarded| json!({
                "source": disregarded.source,
                "reason": failure::chain(&disregarded.reason),
            })).collect::<Vec<_>>(),
        })
    }
}

/// What somebody said, for people.
fn tell(text: &mut String, testimony: &Testimony, archive: Digest) {
    let verified = &testimony.verified;
    writeln!(text, "  signed    by {} [{}]", verified.signer().identity(), testimony.source).ok();
    if let Some(time) = verified.time() {
        writeln!(text, "            on {}, as {} says", time.at, time.source).ok();
    }
    writeln!(text, "  says      {}", words(&testimony.said, archive)).ok();
    for proof in verified.proven() {
        writeln!(text, "  proven    {proof}").ok();
    }
    for unproven in verified.unproven() {
        writeln!(text, "  unproven  {unproven}").ok();
    }
}

/// What was signed, in a line.
fn words(said: &Said, archive: Digest) -> String {
    match said.predicate() {
        None => "nothing more: it is a signature of the file itself".to_owned(),
        Some(Predicate::Provenance(provenance)) => format!(
            "built by {} with pgproof {}{} from the plan {} and {} pinned inputs",
            provenance.origin.builder,
            provenance.origin.tool.version,
            commit(&provenance.origin.tool.commit),
            provenance.plan.digest(),
            provenance.dependencies.len()
        ),
        Some(Predicate::Rebuild(rebuild)) => rebuilt(rebuild, archive),
        Some(Predicate::Other { predicate_type, .. }) => {
            format!("something of the type {predicate_type}, which pgproof does not read")
        }
    }
}

fn rebuilt(rebuild: &Rebuild, archive: Digest) -> String {
    let same = rebuild.says_of(archive).unwrap_or(rebuild.verdict == pgproof::statement::Verdict::Reproduced);
    let what = if rebuild.is_of_published() { "built again from the plan" } else { "built from the plan" };
    let twice = rebuild.axes().map_or_else(
        || "once".to_owned(),
        |axes| {
            format!(
                "twice, with {} conditions different",
                axes.values().filter(|outcome| **outcome == pgproof::sandbox::Outcome::Held).count()
            )
        },
    );
    let came = if same { "it came out the same" } else { "it did NOT come out the same" };
    format!("{what} {} {twice}: {came}", rebuild.plan)
}

/// ` of the commit …`, where it is known.
fn commit(commit: &Commit) -> String {
    match commit {
        Commit::Unknown => String::new(),
        known @ (Commit::Clean(_) | Commit::Dirty(_)) => format!(" of the commit {known}"),
    }
}

/// What somebody said, for machines.
fn told(testimony: &Testimony, archive: Digest) -> Value {
    let verified = &testimony.verified;
    let claims = verified
        .signer()
        .claims()
        .iter()
        .map(|(claim, value)| (claim.as_str(), value))
        .collect::<std::collections::BTreeMap<_, _>>();
    json!({
        "source": testimony.source,
        "signer": verified.signer().identity(),
        "claims": claims,
        "time": verified.time().map(|time| json!({ "at": time.at, "source": time.source.to_string() })),
        "predicateType": testimony.said.predicate_type(),
        "negative": policy::is_negative(testimony, archive),
        "says": words(&testimony.said, archive),
        "proven": verified.proven().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unproven": verified.unproven().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
