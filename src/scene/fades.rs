//! Fades: contrast falls to nothing, and another picture rises from it.
//!
//! The boundary stands at the first frame in which the new picture shows. A flat stretch as long as a scene is a scene
//! of its own. A short one with the same picture on both sides is no boundary, nor is a fade in at the start or a
//! fade out at the end.

use std::collections::VecDeque;

use super::seen::{FLAT_DEVIATION, Seen};
use super::{Boundary, Transition};
use crate::digest::Digest;
use crate::time::Time;

/// Longest fade out or in, and how long after a frame it is judged.
pub const LONGEST: Time = Time::from_millis(1_300);
/// Frames that may break a steady rise or fall of contrast: noise.
const PATIENCE: usize = 3;
/// Likeness from which the picture after a dip is the one before it.
const SAME: f32 = 0.8;

/// The longest that the part of a fade can be that is flat, or nearly.
const TAIL: Time = Time::from_millis(150);

/// A flat stretch under way.
struct Flat {
    start: Time,
    index: u64,
    /// The last full picture before it, which fades from there on, and the very last.
    before: Option<(Seen, Seen)>,
    /// When nothing at all was left: a little later than `start`, where contrast was still going.
    bare: Time,
    /// The first frame that is not quite flat any more.
    rising: Option<(Time, u64)>,
    told: bool,
}

impl Flat {
    /// It is a scene of its own: its boundary, once, unless the film begins with it.
    fn tell(&mut self, out: &mut Vec<Boundary>) {
        if let Some((before, _)) = &self.before
            && !self.told
        {
            self.told = true;
            out.push(fade((self.start, self.index), before.time, self.start));
        }
    }
}

/// Follows flat stretches; sees every frame once, in order.
pub struct Fades {
    blank: Time,
    flat: Option<Flat>,
    /// Stretches in which contrast comes or goes with a fade, told or not: no dissolve can be there.
    pub spans: VecDeque<(Time, Time)>,
}

impl Fades {
    /// `blank`: the shortest flat stretch that is a scene.
    pub fn new(blank: Time) -> Fades {
        Fades { blank, flat: None, spans: VecDeque::new() }
    }

    /// Judges the frame at `i`, adding what it finds to `out`.
    pub fn judge(&mut self, seen: &VecDeque<Seen>, i: usize, out: &mut Vec<Boundary>) {
        let Some(s) = seen.get(i) else { return };
        // Noise on a flat picture comes and goes.
        if s.flat || (self.flat.is_some() && s.nearly_flat()) {
            let flat = self.flat.get_or_insert_with(|| {
                let before = i.checked_sub(1).map(|last| (seen[fading_from(seen, last)].clone(), seen[last].clone()));
                if let Some((before, _)) = &before {
                    self.spans.push_back((before.time, s.time));
                }
                let slope = before.as_ref().map_or(Time::ZERO, |(full, _)| tail(full, s.time - full.time));
                Flat { start: s.time, index: s.index, before, bare: s.time + slope, rising: None, told: false }
            });
            if s.flat {
                flat.rising = None;
            } else {
                flat.rising.get_or_insert(s.step);
            }
            if s.time - flat.bare >= self.blank + TAIL {
                flat.tell(out);
            }
            return;
        }
        let Some(mut flat) = self.flat.take() else { return };
        let top = risen(seen, i);
        let risen = &seen[top];
        self.spans.push_back((flat.start, risen.time));
        let long = s.time - tail(risen, risen.time - s.time) - flat.bare >= self.blank;
        if long {
            flat.tell(out);
        }
        let at = flat.rising.filter(|(time, _)| s.time - *time <= TAIL).unwrap_or(s.step);
        let other = match &flat.before {
            None => long,
            Some((before, last)) => {
                // It may have moved meanwhile: the last of the one is most like the first of the other.
                let back = |o: &Seen| before.likeness(o) >= SAME || last.likeness(o) >= SAME;
                flat.told || !seen.range(i..=top).any(back)
            }
        };
        if other {
            let from = match &flat.before {
                Some((before, _)) if !flat.told => before.time,
                _ => at.0,
            };
            out.push(if from == at.0 && risen.index == s.index {
                Boundary::sudden(Transition::Cut, at.0, at.1, 1.0)
            } else {
                fade(at, from, risen.time)
            });
        }
    }

    pub fn digest(&self, d: &mut Digest) {
        let Fades { blank: _, flat, spans } = self;
        d.option(flat.as_ref(), |d, flat| {
            let Flat { start, index, before, bare, rising, told } = flat;
            d.time(*start);
            d.frame(*index);
            d.option(before.as_ref(), |d, (full, last)| {
                full.digest(d);
                last.digest(d);
            });
            d.time(*bare);
            d.option(*rising, |d, (time, index)| {
                d.time(time);
                d.frame(index);
            });
            d.flag(*told);
        });
        d.all(spans.iter(), |d, (from, to)| {
            d.time(*from);
            d.time(*to);
        });
    }

    pub fn forget(&mut self, before: Time) {
        while self.spans.len() > 64 || self.spans.front().is_some_and(|s| s.1 < before) {
            self.spans.pop_front();
        }
    }

    /// Whether a stretch lies where a fade is.
    pub fn covers(&self, from: Time, to: Time) -> bool {
        self.spans.iter().any(|s| from < s.1 && s.0 < to)
    }
}

/// Position of the full picture from which contrast falls steadily to `last`.
fn fading_from(seen: &VecDeque<Seen>, last: usize) -> usize {
    fullest(seen, last, (0..last).rev())
}

/// Position of the full picture that rises from `first`.
fn risen(seen: &VecDeque<Seen>, first: usize) -> usize {
    fullest(seen, first, first + 1..seen.len())
}

/// Climbs from a picture along its neighbours, `positions` by growing distance, as long as contrast rises.
fn fullest(seen: &VecDeque<Seen>, from: usize, positions: impl Iterator<Item = usize>) -> usize {
    let mut top = from;
    for p in positions {
        let (earlier, later) = (p.min(from), p.max(from));
        if seen[later].time - seen[earlier].time > LONGEST || seen[p].flat {
            break;
        }
        if seen[p].deviation > seen[top].deviation * 1.01 {
            top = p;
        } else if p.abs_diff(top) >= PATIENCE {
            break;
        }
    }
    top
}

/// How long a fade goes on below the contrast that counts as flat, where it took `time` down to there from `full`.
fn tail(full: &Seen, time: Time) -> Time {
    let left = FLAT_DEVIATION / (full.deviation - FLAT_DEVIATION).max(FLAT_DEVIATION);
    Time::from_micros((time.micros().max(0) as f32 * left) as i64).min(TAIL)
}

fn fade((at, index): (Time, u64), from: Time, to: Time) -> Boundary {
    Boundary { at, index, transition: Transition::Fade, from: from.min(at), to: to.max(at), score: 1.0 }
}
