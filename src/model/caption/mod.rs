//! Embeddings to captions: the mapping network, then the language model behind its prefix, token by token.
//!
//! ```text
//! input           what captioners read of a keyframe
//! options         what the user asks for, and the search that it comes to with a model
//! captioner       pictures in, captions out (own_tower: with an image tower of its own)
//! beam            the search itself: beams, greedy, sampling (with sample)
//! certain         the part of a caption that the picture supports
//! language_model  what the search asks of a model
//! batch           the model's answers for the pictures of one batch
//! mapper          prefixes of pictures
//! decoder         one run of the decoder's graph
//! cache           the keys that the decoder has read (with visibility and mover)
//! ```
//!
//! A caption does not depend on the pictures beside its own. Memory: the weights once, and the cache of at most
//! [`CaptionOptions::batch`] pictures.

mod batch;
mod beam;
mod cache;
mod captioner;
mod certain;
mod decoder;
mod input;
mod language_model;
mod mapper;
mod mover;
mod options;
mod own_tower;
mod pictures;
mod sample;
mod visibility;

pub(crate) use captioner::add_candidate;
pub use captioner::{Caption, Captioner, Captions};
pub use input::{CaptionInput, PictureDemand};
pub use options::{CaptionOptions, SearchOptions, Strategy};
pub(crate) use own_tower::OwnTowerCaptioner;
pub use pictures::Pictures;
