//! Messages of the TOML reader, which must not quote a file that holds passwords.

/// A message of the TOML reader without what it quotes of the file. Names of settings stay: those that are expected, and one
/// that is missing or given twice.
pub(super) fn unquoted(message: &str) -> String {
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
