//! Options of every command.

use clap::{ArgAction, Args, ValueEnum};

/// How much is reported, and how.
#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Print errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more messages; -vv adds those of FFmpeg
    ///
    /// With --log json, FFmpeg's messages are left out, because they are plain text.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of the messages on standard error
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log: LogFormat,
    /// Ignore descry.toml files, or what they say of these options, separated by commas
    ///
    /// The files set defaults of options: 'descry config show' prints them.
    #[arg(long, global = true, value_name = "OPTION", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_value = "")]
    ignore_config: Option<Vec<String>>,
    /// Print help (-h: summary, --help: details)
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}
