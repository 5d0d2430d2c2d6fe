//! The pipeline: the stages side by side. Only the pipeline and live mode use threads and channels.
//!
//! ```text
//! watch (one thread for each running file)   decode, thumbs, scenes, keyframes
//!   │ bounded
//! encode (one thread)                        pictures, preprocessing, image tower, in batches across scenes and files
//!   │ bounded
//! describe (one thread)                      dedup for each file, captions in batches
//!   │ bounded
//! collect (the caller's thread)              cues and tracks
//! ```
//!
//! Order: the messages of one file stay in order through every stage, and its end comes last; files mix freely. Dedup and
//! cues belong to a file and every run of the model is independent of its batch, so the output does not depend on threads
//! or batches.
//!
//! Memory: each channel holds at most [`QUEUE`] keyframes, each stage one batch, each decoding thread the pictures of its
//! keyframe selector. With the length of a film only its list of scenes grows: embeddings and thumbnails go to a
//! [`KeyframeSink`] as they come, or nowhere.
//!
//! Shutdown: a stage ends when its input closes or its output is gone, and every thread is joined. The first fatal error
//! wins and stops the decoding threads.
//!
//! [`stills`] does the same for pictures, [`parts`] for long films that several processes share, and [`storyboard()`] shows the
//! scenes of a film without a model.

pub(crate) mod batch;
pub mod budget;
mod config;
pub(crate) mod context;
mod describer;
pub(crate) mod message;
mod observer;
pub mod parts;
mod run;
mod shares;
mod stages;
mod stats;
mod stills;
mod storyboard;

pub use config::Config;
pub use describer::{Describer, DescriptionProgress, Descriptions};
pub use message::{CutShort, EncodedKeyframe, KeyframeInfo, KeyframeRecord, QUEUE};
pub use observer::{KeyframeSink, Observer, Outcome, Silent};
pub use run::{Job, run};
pub use stats::Stats;
pub use stills::{Still, StillOptions, embeddings, stills};
pub use storyboard::storyboard;

pub use crate::model::{Load, Model};
