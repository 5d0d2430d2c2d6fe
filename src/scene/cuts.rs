//! Hard cuts: a change that stands out from the changes around it, and that leads somewhere else.

use std::collections::VecDeque;

use super::seen::Seen;
use super::{Boundary, SceneOptions, Transition};
use crate::time::Time;

/// A cut is judged when this much of what follows has been seen.
pub const AFTER: Time = Time::from_millis(500);
/// A picture that comes back within this was only covered by a flash.
const FLASH: Time = Time::from_millis(450);
/// The neighbourhood in which a cut has to be the peak.
const WINDOW: Time = Time::from_millis(400);
/// Beyond this spacing frames have no neighbourhood: each is compared with the one before alone.
pub const SPARSE: Time = Time::from_millis(250);
/// Changes below this, in 8-bit levels, are a frame shown twice.
const TWICE: f32 = 0.3;
/// Frames on either side among which two that are no repeats are sought: animation is drawn on twos or threes.
const REPEATS: usize = 4;
/// Likeness of structure above which two frames show the same thing, whatever the light.
const SAME: f32 = 0.85;

/// The cut at `i`, if there is one.
pub fn at(seen: &VecDeque<Seen>, i: usize, options: &SceneOptions) -> Option<Boundary> {
    let (s, before) = (seen.get(i)?, seen.get(i.checked_sub(1)?)?);
    // A dark or pale picture changes by less: half the floor will do where nothing of the structure stays.
    let likeness = s.likeness(before);
    let floor = options.floor * if likeness < 0.4 { 0.5 } else { 1.0 };
    if s.change < floor {
        return None;
    }
    let flats = s.flat && before.flat;
    if s.time - before.time > SPARSE {
        let unlike = s.change >= 1.5 * options.floor && (likeness < 0.6 || flats);
        return unlike.then(|| cut(s, s.change / options.floor));
    }
    // Brighter or darker is not another scene; only unlike structure is, or one flat colour after another.
    if likeness > SAME && !flats {
        return None;
    }
    let around = Around::new(seen, i);
    let ratio = s.change / around.near.max(1.0);
    // The very end has no neighbourhood yet: there the picture has to be another beyond doubt.
    let sure = ratio >= options.ratio && s.change >= 1.25 * around.peak && (i + 2 < seen.len() || likeness < 0.5);
    if !sure {
        // Two sharp changes that both lead elsewhere are two cuts; the ratio is lost to them, not the evidence.
        let sharp = s.change >= 2.0 * options.floor
            && likeness < 0.35
            && s.change >= 0.8 * around.peak
            && ratio >= 2.0
            && s.change >= 2.0 * options.ratio * around.quiet.max(1.0);
        if !sharp && !parted(seen, i, &around) {
            return None;
        }
    }
    if flash(seen, i) {
        return None;
    }
    Some(cut(s, ratio / options.ratio))
}

/// Whether the pictures on either side of `i` are alike among themselves, and none is like one of the other side: a cut
/// between shots so busy that the change itself does not stand out. It must stand out a little where only one side holds
/// together, and motion must not explain it.
fn parted(seen: &VecDeque<Seen>, i: usize, around: &Around) -> bool {
    if i < 3 || i + 3 > seen.len() {
        return false;
    }
    let (before, after) = ([&seen[i - 1], &seen[i - 2], &seen[i - 3]], [&seen[i], &seen[i + 1], &seen[i + 2]]);
    let together = |s: &[&Seen; 3]| s[0].likeness(s[1]).min(s[1].likeness(s[2]));
    let (early, late) = (together(&before), together(&after));
    let alone = seen[i].change >= 1.6 * around.near.max(1.0) && seen[i].change >= 1.1 * around.loudest;
    let within = if alone { early.max(late) } else { early.min(late) };
    within >= 0.45
        && seen[i].change >= 1.1 * around.near
        && before.iter().all(|a| after.iter().all(|b| a.likeness(b) < 0.4 * within))
        && before[0].unexplained_by_motion(after[0]) > 0.6
}

/// Whether the change at `i` lies within something that passes: the picture before it comes back soon.
fn flash(seen: &VecDeque<Seen>, i: usize) -> bool {
    let (s, before) = (&seen[i], &seen[i - 1]);
    // Moving pictures do not come back quite the same.
    let own = if i > 1 { before.likeness(&seen[i - 2]) } else { 1.0 };
    for (lag, a) in seen.iter().take(i).rev().enumerate().take_while(|(_, a)| s.time - a.time <= FLASH) {
        for (ahead, b) in seen.iter().skip(i + 1).enumerate().take_while(|(_, b)| b.time - a.time <= FLASH) {
            let same = SAME.min(own.max(0.0).powi((lag + ahead + 2) as i32)).max(0.6);
            if a.distance(b) < 0.5 * s.change && (a.likeness(b) > same || (a.flat && b.flat)) {
                return true;
            }
        }
    }
    // … or was there just before.
    seen.iter()
        .take(i - 1)
        .rev()
        .take_while(|o| s.time - o.time <= FLASH)
        .any(|o| o.distance(s) < 0.5 * s.change && (o.likeness(s) > SAME || (o.flat && s.flat)))
}

/// The changes around one.
struct Around {
    /// Mean of the two on either side that are no repeated frames.
    near: f32,
    /// Largest within [`WINDOW`] that is no flash.
    peak: f32,
    /// The same as it was seen, whatever its interval.
    loudest: f32,
    /// Median within [`WINDOW`]: what the shots' own motion amounts to.
    quiet: f32,
}

impl Around {
    fn new(seen: &VecDeque<Seen>, i: usize) -> Around {
        let s = &seen[i];
        let close = |o: &&(usize, &Seen)| (o.1.time - s.time).micros().saturating_abs() <= WINDOW.micros();
        let before: Vec<_> = seen.iter().enumerate().take(i).rev().take_while(|o| close(&o)).collect();
        let after: Vec<_> = seen.iter().enumerate().skip(i + 1).take_while(|o| close(&o)).collect();
        // What moved for longer moved further: other intervals are measured as if they were as long as this one.
        let interval = |j: usize| if j == 0 { 1 } else { (seen[j].time - seen[j - 1].time).micros().max(1) };
        let own = interval(i) as f32;
        let scaled = |o: &(usize, &Seen)| o.1.change * (own / interval(o.0) as f32).clamp(1.0, 6.0);
        let moved = |o: &&(usize, &Seen)| o.1.change >= TWICE;
        let side = |side: &[(usize, &Seen)]| -> Vec<f32> {
            side.iter().take(REPEATS).filter(moved).take(2).map(scaled).collect()
        };
        let near = [side(&before), side(&after)].concat();
        let mut all: Vec<f32> = before.iter().chain(&after).map(scaled).collect();
        // Only what could rival it is looked at closely.
        let rival = |(j, o): &&(usize, &Seen)| *j > 0 && !(o.change > 0.8 * s.change && flash(seen, *j));
        let (mut peak, mut loudest) = (0.0f32, 0.0f32);
        for o in before.iter().chain(&after).filter(rival) {
            peak = peak.max(scaled(o));
            loudest = loudest.max(o.1.change);
        }
        all.sort_by(f32::total_cmp);
        Around {
            near: near.iter().sum::<f32>() / near.len().max(1) as f32,
            peak,
            loudest,
            quiet: all.get(all.len() / 2).copied().unwrap_or(0.0),
        }
    }
}

fn cut(s: &Seen, score: f32) -> Boundary {
    let (at, index) = s.step;
    Boundary { at, index, transition: Transition::Cut, from: at, to: at, score }
}
