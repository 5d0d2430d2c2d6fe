//! The voice of a run, as configured, and where its descriptions go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::sinks::existing::Existing;
use super::sinks::hls::HlsOptions;
use super::sinks::voice::{VoiceOutputs, VoiceSink};
use crate::error::{Error, Result};
use crate::media::side_track::language;
use crate::message;
use crate::message::Setting;
use crate::voice::{Voice, VoiceOptions, VoicePreset};

/// How long a voice may take for one description, in seconds: by default, and at least and at most.
const TIMEOUT: f64 = 20.0;
const TIMEOUTS: std::ops::RangeInclusive<f64> = 0.1..=600.0;
/// Language of descriptions unless the user says otherwise.
const LANGUAGE: &str = "en";

/// The keys of `[outputs]` that concern the voice.
pub(super) struct VoiceConfig<'a> {
    pub(super) preset: Option<VoicePreset>,
    pub(super) model: Option<&'a Path>,
    pub(super) command: Option<&'a [String]>,
    pub(super) language: Option<&'a str>,
    pub(super) timeout: Option<f64>,
    pub(super) environment: &'a [String],
    pub(super) file: Option<&'a Path>,
    pub(super) player: Option<&'a [String]>,
}

impl VoiceConfig<'_> {
    /// Whether there is a voice.
    pub(super) fn is_given(&self) -> bool {
        self.preset.is_some() || self.command.is_some()
    }

    /// Language of spoken descriptions, in lower case.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn language(&self) -> Result<String> {
        let given = self.language.unwrap_or(LANGUAGE);
        language(given).ok_or_else(|| {
            Error::usage("voice_language is no language", "Give a code such as en, or a tag such as pt-br.")
        })
    }

    /// Opens the output; none if there is no voice.
    ///
    /// # Errors
    /// When the settings contradict each other, the voice does not work, or a file cannot be written.
    pub(super) fn open(
        &self,
        streams: &[Arc<str>],
        existing: Existing,
        hls: Option<(PathBuf, HlsOptions)>,
    ) -> Result<Option<VoiceSink>> {
        if !self.is_given() {
            return self.refuse_without_voice().map(|()| None);
        }
        if self.file.is_none() && self.player.is_none() && hls.is_none() {
            let remedy = message![
                "Name a file with ",
                Setting::VoiceFile,
                ", a program that plays with ",
                Setting::VoicePlay,
                ", or a folder with ",
                Setting::Hls,
                "."
            ];
            return Err(Error::usage("there is a voice, and nowhere for its descriptions to go", remedy));
        }
        let voice = match (self.preset, self.command) {
            (Some(_), Some(_)) => {
                let remedy = message!["Use either ", Setting::Voice, " or ", Setting::VoiceCommand, "."];
                return Err(Error::usage("two voices are given", remedy));
            }
            (None, Some(line)) => Voice::Program(line.to_vec()),
            (preset, None) => Voice::Preset {
                preset: preset.unwrap_or(VoicePreset::Espeak),
                model: self.model.map(Path::to_path_buf),
            },
        };
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if !TIMEOUTS.contains(&timeout) {
            return Err(Error::usage(
                format!("voice_timeout = {timeout} is out of range"),
                format!("Give seconds, from {} to {}.", TIMEOUTS.start(), TIMEOUTS.end()),
            ));
        }
        let options = VoiceOptions {
            voice,
            language: self.language()?,
            timeout: Duration::from_secs_f64(timeout),
            environment: self.environment.to_vec(),
        };
        let outputs = VoiceOutputs {
            file: self.file.map(|path| (path.to_path_buf(), existing)),
            player: self.player.map(<[String]>::to_vec),
            hls,
        };
        VoiceSink::open(streams, &options, &outputs).map(Some)
    }

    fn refuse_without_voice(&self) -> Result<()> {
        let is_alone = self.model.is_some()
            || self.language.is_some()
            || self.timeout.is_some()
            || !self.environment.is_empty()
            || self.file.is_some()
            || self.player.is_some();
        if !is_alone {
            return Ok(());
        }
        let remedy = message!["Choose one with ", Setting::Voice, " or ", Setting::VoiceCommand, "."];
        Err(Error::usage("settings of a voice are given, and no voice", remedy))
    }
}
