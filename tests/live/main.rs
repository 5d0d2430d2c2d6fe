//! Streams in, events out: the engine, every output, the network's faults, and descry as a service.

#[path = "../common/mod.rs"]
mod common;

mod engine;
mod isolation;
mod model_server;
mod outputs;
mod page_attacks;
mod pauses;
mod rendition;
mod service;
#[path = "../speak/support.rs"]
#[allow(dead_code)]
mod speak_support;
mod streams;
mod text;
mod voice;
mod voice_ends;
