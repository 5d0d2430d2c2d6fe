//! Lines of text on the screen, as an index has them: their texts in one, and what else is known of them as JSON.
//!
//! Others may have made the index or the archive, so nothing is taken for granted of either.

use serde::{Deserialize, Serialize};

use super::fault::IndexFault;
use super::script::{spaced, unspaced};
use crate::archive::table::{MOST_LINES, TextRow};
use crate::printable::plain;

/// What surrounds the words of a query in a text of the index. No such text has them: they are control characters.
pub(crate) const MARKS: [char; 2] = ['\u{1}', '\u{2}'];

/// When and where a line is seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScreenLine {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Left and top edge, width and height, in shares of the picture.
    #[serde(rename = "box")]
    pub(crate) place: [f32; 4],
    pub(crate) confidence: f32,
    pub(crate) kind: String,
}

/// A line in which words of a query are marked.
#[derive(Debug)]
pub(crate) struct MarkedLine {
    /// How many marks there are.
    pub(crate) marks: usize,
    pub(crate) text: String,
    pub(crate) line: ScreenLine,
}

impl ScreenLine {
    /// The texts, one a line, and what else is known of each. None if there is no text.
    pub(super) fn pack(lines: &[&TextRow]) -> Option<(String, String)> {
        let (mut texts, mut places) = (Vec::new(), Vec::new());
        for line in lines {
            let text = plain(&line.text);
            let place = [line.x, line.y, line.width, line.height];
            let is_usual = place.iter().chain([&line.confidence]).all(|share| share.is_finite());
            if !text.trim().is_empty() && is_usual {
                texts.push(spaced(&text).into_owned());
                places.push(ScreenLine {
                    start_ms: line.start_ms,
                    end_ms: line.end_ms,
                    place,
                    confidence: line.confidence,
                    kind: line.kind.to_string(),
                });
            }
        }
        let places = serde_json::to_string(&places).ok().filter(|_| !places.is_empty())?;
        Some((texts.join("\n"), places))
    }

    /// The lines of a text in which the words of a query are marked. `places` is as [`ScreenLine::pack`] made it.
    pub(crate) fn marked(text: &str, places: &str) -> Result<Vec<MarkedLine>, IndexFault> {
        let damaged = || IndexFault::Damaged("it does not say where a text of the screen is".into());
        let places: Vec<ScreenLine> = serde_json::from_str(places).map_err(|_| damaged())?;
        let texts: Vec<&str> = text.split('\n').collect();
        if texts.len() != places.len() || places.len() > MOST_LINES {
            return Err(damaged());
        }
        let lines = texts.into_iter().zip(places).filter(|(text, _)| text.contains(MARKS));
        let marked = |(text, line): (&str, ScreenLine)| MarkedLine {
            marks: text.matches(MARKS[0]).count(),
            text: unspaced(&text.replace(MARKS, "")),
            line,
        };
        Ok(lines.map(marked).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, x: f32) -> TextRow {
        let (start_ms, end_ms, kind) = (1_000, 2_000, "title".into());
        TextRow { text: text.into(), start_ms, end_ms, x, y: 0.5, width: 0.25, height: 0.125, confidence: 0.5, kind }
    }

    #[test]
    fn lines_are_packed_without_what_could_be_taken_for_marks() {
        let rows =
            [row("BREAKING\u{1} NEWS\n", 0.0), row(" \u{202e}", 0.0), row("x", f32::NAN), row("at\u{2}ten", 0.5)];
        let (text, places) = ScreenLine::pack(&rows.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(text, "BREAKING NEWS\natten");
        let marked = ScreenLine::marked("\u{1}BREAKING\u{2} NEWS\natten", &places).unwrap();
        assert_eq!(marked.len(), 1);
        let MarkedLine { marks, text, line } = &marked[0];
        assert_eq!((*marks, text.as_str(), line.place), (1, "BREAKING NEWS", [0.0, 0.5, 0.25, 0.125]));
        assert_eq!(ScreenLine::pack(&[]), None);
    }

    #[test]
    fn damage_is_noticed() {
        for (text, places) in [("a", ""), ("a", "[]"), ("a", "{}"), ("a\nb", "[{}]"), ("", "[[[[")] {
            assert!(matches!(ScreenLine::marked(text, places), Err(IndexFault::Damaged(_))), "{text} {places}");
        }
    }
}
