//! Text from elsewhere, made fit to be printed.
//!
//! Names of files and streams, what servers and FFmpeg say, captions and archives come from other people. A terminal would
//! act on the escape sequences in them, and show what follows a bidirectional override in another order. So everything that
//! is printed for people goes through here. Files are not: each format escapes what its readers would interpret.

use std::borrow::Cow;

/// Whether a terminal or an editor might do something with a character instead of showing it: control characters of both
/// sets (U+009B begins an escape sequence as ESC does), what changes the direction of text, other line breaks, and
/// characters that cannot be seen. Not the joiners, which emoji and several scripts need.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a text is one line that can be printed as it is.
#[cfg(any(feature = "cli", test))]
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(acts)
}

fn escaped<'a>(text: &'a str, is_plain: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'a, str> {
    if text.chars().all(|c| is_plain(c) || !acts(c)) {
        return text.into();
    }
    text.chars().map(|c| if is_plain(c) || !acts(c) { c.to_string() } else { escape(c) }).collect()
}

/// The text without them: for what was read in a picture, in which they cannot be.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|&c| !acts(c)).collect()
}

/// A name, a cell, or anything else that is one line: `\n` and `\u{1b}` instead of the characters.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, |c| c.escape_default().to_string())
}

/// Several lines, and columns that tabs separate: line feeds and tabs stay.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// A message. Its further lines are indented, so that no text in it looks like a message of its own.
pub(crate) fn printable_message(text: &str) -> Cow<'_, str> {
    let text = escaped(text, |c| c == '\n', |c| c.escape_default().to_string());
    let mut further = text.trim_end_matches('\n').split('\n').skip(1);
    if further.all(|line| line.starts_with("  ")) {
        return text;
    }
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_string();
    for line in lines {
        out.push('\n');
        if !line.is_empty() && !line.starts_with("  ") {
            out.push_str("  ");
        }
        out.push_str(line);
    }
    out.into()
}

/// JSON that is printed: the same value, with every such character as `\u001b`. Line feeds between the tokens stay.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    let unit = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect();
    escaped(json, |c| c == '\n', unit)
}

/// A message of the TOML reader without what it quotes of the file. Names of settings stay: those that are expected, and one
/// that is missing or given twice.
pub(crate) fn unquoted(message: &str) -> String {
    let message = message.replace(['\n', '\r'], " ");
    if message.starts_with("missing field `") || message.starts_with("duplicate field `") {
        return message;
    }
    // What is expected comes last, in words of descry's own.
    let (found, expected) = message.split_at(message.rfind(", expected ").unwrap_or(message.len()));
    let (mut out, mut inside) = (String::new(), None);
    let mut chars = found.chars();
    while let Some(c) = chars.next() {
        match inside {
            Some('"') if c == '\\' => drop(chars.next()),
            // A name may hold the sign that it is quoted with: it ends with the last one.
            Some(quote) if c == quote && !(quote == '`' && chars.as_str().contains('`')) => inside = None,
            Some(_) => {}
            None if c == '"' || c == '`' => {
                out.push('…');
                inside = Some(c);
            }
            None => out.push(c),
        }
    }
    out + expected
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[31m\u{9b}2J\u{7}\r\u{8}\u{7f}\u{202e}gpj\u{2066}\u{2028}\u{feff}\u{e0041}\u{0}";

    #[test]
    fn nothing_that_acts_is_left() {
        for safe in [printable(HOSTILE), printable_lines(HOSTILE), printable_message(HOSTILE), printable_json(HOSTILE)]
        {
            assert!(is_printable(&safe), "{safe:?}");
        }
        assert_eq!(printable("a\u{1b}[0m\nb\tc"), "a\\u{1b}[0m\\nb\\tc");
        assert_eq!(printable_lines("a\u{9b}\n\tb"), "a\\u{9b}\n\tb");
        // What people write is left alone.
        for plain in ["héllo wörld", "नमस्ते", "שלום", "👩\u{200d}🚒", "C:\\x"] {
            assert_eq!(printable(plain), plain);
        }
    }

    #[test]
    fn a_text_cannot_look_like_another_message() {
        assert_eq!(printable_message("a: b\n  c\n"), "a: b\n  c\n");
        assert_eq!(printable_message("a\nerror: b\n\nc\n"), "a\n  error: b\n\n  c\n");
        assert_eq!(printable_message("a\tb"), "a\\tb");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "text": HOSTILE, "list": [1, "👩"] });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let safe = printable_json(&json);
            assert!(!safe.replace('\n', "").chars().any(acts), "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }

    #[test]
    fn what_is_found_is_left_out_and_what_is_expected_stays() {
        for (message, shown) in [
            ("unknown field `pass`, expected `url` or `name`", "unknown field …, expected `url` or `name`"),
            ("unknown field `a`b, expected `c`, expected one of `d`", "unknown field …, expected one of `d`"),
            ("invalid type: string \"a\\\"b\", expected f64", "invalid type: string …, expected f64"),
            ("invalid type: integer `123`, expected a string", "invalid type: integer …, expected a string"),
            ("unknown variant `a\nb`, expected `tcp` or `udp`", "unknown variant …, expected `tcp` or `udp`"),
            ("missing field `url`", "missing field `url`"),
            ("string \"never closed", "string …"),
        ] {
            assert_eq!(unquoted(message), shown);
        }
    }
}
