//! When cues start and end.

use super::layout::paginate;
use super::phrase::{clip, shorten};
use super::sentence::sentence;
use super::{Cue, CueOptions, Description};
use crate::time::Time;

/// Slowest reader, in characters a second: a slower speed would be a mistake.
const SLOWEST: f64 = 0.1;
/// Shortest that `max_duration` may be: the formats count milliseconds.
const SHORTEST: Time = Time::from_millis(1);

/// A cue that may still change.
#[derive(Debug, Clone)]
struct PendingCue {
    start: Time,
    end: Time,
    /// How far it may be extended: the end of the gap after it.
    limit: Time,
    text: String,
}

/// Makes cues of stretches that come in order; see [`crate::track::cue`].
pub struct CueBuilder {
    options: CueOptions,
    /// Everything before this has been described.
    covered: Time,
    /// Long enough for a cue; waits for what may lengthen it.
    held: Option<PendingCue>,
    /// After `held`, too short so far.
    short: Option<PendingCue>,
}

impl CueBuilder {
    /// Starts a track.
    pub fn new(options: &CueOptions) -> CueBuilder {
        CueBuilder { options: options.clone(), covered: Time::ZERO, held: None, short: None }
    }

    /// Adds the next description, in order of time. Returns the cues that can no longer change.
    pub fn push(&mut self, next: Description) -> Vec<Cue> {
        let mut out = Vec::new();
        let (start, end) = (next.start.max(self.covered), next.end);
        if end <= start {
            return out;
        }
        self.covered = end;
        match next.text.as_deref().map(sentence).filter(|text| !text.is_empty()) {
            None => self.add_gap(start, end),
            Some(text) => {
                self.close_flicker(start);
                self.add(PendingCue { start, end, limit: end, text }, &mut out);
            }
        }
        out
    }

    /// Returns the remaining cues. `end` is the end of the film; the last cue may run on to it.
    pub fn finish(&mut self, end: Time) -> Vec<Cue> {
        let mut out = Vec::new();
        if let Some(mut short) = self.short.take() {
            short.limit = short.limit.max(end);
            match &mut self.held {
                Some(held) if held.end == short.start && short.limit - short.start < self.options.min_duration => {
                    held.end = short.end;
                    held.limit = short.limit;
                }
                _ => {
                    self.emit_held(&mut out);
                    self.held = Some(short);
                }
            }
        }
        if let Some(held) = &mut self.held {
            held.limit = held.limit.max(end);
        }
        self.emit_held(&mut out);
        out
    }

    /// The last cue so far.
    fn last(&mut self) -> Option<&mut PendingCue> {
        self.short.as_mut().or(self.held.as_mut())
    }

    /// Lets the last cue run on into a gap that follows it.
    fn add_gap(&mut self, start: Time, end: Time) {
        if let Some(last) = self.last()
            && last.limit == start
        {
            last.limit = end;
        }
    }

    /// Extends the last cue to `start` if the gap between them would flicker.
    fn close_flicker(&mut self, start: Time) {
        let min_duration = self.options.min_duration;
        if let Some(last) = self.last() {
            let gap = start - last.end;
            if gap > Time::ZERO && gap + gap < min_duration {
                last.end = start;
                last.limit = start;
            }
        }
    }

    /// Adds a cue after the ones that are pending.
    fn add(&mut self, mut next: PendingCue, out: &mut Vec<Cue>) {
        if let Some(short) = self.short.take() {
            self.settle_short(short, &mut next, out);
        }
        if let Some(held) = &mut self.held
            && held.text == next.text
            && held.end == next.start
        {
            held.end = next.end;
            held.limit = next.limit;
        } else if next.end - next.start < self.options.min_duration {
            self.short = Some(next);
        } else {
            self.emit_held(out);
            self.held = Some(next);
        }
    }

    /// Decides about a short cue: it joins the next one with the same text, runs on into the gap after it, or gives its time
    /// to a neighbour.
    fn settle_short(&mut self, short: PendingCue, next: &mut PendingCue, out: &mut Vec<Cue>) {
        let touches_next = short.end == next.start;
        if touches_next && short.text == next.text {
            next.start = short.start;
        } else if short.limit - short.start >= self.options.min_duration {
            self.emit_held(out);
            self.held = Some(short);
        } else if let Some(held) = &mut self.held
            && held.end == short.start
        {
            held.end = short.end;
            held.limit = short.limit;
        } else if touches_next {
            next.start = short.start;
        }
    }

    /// Emits the held cue, as several if its text does not fit one.
    fn emit_held(&mut self, out: &mut Vec<Cue>) {
        let Some(held) = self.held.take() else { return };
        let (start, end) = (held.start, self.end_of(&held));
        let pages = self.pages(&held.text, end - start);
        let needs: Vec<Time> = pages.iter().map(|page| self.reading_time(page)).collect();
        let total = needs.iter().fold(Time::ZERO, |sum, n| sum + *n).micros().max(1);
        let (mut done, mut at) = (Time::ZERO, start);
        for (page, need) in pages.into_iter().zip(needs) {
            done = done + need;
            let share = i128::from((end - start).micros()) * i128::from(done.micros()) / i128::from(total);
            let until = start + Time::from_micros(share as i64);
            // A cue that rounds to nothing in milliseconds would be an error in every format.
            if until.millis() > at.millis() {
                out.push(Cue { start: at, end: until, lines: page });
                at = until;
            }
        }
    }

    /// Where a cue ends: later than its scene if it takes longer to read and nothing follows.
    fn end_of(&self, cue: &PendingCue) -> Time {
        let need = self.time_to_read(cue.text.chars().count());
        let mut end = cue.end;
        if end - cue.start < need {
            end = cue.limit.min(cue.start + need).max(end);
        }
        match self.options.max_duration {
            Some(max) => end.min(cue.start + max.max(SHORTEST)),
            None => end,
        }
    }

    fn reading_speed(&self) -> f64 {
        self.options.reading_speed.max(SLOWEST)
    }

    /// How long it takes to read so many characters, at least the shortest cue.
    fn time_to_read(&self, characters: usize) -> Time {
        Time::from_secs(characters as f64 / self.reading_speed()).max(self.options.min_duration)
    }

    /// How long it takes to read a page, at least the shortest cue.
    fn reading_time(&self, page: &[String]) -> Time {
        self.time_to_read(length(page).saturating_sub(1))
    }

    /// The text on as many pages as can be read in `time`, shortened if necessary.
    fn pages(&self, text: &str, time: Time) -> Vec<Vec<String>> {
        let (width, lines) = (self.options.max_line.max(1), self.options.max_lines.max(1));
        let mut room = (time.secs() * self.reading_speed()) as usize;
        let mut text = shorten(text, room);
        loop {
            let mut pages = paginate(&text, width, lines);
            let needed = pages.iter().fold(Time::ZERO, |sum, page| sum + self.reading_time(page));
            if pages.len() < 2 || needed <= time {
                return pages;
            }
            let kept = text.chars().count().min(room);
            if kept < 2 {
                pages.truncate(1);
                return pages;
            }
            // At least the last page goes, and always at least one character.
            let last = pages.pop().map_or(0, |page| length(&page));
            room = kept.saturating_sub(last.clamp(1, kept - 1));
            let shorter = shorten(&text, room);
            text = if shorter.chars().count() > room { clip(&text, room) } else { shorter };
        }
    }
}

/// Characters of a page, counting a space or line break after each line.
fn length(page: &[String]) -> usize {
    page.iter().map(|line| line.chars().count() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::cue::phrase::bare;
    use proptest::prelude::*;

    fn d(start: i64, end: i64, text: &str) -> Description {
        let text = (!text.is_empty()).then(|| text.to_string());
        Description { start: Time::from_millis(start), end: Time::from_millis(end), text }
    }

    fn build(stretches: &[Description], end: i64) -> Vec<(i64, i64, String)> {
        let mut b = CueBuilder::new(&CueOptions::default());
        let mut out: Vec<Cue> = stretches.iter().flat_map(|s| b.push(s.clone())).collect();
        out.extend(b.finish(Time::from_millis(end)));
        out.iter().map(|c| (c.start.millis(), c.end.millis(), c.lines.join("|"))).collect()
    }

    #[test]
    fn cues_tile_their_scenes() {
        let got = build(&[d(0, 3000, "a dog"), d(3000, 9000, "a cat")], 9000);
        assert_eq!(got, [(0, 3000, "A dog.".into()), (3000, 9000, "A cat.".into())]);
    }

    #[test]
    fn same_text_is_one_cue_and_none_is_a_gap() {
        let got =
            build(&[d(0, 3000, "a dog"), d(3000, 5000, "a dog"), d(5000, 8000, ""), d(8000, 10000, "a dog")], 10000);
        assert_eq!(got, [(0, 5000, "A dog.".into()), (8000, 10000, "A dog.".into())]);
    }

    #[test]
    fn short_stretch_runs_into_a_gap_or_goes_to_its_neighbour() {
        let gap = build(&[d(0, 400, "a dog"), d(400, 5000, "")], 5000);
        assert_eq!(gap, [(0, 1000, "A dog.".into())]);
        let before = build(&[d(0, 3000, "a cat"), d(3000, 3400, "a dog"), d(3400, 6000, "a car")], 6000);
        assert_eq!(before, [(0, 3400, "A cat.".into()), (3400, 6000, "A car.".into())]);
        let after = build(&[d(0, 400, "a dog"), d(400, 6000, "a car")], 6000);
        assert_eq!(after, [(0, 6000, "A car.".into())]);
    }

    #[test]
    fn too_long_for_its_time_loses_last_phrases() {
        let got = build(&[d(0, 1300, "a man in a suit standing on a sandy beach"), d(1300, 9000, "a car")], 9000);
        assert_eq!(got[0].2, "A man in a suit.");
    }

    #[test]
    fn flicker_is_closed() {
        let got = build(&[d(0, 3000, "a dog"), d(3000, 3040, ""), d(3040, 6000, "a dog")], 6000);
        assert_eq!(got, [(0, 6000, "A dog.".into())]);
        let got = build(&[d(0, 3000, "a dog"), d(3000, 3499, ""), d(3499, 6000, "a cat")], 6000);
        assert_eq!(got, [(0, 3499, "A dog.".into()), (3499, 6000, "A cat.".into())]);
        let got = build(&[d(0, 3000, "a dog"), d(3000, 3500, ""), d(3500, 6000, "a cat")], 6000);
        assert_eq!(got, [(0, 3000, "A dog.".into()), (3500, 6000, "A cat.".into())]);
    }

    #[test]
    fn stretches_out_of_order_are_cut() {
        let got =
            build(&[d(-2000, 3000, "a dog"), d(2000, 6000, "a cat"), d(4000, 5000, "a car"), d(6000, 6000, "x")], 6000);
        assert_eq!(got, [(0, 3000, "A dog.".into()), (3000, 6000, "A cat.".into())]);
    }

    #[test]
    fn long_text_becomes_cues_that_break_at_phrases() {
        let text = "a man in a dark suit and a tie is standing in front of a large brick building while a woman with a \
                    long red coat walks past him on a wet street";
        let got = build(&[d(0, 20_000, text)], 20_000);
        let lines: Vec<&str> = got.iter().map(|c| c.2.as_str()).collect();
        assert_eq!(
            lines,
            [
                "A man in a dark suit and a tie is standing|in front of a large brick building",
                "while a woman with a long red coat|walks past him on a wet street.",
            ]
        );
        assert!(got[0].1 == got[1].0 && got[1].1 == 20_000);
        // Half the time is room for one cue, which ends as a sentence.
        let got = build(&[d(0, 5_000, text)], 5_000);
        assert_eq!(got.len(), 1);
        assert!(got[0].2.ends_with("building."), "{got:?}");
    }

    #[test]
    fn ellipsis_is_the_last_resort() {
        let o = CueOptions { max_line: 16, max_lines: 1, ..CueOptions::default() };
        let mut b = CueBuilder::new(&o);
        b.push(d(0, 1900, "enormous multicoloured balloons"));
        let cues = b.finish(Time::from_millis(1900));
        assert_eq!(cues.len(), 1);
        assert_eq!(cues[0].lines, ["Enormous…"]);
    }

    #[test]
    fn max_duration_holds() {
        let o = CueOptions { max_duration: Some(Time::from_millis(7_000)), ..CueOptions::default() };
        let mut b = CueBuilder::new(&o);
        b.push(d(0, 60_000, "a dog"));
        let cues = b.finish(Time::from_millis(60_000));
        assert_eq!((cues[0].start.millis(), cues[0].end.millis()), (0, 7_000));
    }

    /// Stretches in microseconds: most in order, texts as models, people and vandals write them.
    fn stretches() -> impl Strategy<Value = Vec<Description>> {
        let text = prop_oneof![
            4 => "(a|the) (red|big|) ?(dog|cat|man|house) (running|standing|) ?(in|on|near) the (road|beach|city)( and a tree)?",
            1 => Just("a dog".to_string()),
            1 => Just(String::new()),
            1 => "\\PC{0,120}",
            1 => "([a-e]{1,60}[ .,!\n\r\t&<>-]{0,3}){0,6}",
            1 => "(-->|\n\n|&amp;|<b>|\u{0}|e\u{301}|\u{200d}|\u{2028}| ){0,20}",
        ];
        prop::collection::vec((-100_000i64..400_000, 1i64..9_000_000, text), 0..40).prop_map(|parts| {
            let mut at = 0;
            parts
                .into_iter()
                .map(|(gap, length, text)| {
                    let start = at + if gap > 300_000 { gap } else { gap.min(0) / 10 };
                    at = start + length;
                    let text = (!text.is_empty()).then_some(text);
                    Description { start: Time::from_micros(start), end: Time::from_micros(at), text }
                })
                .collect()
        })
    }

    fn all(o: &CueOptions, stretches: &[Description]) -> Vec<Cue> {
        let mut b = CueBuilder::new(o);
        let mut out = Vec::new();
        for s in stretches {
            out.extend(b.push(s.clone()));
        }
        out.extend(b.finish(stretches.iter().map(|s| s.end).max().unwrap_or_default()));
        out
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(bare).filter(|w| !w.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn cues_are_always_readable(
            stretches in stretches(), lines in 1usize..4, width in 1usize..60, speed in 0.5f64..40.0,
            shortest in 0i64..3_000, longest in prop::option::of(1i64..9_000),
        ) {
            let o = CueOptions {
                max_line: width,
                max_lines: lines,
                reading_speed: speed,
                min_duration: Time::from_millis(shortest),
                max_duration: longest.map(Time::from_millis),
            };
            let film = stretches.iter().map(|s| s.end).max().unwrap_or_default();
            let mut last = Time::ZERO;
            for c in all(&o, &stretches) {
                prop_assert!(c.start >= last && c.end <= film && c.end.millis() > c.start.millis());
                if let Some(longest) = longest {
                    prop_assert!((c.end - c.start).micros() <= longest * 1_000);
                }
                last = c.end;
                prop_assert!(!c.lines.is_empty() && c.lines.len() <= lines);
                for l in &c.lines {
                    prop_assert!(!l.trim().is_empty() && l.chars().count() <= width);
                    prop_assert!(!l.chars().any(char::is_control) && !l.contains("-->"));
                }
            }
        }

        #[test]
        fn cues_hold_only_words_of_their_stretches(stretches in stretches()) {
            // Each cue's words are together in the text of a stretch.
            let texts: Vec<String> = stretches.iter().filter_map(|s| s.text.as_deref()).map(sentence).collect();
            for c in all(&CueOptions::default(), &stretches) {
                let shown = c.lines.concat().replace([' ', '.', ',', ';', ':', '…'], "");
                prop_assert!(texts.iter().any(|t| t.replace([' ', '.', ',', ';', ':', '…'], "").contains(&shown)), "{shown}");
            }
        }

        #[test]
        fn everything_is_shown_if_there_is_time(
            parts in prop::collection::vec("(a|two) (dog|cat|man|house) (in|on|by) the (road|beach)( and a long grey wall){0,6}", 1..20),
        ) {
            let mut at = 0;
            let mut stretches = Vec::new();
            for text in &parts {
                // Twice the time: a short page lasts longer than it takes to read.
                let length = 2_000_000 + text.len() as i64 * 2_000_000 / 17;
                stretches.push(Description {
                    start: Time::from_micros(at),
                    end: Time::from_micros(at + length),
                    text: Some(text.clone()),
                });
                at += length;
            }
            let cues = all(&CueOptions::default(), &stretches);
            for pair in cues.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
            }
            prop_assert_eq!(cues[0].start, Time::ZERO);
            prop_assert_eq!(cues[cues.len() - 1].end, Time::from_micros(at));
            for c in &cues {
                let letters: usize = c.lines.iter().map(|l| l.chars().count()).sum();
                prop_assert!(c.end - c.start >= CueOptions::default().min_duration);
                prop_assert!(letters as f64 <= (c.end - c.start).secs() * 17.0 + 1.0);
            }
            let mut wanted = parts.clone();
            wanted.dedup();
            let shown: Vec<String> = cues.iter().flat_map(|c| words(&c.lines.join(" "))).collect();
            prop_assert_eq!(shown, wanted.iter().flat_map(|t| words(t)).collect::<Vec<_>>());
        }
    }
}
