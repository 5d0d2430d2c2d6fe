//! Keyframes: which frame stands for a scene.
//!
//! Owns the scene detector and, for the stretch that it has not judged yet, the best frame of every
//! [`BUCKET`]; so at most [`MAX_PICTURES`] frames are held, whatever their rate. Keyframes come out in order and tile
//! the time from the first frame to the end: each ends where the next begins.
//!
//! A good keyframe is no part of a transition, is not flat where the scene has anything better, is sharp, and stands
//! still. A long shot is looked at again: it gives one keyframe for every `max_gap`.

use std::collections::VecDeque;

use crate::frame::Thumb;
use crate::scene::{SceneDetector, SceneOptions, Transition, is_flat, luma_change};
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
#[derive(Debug, Clone)]
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
const BUCKET: Time = Time::from_millis(300);
/// Most pictures held: the undecided buckets, the best of this look and of the next, the first and the
/// newest.
pub const MAX_PICTURES: usize = (3_000_000 / BUCKET.micros()) as usize + 5;

#[derive(Clone)]
struct Candidate<T> {
    time: Time,
    index: u64,
    flat: bool,
    quality: f32,
    picture: T,
}

impl<T> Candidate<T> {
    fn beats(&self, other: &Candidate<T>) -> bool {
        // A frame that shows something beats one that does not; of equals the earlier stays.
        (!self.flat, self.quality) > (!other.flat, other.quality)
    }
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
    buckets: VecDeque<Candidate<T>>,
    bucket_start: Option<Time>,
    look: Option<Look<T>>,
    last: Option<Thumb>,
    /// The newest frame: what is left where all of a look's other frames went elsewhere.
    newest: Option<Candidate<T>>,
    /// Any frame of the look, for the case that all of it is transition.
    fallback: Option<Candidate<T>>,
}

impl<T: Clone> KeyframeSelector<T> {
    pub fn new(scene: &SceneOptions, options: &KeyframeOptions) -> KeyframeSelector<T> {
        KeyframeSelector {
            detector: SceneDetector::new(scene),
            options: options.clone(),
            buckets: VecDeque::new(),
            bucket_start: None,
            look: None,
            last: None,
            newest: None,
            fallback: None,
        }
    }

    /// How many pictures are held now.
    pub fn held(&self) -> usize {
        let look = self.look.as_ref().map_or(0, |l| usize::from(l.best.is_some()) + usize::from(l.next.is_some()));
        self.buckets.len() + look + usize::from(self.fallback.is_some()) + usize::from(self.newest.is_some())
    }

    /// Takes the next frame, in presentation order; returns the keyframes that are sure by now.
    pub fn push(&mut self, thumb: Thumb, picture: T) -> Vec<Keyframe<T>> {
        let motion = self.last.as_ref().map_or(0.0, |last| luma_change(last, &thumb));
        let candidate = Candidate {
            time: thumb.time,
            index: thumb.index,
            flat: is_flat(&thumb),
            quality: thumb.sharpness / (1.0 + motion / 8.0),
            picture,
        };
        if self.look.is_none() {
            self.look = Some(Look::new(0, thumb.time, thumb.index, Transition::Start, thumb.time));
            self.fallback = Some(candidate.clone());
        }
        self.newest = Some(candidate.clone());
        let boundaries = self.detector.push(&thumb);
        // A boundary may fall between frames of one bucket, so each boundary on this very frame starts another.
        let fresh = boundaries.iter().any(|b| b.index == thumb.index)
            || self.bucket_start.is_none_or(|start| thumb.time - start >= BUCKET);
        match self.buckets.back_mut() {
            Some(back) if !fresh => {
                if candidate.beats(back) {
                    *back = candidate;
                }
            }
            _ => {
                self.bucket_start = Some(thumb.time);
                self.buckets.push_back(candidate);
            }
        }
        self.last = Some(thumb);
        let mut out = Vec::new();
        for b in boundaries {
            self.close(&mut out, b.at, b.index, b.transition, b.from, b.to);
        }
        let horizon = self.detector.horizon();
        while self.buckets.len() > 1
            && (self.buckets.len() > MAX_PICTURES - 4 || self.buckets.front().is_some_and(|c| c.time < horizon))
        {
            if let Some(c) = self.buckets.pop_front() {
                self.take(c);
            }
        }
        self.look_again(&mut out);
        out
    }

    /// The keyframes that are left; the last one ends at `end`.
    pub fn finish(&mut self, end: Time) -> Vec<Keyframe<T>> {
        let mut out = Vec::new();
        for b in self.detector.finish() {
            self.close(&mut out, b.at, b.index, b.transition, b.from, b.to);
        }
        while let Some(c) = self.buckets.pop_front() {
            self.take(c);
            self.look_again(&mut out);
        }
        if let (Some(mut look), Some(last)) = (self.look.take(), self.last.take()) {
            let end = end.max(last.time + Time::from_millis(1));
            if let Some(picture) = look.best.take().or(look.next.take()).or(self.fallback.take()).or(self.newest.take())
            {
                out.push(look.keyframe(picture, end, last.index + 1));
            }
        }
        out
    }

    /// Ends the look at a boundary and begins the next.
    fn close(
        &mut self,
        out: &mut Vec<Keyframe<T>>,
        at: Time,
        index: u64,
        transition: Transition,
        from: Time,
        to: Time,
    ) {
        while self.buckets.front().is_some_and(|c| c.time < at) {
            if let Some(c) = self.buckets.pop_front() {
                if c.time < from || from == at {
                    self.take(c);
                    self.look_again(out);
                } else if self.look.as_ref().is_some_and(|l| l.best.is_none()) {
                    self.fallback = Some(c);
                }
            }
        }
        let Some(mut look) = self.look.take() else { return };
        let scene = if transition == Transition::Gap { look.scene } else { look.scene + 1 };
        if let Some(picture) = look.best.take().or(look.next.take()).or(self.fallback.take())
            && at > look.start
        {
            out.push(look.keyframe(picture, at, index));
            self.look = Some(Look::new(scene, at, index, transition, to));
        } else {
            self.look = Some(look);
        }
        self.fallback = None;
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
    }

    /// Once a shot has gone a third further than `max_gap`, its first part is told and the rest is another look.
    fn look_again(&mut self, out: &mut Vec<Keyframe<T>>) {
        let gap = self.options.max_gap;
        let third = Time::from_micros(gap.micros() / 3);
        let seen = self.buckets.front().map_or(Time::ZERO, |c| c.time);
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn time_is_always_tiled(shots in prop::collection::vec((0u32..6, 1usize..60, 0u8..4), 1..12), step in 5i64..400, gap in 500i64..9000) {
            let mut frames = Vec::new();
            for (seed, length, kind) in shots {
                for k in 0..length {
                    let p = picture(seed, k as f32 * 0.2);
                    let share = k as f32 / length as f32;
                    frames.push((frames.len() as i64 * step, match kind {
                        0 => vec![10.0; 2304],
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
