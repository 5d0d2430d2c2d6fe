//! Fades: contrast falls to nothing, and another picture rises from it.
//!
//! The boundary is the first frame in which the new picture shows. A flat stretch as long as a scene is a scene of
//! its own. There is no boundary at a short one with the same picture on both sides, at a fade in at the start, or at
//! a fade out at the end.

use std::collections::VecDeque;

use crate::digest::Digest;
use crate::scene::boundary::{Boundary, Transition};
use crate::scene::features::{FLAT_DEVIATION, FrameFeatures};
use crate::time::Time;

// Tuned on the clips of benches/scene_quality.py; see features.rs.

/// The longest fade out or fade in. A frame is judged this long after it came.
pub(super) const LONGEST: Time = Time::from_millis(1_300);
/// Frames that may break a steady rise or fall of contrast, because of noise.
const NOISE_FRAMES: usize = 3;
/// From this likeness on, the picture after a dip is the one before it.
const SAME: f32 = 0.8;
/// The longest part of a fade that is flat, or nearly.
const TAIL: Time = Time::from_millis(150);
/// Most stretches remembered. They are also forgotten by time, which leaves a few; the limit holds whatever the clock
/// does.
const MAX_SPANS: usize = 64;

/// A flat stretch in progress.
struct FlatStretch {
    start: Time,
    index: u64,
    /// The last full picture before it, from which contrast falls, and the very last picture.
    before: Option<(FrameFeatures, FrameFeatures)>,
    /// When contrast was gone: a little after `start`, while a fade out was still going on.
    empty_from: Time,
    /// Time and ordinal of the first frame that is not quite flat any more.
    rising: Option<(Time, u64)>,
    /// Whether it was reported as a scene.
    reported: bool,
}

impl FlatStretch {
    /// Reports the stretch as a scene of its own: once, and not if the film begins with it.
    fn report(&mut self, out: &mut Vec<Boundary>) {
        if let Some((before, _)) = &self.before
            && !self.reported
        {
            self.reported = true;
            out.push(fade((self.start, self.index), before.time, self.start));
        }
    }
}

/// Follows flat stretches. Judges every frame once, in order.
pub(super) struct FadeTracker {
    /// The shortest flat stretch that is a scene.
    blank: Time,
    flat: Option<FlatStretch>,
    /// Stretches in which contrast comes or goes with a fade, reported or not: there can be no dissolve.
    pub(super) spans: VecDeque<(Time, Time)>,
}

impl FadeTracker {
    /// `blank`: the shortest flat stretch that is a scene.
    pub(super) fn new(blank: Time) -> FadeTracker {
        FadeTracker { blank, flat: None, spans: VecDeque::new() }
    }

    /// Judges frame `i` and adds what it finds to `out`.
    pub(super) fn judge(&mut self, frames: &VecDeque<FrameFeatures>, i: usize, out: &mut Vec<Boundary>) {
        let Some(frame) = frames.get(i) else { return };
        // Noise on a flat picture comes and goes.
        if frame.flat || (self.flat.is_some() && frame.nearly_flat()) {
            self.continue_stretch(frames, i, out);
        } else if let Some(flat) = self.flat.take() {
            self.end_stretch(flat, frames, i, out);
        }
    }

    /// Frame `i` is flat.
    fn continue_stretch(&mut self, frames: &VecDeque<FrameFeatures>, i: usize, out: &mut Vec<Boundary>) {
        let frame = &frames[i];
        let flat = self.flat.get_or_insert_with(|| {
            let before = i.checked_sub(1).map(|last| (frames[fading_from(frames, last)].clone(), frames[last].clone()));
            if let Some((before, _)) = &before {
                self.spans.push_back((before.time, frame.time));
            }
            let slope = before.as_ref().map_or(Time::ZERO, |(full, _)| tail(full, frame.time - full.time));
            FlatStretch {
                start: frame.time,
                index: frame.index,
                before,
                empty_from: frame.time + slope,
                rising: None,
                reported: false,
            }
        });
        if frame.flat {
            flat.rising = None;
        } else {
            flat.rising.get_or_insert(frame.step);
        }
        if frame.time - flat.empty_from >= self.blank + TAIL {
            flat.report(out);
        }
    }

    /// Frame `i` is the first one after a flat stretch.
    fn end_stretch(
        &mut self,
        mut flat: FlatStretch,
        frames: &VecDeque<FrameFeatures>,
        i: usize,
        out: &mut Vec<Boundary>,
    ) {
        let frame = &frames[i];
        let top = risen(frames, i);
        let risen = &frames[top];
        self.spans.push_back((flat.start, risen.time));
        let long = frame.time - tail(risen, risen.time - frame.time) - flat.empty_from >= self.blank;
        if long {
            flat.report(out);
        }
        let at = flat.rising.filter(|(time, _)| frame.time - *time <= TAIL).unwrap_or(frame.step);
        let other = match &flat.before {
            None => long,
            Some((before, last)) => {
                // The picture may have moved meanwhile: the last frame before is most like the first one after.
                let same = |o: &FrameFeatures| before.likeness(o) >= SAME || last.likeness(o) >= SAME;
                flat.reported || !frames.range(i..=top).any(same)
            }
        };
        if other {
            let from = match &flat.before {
                Some((before, _)) if !flat.reported => before.time,
                _ => at.0,
            };
            out.push(if from == at.0 && risen.index == frame.index {
                Boundary::sudden(Transition::Cut, at.0, at.1, 1.0)
            } else {
                fade(at, from, risen.time)
            });
        }
    }

    /// Adds everything that later boundaries depend on.
    pub(super) fn digest(&self, d: &mut Digest) {
        let FadeTracker { blank: _, flat, spans } = self;
        d.option(flat.as_ref(), |d, flat| {
            let FlatStretch { start, index, before, empty_from, rising, reported } = flat;
            d.time(*start);
            d.frame(*index);
            d.option(before.as_ref(), |d, (full, last)| {
                full.digest(d);
                last.digest(d);
            });
            d.time(*empty_from);
            d.option(*rising, |d, (time, index)| {
                d.time(time);
                d.frame(index);
            });
            d.flag(*reported);
        });
        d.all(spans.iter(), |d, (from, to)| {
            d.time(*from);
            d.time(*to);
        });
    }

    /// Forgets stretches that ended before this moment.
    pub(super) fn forget(&mut self, before: Time) {
        while self.spans.len() > MAX_SPANS || self.spans.front().is_some_and(|s| s.1 < before) {
            self.spans.pop_front();
        }
    }

    /// Whether there is a fade between two moments.
    pub(super) fn covers(&self, from: Time, to: Time) -> bool {
        self.spans.iter().any(|s| from < s.1 && s.0 < to)
    }
}

/// Position of the full picture from which contrast falls steadily to frame `last`.
fn fading_from(frames: &VecDeque<FrameFeatures>, last: usize) -> usize {
    fullest(frames, last, (0..last).rev())
}

/// Position of the full picture to which contrast rises steadily from frame `first`.
fn risen(frames: &VecDeque<FrameFeatures>, first: usize) -> usize {
    fullest(frames, first, first + 1..frames.len())
}

/// Follows the frames at `positions`, by growing distance from frame `from`, as long as contrast rises. Returns the
/// position of the one with the most contrast.
fn fullest(frames: &VecDeque<FrameFeatures>, from: usize, positions: impl Iterator<Item = usize>) -> usize {
    let mut top = from;
    for p in positions {
        let (earlier, later) = (p.min(from), p.max(from));
        if frames[later].time - frames[earlier].time > LONGEST || frames[p].flat {
            break;
        }
        if frames[p].deviation > frames[top].deviation * 1.01 {
            top = p;
        } else if p.abs_diff(top) >= NOISE_FRAMES {
            break;
        }
    }
    top
}

/// How long a fade continues below the contrast that counts as flat, if it took `time` to get there from `full`.
/// Contrast is taken to fall linearly.
fn tail(full: &FrameFeatures, time: Time) -> Time {
    let left = FLAT_DEVIATION / (full.deviation - FLAT_DEVIATION).max(FLAT_DEVIATION);
    Time::from_micros((time.micros().max(0) as f32 * left) as i64).min(TAIL)
}

fn fade((at, index): (Time, u64), from: Time, to: Time) -> Boundary {
    Boundary { at, index, transition: Transition::Fade, from: from.min(at), to: to.max(at), score: 1.0 }
}
