//! The side track: the track of sound or subtitles that is read in the same pass as the pictures.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::language::same_language;
use crate::time::Time;

/// Samples a second of [`AudioChunk`].
pub const AUDIO_RATE: u32 = 16_000;
/// Longest language tag in characters; a longer one names no language.
const LONGEST_TAG: usize = 35;

/// Which track is read in the same pass as the pictures, to find where people talk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SideTrack {
    /// Nothing.
    #[default]
    Nothing,
    /// A track of sound. A film without one is an error only if a particular track was asked for.
    Audio(TrackChoice),
    /// A track of subtitles. A film without one is an error.
    Subtitles(TrackChoice),
}

/// Which track of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackChoice {
    /// The one that a player would choose: marked as the default, and neither a commentary nor for people with impaired
    /// sight or hearing; of several, the first.
    #[default]
    Usual,
    /// The one with this number among those of its kind, from 1.
    Number(u32),
    /// The first in this language: an ISO 639 code of two or three letters, or a tag that begins with one. The default of
    /// that language comes before others.
    Language(String),
}

impl TrackChoice {
    /// Reads a number or a language.
    ///
    /// # Errors
    /// A text for people if it is neither.
    pub fn parse(text: &str) -> Result<TrackChoice, String> {
        if let Ok(number) = text.parse() {
            return if number > 0 { Ok(TrackChoice::Number(number)) } else { Err("tracks count from 1".into()) };
        }
        language(text)
            .map(TrackChoice::Language)
            .ok_or_else(|| "use a track's number, from 1, or its language, such as en or eng".into())
    }

    /// Whether it is the one that a player would choose.
    pub fn is_usual(&self) -> bool {
        *self == TrackChoice::Usual
    }

    /// The position of the track to take.
    pub(super) fn choose(&self, tracks: &[MediaTrack]) -> Option<usize> {
        let wanted = |track: &MediaTrack| match self {
            TrackChoice::Usual => true,
            TrackChoice::Number(number) => track.number == *number,
            TrackChoice::Language(tag) => track.language.as_ref().is_some_and(|own| same_language(own, tag)),
        };
        let found = tracks.iter().enumerate().filter(|(_, track)| wanted(track));
        found.min_by_key(|(n, track)| (track.special, !track.default, *n)).map(|(n, _)| n)
    }
}

impl fmt::Display for TrackChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackChoice::Usual => f.write_str("default"),
            TrackChoice::Number(number) => write!(f, "{number}"),
            TrackChoice::Language(tag) => f.write_str(tag),
        }
    }
}

/// A language tag in lower case, if a text can be one.
pub(crate) fn language(text: &str) -> Option<String> {
    let mut subtags = text.split('-');
    let primary = subtags.next().unwrap_or_default();
    let is_tag = (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && text.len() <= LONGEST_TAG
        && subtags.all(|s| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric()));
    is_tag.then(|| text.to_ascii_lowercase())
}

/// A track of sound or of subtitles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaTrack {
    /// Number among the tracks of its kind, from 1.
    pub number: u32,
    /// Its stream in the container, from 0.
    pub stream: u32,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Channels of sound; 0 for subtitles.
    pub channels: u32,
    /// Samples of sound a second; 0 for subtitles.
    pub sample_rate: u32,
    /// Language tag in lower case, if the container names a language.
    pub language: Option<String>,
    /// Whether players take it by default.
    pub default: bool,
    /// Whether it is a commentary, for people with impaired sight or hearing, or complete only together with another track.
    pub special: bool,
}

impl fmt::Display for MediaTrack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.number, self.codec)?;
        if self.channels > 0 {
            write!(
                f,
                ", {} channel{}, {} Hz",
                self.channels,
                if self.channels == 1 { "" } else { "s" },
                self.sample_rate
            )?;
        }
        if let Some(language) = &self.language {
            write!(f, ", {language}")?;
        }
        f.write_str(if self.default { ", default" } else { "" })?;
        f.write_str(if self.special { ", special" } else { "" })
    }
}

/// A stretch of sound without a gap: mono, [`AUDIO_RATE`] samples a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioChunk {
    /// Where it begins, in samples from the start of the film's clock.
    pub start: u64,
    /// Samples, mostly from -1 to 1.
    pub samples: Vec<f32>,
}

impl AudioChunk {
    /// The sample after its last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.samples.len() as u64)
    }
}

/// Samples a second of [`ProgrammeChunk`], in each channel.
pub const PROGRAMME_RATE: u32 = 48_000;
/// Channels of [`ProgrammeChunk`]: left and right.
pub const PROGRAMME_CHANNELS: usize = 2;

/// A stretch of sound without a gap, as it is heard: [`PROGRAMME_CHANNELS`] channels, interleaved, [`PROGRAMME_RATE`] samples a
/// second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgrammeChunk {
    /// When it begins, on the source's own clock: that of [`Frame::pts`](super::Frame::pts).
    pub pts: Time,
    /// Samples, mostly from -1 to 1.
    pub samples: Vec<f32>,
}

/// The time of a sample, counted from the start of the film's clock.
pub fn sample_time(sample: u64) -> Time {
    let micros = (u128::from(sample) * 1_000_000 + u128::from(AUDIO_RATE / 2)) / u128::from(AUDIO_RATE);
    Time::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// The sample of a time; negative before the start of the film's clock.
pub fn sample_at(time: Time) -> i64 {
    let samples = (i128::from(time.micros()) * i128::from(AUDIO_RATE) + 500_000).div_euclid(1_000_000);
    samples.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Longest text of a line of dialogue in characters. A longer one is cut; two full lines on screen have a sixth of this.
pub const LONGEST_LINE: usize = 500;

/// A line of dialogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DialogueLine {
    /// When it begins.
    pub start: Time,
    /// When it ends: after its start.
    pub end: Time,
    /// What is said: one line of at most [`LONGEST_LINE`] characters, without markup and control characters.
    pub text: String,
}

/// What was read of a side track since it was last taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SideTrackData {
    /// In order, without overlap. Gaps hold no sound, or sound that came too late.
    pub audio: Vec<AudioChunk>,
    /// The same sound as it is heard, if that is wanted.
    pub programme: Vec<ProgrammeChunk>,
    /// Lines of dialogue, in the order of the file.
    pub lines: Vec<DialogueLine>,
    /// Everything before this time has been read. The part of a later line that lies before it does not count.
    pub until: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(number: u32, language: &str, default: bool, special: bool) -> MediaTrack {
        let language = (!language.is_empty()).then(|| language.to_string());
        let (codec, stream) = ("aac".into(), number);
        MediaTrack { number, stream, codec, channels: 2, sample_rate: 48_000, language, default, special }
    }

    #[test]
    fn the_usual_track_is_that_of_a_player() {
        let choose = |tracks: &[MediaTrack]| TrackChoice::Usual.choose(tracks);
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[track(1, "", false, false), track(2, "", true, false)]), Some(1));
        assert_eq!(choose(&[track(1, "", true, false), track(2, "", true, false)]), Some(0));
        assert_eq!(choose(&[track(1, "", true, true), track(2, "", false, false)]), Some(1));
        assert_eq!(choose(&[track(1, "", false, true)]), Some(0));
    }

    #[test]
    fn tracks_are_chosen_by_number_and_language() {
        let tracks = [
            track(1, "deu", true, false),
            track(2, "eng", false, true),
            track(3, "en-gb", false, false),
            track(4, "", false, false),
        ];
        for (text, expected) in [
            ("2", Some(1)),
            ("4", Some(3)),
            ("5", None),
            ("eng", Some(2)),
            ("EN", Some(2)),
            ("ger", Some(0)),
            ("fr", None),
        ] {
            assert_eq!(TrackChoice::parse(text).unwrap().choose(&tracks), expected, "{text}");
        }
        for bad in ["", "0", "-1", "e", "english speech", "a_b", "en-", "en--us", "en-longersubtag"] {
            assert!(TrackChoice::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn samples_and_times_agree() {
        for sample in [0, 1, 7, 15_999, 16_000, 172_800_001] {
            assert_eq!(sample_at(sample_time(sample)), sample as i64);
        }
        assert_eq!(sample_time(16_000).micros(), 1_000_000);
        assert_eq!((sample_at(Time::from_millis(-1_500)), sample_at(Time::MAX) > 0), (-24_000, true));
        assert!(sample_time(u64::MAX) > Time::ZERO);
    }
}
