//! Keyframes of a live stream, chosen while it runs.
//!
//! The [`detector`](super::detector) decides on a scene change when it has seen 2.4 s of what follows, because it has
//! to be exact. Live mode wants a picture soon, and one too many costs little: its embedding shows later whether
//! anything is new. So three reasons make a picture worth a keyframe:
//!
//! * **Cut**: the change from frame to frame stands out. The keyframe comes as soon as [`SETTLE`] has passed.
//! * **Drift**: the picture no longer resembles the last keyframe, for any reason: a dissolve, a pan, somebody who
//!   walks in. The keyframe comes when the picture has settled, or after [`PATIENCE`], because a camera may never
//!   stop moving.
//! * **Gap**: there was no keyframe for `max_gap`.
//!
//! A change that is gone again by then was a flash, and is dropped. Flat pictures (black, white, one colour) are
//! never chosen. Of the frames that qualify, the sharpest and stillest is taken. Keyframes come out in order of time,
//! at least [`MIN_SCENE`] apart.
//!
//! Memory: two pictures at most, and the thumbs of [`SETTLE`], at most [`MAX_THUMBS`].

use std::collections::VecDeque;

use super::features::{is_flat, likeness, luma_change, quality};
use super::thumb::Thumb;
use crate::time::Time;

// Tuned on the clips of benches/scene_quality.py (`--live`); see features.rs.

/// How long a new picture is watched before a keyframe is taken.
const SETTLE: Time = Time::from_millis(240);
/// The longest wait for a picture that changes gradually.
const PATIENCE: Time = Time::from_millis(1_200);
/// Least time between two keyframes. The same as the shortest scene of the detector.
const MIN_SCENE: Time = Time::from_millis(600);
/// Least luma change of a cut, in 8-bit levels.
const CUT: f32 = 10.0;
/// A cut changes at least this many times as much as frames usually do.
const RATIO: f32 = 3.0;
/// Two pictures show different things if luma changes by at least the first number, in 8-bit levels, and the likeness
/// of structure is below the second, for one of these pairs.
const UNLIKE: [(f32, f32); 3] = [(6.0, 0.4), (12.0, 0.6), (20.0, 0.75)];
/// The share of the way to the new picture that a cut makes in one step. A dissolve with frames missing makes less.
const AT_ONCE: f32 = 0.35;
/// A picture has settled if it changes, within [`SETTLE`], by less than this share of its distance to the last
/// keyframe …
const STILL_SHARE: f32 = 0.12;
/// … or by less than this, in 8-bit levels.
const STILL: f32 = 2.5;
/// Weight of the newest frame in the average change from frame to frame.
const USUAL_WEIGHT: f32 = 0.1;
/// Most thumbs held, whatever the frame rate: [`SETTLE`] at 60 frames a second.
const MAX_THUMBS: usize = 16;

/// How often a live stream gets keyframes.
#[derive(Debug, Clone, PartialEq)]
pub struct WatcherOptions {
    /// A scene that continues gets another keyframe after this. Default: 8 s.
    pub max_gap: Time,
}

impl Default for WatcherOptions {
    fn default() -> WatcherOptions {
        WatcherOptions { max_gap: Time::from_millis(8_000) }
    }
}

/// A picture of a live stream that is worth a description.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveKeyframe<T> {
    /// When the scene that it shows began. For a keyframe after `max_gap`: the picture's own time.
    pub start: Time,
    /// Time of the picture.
    pub time: Time,
    /// The picture.
    pub picture: T,
}

/// Why there will be a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyframeReason {
    Cut,
    Drift,
    Gap,
}

/// A keyframe that is about to be taken.
struct PendingKeyframe<T> {
    reason: KeyframeReason,
    start: Time,
    /// Since when the picture has not moved too much.
    still_since: Time,
    best: Option<PendingFrame<T>>,
    /// For a cut: the picture before it, and the change to the first one after it.
    from: Option<(Thumb, f32)>,
}

impl<T> PendingKeyframe<T> {
    fn new(reason: KeyframeReason, start: Time, from: Option<(Thumb, f32)>) -> PendingKeyframe<T> {
        PendingKeyframe { reason, start, still_since: start, best: None, from }
    }
}

/// The best frame for a pending keyframe.
struct PendingFrame<T> {
    time: Time,
    quality: f32,
    picture: T,
    thumb: Thumb,
}

/// How a frame differs from the frames before it.
struct FrameChange {
    /// Whether the picture is flat.
    flat: bool,
    /// Luma change from the previous frame.
    motion: f32,
    /// Time since the previous frame.
    interval: Time,
    /// Whether the change may be a cut.
    cut: bool,
    /// Luma change within the last [`SETTLE`].
    moved: f32,
    /// Luma change from the last keyframe; 0 if there was none.
    from_keyframe: f32,
    /// Whether the picture shows something else than the last keyframe.
    unlike: bool,
    /// Whether the last keyframe is too long ago.
    gap: bool,
}

/// Chooses keyframes of a live stream. Frames go in, in order of time. `T` is a cheap handle to a decoded frame.
pub struct Watcher<T> {
    options: WatcherOptions,
    last: Option<Thumb>,
    /// Thumbs of the last [`SETTLE`], oldest first.
    recent: VecDeque<Thumb>,
    /// The last keyframe, and when it was taken.
    shown: Option<Thumb>,
    taken: Option<Time>,
    /// The average change from frame to frame.
    usual: f32,
    pending: Option<PendingKeyframe<T>>,
    /// Whether the next keyframe is due now.
    again: bool,
}

impl<T> Watcher<T> {
    /// A watcher that has seen nothing yet.
    pub fn new(options: &WatcherOptions) -> Watcher<T> {
        Watcher {
            options: options.clone(),
            last: None,
            recent: VecDeque::new(),
            shown: None,
            taken: None,
            usual: 1.0,
            pending: None,
            again: false,
        }
    }

    /// Asks for another keyframe soon, whatever the stream shows, because the last one was of no use.
    pub fn again(&mut self) {
        self.again = true;
    }

    /// Since when there has been something that a keyframe may come of.
    pub fn waiting_since(&self) -> Option<Time> {
        self.pending.as_ref().map(|p| p.start)
    }

    /// Takes the next frame, in order of time. Returns a keyframe if one is due. Before `not_before` there is none;
    /// what is worth one waits.
    pub fn push(&mut self, thumb: Thumb, picture: T, not_before: Time) -> Option<LiveKeyframe<T>> {
        let time = thumb.time;
        let change = self.compare(&thumb);
        self.open(time, &change);
        self.update_pending(&thumb, picture, &change);
        self.remember(thumb);
        self.decide(time, &change, not_before)
    }

    /// Returns the keyframe that was pending when the stream ended, if it shows something else than the last one.
    pub fn flush(&mut self) -> Option<LiveKeyframe<T>> {
        let time = self.last.as_ref()?.time;
        let unlike = |best: &PendingFrame<T>| self.shown.as_ref().is_none_or(|shown| differ(shown, &best.thumb));
        if self.pending.as_ref().and_then(|p| p.best.as_ref()).is_some_and(unlike) {
            return self.take(time);
        }
        self.pending = None;
        None
    }

    /// Compares a frame with the previous one and with the last keyframe.
    fn compare(&mut self, thumb: &Thumb) -> FrameChange {
        let motion = self.last.as_ref().map_or(0.0, |last| luma_change(last, thumb));
        let cut = motion >= CUT && motion >= RATIO * self.usual.max(1.0);
        // A single large change counts for little, so that a cut does not hide the next one.
        self.usual += USUAL_WEIGHT * (motion.min(4.0 * self.usual + 2.0) - self.usual);
        let too_long = self.taken.is_some_and(|taken| thumb.time - taken >= self.options.max_gap);
        FrameChange {
            flat: is_flat(thumb),
            motion,
            interval: self.last.as_ref().map_or(Time::ZERO, |last| thumb.time - last.time),
            cut,
            moved: self.recent.front().map_or(0.0, |then| luma_change(then, thumb)),
            from_keyframe: self.shown.as_ref().map_or(0.0, |shown| luma_change(shown, thumb)),
            unlike: self.shown.as_ref().is_none_or(|shown| differ(shown, thumb)),
            gap: self.again || too_long,
        }
    }

    /// Opens a pending keyframe if the frame gives a reason for one. A cut replaces the one that was pending.
    fn open(&mut self, time: Time, change: &FrameChange) {
        if change.cut {
            let from = self.last.take().map(|last| (last, change.motion));
            self.pending = Some(PendingKeyframe::new(KeyframeReason::Cut, time, from));
        } else if self.pending.is_none() && (change.unlike || change.gap) {
            let reason = match &self.shown {
                // The stream's first picture is as sudden as a cut.
                None if self.last.is_none() => KeyframeReason::Cut,
                _ if change.unlike => KeyframeReason::Drift,
                _ => KeyframeReason::Gap,
            };
            self.pending = Some(PendingKeyframe::new(reason, time, None));
        }
    }

    /// Judges again what the pending keyframe is, and whether this frame is the best for it.
    fn update_pending(&mut self, thumb: &Thumb, picture: T, change: &FrameChange) {
        let time = thumb.time;
        let Some(pending) = &mut self.pending else { return };
        let is_slow = |(from, jump): &(Thumb, f32)| *jump < AT_ONCE * luma_change(from, thumb);
        if change.flat {
            // There is nothing to see yet. What follows may rise slowly from it.
            let reason = if change.unlike { KeyframeReason::Drift } else { pending.reason };
            *pending = PendingKeyframe::new(reason, time, None);
        } else if pending.from.as_ref().is_some_and(is_slow) {
            (pending.reason, pending.from) = (KeyframeReason::Drift, None);
        } else if pending.reason == KeyframeReason::Drift
            && change.moved > (STILL_SHARE * change.from_keyframe).max(STILL)
            && time - pending.start < PATIENCE
        {
            pending.still_since = time;
            pending.best = None;
        }
        // The change of a cut is not motion of the new picture; its first frame counts half all the same.
        let quality = if change.cut { thumb.sharpness / 2.0 } else { quality(thumb.sharpness, change.motion) };
        if !change.flat && pending.best.as_ref().is_none_or(|b| quality > b.quality) {
            pending.best = Some(PendingFrame { time, quality, picture, thumb: thumb.clone() });
        }
    }

    /// Takes the pending keyframe if it is due.
    fn decide(&mut self, time: Time, change: &FrameChange, not_before: Time) -> Option<LiveKeyframe<T>> {
        // If frames are far apart, there is nothing to wait for.
        let settled = |p: &PendingKeyframe<T>| {
            time - p.still_since >= SETTLE || change.interval >= SETTLE || time - p.start >= PATIENCE
        };
        let pending = self.pending.as_mut().filter(|p| settled(p))?;
        let came_back = pending.reason != KeyframeReason::Gap && !change.unlike && !change.gap;
        if came_back {
            self.pending = None;
            return None;
        }
        let soon = self.taken.is_some_and(|taken| time - taken < MIN_SCENE);
        if soon || time < not_before {
            // When the keyframe may be taken, it should show what there is then.
            if pending.best.as_ref().is_some_and(|b| time - b.time > SETTLE) {
                pending.best = None;
            }
            return None;
        }
        self.take(time)
    }

    fn take(&mut self, time: Time) -> Option<LiveKeyframe<T>> {
        let pending = self.pending.as_mut()?;
        let best = pending.best.take()?;
        let start = if pending.reason == KeyframeReason::Gap { best.time } else { pending.start.min(best.time) };
        self.pending = None;
        self.again = false;
        self.taken = Some(time);
        self.shown = Some(best.thumb);
        Some(LiveKeyframe { start, time: best.time, picture: best.picture })
    }

    fn remember(&mut self, thumb: Thumb) {
        let time = thumb.time;
        let spacing = Time::from_micros(SETTLE.micros() / (MAX_THUMBS as i64 - 2));
        if self.recent.back().is_none_or(|last| time - last.time >= spacing) {
            self.recent.push_back(thumb.clone());
        }
        while self.recent.len() > MAX_THUMBS || self.recent.get(1).is_some_and(|next| time - next.time >= SETTLE) {
            self.recent.pop_front();
        }
        self.last = Some(thumb);
    }
}

/// Whether two pictures show different things.
fn differ(a: &Thumb, b: &Thumb) -> bool {
    let change = luma_change(a, b);
    change >= UNLIKE[0].0 && {
        let likeness = likeness(a, b);
        UNLIKE.iter().any(|(least, most)| change >= *least && likeness < *most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scene::test_pictures::{blend, picture, thumb};

    type Frames = Vec<(i64, Vec<f32>)>;

    /// The keyframes, each with the frame at which it was chosen; a picture is the frame's number.
    fn keyframes(
        frames: &Frames,
        max_gap: i64,
        not_before: impl Fn(usize) -> i64,
    ) -> Vec<(usize, LiveKeyframe<usize>)> {
        let mut watcher = Watcher::new(&WatcherOptions { max_gap: Time::from_millis(max_gap) });
        let mut out = Vec::new();
        for (i, (t, f)) in frames.iter().enumerate() {
            let keyframe = watcher.push(thumb(*t, i as u64, f), i, Time::from_millis(not_before(i)));
            assert!(watcher.recent.len() <= MAX_THUMBS);
            out.extend(keyframe.map(|g| (i, g)));
        }
        out
    }

    fn at_25(n: usize, f: impl Fn(usize) -> Vec<f32>) -> Frames {
        (0..n).map(|i| (i as i64 * 40, f(i))).collect()
    }

    #[test]
    fn a_cut_gives_one_keyframe_soon() {
        let frames = at_25(200, |i| picture(if i < 100 { 1 } else { 4 }, i as f32 * 0.02));
        let out = keyframes(&frames, 60_000, |_| 0);
        assert_eq!(out.len(), 2, "{out:?}");
        assert!(out[0].0 <= 7 && out[0].1.start == Time::ZERO);
        assert!((105..=108).contains(&out[1].0), "{out:?}");
        assert_eq!(out[1].1.start, Time::from_millis(4_000));
        assert!(out[1].1.picture >= 100);
    }

    #[test]
    fn a_flash_gives_none() {
        let frames = at_25(150, |i| if (80..83).contains(&i) { vec![250.0; 2304] } else { picture(2, 0.0) });
        assert_eq!(keyframes(&frames, 60_000, |_| 0).len(), 1);
        let frames = at_25(150, |i| picture(if (80..84).contains(&i) { 4 } else { 2 }, 0.0));
        assert_eq!(keyframes(&frames, 60_000, |_| 0).len(), 1);
    }

    #[test]
    fn a_dissolve_gives_one_when_it_has_settled() {
        for length in [15, 25, 40] {
            let frames = at_25(250, |i| {
                blend(&picture(1, 0.0), &picture(4, 0.0), ((i as f32 - 100.0) / length as f32).clamp(0.0, 1.0))
            });
            let out = keyframes(&frames, 60_000, |_| 0);
            assert_eq!(out.len(), 2, "{length}: {out:?}");
            let end = 100 + length;
            // Hardly anything of the old picture is left, and it comes soon.
            assert!(out[1].1.picture + 3 >= end && out[1].0 <= end + 12, "{length}: {out:?}");
            assert!(out[1].1.start >= Time::from_millis(4_000));
        }
    }

    #[test]
    fn a_moving_camera_gives_some() {
        let frames = at_25(500, |i| picture(3, i as f32 * 0.8));
        let out = keyframes(&frames, 60_000, |_| 0);
        assert!(out.len() > 3, "{out:?}");
        for pair in out.windows(2) {
            assert!(pair[1].1.time - pair[0].1.time >= MIN_SCENE);
        }
    }

    #[test]
    fn long_shots_give_several() {
        let out = keyframes(&at_25(750, |i| picture(1, i as f32 * 0.001)), 8_000, |_| 0);
        assert_eq!(out.len(), 4, "{out:?}");
        assert!(out[1].1.start >= Time::from_millis(8_000) && out[1].1.start == out[1].1.time);
    }

    #[test]
    fn black_gives_none_and_a_fade_from_it_is_awaited() {
        let frames = at_25(200, |i| {
            let gain = if i < 60 { 1.0 } else { ((i as f32 - 100.0) / 25.0).clamp(0.0, 1.0) };
            picture(if i < 60 { 1 } else { 4 }, 0.0).iter().map(|v| v * gain).collect()
        });
        let out = keyframes(&frames, 2_000, |_| 0);
        let second = &out.iter().find(|(_, g)| g.picture >= 60).unwrap().1;
        assert!(second.picture >= 118 && second.start >= Time::from_millis(3_960), "{out:?}");
        assert!(keyframes(&at_25(500, |_| vec![0.0; 2304]), 1_000, |_| 0).is_empty());
    }

    #[test]
    fn a_dissolve_with_missing_frames_is_not_a_cut() {
        // Four frames in 30 ms, then none until 0.2 s have passed; the dissolve takes 0.9 s.
        let frames: Frames = (0..80)
            .map(|i| {
                let t = i / 4 * 200 + i % 4 * 10;
                (t, blend(&picture(1, 0.0), &picture(4, 0.0), ((t as f32 - 2_000.0) / 900.0).clamp(0.0, 1.0)))
            })
            .collect();
        let out = keyframes(&frames, 60_000, |_| 0);
        assert!(out.len() == 2 && out[1].1.time >= Time::from_millis(2_800), "{out:?}");
    }

    #[test]
    fn keyframes_wait_until_they_are_wanted() {
        let frames = at_25(250, |i| picture(if i < 100 { 1 } else { 4 }, 0.0));
        let out = keyframes(&frames, 60_000, |i| if i < 100 { 0 } else { 6_000 });
        assert_eq!(out.len(), 2);
        assert_eq!(out[1].0, 150);
        assert_eq!(out[1].1.start, Time::from_millis(4_000));
        assert!(out[1].1.time >= Time::from_millis(6_000) - SETTLE);
    }

    #[test]
    fn a_low_frame_rate_needs_no_waiting() {
        let frames: Frames = (0..10).map(|i| (i * 1_000, picture(if i < 5 { 1 } else { 4 }, 0.0))).collect();
        let out = keyframes(&frames, 60_000, |_| 0);
        assert_eq!(out.last().unwrap().0, 5, "{out:?}");
    }

    #[test]
    fn again_and_flush() {
        let mut watcher = Watcher::new(&WatcherOptions { max_gap: Time::from_millis(60_000) });
        let push = |watcher: &mut Watcher<u64>, i: u64, seed| {
            watcher.push(thumb(i as i64 * 40, i, &picture(seed, 0.0)), i, Time::ZERO)
        };
        let seen = (0..50).filter_map(|i| push(&mut watcher, i, 1)).count();
        watcher.again();
        assert_eq!(seen + (50..100).filter_map(|i| push(&mut watcher, i, 1)).count(), 2);
        assert_eq!(watcher.flush(), None);
        assert_eq!(push(&mut watcher, 100, 4), None);
        assert_eq!(watcher.waiting_since(), Some(Time::from_millis(4_000)));
        assert_eq!(watcher.flush().unwrap().picture, 100);
        assert_eq!(watcher.waiting_since(), None);
    }

    proptest! {
        #[test]
        fn keyframes_are_in_order_and_never_too_close(
            shots in proptest::collection::vec((0u32..6, 1usize..40, 0f32..1.0, 1i64..200), 1..20),
        ) {
            let (mut frames, mut t) = (Frames::new(), 0);
            for (seed, n, speed, step) in shots {
                for i in 0..n {
                    t += step;
                    frames.push((t, if seed == 5 { vec![0.0; 2304] } else { picture(seed, i as f32 * speed) }));
                }
            }
            let out = keyframes(&frames, 3_000, |_| 0);
            for (chosen, g) in &out {
                prop_assert!(g.start <= g.time && g.time <= Time::from_millis(frames[*chosen].0));
            }
            for pair in out.windows(2) {
                prop_assert!(pair[1].1.time > pair[0].1.time && pair[1].1.start >= pair[0].1.start);
            }
        }
    }
}
