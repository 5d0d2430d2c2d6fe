//! WebVTT (W3C), for a track of `kind="descriptions"`.
//!
//! The page that shows a track gives its kind, not the file. The comment names the kind that the file is made for.

use std::io::{self, Write};

use super::{Track, file_name, incomplete, one_line, valid_cues};

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "WEBVTT\n")?;
    writeln!(to, "NOTE")?;
    writeln!(to, "Descriptions of {}", one_line(file_name(&track.input)))?;
    writeln!(to, "made by descry {} with the model {}", env!("CARGO_PKG_VERSION"), one_line(&track.model))?;
    writeln!(to, "kind: descriptions")?;
    for line in incomplete(track) {
        writeln!(to, "{line}")?;
    }
    for (start, end, lines) in valid_cues(track) {
        writeln!(to, "\n{start} --> {end}")?;
        for line in lines {
            writeln!(to, "{}", escape(&line))?;
        }
    }
    Ok(())
}

/// Escapes the characters that WebVTT reads as markup.
pub(crate) fn escape(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
