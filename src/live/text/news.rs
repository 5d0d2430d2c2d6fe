//! What is new about the text that a stream shows.
//!
//! Pure: it gets the lines that are on the screen after each look, and returns what is to be reported.
//!
//! A line is reported when two looks have read it. It is remembered where it was and what it said: it is not reported again
//! while it stays, nor when it comes back within [`FORGOTTEN`]. A line whose digits change is reported when they have come to
//! rest, unless they are those of a clock. Where subtitles are, a line waits until it has been there for longer than a subtitle.
//!
//! Memory: at most [`MOST_KNOWN`] lines, and some rows.

use super::clock;
use super::ticker::TickerRow;
use crate::ocr::{SURE_ALONE, ScreenText, StaticText, TextKind, VisibleLine};
use crate::time::Time;
use crate::track::writing::{CREDITS_ROLL, LEAST_CREDITS, quote, ticker};

/// Most lines that are remembered. Where there are more, the one that was seen longest ago is forgotten.
const MOST_KNOWN: usize = 256;
/// A line that has not been seen for so long is forgotten.
const FORGOTTEN: Time = Time::from_millis(600_000);
/// Digits that stay for so long are not counting.
const STANDS: Time = Time::from_millis(5_000);
/// A line where subtitles are is none after so long.
const NO_SUBTITLE: Time = Time::from_millis(6_000);
/// Another text in the same place within so long: both are subtitles.
const NEXT_SUBTITLE: Time = Time::from_millis(30_000);
/// Lines that are there so soon after the start of the stream have been there before.
const FROM_THE_START: Time = Time::from_millis(3_000);
/// A line that moves up or down is no sign before it has done so for this long: it may be the first of the credits.
const NO_CREDITS: Time = Time::from_millis(4_000);
/// Credits that pause for longer are others.
const CREDITS: Time = Time::from_millis(15_000);
/// So many looks would see a line move.
const STEADY_LOOKS: u32 = 4;
/// A line that no look has read for so long is as it was.
const UNCHANGED: Time = Time::from_millis(1_500);
/// Slower lines stay where they are, but for errors; in shares of the picture in a second.
const LEAST_SPEED: f32 = 0.03;
/// Rows that are remembered, of subtitles and of tickers each.
const MOST_ROWS: usize = 8;

/// What is said about what is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextStatement {
    /// When the first of it appeared.
    pub(super) at: Time,
    /// The look that has confirmed it.
    pub(super) looked: Time,
    /// One sentence or several, without the last stop.
    pub(super) text: String,
    /// The lines that it is about.
    pub(super) lines: Vec<ScreenText>,
    /// How likely the least certain of them was read correctly, 0 to 1.
    pub(super) confidence: f32,
}

/// Whether a line was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    NotYet,
    /// It was, or there is nothing to report about it.
    Done,
}

/// A line that was seen.
#[derive(Debug, Clone)]
struct KnownText {
    /// As it was seen last.
    line: ScreenText,
    seen: Time,
    /// The latest look that has found it.
    looked: Time,
    told: Told,
    /// What it said when it was reported.
    reported: Option<String>,
    /// Looks in a row that have read what it says, but for a clock in it, and since when it has said that.
    looks: u32,
    since: Time,
    /// How long it had said something else before that; none if that is not known.
    before: Option<Time>,
}

/// A row in which lines are that may be subtitles.
#[derive(Debug, Clone)]
struct SubtitleRow {
    y: f32,
    text: ScreenText,
    seen: Time,
    is_certain: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct TextNews {
    static_text: StaticText,
    /// Least time between two statements.
    min_interval: Time,
    known: Vec<KnownText>,
    subtitles: Vec<SubtitleRow>,
    tickers: Vec<TickerRow>,
    /// When the stream was seen first, and when something was reported last.
    began: Option<Time>,
    last: Option<Time>,
    /// When credits were seen to roll last.
    credits: Option<Time>,
}

impl TextNews {
    pub(super) fn new(static_text: StaticText, min_interval: Time) -> TextNews {
        TextNews {
            static_text,
            min_interval,
            known: Vec::new(),
            subtitles: Vec::new(),
            tickers: Vec::new(),
            began: None,
            last: None,
            credits: None,
        }
    }

    /// What is new at `now`. `visible`: the lines that are on the screen. `joins`: whether the description of a scene waits for
    /// what is written there.
    pub(super) fn update(&mut self, now: Time, visible: &[VisibleLine], joins: bool) -> Option<TextStatement> {
        self.began.get_or_insert(now);
        self.forget(now);
        let known: Vec<usize> = visible.iter().map(|line| self.meet(now, line)).collect();
        if self.last.is_some_and(|last| now - last < self.min_interval) {
            return None;
        }
        let mut sentences = Vec::new();
        let mut lines: Vec<&VisibleLine> = Vec::new();
        let rolling = self.roll(now, visible, &known, &mut sentences);
        lines.extend(rolling);
        let mut ready = Vec::new();
        for (n, line) in visible.iter().enumerate() {
            if self.known[known[n]].told == Told::NotYet && self.is_ready(now, line, known[n], joins) {
                ready.push(n);
            }
        }
        let quoted: Vec<&ScreenText> = ready.iter().map(|n| &visible[*n].line).collect();
        if !quoted.is_empty() {
            sentences.push(quote(&quoted));
        }
        for n in ready {
            let known = &mut self.known[known[n]];
            (known.told, known.reported) = (Told::Done, Some(known.line.text.clone()));
            lines.push(&visible[n]);
        }
        if sentences.is_empty() {
            return None;
        }
        self.last = Some(now);
        let starts = lines.iter().map(|line| line.since.max(line.line.start));
        Some(TextStatement {
            at: starts.min().unwrap_or(now).min(now),
            looked: lines.iter().map(|line| line.looked).max().unwrap_or(now),
            text: sentences.join(". "),
            confidence: lines.iter().map(|line| line.line.confidence).fold(1.0, f32::min),
            lines: lines.into_iter().map(|line| line.line.clone()).collect(),
        })
    }

    fn forget(&mut self, now: Time) {
        // What has been there for long is a part of the picture, and remembered for as long again.
        self.known.retain(|known| now - known.seen < FORGOTTEN.max(known.seen - known.line.start));
        self.subtitles.retain(|row| now - row.seen < FORGOTTEN);
        self.tickers.retain(|row| now - row.seen < FORGOTTEN);
    }

    /// The place in `known` of a line that is on the screen.
    fn meet(&mut self, now: Time, visible: &VisibleLine) -> usize {
        let line = &visible.line;
        let moves = visible.motion.is_some();
        let is_it = |known: &KnownText| known.line.is_same_as(line) || moves && known.line.says_what(line);
        if let Some(at) = self.known.iter().position(is_it) {
            self.known[at].meet(now, visible);
            return at;
        }
        if line.is_where_subtitles_are() && !moves {
            self.meet_subtitle(now, line);
        }
        let known = KnownText::new(now, visible);
        if self.known.len() < MOST_KNOWN {
            self.known.push(known);
            return self.known.len() - 1;
        }
        let oldest = (0..self.known.len()).min_by_key(|at| self.known[*at].seen).unwrap_or(0);
        self.known[oldest] = known;
        oldest
    }

    /// A line has appeared where subtitles are.
    fn meet_subtitle(&mut self, now: Time, line: &ScreenText) {
        let y = line.place.center().1;
        let is_here = |row: &&mut SubtitleRow| (row.y - y).abs() < 0.5 * line.place.height;
        if let Some(row) = self.subtitles.iter_mut().find(is_here) {
            row.is_certain |= now - row.seen < NEXT_SUBTITLE && !row.text.says_what(line);
            (row.text, row.seen) = (line.clone(), now);
            return;
        }
        if self.subtitles.len() >= MOST_ROWS {
            self.subtitles.remove(0);
        }
        self.subtitles.push(SubtitleRow { y, text: line.clone(), seen: now, is_certain: false });
    }

    /// Reports credits and tickers. Returns the lines that are reported.
    fn roll<'a>(
        &mut self,
        now: Time,
        visible: &'a [VisibleLine],
        known: &[usize],
        sentences: &mut Vec<String>,
    ) -> Vec<&'a VisibleLine> {
        let mut reported = Vec::new();
        let rolls = |line: &&VisibleLine| line.line.kind == TextKind::Rolling && !is_ticker(line);
        let credits: Vec<&VisibleLine> = visible.iter().filter(rolls).collect();
        if credits.len() >= LEAST_CREDITS
            || self.credits.is_some_and(|last| now - last < CREDITS) && !credits.is_empty()
        {
            if self.credits.is_none_or(|last| now - last >= CREDITS) {
                sentences.push(CREDITS_ROLL.to_string());
                reported.extend(credits);
            }
            self.credits = Some(now);
        }
        for (line, at) in visible.iter().zip(known) {
            if line.line.kind == TextKind::Rolling || is_ticker(line) {
                self.known[*at].told = Told::Done;
            }
            if is_ticker(line)
                && let Some(news) = self.ticker_row(now, line).news(&line.line.text, now)
            {
                sentences.push(ticker(&news));
                reported.push(line);
            }
        }
        reported
    }

    /// The row in which a line scrolls.
    fn ticker_row(&mut self, now: Time, line: &VisibleLine) -> &mut TickerRow {
        let (y, height) = (line.line.place.center().1, line.line.place.height);
        let at = self.tickers.iter().position(|row| (row.y - y).abs() < 0.5 * height).unwrap_or_else(|| {
            if self.tickers.len() >= MOST_ROWS {
                self.tickers.remove(0);
            }
            self.tickers.push(TickerRow::new(y, now));
            self.tickers.len() - 1
        });
        &mut self.tickers[at]
    }

    /// Whether a line is to be reported now. Settles it if it never will.
    fn is_ready(&mut self, now: Time, visible: &VisibleLine, at: usize, joins: bool) -> bool {
        let line = &visible.line;
        let known = &self.known[at];
        if self.is_subtitle(line)
            || self.static_text == StaticText::Never && self.is_static(line, known.before.is_some())
        {
            self.known[at].told = Told::Done;
            return false;
        }
        let subtitle_time = line.is_where_subtitles_are() && visible.motion.is_none();
        if subtitle_time && now - line.start < NO_SUBTITLE {
            return false;
        }
        if is_upright(visible) && now - line.start < NO_CREDITS {
            return false;
        }
        let is_edge = line.is_at_edge();
        if is_edge && known.before.is_none() && (is_sideways(visible) || self.is_in_ticker(line)) {
            return false;
        }
        // Where nobody has looked again for a while, nothing has changed.
        let rests = now - visible.looked >= UNCHANGED;
        match known.before {
            None if joins && line.confidence >= SURE_ALONE && visible.motion.is_none() && !is_edge => true,
            // It may be on its way into the picture.
            None if is_edge && line.is_cut_off() => known.looks > 1 && (visible.looks >= STEADY_LOOKS || rests),
            None => known.looks > 1 && (visible.looks > 1 || rests),
            Some(before) => known.looks > 1 && (before >= STANDS || now - known.since >= STANDS),
        }
    }

    /// Whether a line is in a row in which text scrolls.
    fn is_in_ticker(&self, line: &ScreenText) -> bool {
        let y = line.place.center().1;
        self.tickers.iter().any(|row| (row.y - y).abs() < 0.5 * line.place.height)
    }

    /// Whether a line is a subtitle, as far as is known.
    fn is_subtitle(&self, line: &ScreenText) -> bool {
        let is_here =
            |row: &SubtitleRow| row.is_certain && (row.y - line.place.center().1).abs() < 0.5 * line.place.height;
        line.kind == TextKind::Subtitle || line.is_where_subtitles_are() && self.subtitles.iter().any(is_here)
    }

    /// Whether a line belongs to the picture for good, as far as can be known now. What `has_changed` does not, unless it is a
    /// clock.
    fn is_static(&self, line: &ScreenText, has_changed: bool) -> bool {
        let from_the_start = self.began.is_some_and(|began| line.start - began < FROM_THE_START);
        !has_changed && (from_the_start || line.kind == TextKind::Static) || clock::is_time(&line.text)
    }
}

impl KnownText {
    fn new(now: Time, visible: &VisibleLine) -> KnownText {
        KnownText {
            line: visible.line.clone(),
            seen: now,
            looked: visible.looked,
            told: Told::NotYet,
            reported: None,
            looks: visible.looks,
            since: visible.since,
            before: None,
        }
    }

    /// The line is on the screen.
    fn meet(&mut self, now: Time, visible: &VisibleLine) {
        let line = &visible.line;
        self.seen = now;
        let is_new_look = visible.looked > self.looked;
        if clock::digits(&self.line.text) == clock::digits(&line.text)
            || clock::ticks(&self.line.text, &line.text, visible.looked - self.looked)
        {
            self.looks += u32::from(is_new_look);
        } else {
            self.before = Some(visible.since - self.since);
            (self.since, self.looks) = (visible.since, 1);
            let is_known = |before: &String| clock::digits(before) == clock::digits(&line.text);
            self.told = if self.reported.as_ref().is_some_and(is_known) { Told::Done } else { Told::NotYet };
        }
        // A place is the first one, as long as the line is there; it may become wider by digits.
        let start = self.line.start.min(line.start);
        self.line = ScreenText { start, ..line.clone() };
        self.looked = visible.looked;
    }
}

/// Whether a line is one of those that scroll sideways without end.
fn is_ticker(visible: &VisibleLine) -> bool {
    visible.line.kind == TextKind::Rolling && is_sideways(visible)
}

/// Whether a line moves sideways. The speed of one that scrolls is not measured.
fn is_sideways(visible: &VisibleLine) -> bool {
    let scrolls = visible.line.kind == TextKind::Rolling;
    visible.motion.is_some_and(|(x, y)| y.abs() <= 0.2 * x.abs() && (scrolls || x.abs() >= LEAST_SPEED))
}

/// Whether a line moves up or down.
fn is_upright(visible: &VisibleLine) -> bool {
    visible.motion.is_some_and(|(x, y)| y.abs() > x.abs() && y.abs() >= LEAST_SPEED)
}

#[cfg(test)]
mod tests;
