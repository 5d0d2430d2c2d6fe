//! JSON: everything known about a track, for programs. Times are in seconds.

use std::io::{self, Write};

use serde_json::json;

use super::Track;

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let cues: Vec<_> = track
        .cues
        .iter()
        .map(|c| json!({ "start": c.start.secs(), "end": c.end.secs(), "text": c.lines.join(" "), "lines": c.lines }))
        .collect();
    let document = json!({
        "descry": env!("CARGO_PKG_VERSION"),
        "model": track.model,
        "language": track.language,
        "input": track.input,
        "options": track.options,
        "stream": track.info,
        "damage": track.damage,
        "interrupted": track.interrupted,
        "scenes": track.scenes,
        "cues": cues,
        "speech": track.speech,
        "text": track.text,
        "placement": track.placement,
    });
    serde_json::to_writer_pretty(&mut *to, &document)?;
    writeln!(to)
}
