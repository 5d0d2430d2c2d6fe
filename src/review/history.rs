//! What was changed, by whom and when.

use serde::{Deserialize, Serialize};

use super::cue::{GlossaryTerm, ReviewCue};

/// The parts of a document that a change touched, as they were before it or after it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touched {
    /// Cues, by number. A cue that is only in one of before and after was added or deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cues: Vec<ReviewCue>,
    /// The glossary; none if the change left it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glossary: Option<Vec<GlossaryTerm>>,
    /// The notes; none if the change left them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    /// When: RFC 3339 in UTC.
    pub time: String,
    /// When it began, where one change is a stretch of typing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who made it.
    pub who: String,
    /// What kind of change it is: `edit`, `check`, `split`, `merge`, `delete`, `restore`, `add`, `replace`, `glossary`,
    /// `notes`, `undo`, `redo` or `renew`.
    pub what: String,
    /// What it touched, as it was before.
    pub before: Touched,
    /// The same as it was after.
    pub after: Touched,
    /// The revision that it undid or did again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}
