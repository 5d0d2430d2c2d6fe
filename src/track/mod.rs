//! From captioned keyframes to a track on disk: repeats, cues, formats and files.

pub mod cue;
pub mod dedup;
pub mod formats;
pub mod output;
