//! What the stages of one run share: options, timers, and how a run stops.

use std::sync::Mutex;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::config::Config;
use super::observer::{KeyframeSink, Observer};
use super::stats::{StageTimers, Stats};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::PictureDemand;

/// What the stages of one run share.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    /// The pictures that the captioner reads.
    pub(crate) demand: PictureDemand,
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
        demand: PictureDemand,
        interrupt: &'a Interrupt,
        observer: &'a dyn Observer,
        sink: Option<&'a dyn KeyframeSink>,
    ) -> Run<'a> {
        Run {
            config,
            demand,
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
