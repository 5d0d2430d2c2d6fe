//! What a caller chooses.

use super::language::Language;
use crate::media::{AudioCodec, DecodeOptions};
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
    /// Number, from 1, of the audio track that descriptions are mixed into. Default: the one that players choose.
    pub audio: Option<u32>,
    /// How long a description may take. Default: until the next one.
    pub fit: SpeechFit,
    /// How many times as fast a text is spoken at most, to fit. Default: 1.35.
    pub fastest: f64,
    /// How the programme makes room.
    pub duck: DuckOptions,
    /// How much louder than the programme descriptions are, in dB. Default: 0.
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
            audio: None,
            fit: SpeechFit::default(),
            fastest: 1.35,
            duck: DuckOptions::default(),
            gain: 0.0,
            only: false,
            texts: false,
            codec: None,
        }
    }
}
