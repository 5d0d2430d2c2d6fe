//! When the cues of a live stream are shown, and for how long.
//!
//! A live cue cannot wait for what follows it, so its length is decided when it comes: the time to read it, at least the
//! shortest cue and at most 7 s for each page that it fills. A caption that comes while another is still being read waits
//! for its turn. Each second of waiting costs it two of its own, down to the shortest cue: in a hectic scene captions are
//! shown briefly, but stay near their time and lose no words. A caption that would have to wait for more than 5 s is shown
//! beside the other one instead, with its first page.
//!
//! Order: cues are ordered by start. Memory: nothing grows.

use crate::time::Time;
use crate::track::{Cue, CueBuilder, CueOptions, Description};

/// Longest time of a page: the limit of common captioning guidelines.
const LONGEST: Time = Time::from_millis(7_000);
/// Longest wait for the end of another cue.
const LONGEST_WAIT: Time = Time::from_millis(5_000);
/// Characters of a text that are used.
const TEXT: usize = 1_000;

/// Makes the cues of one stream, in order.
pub(super) struct CuePacer {
    options: CueOptions,
    /// Start of the last cue.
    last: Time,
    /// No cue is shown from here on.
    free: Time,
}

impl CuePacer {
    pub(super) fn new(options: &CueOptions) -> CuePacer {
        // How long a cue is shown is decided here.
        let options = CueOptions { max_duration: None, ..options.clone() };
        CuePacer { options, last: Time::ZERO, free: Time::ZERO }
    }

    /// Ends what is shown by `at`, at the latest.
    pub(super) fn cut(&mut self, at: Time) {
        self.free = self.free.min(at);
    }

    /// The cues of a caption whose scene begins at `start`; none where the text is empty.
    pub(super) fn cues(&mut self, start: Time, text: &str) -> Vec<Cue> {
        let o = &self.options;
        let text: String = text.chars().take(TEXT).collect();
        let read = Time::from_secs(text.chars().count() as f64 / o.reading_speed.max(0.1));
        // Laid out with time to spare, so that no words are left out; scaled afterwards.
        let ample = Time::from_micros(read.micros() + o.min_duration.micros() * TEXT as i64);
        let mut builder = CueBuilder::new(o);
        let mut cues = builder.push(Description { start: Time::ZERO, end: ample, text: Some(text) });
        cues.extend(builder.finish(ample));
        let pages = |t: Time| Time::from_micros(t.micros().saturating_mul(cues.len() as i64));
        let least = pages(o.min_duration);
        let need = read.min(pages(LONGEST)).max(least);
        let wait = (self.free - start).max(Time::ZERO);
        let (start, length) = if wait > LONGEST_WAIT {
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
        if wait > LONGEST_WAIT {
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
        let mut pace = CuePacer::new(&CueOptions::default());
        let cues = captions.iter().flat_map(|(at, text)| pace.cues(Time::from_millis(*at), text));
        cues.map(|c| (c.start.millis(), c.end.millis(), c.lines.join("|"))).collect()
    }

    #[test]
    fn a_cue_is_shown_as_long_as_it_takes_to_read() {
        // 38 letters.
        let text = "a man is riding a bike down the street";
        let shown = "A man is riding a bike down the street.";
        assert_eq!(paced(&[(1_000, text)]), [(1_000, 3_235, shown.into())]);
        assert_eq!(paced(&[(0, "a dog")]), [(0, 1_000, "A dog.".into())]);
        assert_eq!(paced(&[(0, ""), (5, " . ")]), []);
    }

    #[test]
    fn the_next_cue_waits_its_turn_and_is_shorter() {
        let text = "a man is riding a bike down the street";
        let shown = "A man is riding a bike down the street.".to_string();
        let got = paced(&[(0, text), (2_000, text), (2_500, text), (3_000, text)]);
        let times: Vec<_> = got.iter().map(|c| (c.0, c.1)).collect();
        assert_eq!(times, [(0, 2_235), (2_235, 4_000), (4_000, 5_000), (5_000, 6_000)]);
        assert!(got.iter().all(|c| c.2 == shown));
    }

    #[test]
    fn rapid_captions_are_shown_whole_and_soon() {
        let text = "a man in a black jacket is standing in front of a car";
        let captions: Vec<(i64, &str)> = (0..100).map(|s| (s * 1_300, text)).collect();
        for ((at, _), (start, end, shown)) in captions.iter().zip(paced(&captions)) {
            assert!(start - at < 2_500 && end - start >= 1_000, "{at} {start} {end}");
            assert_eq!(shown, "A man in a black jacket is|standing in front of a car.");
        }
    }

    proptest! {
        #[test]
        fn any_captions_are_in_order_and_near_their_time(
            captions in prop::collection::vec((0i64..4_000_000, "\\PC{0,200}"), 0..30),
            hasty in any::<bool>(),
        ) {
            let mut pace = CuePacer::new(&CueOptions::default());
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
