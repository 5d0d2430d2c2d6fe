//! Reviews: descriptions that people check and correct.
//!
//! ```text
//! document   what the machine said and what became of it: film.review.json
//! timeline   what is known of the film: scenes, speech, text on the screen
//! edit       what an editor can ask for        replace   find and replace
//! cue        a description, and what the machine said
//! history    who changed what                  changes  made, remembered, undone
//! warnings   what an editor should look at
//! sources    a described film, or somebody's track, as a new document
//! film       pictures and sound for the page   frames   frames that are described again
//! file       the document on the disk
//! session    the document while people work on it
//! site       what the page asks for            assets   its own files   answers  what is wrong
//! machine    what it asks a model and a voice  spoken   cues as speech
//! made       pictures and speech that were made
//! export     the document as a track
//! report     how much was changed
//! captions   what editors wrote or checked, as training data
//! renew      a film that was described again
//! outline    the document without its changes, and how far the work is
//! described  the JSON of a film, as a new document
//! commands   commands that take a review further
//! ```
//!
//! The document is a value: edits are applied to it one by one, in the order in which they come, and it does not know who
//! else looks at it. Memory: a document, of which the number of cues, of changes and the length of each text are bounded.

mod assets;
mod captions;
mod changes;
mod commands;
mod cue;
mod described;
mod document;
mod edit;
mod export;
mod file;
mod film;
mod frames;
mod history;
mod machine;
mod made;
mod outline;
mod renew;
mod replace;
mod report;
mod requests;
mod session;
mod site;
mod sources;
mod spoken;
mod timeline;
mod warnings;

pub use captions::{CaptionCounts, CaptionExport};
pub use cue::{CueId, GlossaryTerm, LONGEST_NOTE, LONGEST_TEXT, MachineCue, ReviewCue, SHORTEST_CUE, SeenCue};
pub use document::{CueSource, FilmFacts, MOST_CUES, ReviewDocument};
pub use edit::{Edit, NewParts, Refusal};
pub use file::{LARGEST_REVIEW, ReviewFile, SaveOutcome, review_path};
pub(crate) use file::{is_reviewed, try_lock_review};
pub use film::{PEAKS, Playback, ReviewFilm};
pub use frames::{Candidate, FrameDescriber};
pub use history::{Change, Touched};
pub use machine::ReviewMachines;
pub use outline::{ReviewOutline, ReviewProgress};
pub use renew::Renewal;
pub use replace::Replacement;
pub use report::ReviewReport;
pub use session::{ChangeSummary, EditReport, ReviewEvent, ReviewSession, SaveState};
pub use site::{ReviewSite, SiteNotes};
pub use spoken::CueVoice;
pub use timeline::{FilmTimeline, SceneMark, SpokenStretch, TextMark};
pub use warnings::{CueFacts, Warning, WarningRules};

/// Times as seconds, to the millisecond.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::document::LONGEST_FILM;
    use crate::time::Time;

    pub(super) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.millis() as f64 / 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        time(f64::deserialize(deserializer)?)
    }

    /// # Errors
    /// If it is not a time in a film.
    pub(super) fn time<E: Error>(seconds: f64) -> Result<Time, E> {
        let longest = LONGEST_FILM.secs();
        if !(-longest..=longest).contains(&seconds) {
            return Err(E::custom("a time is seconds in a film"));
        }
        Ok(Time::from_millis((seconds * 1e3).round() as i64))
    }
}

/// As [`seconds`], or none.
mod optional_seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Time;

    pub(super) fn serialize<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::seconds::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
        Option::<f64>::deserialize(deserializer)?.map(super::seconds::time).transpose()
    }
}

#[cfg(test)]
mod tests;
