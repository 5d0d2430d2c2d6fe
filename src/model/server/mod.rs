//! Captioning by a server of models that speaks OpenAI's chat completions: Ollama, llama.cpp, vLLM, LM Studio and others.
//!
//! ```text
//! options     the server, the model on it, and how it is asked
//! request     a picture to a JPEG, and the body of a request
//! response    what an answer means: a text, a refusal, or a fault
//! retry       how long to wait before the next attempt
//! client      one request over HTTP, with its attempts
//! answer      what a model writes, to one sentence
//! captioner   pictures in, captions out, several requests at a time
//! ```
//!
//! Order: captions come in the order of the pictures, whatever the order of the answers.
//!
//! Memory: a JPEG and a request for each picture under way, and at most 1 MB of each answer.
//!
//! Faults: an attempt that fails without an answer, with 429 or with 5xx is repeated, four attempts in all. What fails after
//! that is temporary: [`Error::is_temporary`](crate::error::Error::is_temporary). Everything else that is no caption is
//! permanent, except a refusal to describe, which is an empty caption.
//!
//! Security: the key goes to the configured address only, because redirects are not followed. No message holds it, nor the
//! credentials of the address.

mod answer;
mod captioner;
mod client;
mod options;
mod request;
mod response;
mod retry;

#[cfg(feature = "fuzzing")]
pub(crate) use answer::sentence_of;
#[cfg(feature = "fuzzing")]
pub(crate) use response::text_of;

pub(crate) use retry::{pause, retry_after};

pub use captioner::ServerCaptioner;
pub(crate) use captioner::server_search;
pub use options::{ApiKey, ServerModel, ServerOptions};
