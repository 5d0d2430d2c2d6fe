//! DAPT (W3C), the profile of TTML for scripts of audio description: a pre-recording script of what is seen.
//!
//! What says what is written is marked as that: it represents the text in the picture, whose language is not known.
//!
//! A cue is a script event. Its times are those of the film. Dialogue is left out: its language is not known, and a script that
//! has it is for dubbing.

use std::io::{self, Write};

use super::shown::{SpokenPart, parts};
use super::{Track, file_name, incomplete, one_line, valid_cues};
use crate::markup::escape;

/// What the script represents: the pictures, and not text in them. Its source has no language (`zxx`).
const PICTURE: &str = "visual.nonText";
/// What a description represents that says what is written.
const TEXT: &str = "visual.text";

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let film = escape(&one_line(file_name(&track.input)));
    let made = format!("made by descry {} with the model {}", env!("CARGO_PKG_VERSION"), one_line(&track.model));
    let represents = if track.text.is_some() { format!("{PICTURE} {TEXT}") } else { PICTURE.into() };
    let about: Vec<String> = std::iter::once(made).chain(incomplete(track)).collect();
    writeln!(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        to,
        "<tt xmlns=\"http://www.w3.org/ns/ttml\"\n    xmlns:ttm=\"http://www.w3.org/ns/ttml#metadata\"\n    \
         xmlns:ttp=\"http://www.w3.org/ns/ttml#parameter\"\n    \
         xmlns:daptm=\"http://www.w3.org/ns/ttml/profile/dapt#metadata\"\n    \
         xmlns:ebuttm=\"urn:ebu:tt:metadata\"\n    \
         ttp:contentProfiles=\"http://www.w3.org/ns/ttml/profile/dapt1.0/content\"\n    xml:lang=\"{}\"\n    \
         daptm:langSrc=\"zxx\"\n    daptm:scriptRepresents=\"{represents}\"\n    daptm:scriptType=\"preRecording\">",
        escape(&track.language)
    )?;
    writeln!(to, "  <head>\n    <metadata>\n      <ttm:title>Descriptions of {film}</ttm:title>")?;
    for line in about {
        writeln!(to, "      <ttm:desc>{}</ttm:desc>", escape(&line))?;
    }
    writeln!(to, "      <ebuttm:sourceMediaIdentifier>{film}</ebuttm:sourceMediaIdentifier>")?;
    writeln!(to, "    </metadata>\n  </head>\n  <body>")?;
    let mut inside = false;
    for (i, (start, end, lines)) in valid_cues(track).enumerate() {
        let text = lines.join(" ");
        let parts = if track.text.is_some() { parts(&text, &mut inside) } else { vec![(text.as_str(), false)] };
        let (represents, text) = match parts[..] {
            [(text, true)] => (format!("\"{TEXT}\" daptm:langSrc=\"\""), escape(text)),
            _ => (format!("\"{PICTURE}\""), parts.into_iter().map(part).collect()),
        };
        writeln!(to, "    <div xml:id=\"d{}\" begin=\"{start}\" end=\"{end}\" daptm:represents={represents}>", i + 1)?;
        writeln!(to, "      <p>{text}</p>\n    </div>")?;
    }
    writeln!(to, "  </body>\n</tt>")
}

/// A part of a description of the picture.
fn part((text, is_written): SpokenPart<'_>) -> String {
    let words = escape(text.trim_start());
    // The spaces between parts belong to none.
    let space = if text.starts_with(' ') { " " } else { "" };
    match is_written {
        true => format!("{space}<span daptm:represents=\"{TEXT}\" daptm:langSrc=\"\">{words}</span>"),
        false => format!("{space}{words}"),
    }
}
