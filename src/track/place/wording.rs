//! The words of a description: shorter and shorter, joined to others, and how long it takes to speak them.

use crate::time::Time;
use crate::track::cue::lowered;
pub use crate::track::cue::shortenings;

/// Units of length in a word: characters, with the space after it. English words have some 4.7 letters, so a word of prose
/// takes a little less than this, and texts with longer words take as long as their characters.
pub(super) const WORD: i64 = 6;
/// A wording with fewer words is a fragment.
const LEAST_WORDS: usize = 3;
/// What stands before the last of several descriptions.
const THEN: &str = "then";

/// One way to say a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wording {
    pub(super) text: String,
    /// Its length, in [`WORD`]ths of a word.
    pub(super) units: i64,
    /// Whether it may stand alone.
    pub(super) alone: bool,
    /// Whether it has so few words that it says too little alone: "A man."
    pub(super) fragment: bool,
}

/// The ways to say a text, from the whole to the shortest; none if it is empty.
pub(super) fn wordings(text: &str) -> Vec<Wording> {
    if text.is_empty() {
        return Vec::new();
    }
    let ways = shortenings(text).into_iter().enumerate();
    ways.map(|(n, text)| {
        let units = units(&text);
        let fragment = text.split(' ').count() < LEAST_WORDS;
        Wording { text, units, alone: n == 0 || !fragment, fragment }
    })
    .collect()
}

/// The length of a text, in [`WORD`]ths of a word: six for each word, or one for each character if that is more.
fn units(text: &str) -> i64 {
    let words = text.split(' ').count() as i64;
    (words * WORD).max(text.chars().count() as i64)
}

/// How long it takes to speak a text, at so many words a minute (at least 1).
pub fn speaking_time(text: &str, pace: u32) -> Time {
    Time::from_micros(micros(units(text), pace))
}

/// How long it takes to speak a text of a length, in microseconds.
pub(super) fn micros(units: i64, pace: u32) -> i64 {
    units * (60_000_000 / WORD) / i64::from(pace.max(1))
}

/// What is added to the lengths of descriptions that share a sentence.
pub(super) fn joint() -> i64 {
    units(THEN)
}

/// One sentence of several: "A man; a dog; then a cyclist on the street."
pub(super) fn joined(texts: &[&str]) -> String {
    let mut sentence = String::new();
    for (n, text) in texts.iter().enumerate() {
        let last = n + 1 == texts.len();
        let text = if last { text } else { text.trim_end_matches(['.', '!', '?', '…']) };
        match n {
            0 => sentence.push_str(text),
            _ => {
                sentence.push_str("; ");
                if last {
                    sentence.push_str(THEN);
                    sentence.push(' ');
                }
                sentence.push_str(&lowered(text));
            }
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_go_from_the_whole_to_the_shortest() {
        let texts = |text: &str| wordings(text).into_iter().map(|w| (w.text, w.alone)).collect::<Vec<_>>();
        assert_eq!(
            texts("A man in a suit standing on a sandy beach."),
            [
                ("A man in a suit standing on a sandy beach.".into(), true),
                ("A man in a suit.".into(), true),
                ("A man.".into(), false),
            ]
        );
        assert_eq!(texts("A dog."), [("A dog.".into(), true)]);
        assert_eq!(texts(""), []);
    }

    #[test]
    fn long_texts_have_few_wordings() {
        let text = format!("A man{}.", " in a suit".repeat(50));
        let all = wordings(&text);
        assert_eq!((all.len(), all[0].text.as_str()), (6, text.as_str()));
        assert_eq!(all[5].text, "A man.");
        assert!(all.windows(2).all(|w| w[0].units > w[1].units));
    }

    #[test]
    fn length_counts_words_or_long_words() {
        assert_eq!(units("A man on a sofa."), 5 * WORD);
        assert_eq!(units("Donaudampfschifffahrtsgesellschaft."), 35);
    }

    #[test]
    fn descriptions_share_a_sentence() {
        assert_eq!(joined(&["A man.", "A cyclist on the street."]), "A man; then a cyclist on the street.");
        assert_eq!(joined(&["A man!", "London at night.", "Two dogs."]), "A man; London at night; then two dogs.");
        assert_eq!(joined(&["A man."]), "A man.");
    }
}
