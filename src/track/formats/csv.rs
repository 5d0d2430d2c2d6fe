//! CSV of scenes: PySceneDetect's columns, then what was said. Frames count from 1, as there.
//!
//! The text is what a viewer gets: a caption that was left unsaid for its score is empty here (JSON has it).

use std::io::{self, Write};

use super::{SceneRecord, Track};

const HEADER: &str = "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,\
End Time (seconds),Length (frames),Length (timecode),Length (seconds),Text,Score,Transition,Blank";

pub fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "{HEADER}")?;
    // Looks at one long shot are one scene here: the first caption that was found stands for it.
    let mut rows: Vec<SceneRecord> = Vec::new();
    for s in &track.scenes {
        let mut s = s.clone();
        if !s.said {
            s.text = None;
        }
        match rows.last_mut() {
            Some(last) if last.scene == s.scene => {
                (last.end, last.end_frame) = (s.end, s.end_frame);
                if last.text.is_none() && s.text.is_some() {
                    (last.text, last.score) = (s.text, s.score);
                }
                last.blank &= s.blank;
            }
            _ => rows.push(s),
        }
    }
    for (i, s) in rows.iter().enumerate() {
        let length = s.end - s.start;
        writeln!(
            to,
            "{},{},{},{:.3},{},{},{:.3},{},{},{:.3},{},{},{},{}",
            i + 1,
            s.start_frame + 1,
            s.start,
            s.start.secs(),
            s.end_frame,
            s.end,
            s.end.secs(),
            s.end_frame.saturating_sub(s.start_frame),
            length,
            length.secs(),
            quote(s.text.as_deref().unwrap_or("")),
            s.score.map_or(String::new(), |v| format!("{v:.3}")),
            s.transition,
            s.blank,
        )?;
    }
    Ok(())
}

/// RFC 4180, and no field that a spreadsheet would take for a formula.
fn quote(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_string() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
