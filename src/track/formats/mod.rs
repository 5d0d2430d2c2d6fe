//! Writers: one finished track, one file a format.
//!
//! Every writer is a pure function of the [`Track`], and of the folder for a page: the same track gives the same bytes.

use std::io::{self, Write};
use std::path::Path;

use self::html::PageView;
use crate::address::is_url;
use crate::time::Time;
use crate::track::record::Track;

mod csv;
mod dapt;
mod html;
mod json;
mod shown;
mod srt;
mod vtt;

pub(crate) use vtt::escape as vtt_escape;

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    /// WebVTT.
    Vtt,
    /// SubRip.
    Srt,
    /// Everything that is known, for programs.
    Json,
    /// One row a scene, for spreadsheets.
    Csv,
    /// A script for those who record audio description: W3C's DAPT.
    Dapt,
    /// A descriptive transcript with pictures: one page for readers.
    Html,
}

impl Format {
    /// File name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Vtt => "vtt",
            Format::Srt => "srt",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Dapt => "ttml",
            Format::Html => "html",
        }
    }

    /// Whether a file of it is one document, to which that of another film cannot be appended.
    pub(crate) fn is_one_document(self) -> bool {
        matches!(self, Format::Dapt | Format::Html)
    }
}

/// Writes a track in a format, as UTF-8 with line feeds. `folder`: the absolute path of the folder from which links to files
/// start.
///
/// # Errors
/// When `to` cannot be written, or the track's pictures cannot be read.
pub fn write(track: &Track, format: Format, folder: &Path, to: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Vtt => vtt::write(track, to),
        Format::Srt => srt::write(track, to),
        Format::Json => json::write(track, to),
        Format::Csv => csv::write(track, to),
        Format::Dapt => dapt::write(track, to),
        Format::Html => html::write(track, PageView::Transcript, folder, to),
    }
}

/// Writes all scenes of a track as a page of pictures in columns, with descriptions where there are any. `folder`: as for
/// [`write`].
///
/// # Errors
/// As [`write`].
pub(crate) fn write_storyboard(track: &Track, folder: &Path, to: &mut dyn Write) -> io::Result<()> {
    html::write(track, PageView::Storyboard, folder, to)
}

/// Cues as a text format can hold them: whole milliseconds that are not negative, an end after the start, lines that are
/// neither blank nor broken.
fn valid_cues(track: &Track) -> impl Iterator<Item = (Time, Time, Vec<String>)> {
    track.cues.iter().filter_map(|cue| {
        let (start, end) = (cue.start.max(Time::ZERO), cue.end);
        let lines: Vec<String> =
            cue.lines.iter().map(|l| one_line(l).trim().to_string()).filter(|l| !l.is_empty()).collect();
        (end.millis() > start.millis() && !lines.is_empty()).then_some((start, end, lines))
    })
}

/// The text on one line, without an arrow (which separates times) or control characters.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c }).collect();
    line.replace("-->", "→")
}

/// Why a track is not that of the whole film, in lines.
fn incomplete(track: &Track) -> Vec<String> {
    let damage = track.damage.as_ref().map(|damage| format!("incomplete: {}", one_line(damage)));
    damage.into_iter().chain(track.interrupted.then(|| "incomplete: interrupted".into())).collect()
}

/// The last part of a path or URL. The user's folders and credentials do not belong into a file that is passed on.
pub(crate) fn file_name(input: &str) -> &str {
    let path = if is_url(input) { input.split(['?', '#']).next().unwrap_or(input) } else { input };
    path.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(path)
}
