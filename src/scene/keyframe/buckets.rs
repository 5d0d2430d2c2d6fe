//! The best frames of a stretch of time that the detector has not judged yet.
//!
//! Time is divided into buckets of [`LENGTH`], and a possible cut starts a new one. Each holds its best frame.
//! Memory: at most [`MAX_BUCKETS`] pictures, whatever the frame rate and however much changes.

use std::collections::VecDeque;

use super::candidate::KeyframeCandidate;
use crate::digest::Digest;
use crate::time::Time;

/// Length of a bucket. [`MAX_BUCKETS`] of them cover the 3.8 s between the newest frame and the detector's horizon.
const LENGTH: Time = Time::from_millis(500);
/// Most buckets. If there are more, because much changes, two neighbours become one.
pub(super) const MAX_BUCKETS: usize = 9;

/// The best frames of consecutive stretches of time, oldest first.
pub(super) struct FrameBuckets<T>(VecDeque<FrameBucket<T>>);

struct FrameBucket<T> {
    start: Time,
    /// Whether it starts with a change that may be a cut.
    after_change: bool,
    best: KeyframeCandidate<T>,
}

impl<T> FrameBuckets<T> {
    pub(super) fn new() -> FrameBuckets<T> {
        FrameBuckets(VecDeque::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Time of the oldest bucket's best frame.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.0.front().map(|b| b.best.time)
    }

    /// Removes the oldest bucket and returns its best frame.
    pub(super) fn pop(&mut self) -> Option<KeyframeCandidate<T>> {
        self.0.pop_front().map(|b| b.best)
    }

    /// Adds the next frame. `after_change`: it starts with a change that may be a cut.
    pub(super) fn add(&mut self, candidate: KeyframeCandidate<T>, after_change: bool) {
        match self.0.back_mut() {
            Some(back) if !after_change && candidate.time - back.start < LENGTH => {
                if candidate.beats(&back.best) {
                    back.best = candidate;
                }
            }
            _ => self.0.push_back(FrameBucket { start: candidate.time, after_change, best: candidate }),
        }
        while self.0.len() > MAX_BUCKETS && self.merge() {}
    }

    /// Merges two neighbours. Those within a shot come first, then those that are shortest together.
    fn merge(&mut self) -> bool {
        let buckets = &mut self.0;
        let newest_end = buckets.back().map_or(Time::ZERO, |b| b.start + LENGTH);
        let end = |k: usize| buckets.get(k + 2).map_or(newest_end, |b| b.start);
        let pair = (0..buckets.len().saturating_sub(1))
            .min_by_key(|&k| (buckets[k + 1].after_change, end(k) - buckets[k].start));
        let Some(k) = pair else { return false };
        if let Some(next) = buckets.remove(k + 1)
            && next.best.beats(&buckets[k].best)
        {
            buckets[k].best = next.best;
        }
        true
    }

    /// Adds the buckets to a digest. `picture` gives the number that represents a picture.
    pub(super) fn digest(&self, d: &mut Digest, picture: &impl Fn(&T) -> u64) {
        d.all(self.0.iter(), |d, bucket| {
            let FrameBucket { start, after_change, best } = bucket;
            d.time(*start);
            d.flag(*after_change);
            best.digest(d, picture);
        });
    }
}
