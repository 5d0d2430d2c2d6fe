//! What is worth saying of a stream: what is new, what returns, and not too often.
//!
//! A scene that merely goes on is not said again, unless `every` asks for it. One that returns is said shortly, with the
//! words it had. A description that says what was said last is not repeated. Nothing is said within `min_interval` of
//! what was said before.
//!
//! Owns the texts of the scenes that [`Dedup`] remembers, and drops those that cannot return.

use std::collections::HashMap;

use crate::time::Time;
use crate::track::cue::sentence;
use crate::track::{Dedup, DedupOptions, Verdict};

/// What a scene that returns is said with.
const AGAIN: &str = "Again: ";

#[derive(Debug, Clone)]
pub struct NoveltyOptions {
    pub dedup: DedupOptions,
    /// A scene that goes on is said again after this. Default: never.
    pub every: Option<Time>,
    /// Least time between two descriptions. Default: 1 s.
    pub min_interval: Time,
    /// Descriptions of a lower score are left unsaid.
    pub min_score: f32,
}

/// What is to be done with a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    Nothing,
    /// It must be described, and [`Novelty::described`] be told.
    Describe(u32),
    /// A scene is back; this says so.
    Again {
        text: String,
        score: Option<f32>,
    },
}

/// Judges the pictures of one stream, in order.
pub struct Novelty {
    options: NoveltyOptions,
    dedup: Dedup,
    /// What each scene was described with; none where the model was not sure enough.
    texts: HashMap<u32, (String, Option<f32>)>,
    /// The scene that was said last, its text, and when.
    said: Option<(u32, String, Time)>,
}

impl Novelty {
    pub fn new(options: NoveltyOptions) -> Novelty {
        Novelty { dedup: Dedup::new(&options.dedup), options, texts: HashMap::new(), said: None }
    }

    /// From when on something may be said.
    pub fn not_before(&self) -> Time {
        self.said.as_ref().map_or(Time::ZERO, |(_, _, at)| *at + self.options.min_interval)
    }

    /// Judges a picture by its embedding of length 1. `time`: when it may be said.
    pub fn judge(&mut self, unit: &[f32], time: Time) -> Say {
        let verdict = self.dedup.judge(unit);
        let id = verdict.id();
        let due = self.options.every.is_some_and(|every| {
            let since = self.said.as_ref().map(|(_, _, at)| *at);
            since.is_none_or(|at| time - at >= every)
        });
        let last = self.said.as_ref().map(|(id, ..)| *id);
        match (verdict, self.texts.get(&id)) {
            (Verdict::New(_), _) | (_, None) => Say::Describe(id),
            // What goes on may have changed a little: it is described afresh.
            (Verdict::SameAsPrevious(_), Some(_)) if due => Say::Describe(id),
            (Verdict::Returning(_), Some((text, score)))
                if last != Some(id) && self.said.as_ref().is_none_or(|(_, said, _)| said != text) =>
            {
                let again = Say::Again { text: format!("{AGAIN}{text}"), score: *score };
                self.said = Some((id, text.clone(), time));
                again
            }
            _ => Say::Nothing,
        }
    }

    /// A picture was described; gives the text where it is to be said.
    pub fn described(&mut self, id: u32, text: &str, score: Option<f32>, time: Time) -> Option<String> {
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
            .said
            .as_ref()
            .is_some_and(|(_, said, at)| *said == text && self.options.every.is_none_or(|every| time - *at < every));
        if repeats {
            // Two scenes that look alike in words: the second counts as said.
            if let Some((last, ..)) = &mut self.said {
                *last = id;
            }
            return None;
        }
        self.said = Some((id, text.clone(), time));
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
    fn only_what_is_new_is_said_and_what_returns_is_said_shortly() {
        let mut n = novelty(None);
        assert_eq!(n.judge(&at(0.0), t(0)), Say::Describe(0));
        assert_eq!(n.described(0, " a dog\n runs ", Some(0.9), t(0)).as_deref(), Some("A dog runs."));
        assert_eq!(n.not_before(), t(1_000));
        assert_eq!(n.judge(&at(1.0), t(8_000)), Say::Nothing);
        assert_eq!(n.judge(&at(90.0), t(9_000)), Say::Describe(1));
        assert_eq!(n.described(1, "A cat.", None, t(9_000)).as_deref(), Some("A cat."));
        let again = Say::Again { text: "Again: A dog runs.".into(), score: Some(0.9) };
        assert_eq!(n.judge(&at(1.0), t(12_000)), again);
        assert_eq!(n.judge(&at(1.0), t(20_000)), Say::Nothing);
    }

    #[test]
    fn who_was_not_sure_looks_again() {
        let mut n = novelty(None);
        assert_eq!(n.judge(&at(0.0), t(0)), Say::Describe(0));
        assert_eq!(n.described(0, "A thing.", Some(0.2), t(0)), None);
        assert_eq!(n.not_before(), Time::ZERO);
        assert_eq!(n.judge(&at(0.5), t(8_000)), Say::Describe(0));
        assert!(n.described(0, "A dog.", Some(0.8), t(8_000)).is_some());
        assert_eq!(n.judge(&at(0.5), t(16_000)), Say::Nothing);
    }

    #[test]
    fn back_from_what_was_never_said_is_not_said() {
        let mut n = novelty(None);
        n.judge(&at(0.0), t(0));
        n.described(0, "A dog.", None, t(0));
        assert_eq!(n.judge(&at(90.0), t(2_000)), Say::Describe(1));
        n.described(1, "A blur.", Some(0.1), t(2_000));
        assert_eq!(n.judge(&at(0.0), t(4_000)), Say::Nothing);
    }

    #[test]
    fn the_same_words_are_not_said_twice_in_a_row() {
        let mut n = novelty(None);
        n.judge(&at(0.0), t(0));
        assert!(n.described(0, "A dog.", None, t(0)).is_some());
        assert_eq!(n.judge(&at(90.0), t(5_000)), Say::Describe(1));
        assert_eq!(n.described(1, "A dog.", None, t(5_000)), None);
        // Back to the first: still the same words.
        assert_eq!(n.judge(&at(0.0), t(9_000)), Say::Nothing);
    }

    #[test]
    fn every_says_what_goes_on() {
        let mut n = novelty(Some(10_000));
        n.judge(&at(0.0), t(0));
        n.described(0, "A dog.", None, t(0));
        assert_eq!(n.judge(&at(0.0), t(8_000)), Say::Nothing);
        assert_eq!(n.judge(&at(0.0), t(10_000)), Say::Describe(0));
        assert!(n.described(0, "A dog.", None, t(10_000)).is_some());
        assert_eq!(n.judge(&at(0.0), t(18_000)), Say::Nothing);
    }

    #[test]
    fn texts_are_forgotten_with_their_scenes() {
        let mut n = novelty(None);
        for i in 0..1_000u32 {
            if let Say::Describe(id) = n.judge(&at((i * 37 % 360) as f32), t(i64::from(i))) {
                n.described(id, &format!("Scene {i}."), None, t(i64::from(i)));
            }
        }
        assert!(n.texts.len() <= 10, "{}", n.texts.len());
    }
}
