//! Cues: described stretches of time in, readable subtitles out.
//!
//! Cues come ordered by start, never overlapping, each inside the stretch that it describes, or longer if nothing follows:
//!
//! * A cue starts where its scene starts and ends where the next one begins.
//! * The same text twice in a row is one cue. A stretch without text is a gap. A gap shorter than half of `min_duration`
//!   would flicker, so the cue before it continues through it.
//! * A stretch shorter than `min_duration` cannot be read. If a gap follows, its cue runs on into the gap. Otherwise its
//!   time goes to the cue before it (or the one after it, if there is none) and its text is dropped: no flicker, no hole. A
//!   stretch is left out if the gaps on both sides are too short to hold it.
//! * A text too long for its time loses its last phrases ("a man in a suit standing on a beach" → "a man in a suit"):
//!   captions go from the general to the particular. The first noun always stays.
//! * A text too long for one cue becomes successive cues that break before a phrase, each as long as it takes to read. An
//!   ellipsis ends a text only if no phrase could.
//! * Stretches that overlap, run backwards or start before the film are cut to what is left of them.
//!
//! [`builder`] decides when cues start and end, [`sentence`](mod@sentence) cleans their text, [`phrase`] finds where a text
//! may end, and [`layout`] breaks it into lines and pages. Memory: at most two stretches that may still change.

mod builder;
mod layout;
mod phrase;
mod sentence;

pub use builder::CueBuilder;
pub(crate) use layout::lines;
pub(in crate::track) use layout::paginate;
pub(in crate::track) use phrase::lowered;
pub(crate) use phrase::shorten;
pub use phrase::shortenings;
pub(crate) use sentence::sentence;

use crate::time::Time;

/// How cues are made. The defaults are those of the Netflix and BBC subtitle guidelines, which most captioning tools use.
#[derive(Debug, Clone)]
pub struct CueOptions {
    /// Characters a line, at least 1. Default: 42.
    pub max_line: usize,
    /// Lines a cue, at least 1. Default: 2.
    pub max_lines: usize,
    /// Characters read in a second, at least 0.1. Default: 17.
    pub reading_speed: f64,
    /// Shortest cue. Default: 1 s.
    pub min_duration: Time,
    /// Longest cue, at least 1 ms. Cues that one text was split into count as one. Default: none, so that a description lasts
    /// as long as its scene; the 7 s of ordinary captions would leave holes.
    pub max_duration: Option<Time>,
}

impl Default for CueOptions {
    fn default() -> Self {
        CueOptions {
            max_line: 42,
            max_lines: 2,
            reading_speed: 17.0,
            min_duration: Time::from_millis(1_000),
            max_duration: None,
        }
    }
}

/// The description of a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Start of the stretch.
    pub start: Time,
    /// End of the stretch. Empty stretches are ignored.
    pub end: Time,
    /// The text as the model gave it; `None` makes a gap.
    pub text: Option<String>,
}

/// A subtitle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// When it appears.
    pub start: Time,
    /// When it disappears.
    pub end: Time,
    /// Plain text: no markup, no escapes, no control characters, no empty line.
    pub lines: Vec<String>,
}
