//! One stream as its threads share it: the watcher that reads it, the describer, and the supervisor.
//!
//! Order: several threads report events of one stream, so each holds the stream's counter while it publishes. Publishing
//! never blocks.
//!
//! Memory: the start times of the keyframes that wait to be described; the inbox bounds them. A few descriptions that wait for
//! text or for a pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::config::StreamConfig;
use super::connection::{Connection, StateChange};
use super::event::{Event, EventKind, LiveCaption, Reason};
use super::hub::Hub;
use super::metrics::{DropReason, Metrics, StreamMetrics};
use super::pause::PauseGate;
use super::text::TextDesk;
use crate::lock::lock;
use crate::media::rgb::Rgb;
use crate::time::Time;

/// A keyframe that waits to be described.
pub(super) struct QueuedKeyframe {
    /// Stream time at which its scene begins.
    pub(super) start: Time,
    /// Stream time of the picture.
    pub(super) time: Time,
    /// Wall clock at `start`.
    pub(super) wall: SystemTime,
    /// When the picture's packet arrived.
    pub(super) arrived: Instant,
    pub(super) picture: Arc<Rgb>,
    /// The part of the picture that models see, if that is not all of it.
    pub(super) inside: Option<Arc<Rgb>>,
    /// Pictures spread over the scene so far, for a captioner that reads several.
    pub(super) spread: Vec<Arc<Rgb>>,
}

/// What the watcher and the describer of a stream know of each other.
#[derive(Default)]
struct StreamProgress {
    /// The earliest time of the next description.
    not_before: Time,
    /// A keyframe came too soon to be described; the watcher is to choose another.
    wants_another: bool,
    /// Starts of the keyframes that are not described yet: nothing after the earliest is settled.
    open: Vec<Time>,
    /// Keyframes and frames that were left out and not reported yet.
    dropped: u64,
    skipped: u64,
    /// Stream time and wall clock of the last frame.
    last: Option<(Time, SystemTime)>,
    /// The last progress that was reported.
    reported: Option<Time>,
    /// Start of the last description.
    described: Option<Time>,
}

impl StreamProgress {
    fn close(&mut self, start: Time) {
        if let Some(at) = self.open.iter().position(|s| *s == start) {
            self.open.swap_remove(at);
        }
    }
}

/// One stream.
pub(super) struct LiveStream {
    pub(super) config: StreamConfig,
    /// Its place in the configuration.
    pub(super) position: usize,
    pub(super) metrics: Arc<Metrics>,
    connection: Mutex<Connection>,
    progress: Mutex<StreamProgress>,
    /// Locked before the gate, and that before the progress.
    desk: Mutex<TextDesk>,
    gate: Mutex<PauseGate>,
    /// Whether all that the stream showed was read.
    is_read: AtomicBool,
    /// Number of the next event.
    number: Mutex<u64>,
    hub: Arc<Hub>,
    failed: AtomicBool,
}

impl LiveStream {
    pub(super) fn new(config: StreamConfig, position: usize, hub: Arc<Hub>, metrics: Arc<Metrics>) -> LiveStream {
        LiveStream {
            connection: Mutex::new(Connection::new(config.silence)),
            gate: Mutex::new(PauseGate::new(config.wait_for_pause)),
            desk: Mutex::new(if config.text.is_some() { TextDesk::default() } else { TextDesk::closed() }),
            is_read: AtomicBool::new(config.text.is_none()),
            config,
            position,
            metrics,
            progress: Mutex::default(),
            number: Mutex::new(0),
            hub,
            failed: AtomicBool::new(false),
        }
    }

    /// Publishes an event.
    pub(super) fn publish(&self, kind: EventKind) {
        let mut number = lock(&self.number);
        let event = Event { stream: self.config.name.clone(), number: *number, at: SystemTime::now(), kind };
        *number += 1;
        self.hub.publish(Arc::new(event));
    }

    /// Updates the connection, and publishes the change of state that follows.
    pub(super) fn connection(&self, update: impl FnOnce(&mut Connection) -> Option<StateChange>) {
        let mut connection = lock(&self.connection);
        if let Some((state, reason)) = update(&mut connection) {
            self.publish(EventKind::State { state, reason });
        }
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        lock(&self.connection).is_silent(now)
    }

    pub(super) fn warn(&self, text: &str) {
        tracing::warn!(stream = &*self.config.name, "{text}");
    }

    pub(super) fn counters(&self) -> Option<&StreamMetrics> {
        self.metrics.streams().get(self.position)
    }

    /// Marks the stream as failed: it ended with an error.
    pub(super) fn set_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// A bug ended the stream's thread: the stream has failed, and does not reconnect.
    pub(super) fn give_up(&self, panic: &str) {
        self.set_failed();
        self.warn(&format!("descry has a bug and stops reading this stream: {panic}; report it"));
        self.connection(|c| Some(c.failed(Reason::Decode, 0.0).0));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts frames or keyframes that are dropped.
    pub(super) fn count_dropped(&self, why: DropReason, frames: u64) {
        if let Some(counters) = self.counters() {
            counters.frames_dropped(why, frames);
        }
    }

    /// Counts frames that were skipped unread, and has them reported.
    pub(super) fn skip(&self, frames: u64) {
        self.count_dropped(DropReason::Overload, frames);
        lock(&self.progress).skipped += frames;
    }

    /// A frame was read. Returns the earliest time of the next description, and whether another keyframe is wanted
    /// immediately.
    pub(super) fn frame(&self, time: Time, wall: SystemTime) -> (Time, bool) {
        let mut progress = lock(&self.progress);
        progress.last = Some((time, wall));
        (progress.not_before, std::mem::take(&mut progress.wants_another))
    }

    /// A keyframe that starts there waits to be described.
    pub(super) fn open(&self, start: Time) {
        lock(&self.progress).open.push(start);
    }

    /// Whether a keyframe waits to be described, a frame to be read, or a description for text or for a pause.
    pub(super) fn has_open(&self) -> bool {
        // In this order: a description waits before its keyframe is closed, and leaves the desk for the gate.
        let is_open = !lock(&self.progress).open.is_empty() || !self.is_read.load(Ordering::Acquire);
        is_open || lock(&self.desk).held() > 0 || lock(&self.gate).held() > 0
    }

    /// What waits to be joined with text.
    pub(super) fn desk<T>(&self, with: impl FnOnce(&mut TextDesk) -> T) -> T {
        with(&mut lock(&self.desk))
    }

    /// All that the stream showed was read, or will not be.
    pub(super) fn end_text(&self) {
        lock(&self.desk).close();
        self.is_read.store(true, Ordering::Release);
    }

    /// A frame that was to be read will not be.
    pub(super) fn drop_look(&self) {
        if let Some(counters) = self.counters() {
            counters.text_look_dropped();
        }
    }

    /// Somebody talked at this time.
    pub(super) fn talked(&self, at: Instant) {
        lock(&self.gate).talked(at);
    }

    /// Publishes the description of a picture, once it is known what is written there, at once or in a pause.
    pub(super) fn describe(&self, caption: LiveCaption, now: Instant) {
        let mut desk = lock(&self.desk);
        let due = desk.push(caption, now);
        self.pass_on(due, now);
    }

    /// Publishes the description of what is written: with that of a picture which waits for it, or alone.
    pub(super) fn describe_text(&self, text: LiveCaption, now: Instant) {
        let mut desk = lock(&self.desk);
        let alone = desk.join(text);
        let due = desk.due(now);
        self.pass_on(due.into_iter().chain(alone), now);
    }

    /// Publishes descriptions, at once or in a pause. The desk stays locked, so that they keep their order.
    fn pass_on(&self, captions: impl IntoIterator<Item = LiveCaption>, now: Instant) {
        for caption in captions {
            let mut gate = lock(&self.gate);
            let due = gate.push(caption, now);
            self.publish_captions(&gate, due);
        }
    }

    /// Publishes what has waited for text or for a pause, or long enough.
    pub(super) fn publish_due(&self, now: Instant) {
        let mut desk = lock(&self.desk);
        if desk.held() > 0 {
            let due = desk.due(now);
            self.pass_on(due, now);
        }
        drop(desk);
        let mut gate = lock(&self.gate);
        if gate.held() > 0 {
            let due = gate.due(now);
            self.publish_captions(&gate, due);
        }
    }

    /// Publishes what waits. From now on no description waits.
    pub(super) fn stop_waiting(&self) {
        lock(&self.desk).close();
        lock(&self.gate).open();
        self.publish_due(Instant::now());
    }

    /// `gate` stays locked, so that descriptions keep their order.
    fn publish_captions(&self, gate: &PauseGate, captions: Vec<LiveCaption>) {
        for mut caption in captions {
            self.place(&mut caption);
            if let Some(counters) = self.counters() {
                counters.caption();
                counters.waited(caption.waited);
            }
            self.publish(EventKind::Caption(caption));
        }
        if let Some(counters) = self.counters() {
            counters.set_held(gate.held());
        }
    }

    /// Gives a description that comes late a time that has not passed yet.
    fn place(&self, caption: &mut LiveCaption) {
        let mut progress = lock(&self.progress);
        if let Some(before) = progress.described.filter(|_| caption.is_late()) {
            // Descriptions are in order, and what is written may be read after a later picture was described.
            caption.start = caption.start.max(before + Time::from_micros(1));
        }
        if !caption.waited.is_zero() {
            let reached = progress.last.map(|(last, _)| last);
            caption.due = reached.unwrap_or(caption.start).max(caption.start);
        } else if caption.is_late() {
            caption.due = progress.reported.unwrap_or(caption.start).max(caption.start);
        }
        progress.described = progress.described.max(Some(caption.start));
    }

    /// A keyframe was described, or needs no description.
    pub(super) fn close(&self, start: Time, not_before: Time) {
        let mut progress = lock(&self.progress);
        progress.close(start);
        progress.not_before = not_before;
    }

    /// A keyframe came too soon after the last description: the watcher is to choose another.
    pub(super) fn reject(&self, start: Time) {
        let mut progress = lock(&self.progress);
        progress.close(start);
        progress.wants_another = true;
    }

    /// A keyframe will not be described.
    pub(super) fn drop_keyframe(&self, keyframe: &QueuedKeyframe, why: DropReason) {
        let mut progress = lock(&self.progress);
        progress.close(keyframe.start);
        progress.dropped += 1;
        self.count_dropped(why, 1);
    }

    /// The model hangs: no keyframe that waits will be described.
    pub(super) fn drop_open(&self) {
        let mut progress = lock(&self.progress);
        let left = std::mem::take(&mut progress.open).len() as u64;
        progress.dropped += left;
        self.count_dropped(DropReason::Stopped, left);
    }

    /// Reports what was left out, and how far the stream is processed. `waiting`: from here on the watcher has not decided
    /// yet.
    pub(super) fn report_progress(&self, waiting: Option<Time>, wall: impl FnOnce(Time) -> SystemTime) {
        // A description that is published meanwhile is due at the time that the stream has reached.
        let _gate = lock(&self.gate);
        let mut progress = lock(&self.progress);
        let (dropped, skipped) = (std::mem::take(&mut progress.dropped), std::mem::take(&mut progress.skipped));
        let settled = progress.last.map(|(last, _)| {
            let undecided = progress.open.iter().copied().chain(waiting);
            undecided.fold(last, Time::min).max(progress.reported.unwrap_or(Time::ZERO))
        });
        progress.reported = settled.or(progress.reported);
        drop(progress);
        if dropped > 0 || skipped > 0 {
            self.publish(EventKind::Dropped { keyframes: dropped, frames: skipped });
        }
        if let Some(time) = settled {
            self.publish(EventKind::Progress { time, wall: wall(time) });
        }
    }

    /// Publishes the last events.
    pub(super) fn end(&self) {
        let last = lock(&self.progress).last.map_or(SystemTime::UNIX_EPOCH, |(_, wall)| wall);
        self.report_progress(None, |_| last);
        self.publish(EventKind::End);
    }
}
