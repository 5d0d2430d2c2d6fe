//! Arguments of voices: the program that speaks, for the commands that have things spoken.

use std::path::PathBuf;

use clap::Args;

use super::values;
use crate::error::{Error, Result};
use crate::media::language::codes;
use crate::time::Time;
use crate::voice::{Voice, VoiceOptions, VoicePreset};

/// How the program of a voice is run.
#[derive(Args, Clone)]
#[command(next_help_heading = "Voice")]
pub(super) struct VoiceProgramArgs {
    /// Model file of the voice, or the name of one of its voices
    #[arg(long, value_name = "MODEL", conflicts_with = "voice_command")]
    voice_model: Option<PathBuf>,
    /// Program that speaks instead: it reads text on standard input and writes WAV to standard output
    ///
    /// {speed} in an argument is replaced by how many times as fast it is to speak, and {language} by the language. It is not
    /// run through a shell.
    #[arg(long, value_name = "PROGRAM ARGUMENTS")]
    voice_command: Option<String>,
    /// Let the voice's program inherit this environment variable too
    #[arg(long, value_name = "NAME")]
    voice_env: Vec<String>,
    /// Kill the voice's program when it takes longer for one description
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "60")]
    voice_timeout: Time,
}

impl VoiceProgramArgs {
    /// The voice that speaks a language: the command, or else a preset.
    pub(super) fn options(&self, preset: VoicePreset, language: String) -> Result<VoiceOptions> {
        let voice = match &self.voice_command {
            None => Voice::Preset { preset, model: self.voice_model.clone() },
            Some(line) => Voice::Program(shlex::split(line).ok_or_else(|| {
                let cause = "--voice-command has a quote without its end";
                Error::usage(cause, "Close it, or escape it with a backslash.")
            })?),
        };
        let (timeout, environment) = (values::limit(self.voice_timeout), self.voice_env.clone());
        Ok(VoiceOptions { voice, language, timeout, environment })
    }
}

/// A voice that may be there or not.
#[derive(Args, Clone)]
#[command(next_help_heading = "Voice")]
pub(super) struct CueVoiceArgs {
    /// Voice that speaks cues on the page [default: the browser's]
    #[arg(long, value_enum, conflicts_with = "voice_command")]
    voice: Option<VoicePreset>,
    #[command(flatten)]
    program: VoiceProgramArgs,
    /// Language of the voice: an ISO 639 code [default: that of the descriptions]
    #[arg(long, value_name = "CODE")]
    voice_language: Option<String>,
}

impl CueVoiceArgs {
    /// The voice; none if none is asked for. `language`: the tag of the language of the descriptions.
    pub(super) fn options(&self, language: &str) -> Result<Option<VoiceOptions>> {
        let program = &self.program;
        if self.voice.is_none() && program.voice_command.is_none() {
            let given = program.voice_model.is_some() || self.voice_language.is_some() || !program.voice_env.is_empty();
            return match given {
                false => Ok(None),
                true => Err(Error::usage(
                    "a voice has options, and there is no voice",
                    "Choose one with --voice or --voice-command.",
                )),
            };
        }
        let tag = self.voice_language.as_deref().unwrap_or(language).to_ascii_lowercase();
        let tag = tag.split('-').next().unwrap_or_default();
        // Where the language of the descriptions is not known, they are read as English.
        let language = if tag == "und" { "en" } else { codes(tag).map_or(tag, |(two, _)| two) };
        program.options(self.voice.unwrap_or(VoicePreset::Espeak), language.to_string()).map(Some)
    }
}
