//! Cues: described stretches of time in, subtitles that can be read out.
//!
//! Owns at most two stretches that may still change, so memory does not grow with the film. Cues come out ordered by
//! start, never overlapping, each inside the stretch that it describes, or longer where nothing follows:
//!
//! * A cue starts where its scene starts and ends where the next begins.
//! * The same text twice in a row is one cue; a stretch without text is a gap.
//! * A stretch shorter than `min_duration` cannot be read. Where a gap follows, its cue runs on into it; otherwise the
//!   stretch goes to the cue before it (to the one after it, where there is none): no flicker, no hole.
//! * A text too long for its time loses its last phrases ("a man in a suit standing on a beach" → "a man in a suit"):
//!   general before particular is how the captions are built.
//! * A text too long for `max_lines` lines becomes successive cues.

use crate::time::Time;

/// How cues are made. Sources of the figures: Netflix and BBC subtitle guidelines, as most caption tools take them.
#[derive(Debug, Clone)]
pub struct CueOptions {
    /// Characters a line. Default: 42.
    pub max_line: usize,
    /// Lines a cue. Default: 2.
    pub max_lines: usize,
    /// Characters read in a second. Default: 17.
    pub reading_speed: f64,
    /// Shortest cue. Default: 1 s.
    pub min_duration: Time,
    /// Longest cue; none lets it stand as long as what it describes. Default: none.
    pub max_duration: Option<Time>,
}

impl Default for CueOptions {
    fn default() -> Self {
        CueOptions {
            max_line: 42,
            max_lines: 2,
            reading_speed: 17.0,
            min_duration: Time::from_millis(1_000),
            max_duration: None,
        }
    }
}

/// What is to be said of a stretch of time; `None` says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub start: Time,
    pub end: Time,
    pub text: Option<String>,
}

/// A subtitle. Lines are plain text: no markup, no escapes, no control characters, none empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    pub start: Time,
    pub end: Time,
    pub lines: Vec<String>,
}

#[derive(Debug, Clone)]
struct Pending {
    start: Time,
    end: Time,
    /// Up to here nothing else is said.
    limit: Time,
    text: String,
}

/// Makes cues of stretches that come in order; see the module.
pub struct CueBuilder {
    options: CueOptions,
    held: Option<Pending>,
    short: Option<Pending>,
}

impl CueBuilder {
    pub fn new(options: &CueOptions) -> CueBuilder {
        CueBuilder { options: options.clone(), held: None, short: None }
    }

    /// Takes the next stretch, which must not start before the last one ended; returns the cues that are sure by now.
    pub fn push(&mut self, d: Described) -> Vec<Cue> {
        let mut out = Vec::new();
        let text = d.text.as_deref().map(sentence).filter(|t| !t.is_empty());
        let Some(text) = text else {
            let open = self.short.as_mut().or(self.held.as_mut());
            if let Some(p) = open
                && p.limit == d.start
            {
                p.limit = d.end;
            }
            return out;
        };
        let mut next = Pending { start: d.start, end: d.end, limit: d.end, text };
        if let Some(short) = self.short.take() {
            let same = short.text == next.text && short.end == next.start;
            if same {
                next.start = short.start;
            } else if short.limit - short.start >= self.options.min_duration {
                self.emit_held(&mut out);
                self.held = Some(short);
            } else if let Some(held) = &mut self.held
                && held.end == short.start
            {
                held.end = short.end;
                held.limit = short.limit;
            } else if short.end == next.start {
                next.start = short.start;
            }
        }
        if let Some(held) = &mut self.held
            && held.text == next.text
            && held.end == next.start
        {
            held.end = next.end;
            held.limit = next.limit;
            return out;
        }
        if next.end - next.start < self.options.min_duration {
            self.short = Some(next);
        } else {
            self.emit_held(&mut out);
            self.held = Some(next);
        }
        out
    }

    /// The cues that are left. `end` is the end of the film: the last cue may run on to it.
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

    fn emit_held(&mut self, out: &mut Vec<Cue>) {
        let Some(p) = self.held.take() else { return };
        let o = &self.options;
        let speed = o.reading_speed.max(0.1);
        let need = Time::from_secs(p.text.chars().count() as f64 / speed).max(o.min_duration);
        let mut end = p.end;
        if end - p.start < need {
            end = p.limit.min(p.start + need).max(end);
        }
        if let Some(max) = o.max_duration {
            end = end.min(p.start + max.max(Time::from_millis(1)));
        }
        let room = ((end - p.start).secs() * speed) as usize;
        let text = shorten(&p.text, room);
        let lines = wrap(&text, o.max_line.max(1));
        let pages: Vec<&[String]> = lines.chunks(o.max_lines.max(1)).collect();
        let length = |page: &[String]| page.iter().map(|l| l.chars().count()).sum::<usize>().max(1);
        let total: usize = pages.iter().map(|p| length(p)).sum();
        let (mut done, mut at) = (0, p.start);
        for page in pages {
            done += length(page);
            let share = (end - p.start).micros() as i128 * done as i128 / total as i128;
            let until = p.start + Time::from_micros(share as i64);
            // A cue that rounds to nothing in milliseconds would be an error in every format.
            if until.millis() > at.millis() {
                out.push(Cue { start: at, end: until, lines: page.to_vec() });
                at = until;
            }
        }
    }
}

/// One clean sentence: no control or bidirectional override characters, single spaces, a capital and a full stop.
pub fn sentence(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .filter(
            |c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'),
        )
        .collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let joined = words.join(" ").replace("-->", "→");
    let joined = joined.trim_end_matches(['.', ' ']);
    let mut letters = joined.chars();
    match letters.next() {
        None => String::new(),
        Some(first) => {
            let mut s: String = first.to_uppercase().chain(letters).collect();
            if !s.ends_with(['!', '?', '…']) {
                s.push('.');
            }
            s
        }
    }
}

/// Words that cannot end a phrase.
const OPEN: [&str; 44] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "with", "and", "or", "by", "for", "from", "into", "over", "under",
    "near", "behind", "is", "are", "while", "that", "who", "next", "front", "top", "through", "up", "down", "as",
    "his", "her", "their", "its", "two", "three", "some", "several", "another", "very", "around", "along", "between",
];

/// Drops last phrases until at most `room` characters are left; never drops the first noun ("A man.").
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let words: Vec<&str> = text.trim_end_matches('.').split(' ').collect();
    let length = |n: usize| words[..n].iter().map(|w| w.chars().count() + 1).sum::<usize>();
    let bare = |w: &str| w.trim_end_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let closed = |n: usize| !OPEN.contains(&bare(words[n - 1]).as_str());
    // Only before a word that opens a phrase may a sentence end, or an adjective would lose its noun.
    let breaks =
        |n: usize| n == words.len() || OPEN.contains(&bare(words[n]).as_str()) || bare(words[n]).ends_with("ing");
    let first = (1..=words.len()).find(|&n| closed(n) && breaks(n)).unwrap_or(words.len());
    let best = (first..=words.len()).rev().find(|&n| length(n) <= room && closed(n) && breaks(n)).unwrap_or(first);
    format!("{}.", words[..best].join(" ").trim_end_matches([',', ';', ':', '.']))
}

/// Lines of at most `width` characters, as even as they can be. A longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let greedy = fill(text, width);
    if greedy.len() < 2 {
        return greedy;
    }
    // The narrowest width that needs no more lines makes them even.
    let mut even = greedy.clone();
    for narrower in (1..width).rev() {
        let lines = fill(text, narrower);
        if lines.len() > greedy.len() {
            break;
        }
        even = lines;
    }
    even
}

fn fill(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for (i, piece) in letters.chunks(width).enumerate() {
            if i > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.extend(piece);
            used += piece.len();
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(start: i64, end: i64, text: &str) -> Described {
        let text = (!text.is_empty()).then(|| text.to_string());
        Described { start: Time::from_millis(start), end: Time::from_millis(end), text }
    }

    fn build(stretches: &[Described], end: i64) -> Vec<(i64, i64, String)> {
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
        assert_eq!(shorten("A red car.", 3), "A red car.");
    }

    #[test]
    fn lines_are_even() {
        assert_eq!(
            wrap("A group of people standing around a table with food.", 42),
            ["A group of people standing", "around a table with food."]
        );
    }

    #[test]
    fn text_is_cleaned() {
        assert_eq!(sentence("  a\u{0} dog\n\n--> runs . "), "A dog → runs.");
        assert_eq!(sentence("élan"), "Élan.");
        assert_eq!(sentence(" . "), "");
    }

    proptest! {
        #[test]
        fn cues_are_always_readable(parts in prop::collection::vec((1i64..9000, "\\PC{0,120}|[a-e ]{0,60}|(a dog)"), 0..40), lines in 1usize..4, width in 1usize..60) {
            let o = CueOptions { max_line: width, max_lines: lines, ..CueOptions::default() };
            let mut b = CueBuilder::new(&o);
            let mut at = 0;
            let mut out = Vec::new();
            for (length, text) in &parts {
                out.extend(b.push(d(at, at + length, text)));
                at += length;
            }
            out.extend(b.finish(Time::from_millis(at)));
            let mut last = 0;
            for c in &out {
                prop_assert!(c.start.millis() >= last && c.end.millis() > c.start.millis());
                last = c.end.millis();
                prop_assert!(!c.lines.is_empty() && c.lines.len() <= lines);
                for l in &c.lines {
                    prop_assert!(!l.trim().is_empty() && l.chars().count() <= width && !l.chars().any(char::is_control));
                }
            }
            prop_assert!(last <= at);
        }
    }
}
