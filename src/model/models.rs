//! The models of a run: one embeds pictures, and the same or another one captions them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::folder::ModelFolder;
use crate::model::hub::{HubFolder, Precision};
use crate::model::server::ServerModel;

/// What captions keyframes.
#[derive(Debug, Clone)]
pub enum CaptionModel {
    /// The mapper and the decoder of a model folder, which read what its own image tower returns.
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

    /// Captions that score lower get no cue, where the user says nothing; 0 to 1. 0 for a model without calibration.
    pub fn default_min_score(&self) -> f32 {
        match self {
            CaptionModel::ClipCap(folder) => folder.manifest().score.as_ref().map_or(0.0, |s| s.default_min_score),
            CaptionModel::Hub(_) | CaptionModel::Server(_) => 0.0,
        }
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
        Ok(Models { embedder: ModelFolder::load(embedder)?, captioner: CaptionModel::Server(server) })
    }

    /// Finds the models and opens them.
    ///
    /// `model` is a folder or a name as for [`ModelFolder::load`], or a folder in the hub's layout. Such a model has no
    /// embeddings: `embedder` names the model that does, by default the built-in one. `precision` chooses among the graphs
    /// of a hub folder.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such folder, or descry cannot run it; [`Error::Usage`] for options that do not
    /// suit the model.
    pub fn load(model: Option<&str>, embedder: Option<&str>, precision: Option<Precision>) -> Result<Models> {
        if let Some(dir) = model.map(Path::new).filter(|dir| HubFolder::is_one(dir)) {
            let captioner = CaptionModel::Hub(Box::new(HubFolder::open(dir, precision)?));
            return Ok(Models { embedder: ModelFolder::load(embedder)?, captioner });
        }
        for (given, setting) in [(embedder.is_some(), Setting::Embedder), (precision.is_some(), Setting::Precision)] {
            if given {
                return Err(Error::usage(
                    message![setting, " works with a model in the hub's layout only"],
                    message!["Leave it out, or name another folder with ", Setting::Model, "."],
                ));
            }
        }
        Ok(ModelFolder::load(model)?.into())
    }
}
