//! Keyframes: which frame stands for a scene.
//!
//! Owns the scene detector and, for the stretch that it has not judged yet, the best frame of every
//! [`BUCKET`]; so at most [`MAX_PICTURES`] frames are held, whatever their rate. Keyframes come out in order and tile
//! the time from the first frame to the end: each ends where the next begins.
//!
//! A good keyframe is no part of a transition, is not flat where the scene has anything better, is sharp, and stands
//! still. A long shot is looked at again: it gives one keyframe for every `max_gap`.

use std::collections::VecDeque;

use crate::digest::Digest;
use crate::scene::thumb::Thumb;
use crate::scene::{Boundary, SceneDetector, SceneOptions, Transition, is_flat, luma_change};
use crate::time::Time;

#[derive(Debug, Clone)]
pub struct KeyframeOptions {
    /// A shot longer than this is looked at again. Default: 8 s.
    pub max_gap: Time,
}

impl Default for KeyframeOptions {
    fn default() -> Self {
        KeyframeOptions { max_gap: Time::from_millis(8_000) }
    }
}

/// A frame and the stretch of time that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyframe<T> {
    /// Ordinal of the scene, from 0; looks at one long shot share it.
    pub scene: u32,
    pub start: Time,
    pub end: Time,
    /// Time of the picture itself.
    pub time: Time,
    /// Ordinal of the picture's frame.
    pub index: u64,
    /// Ordinal of the stretch's first frame.
    pub start_frame: u64,
    /// Ordinal of the frame after its last.
    pub end_frame: u64,
    /// How it began.
    pub transition: Transition,
    /// Nothing is to be seen in the whole stretch: black, white, or one colour.
    pub blank: bool,
    /// Sharpness, less what motion costs; compared only within one scene.
    pub quality: f32,
    pub picture: T,
}

/// Length of the stretches of which the best frame each is held while nothing is decided.
const BUCKET: Time = Time::from_millis(500);
/// Most such stretches; where there are more, because much changes, the shortest neighbours become one.
const BUCKETS: usize = 9;
/// Most pictures held: one a bucket, the best of this look (or any, where none is good) and of the next, the newest.
pub const MAX_PICTURES: usize = BUCKETS + 3;
/// A luma change that may be a cut, so that the frames on either side of it go into different buckets.
const SPIKE: f32 = 8.0;

#[derive(Clone)]
struct Candidate<T> {
    time: Time,
    index: u64,
    flat: bool,
    sharpness: f32,
    quality: f32,
    picture: T,
}

impl<T> Candidate<T> {
    fn beats(&self, other: &Candidate<T>) -> bool {
        // A frame that shows something beats one that does not; of equals the earlier stays.
        (!self.flat, self.quality) > (!other.flat, other.quality)
    }

    /// `motion`: mean luma change to the neighbour that moved more.
    fn judge(&mut self, motion: f32) {
        self.quality = self.quality.min(self.sharpness / (1.0 + motion / 8.0));
    }
}

struct Bucket<T> {
    start: Time,
    /// Starts with a change that may be a cut.
    spiked: bool,
    best: Candidate<T>,
}

/// The stretch that the next keyframe will stand for.
struct Look<T> {
    scene: u32,
    start: Time,
    start_frame: u64,
    transition: Transition,
    /// Frames before this belong to the transition.
    clear: Time,
    best: Option<Candidate<T>>,
    /// The best after `max_gap`, should the shot go on long enough for another look.
    next: Option<Candidate<T>>,
    /// Ordinal of the first frame after `max_gap`.
    next_frame: Option<(Time, u64)>,
}

/// Chooses keyframes; see the module. `T` is a cheap handle to a decoded frame.
pub struct KeyframeSelector<T> {
    detector: SceneDetector,
    options: KeyframeOptions,
    buckets: VecDeque<Bucket<T>>,
    look: Option<Look<T>>,
    last: Option<Thumb>,
    /// Latest time and ordinal so far: a clock that goes back ends nothing early.
    latest: (Time, u64),
    /// The newest frame, whose motion is known when the next one comes; whether it starts a bucket.
    newest: Option<(Candidate<T>, bool)>,
    /// Some frame of the look, as long as it has none that is good.
    fallback: Option<Candidate<T>>,
}

impl<T: Clone> KeyframeSelector<T> {
    pub fn new(scene: &SceneOptions, options: &KeyframeOptions) -> KeyframeSelector<T> {
        KeyframeSelector {
            detector: SceneDetector::new(scene),
            options: options.clone(),
            buckets: VecDeque::new(),
            look: None,
            last: None,
            latest: (Time::ZERO, 0),
            newest: None,
            fallback: None,
        }
    }

    /// How many pictures are held now.
    pub fn held(&self) -> usize {
        let look = self.look.as_ref().map_or(0, |l| usize::from(l.best.is_some()) + usize::from(l.next.is_some()));
        self.buckets.len() + look + usize::from(self.fallback.is_some()) + usize::from(self.newest.is_some())
    }

    /// Ordinal of the scene under way.
    pub fn scene(&self) -> u32 {
        self.look.as_ref().map_or(0, |look| look.scene)
    }

    /// A hash of everything that the keyframes to come depend on, beside the options, the frames that follow, and the
    /// ordinals of scenes and frames so far. Two selectors that have the same give the same keyframes from the same
    /// frames, whatever either had seen before. `picture` says what is to be known of a picture that is held.
    pub fn digest(&self, picture: impl Fn(&T) -> u64) -> Digest {
        // Named one by one, so that none is forgotten that comes later.
        let KeyframeSelector { detector, options: _, buckets, look, last, latest, newest, fallback } = self;
        let mut d = Digest::at(latest.1);
        let candidate = |d: &mut Digest, c: &Candidate<T>| {
            let Candidate { time, index, flat, sharpness, quality, picture: held } = c;
            d.time(*time);
            d.frame(*index);
            d.flag(*flat);
            d.floats(&[*sharpness, *quality]);
            d.number(picture(held));
        };
        detector.digest(&mut d);
        d.all(buckets.iter(), |d, bucket| {
            let Bucket { start, spiked, best } = bucket;
            d.time(*start);
            d.flag(*spiked);
            candidate(d, best);
        });
        d.option(look.as_ref(), |d, look| {
            let Look { scene: _, start, start_frame, transition, clear, best, next, next_frame } = look;
            d.time(*start);
            d.frame(*start_frame);
            d.bytes(transition.name().as_bytes());
            d.time(*clear);
            d.option(best.as_ref(), candidate);
            d.option(next.as_ref(), candidate);
            d.option(*next_frame, |d, (time, index)| {
                d.time(time);
                d.frame(index);
            });
        });
        d.option(last.as_ref(), |d, thumb| thumb.digest(d));
        d.time(latest.0);
        d.option(newest.as_ref(), |d, (c, starts)| {
            candidate(d, c);
            d.flag(*starts);
        });
        d.option(fallback.as_ref(), candidate);
        d
    }

    /// Takes the next frame, in presentation order; returns the keyframes that are sure by now.
    pub fn push(&mut self, thumb: Thumb, picture: T) -> Vec<Keyframe<T>> {
        let motion = self.last.as_ref().map_or(0.0, |last| luma_change(last, &thumb));
        let quality = thumb.sharpness / (1.0 + motion / 8.0);
        let (time, index, flat, sharpness) = (thumb.time, thumb.index, is_flat(&thumb), thumb.sharpness);
        let candidate = Candidate { time, index, flat, sharpness, quality, picture };
        if self.look.is_none() {
            self.look = Some(Look::new(0, time, index, Transition::Start, time));
            self.fallback = Some(candidate.clone());
            self.latest = (time, index);
        }
        self.latest = (self.latest.0.max(time), self.latest.1.max(index));
        self.settle(motion);
        let mut out = Vec::new();
        let boundaries = self.detector.push(&thumb);
        let starts = motion >= SPIKE || boundaries.iter().any(|b| b.index == index);
        for b in boundaries {
            self.close(&mut out, &b);
        }
        self.newest = Some((candidate, starts));
        self.last = Some(thumb);
        let horizon = self.detector.horizon();
        while self.buckets.len() > 1 && self.buckets.front().is_some_and(|b| b.best.time < horizon) {
            self.take_oldest();
        }
        self.look_again(&mut out);
        out
    }

    /// The keyframes that are left; the last one ends at `end`.
    pub fn finish(&mut self, end: Time) -> Vec<Keyframe<T>> {
        let mut out = Vec::new();
        // Should a bucket give its best to the scene before the last, the last frame is still of the last scene.
        let newest = self.newest.as_ref().map(|(c, _)| c.clone());
        self.settle(0.0);
        for b in self.detector.finish() {
            self.close(&mut out, &b);
        }
        while !self.buckets.is_empty() {
            self.take_oldest();
            self.look_again(&mut out);
        }
        if let Some(mut look) = self.look.take()
            && let Some(picture) = look.best.take().or(look.next.take()).or(self.fallback.take()).or(newest)
        {
            let end = end.max(self.latest.0 + Time::from_millis(1));
            out.push(look.keyframe(picture, end, self.latest.1 + 1));
        }
        out
    }

    /// The newest frame joins a bucket, now that the `motion` after it is known.
    fn settle(&mut self, motion: f32) {
        let Some((mut candidate, spiked)) = self.newest.take() else { return };
        candidate.judge(motion);
        match self.buckets.back_mut() {
            Some(back) if !spiked && candidate.time - back.start < BUCKET => {
                if candidate.beats(&back.best) {
                    back.best = candidate;
                }
            }
            _ => self.buckets.push_back(Bucket { start: candidate.time, spiked, best: candidate }),
        }
        while self.buckets.len() > BUCKETS {
            // Rather within a shot than across what may be a cut; rather short ones than long.
            let span = |k: usize| self.buckets.get(k + 2).map_or(candidate_end(&self.buckets), |b| b.start);
            let merged = (0..self.buckets.len() - 1)
                .min_by_key(|&k| (self.buckets[k + 1].spiked, span(k) - self.buckets[k].start));
            let Some(k) = merged else { break };
            if let Some(next) = self.buckets.remove(k + 1)
                && next.best.beats(&self.buckets[k].best)
            {
                self.buckets[k].best = next.best;
            }
        }
    }

    fn take_oldest(&mut self) {
        if let Some(bucket) = self.buckets.pop_front() {
            self.take(bucket.best);
        }
    }

    /// Ends the look at a boundary and begins the next.
    fn close(&mut self, out: &mut Vec<Keyframe<T>>, b: &Boundary) {
        while self.buckets.front().is_some_and(|bucket| bucket.best.time < b.at) {
            if b.from < b.at && self.buckets.front().is_some_and(|bucket| bucket.best.time >= b.from) {
                // Part of the transition: only where there is nothing else.
                if let Some(bucket) = self.buckets.pop_front()
                    && self.look.as_ref().is_some_and(|l| l.best.is_none())
                {
                    self.fallback = Some(bucket.best);
                }
            } else {
                self.take_oldest();
                self.look_again(out);
            }
        }
        let Some(mut look) = self.look.take() else { return };
        let scene = if b.transition == Transition::Gap { look.scene } else { look.scene + 1 };
        let held = |c: &Option<Candidate<T>>| c.as_ref().is_some_and(|c| c.time < b.at);
        if b.at <= look.start || !(held(&look.best) || held(&look.next) || held(&self.fallback)) {
            self.look = Some(look);
            return;
        }
        // Whatever was taken too soon is the next scene's.
        let mut next = Look::new(scene, b.at, b.index, b.transition, b.to);
        let mut picture = None;
        for c in [look.best.take(), look.next.take(), self.fallback.take()].into_iter().flatten() {
            let place = if c.time < b.at { &mut picture } else { &mut next.best };
            place.get_or_insert(c);
        }
        if let Some(picture) = picture {
            out.push(look.keyframe(picture, b.at, b.index));
        }
        self.look = Some(next);
    }

    /// A decided frame joins the look.
    fn take(&mut self, c: Candidate<T>) {
        let Some(look) = &mut self.look else { return };
        if c.time < look.clear {
            if look.best.is_none() && self.fallback.is_none() {
                self.fallback = Some(c);
            }
            return;
        }
        let late = c.time - look.start >= self.options.max_gap;
        if late && look.next_frame.is_none() {
            look.next_frame = Some((c.time, c.index));
        }
        let place = if late { &mut look.next } else { &mut look.best };
        if place.as_ref().is_none_or(|best| c.beats(best)) {
            *place = Some(c);
        }
        if look.best.is_some() {
            self.fallback = None;
        }
    }

    /// Once a shot has gone a third further than `max_gap`, its first part is told and the rest is another look.
    fn look_again(&mut self, out: &mut Vec<Keyframe<T>>) {
        let gap = self.options.max_gap;
        let third = Time::from_micros(gap.micros() / 3);
        let Some(seen) = self.buckets.front().map(|b| b.best.time) else { return };
        if gap <= Time::ZERO {
            return;
        }
        if let Some(look) = &mut self.look
            && seen - look.start >= gap + third
            && let Some((at, index)) = look.next_frame
            && let Some(picture) = look.best.take().or_else(|| self.fallback.take())
        {
            let mut next = Look::new(look.scene, at, index, Transition::Gap, at);
            next.best = look.next.take();
            out.push(look.keyframe(picture, at, index));
            self.look = Some(next);
        }
    }
}

impl<T> Look<T> {
    fn new(scene: u32, start: Time, start_frame: u64, transition: Transition, clear: Time) -> Look<T> {
        Look { scene, start, start_frame, transition, clear, best: None, next: None, next_frame: None }
    }

    fn keyframe(&self, c: Candidate<T>, end: Time, end_frame: u64) -> Keyframe<T> {
        Keyframe {
            scene: self.scene,
            start: self.start,
            end,
            time: c.time,
            index: c.index,
            start_frame: self.start_frame,
            end_frame,
            transition: self.transition,
            blank: c.flat,
            quality: c.quality,
            picture: c.picture,
        }
    }
}

/// About where the last bucket ends.
fn candidate_end<T>(buckets: &VecDeque<Bucket<T>>) -> Time {
    buckets.back().map_or(Time::ZERO, |b| b.start + BUCKET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::tests::{picture, thumb};
    use proptest::prelude::*;

    fn select(frames: &[(i64, Vec<f32>)], end: i64, gap: i64) -> Vec<Keyframe<u64>> {
        let options = KeyframeOptions { max_gap: Time::from_millis(gap) };
        let mut s = KeyframeSelector::new(&SceneOptions::default(), &options);
        let mut out = Vec::new();
        for (i, (t, f)) in frames.iter().enumerate() {
            out.extend(s.push(thumb(*t, i as u64, f), i as u64));
            assert!(s.held() <= MAX_PICTURES, "{}", s.held());
        }
        out.extend(s.finish(Time::from_millis(end)));
        out
    }

    fn tiles(keyframes: &[Keyframe<u64>], first: i64, end: i64) {
        assert_eq!(keyframes[0].start, Time::from_millis(first));
        assert_eq!(keyframes.last().unwrap().end, Time::from_millis(end));
        for pair in keyframes.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            assert_eq!(pair[0].end_frame, pair[1].start_frame);
        }
        for k in keyframes {
            assert!(k.start < k.end && k.start <= k.time && k.time < k.end, "{k:?}");
        }
    }

    #[test]
    fn one_keyframe_a_scene_and_the_sharpest() {
        let mut frames: Vec<_> = (0..100).map(|i| (i * 40, picture(if i < 50 { 1 } else { 4 }, 0.0))).collect();
        frames.truncate(100);
        let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
        let mut out = Vec::new();
        for (i, (t, f)) in frames.iter().enumerate() {
            let mut th = thumb(*t, i as u64, f);
            if i == 33 || i == 77 {
                th.sharpness = 9.0;
            }
            out.extend(s.push(th, i));
        }
        out.extend(s.finish(Time::from_millis(4_000)));
        assert_eq!(out.iter().map(|k| k.picture).collect::<Vec<_>>(), [33, 77]);
        assert_eq!(out[1].start, Time::from_millis(2_000));
    }

    #[test]
    fn long_shot_is_looked_at_again() {
        let frames: Vec<_> = (0..1000).map(|i| (i * 40, picture(1, i as f32 * 0.01))).collect();
        let out = select(&frames, 40_000, 8_000);
        tiles(&out, 0, 40_000);
        assert_eq!(out.len(), 5, "{:?}", out.iter().map(|k| k.start.secs()).collect::<Vec<_>>());
        assert!(out.iter().skip(1).all(|k| k.transition == Transition::Gap && k.scene == 0));
    }

    #[test]
    fn blank_scenes_are_told_and_transitions_avoided() {
        let frames: Vec<_> = (0..150)
            .map(|i| {
                (i * 40, if (50..100).contains(&i) { vec![0.0; 2304] } else { picture(1 + i as u32 / 100 * 3, 0.0) })
            })
            .collect();
        let out = select(&frames, 6_000, 8_000);
        tiles(&out, 0, 6_000);
        assert_eq!(out.iter().map(|k| k.blank).collect::<Vec<_>>(), [false, true, false]);
        let dissolve: Vec<_> = (0..150)
            .map(|i| {
                let share = ((i - 60) as f32 / 25.0).clamp(0.0, 1.0);
                let (a, b) = (picture(1, 0.0), picture(4, 0.0));
                (i * 40, a.iter().zip(&b).map(|(x, y)| x * (1.0 - share) + y * share).collect())
            })
            .collect();
        let out = select(&dissolve, 6_000, 8_000);
        tiles(&out, 0, 6_000);
        assert!(
            out.iter().all(|k| !(61..85).contains(&k.picture)),
            "{:?}",
            out.iter().map(|k| k.picture).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_frame_is_a_scene_and_none_is_none() {
        let out = select(&[(500, picture(1, 0.0))], 540, 8_000);
        tiles(&out, 500, 540);
        assert!(select(&[], 0, 8_000).is_empty());
    }

    #[test]
    fn scenes_shorter_than_the_least_join_and_still_tile() {
        // Shots of 4 frames (0.16 s) between two of 2 s.
        let frames: Vec<_> = (0..124u32)
            .map(|i| {
                (
                    i64::from(i) * 40,
                    picture(if (50..74).contains(&i) { 2 + (i - 50) / 4 } else { 1 + i / 74 * 8 }, i as f32 * 0.1),
                )
            })
            .collect();
        let k = select(&frames, 4_960, 60_000);
        tiles(&k, 0, 4_960);
        let least = SceneOptions::default().min_scene;
        assert!(k.iter().all(|k| k.end - k.start >= least), "{k:?}");
        assert!(k.len() > 2, "{k:?}");
    }

    #[test]
    fn every_frame_another_scene_holds_no_more_pictures() {
        // Sixty pictures a second, none like the one before; and one shot at 240 frames a second.
        let chaos: Vec<_> = (0..400).map(|i| (i * 1000 / 60, picture(i as u32 * 7 % 13, i as f32 * 9.0))).collect();
        tiles(&select(&chaos, 7_000, 8_000), 0, 7_000);
        let fast: Vec<_> = (0..2_400).map(|i| (i * 1000 / 240, picture(1, i as f32 * 0.01))).collect();
        tiles(&select(&fast, 10_000, 4_000), 0, 10_000);
    }

    #[test]
    fn stillness_counts_on_both_sides() {
        // The last frame before a cut and the first after it are as sharp as any, and are not taken.
        let frames: Vec<_> = (0..100).map(|i| (i * 40, picture(if i < 50 { 1 } else { 4 }, 0.0))).collect();
        let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
        let mut out = Vec::new();
        for (i, (t, f)) in frames.iter().enumerate() {
            let mut th = thumb(*t, i as u64, f);
            th.sharpness = if [20, 49, 50, 70].contains(&i) { 9.0 } else { 5.0 };
            out.extend(s.push(th, i));
        }
        out.extend(s.finish(Time::from_millis(4_000)));
        assert_eq!(out.iter().map(|k| k.picture).collect::<Vec<_>>(), [20, 70]);
    }

    #[test]
    fn odd_clocks_still_tile() {
        let times = [5_000, 5_000, 4_000, 5_040, 9_000, 8_000, 8_500, 60_000, 60_000, 1_000];
        let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
        let mut out = Vec::new();
        for (i, t) in times.into_iter().enumerate() {
            out.extend(s.push(thumb(t, i as u64, &picture(i as u32, 0.0)), i));
        }
        out.extend(s.finish(Time::from_millis(2_000)));
        assert_eq!(out.first().map(|k| k.start), Some(Time::from_millis(5_000)));
        assert_eq!(out.last().map(|k| k.end), Some(Time::from_millis(60_001)));
        for pair in out.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        assert!(out.iter().all(|k| k.start < k.end));
    }

    #[test]
    fn sparse_frames_are_scenes_where_they_differ() {
        let frames: Vec<_> = (0..20).map(|i| (i * 2_000, picture(i as u32 / 5, 0.1 * i as f32))).collect();
        let out = select(&frames, 40_000, 100_000);
        tiles(&out, 0, 40_000);
        assert_eq!(out.iter().map(|k| k.start_frame).collect::<Vec<_>>(), [0, 5, 10, 15]);
    }

    #[test]
    fn other_detectors_tile_too() {
        for detector in [crate::scene::Detector::Content, crate::scene::Detector::Fixed] {
            let interval = Time::from_millis(1_000);
            let options = SceneOptions { detector, threshold: 10.0, interval, ..SceneOptions::default() };
            let mut s = KeyframeSelector::new(&options, &KeyframeOptions::default());
            let mut out = Vec::new();
            for i in 0..100u64 {
                out.extend(s.push(thumb(i as i64 * 40, i, &picture(if i < 50 { 1 } else { 4 }, 0.0)), i));
            }
            out.extend(s.finish(Time::from_millis(4_000)));
            tiles(&out, 0, 4_000);
            assert!(out.iter().any(|k| k.start == Time::from_millis(2_000)), "{detector:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn time_is_always_tiled(shots in prop::collection::vec((0u32..6, 1usize..60, 0u8..6), 1..12), step in 5i64..400, gap in 500i64..9000) {
            let mut frames = Vec::new();
            for (seed, length, kind) in shots {
                for k in 0..length {
                    let p = picture(seed, k as f32 * 0.2);
                    let share = k as f32 / length as f32;
                    frames.push((frames.len() as i64 * step, match kind {
                        0 => vec![10.0; 2304],
                        4 => picture(k as u32, 0.0),
                        5 => p.iter().map(|v| v * 0.1).collect(),
                        1 => p.iter().map(|v| v * share).collect(),
                        2 => p.iter().zip(&picture(seed + 1, 0.0)).map(|(a, b)| a * (1.0 - share) + b * share).collect(),
                        _ => p,
                    }));
                }
            }
            let end = frames.len() as i64 * step;
            let out = select(&frames, end, gap);
            tiles(&out, 0, end);
        }
    }
}
