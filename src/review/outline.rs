//! What of a review counts for others: its cues, what is known of them, and how far the work is. The changes themselves,
//! which are most of a long review, are not kept in memory.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::cue::ReviewCue;
use super::document::{CueSource, FilmFacts, ReviewDocument, fault_of};
use super::timeline::FilmTimeline;

/// A review without its changes.
#[derive(Debug, Clone, Deserialize)]
pub struct ReviewOutline {
    descry_review: u32,
    next_id: u32,
    /// The film.
    pub film: FilmFacts,
    /// Where the cues came from.
    pub source: CueSource,
    /// How many changes were made.
    pub revision: u64,
    /// The cues, by start and then by number.
    pub cues: Vec<ReviewCue>,
    /// Cues that were deleted, by number.
    #[serde(default)]
    pub deleted: Vec<ReviewCue>,
    /// What is known of the film.
    pub timeline: FilmTimeline,
    /// When the last change was made: RFC 3339 in UTC.
    #[serde(default, rename = "history", deserialize_with = "last_time")]
    pub last_change: Option<String>,
}

/// How far the review of a film is.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ReviewProgress {
    /// How many cues there are.
    pub cues: usize,
    /// How many of them nobody has checked.
    pub unchecked: usize,
    /// The lowest score of those that nobody has changed or checked; none if no score is known.
    pub lowest: Option<f32>,
    /// The mean of these scores.
    pub mean: Option<f32>,
    /// How many changes were made.
    pub changes: u64,
    /// When the last one was made: RFC 3339 in UTC.
    pub last_change: Option<String>,
}

impl ReviewOutline {
    /// Reads the bytes of a review's file.
    ///
    /// # Errors
    /// In words, if they are not those of a review.
    pub fn parse(bytes: &[u8]) -> Result<ReviewOutline, String> {
        let outline: ReviewOutline =
            serde_json::from_slice(bytes).map_err(|e| format!("is no review of descry: {e}"))?;
        match fault_of((outline.descry_review, outline.revision, outline.next_id), &outline.cues, &outline.deleted) {
            Some(fault) => Err(fault),
            None => Ok(outline),
        }
    }

    /// Whether an editor has written or checked anything.
    pub fn is_vouched_for(&self) -> bool {
        self.cues.iter().any(ReviewCue::is_vouched_for)
    }

    /// How far it is.
    pub fn progress(&self) -> ReviewProgress {
        progress(&self.cues, &self.timeline, self.revision, self.last_change.as_deref())
    }
}

impl ReviewDocument {
    /// How far the review is.
    pub fn progress(&self) -> ReviewProgress {
        let last = self.history.last().map(|change| &*change.time);
        progress(&self.cues, &self.timeline, self.revision, last)
    }
}

fn progress(cues: &[ReviewCue], timeline: &FilmTimeline, revision: u64, last_change: Option<&str>) -> ReviewProgress {
    let open = cues.iter().filter(|cue| !cue.is_vouched_for());
    let scores = open.filter_map(|cue| timeline.scenes.as_ref()?.get(cue.machine.as_ref()?.scene?)?.score);
    let scores: Vec<f32> = scores.filter(|score| score.is_finite()).collect();
    ReviewProgress {
        cues: cues.len(),
        unchecked: cues.iter().filter(|cue| !cue.checked).count(),
        lowest: scores.iter().copied().reduce(f32::min),
        mean: mean(&scores),
        changes: revision,
        last_change: last_change.map(Into::into),
    }
}

/// The mean of some scores; none if there are none.
fn mean(scores: &[f32]) -> Option<f32> {
    let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
    (!scores.is_empty()).then(|| (sum / scores.len() as f64) as f32)
}

/// When the last of some changes was made.
fn last_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    /// Of a change, its time alone.
    #[derive(Deserialize)]
    struct ChangeTime {
        time: String,
    }

    struct LastTime;

    impl<'de> Visitor<'de> for LastTime {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of changes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut changes: A) -> Result<Option<String>, A::Error> {
            let mut last = None;
            while let Some(change) = changes.next_element::<ChangeTime>()? {
                last = Some(change.time);
            }
            Ok(last)
        }
    }

    deserializer.deserialize_seq(LastTime)
}

#[cfg(test)]
mod tests {
    use super::super::Edit;
    use super::super::tests::{cue, document, edit, ms, scene, seen};
    use super::*;

    #[test]
    fn an_outline_is_the_document_without_its_changes() {
        let mut film =
            document(vec![cue(1, 0, 4_000, "A dog."), cue(2, 4_000, 8_000, "A cat."), cue(3, 8_000, 9_000, "A cow.")]);
        film.timeline.scenes =
            Some(vec![scene(0, 4_000, Some(0.25)), scene(4_000, 8_000, Some(0.75)), scene(8_000, 9_000, Some(0.5))]);
        let of = |film: &ReviewDocument| ReviewOutline::parse(&serde_json::to_vec(film).unwrap()).unwrap();
        let untouched = of(&film).progress();
        assert_eq!(
            (untouched.cues, untouched.unchecked, untouched.lowest, untouched.mean),
            (3, 3, Some(0.25), Some(0.5))
        );
        assert_eq!((untouched.changes, untouched.last_change), (0, None));
        let first = seen(&film, 1);
        edit(&mut film, Edit::Check { cues: vec![first], checked: true }, "10:00:00");
        let third = seen(&film, 3);
        edit(&mut film, Edit::Delete { cues: vec![third] }, "10:00:07");
        edit(&mut film, Edit::Add { start: ms(9_000), end: ms(10_000), text: "A hen.".into() }, "10:00:09");
        let outline = of(&film);
        assert_eq!((&outline.cues, &outline.deleted, &outline.film), (&film.cues, &film.deleted, &film.film));
        let now = outline.progress();
        assert_eq!(now, film.progress());
        assert_eq!((now.cues, now.unchecked, now.lowest, now.mean), (3, 2, Some(0.75), Some(0.75)));
        assert_eq!((now.changes, now.last_change.as_deref()), (3, Some("2026-01-01T10:00:09Z")));
    }

    #[test]
    fn what_is_no_review_is_refused() {
        let film = document(vec![cue(1, 0, 4_000, "A dog.")]);
        let bad = |change: fn(&mut ReviewDocument)| {
            let mut bad = film.clone();
            change(&mut bad);
            ReviewOutline::parse(&serde_json::to_vec(&bad).unwrap()).unwrap_err()
        };
        assert!(bad(|d| d.descry_review = 9).contains("form 9"));
        assert!(bad(|d| d.next_id = 1).contains("next_id"));
        for bytes in ["", "[]", "{}", "{\"descry_review\":1}"] {
            assert!(ReviewOutline::parse(bytes.as_bytes()).unwrap_err().contains("no review"), "{bytes}");
        }
    }
}
