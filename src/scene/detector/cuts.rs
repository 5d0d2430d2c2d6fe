//! Hard cuts: a change that stands out from the changes around it, and that leads to another picture.

use std::collections::VecDeque;

use crate::scene::boundary::{Boundary, Transition};
use crate::scene::features::FrameFeatures;
use crate::scene::options::SceneOptions;
use crate::time::Time;

// Tuned on the clips of benches/scene_quality.py; see features.rs.

/// A cut is judged when this much of what follows is known: the longest flash, and some room.
pub(super) const AFTER: Time = Time::from_millis(500);
/// A picture that comes back within this time was only covered by a flash.
const FLASH: Time = Time::from_millis(450);
/// A cut is the largest change within this time on either side.
const WINDOW: Time = Time::from_millis(400);
/// Frames with a larger spacing have no neighbourhood: each is compared with the previous one alone.
const SPARSE: Time = Time::from_millis(250);
/// A smaller change, in 8-bit levels, means that a frame is shown twice.
const REPEATED: f32 = 0.3;
/// Frames on either side among which two that are no repeats are sought: animation is drawn on twos or threes.
const NEAR_FRAMES: usize = 4;
/// Two frames of a greater likeness show the same thing, whatever the light.
const SAME: f32 = 0.85;

/// The cut at frame `i`, if there is one.
pub(super) fn cut_at(frames: &VecDeque<FrameFeatures>, i: usize, options: &SceneOptions) -> Option<Boundary> {
    let (frame, before) = (frames.get(i)?, frames.get(i.checked_sub(1)?)?);
    // Dark and pale pictures change by less: half the floor is enough where nothing of the structure stays.
    let likeness = frame.likeness(before);
    let floor = options.floor * if likeness < 0.4 { 0.5 } else { 1.0 };
    if frame.change < floor {
        return None;
    }
    let both_flat = frame.flat && before.flat;
    if frame.time - before.time > SPARSE {
        let unlike = frame.change >= 1.5 * options.floor && (likeness < 0.6 || both_flat);
        return unlike.then(|| cut(frame, frame.change / options.floor));
    }
    // A picture that is only brighter or darker is the same scene. Another structure is a new one, and so is another
    // flat colour.
    if likeness > SAME && !both_flat {
        return None;
    }
    let around = Surroundings::new(frames, i);
    let ratio = frame.change / around.near.max(1.0);
    // At the very end, the neighbourhood is not complete: there the picture must clearly be another one.
    let sure = ratio >= options.ratio && frame.change >= 1.25 * around.peak && (i + 2 < frames.len() || likeness < 0.5);
    if !sure {
        // Two sharp changes in a row that both lead elsewhere are two cuts. They raise each other's surroundings, so
        // the ratio misses them, but the rest of the evidence is there.
        let sharp = frame.change >= 2.0 * options.floor
            && likeness < 0.35
            && frame.change >= 0.8 * around.peak
            && ratio >= 2.0
            && frame.change >= 2.0 * options.ratio * around.quiet.max(1.0);
        if !sharp && !separates(frames, i, &around) {
            return None;
        }
    }
    if is_flash(frames, i) {
        return None;
    }
    Some(cut(frame, ratio / options.ratio))
}

fn cut(frame: &FrameFeatures, score: f32) -> Boundary {
    let (at, index) = frame.step;
    Boundary::sudden(Transition::Cut, at, index, score)
}

/// Whether the pictures on either side of `i` are alike among themselves, and none is like one of the other side.
/// That is a cut between shots so busy that the change itself does not stand out. If only one side holds together,
/// the change must stand out a little. Motion must not explain it.
fn separates(frames: &VecDeque<FrameFeatures>, i: usize, around: &Surroundings) -> bool {
    if i < 3 || i + 3 > frames.len() {
        return false;
    }
    let before = [&frames[i - 1], &frames[i - 2], &frames[i - 3]];
    let after = [&frames[i], &frames[i + 1], &frames[i + 2]];
    let together = |side: &[&FrameFeatures; 3]| side[0].likeness(side[1]).min(side[1].likeness(side[2]));
    let (early, late) = (together(&before), together(&after));
    let stands_out = frames[i].change >= 1.6 * around.near.max(1.0) && frames[i].change >= 1.1 * around.loudest;
    let within = if stands_out { early.max(late) } else { early.min(late) };
    within >= 0.45
        && frames[i].change >= 1.1 * around.near
        && before.iter().all(|a| after.iter().all(|b| a.likeness(b) < 0.4 * within))
        && before[0].unexplained_by_motion(after[0]) > 0.6
}

/// Whether the change at `i` belongs to something that passes: the picture before it comes back soon, or the new one
/// was there just before.
fn is_flash(frames: &VecDeque<FrameFeatures>, i: usize) -> bool {
    let (frame, before) = (&frames[i], &frames[i - 1]);
    // Moving pictures do not come back quite the same: the likeness from frame to frame shows how much they differ.
    let own = if i > 1 { before.likeness(&frames[i - 2]) } else { 1.0 };
    for (lag, a) in frames.iter().take(i).rev().enumerate().take_while(|(_, a)| frame.time - a.time <= FLASH) {
        for (ahead, b) in frames.iter().skip(i + 1).enumerate().take_while(|(_, b)| b.time - a.time <= FLASH) {
            let same = SAME.min(own.max(0.0).powi((lag + ahead + 2) as i32)).max(0.6);
            if a.distance(b) < 0.5 * frame.change && (a.likeness(b) > same || (a.flat && b.flat)) {
                return true;
            }
        }
    }
    frames
        .iter()
        .take(i - 1)
        .rev()
        .take_while(|o| frame.time - o.time <= FLASH)
        .any(|o| o.distance(frame) < 0.5 * frame.change && (o.likeness(frame) > SAME || (o.flat && frame.flat)))
}

/// The changes around a frame.
struct Surroundings {
    /// Mean of the nearest two on either side that are no repeated frames.
    near: f32,
    /// The largest within [`WINDOW`] that is not a flash.
    peak: f32,
    /// The same, but as measured, whatever the interval between the frames.
    loudest: f32,
    /// Median within [`WINDOW`]: what the shots' own motion amounts to.
    quiet: f32,
}

impl Surroundings {
    fn new(frames: &VecDeque<FrameFeatures>, i: usize) -> Surroundings {
        let frame = &frames[i];
        let close = |o: &&(usize, &FrameFeatures)| (o.1.time - frame.time).micros().saturating_abs() <= WINDOW.micros();
        let before: Vec<_> = frames.iter().enumerate().take(i).rev().take_while(|o| close(&o)).collect();
        let after: Vec<_> = frames.iter().enumerate().skip(i + 1).take_while(|o| close(&o)).collect();
        // What moves for longer moves further: changes are scaled to the interval before this frame.
        let interval = |j: usize| if j == 0 { 1 } else { (frames[j].time - frames[j - 1].time).micros().max(1) };
        let own = interval(i) as f32;
        let scaled = |o: &(usize, &FrameFeatures)| o.1.change * (own / interval(o.0) as f32).clamp(1.0, 6.0);
        let moved = |o: &&(usize, &FrameFeatures)| o.1.change >= REPEATED;
        let side = |side: &[(usize, &FrameFeatures)]| -> Vec<f32> {
            side.iter().take(NEAR_FRAMES).filter(moved).take(2).map(scaled).collect()
        };
        let near = [side(&before), side(&after)].concat();
        let mut all: Vec<f32> = before.iter().chain(&after).map(scaled).collect();
        // Only a change that could rival this one is tested for a flash, which is expensive.
        let rival =
            |(j, o): &&(usize, &FrameFeatures)| *j > 0 && !(o.change > 0.8 * frame.change && is_flash(frames, *j));
        let (mut peak, mut loudest) = (0.0f32, 0.0f32);
        for o in before.iter().chain(&after).filter(rival) {
            peak = peak.max(scaled(o));
            loudest = loudest.max(o.1.change);
        }
        all.sort_by(f32::total_cmp);
        Surroundings {
            near: near.iter().sum::<f32>() / near.len().max(1) as f32,
            peak,
            loudest,
            quiet: all.get(all.len() / 2).copied().unwrap_or(0.0),
        }
    }
}
