//! An inventory as text: a line for each component.

use std::fmt::Write as _;

use super::inventory::{Component, Id, Inventory, Kind, Verb};
use crate::text::printable;

/// The text. It has nothing that a terminal would obey.
pub(super) fn write(inventory: &Inventory) -> String {
    let mut listed: Vec<(&Id, &Component)> =
        inventory.components.iter().filter(|(_, component)| component.kind != Kind::Archive).collect();
    // What it is all about comes first, what others were made of last.
    listed.sort_by_key(|(id, component)| (**id != inventory.root, component.kind == Kind::Source));
    let mut rows = vec![["component", "version", "licence", "package URL"].map(str::to_owned)];
    for (_, component) in &listed {
        let kind = if component.kind == Kind::Source { " (source)" } else { "" };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let licence = component.licence.expression().to_owned();
        rows.push([format!("{}{kind}", component.name), text(&component.version), licence, text(&component.purl)]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = format!("{}\n", inventory.name);
    for (id, archive) in inventory.components.iter().filter(|(_, component)| component.kind == Kind::Archive) {
        let files = inventory.files.iter().filter(|file| file.archive == *id).count();
        let parts = inventory.related(id, Verb::Contains).count();
        let name = archive.file_name.as_deref().unwrap_or(&archive.name);
        let plural = if parts == 1 { "" } else { "s" };
        writeln!(text, "{name}: {files} files of {parts} component{plural}").ok(); // Writing to a String cannot fail.
    }
    for [name, version, licence, purl] in &rows {
        let [first, second, third] = widths;
        writeln!(text, "{name:first$}  {version:second$}  {licence:third$}  {purl}").ok();
    }
    printable(&text)
}
