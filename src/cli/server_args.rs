//! Options of a server of models: `--model openai:URL`.

use std::time::Duration;

use clap::Args;

use super::values;
use crate::error::Result;
use crate::media::LONGEST_SIDE;
use crate::model::{ApiKey, CaptionModel, Models, ServerOptions};
use crate::time::Time;

/// Which model of a server describes, and how the server is asked.
#[derive(Args)]
#[command(next_help_heading = "Model server")]
pub(super) struct ServerArgs {
    /// Name of the model on the server that --model openai:URL names
    ///
    /// With --model openai:http://localhost:11434/v1, a server captions: Ollama, llama.cpp, vLLM, LM Studio or another one
    /// with OpenAI's API. Pictures of the video are sent to it. The environment variable DESCRY_API_KEY is sent as a bearer
    /// token. DESCRY_MODEL_NAME sets the default.
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Longest time for one answer of the server [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = values::time)]
    server_timeout: Option<Time>,
    /// Requests to the server at the same time, 1 to 64 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    server_jobs: Option<u16>,
    /// Longest side of the pictures that the server gets, 64 to 1280 [default: 768]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(64..=i64::from(LONGEST_SIDE)))]
    picture_size: Option<u32>,
}

impl ServerArgs {
    /// Name of the model on the server.
    pub(super) fn model_name(&self) -> Option<&str> {
        self.model_name.as_deref()
    }

    /// Requests at the same time.
    pub(super) fn jobs(&self) -> usize {
        self.server_jobs.map_or(ServerOptions::default().jobs, usize::from)
    }

    /// How the server is asked; none if there is no server, and no option for one.
    pub(super) fn options(&self, models: &Models) -> Result<Option<ServerOptions>> {
        let is_server = matches!(models.captioner, CaptionModel::Server(_));
        let given = self.server_timeout.is_some() || self.server_jobs.is_some() || self.picture_size.is_some();
        if !is_server && !given {
            return Ok(None);
        }
        let defaults = ServerOptions::default();
        let micros = |time: Time| Duration::from_micros(time.micros().max(0).unsigned_abs());
        Ok(Some(ServerOptions {
            timeout: self.server_timeout.map_or(defaults.timeout, micros),
            jobs: self.jobs(),
            picture_side: self.picture_size.unwrap_or(defaults.picture_side),
            key: if is_server { ApiKey::from_environment()? } else { None },
        }))
    }
}
