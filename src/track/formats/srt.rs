//! SubRip: numbered cues, a comma before the milliseconds, no escapes.

use std::io::{self, Write};

use super::{Track, valid_cues};
use crate::time::Time;

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    for (i, (start, end, lines)) in valid_cues(track).enumerate() {
        if i > 0 {
            writeln!(to)?;
        }
        let stamp = |t: Time| t.to_string().replace('.', ",");
        writeln!(to, "{}\n{} --> {}", i + 1, stamp(start), stamp(end))?;
        for line in lines {
            // Players read angle brackets and braces as markup, and SubRip has no escape for them.
            let line = line.replace('<', "‹").replace('>', "›").replace('{', "(").replace('}', ")");
            writeln!(to, "{line}")?;
        }
    }
    Ok(())
}
