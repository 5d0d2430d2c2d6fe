//! What the page asks machines for: descriptions of frames, and speech. Each is made for one client at a time, and ends with
//! it; the others wait.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json as object};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::cue::LONGEST_TEXT;
use super::frames::{FrameDescriber, StopOnDrop};
use super::requests::parsed;
use super::spoken::CueVoice;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::serve::response::{json, wrong};
use crate::time::Time;

/// What helps an editor besides the page itself.
#[derive(Default)]
pub struct ReviewMachines {
    /// Describes frames again; none if there is no model.
    pub describer: Option<FrameDescriber>,
    /// Speaks cues; none for the browser's voice.
    pub voice: Option<CueVoice>,
}

impl ReviewMachines {
    /// What the page knows of the model; null without one.
    pub(super) fn model(&self) -> Value {
        self.describer.as_ref().map_or(Value::Null, |one| object!({ "name": one.name(), "prompt": one.prompt() }))
    }

    /// What the page knows of the voice; null without one.
    pub(super) fn voice(&self) -> Option<&str> {
        self.voice.as_ref().map(CueVoice::name)
    }
}

/// The machines, and who uses the voice.
pub(super) struct MachineRoom {
    machines: ReviewMachines,
    speaking: Semaphore,
}

impl MachineRoom {
    /// Nobody uses anything yet.
    pub(super) fn new(machines: ReviewMachines) -> MachineRoom {
        MachineRoom { machines, speaking: Semaphore::new(1) }
    }

    /// The machines.
    pub(super) fn machines(&self) -> &ReviewMachines {
        &self.machines
    }
}

/// The paths by which the page asks machines.
pub(super) fn machine_paths<S>(room: Arc<MachineRoom>) -> Router<S> {
    Router::new().route("/api/describe", post(describe)).route("/api/speak", post(speak)).with_state(room)
}

/// What of a frame is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameRequest {
    at: f64,
    prompt: Option<String>,
}

/// Describes a frame again.
async fn describe(State(room): State<Arc<MachineRoom>>, body: Bytes) -> Response {
    let request: FrameRequest = match parsed(&body) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    let Some(describer) = &room.machines.describer else {
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, "There is no model that could describe this frame.");
    };
    if !(0.0..=1e7).contains(&request.at) {
        return wrong(StatusCode::BAD_REQUEST, "This is no time in a film.");
    }
    if request.prompt.as_ref().is_some_and(|prompt| prompt.trim().is_empty() || prompt.chars().count() > LONGEST_TEXT) {
        return wrong(StatusCode::BAD_REQUEST, format!("A prompt has 1 to {LONGEST_TEXT} characters."));
    }
    match describer.describe(Time::from_secs(request.at), request.prompt).await {
        Ok(candidates) => json(StatusCode::OK, &object!({ "candidates": candidates })),
        Err(e) => failed(&e),
    }
}

/// What is to be spoken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CueSpeechRequest {
    text: String,
}

/// Speaks a text, as WAV.
async fn speak(State(room): State<Arc<MachineRoom>>, body: Bytes) -> Response {
    let request: CueSpeechRequest = match parsed(&body) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    if room.machines.voice.is_none() {
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, "descry was started without --voice.");
    }
    if request.text.trim().is_empty() || request.text.chars().count() > LONGEST_TEXT {
        return wrong(StatusCode::BAD_REQUEST, format!("A text that is spoken has 1 to {LONGEST_TEXT} characters."));
    }
    let Ok(_turn) = room.speaking.acquire().await else {
        return wrong(StatusCode::SERVICE_UNAVAILABLE, "descry ends.");
    };
    let stop = StopOnDrop(Interrupt::new());
    let (worker, interrupt) = (room.clone(), stop.0.clone());
    let spoken = spawn_blocking(move || Some(worker.machines.voice.as_ref()?.speak(&request.text, &interrupt)));
    match spoken.await {
        Ok(Some(Ok(wav))) => {
            ([(CONTENT_TYPE, HeaderValue::from_static("audio/wav"))], Bytes::from_owner(wav)).into_response()
        }
        Ok(Some(Err(e))) => failed(&e),
        _ => wrong(StatusCode::INTERNAL_SERVER_ERROR, "Speaking this text failed."),
    }
}

/// The answer of something that failed: what the user can mend, or not.
fn failed(e: &Error) -> Response {
    let status = match e {
        Error::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    wrong(status, e)
}
