//! Files in, tracks out: decoding, scenes, models, captions, formats, and the program around them.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod cli;
mod clipcap;
mod decode;
mod export;
mod inference;
mod parts;
mod pipeline;
mod streams;
