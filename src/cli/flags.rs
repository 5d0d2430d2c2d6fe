//! How the command line spells the settings that the library's messages name.

use crate::error::Error;
use crate::message::Setting;

/// The flag, or the command, for a setting. Most flags are named like the fields of the library.
fn flag(setting: Setting) -> String {
    let other = match setting {
        Setting::Archive => "--into",
        Setting::ArchiveRepair
        | Setting::Describe
        | Setting::Doctor
        | Setting::Index
        | Setting::ModelList
        | Setting::ModelPull
        | Setting::Part => command(setting),
        Setting::DecoderTimeout => "--decoder-timeout",
        Setting::Format => "-f",
        // An environment variable.
        Setting::ModelStore => setting.field(),
        Setting::Isolate => "--isolate",
        Setting::NoIsolate => "--no-isolate",
        Setting::Output => "-o",
        Setting::Overwrite => "--force",
        Setting::PictureSize => "--picture-size",
        Setting::SearchIndex => "--index",
        // The command line has no flag for it.
        Setting::Temperature => "the temperature",
        Setting::Voice | Setting::VoiceCommand | Setting::VoiceEnv | Setting::VoiceModel => voice(setting),
        setting => return format!("--{}", setting.field().replace('_', "-")),
    };
    other.to_string()
}

/// The command for a setting that is a step of work.
fn command(setting: Setting) -> &'static str {
    match setting {
        Setting::ArchiveRepair => "descry archive check --repair",
        Setting::Doctor => "descry doctor",
        Setting::Index => "descry index",
        Setting::ModelList => "descry model list",
        Setting::ModelPull => "descry model pull",
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
    error.render(flag)
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
            let flag = flag.as_str();
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
