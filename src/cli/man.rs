//! `descry man`: a manual page for each command, from the same definitions as its help.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use crate::error::{Error, Result};

/// What the page of the program has besides its commands, as raw roff.
const PROGRAM_SECTIONS: &str = r#".SH "EXIT STATUS"
.TP
0
All done.
.TP
1
Some inputs failed, or were described only in part. \fBdescry doctor\fR found something wrong.
.TP
2
Wrong usage, configuration or model.
.TP
3
\fBdescry live\fR: the model failed or hung.
.TP
130
Interrupted.
.SH ENVIRONMENT
.TP
\fBDESCRY_MODEL\fR, \fBDESCRY_MODEL_NAME\fR
Default of \fB\-\-model\fR, and of \fB\-\-model\-name\fR.
.TP
\fBDESCRY_MODELS\fR
Folder of pulled models.
.TP
\fBDESCRY_ONNXRUNTIME\fR
ONNX Runtime's library.
.TP
\fBDESCRY_TEXT_MODEL\fR
Folder with the model that reads text.
.TP
\fBDESCRY_API_KEY\fR, \fBDESCRY_HTTP_TOKEN\fR, \fBDESCRY_WEBHOOK_TOKEN\fR
Tokens for a server of models, for the page of \fBdescry live\fR, and for webhooks.
.TP
\fBHF_ENDPOINT\fR, \fBHF_TOKEN\fR, \fBHF_HUB_OFFLINE\fR, \fBHF_HOME\fR, \fBHF_HUB_CACHE\fR
The hub that models are pulled from.
.TP
\fBXDG_CONFIG_HOME\fR, \fBXDG_DATA_HOME\fR, \fBXDG_DATA_DIRS\fR, \fBXDG_CACHE_HOME\fR
Folders of configuration, of data and of what can be made again; each in its folder \fIdescry\fR.
.SH FILES
.TP
\fIdescry.toml\fR
Defaults of options for the project in this folder.
.TP
\fI~/.config/descry/descry.toml\fR
Defaults of options for this user.
.TP
\fI~/.local/share/descry/models\fR
Models that were pulled.
"#;

/// Write a manual page for each command
///
/// For packages: 'make install' puts them into share/man/man1.
#[derive(Args)]
pub(super) struct ManArgs {
    /// Folder to write the pages to; it is created if missing
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
}

pub(super) fn run(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let fail = |path: &Path, e: &io::Error| {
        Error::output(
            path.display().to_string(),
            format!("cannot be written: {e}"),
            "Name a folder that this user may write, with --out.",
        )
    };
    std::fs::create_dir_all(&args.out).map_err(|e| fail(&args.out, &e))?;
    for (name, page) in pages(&program) {
        let path = args.out.join(name);
        std::fs::write(&path, page).map_err(|e| fail(&path, &e))?;
    }
    Ok(())
}

/// The pages of a command and of those below it, with the names of their files.
fn pages(command: &Command) -> Vec<(String, Vec<u8>)> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set()).flat_map(pages);
    let man = Man::new(command.clone()).source(concat!("descry ", env!("CARGO_PKG_VERSION"))).manual("descry");
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = render(&man, command, &mut page);
    std::iter::once((man.get_filename(), page)).chain(below).collect()
}

fn render(man: &Man, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    page.extend(synopsis(command).bytes());
    man.render_description_section(page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(page)?;
    }
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        man.render_subcommands_section(page)?;
    }
    if let Some(examples) = command.get_after_help() {
        page.extend(examples_section(&examples.to_string()).bytes());
    }
    if command.get_name() == "descry" {
        page.extend(PROGRAM_SECTIONS.bytes());
    }
    Ok(())
}

/// How a command is called. Its options follow in sections of their own.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    format!(".SH SYNOPSIS\n{}\n", escaped(usage.trim_start_matches("Usage:").trim()))
}

/// A line without what roff would interpret.
fn escaped(line: &str) -> String {
    let start = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    start.to_string() + &line.replace('\\', "\\e").replace('-', "\\-")
}

/// The examples of a command, line by line.
fn examples_section(examples: &str) -> String {
    let (heading, lines) = match examples.split_once(":\n") {
        Some(("Examples", lines)) => ("EXAMPLES", lines),
        _ => ("NOTES", examples),
    };
    let mut section = format!(".SH {heading}\n.nf\n");
    for line in lines.lines() {
        section += &format!("{}\n", escaped(line.strip_prefix("  ").unwrap_or(line)));
    }
    section + ".fi\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let pages = pages(&program);
        let page = |name: &str| {
            let (_, page) = pages.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("there is no {name}"));
            String::from_utf8(page.clone()).unwrap()
        };
        assert!(pages.len() >= 20, "{}", pages.len());
        assert!(page("descry.1").contains(".SH \"EXIT STATUS\""));
        let describe = page("descry-describe.1");
        for text in ["\\-\\-min\\-scene", ".SH CUES", ".SH EXAMPLES", "descry describe film.mp4"] {
            assert!(describe.contains(text), "{text}: {describe}");
        }
        assert!(page("descry-model-pull.1").contains("HF_ENDPOINT"));
        assert!(!pages.iter().any(|(name, _)| name == "descry-man.1"), "a hidden command has no page");
    }

    #[test]
    fn examples_keep_their_lines() {
        let section = examples_section("Examples:\n  .x a\\b\n  descry -v");
        assert_eq!(section, ".SH EXAMPLES\n.nf\n\\&.x a\\eb\ndescry \\-v\n.fi\n");
    }
}
