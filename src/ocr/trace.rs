//! When a line of text came and went: its strokes, frame by frame.
//!
//! Memory: the strokes of [`LONGEST`] of film, of at most [`MOST_FRAMES`] frames.

use std::collections::VecDeque;
use std::ops::Range;

use super::text_box::TextBox;
use crate::scene::{StrokeMap, THUMB_WIDTH};
use crate::time::Time;

/// How far back lines are traced.
const LONGEST: Time = Time::from_millis(12_000);
/// Most frames that are remembered: of films with more than 60 a second, less time.
const MOST_FRAMES: usize = 720;
/// A line is there while at least this share of its strokes is: half of its opacity.
pub(super) const THERE: f32 = 0.5;
/// Strokes that change by this share from one frame to the next are those of another text, or of another scene.
const JUMP: f32 = 0.3;
/// A change that is so many times the usual one, which is noise, and at least this share of the largest, is one of digits.
const UNUSUAL: f32 = 3.0;
const SHARE_OF_LARGEST: f32 = 0.2;
/// A line that is away for so many frames may only be hidden by noise.
const FLICKER: usize = 2;

/// The blocks of a box and what strokes they had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Imprint {
    columns: Range<usize>,
    rows: Range<usize>,
    /// Row by row.
    strokes: Vec<u8>,
}

impl Imprint {
    /// Of a box in a frame.
    pub(super) fn of(place: &TextBox, map: &StrokeMap) -> Imprint {
        let (columns, rows) = place.blocks();
        let strokes = within(&columns, &rows, map).collect();
        Imprint { columns, rows, strokes }
    }

    /// The share of its strokes that a frame has in the same place, 0 to 1. Strokes that are not its own count against it.
    pub(super) fn share(&self, map: &StrokeMap) -> f32 {
        overlap(self.strokes.iter().copied().zip(within(&self.columns, &self.rows, map)))
    }

    /// The share of its strokes that a frame has in the same place, whatever strokes it has besides; 0 to 1.
    pub(super) fn kept(&self, map: &StrokeMap) -> f32 {
        let (mut common, mut own) = (0u32, 0u32);
        for (stroke, here) in self.strokes.iter().zip(within(&self.columns, &self.rows, map)) {
            common += u32::from((*stroke).min(here));
            own += u32::from(*stroke);
        }
        if own > 0 { common as f32 / own as f32 } else { 0.0 }
    }

    /// The strokes in all that a frame has in the same place, as a share of its own; at most 1.
    pub(super) fn strength(&self, map: &StrokeMap) -> f32 {
        self.strength_in(&self.columns, &self.rows, map)
    }

    /// Whether what it is of is in another box of a frame, as far as the strokes in all tell.
    pub(super) fn is_at(&self, place: &TextBox, map: &StrokeMap) -> bool {
        let (columns, rows) = place.blocks();
        place.is_visible() && self.strength_in(&columns, &rows, map) >= THERE
    }

    /// The mean of the strokes of some blocks, as a share of the mean of its own; at most 1.
    fn strength_in(&self, columns: &Range<usize>, rows: &Range<usize>, map: &StrokeMap) -> f32 {
        let sum = |values: &mut dyn Iterator<Item = u8>| values.map(f32::from).sum::<f32>();
        let here = sum(&mut within(columns, rows, map)) / (columns.len() * rows.len()).max(1) as f32;
        let own = sum(&mut self.strokes.iter().copied()) / self.strokes.len().max(1) as f32;
        if own > 0.0 { (here / own).min(1.0) } else { 0.0 }
    }

    /// How much its blocks change from one frame to another, 0 to 1.
    fn change(&self, a: &StrokeMap, b: &StrokeMap) -> f32 {
        let (a, b) = (within(&self.columns, &self.rows, a), within(&self.columns, &self.rows, b));
        1.0 - overlap(a.zip(b))
    }
}

/// How a line moves: shares of the picture's width and height in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Motion {
    pub(super) x: f32,
    pub(super) y: f32,
}

impl Motion {
    /// Where a box is that was elsewhere `after` before; `after` may be negative.
    pub(super) fn moved(self, place: &TextBox, after: Time) -> TextBox {
        let seconds = after.secs() as f32;
        TextBox { x: place.x + self.x * seconds, y: place.y + self.y * seconds, ..*place }
    }
}

/// The strokes of the latest frames.
#[derive(Debug, Clone, Default)]
pub(super) struct StrokeHistory {
    frames: VecDeque<(Time, StrokeMap)>,
}

impl StrokeHistory {
    pub(super) fn push(&mut self, time: Time, map: StrokeMap) {
        self.frames.push_back((time, map));
        while self.frames.len() > MOST_FRAMES || self.frames.front().is_some_and(|(first, _)| time - *first > LONGEST) {
            self.frames.pop_front();
        }
    }

    /// The strokes of a frame, or of the one before that time.
    pub(super) fn at(&self, time: Time) -> Option<&StrokeMap> {
        let after = self.frames.partition_point(|(at, _)| *at <= time);
        self.frames.get(after.checked_sub(1)?).map(|(_, map)| map)
    }

    /// Since when something in its place has been there that was there at `time`.
    pub(super) fn start(&self, imprint: &Imprint, time: Time) -> Time {
        let begins =
            |map: &StrokeMap, later: &StrokeMap| imprint.change(map, later) > JUMP && imprint.share(later) >= THERE;
        self.since(time, begins, |_, map| imprint.share(map) >= THERE)
    }

    /// Since when something has been there that moves, and was in `place` at `time`.
    pub(super) fn moving_start(&self, imprint: &Imprint, place: &TextBox, motion: Motion, time: Time) -> Time {
        self.since(time, is_cut, |at, map| imprint.is_at(&motion.moved(place, at - time), map))
    }

    /// The first of the frames before `time` in which something is there without a pause that is longer than [`FLICKER`].
    /// `begins`: whether it cannot be there before the second of two frames.
    fn since(
        &self,
        time: Time,
        begins: impl Fn(&StrokeMap, &StrokeMap) -> bool,
        is_there: impl Fn(Time, &StrokeMap) -> bool,
    ) -> Time {
        let mut since = time;
        let mut away = 0;
        let mut later: Option<&StrokeMap> = None;
        for (at, map) in self.frames.iter().rev().skip_while(|(at, _)| *at > time) {
            if later.is_some_and(|later| begins(map, later)) {
                break;
            }
            if is_there(*at, map) {
                (since, away) = (*at, 0);
            } else {
                away += 1;
                if away > FLICKER {
                    break;
                }
            }
            later = Some(map);
        }
        since
    }

    /// The time between two at which the blocks of an imprint changed most; the later one if they did not change.
    pub(super) fn largest_change(&self, imprint: &Imprint, after: Time, until: Time) -> Time {
        let frames = self.frames.iter().filter(|(at, _)| *at >= after && *at <= until);
        let mut best = (0.0, until);
        let mut before: Option<&StrokeMap> = None;
        for (at, map) in frames {
            let change = before.map_or(0.0, |before| imprint.change(before, map));
            if change > best.0 {
                best = (change, *at);
            }
            before = Some(map);
        }
        best.1
    }

    /// The latest time between two at which the blocks of an imprint changed by more than they usually do; the later one if they
    /// never did. What changes before it is something else, such as the scene behind the line.
    pub(super) fn latest_change(&self, imprint: &Imprint, after: Time, until: Time) -> Time {
        let within: Vec<&(Time, StrokeMap)> =
            self.frames.iter().filter(|(at, _)| *at >= after && *at <= until).collect();
        let changes: Vec<(Time, f32)> =
            within.windows(2).map(|pair| (pair[1].0, imprint.change(&pair[0].1, &pair[1].1))).collect();
        let mut sorted: Vec<f32> = changes.iter().map(|(_, change)| *change).collect();
        sorted.sort_by(f32::total_cmp);
        let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let largest = sorted.last().copied().unwrap_or(0.0);
        let least = (UNUSUAL * usual).max(SHARE_OF_LARGEST * largest);
        changes.iter().rfind(|(_, change)| *change > 0.0 && *change >= least).map_or(until, |(at, _)| *at)
    }

    /// Whether a frame that follows begins another scene.
    pub(super) fn begins_scene(&self, next: &StrokeMap) -> bool {
        self.frames.back().is_some_and(|(_, newest)| is_cut(newest, next))
    }
}

/// Whether most strokes of the picture change.
pub(super) fn is_cut(before: &StrokeMap, after: &StrokeMap) -> bool {
    overlap(before.values.iter().copied().zip(after.values.iter().copied())) < 0.4
}

/// What two lists of strokes have in common, as a share of both; 1 if there are none.
fn overlap(pairs: impl Iterator<Item = (u8, u8)>) -> f32 {
    let (mut common, mut all) = (0u32, 0u32);
    for (a, b) in pairs {
        common += u32::from(a.min(b));
        all += u32::from(a.max(b));
    }
    if all == 0 { 1.0 } else { common as f32 / all as f32 }
}

fn within<'a>(columns: &Range<usize>, rows: &Range<usize>, map: &'a StrokeMap) -> impl Iterator<Item = u8> + 'a {
    let columns = columns.clone();
    rows.clone().flat_map(move |y| map.values[y * THUMB_WIDTH..][columns.clone()].iter().copied())
}
