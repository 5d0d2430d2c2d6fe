//! Results on standard output, one line each.

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Prints a line. Returns false once the reader has closed its end, which is no error.
pub(super) fn print_line(line: &str) -> Result<bool> {
    match writeln!(io::stdout().lock(), "{line}") {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::output("standard output", e.to_string(), "Check where standard output goes.")),
    }
}
