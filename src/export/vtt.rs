//! WebVTT (W3C), to be used as a `kind="descriptions"` track.

use std::io::{self, Write};

use super::{Track, file_name};

pub fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "WEBVTT\n")?;
    writeln!(to, "NOTE")?;
    writeln!(to, "Descriptions of {}", plain(file_name(&track.input)))?;
    writeln!(to, "made by descry {} with the model {}", env!("CARGO_PKG_VERSION"), plain(&track.model))?;
    if let Some(damage) = &track.damage {
        writeln!(to, "incomplete: {}", plain(damage))?;
    }
    if track.interrupted {
        writeln!(to, "incomplete: interrupted")?;
    }
    for cue in &track.cues {
        writeln!(to, "\n{} --> {}", cue.start, cue.end)?;
        for line in &cue.lines {
            writeln!(to, "{}", escape(line))?;
        }
    }
    Ok(())
}

/// One line of a comment: no arrow, no line break.
fn plain(text: &str) -> String {
    text.replace("-->", "→").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn escape(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
