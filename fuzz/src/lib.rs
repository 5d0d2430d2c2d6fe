//! Fuzz targets: what reads bytes that other people made, and what must hold for any bytes.
//!
//! A target is a function that takes bytes and panics where something does not hold. The same function runs under libFuzzer
//! (`make fuzz`, which starts with the [`seeds`] and keeps what it finds in `fuzz/findings/TARGET`) and in the test `replay`,
//! which runs all seeds and findings through it without a fuzzer.
//!
//! Each target holds descry to more than "no panic". Memory has a limit in both: [`MEMORY`] fails an allocation of Rust code
//! beyond it, which ends the program; libFuzzer's `-rss_limit_mb` counts FFmpeg's too, and its `-timeout` bounds the time.

pub mod coverage;
mod scratch;
pub mod seeds;
mod targets;

use std::alloc::System;

use cap::Cap;

pub use scratch::{parts, scratch_folder};

/// Counts what Rust code allocates, and fails where that is more than [`LIMIT`].
#[global_allocator]
pub static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Most bytes that Rust code of one process may hold. What a target needs is far below.
pub const LIMIT: usize = 768 << 20;

/// Something that reads bytes that other people made.
pub struct Target {
    /// Its name: of its corpus, of its findings, and on the command line.
    pub name: &'static str,
    /// Longest input in bytes.
    pub longest: usize,
    /// Runs an input. Panics where something does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "media", longest: 96 << 10, run: targets::media::film },
    Target { name: "picture", longest: 48 << 10, run: targets::media::picture },
    Target { name: "manifest", longest: 16 << 10, run: targets::model::manifest },
    Target { name: "graph", longest: 160 << 10, run: targets::model::graph },
    Target { name: "hub", longest: 48 << 10, run: targets::model::hub },
    Target { name: "tokenizer", longest: 32 << 10, run: targets::model::tokenizer },
    Target { name: "answer", longest: 64 << 10, run: targets::model::answer },
    Target { name: "listing", longest: 16 << 10, run: targets::model::listing },
    Target { name: "checkpoint", longest: 8 << 10, run: targets::model::checkpoint },
    Target { name: "record", longest: 8 << 10, run: targets::archive::record },
    Target { name: "table", longest: 48 << 10, run: targets::archive::table },
    Target { name: "index", longest: 160 << 10, run: targets::archive::index },
    Target { name: "part", longest: 16 << 10, run: targets::archive::part },
    Target { name: "review", longest: 16 << 10, run: targets::review::review },
    Target { name: "address", longest: 1 << 10, run: targets::live::address },
    Target { name: "config", longest: 8 << 10, run: targets::live::config },
    Target { name: "defaults", longest: 8 << 10, run: targets::live::defaults },
    Target { name: "http", longest: 12 << 10, run: targets::live::http },
    Target { name: "dialogue", longest: 16 << 10, run: targets::media::dialogue },
    Target { name: "replies", longest: 64 << 10, run: targets::isolate::replies },
    Target { name: "vtt", longest: 96 << 10, run: targets::live::vtt },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
