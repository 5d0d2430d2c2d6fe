//! When captions of a live stream stand, and for how long.
//!
//! A live cue cannot wait for what follows it, so its length is settled the moment it comes: the time to read it at the
//! reading speed, at least the shortest cue and at most 7 s for each page that it fills. A caption that comes while another is still being read waits for its turn, and each second of
//! that costs it two of its own, down to the shortest cue: a hasty scene is read in haste, but stays near its time and
//! loses no words. One that would have to wait for more than 5 s stands beside the other instead, with its first page.
//! Cues are ordered by start. Nothing grows.

use crate::time::Time;
use crate::track::{Cue, CueBuilder, CueOptions, Description};

/// What captions are held to, for a page.
const LONGEST: Time = Time::from_millis(7_000);
/// The longest wait for another cue's end.
const PATIENCE: Time = Time::from_millis(5_000);
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
        // How long a cue may stand is decided here.
        let options = CueOptions { max_duration: None, ..options.clone() };
        Pace { options, last: Time::ZERO, free: Time::ZERO }
    }

    /// What stands ends by `at`, at the latest.
    pub fn cut(&mut self, at: Time) {
        self.free = self.free.min(at);
    }

    /// The cues of a caption that is to be seen from `start` on; none where the text says nothing.
    pub fn cues(&mut self, start: Time, text: &str) -> Vec<Cue> {
        let o = &self.options;
        let text: String = text.chars().take(TEXT).collect();
        let read = Time::from_secs(text.chars().count() as f64 / o.reading_speed.max(0.1));
        // Laid out where time does not matter, for nothing may be left out.
        let ample = Time::from_micros(read.micros() + o.min_duration.micros() * TEXT as i64);
        let mut builder = CueBuilder::new(o);
        let mut cues = builder.push(Description { start: Time::ZERO, end: ample, text: Some(text) });
        cues.extend(builder.finish(ample));
        let pages = |t: Time| Time::from_micros(t.micros().saturating_mul(cues.len() as i64));
        let least = pages(o.min_duration);
        let need = read.min(pages(LONGEST)).max(least);
        let wait = (self.free - start).max(Time::ZERO);
        let (start, length) = if wait > PATIENCE {
            (start.max(self.last), need)
        } else {
            ((start + wait).max(self.last), (need - wait - wait).max(least))
        };
        let scaled = |t: Time| {
            let share = i128::from(t.micros()) * i128::from(length.micros()) / i128::from(ample.micros().max(1));
            start + Time::from_micros(share as i64)
        };
        for cue in &mut cues {
            (cue.start, cue.end) = (scaled(cue.start), scaled(cue.end));
        }
        cues.retain(|c| c.end.millis() > c.start.millis());
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
        // 38 letters.
        let text = "a man is riding a bike down the street";
        let said = "A man is riding a bike down the street.";
        assert_eq!(paced(&[(1_000, text)]), [(1_000, 3_235, said.into())]);
        assert_eq!(paced(&[(0, "a dog")]), [(0, 1_000, "A dog.".into())]);
        assert_eq!(paced(&[(0, ""), (5, " . ")]), []);
    }

    #[test]
    fn the_next_waits_its_turn_and_hurries() {
        let text = "a man is riding a bike down the street";
        let said = "A man is riding a bike down the street.".to_string();
        let got = paced(&[(0, text), (2_000, text), (2_500, text), (3_000, text)]);
        let times: Vec<_> = got.iter().map(|c| (c.0, c.1)).collect();
        assert_eq!(times, [(0, 2_235), (2_235, 4_000), (4_000, 5_000), (5_000, 6_000)]);
        assert!(got.iter().all(|c| c.2 == said));
    }

    #[test]
    fn captions_in_haste_are_said_whole_and_soon() {
        let text = "a man in a black jacket is standing in front of a car";
        let captions: Vec<(i64, &str)> = (0..100).map(|s| (s * 1_300, text)).collect();
        for ((at, _), (start, end, said)) in captions.iter().zip(paced(&captions)) {
            assert!(start - at < 2_500 && end - start >= 1_000, "{at} {start} {end}");
            assert_eq!(said, "A man in a black jacket is|standing in front of a car.");
        }
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
