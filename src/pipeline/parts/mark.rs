//! Marks: where the decoding of a stretch was, second by second.
//!
//! Two stretches of one film that have a mark with the same digest emit identical keyframes from there on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::hex;
use crate::isolate::FrameSource;
use crate::media::Frame;
use crate::scene::KeyframeSelector;
use crate::time::Time;

/// How often a stretch is marked, in microseconds of the film's clock.
const EVERY: i64 = 1_000_000;

/// The state after a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Time of the frame, in microseconds.
    pub time: i64,
    /// Ordinal of the frame in this stretch, from 0.
    pub frame: u64,
    /// Ordinal of the current scene, from 0.
    pub scene: u32,
    /// Keyframes emitted so far.
    #[serde(rename = "told")]
    pub emitted: usize,
    /// Hash of everything that the following keyframes depend on; see [`KeyframeSelector::digest`] and [`FrameSource::digest`].
    pub digest: String,
    /// What was lost in decoding so far; see [`FrameSource::losses`].
    pub losses: u64,
}

/// What the decoding of a stretch leaves beside its keyframes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StretchReport {
    /// In order of time.
    pub marks: Vec<Mark>,
    /// What was lost in decoding, in all.
    pub losses: u64,
    /// End of the film in microseconds, where it was reached.
    pub finished: Option<i64>,
    /// Why the stretch holds nothing.
    pub empty: Option<String>,
    /// Why its times cannot be compared with those of another stretch.
    pub timeless: Option<String>,
}

/// Follows the decoding of a stretch and marks it.
pub(in crate::pipeline) struct Marker<'a> {
    report: StretchReport,
    last: Option<Time>,
    emitted: usize,
    enough: &'a mut (dyn FnMut(&Mark) -> bool + Send),
}

impl<'a> Marker<'a> {
    /// `enough` is called with each mark, and ends the stretch by returning `true`.
    pub(super) fn new(enough: &'a mut (dyn FnMut(&Mark) -> bool + Send)) -> Marker<'a> {
        Marker { report: StretchReport::default(), last: None, emitted: 0, enough }
    }

    /// Follows a frame that made `keyframes` final. Marks it where a second of the film begins with it, which does not
    /// depend on where the stretch began. `false` ends the stretch.
    pub(in crate::pipeline) fn mark(
        &mut self,
        frame: &Frame,
        keyframes: usize,
        selector: &KeyframeSelector<Arc<Frame>>,
        source: &FrameSource,
    ) -> bool {
        self.emitted += keyframes;
        if !frame.has_own_time() {
            self.report.timeless = Some("its timestamps are in disorder".into());
        } else if !source.has_clock() {
            self.report.timeless = Some("its container has no clock".into());
        }
        let second = |t: Time| t.micros().div_euclid(EVERY);
        let due = self.last.is_some_and(|last| second(last) != second(frame.time));
        self.last = Some(frame.time);
        if !due {
            return true;
        }
        let mut digest = selector.digest(|held| held.identity());
        source.digest(&mut digest);
        let mark = Mark {
            time: frame.time.micros(),
            frame: frame.index,
            scene: selector.scene(),
            emitted: self.emitted,
            digest: hex(&digest.finish()),
            losses: source.losses(),
        };
        let stop = (self.enough)(&mark);
        self.report.marks.push(mark);
        if stop {
            self.report.losses = source.losses();
        }
        !stop
    }

    /// Whether the film is over. Otherwise the keyframes that the selector still holds belong to another stretch.
    pub(in crate::pipeline) fn is_finished(&mut self, source: &FrameSource) -> bool {
        self.report.losses = source.losses();
        let finished = source.is_over() && !source.has_more();
        self.report.finished = finished.then(|| source.end().micros());
        finished
    }

    pub(super) fn into_report(self) -> StretchReport {
        self.report
    }
}
