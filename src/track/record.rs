//! A finished track, as the writers in [`crate::track::formats`] get it.

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::media::{DialogueLine, StreamInfo};
use crate::ocr::ScreenText;
use crate::speech::Utterance;
use crate::time::Time;
use crate::track::cue::Cue;
use crate::track::pictures::PictureStore;
use crate::track::place::PlacedTrack;

/// Everything about one described input.
#[derive(Debug, Clone)]
pub struct Track {
    /// The input as the user named it, without credentials.
    pub input: String,
    /// Where a browser finds the film: its absolute path, or its web address where that has no credentials and no query. None
    /// elsewhere.
    pub location: Option<String>,
    /// The video stream; none if it never opened.
    pub info: Option<StreamInfo>,
    /// Name and version of the model.
    pub model: String,
    /// Language of the descriptions: a BCP 47 tag, `und` if it is not known.
    pub language: String,
    /// What decoding lost, in words; none if nothing was lost.
    pub damage: Option<String>,
    /// Whether the user stopped it: everything after the last scene is missing.
    pub interrupted: bool,
    /// The options that determine the track, so that it can be made again. Threads and batch sizes are not among them: they
    /// change nothing.
    pub options: serde_json::Value,
    /// Subtitles, in order.
    pub cues: Vec<Cue>,
    /// Described keyframes, in order.
    pub scenes: Vec<SceneRecord>,
    /// The scenes' pictures; none where they are not kept.
    pub pictures: Option<PictureStore>,
    /// Where people talk; none where that is not known.
    pub speech: Option<Speech>,
    /// The text that the film shows, in order of its start; none where it was not read.
    pub text: Option<Vec<ScreenText>>,
    /// What was placed in the pauses of speech, and what was not; none if the cues are as long as their scenes.
    pub placement: Option<PlacedTrack>,
}

impl Track {
    /// A track in English without a scene, of which nothing else is known.
    pub fn new(input: impl Into<String>, model: impl Into<String>) -> Track {
        Track {
            input: input.into(),
            location: None,
            info: None,
            model: model.into(),
            language: "en".into(),
            damage: None,
            interrupted: false,
            options: serde_json::Value::Null,
            cues: Vec::new(),
            scenes: Vec::new(),
            pictures: None,
            speech: None,
            text: None,
            placement: None,
        }
    }
}

/// One described keyframe: a scene, or a part of a long one. Serialised as JSON has it, times in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct SceneRecord {
    /// Ordinal of the scene, from 1. Keyframes of one long shot share it.
    pub scene: u32,
    /// Start of the described stretch.
    #[serde(serialize_with = "seconds")]
    pub start: Time,
    /// End of the described stretch.
    #[serde(serialize_with = "seconds")]
    pub end: Time,
    /// Ordinal of its first frame, from 0.
    pub start_frame: u64,
    /// Ordinal of the frame after its last.
    pub end_frame: u64,
    /// Time of the keyframe.
    #[serde(serialize_with = "seconds")]
    pub keyframe: Time,
    /// How the scene begins: `start`, `cut`, `fade`, `dissolve` or `gap`.
    pub transition: &'static str,
    /// The caption as the model gave it; none for blank scenes.
    pub text: Option<String>,
    /// Whether the caption makes a cue: its score is high enough.
    #[serde(rename = "said")]
    pub shown: bool,
    /// How often captions of this kind share content with a human's, 0 to 1. None if the model is not calibrated.
    pub score: Option<f32>,
    /// Mean log probability of the caption's tokens.
    pub mean_logprob: Option<f32>,
    /// Cosine between this keyframe's embedding and the one before.
    pub similarity: Option<f32>,
    /// Position (from 0) in the track's scenes of the earlier entry whose caption this one repeats.
    pub repeats: Option<usize>,
    /// Whether there is nothing to see: black, white, or one colour.
    pub blank: bool,
    /// Share of the stretch in which somebody talks, 0 to 1; none where that is not known.
    pub speech: Option<f32>,
}

/// Where people talk in a film.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speech {
    /// From what it is known.
    pub source: SpeechSource,
    /// In order, without overlap.
    pub segments: Vec<Utterance>,
    /// What is said, in order of the start; none where speech is known from the sound. Serialised in seconds.
    #[serde(serialize_with = "lines")]
    pub dialogue: Option<Vec<DialogueLine>>,
}

/// From what speech is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeechSource {
    /// A detector, from the sound.
    Audio,
    /// Subtitles of the film.
    Subtitles,
    /// A file of subtitles.
    File,
}

fn lines<S: Serializer>(dialogue: &Option<Vec<DialogueLine>>, serializer: S) -> Result<S::Ok, S::Error> {
    let object = |line: &DialogueLine| json!({ "start": line.start.secs(), "end": line.end.secs(), "text": line.text });
    match dialogue {
        Some(dialogue) => serializer.collect_seq(dialogue.iter().map(object)),
        None => serializer.serialize_none(),
    }
}

fn seconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.secs())
}
