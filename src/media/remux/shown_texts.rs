//! Texts on screen: those that overlap become one where a container shows one at a time.

use super::text_codec::LONGEST_TEXT;

/// Most texts at once. People read two or three; effects of ASS have hundreds.
const MOST: usize = 16;

/// A text and when it is shown, in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownText {
    pub(super) start: i64,
    /// After its start.
    pub(super) end: i64,
    /// Whether the next text ends it, before its end.
    pub(super) is_open: bool,
    /// One or more lines.
    pub(super) text: String,
}

/// Texts that are not written yet, because nobody knows when they end, or what is shown together with them.
///
/// Memory: 16 texts of 65,535 bytes in all.
#[derive(Debug)]
pub(super) struct ShownTexts {
    /// Whether texts that overlap become one.
    joins: bool,
    /// Those that are shown at `from`.
    shown: Vec<ShownText>,
    /// Everything before is written.
    from: i64,
}

impl ShownTexts {
    pub(super) fn new(joins: bool) -> ShownTexts {
        ShownTexts { joins, shown: Vec::new(), from: i64::MIN }
    }

    /// Takes a text and gives those that are complete. Texts come in order of their start; of a later one, what lies before
    /// the last one is lost if texts are joined. False if the text is left out: nothing is left of it, or too many are shown.
    pub(super) fn push(&mut self, mut new: ShownText, out: &mut Vec<ShownText>) -> bool {
        for open in self.shown.iter_mut().filter(|shown| shown.is_open && shown.start < new.start) {
            (open.end, open.is_open) = (open.end.min(new.start), false);
        }
        self.write(new.start, out);
        if self.joins {
            self.from = self.from.max(new.start);
            new.start = self.from;
        }
        if new.start >= new.end {
            return false;
        }
        // Shadows and outlines of ASS are the same text again.
        if let Some(same) = self.shown.iter_mut().find(|shown| shown.text == new.text) {
            same.end = same.end.max(new.end);
            return true;
        }
        let length: usize = self.shown.iter().map(|shown| shown.text.len() + 1).sum();
        if self.shown.len() == MOST || length + new.text.len() > LONGEST_TEXT {
            return false;
        }
        self.shown.push(new);
        self.write(i64::MIN, out);
        true
    }

    /// Gives everything if all of it ended before a time.
    pub(super) fn advance(&mut self, now: i64, out: &mut Vec<ShownText>) {
        if self.shown.iter().all(|shown| shown.end <= now) {
            self.write(i64::MAX, out);
        }
    }

    /// Gives what is complete, once no text can come that begins before a time.
    fn write(&mut self, until: i64, out: &mut Vec<ShownText>) {
        if !self.joins {
            out.extend(self.shown.extract_if(.., |shown| !shown.is_open || shown.end <= until));
            return;
        }
        while self.from < until
            && let Some(end) = self.shown.iter().map(|shown| shown.end).min()
        {
            let end = end.min(until);
            let text = self.shown.iter().map(|shown| shown.text.as_str()).collect::<Vec<_>>().join("\n");
            out.push(ShownText { start: self.from, end, is_open: false, text });
            self.from = end;
            self.shown.retain(|shown| shown.end > end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(start: i64, end: i64, text: &str) -> ShownText {
        ShownText { start, end, is_open: false, text: text.into() }
    }

    /// What becomes of texts, and how many are left out.
    fn written(joins: bool, texts: &[ShownText]) -> (Vec<(i64, i64, String)>, usize) {
        let (mut shown, mut out) = (ShownTexts::new(joins), Vec::new());
        let lost = texts.iter().filter(|text| !shown.push((*text).clone(), &mut out)).count();
        shown.advance(i64::MAX, &mut out);
        (out.into_iter().map(|shown| (shown.start, shown.end, shown.text)).collect(), lost)
    }

    #[test]
    fn texts_that_overlap_are_shown_together() {
        let texts = [text(0, 10, "a"), text(4, 6, "b"), text(4, 8, "c"), text(4, 9, "a"), text(20, 30, "d")];
        let own = |texts: &[(i64, i64, &str)]| texts.iter().map(|t| (t.0, t.1, t.2.to_string())).collect::<Vec<_>>();
        let joined = [(0, 4, "a"), (4, 6, "a\nb\nc"), (6, 8, "a\nc"), (8, 10, "a"), (20, 30, "d")];
        assert_eq!(written(true, &texts), (own(&joined), 0));
        let apart = [(0, 10, "a"), (4, 6, "b"), (4, 8, "c"), (4, 9, "a"), (20, 30, "d")];
        assert_eq!(written(false, &texts), (own(&apart), 0));
        // A text that comes too late keeps what is left of it.
        let late = [text(5, 9, "a"), text(3, 6, "b"), text(1, 2, "c")];
        assert_eq!(written(true, &late), (own(&[(5, 6, "a\nb"), (6, 9, "a")]), 1));
    }

    #[test]
    fn a_text_without_an_end_lasts_until_the_next_one() {
        let open = |start: i64, words: &str| ShownText { is_open: true, ..text(start, start + 50, words) };
        for joins in [false, true] {
            let (out, lost) = written(joins, &[open(0, "a"), open(10, "b"), text(100, 110, "c")]);
            let want = [(0, 10, "a"), (10, 60, "b"), (100, 110, "c")].map(|t| (t.0, t.1, t.2.to_string()));
            assert_eq!((out, lost), (want.to_vec(), 0), "{joins}");
        }
    }

    #[test]
    fn few_texts_wait() {
        for joins in [false, true] {
            let open = |n: usize, words: String| ShownText { is_open: true, ..text(0, 50 + n as i64, &words) };
            let texts: Vec<ShownText> = (0..40).map(|n| open(n, n.to_string())).collect();
            assert_eq!(written(joins, &texts).1, 40 - MOST, "{joins}");
            let long: Vec<ShownText> = (0..4).map(|n| open(n, n.to_string().repeat(LONGEST_TEXT / 2))).collect();
            assert_eq!(written(joins, &long).1, 2, "{joins}");
            // Those that ended wait no longer.
            let (mut shown, mut out) = (ShownTexts::new(joins), Vec::new());
            shown.push(open(0, "a".into()), &mut out);
            shown.advance(49, &mut out);
            assert!(out.is_empty(), "{joins}");
            shown.advance(50, &mut out);
            assert_eq!(out.len(), 1, "{joins}");
        }
    }

    proptest::proptest! {
        /// However texts lie, packets follow each other without overlap, and each text is shown from its start to its end.
        #[test]
        fn joined_texts_are_shown_when_they_were(spans in proptest::collection::vec((0i64..100, 1i64..20), 0..MOST)) {
            let mut texts: Vec<ShownText> =
                spans.iter().enumerate().map(|(n, &(start, length))| text(start, start + length, &n.to_string())).collect();
            texts.sort_by_key(|text| text.start);
            let (out, lost) = written(true, &texts);
            assert_eq!(lost, 0);
            assert!(out.windows(2).all(|pair| pair[0].1 <= pair[1].0) && out.iter().all(|text| text.0 < text.1));
            for at in 0..120 {
                let shows = |start: i64, end: i64| start <= at && at < end;
                let mut now: Vec<&str> = out.iter().filter(|t| shows(t.0, t.1)).flat_map(|t| t.2.lines()).collect();
                let mut want: Vec<&str> =
                    texts.iter().filter(|t| shows(t.start, t.end)).map(|t| t.text.as_str()).collect();
                now.sort_unstable();
                want.sort_unstable();
                assert_eq!(now, want);
            }
        }
    }
}
