//! WebVTT (W3C), to be used as a `kind="descriptions"` track.
//!
//! The kind of a track stands in the page that shows it, not in the file; the comment says which it is made for.

use std::io::{self, Write};

use super::{Track, file_name, plain, sayable};

pub fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "WEBVTT\n")?;
    writeln!(to, "NOTE")?;
    writeln!(to, "Descriptions of {}", plain(file_name(&track.input)))?;
    writeln!(to, "made by descry {} with the model {}", env!("CARGO_PKG_VERSION"), plain(&track.model))?;
    writeln!(to, "kind: descriptions")?;
    if let Some(damage) = &track.damage {
        writeln!(to, "incomplete: {}", plain(damage))?;
    }
    if track.interrupted {
        writeln!(to, "incomplete: interrupted")?;
    }
    for (start, end, lines) in sayable(track) {
        writeln!(to, "\n{start} --> {end}")?;
        for line in lines {
            writeln!(to, "{}", escape(&line))?;
        }
    }
    Ok(())
}

pub(crate) fn escape(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
