//! The command line: reads arguments, runs a command, prints messages and returns an exit code.
//!
//! Owns everything that only the program needs and the library does not: arguments and their help ([`args`], one file per
//! command), messages ([`reporter`]), progress bars ([`progress`]), the names of flags ([`flags`]) and exit codes
//! ([`exit`]). Each command turns its arguments into the library's options and calls it.
//!
//! Results go to standard output or to files, everything else to standard error.

mod access_args;
mod archive;
mod args;
mod caption;
mod completions;
mod config;
mod decode_args;
mod describe;
mod doctor;
mod embed;
mod exit;
mod flags;
mod global;
mod import_args;
mod index;
mod isolate_args;
mod live;
mod live_voice_args;
mod man;
mod model;
mod model_args;
mod model_choice;
mod model_keep;
mod model_list;
mod model_pull;
mod part;
mod pictures;
mod place_args;
mod probe;
mod progress;
mod reporter;
mod review;
mod review_archive;
mod search;
mod server_args;
mod signals;
mod speak;
mod speak_source;
mod speech_args;
mod stats_args;
mod stdout;
mod stitch;
mod text_args;
mod values;
mod voice_args;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::PanicHookInfo;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::address::{Address, hide};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
#[cfg(unix)]
use crate::isolate;
use crate::media;
use crate::printable::{is_printable, printable_lines, printable_message};
use config::ConfiguredWords;
pub use exit::Exit;
use global::GlobalArgs;
use reporter::Reporter;

/// Shown below the options of `descry --help`.
const EXAMPLES: &str = "\
Examples:
  descry describe film.mp4               Write film.vtt next to film.mp4
  descry speak film.mp4 --descriptions film.vtt -o film.described.mkv
                                         Add a spoken track to a film
  descry live rtsp://camera/stream       Print a line for everything new in a stream

Run 'descry COMMAND --help' for the options of a command.";

#[derive(Parser)]
#[command(
    name = "descry",
    version,
    about = "descry generates timestamped descriptions of video files and live streams.",
    after_help = EXAMPLES,
    max_term_width = 100,
    // `GlobalArgs` has its own, under the heading of the global options.
    disable_help_flag = true,
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
    #[command(flatten)]
    global: GlobalArgs,
}

#[derive(Subcommand)]
enum CliCommand {
    Describe(Box<describe::DescribeArgs>),
    Review(Box<review::ReviewArgs>),
    Speak(Box<speak::SpeakArgs>),
    Live(Box<live::LiveArgs>),
    Index(Box<index::IndexArgs>),
    Search(Box<search::SearchArgs>),
    /// List, check or export an archive, or remove videos from it
    Archive {
        #[command(subcommand)]
        command: archive::ArchiveCommand,
    },
    Probe(probe::ProbeArgs),
    Caption(Box<caption::CaptionArgs>),
    Embed(Box<embed::EmbedArgs>),
    Part(Box<part::PartArgs>),
    Stitch(Box<stitch::StitchArgs>),
    /// Download, import, list, inspect, check or remove models
    Model {
        #[command(subcommand)]
        command: model::ModelCommand,
    },
    /// Show the files that set defaults of options
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

impl CliCommand {
    fn run(&self, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
        match self {
            CliCommand::Describe(args) => describe::run(args, reporter, interrupt),
            CliCommand::Review(args) if args.is_archive() => review_archive::run(args, reporter, interrupt),
            CliCommand::Review(args) => review::run(args, reporter, interrupt),
            CliCommand::Speak(args) => speak::run(args, reporter, interrupt),
            CliCommand::Live(args) => live::run(args, reporter, interrupt),
            CliCommand::Index(args) => index::run(args, reporter, interrupt),
            CliCommand::Search(args) => search::run(args, reporter, interrupt),
            CliCommand::Archive { command } => archive::run(command, reporter, interrupt),
            CliCommand::Probe(args) => probe::run(args, reporter, interrupt),
            CliCommand::Caption(args) => caption::run(args, reporter, interrupt),
            CliCommand::Embed(args) => embed::run(args, reporter, interrupt),
            CliCommand::Part(args) => part::run(args, reporter, interrupt),
            CliCommand::Stitch(args) => stitch::run(args, reporter, interrupt),
            CliCommand::Model { command } => model::run(command, reporter, interrupt),
            CliCommand::Config { command } => config::run(command, reporter),
            CliCommand::Doctor(args) => doctor::run(args, reporter),
            CliCommand::Completions(args) => completions::run(args),
            CliCommand::Man(args) => man::run(args),
        }
    }
}

/// Runs the program. Errors are printed here and nowhere else.
pub fn main() -> Exit {
    #[cfg(unix)]
    if isolate::is_asked_for() {
        isolate::serve();
        return Exit::Done;
    }
    std::panic::set_hook(Box::new(print_panic));
    // What is mistaken for a file, an option or a model may be an address.
    for argument in std::env::args_os() {
        Address::new(argument.to_string_lossy());
    }
    let (cli, configured) = match parse() {
        Ok(parsed) => parsed,
        Err(exit) => return exit,
    };
    let is_live = matches!(cli.command, CliCommand::Live(_));
    let interrupt = Interrupt::new();
    signals::install(&interrupt, is_live.then_some(signals::LIVE_GRACE));
    let reporter = Reporter::new(&cli.global);
    configured.warnings.iter().for_each(|warning| reporter.warn(warning));
    if reporter.wants_ffmpeg_log() {
        media::print_warnings();
    }
    let exit = match cli.command.run(&reporter, &interrupt) {
        Ok(()) => reporter.exit(&interrupt),
        Err(e) => {
            reporter.error(&e);
            if matches!(e, Error::Usage { .. }) && !configured.used.is_empty() {
                reporter.warn(&configured.hint());
            }
            Exit::of(&e)
        }
    };
    // Live mode may leave a thread that nothing can interrupt; the libraries it runs in must not wait for it.
    if is_live { exit.leave() } else { exit }
}

/// Reads the command line, and completes it from configuration files. A wrong command line, or a question for help, is
/// answered before any file is read.
fn parse() -> std::result::Result<(Cli, ConfiguredWords), Exit> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let typed = Cli::try_parse_from(&words);
    if let Err(e) = &typed
        && e.kind() != ErrorKind::MissingRequiredArgument
    {
        return Err(print_usage(e, &words));
    }
    let configured = match config::configure(words.clone()) {
        Ok(configured) => configured,
        Err(e) => {
            typed
                .map_or_else(|_| Reporter::for_usage_errors(wants_json(&words)), |cli| Reporter::new(&cli.global))
                .error(&e);
            return Err(Exit::of(&e));
        }
    };
    let parsed = if configured.used.is_empty() { typed } else { Cli::try_parse_from(&configured.words) };
    parsed.map(|cli| (cli, configured)).map_err(|e| print_usage(&e, &words))
}

/// The words of `descry describe x` with what the `descry.toml` of a project sets, for the fuzz targets.
///
/// # Errors
/// [`Error::Usage`] if the file is wrong.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn project_words(text: &str) -> Result<Vec<String>> {
    config::project_words(text)
}

/// Whether messages are to be JSON. The command line could not be parsed, so `--log json` is searched for by hand.
fn wants_json(words: &[OsString]) -> bool {
    words.iter().any(|w| w == "--log=json") || words.windows(2).any(|w| w[0] == "--log" && w[1] == "json")
}

/// Prints a panic, which may quote a text that it was handling, without credentials.
fn print_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let trace = if backtrace.status() == BacktraceStatus::Captured { backtrace.to_string() } else { String::new() };
    let thread = std::thread::current().name().unwrap_or("<unnamed>").to_string();
    let text = format!("thread '{thread}' {panic}\n{trace}");
    let _ = writeln!(io::stderr(), "{}", printable_lines(&hide(text.trim_end())));
}

/// Prints help, the version, or what is wrong with the command line.
fn print_usage(e: &clap::Error, words: &[OsString]) -> Exit {
    if !e.use_stderr() {
        let _ = e.print();
        return Exit::Done;
    }
    if wants_json(words) {
        Reporter::for_usage_errors(true).error_text(e.to_string().trim_end().trim_start_matches("error: "));
    } else if hide(&e.to_string()) == e.to_string() && words.iter().all(|w| is_printable(&w.to_string_lossy())) {
        let _ = e.print();
    } else {
        // In colour, the codes would be part of the address, and go with it.
        let _ = writeln!(io::stderr(), "{}", printable_message(&hide(e.to_string().trim_end())));
    }
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    fn each(command: &Command, check: &mut impl FnMut(&Command)) {
        check(command);
        command.get_subcommands().for_each(|sub| each(sub, check));
    }

    fn built() -> Command {
        let mut command = Cli::command();
        command.build();
        command
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_has_help_and_every_option_a_heading() {
        each(&built(), &mut |command| {
            if command.get_name() == "help" {
                return;
            }
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                let name = format!("{} {}", command.get_name(), arg.get_id());
                assert!(arg.get_help().is_some(), "{name} has no help");
                assert!(arg.is_positional() || arg.get_help_heading().is_some(), "{name} has no heading");
                let ends_as_sentence = arg.get_help().is_some_and(|h| h.to_string().ends_with('.'));
                assert!(!ends_as_sentence, "{name}: a summary is no sentence");
            }
        });
    }

    #[test]
    fn global_options_come_last() {
        each(&built(), &mut |command| {
            let headings: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_help_heading()).collect();
            let first = headings.iter().position(|h| *h == "Global options").unwrap_or(headings.len());
            assert!(headings[first..].iter().all(|h| *h == "Global options"), "{}: {headings:?}", command.get_name());
        });
    }
}
