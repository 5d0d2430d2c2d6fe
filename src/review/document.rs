//! The document of a review: what the machine said, what the editor made of it, and who changed what, when.

use serde::{Deserialize, Serialize};

use super::cue::{CueId, GlossaryTerm, LONGEST_NOTE, LONGEST_TEXT, ReviewCue};
use super::history::Change;
use super::timeline::FilmTimeline;
use crate::time::Time;

/// Version of the form of `film.review.json`. Files of another one are refused.
pub(super) const FORM: u32 = 1;
/// Most cues of a film: a hundred times those of a long one.
pub const MOST_CUES: usize = 50_000;
/// Most terms of a glossary.
pub(super) const MOST_TERMS: usize = 2_000;
/// No review has more changes: the page counts them in floating point.
const LAST_REVISION: u64 = 1 << 50;
/// No review makes more cues.
const LAST_ID: u32 = 1 << 31;
/// No film lasts longer.
pub(super) const LONGEST_FILM: Time = Time::from_millis(1_000 * 3_600_000);

/// The film under review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilmFacts {
    /// Its file's name, without folders.
    pub name: String,
    /// How long it is, in seconds; none if that is not known.
    #[serde(default, with = "super::optional_seconds", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
}

/// Where the cues came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CueSource {
    /// descry described the film.
    Described {
        /// Name and version of the model.
        model: String,
        /// In an archive, the state of the film and of the options that the descriptions belong to: 16 hex digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
    },
    /// A file of subtitles.
    File {
        /// Its name, without folders.
        name: String,
        /// Its SHA-256, in hex.
        sha256: String,
    },
}

impl CueSource {
    /// In an archive, the state of the film that the descriptions belong to.
    pub fn state(&self) -> Option<&str> {
        match self {
            CueSource::Described { state, .. } => state.as_deref(),
            CueSource::File { .. } => None,
        }
    }
}

/// Everything about the review of one film.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewDocument {
    /// Version of this form.
    pub descry_review: u32,
    /// The film.
    pub film: FilmFacts,
    /// Where the cues came from.
    pub source: CueSource,
    /// Language of the descriptions: a BCP 47 tag.
    pub language: String,
    /// Counts the changes.
    pub revision: u64,
    /// The number that the next new cue gets.
    pub next_id: u32,
    /// The cues, by start and then by number.
    pub cues: Vec<ReviewCue>,
    /// Cues that were deleted, by number.
    #[serde(default)]
    pub deleted: Vec<ReviewCue>,
    /// Names and terms.
    #[serde(default)]
    pub glossary: Vec<GlossaryTerm>,
    /// What editors say about the film to each other.
    #[serde(default)]
    pub notes: String,
    /// What is known of the film: scenes, speech, text on the screen.
    pub timeline: FilmTimeline,
    /// The changes, in order.
    #[serde(default)]
    pub history: Vec<Change>,
    /// How many changes are forgotten, because there were too many.
    #[serde(default)]
    pub forgotten: u64,
}

impl ReviewDocument {
    /// A document in which nothing has been changed.
    pub fn new(
        film: FilmFacts,
        source: CueSource,
        language: &str,
        cues: Vec<ReviewCue>,
        timeline: FilmTimeline,
    ) -> Self {
        let next_id = cues.iter().map(|cue| cue.id.0 + 1).max().unwrap_or(1);
        let mut document = ReviewDocument {
            descry_review: FORM,
            film,
            source,
            language: language.into(),
            revision: 0,
            next_id,
            cues,
            deleted: Vec::new(),
            glossary: Vec::new(),
            notes: String::new(),
            timeline,
            history: Vec::new(),
            forgotten: 0,
        };
        document.sort();
        document
    }

    /// Puts the cues into their order.
    pub(super) fn sort(&mut self) {
        self.cues.sort_by_key(|cue| (cue.start, cue.id));
        self.deleted.sort_by_key(|cue| cue.id);
    }

    /// The cue of a number, if it is not deleted.
    pub fn cue(&self, id: CueId) -> Option<&ReviewCue> {
        self.cues.iter().find(|cue| cue.id == id)
    }

    /// The latest time at which a cue may end.
    pub(super) fn end(&self) -> Time {
        self.film.duration.unwrap_or(LONGEST_FILM).min(LONGEST_FILM)
    }

    /// Reads the bytes of a review's file.
    ///
    /// # Errors
    /// In words, if they are not those of a review.
    pub fn parse(bytes: &[u8]) -> Result<ReviewDocument, String> {
        let document: ReviewDocument =
            serde_json::from_slice(bytes).map_err(|e| format!("is no review of descry: {e}"))?;
        match document.fault() {
            Some(fault) => Err(fault),
            None => Ok(document),
        }
    }

    /// What is wrong with a document that was read from a file, in words; none if it can be edited.
    pub(super) fn fault(&self) -> Option<String> {
        fault_of((self.descry_review, self.revision, self.next_id), &self.cues, &self.deleted)
    }
}

/// What is wrong with the parts of a document, in words; none if they can be edited.
pub(super) fn fault_of(
    (form, revision, next_id): (u32, u64, u32),
    cues: &[ReviewCue],
    deleted: &[ReviewCue],
) -> Option<String> {
    if form != FORM {
        return Some(format!("has form {form}, and this descry reads form {FORM}"));
    }
    if revision > LAST_REVISION || next_id > LAST_ID {
        return Some("has a revision or a next_id that no review reaches".into());
    }
    let all = || cues.iter().chain(deleted);
    if all().count() > MOST_CUES {
        return Some(format!("has more than {MOST_CUES} cues"));
    }
    let mut ids: Vec<CueId> = all().map(|cue| cue.id).collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Some(format!("has two cues with the number {}", twice[0].0));
    }
    if ids.last().is_some_and(|last| last.0 >= next_id) {
        return Some("has a cue whose number is not below next_id".into());
    }
    let in_range = |cue: &ReviewCue| cue.start >= Time::ZERO && cue.start < cue.end && cue.end <= LONGEST_FILM;
    if let Some(cue) = all().find(|cue| !in_range(cue)) {
        return Some(format!("has a cue (number {}) whose times are impossible", cue.id.0));
    }
    let is_long = |cue: &&ReviewCue| cue.text.chars().count() > LONGEST_TEXT || cue.note.chars().count() > LONGEST_NOTE;
    all().find(is_long).map(|cue| format!("has a cue (number {}) whose text is too long", cue.id.0))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cue, document};
    use super::*;

    #[test]
    fn impossible_documents_are_named() {
        let good = document(vec![cue(1, 0, 1_000, "A dog."), cue(2, 1_000, 2_000, "A cat.")]);
        assert_eq!(good.fault(), None);
        let fault = |change: fn(&mut ReviewDocument)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.fault().unwrap()
        };
        assert!(fault(|d| d.descry_review = 9).contains("form 9"));
        assert!(fault(|d| d.cues[1].id = CueId(1)).contains("two cues"));
        assert!(fault(|d| d.next_id = u32::MAX).contains("no review reaches"));
        assert!(fault(|d| d.revision = u64::MAX).contains("no review reaches"));
        assert!(fault(|d| d.next_id = 2).contains("next_id"));
        assert!(fault(|d| d.cues[0].end = Time::ZERO).contains("number 1"));
        assert!(fault(|d| d.cues[0].start = Time::from_millis(-1)).contains("number 1"));
        assert!(fault(|d| d.cues[1].text = "a".repeat(LONGEST_TEXT + 1)).contains("number 2"));
    }
}
