//! dpkg's database of the composed packages, so that the box can say what each file came with.
//!
//! It has what the lockfile knows of a package, and the files that are there: those that the definition leaves out are not
//! listed. Format: dpkg's `status` and `info/*.list`, as `dpkg-query` and scanners of images read them.

use std::fmt::Write as _;
use std::io::Write;

use super::merge::{Merge, MergeError};
use super::path::Place;
use crate::lockfile::Package;

/// Writes the database of `packages`, which `merge` has been given in this order after the definition's own entries.
pub(super) fn write<W: Write>(merge: &mut Merge<W>, packages: &[&Package]) -> Result<(), MergeError> {
    let paths = merge.paths();
    merge.start("dpkg's database".to_owned());
    let mut status = String::new();
    for (package, paths) in packages.iter().zip(paths.iter().skip(1)) {
        let Package { name, version, architecture, source, source_version, .. } = package;
        // Writing to a String cannot fail.
        write!(
            status,
            "Package: {name}\nStatus: install ok installed\nMaintainer: unknown\nArchitecture: {architecture}\n\
             Source: {source} ({source_version})\nVersion: {version}\nDescription: {name}\n\n"
        )
        .ok();
        let mut list = paths.join("\n");
        list.push('\n');
        put(merge, &format!("var/lib/dpkg/info/{name}.list"), &list)?;
    }
    put(merge, "var/lib/dpkg/status", &status)
}

fn put<W: Write>(merge: &mut Merge<W>, path: &str, content: &str) -> Result<(), MergeError> {
    let place = Place::parse(path).map_err(|problem| MergeError::Name { path: path.to_owned(), problem })?;
    merge.file(&place, false, content.len() as u64, content.as_bytes())
}
