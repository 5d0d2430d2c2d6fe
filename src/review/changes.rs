//! Changes of a document: made, remembered and undone.

use super::cue::{CueId, ReviewCue};
use super::document::ReviewDocument;
use super::history::{Change, Touched};

/// Most changes that a document keeps. When there are more, the oldest quarter is forgotten.
pub(super) const MOST_CHANGES: usize = 40_000;

/// Whether two states of a cue are the same, apart from when they were made.
fn is_same(a: &ReviewCue, b: &ReviewCue) -> bool {
    let same = |cue: &ReviewCue| ReviewCue { version: 0, ..cue.clone() };
    same(a) == same(b)
}

impl Touched {
    /// Whether the document has these parts in this state. `others`: cues that the other side of the change has, which must
    /// then be absent.
    pub(super) fn holds_in(&self, document: &ReviewDocument, others: &[ReviewCue]) -> bool {
        let has = |cue: &ReviewCue| document.cue(cue.id).is_some_and(|now| is_same(now, cue));
        let lacks = |cue: &ReviewCue| self.has(cue.id) || document.cue(cue.id).is_none();
        self.cues.iter().all(has)
            && others.iter().all(lacks)
            && self.glossary.as_ref().is_none_or(|terms| *terms == document.glossary)
            && self.notes.as_ref().is_none_or(|notes| *notes == document.notes)
    }

    fn has(&self, id: CueId) -> bool {
        self.cues.iter().any(|cue| cue.id == id)
    }
}

impl ReviewDocument {
    /// Puts parts of the document into a state, as a new revision. `old`: the same parts as they are now.
    pub(super) fn put(&mut self, old: &Touched, mut new: Touched) -> Touched {
        self.revision += 1;
        for cue in &mut new.cues {
            cue.version = self.revision;
            self.next_id = self.next_id.max(cue.id.0.saturating_add(1));
        }
        for cue in &old.cues {
            self.cues.retain(|now| now.id != cue.id);
            if !new.has(cue.id) {
                self.deleted.push(ReviewCue { version: self.revision, ..cue.clone() });
            }
        }
        self.deleted.retain(|cue| !new.has(cue.id));
        self.cues.extend(new.cues.iter().cloned());
        if let Some(terms) = &new.glossary {
            self.glossary.clone_from(terms);
        }
        if let Some(notes) = &new.notes {
            self.notes.clone_from(notes);
        }
        self.sort();
        new
    }

    /// Remembers a change.
    pub(super) fn remember(&mut self, change: Change) {
        self.history.push(change);
        if self.history.len() > MOST_CHANGES {
            let oldest = MOST_CHANGES / 4;
            self.history.drain(..oldest);
            self.forgotten = self.forgotten.saturating_add(oldest as u64);
        }
    }

    /// The change that made a revision.
    pub fn change(&self, revision: u64) -> Option<&Change> {
        let at = self.history.binary_search_by_key(&revision, |change| change.revision).ok()?;
        self.history.get(at)
    }
}
