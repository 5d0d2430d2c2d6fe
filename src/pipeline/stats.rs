//! How long each stage was busy, and what went through it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Busy time of each stage in seconds, and counts.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Stats {
    /// From start to end.
    pub wall: f64,
    /// Decoding.
    pub decode: f64,
    /// Finding speech.
    #[serde(rename = "listen")]
    pub speech: f64,
    /// Reading text.
    #[serde(rename = "read")]
    pub text: f64,
    /// Reducing frames to thumbs.
    pub analyse: f64,
    /// Scene detection and the choice of keyframes.
    pub scenes: f64,
    /// Converting and resizing keyframes.
    pub prepare: f64,
    /// The image tower.
    pub encode: f64,
    /// The captioner.
    pub caption: f64,
    /// Frames decoded.
    pub frames: u64,
    /// Frames that [`DecodedFrames::Fast`](crate::media::DecodedFrames::Fast) left out.
    pub skipped: u64,
    /// Files that it decoded as a whole, because every frame was needed.
    pub unskippable: u64,
    /// Keyframes chosen.
    pub keyframes: u64,
    /// Pictures through the image tower.
    pub encoded: u64,
    /// Runs of the image tower.
    pub encode_batches: u64,
    /// Captions made.
    pub captions: u64,
    /// Runs of the captioner.
    pub caption_batches: u64,
    /// Seconds of media that were decoded.
    pub media: f64,
}

impl Stats {
    /// Adds the figures of a run that came after this one.
    pub fn add(&mut self, more: &Stats) {
        self.wall += more.wall;
        self.decode += more.decode;
        self.speech += more.speech;
        self.text += more.text;
        self.analyse += more.analyse;
        self.scenes += more.scenes;
        self.prepare += more.prepare;
        self.encode += more.encode;
        self.caption += more.caption;
        self.frames += more.frames;
        self.skipped += more.skipped;
        self.unskippable += more.unskippable;
        self.keyframes += more.keyframes;
        self.encoded += more.encoded;
        self.encode_batches += more.encode_batches;
        self.captions += more.captions;
        self.caption_batches += more.caption_batches;
        self.media += more.media;
    }
}

/// The same figures while the stages run: times in nanoseconds, media in microseconds.
#[derive(Debug, Default)]
pub(crate) struct StageTimers {
    pub(crate) decode: AtomicU64,
    pub(crate) speech: AtomicU64,
    pub(crate) text: AtomicU64,
    pub(crate) analyse: AtomicU64,
    pub(crate) scenes: AtomicU64,
    pub(crate) prepare: AtomicU64,
    pub(crate) encode: AtomicU64,
    pub(crate) caption: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) unskippable: AtomicU64,
    pub(crate) keyframes: AtomicU64,
    pub(crate) encoded: AtomicU64,
    pub(crate) encode_batches: AtomicU64,
    pub(crate) captions: AtomicU64,
    pub(crate) caption_batches: AtomicU64,
    pub(crate) media: AtomicU64,
}

impl StageTimers {
    /// Adds the time since `start` to a timer.
    pub(crate) fn add_since(timer: &AtomicU64, start: Instant) {
        StageTimers::add(timer, start.elapsed());
    }

    /// Adds a time to a timer.
    pub(crate) fn add(timer: &AtomicU64, time: Duration) {
        timer.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Adds to a counter.
    pub(crate) fn count(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// The figures so far, for a run that has taken `wall`.
    pub(crate) fn stats(&self, wall: Duration) -> Stats {
        let secs = |timer: &AtomicU64| timer.load(Ordering::Relaxed) as f64 / 1e9;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            wall: wall.as_secs_f64(),
            decode: secs(&self.decode),
            speech: secs(&self.speech),
            text: secs(&self.text),
            analyse: secs(&self.analyse),
            scenes: secs(&self.scenes),
            prepare: secs(&self.prepare),
            encode: secs(&self.encode),
            caption: secs(&self.caption),
            frames: count(&self.frames),
            skipped: count(&self.skipped),
            unskippable: count(&self.unskippable),
            keyframes: count(&self.keyframes),
            encoded: count(&self.encoded),
            encode_batches: count(&self.encode_batches),
            captions: count(&self.captions),
            caption_batches: count(&self.caption_batches),
            media: count(&self.media) as f64 / 1e6,
        }
    }
}
