//! What is said of a signature that holds.

use std::fmt::Write as _;

use pgproof::bundle::{Identity, Verified};
use pgproof::text::printable;
use serde_json::{Value, json};

/// For people: who signed, when, what was shown and what was not. Each line is indented. A certificate's claims are for machines.
pub(super) fn text(verified: &Verified) -> String {
    let mut text = format!("  by        {}\n", printable(&verified.signer().identity().to_string()));
    if let Some(time) = verified.time() {
        // Writing to a String cannot fail.
        writeln!(text, "  time      {} ({})", time.at, time.source).ok();
    }
    for proof in verified.proven() {
        writeln!(text, "  shown     {proof}").ok();
    }
    for open in verified.unproven() {
        writeln!(text, "  NOT shown {open}").ok();
    }
    text
}

/// For machines.
pub(super) fn json(verified: &Verified) -> Value {
    let signer = match verified.signer().identity() {
        Identity::Certificate { identity, issuer } => json!({ "identity": identity, "issuer": issuer }),
        Identity::Key { fingerprint } => json!({ "key": fingerprint }),
    };
    let claims: serde_json::Map<_, _> =
        verified.signer().claims().iter().map(|(claim, value)| (claim.to_string(), json!(value))).collect();
    let time = verified.time().map(|time| json!({ "at": time.at, "source": time.source.to_string() }));
    json!({
        "signer": signer,
        "claims": claims,
        "time": time,
        "shown": verified.proven().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "notShown": verified.unproven().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
