//! Dissolves: between two unlike pictures, every frame is a mix of both, and the second one's share grows steadily.
//!
//! Motion also leads steadily from one picture to another, so a steady change alone proves little. Two things
//! distinguish them. A mix of two pictures has less contrast than either, by an amount that follows from the shares;
//! moving pictures do not. And a dissolve changes more than the shots on either side of it, while motion continues. A
//! change that passes both tests is compared with motion itself: shifted blocks explain a pan, but not a mix.

use std::collections::VecDeque;

use crate::scene::boundary::{Boundary, Transition};
use crate::scene::features::FrameFeatures;
use crate::time::Time;

// Tuned on the clips of benches/scene_quality.py; see features.rs.

/// The spans that are tried, in milliseconds, each about 1.4 times as long as the one before.
const SPANS: [i64; 8] = [250, 350, 500, 700, 1_000, 1_400, 2_000, 2_600];
/// How much of the shots on either side of a dissolve is compared with it.
pub(super) const BESIDE: Time = Time::from_millis(500);
/// The longest stretch that a search needs.
pub(super) const REACH: Time = Time::from_millis(SPANS[SPANS.len() - 1] + 2 * BESIDE.millis());
/// Most frames of a span that are examined.
const SAMPLES: usize = 16;
/// Fewest frames in a span.
const FRAMES: usize = 6;
/// Greatest likeness of the two pictures.
const LIKENESS: f32 = 0.55;
/// Least distance of the two pictures, in 8-bit levels.
const DEPTH: f32 = 12.0;
/// Greatest mean distance from the line between the two pictures, as a share of its length.
const MISFIT: f32 = 0.75;
/// Least coarse contrast (a variance) of either picture: with less there is none to lose.
const CONTRAST: f32 = 36.0;
/// Least share of the change in the middle that motion does not explain.
const UNMOVED: f32 = 0.68;
/// What the evidence must add up to.
const ENOUGH: f32 = 0.9;

/// The dissolve that best explains the frames up to frame `b`, if any does. No frame before `oldest` is used.
pub(super) fn ending_at(frames: &VecDeque<FrameFeatures>, b: usize, oldest: Time) -> Option<Boundary> {
    let second = frames.get(b)?;
    if second.flat || second.variance < CONTRAST {
        return None;
    }
    let mut best: Option<Boundary> = None;
    for span in SPANS {
        let from = second.time - Time::from_millis(span);
        if from < oldest || frames.front().is_none_or(|s| s.time > from) {
            break;
        }
        let a = frames.partition_point(|s| s.time < from);
        if b < a + FRAMES || frames[a].flat || frames[a].variance < CONTRAST {
            continue;
        }
        if let Some(found) = Mix::new(frames, a, b).and_then(|mix| mix.boundary())
            && best.as_ref().is_none_or(|best| found.score > best.score)
        {
            best = Some(found);
        }
    }
    best
}

/// Two unlike pictures, as the ends of a line on which the frames between them may lie.
struct Mix<'f> {
    frames: &'f VecDeque<FrameFeatures>,
    /// Positions of the two pictures.
    a: usize,
    b: usize,
    first: &'f FrameFeatures,
    second: &'f FrameFeatures,
    likeness: f32,
    /// Mean absolute difference of the two pictures.
    depth: f32,
    /// Dot product of the two pictures.
    across: f32,
    /// Squared length of the line.
    length: f32,
    /// Dot product of the first picture with itself.
    start: f32,
}

/// What the frames between the two pictures show.
struct MixEvidence {
    /// Position of each sample, and the second picture's share in it.
    shares: Vec<(usize, f32)>,
    /// Contrast lost: 0 is what motion loses, 1 what a mix loses. Fine contrast, then coarse.
    fine: f32,
    coarse: f32,
    /// Mean distance from the line, as a share of its length.
    misfit: f32,
}

impl<'f> Mix<'f> {
    /// The pictures at positions `a` and `b`, unless they are too much alike.
    fn new(frames: &'f VecDeque<FrameFeatures>, a: usize, b: usize) -> Option<Mix<'f>> {
        let (first, second) = (&frames[a], &frames[b]);
        let likeness = first.likeness(second);
        if likeness > LIKENESS {
            return None;
        }
        let depth = first.distance(second);
        if depth < DEPTH {
            return None;
        }
        let across = first.dot(second);
        let length = first.squared_distance(second, across);
        let start = first.dot(first);
        Some(Mix { frames, a, b, first, second, likeness, depth, across, length, start })
    }

    /// Where a frame lies: the share of the second picture, ⟨z − a, b − a⟩ ⁄ |b − a|², and the distance from that
    /// point of the line.
    fn place(&self, z: &FrameFeatures) -> (f32, f32) {
        let (to_first, to_second) = (z.dot(self.first), z.dot(self.second));
        let share = (to_second - to_first - self.across + self.start) / self.length;
        let misfit = (z.squared_distance(self.first, to_first) / self.length - share * share).max(0.0).sqrt();
        (share, misfit)
    }

    /// The dissolve between the two pictures, if there is one.
    fn boundary(&self) -> Option<Boundary> {
        let evidence = self.evidence()?;
        let inside = evidence.fine + evidence.coarse - evidence.misfit - 0.5 * self.likeness.max(0.0)
            + 0.5 * (self.depth / 50.0).min(2.0);
        // The shots beside it only lower the score.
        if inside < ENOUGH {
            return None;
        }
        let score = inside - self.motion_beside() / self.depth;
        if score < ENOUGH {
            return None;
        }
        let (frames, a, b) = (self.frames, self.a, self.b);
        let (before, after) = (a + (b - a) * 38 / 100, a + (b - a) * 62 / 100);
        if frames[before].unexplained_by_motion(&frames[after]) < UNMOVED {
            return None;
        }
        let crossing = |level: f32| evidence.shares.iter().find(|(_, share)| *share >= level).map(|(i, _)| *i);
        let (from, to) = (crossing(0.1).unwrap_or(a + 1) - 1, crossing(0.92).unwrap_or(b));
        // The first frame in which the second picture outweighs the first, which may lie between two samples.
        let mut at = crossing(0.5)?;
        while at > a + 1 && self.place(&frames[at - 1]).0 >= 0.5 {
            at -= 1;
        }
        Some(Boundary {
            at: frames[at].time,
            index: frames[at].index,
            transition: Transition::Dissolve,
            from: frames[from.clamp(a, at)].time,
            to: frames[to.max(at)].time,
            score,
        })
    }

    /// Examines samples of the frames in between. `None` if shares do not grow steadily or frames are off the line.
    fn evidence(&self) -> Option<MixEvidence> {
        let (frames, a, b) = (self.frames, self.a, self.b);
        let (first, second) = (self.first, self.second);
        let covariance = first.covariance(second);
        let (mut misfit, mut fine, mut coarse, mut inner) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
        let mut shares = Vec::with_capacity(SAMPLES);
        let count = (b - a).min(SAMPLES);
        let mut last = (a, 0.0f32);
        for k in 1..count {
            let i = a + k * (b - a) / count;
            let z = &frames[i];
            if z.flat {
                return None;
            }
            let (share, off) = self.place(z);
            if share < last.1 - 0.2 || share > last.1 + 0.5 || !(-0.3..=1.3).contains(&share) {
                return None;
            }
            last = (i, share);
            shares.push(last);
            // Near the ends there is too little contrast to lose.
            if !(0.2..=0.8).contains(&share) {
                continue;
            }
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
        let lost = |contrast: f32| (contrast / inner).clamp(-0.3, 1.2);
        Some(MixEvidence { shares, fine: lost(fine), coarse: lost(coarse), misfit: misfit / inner })
    }

    /// How much the shots on either side move: the distance from each picture to a frame further out.
    fn motion_beside(&self) -> f32 {
        let (frames, a, b) = (self.frames, self.a, self.b);
        let (first, second) = (self.first, self.second);
        let beside = (second.time - first.time).micros() / 2;
        let beside = Time::from_micros(beside.clamp(BESIDE.micros() / 2, BESIDE.micros()));
        // A change far above the dissolve's own is a cut: beyond it is another shot.
        let own = (frames.iter().skip(a + 1).take(b - a).map(|s| s.change).sum::<f32>() / (b - a) as f32).max(2.5);
        let mut early = a;
        while early > 0 && first.time - frames[early - 1].time <= beside && frames[early].change < 5.0 * own {
            early -= 1;
        }
        let mut late = b;
        while late + 1 < frames.len()
            && frames[late + 1].time - second.time <= beside
            && frames[late + 1].change < 5.0 * own
        {
            late += 1;
        }
        first.distance(&frames[early]).min(1.2 * self.depth) + second.distance(&frames[late]).min(1.2 * self.depth)
    }
}
