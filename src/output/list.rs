//! The file list: one line for each entry, in the order of the archive.
//!
//! ```text
//! #mtree
//! . type=dir
//! ./top type=dir mode=0755
//! ./top/bin/postgres type=file mode=0755 size=9123456 sha256digest=<64 hex>
//! ./top/lib/libpq.so type=link mode=0777 link=libpq.so.5
//! ```
//!
//! # Why
//!
//! The format is mtree, which other programs read: `mtree -f NAME.files -p DIRECTORY` (NetBSD's, packaged by Debian) checks an
//! unpacked archive against it, `bsdtar -tvf NAME.files` shows it. One line for each entry lets `diff` show what differs. Owners and times are left out: they are the same for every entry of every archive, and so lists of
//! different dates stay comparable.

use super::{Content, Listed};

/// The list's first lines: the format's name, and where the archive is unpacked, which NetBSD's mtree asks for.
pub(super) const HEADING: &str = "#mtree\n. type=dir\n";

/// An entry's line.
pub(super) fn line(entry: &Listed) -> String {
    let path = escape(&entry.path);
    let mode = entry.content.mode();
    match &entry.content {
        Content::Directory => format!("./{path} type=dir mode={mode:04o}\n"),
        Content::File { size, digest, .. } => {
            format!("./{path} type=file mode={mode:04o} size={size} sha256digest={}\n", digest.hex())
        }
        Content::Symlink { target } => format!("./{path} type=link mode={mode:04o} link={}\n", escape(target)),
    }
}

/// Writes what is not a plain character, or means something to a reader of mtree, as a backslash and three octal digits.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_graphic() && !b"\\#=*?[]".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(escaped, "\\{byte:03o}").ok();
        }
        escaped
    })
}
