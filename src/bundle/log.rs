//! What sigstore-verify does not check of log entries and timestamps, although somebody could change it.
//!
//! # Why
//!
//! sigstore-verify 0.15 checks that the entry is in *a* log of the trust root, not in the one that the entry names: the log id of
//! a Rekor v2 entry is never read. It takes the tree's size from the proof (v1) or the checkpoint (v2) and does not compare them.
//! It reads a checkpoint up to what it needs and passes over the rest. It looks for an inclusion proof in any entry, not in all.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::bundle::InclusionProof;
use sigstore_types::{Checkpoint, KindVersion, Sha256Hash, TransparencyLogEntry};

use super::refused::Refused;
use super::trust::TrustRoot;

/// How many log entries and timestamps a bundle may have: as many as there are logs in sight.
const WITNESS_LIMIT: usize = 8;

/// Checks what can be checked without a trust root.
pub(super) fn check_form(entries: &[TransparencyLogEntry], timestamps: &[&[u8]]) -> Result<(), Refused> {
    if entries.len() > WITNESS_LIMIT || timestamps.len() > WITNESS_LIMIT {
        return Err(Refused::Structure(format!("more than {WITNESS_LIMIT} log entries or timestamps")));
    }
    let logs: BTreeSet<_> = entries.iter().map(|entry| entry.log_id.key_id.as_bytes()).collect();
    if logs.len() != entries.len() {
        return Err(Refused::LogEntry("the bundle has two entries of one log".to_owned()));
    }
    if timestamps.iter().collect::<BTreeSet<_>>().len() != timestamps.len() {
        return Err(Refused::Timestamp("the bundle has it twice".to_owned()));
    }
    entries.iter().try_for_each(check_entry)
}

fn check_entry(entry: &TransparencyLogEntry) -> Result<(), Refused> {
    check_body(entry)?;
    let Some(proof) = &entry.inclusion_proof else {
        return Err(Refused::InclusionProof("there is none".to_owned()));
    };
    let checkpoint = check_checkpoint(proof)?;
    if checkpoint.tree_size() != proof.tree_size {
        return Err(Refused::InclusionProof(format!(
            "it is of a tree with {} entries, the checkpoint of one with {}",
            proof.tree_size,
            checkpoint.tree_size()
        )));
    }
    if *checkpoint.root_hash() != proof.root_hash {
        return Err(Refused::InclusionProof("its root hash is not the checkpoint's".to_owned()));
    }
    if is_second(entry) {
        // Rekor v2 neither tells a time nor promises anything, so nothing would vouch for these.
        if entry.integrated_time.is_some() {
            return Err(Refused::IntegratedTime("a log of this kind tells none".to_owned()));
        }
        if entry.inclusion_promise.is_some() {
            return Err(Refused::InclusionPromise("a log of this kind makes none".to_owned()));
        }
        if entry.log_index != proof.log_index {
            return Err(Refused::InclusionProof(format!(
                "it is of the entry {}, not of {}",
                proof.log_index, entry.log_index
            )));
        }
    } else {
        // Only the promise covers the entry's index and time. Rekor v1 always makes one.
        if entry.inclusion_promise.is_none() {
            return Err(Refused::InclusionPromise("there is none".to_owned()));
        }
        if entry.integrated_time.is_none() {
            return Err(Refused::IntegratedTime("there is none".to_owned()));
        }
    }
    Ok(())
}

/// The entry has to say of itself what the bundle says of it.
fn check_body(entry: &TransparencyLogEntry) -> Result<(), Refused> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        api_version: String,
        kind: String,
    }
    let body: Body = serde_json::from_slice(entry.canonicalized_body.as_bytes())
        .map_err(|error| Refused::LogEntry(format!("its body cannot be read: {error}")))?;
    let said = entry.kind_version;
    if body.kind != said.kind() || body.api_version != said.version() {
        return Err(Refused::LogEntry(format!(
            "its body is of the kind {} {}, not {} {}",
            body.kind,
            body.api_version,
            said.kind(),
            said.version()
        )));
    }
    Ok(())
}

/// A checkpoint is a signed note and nothing else: <https://github.com/C2SP/C2SP/blob/main/signed-note.md>.
fn check_checkpoint(proof: &InclusionProof) -> Result<&Checkpoint, Refused> {
    let wrong = |reason: &str| Refused::Checkpoint(reason.to_owned());
    let checkpoint = proof.checkpoint.checkpoint().ok_or_else(|| wrong("there is none"))?;
    let signatures: BTreeSet<_> =
        checkpoint.signatures().iter().map(|signature| (&signature.name, signature.key_id.as_slice())).collect();
    if signatures.len() != checkpoint.signatures().len() {
        return Err(wrong("it has two signatures with one key"));
    }
    let mut written = String::from_utf8_lossy(checkpoint.signed_data()).into_owned();
    written.push('\n');
    for signature in checkpoint.signatures() {
        let bytes = [signature.key_id.as_slice(), signature.signature.as_bytes()].concat();
        // Writing to a String cannot fail.
        writeln!(written, "\u{2014} {} {}", signature.name, STANDARD.encode(bytes)).ok();
    }
    if written != proof.checkpoint.envelope() {
        return Err(wrong("it is not a signed note, or there is something around it"));
    }
    Ok(checkpoint)
}

/// Checks that each entry is in the log that it names, by that log's key, which was in use at `signed`.
pub(super) fn check_logs(entries: &[TransparencyLogEntry], root: &TrustRoot, signed: Timestamp) -> Result<(), Refused> {
    let keys = root.root.rekor_keys().map_err(|error| Refused::TrustRoot(error.to_string()))?;
    for entry in entries {
        let shown = || entry.log_id.key_id.to_base64();
        let id = Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).map_err(|_length| Refused::LogId(shown()))?;
        if keys.key(&id).is_none() {
            return Err(Refused::LogId(shown()));
        }
        let key = keys
            .key_at(&id, signed)
            .ok_or_else(|| Refused::LogId(format!("{} was not in use at {signed}, when it was signed", shown())))?;
        let checkpoint = entry.inclusion_proof.as_ref().and_then(|proof| proof.checkpoint.checkpoint());
        let checkpoint = checkpoint.ok_or_else(|| Refused::Checkpoint("there is none".to_owned()))?;
        let is_of_log = |signature: &&sigstore_types::CheckpointSignature| {
            signature.key_id.as_slice() == &id.as_bytes()[..4]
                && names_origin(&signature.name, checkpoint.origin())
                && key.verify(checkpoint.signed_data(), &signature.signature).is_ok()
        };
        if !checkpoint.signatures().iter().any(|signature| is_of_log(&signature)) {
            return Err(Refused::Checkpoint(format!("it is not signed by the log {} that the entry names", shown())));
        }
    }
    Ok(())
}

/// Rekor v2 signs in the name of the origin, as the note's specification says; v1 puts the number of its tree behind the name.
fn names_origin(name: &str, origin: &str) -> bool {
    origin.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "))
}

fn is_second(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002
}
