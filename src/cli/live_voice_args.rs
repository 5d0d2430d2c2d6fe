//! Options of spoken descriptions in live mode.

use std::path::PathBuf;

use clap::Args;

use super::values;
use crate::live::{CommandLine, OutputConfig};
use crate::voice::VoicePreset;

/// Who speaks, and where to. Each is also a key of `[outputs]` in the configuration file.
#[derive(Args)]
#[command(next_help_heading = "Voice")]
pub(super) struct LiveVoiceArgs {
    /// Have descriptions spoken by this voice
    ///
    /// With --hls, there is a rendition of the stream's sound in which they are spoken.
    #[arg(long, value_enum, conflicts_with = "voice_command")]
    voice: Option<VoicePreset>,
    /// Model file of the voice, or the name of one of its voices
    #[arg(long, value_name = "MODEL", conflicts_with = "voice_command")]
    voice_model: Option<PathBuf>,
    /// Program that speaks instead: it reads text on standard input and writes WAV to standard output
    ///
    /// {language} in an argument is replaced by the language. It is not run through a shell.
    #[arg(long, value_name = "PROGRAM ARGUMENTS", value_parser = values::command_line)]
    voice_command: Option<CommandLine>,
    /// Language of the descriptions [default: en]
    #[arg(long, value_name = "CODE")]
    voice_language: Option<String>,
    /// Let the voice's program, and the one that plays, inherit this environment variable too
    #[arg(long, value_name = "NAME")]
    voice_env: Vec<String>,
    /// Kill the voice's program when it takes longer for one description [default: 20]
    #[arg(long, value_name = "SECONDS")]
    voice_timeout: Option<f64>,
    /// Write what is spoken to a growing AAC file, with silence in between; for several streams, a folder of them
    #[arg(long, value_name = "PATH")]
    voice_file: Option<PathBuf>,
    /// Run this program for each spoken description, with a WAV file on its standard input, such as 'aplay -q'
    #[arg(long, value_name = "PROGRAM ARGUMENTS", value_parser = values::command_line)]
    voice_play: Option<CommandLine>,
}

impl LiveVoiceArgs {
    /// The outputs with what is given here.
    pub(super) fn apply(&self, outputs: OutputConfig) -> OutputConfig {
        OutputConfig {
            voice: self.voice,
            voice_model: self.voice_model.clone(),
            voice_command: self.voice_command.clone(),
            voice_language: self.voice_language.clone(),
            voice_env: self.voice_env.clone(),
            voice_timeout: self.voice_timeout,
            voice_file: self.voice_file.clone(),
            voice_play: self.voice_play.clone(),
            ..outputs
        }
    }
}
