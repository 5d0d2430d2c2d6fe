//! Models in the hub's ONNX layout. Captioners: a picture's features in the middle of a prompt, and a language model that
//! continues; or the features before a prompt, an encoder that reads both, and a language model that answers. Embedders:
//! CLIP, which becomes a [`ModelFolder`](super::ModelFolder).
//!
//! ```text
//! listing          the files that a model needs, their hashes
//! clip             a CLIP as a model folder
//! files            the folder of a captioner
//! json_files       its JSON files
//! config           what they say
//! limits           sizes that no model has
//! processor        pictures to pixels, as the processor's configuration says
//! chat             a prompt through the chat template, to tokens
//! tasks            the prompts of models that have tasks
//! rewrite          changes to a decoder's graph before it is loaded
//! row_keeper       where a decoder's keys are between two steps
//! graphs           the graphs of a model that continues, fed by the names of their inputs
//! encoder_decoder  those of a model that answers
//! language         what both do for a batch: a prompt, then one token at a time
//! generation       tokens out of logits: greedy and beam search, repetition rules
//! captioner        pictures in, captions out
//! ```
//!
//! The first form is ClipCap's idea with words around the prefix. A caption does not depend on the pictures beside its
//! own: pictures share a batch only if their prompts have the same length, so that nothing is padded, and graphs whose
//! integers are scaled by the whole batch run one picture at a time.
//!
//! Memory: the weights once, and the keys and values of one batch.

mod captioner;
mod chat;
pub(crate) mod clip;
mod config;
mod encoder_decoder;
mod files;
mod generation;
mod graphs;
mod json_files;
mod language;
mod limits;
pub(crate) mod listing;
mod processor;
mod rewrite;
mod row_keeper;
mod tasks;

#[cfg(feature = "fuzzing")]
pub(crate) use chat::Chat;
#[cfg(feature = "fuzzing")]
pub(crate) use processor::Processor;
#[cfg(feature = "fuzzing")]
pub(crate) use rewrite::rewritten_graph;

pub use captioner::HubCaptioner;
pub(crate) use captioner::generation_options;
pub use files::HubFolder;
pub(crate) use files::{graphs_of, small_files};
