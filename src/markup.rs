//! Markup: text escaped for HTML and XML, and addresses in pages.
//!
//! The same texts and pictures give the same bytes.

use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::address::is_url;

/// What a part of a path may hold unescaped in an address: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes text for an element or a quoted attribute of HTML or XML. Replaces characters that they cannot hold.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || (c as u32 & 0xFFFE) == 0xFFFE || ('\u{fdd0}'..='\u{fdef}').contains(&c) => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// A JPEG as an address that holds it.
pub(crate) fn jpeg_url(jpeg: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", BASE64.encode(jpeg))
}

/// The address of a film at a time in milliseconds, for a page in this absolute folder: a relative one for an absolute path,
/// the full one for a web address, none where a browser cannot open it.
pub(crate) fn film_link(film: &str, at_ms: i64, folder: &Path) -> Option<String> {
    let at = format!("#t={}.{:03}", at_ms.max(0) / 1_000, at_ms.max(0) % 1_000);
    if is_url(film) {
        let web = film.starts_with("http://") || film.starts_with("https://");
        return web.then(|| format!("{}{at}", film.split('#').next().unwrap_or(film)));
    }
    let film = Path::new(film);
    if !film.is_absolute() {
        return None;
    }
    let (to, from): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (film.components().collect(), folder.components().collect());
    let same = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<String> = from[same..].iter().map(|_| "..".to_string()).collect();
    // A browser would take the start of `a:b.mp4` for a scheme.
    if parts.is_empty() {
        parts.push(".".into());
    }
    parts.extend(to[same..].iter().map(|c| percent_encode(&c.as_os_str().to_string_lossy())));
    Some(parts.join("/") + &at)
}

/// A part of a path as a part of an address.
fn percent_encode(part: &str) -> String {
    utf8_percent_encode(part, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_moment() {
        let from = Path::new("/home/me/pages");
        let to = |film: &str| film_link(film, 12_345, from);
        assert_eq!(to("/home/me/films/a b#?%.mp4").as_deref(), Some("../films/a%20b%23%3F%25.mp4#t=12.345"));
        assert_eq!(to("/home/me/pages/javascript:x.mp4").as_deref(), Some("./javascript%3Ax.mp4#t=12.345"));
        assert_eq!(to("https://h/a.mp4?x=1").as_deref(), Some("https://h/a.mp4?x=1#t=12.345"));
        assert_eq!(to("s3://bucket/a.mp4"), None);
        assert_eq!(to("a.mp4"), None);
        assert_eq!(film_link("/a.mp4", -5, Path::new("/")).as_deref(), Some("./a.mp4#t=0.000"));
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<b>&\"'\n\0\u{ffff}ü"), "&lt;b&gt;&amp;&quot;&#39; \u{fffd}\u{fffd}ü");
    }
}
