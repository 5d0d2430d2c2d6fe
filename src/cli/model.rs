//! `descry model`: what a model folder contains.

use clap::Subcommand;

use super::model_choice::ModelChoice;
use super::stdout::print_line;
use crate::error::Result;
use crate::model::{FoundModel, ModelFolder, Models, Precision, hash_every_file};

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Print the contents of a model folder, after checking the hash of every file
    ///
    /// Of a server of models, prints what descry would use. The server is not asked.
    Show {
        /// Model folder, name of a model next to the program, or openai:URL of a server [default: the built-in model]
        ///
        /// The environment variable DESCRY_MODEL sets the default.
        #[arg(value_name = "DIR|NAME|URL")]
        model: Option<String>,
        /// Variant of the graphs of a captioner in the hub's layout [default: fp32, or the first that is there]
        #[arg(long, help_heading = "Model", value_name = "NAME")]
        precision: Option<Precision>,
        /// Name of the model on the server
        #[arg(long, help_heading = "Model", value_name = "NAME")]
        model_name: Option<String>,
    },
}

pub(super) fn run(command: &ModelCommand) -> Result<()> {
    let ModelCommand::Show { model, precision, model_name } = command;
    let choice =
        ModelChoice { model: model.as_deref(), name: model_name.as_deref(), embedder: None, precision: *precision };
    if let Some(server) = choice.server()? {
        print_line(&Models::on_server(server, None)?.to_string())?;
        return Ok(());
    }
    hash_every_file();
    let found = FoundModel::open(choice.model, *precision)?;
    let mut text = found.to_string();
    if !found.embeds() {
        text.push_str(&format!("\nembeddings come from:\n{}", ModelFolder::load_embedder(None)?));
    }
    print_line(&text)?;
    Ok(())
}
