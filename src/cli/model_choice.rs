//! Which model a command means: that of `--model`, that of the environment variable `DESCRY_MODEL`, or the built-in one.
//!
//! Both may name a model that only captions: one on a server, for example. What embeds is then the built-in model, unless
//! `--embedder` or the other of the two names a model that does.

use crate::address::Address;
use crate::error::{Error, Result};
use crate::model::folder::{ENV_MODEL, SERVER};
use crate::model::{ModelFolder, Models, Precision, ServerModel};

/// The environment variable with the name of the model on the server.
const ENV_MODEL_NAME: &str = "DESCRY_MODEL_NAME";

/// How a user names the models that describe.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ModelChoice<'a> {
    pub(super) model: Option<&'a str>,
    /// Its name on a server.
    pub(super) name: Option<&'a str>,
    pub(super) embedder: Option<&'a str>,
    pub(super) precision: Option<Precision>,
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

impl ModelChoice<'_> {
    /// Opens the models' folders and checks their files. A server is not asked yet.
    pub(super) fn load(self) -> Result<Models> {
        match self.server()? {
            Some(server) => Models::on_server(server, self.embedder),
            None => Models::load(self.model, self.embedder, self.precision),
        }
    }

    /// The model on a server, if it is one.
    pub(super) fn server(&self) -> Result<Option<ServerModel>> {
        let default = environment(ENV_MODEL);
        let model = self.model.or(default.as_deref());
        let Some(url) = model.and_then(|model| model.strip_prefix(SERVER)) else {
            return match self.name {
                Some(_) => Err(Error::usage(
                    "--model-name works with a server of models only",
                    "Leave it out, or give --model the address of a server: --model openai:http://HOST:PORT/v1.",
                )),
                None => Ok(None),
            };
        };
        let default = environment(ENV_MODEL_NAME);
        let server = ServerModel::new(url, self.name.or(default.as_deref()))?;
        if self.precision.is_some() {
            return Err(Error::usage(
                "--precision does not work with a server of models",
                "Leave it out: the server decides how its model runs.",
            ));
        }
        Ok(Some(server))
    }
}

/// Opens the folder of a model that embeds, and checks its files.
pub(super) fn load_embedder(model: Option<&str>) -> Result<ModelFolder> {
    if let Some(url) = model.and_then(|model| model.strip_prefix(SERVER)) {
        return Err(Error::usage(
            format!("{}: a server captions and does not embed", Address::new(url)),
            "Leave --model out for the built-in model, or name a model folder.",
        ));
    }
    ModelFolder::load_embedder(model)
}
