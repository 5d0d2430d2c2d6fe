//! Lines of text over time: what looks at single frames have found, put together.
//!
//! A [`TextTracker`] gets the strokes of every frame and the lines of the frames that were looked at, in order of time. It
//! recognises lines by their place and what they say, follows their strokes from frame to frame, lets their readings vote,
//! and tells how they behave. It is a state machine without threads or models.
//!
//! Memory: the strokes of some seconds of film ([`trace`](super::trace)), and the lines that are on the screen: at most
//! [`MOST_OPEN`].

use super::screen_text::{ScreenText, TextKind, TextUpdate};
use super::text_box::TextBox;
use super::trace::{Motion, StrokeHistory};
use super::tracked::{FoundLine, TrackedLine};
use crate::scene::StrokeMap;
use crate::time::Time;

/// Most lines on the screen at a time, as many as [`OcrOptions`](super::OcrOptions) allows in a picture.
const MOST_OPEN: usize = 400;
/// A line that no look has found again for so long is gone.
const PATIENCE: Time = Time::from_millis(3_500);
/// What begins is known so much later: it has come to rest, and was read twice.
const DELAY: Time = Time::from_millis(3_600);
/// Looks that do not find a line although its strokes are there: then they are not those of text.
const MOST_MISSED: u32 = 2;
/// Lines that roll together.
const ROLLING_LINES: usize = 3;
/// So many different texts in the same place, each for a few seconds, are subtitles.
const SUBTITLES: usize = 3;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct TextTracker {
    history: StrokeHistory,
    open: Vec<TrackedLine>,
    ended: Vec<ScreenText>,
    /// Time of the newest frame.
    now: Time,
    /// Rows in which a line has scrolled sideways, and when that was: their middles.
    ticker_rows: Vec<(Time, f32)>,
    /// Middles of the latest lines that were where subtitles are, from top to bottom of the picture.
    subtitle_rows: Vec<f32>,
}

/// A row in which nothing has scrolled for so long is no ticker any more.
const TICKER_PAUSE: Time = Time::from_millis(15_000);

/// Whether a line is where tickers are.
fn is_at_edge(place: &TextBox) -> bool {
    let y = place.center().1;
    !(0.15..=0.75).contains(&y)
}

impl TextTracker {
    /// The strokes of the next frame.
    pub fn frame(&mut self, time: Time, map: StrokeMap) {
        self.now = time;
        self.history.push(time, map.clone());
        let cut = self.history.has_cut();
        for line in &mut self.open {
            line.follow(time, &map, &self.history);
            line.cuts += u32::from(cut);
        }
        let gone = |line: &TrackedLine| line.lost.is_some_and(|since| time - since > PATIENCE);
        for line in self.open.extract_if(.., |line| gone(line)).collect::<Vec<_>>() {
            self.end(&line, line.lost.unwrap_or(time));
        }
    }

    /// The lines that were found in a region of the frame at `time`, whose strokes the tracker has.
    pub(super) fn look(&mut self, time: Time, region: &TextBox, found: Vec<FoundLine>) {
        let Some(map) = self.history.at(time).cloned() else { return };
        let (pairs, new) = self.matches(time, found);
        let mut matched = vec![false; self.open.len()];
        for (index, line) in pairs {
            matched[index] = true;
            self.open[index].update(line, time, &map, &self.history);
        }
        let mut begin = Vec::new();
        for line in new {
            begin.push(TrackedLine::new(line, time, &map, &self.history));
        }
        self.close(time, region, &mut matched, &mut begin);
        let room = MOST_OPEN.saturating_sub(self.open.len());
        self.open.extend(begin.into_iter().take(room));
        self.find_rolling();
        self.find_tickers(time);
    }

    /// Pairs lines that are on the screen with those that were found, the best pairs first; and those that are new.
    fn matches(&self, time: Time, found: Vec<FoundLine>) -> (Vec<(usize, FoundLine)>, Vec<FoundLine>) {
        let mut fits: Vec<(f64, usize, usize)> = Vec::new();
        for (n, line) in found.iter().enumerate() {
            for (index, open) in self.open.iter().enumerate() {
                let fit = open.fit(line, time);
                if fit > 0.0 {
                    fits.push((fit, index, n));
                }
            }
        }
        fits.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut found: Vec<Option<FoundLine>> = found.into_iter().map(Some).collect();
        let mut taken = vec![false; self.open.len()];
        let mut pairs = Vec::new();
        for (_, index, n) in fits {
            if !taken[index]
                && let Some(line) = found[n].take()
            {
                taken[index] = true;
                pairs.push((index, line));
            }
        }
        (pairs, found.into_iter().flatten().collect())
    }

    /// Ends the lines that a look has not found: those that `begin` replaces, those that are lost, and those that are none.
    fn close(&mut self, time: Time, region: &TextBox, matched: &mut Vec<bool>, begin: &mut [TrackedLine]) {
        let mut over = Vec::new();
        for (index, line) in self.open.iter_mut().enumerate().filter(|(index, _)| !matched[*index]) {
            let successor = begin.iter_mut().find(|new| new.place.overlap(&line.place) >= 0.3);
            if let Some(new) = successor {
                let at = line.replaced_at(time, &self.history);
                let end = line.lost.map_or(at, |lost| lost.min(at));
                new.start = new.start.max(end);
                over.push((index, Some(end)));
            } else if line.place.share_in(region) < 0.9 {
                // Nobody has looked there.
            } else if let Some(lost) = line.lost {
                over.push((index, Some(lost)));
            } else {
                line.missed += 1;
                if line.missed >= MOST_MISSED {
                    let end = line.replaced_at(time, &self.history);
                    over.push((index, line.was_read_twice().then_some(end)));
                }
            }
        }
        for (index, end) in over.into_iter().rev() {
            let line = self.open.remove(index);
            matched.remove(index);
            if let Some(end) = end {
                self.end(&line, end);
            }
        }
    }

    fn end(&mut self, line: &TrackedLine, end: Time) {
        let Some(mut text) = line.text(end) else { return };
        if text.kind == TextKind::Title && self.is_subtitle(&text) {
            text.kind = TextKind::Subtitle;
        }
        self.ended.push(text);
    }

    /// Whether a line is where subtitles are, and others have been there before.
    fn is_subtitle(&mut self, text: &ScreenText) -> bool {
        if !text.may_be_subtitle() {
            return false;
        }
        let y = text.place.center().1;
        let near = |row: &&f32| (**row - y).abs() < 0.5 * text.place.height;
        let before = self.subtitle_rows.iter().filter(near).count();
        self.subtitle_rows.push(y);
        if self.subtitle_rows.len() > 4 * SUBTITLES {
            self.subtitle_rows.remove(0);
        }
        before + 1 >= SUBTITLES
    }

    /// Lines that move up or down together, at one speed, are credits.
    fn find_rolling(&mut self) {
        let together = |a: &Motion, b: &Motion| {
            let speed = a.y.abs().max(b.y.abs());
            a.x.abs() < 0.2 * a.y.abs() && (a.y - b.y).abs() < 0.2 * speed && (a.x - b.x).abs() < 0.2 * speed
        };
        let motions: Vec<Option<Motion>> = self.open.iter().map(|line| line.motion).collect();
        for (index, motion) in motions.iter().enumerate() {
            let Some(motion) = motion else { continue };
            if motions.iter().flatten().filter(|other| together(motion, other)).count() >= ROLLING_LINES {
                self.open[index].group = Some(TextKind::Rolling);
            }
        }
    }

    /// Lines that move sideways in a row at the edge of the picture, one after the other, are a ticker.
    fn find_tickers(&mut self, time: Time) {
        let moves = |line: &&mut TrackedLine| line.moves_sideways() && is_at_edge(&line.place);
        for line in self.open.iter_mut().filter(moves) {
            let y = line.place.center().1;
            let row = self.ticker_rows.iter_mut().find(|(_, row)| (row - y).abs() < 0.3 * line.place.height);
            match row {
                // In the first look at it, too, if it has moved for long enough.
                Some((last, _)) if time - *last < TICKER_PAUSE || line.moves >= 3 => {
                    line.group = Some(TextKind::Rolling);
                    *last = time;
                }
                Some((last, _)) => *last = time,
                None => self.ticker_rows.push((time, y)),
            }
        }
        if self.ticker_rows.len() > SUBTITLES {
            self.ticker_rows.remove(0);
        }
    }

    /// What has become known.
    pub fn update(&mut self) -> TextUpdate {
        let now = self.now;
        let current = self.open.iter().filter_map(|line| line.text(line.lost.unwrap_or(now))).collect();
        TextUpdate { ended: std::mem::take(&mut self.ended), current, until: now - DELAY }
    }

    /// What is known at the end of the film.
    pub fn finish(&mut self, end: Time) -> TextUpdate {
        for line in std::mem::take(&mut self.open) {
            self.end(&line, line.lost.unwrap_or(end.max(self.now)));
        }
        TextUpdate { until: Time::MAX, ..self.update() }
    }
}
