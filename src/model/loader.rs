//! The parts of a model, each loaded by the thread that runs it.
//!
//! Building a session takes long, and stages start side by side. So a [`Model`] holds functions that make its parts,
//! and each stage calls its own: graphs load while the first frames are decoded. Tests put mocks in their place.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::media::LONGEST_SIDE;
use crate::message;
use crate::message::Setting;
use crate::model::caption::{CaptionOptions, Captioner, Captions, OwnTowerCaptioner, PictureDemand, Strategy};
use crate::model::folder::ModelFolder;
use crate::model::hub::{HubCaptioner, HubFolder, generation_options};
use crate::model::image::{Encode, EncodeOptions, ImageEncoder};
use crate::model::manifest::ImageSpec;
use crate::model::models::{CaptionModel, Models};
use crate::model::prompt::PromptOptions;
use crate::model::server::{ServerCaptioner, ServerModel, ServerOptions, server_search};

/// Makes a part of a model, on the thread that will use it.
pub type Load<T> = Box<dyn FnOnce() -> Result<Box<T>> + Send>;

/// What a captioner is asked.
pub struct ModelPrompt {
    /// Where a stream has no prompt of its own.
    pub options: PromptOptions,
    settle: Box<dyn Fn(PromptOptions) -> Result<PromptOptions> + Send>,
}

impl ModelPrompt {
    /// For a model that takes any prompt.
    fn any(options: PromptOptions) -> ModelPrompt {
        ModelPrompt { options, settle: Box::new(Ok) }
    }

    /// Another prompt, as the model is asked it: for a model with tasks, a task's name becomes its sentence.
    ///
    /// # Errors
    /// [`Error::Usage`] if the prompt is out of range, or not one that the model takes.
    pub fn settle(&self, options: PromptOptions) -> Result<PromptOptions> {
        options.check()?;
        (self.settle)(options)
    }
}

/// A model, as the stages need it.
pub struct Model {
    /// Name and version.
    pub name: String,
    /// Hash of the model's files, or of the captioner's and the embedder's if those are two models.
    pub hash: String,
    /// How captions are decoded, as a track's options record it.
    pub decoding: Value,
    /// How pictures are prepared for the encoder.
    pub image: ImageSpec,
    /// The pictures that the captioner reads besides.
    pub demand: PictureDemand,
    /// None if the captioner takes no prompt.
    pub prompt: Option<ModelPrompt>,
    /// Loads the image tower.
    pub encoder: Load<dyn Encode>,
    /// Loads the mapper and the decoder.
    pub captioner: Load<dyn Captions>,
}

impl Model {
    /// The models of a run. Their graphs load when their stages start.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) if the caption options do not fit the model.
    pub fn of(models: &Models, options: ModelOptions) -> Result<Model> {
        let ModelOptions { encode, caption, prompt, frames, server } = options;
        prompt.as_ref().map_or(Ok(()), PromptOptions::check)?;
        let embedder = models.embedder.clone();
        embedder.embedder()?;
        if server.is_some() && !matches!(models.captioner, CaptionModel::Server(_)) {
            return Err(not_a_server());
        }
        let own = match &models.captioner {
            CaptionModel::ClipCap(folder) => {
                refuse_prompt(folder, prompt.as_ref(), frames)?;
                if models.share_tower() {
                    CaptionPart::clip_cap(folder, caption)?
                } else {
                    CaptionPart::with_own_tower(folder, encode.clone(), caption)?
                }
            }
            CaptionModel::Hub(folder) => {
                let own =
                    folder.own_prompt().map(|text| PromptOptions { text: text.into(), ..PromptOptions::default() });
                CaptionPart::hub(folder, caption, prompt.or(own).unwrap_or_default(), frames.unwrap_or(1))?
            }
            CaptionModel::Server(model) => {
                let (server, prompt) = (server.unwrap_or_default(), prompt.unwrap_or_default());
                CaptionPart::server(model, server, caption, prompt, frames.unwrap_or(1))?
            }
        };
        Ok(Model {
            decoding: own.decoding,
            name: models.captioner.title(),
            hash: if models.share_tower() { own.hash } else { format!("{} {}", own.hash, embedder.hash()) },
            image: embedder.manifest().image.clone(),
            demand: own.demand,
            prompt: own.prompt,
            encoder: Box::new(move || Ok(Box::new(ImageEncoder::new(&embedder, &encode)?))),
            captioner: own.captioner,
        })
    }
}

/// How the models of a run work.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// How the image tower runs.
    pub encode: EncodeOptions,
    /// How captions are searched for.
    pub caption: CaptionOptions,
    /// What a model that takes a prompt is asked. Default: its own prompt.
    pub prompt: Option<PromptOptions>,
    /// Most pictures of a scene that a model of the hub sees at once. Default: 1.
    pub frames: Option<usize>,
    /// How a server of models is asked. Default: see [`ServerOptions`]; none for other models.
    pub server: Option<ServerOptions>,
}

/// Refuses what only models that take a prompt and pictures understand.
fn refuse_prompt(folder: &ModelFolder, prompt: Option<&PromptOptions>, frames: Option<usize>) -> Result<()> {
    let context = prompt.is_some_and(|prompt| prompt.context > 0);
    for (given, setting) in
        [(context, Setting::Context), (prompt.is_some(), Setting::Prompt), (frames.is_some(), Setting::Frames)]
    {
        if given {
            return Err(Error::usage(
                message![folder.manifest().title(), " takes no ", setting],
                "Leave it out, or use a model in the hub's layout or on a server.",
            ));
        }
    }
    Ok(())
}

fn not_a_server() -> Error {
    Error::usage(
        message![
            Setting::ServerTimeout,
            ", ",
            Setting::ServerJobs,
            " and ",
            Setting::PictureSize,
            " work with a server of models only"
        ],
        message!["Leave them out, or give ", Setting::Model, " the address of a server, openai:http://HOST:PORT/v1."],
    )
}

/// What a [`Model`] takes from its captioner.
struct CaptionPart {
    hash: String,
    decoding: Value,
    demand: PictureDemand,
    prompt: Option<ModelPrompt>,
    captioner: Load<dyn Captions>,
}

impl CaptionPart {
    fn clip_cap(folder: &ModelFolder, caption: CaptionOptions) -> Result<CaptionPart> {
        let search = caption.search_options(folder.captioner()?)?;
        let (hash, folder) = (folder.hash().to_string(), folder.clone());
        Ok(CaptionPart {
            hash,
            demand: PictureDemand::default(),
            prompt: None,
            decoding: json!({
                "strategy": match search.strategy {
                    Strategy::Beam(_) => "beam",
                    Strategy::Greedy => "greedy",
                    Strategy::Sample { .. } => "sample",
                },
                "beam": if let Strategy::Beam(n) = search.strategy { Some(n) } else { None },
                "seed": caption.sample,
                "max_tokens": search.max_tokens,
                "temperature": search.temperature,
            }),
            captioner: Box::new(move || Ok(Box::new(Captioner::new(&folder, &caption)?))),
        })
    }

    /// For a model that another one embeds for. An archive has that one as its model, so this one is an option.
    fn with_own_tower(folder: &ModelFolder, encode: EncodeOptions, caption: CaptionOptions) -> Result<CaptionPart> {
        let mut part = CaptionPart::clip_cap(folder, caption.clone())?;
        part.decoding["captioner"] = json!(folder.manifest().title());
        part.decoding["captioner_hash"] = json!(folder.hash());
        part.demand = PictureDemand { count: 1, longest: folder.manifest().image.longest_useful() };
        // The sessions were counted for another tower, and this one may be heavy.
        let (folder, encode) = (folder.clone(), EncodeOptions { sessions: 1, ..encode });
        part.captioner = Box::new(move || Ok(Box::new(OwnTowerCaptioner::new(&folder, &encode, &caption)?)));
        Ok(part)
    }

    fn hub(folder: &HubFolder, caption: CaptionOptions, prompt: PromptOptions, frames: usize) -> Result<CaptionPart> {
        let search = generation_options(folder, &caption)?;
        let asked = folder.clone();
        let settle = move |prompt| asked.settle_prompt(prompt, frames);
        let prompt = settle(prompt)?;
        let (hash, folder) = (folder.hash().to_string(), folder.clone());
        Ok(CaptionPart {
            decoding: json!({
                "captioner": folder.title(),
                "captioner_hash": hash,
                "strategy": if search.beams > 1 { "beam" } else { "greedy" },
                "beam": if search.beams > 1 { Some(search.beams) } else { None },
                "max_tokens": search.max_tokens,
                "prompt": prompt.to_json(),
                "frames": frames,
            }),
            hash,
            demand: PictureDemand { count: frames, longest: LONGEST_SIDE },
            prompt: Some(ModelPrompt { options: prompt.clone(), settle: Box::new(settle) }),
            captioner: Box::new(move || Ok(Box::new(HubCaptioner::new(&folder, prompt, &caption)?))),
        })
    }

    fn server(
        model: &ServerModel,
        options: ServerOptions,
        caption: CaptionOptions,
        prompt: PromptOptions,
        frames: usize,
    ) -> Result<CaptionPart> {
        let max_tokens = server_search(&caption, &options)?;
        let (hash, model) = (model.hash(), model.clone());
        Ok(CaptionPart {
            decoding: json!({
                "captioner": model.title(),
                "captioner_hash": hash,
                "max_tokens": max_tokens,
                "prompt": prompt.to_json(),
                "frames": frames,
                "picture_side": options.picture_side,
            }),
            hash,
            demand: PictureDemand { count: frames, longest: options.picture_side },
            prompt: Some(ModelPrompt::any(prompt.clone())),
            captioner: Box::new(move || Ok(Box::new(ServerCaptioner::new(&model, &options, prompt, &caption)?))),
        })
    }
}
