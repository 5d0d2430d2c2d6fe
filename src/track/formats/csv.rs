//! CSV of scenes: PySceneDetect's columns, then the description and the text on the screen. Frames count from 1, as there.
//!
//! The text is what a viewer gets: empty if the caption's score was too low for a cue. JSON has such captions.

use std::io::{self, Write};

use ::csv::{ErrorKind, Writer};

use super::Track;
use super::shown::SeenLines;
use crate::track::record::SceneRecord;

const HEADER: [&str; 15] = [
    "Scene Number",
    "Start Frame",
    "Start Timecode",
    "Start Time (seconds)",
    "End Frame",
    "End Timecode",
    "End Time (seconds)",
    "Length (frames)",
    "Length (timecode)",
    "Length (seconds)",
    "Text",
    "Score",
    "Transition",
    "Blank",
    "Text on Screen",
];

pub(super) fn write(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let mut out = Writer::from_writer(to);
    out.write_record(HEADER).map_err(io_error)?;
    let mut shown = SeenLines::new(track.text.as_deref().unwrap_or_default());
    for (i, s) in rows(&track.scenes).into_iter().enumerate() {
        let length = s.end - s.start;
        let row = [
            (i + 1).to_string(),
            (s.start_frame + 1).to_string(),
            s.start.to_string(),
            format!("{:.3}", s.start.secs()),
            s.end_frame.to_string(),
            s.end.to_string(),
            format!("{:.3}", s.end.secs()),
            s.end_frame.saturating_sub(s.start_frame).to_string(),
            length.to_string(),
            format!("{:.3}", length.secs()),
            disarm(s.text.unwrap_or_default()),
            s.score.map_or(String::new(), |v| format!("{v:.3}")),
            s.transition.to_string(),
            s.blank.to_string(),
            disarm(shown.field(s.start, s.end)),
        ];
        out.write_record(&row).map_err(io_error)?;
    }
    out.flush()
}

/// The I/O error itself: the crate's own conversion hides its kind, by which a full disk is recognised.
fn io_error(e: ::csv::Error) -> io::Error {
    match e.into_kind() {
        ErrorKind::Io(e) => e,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

/// One row a scene: keyframes of one long shot are joined, and the first caption that is shown represents all.
fn rows(scenes: &[SceneRecord]) -> Vec<SceneRecord> {
    let mut rows: Vec<SceneRecord> = Vec::new();
    for scene in scenes {
        let mut scene = scene.clone();
        if !scene.shown {
            scene.text = None;
        }
        match rows.last_mut() {
            Some(last) if last.scene == scene.scene => {
                (last.end, last.end_frame) = (scene.end, scene.end_frame);
                if last.text.is_none() && scene.text.is_some() {
                    (last.text, last.score) = (scene.text, scene.score);
                }
                last.blank &= scene.blank;
            }
            _ => rows.push(scene),
        }
    }
    rows
}

/// Makes a field that a spreadsheet would take for a formula plain text.
fn disarm(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}
