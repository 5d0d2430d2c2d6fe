//! Models in the hub's ONNX layout. Captioners: a picture's features in the middle of a prompt, and a language model that
//! continues. Embedders: CLIP, which becomes a [`ModelFolder`](super::ModelFolder).
//!
//! ```text
//! listing     the files that a model needs, their hashes
//! clip        a CLIP as a model folder
//! files       the folder of a captioner
//! config      what its JSON files say
//! processor   pictures to pixels, as the processor's configuration says
//! chat        a prompt through the chat template, to tokens
//! graphs      the three graphs, fed by the names of their inputs
//! generation  tokens out of logits: greedy and beam search, repetition rules
//! captioner   pictures in, captions out
//! ```
//!
//! A captioner is ClipCap's idea with words around the prefix. A caption does not depend on the pictures beside its own: pictures
//! share a batch only if their prompts have the same length, so that nothing is padded, and graphs whose integers are
//! scaled by the whole batch run one picture at a time.
//!
//! Memory: the weights once, and the keys and values of one batch.

mod captioner;
mod chat;
pub(crate) mod clip;
mod config;
mod files;
mod generation;
mod graphs;
pub(crate) mod listing;
mod processor;
mod rewrite;

pub use captioner::HubCaptioner;
pub(crate) use captioner::generation_options;
pub use files::HubFolder;
