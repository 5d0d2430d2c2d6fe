//! Find and replace, in the texts of cues.

use std::borrow::Cow;

use regex::{NoExpand, Regex, RegexBuilder};
use serde::Deserialize;

use super::cue::SeenCue;

/// Longest text to find or to put in its place, in characters.
const LONGEST: usize = 500;

/// What is replaced, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The text to find; line breaks and blanks are the same.
    pub find: String,
    /// The replacement.
    pub with: String,
    /// Whether capital letters matter. Default: no.
    #[serde(default)]
    pub match_case: bool,
    /// Whether it must be whole words. Default: no.
    #[serde(default)]
    pub whole_words: bool,
    /// The cues; none for all of them.
    #[serde(default)]
    pub cues: Option<Vec<SeenCue>>,
}

/// A replacement that is ready for use.
pub(super) struct Finder<'a> {
    find: Regex,
    with: &'a str,
}

impl Replacement {
    /// # Errors
    /// If there is nothing to find, or too much; in words.
    pub(super) fn compile(&self) -> Result<Finder<'_>, String> {
        let words: Vec<String> = self.find.split_whitespace().map(regex::escape).collect();
        if words.is_empty() {
            return Err("There is nothing to find.".into());
        }
        if self.find.chars().count() > LONGEST || self.with.chars().count() > LONGEST {
            return Err(format!("What is found and replaced has at most {LONGEST} characters."));
        }
        let words = words.join(r"\s+");
        // A boundary of words beside a character of a word only: "!" has none.
        let edge = |c: Option<char>| if c.is_some_and(|c| c.is_alphanumeric() || c == '_') { r"\b" } else { "" };
        let trimmed = self.find.trim();
        let pattern = match self.whole_words {
            true => format!("{}{words}{}", edge(trimmed.chars().next()), edge(trimmed.chars().next_back())),
            false => words,
        };
        let find = RegexBuilder::new(&pattern).case_insensitive(!self.match_case).build();
        Ok(Finder { find: find.map_err(|e| e.to_string())?, with: &self.with })
    }
}

impl Finder<'_> {
    /// The text after the replacement; none if there is nothing to replace.
    pub(super) fn replaced(&self, text: &str) -> Option<String> {
        match self.find.replace_all(text, NoExpand(self.with)) {
            Cow::Borrowed(_) => None,
            Cow::Owned(new) => Some(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(find: &str, with: &str, match_case: bool, whole_words: bool, text: &str) -> Option<String> {
        let all = Replacement { find: find.into(), with: with.into(), match_case, whole_words, cues: None };
        all.compile().unwrap().replaced(text)
    }

    #[test]
    fn words_are_found_as_they_are_written() {
        assert_eq!(replace("a man", "Thom", false, false, "A man and a\nman.").as_deref(), Some("Thom and Thom."));
        assert_eq!(replace("man", "Thom", true, true, "Man, man, woman").as_deref(), Some("Man, Thom, woman"));
        assert_eq!(replace("man", "x", false, true, "woman"), None);
        assert_eq!(replace("$1.", "$0", false, true, "it costs $1.").as_deref(), Some("it costs $0"));
        assert_eq!(
            replace("straße", "road", false, true, "Die STRASSE, die Straße").as_deref(),
            Some("Die STRASSE, die road")
        );
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        let compile = |find: &str, with: &str| {
            let all =
                Replacement { find: find.into(), with: with.into(), match_case: false, whole_words: false, cues: None };
            all.compile().err()
        };
        assert!(compile(" \n", "x").unwrap().contains("nothing"));
        assert!(compile(&"a".repeat(501), "x").unwrap().contains("500"));
        assert!(compile("a", &"a".repeat(501)).unwrap().contains("500"));
    }
}
