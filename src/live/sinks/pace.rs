//! When captions of a live stream stand, and for how long.
//!
//! A live cue cannot wait for what follows it, so its length is settled the moment it comes: the time to read it at the
//! reading speed or to speak it at 160 words a minute, whichever is longer; at least the shortest cue, at most 7 s for
//! each page that it fills. A caption that comes while another is still being read waits for its turn and is given less
//! time for it, down to the shortest cue, so that a hasty scene cannot pile up; one that would have to wait for more than
//! 5 s stands beside the other instead, with its first page. Cues are ordered by start. Nothing grows.

use crate::cue::{Cue, CueBuilder, CueOptions, Described};
use crate::time::Time;

/// What captions are held to, for a page.
const LONGEST: Time = Time::from_millis(7_000);
/// The longest wait for another cue's end.
const PATIENCE: Time = Time::from_millis(5_000);
/// Spoken words take so long.
const WORD: Time = Time::from_millis(60_000 / 160);
/// More of a text is not looked at.
const TEXT: usize = 1_000;

/// Makes the cues of one stream, in order.
pub struct Pace {
    options: CueOptions,
    /// Start of the last cue.
    last: Time,
    /// Nothing stands from here on.
    free: Time,
}

impl Pace {
    pub fn new(options: &CueOptions) -> Pace {
        Pace { options: options.clone(), last: Time::ZERO, free: Time::ZERO }
    }

    /// What stands ends by `at`, at the latest.
    pub fn cut(&mut self, at: Time) {
        self.free = self.free.min(at);
    }

    /// The cues of a caption that is to be seen from `start` on; none where the text says nothing.
    pub fn cues(&mut self, start: Time, text: &str) -> Vec<Cue> {
        let o = &self.options;
        let text: String = text.chars().take(TEXT).collect();
        let letters = text.chars().count();
        let pages = letters.div_ceil((o.max_line * o.max_lines).max(1)).max(1) as i64;
        let least = Time::from_micros(o.min_duration.micros().saturating_mul(pages));
        let words = text.split_whitespace().count() as i64;
        let read = Time::from_secs(letters as f64 / o.reading_speed.max(0.1));
        let speak = Time::from_micros(WORD.micros() * words);
        let need = read.max(speak).min(Time::from_micros(LONGEST.micros() * pages)).max(least);
        let wait = (self.free - start).max(Time::ZERO);
        let (start, length) = if wait > PATIENCE {
            (start.max(self.last), need)
        } else {
            ((start + wait).max(self.last), (need - wait).max(least))
        };
        let mut builder = CueBuilder::new(o);
        let mut cues = builder.push(Described { start, end: start + length, text: Some(text) });
        cues.extend(builder.finish(start + length));
        if wait > PATIENCE {
            cues.truncate(1);
        }
        if let Some(first) = cues.first() {
            self.last = first.start.max(cues.last().map_or(first.start, |c| c.start));
            self.free = cues.iter().map(|c| c.end).fold(self.free, Time::max);
        }
        cues
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paced(captions: &[(i64, &str)]) -> Vec<(i64, i64, String)> {
        let mut pace = Pace::new(&CueOptions::default());
        let cues = captions.iter().flat_map(|(at, text)| pace.cues(Time::from_millis(*at), text));
        cues.map(|c| (c.start.millis(), c.end.millis(), c.lines.join("|"))).collect()
    }

    #[test]
    fn a_cue_stands_as_long_as_it_takes_to_say() {
        // Nine words, 40 letters.
        let text = "a man is riding a bike down the street";
        let said = "A man is riding a bike down the street.";
        assert_eq!(paced(&[(1_000, text)]), [(1_000, 4_375, said.into())]);
        assert_eq!(paced(&[(0, "a dog")]), [(0, 1_000, "A dog.".into())]);
        assert_eq!(paced(&[(0, ""), (5, " . ")]), []);
    }

    #[test]
    fn the_next_waits_its_turn_and_hurries() {
        let text = "a man is riding a bike down the street";
        let got: Vec<_> = paced(&[(0, text), (2_000, text), (2_500, text)]).iter().map(|c| (c.0, c.1)).collect();
        assert_eq!(got, [(0, 3_375), (3_375, 5_375), (5_375, 6_375)]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_in_order_and_near_its_time(
            captions in prop::collection::vec((0i64..4_000_000, "\\PC{0,200}"), 0..30),
            hasty in any::<bool>(),
        ) {
            let mut pace = Pace::new(&CueOptions::default());
            let (mut at, mut last) = (Time::ZERO, Time::ZERO);
            for (gap, text) in captions {
                at = at + Time::from_micros(if hasty { gap / 20 } else { gap });
                for (i, cue) in pace.cues(at, &text).into_iter().enumerate() {
                    prop_assert!(cue.start >= last && cue.start >= at && cue.end > cue.start);
                    prop_assert!(i > 0 || cue.start - at <= Time::from_millis(100_000));
                    last = cue.start;
                }
            }
        }
    }
}
