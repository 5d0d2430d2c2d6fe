//! Joins what is read in a scene with the description of its picture.
//!
//! A description comes some 0.4 s after a cut, and what is written there is read a little later. So a description waits until it
//! is known that nothing is to be read in its scene, or what that is; but not long. What is read later has a description of its
//! own.
//!
//! Pure: callers report what the reader does and that time passes, and get back what is to be published.
//!
//! Order: descriptions are published in the order in which they come. Memory: at most [`MOST_HELD`] descriptions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::live::event::LiveCaption;
use crate::ocr::TextBox;
use crate::time::Time;

/// How long a description waits at most for what is written.
const LONGEST: Duration = Duration::from_millis(800);
/// What a frame shows for so long has come to rest, and a look at it has been asked for.
const SETTLED: Time = Time::from_millis(400);
/// Text that appears from so much before the start of a scene until so much after it belongs to its description.
const EARLY: Time = Time::from_millis(-400);
const SOON: Time = Time::from_millis(1_500);
/// Most descriptions that wait. One more, and the first of them is published.
const MOST_HELD: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::live) struct TextDesk {
    /// Whether nothing waits: the run ends, or no text is read.
    closed: bool,
    /// Time of the newest frame that was considered.
    seen: Time,
    /// Time of the newest frame that is to be read, until it has been.
    looking: Option<Time>,
    /// With the time since which each waits, and whether text has been joined to it.
    held: VecDeque<(Instant, LiveCaption, bool)>,
    /// Lines that were found, for the gate.
    lines: Option<Vec<TextBox>>,
}

impl TextDesk {
    /// Of a stream in which no text is read: nothing waits.
    pub(in crate::live) fn closed() -> TextDesk {
        TextDesk { closed: true, ..TextDesk::default() }
    }

    /// From now on nothing waits.
    pub(in crate::live) fn close(&mut self) {
        self.closed = true;
    }

    /// A frame was considered. `looks`: whether it is to be read.
    pub(super) fn see(&mut self, time: Time, looks: bool) {
        self.seen = time;
        if looks {
            self.looking = Some(time);
        }
    }

    /// The frame at `time` was read, or will not be.
    pub(super) fn read(&mut self, time: Time) {
        self.looking.take_if(|looking| *looking <= time);
    }

    /// The lines that are on the screen now.
    pub(super) fn set_lines(&mut self, lines: Vec<TextBox>) {
        self.lines = Some(lines);
    }

    pub(super) fn take_lines(&mut self) -> Option<Vec<TextBox>> {
        self.lines.take()
    }

    /// Descriptions that wait.
    pub(in crate::live) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the description of a picture. Returns those that are to be published now, in order.
    pub(in crate::live) fn push(&mut self, caption: LiveCaption, now: Instant) -> Vec<LiveCaption> {
        self.held.push_back((now, caption, false));
        self.due(now)
    }

    /// Takes the description of what is written. Returns it unless it was joined to one that waits.
    pub(in crate::live) fn join(&mut self, text: LiveCaption) -> Option<LiveCaption> {
        let fits = |(_, picture, joined): &&mut (Instant, LiveCaption, bool)| {
            let since = text.start - picture.start;
            !*joined && (EARLY..=SOON).contains(&since)
        };
        let Some((_, picture, joined)) = self.held.iter_mut().rfind(fits) else { return Some(text) };
        picture.text = format!("{} {}", picture.text, text.text);
        picture.score = picture.score.map(|score| score.max(text.score.unwrap_or(score)));
        picture.screen_text = text.screen_text;
        *joined = true;
        None
    }

    /// Returns the descriptions that are to be published now, in order.
    pub(in crate::live) fn due(&mut self, now: Instant) -> Vec<LiveCaption> {
        let (seen, looking, closed) = (self.seen, self.looking, self.closed);
        let is_due = |(since, caption, joined): &(Instant, LiveCaption, bool)| {
            let is_read = seen >= caption.start + SETTLED && looking.is_none_or(|at| at < caption.start);
            closed || *joined || is_read || now.saturating_duration_since(*since) >= LONGEST
        };
        let excess = self.held.len().saturating_sub(MOST_HELD);
        let due = self.held.iter().take_while(|held| is_due(held)).count().max(excess);
        self.held.drain(..due).map(|(_, caption, _)| caption).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::ocr::{ScreenText, TextKind};

    fn at(ms: i64) -> Time {
        Time::from_millis(ms)
    }

    fn caption(text: &str, start: i64, lines: &[ScreenText]) -> LiveCaption {
        LiveCaption {
            start: at(start),
            picture_time: at(start),
            due: at(start),
            wall: SystemTime::UNIX_EPOCH,
            arrived: Instant::now(),
            waited: Duration::ZERO,
            text: text.into(),
            score: Some(0.5),
            returning: false,
            screen_text: lines.into(),
            jpeg: Arc::new([]),
        }
    }

    fn written(start: i64) -> LiveCaption {
        let line = ScreenText {
            text: "Rue Haute".into(),
            start: at(start),
            end: at(start),
            place: TextBox::WHOLE,
            confidence: 0.9,
            kind: TextKind::Scene,
        };
        LiveCaption { score: Some(0.9), ..caption("On a sign: “Rue Haute”.", start, &[line]) }
    }

    fn texts(captions: Vec<LiveCaption>) -> Vec<String> {
        captions.into_iter().map(|caption| caption.text).collect()
    }

    #[test]
    fn a_description_waits_for_what_is_written_in_its_scene() {
        let (mut desk, now) = (TextDesk::default(), Instant::now());
        desk.see(at(5_240), false);
        assert!(desk.push(caption("A street.", 5_000, &[]), now).is_empty());
        desk.see(at(5_300), true);
        desk.see(at(5_600), false);
        assert!(desk.due(now).is_empty() && desk.held() == 1);
        assert!(desk.join(written(5_000)).is_none());
        let joined = desk.due(now).remove(0);
        assert_eq!((joined.text.as_str(), joined.score), ("A street. On a sign: “Rue Haute”.", Some(0.9)));
        assert_eq!(joined.screen_text.len(), 1);
        // What appears later is described alone.
        desk.read(at(5_300));
        assert!(desk.push(caption("A dog.", 5_000, &[]), now).len() == 1);
        assert_eq!(desk.join(written(9_000)).unwrap().text, "On a sign: “Rue Haute”.");
    }

    #[test]
    fn a_description_does_not_wait_where_there_is_nothing_to_read_nor_for_long() {
        let (mut desk, now) = (TextDesk::default(), Instant::now());
        desk.see(at(5_400), false);
        assert_eq!(desk.push(caption("A street.", 5_000, &[]), now).len(), 1);
        // The reader hangs.
        desk.see(at(6_400), true);
        assert!(desk.push(caption("A dog.", 6_000, &[]), now).is_empty());
        assert!(desk.push(caption("A cat.", 6_100, &[]), now).is_empty());
        assert!(desk.due(now + LONGEST / 2).is_empty());
        assert_eq!(texts(desk.due(now + LONGEST)), ["A dog.", "A cat."]);
        for n in 0..20 {
            desk.push(caption("x", 6_000 + n, &[]), now);
            assert!(desk.held() <= MOST_HELD);
        }
        desk.close();
        assert_eq!(desk.due(now).len(), MOST_HELD);
        assert_eq!(TextDesk::closed().push(caption("x", 0, &[]), now).len(), 1);
    }
}
