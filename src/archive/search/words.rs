//! Turns a query into an expression for SQLite's full-text search.
//!
//! A query is a list of words and nothing else: no character of it acts as syntax.

use super::index::{is_mark, spaced};

/// Most characters of a word that are searched for. A Chinese sentence is one word.
const LONGEST_WORD: usize = 256;
/// Most words of a query that are searched for; captions have fewer.
const MAX_WORDS: usize = 64;

/// English words that occur in so many captions that they distinguish none.
const STOP_WORDS: [&str; 45] = [
    "a", "an", "and", "are", "as", "at", "be", "being", "by", "for", "from", "has", "have", "he", "her", "his", "in",
    "into", "is", "it", "its", "of", "off", "on", "or", "out", "over", "she", "that", "the", "their", "them", "there",
    "they", "this", "to", "up", "was", "we", "were", "while", "who", "with", "you", "your",
];

/// An expression that matches texts with any of the words; none where there is no word.
pub(super) fn expression(text: &str) -> Option<String> {
    let words = each_word(text);
    (!words.is_empty()).then(|| words.join(" OR "))
}

/// An expression for each of the words.
///
/// Stop words are left out unless the query has no others.
pub(super) fn each_word(text: &str) -> Vec<String> {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(is_separator).filter(|w| w.chars().any(char::is_alphanumeric)) {
        if !words.contains(&word) {
            words.push(word);
        }
        if words.len() >= 4 * MAX_WORDS {
            break;
        }
    }
    let distinctive: Vec<&str> =
        words.iter().copied().filter(|w| !STOP_WORDS.contains(&w.to_lowercase().as_str())).collect();
    let wanted = if distinctive.is_empty() { words } else { distinctive };
    // FTS5 takes a quoted string as text, and several words in it as a phrase. A word cannot hold a quote: quotes separate
    // words.
    let quoted = |word: &&str| {
        let short = word.char_indices().nth(LONGEST_WORD).map_or(*word, |(end, _)| &word[..end]);
        format!("\"{}\"", spaced(short))
    };
    wanted.iter().take(MAX_WORDS).map(quoted).collect()
}

/// Whether a character separates words. Beyond ASCII, FTS5's tokenizer decides: it knows marks.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_mark(c) || (c.is_ascii() && !c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn words_are_found_and_stop_words_left_out() {
        assert_eq!(expression("A dog, on a BEACH!").as_deref(), Some("\"dog\" OR \"BEACH\""));
        assert_eq!(expression("on the").as_deref(), Some("\"on\" OR \"the\""));
        let all = expression("x\" OR y NEAR(z) text:w* -v x").unwrap();
        assert_eq!(
            all.split(" OR ").collect::<Vec<_>>(),
            ["\"x\"", "\"y\"", "\"NEAR\"", "\"z\"", "\"text\"", "\"w\"", "\"v\""]
        );
        assert_eq!(expression(" \0 \u{1f415} -- \"\" ' "), None);
    }

    fn captions() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(crate::archive::search::index::CAPTION_TABLES).unwrap();
        for (id, text) in
            [(1, "A dog runs."), (2, "Two cats and a NOT."), (3, "café résumé"), (4, "東京駅の前で犬が走る。")]
        {
            let text = spaced(text);
            db.execute("INSERT INTO texts (id, text) VALUES (?1, ?2)", (id, &text)).unwrap();
            db.execute("INSERT INTO words (rowid, text) VALUES (?1, ?2)", (id, &text)).unwrap();
        }
        db
    }

    fn matches(db: &Connection, text: &str) -> Vec<i64> {
        let Some(expression) = expression(text) else { return Vec::new() };
        let mut query = db.prepare_cached("SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY rowid").unwrap();
        query.query_map([expression], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn syntax_is_text() {
        let db = captions();
        assert_eq!(matches(&db, "dogs running"), [1]);
        assert_eq!(matches(&db, "NOT dog"), [1, 2]);
        assert_eq!(matches(&db, "text:cat* AND zebra"), [2]);
        assert_eq!(matches(&db, "\"dog cat\""), [1, 2]);
        assert_eq!(matches(&db, "cafe\u{301} 🐕"), [3]);
        assert_eq!(matches(&db, "{dog} ^cat (\"\"\" '; DROP TABLE texts"), [1, 2]);
        assert_eq!(matches(&db, "x\0dog"), [1]);
    }

    #[test]
    fn parts_of_a_run_are_found_where_there_are_no_spaces() {
        let db = captions();
        for query in ["東京", "駅", "犬が走", "京駅の前", "大阪、東京", "「犬」"] {
            assert_eq!(matches(&db, query), [4], "{query}");
        }
        for query in ["京東", "東駅", "走る犬", "、。", "東京dog"] {
            assert_eq!(matches(&db, query), Vec::<i64>::new(), "{query}");
        }
        assert_eq!(matches(&db, &"東".repeat(100_000)), Vec::<i64>::new());
    }

    proptest! {
        #[test]
        fn any_text_is_searched_for(text in any::<String>(), more in "[\"*^:(){}+\\-'a-z \0NEARORNOT,/🐕é\u{301}]{0,60}") {
            let db = captions();
            for text in [text.as_str(), &more, &format!("{text} dog {more}")] {
                let found = matches(&db, text);
                if text.contains(" dog ") {
                    prop_assert!(found.contains(&1), "{:?}", text);
                }
            }
        }
    }
}
