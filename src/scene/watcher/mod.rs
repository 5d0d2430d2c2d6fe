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
//! With [`Watcher::with_spread`], a keyframe brings along frames spread over its scene so far: since the change that made
//! it a scene, or since the keyframe before in a scene that continues. It comes no later for them.
//!
//! Memory: two pictures at most, twice as many as a keyframe brings along if it brings any, and the thumbs of [`SETTLE`], at most [`MAX_THUMBS`].

use std::collections::VecDeque;

use super::features::{is_flat, likeness, luma_change, quality};
use super::keyframe::SpreadFrames;
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
    /// Frames spread over the scene so far, in order of time: as many as the watcher was asked for, or all of them if there
    /// are fewer. Empty if it was asked for one.
    pub spread: Vec<T>,
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
    /// Frames of the scene so far.
    spread: SpreadFrames<T>,
    /// Whether the next keyframe is due now.
    again: bool,
}

impl<T: Clone> Watcher<T> {
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
            spread: SpreadFrames::new(1),
            again: false,
        }
    }

    /// The same watcher, whose keyframes bring along this many frames spread over their scene so far. With 1 or fewer, none
    /// besides themselves.
    #[must_use]
    pub fn with_spread(self, frames: usize) -> Watcher<T> {
        Watcher { spread: SpreadFrames::new(frames), ..self }
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
        if !change.flat {
            self.spread.add(time, picture.clone());
        }
        self.update_pending(&thumb, picture, &change);
        if let Some(pending) = self.pending.as_ref().filter(|p| p.reason != KeyframeReason::Gap) {
            // What was there before belongs to another scene.
            self.spread.drop_before(pending.start);
        }
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
        let spread = self.spread.cut(Time::MAX);
        Some(LiveKeyframe { start, time: best.time, picture: best.picture, spread })
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
mod tests;
