//! Keyframes of a stream, chosen while it goes on.
//!
//! [`crate::scene`] decides on a change of scene when it has seen 2.4 s of what follows, for it has to be exact. Here a
//! picture is wanted soon, and a change too many costs little: whether there is anything new in it is judged by its embedding
//! afterwards. So three things make a picture worth a look:
//!
//! * **Cut**: the change from frame to frame stands out. Looked at as soon as [`SETTLE`] has passed.
//! * **Drift**: the picture no longer resembles the one last looked at, however that came: a dissolve, a pan, somebody who
//!   walks in. Looked at once it has settled, or after [`PATIENCE`], for a camera may move on and on.
//! * **Gap**: nothing was looked at for `max_gap`.
//!
//! What is gone again by then was a flash, and is let go. Flat pictures (black, white, one colour) are never looked at. Of
//! the frames that would do, the sharpest and stillest is taken.
//!
//! Memory: two pictures at most, and thumbs of [`SETTLE`].

use std::collections::VecDeque;

use crate::scene::thumb::Thumb;
use crate::scene::{is_flat, likeness, luma_change};
use crate::time::Time;

/// How long a new picture is watched before it is looked at.
pub const SETTLE: Time = Time::from_millis(240);
/// The longest wait for a picture that changes gradually.
pub const PATIENCE: Time = Time::from_millis(1_200);
/// Least time between two looks: a scene is no shorter.
pub const MIN_SCENE: Time = Time::from_millis(600);
/// Least change of a cut, in 8-bit levels, and how far above the usual change it stands.
const CUT: f32 = 10.0;
const RATIO: f32 = 3.0;
/// From these on two pictures show different things: (mean change of luma, likeness of structure).
const UNLIKE: [(f32, f32); 3] = [(6.0, 0.4), (12.0, 0.6), (20.0, 0.75)];
/// The share of the way to the new picture that a cut makes in one step: a dissolve of which frames were left out makes less.
const AT_ONCE: f32 = 0.35;
/// A picture has settled where it changes, within [`SETTLE`], by less than this share of what it has become …
const STILL_SHARE: f32 = 0.12;
/// … or than this.
const STILL: f32 = 2.5;
/// Most thumbs held, whatever the frame rate.
const THUMBS: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub struct GlanceOptions {
    /// A scene that goes on is looked at again after this. Default: 8 s.
    pub max_gap: Time,
}

impl Default for GlanceOptions {
    fn default() -> GlanceOptions {
        GlanceOptions { max_gap: Time::from_millis(8_000) }
    }
}

/// A picture that is worth a description.
#[derive(Debug, Clone, PartialEq)]
pub struct Glimpse<T> {
    /// When what it shows began; the picture's own time where that is not known.
    pub start: Time,
    pub time: Time,
    pub picture: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Cut,
    Drift,
    Gap,
}

/// A picture that is about to be looked at.
struct Wait<T> {
    why: Why,
    start: Time,
    /// Since when it has been worth looking at.
    settling: Time,
    best: Option<Best<T>>,
    /// Of a cut: the picture before it, and the change to its first.
    from: Option<(Thumb, f32)>,
}

struct Best<T> {
    time: Time,
    quality: f32,
    picture: T,
    thumb: Thumb,
}

/// Chooses; see the module. `T` is a cheap handle to a decoded frame.
pub struct Glance<T> {
    options: GlanceOptions,
    last: Option<Thumb>,
    /// Thumbs of the last [`SETTLE`], oldest first.
    recent: VecDeque<Thumb>,
    /// What was looked at last, and when.
    shown: Option<Thumb>,
    looked: Option<Time>,
    /// The usual change from frame to frame.
    usual: f32,
    wait: Option<Wait<T>>,
    again: bool,
}

impl<T> Glance<T> {
    pub fn new(options: &GlanceOptions) -> Glance<T> {
        Glance {
            options: options.clone(),
            last: None,
            recent: VecDeque::new(),
            shown: None,
            looked: None,
            usual: 1.0,
            wait: None,
            again: false,
        }
    }

    /// The next look is to come soon, whatever is to be seen: the last one came to nothing.
    pub fn again(&mut self) {
        self.again = true;
    }

    /// Since when there has been something that a look may come of.
    pub fn waiting_since(&self) -> Option<Time> {
        self.wait.as_ref().map(|w| w.start)
    }

    /// Takes the next frame, in order of time. `not_before`: no look is wanted earlier, and what was worth one waits.
    pub fn push(&mut self, thumb: Thumb, picture: T, not_before: Time) -> Option<Glimpse<T>> {
        let (time, flat) = (thumb.time, is_flat(&thumb));
        let motion = self.last.as_ref().map_or(0.0, |last| luma_change(last, &thumb));
        let step = self.last.as_ref().map_or(Time::ZERO, |last| time - last.time);
        let cut = motion >= CUT && motion >= RATIO * self.usual.max(1.0);
        self.usual += 0.1 * (motion.min(4.0 * self.usual + 2.0) - self.usual);
        let apart = self.shown.as_ref().map(|shown| luma_change(shown, &thumb));
        let unlike = self.shown.as_ref().is_none_or(|shown| differ(shown, &thumb));
        let gap = self.again || self.looked.is_some_and(|looked| time - looked >= self.options.max_gap);
        if cut {
            let from = self.last.take().map(|last| (last, motion));
            self.wait = Some(Wait { why: Why::Cut, start: time, settling: time, best: None, from });
        } else if self.wait.is_none() && (unlike || gap) {
            let why = match &self.shown {
                // The first picture is one all of a sudden.
                None if self.last.is_none() => Why::Cut,
                _ if unlike => Why::Drift,
                _ => Why::Gap,
            };
            self.wait = Some(Wait { why, start: time, settling: time, best: None, from: None });
        }
        let moved = self.recent.front().map_or(0.0, |then| luma_change(then, &thumb));
        if let Some(wait) = &mut self.wait {
            if flat {
                // Nothing is to be seen yet; what comes of it may rise slowly.
                let why = if unlike { Why::Drift } else { wait.why };
                *wait = Wait { why, start: time, settling: time, best: None, from: None };
            } else if wait.from.as_ref().is_some_and(|(from, jump)| *jump < AT_ONCE * luma_change(from, &thumb)) {
                (wait.why, wait.from) = (Why::Drift, None);
            } else if wait.why == Why::Drift
                && moved > (STILL_SHARE * apart.unwrap_or(0.0)).max(STILL)
                && time - wait.start < PATIENCE
            {
                wait.settling = time;
                wait.best = None;
            }
            let quality = thumb.sharpness / (1.0 + motion / 8.0);
            // A cut's own change is no motion of the new picture's.
            let quality = if cut { thumb.sharpness / 2.0 } else { quality };
            if !flat && wait.best.as_ref().is_none_or(|b| quality > b.quality) {
                wait.best = Some(Best { time, quality, picture, thumb: thumb.clone() });
            }
        }
        self.remember(thumb);
        // Where frames are far apart there is nothing to wait for.
        let settled = |w: &Wait<T>| time - w.settling >= SETTLE || step >= SETTLE || time - w.start >= PATIENCE;
        if !self.wait.as_ref().is_some_and(settled) {
            return None;
        }
        let came_back = self.wait.as_ref().is_some_and(|w| w.why != Why::Gap) && !unlike && !gap;
        if came_back {
            self.wait = None;
            return None;
        }
        let soon = self.looked.is_some_and(|looked| time - looked < MIN_SCENE);
        if soon || time < not_before {
            // Rather what is to be seen when it may be said than what was then.
            if let Some(w) = &mut self.wait
                && w.best.as_ref().is_some_and(|b| time - b.time > SETTLE)
            {
                w.best = None;
            }
            return None;
        }
        self.look(time)
    }

    /// What was about to be looked at when the frames ended.
    pub fn flush(&mut self) -> Option<Glimpse<T>> {
        let time = self.last.as_ref()?.time;
        let unlike = |best: &Best<T>| self.shown.as_ref().is_none_or(|shown| differ(shown, &best.thumb));
        if self.wait.as_ref().and_then(|w| w.best.as_ref()).is_some_and(unlike) {
            return self.look(time);
        }
        self.wait = None;
        None
    }

    fn look(&mut self, time: Time) -> Option<Glimpse<T>> {
        let wait = self.wait.as_mut()?;
        let best = wait.best.take()?;
        let start = if wait.why == Why::Gap { best.time } else { wait.start.min(best.time) };
        self.wait = None;
        self.again = false;
        self.looked = Some(time);
        self.shown = Some(best.thumb);
        Some(Glimpse { start, time: best.time, picture: best.picture })
    }

    fn remember(&mut self, thumb: Thumb) {
        let time = thumb.time;
        let spacing = Time::from_micros(SETTLE.micros() / (THUMBS as i64 - 2));
        if self.recent.back().is_none_or(|last| time - last.time >= spacing) {
            self.recent.push_back(thumb.clone());
        }
        while self.recent.len() > THUMBS || self.recent.get(1).is_some_and(|next| time - next.time >= SETTLE) {
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
    use super::*;
    use crate::scene::tests::{picture, thumb};
    use proptest::prelude::*;

    type Frames = Vec<(i64, Vec<f32>)>;

    /// Looks as (frame at which it was chosen, glimpse of the frame's number).
    fn looks(frames: &Frames, max_gap: i64, not_before: impl Fn(usize) -> i64) -> Vec<(usize, Glimpse<usize>)> {
        let mut glance = Glance::new(&GlanceOptions { max_gap: Time::from_millis(max_gap) });
        let mut out = Vec::new();
        for (i, (t, f)) in frames.iter().enumerate() {
            let glimpse = glance.push(thumb(*t, i as u64, f), i, Time::from_millis(not_before(i)));
            assert!(glance.recent.len() <= THUMBS);
            out.extend(glimpse.map(|g| (i, g)));
        }
        out
    }

    fn at_25(n: usize, f: impl Fn(usize) -> Vec<f32>) -> Frames {
        (0..n).map(|i| (i as i64 * 40, f(i))).collect()
    }

    fn mix(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
        a.iter().zip(b).map(|(x, y)| x * (1.0 - share) + y * share).collect()
    }

    #[test]
    fn a_cut_is_looked_at_soon_and_once() {
        let frames = at_25(200, |i| picture(if i < 100 { 1 } else { 4 }, i as f32 * 0.02));
        let out = looks(&frames, 60_000, |_| 0);
        assert_eq!(out.len(), 2, "{out:?}");
        assert!(out[0].0 <= 7 && out[0].1.start == Time::ZERO);
        assert!((105..=108).contains(&out[1].0), "{out:?}");
        assert_eq!(out[1].1.start, Time::from_millis(4_000));
        assert!(out[1].1.picture >= 100);
    }

    #[test]
    fn a_flash_is_let_go() {
        let frames = at_25(150, |i| if (80..83).contains(&i) { vec![250.0; 2304] } else { picture(2, 0.0) });
        assert_eq!(looks(&frames, 60_000, |_| 0).len(), 1);
        let frames = at_25(150, |i| picture(if (80..84).contains(&i) { 4 } else { 2 }, 0.0));
        assert_eq!(looks(&frames, 60_000, |_| 0).len(), 1);
    }

    #[test]
    fn a_dissolve_is_looked_at_once_it_has_settled() {
        for length in [15, 25, 40] {
            let frames = at_25(250, |i| {
                mix(&picture(1, 0.0), &picture(4, 0.0), ((i as f32 - 100.0) / length as f32).clamp(0.0, 1.0))
            });
            let out = looks(&frames, 60_000, |_| 0);
            assert_eq!(out.len(), 2, "{length}: {out:?}");
            let end = 100 + length;
            // Hardly anything of the old picture is left, and it is soon.
            assert!(out[1].1.picture + 3 >= end && out[1].0 <= end + 12, "{length}: {out:?}");
            assert!(out[1].1.start >= Time::from_millis(4_000));
        }
    }

    #[test]
    fn a_camera_that_moves_on_and_on_is_looked_at_all_the_same() {
        let frames = at_25(500, |i| picture(3, i as f32 * 0.8));
        let out = looks(&frames, 60_000, |_| 0);
        assert!(out.len() > 3, "{out:?}");
        for pair in out.windows(2) {
            assert!(pair[1].1.time - pair[0].1.time >= MIN_SCENE);
        }
    }

    #[test]
    fn long_shots_are_looked_at_again() {
        let out = looks(&at_25(750, |i| picture(1, i as f32 * 0.001)), 8_000, |_| 0);
        assert_eq!(out.len(), 4, "{out:?}");
        assert!(out[1].1.start >= Time::from_millis(8_000) && out[1].1.start == out[1].1.time);
    }

    #[test]
    fn black_is_not_looked_at_and_a_fade_from_it_is_awaited() {
        let frames = at_25(200, |i| {
            let gain = if i < 60 { 1.0 } else { ((i as f32 - 100.0) / 25.0).clamp(0.0, 1.0) };
            picture(if i < 60 { 1 } else { 4 }, 0.0).iter().map(|v| v * gain).collect()
        });
        let out = looks(&frames, 2_000, |_| 0);
        let second = &out.iter().find(|(_, g)| g.picture >= 60).unwrap().1;
        assert!(second.picture >= 118 && second.start >= Time::from_millis(3_960), "{out:?}");
        assert!(looks(&at_25(500, |_| vec![0.0; 2304]), 1_000, |_| 0).is_empty());
    }

    #[test]
    fn a_dissolve_of_which_frames_were_left_out_is_no_cut() {
        // Frames come at once and then not for 0.2 s; the dissolve takes 0.9 s.
        let frames: Frames = (0..80)
            .map(|i| {
                let t = i / 4 * 200 + i % 4 * 10;
                (t, mix(&picture(1, 0.0), &picture(4, 0.0), ((t as f32 - 2_000.0) / 900.0).clamp(0.0, 1.0)))
            })
            .collect();
        let out = looks(&frames, 60_000, |_| 0);
        assert!(out.len() == 2 && out[1].1.time >= Time::from_millis(2_800), "{out:?}");
    }

    #[test]
    fn what_may_not_be_said_yet_waits() {
        let frames = at_25(250, |i| picture(if i < 100 { 1 } else { 4 }, 0.0));
        let out = looks(&frames, 60_000, |i| if i < 100 { 0 } else { 6_000 });
        assert_eq!(out.len(), 2);
        assert_eq!(out[1].0, 150);
        assert_eq!(out[1].1.start, Time::from_millis(4_000));
        assert!(out[1].1.time >= Time::from_millis(6_000) - SETTLE);
    }

    #[test]
    fn few_frames_a_second_are_not_waited_for() {
        let frames: Frames = (0..10).map(|i| (i * 1_000, picture(if i < 5 { 1 } else { 4 }, 0.0))).collect();
        let out = looks(&frames, 60_000, |_| 0);
        assert_eq!(out.last().unwrap().0, 5, "{out:?}");
    }

    #[test]
    fn again_and_flush() {
        let mut glance = Glance::new(&GlanceOptions { max_gap: Time::from_millis(60_000) });
        let push = |glance: &mut Glance<u64>, i: u64, seed| {
            glance.push(thumb(i as i64 * 40, i, &picture(seed, 0.0)), i, Time::ZERO)
        };
        let seen = (0..50).filter_map(|i| push(&mut glance, i, 1)).count();
        glance.again();
        assert_eq!(seen + (50..100).filter_map(|i| push(&mut glance, i, 1)).count(), 2);
        assert_eq!(glance.flush(), None);
        assert_eq!(push(&mut glance, 100, 4), None);
        assert_eq!(glance.waiting_since(), Some(Time::from_millis(4_000)));
        assert_eq!(glance.flush().unwrap().picture, 100);
        assert_eq!(glance.waiting_since(), None);
    }

    proptest! {
        #[test]
        fn looks_are_in_order_and_never_too_close(
            shots in proptest::collection::vec((0u32..6, 1usize..40, 0f32..1.0, 1i64..200), 1..20),
        ) {
            let (mut frames, mut t) = (Frames::new(), 0);
            for (seed, n, speed, step) in shots {
                for i in 0..n {
                    t += step;
                    frames.push((t, if seed == 5 { vec![0.0; 2304] } else { picture(seed, i as f32 * speed) }));
                }
            }
            let out = looks(&frames, 3_000, |_| 0);
            for (chosen, g) in &out {
                prop_assert!(g.start <= g.time && g.time <= Time::from_millis(frames[*chosen].0));
            }
            for pair in out.windows(2) {
                prop_assert!(pair[1].1.time > pair[0].1.time && pair[1].1.start >= pair[0].1.start);
            }
        }
    }
}
