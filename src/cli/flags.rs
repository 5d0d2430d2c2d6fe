//! How the command line spells the settings that the library's messages name.

use crate::error::Error;
use crate::message::Setting;

/// The flag, or the command, for a setting.
fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::AllowPrivate => "--allow-private",
        Setting::Append => "--append",
        Setting::Audio => "--audio",
        Setting::Archive => "--into",
        Setting::ArchiveRepair | Setting::Describe | Setting::Index | Setting::Part => command(setting),
        Setting::Batch => "--batch",
        Setting::Beam => "--beam",
        Setting::Authorities => "--ca",
        Setting::CommandEnv => "--command-env",
        Setting::Config => "--config",
        Setting::Context => "--context",
        Setting::Dialogue => "--dialogue",
        Setting::DecoderTimeout => "--decoder-timeout",
        Setting::Device => "--device",
        Setting::Embedder => "--embedder",
        Setting::End => "--end",
        Setting::Extended => "--extended",
        Setting::Format => "-f",
        Setting::Frames => "--frames",
        Setting::Greedy => "--greedy",
        Setting::Hang => "--hang",
        Setting::Hls => "--hls",
        Setting::Http => "--http",
        Setting::Hwaccel => "--hwaccel",
        Setting::Insecure => "--insecure",
        Setting::Isolate => "--isolate",
        Setting::Jobs => "--jobs",
        Setting::MaxPixels => "--max-pixels",
        Setting::MaxTokens => "--max-tokens",
        Setting::Memory => "--memory",
        Setting::MinScore => "--min-score",
        Setting::Model => "--model",
        Setting::ModelName => "--model-name",
        Setting::NoIsolate => "--no-isolate",
        Setting::Output => "-o",
        Setting::Overwrite => "--force",
        Setting::PictureSize => "--picture-size",
        Setting::Precision => "--precision",
        Setting::Prompt => "--prompt",
        Setting::Realtime => "--realtime",
        Setting::Rebuild => "--rebuild",
        Setting::RetryFailed => "--retry-failed",
        Setting::Sample => "--sample",
        Setting::SearchIndex => "--index",
        Setting::ServerJobs => "--server-jobs",
        Setting::ServerTimeout => "--server-timeout",
        Setting::AudioCodec => "--codec",
        Setting::Start => "--start",
        // The command line has no flag for it.
        Setting::Temperature => "the temperature",
        Setting::Timeout => "--timeout",
        Setting::Voice | Setting::VoiceCommand | Setting::VoiceEnv | Setting::VoiceModel => voice(setting),
        Setting::Vtt => "--vtt",
        Setting::VttRotate => "--vtt-rotate",
        Setting::Webhook => "--webhook",
    }
}

/// The command for a setting that is a step of work.
fn command(setting: Setting) -> &'static str {
    match setting {
        Setting::ArchiveRepair => "descry archive check --repair",
        Setting::Index => "descry index",
        Setting::Part => "descry part",
        _ => "descry describe",
    }
}

/// The flag for a setting of a voice.
fn voice(setting: Setting) -> &'static str {
    match setting {
        Setting::VoiceCommand => "--voice-command",
        Setting::VoiceEnv => "--voice-env",
        Setting::VoiceModel => "--voice-model",
        _ => "--voice",
    }
}

/// The whole message of an error, in the words of the command line.
pub(super) fn explain(error: &Error) -> String {
    error.render(|setting| flag(setting).to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// A flag that no command has would send people looking for it in vain.
    #[test]
    fn every_flag_exists() {
        fn collect(command: &clap::Command, known: &mut Vec<String>, path: &str) {
            known.push(path.to_string());
            for arg in command.get_arguments() {
                known.extend(arg.get_long().map(|long| format!("--{long}")));
                known.extend(arg.get_short().map(|short| format!("-{short}")));
            }
            for sub in command.get_subcommands() {
                collect(sub, known, &format!("{path} {}", sub.get_name()));
            }
        }
        let mut known = Vec::new();
        collect(&Cli::command(), &mut known, "descry");
        for setting in Setting::ALL {
            let flag = flag(*setting);
            if !flag.starts_with('-') && !flag.starts_with("descry ") {
                continue;
            }
            let (command, option) = match flag.split_once(" --") {
                Some((command, option)) => (Some(command), Some(format!("--{option}"))),
                None if flag.starts_with('-') => (None, Some(flag.to_string())),
                None => (Some(flag), None),
            };
            for part in command.map(str::to_string).into_iter().chain(option) {
                assert!(known.contains(&part), "{setting:?} is {flag}, and there is no {part}");
            }
        }
    }
}
