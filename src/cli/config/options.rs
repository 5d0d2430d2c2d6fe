//! What a configuration file may hold: the options of clap's definitions, and how values become arguments.
//!
//! Nothing here is a list of descry's options. A table is a command, a key is the long name of one of its options, and a value
//! becomes the arguments that a user would type. clap then checks it.

use clap::builder::Resettable::Reset;
use clap::{Arg, ArgAction, Command};
use toml::de::DeValue;

use crate::cli::Cli;

/// The table whose options hold for all commands that have them.
pub(super) const COMMON: &str = "common";
/// Commands that work without a configuration, because they are used to find out what is wrong or when there is none yet.
const OUTSIDE: [&str; 5] = ["completions", "config", "doctor", "help", "man"];
/// Most times that a flag such as `verbose` counts.
const MOST_TIMES: i64 = 9;

/// The path of a command: `["model", "pull"]`.
pub(super) type CommandPath = Vec<String>;

/// The value of an option, as arguments need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionValue {
    /// A flag that is given, or is not.
    Flag(bool),
    /// A flag that counts.
    Times(usize),
    /// Values, each for an argument of its own.
    Values(Vec<String>),
}

impl OptionValue {
    /// The arguments that set the option `name` of a command.
    pub(super) fn arguments(&self, command: &Command, name: &str) -> Vec<String> {
        match self {
            OptionValue::Flag(true) => vec![format!("--{name}")],
            OptionValue::Flag(false) => opposite(command, name).map(|other| format!("--{other}")).into_iter().collect(),
            OptionValue::Times(times) => vec![format!("--{name}"); *times],
            OptionValue::Values(values) => values.iter().map(|value| format!("--{name}={value}")).collect(),
        }
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match self {
            OptionValue::Flag(value) => value.to_string(),
            OptionValue::Times(times) => times.to_string(),
            OptionValue::Values(values) => values.join(", "),
        }
    }
}

/// All definitions, with the global options in each command.
#[cfg(test)]
pub(super) fn program() -> Command {
    let mut program = <Cli as clap::CommandFactory>::command();
    program.build();
    program
}

/// The same, but nothing is required: options of a file are checked without the rest of a command line.
pub(super) fn relaxed() -> Command {
    fn relax(command: Command) -> Command {
        command.mut_args(|arg| arg.required(false).required_unless_present(Reset)).mut_subcommands(relax)
    }
    let mut program = relax(<Cli as clap::CommandFactory>::command());
    program.build();
    program
}

/// The command at a path.
pub(super) fn find<'a>(program: &'a Command, path: &[String]) -> Option<&'a Command> {
    path.iter().try_fold(program, |command, name| command.find_subcommand(name))
}

/// The commands that read configurations, with their paths.
pub(super) fn commands(program: &Command) -> Vec<(CommandPath, &Command)> {
    fn collect<'a>(command: &'a Command, path: &[String], found: &mut Vec<(CommandPath, &'a Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path: CommandPath = path.iter().cloned().chain([below.get_name().to_string()]).collect();
            if below.has_subcommands() {
                collect(below, &path, found);
            } else {
                found.push((path, below));
            }
        }
    }
    let mut found = Vec::new();
    collect(program, &[], &mut found);
    found.retain(|(path, _)| reads_configuration(path));
    found
}

/// Whether the command at a path reads configurations.
pub(super) fn reads_configuration(path: &[String]) -> bool {
    path.first().is_some_and(|first| !OUTSIDE.contains(&first.as_str()))
}

/// The options of a command that a file may name.
pub(super) fn options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let settable = |arg: &Arg| {
        // `--ignore-config` says whether files are read at all.
        arg.get_id() != "ignore_config"
            && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue | ArgAction::Count)
    };
    command.get_arguments().filter(move |arg| settable(arg)).filter_map(|arg| Some((arg.get_long()?, arg)))
}

/// The option of a command with this name.
pub(super) fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    options(command).find(|(long, _)| *long == name).map(|(_, arg)| arg)
}

/// The option that undoes a flag: `no-isolate` that of `isolate`, and the other way round.
pub(super) fn opposite<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    let other = name.strip_prefix("no-").map_or_else(|| format!("no-{name}"), str::to_string);
    options(command).find(|(long, _)| *long == other).map(|(long, _)| long)
}

/// Options that exclude an option of a command, whichever of both declares it.
pub(super) fn exclude_each_other(command: &Command, one: &Arg, other: &Arg) -> bool {
    let declared = |one: &Arg, other: &Arg| {
        !one.is_global_set() && command.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    declared(one, other) || declared(other, one)
}

/// The commands for which an option of `[common]` holds.
///
/// # Errors
/// The names of two commands in which it means different things.
pub(super) fn common_commands<'a>(
    program: &'a Command,
    name: &str,
) -> Result<Vec<(CommandPath, &'a Command)>, (String, String)> {
    // Commands of a group, such as `model pull`, have tables of their own. Global options mean the same everywhere.
    let with_option: Vec<_> = commands(program)
        .into_iter()
        .filter(|(path, command)| {
            option(command, name)
                .is_some_and(|arg| path.len() == 1 || program.get_arguments().any(|a| a.get_id() == arg.get_id()))
        })
        .collect();
    let meaning = |command: &Command| {
        let arg = option(command, name);
        arg.map(|arg| {
            (arg.get_help_heading().map(str::to_string), arg.get_value_names().map(<[_]>::to_vec).map(first_kind))
        })
    };
    for pair in with_option.windows(2) {
        if meaning(pair[0].1) != meaning(pair[1].1) {
            return Err((pair[0].0.join(" "), pair[1].0.join(" ")));
        }
    }
    Ok(with_option)
}

/// What a value is, by its name in the help: `DIR|NAME|URL` takes what `DIR|NAME` takes.
fn first_kind(names: Vec<clap::builder::Str>) -> String {
    names.first().map_or(String::new(), |name| name.split('|').next().unwrap_or_default().to_string())
}

/// What an option takes, in words.
pub(super) fn expected(arg: &Arg) -> &'static str {
    match arg.get_action() {
        ArgAction::SetTrue => "true or false",
        ArgAction::Count => "a number from 0 to 9",
        ArgAction::Append => "a text, a number, or a list of them",
        _ if arg.get_value_delimiter().is_some() => "a text, a number, or a list of them",
        _ => "a text or a number",
    }
}

/// Reads the value of an option; none if it has a wrong type.
pub(super) fn read_value(arg: &Arg, value: &DeValue<'_>) -> Option<OptionValue> {
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(value)) => Some(OptionValue::Flag(*value)),
        (ArgAction::SetTrue, _) => None,
        (ArgAction::Count, value) => {
            let times: i64 = scalar(value)?.parse().ok().filter(|times| (0..=MOST_TIMES).contains(times))?;
            Some(OptionValue::Times(usize::try_from(times).ok()?))
        }
        (ArgAction::Append, DeValue::Array(values)) => {
            let values = values.iter().map(|value| scalar(value.get_ref())).collect::<Option<_>>()?;
            Some(OptionValue::Values(values))
        }
        (_, value) => Some(OptionValue::Values(vec![scalar(value)?])),
    }
}

/// A text, or a number as it would be typed.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string()),
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            number.is_finite().then(|| number.to_string())
        }
        _ => None,
    }
}
