//! What was read in a film, and up to when that is known.

use serde::{Deserialize, Serialize, Serializer};

use super::reading::{differ_in_digits, likeness};
use super::text_box::TextBox;
use crate::time::Time;

/// What kind of text a line is, by how it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// It stays in its place: titles, names, cards.
    Title,
    /// Subtitles that are part of the picture.
    Subtitle,
    /// It stays while scenes change: logos, watermarks.
    Static,
    /// It scrolls: credits, tickers.
    Rolling,
    /// Its digits change: clocks, scores.
    Counter,
    /// It moves with the picture: signs, and other writing in the world that is filmed.
    Scene,
}

impl TextKind {
    /// As JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            TextKind::Title => "title",
            TextKind::Subtitle => "subtitle",
            TextKind::Static => "static",
            TextKind::Rolling => "rolling",
            TextKind::Counter => "counter",
            TextKind::Scene => "scene",
        }
    }
}

/// What is said about lines that are static: logos, watermarks, station idents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum StaticText {
    /// They are quoted once.
    #[default]
    Once,
    /// They are not described.
    Never,
}

impl StaticText {
    /// As options have it.
    pub fn name(self) -> &'static str {
        match self {
            StaticText::Once => "once",
            StaticText::Never => "never",
        }
    }
}

/// A line of text that a film shows. Serialised as JSON has it, times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScreenText {
    /// As it is written. Never empty, without control characters and without those that change the direction of writing.
    pub text: String,
    /// When it is seen first: when it has half of its opacity.
    #[serde(serialize_with = "seconds")]
    pub start: Time,
    /// When it is gone.
    #[serde(serialize_with = "seconds")]
    pub end: Time,
    /// Where it was seen first.
    #[serde(rename = "box")]
    pub place: TextBox,
    /// How likely it was read correctly, 0 to 1.
    pub confidence: f32,
    /// How it behaves.
    pub kind: TextKind,
}

/// Subtitles are in the lower part of the picture, in its middle, for a few seconds.
const SUBTITLE_TOP: f32 = 0.66;
const OFF_CENTER: f32 = 0.12;
const LONGEST_SUBTITLE: Time = Time::from_millis(9_000);

/// Places that overlap at least so much, and texts that are at least so much alike, are those of one static line.
const SAME_PLACE: f32 = 0.5;
const SAME_TEXT: f64 = 0.8;

/// Nearer to an edge, a line may go on beyond it.
const CUT_OFF: f32 = 0.02;

impl ScreenText {
    /// Whether another line says the same in the same place, but for digits that a clock or a counter changes, whenever.
    pub(crate) fn is_same_as(&self, other: &ScreenText) -> bool {
        self.place.overlap(&other.place) >= SAME_PLACE
            && (likeness(&self.text, &other.text) >= SAME_TEXT || differ_in_digits(&self.text, &other.text))
    }

    /// Whether another line is the same, after something has hidden it for a moment.
    fn continues_as(&self, later: &ScreenText) -> bool {
        self.text == later.text
            && (Time::ZERO..=HIDDEN).contains(&(later.start - self.end))
            && self.place.overlap(&later.place) >= 0.5
    }

    /// Whether it is where subtitles are.
    pub(crate) fn is_where_subtitles_are(&self) -> bool {
        let (x, y) = self.place.center();
        y >= SUBTITLE_TOP && (x - 0.5).abs() <= OFF_CENTER
    }

    /// Whether it is where subtitles are, for as long as they are.
    pub(super) fn may_be_subtitle(&self) -> bool {
        self.is_where_subtitles_are() && self.end - self.start <= LONGEST_SUBTITLE
    }

    /// Whether it is where tickers are: near the upper or the lower edge of the picture.
    pub(crate) fn is_at_edge(&self) -> bool {
        let y = self.place.center().1;
        !(0.15..=0.75).contains(&y)
    }

    /// Whether it reaches to the left or right edge of the picture, and may go on beyond it.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.place.x < CUT_OFF || self.place.x + self.place.width > 1.0 - CUT_OFF
    }

    /// Whether it says nearly the same as another line, wherever they are.
    pub(crate) fn says_what(&self, other: &ScreenText) -> bool {
        likeness(&self.text, &other.text) >= SAME_TEXT
    }
}

fn seconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.secs())
}

/// What has become known of the text in a film.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextUpdate {
    /// Lines that have gone since the last update.
    pub ended: Vec<ScreenText>,
    /// Lines that are there at `until`, or were read since. They end at `until` or later.
    pub current: Vec<ScreenText>,
    /// All lines that begin before this are known.
    pub until: Time,
}

/// Most lines of a film that are remembered: those of an hour of credits.
const MOST_LINES: usize = 100_000;

/// Lines that may go on after a cut, or after something has hidden them: so many of the latest ones.
const LATEST: usize = 64;
/// For so long.
const HIDDEN: Time = Time::from_millis(1_000);
/// Static lines that are recognised when they come back.
const MOST_STANDING: usize = 64;
/// A line that has been there for so long is static if it has outlived a scene. One that has not is a title.
pub(super) const DECIDED: Time = Time::from_millis(30_000);

/// Remembers the text of a film.
#[derive(Debug, Clone, Default)]
pub struct TextLog {
    ended: Vec<ScreenText>,
    current: Vec<ScreenText>,
    until: Time,
    full: Option<Time>,
    /// Lines that were static or counted, one for each: what hides them for a while and shows them again shows the same.
    standing: Vec<ScreenText>,
}

impl TextLog {
    /// Of a film in which no text is read: all is known, and there is nothing.
    pub fn empty() -> TextLog {
        TextLog { until: Time::MAX, ..TextLog::default() }
    }

    /// Takes what has become known.
    pub fn update(&mut self, update: TextUpdate) {
        for mut line in update.ended {
            self.recognize(&mut line);
            let same = |before: &&mut ScreenText| before.continues_as(&line);
            if let Some(before) = self.ended.iter_mut().rev().take(LATEST).find(same) {
                (before.end, before.kind) = (line.end, line.kind);
            } else if self.ended.len() < MOST_LINES {
                self.ended.push(line);
            } else {
                self.full.get_or_insert(line.start);
            }
        }
        let mut current = update.current;
        current.iter_mut().for_each(|line| self.recognize(line));
        self.current = current;
        self.until = self.until.max(update.until);
    }

    /// A line that is like one which was static, or counted, is that one.
    fn recognize(&mut self, line: &mut ScreenText) {
        let known = self.standing.iter().find(|known| known.is_same_as(line));
        match (line.kind, known) {
            (TextKind::Title, Some(known)) => line.kind = known.kind,
            (TextKind::Static | TextKind::Counter, None) if self.standing.len() < MOST_STANDING => {
                self.standing.push(line.clone());
            }
            _ => {}
        }
    }

    /// Whether it is known of all lines that begin before a time whether they are static.
    pub fn is_decided(&self, time: Time) -> bool {
        let may_be_static = |line: &&ScreenText| line.kind == TextKind::Title && line.end - line.start < DECIDED;
        !self.current.iter().filter(may_be_static).any(|line| line.start < time)
    }

    /// Whether all lines that begin before a time are known.
    pub fn knows(&self, time: Time) -> bool {
        self.until >= time
    }

    /// The lines that can be seen in a stretch of film, in order of their start, and of those that start together from top to
    /// bottom and from left to right.
    pub fn within(&self, start: Time, end: Time) -> Vec<&ScreenText> {
        let all = self.ended.iter().chain(&self.current);
        let mut found: Vec<&ScreenText> = all.filter(|line| line.start < end && line.end > start).collect();
        found.sort_by(|a, b| order(a, b));
        found
    }

    /// Start of the first line that was left out, because there was no room for more.
    pub fn full(&self) -> Option<Time> {
        self.full
    }

    /// All lines, in order. Titles that turned out to be the first subtitles are subtitles.
    pub fn into_lines(mut self) -> Vec<ScreenText> {
        self.ended.append(&mut self.current);
        let rows: Vec<f32> = self
            .ended
            .iter()
            .filter(|line| line.kind == TextKind::Subtitle)
            .map(|line| line.place.center().1)
            .collect();
        for line in self.ended.iter_mut().filter(|line| line.kind == TextKind::Title && line.may_be_subtitle()) {
            if rows.iter().any(|row| (row - line.place.center().1).abs() < 0.5 * line.place.height) {
                line.kind = TextKind::Subtitle;
            }
        }
        self.ended.sort_by(order);
        self.ended
    }
}

fn order(a: &ScreenText, b: &ScreenText) -> std::cmp::Ordering {
    let place = |line: &ScreenText| (line.place.y, line.place.x);
    let (a_place, b_place) = (place(a), place(b));
    a.start.cmp(&b.start).then(a_place.0.total_cmp(&b_place.0)).then(a_place.1.total_cmp(&b_place.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, start: i64, end: i64, y: f32) -> ScreenText {
        let place = TextBox { x: 0.1, y, width: 0.5, height: 0.1 };
        let (start, end) = (Time::from_millis(start), Time::from_millis(end));
        ScreenText { text: text.into(), start, end, place, confidence: 0.9, kind: TextKind::Title }
    }

    #[test]
    fn lines_are_in_order_and_within_their_stretch() {
        let mut log = TextLog::default();
        let (a, b, c) = (line("a", 1_000, 2_000, 0.5), line("b", 1_000, 5_000, 0.2), line("c", 4_000, 9_000, 0.2));
        let at = Time::from_millis;
        log.update(TextUpdate { ended: vec![a.clone()], current: vec![b.clone()], until: at(3_000) });
        assert!(log.knows(at(3_000)) && !log.knows(at(3_001)));
        assert_eq!(log.within(at(0), at(1_500)), [&b, &a]);
        assert_eq!(log.within(at(2_000), at(3_000)), [&b]);
        log.update(TextUpdate { ended: vec![c.clone(), b.clone()], current: vec![], until: Time::MAX });
        assert_eq!(log.within(at(4_500), at(20_000)), [&b, &c]);
        assert_eq!(log.into_lines(), [b, a, c]);
    }
}
