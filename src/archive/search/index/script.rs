//! Scripts that are written without spaces between words.
//!
//! SQLite's full-text search takes a run of letters for a word. In Chinese, Japanese and Korean a run may be a whole sentence,
//! so each of their characters becomes a word of its own, and what is searched for a phrase: it is found wherever it is
//! written.

use std::borrow::Cow;

/// What separates such characters in a text of the index: a space of no width, which separates words for SQLite.
const SPACE: char = '\u{200b}';

/// Whether a character is a word of its own: Han, Kana, Bopomofo and Hangul.
fn is_word(c: char) -> bool {
    matches!(c,
        '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}'
        | '\u{3031}'..='\u{3035}' | '\u{3041}'..='\u{3096}' | '\u{309d}'..='\u{30ff}' | '\u{3105}'..='\u{31bf}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{20000}'..='\u{3ffff}')
}

/// A text as the index has it, and a word as it is searched for.
pub(crate) fn spaced(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_word) {
        return text.into();
    }
    let mut out = String::with_capacity(2 * text.len());
    let mut before = None;
    for c in text.chars() {
        // A mark stays with its letter.
        let begins = c.is_alphanumeric() && before.is_some_and(|before: char| before.is_alphanumeric());
        if begins && (is_word(c) || before.is_some_and(is_word)) {
            out.push(SPACE);
        }
        out.push(c);
        before = Some(c);
    }
    out.into()
}

/// The text that [`spaced`] made that of.
pub(crate) fn unspaced(text: &str) -> String {
    text.replace(SPACE, "")
}

/// Whether a character separates words in such scripts: an ideographic space, a comma, a bracket, a wide form.
pub(crate) fn is_mark(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{3004}' | '\u{3008}'..='\u{3020}' | '\u{3030}' | '\u{30fb}' | '\u{ff01}'..='\u{ff0f}'
        | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_is_a_word_where_there_are_no_spaces() {
        let shown = |text: &str| spaced(text).replace(SPACE, "|");
        assert_eq!(shown("東京駅 JR線9番"), "東|京|駅 JR|線|9|番");
        assert_eq!(shown("ラーメン、부산역"), "ラ|ー|メ|ン、부|산|역");
        assert_eq!(shown("か\u{3099}"), "か\u{3099}");
        for text in ["Rue Haute", "", "Café 9:00", "東京 (Tokyo)", "ab\n駅前\nc"] {
            assert_eq!(unspaced(&spaced(text)), text);
        }
    }
}
