//! Where a sentence ends.

/// Words that a full stop follows without ending a sentence, in lower case.
const ABBREVIATIONS: [&str; 37] = [
    "st", "mr", "mrs", "ms", "dr", "prof", "sr", "jr", "vs", "mt", "ft", "ave", "rd", "blvd", "approx", "inc", "ltd",
    "co", "corp", "fig", "lt", "sgt", "gen", "capt", "col", "rev", "hon", "gov", "sen", "rep", "e.g", "i.e", "cf",
    "ca", "c", "op", "no",
];

/// The first sentence, with its last mark.
pub(super) fn first_sentence(text: &str) -> &str {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if matches!(c, '。' | '！' | '？') {
            return &text[..at + c.len_utf8()];
        }
        if !matches!(c, '.' | '!' | '?' | '…') {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some(&(next, c)) = chars.peek()
            && matches!(c, '.' | '!' | '?' | '…' | '"' | '\'' | '”' | '’' | '»' | ')' | ']')
        {
            end = next + c.len_utf8();
            chars.next();
        }
        if begins(&text[end..]) && !(c == '.' && end == at + 1 && is_abbreviated(&text[..at], &text[end..])) {
            return &text[..end];
        }
    }
    text
}

/// Whether another sentence begins here, or nothing does.
fn begins(rest: &str) -> bool {
    let Some(first) = rest.chars().next() else { return true };
    let next = rest.trim_start().chars().next();
    first.is_whitespace() && next.is_none_or(|c| !c.is_lowercase() && !matches!(c, ',' | ';' | '-' | '–' | '—'))
}

/// Whether the full stop after `before` belongs to its last word.
fn is_abbreviated(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || "(\"'“-/".contains(c)).next().unwrap_or_default();
    let lower = word.to_lowercase();
    let next = after.trim_start().chars().next();
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    match lower.as_str() {
        // "No. 5" is a number, and "no." an answer.
        "no" => next.is_some_and(|c| c.is_ascii_digit()),
        "a.m" | "p.m" => false,
        // An initial: "J. Smith", "U.S. Army".
        _ if word.chars().next().is_some_and(char::is_uppercase) && letters == word.split('.').count() => {
            next.is_some()
        }
        lower => next.is_some() && ABBREVIATIONS.contains(&lower),
    }
}
