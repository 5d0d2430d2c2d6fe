//! Which value of an option counts: that of the command line, of the environment, of the streams' file of live mode, of the
//! project, of the user, or the default.
//!
//! Options of files become arguments before those of the user, one after the other, the strongest first. An option is left
//! out if a stronger source sets it, its opposite or what excludes it, and if it needs another option that nobody gives. clap
//! decides that: each option is tried on a command line with those that were taken before it.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::files::{ConfigEntry, ConfigFile};
use super::options::{self, CommandPath, exclude_each_other, opposite};
use crate::error::{Error, Result};
use crate::limited_file::read_text;

/// The environment variables that set options, by the names of these.
pub(super) const ENVIRONMENT: [(&str, &str); 2] = [("model", "DESCRY_MODEL"), ("model-name", "DESCRY_MODEL_NAME")];
/// Largest file of streams whose keys are read here, in bytes.
const MOST_STREAMS_BYTES: u64 = 4 << 20;

/// Where the value of an option comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionSource {
    CommandLine,
    /// This variable.
    Environment(&'static str),
    /// The file that `live --config` names.
    Streams,
    /// A file, by its place in the list, and a line.
    File(usize, usize),
}

/// An option that is set.
#[derive(Debug, Clone)]
pub(super) struct SetOption {
    pub(super) name: String,
    pub(super) source: OptionSource,
    /// The value in words, of an option of a file.
    pub(super) value: Option<String>,
    /// Whether it is there for clap: a flag that is false is not.
    is_given: bool,
    /// The arguments, of an option of a file.
    arguments: Vec<String>,
}

/// A command line with the options of files.
#[derive(Debug)]
pub(super) struct MergedCommand {
    pub(super) path: CommandPath,
    pub(super) set: Vec<SetOption>,
    pub(super) words: Vec<OsString>,
}

/// The command that a command line names, and where its own arguments begin. None: no command of descry's.
pub(super) fn command_of(program: &Command, words: &[OsString]) -> Option<(CommandPath, usize)> {
    let (mut command, mut path) = (program, CommandPath::new());
    let mut at = 1;
    while command.has_subcommands() {
        let word = words.get(at)?.to_str()?;
        at += 1;
        if word == "--" {
            return None;
        }
        if takes_next_word(command, word) {
            at += 1;
        } else if !word.starts_with('-') {
            command = command.find_subcommand(word)?;
            path.push(command.get_name().to_string());
        }
    }
    Some((path, at))
}

/// Whether the word after this one is the value of an option.
fn takes_next_word(command: &Command, word: &str) -> bool {
    let takes_value = |arg: &clap::Arg| arg.get_num_args().is_some_and(|range| range.min_values() > 0);
    if let Some(long) = word.strip_prefix("--") {
        return command.get_opts().any(|arg| arg.get_long() == Some(long) && takes_value(arg));
    }
    // Of short options that are joined, the first with a value takes the rest; only the last one takes the next word.
    let Some(short) = word.strip_prefix('-') else { return false };
    let is_valued = |c: char| command.get_opts().any(|arg| arg.get_short() == Some(c) && takes_value(arg));
    short.find(is_valued).is_some_and(|at| short[at..].chars().count() == 1)
}

/// Names of options whose value in files is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IgnoredOptions {
    All,
    These(Vec<String>),
}

/// What `--ignore-config` says.
pub(super) fn ignored(matches: &ArgMatches) -> IgnoredOptions {
    match matches.get_many::<String>("ignore_config") {
        None => IgnoredOptions::These(Vec::new()),
        Some(names) => {
            let names: Vec<String> = names.cloned().collect();
            if names.iter().all(String::is_empty) { IgnoredOptions::All } else { IgnoredOptions::These(names) }
        }
    }
}

/// Whether a command line says that no file counts.
pub(super) fn ignores_all(program: &Command, words: &[OsString]) -> bool {
    let Some((path, _)) = command_of(program, words) else { return false };
    let Ok(matches) = program.clone().try_get_matches_from(words) else { return false };
    matches_of(&matches, &path).is_some_and(|matches| ignored(matches) == IgnoredOptions::All)
}

/// The matches of the command at a path.
pub(super) fn matches_of<'a>(matches: &'a ArgMatches, path: &[String]) -> Option<&'a ArgMatches> {
    path.iter().try_fold(matches, |matches, name| matches.subcommand_matches(name))
}

/// Adds the options of `files`, the strongest first, to a command line. `program` is the [relaxed](options::relaxed) one.
///
/// # Errors
/// [`Error::Usage`] if a file names options in one table that exclude each other, or if `--ignore-config` names no option.
pub(super) fn merge(mut program: Command, words: &[OsString], files: &[ConfigFile]) -> Result<Option<MergedCommand>> {
    let Some((path, at)) = command_of(&program, words) else { return Ok(None) };
    if !options::reads_configuration(&path) {
        return Ok(None);
    }
    // If clap refuses the command line, it does so again when the line is parsed for real, with its own message.
    let Ok(matches) = program.try_get_matches_from_mut(words) else { return Ok(None) };
    let Some(matches) = matches_of(&matches, &path) else { return Ok(None) };
    let streams = streams_file(&program, &path, matches, files);
    let mut set = stronger(&program, &path, matches, streams.as_deref());
    let ignored = ignored(matches);
    if let IgnoredOptions::These(names) = &ignored {
        check_ignored(&program, &path, names)?;
        let mut waiting = relevant(&program, &path, files);
        waiting.retain(|option| !names.contains(&option.entry.name));
        // An option may need one that comes later, so those that did not fit are tried again.
        let mut taken = usize::MAX;
        while taken != set.len() {
            taken = set.len();
            let mut left = Vec::new();
            for option in waiting {
                if !add(&mut program, &path, (words, at), &mut set, files, option)? {
                    left.push(option);
                }
            }
            waiting = left;
        }
    }
    let words = with_arguments(words, at, &set, &[]);
    Ok(Some(MergedCommand { path, set, words }))
}

/// Refuses names that are no options.
fn check_ignored(program: &Command, path: &[String], names: &[String]) -> Result<()> {
    let command = options::find(program, path);
    let unknown = names.iter().find(|name| command.is_none_or(|command| options::option(command, name).is_none()));
    unknown.map_or(Ok(()), |name| {
        let cause = format!("--ignore-config={name}: {} has no option --{name}", path.join(" "));
        Err(Error::usage(cause, "Name options without their dashes, or none for all."))
    })
}

/// What is stronger than files: the command line, the environment, and the file of streams that the command line names.
fn stronger(program: &Command, path: &[String], matches: &ArgMatches, streams: Option<&OsStr>) -> Vec<SetOption> {
    let Some(command) = options::find(program, path) else { return Vec::new() };
    let mut set: Vec<SetOption> = Vec::new();
    let mut push = |name: &str, source| {
        if set.iter().all(|option| option.name != name) {
            set.push(SetOption { name: name.into(), source, value: None, is_given: true, arguments: Vec::new() });
        }
    };
    for (name, arg) in options::options(command) {
        if matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            push(name, OptionSource::CommandLine);
        }
    }
    for (name, variable) in ENVIRONMENT {
        if options::option(command, name).is_some() && std::env::var_os(variable).is_some_and(|value| !value.is_empty())
        {
            push(name, OptionSource::Environment(variable));
        }
    }
    for key in streams.map(stream_keys).unwrap_or_default() {
        let name = key.replace('_', "-");
        if options::option(command, &name).is_some() {
            push(&name, OptionSource::Streams);
        }
    }
    set
}

/// The file of streams that live mode reads: the one of the command line, or of the strongest file.
fn streams_file(program: &Command, path: &[String], matches: &ArgMatches, files: &[ConfigFile]) -> Option<OsString> {
    if path != ["live"] {
        return None;
    }
    let given = matches.get_raw("config").and_then(|mut values| values.next()).map(OsStr::to_os_string);
    given.or_else(|| {
        let found = relevant(program, path, files).into_iter().find(|option| option.entry.name == "config")?;
        Some(found.entry.value.shown().into())
    })
}

/// The keys of a file of streams that hold for all of them. If it cannot be read, live mode says so.
fn stream_keys(file: &OsStr) -> Vec<String> {
    let Ok(text) = read_text(file.as_ref(), MOST_STREAMS_BYTES) else { return Vec::new() };
    let Ok(root) = toml::from_str::<toml::Table>(&text) else { return Vec::new() };
    let outputs = root.get("outputs").and_then(toml::Value::as_table);
    root.keys().chain(outputs.into_iter().flat_map(toml::Table::keys)).cloned().collect()
}

/// An option of a file, and which one.
#[derive(Clone, Copy)]
struct FileOption<'a> {
    file: usize,
    entry: &'a ConfigEntry,
}

/// The options of files for a command, the strongest first: the nearest file, and in it the table of the command.
fn relevant<'a>(program: &Command, path: &[String], files: &'a [ConfigFile]) -> Vec<FileOption<'a>> {
    let is_common = |entry: &ConfigEntry| {
        entry.command.is_none()
            && options::common_commands(program, &entry.name).is_ok_and(|all| all.iter().any(|(of, _)| of == path))
    };
    let mut found = Vec::new();
    for (file, config) in files.iter().enumerate() {
        let own = config.entries.iter().filter(|entry| entry.command.as_deref() == Some(path));
        let common = config.entries.iter().filter(|entry| is_common(entry));
        found.extend(own.chain(common).map(|entry| FileOption { file, entry }));
    }
    found
}

/// Adds an option of a file, unless something stronger is in its place. False: it needs another option, which is not given so
/// far.
fn add(
    program: &mut Command,
    path: &[String],
    (words, at): (&[OsString], usize),
    set: &mut Vec<SetOption>,
    files: &[ConfigFile],
    FileOption { file, entry }: FileOption<'_>,
) -> Result<bool> {
    let Some(command) = options::find(program, path) else { return Ok(true) };
    let Some(arg) = options::option(command, &entry.name) else { return Ok(true) };
    let undoes = opposite(command, &entry.name);
    if set.iter().any(|other| other.name == entry.name || Some(other.name.as_str()) == undoes) {
        return Ok(true);
    }
    let arguments = entry.value.arguments(command, &entry.name);
    let is_given = !arguments.is_empty();
    let excluding = set.iter().find(|other| {
        let other_arg = options::option(command, &other.name);
        is_given && other.is_given && other_arg.is_some_and(|other| exclude_each_other(command, arg, other))
    });
    if let Some(other) = excluding {
        return excluded(&files[file], file, entry, other, &files[file].entries).map(|()| true);
    }
    if is_given && !fits(program, &with_arguments(words, at, set, &arguments), &with_arguments(words, at, set, &[])) {
        return Ok(false);
    }
    let value = Some(entry.value.shown());
    let source = OptionSource::File(file, entry.line);
    set.push(SetOption { name: entry.name.clone(), source, value, is_given, arguments });
    Ok(true)
}

/// An option that another one excludes is left out, unless both are in one table.
fn excluded(
    config: &ConfigFile,
    file: usize,
    entry: &ConfigEntry,
    other: &SetOption,
    entries: &[ConfigEntry],
) -> Result<()> {
    let OptionSource::File(of, line) = other.source else { return Ok(()) };
    let is_same_table = |e: &&ConfigEntry| e.line == line && e.name == other.name && e.command == entry.command;
    if of != file || !entries.iter().any(|e| is_same_table(&e)) {
        return Ok(());
    }
    let cause =
        format!("{}:{}: {} and {} exclude each other", config.path.display(), entry.line, entry.name, other.name);
    Err(Error::usage(cause, format!("Remove one of them: {} is in line {line}.", other.name)))
}

/// Whether clap takes a command line, or takes it no less than the one without the option.
fn fits(program: &mut Command, with: &[OsString], without: &[OsString]) -> bool {
    program.try_get_matches_from_mut(with).is_ok() || program.try_get_matches_from_mut(without).is_err()
}

/// A command line with the arguments of the options that were taken, and more.
fn with_arguments(words: &[OsString], at: usize, set: &[SetOption], more: &[String]) -> Vec<OsString> {
    let taken = set.iter().flat_map(|option| &option.arguments).chain(more).map(OsString::from);
    words[..at].iter().cloned().chain(taken).chain(words[at..].iter().cloned()).collect()
}
