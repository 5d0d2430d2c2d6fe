//! `descry model`: what models there are, what a model folder contains, and new ones from checkpoints.

use clap::Subcommand;

use super::import_args::ImportArgs;
use super::model_choice::ModelChoice;
use super::reporter::Reporter;
use super::stdout::{print_json, print_line};
use super::{model_keep, model_list, model_pull};
use crate::clipcap;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::{FoundModel, ModelFolder, Models, Precision, PullRecord, hash_every_file};
use crate::ocr::TextModel;

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// List the models on this machine, and those that can be pulled
    List {
        /// Print one JSON object per model
        #[arg(long, help_heading = "Output")]
        json: bool,
    },
    /// Download a model from the hub, or repair one
    ///
    /// Continues where an earlier run stopped, and verifies every file. After that, --model NAME needs no network. Models are kept
    /// in the folder that the environment variable DESCRY_MODELS names, by default ~/.local/share/descry/models.
    ///
    /// HF_ENDPOINT names another hub. HF_TOKEN holds a token for models that are gated. HF_HUB_OFFLINE=1 allows only files in the
    /// hub's own cache.
    Pull {
        /// Name that 'descry model list' prints, or hf:OWNER/NAME[@REVISION] of any other model on the hub
        #[arg(value_name = "NAME")]
        model: String,
        /// Variant of its graphs [default: that of 'descry model list'; for other models fp32, or the first that there is]
        ///
        /// One of fp32, fp16, int8, uint8, quantized, q4, q4f16 and bnb4. Variants that were pulled before stay.
        #[arg(long, help_heading = "Model", value_name = "NAME")]
        precision: Option<Precision>,
    },
    Import(Box<ImportArgs>),
    /// Print the contents of a model folder, after checking the hash of every file
    ///
    /// Of a server of models, prints what descry would use. The server is not asked. Without DIR, NAME or URL, also prints
    /// what reads text on the screen.
    Show {
        /// Model folder, name of a model, or openai:URL of a server [default: the built-in model]
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
        /// It is in the folder that the environment variable DESCRY_TEXT_MODEL names, or else in share/descry/text-model of this
        /// installation.
        #[arg(long, help_heading = "Model", conflicts_with_all = ["model", "precision", "model_name"])]
        text: bool,
    },
    /// Compare every file of pulled models with its recorded hash
    Check {
        /// Name of a pulled model [default: all of them]
        #[arg(value_name = "NAME")]
        model: Option<String>,
    },
    /// Remove a pulled model, or a download that was not finished
    Rm {
        /// Name of a pulled model
        #[arg(value_name = "NAME")]
        model: String,
    },
}

pub(super) fn run(command: &ModelCommand, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    match command {
        ModelCommand::List { json } => model_list::run(*json, reporter),
        ModelCommand::Pull { model, precision } => model_pull::run(model, *precision, reporter, interrupt),
        ModelCommand::Import(args) => {
            print_json(&clipcap::import(&args.options(reporter, interrupt)?, interrupt)?).map(drop)
        }
        ModelCommand::Show { text: true, .. } => print_line(&TextModel::load()?.to_string()).map(drop),
        ModelCommand::Show { model, precision, model_name, text: false } => {
            let (model, name) = (model.as_deref(), model_name.as_deref());
            show(ModelChoice { model, name, embedder: None, precision: *precision })
        }
        ModelCommand::Check { model } => model_keep::check(model.as_deref(), reporter, interrupt),
        ModelCommand::Rm { model } => model_keep::remove(model, reporter, interrupt),
    }
}

fn show(choice: ModelChoice<'_>) -> Result<()> {
    if let Some(server) = choice.server()? {
        print_line(&Models::on_server(server, None)?.to_string())?;
        return Ok(());
    }
    hash_every_file();
    let found = FoundModel::open(choice.model, choice.precision)?;
    let mut text = found.to_string();
    if let Some(record) = PullRecord::read(found.dir())? {
        text.push_str(record.facts().trim_end());
    }
    if !found.embeds() {
        text.push_str(&format!("\nembeddings come from:\n{}", ModelFolder::load_embedder(None)?));
    }
    if choice.model.is_none() {
        text.push_str(&format!("\ntext on the screen is read by:\n{}", text_model()?));
    }
    print_line(&text)?;
    Ok(())
}

fn text_model() -> Result<String> {
    let found = TextModel::find()?;
    Ok(found.map_or("nothing: `descry doctor` prints how to get a model for it\n".into(), |model| model.to_string()))
}
