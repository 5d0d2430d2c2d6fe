//! What a chat model writes, to one sentence that describes a picture. Pure.
//!
//! Models wrap a description in thoughts, Markdown, greetings and phrases such as "The image shows". What is left is the
//! first sentence of the description, without its full stop. A refusal leaves nothing.

mod lead;
mod markdown;
mod stop;

use lead::{is_refusal, without_lead};
use markdown::{blocks, without_marks};
use stop::first_sentence;

/// Most characters of a caption: five times what fits into a cue.
const LONGEST: usize = 500;
/// Marks of models' own prompt formats, which some servers leave in.
const TOKENS: [&str; 6] = ["</s>", "<s>", "<end_of_utterance>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>"];

/// The first sentence of the description in `answer`; empty if there is none.
pub(crate) fn sentence_of(answer: &str) -> String {
    let mut text = without_thoughts(answer).replace(['’', '‘'], "'");
    for token in TOKENS {
        text = text.replace(token, " ");
    }
    for block in blocks(&text) {
        let plain = without_quotes(&without_marks(&block));
        if is_refusal(&plain) {
            return String::new();
        }
        let mut rest = plain;
        // What follows a phrase may be in quotes again, and begin with another phrase.
        while !rest.is_empty() {
            let next = without_quotes(&without_lead(&rest));
            if next == rest {
                break;
            }
            rest = next;
        }
        if is_refusal(&rest) {
            return String::new();
        }
        let sentence = first_sentence(&rest).trim_end_matches(['.', ',', ':', ';', ' ']);
        if sentence.chars().any(char::is_alphanumeric) {
            return shortened(sentence);
        }
    }
    String::new()
}

/// The text without what a model thinks before it answers. A thought that does not end leaves nothing.
fn without_thoughts(text: &str) -> String {
    let mut rest = text.to_string();
    for name in ["think", "thinking", "reasoning"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        // Some servers send the end of a thought without its beginning.
        if let Some(end) = find_ignoring_case(&rest, &close)
            && find_ignoring_case(&rest[..end], &open).is_none()
        {
            rest.drain(..end + close.len());
        }
        while let Some(start) = find_ignoring_case(&rest, &open) {
            match find_ignoring_case(&rest[start..], &close) {
                Some(end) => rest.replace_range(start..start + end + close.len(), " "),
                None => rest.truncate(start),
            }
        }
    }
    rest
}

/// Where an ASCII text occurs.
fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes().windows(wanted.len()).position(|part| part.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The text without the quotes around it, or only what is in quotes if that is a sentence of its own.
fn without_quotes(text: &str) -> String {
    const PAIRS: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('«', '»'), ('`', '`')];
    let mut text = text.trim();
    while let Some(inside) = text.strip_prefix("\"\"").and_then(|rest| rest.strip_suffix("\"\"")) {
        text = inside.trim();
    }
    while let Some(first) = text.chars().next()
        && let Some((_, close)) = PAIRS.iter().find(|(open, _)| *open == first)
    {
        let inside = &text[first.len_utf8()..];
        let end = match *close {
            // An apostrophe inside a word ends nothing.
            '\'' => inside.strip_suffix(['.', ',']).unwrap_or(inside).strip_suffix('\'').map(str::len),
            close => inside.find(close),
        };
        let Some(end) = end else { return inside.trim().to_string() };
        let (quoted, after) = (&inside[..end], inside[end + close.len_utf8()..].trim());
        let ends = after.trim_matches(['.', ',', '!']).is_empty() || quoted.trim_end().ends_with(['.', '!', '?']);
        if !ends || quoted.split_whitespace().count() < 2 && !after.is_empty() {
            break;
        }
        text = quoted.trim();
    }
    text.to_string()
}

/// At most [`LONGEST`] characters, up to the end of a word.
fn shortened(sentence: &str) -> String {
    match sentence.char_indices().nth(LONGEST) {
        None => sentence.to_string(),
        Some((end, _)) => {
            let cut = &sentence[..end];
            cut.rfind(' ').map_or(cut, |space| &cut[..space]).trim_end().to_string()
        }
    }
}

#[cfg(test)]
mod tests;
