//! A placed description as cues.

use super::{PlaceDecision, PlacedCue, PlacedTrack};
use crate::time::Time;
use crate::track::cue::{Cue, CueOptions, paginate};

impl PlacedCue {
    /// The cues that show it while it is spoken: several if its lines do not fit one, each as long as it takes to speak its
    /// share. Cues that are read have other limits, so of the options only `max_line` and `max_lines` count. The film pauses at
    /// the beginning of an extended description, which is one cue, whatever its lines.
    pub fn cues(&self, options: &CueOptions) -> Vec<Cue> {
        let most_lines = if self.extended { usize::MAX } else { options.max_lines.max(1) };
        let pages = paginate(&self.text, options.max_line.max(1), most_lines);
        let length = |page: &[String]| page.iter().map(|line| line.chars().count() as i128 + 1).sum::<i128>();
        let total = pages.iter().map(|page| length(page)).sum::<i128>().max(1);
        let (mut cues, mut done, mut start) = (Vec::new(), 0, self.start);
        for lines in pages {
            done += length(&lines);
            let share = i128::from((self.end - self.start).micros()) * done / total;
            let end = self.start + Time::from_micros(share as i64);
            // A cue that rounds to nothing in milliseconds would be an error in every format.
            if end.millis() > start.millis() {
                cues.push(Cue { start, end, lines });
                start = end;
            }
        }
        cues
    }
}

impl PlacedTrack {
    /// Adds decisions, and returns the cues that show them.
    pub fn add(&mut self, decisions: Vec<PlaceDecision>, options: &CueOptions) -> Vec<Cue> {
        let mut cues = Vec::new();
        for decision in decisions {
            match decision {
                PlaceDecision::Cue(cue) => {
                    cues.extend(cue.cues(options));
                    self.placed.push(cue);
                }
                PlaceDecision::Unplaced(scene) => self.unplaced.push(scene),
            }
        }
        cues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_description_is_shown_page_by_page() {
        let text = "A man in a dark suit and a tie is standing in front of a large brick building while a woman with a long \
                    red coat walks past him on a wet street.";
        let (start, end) = (Time::from_millis(1_000), Time::from_millis(14_000));
        let placed = PlacedCue {
            start,
            end,
            text: text.into(),
            scenes: 0..1,
            overlap: Time::ZERO,
            early: Time::ZERO,
            merged: 1,
            shortened: false,
            hasty: false,
            extended: false,
            pause: Time::ZERO,
        };
        let cues = placed.cues(&CueOptions::default());
        let shown: Vec<&str> = cues.iter().flat_map(|cue| cue.lines.iter().map(String::as_str)).collect();
        assert_eq!(shown.join(" "), text);
        assert_eq!((cues.len(), cues[0].start, cues[0].end, cues[1].end), (2, start, cues[1].start, end));
        // 78 of 145 characters are on the first page, with the spaces after them.
        assert_eq!(cues[0].end.millis(), 1_000 + 13_000 * 78 / 145);
        let extended = PlacedCue { extended: true, ..placed }.cues(&CueOptions::default());
        assert_eq!((extended.len(), extended[0].lines.join(" ")), (1, text.to_string()));
    }
}
