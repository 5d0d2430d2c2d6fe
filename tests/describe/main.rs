//! From files to tracks: decoding, scenes, models, captions, formats, and the command line.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod bars;
mod cli;
mod clipcap;
mod clipcap_hub;
mod clipcap_import;
mod decode;
mod dist;
mod embedders;
mod escapes;
mod export;
mod fast;
mod first_caption;
mod florence;
mod gpu;
mod hub;
mod inference;
mod isolation;
mod llava;
mod model_files;
mod network;
mod parts;
mod pipeline;
mod pipes;
mod place;
mod prompts;
mod pull;
mod pull_faults;
mod relay;
mod screen_text;
mod screen_text_hostile;
mod secrets;
mod server;
mod speech;
mod stills;
mod storyboard;
mod streams;
mod support;
mod transcript;
mod wheel;
