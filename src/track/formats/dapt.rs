//! DAPT (W3C), the profile of TTML for scripts of audio description: a pre-recording script of what is seen.
//!
//! A cue is a script event. Its times are those of the film. Dialogue is left out: its language is not known, and a script that
//! has it is for dubbing.

use std::io::{self, Write};

use super::{Track, file_name, incomplete, one_line, valid_cues};
use crate::markup::escape;

/// What the script represents: the pictures, and not text in them. Its source has no language (`zxx`).
const REPRESENTS: &str = "visual.nonText";

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let film = escape(&one_line(file_name(&track.input)));
    let made = format!("made by descry {} with the model {}", env!("CARGO_PKG_VERSION"), one_line(&track.model));
    let about: Vec<String> = std::iter::once(made).chain(incomplete(track)).collect();
    writeln!(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        to,
        "<tt xmlns=\"http://www.w3.org/ns/ttml\"\n    xmlns:ttm=\"http://www.w3.org/ns/ttml#metadata\"\n    \
         xmlns:ttp=\"http://www.w3.org/ns/ttml#parameter\"\n    \
         xmlns:daptm=\"http://www.w3.org/ns/ttml/profile/dapt#metadata\"\n    \
         xmlns:ebuttm=\"urn:ebu:tt:metadata\"\n    \
         ttp:contentProfiles=\"http://www.w3.org/ns/ttml/profile/dapt1.0/content\"\n    xml:lang=\"{}\"\n    \
         daptm:langSrc=\"zxx\"\n    daptm:scriptRepresents=\"{REPRESENTS}\"\n    daptm:scriptType=\"preRecording\">",
        escape(&track.language)
    )?;
    writeln!(to, "  <head>\n    <metadata>\n      <ttm:title>Descriptions of {film}</ttm:title>")?;
    for line in about {
        writeln!(to, "      <ttm:desc>{}</ttm:desc>", escape(&line))?;
    }
    writeln!(to, "      <ebuttm:sourceMediaIdentifier>{film}</ebuttm:sourceMediaIdentifier>")?;
    writeln!(to, "    </metadata>\n  </head>\n  <body>")?;
    for (i, (start, end, lines)) in valid_cues(track).enumerate() {
        writeln!(
            to,
            "    <div xml:id=\"d{}\" begin=\"{start}\" end=\"{end}\" daptm:represents=\"{REPRESENTS}\">",
            i + 1
        )?;
        writeln!(to, "      <p>{}</p>\n    </div>", escape(&lines.join(" ")))?;
    }
    writeln!(to, "  </body>\n</tt>")
}
