//! The queue between the publisher and one output.
//!
//! Where the queue is full, progress events that a later one supersedes are dropped first and are no loss; otherwise the
//! oldest event is dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::super::event::{Event, EventKind};
use super::super::metrics::SinkMetrics;
use super::super::sync::{Condvar, Mutex, MutexGuard};
use super::sink::Sink;

/// Events that wait for one output.
pub(super) struct EventQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    wants: fn(&EventKind) -> bool,
    capacity: usize,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Event>>,
    /// Lost since losses were last reported to the output.
    lost: u64,
    /// The output works on an event.
    busy: bool,
    closing: bool,
    /// Nothing enters any more: the output has ended, or its time is over.
    shut: bool,
}

/// What the output's thread does next.
pub(super) enum NextStep {
    /// Takes this event; `lost` events before it were dropped.
    Take { event: Arc<Event>, lost: u64, left: usize },
    /// Nothing waits; time for a tick.
    Idle,
    /// The run ends and nothing waits: completes the output.
    Close,
    /// The output was given up.
    Quit,
}

impl EventQueue {
    pub(super) fn new(sink: &dyn Sink) -> EventQueue {
        EventQueue {
            state: Mutex::default(),
            changed: Condvar::new(),
            wants: sink.wants(),
            capacity: sink.capacity().max(1),
        }
    }

    /// Locks, also after a thread panicked while it held the lock: every update leaves the queue consistent.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event where the output wants it; never blocks.
    pub(super) fn offer(&self, event: &Arc<Event>, metrics: &SinkMetrics) {
        if !(self.wants)(&event.kind) {
            return;
        }
        let mut state = self.lock();
        if state.shut || state.closing {
            metrics.count_lost(u64::from(state.closing));
            return;
        }
        if state.waiting.len() >= self.capacity {
            let superseded = state.waiting.iter().position(|e| is_progress(&e.kind));
            if superseded.is_none() && is_progress(&event.kind) {
                return;
            }
            if superseded.is_none() {
                metrics.count_lost(1);
                state.lost += 1;
            }
            state.waiting.remove(superseded.unwrap_or(0));
        }
        state.waiting.push_back(event.clone());
        metrics.set_queue(state.waiting.len());
        drop(state);
        self.changed.notify_one();
    }

    /// What the output's thread does next; waits up to `patience` for an event.
    pub(super) fn next(&self, patience: Duration) -> NextStep {
        let mut state = self.lock();
        if state.waiting.is_empty() && !state.closing && !state.shut {
            state = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.shut {
            return NextStep::Quit;
        }
        let Some(event) = state.waiting.pop_front() else {
            return if state.closing { NextStep::Close } else { NextStep::Idle };
        };
        state.busy = !is_progress(&event.kind);
        NextStep::Take { event, lost: std::mem::take(&mut state.lost), left: state.waiting.len() }
    }

    /// The output is done with the event that it took.
    pub(super) fn done(&self) {
        self.lock().busy = false;
    }

    /// Whether the output has yet to take an event, or works on one.
    pub(super) fn has_work(&self) -> bool {
        let state = self.lock();
        !state.waiting.is_empty() || state.busy
    }

    /// Accepts no event from now on; the waiting ones are still taken.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Gives the output up. Returns how many events it will never get.
    pub(super) fn shut(&self) -> u64 {
        let mut state = self.lock();
        let left = state.waiting.iter().filter(|e| !is_progress(&e.kind)).count() as u64;
        (state.shut, state.waiting) = (true, VecDeque::new());
        left + u64::from(state.busy)
    }
}

/// Whether a later event of this kind supersedes it.
pub(super) fn is_progress(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Progress { .. })
}

#[cfg(all(test, feature = "interleavings"))]
mod tests;
