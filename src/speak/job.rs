//! What is to be done, and what became of it.

use std::path::Path;

use super::options::SpeakOptions;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::remux::{FilmText, read_texts};
use crate::message;
use crate::message::Setting;
use crate::speech::Utterance;
use crate::time::Time;
use crate::track::Track;

/// Where descriptions come from.
#[derive(Clone, Copy)]
pub enum DescriptionSource<'a> {
    /// A file: WebVTT, SubRip or ASS.
    File(&'a Path),
    /// A describer of the film. It is called once, after everything else has been checked.
    Describer(&'a dyn Fn() -> Result<Track>),
}

/// A film and what is to become of it.
pub struct SpeakJob<'a> {
    /// The film.
    pub input: &'a Address,
    /// Its descriptions.
    pub descriptions: DescriptionSource<'a>,
    /// The file to write. The end of its name chooses the container.
    pub output: &'a Path,
    /// Whether a file of that name is replaced.
    pub overwrite: bool,
    /// How it is done.
    pub options: &'a SpeakOptions,
    /// Stops the work.
    pub interrupt: &'a Interrupt,
}

/// What became of the descriptions.
#[derive(Debug, Clone, Default)]
pub struct SpeakReport {
    /// How many are spoken.
    pub spoken: usize,
    /// How many of them are spoken faster, to fit.
    pub faster: usize,
    /// How many of them lost words, to fit.
    pub shortened: usize,
    /// Those without room, and their times.
    pub left_out: Vec<(Time, String)>,
    /// How often the film pauses, and for how long in all.
    pub pauses: (usize, Time),
    /// Streams of the film that the container cannot hold, in words.
    pub not_kept: Vec<String>,
    /// Subtitles of the film that the container cannot hold as they are, and what becomes of them, in words.
    pub converted: Vec<String>,
    /// Streams of the film that are left out because it pauses, in words.
    pub not_paused: Vec<String>,
    /// What of the film could not be read, in words.
    pub damage: Option<String>,
    /// Whether the film has no sound, so that descriptions are spoken over silence.
    pub is_silent: bool,
    /// Why speech could not be found, in words.
    pub speech_fault: Option<String>,
    /// Loudness of the film's dialogue in LUFS; none if nobody talks, or nobody knows.
    pub dialogue: Option<f64>,
    /// Highest true peak of the new track as it is decoded, in dBTP; none if no decoder of it is there.
    pub peak: Option<f64>,
}

/// Descriptions, and where people talk, if the describer knows.
pub(super) struct DescribedFilm {
    /// In order of time; at least one.
    pub(super) texts: Vec<FilmText>,
    pub(super) speech: Option<Vec<Utterance>>,
}

impl DescriptionSource<'_> {
    /// The descriptions of a file; none if they are still to be made.
    ///
    /// # Errors
    /// If the file cannot be read, or holds none.
    pub(super) fn read(self, interrupt: &Interrupt) -> Result<Option<DescribedFilm>> {
        let DescriptionSource::File(path) = self else { return Ok(None) };
        let texts = read_texts(path, interrupt)?;
        if texts.is_empty() {
            let remedy = message!["Make some with ", Setting::Describe, ", or name another file."];
            return Err(Error::input(path.display().to_string(), "holds no descriptions", remedy));
        }
        Ok(Some(DescribedFilm { texts, speech: None }))
    }
}

/// The descriptions of a track.
///
/// # Errors
/// If it has none.
pub(super) fn of_track(track: Track) -> Result<DescribedFilm> {
    if track.cues.is_empty() {
        let remedy = message!["Keep captions of lower scores with ", Setting::MinScore, ", or choose another model."];
        return Err(Error::input(track.input, "no cue describes it", remedy));
    }
    let text = |lines: &[String]| lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    // As the file has them.
    let time = |time: Time| Time::from_millis(time.millis().max(0));
    let texts =
        track.cues.iter().map(|cue| FilmText { start: time(cue.start), end: time(cue.end), text: text(&cue.lines) });
    Ok(DescribedFilm { texts: texts.collect(), speech: track.speech.map(|speech| speech.segments) })
}
