//! Configuration files: `descry.toml` of a project and of the user, which set defaults of options.
//!
//! [`options`] knows from clap's definitions what a file may hold, [`files`] finds and reads files, [`trust`] says what a
//! project may set, [`merge`] makes one command line of files and arguments, and [`show`] prints where each value comes from.
//! Files become arguments, so every command treats their options as if they had been typed.

mod files;
mod merge;
mod options;
mod show;
mod trust;

use std::ffi::OsString;

use clap::Subcommand;

use super::reporter::Reporter;
use crate::error::Result;
use files::ConfigFiles;
use merge::{OptionSource, merge};
pub(super) use show::ShowArgs;

/// Show the files that set defaults of options
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    Show(ShowArgs),
}

pub(super) fn run(command: &ConfigCommand, reporter: &Reporter) -> Result<()> {
    match command {
        ConfigCommand::Show(args) => show::run(args, reporter),
    }
}

/// A command line that files complete.
#[derive(Debug, Default)]
pub(super) struct ConfiguredWords {
    /// The whole command line.
    pub(super) words: Vec<OsString>,
    /// The files whose options are in it.
    pub(super) used: Vec<String>,
    /// What was wrong with files that are ignored.
    pub(super) warnings: Vec<String>,
}

impl ConfiguredWords {
    /// Tells that options which nobody typed may be what is wrong.
    pub(super) fn hint(&self) -> String {
        format!("options also come from {}: `descry config show` prints them", self.used.join(" and "))
    }
}

/// Completes a command line from files. A command that reads none, or that clap will refuse, stays as it is.
///
/// # Errors
/// [`Error::Usage`](crate::error::Error::Usage) if a file is wrong.
pub(super) fn configure(words: Vec<OsString>) -> Result<ConfiguredWords> {
    if !files::is_any() {
        return Ok(ConfiguredWords { words, ..ConfiguredWords::default() });
    }
    let program = options::relaxed();
    let is_configured =
        merge::command_of(&program, &words).is_some_and(|(path, _)| options::reads_configuration(&path));
    if !is_configured || merge::ignores_all(&program, &words) {
        return Ok(ConfiguredWords { words, ..ConfiguredWords::default() });
    }
    let ConfigFiles { files, warnings } = ConfigFiles::read()?;
    let Some(merged) = merge(program, &words, &files)? else {
        return Ok(ConfiguredWords { words, used: Vec::new(), warnings });
    };
    let is_used = |file: usize| merged.set.iter().any(|o| matches!(o.source, OptionSource::File(of, _) if of == file));
    let used = (0..files.len()).filter(|file| is_used(*file)).map(|file| files[file].path.display().to_string());
    Ok(ConfiguredWords { used: used.collect(), words: merged.words, warnings })
}

/// See [`project_words`](super::project_words).
#[cfg(feature = "fuzzing")]
pub(super) fn project_words(text: &str) -> Result<Vec<String>> {
    let file = files::ConfigFile::parse("descry.toml".into(), files::ConfigScope::Project, text, &options::relaxed())?;
    let words = ["descry", "describe", "x"].map(OsString::from);
    let merged = merge(options::relaxed(), &words, &[file])?;
    Ok(merged.map_or(Vec::new(), |merged| merged.words.iter().map(|w| w.to_string_lossy().into_owned()).collect()))
}

/// The files of this folder, for `descry doctor`: their paths, or what is wrong.
pub(super) fn check() -> Result<(Vec<String>, Vec<String>)> {
    let found = ConfigFiles::read()?;
    Ok((found.files.iter().map(|file| file.path.display().to_string()).collect(), found.warnings))
}

#[cfg(test)]
mod tests;
