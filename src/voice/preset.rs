//! Which program speaks, and its command line for a language and a speed.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Words a minute of `espeak-ng` at speed 1: the pace that description is spoken at.
const ESPEAK_PACE: f64 = 160.0;
/// In a command line, the place of the speed, such as 1.25.
const SPEED: &str = "{speed}";
/// In a command line, the place of the language, such as `en`.
const LANGUAGE: &str = "{language}";

/// A voice that descry knows how to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum VoicePreset {
    /// eSpeak NG: Debian's package espeak-ng, more than 100 languages, sounds like a machine
    Espeak,
    /// Hibari: PyPI's package hibari-tts, natural English
    Hibari,
    /// Piper: PyPI's package piper-tts, natural voices of many languages; needs --voice-model
    Piper,
}

/// The program that speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// One that descry knows how to run.
    Preset {
        /// Which.
        preset: VoicePreset,
        /// Its model, or the name of one of its voices.
        model: Option<PathBuf>,
    },
    /// Any other program, and its arguments. `{speed}` and `{language}` in an argument are replaced.
    Program(Vec<String>),
}

impl Voice {
    /// Refuses a voice that cannot be run.
    ///
    /// # Errors
    /// When there is no program, or a model is missing.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Voice::Program(line) if line.first().is_none_or(String::is_empty) => Err(Error::usage(
                message![Setting::VoiceCommand, " is empty"],
                "Name a program that reads text on standard input and writes WAV to standard output.",
            )),
            Voice::Preset { preset: VoicePreset::Piper, model: None } => Err(Error::usage(
                "piper needs a voice model",
                message!["Name the .onnx file of the voice with ", Setting::VoiceModel, "."],
            )),
            _ => Ok(()),
        }
    }

    /// Whether the program itself can speak faster.
    pub(super) fn has_speed(&self) -> bool {
        match self {
            Voice::Preset { .. } => true,
            Voice::Program(line) => line.iter().any(|word| word.contains(SPEED)),
        }
    }

    /// The program and its arguments for a language and a speed, of which 1 is the usual.
    pub(super) fn line(&self, language: &str, speed: f64) -> Vec<String> {
        let speed_word = format!("{speed:.3}");
        let words = |line: &[&str]| line.iter().map(ToString::to_string).collect::<Vec<String>>();
        match self {
            Voice::Program(line) => {
                line.iter().map(|word| word.replace(SPEED, &speed_word).replace(LANGUAGE, language)).collect()
            }
            Voice::Preset { preset: VoicePreset::Espeak, model } => {
                let name = model.as_ref().map_or(language.to_string(), |name| name.display().to_string());
                let pace = format!("{:.0}", ESPEAK_PACE * speed);
                words(&["espeak-ng", "--stdin", "--stdout", "-b", "1", "-z", "-s", &pace, "-v", &name])
            }
            Voice::Preset { preset: VoicePreset::Hibari, model } => {
                let mut line = words(&["hibari", "-o", "/dev/stdout", "--seed", "0", "--speed", &speed_word]);
                if let Some(name) = model {
                    line.extend(["--voice".to_string(), name.display().to_string()]);
                }
                line
            }
            Voice::Preset { preset: VoicePreset::Piper, model } => {
                let model = model.as_ref().map_or(String::new(), |path| path.display().to_string());
                words(&["piper", "--model", &model, "--length_scale", &format!("{:.3}", 1.0 / speed), "-f", "-"])
            }
        }
    }

    /// What to do when the program is not there.
    pub(super) fn installation(&self) -> &'static str {
        match self {
            Voice::Preset { preset: VoicePreset::Espeak, .. } => {
                "Install it (on Debian: apt-get install espeak-ng), or choose another voice."
            }
            Voice::Preset { preset: VoicePreset::Hibari, .. } => {
                "Install it (pip install hibari-tts), or choose another voice."
            }
            Voice::Preset { preset: VoicePreset::Piper, .. } => {
                "Install it (pip install piper-tts), or choose another voice."
            }
            Voice::Program(_) => "Check the program's name, and that it is installed and in the PATH.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_and_language_reach_the_program() {
        let espeak = Voice::Preset { preset: VoicePreset::Espeak, model: None };
        assert!(espeak.line("de", 1.25).ends_with(&["-s", "200", "-v", "de"].map(String::from)));
        let own = Voice::Program(["say", "--rate={speed}", "{language}"].map(String::from).to_vec());
        assert!(own.has_speed() && !Voice::Program(vec!["say".into()]).has_speed());
        assert_eq!(own.line("fr", 1.1), ["say", "--rate=1.100", "fr"]);
        assert!(Voice::Preset { preset: VoicePreset::Piper, model: None }.check().is_err());
        assert!(Voice::Program(vec![String::new()]).check().is_err() && Voice::Program(vec![]).check().is_err());
    }
}
