//! A film that was described again: what becomes of its review.
//!
//! Everything that an editor wrote, changed, moved, checked or noted stays as it is. The rest is replaced by the new
//! descriptions, as far as there is room beside the editor's. What is replaced stays in the history.

use serde::Serialize;

use super::cue::{CueId, ReviewCue};
use super::document::{MOST_CUES, ReviewDocument};
use super::history::{Change, Touched};
use super::timeline::FilmTimeline;
use crate::time::Time;

/// Who is said to have made the change.
const NOBODY: &str = "descry";
/// What kind of change it is.
pub(super) const RENEWAL: &str = "renew";

/// What became of the cues of a film that was described again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Renewal {
    /// Cues of the editors, which stay.
    pub kept: usize,
    /// Cues of the earlier descriptions, which are gone.
    pub replaced: usize,
    /// Cues of the new ones.
    pub new: usize,
}

impl ReviewDocument {
    /// Takes over the new descriptions of the film; `new` is a document of them that nobody has edited. `time`: the wall
    /// clock, RFC 3339 in UTC.
    pub fn renew(&mut self, new: ReviewDocument, time: &str) -> Renewal {
        let is_of_editors = |cue: &ReviewCue| cue.is_edited() || cue.is_vouched_for() || !cue.note.is_empty();
        let (kept, replaced): (Vec<ReviewCue>, Vec<ReviewCue>) =
            std::mem::take(&mut self.cues).into_iter().partition(is_of_editors);
        self.revision += 1;
        let room = MOST_CUES.saturating_sub(kept.len() + self.deleted.len());
        let taken = Stretches::of(&kept);
        let rejected = Stretches::of(&self.deleted);
        let fits = |cue: &ReviewCue| {
            let says_so = |other: &ReviewCue| other.machine.as_ref().is_some_and(|machine| machine.text == cue.text);
            !taken.any(cue, |_| true) && !rejected.any(cue, says_so)
        };
        let mut added: Vec<ReviewCue> = new.cues.into_iter().filter(fits).take(room).collect();
        for cue in &mut added {
            (cue.id, cue.version) = (CueId(self.next_id), self.revision);
            self.next_id += 1;
        }
        let renewal = Renewal { kept: kept.len(), replaced: replaced.len(), new: added.len() };
        self.cues = kept;
        self.cues.extend(added.iter().cloned());
        self.source = new.source;
        self.film = new.film;
        self.timeline = new.timeline;
        let touched = |cues| Touched { cues, ..Touched::default() };
        self.remember(Change {
            revision: self.revision,
            time: time.into(),
            since: None,
            who: NOBODY.into(),
            what: RENEWAL.into(),
            before: touched(replaced),
            after: touched(added),
            of: None,
        });
        self.find_scenes();
        self.sort();
        renewal
    }

    /// Finds the scenes of all cues in the timeline.
    fn find_scenes(&mut self) {
        let find = |timeline: &FilmTimeline, cues: &mut [ReviewCue]| {
            for machine in cues.iter_mut().filter_map(|cue| cue.machine.as_mut()) {
                machine.scene = timeline.scene_of(machine.start, machine.end);
            }
        };
        find(&self.timeline, &mut self.cues);
        find(&self.timeline, &mut self.deleted);
        for change in &mut self.history {
            find(&self.timeline, &mut change.before.cues);
            find(&self.timeline, &mut change.after.cues);
        }
    }
}

/// Cues by their starts, to find those that share time with another one.
struct Stretches<'a> {
    cues: Vec<&'a ReviewCue>,
    longest: Time,
}

impl Stretches<'_> {
    fn of(cues: &[ReviewCue]) -> Stretches<'_> {
        let longest = cues.iter().map(|cue| cue.end - cue.start).max().unwrap_or(Time::ZERO);
        let mut cues: Vec<&ReviewCue> = cues.iter().collect();
        cues.sort_by_key(|cue| cue.start);
        Stretches { cues, longest }
    }

    /// Whether one of them, for which `test` holds, shares half of the shorter one's time with a cue.
    fn any(&self, cue: &ReviewCue, test: impl Fn(&ReviewCue) -> bool) -> bool {
        let first = self.cues.partition_point(|other| other.start + self.longest < cue.start);
        let near = self.cues[first..].iter().take_while(|other| other.start < cue.end);
        let shares = |other: &ReviewCue| {
            let shared = other.end.min(cue.end) - other.start.max(cue.start);
            let shorter = (other.end - other.start).min(cue.end - cue.start);
            shared > Time::ZERO && shared + shared >= shorter
        };
        near.into_iter().any(|other| shares(other) && test(other))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cue, document, edit, ms, scene, seen};
    use super::super::{CueSource, Edit, NewParts, Refusal};
    use super::*;

    #[test]
    fn the_words_of_editors_stay_and_the_rest_is_new() {
        let mut film = document(vec![
            cue(1, 0, 2_000, "A dog runs."),
            cue(2, 2_000, 4_000, "A cat sits."),
            cue(3, 4_000, 6_000, "A cow."),
            cue(4, 6_000, 8_000, "A man."),
        ]);
        let to = NewParts { text: Some("A wolf runs.".into()), ..NewParts::default() };
        let one = seen(&film, 1);
        edit(&mut film, Edit::Change { cue: one, to, continues: None }, "10:00:00");
        let two = seen(&film, 2);
        edit(&mut film, Edit::Check { cues: vec![two], checked: true }, "10:00:01");
        let four = seen(&film, 4);
        edit(&mut film, Edit::Delete { cues: vec![four] }, "10:00:02");
        let mut new = document(vec![
            cue(1, 100, 2_100, "A fox."),
            cue(2, 2_100, 4_500, "A tiger."),
            cue(3, 4_500, 6_000, "A horse."),
            cue(4, 6_000, 8_000, "A man."),
            cue(5, 8_000, 9_000, "A tree."),
        ]);
        let state = Some("0000000000000002".to_string());
        new.source = CueSource::Described { model: "better 2".into(), state };
        new.timeline.scenes = Some(vec![scene(0, 5_000, Some(0.5)), scene(5_000, 9_000, Some(0.5))]);
        let (source, timeline) = (new.source.clone(), new.timeline.clone());
        let renewal = film.renew(new, "2026-01-01T11:00:00Z");
        assert_eq!(renewal, Renewal { kept: 2, replaced: 1, new: 2 });
        let cues: Vec<(u32, &str)> = film.cues.iter().map(|cue| (cue.id.0, &*cue.text)).collect();
        // What was rejected before is not offered again.
        assert_eq!(cues, [(1, "A wolf runs."), (2, "A cat sits."), (5, "A horse."), (6, "A tree.")]);
        assert_eq!((&film.source, &film.timeline, film.fault()), (&source, &timeline, None));
        assert_eq!(film.cues[2].machine.as_ref().unwrap().scene, Some(1));
        let last = film.history.last().unwrap();
        assert_eq!((&*last.what, &*last.before.cues[0].text, last.revision), ("renew", "A cow.", film.revision));
        let undone = film.edit(&Edit::Undo { revision: film.revision }, "ann", "2026-01-01T12:00:00Z");
        assert!(matches!(undone, Err(Refusal::Impossible(_))));
        // What editors did before can be undone all the same.
        film.edit(&Edit::Undo { revision: 1 }, "ann", "2026-01-01T12:00:00Z").unwrap().unwrap();
        assert_eq!((&*film.cues[0].text, film.cues[0].start), ("A dog runs.", ms(0)));
    }
}
