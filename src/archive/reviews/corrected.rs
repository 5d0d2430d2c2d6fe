//! Keyframes of a video with the words of its editors.
//!
//! A keyframe stands for a stretch of its video. Where an editor has changed, added, moved or deleted a cue, the keyframes of
//! that stretch get what its cues say now; all others stay as the model described them. Words that an editor wrote or
//! checked have a score of 1. If the video was described again since the review began, only what editors wrote or checked
//! counts: the rest belongs to other descriptions.
//!
//! Memory: the cues, and the stretches of the keyframes at 16 bytes each. The table is read twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::catalog::Archive;
use crate::archive::record::RecordName;
use crate::archive::table::{KeyframeRow, TableReader};
use crate::error::Result;
use crate::review::{ReviewCue, ReviewOutline};
use crate::time::Time;

/// The score of what an editor wrote or checked.
const CERTAIN: f32 = 1.0;

/// A part of a video, in milliseconds.
type RowStretch = (i64, i64);

/// A video's keyframes in order of time, in batches, with the words of its editors.
pub(in crate::archive) struct CorrectedTable {
    table: TableReader,
    corrections: Corrections,
    /// Position of the next keyframe.
    next: usize,
}

impl Archive {
    /// A video's keyframes with the words of its editors; none where the video is not finished (any more).
    ///
    /// # Errors
    /// The table or the review cannot be read, or is damaged.
    pub(in crate::archive) fn corrected_table(&self, name: RecordName) -> Result<Option<CorrectedTable>> {
        let mut corrections = Corrections::default();
        if let Some(review) = self.review(name.key)? {
            let mut stretches: Vec<RowStretch> = Vec::new();
            for rows in self.table(name)?.into_iter().flatten() {
                stretches.extend(rows?.iter().map(|row| (row.start_ms, row.end_ms)));
            }
            corrections = Corrections::of(&review, &stretches, is_of(&review, name));
        }
        Ok(self.table(name)?.map(|table| CorrectedTable { table, corrections, next: 0 }))
    }
}

impl CorrectedTable {
    /// Values per embedding.
    pub(in crate::archive) fn dimension(&self) -> usize {
        self.table.dimension()
    }
}

impl Iterator for CorrectedTable {
    type Item = Result<Vec<KeyframeRow>>;

    fn next(&mut self) -> Option<Result<Vec<KeyframeRow>>> {
        let mut rows = self.table.next()?;
        for row in rows.iter_mut().flatten() {
            self.corrections.apply(self.next, row);
            self.next += 1;
        }
        Some(rows)
    }
}

/// Whether a review began with these descriptions.
pub(super) fn is_of(review: &ReviewOutline, name: RecordName) -> bool {
    review.source.state() == Some(name.state_text().as_str())
}

/// What editors changed of keyframes, by their positions.
#[derive(Debug, Default, PartialEq)]
struct Corrections(BTreeMap<usize, RowCorrection>);

/// What became of the caption of a keyframe.
#[derive(Debug, Clone, PartialEq)]
enum RowCorrection {
    /// Nobody says anything there any more.
    Unsaid,
    /// It says something else.
    Says {
        text: String,
        /// Whether an editor wrote or checked all of it.
        is_certain: bool,
    },
    /// An editor has checked it as it is.
    Checked,
}

impl Corrections {
    /// `is_current`: whether the review began with the descriptions of these keyframes.
    fn of(review: &ReviewOutline, stretches: &[RowStretch], is_current: bool) -> Corrections {
        let rows = |start: Time, end: Time| rows_of(stretches, (start.millis(), end.millis()));
        let of_cue = |cue: &ReviewCue| rows(cue.start, cue.end);
        let of_machine = |cue: &ReviewCue| {
            let machine = cue.machine.as_ref().filter(|_| is_current);
            machine.map_or(Vec::new(), |machine| rows(machine.start, machine.end))
        };
        let (mut edited, mut checked) = (BTreeSet::new(), BTreeSet::new());
        for cue in &review.cues {
            if cue.is_edited() && (is_current || cue.is_vouched_for()) {
                edited.extend(of_cue(cue));
                edited.extend(of_machine(cue));
            } else if cue.checked {
                checked.extend(of_cue(cue));
            }
        }
        edited.extend(review.deleted.iter().flat_map(of_machine));
        let mut cues: BTreeMap<usize, Vec<&ReviewCue>> = BTreeMap::new();
        for cue in review.cues.iter().filter(|cue| !cue.text.is_empty() && (is_current || cue.is_vouched_for())) {
            for row in of_cue(cue).into_iter().filter(|row| edited.contains(row) || checked.contains(row)) {
                cues.entry(row).or_default().push(cue);
            }
        }
        let correction = |row: usize| match cues.get(&row) {
            None => RowCorrection::Unsaid,
            Some(cues) => {
                let is_certain = cues.iter().all(|cue| cue.is_vouched_for());
                if is_current && is_certain && !edited.contains(&row) {
                    return RowCorrection::Checked;
                }
                let texts: Vec<String> = cues.iter().map(|cue| cue.text.replace('\n', " ")).collect();
                RowCorrection::Says { text: texts.join(" "), is_certain }
            }
        };
        Corrections(edited.union(&checked).map(|row| (*row, correction(*row))).collect())
    }

    /// Changes a keyframe as its editors did.
    fn apply(&self, number: usize, row: &mut KeyframeRow) {
        let (text, is_certain) = match self.0.get(&number) {
            None => return,
            Some(RowCorrection::Unsaid) => {
                row.said = false;
                return;
            }
            // As the model put it: the cue may be a part of it.
            Some(RowCorrection::Checked) => {
                if row.said && row.caption.is_some() {
                    row.score = Some(CERTAIN);
                }
                return;
            }
            Some(RowCorrection::Says { text, is_certain }) => (text, *is_certain),
        };
        row.score = if is_certain { Some(CERTAIN) } else { row.score };
        row.caption = Some(text.clone());
        row.said = true;
        row.mean_logprob = None;
        row.repeats = false;
    }
}

/// The keyframes that a stretch belongs to: those of which it covers half or more, and the one that it shares most with. If it
/// touches none, the nearest one. `stretches` are in order.
fn rows_of(stretches: &[RowStretch], (start, end): RowStretch) -> Vec<usize> {
    let first = stretches.partition_point(|(_, until)| *until <= start);
    let touched = stretches.iter().enumerate().skip(first).take_while(|(_, (from, _))| *from < end);
    let mut rows = Vec::new();
    let mut best: Option<(i64, usize)> = None;
    for (row, (from, until)) in touched {
        let shared = end.min(*until) - start.max(*from);
        if shared <= 0 {
            continue;
        }
        if 2 * shared >= until - from {
            rows.push(row);
        }
        if best.is_none_or(|(most, _)| shared > most) {
            best = Some((shared, row));
        }
    }
    match best {
        Some((_, row)) if rows.contains(&row) => {}
        Some((_, row)) => rows.push(row),
        None => {
            let near = [first.checked_sub(1), Some(first)].into_iter().flatten();
            let away = |row: &usize| stretches.get(*row).map(|(from, until)| (from - end).max(start - until).max(0));
            rows.extend(near.filter(|row| *row < stretches.len()).min_by_key(away));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [RowStretch; 4] = [(0, 2_000), (2_000, 4_000), (4_000, 8_000), (9_000, 10_000)];

    #[test]
    fn a_stretch_belongs_to_the_keyframes_that_it_covers() {
        let rows = |start, end| rows_of(&ROWS, (start, end));
        assert_eq!(rows(0, 2_000), [0]);
        assert_eq!(rows(0, 4_000), [0, 1]);
        assert_eq!(rows(1_500, 3_900), [1]);
        assert_eq!(rows(1_000, 3_000), [0, 1], "half of each");
        assert_eq!(rows(4_100, 4_200), [2], "shorter than half of it");
        assert_eq!(rows(3_900, 4_200), [2], "most of it");
        assert_eq!(rows(0, 20_000), [0, 1, 2, 3]);
        assert_eq!((rows(8_100, 8_200), rows(8_800, 8_900)), (vec![2], vec![3]), "between them: the nearest");
        assert_eq!((rows(60_000, 70_000), rows_of(&[], (0, 1))), (vec![3], vec![]));
    }

    /// A review of four cues, one for each keyframe, which `change` has changed.
    fn review(change: impl FnOnce(&mut serde_json::Value)) -> ReviewOutline {
        let cue = |n: usize, (start, end): RowStretch| {
            let (start, end) = (start as f64 / 1e3, end as f64 / 1e3);
            let machine = serde_json::json!({ "start": start, "end": end, "text": format!("Shot {n}."), "scene": n });
            serde_json::json!({ "id": n + 1, "start": start, "end": end, "text": format!("Shot {n}."), "machine": machine })
        };
        let mut value = serde_json::json!({
            "descry_review": 1, "next_id": 9, "film": { "name": "a.mp4" }, "language": "en", "revision": 1, "timeline": {},
            "source": { "kind": "described", "model": "m 1", "state": "0000000000000001" },
            "cues": ROWS.iter().enumerate().map(|(n, stretch)| cue(n, *stretch)).collect::<Vec<_>>(),
        });
        change(&mut value);
        ReviewOutline::parse(value.to_string().as_bytes()).unwrap()
    }

    /// Caption, whether it is said, and score of each keyframe.
    fn corrected(review: &ReviewOutline, is_current: bool) -> Vec<(String, bool, Option<f32>)> {
        let corrections = Corrections::of(review, &ROWS, is_current);
        let row = |(number, (start_ms, end_ms)): (usize, RowStretch)| {
            let mut row = KeyframeRow {
                video: "a.mp4".into(),
                start_ms,
                end_ms,
                keyframe_ms: start_ms,
                scene: number as i32 + 1,
                transition: "cut".into(),
                caption: Some(format!("shot {number}")),
                said: true,
                score: Some(0.5),
                mean_logprob: Some(-1.0),
                repeats: false,
                speech: None,
                text: None,
                thumbnail: None,
                model: "m 1".into(),
                model_hash: "ab".into(),
                embedding: vec![1.0],
            };
            corrections.apply(number, &mut row);
            (row.caption.unwrap(), row.said, row.score)
        };
        ROWS.into_iter().enumerate().map(row).collect()
    }

    fn as_made(n: usize) -> (String, bool, Option<f32>) {
        (format!("shot {n}"), true, Some(0.5))
    }

    fn written(text: &str) -> (String, bool, Option<f32>) {
        (text.into(), true, Some(1.0))
    }

    #[test]
    fn what_nobody_has_touched_stays_as_the_model_put_it() {
        for is_current in [true, false] {
            assert_eq!(corrected(&review(|_| ()), is_current), [0, 1, 2, 3].map(as_made));
        }
    }

    #[test]
    fn keyframes_get_the_words_of_editors() {
        let edited = review(|review| {
            review["cues"][0]["text"] = "A lynx\nsleeps.".into();
            review["cues"][1]["checked"] = true.into();
            let gone = review["cues"].as_array_mut().unwrap().remove(3);
            review["deleted"] = serde_json::json!([gone]);
            let added = serde_json::json!({ "id": 7, "start": 6.0, "end": 7.0, "text": "A bird." });
            review["cues"].as_array_mut().unwrap().push(added);
        });
        let unsaid = ("shot 3".to_string(), false, Some(0.5));
        let both = ("Shot 2. A bird.".to_string(), true, Some(0.5));
        let checked = ("shot 1".to_string(), true, Some(1.0));
        assert_eq!(corrected(&edited, true), [written("A lynx sleeps."), checked, both, unsaid]);
        // Of other descriptions, only the words of editors count.
        assert_eq!(
            corrected(&edited, false),
            [written("A lynx sleeps."), written("Shot 1."), written("A bird."), as_made(3)]
        );
    }

    #[test]
    fn a_moved_cue_is_found_where_it_is_now() {
        let moved = review(|review| {
            review["cues"][0]["start"] = 9.0.into();
            review["cues"][0]["end"] = 10.0.into();
        });
        let here = ("Shot 0. Shot 3.".to_string(), true, Some(0.5));
        let gone = ("shot 0".to_string(), false, Some(0.5));
        assert_eq!(corrected(&moved, true), [gone, as_made(1), as_made(2), here]);
    }
}
