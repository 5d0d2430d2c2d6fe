//! `descry model`: what a model folder contains.

use clap::Subcommand;

use super::model_choice::ModelChoice;
use super::stdout::print_line;
use crate::error::Result;
use crate::model::{FoundModel, ModelFolder, Models, Precision, hash_every_file};
use crate::ocr::TextModel;

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Print the contents of a model folder, after checking the hash of every file
    ///
    /// Of a server of models, prints what descry would use. The server is not asked. Without DIR, NAME or URL, also prints
    /// what reads text on the screen.
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
        /// Print what reads text on the screen, and nothing else
        ///
        /// It is in the folder that the environment variable DESCRY_TEXT_MODEL names, or else in vendor/text-model beside
        /// or above the program.
        #[arg(long, help_heading = "Model", conflicts_with_all = ["model", "precision", "model_name"])]
        text: bool,
    },
}

pub(super) fn run(command: &ModelCommand) -> Result<()> {
    let ModelCommand::Show { model, precision, model_name, text } = command;
    if *text {
        print_line(&TextModel::load()?.to_string())?;
        return Ok(());
    }
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
    if model.is_none() {
        text.push_str(&format!("\ntext on the screen is read by:\n{}", text_model()?));
    }
    print_line(&text)?;
    Ok(())
}

fn text_model() -> Result<String> {
    let found = TextModel::find()?;
    Ok(found.map_or("nothing: `make setup` fetches a model, or DESCRY_TEXT_MODEL names its folder\n".into(), |model| {
        model.to_string()
    }))
}
