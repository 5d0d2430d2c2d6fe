//! `descry completions`: what a shell needs to complete descry's command line.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;
use super::stdout::print_text;
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  descry completions bash > ~/.local/share/bash-completion/completions/descry
  descry completions zsh > ~/.zfunc/_descry           # a folder of $fpath
  descry completions fish > ~/.config/fish/completions/descry.fish";

/// Shells whose completions are tested.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// Print the completions of commands and options for a shell
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// Shell that completes
    #[arg(value_name = "SHELL", value_enum)]
    shell: CompletionShell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<()> {
    let shell = match args.shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "descry", &mut script);
    print_text(&String::from_utf8_lossy(&script)).map(drop)
}
