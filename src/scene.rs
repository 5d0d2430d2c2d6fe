//! Scene changes: thumbs in, boundaries out.
//!
//! Owns a look-back of about three seconds ([`MAX_HELD`] thumbs at most, whatever the frame rate), so a boundary is
//! told a little after it was seen, never out of order, and always before any thumb older than
//! [`SceneDetector::horizon`] is forgotten.
//!
//! Four rules, each on the 64×36 block means:
//!
//! * **Cut**: the change from the frame before is `ratio` times the mean change around it (PySceneDetect's
//!   AdaptiveDetector, whose ratio 3 and floor are the defaults), it is the peak of its neighbourhood, and the
//!   structure changes with it: a picture that only became brighter still correlates with the one before.
//! * **Flash**: where the picture before comes back within [`FLASH`], nothing happened.
//! * **Fade**: contrast falls to nothing and another picture rises from it. The boundary stands where the new one
//!   becomes visible; a flat stretch as long as a scene is a scene.
//! * **Dissolve**: between two unlike pictures every frame is a mix of both, with the share of the second growing
//!   steadily. A mix of two pictures has less contrast than either; a pan, which also changes steadily, has not. That
//!   tells them apart even where both shots move.

use std::collections::VecDeque;

use crate::frame::{THUMB_HEIGHT, THUMB_WIDTH, Thumb};
use crate::time::Time;

/// How scene changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// Cuts against their neighbourhood, flashes, fades and dissolves.
    Adaptive,
    /// A fixed threshold on the mean HSV change from frame to frame, as PySceneDetect's ContentDetector.
    Content,
    /// No detection: a boundary every `interval`.
    Fixed,
}

#[derive(Debug, Clone)]
pub struct SceneOptions {
    /// Default: adaptive.
    pub detector: Detector,
    /// Adaptive: change over the mean change around it. Default: 3.0 (PySceneDetect).
    pub ratio: f32,
    /// Adaptive: least change that can be a cut, in 8-bit levels. Default: 12.
    pub floor: f32,
    /// Content: least mean HSV change, of 255. Default: 27 (PySceneDetect).
    pub threshold: f32,
    /// Fixed: time between boundaries. Default: 5 s.
    pub interval: Time,
    /// Shortest scene; a boundary sooner after the last one is not told. Default: 0.6 s (PySceneDetect).
    pub min_scene: Time,
}

impl Default for SceneOptions {
    fn default() -> Self {
        SceneOptions {
            detector: Detector::Adaptive,
            ratio: 3.0,
            floor: 12.0,
            threshold: 27.0,
            interval: Time::from_millis(5_000),
            min_scene: Time::from_millis(600),
        }
    }
}

/// How one scene becomes the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The first scene has none.
    Start,
    Cut,
    Fade,
    Dissolve,
    /// No change of scene: a long shot is looked at again.
    Gap,
}

impl Transition {
    pub fn name(self) -> &'static str {
        match self {
            Transition::Start => "start",
            Transition::Cut => "cut",
            Transition::Fade => "fade",
            Transition::Dissolve => "dissolve",
            Transition::Gap => "gap",
        }
    }
}

/// Where a new scene starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// Time of the new scene's first frame; in a dissolve, the first frame of which it has the larger share.
    pub at: Time,
    /// Ordinal of that frame.
    pub index: u64,
    pub transition: Transition,
    /// The transition runs from here …
    pub from: Time,
    /// … up to here (all three are one for a cut). No frame in between stands for a scene.
    pub to: Time,
    /// How sure: change over threshold for cuts, depth of the change for the others.
    pub score: f32,
}

/// Most thumbs held, whatever the frame rate.
pub const MAX_HELD: usize = 256;
/// How long is looked back.
pub const LOOK_BACK: Time = Time::from_millis(3_000);
/// A picture that comes back within this was only covered by a flash.
pub const FLASH: Time = Time::from_millis(350);
/// A cut is judged when this much of what follows has been seen.
const AFTER_CUT: Time = Time::from_millis(400);
/// Beyond this spacing frames have no neighbourhood, and changes between them are all cuts.
const SPARSE: Time = Time::from_millis(250);
/// Dissolves are sought over these spans.
const SPANS: [i64; 7] = [300, 450, 700, 1_000, 1_400, 2_000, 2_600];
/// A better fit for the same dissolve may come this long after the first.
const SETTLE: Time = Time::from_millis(450);
/// Luma deviation, in 8-bit levels, under which a picture shows nothing.
pub const FLAT: f32 = 4.0;

const CW: usize = THUMB_WIDTH / 2;
const CH: usize = THUMB_HEIGHT / 2;
const COMPACT: usize = CW * CH + 2 * (CW / 2) * (CH / 2);

/// What is remembered of a thumb.
struct Seen {
    time: Time,
    index: u64,
    /// Mean absolute change of luma, and of chroma at half weight, from the thumb before.
    change: f32,
    hsv_change: f32,
    deviation: f32,
    compact: Box<[f32; COMPACT]>,
}

impl Seen {
    fn flat(&self) -> bool {
        self.deviation < FLAT
    }
}

/// Finds boundaries; see the module.
pub struct SceneDetector {
    options: SceneOptions,
    seen: VecDeque<Seen>,
    last_thumb: Option<Thumb>,
    last_boundary: Option<Time>,
    /// Thumbs up to this ordinal have been judged as cuts.
    judged: Option<u64>,
    /// The best dissolve so far, waiting for a better one.
    dissolve: Option<(Boundary, f32, Time)>,
    last_search: Option<Time>,
    flat_since: Option<Flat>,
    next_fixed: Option<Time>,
}

/// A flat stretch under way.
struct Flat {
    start: Time,
    index: u64,
    /// The last picture before it, and since when that was fading.
    before: Option<(Box<[f32; COMPACT]>, Time)>,
    told: bool,
}

impl SceneDetector {
    pub fn new(options: &SceneOptions) -> SceneDetector {
        SceneDetector {
            options: options.clone(),
            seen: VecDeque::new(),
            last_thumb: None,
            last_boundary: None,
            judged: None,
            dissolve: None,
            last_search: None,
            flat_since: None,
            next_fixed: None,
        }
    }

    /// No boundary earlier than this will be told any more.
    pub fn horizon(&self) -> Time {
        match (self.options.detector, self.seen.back()) {
            (_, None) => Time::ZERO,
            (Detector::Adaptive, Some(s)) => s.time - LOOK_BACK,
            (_, Some(s)) => s.time,
        }
    }

    /// Takes the next thumb, in presentation order; returns the boundaries that are sure by now, in order.
    pub fn push(&mut self, thumb: &Thumb) -> Vec<Boundary> {
        let mut out = Vec::new();
        let seen = self.look(thumb);
        self.last_thumb = Some(thumb.clone());
        let (time, index) = (seen.time, seen.index);
        if self.seen.is_empty() {
            self.last_boundary = Some(time);
        }
        let content = seen.hsv_change;
        self.seen.push_back(seen);
        match self.options.detector {
            Detector::Content => {
                if content >= self.options.threshold {
                    let score = content / self.options.threshold.max(1e-3);
                    self.tell(&mut out, cut(time, index, score));
                }
            }
            Detector::Fixed => {
                let interval = self.options.interval.max(Time::from_millis(1));
                let due = *self.next_fixed.get_or_insert(time + interval);
                if time >= due {
                    self.next_fixed = Some((due + interval).max(time));
                    let b = Boundary { transition: Transition::Gap, ..cut(time, index, 1.0) };
                    self.last_boundary = Some(b.at);
                    out.push(b);
                }
            }
            Detector::Adaptive => self.adaptive(&mut out, false),
        }
        self.forget();
        out
    }

    /// The boundaries that were still waiting for what follows.
    pub fn finish(&mut self) -> Vec<Boundary> {
        let mut out = Vec::new();
        if self.options.detector == Detector::Adaptive {
            self.adaptive(&mut out, true);
        }
        out
    }

    fn forget(&mut self) {
        let keep = if self.options.detector == Detector::Adaptive { self.horizon() } else { Time::MAX };
        while self.seen.len() > MAX_HELD || (self.seen.len() > 2 && self.seen.front().is_some_and(|s| s.time < keep)) {
            self.seen.pop_front();
        }
    }

    fn look(&self, thumb: &Thumb) -> Seen {
        let (change, hsv_change) = match &self.last_thumb {
            Some(last) => {
                let luma = mean_difference(&last.y, &thumb.y);
                let chroma = mean_difference(&last.u, &thumb.u) + mean_difference(&last.v, &thumb.v);
                let content = self.options.detector == Detector::Content;
                (luma + 0.5 * chroma, if content { hsv_difference(last, thumb) } else { 0.0 })
            }
            None => (0.0, 0.0),
        };
        let n = thumb.y.len().max(1) as f32;
        let mean = thumb.y.iter().map(|&v| f32::from(v)).sum::<f32>() / n;
        let variance = thumb.y.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>() / n;
        Seen {
            time: thumb.time,
            index: thumb.index,
            change,
            hsv_change,
            deviation: variance.sqrt(),
            compact: compact(thumb),
        }
    }

    /// Tells a boundary unless it comes too soon after the last.
    fn tell(&mut self, out: &mut Vec<Boundary>, b: Boundary) {
        if self.last_boundary.is_none_or(|last| b.at - last >= self.options.min_scene) {
            self.last_boundary = Some(b.at);
            out.push(b);
        }
    }

    fn adaptive(&mut self, out: &mut Vec<Boundary>, end: bool) {
        let Some(now) = self.seen.back().map(|s| s.time) else { return };
        // Cuts whose surroundings are known by now, oldest first.
        let first = self.judged;
        let mut due: Vec<usize> = Vec::new();
        for (i, s) in self.seen.iter().enumerate() {
            if first.is_none_or(|j| s.index > j) && (end || now - s.time >= AFTER_CUT) {
                due.push(i);
            }
        }
        for i in due {
            self.judged = Some(self.seen[i].index);
            let told = self.fade(i, out);
            if !told && let Some(b) = self.cut_at(i) {
                self.flush_dissolve(out, Some(b.at));
                self.tell(out, b);
            }
        }
        if let Some((_, _, found)) = &self.dissolve
            && (end || now - *found >= SETTLE)
        {
            self.flush_dissolve(out, None);
        }
        let every = Time::from_millis(80);
        if !end && self.last_search.is_none_or(|t| now - t >= every) {
            self.last_search = Some(now);
            self.search_dissolve();
        }
        if end {
            self.search_dissolve();
            self.flush_dissolve(out, None);
            if let Some(flat) = self.flat_since.take()
                && !flat.told
                && flat.before.is_some()
                && now - flat.start >= self.options.min_scene
            {
                self.tell(out, fade(flat.start, flat.index, flat.before.map_or(flat.start, |b| b.1), flat.start));
            }
        }
    }

    fn flush_dissolve(&mut self, out: &mut Vec<Boundary>, before: Option<Time>) {
        if let Some((b, _, _)) = self.dissolve.take()
            && before.is_none_or(|t| b.to <= t)
        {
            self.tell(out, b);
        }
    }

    /// Flat stretches: returns whether this thumb belongs to one, or is the first after one.
    fn fade(&mut self, i: usize, out: &mut Vec<Boundary>) -> bool {
        let s = &self.seen[i];
        let (time, index) = (s.time, s.index);
        if s.flat() {
            if self.flat_since.is_none() {
                let before = (i > 0).then(|| {
                    let p = self.fading_from(i);
                    (self.seen[p].compact.clone(), self.seen[p].time)
                });
                self.flat_since = Some(Flat { start: time, index, before, told: false });
            }
            let min = self.options.min_scene;
            if let Some(flat) = &mut self.flat_since
                && !flat.told
                && let Some((_, from)) = &flat.before
                && time - flat.start >= min
            {
                flat.told = true;
                let b = fade(flat.start, flat.index, *from, flat.start);
                self.flush_dissolve(out, Some(b.from));
                self.tell(out, b);
            }
            return true;
        }
        let Some(flat) = self.flat_since.take() else { return false };
        // The new picture, once it has risen: contrast grows until it stops growing, for a second at most.
        let mut j = i;
        while j + 1 < self.seen.len()
            && self.seen[j + 1].time - time < Time::from_millis(1_000)
            && self.seen[j + 1].deviation > self.seen[j].deviation * 1.01
        {
            j += 1;
        }
        let to = if j == i { time } else { self.seen[j].time };
        match &flat.before {
            None if time - flat.start >= self.options.min_scene => {
                self.tell(out, fade(time, index, flat.start, to));
            }
            None => {}
            Some((before, from)) => {
                let same = correlation(before, &self.seen[j].compact) > 0.8;
                if !same || flat.told {
                    let b = fade(time, index, if flat.told { flat.start } else { *from }, to);
                    self.flush_dissolve(out, Some(b.from));
                    self.tell(out, b);
                }
            }
        }
        true
    }

    /// Position of the last full picture before a flat one at `i`: contrast falls steadily from there.
    fn fading_from(&self, i: usize) -> usize {
        let mut p = i - 1;
        while p > 0
            && self.seen[i].time - self.seen[p - 1].time < Time::from_millis(1_500)
            && self.seen[p - 1].deviation > self.seen[p].deviation * 1.005
        {
            p -= 1;
        }
        p
    }

    fn cut_at(&self, i: usize) -> Option<Boundary> {
        if i == 0 {
            return None;
        }
        let (s, before) = (&self.seen[i], &self.seen[i - 1]);
        if s.change < self.options.floor {
            return None;
        }
        let likeness = correlation(&before.compact, &s.compact);
        if s.time - before.time > SPARSE {
            let unlike = s.change >= 1.5 * self.options.floor && likeness < 0.6;
            return unlike.then(|| cut(s.time, s.index, s.change / self.options.floor));
        }
        let window = Time::from_millis(400);
        let (mut peak, mut near, mut n) = (0.0f32, 0.0f32, 0);
        for (j, o) in self.seen.iter().enumerate() {
            let distance = if o.time > s.time { o.time - s.time } else { s.time - o.time };
            if j == i || distance > window {
                continue;
            }
            // The way back from a flash at the cut itself is no rival to it.
            peak = peak.max(o.change);
            if j.abs_diff(i) <= 2 {
                near += o.change;
                n += 1;
            }
        }
        let mean = if n > 0 { near / n as f32 } else { 0.0 };
        let ratio = s.change / mean.max(1.0);
        if ratio < self.options.ratio || s.change < 1.25 * peak {
            // Two changes that are both sharp and both lead elsewhere are two cuts; only the ratio is lost to them.
            let sharp = s.change >= 2.5 * self.options.floor && likeness < 0.35 && s.change >= 0.9 * peak && {
                let rest = self.quiet_change(i);
                s.change >= 2.0 * self.options.ratio * rest.max(1.0)
            };
            if !sharp {
                return None;
            }
        }
        // Brighter or darker is not another scene; only unlike structure is, or quite another colour.
        if likeness > 0.85 {
            return None;
        }
        // The picture before comes back: a flash, or something that passed close by.
        for o in self.seen.iter().skip(i + 1) {
            if o.time - s.time > FLASH {
                break;
            }
            if correlation(&before.compact, &o.compact) > 0.85 && distance(&before.compact, &o.compact) < 0.5 * s.change
            {
                return None;
            }
        }
        // … and this is it coming back.
        for o in self.seen.iter().take(i - 1).rev() {
            if s.time - o.time > FLASH {
                break;
            }
            if correlation(&o.compact, &s.compact) > 0.85 && distance(&o.compact, &s.compact) < 0.5 * s.change {
                return None;
            }
        }
        Some(cut(s.time, s.index, ratio / self.options.ratio))
    }

    /// Median change around a thumb: what the shot's own motion amounts to.
    fn quiet_change(&self, i: usize) -> f32 {
        let s = &self.seen[i];
        let mut all: Vec<f32> = self
            .seen
            .iter()
            .enumerate()
            .filter(|(j, o)| *j != i && (o.time - s.time).micros().abs() <= 500_000)
            .map(|(_, o)| o.change)
            .collect();
        all.sort_by(f32::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    }

    /// Looks for a dissolve that has just ended; keeps the best.
    fn search_dissolve(&mut self) {
        let last = self.seen.len().wrapping_sub(1);
        let Some(b) = self.seen.back() else { return };
        if b.flat() {
            return;
        }
        let now = b.time;
        for span in SPANS {
            let from = now - Time::from_millis(span);
            if self.last_boundary.is_some_and(|t| from < t) || self.seen.front().is_none_or(|s| s.time > from) {
                break;
            }
            let a = self.seen.partition_point(|s| s.time < from);
            if last - a < 5 || self.seen[a].flat() {
                continue;
            }
            if let Some((boundary, score)) = self.mix(a, last)
                && self.dissolve.as_ref().is_none_or(|(_, best, _)| score > *best)
            {
                let found = self.dissolve.as_ref().map_or(now, |(_, _, found)| *found);
                self.dissolve = Some((boundary, score, found));
            }
        }
    }

    /// Whether the thumbs from `a` to `b` are mixes of those two, the second's share growing from 0 to 1.
    fn mix(&self, a: usize, b: usize) -> Option<(Boundary, f32)> {
        let (first, second) = (&self.seen[a], &self.seen[b]);
        if correlation(&first.compact, &second.compact) > 0.55 {
            return None;
        }
        let depth = distance(&first.compact, &second.compact);
        if depth < 10.0 {
            return None;
        }
        let (pa, pb) = (&first.compact, &second.compact);
        let norm: f32 = pa.iter().zip(pb.iter()).map(|(x, y)| (y - x) * (y - x)).sum();
        let (va, vb, cov) = (variance(pa), variance(pb), covariance(pa, pb));
        let count = (b - a - 1).min(14);
        let mut shares: Vec<(usize, f32)> = Vec::with_capacity(count);
        let (mut worst, mut contrast, mut inner) = (0.0f32, 0.0f32, 0);
        for k in 0..count {
            let i = a + 1 + k * (b - a - 1) / count;
            let x = &self.seen[i];
            let p = &x.compact;
            if x.flat() {
                return None;
            }
            let share = pa.iter().zip(pb.iter()).zip(p.iter()).map(|((x, y), z)| (z - x) * (y - x)).sum::<f32>() / norm;
            let residual = (pa
                .iter()
                .zip(pb.iter())
                .zip(p.iter())
                .map(|((x, y), z)| (z - x - share * (y - x)).powi(2))
                .sum::<f32>()
                / norm)
                .sqrt();
            worst = worst.max(residual);
            if (0.25..=0.75).contains(&share) {
                let expected = (1.0 - share).powi(2) * va + share.powi(2) * vb + 2.0 * share * (1.0 - share) * cov;
                contrast += variance(p) / expected.max(1.0);
                inner += 1;
            }
            shares.push((i, share));
        }
        if worst > 0.5 || inner < 2 || contrast / inner as f32 > 1.3 {
            return None;
        }
        let mut last = 0.0f32;
        for &(_, share) in &shares {
            if share < last - 0.12 || share - last > 0.45 || !(-0.25..=1.25).contains(&share) {
                return None;
            }
            last = last.max(share);
        }
        if 1.0 - last > 0.4 {
            return None;
        }
        let crossing = |level: f32| shares.iter().find(|(_, s)| *s >= level).map(|(i, _)| *i);
        let (from, to) = (crossing(0.08).unwrap_or(a), crossing(0.92).unwrap_or(b));
        // The exact frame at which the second picture has the larger share.
        let coarse = crossing(0.5)?;
        let mut at = coarse;
        for i in (a + 1..=coarse).rev() {
            let p = &self.seen[i].compact;
            let share = pa.iter().zip(pb.iter()).zip(p.iter()).map(|((x, y), z)| (z - x) * (y - x)).sum::<f32>() / norm;
            if share < 0.5 {
                break;
            }
            at = i;
        }
        let boundary = Boundary {
            at: self.seen[at].time,
            index: self.seen[at].index,
            transition: Transition::Dissolve,
            from: self.seen[from.min(at).saturating_sub(1).max(a)].time,
            to: self.seen[to.max(at)].time,
            score: depth / 10.0,
        };
        Some((boundary, depth * (1.0 - worst)))
    }
}

fn cut(at: Time, index: u64, score: f32) -> Boundary {
    Boundary { at, index, transition: Transition::Cut, from: at, to: at, score }
}

fn fade(at: Time, index: u64, from: Time, to: Time) -> Boundary {
    Boundary { at, index, transition: Transition::Fade, from: from.min(at), to: to.max(at), score: 1.0 }
}

fn mean_difference(a: &[u8], b: &[u8]) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(&x, &y)| u32::from(x.abs_diff(y))).sum();
    sum as f32 / a.len().max(1) as f32
}

/// Mean over hue (0–180, as OpenCV), saturation and value of the absolute change: ContentDetector's score.
fn hsv_difference(a: &Thumb, b: &Thumb) -> f32 {
    let mut sum = 0.0;
    for i in 0..a.y.len() {
        let (p, q) = (hsv(a.y[i], a.u[i], a.v[i]), hsv(b.y[i], b.u[i], b.v[i]));
        sum += (p.0 - q.0).abs() + (p.1 - q.1).abs() + (p.2 - q.2).abs();
    }
    sum / (3 * a.y.len().max(1)) as f32
}

fn hsv(y: u8, u: u8, v: u8) -> (f32, f32, f32) {
    let (y, u, v) = (f32::from(y), f32::from(u) - 128.0, f32::from(v) - 128.0);
    let r = (y + 1.402 * v).clamp(0.0, 255.0);
    let g = (y - 0.344_14 * u - 0.714_14 * v).clamp(0.0, 255.0);
    let b = (y + 1.772 * u).clamp(0.0, 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let span = max - min;
    if span <= f32::EPSILON {
        return (0.0, 0.0, max);
    }
    let hue = if max == r {
        60.0 * (g - b) / span
    } else if max == g {
        120.0 + 60.0 * (b - r) / span
    } else {
        240.0 + 60.0 * (r - g) / span
    };
    (hue.rem_euclid(360.0) / 2.0, 255.0 * span / max, max)
}

/// Luma at half the thumb's size and chroma at a quarter, as one vector; chroma at half weight.
fn compact(t: &Thumb) -> Box<[f32; COMPACT]> {
    let mut out = Box::new([0.0; COMPACT]);
    let mut at = 0;
    for (plane, cell, weight) in [(&t.y, 2, 1.0), (&t.u, 4, 0.5), (&t.v, 4, 0.5)] {
        for by in 0..THUMB_HEIGHT / cell {
            for bx in 0..THUMB_WIDTH / cell {
                let mut sum = 0u32;
                for y in 0..cell {
                    let row = (by * cell + y) * THUMB_WIDTH + bx * cell;
                    sum += plane.get(row..row + cell).unwrap_or_default().iter().map(|&v| u32::from(v)).sum::<u32>();
                }
                out[at] = weight * sum as f32 / (cell * cell) as f32;
                at += 1;
            }
        }
    }
    out
}

/// Of the luma part only: chroma says little where everything is grey.
fn luma(p: &[f32; COMPACT]) -> &[f32] {
    &p[..CW * CH]
}

fn mean(p: &[f32]) -> f32 {
    p.iter().sum::<f32>() / p.len() as f32
}

fn variance(p: &[f32; COMPACT]) -> f32 {
    let m = mean(luma(p));
    luma(p).iter().map(|v| (v - m) * (v - m)).sum::<f32>() / luma(p).len() as f32
}

fn covariance(a: &[f32; COMPACT], b: &[f32; COMPACT]) -> f32 {
    let (ma, mb) = (mean(luma(a)), mean(luma(b)));
    luma(a).iter().zip(luma(b)).map(|(x, y)| (x - ma) * (y - mb)).sum::<f32>() / luma(a).len() as f32
}

/// Of luma structure, −1 … 1; two flat pictures are alike.
fn correlation(a: &[f32; COMPACT], b: &[f32; COMPACT]) -> f32 {
    let spread = (variance(a) * variance(b)).sqrt();
    if spread < 1.0 {
        return if variance(a) < 1.0 && variance(b) < 1.0 { 1.0 } else { 0.0 };
    }
    covariance(a, b) / spread
}

/// Mean absolute difference, on the scale of `Seen::change`.
fn distance(a: &[f32; COMPACT], b: &[f32; COMPACT]) -> f32 {
    let n = CW * CH;
    let part = |r: std::ops::Range<usize>| a[r.clone()].iter().zip(&b[r]).map(|(x, y)| (x - y).abs()).sum::<f32>();
    part(0..n) / n as f32 + part(n..COMPACT) / ((COMPACT - n) / 2) as f32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A textured picture of its own for each seed, moved by `shift` blocks.
    pub(crate) fn picture(seed: u32, shift: f32) -> Vec<f32> {
        let mut out = vec![0.0; THUMB_WIDTH * THUMB_HEIGHT];
        for (i, v) in out.iter_mut().enumerate() {
            let (x, y) = ((i % THUMB_WIDTH) as f32 + shift, (i / THUMB_WIDTH) as f32);
            let s = seed as f32;
            *v = 128.0
                + 40.0 * ((x * (0.11 + 0.07 * (s % 3.0))) + s * 1.7).sin()
                + 35.0 * ((y * (0.17 + 0.05 * (s % 5.0))) + x * 0.05 * s + s).cos()
                + 25.0 * ((x * 0.31 + y * 0.23 * (s % 2.0) + s * s).sin());
        }
        out
    }

    pub(crate) fn thumb(time_ms: i64, index: u64, luma: &[f32]) -> Thumb {
        let n = THUMB_WIDTH * THUMB_HEIGHT;
        Thumb {
            time: Time::from_millis(time_ms),
            index,
            y: luma.iter().map(|v| v.clamp(0.0, 255.0) as u8).collect(),
            u: vec![128; n],
            v: vec![128; n],
            sharpness: 5.0,
        }
    }

    fn run(frames: impl IntoIterator<Item = Vec<f32>>) -> Vec<Boundary> {
        let mut d = SceneDetector::new(&SceneOptions::default());
        let mut out = Vec::new();
        for (i, f) in frames.into_iter().enumerate() {
            out.extend(d.push(&thumb(i as i64 * 40, i as u64, &f)));
            assert!(d.seen.len() <= MAX_HELD);
        }
        out.extend(d.finish());
        out
    }

    fn blend(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
        a.iter().zip(b).map(|(x, y)| x * (1.0 - share) + y * share).collect()
    }

    #[test]
    fn cut_is_found_on_its_frame() {
        let b = run((0..100).map(|i| picture(if i < 50 { 1 } else { 4 }, i as f32 * 0.1)));
        assert_eq!(b.iter().map(|b| (b.index, b.transition)).collect::<Vec<_>>(), [(50, Transition::Cut)]);
    }

    #[test]
    fn flash_is_no_cut() {
        let b = run((0..100).map(|i| {
            let p = picture(1, i as f32 * 0.1);
            if (50..53).contains(&i) { p.iter().map(|v| v * 0.2 + 200.0).collect() } else { p }
        }));
        assert_eq!(b, []);
        let b = run((0..100).map(|i| if (50..53).contains(&i) { vec![250.0; 2304] } else { picture(2, 0.0) }));
        assert_eq!(b, []);
    }

    #[test]
    fn dissolve_is_found_in_its_middle() {
        for length in [8, 15, 25, 50] {
            let b = run((0..150).map(|i| {
                let share = ((i - 60) as f32 / length as f32).clamp(0.0, 1.0);
                blend(&picture(1, i as f32 * 0.05), &picture(4, i as f32 * 0.05), share)
            }));
            assert_eq!(b.len(), 1, "{length}: {b:?}");
            assert_eq!(b[0].transition, Transition::Dissolve);
            let middle = 60 + length as u64 / 2;
            assert!(b[0].index.abs_diff(middle) <= 3, "{length}: {b:?}");
        }
    }

    #[test]
    fn fade_through_black_is_one_boundary_where_the_new_picture_shows() {
        let b = run((0..150).map(|i| {
            let (p, gain) = if i < 70 {
                (picture(1, 0.0), ((65 - i) as f32 / 20.0).clamp(0.0, 1.0))
            } else {
                (picture(4, 0.0), ((i - 75) as f32 / 20.0).clamp(0.0, 1.0))
            };
            p.iter().map(|v| v * gain).collect()
        }));
        assert_eq!(b.len(), 1, "{b:?}");
        assert_eq!(b[0].transition, Transition::Fade);
        assert!((75..=80).contains(&b[0].index), "{b:?}");
    }

    #[test]
    fn a_long_black_stretch_is_a_scene() {
        let b = run((0..150)
            .map(|i| if (50..100).contains(&i) { vec![0.0; 2304] } else { picture(if i < 50 { 1 } else { 4 }, 0.0) }));
        assert_eq!(b.iter().map(|b| b.index).collect::<Vec<_>>(), [50, 100]);
    }

    #[test]
    fn pan_and_noise_are_not_cuts() {
        assert_eq!(run((0..150).map(|i| picture(3, i as f32 * 1.5))), []);
        let mut state = 1u32;
        let noise = (0..150).map(|_| {
            picture(2, 0.0)
                .iter()
                .map(|v| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    v + (state >> 24) as f32 * 0.3 - 38.0
                })
                .collect()
        });
        assert_eq!(run(noise.collect::<Vec<_>>()), []);
    }

    #[test]
    fn never_panics_on_odd_clocks() {
        let mut d = SceneDetector::new(&SceneOptions::default());
        for (i, t) in [0, 0, -500, 10, i64::MAX / 2000, 3, 3].into_iter().enumerate() {
            d.push(&thumb(t, i as u64, &picture(i as u32, 0.0)));
        }
        d.finish();
    }
}
