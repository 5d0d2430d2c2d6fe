//! Models: everything that ONNX Runtime runs, and models on servers.
//!
//! ```text
//! manifest   what model.json holds             device    where graphs run
//! folder     finding and checking a folder     library   finding ONNX Runtime
//! summary    a folder in words                 runtime   sessions from graphs
//!                                              graph     what all graphs have in common
//! preprocess ─► image ─► caption               text      texts into the space of pictures
//! prompt     what models that take one are asked
//! models     what embeds and what captions     hub       models in the layout of the hub
//!                                              server    models on a server
//!
//! loader     a folder's parts, each loaded on the thread that uses it
//! ```
//!
//! Results do not depend on how pictures are batched, nor on the number of threads.

pub(crate) mod caption;
mod device;
pub(crate) mod folder;
mod graph;
pub(crate) mod hub;
pub(crate) mod image;
mod library;
mod loader;
pub(crate) mod manifest;
mod models;
mod onnx;
pub(crate) mod preprocess;
mod prompt;
mod runtime;
pub(crate) mod server;
mod summary;
mod text;

pub use crate::media::resize::Resample;
pub use caption::{
    Caption, CaptionInput, CaptionOptions, Captioner, Captions, PictureDemand, Pictures, SearchOptions, Strategy,
};
pub use device::Device;
pub use folder::ModelFolder;
pub use hub::{HubCaptioner, HubFolder, Precision};
pub use image::{Encode, EncodeOptions, Encoded, ImageEncoder, unit_vector};
pub use loader::{Load, Model, ModelOptions};
pub use manifest::{
    DecoderSpec, DecodingSpec, DedupSpec, FileSpec, GridSpec, ImageSpec, Manifest, MapperInput, MapperSpec, Resize,
    ScoreSpec, TextSpec,
};
pub use models::{CaptionModel, Models};
pub use preprocess::{Pixels, preprocess, to_square};
pub use prompt::PromptOptions;
pub use runtime::{Runtime, SessionOptions};
pub use server::{ApiKey, ServerCaptioner, ServerModel, ServerOptions};
pub use text::TextEncoder;
