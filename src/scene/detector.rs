//! Scene changes: thumbs in, boundaries out.
//!
//! Owns a look-back of [`KEPT`], thinned to [`SPACING`] where frames come faster, so [`MAX_HELD`] small vectors at most
//! whatever the frame rate. Boundaries come out in order, [`DECIDE`] after they were seen, and none whose transition
//! begins before [`SceneDetector::horizon`].
//!
//! The adaptive detector has three rules, each on the 64×36 block means:
//!
//! * **Cut** ([`cuts`]): the change from the frame before is `ratio` times the mean change around it (PySceneDetect's
//!   AdaptiveDetector), it is the peak of its neighbourhood, and structure changes with it: a picture that only became
//!   brighter still correlates with the one before. Where the picture comes back at once there was only a flash.
//! * **Fade** ([`fades`]): contrast falls to nothing and another picture rises from it.
//! * **Dissolve** ([`dissolves`]): frames are mixes of two unlike pictures and have lost contrast as mixes do.
//!
//! What they find is sifted: of boundaries closer than `min_scene` a cut or a fade goes before a dissolve, then the
//! earlier before the later. A transition has one boundary, where the new picture takes over: the first frame of a cut,
//! the first frame in which a fade shows it, the first frame of a dissolve in which it has the larger share.

use std::collections::VecDeque;

use super::fades::Fades;
use super::seen::{Seen, hsv_change};
use crate::digest::Digest;
use crate::scene::thumb::Thumb;
use crate::time::Time;

pub use super::seen::{is_flat, likeness, luma_change};

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
    /// Fixed: what boundaries are counted from. Default: the first frame.
    pub origin: Option<Time>,
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
            origin: None,
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
    pub const ALL: [Transition; 5] =
        [Transition::Start, Transition::Cut, Transition::Fade, Transition::Dissolve, Transition::Gap];

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
/// Frames closer than this to the last that was looked at only add to the next one's change.
const SPACING: Time = Time::from_millis(15);
/// Time between two frames that are looked at for their large steps although they come closer.
const CALM: Time = Time::from_millis(500);
/// What is known this long after a frame decides on it.
pub const DECIDE: Time = Time::from_millis(2_400);
/// The longest part of a transition that lies before its boundary.
const BEFORE: Time = Time::from_millis(1_400);
/// How long thumbs are kept.
const KEPT: Time = Time::from_micros(super::dissolves::REACH.micros() + 100_000);
/// How often dissolves are sought.
const EVERY: Time = Time::from_millis(80);

/// Finds boundaries; see the module.
pub struct SceneDetector {
    options: SceneOptions,
    seen: VecDeque<Seen>,
    last: Option<Thumb>,
    /// The last thumb that was looked at; the same as `last` but at high frame rates.
    last_seen: Option<Thumb>,
    /// The largest step among the thumbs since then.
    step: Option<(f32, Time, u64)>,
    /// The last thumb that was looked at for its large step alone.
    stepped: Option<Time>,
    /// Start of the scene under way.
    scene: Option<Time>,
    /// Found and not yet told.
    found: Vec<Boundary>,
    fades: Fades,
    /// Where the last dissolve that was told ends: what is left of a long one is no other.
    dissolved: Option<Time>,
    /// How far each rule has come, as the number of thumbs judged.
    pushed: u64,
    cuts_judged: u64,
    fades_judged: u64,
    searched: Option<Time>,
    next_fixed: Option<Time>,
}

impl SceneDetector {
    pub fn new(options: &SceneOptions) -> SceneDetector {
        let blank = options.min_scene.clamp(Time::from_millis(200), Time::from_millis(800));
        SceneDetector {
            options: options.clone(),
            seen: VecDeque::new(),
            last: None,
            last_seen: None,
            step: None,
            stepped: None,
            scene: None,
            found: Vec::new(),
            fades: Fades::new(blank),
            dissolved: None,
            pushed: 0,
            cuts_judged: 0,
            fades_judged: 0,
            searched: None,
            next_fixed: None,
        }
    }

    /// No boundary whose transition begins earlier than this will be told any more.
    pub fn horizon(&self) -> Time {
        match (self.options.detector, self.seen.back()) {
            (_, None) => Time::ZERO,
            (Detector::Adaptive, Some(s)) => s.time - DECIDE - BEFORE,
            (_, Some(s)) => s.time,
        }
    }

    /// Takes the next thumb, in presentation order; returns the boundaries that are sure by now, in order.
    pub fn push(&mut self, thumb: &Thumb) -> Vec<Boundary> {
        let mut out = Vec::new();
        self.scene.get_or_insert(thumb.time);
        match self.options.detector {
            Detector::Content => self.content(&mut out, thumb),
            Detector::Fixed => self.fixed(&mut out, thumb),
            Detector::Adaptive => {
                if self.look(thumb) {
                    self.judge(false);
                    self.tell(&mut out, false);
                    self.forget();
                }
            }
        }
        out
    }

    /// The boundaries that were still waiting for what follows.
    pub fn finish(&mut self) -> Vec<Boundary> {
        let mut out = Vec::new();
        if self.options.detector == Detector::Adaptive {
            self.judge(true);
            self.tell(&mut out, true);
        }
        out
    }

    fn content(&mut self, out: &mut Vec<Boundary>, thumb: &Thumb) {
        let change = self.last.as_ref().map_or(0.0, |last| hsv_change(last, thumb));
        if change >= self.options.threshold {
            let score = change / self.options.threshold.max(1e-3);
            self.begin(out, Boundary::sudden(Transition::Cut, thumb.time, thumb.index, score));
        }
        self.last = Some(thumb.clone());
        self.seen.clear();
        self.seen.push_back(Seen::new(thumb, 0.0, (thumb.time, thumb.index)));
    }

    fn fixed(&mut self, out: &mut Vec<Boundary>, thumb: &Thumb) {
        let interval = self.options.interval.max(Time::from_millis(1));
        let origin = self.options.origin.unwrap_or(thumb.time);
        let passed = (thumb.time - origin).micros().div_euclid(interval.micros());
        let first = origin + Time::from_micros(interval.micros().saturating_mul(passed.saturating_add(1)));
        let due = *self.next_fixed.get_or_insert(first);
        if thumb.time >= due {
            self.next_fixed = Some((due + interval).max(thumb.time));
            out.push(Boundary::sudden(Transition::Gap, thumb.time, thumb.index, 1.0));
        }
        self.seen.clear();
        self.seen.push_back(Seen::new(thumb, 0.0, (thumb.time, thumb.index)));
    }

    /// Remembers a thumb; false where it comes too soon after the last to be judged by itself.
    fn look(&mut self, thumb: &Thumb) -> bool {
        let step = self.last.as_ref().map_or(0.0, |last| super::seen::change(last, thumb));
        if self.step.is_none_or(|(largest, ..)| step > largest) {
            self.step = Some((step, thumb.time, thumb.index));
        }
        self.last = Some(thumb.clone());
        let soon = self.last_seen.as_ref().is_some_and(|l| {
            let passed = thumb.time - l.time;
            passed >= Time::ZERO && passed < SPACING
        });
        // What may be a cut is looked at whenever it comes, so that which frames are does not depend on where the watching
        // began; not more of it than now and then, for every frame may be one.
        if soon && (step < self.options.floor || !self.is_calm(thumb.time)) {
            return false;
        }
        if soon {
            self.stepped = Some(thumb.time);
        }
        let change = self.last_seen.as_ref().map_or(0.0, |last| super::seen::change(last, thumb));
        let step = self.step.take().map_or((thumb.time, thumb.index), |(_, time, index)| (time, index));
        self.seen.push_back(Seen::new(thumb, change, step));
        self.last_seen = Some(thumb.clone());
        self.pushed += 1;
        true
    }

    fn is_calm(&self, now: Time) -> bool {
        self.stepped.is_none_or(|t| now - t >= CALM)
    }

    fn forget(&mut self) {
        let Some(now) = self.seen.back().map(|s| s.time) else { return };
        while self.seen.len() > MAX_HELD
            || (self.seen.len() > 2 && self.seen.front().is_some_and(|s| s.time < now - KEPT))
        {
            self.seen.pop_front();
        }
        self.fades.forget(now - KEPT - KEPT);
    }

    /// Runs the rules over the thumbs that are due.
    fn judge(&mut self, end: bool) {
        let Some(now) = self.seen.back().map(|s| s.time) else { return };
        let oldest = self.pushed - self.seen.len() as u64;
        self.cuts_judged = self.cuts_judged.max(oldest);
        while let Some(s) = self.seen.get((self.cuts_judged - oldest) as usize)
            && (end || now - s.time >= super::cuts::AFTER)
        {
            let i = (self.cuts_judged - oldest) as usize;
            // From a flat picture or to one: a fade's business.
            let fading = i > 0 && s.flat != self.seen[i - 1].flat;
            if !fading && let Some(b) = super::cuts::at(&self.seen, i, &self.options) {
                self.found.push(b);
            }
            self.cuts_judged += 1;
        }
        self.fades_judged = self.fades_judged.max(oldest);
        while let Some(s) = self.seen.get((self.fades_judged - oldest) as usize)
            && (end || now - s.time >= super::fades::LONGEST)
        {
            self.fades.judge(&self.seen, (self.fades_judged - oldest) as usize, &mut self.found);
            self.fades_judged += 1;
        }
        loop {
            let due = self.searched.map_or(Time::ZERO - Time::MAX, |t| t + EVERY);
            let i = self.seen.partition_point(|s| s.time < due);
            match self.seen.get(i) {
                Some(s)
                    if self.searched.is_none_or(|t| s.time > t)
                        && (end || now - s.time >= super::dissolves::BESIDE) =>
                {
                    // After a long gap the search goes on from what is held.
                    self.searched = Some(s.time.max(due));
                    self.dissolve(i);
                }
                _ => break,
            }
        }
    }

    fn dissolve(&mut self, i: usize) {
        let oldest = self.scene.unwrap_or(Time::ZERO);
        let Some(b) = super::dissolves::ending_at(&self.seen, i, oldest) else { return };
        // Windows that overlap see the same dissolve: the best of them has it.
        let rival = |o: &Boundary| o.transition == Transition::Dissolve && b.from < o.to && o.from < b.to;
        if !self.found.iter().any(|o| rival(o) && o.score >= b.score) {
            self.found.retain(|o| !rival(o));
            self.found.push(b);
        }
    }

    /// Tells the boundaries that nothing can change any more.
    fn tell(&mut self, out: &mut Vec<Boundary>, end: bool) {
        let Some(now) = self.seen.back().map(|s| s.time) else { return };
        loop {
            let Some(next) = (0..self.found.len()).min_by_key(|&k| (self.found[k].at, self.found[k].rank())) else {
                return;
            };
            if !end && now - self.found[next].at < DECIDE {
                return;
            }
            let b = self.found.swap_remove(next);
            let soft = b.transition == Transition::Dissolve;
            if soft && (self.fades.covers(b.from, b.to) || self.dissolved.is_some_and(|to| b.from < to)) {
                continue;
            }
            // Something surer stands too close to it.
            let enough = |at: Time| self.scene.is_none_or(|start| at - start >= self.options.min_scene);
            let outdone = self.found.iter().any(|o| {
                o.rank() < b.rank()
                    && enough(o.at)
                    && (o.at - b.at < self.options.min_scene || (soft && b.from < o.at && o.at < b.to))
            });
            if !outdone {
                if soft {
                    self.dissolved = Some(b.to);
                }
                let at = b.at;
                if self.begin(out, b) {
                    self.search_in_step(at);
                }
            }
        }
    }

    /// Begins a scene unless the one under way is too short yet.
    fn begin(&mut self, out: &mut Vec<Boundary>, b: Boundary) -> bool {
        let least = self.options.min_scene.max(Time::from_micros(1));
        let long = self.scene.is_none_or(|start| b.at - start >= least);
        if long {
            self.scene = Some(b.at);
            out.push(b);
        }
        long
    }

    /// Dissolves are sought at times that are counted from the start of the scene, so that they do not depend on where
    /// the watching began.
    fn search_in_step(&mut self, start: Time) {
        let Some(searched) = self.searched else { return };
        let mut last = start;
        while let Some(s) = self.seen.get(self.seen.partition_point(|s| s.time < last + EVERY))
            && s.time <= searched
        {
            last = s.time;
        }
        self.searched = Some(last);
    }

    /// Everything that the boundaries to come depend on, beside the options and what follows.
    pub fn digest(&self, d: &mut Digest) {
        // Named one by one, so that none is forgotten that comes later.
        let SceneDetector {
            options: _,
            seen,
            last,
            last_seen,
            step,
            stepped,
            scene,
            found,
            fades,
            dissolved,
            pushed,
            cuts_judged,
            fades_judged,
            searched,
            next_fixed,
        } = self;
        d.all(seen.iter(), |d, s| s.digest(d));
        d.option(last.as_ref(), |d, thumb| thumb.digest(d));
        d.option(last_seen.as_ref(), |d, thumb| thumb.digest(d));
        d.option(*step, |d, (change, time, index)| {
            d.float(change);
            d.time(time);
            d.frame(index);
        });
        d.option(stepped.filter(|t| last.as_ref().is_some_and(|last| last.time - *t < CALM)), Digest::time);
        d.option(*scene, Digest::time);
        d.all(found.iter(), |d, b| {
            let Boundary { at, index, transition, from, to, score } = b;
            d.frame(*index);
            [*at, *from, *to].into_iter().for_each(|t| d.time(t));
            d.bytes(transition.name().as_bytes());
            d.float(*score);
        });
        fades.digest(d);
        // Of no account any more once every dissolve that can still be told begins later: one that was found says where,
        // and one that will be begins with a thumb that is held.
        let earliest = found.iter().map(|b| b.from).chain(seen.front().map(|s| s.time)).min();
        d.option(dissolved.filter(|to| earliest.is_none_or(|from| from < *to)), Digest::time);
        // Counted from the oldest thumb that is held: none before it will be judged.
        let oldest = pushed.saturating_sub(seen.len() as u64);
        d.number(cuts_judged.saturating_sub(oldest));
        d.number(fades_judged.saturating_sub(oldest));
        d.option(*searched, Digest::time);
        d.option(*next_fixed, Digest::time);
    }
}

impl Boundary {
    pub(super) fn sudden(transition: Transition, at: Time, index: u64, score: f32) -> Boundary {
        Boundary { at, index, transition, from: at, to: at, score }
    }

    /// Lower goes before higher where two are too close.
    fn rank(&self) -> u8 {
        u8::from(self.transition == Transition::Dissolve)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::scene::thumb::{THUMB_HEIGHT, THUMB_WIDTH};

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

    /// As `run`, at times of one's own.
    fn run_at(frames: impl IntoIterator<Item = (f64, Vec<f32>)>) -> Vec<(u64, Transition)> {
        let mut d = SceneDetector::new(&SceneOptions::default());
        let mut out = Vec::new();
        for (i, (ms, f)) in frames.into_iter().enumerate() {
            let mut t = thumb(0, i as u64, &f);
            t.time = Time::from_secs(ms / 1e3);
            out.extend(d.push(&t));
            assert!(d.seen.len() <= MAX_HELD && d.found.len() < 100 && d.fades.spans.len() < 100);
        }
        out.extend(d.finish());
        out.iter().map(|b| (b.index, b.transition)).collect()
    }

    fn gain(p: &[f32], by: f32) -> Vec<f32> {
        p.iter().map(|v| v * by).collect()
    }

    #[test]
    fn high_frame_rates_lose_neither_cuts_nor_dissolves() {
        for rate in [120.0, 240.0, 1000.0] {
            let n = (6.0 * rate) as usize;
            let frames = (0..n).map(|i| {
                let t = i as f64 / rate;
                let share = ((t - 3.0) as f32).clamp(0.0, 1.0);
                let p = if t < 1.5 { picture(2, 0.0) } else { blend(&picture(1, 0.0), &picture(4, 0.0), share) };
                (t * 1e3, p)
            });
            let b = run_at(frames);
            assert_eq!(b.len(), 2, "{rate}: {b:?}");
            assert_eq!(b[0], ((1.5 * rate) as u64, Transition::Cut));
            assert_eq!(b[1].1, Transition::Dissolve);
            assert!((b[1].0 as f64 / rate - 3.5).abs() < 0.1, "{rate}: {b:?}");
        }
    }

    #[test]
    fn uneven_times_are_no_cuts() {
        // Moves at a steady speed; frames come after 1, 1, 1 and 6 sixtieths of a second.
        let mut at = 0.0;
        let frames = (0..200).map(|i| {
            at += if i % 4 == 3 { 6.0 } else { 1.0 } / 60.0;
            (at * 1e3, picture(if i < 100 { 3 } else { 1 }, at as f32 * 18.0))
        });
        assert_eq!(run_at(frames.collect::<Vec<_>>()), [(100, Transition::Cut)]);
    }

    #[test]
    fn frames_shown_twice_or_thrice_are_no_cuts() {
        for times in [2, 3] {
            let frames = (0..240).map(|i| picture(if i < 120 { 3 } else { 1 }, (i / times * times) as f32 * 1.2));
            assert_eq!(run(frames).iter().map(|b| b.index).collect::<Vec<_>>(), [120], "{times}");
        }
    }

    #[test]
    fn min_scene_holds_and_the_first_cut_stays() {
        let shots = [30, 5, 6, 40];
        let frames = shots.iter().enumerate().flat_map(|(k, &n)| vec![picture(k as u32, 0.0); n]);
        assert_eq!(run(frames.collect::<Vec<_>>()).iter().map(|b| b.index).collect::<Vec<_>>(), [30]);
    }

    #[test]
    fn dark_cuts_are_cuts() {
        let b = run((0..100).map(|i| gain(&picture(if i < 50 { 1 } else { 4 }, 0.0), 0.15)));
        assert_eq!(b.iter().map(|b| b.index).collect::<Vec<_>>(), [50]);
    }

    #[test]
    fn one_colour_after_another_is_a_cut() {
        let b = run((0..100).map(|i| vec![if i < 50 { 60.0 } else { 180.0 }; 2304]));
        assert_eq!(b.iter().map(|b| (b.index, b.transition)).collect::<Vec<_>>(), [(50, Transition::Cut)]);
    }

    #[test]
    fn light_and_shake_and_zoom_are_nothing() {
        let lamp = (0..120).map(|i| gain(&picture(2, i as f32 * 0.1), if i < 60 { 1.0 } else { 0.4 }));
        assert_eq!(run(lamp), []);
        let dusk = (0..200).map(|i| gain(&picture(2, 0.0), 1.0 - 0.004 * i as f32));
        assert_eq!(run(dusk), []);
        let shake = (0..150).map(|i| picture(2, 3.0 * (i as f32 * 1.9).sin()));
        assert_eq!(run(shake), []);
        let pan = (0..200).map(|i| picture(5, 90.0 * (0.5 - 0.5 * (i as f32 / 40.0).cos())));
        assert_eq!(run(pan), []);
    }

    #[test]
    fn fades_at_the_ends_are_no_scenes() {
        let b = run((0..150).map(|i| {
            let level = (i as f32 / 20.0).min((149 - i) as f32 / 20.0).clamp(0.0, 1.0);
            gain(&picture(1, 0.0), level)
        }));
        assert_eq!(b, []);
    }

    #[test]
    fn a_short_dip_to_the_same_picture_is_nothing() {
        let b = run((0..150).map(|i| {
            let level = ((i as f32 - 75.0).abs() / 15.0 - 0.2).clamp(0.0, 1.0);
            gain(&picture(1, i as f32 * 0.02), level)
        }));
        assert_eq!(b, []);
    }

    #[test]
    fn fades_through_any_colour() {
        for colour in [0.0, 128.0, 255.0] {
            for (out, hold, back) in [(6, 1, 6), (30, 5, 10), (25, 12, 30)] {
                let b = run((0..160).map(|i| {
                    let a = ((60 + out - i) as f32 / out as f32).clamp(0.0, 1.0);
                    let c = ((i - 60 - out - hold) as f32 / back as f32).clamp(0.0, 1.0);
                    let flat = vec![colour; 2304];
                    if a > 0.0 { blend(&flat, &picture(1, 0.0), a) } else { blend(&flat, &picture(4, 0.0), c) }
                }));
                assert_eq!(b.len(), 1, "{colour} {out}: {b:?}");
                assert_eq!(b[0].transition, Transition::Fade);
                let shows = 60 + out as i64 + hold as i64;
                assert!((0..=4).contains(&(b[0].index as i64 - shows)), "{colour} {out}: {b:?}");
                assert!(b[0].from < b[0].at && b[0].at < b[0].to, "{b:?}");
            }
        }
    }

    #[test]
    fn a_flash_between_two_shots_is_one_boundary() {
        let b = run((0..100).map(|i| match i {
            ..50 => picture(1, 0.0),
            50..52 => vec![250.0; 2304],
            _ => picture(4, 0.0),
        }));
        assert_eq!(b.len(), 1, "{b:?}");
        assert!((50..=52).contains(&b[0].index), "{b:?}");
    }

    #[test]
    fn dissolves_between_moving_shots() {
        let b = run((0..150).map(|i| {
            let share = ((i - 60) as f32 / 30.0).clamp(0.0, 1.0);
            blend(&picture(1, i as f32 * 0.15), &picture(4, i as f32 * -0.1), share)
        }));
        assert_eq!(b.iter().map(|b| b.transition).collect::<Vec<_>>(), [Transition::Dissolve], "{b:?}");
        assert!(b[0].from.millis() >= 2_200 && b[0].to.millis() <= 3_900, "{b:?}");
    }

    #[test]
    fn told_in_order_and_not_before_the_horizon() {
        let mut d = SceneDetector::new(&SceneOptions::default());
        let (mut last, mut horizon) = (Time::ZERO, Time::ZERO - Time::MAX);
        for i in 0..1_500u64 {
            // Cuts, fades and dissolves in turn, one every two seconds.
            let (shot, k) = (i as u32 / 50, i as u32 % 50);
            let (p, next) = (picture(shot, k as f32 * 0.05), picture(shot + 1, 0.0));
            let frame = match shot % 3 {
                1 if k >= 30 => gain(&p, (48 - k.min(48)) as f32 / 18.0),
                2 if k >= 30 => blend(&p, &next, (k - 29) as f32 / 21.0),
                _ => p,
            };
            for b in d.push(&thumb(i as i64 * 40, i, &frame)) {
                assert!(b.at > last && b.from <= b.at && b.at <= b.to, "{b:?}");
                assert!(b.from >= horizon, "{b:?} {horizon:?}");
                last = b.at;
            }
            horizon = d.horizon();
        }
        assert!(last > Time::from_millis(50_000));
    }
}
