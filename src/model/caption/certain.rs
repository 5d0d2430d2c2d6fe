//! The certain part of a caption: what is left of it before the words that the picture does not support.
//!
//! Pure logic over a caption's tokens and their support. The rules are the model's own, see [`SupportSpec`].

use super::beam::TokenSequence;
use super::options::SearchOptions;
use crate::model::support::{SupportSpec, WordSupport};

/// Cuts a caption to its certain part, if the model asks for that. A caption that is cut has no stop token, and its mean
/// log-probability is that of the tokens that are kept. Any other comes back as it is.
pub(crate) fn certain_part(found: TokenSequence, options: &SearchOptions) -> TokenSequence {
    let (Some(rules), Some(support)) = (&options.support, &found.support) else { return found };
    let stopped = found.ids.last().is_some_and(|&id| options.stops(id));
    let words = found.ids.len() - usize::from(stopped);
    let kept = kept_tokens(&found.ids[..words], &support.tokens[..words], rules);
    if kept == words {
        return found;
    }
    let logprobs = found.logprobs[..kept].to_vec();
    TokenSequence {
        ids: found.ids[..kept].to_vec(),
        mean_logprob: logprobs.iter().sum::<f32>() / kept as f32,
        logprobs,
        support: Some(WordSupport { tokens: support.tokens[..kept].to_vec() }),
    }
}

/// How many of a caption's tokens are kept: at least one, and all of a caption that has nothing but open ones.
/// `ids` are without the stop token; `support` has a value for each.
fn kept_tokens(ids: &[i64], support: &[f32], rules: &SupportSpec) -> usize {
    let content = || (0..ids.len()).filter(|&n| support[n] < 0.0);
    let uncertain = |n: usize| rules.least.is_some_and(|least| support[n] < least);
    let repeated = |n: usize| !rules.repeats && ids[..n].contains(&ids[n]);
    let open = |n: usize| rules.open.contains(&ids[n]);
    let cut = content().find(|&n| uncertain(n) || repeated(n)).unwrap_or(ids.len());
    let kept = (0..cut).rev().find(|&n| !open(n)).map_or(0, |last| last + 1);
    let says_something = if content().next().is_some() { content().any(|n| n < kept) } else { kept > 0 };
    if says_something {
        return kept;
    }
    // No caption is empty. Its low support stays visible, and so its score is low.
    content().find(|&n| !open(n)).or_else(|| content().next()).map_or(ids.len(), |first| first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: &str = ".";
    /// Words of captions and their support; a word's place is its token. Those before `CLOSED` cannot end a caption.
    const WORDS: [(&str, f32); 20] = [
        ("a", 0.0),
        ("of", 0.0),
        ("and", 0.0),
        ("is", 0.0),
        ("in", 0.0),
        ("front", 0.0),
        ("on", 0.0),
        ("with", 0.0),
        ("white", -0.5),
        ("man", -0.1),
        ("it", 0.0),
        ("table", -0.2),
        ("candles", -0.4),
        ("close", -0.7),
        ("up", 0.0),
        ("car", -0.3),
        ("trampoline", -2.1),
        ("zebra", -1.7),
        ("jumping", -1.0),
        (STOP, 0.0),
    ];
    const CLOSED: i64 = 9;

    fn id(word: &str) -> i64 {
        WORDS.iter().position(|(w, _)| *w == word).unwrap_or_else(|| panic!("{word} is not in the list")) as i64
    }

    fn sequence(caption: &str) -> TokenSequence {
        let ids: Vec<i64> = caption.split_whitespace().map(id).collect();
        let tokens = ids.iter().map(|&id| WORDS[id as usize].1).collect();
        let logprobs: Vec<f32> = (1..=ids.len()).map(|n| -(n as f32)).collect();
        let mean_logprob = logprobs.iter().sum::<f32>() / ids.len() as f32;
        TokenSequence { ids, mean_logprob, logprobs, support: Some(WordSupport { tokens }) }
    }

    fn options(least: Option<f32>, open: Vec<i64>, repeats: bool) -> SearchOptions {
        let support = Some(SupportSpec { least, open, repeats, ..SupportSpec::new(0.3, 9) });
        SearchOptions { stop_tokens: vec![id(STOP)], support, ..SearchOptions::default() }
    }

    /// What is left of a caption by all rules.
    fn left(caption: &str) -> String {
        let found = certain_part(sequence(caption), &options(Some(-1.6), (0..CLOSED).collect(), false));
        assert_eq!(found.ids.len(), found.support.as_ref().unwrap().tokens.len());
        assert_eq!(found.ids.len(), found.logprobs.len());
        found.ids.iter().map(|&id| WORDS[id as usize].0).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn captions_end_before_a_word_without_support() {
        for (caption, want) in [
            ("a man is jumping on a trampoline .", "a man is jumping"),
            ("a white table in front of a zebra", "a white table"),
            ("a man with a trampoline on a table .", "a man"),
        ] {
            assert_eq!(left(caption), want);
        }
    }

    #[test]
    fn captions_do_not_end_on_open_tokens() {
        assert_eq!(left("a man is in front of a ."), "a man");
        assert_eq!(left("a table with candles and a white ."), "a table with candles");
        // Whether they stopped or ran out of tokens.
        assert_eq!(left("a man is in front of a"), "a man");
    }

    #[test]
    fn captions_end_before_they_repeat_a_word() {
        for (caption, want) in [
            ("a table with candles and candles on it .", "a table with candles"),
            ("a close up of a close up of a .", "a close up"),
            ("a car is in front of a car .", "a car"),
            ("candles on a table of candles .", "candles on a table"),
        ] {
            assert_eq!(left(caption), want);
        }
    }

    #[test]
    fn whole_captions_stay_as_they_are() {
        for caption in ["a white car in front of a table .", "a man on it .", "a man on it", "it is up .", "a . ", "."]
        {
            let found = sequence(caption);
            let rules = options(Some(-1.6), (0..CLOSED).collect(), false);
            assert_eq!(certain_part(found.clone(), &rules), found, "{caption}");
        }
    }

    #[test]
    fn no_caption_is_empty() {
        for (caption, want) in [
            ("a zebra is jumping on a table .", "a zebra"),
            // An open word alone would be no end either.
            ("a white zebra in front of a car .", "a white zebra"),
            ("a white .", "a white ."),
            ("white and white", "white"),
        ] {
            assert_eq!(left(caption), want);
        }
    }

    #[test]
    fn values_are_those_of_the_kept_tokens() {
        let rules = options(Some(-1.6), (0..CLOSED).collect(), false);
        let found = certain_part(sequence("a man is jumping on a trampoline ."), &rules);
        assert_eq!((found.mean_logprob, found.logprobs), (-2.5, vec![-1.0, -2.0, -3.0, -4.0]));
        assert_eq!(found.support, Some(WordSupport { tokens: vec![0.0, -0.1, 0.0, -1.0] }));
    }

    #[test]
    fn each_rule_works_alone_and_none_changes_nothing() {
        let caption = "a car and a car on a trampoline and a .";
        let length = |options: &SearchOptions| certain_part(sequence(caption), options).ids.len();
        assert_eq!(length(&options(Some(-1.6), Vec::new(), true)), 7);
        assert_eq!(length(&options(Some(-2.1), Vec::new(), true)), 11);
        assert_eq!(length(&options(None, vec![id("a"), id("and")], true)), 8);
        assert_eq!(length(&options(None, Vec::new(), false)), 4);
        assert_eq!(length(&options(None, Vec::new(), true)), 11);
        assert_eq!(length(&SearchOptions { support: None, ..options(Some(-1.6), vec![0], false) }), 11);
        let unknown = TokenSequence { support: None, ..sequence(caption) };
        assert_eq!(certain_part(unknown.clone(), &options(Some(-1.6), vec![0], false)), unknown);
    }
}
