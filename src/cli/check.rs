//! The command that looks at archives without running them: `check`.

use pgproof::check::{self, Expected, Part, Release, ReleaseError, Role};
use pgproof::plan::postgresql;
use pgproof::target::{Target, Triple};
use pgproof::variation::PLACES;

use super::arguments::Check;
use super::failure::{DIFFERENT, Failure};
use super::{Answer, Session};
use pgproof::text::printable;

/// `pgproof check …`
pub(super) fn check(session: &Session, request: &Check) -> Result<Answer, Failure> {
    let releases = request.archives.iter().map(|path| Release::open(path)).collect::<Result<Vec<_>, ReleaseError>>()?;
    let named = releases.iter().find_map(Release::triple);
    let target = match request.target.or(named) {
        Some(target) => target,
        None => Triple::host()?,
    };
    let (_, toolchain) = session.definitions.toolchain_for(target)?;
    // What the recipe's own archives are known for is no news; of anybody else's, all is.
    let debug = releases.iter().any(|release| release.role() == Role::Debug);
    let ours = releases.iter().find_map(|release| Target::of_archive(release.stem()));
    let exceptions = ours.map_or_else(Vec::new, |ours| postgresql::exceptions(ours.version, debug));
    let expected = Expected { target, floor: toolchain.floor, places: PLACES, exceptions: &exceptions };
    let parts = releases.iter().map(Release::part).collect::<Result<Vec<Part<_>>, ReleaseError>>()?;
    let activity = session.ui.work("check");
    activity.now(&format!("{} archives", parts.len()));
    let report = check::check(parts, &expected)?;
    drop(activity);
    let code = if report.is_clean() { 0 } else { DIFFERENT };
    let json = serde_json::json!({ "clean": report.is_clean(), "check": report });
    Ok(Answer::new(printable(&report.to_string()), json).with_code(code))
}
