//! Scene changes: thumbs in, boundaries out.
//!
//! Keeps the features of the last [`LOOK_BACK`], thinned to one for every [`SPACING`] where frames come faster: at most
//! [`MAX_HELD`] small vectors, whatever the frame rate. Boundaries come out in order, [`DECIDE`] after their frame, and
//! none has a transition that begins before the [`horizon`](SceneDetector::horizon) of an earlier moment.
//!
//! The adaptive detector has three rules, each on the 64×36 block means:
//!
//! * **Cut** ([`cuts`]): the change from the previous frame is `ratio` times the mean change around it (as in
//!   PySceneDetect's AdaptiveDetector) and the largest of its neighbourhood, and structure changes with it: a picture
//!   that only became brighter still correlates with the one before. If the picture comes back immediately, it was
//!   a flash.
//! * **Fade** ([`fades`]): contrast falls to nothing and another picture rises from it.
//! * **Dissolve** ([`dissolves`]): frames are mixes of two unlike pictures and have lost contrast as mixes do.
//!
//! Of boundaries that are closer than `min_scene`, a cut or a fade wins over a dissolve, and then the earlier over the
//! later. A transition has one boundary, where the new picture takes over: the first frame of a cut, the first frame in
//! which a fade shows it, the first frame of a dissolve in which it has the larger share.

mod cuts;
mod dissolves;
mod fades;

use std::collections::VecDeque;

use crate::digest::Digest;
use crate::scene::boundary::{Boundary, Transition};
use crate::scene::features::{FrameFeatures, change, hsv_change};
use crate::scene::options::{Detector, SceneOptions};
use crate::scene::thumb::Thumb;
use crate::time::Time;
use fades::FadeTracker;

/// Most features held: as many as [`LOOK_BACK`] can hold at [`SPACING`] (247), with those kept for their step (8).
const MAX_HELD: usize = 256;
/// A frame that comes sooner than this after the last one kept only adds to the next one's change. Just below the
/// 16.7 ms between frames at 60 frames a second.
const SPACING: Time = Time::from_millis(15);
/// A frame with a large step is kept although it comes sooner than [`SPACING`], but only once in this time. A cut is
/// the largest change within 0.4 s anyway.
const STEP_PAUSE: Time = Time::from_millis(500);
/// A boundary is final this long after its frame. The second half of the longest dissolve (1.3 s) and what is compared
/// beside it (0.5 s) fit into this time; so does the longest fade in (1.3 s).
const DECIDE: Time = Time::from_millis(2_400);
/// The longest part of a transition before its boundary: half of the longest dissolve, or the longest fade out (both
/// 1.3 s), and some room.
const BEFORE: Time = Time::from_millis(1_400);
/// How long features are kept: as long as a search for dissolves looks back, and some room.
const LOOK_BACK: Time = Time::from_micros(dissolves::REACH.micros() + 100_000);
/// Time between two searches for dissolves: two frames at 25 frames a second. A search costs more than any other rule.
const SEARCH_EVERY: Time = Time::from_millis(80);
/// The shortest flat stretch that is a scene of its own is `min_scene`, but within these limits.
const BLANK_SCENE: (Time, Time) = (Time::from_millis(200), Time::from_millis(800));

/// Finds where scenes change. Thumbs go in, in presentation order, and boundaries come out, in order.
pub struct SceneDetector {
    options: SceneOptions,
    /// Features of the frames that were kept, oldest first.
    frames: VecDeque<FrameFeatures>,
    /// The last thumb.
    last: Option<Thumb>,
    /// The last thumb that was kept; differs from `last` only at high frame rates.
    last_kept: Option<Thumb>,
    /// The largest step among the thumbs since then: the change, and the frame's time and ordinal.
    step: Option<(f32, Time, u64)>,
    /// Time of the last thumb that was kept for its large step alone.
    kept_for_step: Option<Time>,
    /// Start of the current scene.
    scene: Option<Time>,
    /// Found, and not final yet.
    found: Vec<Boundary>,
    fades: FadeTracker,
    /// End of the last dissolve that was reported: the rest of a long dissolve is not a second one.
    dissolved_until: Option<Time>,
    /// Thumbs kept so far. The next two count how many of them each rule has judged.
    pushed: u64,
    cuts_judged: u64,
    fades_judged: u64,
    /// Time of the last search for a dissolve.
    searched: Option<Time>,
    /// Fixed intervals: the next boundary.
    next_fixed: Option<Time>,
}

impl SceneDetector {
    /// A detector that has seen nothing yet.
    pub fn new(options: &SceneOptions) -> SceneDetector {
        let blank = options.min_scene.clamp(BLANK_SCENE.0, BLANK_SCENE.1);
        SceneDetector {
            options: options.clone(),
            frames: VecDeque::new(),
            last: None,
            last_kept: None,
            step: None,
            kept_for_step: None,
            scene: None,
            found: Vec::new(),
            fades: FadeTracker::new(blank),
            dissolved_until: None,
            pushed: 0,
            cuts_judged: 0,
            fades_judged: 0,
            searched: None,
            next_fixed: None,
        }
    }

    /// No later boundary has a transition that begins before this moment.
    pub fn horizon(&self) -> Time {
        match (self.options.detector, self.frames.back()) {
            (_, None) => Time::ZERO,
            (Detector::Adaptive, Some(newest)) => newest.time - DECIDE - BEFORE,
            (_, Some(newest)) => newest.time,
        }
    }

    /// Takes the next thumb, in presentation order. Returns the boundaries that are final now, in order.
    pub fn push(&mut self, thumb: &Thumb) -> Vec<Boundary> {
        let mut out = Vec::new();
        self.scene.get_or_insert(thumb.time);
        match self.options.detector {
            Detector::Content => self.push_content(&mut out, thumb),
            Detector::Fixed => self.push_fixed(&mut out, thumb),
            Detector::Adaptive => {
                if self.keep(thumb) {
                    self.judge(false);
                    self.report(&mut out, false);
                    self.forget();
                }
            }
        }
        out
    }

    /// Returns the boundaries that were still waiting for later frames, in order.
    pub fn finish(&mut self) -> Vec<Boundary> {
        let mut out = Vec::new();
        if self.options.detector == Detector::Adaptive {
            self.judge(true);
            self.report(&mut out, true);
        }
        out
    }

    fn push_content(&mut self, out: &mut Vec<Boundary>, thumb: &Thumb) {
        let change = self.last.as_ref().map_or(0.0, |last| hsv_change(last, thumb));
        if change >= self.options.threshold {
            let score = change / self.options.threshold.max(1e-3);
            self.start_scene(out, Boundary::sudden(Transition::Cut, thumb.time, thumb.index, score));
        }
        self.last = Some(thumb.clone());
        self.keep_only(thumb);
    }

    fn push_fixed(&mut self, out: &mut Vec<Boundary>, thumb: &Thumb) {
        let interval = self.options.interval.max(Time::from_millis(1));
        let origin = self.options.origin.unwrap_or(thumb.time);
        let passed = (thumb.time - origin).micros().div_euclid(interval.micros());
        let first = origin + Time::from_micros(interval.micros().saturating_mul(passed.saturating_add(1)));
        let due = *self.next_fixed.get_or_insert(first);
        if thumb.time >= due {
            self.next_fixed = Some((due + interval).max(thumb.time));
            out.push(Boundary::sudden(Transition::Gap, thumb.time, thumb.index, 1.0));
        }
        self.keep_only(thumb);
    }

    /// Without the adaptive rules, only the newest frame's time matters.
    fn keep_only(&mut self, thumb: &Thumb) {
        self.frames.clear();
        self.frames.push_back(FrameFeatures::new(thumb, 0.0, (thumb.time, thumb.index)));
    }

    /// Keeps a thumb's features. Returns false if it comes too soon after the last one to be judged separately.
    fn keep(&mut self, thumb: &Thumb) -> bool {
        let step = self.last.as_ref().map_or(0.0, |last| change(last, thumb));
        if self.step.is_none_or(|(largest, ..)| step > largest) {
            self.step = Some((step, thumb.time, thumb.index));
        }
        self.last = Some(thumb.clone());
        let soon = self.last_kept.as_ref().is_some_and(|l| {
            let passed = thumb.time - l.time;
            passed >= Time::ZERO && passed < SPACING
        });
        // A possible cut is kept whenever it comes, so that the choice of frames does not depend on where the detector
        // started. There is a pause after each, because in a busy shot every frame may be one.
        if soon && (step < self.options.floor || !self.may_keep_step(thumb.time)) {
            return false;
        }
        if soon {
            self.kept_for_step = Some(thumb.time);
        }
        let change = self.last_kept.as_ref().map_or(0.0, |last| change(last, thumb));
        let step = self.step.take().map_or((thumb.time, thumb.index), |(_, time, index)| (time, index));
        self.frames.push_back(FrameFeatures::new(thumb, change, step));
        self.last_kept = Some(thumb.clone());
        self.pushed += 1;
        true
    }

    fn may_keep_step(&self, now: Time) -> bool {
        self.kept_for_step.is_none_or(|t| now - t >= STEP_PAUSE)
    }

    fn forget(&mut self) {
        let Some(now) = self.frames.back().map(|s| s.time) else { return };
        while self.frames.len() > MAX_HELD
            || (self.frames.len() > 2 && self.frames.front().is_some_and(|s| s.time < now - LOOK_BACK))
        {
            self.frames.pop_front();
        }
        self.fades.forget(now - LOOK_BACK - LOOK_BACK);
    }

    /// Runs the rules over the frames that are due; at the end, over all of them.
    fn judge(&mut self, end: bool) {
        let Some(now) = self.frames.back().map(|s| s.time) else { return };
        self.judge_cuts(now, end);
        self.judge_fades(now, end);
        self.judge_dissolves(now, end);
    }

    /// How many kept thumbs came before the oldest that is held.
    fn forgotten(&self) -> u64 {
        self.pushed.saturating_sub(self.frames.len() as u64)
    }

    fn judge_cuts(&mut self, now: Time, end: bool) {
        let oldest = self.forgotten();
        self.cuts_judged = self.cuts_judged.max(oldest);
        while let Some(frame) = self.frames.get((self.cuts_judged - oldest) as usize)
            && (end || now - frame.time >= cuts::AFTER)
        {
            let i = (self.cuts_judged - oldest) as usize;
            // A change from a flat picture, or to one, is the fades' business.
            let fading = i > 0 && frame.flat != self.frames[i - 1].flat;
            if !fading && let Some(b) = cuts::cut_at(&self.frames, i, &self.options) {
                self.found.push(b);
            }
            self.cuts_judged += 1;
        }
    }

    fn judge_fades(&mut self, now: Time, end: bool) {
        let oldest = self.forgotten();
        self.fades_judged = self.fades_judged.max(oldest);
        while let Some(frame) = self.frames.get((self.fades_judged - oldest) as usize)
            && (end || now - frame.time >= fades::LONGEST)
        {
            self.fades.judge(&self.frames, (self.fades_judged - oldest) as usize, &mut self.found);
            self.fades_judged += 1;
        }
    }

    fn judge_dissolves(&mut self, now: Time, end: bool) {
        loop {
            let due = self.searched.map_or(Time::ZERO - Time::MAX, |t| t + SEARCH_EVERY);
            let i = self.frames.partition_point(|s| s.time < due);
            match self.frames.get(i) {
                Some(frame)
                    if self.searched.is_none_or(|t| frame.time > t)
                        && (end || now - frame.time >= dissolves::BESIDE) =>
                {
                    // After a long gap the search continues from what is held.
                    self.searched = Some(frame.time.max(due));
                    self.search_dissolve(i);
                }
                _ => break,
            }
        }
    }

    /// Looks for a dissolve that ends at frame `i`.
    fn search_dissolve(&mut self, i: usize) {
        let oldest = self.scene.unwrap_or(Time::ZERO);
        let Some(b) = dissolves::ending_at(&self.frames, i, oldest) else { return };
        // Overlapping searches find the same dissolve: the best one counts.
        let rival = |o: &Boundary| o.transition == Transition::Dissolve && b.from < o.to && o.from < b.to;
        if !self.found.iter().any(|o| rival(o) && o.score >= b.score) {
            self.found.retain(|o| !rival(o));
            self.found.push(b);
        }
    }

    /// Reports the boundaries that nothing can change any more.
    fn report(&mut self, out: &mut Vec<Boundary>, end: bool) {
        let Some(now) = self.frames.back().map(|s| s.time) else { return };
        loop {
            let Some(next) = (0..self.found.len()).min_by_key(|&k| (self.found[k].at, self.found[k].rank())) else {
                return;
            };
            if !end && now - self.found[next].at < DECIDE {
                return;
            }
            let b = self.found.swap_remove(next);
            let dissolve = b.transition == Transition::Dissolve;
            if dissolve && (self.fades.covers(b.from, b.to) || self.dissolved_until.is_some_and(|to| b.from < to)) {
                continue;
            }
            if self.is_outranked(&b) {
                continue;
            }
            if dissolve {
                self.dissolved_until = Some(b.to);
            }
            let at = b.at;
            if self.start_scene(out, b) {
                self.align_search(at);
            }
        }
    }

    /// Whether a boundary of a surer kind is too close to this one, or inside its transition.
    fn is_outranked(&self, b: &Boundary) -> bool {
        let long_enough = |at: Time| self.scene.is_none_or(|start| at - start >= self.options.min_scene);
        let dissolve = b.transition == Transition::Dissolve;
        self.found.iter().any(|o| {
            o.rank() < b.rank()
                && long_enough(o.at)
                && (o.at - b.at < self.options.min_scene || (dissolve && b.from < o.at && o.at < b.to))
        })
    }

    /// Starts a scene, unless the current one is still too short. Returns whether it did.
    fn start_scene(&mut self, out: &mut Vec<Boundary>, b: Boundary) -> bool {
        let least = self.options.min_scene.max(Time::from_micros(1));
        let long = self.scene.is_none_or(|start| b.at - start >= least);
        if long {
            self.scene = Some(b.at);
            out.push(b);
        }
        long
    }

    /// Dissolves are searched at times that count from the start of the scene, so that they do not depend on where the
    /// detector started.
    fn align_search(&mut self, start: Time) {
        let Some(searched) = self.searched else { return };
        let mut last = start;
        while let Some(s) = self.frames.get(self.frames.partition_point(|s| s.time < last + SEARCH_EVERY))
            && s.time <= searched
        {
            last = s.time;
        }
        self.searched = Some(last);
    }

    /// Adds everything that later boundaries depend on, except the options and the later frames.
    pub(crate) fn digest(&self, d: &mut Digest) {
        // Every field is named, so that a new one cannot be forgotten.
        let SceneDetector {
            options: _,
            frames,
            last,
            last_kept,
            step,
            kept_for_step,
            scene,
            found,
            fades,
            dissolved_until,
            pushed: _,
            cuts_judged,
            fades_judged,
            searched,
            next_fixed,
        } = self;
        d.all(frames.iter(), |d, s| s.digest(d));
        d.option(last.as_ref(), |d, thumb| thumb.digest(d));
        d.option(last_kept.as_ref(), |d, thumb| thumb.digest(d));
        d.option(*step, |d, (change, time, index)| {
            d.float(change);
            d.time(time);
            d.frame(index);
        });
        let recent = |t: &Time| last.as_ref().is_some_and(|last| last.time - *t < STEP_PAUSE);
        d.option(kept_for_step.filter(recent), Digest::time);
        d.option(*scene, Digest::time);
        d.all(found.iter(), |d, b| b.digest(d));
        fades.digest(d);
        // The end of the last dissolve no longer matters when every dissolve that can still be reported begins after
        // it. One that was found has a start, and one that will be found begins with a frame that is held.
        let earliest = found.iter().map(|b| b.from).chain(frames.front().map(|s| s.time)).min();
        d.option(dissolved_until.filter(|to| earliest.is_none_or(|from| from < *to)), Digest::time);
        // Counted from the oldest frame that is held: no earlier one will be judged.
        let oldest = self.forgotten();
        d.number(cuts_judged.saturating_sub(oldest));
        d.number(fades_judged.saturating_sub(oldest));
        d.option(*searched, Digest::time);
        d.option(*next_fixed, Digest::time);
    }
}

#[cfg(test)]
mod tests;
