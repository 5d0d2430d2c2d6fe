//! What is said about the text that a film shows.
//!
//! A line is said once, in the stretch in which it appears: a title that appears with its scene becomes part of the scene's
//! description ("A street. On a sign: “Rue Haute”."), one that appears later is described when it does. It is quoted as it
//! is written. Subtitles are spoken in the film, and clocks change all the time, so neither is said. Logos are always there: they
//! are said once or never. Credits that roll are only mentioned.

use std::collections::VecDeque;

use crate::ocr::{ScreenText, StaticText, TextKind, TextLog};
use crate::time::Time;
use crate::track::Description;

/// Lines that appear within this time of each other are one event.
const TOGETHER: Time = Time::from_millis(800);
/// What appears so soon after the start of a stretch belongs to its description.
const SOON: Time = Time::from_millis(1_500);
/// What appears so shortly before the end of a stretch, and stays, belongs to the next one.
const LATE: Time = Time::from_millis(400);
/// Longest quotation, in characters. A page of a book is not read out.
const LONGEST: usize = 160;
/// Rolling lines that appear within so much time are of the same credits.
const CREDITS: Time = Time::from_millis(15_000);
/// Fewer lines that roll at the same time are no credits.
pub(crate) const LEAST_CREDITS: usize = 3;
/// Lines that are remembered after they were quoted.
const MOST_QUOTED: usize = 64;
/// Lines whose vertical distance is at most so many times their height are read together.
const NEAR: f32 = 1.6;

/// Something that appears on the screen.
#[derive(Debug, Clone, PartialEq)]
struct TextEvent {
    at: Time,
    sentence: String,
    /// How likely it is read correctly, 0 to 1.
    confidence: f32,
}

/// A part of a stretch and what is said about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Passage {
    pub(crate) description: Description,
    /// How likely the text is right, 0 to 1.
    pub(crate) score: Option<f32>,
    /// Whether it says what is written.
    pub(crate) quotes: bool,
}

/// Says what is written in a film, stretch by stretch, in order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writing {
    /// Lines that appear before this have been said.
    until: Time,
    /// When credits were mentioned or seen to roll last.
    credits: Option<Time>,
    static_text: StaticText,
    /// Lines that were quoted last, at most [`MOST_QUOTED`]: one that turns out to be static is not said again.
    quoted: VecDeque<ScreenText>,
}

impl Writing {
    /// For a film of which this is said about static lines.
    pub(crate) fn new(static_text: StaticText) -> Writing {
        Writing { static_text, ..Writing::default() }
    }

    /// Whether it is known what is to be said about the lines that begin before a time.
    pub(crate) fn is_ready(&self, log: &TextLog, time: Time) -> bool {
        log.knows(time) && (self.static_text == StaticText::Once || log.is_decided(time))
    }

    /// Whether a line is quoted, which it is from now on.
    fn quotes(&mut self, line: &ScreenText) -> bool {
        let is_quoted = match line.kind {
            TextKind::Title | TextKind::Scene => true,
            TextKind::Static => {
                self.static_text == StaticText::Once && !self.quoted.iter().any(|before| before.is_same_as(line))
            }
            TextKind::Subtitle | TextKind::Rolling | TextKind::Counter => false,
        };
        if is_quoted {
            self.quoted.push_back(line.clone());
            if self.quoted.len() > MOST_QUOTED {
                self.quoted.pop_front();
            }
        }
        is_quoted
    }

    /// The passages of a stretch, in order, without gaps. `caption` describes its picture, with its score.
    pub(crate) fn passages(
        &mut self,
        log: &TextLog,
        (start, end): (Time, Time),
        caption: (Option<String>, Option<f32>),
    ) -> Vec<Passage> {
        let (mut text, mut score) = caption;
        let mut events = self.events(log, start, end).into_iter().peekable();
        let mut quotes = false;
        if let Some(event) = events.next_if(|event| event.at < start + SOON) {
            score =
                if text.is_some() { score.map(|score| score.max(event.confidence)) } else { Some(event.confidence) };
            text = Some(text.map_or(event.sentence.clone(), |text| format!("{text}. {}", event.sentence)));
            quotes = true;
        }
        let description = Description { start, end, text };
        let mut passages = vec![Passage { description, score, quotes }];
        for event in events {
            if let Some(before) = passages.last_mut() {
                before.description.end = event.at;
            }
            let description = Description { start: event.at, end, text: Some(event.sentence) };
            passages.push(Passage { description, score: Some(event.confidence), quotes: true });
        }
        passages
    }

    /// What appears in a stretch.
    fn events(&mut self, log: &TextLog, start: Time, end: Time) -> Vec<TextEvent> {
        let from = self.until;
        self.until = end - LATE;
        let until = self.until;
        let lines = log.within(start, end).into_iter();
        // What begins at its very end and is over with it would be said by no other stretch.
        let appears = |line: &&ScreenText| line.start >= from && (line.start < until || line.end <= end);
        let lines: Vec<&ScreenText> = lines.filter(appears).collect();
        let mut events = Vec::new();
        for together in lines.chunk_by(|a, b| b.start - a.start < TOGETHER) {
            let at = together[0].start.max(start);
            let rolling: Vec<&&ScreenText> = together.iter().filter(|line| line.kind == TextKind::Rolling).collect();
            let quoted: Vec<&ScreenText> = together.iter().copied().filter(|line| self.quotes(line)).collect();
            let mut sentences = Vec::new();
            if let Some(last) = rolling.last() {
                let news = self.credits.is_none_or(|before| last.start - before > CREDITS);
                self.credits = Some(last.start);
                let all = log.within(last.start - CREDITS, last.start + CREDITS);
                let count = all.iter().filter(|line| line.kind == TextKind::Rolling).count();
                match count >= LEAST_CREDITS {
                    true if news => sentences.push(CREDITS_ROLL.to_string()),
                    true => {}
                    false => sentences.push(ticker(&last.text)),
                }
            }
            if !quoted.is_empty() {
                sentences.push(quote(&quoted));
            }
            if sentences.is_empty() {
                continue;
            }
            let sure = together.iter().map(|line| line.confidence);
            events.push(TextEvent { at, sentence: sentences.join(". "), confidence: sure.fold(1.0, f32::min) });
        }
        events
    }
}

/// What is said of credits, whatever they say.
pub(crate) const CREDITS_ROLL: &str = "Credits roll";

/// What is said of a line that scrolls through.
pub(crate) fn ticker(text: &str) -> String {
    format!("A ticker: {}", quotation(text))
}

/// Lines as one sentence. Those that stand close together are one quotation.
pub(crate) fn quote(lines: &[&ScreenText]) -> String {
    let mut lines = lines.to_vec();
    lines.sort_by(|a, b| {
        // Lines whose middles differ by less than half of their height are beside each other.
        let beside = (a.place.center().1 - b.place.center().1).abs() < 0.5 * a.place.height.min(b.place.height);
        if beside { a.place.x.total_cmp(&b.place.x) } else { a.place.y.total_cmp(&b.place.y) }
    });
    let near = |a: &&ScreenText, b: &&ScreenText| {
        (b.place.center().1 - a.place.center().1).abs() <= NEAR * a.place.height.max(b.place.height)
    };
    let blocks: Vec<String> = lines
        .chunk_by(near)
        .map(|block| quotation(&block.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ")))
        .collect();
    let sign = lines.iter().all(|line| line.kind == TextKind::Scene);
    format!("{}: {}", if sign { "On a sign" } else { "Text" }, blocks.join(", "))
}

/// A text in quotation marks, cut between words if it is too long.
fn quotation(text: &str) -> String {
    let plain: String = text.chars().map(|c| if matches!(c, '“' | '”') { '"' } else { c }).collect();
    if plain.chars().count() <= LONGEST {
        return format!("“{plain}”");
    }
    let cut: String = plain.chars().take(LONGEST).collect();
    let whole = cut.rsplit_once(' ').map_or(cut.as_str(), |(whole, _)| whole);
    format!("“{whole} …”")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocr::{TextBox, TextUpdate};

    fn at(ms: i64) -> Time {
        Time::from_millis(ms)
    }

    fn line(text: &str, start: i64, end: i64, y: f32, kind: TextKind) -> ScreenText {
        let place = TextBox { x: 0.3, y, width: 0.4, height: 0.05 };
        ScreenText { text: text.into(), start: at(start), end: at(end), place, confidence: 0.9, kind }
    }

    /// What is said of stretches that end at these times, with when it begins.
    fn said(lines: Vec<ScreenText>, captions: &[(i64, Option<&str>)]) -> Vec<(i64, Option<String>)> {
        said_by(Writing::default(), lines, captions)
    }

    fn said_by(
        mut writing: Writing,
        lines: Vec<ScreenText>,
        captions: &[(i64, Option<&str>)],
    ) -> Vec<(i64, Option<String>)> {
        let mut log = TextLog::default();
        log.update(TextUpdate { ended: lines, current: Vec::new(), until: Time::MAX });
        let (mut start, mut out) = (0, Vec::new());
        for (end, caption) in captions {
            let passages = writing.passages(&log, (at(start), at(*end)), (caption.map(String::from), Some(0.8)));
            out.extend(passages.into_iter().map(|p| (p.description.start.millis(), p.description.text)));
            start = *end;
        }
        out
    }

    #[test]
    fn a_sign_belongs_to_its_scene_and_is_said_once() {
        let lines = vec![line("Rue Haute", 5_000, 14_000, 0.4, TextKind::Scene)];
        let said = said(lines, &[(5_000, Some("a car")), (10_000, Some("a street")), (15_000, None)]);
        let street = Some("a street. On a sign: “Rue Haute”".to_string());
        assert_eq!(said, [(0, Some("a car".into())), (5_000, street), (10_000, None)]);
    }

    #[test]
    fn what_appears_later_is_described_when_it_does() {
        let title = |text, y| line(text, 4_000, 8_000, y, TextKind::Title);
        let lines = vec![title("presents", 0.5), title("The Peach Open Movie Project", 0.42), title("2008", 0.9)];
        assert_eq!(
            said(lines, &[(9_000, Some("a meadow"))]),
            [
                (0, Some("a meadow".into())),
                (4_000, Some("Text: “The Peach Open Movie Project presents”, “2008”".into()))
            ]
        );
        let alone = said(vec![line("The End", 0, 3_000, 0.5, TextKind::Title)], &[(3_000, None)]);
        assert_eq!(alone, [(0, Some("Text: “The End”".into()))]);
    }

    #[test]
    fn a_title_that_leads_into_the_next_scene_belongs_to_that() {
        let lines = vec![line("Part Two", 4_800, 9_000, 0.5, TextKind::Title)];
        let said = said(lines, &[(5_000, Some("a car")), (10_000, Some("a house"))]);
        assert_eq!(said[1], (5_000, Some("a house. Text: “Part Two”".into())));
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn subtitles_and_clocks_are_not_said_and_credits_only_mentioned() {
        let kinds = [TextKind::Subtitle, TextKind::Counter];
        let lines = kinds.into_iter().map(|kind| line("12:00", 1_000, 2_000, 0.9, kind)).collect();
        assert_eq!(said(lines, &[(5_000, None)]), [(0, None)]);
        let credits = (0..20).map(|n| line("Name", 1_000 * n, 1_000 * n + 9_000, 0.9, TextKind::Rolling)).collect();
        let said_of_credits = said(credits, &[(10_000, None), (30_000, None)]);
        assert_eq!(said_of_credits, [(0, Some("Credits roll".into())), (10_000, None)]);
        let ticker = vec![line("Breaking news", 2_000, 9_000, 0.95, TextKind::Rolling)];
        assert_eq!(said(ticker, &[(9_500, None)])[1], (2_000, Some("A ticker: “Breaking news”".into())));
    }

    #[test]
    fn logos_are_said_once_or_never() {
        // It was a title until something hid it, and is back for the end.
        let logo = |start, end, kind| line("KANAL 5", start, end, 0.05, kind);
        let lines = || {
            vec![
                logo(0, 4_000, TextKind::Title),
                logo(6_000, 40_000, TextKind::Static),
                logo(42_000, 46_000, TextKind::Title),
                line("The End", 42_000, 46_000, 0.5, TextKind::Title),
            ]
        };
        let stretches = [(20_000, None), (41_000, None), (46_000, None)];
        let texts = |writing| {
            said_by(writing, lines(), &stretches).into_iter().filter_map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(Writing::new(StaticText::Once)), ["Text: “KANAL 5”", "Text: “The End”"]);
        // As a title of 4 s, before anything told that it was none.
        let all = texts(Writing::new(StaticText::Never));
        assert_eq!(all.iter().filter(|text| text.contains("KANAL")).count(), 1, "{all:?}");
        let never = said_by(Writing::new(StaticText::Never), lines().split_off(1), &stretches);
        assert!(never.iter().flat_map(|(_, text)| text).all(|text| !text.contains("KANAL")), "{never:?}");
    }

    #[test]
    fn what_may_turn_out_to_be_a_logo_waits() {
        let mut log = TextLog::default();
        let (once, never) = (Writing::new(StaticText::Once), Writing::new(StaticText::Never));
        let mut ready = |seconds: i64, kind| {
            let current = vec![line("KANAL 5", 1_000, 1_000 * seconds, 0.05, kind)];
            log.update(TextUpdate { ended: Vec::new(), current, until: at(1_000 * seconds) });
            let before = never.is_ready(&log, at(1_000));
            (before, once.is_ready(&log, at(5_000)), never.is_ready(&log, at(5_000)))
        };
        assert_eq!(ready(10, TextKind::Title), (true, true, false));
        assert_eq!(ready(31, TextKind::Title), (true, true, true));
        assert_eq!(ready(16, TextKind::Static), (true, true, true));
    }

    #[test]
    fn long_texts_are_cut_between_words() {
        assert_eq!(quotation("A “small” step"), "“A \"small\" step”");
        let long = quotation(&"word ".repeat(10_000));
        assert!(long.chars().count() <= LONGEST + 4 && long.ends_with("word …”"), "{long}");
    }
}
