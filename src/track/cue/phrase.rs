//! Where a text may end and still be complete.
//!
//! The word lists are of English function words: captions are English.

use super::sentence::joins;

/// Words that cannot end a phrase.
const OPEN: [&str; 44] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "with", "and", "or", "by", "for", "from", "into", "over", "under",
    "near", "behind", "is", "are", "while", "that", "who", "next", "front", "top", "through", "up", "down", "as",
    "his", "her", "their", "its", "two", "three", "some", "several", "another", "very", "around", "along", "between",
];

/// Words before which a sentence may end and still say something whole. Not "of" ("a group of people"), not "and" ("a black
/// and white dog"), not a possessive ("holding his hat").
const CLOSING: [&str; 27] = [
    "in", "on", "at", "with", "by", "from", "into", "over", "under", "near", "behind", "beside", "is", "are", "while",
    "that", "who", "next", "through", "as", "around", "along", "between", "for", "across", "against", "during",
];

/// Words before a noun.
const ARTICLES: [&str; 12] =
    ["a", "an", "the", "his", "her", "their", "its", "two", "three", "some", "several", "another"];

/// Nouns that look like participles.
const NOUNS: [&str; 20] = [
    "building",
    "ceiling",
    "clothing",
    "painting",
    "king",
    "ring",
    "string",
    "thing",
    "wing",
    "swing",
    "spring",
    "morning",
    "evening",
    "wedding",
    "railing",
    "sibling",
    "something",
    "anything",
    "nothing",
    "crossing",
];

/// A word without the punctuation after it, in lower case.
pub(super) fn bare(word: &str) -> String {
    word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Whether a phrase ends after the first `n` words: the next word opens one, and the last does not leave one open.
pub(super) fn is_phrase_end(words: &[&str], n: usize) -> bool {
    let (last, next) = (bare(words[n - 1]), bare(words[n]));
    !OPEN.contains(&last.as_str()) && (OPEN.contains(&next.as_str()) || next.ends_with("ing"))
}

/// Whether the word at `n` is a participle that opens a phrase ("sitting on", "holding a"), not a noun ("a building in")
/// and not an adjective ("a running dog").
fn is_participle(words: &[&str], n: usize) -> bool {
    let of = |list: &[&str], word: &str| list.contains(&bare(word).as_str());
    bare(words[n]).ends_with("ing")
        && !of(&NOUNS, words[n])
        && !(n > 0 && of(&ARTICLES, words[n - 1]))
        && words.get(n + 1).is_none_or(|w| of(&CLOSING, w) || of(&OPEN, w))
}

/// Whether a text that ends after `n` words would lose what it quotes, or a part of that.
fn breaks_quotation(words: &[&str], n: usize) -> bool {
    let marks = |mark: char| words[..n].iter().map(|word| word.matches(mark).count()).sum::<usize>();
    marks('“') > marks('”') || words[n].starts_with('“')
}

/// Whether the first `n` words are a sentence of their own.
fn is_sentence_end(words: &[&str], n: usize) -> bool {
    if breaks_quotation(words, n) {
        return false;
    }
    let (last, next) = (bare(words[n - 1]), bare(words[n]));
    !OPEN.contains(&last.as_str())
        && !is_participle(words, n - 1)
        && (CLOSING.contains(&next.as_str()) || is_participle(words, n) || words[n - 1].ends_with([',', ';', ':']))
}

/// Cuts a text to at most `room` characters, the last of them an ellipsis; between words if one fits.
pub(super) fn clip(text: &str, room: usize) -> String {
    let mut letters: Vec<char> = text.chars().take(room.max(2) - 1).collect();
    let whole = text.chars().nth(letters.len()).is_none_or(|c| c == ' ');
    if let Some(space) = letters.iter().rposition(|c| *c == ' ')
        && !whole
    {
        letters.truncate(space);
    }
    let kept: String = letters.into_iter().collect();
    format!("{}…", kept.trim_end_matches(|c: char| !c.is_alphanumeric() && !joins(c)))
}

/// Drops last phrases until at most `room` characters are left; never drops the first noun ("A man."). A text that cannot be
/// shortened to something whole stays as it is: read in haste it still says more than half a phrase.
pub(crate) fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    let words: Vec<&str> = text.split(' ').collect();
    let length = |n: usize| words[..n].iter().map(|w| w.chars().count() + 1).sum::<usize>();
    let ends: Vec<usize> = (1..words.len()).filter(|&n| is_sentence_end(&words, n)).collect();
    let Some(&first) = ends.first() else { return text.to_string() };
    let best = ends.iter().rev().find(|&&n| length(n) <= room).copied().unwrap_or(first);
    format!("{}.", words[..best].join(" ").trim_end_matches([',', ';', ':', '.']))
}

/// Wordings of a text that [`shortenings`] returns, at most.
const MOST_WORDINGS: usize = 6;

/// A text, and what is left of it without its last phrases and sentences, shorter and shorter. Of many wordings it returns a
/// few that are spread between the whole and the shortest.
pub fn shortenings(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let over = |n: usize| words[n - 1].ends_with(['.', '!', '?']) && !breaks_quotation(&words, n);
    let whole = |n: usize| is_sentence_end(&words, n) || over(n);
    let ends: Vec<usize> = (1..words.len()).rev().filter(|&n| whole(n)).collect();
    let most = MOST_WORDINGS - 1;
    let spread = |n: usize| if ends.len() <= most { n } else { n * (ends.len() - 1) / (most - 1) };
    let shorter = (0..ends.len().min(most)).map(|n| {
        let kept = words[..ends[spread(n)]].join(" ");
        format!("{}.", kept.trim_end_matches([',', ';', ':', '.', '!', '?']))
    });
    std::iter::once(text.to_string()).chain(shorter).collect()
}

/// Words that begin with a small letter within a sentence.
const COMMON: [&str; 14] =
    ["people", "men", "women", "children", "four", "five", "six", "many", "one", "there", "someone", "in", "on", "at"];

/// A text for the middle of a sentence: without its capital, if the first word is no name.
pub(in crate::track) fn lowered(text: &str) -> String {
    let first = bare(text.split(' ').next().unwrap_or_default());
    if !ARTICLES.contains(&first.as_str()) && !COMMON.contains(&first.as_str()) {
        return text.to_string();
    }
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |c| c.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_phrases_are_dropped() {
        assert_eq!(shorten("A red car.", 3), "A red car.");
        assert_eq!(shorten("Look, a dog!", 3), "Look.");
        for (text, room, want) in [
            ("A black and white photo of a man in a hat.", 20, "A black and white photo of a man."),
            ("A black and white dog.", 9, "A black and white dog."),
            ("A parking meter sitting on the side of a road.", 30, "A parking meter."),
            ("A group of people standing on a street.", 20, "A group of people."),
            ("A man holding his hat in a field.", 25, "A man holding his hat."),
            ("A tall building in a city.", 16, "A tall building."),
            ("A building in a city.", 12, "A building."),
            ("A brown running dog on a beach.", 20, "A brown running dog."),
            ("Two men and a woman are talking to a child.", 24, "Two men and a woman."),
        ] {
            assert_eq!(shorten(text, room), want);
        }
    }

    #[test]
    fn quotations_stay_whole() {
        let text = "A street at night. On a sign: “Fresh fish from the sea. Open”.";
        assert_eq!(shortenings(text), [text, "A street at night.", "A street."]);
        assert_eq!(shorten(text, 30), "A street at night.");
        let title = "Text: “A man in a suit”.";
        assert_eq!(shortenings(title), [title]);
        assert_eq!(shorten(title, 10), title);
    }

    #[test]
    fn clips_end_between_words() {
        assert_eq!(clip("One two three.", 9), "One two…");
        assert_eq!(clip("One two three.", 8), "One two…");
        assert_eq!(clip("One two three.", 7), "One…");
    }
}
