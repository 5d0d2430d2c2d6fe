//! descry generates timestamped descriptions of video files and live streams.
//!
//! A film goes through stages that are joined by bounded channels:
//!
//! ```text
//! media    FFmpeg decode                 a file, URL or object in, frames out
//! scene    scene changes, keyframes      which frame represents each shot
//! model    image tower, captioner        pictures into embeddings, embeddings into words
//! track    dedup, cues, formats          what is new, when it is shown, how it is written
//! ```
//!
//! [`Describer`] runs them over a film and returns cues. [`live`] does the same for streams that never end, and
//! [`archive`] for thousands of films, which it then searches.
//!
//! # Map
//!
//! Modules import only what is below them in this list; a test checks every `use` line.
//!
//! | module | owns |
//! |---|---|
//! | `cli` | the command line: arguments, messages, exit codes, one file for each command |
//! | `fuzzing` | entries for the fuzz targets in `fuzz/`; only with the feature of that name |
//! | [`live`] | streams: sessions that reconnect, one clock, what is new, and the outputs |
//! | [`archive`] | many films: the archive's files, indexing into it, search in it |
//! | [`clipcap`] | published checkpoints of ClipCap as model folders |
//! | [`review`] | reviews: descriptions that people check and correct in the browser |
//! | [`speak`] | spoken descriptions, mixed into the film |
//! | [`pipeline`] | one run: stages, threads and channels, batches; pictures; parts of long films |
//! | [`track`] | from captioned keyframes to a track: dedup, cues, WebVTT, SRT, DAPT, JSON, CSV, HTML, output files |
//! | [`speech`] | where people talk: a detector of speech, and segments |
//! | [`ocr`] | text that pictures and films show: found, read, and followed over time |
//! | [`pull`] | models from the hub: a client, downloads that go on, and what was pulled |
//! | [`isolate`] | decoding, and the templates of models, in processes of their own, in a sandbox |
//! | [`model`] | model folders, ONNX Runtime, preprocessing, image and text towers, captioning |
//! | [`scene`] | thumbs, scene changes, keyframes, and what live mode examines |
//! | [`mix`] | descriptions into the sound of a film: ducking, loudness, true peaks |
//! | [`voice`] | programs that speak, and what they spoke |
//! | `checkpoint` | tensors in checkpoints of PyTorch and in safetensors |
//! | [`media`] | decoding, pictures, resizing, thumbnails, probing, object stores |
//! | `look` | the style and the components of all pages |
//! | [`serve`] | an HTTP server for pages: connections and their limits, who may read |
//! | `address`, `atomic_file`, `digest`, [`error`], `fingerprint`, `guard`, [`interrupt`], `limited_file`, `lock`, `markup`, [`message`], `open_folder`, `printable`, `program`, `program_files`, `regular_file`, [`time`], `wall` | the ground floor: imports nothing above it |
//!
//! `live` and `archive` do not import each other. Every stage is a struct with plain methods that is tested without
//! threads; only `pipeline` and `live` use threads and channels.
//!
//! descry does not edit, transcode or stream video, and does not train models.

#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod address;
pub mod archive;
mod atomic_file;
mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clipcap;
pub mod digest;
pub mod error;
pub mod fingerprint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
pub mod interrupt;
pub mod isolate;
mod limited_file;
pub mod live;
mod lock;
mod look;
mod markup;
pub mod media;
pub mod message;
pub mod mix;
pub mod model;
pub mod ocr;
mod open_folder;
pub mod pipeline;
mod printable;
mod program;
mod program_files;
pub mod pull;
mod regular_file;
pub mod review;
pub mod scene;
pub mod serve;
pub mod speak;
pub mod speech;
pub mod time;
pub mod track;
pub mod voice;
mod wall;

pub use pipeline::Describer;
