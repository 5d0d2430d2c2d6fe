//! Still pictures through the model: reading, encoding and captioning side by side.
//!
//! ```text
//! read (one thread for each core)   open, decode, preprocess; reader n has stills n, n + readers, …
//!   │ bounded, one channel for each reader
//! encode (one thread)               batches, in order
//!   │ bounded
//! caption (the caller's thread)     takes stills as it has room; results in order
//! ```
//!
//! A still is one picture, or a group of pictures that follow one another, for a captioner that reads several. A group has the
//! embedding of its first picture, and no caption if one of its pictures cannot be read.
//!
//! Memory: what is being read takes [`READING_MB`] at most, or one still if that needs more: readers take shares in the order of
//! the pictures. Pictures that the captioner reads keep theirs until they are in a batch, and a batch is complete at
//! [`BATCH_BYTES`]. There are a batch in each of the two model stages and one between them, and [`AHEAD`] batches of results
//! that wait for an earlier picture.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::{BatchLimits, BatchRule, Batcher};
use super::shares::{Held, Shares};
use super::stats::{StageTimers, Stats};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::Bars;
use crate::media::rgb::Rgb;
use crate::media::{PictureOptions, StillPicture};
use crate::model::{
    Caption, CaptionInput, Encode, Encoded, ImageSpec, Load, Model, PictureDemand, Pictures, Pixels, preprocess,
};

/// Most batches of pictures that are described or in progress at once.
const AHEAD: usize = 8;

/// Megabytes of the pictures that are read at once.
const READING_MB: usize = 512;
/// Bytes of pictures that complete a batch, however many they are.
const BATCH_BYTES: usize = 64 << 20;

/// The result for a picture, or for a group of them.
pub type Still = Result<(Encoded, Caption)>;

/// How pictures are read, and how many are in progress at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillOptions {
    /// Most pictures in one run of the model. Default: 8.
    pub batch: usize,
    /// Threads that read pictures. Default: 2.
    pub readers: usize,
    /// What happens to black bars before a model sees a picture. Default: crop.
    pub bars: Bars,
    /// Which pictures are refused. Default: those of more than 64 megapixels.
    pub pictures: PictureOptions,
    /// Whether results have embeddings even if the captioner does not read them. Without, such a captioner runs alone,
    /// and the image tower is not loaded. Default: true.
    pub embeddings: bool,
}

impl Default for StillOptions {
    fn default() -> StillOptions {
        StillOptions {
            batch: 8,
            readers: 2,
            bars: Bars::default(),
            pictures: PictureOptions::default(),
            embeddings: true,
        }
    }
}

/// Captions pictures, in groups of as many as the captioner [reads](PictureDemand::count); the last group may have fewer.
/// `done` is called on this thread for each group in order; it ends the work by returning `false`. After an
/// interrupt the remaining pictures have no result.
///
/// # Errors
/// Only for what concerns all pictures (the model, `done` itself). What concerns one picture is in its result.
pub fn stills(
    paths: &[PathBuf],
    options: StillOptions,
    model: Model,
    interrupt: &Interrupt,
    done: impl FnMut(usize, Still) -> Result<bool>,
) -> Result<Stats> {
    let Model { image, encoder, captioner, demand, .. } = model;
    let encoder = (options.embeddings || demand.count == 0).then_some(encoder);
    encoded(paths, options, (&image, demand, encoder), interrupt, |encoded, timers| {
        let mut captioner = captioner()?;
        captioner.begin(interrupt);
        let results = RefCell::new(Results {
            encoded,
            ready: VecDeque::new(),
            pending: VecDeque::new(),
            captioned: 0,
            delivered: 0,
            most: AHEAD * options.batch.max(1),
            end: None,
            waited: Duration::ZERO,
            interrupt,
            timers,
            done,
        });
        let start = Instant::now();
        let run = captioner.stream(&mut &results, &mut |number, caption| results.borrow_mut().add(number, caption));
        let Results { end, waited, .. } = results.into_inner();
        StageTimers::add(&timers.caption, start.elapsed().saturating_sub(waited));
        end.unwrap_or(run)
    })
}

/// Encodes pictures without captioning them; `done` as for [`stills`]. `image` is how they are prepared for the encoder.
///
/// # Errors
/// As for [`stills`].
pub fn embeddings(
    paths: &[PathBuf],
    options: StillOptions,
    (image, encoder): (&ImageSpec, Load<dyn Encode>),
    interrupt: &Interrupt,
    mut done: impl FnMut(usize, Result<Encoded>) -> Result<bool>,
) -> Result<Stats> {
    encoded(paths, options, (image, PictureDemand::default(), Some(encoder)), interrupt, |encoded, _| {
        for (number, one) in encoded.into_iter().flatten().enumerate() {
            if interrupt.is_set() || !done(number, one.map(|input| input.encoded))? {
                break;
            }
        }
        Ok(())
    })
}

/// Reads and encodes pictures; `take` receives them in order, on this thread. Without an encoder, embeddings are empty.
fn encoded(
    paths: &[PathBuf],
    options: StillOptions,
    (image, demand, encoder): (&ImageSpec, PictureDemand, Option<Load<dyn Encode>>),
    interrupt: &Interrupt,
    take: impl FnOnce(Receiver<Vec<Result<CaptionInput>>>, &StageTimers) -> Result<()>,
) -> Result<Stats> {
    let started = Instant::now();
    let timers = StageTimers::default();
    let (batch, readers) =
        (options.batch.max(1), options.readers.clamp(1, paths.len().div_ceil(demand.count.max(1)).max(1)));
    let groups: Vec<&[PathBuf]> = paths.chunks(demand.count.max(1)).collect();
    let groups = groups.as_slice();
    let memory = Shares::new(READING_MB);
    thread::scope(|scope| -> Result<()> {
        let (timers, memory) = (&timers, &memory);
        let mut read = Vec::new();
        for first in 0..readers {
            let (to, from) = bounded::<Result<ReadStill<'_>>>(1);
            read.push(from);
            scope.spawn(move || {
                for (turn, group) in (0..).zip(groups).skip(first).step_by(readers) {
                    let start = Instant::now();
                    let still = ReadStill::open(group, image, demand, (&options, memory, turn));
                    StageTimers::add_since(&timers.prepare, start);
                    let Some(still) = still else { return };
                    if interrupt.is_set() || to.send(still).is_err() {
                        memory.close();
                        return;
                    }
                }
            });
        }
        let (to, encoded) = bounded::<Vec<Result<CaptionInput>>>(1);
        let encoding = scope.spawn(move || {
            let mut stage = StillEncoder { encoder: encoder.map(|load| load()).transpose()?, out: to, timers };
            stage.run(&read, groups.len(), batch)
        });
        // When `take` returns, the receiver is gone: the encoder must not wait for anybody here.
        take(encoded, timers)?;
        encoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(timers.stats(started.elapsed()))
}

/// A still as the models read it.
struct ReadStill<'a> {
    /// Of the first picture.
    pixels: Pixels,
    /// All of them, if the captioner reads pictures.
    pictures: Vec<Arc<Rgb>>,
    /// Their memory.
    _memory: Option<Held<'a>>,
}

impl<'a> ReadStill<'a> {
    /// Reads a group when it is its turn and there is memory for it. `None`: nobody wants it any more.
    fn open(
        group: &[PathBuf],
        image: &ImageSpec,
        demand: PictureDemand,
        (options, memory, turn): (&StillOptions, &'a Shares, u64),
    ) -> Option<Result<ReadStill<'a>>> {
        let headers = group.iter().map(|path| StillPicture::open(path, &options.pictures)).collect::<Result<Vec<_>>>();
        let bytes = headers.as_ref().map_or(0, |all| all.iter().map(StillPicture::bytes).sum());
        // Every turn must be taken, also that of pictures that cannot be read.
        let held = memory.take_turn(turn, usize::try_from(bytes.div_ceil(1 << 20)).unwrap_or(usize::MAX))?;
        let decode = || -> Result<ReadStill<'a>> {
            let read = |header: StillPicture| Ok(Arc::new(options.bars.apply(header.decode()?)));
            let pictures = headers?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
            let empty = || Error::runtime("a group has no pictures", "Report this.");
            let pixels = preprocess(pictures.first().ok_or_else(empty)?, image);
            if demand.count == 0 {
                return Ok(ReadStill { pixels, pictures: Vec::new(), _memory: None });
            }
            Ok(ReadStill { pixels, pictures, _memory: Some(held) })
        };
        Some(decode())
    }
}

fn bytes_of(pictures: &[Arc<Rgb>]) -> usize {
    pictures.iter().map(|picture| picture.data.len()).sum()
}

/// Encodes pictures in batches.
struct StillEncoder<'a> {
    /// None where nobody wants embeddings.
    encoder: Option<Box<dyn Encode>>,
    out: Sender<Vec<Result<CaptionInput>>>,
    timers: &'a StageTimers,
}

impl StillEncoder<'_> {
    fn run(&mut self, read: &[Receiver<Result<ReadStill<'_>>>], pictures: usize, batch: usize) -> Result<()> {
        // Pictures are there as soon as they are read, so a batch waits until it is full.
        let rule = BatchRule { size: batch, linger: Duration::MAX };
        let mut batcher: Batcher<Result<Vec<Arc<Rgb>>>, Pixels> = Batcher::new(BatchLimits { rule, messages: batch });
        let mut bytes = 0;
        for next in 0..pictures {
            // A channel that is closed: its reader has seen the interrupt.
            let Ok(picture) = read[next % read.len()].recv() else { return Ok(()) };
            let (message, pixels) = match picture {
                Ok(ReadStill { pixels, pictures, .. }) => {
                    bytes += bytes_of(&pictures);
                    (Ok(pictures), Some(pixels))
                }
                Err(e) => (Err(e), None),
            };
            batcher.push(message, pixels, Instant::now());
            if next + 1 == pictures || bytes >= BATCH_BYTES {
                batcher.flush();
            }
            if batcher.is_due(Instant::now()) {
                let (pixels, messages) = batcher.take();
                bytes = 0;
                let encoded = self.encode(&pixels, messages)?;
                if self.out.send(encoded).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn encode(
        &mut self,
        pixels: &[Pixels],
        stills: VecDeque<Result<Vec<Arc<Rgb>>>>,
    ) -> Result<Vec<Result<CaptionInput>>> {
        let mut encoded = match &mut self.encoder {
            Some(encoder) if !pixels.is_empty() => {
                let start = Instant::now();
                let encoded = encoder.encode(pixels)?;
                StageTimers::count(&self.timers.encoded, pixels.len());
                StageTimers::count(&self.timers.encode_batches, 1);
                StageTimers::add_since(&self.timers.encode, start);
                encoded
            }
            _ => vec![Encoded::default(); pixels.len()],
        }
        .into_iter();
        let missing = || Error::runtime("a picture got no embedding", "Report this.");
        let mut input =
            |pictures| Ok(CaptionInput { encoded: encoded.next().ok_or_else(missing)?, pictures, prompt: None });
        Ok(stills.into_iter().map(|still| still.and_then(&mut input)).collect())
    }
}

/// Pictures between the encoder and the caller, in their order.
struct Results<'a, D> {
    encoded: Receiver<Vec<Result<CaptionInput>>>,
    /// Encoded, and not yet passed to the captioner.
    ready: VecDeque<Result<CaptionInput>>,
    /// Passed to the captioner or failed, and not yet delivered.
    pending: VecDeque<PendingStill>,
    /// Pictures that the captioner was given.
    captioned: usize,
    /// Pictures that were delivered.
    delivered: usize,
    /// Most pictures in `pending`.
    most: usize,
    /// Set when no more results are wanted, or can be delivered.
    end: Option<Result<()>>,
    waited: Duration,
    interrupt: &'a Interrupt,
    timers: &'a StageTimers,
    done: D,
}

struct PendingStill {
    encoded: Result<Encoded>,
    /// Its number among those that the captioner was given.
    number: Option<usize>,
    caption: Option<Caption>,
}

impl<D: FnMut(usize, Still) -> Result<bool>> Results<'_, D> {
    /// Adds the caption of the picture that the captioner was given as `number`.
    fn add(&mut self, number: usize, caption: Caption) -> Result<()> {
        StageTimers::count(&self.timers.captions, 1);
        if let Some(pending) = self.pending.iter_mut().find(|p| p.number == Some(number)) {
            pending.caption = Some(caption);
        }
        self.deliver();
        if self.is_over() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Delivers the pictures at the front whose results are complete.
    fn deliver(&mut self) {
        while !self.is_over()
            && let Some(first) = self.pending.front()
            && (first.encoded.is_err() || first.caption.is_some())
            && let Some(PendingStill { encoded, caption, .. }) = self.pending.pop_front()
        {
            let missing = || Error::runtime("a picture got no caption", "Report this.");
            let still = encoded.and_then(|encoded| Ok((encoded, caption.ok_or_else(missing)?)));
            match (self.done)(self.delivered, still) {
                Ok(true) => self.delivered += 1,
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

    /// Receives what is encoded, and with `wait` what comes next; `false` where there is nothing.
    fn receive(&mut self, wait: bool) -> bool {
        if self.ready.is_empty() {
            let start = Instant::now();
            let some = if wait { self.encoded.recv().ok() } else { self.encoded.try_recv().ok() };
            self.waited += start.elapsed();
            self.ready.extend(some.into_iter().flatten());
        }
        !self.ready.is_empty()
    }
}

impl<D: FnMut(usize, Still) -> Result<bool>> Pictures for &RefCell<Results<'_, D>> {
    fn more(&mut self, most: usize, wait: bool) -> Vec<CaptionInput> {
        let mut results = self.borrow_mut();
        let (mut some, mut bytes) = (Vec::new(), 0);
        while !results.is_over()
            && some.len() < most
            && bytes < BATCH_BYTES
            && results.pending.len() < results.most
            && results.receive(wait && some.is_empty())
        {
            let Some(input) = results.ready.pop_front() else { break };
            let number = input.is_ok().then_some(results.captioned);
            let encoded = input.map(|input| {
                let encoded = input.encoded.clone();
                bytes += bytes_of(&input.pictures);
                some.push(input);
                encoded
            });
            results.captioned += usize::from(encoded.is_ok());
            results.pending.push_back(PendingStill { encoded, number, caption: None });
            results.deliver();
        }
        if !some.is_empty() {
            StageTimers::count(&results.timers.caption_batches, 1);
        }
        some
    }
}
