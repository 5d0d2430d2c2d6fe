//! Moments as one HTML page with embedded pictures. Each links to its video at that second; there are no scripts.
//!
//! All text is escaped, and the page's content security policy allows only its own style and the embedded pictures. The
//! same moments give the same bytes.

use std::fmt::Write;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::moments::Moment;
use crate::address::is_url;
use crate::time::Time;

const STYLE: &str = include_str!("page.css");

/// What a part of a path may hold unescaped in an address: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A moment as a page shows it.
pub struct PageEntry<'a> {
    /// What was found.
    pub moment: &'a Moment,
    /// The thumbnail as JPEG; none where there is none.
    pub picture: Option<Vec<u8>>,
    /// Address of the video at that second; none where a browser cannot open it. See [`moment_link`].
    pub link: Option<String>,
}

/// Writes moments as a page. `query` is the heading; `about` is a sentence on how and where the search was done.
pub fn html_page(query: &str, about: &str, entries: &[PageEntry<'_>]) -> String {
    let style = BASE64.encode(Sha256::digest(STYLE));
    let title = if query.is_empty() { "descry search".into() } else { format!("{query} – descry search") };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n<p>{}</p>\n",
        escape(&title),
        escape(query),
        escape(about)
    );
    if !entries.is_empty() {
        out += "<ol>\n";
        entries.iter().for_each(|entry| write_entry(entry, &mut out));
        out += "</ol>\n";
    }
    out += "</main>\n</body>\n</html>\n";
    out
}

fn write_entry(entry: &PageEntry<'_>, out: &mut String) {
    let m = entry.moment;
    let time = Time::from_millis(m.keyframe_ms).clock();
    let name = m.video.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(&m.video);
    // Where there is a caption, it describes the picture already.
    let alt = if m.caption.is_some() { "" } else { "keyframe without a caption" };
    let picture = match &entry.picture {
        Some(jpeg) => format!("<img src=\"data:image/jpeg;base64,{}\" alt=\"{alt}\">", BASE64.encode(jpeg)),
        None => "<span class=\"none\">no picture</span>".into(),
    };
    let what = format!("{picture}<h2>{}. {}, {time}</h2>", m.rank, escape(name));
    // Writing to a string cannot fail.
    let _ = match &entry.link {
        Some(link) => writeln!(out, "<li><a href=\"{}\">{what}</a>", escape(link)),
        None => writeln!(out, "<li>{what}"),
    };
    if let Some(caption) = &m.caption {
        let _ = writeln!(out, "<p>{}</p>", escape(caption));
    }
    let mut facts = vec![format!("{} to {}", Time::from_secs(m.start).clock(), Time::from_secs(m.end).clock())];
    facts.extend(m.similarity.map(|s| format!("similarity {s:.3}")));
    facts.extend(m.words.map(|w| format!("words {w:.2}")));
    facts.extend(m.caption_score.filter(|_| m.caption.is_some()).map(|s| format!("caption score {s:.2}")));
    let _ = writeln!(out, "<p class=\"facts\">{}<br>{}</p></li>", escape(&facts.join(" · ")), escape(&m.video));
}

/// Escapes text for an element or a quoted attribute. Replaces characters that HTML cannot hold.
fn escape(text: &str) -> String {
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

/// The address of a video at a time in milliseconds, for a page in this absolute folder: a relative one for a file, the
/// full one for a web address, none where a browser cannot open it.
pub fn moment_link(video: &str, at_ms: i64, folder: &Path) -> Option<String> {
    let at = format!("#t={}.{:03}", at_ms.max(0) / 1_000, at_ms.max(0) % 1_000);
    if is_url(video) {
        let web = video.starts_with("http://") || video.starts_with("https://");
        return web.then(|| format!("{}{at}", video.split('#').next().unwrap_or(video)));
    }
    let video = Path::new(video);
    if !video.is_absolute() {
        return None;
    }
    let (to, from): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (video.components().collect(), folder.components().collect());
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
        let to = |video: &str| moment_link(video, 12_345, from);
        assert_eq!(to("/home/me/films/a b#?%.mp4").as_deref(), Some("../films/a%20b%23%3F%25.mp4#t=12.345"));
        assert_eq!(to("/home/me/pages/javascript:x.mp4").as_deref(), Some("./javascript%3Ax.mp4#t=12.345"));
        assert_eq!(to("https://h/a.mp4?x=1").as_deref(), Some("https://h/a.mp4?x=1#t=12.345"));
        assert_eq!(to("s3://bucket/a.mp4"), None);
        assert_eq!(to("a.mp4"), None);
        assert_eq!(moment_link("/a.mp4", -5, Path::new("/")).as_deref(), Some("./a.mp4#t=0.000"));
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<b>&\"'\n\0\u{ffff}ü"), "&lt;b&gt;&amp;&quot;&#39; \u{fffd}\u{fffd}ü");
    }
}
