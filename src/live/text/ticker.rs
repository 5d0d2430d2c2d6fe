//! What is new of a line that scrolls through without end.
//!
//! Memory: the last [`REMEMBERED`] characters of what was reported.

use crate::time::Time;

/// Least time between two reports of a ticker.
const PACE: Time = Time::from_millis(30_000);
/// Fewer new characters are not worth a report.
const LEAST_NEW: usize = 16;
/// What was reported last, in characters.
const REMEMBERED: usize = 4_000;
/// So many characters are looked for in what was reported.
const LINK: usize = 12;

/// A row in which text scrolls.
#[derive(Debug, Clone)]
pub(super) struct TickerRow {
    /// Its middle, as a share of the picture's height.
    pub(super) y: f32,
    /// When it was seen last.
    pub(super) seen: Time,
    /// When it was reported last.
    reported: Option<Time>,
    told: String,
}

impl TickerRow {
    pub(super) fn new(y: f32, seen: Time) -> TickerRow {
        TickerRow { y, seen, reported: None, told: String::new() }
    }

    /// What there is to report of what has scrolled through so far.
    pub(super) fn news(&mut self, text: &str, now: Time) -> Option<String> {
        self.seen = now;
        if self.reported.is_some_and(|at| now - at < PACE) {
            return None;
        }
        let new = self.unknown(text)?.trim();
        // Words at its edges may be cut in half.
        let new = if self.reported.is_none() && new.starts_with(char::is_lowercase) {
            new.split_once(' ').map_or("", |(_, whole)| whole)
        } else {
            new
        };
        let whole = new.rsplit_once(' ').map_or(new, |(whole, _)| whole).to_string();
        if whole.chars().count() < LEAST_NEW {
            return None;
        }
        self.reported = Some(now);
        self.told.push(' ');
        self.told.push_str(&whole);
        let excess = self.told.chars().count().saturating_sub(REMEMBERED);
        self.told = self.told.chars().skip(excess).collect();
        Some(whole)
    }

    /// The part of a text that was not reported; none if all was.
    fn unknown<'a>(&self, text: &'a str) -> Option<&'a str> {
        let words: Vec<(usize, &str)> = text.split_whitespace().map(|word| (offset(text, word), word)).collect();
        // The first place from which on the words are new. Words go around, so what comes may have come before.
        let is_told = |from: usize| {
            let link: String = text[from..].chars().take(LINK).collect();
            link.chars().count() == LINK && self.told.contains(&link)
        };
        let last_told = words.iter().rposition(|(at, _)| is_told(*at));
        match last_told {
            None => words.first().map(|(at, _)| &text[*at..]),
            Some(n) => {
                let end = words[n].0 + text[words[n].0..].char_indices().nth(LINK).map_or(0, |(at, _)| at);
                words.iter().find(|(at, _)| *at >= end).map(|(at, _)| &text[*at..])
            }
        }
    }
}

/// Where a part of a text begins in it, in bytes.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_000 * seconds)
    }

    #[test]
    fn what_has_scrolled_through_is_reported_once_and_not_too_often() {
        let mut row = TickerRow::new(0.95, at(0));
        assert_eq!(row.news("The river", at(1)), None);
        assert_eq!(row.news("The river has risen by", at(3)).as_deref(), Some("The river has risen"));
        let text = "The river has risen by two metres since Monday evening and";
        assert_eq!(row.news(text, at(20)), None);
        assert_eq!(row.news(text, at(34)).as_deref(), Some("by two metres since Monday evening"));
        // It goes around.
        assert_eq!(row.news("The river has risen by two metres since Monday evening The", at(90)), None);
        let more = "since Monday evening Élections: the count begins at noon today in";
        assert_eq!(row.news(more, at(130)).as_deref(), Some("Élections: the count begins at noon today"));
        for n in 0..200 {
            row.news(&format!("Headline {n} of a day with many headlines, number {n} x"), at(200 + 40 * n));
            assert!(row.told.chars().count() <= REMEMBERED);
        }
    }
}
