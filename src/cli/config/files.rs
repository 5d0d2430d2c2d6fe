//! The files `descry.toml`: where they are, and what they hold, checked against the definitions of all commands.
//!
//! A project's files are those of the current folder and of the folders above it, up to the first that holds `.git`, and
//! neither in the home folder nor above it, nor on another file system. The user's file is in `$XDG_CONFIG_HOME/descry`. Files
//! are at most 256 KiB, and at most 64 folders are searched.

use std::path::{Path, PathBuf};

use clap::builder::Resettable::Reset;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::options::{self, COMMON, CommandPath, OptionValue};
use super::trust::{ProjectRule, is_inside, is_model_name, project_rule};
use crate::address::{Address, hide};
use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::printable::{printable, unquoted};
use crate::program_files::ProgramFiles;

/// The name of a configuration file.
pub(super) const FILE: &str = "descry.toml";
/// Largest file, in bytes.
const MOST_BYTES: u64 = 256 << 10;
/// Most folders that are searched for a project's files.
const MOST_FOLDERS: usize = 64;

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfigScope {
    Project,
    User,
}

/// One option of a file.
#[derive(Debug, Clone)]
pub(super) struct ConfigEntry {
    /// The command that it is for. None: all that have it.
    pub(super) command: Option<CommandPath>,
    pub(super) name: String,
    pub(super) value: OptionValue,
    pub(super) line: usize,
}

/// A configuration file that was read and checked.
#[derive(Debug, Clone)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) scope: ConfigScope,
    pub(super) entries: Vec<ConfigEntry>,
}

/// All files that hold for the current folder, and what was wrong with some without being an error.
#[derive(Debug, Default)]
pub(super) struct ConfigFiles {
    /// The nearest project's first, the user's last.
    pub(super) files: Vec<ConfigFile>,
    pub(super) warnings: Vec<String>,
}

impl ConfigFiles {
    /// Reads all files.
    ///
    /// # Errors
    /// [`Error::Usage`] if one cannot be read or is wrong.
    pub(super) fn read() -> Result<ConfigFiles> {
        let mut found = ConfigFiles::default();
        let program = options::relaxed();
        let user = user_file();
        for path in project_files(user.as_deref()) {
            if let Some(owner) = foreign(&path) {
                found.warnings.push(format!("{}: {owner}, so it is ignored", path.display()));
                continue;
            }
            found.files.push(ConfigFile::read(path, ConfigScope::Project, &program)?);
        }
        if let Some(path) = user.filter(|path| path.symlink_metadata().is_ok()) {
            let file = ConfigFile::read(path, ConfigScope::User, &program)?;
            if file.has_credentials() && is_readable_by_others(&file.path) {
                let path = file.path.display();
                found.warnings.push(format!(
                    "{path}: it holds a password, and other users of this machine can read it. Run: chmod 600 '{path}'"
                ));
            }
            found.files.push(file);
        }
        Ok(found)
    }
}

/// Whether there is any file.
pub(super) fn is_any() -> bool {
    let user = user_file();
    !project_files(user.as_deref()).is_empty() || user.is_some_and(|path| path.symlink_metadata().is_ok())
}

/// Where the user's file is. It need not exist.
pub(super) fn user_file() -> Option<PathBuf> {
    Some(ProgramFiles::of_this_program().user_config()?.join(FILE))
}

/// The project's files, the nearest first.
fn project_files(user: Option<&Path>) -> Vec<PathBuf> {
    let Ok(current) = std::env::current_dir() else { return Vec::new() };
    let home = std::env::home_dir();
    let mut found = Vec::new();
    for folder in current.ancestors().take(MOST_FOLDERS) {
        let is_home = home.as_deref().is_some_and(|home| home.starts_with(folder));
        if is_home || !is_on_one_file_system(&current, folder) {
            break;
        }
        let path = folder.join(FILE);
        if path.symlink_metadata().is_ok() && user != Some(path.as_path()) {
            found.push(path);
        }
        if folder.join(".git").symlink_metadata().is_ok() {
            break;
        }
    }
    found
}

#[cfg(unix)]
fn is_on_one_file_system(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
    device(one).is_some_and(|one| Some(one) == device(other))
}

#[cfg(not(unix))]
fn is_on_one_file_system(_: &Path, _: &Path) -> bool {
    true
}

/// Why a project's file is not this user's; none if it is.
#[cfg(unix)]
fn foreign(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    // Somebody else's link to a file of this user's is somebody else's.
    let (link, meta) = (path.symlink_metadata().ok()?, path.metadata().ok()?);
    let is_foreign = |uid: u32| uid != nix::unistd::geteuid().as_raw() && uid != 0;
    if is_foreign(link.uid()) || is_foreign(meta.uid()) {
        return Some("it belongs to another user");
    }
    (meta.mode() & 0o002 != 0).then_some("every user of this machine can write it")
}

#[cfg(not(unix))]
fn foreign(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.metadata().is_ok_and(|meta| meta.mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}

impl ConfigFile {
    fn read(path: PathBuf, scope: ConfigScope, program: &clap::Command) -> Result<ConfigFile> {
        let text = read_text(&path, MOST_BYTES).map_err(|e| {
            let cause = format!("{}: cannot be read: {e}", path.display());
            Error::usage(cause, "Make it a file that this user may read, or give --ignore-config.").with_source(e)
        })?;
        ConfigFile::parse(path, scope, &text, program)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`Error::Usage`] with the line, and without any value: it may hold a password.
    pub(super) fn parse(path: PathBuf, scope: ConfigScope, text: &str, program: &clap::Command) -> Result<ConfigFile> {
        let root = DeTable::parse(text).map_err(|e| {
            let line = e.span().map_or(1, |span| line_of(text, span.start));
            let cause = format!("{}:{line}: {}", path.display(), hide(&unquoted(e.message())));
            Error::usage(
                cause,
                "Correct the file: it is TOML, with tables of commands, and options as on the command line.",
            )
        })?;
        let mut reader = FileReader { path: &path, scope, text, program, entries: Vec::new() };
        reader.tables(root.get_ref(), &[])?;
        let entries = reader.entries;
        Ok(ConfigFile { path, scope, entries })
    }

    /// Whether a value holds a login or a token.
    fn has_credentials(&self) -> bool {
        self.entries.iter().any(|entry| {
            let shown = entry.value.shown();
            hide(&shown) != shown
        })
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Reads one file.
struct FileReader<'a> {
    path: &'a Path,
    scope: ConfigScope,
    text: &'a str,
    program: &'a clap::Command,
    entries: Vec<ConfigEntry>,
}

impl FileReader<'_> {
    fn error(&self, at: usize, cause: impl AsRef<str>, remedy: impl Into<String>) -> Error {
        let cause = format!("{}:{}: {}", self.path.display(), line_of(self.text, at), cause.as_ref());
        Error::usage(cause, remedy.into())
    }

    /// Reads the tables of commands in a table.
    fn tables(&mut self, table: &DeTable<'_>, path: &[String]) -> Result<()> {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let Some(table) = value.get_ref().as_table() else {
                return Err(self.outside(name, at, path));
            };
            if path.is_empty() && name == COMMON {
                self.options(table, None)?;
                continue;
            }
            let path: CommandPath = path.iter().cloned().chain([name.to_string()]).collect();
            match options::find(self.program, &path) {
                Some(command) if options::reads_configuration(&path) && command.has_subcommands() => {
                    self.tables(table, &path)?;
                }
                Some(_) if options::reads_configuration(&path) => self.options(table, Some(path))?,
                _ => return Err(self.unknown_table(&path, at)),
            }
        }
        Ok(())
    }

    /// A key in a place where only tables are.
    fn outside(&self, name: &str, at: usize, path: &[String]) -> Error {
        let name = printable(name);
        let place =
            if path.is_empty() { format!("[{COMMON}], or [describe]") } else { format!("[{}.…]", path.join(".")) };
        let remedy = format!("Put it below the name of a table, such as {place}.");
        self.error(at, format!("{name} is not in the table of a command"), remedy)
    }

    fn unknown_table(&self, path: &[String], at: usize) -> Error {
        let shown = printable(&path.join(".")).into_owned();
        let known = options::commands(self.program);
        let names = known.iter().map(|(path, _)| path.join(".")).chain([COMMON.to_string()]);
        let near = nearest(&shown, names).map_or(String::new(), |near| format!("Did you mean [{near}]? "));
        self.error(
            at,
            format!("[{shown}] is not a command that reads this file"),
            format!("{near}Tables have the names of commands, such as [describe] and [model.pull], or [{COMMON}]."),
        )
    }

    /// Reads the options of a command, or those of all commands.
    fn options(&mut self, table: &DeTable<'_>, command: Option<CommandPath>) -> Result<()> {
        for (key, value) in table {
            self.option(key, value, command.as_ref())?;
        }
        Ok(())
    }

    fn option(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        command: Option<&CommandPath>,
    ) -> Result<()> {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        let commands = match command {
            Some(path) => {
                options::find(self.program, path).map(|command| (path.clone(), command)).into_iter().collect()
            }
            None => options::common_commands(self.program, name).map_err(|(one, other)| {
                let cause = format!("{name} means one thing for {one} and another for {other}");
                self.error(at, cause, format!("Put it into the tables of commands, such as [{one}]."))
            })?,
        };
        let known = commands.first().and_then(|(_, command)| options::option(command, name));
        let arg = known.ok_or_else(|| self.unknown_option(name, at, command))?;
        let read = options::read_value(arg, value.get_ref()).ok_or_else(|| {
            let cause = format!("{name} is {}", with_article(value.get_ref().type_str()));
            self.error(at, cause, format!("Write {}.", options::expected(arg)))
        })?;
        let read = self.resolve(arg, name, read, at)?;
        for (path, command) in &commands {
            if let Some(arg) = options::option(command, name) {
                self.check(path, arg, &read, at)?;
            }
        }
        let line = line_of(self.text, at);
        self.entries.push(ConfigEntry { command: command.cloned(), name: name.to_string(), value: read, line });
        Ok(())
    }

    fn unknown_option(&self, name: &str, at: usize, command: Option<&CommandPath>) -> Error {
        let all = options::commands(self.program);
        let of_command = all.iter().filter(|(path, _)| command.is_none_or(|command| command == path));
        let known = of_command.flat_map(|(_, command)| options::options(command).map(|(name, _)| name.to_string()));
        let near = nearest(name, known).map_or(String::new(), |near| format!("Did you mean {near}? "));
        let (name, place) = (printable(name), command.map_or("any command".to_string(), |path| path.join(" ")));
        let help = command.map_or("COMMAND".to_string(), |path| path.join(" "));
        self.error(
            at,
            format!("{name} is not an option of {place}"),
            format!("{near}'descry {help} --help' lists the options; they are written without their dashes."),
        )
    }

    /// Applies the rules of a project's file, and names files as the program finds them.
    fn resolve(&self, arg: &clap::Arg, name: &str, value: OptionValue, at: usize) -> Result<OptionValue> {
        let OptionValue::Values(values) = value else {
            self.check_trust(name, &[], at)?;
            return Ok(value);
        };
        // What is mistaken for something else may be an address.
        values.iter().for_each(|value| drop(Address::new(value.as_str())));
        self.check_trust(name, &values, at)?;
        let is_path = !matches!(arg.get_value_hint(), clap::ValueHint::Unknown);
        let home = std::env::home_dir();
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let resolved = values.into_iter().map(|value| match (value.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) if is_path => home.join(rest).to_string_lossy().into_owned(),
            _ if self.scope == ConfigScope::Project && project_rule(name) == ProjectRule::File => {
                folder.join(value).to_string_lossy().into_owned()
            }
            _ => value,
        });
        Ok(OptionValue::Values(resolved.collect()))
    }

    /// Refuses what a project may not set.
    fn check_trust(&self, name: &str, values: &[String], at: usize) -> Result<()> {
        if self.scope == ConfigScope::User {
            return Ok(());
        }
        let user = user_file().map_or(FILE.to_string(), |path| path.display().to_string());
        let elsewhere = format!("Give it on the command line, or put it into your own file, {user}.");
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let refused = match project_rule(name) {
            ProjectRule::Allowed => return Ok(()),
            ProjectRule::Model if values.iter().all(|value| is_model_name(value)) => return Ok(()),
            ProjectRule::File if values.iter().all(|value| is_inside(folder, &folder.join(value))) => return Ok(()),
            ProjectRule::Model => format!("a project's file may only name a model for {name}, no folder and no server"),
            ProjectRule::File => format!("a project's file may only name a file in its own folder for {name}"),
            ProjectRule::Refused => {
                format!("a project's file may not set {name}, because somebody else may have written it")
            }
        };
        Err(self.error(at, refused, elsewhere))
    }

    /// Has clap check values for a command. What they exclude and need depends on the command line.
    fn check(&self, path: &[String], arg: &clap::Arg, value: &OptionValue, at: usize) -> Result<()> {
        let OptionValue::Values(values) = value else { return Ok(()) };
        let name = arg.get_long().unwrap_or_default();
        let alone =
            arg.clone().conflicts_with(Reset).requires(Reset).overrides_with(Reset).global(false).required(false);
        let words = ["descry".to_string()].into_iter().chain(values.iter().map(|value| format!("--{name}={value}")));
        let command = clap::Command::new("descry").disable_help_flag(true).args_override_self(true).arg(alone);
        let Err(e) = command.try_get_matches_from(words) else { return Ok(()) };
        let text = e.to_string();
        let cause = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
        // It may be a secret, and the user finds it in the line that the message names.
        let cause = values.iter().fold(cause.trim_start_matches("error: ").to_string(), |cause, value| {
            cause.replace(&format!("'{value}'"), "…").replace(&format!("{value:?}"), "…")
        });
        let help = path.join(" ");
        Err(self.error(at, hide(&cause), format!("'descry {help} --help' describes --{name}.")))
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The name that was probably meant.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let name = name.to_lowercase().replace('_', "-");
    let distances = names.map(|known| (strsim::damerau_levenshtein(&known, &name), known));
    distances.min().filter(|(distance, known)| *distance <= 1 + known.len() / 4).map(|(_, known)| known)
}
