//! Cues: described stretches of time in, subtitles that can be read out.
//!
//! Owns at most two stretches that may still change, so memory does not grow with the film. Cues come out ordered by
//! start, never overlapping, each inside the stretch that it describes, or longer where nothing follows:
//!
//! * A cue starts where its scene starts and ends where the next begins.
//! * The same text twice in a row is one cue; a stretch without text is a gap. A gap of less than half of
//!   `min_duration` would be a flicker: the cue before it stands through it.
//! * A stretch shorter than `min_duration` cannot be read. Where a gap follows, its cue runs on into it; otherwise the
//!   time goes to the cue before it (to the one after it, where there is none) and its text is left unsaid: no flicker,
//!   no hole. Alone between gaps that give it too little room, it is left out.
//! * A text too long for its time loses its last phrases ("a man in a suit standing on a beach" → "a man in a suit"):
//!   general before particular is how the captions are built. Its first noun always stays.
//! * A text too long for one cue becomes successive cues that part where a phrase begins, each as long as it takes to
//!   read. An ellipsis ends a text only where no phrase could.
//! * Stretches that overlap, run backwards or start before the film are cut to what is left of them.

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
    /// Longest cue; none lets it stand as long as what it describes, as descriptions do: the 7 s that captions are held
    /// to would leave holes in which nothing is said of a scene that still goes on. Cues that one text was split into
    /// count as one. Default: none.
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
    /// Everything before this has been told.
    told: Time,
    /// Long enough for a cue; waits for what may lengthen it.
    held: Option<Pending>,
    /// After `held`, too short as yet.
    short: Option<Pending>,
}

impl CueBuilder {
    pub fn new(options: &CueOptions) -> CueBuilder {
        CueBuilder { options: options.clone(), told: Time::ZERO, held: None, short: None }
    }

    /// Takes the next stretch, in order of time; returns the cues that are sure by now.
    pub fn push(&mut self, d: Described) -> Vec<Cue> {
        let mut out = Vec::new();
        let d = Described { start: d.start.max(self.told), ..d };
        if d.end <= d.start {
            return out;
        }
        self.told = d.end;
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
        if let Some(open) = self.short.as_mut().or(self.held.as_mut()) {
            let gap = d.start - open.end;
            if gap > Time::ZERO && gap + gap < self.options.min_duration {
                open.end = d.start;
                open.limit = d.start;
            }
        }
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
        let pages = self.pages(&p.text, end - p.start);
        let needs: Vec<Time> = pages.iter().map(|page| self.need(page)).collect();
        let total = needs.iter().fold(Time::ZERO, |sum, n| sum + *n).micros().max(1);
        let (mut done, mut at) = (Time::ZERO, p.start);
        for (page, need) in pages.into_iter().zip(needs) {
            done = done + need;
            let share = i128::from((end - p.start).micros()) * i128::from(done.micros()) / i128::from(total);
            let until = p.start + Time::from_micros(share as i64);
            // A cue that rounds to nothing in milliseconds would be an error in every format.
            if until.millis() > at.millis() {
                out.push(Cue { start: at, end: until, lines: page });
                at = until;
            }
        }
    }

    /// How long it takes to read a page, or the shortest cue.
    fn need(&self, page: &[String]) -> Time {
        let length: usize = page.iter().map(|l| l.chars().count() + 1).sum();
        let read = length.saturating_sub(1) as f64 / self.options.reading_speed.max(0.1);
        Time::from_secs(read).max(self.options.min_duration)
    }

    /// The text on as many pages as can be read in `time`, shortened where it must be.
    fn pages(&self, text: &str, time: Time) -> Vec<Vec<String>> {
        let o = &self.options;
        let mut room = (time.secs() * o.reading_speed.max(0.1)) as usize;
        let mut text = shorten(text, room);
        loop {
            let mut pages = self.split(&text);
            let needed = pages.iter().fold(Time::ZERO, |sum, page| sum + self.need(page));
            if pages.len() < 2 || needed <= time {
                return pages;
            }
            let kept = text.chars().count().min(room);
            if kept < 2 {
                pages.truncate(1);
                return pages;
            }
            // Without its last page at least, and always less than before.
            let last: usize = pages.pop().map_or(0, |page| page.iter().map(|l| l.chars().count() + 1).sum());
            room = kept.saturating_sub(last.clamp(1, kept - 1));
            let shorter = shorten(&text, room);
            text = if shorter.chars().count() > room { clip(&text, room) } else { shorter };
        }
    }

    /// Pages of at most `max_lines` lines that part where a phrase begins, if that does not leave a page half empty.
    fn split(&self, text: &str) -> Vec<Vec<String>> {
        let (width, lines) = (self.options.max_line.max(1), self.options.max_lines.max(1));
        let all = wrap(text, width);
        if all.len() <= lines {
            return vec![all];
        }
        let words: Vec<&str> = text.split(' ').collect();
        if words.iter().any(|w| w.chars().count() > width) {
            return all.chunks(lines).map(<[String]>::to_vec).collect();
        }
        let mut pages = Vec::new();
        let mut rest = &words[..];
        while !rest.is_empty() {
            let full =
                (1..=rest.len()).take_while(|&n| fill(&rest[..n].join(" "), width).len() <= lines).count().max(1);
            let phrase = (full.div_ceil(2)..full).rev().map(|n| n + 1).find(|&n| n == rest.len() || parts(rest, n));
            let (page, left) = rest.split_at(phrase.unwrap_or(full));
            pages.push(wrap(&page.join(" "), width));
            rest = left;
        }
        pages
    }
}

/// One clean sentence: no control or bidirectional override characters, single spaces, a capital and a full stop.
pub fn sentence(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .filter(
            |c| !matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'),
        )
        .collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let joined = words.join(" ").replace("-->", "→");
    let joined = joined.trim_end_matches(['.', ' ']);
    // Joiners and marks alone say nothing.
    if joined.chars().all(|c| c.is_ascii_punctuation() || c == ' ' || joins(c)) {
        return String::new();
    }
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

/// Belongs to the character before it: combining marks, variation selectors, joiners, skin tones.
fn joins(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{93a}'..='\u{93c}' | '\u{93e}'..='\u{94f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200c}' | '\u{200d}'
        | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{1f3fb}'..='\u{1f3ff}')
}

/// A word without the punctuation after it, to be looked up.
fn bare(word: &str) -> String {
    word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Whether a phrase ends after the first `n` words: the next word opens one, and the last does not leave one open.
fn parts(words: &[&str], n: usize) -> bool {
    let (last, next) = (bare(words[n - 1]), bare(words[n]));
    !OPEN.contains(&last.as_str()) && (OPEN.contains(&next.as_str()) || next.ends_with("ing"))
}

/// Words before which a sentence may end and still say something whole. Not "of" ("a group of people"), not "and" ("a
/// black and white dog"), not a possessive ("holding his hat").
const CLOSING: [&str; 27] = [
    "in", "on", "at", "with", "by", "from", "into", "over", "under", "near", "behind", "beside", "is", "are", "while",
    "that", "who", "next", "through", "as", "around", "along", "between", "for", "across", "against", "during",
];
/// Words before a noun.
const ARTICLES: [&str; 12] =
    ["a", "an", "the", "his", "her", "their", "its", "two", "three", "some", "several", "another"];

/// Nouns that look like participles.
const NOUNS: [&str; 20] = [
    "building",
    "ceiling",
    "clothing",
    "painting",
    "king",
    "ring",
    "string",
    "thing",
    "wing",
    "swing",
    "spring",
    "morning",
    "evening",
    "wedding",
    "railing",
    "sibling",
    "something",
    "anything",
    "nothing",
    "crossing",
];

/// Whether the word at `n` is a participle that opens a phrase ("sitting on", "holding a"), not a noun ("a building in")
/// and not an adjective ("a running dog").
fn participle(words: &[&str], n: usize) -> bool {
    let of = |list: &[&str], word: &str| list.contains(&bare(word).as_str());
    bare(words[n]).ends_with("ing")
        && !of(&NOUNS, words[n])
        && !(n > 0 && of(&ARTICLES, words[n - 1]))
        && words.get(n + 1).is_none_or(|w| of(&CLOSING, w) || of(&OPEN, w))
}

/// Whether the first `n` words are a sentence of their own.
fn whole(words: &[&str], n: usize) -> bool {
    let (last, next) = (bare(words[n - 1]), bare(words[n]));
    !OPEN.contains(&last.as_str())
        && !participle(words, n - 1)
        && (CLOSING.contains(&next.as_str()) || participle(words, n) || words[n - 1].ends_with([',', ';', ':']))
}

/// At most `room` characters, an ellipsis the last of them; cut between words where one fits.
fn clip(text: &str, room: usize) -> String {
    let mut letters: Vec<char> = text.chars().take(room.max(2) - 1).collect();
    let whole = text.chars().nth(letters.len()).is_none_or(|c| c == ' ');
    if let Some(space) = letters.iter().rposition(|c| *c == ' ')
        && !whole
    {
        letters.truncate(space);
    }
    let kept: String = letters.into_iter().collect();
    format!("{}…", kept.trim_end_matches(|c: char| !c.is_alphanumeric() && !joins(c)))
}

/// Drops last phrases until at most `room` characters are left; never drops the first noun ("A man."). What cannot be
/// shortened to something whole stays: read in haste it still says more than half a phrase.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let words: Vec<&str> = text.split(' ').collect();
    let length = |n: usize| words[..n].iter().map(|w| w.chars().count() + 1).sum::<usize>();
    let ends: Vec<usize> = (1..words.len()).filter(|&n| whole(&words, n)).collect();
    let Some(&first) = ends.first() else { return text.to_string() };
    let best = ends.iter().rev().find(|&&n| length(n) <= room).copied().unwrap_or(first);
    format!("{}.", words[..best].join(" ").trim_end_matches([',', ';', ':', '.']))
}

/// Lines of at most `width` characters, as even as they can be. A longer word is broken.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let greedy = fill(text, width);
    if greedy.len() < 2 {
        return greedy;
    }
    // The narrowest width that needs no more lines and breaks no word makes them even.
    let longest = text.split(' ').map(|w| w.chars().count()).max().unwrap_or(1);
    let mut even = greedy.clone();
    for narrower in (longest.min(width)..width).rev() {
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
        let mut left = &letters[..];
        while left.len() > width {
            // A mark stays with its letter, if the line can hold both.
            let cut = (1..=width).rev().find(|&n| !joins(left[n]) && left[n - 1] != '\u{200d}').unwrap_or(width);
            lines.push(left[..cut].iter().collect());
            left = &left[cut..];
        }
        line.extend(left);
        used += left.len();
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
        assert_eq!(shorten("Look, a dog!", 3), "Look.");
        for (text, room, want) in [
            ("A black and white photo of a man in a hat.", 20, "A black and white photo of a man."),
            ("A black and white dog.", 9, "A black and white dog."),
            ("A parking meter sitting on the side of a road.", 30, "A parking meter."),
            ("A group of people standing on a street.", 20, "A group of people."),
            ("A man holding his hat in a field.", 25, "A man holding his hat."),
            ("A tall building in a city.", 16, "A tall building."),
            ("A building in a city.", 12, "A building."),
            ("A brown running dog on a beach.", 20, "A brown running dog."),
            ("Two men and a woman are talking to a child.", 24, "Two men and a woman."),
        ] {
            assert_eq!(shorten(text, room), want);
        }
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
    fn long_text_becomes_cues_that_part_at_phrases() {
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
        assert_eq!(clip("One two three.", 9), "One two…");
        assert_eq!(clip("One two three.", 8), "One two…");
        assert_eq!(clip("One two three.", 7), "One…");
    }

    #[test]
    fn max_duration_holds() {
        let o = CueOptions { max_duration: Some(Time::from_millis(7_000)), ..CueOptions::default() };
        let mut b = CueBuilder::new(&o);
        b.push(d(0, 60_000, "a dog"));
        let cues = b.finish(Time::from_millis(60_000));
        assert_eq!((cues[0].start.millis(), cues[0].end.millis()), (0, 7_000));
    }

    #[test]
    fn lines_are_even() {
        assert_eq!(
            wrap("A group of people standing around a table with food.", 42),
            ["A group of people standing", "around a table with food."]
        );
        assert_eq!(wrap("internationalisation bee", 20), ["internationalisation", "bee"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("abe\u{301}d", 3), ["ab", "e\u{301}d"]);
    }

    #[test]
    fn text_is_cleaned() {
        assert_eq!(sentence("  a\u{0} dog\n\n--> runs . "), "A dog → runs.");
        assert_eq!(sentence("élan"), "Élan.");
        assert_eq!(sentence(" . "), "");
        assert_eq!(sentence("-\u{200d}-"), "");
        assert_eq!(sentence("--\u{200b}> \u{2028}x"), "→ x.");
        assert_eq!(sentence("e\u{301}lan!"), "E\u{301}lan!");
        assert_eq!(sentence("👩\u{200d}🚒"), "👩\u{200d}🚒.");
    }

    /// Stretches in microseconds: most in order, texts as models, people and vandals write them.
    fn stretches() -> impl Strategy<Value = Vec<Described>> {
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
                    Described { start: Time::from_micros(start), end: Time::from_micros(at), text }
                })
                .collect()
        })
    }

    fn all(o: &CueOptions, stretches: &[Described]) -> Vec<Cue> {
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
        fn nothing_is_said_that_was_not_to_be_said(stretches in stretches()) {
            // Each cue's words stand together in the text of a stretch.
            let texts: Vec<String> = stretches.iter().filter_map(|s| s.text.as_deref()).map(sentence).collect();
            for c in all(&CueOptions::default(), &stretches) {
                let said = c.lines.concat().replace([' ', '.', ',', ';', ':', '…'], "");
                prop_assert!(texts.iter().any(|t| t.replace([' ', '.', ',', ';', ':', '…'], "").contains(&said)), "{said}");
            }
        }

        #[test]
        fn all_is_said_where_there_is_time(
            parts in prop::collection::vec("(a|two) (dog|cat|man|house) (in|on|by) the (road|beach)( and a long grey wall){0,6}", 1..20),
        ) {
            let mut at = 0;
            let mut stretches = Vec::new();
            for text in &parts {
                // Twice the time: a page that is short stands longer than it takes to read.
                let length = 2_000_000 + text.len() as i64 * 2_000_000 / 17;
                stretches.push(Described {
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
            let said: Vec<String> = cues.iter().flat_map(|c| words(&c.lines.join(" "))).collect();
            prop_assert_eq!(said, wanted.iter().flat_map(|t| words(t)).collect::<Vec<_>>());
        }
    }
}
