//! Dissolves: between two unlike pictures every frame is a mix of both, the second's share growing steadily.
//!
//! Motion also leads steadily from one picture to another, so that alone says little. Two things tell them apart:
//! a mix of two pictures has less contrast than either, by an amount that follows from the shares alone, and moving
//! pictures do not; and a dissolve changes more than the shots on its either side, while motion goes on. What then
//! remains is held against motion itself: blocks that moved explain a pan, and not a mix.

use std::collections::VecDeque;

use super::seen::Seen;
use super::{Boundary, Transition};
use crate::time::Time;

/// The spans that are tried, in milliseconds.
const SPANS: [i64; 8] = [250, 350, 500, 700, 1_000, 1_400, 2_000, 2_600];
/// How much is looked at on either side of a dissolve.
pub const BESIDE: Time = Time::from_millis(500);
/// The longest stretch that one search looks at.
pub const REACH: Time = Time::from_millis(SPANS[SPANS.len() - 1] + 2 * BESIDE.millis());
/// Frames of a span that are looked at.
const SAMPLES: usize = 16;
/// Least frames in a span.
const FRAMES: usize = 6;
/// Greatest likeness of the two pictures.
const LIKENESS: f32 = 0.55;
/// Least distance of the two pictures, in 8-bit levels.
const DEPTH: f32 = 12.0;
/// Greatest mean distance from the line between the two pictures, in shares of its length.
const MISFIT: f32 = 0.75;
/// Coarse contrast (variance) without which there is no contrast to lose.
const CONTRAST: f32 = 36.0;
/// Least part of the change in the middle that moving blocks do not explain.
const UNMOVED: f32 = 0.68;
/// What the evidence has to sum to.
const ENOUGH: f32 = 0.9;

/// The dissolve that best explains the frames up to `b`, if any does. `oldest`: no frame before this is looked at.
pub fn ending_at(seen: &VecDeque<Seen>, b: usize, oldest: Time) -> Option<Boundary> {
    let second = seen.get(b)?;
    if second.flat || second.variance < CONTRAST {
        return None;
    }
    let mut best: Option<Boundary> = None;
    for span in SPANS {
        let from = second.time - Time::from_millis(span);
        if from < oldest || seen.front().is_none_or(|s| s.time > from) {
            break;
        }
        let a = seen.partition_point(|s| s.time < from);
        if b < a + FRAMES || seen[a].flat || seen[a].variance < CONTRAST {
            continue;
        }
        if let Some(found) = between(seen, a, b)
            && best.as_ref().is_none_or(|best| found.score > best.score)
        {
            best = Some(found);
        }
    }
    best
}

fn between(seen: &VecDeque<Seen>, a: usize, b: usize) -> Option<Boundary> {
    let (first, second) = (&seen[a], &seen[b]);
    let likeness = first.likeness(second);
    if likeness > LIKENESS {
        return None;
    }
    let depth = first.distance(second);
    if depth < DEPTH {
        return None;
    }
    let across = first.dot(second);
    let length = first.square_to(second, across);
    let start = first.dot(first);
    // ⟨z − a, b − a⟩ ⁄ |b − a|², and how far z is from that point of the line.
    let place = |z: &Seen| {
        let (to_first, to_second) = (z.dot(first), z.dot(second));
        let share = (to_second - to_first - across + start) / length;
        let misfit = (z.square_to(first, to_first) / length - share * share).max(0.0).sqrt();
        (share, misfit)
    };
    let covariance = first.covariance(second);
    let (mut misfit, mut fine, mut coarse, mut inner) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
    let mut shares = Vec::with_capacity(SAMPLES);
    let count = (b - a).min(SAMPLES);
    let mut last = (a, 0.0f32);
    for k in 1..count {
        let i = a + k * (b - a) / count;
        let z = &seen[i];
        if z.flat {
            return None;
        }
        let (share, off) = place(z);
        if share < last.1 - 0.2 || share > last.1 + 0.5 || !(-0.3..=1.3).contains(&share) {
            return None;
        }
        last = (i, share);
        shares.push(last);
        if !(0.2..=0.8).contains(&share) {
            continue;
        }
        // Contrast lost, where 0 is what motion loses and 1 what a mix does.
        let rest = 1.0 - share;
        let line = rest * first.energy + share * second.energy;
        let mix = rest * rest * first.energy + share * share * second.energy;
        fine += (line - z.energy) / (line - mix + 2.0);
        let line = rest * first.variance + share * second.variance;
        let mix = rest * rest * first.variance + share * share * second.variance + 2.0 * share * rest * covariance;
        coarse += (line - z.variance) / (line - mix + 4.0).max(4.0);
        misfit += off;
        inner += 1.0;
    }
    if inner < 2.0 || 1.0 - last.1 > 0.5 || misfit / inner > MISFIT {
        return None;
    }
    let (fine, coarse, misfit) = ((fine / inner).clamp(-0.3, 1.2), (coarse / inner).clamp(-0.3, 1.2), misfit / inner);
    // No need to look beside it where that could not help.
    let inside = fine + coarse - misfit - 0.5 * likeness.max(0.0) + 0.5 * (depth / 50.0).min(2.0);
    if inside < ENOUGH {
        return None;
    }
    let beside = (second.time - first.time).micros() / 2;
    let beside = Time::from_micros(beside.clamp(BESIDE.micros() / 2, BESIDE.micros()));
    let own = (seen.iter().skip(a + 1).take(b - a).map(|s| s.change).sum::<f32>() / (b - a) as f32).max(2.5);
    let mut early = a;
    while early > 0 && first.time - seen[early - 1].time <= beside && seen[early].change < 5.0 * own {
        early -= 1;
    }
    let mut late = b;
    while late + 1 < seen.len() && seen[late + 1].time - second.time <= beside && seen[late + 1].change < 5.0 * own {
        late += 1;
    }
    let moving = first.distance(&seen[early]).min(1.2 * depth) + second.distance(&seen[late]).min(1.2 * depth);
    let score = inside - moving / depth;
    if score < ENOUGH {
        return None;
    }
    let (before, after) = (a + (b - a) * 38 / 100, a + (b - a) * 62 / 100);
    if seen[before].unexplained_by_motion(&seen[after]) < UNMOVED {
        return None;
    }
    let crossing = |level: f32| shares.iter().find(|(_, share)| *share >= level).map(|(i, _)| *i);
    let (from, to) = (crossing(0.1).unwrap_or(a + 1) - 1, crossing(0.92).unwrap_or(b));
    // The first frame at which the second picture outweighs the first.
    let mut at = crossing(0.5)?;
    while at > a + 1 && place(&seen[at - 1]).0 >= 0.5 {
        at -= 1;
    }
    Some(Boundary {
        at: seen[at].time,
        index: seen[at].index,
        transition: Transition::Dissolve,
        from: seen[from.clamp(a, at)].time,
        to: seen[to.max(at)].time,
        score,
    })
}
