//! Spoken descriptions: films, voices and mixes through the real binary, measured by FFmpeg's program.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod describe;
mod extended;
mod film;
mod mix;
mod subtitles;
mod support;
mod voices;
