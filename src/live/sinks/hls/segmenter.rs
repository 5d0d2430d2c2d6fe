//! Cuts a stream's captions into segments. Pure: events in, closed segments out.
//!
//! Stream time is cut into segments of one length. A segment is closed once the stream is processed past its end; a segment
//! without cues is written empty. A caption does not wait for that: the open segment ends with the caption's picture,
//! though not within [`LEAST_CUT`] of its start. HLS allows segments shorter than the target duration, and players that
//! follow a live playlist then ask for it sooner.
//!
//! A segment has every cue that has not ended when it begins: a cue that crosses a boundary is in both segments with the
//! same times, and a cue that waits for its turn is there before it is due. Players show a cue once even if they receive it
//! twice. A caption whose moment is in a closed segment is shown at the start of the open one.
//!
//! Memory: [`CUES`] cues that have not ended.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use super::super::super::event::{ClockMapping, LiveCaption};
use super::super::block::cue_block;
use super::super::pace::CuePacer;
use super::source_clock::{SourceClock, is_gap};
use crate::time::Time;
use crate::track::cue::{Cue, CueOptions};

/// Local times restart after this, where no cue crosses the boundary: no player has to count past MPEG's 26 hours.
const REBASE: Time = Time::from_millis(3_600_000);
/// Anything shorter is no segment: it becomes part of the next.
const LEAST: Time = Time::from_millis(20);
/// A segment that ends for a caption's sake is no shorter than this: players would have to ask too often.
pub(super) const LEAST_CUT: Time = Time::from_millis(500);
/// Most cues that are not over.
const CUES: usize = 1_000;

/// A segment that is complete.
pub(super) struct ClosedSegment {
    pub(super) duration: Time,
    /// Wall clock at its start.
    pub(super) wall: SystemTime,
    /// It does not continue the one before.
    pub(super) discontinuity: bool,
    pub(super) bytes: Vec<u8>,
    /// Arrival times of the captions that appear in it first.
    pub(super) arrivals: Vec<Instant>,
}

/// The segments of one stream.
pub(super) struct Segmenter {
    /// Longest segment.
    segment: Time,
    /// Length of the playlist.
    span: Time,
    pacer: CuePacer,
    clock: SourceClock,
    /// Start of the open segment, once there is one.
    open: Option<Time>,
    /// The stream is processed up to here.
    processed: Time,
    /// The open segment does not continue the one before.
    jumped: bool,
    /// Stream time of local time 0.
    zero: Time,
    /// Not over when the open segment began, ordered by start.
    cues: VecDeque<Cue>,
    /// Of captions that are in no segment yet: start of the first cue, and arrival.
    arrivals: Vec<(Time, Instant)>,
    closed: Vec<ClosedSegment>,
}

impl Segmenter {
    /// `resumed`: an earlier run's playlist continues, so the first segment is a discontinuity.
    pub(super) fn new(segment: Time, span: Time, cue: &CueOptions, resumed: bool) -> Segmenter {
        Segmenter {
            segment,
            span,
            pacer: CuePacer::new(cue),
            clock: SourceClock::default(),
            open: None,
            processed: Time::ZERO,
            jumped: resumed,
            zero: Time::ZERO,
            cues: VecDeque::new(),
            arrivals: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// The segments that were closed since the last call.
    pub(super) fn take_closed(&mut self) -> Vec<ClosedSegment> {
        std::mem::take(&mut self.closed)
    }

    /// Whether a caption is in no segment yet.
    pub(super) fn has_unpublished(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// The source's clock is this from here on. Where that is a jump, the segment ends there.
    pub(super) fn set_clock(&mut self, mapping: ClockMapping) {
        let Some(open) = self.open else {
            self.clock.set(mapping);
            self.begin(mapping.time);
            return;
        };
        let Some(end) = self.clock.breaks(&mapping, self.processed, self.span) else {
            self.clock.set(mapping);
            return;
        };
        // What came before is written with the old clock.
        self.advance(end);
        self.close_segment(end, true);
        self.clock.set(mapping);
        let resume = mapping.time.max(self.open.unwrap_or(open));
        // No cue crosses a jump.
        self.cues.retain(|c| c.start >= resume);
        self.pacer.cut(resume);
        self.begin(resume);
        self.jumped = true;
    }

    /// Adds the cues of a caption, and publishes them.
    pub(super) fn caption(&mut self, c: &LiveCaption) {
        if self.open.is_none() {
            let pts = (c.start.micros() / 100).saturating_mul(9);
            self.clock.set(ClockMapping { time: c.start, pts, wall: c.wall });
            self.begin(c.start);
        }
        let start = c.due.max(self.open.unwrap_or(c.due));
        let cues = self.pacer.cues(start, &c.text);
        if let Some(first) = cues.first() {
            self.arrivals.push((first.start, c.arrived));
        }
        self.cues.extend(cues);
        while self.cues.len() > CUES {
            self.cues.pop_front();
        }
        let excess = self.arrivals.len().saturating_sub(CUES);
        self.arrivals.drain(..excess);
        self.publish(c.picture_time.max(c.due));
    }

    /// The stream is processed up to `time`.
    pub(super) fn progress(&mut self, time: Time, wall: SystemTime) {
        self.clock.follow(time, wall);
        self.publish(time);
    }

    /// Closes what is open when frames stop. A last caption gets a moment, though nothing was processed after it.
    pub(super) fn finish(&mut self) {
        let Some(open) = self.open else { return };
        let last = self.cues.back().map_or(Time::ZERO, |c| c.end.min(c.start + self.segment));
        let end = self.processed.max(last);
        if end > open {
            self.advance(end);
            self.close_segment(end, false);
        }
    }

    fn begin(&mut self, at: Time) {
        let at = at.max(Time::ZERO);
        self.open = Some(at);
        self.zero = at;
        self.processed = self.processed.max(at);
    }

    /// Closes the segments that end by `time`, and the open one if a caption waits in it.
    fn publish(&mut self, time: Time) {
        self.advance(time);
        let Some(open) = self.open.filter(|_| self.has_unpublished()) else { return };
        let least = LEAST_CUT.min(self.segment);
        let end = time.max(open + least);
        // Where captions come faster than that, segments do not run ahead of the stream.
        if end <= time + least {
            self.close_segment(end, false);
        }
    }

    /// Closes the segments that end by `time`.
    fn advance(&mut self, time: Time) {
        let Some(open) = self.open else { return };
        let processed = self.processed;
        self.processed = processed.max(time);
        // A leap without a word of the clock: the time between cannot have been processed.
        if is_gap(processed, time, self.span) {
            self.close_segment(processed.max(open), false);
            let resume = time - self.segment;
            self.cues.retain(|c| c.end > resume);
            self.begin(resume);
            self.jumped = true;
        }
        while let Some(end) = self.open.map(|o| o + self.segment).filter(|end| *end <= time) {
            self.close_segment(end, false);
        }
    }

    /// Ends the open segment at `end` and begins the next. `jump`: the next one has another clock.
    fn close_segment(&mut self, end: Time, jump: bool) {
        let Some(open) = self.open.filter(|open| end >= *open + LEAST) else { return };
        if open - self.zero > REBASE && self.cues.front().is_none_or(|c| c.start >= open) {
            self.zero = open;
        }
        let mut text = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{},LOCAL:00:00:00.000\n", self.clock.pts(self.zero));
        let belongs = |start: Time| !jump || start < end;
        for cue in self.cues.iter().filter(|c| belongs(c.start) && c.end > open) {
            text.push('\n');
            text.push_str(&cue_block(cue, Time::ZERO - self.zero));
        }
        let (first, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.arrivals).into_iter().partition(|(start, _)| belongs(*start));
        self.arrivals = later;
        self.cues.retain(|c| c.end > end);
        self.closed.push(ClosedSegment {
            duration: end - open,
            wall: self.clock.wall(open),
            discontinuity: std::mem::take(&mut self.jumped),
            bytes: text.into_bytes(),
            arrivals: first.into_iter().map(|(_, arrived)| arrived).collect(),
        });
        self.open = Some(end);
    }
}
