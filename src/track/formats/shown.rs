//! What a film shows in writing, as the formats have it.

use super::one_line;
use crate::ocr::ScreenText;
use crate::time::Time;

/// Most lines of text that a format shows for one scene. JSON has all.
pub(super) const MOST_LINES: usize = 200;
/// Most bytes of a scene's text in a field of a table.
const MOST_BYTES: usize = 16 << 10;

/// The lines that can be seen in scenes which come in order of their start. Memory: the lines that are seen at a time.
pub(super) struct SeenLines<'a> {
    /// In order of their start.
    lines: &'a [ScreenText],
    next: usize,
    seen: Vec<&'a ScreenText>,
}

impl<'a> SeenLines<'a> {
    /// `lines` are in order of their start.
    pub(super) fn new(lines: &'a [ScreenText]) -> SeenLines<'a> {
        SeenLines { lines, next: 0, seen: Vec::new() }
    }

    /// The lines of the next scene in one field: ` / ` is between them, `…` at the end if there are too many.
    pub(super) fn field(&mut self, start: Time, end: Time) -> String {
        self.seen.retain(|line| line.end > start);
        while let Some(line) = self.lines.get(self.next).filter(|line| line.start < end) {
            self.seen.extend(Some(line).filter(|line| line.end > start));
            self.next += 1;
        }
        let (mut field, mut count) = (String::new(), 0);
        for line in self.seen.iter().filter(|line| line.start < end) {
            let text = one_line(&line.text);
            if count == MOST_LINES || field.len() + text.len() > MOST_BYTES {
                field += " …";
                break;
            }
            field += if count == 0 { "" } else { " / " };
            field += &text;
            count += 1;
        }
        field
    }
}

/// A part of a description, and whether it says what is written.
pub(super) type SpokenPart<'a> = (&'a str, bool);

/// Divides a description into what is seen and what is written: each sentence that quotes something is written. `inside`:
/// whether the description before has not closed its quotation; becomes whether this one does.
pub(super) fn parts<'a>(text: &'a str, inside: &mut bool) -> Vec<SpokenPart<'a>> {
    let mut parts: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
    let (mut start, mut quotes, mut last) = (0, *inside, ' ');
    let mut add = |sentence: std::ops::Range<usize>, quotes: bool| match parts.last_mut() {
        Some((before, same)) if *same == quotes => before.end = sentence.end,
        _ if sentence.is_empty() => {}
        _ => parts.push((sentence, quotes)),
    };
    for (at, c) in text.char_indices() {
        match c {
            '“' => (*inside, quotes) = (true, true),
            '”' => (*inside, quotes) = (false, true),
            ' ' if !*inside && matches!(last, '.' | '!' | '?') => {
                add(start..at, quotes);
                (start, quotes) = (at, false);
            }
            _ => {}
        }
        last = c;
    }
    add(start..text.len(), quotes);
    parts.into_iter().map(|(range, quotes)| (&text[range], quotes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocr::{TextBox, TextKind};

    #[test]
    fn sentences_that_quote_are_written() {
        let mut inside = false;
        let text = "A street. On a sign: “Rue Haute. 5”, “Bar”. A car. It stops";
        let divided = parts(text, &mut inside);
        assert_eq!(
            divided,
            [("A street.", false), (" On a sign: “Rue Haute. 5”, “Bar”.", true), (" A car. It stops", false)]
        );
        assert!(!inside);
        // One that goes on in the next description.
        assert_eq!(parts("A man. Text: “Breaking", &mut inside), [("A man.", false), (" Text: “Breaking", true)]);
        assert!(inside);
        assert_eq!(parts("news. And more", &mut inside), [("news. And more", true)]);
        assert_eq!(parts("here”. A dog.", &mut inside), [("here”.", true), (" A dog.", false)]);
        assert_eq!(parts("", &mut inside), []);
    }

    fn line(text: &str, start: i64, end: i64) -> ScreenText {
        let place = TextBox { x: 0.0, y: 0.0, width: 1.0, height: 0.1 };
        let (start, end) = (Time::from_millis(start), Time::from_millis(end));
        ScreenText { text: text.into(), start, end, place, confidence: 0.9, kind: TextKind::Title }
    }

    #[test]
    fn fields_have_the_lines_of_their_scene_and_are_bounded() {
        let at = Time::from_millis;
        let lines =
            [line("logo", 0, 9_000), line("a\nb", 500, 1_000), line("c", 1_500, 3_000), line("d", 2_500, 2_600)];
        let mut seen = SeenLines::new(&lines);
        let fields =
            [(0, 1_000), (1_000, 2_000), (2_000, 9_000), (9_000, 9_500)].map(|(a, b)| seen.field(at(a), at(b)));
        assert_eq!(fields, ["logo / a b", "logo / c", "logo / c / d", ""]);
        let page: Vec<ScreenText> = (0..10_000).map(|n| line(&format!("word {n}"), 0, 1_000)).collect();
        let field = SeenLines::new(&page).field(at(0), at(500));
        assert!(field.starts_with("word 0 / word 1 /") && field.ends_with("word 199 …"), "{field}");
        let long = [line(&"a".repeat(20_000), 0, 1_000)];
        assert_eq!(SeenLines::new(&long).field(at(0), at(500)), " …");
    }
}
