//! Decides which pictures of a stream are worth describing: what is new, what returns, and not too often.
//!
//! A scene that merely continues is not described again, unless `every` asks for it. A scene that returns is described
//! briefly, in the same words as before. A description equal to the last one is not repeated. Nothing is described within
//! `min_interval` of the last description.
//!
//! Memory: the texts of the scenes that [`Dedup`] remembers; those of scenes that cannot return are dropped.

use std::collections::HashMap;

use crate::time::Time;
use crate::track::cue::sentence;
use crate::track::{Dedup, DedupOptions, Verdict};

/// How the description of a scene that returns begins.
const AGAIN: &str = "Again: ";

/// When to describe.
#[derive(Debug, Clone)]
pub(super) struct NoveltyOptions {
    /// When two pictures show the same scene.
    pub(super) dedup: DedupOptions,
    /// A scene that continues is described again after this. Default: never.
    pub(super) every: Option<Time>,
    /// Least time between two descriptions. Default: 1 s.
    pub(super) min_interval: Time,
    /// Descriptions with a lower score are left out.
    pub(super) min_score: f32,
}

/// What to do with a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    /// Nothing to describe.
    Skip,
    /// Describe the picture and pass the text, with this scene number, to [`Novelty::described`].
    Describe(u32),
    /// A scene is back: publish this text.
    Repeat { text: String, score: Option<f32> },
}

/// Judges the pictures of one stream, in order.
pub(super) struct Novelty {
    options: NoveltyOptions,
    dedup: Dedup,
    /// The description of each scene; none where the model was not sure enough.
    texts: HashMap<u32, (String, Option<f32>)>,
    /// The scene that was described last, its text, and when.
    last: Option<(u32, String, Time)>,
}

impl Novelty {
    pub(super) fn new(options: NoveltyOptions) -> Novelty {
        Novelty { dedup: Dedup::new(&options.dedup), options, texts: HashMap::new(), last: None }
    }

    /// Scenes whose descriptions are kept.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.texts.len()
    }

    /// The earliest time of the next description.
    pub(super) fn not_before(&self) -> Time {
        self.last.as_ref().map_or(Time::ZERO, |(_, _, at)| *at + self.options.min_interval)
    }

    /// Judges a picture by its embedding of length 1. `time`: stream time of the picture.
    pub(super) fn judge(&mut self, unit: &[f32], time: Time) -> Decision {
        let verdict = self.dedup.judge(unit);
        let id = verdict.id();
        let due = self.options.every.is_some_and(|every| {
            let since = self.last.as_ref().map(|(_, _, at)| *at);
            since.is_none_or(|at| time - at >= every)
        });
        let last = self.last.as_ref().map(|(id, ..)| *id);
        match (verdict, self.texts.get(&id)) {
            (Verdict::New(_), _) | (_, None) => Decision::Describe(id),
            // A scene that continues may have changed a little: it is described afresh.
            (Verdict::SameAsPrevious(_), Some(_)) if due => Decision::Describe(id),
            (Verdict::Returning(_), Some((text, score)))
                if last != Some(id) && self.last.as_ref().is_none_or(|(_, words, _)| words != text) =>
            {
                let repeat = Decision::Repeat { text: format!("{AGAIN}{text}"), score: *score };
                self.last = Some((id, text.clone(), time));
                repeat
            }
            _ => Decision::Skip,
        }
    }

    /// Takes the description of a picture. Returns the text to publish, if any.
    pub(super) fn described(&mut self, id: u32, text: &str, score: Option<f32>, time: Time) -> Option<String> {
        let text = sentence(text);
        let dedup = &self.dedup;
        self.texts.retain(|id, _| dedup.remembers(*id));
        if text.is_empty() || score.is_some_and(|s| s < self.options.min_score) {
            return None;
        }
        if self.dedup.remembers(id) {
            self.texts.insert(id, (text.clone(), score));
        }
        let repeats = self
            .last
            .as_ref()
            .is_some_and(|(_, words, at)| *words == text && self.options.every.is_none_or(|every| time - *at < every));
        if repeats {
            // Two scenes with the same words: the second counts as described.
            if let Some((last, ..)) = &mut self.last {
                *last = id;
            }
            return None;
        }
        self.last = Some((id, text.clone(), time));
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn novelty(every: Option<i64>) -> Novelty {
        Novelty::new(NoveltyOptions {
            dedup: DedupOptions { same: 0.98, returning: 0.99, memory: 8 },
            every: every.map(Time::from_millis),
            min_interval: Time::from_millis(1_000),
            min_score: 0.5,
        })
    }

    fn at(degrees: f32) -> Vec<f32> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        vec![cos, sin]
    }

    fn t(ms: i64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn only_new_scenes_are_described_and_returning_ones_in_short() {
        let mut n = novelty(None);
        assert_eq!(n.judge(&at(0.0), t(0)), Decision::Describe(0));
        assert_eq!(n.described(0, " a dog\n runs ", Some(0.9), t(0)).as_deref(), Some("A dog runs."));
        assert_eq!(n.not_before(), t(1_000));
        assert_eq!(n.judge(&at(1.0), t(8_000)), Decision::Skip);
        assert_eq!(n.judge(&at(90.0), t(9_000)), Decision::Describe(1));
        assert_eq!(n.described(1, "A cat.", None, t(9_000)).as_deref(), Some("A cat."));
        let repeat = Decision::Repeat { text: "Again: A dog runs.".into(), score: Some(0.9) };
        assert_eq!(n.judge(&at(1.0), t(12_000)), repeat);
        assert_eq!(n.judge(&at(1.0), t(20_000)), Decision::Skip);
    }

    #[test]
    fn an_unsure_description_is_tried_again() {
        let mut n = novelty(None);
        assert_eq!(n.judge(&at(0.0), t(0)), Decision::Describe(0));
        assert_eq!(n.described(0, "A thing.", Some(0.2), t(0)), None);
        assert_eq!(n.not_before(), Time::ZERO);
        assert_eq!(n.judge(&at(0.5), t(8_000)), Decision::Describe(0));
        assert!(n.described(0, "A dog.", Some(0.8), t(8_000)).is_some());
        assert_eq!(n.judge(&at(0.5), t(16_000)), Decision::Skip);
    }

    #[test]
    fn a_return_from_an_undescribed_scene_is_skipped() {
        let mut n = novelty(None);
        n.judge(&at(0.0), t(0));
        n.described(0, "A dog.", None, t(0));
        assert_eq!(n.judge(&at(90.0), t(2_000)), Decision::Describe(1));
        n.described(1, "A blur.", Some(0.1), t(2_000));
        assert_eq!(n.judge(&at(0.0), t(4_000)), Decision::Skip);
    }

    #[test]
    fn the_same_words_are_not_published_twice_in_a_row() {
        let mut n = novelty(None);
        n.judge(&at(0.0), t(0));
        assert!(n.described(0, "A dog.", None, t(0)).is_some());
        assert_eq!(n.judge(&at(90.0), t(5_000)), Decision::Describe(1));
        assert_eq!(n.described(1, "A dog.", None, t(5_000)), None);
        // Back to the first: still the same words.
        assert_eq!(n.judge(&at(0.0), t(9_000)), Decision::Skip);
    }

    #[test]
    fn every_describes_what_continues() {
        let mut n = novelty(Some(10_000));
        n.judge(&at(0.0), t(0));
        n.described(0, "A dog.", None, t(0));
        assert_eq!(n.judge(&at(0.0), t(8_000)), Decision::Skip);
        assert_eq!(n.judge(&at(0.0), t(10_000)), Decision::Describe(0));
        assert!(n.described(0, "A dog.", None, t(10_000)).is_some());
        assert_eq!(n.judge(&at(0.0), t(18_000)), Decision::Skip);
    }

    #[test]
    fn texts_are_forgotten_with_their_scenes() {
        let mut n = novelty(None);
        for i in 0..1_000u32 {
            if let Decision::Describe(id) = n.judge(&at((i * 37 % 360) as f32), t(i64::from(i))) {
                n.described(id, &format!("Scene {i}."), None, t(i64::from(i)));
            }
        }
        assert!(n.texts.len() <= 10, "{}", n.texts.len());
    }
}
