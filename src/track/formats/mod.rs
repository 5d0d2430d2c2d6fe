//! Writers: one finished track, one format each.
//!
//! Every writer is a pure function of the [`Track`]; the same track gives the same bytes.

use std::io::{self, Write};

use serde::Serialize;

use crate::media::decode::StreamInfo;
use crate::time::Time;
use crate::track::cue::Cue;

mod csv;
mod json;
mod srt;
mod vtt;

pub(crate) use vtt::escape as vtt_escape;

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    Vtt,
    Srt,
    Json,
    Csv,
}

impl Format {
    pub fn extension(self) -> &'static str {
        match self {
            Format::Vtt => "vtt",
            Format::Srt => "srt",
            Format::Json => "json",
            Format::Csv => "csv",
        }
    }
}

/// What is known of one scene, or of one look at a long one.
#[derive(Debug, Clone, Serialize)]
pub struct SceneRecord {
    /// Ordinal of the scene, from 1; looks at one long shot share it.
    pub scene: u32,
    #[serde(serialize_with = "secs")]
    pub start: Time,
    #[serde(serialize_with = "secs")]
    pub end: Time,
    pub start_frame: u64,
    /// The frame after the last.
    pub end_frame: u64,
    /// Time of the picture that was described.
    #[serde(serialize_with = "secs")]
    pub keyframe: Time,
    pub transition: &'static str,
    /// The caption as the model gave it; none for blank scenes.
    pub text: Option<String>,
    /// Whether the caption was said (its score reached the least one).
    pub said: bool,
    /// Calibrated: how often captions of this kind share content with a human's, 0 … 1.
    pub score: Option<f32>,
    pub mean_logprob: Option<f32>,
    /// Cosine similarity to the scene before.
    pub similarity: Option<f32>,
    /// Position in this list (from 0) of the earlier entry whose caption this one took.
    pub repeats: Option<usize>,
    /// Nothing is to be seen: black, white, or one colour.
    pub blank: bool,
}

fn secs<S: serde::Serializer>(t: &Time, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64(t.micros() as f64 / 1e6)
}

/// Everything about one described input.
#[derive(Debug, Clone)]
pub struct Track {
    /// As the user named it.
    pub input: String,
    pub info: Option<StreamInfo>,
    /// Name and version of the model.
    pub model: String,
    /// What was lost in decoding, in words; none where nothing was.
    pub damage: Option<String>,
    /// Stopped by the user: what follows the last scene was not looked at.
    pub interrupted: bool,
    /// The options that decide what is in the track, so that it can be made again. Threads and batches are not among
    /// them: they change nothing.
    pub options: serde_json::Value,
    pub cues: Vec<Cue>,
    pub scenes: Vec<SceneRecord>,
}

/// Writes a track in a format, UTF-8 with line feeds.
pub fn write(track: &Track, format: Format, to: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Vtt => vtt::write(track, to),
        Format::Srt => srt::write(track, to),
        Format::Json => json::write(track, to),
        Format::Csv => csv::write(track, to),
    }
}

/// Cues as a text format can hold them: whole milliseconds that are not negative, an end after the start, lines that are
/// neither blank nor broken.
fn sayable(track: &Track) -> impl Iterator<Item = (Time, Time, Vec<String>)> {
    track.cues.iter().filter_map(|cue| {
        let (start, end) = (cue.start.max(Time::ZERO), cue.end);
        let lines: Vec<String> =
            cue.lines.iter().map(|l| plain(l).trim().to_string()).filter(|l| !l.is_empty()).collect();
        (end.millis() > start.millis() && !lines.is_empty()).then_some((start, end, lines))
    })
}

/// One line without an arrow, a line break or another control character.
pub(crate) fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c }).collect();
    line.replace("-->", "→")
}

/// The last part of a path or URL: folders and credentials of the maker do not belong into a file that is passed on.
fn file_name(input: &str) -> &str {
    let plain = if crate::address::is_url(input) { input.split(['?', '#']).next().unwrap_or(input) } else { input };
    plain.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(plain)
}
