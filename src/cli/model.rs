//! `descry model`: what a model folder contains.

use clap::Subcommand;

use super::stdout::print_line;
use crate::error::Result;
use crate::model::ModelFolder;

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Print the contents of a model folder, after checking the hash of every file
    Show {
        /// Model folder, or the name of a model next to the program [default: the built-in model]
        #[arg(value_name = "DIR|NAME")]
        model: Option<String>,
    },
}

pub(super) fn run(command: &ModelCommand) -> Result<()> {
    let ModelCommand::Show { model } = command;
    print_line(&ModelFolder::load(model.as_deref())?.to_string())?;
    Ok(())
}
