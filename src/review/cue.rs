//! A description under review: what it says, and what the machine said.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Most characters of the text of a cue.
pub const LONGEST_TEXT: usize = 2_000;
/// Most characters of a note, of a cue or of the film.
pub const LONGEST_NOTE: usize = 20_000;
/// Shortest cue.
pub const SHORTEST_CUE: Time = Time::from_millis(100);

/// Names a cue within its document, for good: no other cue ever gets its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CueId(pub u32);

/// A description under review. Times are seconds in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewCue {
    /// Its number.
    pub id: CueId,
    /// When it appears.
    #[serde(with = "super::seconds")]
    pub start: Time,
    /// When it disappears: after its start.
    #[serde(with = "super::seconds")]
    pub end: Time,
    /// What it says; line feeds separate lines.
    pub text: String,
    /// Whether an editor has marked it as checked.
    #[serde(default)]
    pub checked: bool,
    /// What editors say about it to each other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The revision of the document that changed it last; 0 if none did.
    #[serde(default)]
    pub version: u64,
    /// What the machine, or the file, said; none for a cue that an editor added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineCue>,
}

impl ReviewCue {
    /// Whether an editor has written it, or has changed its words or its times.
    pub fn is_edited(&self) -> bool {
        let as_made = |machine: &MachineCue| (machine.start, machine.end) == (self.start, self.end);
        self.has_own_words() || !self.machine.as_ref().is_some_and(as_made)
    }

    /// Whether an editor has written or checked its words.
    pub fn is_vouched_for(&self) -> bool {
        self.checked || self.has_own_words()
    }

    fn has_own_words(&self) -> bool {
        self.machine.as_ref().is_none_or(|machine| machine.text != self.text)
    }
}

/// A cue as it was before anybody edited it. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineCue {
    /// When it appeared.
    #[serde(with = "super::seconds")]
    pub start: Time,
    /// When it disappeared.
    #[serde(with = "super::seconds")]
    pub end: Time,
    /// What it said.
    pub text: String,
    /// The scene that it describes, as a position in the timeline's scenes; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene: Option<usize>,
}

/// How a name or a term is written and said, for everybody who edits the film.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlossaryTerm {
    /// As it is written.
    pub term: String,
    /// Who or what it is, or how it is pronounced.
    #[serde(default)]
    pub note: String,
}

/// A cue as the editor saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenCue {
    /// Its number.
    pub id: CueId,
    /// Its version.
    pub version: u64,
}

/// A text as a cue can hold it: without control characters, without empty lines, and without blanks at the ends of lines.
pub(super) fn clean(text: &str) -> String {
    let line = |line: &str| {
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        plain.trim().to_string()
    };
    let lines: Vec<String> = text.split('\n').map(line).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_did_with_a_cue_is_known() {
        let made = super::super::tests::cue(1, 0, 1_000, "A dog.");
        let of = |cue: &ReviewCue| (cue.is_edited(), cue.is_vouched_for());
        assert_eq!(of(&made), (false, false));
        assert_eq!(of(&ReviewCue { checked: true, ..made.clone() }), (false, true));
        assert_eq!(of(&ReviewCue { end: Time::from_millis(900), ..made.clone() }), (true, false));
        assert_eq!(of(&ReviewCue { text: "A wolf.".into(), ..made.clone() }), (true, true));
        assert_eq!(of(&ReviewCue { machine: None, ..made }), (true, true));
    }

    #[test]
    fn a_text_is_cleaned() {
        assert_eq!(clean(" a\tb \r\n\n\u{7}\n c\u{0} "), "a b\nc");
        assert_eq!(clean("\u{202b}שלום"), "\u{202b}שלום");
    }
}
