//! `descry model`: what a model folder contains.

use clap::Subcommand;

use super::stdout::print_line;
use crate::error::Result;
use crate::model::{FoundModel, ModelFolder, Precision};

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Print the contents of a model folder, after checking the hash of every file
    Show {
        /// Model folder, or the name of a model next to the program [default: the built-in model]
        #[arg(value_name = "DIR|NAME")]
        model: Option<String>,
        /// Variant of the graphs of a captioner in the hub's layout [default: fp32, or the first that is there]
        #[arg(long, help_heading = "Model", value_name = "NAME")]
        precision: Option<Precision>,
    },
}

pub(super) fn run(command: &ModelCommand) -> Result<()> {
    let ModelCommand::Show { model, precision } = command;
    let found = FoundModel::open(model.as_deref(), *precision)?;
    let mut text = found.to_string();
    if !found.embeds() {
        text.push_str(&format!("\nembeddings come from:\n{}", ModelFolder::load_embedder(None)?));
    }
    print_line(&text)?;
    Ok(())
}
