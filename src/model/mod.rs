//! Models: everything that ONNX Runtime runs, and models on servers.
//!
//! ```text
//! manifest   what a model folder states        device    where graphs run
//! manifest_format   its file, model.json       library   finding ONNX Runtime
//! folder     finding and checking a folder     runtime   sessions from graphs
//! verified   its files, as they were hashed    file_hash hashes that are known already
//! summary    a folder in words                 graph     what all graphs have in common
//! score      how likely a caption is right     onnx      graphs that are changed before they are loaded
//! support    whether its words are             precision variants of graphs of the hub
//! preprocess ─► image ─► caption               text      texts into the space of pictures
//! prompt     what models that take one are asked
//! tokenizer  texts to tokens and back
//! buffer     memory for weights                    in_place  sessions for a few runs
//! models     what embeds and what captions     hub       models in the layout of the hub
//!                                              server    models on a server
//!
//! pulled     models that were brought here, and what they were
//!
//! loader     a folder's parts, each loaded on the thread that uses it
//! side_by_side   work on several threads at once
//! ```
//!
//! Results do not depend on how pictures are batched, nor on the number of threads.

mod buffer;
pub(crate) mod caption;
mod device;
mod file_hash;
pub(crate) mod folder;
mod graph;
pub(crate) mod hub;
pub(crate) mod image;
mod in_place;
mod library;
mod loader;
pub(crate) mod manifest;
mod manifest_format;
mod models;
mod onnx;
mod precision;
pub(crate) mod preprocess;
mod prompt;
pub(crate) mod pulled;
mod runtime;
mod score;
pub(crate) mod server;
mod side_by_side;
mod summary;
mod support;
mod text;
mod tokenizer;
pub(crate) mod verified;

pub use crate::media::resize::Resample;
#[cfg(feature = "cli")]
pub(crate) use buffer::expect_model;
pub use caption::{
    Caption, CaptionInput, CaptionOptions, Captioner, Captions, PictureDemand, Pictures, SearchOptions, Strategy,
};
pub use device::Device;
#[cfg(feature = "cli")]
pub(crate) use device::device_states;
pub use file_hash::hash_every_file;
pub use folder::ModelFolder;
pub use hub::{HubCaptioner, HubFolder};
pub use image::{Encode, EncodeOptions, Encoded, ImageEncoder, unit_vector};
#[cfg(feature = "cli")]
pub(crate) use library::TESTED_RUNTIME;
pub use loader::{Load, Model, ModelOptions, ModelPrompt};
pub(crate) use manifest_format::{MANIFEST, parse_manifest};
#[cfg(feature = "fuzzing")]
pub(crate) use onnx::OnnxModel;
pub(crate) use onnx::{Array, ArrayValues, GraphBuilder, Node, element};
#[cfg(feature = "fuzzing")]
pub(crate) use text::tokens_of;

pub use manifest::{
    CaptionerSpec, DecoderSpec, DecodingSpec, DedupSpec, EmbedderSpec, FileSpec, GridSpec, ImageSpec, Manifest,
    MapperInput, MapperSpec, Resize, TextSpec,
};
pub use models::{CaptionModel, FoundModel, Models};
pub use precision::Precision;
pub use preprocess::{Pixels, preprocess, to_square};
pub(crate) use prompt::DescriptionHistory;
pub use prompt::{CaptionPrompt, MOST_CONTEXT, PromptOptions, PromptSource};
#[cfg(feature = "cli")]
pub(crate) use pulled::store_folder;
pub use pulled::{ModelReference, PullRecord, PulledModel, find_pulled, list_pulled, pulled_as};
pub use runtime::{Runtime, SessionOptions};
pub use score::{EvidenceSpec, ScoreSpec};
pub use server::{ApiKey, ServerCaptioner, ServerModel, ServerOptions};
pub use support::{SupportSpec, WordSupport};
pub use text::TextEncoder;
pub(crate) use tokenizer::parse_tokenizer;
