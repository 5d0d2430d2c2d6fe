//! Chooses keyframes: frames go in, keyframes come out when the detector has decided.

use super::buckets::{FrameBuckets, MAX_BUCKETS};
use super::candidate::KeyframeCandidate;
use super::options::{Keyframe, KeyframeOptions};
use super::spread::SpreadFrames;
use super::stretch::OpenStretch;
use crate::digest::Digest;
use crate::scene::boundary::{Boundary, Transition};
use crate::scene::detector::SceneDetector;
use crate::scene::features::{is_flat, luma_change, quality};
use crate::scene::options::SceneOptions;
use crate::scene::thumb::Thumb;
use crate::time::Time;

/// Most pictures held: one for each bucket, the best of the current stretch (or any, while none is good), the best of
/// the next one, and the newest frame.
pub(crate) const MAX_PICTURES: usize = MAX_BUCKETS + 3;
/// A mean luma change, in 8-bit levels, that may be a cut. The frames on either side go into different buckets. Below
/// the floor of cuts (12 by default), which counts chroma too.
const POSSIBLE_CUT: f32 = 8.0;

/// Chooses keyframes. Frames go in, in presentation order, and keyframes come out, in order; they tile the time. `T`
/// is a cheap handle to a decoded frame.
pub struct KeyframeSelector<T> {
    detector: SceneDetector,
    options: KeyframeOptions,
    /// Frames that each keyframe brings along, spread over its stretch.
    frames: usize,
    /// The best frames that the detector has not judged yet.
    buckets: FrameBuckets<T>,
    /// The stretch that the next keyframe will represent.
    current: Option<OpenStretch<T>>,
    last: Option<Thumb>,
    /// Largest time and ordinal so far. A clock that goes back ends nothing early.
    latest: (Time, u64),
    /// The newest frame, whose motion is known when the next one comes; and whether it starts a bucket.
    newest: Option<(KeyframeCandidate<T>, bool)>,
    /// Some frame of the current stretch, as long as it has no good one.
    fallback: Option<KeyframeCandidate<T>>,
}

impl<T: Clone> KeyframeSelector<T> {
    /// A selector that has seen nothing yet.
    pub fn new(scene: &SceneOptions, options: &KeyframeOptions) -> KeyframeSelector<T> {
        KeyframeSelector {
            detector: SceneDetector::new(scene),
            options: options.clone(),
            frames: 1,
            buckets: FrameBuckets::new(),
            current: None,
            last: None,
            latest: (Time::ZERO, 0),
            newest: None,
            fallback: None,
        }
    }

    /// The same selector, whose keyframes bring along this many frames spread over their stretch. With 1 or fewer, none
    /// besides themselves.
    #[must_use]
    pub fn with_spread(self, frames: usize) -> KeyframeSelector<T> {
        KeyframeSelector { frames, ..self }
    }

    /// How many pictures are held now.
    pub fn held(&self) -> usize {
        let current = self.current.as_ref().map_or(0, OpenStretch::held);
        self.buckets.len() + current + usize::from(self.fallback.is_some()) + usize::from(self.newest.is_some())
    }

    /// Ordinal of the current scene, from 0.
    pub fn scene(&self) -> u32 {
        self.current.as_ref().map_or(0, |stretch| stretch.scene)
    }

    /// A hash of everything that later keyframes depend on, except the options, the later frames, and the ordinals of
    /// scenes and frames so far. Two selectors with the same digest give the same keyframes for the same frames,
    /// whatever came before. `picture` gives the number that represents a picture.
    pub(crate) fn digest(&self, picture: impl Fn(&T) -> u64) -> Digest {
        // Every field is named, so that a new one cannot be forgotten.
        let KeyframeSelector { detector, options: _, frames: _, buckets, current, last, latest, newest, fallback } =
            self;
        let mut d = Digest::at(latest.1);
        detector.digest(&mut d);
        buckets.digest(&mut d, &picture);
        d.option(current.as_ref(), |d, stretch| stretch.digest(d, &picture));
        d.option(last.as_ref(), |d, thumb| thumb.digest(d));
        d.time(latest.0);
        d.option(newest.as_ref(), |d, (c, starts)| {
            c.digest(d, &picture);
            d.flag(*starts);
        });
        d.option(fallback.as_ref(), |d, c| c.digest(d, &picture));
        d
    }

    /// Takes the next frame, in presentation order. Returns the keyframes that are final now.
    pub fn push(&mut self, thumb: Thumb, picture: T) -> Vec<Keyframe<T>> {
        let motion = self.last.as_ref().map_or(0.0, |last| luma_change(last, &thumb));
        let (time, index, flat, sharpness) = (thumb.time, thumb.index, is_flat(&thumb), thumb.sharpness);
        let (unfiltered, quality) = (thumb.unfiltered, quality(sharpness, motion));
        let candidate = KeyframeCandidate { time, index, flat, unfiltered, sharpness, quality, picture };
        if self.current.is_none() {
            let spread = SpreadFrames::new(self.frames);
            self.current = Some(OpenStretch::new(0, (time, index), Transition::Start, time, spread));
            self.fallback = Some(candidate.clone());
            self.latest = (time, index);
        }
        self.latest = (self.latest.0.max(time), self.latest.1.max(index));
        self.file_newest(motion);
        let mut out = Vec::new();
        let boundaries = self.detector.push(&thumb);
        let starts = motion >= POSSIBLE_CUT || boundaries.iter().any(|b| b.index == index);
        for b in boundaries {
            self.close(&mut out, &b);
        }
        self.newest = Some((candidate, starts));
        self.last = Some(thumb);
        let horizon = self.detector.horizon();
        while self.buckets.len() > 1 && self.buckets.oldest().is_some_and(|time| time < horizon) {
            self.take_oldest();
        }
        self.split_long_shot(&mut out);
        out
    }

    /// Returns the keyframes that are left. The last one ends at `end`, or after the last frame if that is later.
    pub fn finish(&mut self, end: Time) -> Vec<Keyframe<T>> {
        let mut out = Vec::new();
        // The last frame belongs to the last scene, even if its bucket gives its best to the scene before.
        let newest = self.newest.as_ref().map(|(c, _)| c.clone());
        self.file_newest(0.0);
        for b in self.detector.finish() {
            self.close(&mut out, &b);
        }
        while self.buckets.len() > 0 {
            self.take_oldest();
            self.split_long_shot(&mut out);
        }
        if let Some(mut stretch) = self.current.take()
            && let Some(picture) = stretch.best.take().or(stretch.next.take()).or(self.fallback.take()).or(newest)
        {
            let end = end.max(self.latest.0 + Time::from_millis(1));
            out.push(stretch.keyframe(picture, end, self.latest.1 + 1));
        }
        out
    }

    /// Puts the newest frame into a bucket, now that the `motion` after it is known.
    fn file_newest(&mut self, motion: f32) {
        if let Some((mut candidate, starts)) = self.newest.take() {
            candidate.account_for_motion(motion);
            self.buckets.add(candidate, starts);
        }
    }

    fn take_oldest(&mut self) {
        if let Some(candidate) = self.buckets.pop() {
            self.take(candidate);
        }
    }

    /// Ends the current stretch at a boundary and starts the next one.
    fn close(&mut self, out: &mut Vec<Keyframe<T>>, b: &Boundary) {
        self.take_until(out, b);
        let Some(mut stretch) = self.current.take() else { return };
        let scene = if b.transition == Transition::Gap { stretch.scene } else { stretch.scene + 1 };
        let before = |c: &Option<KeyframeCandidate<T>>| c.as_ref().is_some_and(|c| c.time < b.at);
        if b.at <= stretch.start || !(before(&stretch.best) || before(&stretch.next) || before(&self.fallback)) {
            self.current = Some(stretch);
            return;
        }
        // A frame that was taken too soon belongs to the next scene.
        let mut best = None;
        let mut picture = None;
        for c in [stretch.best.take(), stretch.next.take(), self.fallback.take()].into_iter().flatten() {
            let place = if c.time < b.at { &mut picture } else { &mut best };
            place.get_or_insert(c);
        }
        if let Some(picture) = picture {
            out.push(stretch.keyframe(picture, b.at, b.index));
        }
        // What is left of the spread frames is the next scene's too.
        let mut next = OpenStretch::new(scene, (b.at, b.index), b.transition, b.to, stretch.spread);
        next.best = best;
        self.current = Some(next);
    }

    /// Takes the frames before a boundary out of their buckets.
    fn take_until(&mut self, out: &mut Vec<Keyframe<T>>, b: &Boundary) {
        while let Some(oldest) = self.buckets.oldest()
            && oldest < b.at
        {
            if b.from < b.at && oldest >= b.from {
                // Part of the transition: only used if there is nothing else.
                if let Some(candidate) = self.buckets.pop()
                    && self.current.as_ref().is_some_and(|stretch| stretch.best.is_none())
                {
                    self.fallback = Some(candidate);
                }
            } else {
                self.take_oldest();
                self.split_long_shot(out);
            }
        }
    }

    /// Gives a frame that is decided on to the current stretch.
    fn take(&mut self, c: KeyframeCandidate<T>) {
        let Some(stretch) = &mut self.current else { return };
        if c.time < stretch.clear_from {
            if stretch.best.is_none() && self.fallback.is_none() {
                self.fallback = Some(c);
            }
            return;
        }
        let late = c.time - stretch.start >= self.options.max_gap;
        if late && stretch.next_start.is_none() {
            stretch.next_start = Some((c.time, c.index));
        }
        stretch.spread.add(c.time, c.picture.clone());
        let place = if late { &mut stretch.next } else { &mut stretch.best };
        if place.as_ref().is_none_or(|best| c.beats(best)) {
            *place = Some(c);
        }
        if stretch.best.is_some() {
            self.fallback = None;
        }
    }

    /// Ends the current stretch when its shot is a third longer than `max_gap`; the rest becomes the next stretch.
    /// The third keeps the last stretch of a shot from being very short.
    fn split_long_shot(&mut self, out: &mut Vec<Keyframe<T>>) {
        let gap = self.options.max_gap;
        let third = Time::from_micros(gap.micros() / 3);
        let Some(decided) = self.buckets.oldest() else { return };
        if gap <= Time::ZERO {
            return;
        }
        if let Some(stretch) = &mut self.current
            && decided - stretch.start >= gap + third
            && let Some((at, index)) = stretch.next_start
            && let Some(picture) = stretch.best.take().or_else(|| self.fallback.take())
        {
            let (scene, best) = (stretch.scene, stretch.next.take());
            out.push(stretch.keyframe(picture, at, index));
            let rest = std::mem::replace(&mut stretch.spread, SpreadFrames::new(self.frames));
            let mut next = OpenStretch::new(scene, (at, index), Transition::Gap, at, rest);
            next.best = best;
            self.current = Some(next);
        }
    }
}
