//! Edits: what an editor can ask for, and what becomes of the document.
//!
//! An edit names every cue it touches together with the version that the editor saw. If somebody else has changed the cue
//! since, the edit is refused and the document stays as it is. An edit is made whole or not at all.

use serde::Deserialize;

use super::cue::{CueId, GlossaryTerm, LONGEST_NOTE, LONGEST_TEXT, ReviewCue, SHORTEST_CUE, SeenCue, clean};
use super::document::{MOST_CUES, MOST_TERMS, ReviewDocument};
use super::history::{Change, Touched};
use super::renew::RENEWAL;
use super::replace::Replacement;
use crate::time::Time;

/// Longest name of an editor, in characters.
const LONGEST_NAME: usize = 100;

/// What an editor asks for. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// Changes some of the parts of a cue.
    Change {
        /// The cue.
        cue: SeenCue,
        /// Its new parts.
        to: NewParts,
        /// The revision of the change that this one continues: typing, letter by letter, is one change.
        #[serde(default)]
        continues: Option<u64>,
    },
    /// Makes two cues of one.
    Split {
        /// The cue.
        cue: SeenCue,
        /// When the second one starts.
        #[serde(with = "super::seconds")]
        at: Time,
        /// What the first one says.
        first: String,
        /// What the second one says.
        second: String,
    },
    /// Makes one cue of two that follow each other: from the first one's start to the second one's end.
    Merge {
        /// The first one.
        first: SeenCue,
        /// The second one, which is deleted.
        second: SeenCue,
    },
    /// Deletes cues.
    Delete {
        /// The cues.
        cues: Vec<SeenCue>,
    },
    /// Brings a deleted cue back, as it was.
    Restore {
        /// The cue.
        id: CueId,
    },
    /// Adds a cue.
    Add {
        /// When it appears.
        #[serde(with = "super::seconds")]
        start: Time,
        /// When it disappears.
        #[serde(with = "super::seconds")]
        end: Time,
        /// What it says.
        text: String,
    },
    /// Marks cues as checked, or not.
    Check {
        /// The cues.
        cues: Vec<SeenCue>,
        /// Which of the two.
        checked: bool,
    },
    /// Replaces words in all cues, or in some.
    Replace(Replacement),
    /// Sets the glossary.
    Glossary {
        /// All terms.
        terms: Vec<GlossaryTerm>,
        /// The revision that the editor saw.
        seen: u64,
    },
    /// Sets the notes about the film.
    Notes {
        /// All of them.
        notes: String,
        /// The revision that the editor saw.
        seen: u64,
    },
    /// Undoes the change that made a revision; done to an undo, it does the change again.
    Undo {
        /// The revision.
        revision: u64,
    },
}

/// New parts of a cue; what is none stays.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewParts {
    /// When it appears.
    #[serde(with = "super::optional_seconds")]
    pub start: Option<Time>,
    /// When it disappears.
    #[serde(with = "super::optional_seconds")]
    pub end: Option<Time>,
    /// What it says.
    pub text: Option<String>,
    /// Note.
    pub note: Option<String>,
}

/// Why an edit was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else has changed or deleted what it would change.
    #[error("somebody has changed this meanwhile")]
    Conflict {
        /// The cues concerned.
        cues: Vec<CueId>,
    },
    /// It cannot be done, as the words say.
    #[error("{0}")]
    Impossible(String),
}

fn impossible<T>(words: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Impossible(words.into()))
}

/// What an edit would do.
struct Plan {
    what: &'static str,
    before: Touched,
    after: Touched,
    of: Option<u64>,
}

impl Plan {
    fn cues(what: &'static str, before: Vec<ReviewCue>, after: Vec<ReviewCue>) -> Plan {
        let touched = |cues| Touched { cues, ..Touched::default() };
        Plan { what, before: touched(before), after: touched(after), of: None }
    }
}

impl ReviewDocument {
    /// Makes an edit, and returns the change; none if it would change nothing.
    ///
    /// `who`: the editor. `time`: the wall clock, RFC 3339 in UTC.
    ///
    /// # Errors
    /// When it is refused. The document is as before then.
    pub fn edit(&mut self, edit: &Edit, who: &str, time: &str) -> Result<Option<&Change>, Refusal> {
        let mut plan = self.plan(edit)?;
        self.check(&plan)?;
        if plan.before == plan.after {
            return Ok(None);
        }
        let who: String = clean(who).replace('\n', " ").chars().take(LONGEST_NAME).collect();
        let mut since = None;
        if let Edit::Change { continues: Some(revision), .. } = edit
            && let Some(last) = self.history.pop_if(|last| continues(last, *revision, &who, &plan))
        {
            plan.before = last.before;
            since = last.since.or(Some(last.time));
        }
        // What is replaced is the present state, whatever the change is remembered to have begun with.
        let now = Touched { cues: self.present(&plan), ..Touched::default() };
        let after = self.put(&now, plan.after);
        let (revision, what) = (self.revision, plan.what.into());
        let before = plan.before;
        self.remember(Change { revision, time: time.into(), since, who, what, before, after, of: plan.of });
        Ok(self.history.last())
    }

    /// The cues that a plan touches, as they are now.
    fn present(&self, plan: &Plan) -> Vec<ReviewCue> {
        plan.before.cues.iter().filter_map(|cue| self.cue(cue.id).cloned()).collect()
    }

    fn plan(&self, edit: &Edit) -> Result<Plan, Refusal> {
        match edit {
            Edit::Change { cue, to, .. } => self.plan_change(*cue, to),
            Edit::Split { cue, at, first, second } => self.plan_split(*cue, *at, first, second),
            Edit::Merge { first, second } => self.plan_merge(*first, *second),
            Edit::Delete { cues } => Ok(Plan::cues("delete", self.seen(cues)?, Vec::new())),
            Edit::Restore { id } => self.plan_restore(*id),
            Edit::Add { start, end, text } => {
                let cue = self.new_cue(*start, *end, text);
                Ok(Plan::cues("add", Vec::new(), vec![cue]))
            }
            Edit::Check { cues, checked } => {
                let before = self.seen(cues)?;
                let after = before.iter().map(|cue| ReviewCue { checked: *checked, ..cue.clone() }).collect();
                Ok(Plan::cues("check", before, after))
            }
            Edit::Replace(replacement) => self.plan_replacement(replacement),
            Edit::Glossary { terms, seen } => self.plan_glossary(terms, *seen),
            Edit::Notes { notes, seen } => self.plan_notes(notes, *seen),
            Edit::Undo { revision } => self.plan_undo(*revision),
        }
    }

    /// Cues as they are now, if they are as the editor saw them.
    fn seen(&self, cues: &[SeenCue]) -> Result<Vec<ReviewCue>, Refusal> {
        let mut found = Vec::new();
        let mut conflicts = Vec::new();
        for seen in cues {
            match self.cue(seen.id).filter(|cue| cue.version == seen.version) {
                Some(cue) if found.iter().all(|other: &ReviewCue| other.id != cue.id) => found.push(cue.clone()),
                Some(_) => return impossible("One cue is named twice."),
                None => conflicts.push(seen.id),
            }
        }
        if !conflicts.is_empty() {
            return Err(Refusal::Conflict { cues: conflicts });
        }
        if found.is_empty() {
            return impossible("No cue is named.");
        }
        found.sort_by_key(|cue| cue.id);
        Ok(found)
    }

    fn one(&self, cue: SeenCue) -> Result<ReviewCue, Refusal> {
        Ok(self.seen(&[cue])?.remove(0))
    }

    fn new_cue(&self, start: Time, end: Time, text: &str) -> ReviewCue {
        ReviewCue {
            id: CueId(self.next_id),
            start,
            end,
            text: clean(text),
            checked: false,
            note: String::new(),
            version: 0,
            machine: None,
        }
    }

    fn plan_change(&self, cue: SeenCue, to: &NewParts) -> Result<Plan, Refusal> {
        let before = self.one(cue)?;
        let mut after = before.clone();
        after.start = to.start.unwrap_or(before.start);
        after.end = to.end.unwrap_or(before.end);
        if let Some(text) = &to.text {
            after.text = clean(text);
        }
        if let Some(note) = &to.note {
            after.note = clean(note);
        }
        Ok(Plan::cues("edit", vec![before], vec![after]))
    }

    fn plan_split(&self, cue: SeenCue, at: Time, first: &str, second: &str) -> Result<Plan, Refusal> {
        let before = self.one(cue)?;
        if at <= before.start || at >= before.end {
            return impossible("A cue can be split at a time within it only.");
        }
        let head = ReviewCue { end: at, text: clean(first), ..before.clone() };
        let tail = self.new_cue(at, before.end, second);
        Ok(Plan::cues("split", vec![before], vec![head, tail]))
    }

    fn plan_merge(&self, first: SeenCue, second: SeenCue) -> Result<Plan, Refusal> {
        let before = self.seen(&[first, second])?;
        let place = |id| self.cues.iter().position(|cue| cue.id == id);
        let (Some(at), Some(next)) = (place(first.id), place(second.id)) else {
            return impossible("These cues are not there.");
        };
        if next != at + 1 {
            return impossible("Only cues that follow each other can become one.");
        }
        let (one, two) = (&self.cues[at], &self.cues[next]);
        let both = |a: &str, b: &str, between: &str| {
            let parts: Vec<&str> = [a, b].into_iter().filter(|part| !part.is_empty()).collect();
            parts.join(between)
        };
        let whole = ReviewCue {
            end: one.end.max(two.end),
            text: if one.text == two.text { one.text.clone() } else { both(&one.text, &two.text, " ") },
            note: both(&one.note, &two.note, "\n"),
            checked: one.checked && two.checked,
            ..one.clone()
        };
        Ok(Plan::cues("merge", before, vec![whole]))
    }

    fn plan_restore(&self, id: CueId) -> Result<Plan, Refusal> {
        match self.deleted.iter().find(|cue| cue.id == id) {
            Some(cue) => Ok(Plan::cues("restore", Vec::new(), vec![cue.clone()])),
            None if self.cue(id).is_some() => Err(Refusal::Conflict { cues: vec![id] }),
            None => impossible("There is no such cue among the deleted ones."),
        }
    }

    fn plan_replacement(&self, replacement: &Replacement) -> Result<Plan, Refusal> {
        let find = replacement.compile().map_err(Refusal::Impossible)?;
        let cues = match &replacement.cues {
            Some(cues) => self.seen(cues)?,
            None => self.cues.clone(),
        };
        let mut before = Vec::new();
        let mut after = Vec::new();
        for cue in cues {
            if let Some(text) = find.replaced(&cue.text) {
                after.push(ReviewCue { text: clean(&text), ..cue.clone() });
                before.push(cue);
            }
        }
        before.sort_by_key(|cue| cue.id);
        after.sort_by_key(|cue| cue.id);
        Ok(Plan::cues("replace", before, after))
    }

    fn plan_glossary(&self, terms: &[GlossaryTerm], seen: u64) -> Result<Plan, Refusal> {
        self.unless_changed_since(seen, |touched| touched.glossary.is_some())?;
        if terms.len() > MOST_TERMS {
            return impossible(format!("A glossary has at most {MOST_TERMS} terms."));
        }
        let one_line = |text: &str| clean(text).replace('\n', " ");
        let clean = |t: &GlossaryTerm| GlossaryTerm { term: one_line(&t.term), note: one_line(&t.note) };
        let terms: Vec<GlossaryTerm> = terms.iter().map(clean).filter(|t| !t.term.is_empty()).collect();
        let is_long = |text: &str| text.chars().count() > LONGEST_TEXT;
        if terms.iter().any(|t| is_long(&t.term) || is_long(&t.note)) {
            return impossible(format!("A term has at most {LONGEST_TEXT} characters."));
        }
        let touched = |terms| Touched { glossary: Some(terms), ..Touched::default() };
        let (before, after) = (touched(self.glossary.clone()), touched(terms));
        Ok(Plan { what: "glossary", before, after, of: None })
    }

    fn plan_notes(&self, notes: &str, seen: u64) -> Result<Plan, Refusal> {
        self.unless_changed_since(seen, |touched| touched.notes.is_some())?;
        if notes.chars().count() > LONGEST_NOTE {
            return impossible(format!("Notes have at most {LONGEST_NOTE} characters."));
        }
        let touched = |notes| Touched { notes: Some(notes), ..Touched::default() };
        let (before, after) = (touched(self.notes.clone()), touched(clean(notes)));
        Ok(Plan { what: "notes", before, after, of: None })
    }

    /// Refuses an edit of a part of the document that has been changed after the editor saw it.
    fn unless_changed_since(&self, seen: u64, has: fn(&Touched) -> bool) -> Result<(), Refusal> {
        let changed = self.history.iter().any(|change| change.revision > seen && has(&change.after));
        if changed { Err(Refusal::Conflict { cues: Vec::new() }) } else { Ok(()) }
    }

    fn plan_undo(&self, revision: u64) -> Result<Plan, Refusal> {
        let Some(change) = self.change(revision) else {
            return impossible("This change is too old to be undone.");
        };
        if change.what == RENEWAL {
            return impossible("The film was described again then. What was replaced is in the history.");
        }
        if !change.after.holds_in(self, &change.before.cues) {
            return Err(Refusal::Conflict { cues: change.after.cues.iter().map(|cue| cue.id).collect() });
        }
        let what = if change.what == "undo" { "redo" } else { "undo" };
        Ok(Plan { what, before: change.after.clone(), after: change.before.clone(), of: Some(revision) })
    }

    /// Refuses a plan whose result would break the limits of a document.
    fn check(&self, plan: &Plan) -> Result<(), Refusal> {
        let added = plan.after.cues.len().saturating_sub(plan.before.cues.len());
        if self.cues.len() + self.deleted.len() + added > MOST_CUES {
            return impossible(format!("A film has at most {MOST_CUES} cues, deleted ones included."));
        }
        let unchanged = |cue: &ReviewCue| {
            let was = plan.before.cues.iter().find(|was| was.id == cue.id);
            was.is_some_and(|was| (was.start, was.end) == (cue.start, cue.end))
        };
        for cue in &plan.after.cues {
            if cue.text.chars().count() > LONGEST_TEXT {
                return impossible(format!("A cue has at most {LONGEST_TEXT} characters."));
            }
            if cue.note.chars().count() > LONGEST_NOTE {
                return impossible(format!("A note has at most {LONGEST_NOTE} characters."));
            }
            // A track that came with the film may break these rules; an edit of something else must still be possible.
            if unchanged(cue) || plan.of.is_some() {
                continue;
            }
            if cue.start < Time::ZERO || cue.end > self.end() {
                return impossible("A cue must be within the film.");
            }
            if cue.end - cue.start < SHORTEST_CUE {
                return impossible("A cue must last for at least 0.1 s.");
            }
        }
        Ok(())
    }
}

/// Whether a change is the last stretch of typing, which a plan continues.
fn continues(last: &Change, revision: u64, who: &str, plan: &Plan) -> bool {
    let id = |touched: &Touched| match touched.cues.as_slice() {
        [cue] => Some(cue.id),
        _ => None,
    };
    last.revision == revision && last.what == "edit" && last.who == who && id(&last.after) == id(&plan.after)
}
