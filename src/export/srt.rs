//! SubRip: numbered cues, comma before the milliseconds, no escapes.

use std::io::{self, Write};

use super::Track;

pub fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    for (i, cue) in track.cues.iter().enumerate() {
        if i > 0 {
            writeln!(to)?;
        }
        let stamp = |t: crate::time::Time| t.to_string().replace('.', ",");
        writeln!(to, "{}\n{} --> {}", i + 1, stamp(cue.start), stamp(cue.end))?;
        for line in &cue.lines {
            // Players read angle brackets as markup and SubRip has no escape for them.
            writeln!(to, "{}", line.replace('<', "‹").replace('>', "›"))?;
        }
    }
    Ok(())
}
