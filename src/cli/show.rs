//! The command that shows what runs came to: `report`.

use std::path::{Path, PathBuf};

use pgproof::page::{self, PageError, Run};
use pgproof::store::Store;
use serde_json::json;

use super::arguments::{Report, ReportFormat};
use super::failure::Failure;
use super::ui::bytes;
use super::{Answer, Session};

/// `pgproof report …`
pub(super) fn report(session: &Session, request: &Report) -> Result<Answer, Failure> {
    if request.reports.len() > page::RUNS {
        return Err(PageError::TooMany { found: request.reports.len() }.into());
    }
    // The store may have the lists of what is equal. Where there is none, none is made for that.
    let store = session.store.join("version").exists().then(|| Store::open(&session.store)).transpose()?;
    let read = |path: &PathBuf| Run::read(path, store.as_ref());
    let runs = request.reports.iter().map(read).collect::<Result<Vec<_>, PageError>>()?;
    let json = page::json(&runs);
    let text = match request.format {
        ReportFormat::Html => page::html(&runs),
        ReportFormat::Markdown => page::markdown(&runs),
        ReportFormat::Json => format!("{json:#}\n"),
    };
    match &request.out {
        Some(file) => {
            write(&text, file)?;
            let size = text.len() as u64;
            let told = format!("{}, {}", file.display(), bytes(size));
            Ok(Answer::new(told, json!({ "file": file, "size": size })))
        }
        None => Ok(Answer::verbatim(text, json)),
    }
}

fn write(text: &str, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|source| Failure::File { action: "written", path: file.to_owned(), source })
}
