//! Still pictures through the model: reading, encoding and captioning side by side.
//!
//! ```text
//! read (one thread a core)   open, decode, preprocess; reader n has pictures n, n + readers, …
//!   │ bounded, one channel a reader
//! encode (one thread)        batches, in the order of the pictures
//!   │ bounded
//! caption (the caller's)     batches; results in the order of the pictures
//! ```
//!
//! Memory: one picture a reader, and the batches of the two model stages.

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Clock, Model, Stats};
use crate::caption::Caption;
use crate::encode::{Encode, Encoded};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::picture::{self, PictureOptions};
use crate::preprocess::{Pixels, preprocess};

/// What became of a picture.
pub type Still = Result<(Encoded, Caption)>;

/// How many pictures stand in line at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillOptions {
    /// Most pictures of a model run. Default: 8.
    pub batch: usize,
    /// Threads that read pictures. Default: 2.
    pub readers: usize,
}

impl Default for StillOptions {
    fn default() -> StillOptions {
        StillOptions { batch: 8, readers: 2 }
    }
}

/// Captions pictures. `done` is called on this thread for each in order, and ends the work by giving false; after an
/// interrupt the rest is not told. Fails only on what concerns all pictures.
pub fn stills(
    paths: &[PathBuf],
    options: StillOptions,
    model: Model,
    interrupt: &Interrupt,
    mut done: impl FnMut(usize, Still) -> Result<bool>,
) -> Result<Stats> {
    let started = Instant::now();
    let clock = Clock::default();
    let Model { image, encoder, captioner, .. } = model;
    let (batch, readers) = (options.batch.max(1), options.readers.clamp(1, paths.len().max(1)));
    thread::scope(|scope| -> Result<()> {
        let (clock, image) = (&clock, &image);
        let mut lines = Vec::new();
        for first in 0..readers {
            let (to, line) = bounded::<Result<Pixels>>(1);
            lines.push(line);
            scope.spawn(move || {
                for path in paths.iter().skip(first).step_by(readers) {
                    let t = Instant::now();
                    let pixels = picture::open(path, &PictureOptions::default()).map(|rgb| preprocess(&rgb, image));
                    Clock::add(&clock.prepare, t);
                    if interrupt.is_set() || to.send(pixels).is_err() {
                        return;
                    }
                }
            });
        }
        let (to_caption, encoded) = bounded::<Vec<Result<Encoded>>>(1);
        let encoding = scope.spawn(move || encode(&lines, paths.len(), batch, encoder()?.as_mut(), &to_caption, clock));
        let mut captioner = captioner()?;
        let mut number = 0;
        for some in &encoded {
            if interrupt.is_set() {
                return Ok(());
            }
            let t = Instant::now();
            let pictures: Vec<&Encoded> = some.iter().filter_map(|e| e.as_ref().ok()).collect();
            let mut captions = captioner.caption(&pictures)?.into_iter();
            Clock::count(&clock.captions, pictures.len());
            Clock::count(&clock.caption_batches, 1);
            Clock::add(&clock.caption, t);
            for still in some {
                let still = still.and_then(|encoded| {
                    let caption = captions.next();
                    let missing = || Error::runtime("a picture got no caption", "report this");
                    caption.map(|c| (encoded, c)).ok_or_else(missing)
                });
                if !done(number, still)? {
                    return Ok(());
                }
                number += 1;
            }
        }
        encoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(clock.stats(started.elapsed()))
}

fn encode(
    lines: &[Receiver<Result<Pixels>>],
    pictures: usize,
    batch: usize,
    encoder: &mut dyn Encode,
    to: &Sender<Vec<Result<Encoded>>>,
    clock: &Clock,
) -> Result<()> {
    let mut next = 0;
    while next < pictures {
        let mut pixels = Vec::with_capacity(batch);
        let mut some: Vec<Result<()>> = Vec::with_capacity(batch);
        while some.len() < batch && next < pictures {
            // A line that is closed: its reader heard the interrupt.
            let Ok(picture) = lines[next % lines.len()].recv() else { return Ok(()) };
            some.push(picture.map(|p| pixels.push(p)));
            next += 1;
        }
        let t = Instant::now();
        let mut encoded = encoder.encode(&pixels)?.into_iter();
        Clock::count(&clock.encoded, pixels.len());
        Clock::count(&clock.encode_batches, 1);
        Clock::add(&clock.encode, t);
        let missing = || Error::runtime("a picture got no embedding", "report this");
        let some = some.into_iter().map(|s| s.and_then(|()| encoded.next().ok_or_else(missing))).collect();
        if to.send(some).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
