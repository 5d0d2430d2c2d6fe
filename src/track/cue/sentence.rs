//! One clean sentence from whatever a model writes.

/// One clean sentence: no control or bidirectional override characters, single spaces, a capital and a full stop. Empty if
/// the text has nothing but punctuation.
pub(crate) fn sentence(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .filter(
            |c| !matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'),
        )
        .collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let joined = words.join(" ").replace("-->", "→");
    let joined = joined.trim_end_matches(['.', ' ']);
    // Joiners and marks alone are not a text.
    if joined.chars().all(|c| c.is_ascii_punctuation() || c == ' ' || joins(c)) {
        return String::new();
    }
    let mut letters = joined.chars();
    match letters.next() {
        None => String::new(),
        Some(first) => {
            let mut s: String = first.to_uppercase().chain(letters).collect();
            if !s.ends_with(['!', '?', '…']) {
                s.push('.');
            }
            s
        }
    }
}

/// Whether a character belongs to the one before it: combining marks, variation selectors, joiners, skin tones.
///
/// Not the grapheme clusters of Unicode (UAX 29): those also join flags, Hangul syllables and Indic conjuncts, and would
/// break lines elsewhere.
pub(super) fn joins(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{93a}'..='\u{93c}' | '\u{93e}'..='\u{94f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200c}' | '\u{200d}'
        | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{1f3fb}'..='\u{1f3ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned() {
        assert_eq!(sentence("  a\u{0} dog\n\n--> runs . "), "A dog → runs.");
        assert_eq!(sentence("élan"), "Élan.");
        assert_eq!(sentence(" . "), "");
        assert_eq!(sentence("-\u{200d}-"), "");
        assert_eq!(sentence("--\u{200b}> \u{2028}x"), "→ x.");
        assert_eq!(sentence("e\u{301}lan!"), "E\u{301}lan!");
        assert_eq!(sentence("👩\u{200d}🚒"), "👩\u{200d}🚒.");
    }
}
