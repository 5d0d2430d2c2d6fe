//! `descry config show`: which options files set, or the value of every option of a command and where it comes from.

use std::ffi::OsString;

use clap::{Arg, Args, Command};
use serde::Serialize;

use super::files::{ConfigFile, ConfigFiles, ConfigScope, FILE, user_file};
use super::merge::{MergedCommand, OptionSource, matches_of, merge};
use super::options::{self, COMMON};
use crate::address::{Address, hide};
use crate::cli::reporter::Reporter;
use crate::cli::stdout::{print_json, print_line};
use crate::error::{Error, Result};
use crate::printable::printable;

const EXAMPLES: &str = "\
Examples:
  descry config show                                 The options that files set
  descry config show describe                        All options of a command, with their values
  descry config show describe film.mp4 --beam 3      The same for a command line";

/// Print the options that files set, or all options of a command and where their values come from
///
/// Values come from the command line, the environment, a project's descry.toml, the user's descry.toml, or are defaults; the
/// first of these counts. Nothing is run.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ShowArgs {
    /// Print one JSON object per option
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Command, with arguments if you like
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The value of an option, and where it comes from.
#[derive(Serialize)]
struct ShownOption {
    /// None: all commands that have the option.
    command: Option<String>,
    option: String,
    value: Option<String>,
    /// `command line`, `environment`, `streams`, `project`, `user` or `default`.
    from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

pub(super) fn run(args: &ShowArgs, reporter: &Reporter) -> Result<()> {
    let found = ConfigFiles::read()?;
    found.warnings.iter().for_each(|warning| reporter.warn(warning));
    let shown = match args.command.as_slice() {
        [] => set_by_files(&found.files),
        words => of_command(words, &found.files)?,
    };
    if args.json {
        for option in &shown {
            if !print_json(option)? {
                break;
            }
        }
        return Ok(());
    }
    let head = if args.command.is_empty() { files_line(&found.files) } else { String::new() };
    print_line(format!("{head}{}", table(&shown)).trim_end()).map(drop)
}

/// Where the files are, in lines.
fn files_line(files: &[ConfigFile]) -> String {
    let mut text = String::new();
    for file in files {
        text += &format!("{:<8} {}\n", scope(file), printable(&file.path.display().to_string()));
    }
    if let Some(path) = user_file().filter(|_| files.iter().all(|file| file.scope != ConfigScope::User)) {
        text += &format!("{:<8} {} (absent)\n", "user", printable(&path.display().to_string()));
    }
    if files.iter().all(|file| file.scope != ConfigScope::Project) {
        text += &format!("{:<8} no {FILE} in this folder or above it\n", "project");
    }
    text + "\n"
}

fn scope(file: &ConfigFile) -> &'static str {
    match file.scope {
        ConfigScope::Project => "project",
        ConfigScope::User => "user",
    }
}

/// All options of files, in their order.
fn set_by_files(files: &[ConfigFile]) -> Vec<ShownOption> {
    let of_file = |file: &ConfigFile| {
        let (from, path) = (scope(file), file.path.display().to_string());
        let of_entry = move |entry: &super::files::ConfigEntry| ShownOption {
            command: Some(entry.command.as_ref().map_or(COMMON.to_string(), |path| path.join(" "))),
            option: entry.name.clone(),
            value: Some(without_secrets(&entry.value.shown())),
            from,
            variable: None,
            file: Some(path.clone()),
            line: Some(entry.line),
        };
        file.entries.iter().map(of_entry).collect::<Vec<_>>()
    };
    files.iter().flat_map(of_file).collect()
}

/// All options of the command of a command line.
fn of_command(words: &[OsString], files: &[ConfigFile]) -> Result<Vec<ShownOption>> {
    for word in words {
        Address::new(word.to_string_lossy());
    }
    let words: Vec<OsString> = std::iter::once("descry".into()).chain(words.iter().cloned()).collect();
    let mut program = options::relaxed();
    let Some(merged) = merge(program.clone(), &words, files)? else {
        return Err(refused(&mut program, &words));
    };
    let matches = program.try_get_matches_from_mut(&words).map_err(|_| refused(&mut program.clone(), &words))?;
    let (Some(command), Some(matches)) = (options::find(&program, &merged.path), matches_of(&matches, &merged.path))
    else {
        return Err(refused(&mut program.clone(), &words));
    };
    let typed = |arg: &Arg| {
        let values = matches.get_raw(arg.get_id().as_str());
        let values: Vec<_> = values.into_iter().flatten().map(|value| value.to_string_lossy()).collect();
        if values.is_empty() { "true".to_string() } else { values.join(", ") }
    };
    let shown = options::options(command).map(|(name, arg)| shown_option(&merged, files, (name, arg), &typed));
    Ok(shown.collect())
}

/// Why a command line cannot be shown.
fn refused(program: &mut Command, words: &[OsString]) -> Error {
    let cause = match program.try_get_matches_from_mut(words) {
        Err(e) if e.use_stderr() => {
            let text = e.to_string();
            hide(text.lines().next().unwrap_or_default().trim_start_matches("error: ").trim())
        }
        _ => "this command reads no configuration".into(),
    };
    Error::usage(cause, "Name a command such as describe, with arguments that it takes, or no command.")
}

fn shown_option(
    merged: &MergedCommand,
    files: &[ConfigFile],
    (name, arg): (&str, &Arg),
    typed: &dyn Fn(&Arg) -> String,
) -> ShownOption {
    let command = Some(merged.path.join(" "));
    let mut shown = ShownOption {
        command,
        option: name.into(),
        value: default_value(arg),
        from: "default",
        variable: None,
        file: None,
        line: None,
    };
    let Some(set) = merged.set.iter().find(|option| option.name == name) else { return shown };
    match &set.source {
        OptionSource::CommandLine => (shown.from, shown.value) = ("command line", Some(without_secrets(&typed(arg)))),
        OptionSource::Environment(variable) => {
            let value = std::env::var_os(variable).unwrap_or_default();
            Address::new(value.to_string_lossy());
            (shown.from, shown.variable) = ("environment", Some(*variable));
            shown.value = Some(without_secrets(&value.to_string_lossy()));
        }
        OptionSource::Streams => (shown.from, shown.value) = ("streams", None),
        OptionSource::File(file, line) => {
            let file = &files[*file];
            shown.from = scope(file);
            shown.value = set.value.as_deref().map(without_secrets);
            (shown.file, shown.line) = (Some(file.path.display().to_string()), Some(*line));
        }
    }
    shown
}

fn without_secrets(text: &str) -> String {
    hide(&Address::new(text).shown())
}

/// The default of an option: clap's, or what its help says in `[default: …]`. None where there is nothing.
fn default_value(arg: &Arg) -> Option<String> {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !values.is_empty() {
        return Some(values.join(", "));
    }
    let help = arg.get_help()?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    Some(default.split_once(']')?.0.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The options in columns.
fn table(options: &[ShownOption]) -> String {
    let row = |option: &ShownOption| {
        let place = match (&option.file, option.line, option.variable) {
            (Some(file), Some(line), _) => format!("{}, {file}:{line}", option.from),
            (_, _, Some(variable)) => format!("{} ({variable})", option.from),
            _ => option.from.to_string(),
        };
        let command = option.command.clone().unwrap_or_default();
        [command, option.option.clone(), option.value.clone().unwrap_or_else(|| "-".into()), place]
    };
    let rows: Vec<[String; 4]> =
        options.iter().map(|option| row(option).map(|cell| printable(&cell).into_owned())).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(40);
    let widths: [usize; 3] = std::array::from_fn(width);
    let line = |row: &[String; 4]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}  {}", cells.join("  "), row[3])
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
