//! Hard cuts: a change that stands out from the changes around it, and that leads somewhere else.

use std::collections::VecDeque;

use super::seen::Seen;
use super::{Boundary, SceneOptions, Transition};
use crate::time::Time;

/// A cut is judged when this much of what follows has been seen.
pub const AFTER: Time = Time::from_millis(450);
/// A picture that comes back within this was only covered by a flash.
const FLASH: Time = Time::from_millis(350);
/// The neighbourhood in which a cut has to be the peak.
const WINDOW: Time = Time::from_millis(400);
/// Beyond this spacing frames have no neighbourhood: each is compared with the one before alone.
pub const SPARSE: Time = Time::from_millis(250);
/// Changes below this, in 8-bit levels, are a frame shown twice.
const TWICE: f32 = 0.3;
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
    let sure = ratio >= options.ratio && s.change >= 1.25 * around.peak;
    if !sure {
        // Two sharp changes that both lead elsewhere are two cuts; the ratio is lost to them, not the evidence.
        let sharp = s.change >= 2.0 * options.floor && likeness < 0.35 && s.change >= 0.8 * around.peak;
        if !sharp || s.change < 2.0 * options.ratio * around.quiet.max(1.0) {
            return None;
        }
    }
    if flash(seen, i) {
        return None;
    }
    Some(cut(s, ratio / options.ratio))
}

/// Whether the change at `i` only covers a picture that comes back, or is its coming back.
fn flash(seen: &VecDeque<Seen>, i: usize) -> bool {
    let (s, before) = (&seen[i], &seen[i - 1]);
    let same = |a: &Seen, b: &Seen| a.distance(b) < 0.5 * s.change && (a.likeness(b) > SAME || (a.flat && b.flat));
    seen.iter().skip(i + 1).take_while(|o| o.time - s.time <= FLASH).any(|o| same(before, o))
        || seen.iter().take(i - 1).rev().take_while(|o| s.time - o.time <= FLASH).any(|o| same(o, s))
}

/// The changes around one.
struct Around {
    /// Mean of the two on either side that are no repeated frames.
    near: f32,
    /// Largest within [`WINDOW`] that is no flash.
    peak: f32,
    /// Median within [`WINDOW`]: what the shots' own motion amounts to.
    quiet: f32,
}

impl Around {
    fn new(seen: &VecDeque<Seen>, i: usize) -> Around {
        let s = &seen[i];
        let close = |o: &&(usize, &Seen)| (o.1.time - s.time).micros().saturating_abs() <= WINDOW.micros();
        let moved = |o: &(usize, &Seen)| o.1.change >= TWICE;
        let before: Vec<_> = seen.iter().enumerate().take(i).rev().take_while(|o| close(&o)).filter(moved).collect();
        let after: Vec<_> = seen.iter().enumerate().skip(i + 1).take_while(|o| close(&o)).filter(moved).collect();
        let near: Vec<f32> = before.iter().take(2).chain(after.iter().take(2)).map(|o| o.1.change).collect();
        let mut all: Vec<f32> = before.iter().chain(&after).map(|o| o.1.change).collect();
        let peak = before
            .iter()
            .chain(&after)
            // Only what could rival it is looked at closely.
            .filter(|(j, o)| *j > 0 && !(o.change > 0.8 * s.change && flash(seen, *j)))
            .map(|o| o.1.change)
            .fold(0.0, f32::max);
        all.sort_by(f32::total_cmp);
        Around {
            near: near.iter().sum::<f32>() / near.len().max(1) as f32,
            peak,
            quiet: all.get(all.len() / 2).copied().unwrap_or(0.0),
        }
    }
}

fn cut(s: &Seen, score: f32) -> Boundary {
    let (at, index) = s.step;
    Boundary { at, index, transition: Transition::Cut, from: at, to: at, score }
}
