//! One run: the stages on their threads, joined by channels, and what they share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use super::config::Config;
use super::message::{EncodedKeyframe, QUEUE, StageMessage};
use super::observer::{KeyframeSink, Observer, Outcome};
use super::stages::collect::CollectStage;
use super::stages::describe::DescribeStage;
use super::stages::encode::EncodeStage;
use super::stages::watch::{FrameKeyframe, watch};
use super::stats::{StageTimers, Stats};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::thumbnail::ThumbnailOptions;
use crate::model::loader::Model;

/// What to describe, and how.
pub struct Job<'a> {
    /// Paths and URLs.
    pub inputs: &'a [String],
    /// Options of all stages.
    pub config: &'a Config,
    /// The model; its graphs load on the threads of their stages.
    pub model: Model,
    /// Stops the run.
    pub interrupt: &'a Interrupt,
    /// Follows the progress.
    pub observer: &'a dyn Observer,
    /// Stores keyframes as they come.
    pub sink: Option<&'a dyn KeyframeSink>,
}

/// Describes all inputs. `done` is called on this thread once for each input, as it ends.
///
/// # Errors
/// Only for what concerns all inputs (the model, the runtime, the sink). What concerns one input is in its outcome.
pub fn run(job: Job<'_>, mut done: impl FnMut(usize, Outcome)) -> Result<Stats> {
    let Job { inputs, config, model, interrupt, observer, sink } = job;
    let run = Run::new(config, interrupt, observer, sink);
    let Model { name, decoding, image, encoder, captioner, .. } = model;
    let options = config.content_options(&decoding);
    let thumbnails = match sink {
        Some(_) => config.thumbnail,
        None => ThumbnailOptions { width: 0, ..config.thumbnail },
    };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (to_encode, watched) = bounded::<StageMessage<FrameKeyframe>>(QUEUE);
        let (to_describe, encoded) = bounded::<StageMessage<EncodedKeyframe>>(QUEUE);
        let (to_collect, captioned) = bounded(QUEUE);
        let (run, next) = (&run, &next);
        for _ in 0..config.jobs.clamp(1, inputs.len().max(1)) {
            let to_encode = to_encode.clone();
            scope.spawn(move || {
                loop {
                    let file = next.fetch_add(1, Ordering::Relaxed);
                    let Some(input) = inputs.get(file) else { return };
                    if run.is_stopped() {
                        return;
                    }
                    match run.sink.map_or(Ok(true), |sink| sink.begin(file)) {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(e) => return run.stop(e),
                    }
                    let end = watch(run, file, input, None, &to_encode);
                    if to_encode.send(StageMessage::End(file, end)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_encode);
        scope.spawn(move || {
            run.stage(&watched, |from| EncodeStage::new(run, encoder()?, image, thumbnails, to_describe).run(from));
        });
        scope.spawn(move || {
            run.stage(&encoded, |from| DescribeStage::new(run, captioner()?, to_collect).run(from));
        });
        let mut collect = CollectStage::new(run, inputs, name, options, &mut done);
        run.stage(&captioned, |from| collect.run(from));
    });
    run.finish()
}

/// What the stages of one run share.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) sink: Option<&'a dyn KeyframeSink>,
    pub(crate) timers: StageTimers,
    started: Instant,
    /// Stops the decoding threads when a stage has failed.
    halt: Interrupt,
    fatal: Mutex<Option<Error>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        config: &'a Config,
        interrupt: &'a Interrupt,
        observer: &'a dyn Observer,
        sink: Option<&'a dyn KeyframeSink>,
    ) -> Run<'a> {
        Run {
            config,
            interrupt,
            observer,
            sink,
            timers: StageTimers::default(),
            started: Instant::now(),
            halt: Interrupt::new(),
            fatal: Mutex::new(None),
        }
    }

    /// Whether the user or a failed stage has stopped the run.
    pub(crate) fn is_stopped(&self) -> bool {
        self.interrupt.is_set() || self.has_failed()
    }

    /// Whether a stage has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.halt.is_set()
    }

    /// Ends the run with an error that concerns all files; the first one wins.
    pub(crate) fn stop(&self, e: Error) {
        self.halt.set();
        if let Ok(mut first) = self.fatal.lock() {
            first.get_or_insert(e);
        }
    }

    /// Runs a stage to its end. Where it fails, the messages that still come are dropped: the stages before it must not
    /// block on one that is gone.
    pub(crate) fn stage<T>(&self, from: &Receiver<T>, run: impl FnOnce(&Receiver<T>) -> Result<()>) {
        if let Err(e) = run(from) {
            self.stop(e);
            from.iter().for_each(drop);
        }
    }

    /// The result, once every stage has ended.
    pub(crate) fn finish(self) -> Result<Stats> {
        match self.fatal.into_inner() {
            Ok(Some(e)) => Err(e),
            _ => Ok(self.timers.stats(self.started.elapsed())),
        }
    }
}
