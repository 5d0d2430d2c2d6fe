//! The models of a run: one embeds pictures, and the same or another one captions them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::folder::{ModelFolder, is_of_hub, locate};
use crate::model::hub::HubFolder;
use crate::model::hub::clip::is_clip;
use crate::model::precision::Precision;
use crate::model::server::ServerModel;

/// What captions keyframes.
#[derive(Debug, Clone)]
pub enum CaptionModel {
    /// The mapper and the decoder of a model folder, which read what its own image tower returns. If that is the model that
    /// embeds too, the tower runs once for both.
    ClipCap(Box<ModelFolder>),
    /// A model in the hub's layout, which reads pictures.
    Hub(Box<HubFolder>),
    /// A model on a server, which gets pictures.
    Server(ServerModel),
}

impl CaptionModel {
    /// Name and version, name and precision, or name on the server.
    pub fn title(&self) -> String {
        match self {
            CaptionModel::ClipCap(folder) => folder.manifest().title(),
            CaptionModel::Hub(folder) => folder.title(),
            CaptionModel::Server(server) => server.title(),
        }
    }

    /// What it is asked where the user names no prompt; none for descry's own words.
    pub fn own_prompt(&self) -> Option<&str> {
        match self {
            CaptionModel::Hub(folder) => folder.own_prompt(),
            CaptionModel::ClipCap(_) | CaptionModel::Server(_) => None,
        }
    }

    /// Captions that score lower get no cue, where the user says nothing; 0 to 1. 0 for a model without calibration.
    pub fn default_min_score(&self) -> f32 {
        match self {
            CaptionModel::ClipCap(folder) => {
                let captioner = folder.manifest().captioner.as_ref();
                captioner.and_then(|c| c.score.as_ref()).map_or(0.0, |s| s.default_min_score)
            }
            CaptionModel::Hub(_) | CaptionModel::Server(_) => 0.0,
        }
    }
}

/// A model that was found by its folder or its name, whatever its parts are.
#[derive(Debug, Clone)]
pub enum FoundModel {
    /// A model folder, or a CLIP in the hub's layout.
    Folder(Box<ModelFolder>),
    /// A captioner in the hub's layout.
    Hub(Box<HubFolder>),
}

impl FoundModel {
    /// Finds a model as [`ModelFolder::load`] does, and opens it. `precision` chooses among the graphs of a captioner in
    /// the hub's layout.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such folder or descry cannot run it; [`Error::Usage`] for a precision that the
    /// folder does not leave open.
    pub fn open(model: Option<&str>, precision: Option<Precision>) -> Result<FoundModel> {
        FoundModel::open_folder(&locate(model)?, precision)
    }

    /// As [`FoundModel::open`], of a folder.
    pub(crate) fn open_folder(dir: &Path, precision: Option<Precision>) -> Result<FoundModel> {
        if is_of_hub(dir)? && !is_clip(dir) {
            return Ok(FoundModel::Hub(Box::new(HubFolder::open(dir, precision)?)));
        }
        if precision.is_some() {
            return Err(Error::usage(
                message![Setting::Precision, " works with a captioner in the hub's layout only"],
                message!["Leave it out, or name another folder with ", Setting::Model, "."],
            ));
        }
        Ok(FoundModel::Folder(Box::new(ModelFolder::open(dir)?)))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        match self {
            FoundModel::Folder(folder) => folder.dir(),
            FoundModel::Hub(folder) => folder.dir(),
        }
    }

    /// Name and version, or name and precision.
    pub fn title(&self) -> String {
        match self {
            FoundModel::Folder(folder) => folder.manifest().title(),
            FoundModel::Hub(folder) => folder.title(),
        }
    }

    /// Whether it has an embedder.
    pub fn embeds(&self) -> bool {
        matches!(self, FoundModel::Folder(folder) if folder.manifest().embedder.is_some())
    }
}

/// The models of a run.
///
/// Repetitions, returning scenes and search need embeddings, which not every captioner has. So the embedder is a model of
/// its own where the captioner has none.
#[derive(Debug, Clone)]
pub struct Models {
    /// Its image tower embeds keyframes, its text tower the queries of a search.
    pub embedder: ModelFolder,
    /// What captions keyframes.
    pub captioner: CaptionModel,
}

/// A folder with both parts.
impl From<ModelFolder> for Models {
    fn from(folder: ModelFolder) -> Models {
        Models { embedder: folder.clone(), captioner: CaptionModel::ClipCap(Box::new(folder)) }
    }
}

impl Models {
    /// A model on a server, and the model that embeds for it: a folder or a name, by default the built-in one.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such embedder.
    pub fn on_server(server: ServerModel, embedder: Option<&str>) -> Result<Models> {
        Ok(Models { embedder: ModelFolder::load_embedder(embedder)?, captioner: CaptionModel::Server(server) })
    }

    /// Finds the models and opens them.
    ///
    /// `model` is a folder or a name as for [`ModelFolder::load`], or a captioner in the hub's layout. `embedder` names
    /// the model that embeds. By default that is the same model, or the built-in one if `model` has no embedder.
    /// `precision` chooses among the graphs of a captioner in the hub's layout.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such folder, if descry cannot run it, or if it lacks the part that is needed;
    /// [`Error::Usage`] for options that do not suit the model.
    pub fn load(model: Option<&str>, embedder: Option<&str>, precision: Option<Precision>) -> Result<Models> {
        let folder = match FoundModel::open(model, precision)? {
            FoundModel::Hub(folder) => {
                let captioner = CaptionModel::Hub(folder);
                return Ok(Models { embedder: ModelFolder::load_embedder(embedder)?, captioner });
            }
            FoundModel::Folder(folder) => folder,
        };
        folder.captioner()?;
        let embedder = match embedder {
            None if folder.manifest().embedder.is_some() => folder.as_ref().clone(),
            named => ModelFolder::load_embedder(named)?,
        };
        Ok(Models { embedder, captioner: CaptionModel::ClipCap(folder) })
    }

    /// Whether the image tower of the model that embeds also feeds the captioner.
    pub(crate) fn share_tower(&self) -> bool {
        matches!(&self.captioner, CaptionModel::ClipCap(folder) if folder.hash() == self.embedder.hash())
    }
}
