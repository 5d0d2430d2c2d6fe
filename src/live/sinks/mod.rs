//! The outputs, one module each.

mod block;
pub(super) mod callback;
pub(super) mod command;
pub(super) mod existing;
pub(super) mod hls;
pub(super) mod jsonl;
mod pace;
mod paths;
pub(super) mod voice;
pub(super) mod vtt;
pub(super) mod webhook;
