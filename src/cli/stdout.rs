//! Results on standard output, without control characters: names and captions are other people's.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::printable::{printable, printable_json, printable_lines};

/// Prints a text of one or more lines. Returns false once the reader has closed its end, which is no error.
pub(super) fn print_line(line: &str) -> Result<bool> {
    print(&printable_lines(line))
}

/// Prints a text that descry made itself, as it is. As [`print_line`].
pub(super) fn print_text(text: &str) -> Result<bool> {
    print(text.trim_end_matches('\n'))
}

/// Prints a line of fields, with tabs between them. As [`print_line`].
pub(super) fn print_fields(fields: &[&str]) -> Result<bool> {
    print(&fields.iter().map(|field| printable(field)).collect::<Vec<_>>().join("\t"))
}

/// Prints a value as one line of JSON. As [`print_line`].
pub(super) fn print_json(value: &impl Serialize) -> Result<bool> {
    print(&printable_json(&serde_json::to_string(value).unwrap_or_default()))
}

/// Prints a value as JSON of several lines. As [`print_line`].
pub(super) fn print_json_pretty(value: &impl Serialize) -> Result<bool> {
    print(&printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

fn print(line: &str) -> Result<bool> {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::output("standard output", e.to_string(), "Check where standard output goes.")),
    }
}
