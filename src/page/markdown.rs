//! Runs as Markdown, for a comment on a pull request or the summary of a job.
//!
//! # Why
//!
//! What a report says is written as code only ([`Said::code`]), where nothing is markup, a mention or an address. A table's cells have
//! nothing of it but that. No HTML is written, and so none has to be let through. Forges cut off or refuse what is
//! too long, GitHub a comment of more than 65,536 characters: each list says how much of it is left out.

use super::Run;
use super::grid::{Agreement, Grid};
use super::mood::Mood;
use super::report::{Bytes, Cause, Change, Content, Difference, Excerpt, Order, Report};
use super::said::{Said, longest_run};
use super::words::{axis, bytes, cause_title, command, conditions, count, counted, duration, headline, held, tally};
use crate::digest::Digest;

/// How many bytes the document has at most.
const SIZE: usize = 60_000;

/// How many bytes are kept for what says that something is left out, and for how to redo it.
const RESERVE: usize = 2_000;

/// How many files that differ are named.
const FILES: usize = 40;

/// How many files that differ are shown from within.
const SHOWN: usize = 8;

/// How many lines of a side are shown.
const LINES: usize = 6;

/// How many characters of a text are shown.
const TEXT: usize = 400;

/// What is written so far.
#[derive(Default)]
struct Document(String);

/// The document of all runs.
pub(super) fn document(runs: &[Run]) -> String {
    let mut document = Document::default();
    match runs {
        [run] => one(&mut document, run),
        runs => many(&mut document, runs),
    }
    document.0
}

impl Document {
    /// Adds a block, if there is room for it.
    fn block(&mut self, text: &str) -> bool {
        let fits = self.0.len() + text.len() + 2 <= SIZE - RESERVE;
        if fits {
            self.last(text);
        }
        fits
    }

    /// Adds a block for which there is always room.
    fn last(&mut self, text: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(text.trim_end_matches('\n'));
        self.0.push('\n');
    }

    /// Adds a list or a table under what introduces it, with as many lines as there is room for.
    fn lines(
        &mut self,
        before: &str,
        lines: impl IntoIterator<Item = String>,
        limit: usize,
        more: impl Fn(usize) -> String,
    ) {
        let lines: Vec<_> = lines.into_iter().collect();
        if lines.is_empty() || !self.block(before) {
            return;
        }
        let mut left_out = lines.len().saturating_sub(limit);
        for (index, line) in lines.iter().enumerate().take(limit) {
            if self.0.len() + line.len() + 1 > SIZE - RESERVE {
                left_out = lines.len() - index;
                break;
            }
            // A list begins a block; a table's lines follow its head.
            if index == 0 && !before.ends_with("|\n") {
                self.0.push('\n');
            }
            self.0.push_str(line);
            self.0.push('\n');
        }
        if left_out > 0 {
            self.last(&more(left_out));
        }
    }
}

fn one(document: &mut Document, run: &Run) {
    let report = &run.report;
    document.block(&format!("## {} {}: {}", sign(report), headline(report), code(report.name.as_str())));
    document.block(&summary(report));
    document.block(&facts(run));
    if let Some(differences) = report.verdict.as_ref().map(|verdict| &verdict.differences) {
        causes(document, report);
        differing(document, report, differences);
    }
    archives(document, report);
    not_held(document, report);
    findings(document, report);
    document.last(&redo(report));
}

fn many(document: &mut Document, runs: &[Run]) {
    let grid = Grid::of(runs);
    document.block(&format!("## {} {}", emoji(grid.mood()), grid.headline()));
    document.block(&grid.summary());
    let columns: Vec<_> = grid.rebuilders.iter().map(|rebuilder| shortened(rebuilder)).collect();
    let head = format!(
        "| Version | Target | {} | Agreement |\n|---|---|{}---|\n",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    let rows = grid.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|cells| {
            let cells = cells.iter().map(|cell| {
                let digits = cell.digits.as_ref().map_or_else(String::new, |digits| format!(" {}", code(digits)));
                format!("{}{digits}", sign(&cell.run.report))
            });
            cells.collect::<Vec<_>>().join(", ")
        });
        let cells: Vec<_> = cells.collect();
        let triple = row.triple.map_or_else(String::new, |triple| code(triple.as_str()));
        format!("| {} | {triple} | {} | {} |", code(&row.version), cells.join(" | "), agreement(row.agreement))
    });
    document.lines(&head, rows, usize::MAX, |left_out| {
        format!("and {} more", counted(left_out as u64, "release", "releases"))
    });
    let bad = runs.iter().filter(|run| Mood::of(&run.report) == Mood::Bad).map(|run| {
        let report = &run.report;
        let causes: Vec<_> = report.causes.iter().map(|cause| title(&cause.cause)).collect();
        let causes = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(", ")) };
        format!("- {} by {}, {}{causes}", code(report.name.as_str()), shortened(&run.rebuilder), different(report))
    });
    document.lines("### Not reproduced, or no release", bad, FILES, |left_out| format!("and {left_out} more"));
    document.last("✅ reproduced, ❌ not reproduced or no release, ➖ nothing was compared; then the first digits of the archive's SHA-256.");
}

/// The verdict, without the words that a page marks.
fn summary(report: &Report) -> String {
    let conditions = conditions(report);
    match &report.verdict {
        Some(verdict) if verdict.reproduced => format!(
            "Built twice from inputs pinned by digest, in a box without network, {conditions}. Both builds made the same archives, \
             byte for byte."
        ),
        Some(_) => format!(
            "{} between two builds from the same inputs, in a box without network, {conditions}.",
            capital(&different(report))
        ),
        None if report.builds.is_empty() => {
            "Made of a tree that another runtime built. Nothing was compared.".to_owned()
        }
        None => "Built once from inputs pinned by digest, in a box without network. Nothing was compared.".to_owned(),
    }
}

fn different(report: &Report) -> String {
    match &report.verdict {
        Some(verdict) if verdict.reproduced => "the check of the archives found something".to_owned(),
        Some(verdict) if verdict.different == 0 => "all entries are equal, but the digests are not".to_owned(),
        Some(verdict) => {
            format!("**{} of {} differ**", count(verdict.different), counted(verdict.compared, "entry", "entries"))
        }
        None => "nothing was compared".to_owned(),
    }
}

fn facts(run: &Run) -> String {
    let report = &run.report;
    let mut rows = vec![("Plan", digest(report.plan))];
    rows.push((
        "Root file system",
        format!("{} {}", code(report.sysroot.name.as_str()), digest(report.sysroot.manifest)),
    ));
    rows.extend(
        report
            .inputs
            .iter()
            .take(10)
            .map(|input| ("Input", format!("{} {}", code(input.name.as_str()), digest(input.digest)))),
    );
    rows.extend(tally(report).map(|tally| ("Conditions", tally)));
    if !report.builds.is_empty() {
        let times: Vec<_> = report.builds.iter().map(|build| duration(build.elapsed_seconds)).collect();
        let order = match report.order {
            Some(Order::Together) => ", side by side",
            Some(Order::InTurn) => ", in turn",
            None => "",
        };
        rows.push(("Time", format!("{}{order}", times.join(" and "))));
    }
    rows.push(("Rebuilder", shortened(&run.rebuilder)));
    rows.push(("Built by", format!("pgproof {}", shortened(&report.pgproof))));
    let mut table = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        table.extend(["| ", name, " | ", &value, " |\n"]);
    }
    table
}

fn causes(document: &mut Document, report: &Report) {
    let items = report.causes.iter().map(|cause| {
        let mut item = format!("- **{}**, {}: {}", title(&cause.cause), files_of(cause), sentence(&cause.explanation));
        for fix in cause.fixes.iter().take(3) {
            item.extend(["\n  - Fix: ", &sentence(fix)]);
        }
        if !cause.consequences.is_empty() {
            let following = counted(cause.consequences.len() as u64, "other file", "other files");
            item.extend(["\n  - From it follows what differs in ", &following]);
        }
        item
    });
    document.lines("### Why they differ", items, 20, |left_out| format!("and {left_out} more"));
}

fn files_of(cause: &Cause) -> String {
    counted(cause.count.max(cause.files.len() as u64), "file", "files")
}

fn differing(document: &mut Document, report: &Report, differences: &[Difference]) {
    let top = format!("{}/", report.name);
    let items = differences
        .iter()
        .map(|difference| format!("- {}: {}", shortened(&difference.path.without(&top)), change(&difference.change)));
    let unlisted =
        report.verdict.as_ref().map_or(0, |verdict| verdict.different.saturating_sub(differences.len() as u64));
    document
        .lines("### What differs", items, FILES, |left_out| format!("and {} more", count(left_out as u64 + unlisted)));
    for difference in differences.iter().filter(|difference| !difference.details.is_empty()).take(SHOWN) {
        let detail = &difference.details[0];
        let path = shortened(&difference.path.without(&top));
        let heading = if detail.place.is_empty() { path } else { format!("{path}, {}", sentence(&detail.place)) };
        if !document.block(&format!("{heading}:\n\n{}", sides(detail.first.as_ref(), detail.second.as_ref()))) {
            return;
        }
    }
}

/// Both sides in a fenced block. Each line of them has a sign before it, and the fence is longer than any in it.
fn sides(first: Option<&Excerpt>, second: Option<&Excerpt>) -> String {
    let mut lines = String::new();
    for (sign, side) in [('-', first), ('+', second)] {
        for line in side.map(excerpt).unwrap_or_default() {
            lines.extend([sign.to_string().as_str(), " ", &line, "\n"]);
        }
    }
    let fence = "`".repeat((longest_run(&lines) + 1).max(3));
    format!("{fence}diff\n{lines}{fence}")
}

fn excerpt(side: &Excerpt) -> Vec<String> {
    match &side.content {
        Bytes::Text(text) => text.lines().take(LINES).map(|line| line.shortened(TEXT).0.verbatim()).collect(),
        Bytes::Binary(bytes) => {
            // Little before what differs tells more than much.
            let skipped = side.differing.map_or(0, |(start, _)| start.saturating_sub(16) / 16 * 16).min(bytes.len());
            let row = |(index, row): (usize, &[u8])| {
                let digits: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
                let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
                let characters: String = row.iter().map(shown).collect();
                format!(
                    "{:06x}  {:<47}  {characters}",
                    side.offset.saturating_add((skipped + 16 * index) as u64),
                    digits.join(" ")
                )
            };
            bytes[skipped..].chunks(16).enumerate().take(LINES).map(row).collect()
        }
    }
}

fn archives(document: &mut Document, report: &Report) {
    let head = "### Archives\n\n| Archive | Size | Entries | SHA-256 of the `.tar.gz` |\n|---|--:|--:|---|\n";
    let second = report.builds.get(1).map_or(&[][..], |build| &build.archives);
    let rows = report.first_archives().iter().enumerate().map(|(index, archive)| {
        let other = second.get(index).filter(|other| other.archive != archive.archive);
        let other = other.map_or_else(String::new, |other| format!(" and {}", digest(other.archive)));
        let name = code(archive.name.as_str());
        let (size, entries) = (bytes(archive.archive_size), count(archive.entries));
        format!("| {name} | {size} | {entries} | {}{other} |", digest(archive.archive))
    });
    document.lines(head, rows, 20, |left_out| format!("and {left_out} more"));
}

fn not_held(document: &mut Document, report: &Report) {
    let Some(shaken) = report.builds.get(1) else { return };
    let items = held(shaken).1.into_iter().map(|(which, why)| format!("- {}: {}", axis(which), shortened(&why)));
    document.lines("### Conditions that did not differ", items, 20, |left_out| format!("and {left_out} more"));
}

fn findings(document: &mut Document, report: &Report) {
    let parts = report.check.iter().filter_map(|check| check.found.as_ref()).flat_map(|found| &found.parts);
    let items = parts.flat_map(|part| &part.findings).map(|finding| {
        let about = if finding.about.is_empty() { String::new() } else { format!(" {}", shortened(&finding.about)) };
        format!("- {} {}{about}", shortened(&finding.file), shortened(&finding.kind))
    });
    document.lines("### What the check of the archives found", items, FILES, |left_out| format!("and {left_out} more"));
}

fn redo(report: &Report) -> String {
    let mut text = format!("### Redo it\n\n```sh\n{}\n", command(report));
    let same = report.verdict.as_ref().is_none_or(|verdict| verdict.reproduced);
    if let Some(archive) = report.first_archives().first().filter(|_| same) {
        text.extend(["echo '", &archive.archive.hex(), "  ", archive.name.as_str(), ".tar.gz' | sha256sum --check\n"]);
    }
    text.push_str("```\n");
    text
}

/// How an entry differs, in a few words.
fn change(change: &Change) -> String {
    match change {
        Change::OnlyInFirst(content) => format!("only in the first build, {}", kind(content)),
        Change::OnlyInSecond(content) => format!("only in the second build, {}", kind(content)),
        Change::Changed { first: Content::File { size, format, .. }, second: Content::File { size: size_2, .. } } => {
            if size == size_2 {
                format!("{}, other content in the same {}", shortened(format), counted(*size, "byte", "bytes"))
            } else {
                format!("{}, {} → {} bytes", shortened(format), count(*size), count(*size_2))
            }
        }
        Change::Changed { first, second } => format!("{} → {}", kind(first), kind(second)),
    }
}

fn kind(content: &Content) -> String {
    match content {
        Content::Directory => "directory".to_owned(),
        Content::File { size, format, .. } => format!("{}, {}", shortened(format), bytes(*size)),
        Content::Symlink { target } => format!("symbolic link to {}", shortened(target)),
    }
}

fn title(cause: &Said) -> String {
    cause_title(cause).map_or_else(|| shortened(cause), ToOwned::to_owned)
}

/// A sentence, which is a stranger's too.
fn sentence(text: &Said) -> String {
    let unquoted = Said::joined(&text.quoted(), "");
    shortened(if unquoted.is_empty() { text } else { &unquoted })
}

fn shortened(text: &Said) -> String {
    let (text, left_out) = text.shortened(TEXT);
    if left_out == 0 { text.code() } else { format!("{}…", text.code()) }
}

/// Code of our own: names and digests have no character that could end it.
fn code(text: &str) -> String {
    format!("`{text}`")
}

fn digest(digest: Digest) -> String {
    code(&digest.to_string())
}

fn sign(report: &Report) -> &'static str {
    emoji(Mood::of(report))
}

const fn emoji(mood: Mood) -> &'static str {
    match mood {
        Mood::Good => "✅",
        Mood::Bad => "❌",
        Mood::Open => "➖",
    }
}

fn agreement(agreement: Agreement) -> String {
    match agreement {
        Agreement::None => "–".to_owned(),
        Agreement::Alone => "one alone".to_owned(),
        Agreement::Same { made, of } => format!("✅ {}", Agreement::tally(made, of)),
        Agreement::Other => "❌ other digests".to_owned(),
        Agreement::Plans => "other plans".to_owned(),
    }
}

fn capital(text: &str) -> String {
    // What it may begin with besides a letter is the mark of strong emphasis, before a number.
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
