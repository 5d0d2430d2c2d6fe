//! Placement of spoken descriptions in the pauses of speech, as the W3C's techniques G226 and H96 ask for.
//!
//! A [`Placer`] takes the scenes of a film and the stretches in which somebody talks, each in order of time, and decides about
//! one scene after the other: when its description is spoken and in which words, or why it is not. A description belongs to
//! its scene: it begins at most [`PlaceOptions::lead`] before the scene, while the scene lasts, and is over soon after it. It
//! may begin late, lose its last phrases, be spoken a little faster, or share a sentence with those of the next short shots.
//!
//! This is an optimisation. What a description is worth and what its place costs is in `worth`; `plan` finds the best
//! places for all scenes of a window by dynamic programming, and `placer` lets the window move on. Rules that no worth
//! outweighs:
//!
//! * Descriptions are in the order of their scenes and never overlap.
//! * A description is spoken in a pause of at least [`LEAST_PAUSE`], with a breath before and after it, if its scene has one
//!   that holds any wording of it.
//! * Without such a pause, its shortest wording may be spoken in a shorter one; with [`PlaceRule::Pauses`], also over speech.
//!   That costs much, so only long, new scenes are described over speech.
//! * A description that stands alone is whole or has at least three words: "A man." says too little. A whole text of one or
//!   two words costs something alone; where it can, it shares a sentence.
//! * With [`PlaceOptions::extended`], nothing is spoken over speech. What fits nowhere is spoken while the film pauses, if it
//!   is worth that; see `extended`.
//! * Words that were spoken in the last minute are no news, whatever the picture.
//!
//! Order: decisions come in the order of the scenes. They depend on scenes and speech at most a minute ahead of the scene
//! that is decided, never on how these are cut into pushes or on what is known beyond. Everything is counted in integers, so
//! every machine decides alike. Memory: 13 scenes, those that wait for their speech to be known, the speech that the scenes
//! have not reached, 64 texts that have not been spoken, and 64 that have been. Who pushes scenes and speech keeps them together.
//!
//! `joiner` makes one run of scenes with the same text, `pauses` knows where somebody talks, `wording` shortens, joins
//! and measures texts, and `pages` makes cues.

mod extended;
mod joiner;
mod pages;
mod pauses;
mod placer;
mod plan;
mod wording;
mod worth;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::time::Time;

pub use pauses::LEAST_PAUSE;
pub(crate) use pauses::pauses_of;
pub use placer::Placer;
pub use wording::{shortenings, speaking_time};

/// What happens to a description for which speech leaves no pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceRule {
    /// It is spoken over speech if it is worth that.
    Pauses,
    /// It is not spoken: descriptions never overlap speech.
    Strict,
}

/// How descriptions are placed. Serialised as JSON has it, times in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct PlaceOptions {
    /// What may overlap speech. Default: what is worth it.
    pub rule: PlaceRule,
    /// Words spoken in a minute, at least 1. Default: 160, as description for the Described and Captioned Media Program is
    /// spoken. A word counts as six characters, with the space after it, if its text has longer words than that.
    pub pace: u32,
    /// How long before its scene a description may begin, at most 10 s. Default: 2 s. Describers let a description precede
    /// what it describes where the pause is there, and DCMP places extended ones before it; a few seconds give nothing away.
    #[serde(serialize_with = "seconds")]
    pub lead: Time,
    /// Rest between two descriptions, at most 10 s: less costs worth. Default: 2 s. DCMP warns against filling every moment.
    #[serde(serialize_with = "seconds")]
    pub rest: Time,
    /// Whether the film may pause for a description that fits nowhere, if its scene is worth that. Such extended descriptions
    /// take the place of those over speech. Default: no.
    pub extended: bool,
    /// Shortest description; an extended one counts with its pause of the film. Default: 1 s, as for cues that are read.
    #[serde(serialize_with = "seconds")]
    pub min_duration: Time,
}

fn seconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.secs())
}

impl Default for PlaceOptions {
    fn default() -> PlaceOptions {
        PlaceOptions {
            rule: PlaceRule::Pauses,
            pace: 160,
            lead: Time::from_millis(2_000),
            rest: Time::from_millis(2_000),
            extended: false,
            min_duration: Time::from_millis(1_000),
        }
    }
}

/// What a scene shows compared with those before it, as [`Verdict`](crate::track::Verdict) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SceneNovelty {
    /// The same as the scene before. Is worth nothing if that one has been described.
    Same,
    /// An earlier scene again. Counts as new if that one has not been described.
    Returning,
    /// Something that was not there before.
    New,
}

/// A scene that wants a place for its description.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceableScene {
    /// When it begins.
    pub start: Time,
    /// When it ends. Empty scenes are ignored, and what overlaps an earlier scene is cut off.
    pub end: Time,
    /// Its description as the model gave it; none if there is nothing to say.
    pub text: Option<String>,
    /// How likely the text is right, 0 to 1. None counts as 1.
    pub score: Option<f32>,
    /// What is new about it.
    pub novelty: SceneNovelty,
}

/// What has been decided about the next scenes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceDecision {
    /// They are described.
    Cue(PlacedCue),
    /// One is not.
    Unplaced(UnplacedScene),
}

/// A description with its place. Serialised as JSON has it, times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlacedCue {
    /// When it begins, a multiple of 100 ms.
    #[serde(serialize_with = "seconds")]
    pub start: Time,
    /// When it is over: all of it can be spoken until then, if the film pauses for `pause`.
    #[serde(serialize_with = "seconds")]
    pub end: Time,
    /// What is spoken.
    pub text: String,
    /// The scenes that it describes: their positions among all that were pushed, from 0. Without those that have no text.
    #[serde(serialize_with = "positions")]
    pub scenes: Range<usize>,
    /// For how long somebody talks meanwhile.
    #[serde(serialize_with = "seconds")]
    pub overlap: Time,
    /// How long before its scene it begins; zero if it does not.
    #[serde(serialize_with = "seconds")]
    pub early: Time,
    /// How many descriptions share it, at least 1.
    pub merged: usize,
    /// Whether phrases were left out.
    pub shortened: bool,
    /// Whether it must be spoken faster than usual to be over in time, by a fifth.
    pub hasty: bool,
    /// Whether the film has to pause for it, where it begins.
    pub extended: bool,
    /// For how long; zero if it does not.
    #[serde(serialize_with = "seconds")]
    pub pause: Time,
}

/// Positions as their first and last.
fn positions<S: Serializer>(range: &Range<usize>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq([range.start, range.end.saturating_sub(1)])
}

/// A scene without a description. Serialised as JSON has it, times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnplacedScene {
    /// When it begins.
    #[serde(serialize_with = "seconds")]
    pub start: Time,
    /// When it ends.
    #[serde(serialize_with = "seconds")]
    pub end: Time,
    /// Its whole text.
    pub text: String,
    /// Its positions among all scenes that were pushed, from 0: several if they have the same text.
    #[serde(serialize_with = "positions")]
    pub scenes: Range<usize>,
    /// What was in the way.
    #[serde(rename = "reason")]
    pub obstacle: PlaceObstacle,
}

/// Why a scene is not described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PlaceObstacle {
    /// It is shorter than it takes to speak any wording.
    #[serde(rename = "too short")]
    Length,
    /// Somebody talks, and no pause near it holds any wording.
    #[serde(rename = "no pause")]
    Speech,
    /// It fits, but would say too little for its place: it repeats an earlier one, is brief, or is probably wrong.
    #[serde(rename = "says little")]
    Worth,
    /// It fits, but others were worth more.
    #[serde(rename = "others first")]
    Others,
}

/// What became of the descriptions of a film. Serialised as JSON has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlacedTrack {
    /// Those that are spoken, in order.
    pub placed: Vec<PlacedCue>,
    /// Those that are not, in the order of their scenes.
    pub unplaced: Vec<UnplacedScene>,
}
