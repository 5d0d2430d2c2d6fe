//! One output in its thread: takes events, ticks, counts and logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::event::{Event, EventKind};
use super::super::metrics::{Metrics, SinkMetrics};
use super::queue::{EventQueue, NextStep, is_progress};
use super::sink::{Sink, StopSignal};
use crate::error::Result;

/// How often an idle output ticks.
const TICK: Duration = Duration::from_millis(250);

/// How a log message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum LogLevel {
    Info,
    Warning,
}

/// Receives log messages about outputs, from several threads: level, output, text.
pub(in crate::live) type SinkLog = Arc<dyn Fn(LogLevel, &str, &str) + Send + Sync>;

pub(super) struct SinkWorker {
    pub(super) sink: Box<dyn Sink>,
    /// Its place among the outputs.
    pub(super) position: usize,
    pub(super) name: String,
    pub(super) queue: Arc<EventQueue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: StopSignal,
    pub(super) failing: bool,
    /// What the output says about [`Sink::is_busy`].
    pub(super) busy: Arc<AtomicBool>,
    pub(super) log: SinkLog,
}

impl SinkWorker {
    /// Runs until the output is closed, has ended or is given up.
    pub(super) fn run(&mut self) {
        self.sink.begin(self.stop.clone());
        let mut ticked = Instant::now();
        loop {
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick(ticked);
            }
            match self.queue.next(TICK.saturating_sub(ticked.elapsed())) {
                NextStep::Take { event, lost, left } => {
                    self.counters().set_queue(left);
                    self.report_lost(lost);
                    self.take(&event);
                }
                NextStep::Idle => continue,
                NextStep::Close => break,
                NextStep::Quit => return,
            }
            if self.sink.ended() {
                self.queue.shut();
                self.counters().set_ended();
                self.counters().set_queue(0);
                (self.log)(LogLevel::Info, &self.name, "has no reader any more");
                return;
            }
        }
        let result = self.sink.close();
        if self.sink.buffers() || result.is_err() {
            self.judge(&result, true);
        }
        if result.is_err() {
            self.counters().set_incomplete();
            (self.log)(LogLevel::Warning, &self.name, "ends before everything is written");
        }
        self.count_delivered();
    }

    fn counters(&self) -> &SinkMetrics {
        &self.metrics.sinks()[self.position]
    }

    fn tick(&mut self, now: Instant) {
        let result = self.sink.tick(now);
        self.busy.store(self.sink.is_busy(), Ordering::Release);
        if self.sink.buffers() || result.is_err() {
            self.judge(&result, !self.failing);
        }
        self.count_delivered();
    }

    fn report_lost(&mut self, lost: u64) {
        if lost == 0 {
            return;
        }
        (self.log)(LogLevel::Warning, &self.name, &format!("was too slow and missed {lost} events"));
        let result = self.sink.lost(lost);
        if result.is_err() {
            self.judge(&result, true);
        }
    }

    fn take(&mut self, event: &Event) {
        let result = self.sink.event(event);
        // Before it is done, so that there is no moment at which it seems to have completed everything.
        self.busy.store(self.sink.is_busy(), Ordering::Release);
        self.queue.done();
        let buffers = self.sink.buffers();
        match &result {
            Ok(()) => self.counters().count_written(),
            Err(_) => self.counters().count_lost(u64::from(buffers || !is_progress(&event.kind))),
        }
        if !buffers || result.is_err() {
            self.judge(&result, true);
        }
        if !self.count_delivered()
            && result.is_ok()
            && let EventKind::Caption(c) = &event.kind
        {
            self.metrics.lag(self.position, &event.stream, c.arrived.elapsed());
        }
    }

    /// Counts the captions that became readable. False where the output leaves that to the hub.
    fn count_delivered(&mut self) -> bool {
        let Some(delivered) = self.sink.delivered() else { return false };
        for (stream, lag) in delivered {
            self.metrics.lag(self.position, &stream, lag);
        }
        true
    }

    /// Counts a failure; logs the first of a row, and its end.
    fn judge(&mut self, result: &Result<()>, count: bool) {
        if let Err(e) = result {
            if count {
                self.counters().count_error();
            }
            if !self.failing {
                (self.log)(LogLevel::Warning, &self.name, &e.to_string());
            }
        } else if self.failing {
            (self.log)(LogLevel::Info, &self.name, "works again");
        }
        self.failing = result.is_err();
    }
}
