//! A line of text while it is on the screen.

use super::TextLine;
use super::geometry::Point;
use super::reading::{
    LineReading, Readings, differ_in_digits, is_part, joined, likeness, narrow, says_the_same, with_zeros,
};
use super::screen_text::{DECIDED, ScreenText, TextKind};
use super::text_box::TextBox;
use super::trace::{Imprint, Motion, StrokeHistory, THERE};
use crate::printable::plain;
use crate::scene::StrokeMap;
use crate::time::Time;

/// A line that was read once must be there for so long and have so good a score; one that was read twice may have less.
const LEAST_TIME: Time = Time::from_millis(300);
pub(crate) const SURE_ALONE: f32 = 0.93;
const SURE_TWICE: f32 = 0.85;
/// Readings of a line that is worth mentioning agree at least so much.
const LEAST_AGREEMENT: f32 = 0.75;
/// A line that keeps this share of its strokes is there, whatever else is.
const KEPT: f32 = 0.8;
/// A line may be hidden for so long.
const FLICKER: Time = Time::from_millis(200);
/// A line that has moved by this share of its height moves.
const MOVED: f32 = 0.12;
/// A line that has moved so often, and is away from where it was first by this share of its height, moves: under a slow
/// camera, most looks come before it has gone far.
const SLOW_MOVES: u32 = 3;
const AWAY: f32 = 0.25;
/// Boxes of lines that rest differ by less, as a share of the picture.
const LEAST_MOVED: f32 = 0.006;
/// Readings of a line that is all there are so much alike, and the edges of its boxes differ by less than this, as a share of
/// the picture.
const STEADY: f64 = 0.8;
const LEAST_STEADY: f32 = 0.015;
/// A line that has not done that for so long stays where it is.
const STILL: Time = Time::from_millis(2_500);
/// Least width of a line that scrolls sideways, as a share of the picture's.
const LEAST_TICKER: f32 = 0.3;
/// Digits that change so often are those of a clock; once may be an error.
const COUNTS: u32 = 2;
/// A line that outlives so many scenes is static, if it is there for long enough.
const STATIC_CUTS: u32 = 3;
const STATIC_TIME: Time = Time::from_millis(15_000);

/// A line as it was found by one look.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundLine {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) place: TextBox,
}

impl FoundLine {
    /// A line that was read in a part of a picture. `origin`: the part's upper left corner, and `size`: the picture's width and
    /// height, all in pixels.
    pub(super) fn of(line: &TextLine, origin: (u32, u32), size: (u32, u32)) -> FoundLine {
        let (x, y) = (f64::from(origin.0), f64::from(origin.1));
        let corners = line.corners.map(|corner| Point { x: corner.x + x, y: corner.y + y });
        let place = TextBox::around(&corners, size.0, size.1);
        FoundLine { text: narrow(line.text.trim()), score: line.score, place }
    }
}

/// A line that is on the screen, as it reads now.
#[derive(Debug, Clone, PartialEq)]
pub struct VisibleLine {
    /// Where it was in the latest look that found it, and what it says by then. Its end is the time of the newest frame.
    pub line: ScreenText,
    /// Since when it has said that.
    pub since: Time,
    /// The latest look that found it.
    pub looked: Time,
    /// Looks in a row that have read nearly the same in the same place, or in one that moves: neither more of a line that slides
    /// in, nor other letters.
    pub looks: u32,
    /// How it moves, in shares of the picture's width and height in a second; none if it stays where it is.
    pub motion: Option<(f32, f32)>,
}

/// What a line was read as last.
#[derive(Debug, Clone)]
struct LatestReading {
    text: String,
    score: f32,
    /// Since when it has been read so, and by how many looks in a row.
    since: Time,
    looks: u32,
}

/// How much of a line can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// More than before.
    More,
    /// Less than before.
    Less,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct TrackedLine {
    readings: Readings,
    /// What a line that scrolls has said so far.
    scrolled: Option<String>,
    first_place: TextBox,
    /// Where it was in the last look, and when that was.
    pub(super) place: TextBox,
    pub(super) looked: Time,
    imprint: Imprint,
    pub(super) start: Time,
    /// Since when it has not been seen.
    pub(super) lost: Option<Time>,
    /// None while it stays in its place.
    pub(super) motion: Option<Motion>,
    /// How often it was seen to have moved.
    pub(super) moves: u32,
    /// Looks in which it was not found although its strokes are there.
    pub(super) missed: u32,
    /// Scenes that ended while it was there.
    cuts: u32,
    /// Whether it was there for nearly all of the film.
    pub(super) lasts: bool,
    /// How often its digits have changed, and the latest ones.
    counts: u32,
    last_count: Option<String>,
    latest: LatestReading,
    /// What it said before.
    first_count: Option<String>,
    /// Where it was when it had moved last, and when that was.
    anchor: (TextBox, Time),
    /// Looks that have found it, and the latest of those in a row that have read nearly the same.
    looks: u32,
    steady_looks: u32,
    /// A kind that its neighbours have given it.
    pub(super) group: Option<TextKind>,
}

impl TrackedLine {
    /// A line that a look at `time` has found for the first time.
    pub(super) fn new(found: FoundLine, time: Time, map: &StrokeMap, history: &StrokeHistory) -> TrackedLine {
        let imprint = Imprint::of(&found.place, map);
        let start = history.start(&imprint, time);
        let mut readings = Readings::default();
        let (text, score) = (found.text, found.score);
        let latest = LatestReading { text: text.clone(), score, since: start, looks: 1 };
        readings.push(LineReading { text, score });
        TrackedLine {
            readings,
            scrolled: None,
            first_place: found.place,
            place: found.place,
            looked: time,
            imprint,
            start,
            lost: None,
            motion: None,
            moves: 0,
            missed: 0,
            cuts: 0,
            lasts: false,
            counts: 0,
            last_count: None,
            latest,
            first_count: None,
            anchor: (found.place, time),
            looks: 1,
            steady_looks: 1,
            group: None,
        }
    }

    /// How well a line that was found fits, 0 if it is another one.
    pub(super) fn fit(&self, found: &FoundLine, time: Time) -> f64 {
        let expected = self.motion.map_or(self.place, |motion| motion.moved(&self.place, time - self.looked));
        let overlap = f64::from(expected.overlap(&found.place));
        let likeness = self.readings.likeness(&found.text);
        // What comes after it was lost is more likely another text.
        let least = if self.lost.is_some() { 0.85 } else { 0.6 };
        if overlap >= 0.3 && (likeness >= least || self.is_count(&found.text) || self.repeats_count(&found.text)) {
            return 1.0 + likeness + overlap;
        }
        let height = found.place.height / self.place.height.max(1e-6);
        // A line that enters or leaves is cut off at the edge.
        let partial = self.place.is_at_edge() || found.place.is_at_edge();
        let may_be = if partial { 0.3..3.4 } else { 0.6..1.7 };
        if !may_be.contains(&height) {
            return 0.0;
        }
        let ((x, y), (old_x, old_y)) = (found.place.center(), self.place.center());
        let in_line = (y - old_y).abs() < 0.5 * self.place.height;
        if in_line && self.part(&found.text).is_some() && expected.reaches(&found.place) {
            return 0.9;
        }
        // What moves is found by what it says.
        let says_the_same = likeness >= 0.75 && found.text.chars().count() >= 3;
        let seconds = (time - self.looked).secs().max(0.04) as f32;
        let speed = (x - old_x).hypot(y - old_y) / seconds;
        if says_the_same && speed < 0.6 {
            return likeness;
        }
        let is_wide = self.place.width.min(found.place.width) >= LEAST_TICKER;
        if in_line && is_wide && self.scrolls_to(found) { 0.5 } else { 0.0 }
    }

    /// Whether a line that was found continues this one, and what they have in common has moved.
    fn scrolls_to(&self, found: &FoundLine) -> bool {
        joined(self.last_text(), &found.text).is_some_and(|joined| {
            let at = |place: &TextBox, share: f32| place.x + share * place.width;
            let moved = at(&found.place, joined.places.1) - at(&self.place, joined.places.0);
            moved.abs() > 0.5 * self.place.height
        })
    }

    /// Whether a text that was found is more of this line than was known, or less of it; none if it is neither.
    fn part(&self, text: &str) -> Option<Part> {
        let known = self.readings.text()?;
        match (is_part(known, text), is_part(text, known)) {
            (true, false) => Some(Part::More),
            (false, true) => Some(Part::Less),
            _ => None,
        }
    }

    /// Whether a text is the same count at another time.
    fn is_count(&self, text: &str) -> bool {
        self.last_count.as_deref().or(self.readings.text()).is_some_and(|last| differ_in_digits(last, text))
    }

    /// Whether a text is what the digits were last.
    fn repeats_count(&self, text: &str) -> bool {
        self.last_count.as_deref().is_some_and(|last| says_the_same(last, text))
    }

    fn last_text(&self) -> &str {
        self.scrolled.as_deref().or(self.readings.text()).unwrap_or_default()
    }

    /// A look at `time` has found the line again.
    pub(super) fn update(&mut self, found: FoundLine, time: Time, map: &StrokeMap, history: &StrokeHistory) {
        self.looks += 1;
        let (before, said) = (self.place, self.latest.text.clone());
        let part = if self.scrolled.is_none() { self.part(&found.text) } else { None };
        if part == Some(Part::More) {
            // It slides or fades in from one side, or is written.
            self.readings = Readings::default();
            self.first_place = found.place;
            self.anchor = (found.place, time);
            self.motion = None;
        }
        let is_count = self.is_count(&found.text);
        let is_known = is_count || self.repeats_count(&found.text) || self.readings.resemble(&found.text);
        let scrolls = part.is_none() && !is_known;
        self.read(&found, time, history);
        if scrolls || self.scrolled.is_some() {
            let text = joined(self.last_text(), &found.text).map(|joined| joined.text);
            self.scrolled = text.or_else(|| self.scrolled.take());
        }
        if is_count {
            if self.first_count.is_none() {
                self.first_count = self.readings.text().map(String::from);
            }
            self.last_count = Some(found.text.clone());
            self.counts += 1;
        }
        if scrolls {
            self.motion = Some(Motion::default());
            self.moves += 1;
        } else if part.is_none() {
            self.see_motion(&found, time, history);
        }
        // A count keeps the text that it began with.
        if part != Some(Part::Less) && self.counts < COUNTS {
            self.readings.push(LineReading { text: found.text, score: found.score });
        }
        let is_steady = part.is_none() && self.is_steady(&before, &found.place);
        self.steady_looks =
            if is_steady && likeness(&said, &self.latest.text) >= STEADY { self.steady_looks + 1 } else { 1 };
        self.imprint = Imprint::of(&found.place, map);
        (self.place, self.looked, self.lost, self.missed) = (found.place, time, None, 0);
    }

    /// Keeps what a look at `time` has read.
    fn read(&mut self, found: &FoundLine, time: Time, history: &StrokeHistory) {
        if says_the_same(&self.latest.text, &found.text) {
            self.latest.looks += 1;
            self.latest.score = self.latest.score.max(found.score);
        } else {
            let since = history.latest_change(&self.imprint, self.looked, time);
            self.latest = LatestReading { text: found.text.clone(), score: found.score, since, looks: 1 };
        }
    }

    /// Whether a line that was in one place and is in another may be all of the same line.
    fn is_steady(&self, before: &TextBox, now: &TextBox) -> bool {
        let (across, down) = (LEAST_STEADY, (0.3 * before.height).max(LEAST_STEADY));
        let near = |a: f32, a_length: f32, b: f32, b_length: f32, tolerance: f32| {
            (a - b).abs() <= tolerance && (a + a_length - b - b_length).abs() <= tolerance
        };
        let is_here = near(before.x, before.width, now.x, now.width, across)
            && near(before.y, before.height, now.y, now.height, down);
        is_here || self.motion.is_some() && (now.width / before.width.max(1e-6) - 1.0).abs() < 0.15
    }

    /// Finds out whether the line moves, and how.
    fn see_motion(&mut self, found: &FoundLine, time: Time, history: &StrokeHistory) {
        let (anchor, since) = self.anchor;
        let ((x, y), (old_x, old_y)) = (found.place.center(), anchor.center());
        if found.place.distance(&anchor) > (MOVED * anchor.height).max(LEAST_MOVED) {
            let seconds = (time - since).secs().max(0.04) as f32;
            let motion = Motion { x: (x - old_x) / seconds, y: (y - old_y) / seconds };
            if self.motion.is_none() {
                self.start = history.moving_start(&self.imprint, &self.place, motion, self.looked);
            }
            self.motion = Some(motion);
            self.moves += 1;
            self.anchor = (found.place, time);
        } else if time - since >= STILL {
            self.motion = None;
        }
    }

    /// Lets a new line move as the others do, if it has: among credits that roll, what has just come in.
    pub(super) fn join(&mut self, motion: Motion, history: &StrokeHistory) {
        let start = history.moving_start(&self.imprint, &self.place, motion, self.looked);
        if start < self.start {
            (self.start, self.motion, self.group) = (start, Some(motion), Some(TextKind::Rolling));
        }
    }

    /// Sees whether the line is still there in a new frame. `cut`: whether that begins another scene.
    pub(super) fn follow(&mut self, time: Time, map: &StrokeMap, cut: bool) {
        self.cuts += u32::from(cut);
        let there = match self.motion {
            Some(motion) if self.scrolled.is_none() => {
                !cut && self.imprint.is_at(&motion.moved(&self.place, time - self.looked), map)
            }
            // The strokes of what scrolls change all the time.
            Some(_) => self.imprint.strength(map) >= THERE,
            // What moves behind a line adds strokes to its own.
            None => {
                self.imprint.share(map) >= THERE
                    || self.imprint.kept(map) >= KEPT
                    || (self.counts >= COUNTS && self.imprint.strength(map) >= THERE)
            }
        };
        if there {
            // Later, it is something else that has as many strokes there.
            self.lost = self.lost.filter(|since| time - *since >= FLICKER);
        } else {
            self.lost.get_or_insert(time);
        }
    }

    /// The line that takes its place has been found at `time`.
    pub(super) fn replaced_at(&self, time: Time, history: &StrokeHistory) -> Time {
        history.largest_change(&self.imprint, self.looked, time)
    }

    /// Whether it was read well enough to be mentioned.
    fn is_sure(&self, end: Time) -> bool {
        let Some((best, agreement)) = self.readings.best() else { return false };
        let letters = best.text.chars().filter(|c| c.is_alphanumeric()).count();
        let (least_letters, least) = if self.was_read_twice() { (2, SURE_TWICE) } else { (4, SURE_ALONE) };
        letters >= least_letters
            && self.readings.score() >= least
            && agreement >= LEAST_AGREEMENT
            && end - self.start >= LEAST_TIME
    }

    /// Whether more than one look has found it.
    pub(super) fn was_read_twice(&self) -> bool {
        self.looks > 1
    }

    /// Whether it has digits, and stays in its place.
    pub(super) fn has_digits(&self) -> bool {
        self.motion.is_none() && with_zeros(&self.latest.text).contains(|c: char| c.is_ascii_digit())
    }

    /// Whether it moves from side to side.
    pub(super) fn moves_sideways(&self) -> bool {
        self.motion.is_some_and(|motion| motion.y.abs() < 0.15 * motion.x.abs())
    }

    /// Whether it moves slowly.
    fn drifts(&self) -> bool {
        self.moves >= SLOW_MOVES && self.place.distance(&self.first_place) > AWAY * self.place.height
    }

    fn kind(&self, end: Time) -> TextKind {
        match self.group {
            _ if self.counts >= COUNTS => TextKind::Counter,
            Some(kind) => kind,
            None if self.scrolled.is_some() => TextKind::Rolling,
            // A title may slide in, and then rest.
            None if 2 * self.moves >= self.looks || self.drifts() => TextKind::Scene,
            None if self.is_static(end) => TextKind::Static,
            None => TextKind::Title,
        }
    }

    /// Whether it has outlived enough scenes.
    fn is_static(&self, end: Time) -> bool {
        let time = end - self.start;
        self.cuts >= STATIC_CUTS && time >= STATIC_TIME || self.cuts > 0 && (time >= DECIDED || self.lasts)
    }

    /// The line as it reads now, at `now`; none if that is not certain, or nobody sees it.
    pub(super) fn visible(&self, now: Time) -> Option<VisibleLine> {
        if self.lost.is_some() {
            return None;
        }
        let latest = &self.latest;
        let differs = || self.readings.text().is_none_or(|best| !says_the_same(best, &latest.text));
        let has_changed = self.scrolled.is_none() && (self.counts > 0 || latest.looks > 1 && differs());
        let (text, confidence) = if has_changed {
            // The vote of all readings is about what it said before.
            let letters = latest.text.chars().filter(|c| c.is_alphanumeric()).count();
            let is_sure = letters >= 2 && latest.score >= SURE_TWICE && self.was_read_twice();
            let read = if self.counts > 0 { with_zeros(&latest.text) } else { latest.text.clone() };
            (is_sure.then(|| plain(&read).trim().to_string())?, latest.score)
        } else {
            let known = self.text(now)?;
            (known.text, known.confidence)
        };
        let (start, place, kind) = (self.start, self.place, self.kind(now));
        let line = ScreenText { text, start, end: now, place, confidence, kind };
        let motion = self.motion.map(|motion| (motion.x, motion.y));
        let (since, looked, looks) = (latest.since, self.looked, self.steady_looks);
        (!line.text.is_empty()).then_some(VisibleLine { line, since, looked, looks, motion })
    }

    /// The line as it is known now, up to `end`; none if it is not certain that there is one.
    pub(super) fn text(&self, end: Time) -> Option<ScreenText> {
        let (best, agreement) = self.readings.best().filter(|_| self.is_sure(end))?;
        let count = self.first_count.as_deref().filter(|_| self.counts >= COUNTS);
        let text = plain(self.scrolled.as_deref().or(count).unwrap_or(&best.text)).trim().to_string();
        (!text.is_empty()).then(|| ScreenText {
            text,
            start: self.start,
            end,
            place: self.first_place,
            confidence: self.readings.score() * agreement,
            kind: self.kind(end),
        })
    }
}
