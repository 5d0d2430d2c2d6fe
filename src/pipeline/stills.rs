//! Still pictures through the model: reading, encoding and, where asked for, captioning side by side.
//!
//! ```text
//! read (one thread a core)   open, decode, preprocess; reader n has pictures n, n + readers, …
//!   │ bounded, one channel a reader
//! encode (one thread)        batches, in the order of the pictures
//!   │ bounded
//! caption (the caller's)     takes them as it has room; results in the order of the pictures
//! ```
//!
//! Memory: one picture a reader, a batch on its way between the model stages and one in each, and [`AHEAD`] times a batch of
//! what was described before a picture that came earlier.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Clock, Load, Model, Stats};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::picture::{self, PictureOptions};
use crate::model::caption::{Caption, Pictures};
use crate::model::folder::ImageSpec;
use crate::model::image::{Encode, Encoded};
use crate::model::preprocess::{Pixels, preprocess};

/// Pictures that are described or under way at most, in batches.
const AHEAD: usize = 8;

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
    done: impl FnMut(usize, Still) -> Result<bool>,
) -> Result<Stats> {
    let Model { image, encoder, captioner, .. } = model;
    encoded(paths, options, (&image, encoder), interrupt, |encoded, clock| {
        let mut captioner = captioner()?;
        let line = RefCell::new(Line {
            encoded,
            came: VecDeque::new(),
            taken: VecDeque::new(),
            captioned: 0,
            told: 0,
            most: AHEAD * options.batch.max(1),
            end: None,
            waited: Duration::ZERO,
            interrupt,
            clock,
            done,
        });
        let t = Instant::now();
        let run = captioner.stream(&mut &line, &mut |number, caption| line.borrow_mut().described(number, caption));
        let Line { end, waited, .. } = line.into_inner();
        Clock::spend(&clock.caption, t.elapsed().saturating_sub(waited));
        end.unwrap_or(run)
    })
}

/// Encodes pictures, and does not caption them; `done` as of [`stills`].
pub fn embeddings(
    paths: &[PathBuf],
    options: StillOptions,
    model: Model,
    interrupt: &Interrupt,
    mut done: impl FnMut(usize, Result<Encoded>) -> Result<bool>,
) -> Result<Stats> {
    encoded(paths, options, (&model.image, model.encoder), interrupt, |encoded, _| {
        for (number, one) in encoded.into_iter().flatten().enumerate() {
            if interrupt.is_set() || !done(number, one)? {
                break;
            }
        }
        Ok(())
    })
}

/// Reads and encodes pictures; `take` gets them, in their order, on this thread.
fn encoded(
    paths: &[PathBuf],
    options: StillOptions,
    (image, encoder): (&ImageSpec, Load<dyn Encode>),
    interrupt: &Interrupt,
    take: impl FnOnce(Receiver<Vec<Result<Encoded>>>, &Clock) -> Result<()>,
) -> Result<Stats> {
    let started = Instant::now();
    let clock = Clock::default();
    let (batch, readers) = (options.batch.max(1), options.readers.clamp(1, paths.len().max(1)));
    thread::scope(|scope| -> Result<()> {
        let clock = &clock;
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
        let (to, encoded) = bounded::<Vec<Result<Encoded>>>(1);
        let encoding = scope.spawn(move || encode(&lines, paths.len(), batch, encoder()?.as_mut(), &to, clock));
        // With what was taken goes the encoder's way out: it must not wait for anybody here.
        take(encoded, clock)?;
        encoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(clock.stats(started.elapsed()))
}

/// Pictures between the encoder and whoever hears of them, in their order.
struct Line<'a, D> {
    encoded: Receiver<Vec<Result<Encoded>>>,
    /// Encoded, and not taken yet.
    came: VecDeque<Result<Encoded>>,
    /// Taken, and not told of yet.
    taken: VecDeque<Taken>,
    /// Pictures that the captioner was given.
    captioned: usize,
    /// Pictures that were told of.
    told: usize,
    /// Most pictures that are taken and not told of.
    most: usize,
    /// Nothing more is wanted, or the reason why nothing more can be told.
    end: Option<Result<()>>,
    waited: Duration,
    interrupt: &'a Interrupt,
    clock: &'a Clock,
    done: D,
}

struct Taken {
    encoded: Result<Encoded>,
    /// Among those that the captioner was given.
    number: Option<usize>,
    caption: Option<Caption>,
}

impl<D: FnMut(usize, Still) -> Result<bool>> Line<'_, D> {
    fn described(&mut self, number: usize, caption: Caption) -> Result<()> {
        Clock::count(&self.clock.captions, 1);
        if let Some(taken) = self.taken.iter_mut().find(|t| t.number == Some(number)) {
            taken.caption = Some(caption);
        }
        self.tell();
        if self.is_over() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Tells of the pictures of which everything is known, as far as they stand first.
    fn tell(&mut self) {
        while !self.is_over()
            && let Some(first) = self.taken.front()
            && (first.encoded.is_err() || first.caption.is_some())
            && let Some(Taken { encoded, caption, .. }) = self.taken.pop_front()
        {
            let missing = || Error::runtime("a picture got no caption", "report this");
            let still = encoded.and_then(|encoded| Ok((encoded, caption.ok_or_else(missing)?)));
            match (self.done)(self.told, still) {
                Ok(true) => self.told += 1,
                Ok(false) => self.end = Some(Ok(())),
                Err(e) => self.end = Some(Err(e)),
            }
        }
    }

    fn is_over(&mut self) -> bool {
        if self.interrupt.is_set() {
            self.end.get_or_insert(Ok(()));
        }
        self.end.is_some()
    }

    /// What has come, and where `wait` what comes next; false where nothing is there.
    fn come(&mut self, wait: bool) -> bool {
        if self.came.is_empty() {
            let t = Instant::now();
            let some = if wait { self.encoded.recv().ok() } else { self.encoded.try_recv().ok() };
            self.waited += t.elapsed();
            self.came.extend(some.into_iter().flatten());
        }
        !self.came.is_empty()
    }
}

impl<D: FnMut(usize, Still) -> Result<bool>> Pictures for &RefCell<Line<'_, D>> {
    fn more(&mut self, most: usize, wait: bool) -> Vec<Encoded> {
        let mut line = self.borrow_mut();
        let mut some = Vec::new();
        while !line.is_over() && some.len() < most && line.taken.len() < line.most && line.come(wait && some.is_empty())
        {
            let Some(encoded) = line.came.pop_front() else { break };
            let number = encoded.is_ok().then_some(line.captioned);
            if let Ok(encoded) = &encoded {
                line.captioned += 1;
                some.push(encoded.clone());
            }
            line.taken.push_back(Taken { encoded, number, caption: None });
            line.tell();
        }
        if !some.is_empty() {
            Clock::count(&line.clock.caption_batches, 1);
        }
        some
    }
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
