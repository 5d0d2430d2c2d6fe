//! What a caller chooses.

use std::sync::Arc;

use super::language::Language;
use crate::media::{AudioCodec, DecodeOptions, Dialogue, TrackChoice};
use crate::mix::DuckOptions;
use crate::voice::VoiceOptions;

/// How long a description may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpeechFit {
    /// Until the next description begins.
    #[default]
    UntilNext,
    /// Until its cue ends, for descriptions whose cues are pauses.
    InCue,
}

/// From what it is known where people talk in the film.
#[derive(Debug, Clone, Default)]
pub enum DialogueSource {
    /// From the programme, by the detector of speech.
    #[default]
    Programme,
    /// From a file of subtitles.
    File(Arc<Dialogue>),
    /// From a track of subtitles in the film.
    Subtitles(TrackChoice),
}

/// How descriptions are spoken, mixed and written.
#[derive(Debug, Clone)]
pub struct SpeakOptions {
    /// How the film is read.
    pub decode: DecodeOptions,
    /// Which voice speaks.
    pub voice: VoiceOptions,
    /// Language of the descriptions. Default: English.
    pub language: Language,
    /// Title of the new track. Default: `Audio description`.
    pub title: String,
    /// The audio track that descriptions are mixed into. Default: the one that players choose.
    pub audio: TrackChoice,
    /// From what it is known where people talk: descriptions are as loud as they are. Default: the programme.
    pub dialogue: DialogueSource,
    /// How long a description may take. Default: until the next one.
    pub fit: SpeechFit,
    /// How many times as fast a text is spoken at most, to fit. Default: 1.35.
    pub fastest: f64,
    /// The film pauses where a description takes longer than there is room. Default: false.
    pub extended: bool,
    /// Quality of video that must be encoded because the film pauses: the constant rate factor, lower is better. Default:
    /// 18 for H.264, 28 for VP9.
    pub quality: Option<u8>,
    /// How the programme makes room.
    pub duck: DuckOptions,
    /// How much louder than the dialogue descriptions are, in dB. Default: 0.
    pub gain: f64,
    /// The new track holds descriptions alone, without the programme. Default: false.
    pub only: bool,
    /// The texts become a track too. Default: false.
    pub texts: bool,
    /// Codec of the new track. Default: the usual one of the container.
    pub codec: Option<AudioCodec>,
}

impl Default for SpeakOptions {
    fn default() -> SpeakOptions {
        SpeakOptions {
            decode: DecodeOptions::default(),
            voice: VoiceOptions::default(),
            language: Language::default(),
            title: "Audio description".into(),
            audio: TrackChoice::Usual,
            dialogue: DialogueSource::default(),
            fit: SpeechFit::default(),
            fastest: 1.35,
            extended: false,
            quality: None,
            duck: DuckOptions::default(),
            gain: 0.0,
            only: false,
            texts: false,
            codec: None,
        }
    }
}
