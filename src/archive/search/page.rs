//! What was found, as one HTML page: pictures inside of it, links that open each video at that second, no script.
//!
//! All text is escaped, and the page's own policy allows nothing but its style and the pictures inside of it. The same
//! moments give the same bytes.

use std::fmt::Write;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::Moment;
use crate::address::is_url;
use crate::time::Time;

const STYLE: &str = include_str!("page.css");

/// A moment as the page shows it.
pub struct Shown<'a> {
    pub moment: &'a Moment,
    /// Its keyframe, as JPEG.
    pub picture: Option<Vec<u8>>,
    /// Address of the video at that second; none where a browser cannot open it.
    pub link: Option<String>,
}

/// The page. `asked` is what was looked for, `about` a sentence on how and where.
pub fn page(asked: &str, about: &str, moments: &[Shown]) -> String {
    let style = BASE64.encode(Sha256::digest(STYLE));
    let title = if asked.is_empty() { "descry search".into() } else { format!("{asked} – descry search") };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n<p>{}</p>\n",
        escape(&title),
        escape(asked),
        escape(about)
    );
    if !moments.is_empty() {
        out += "<ol>\n";
        moments.iter().for_each(|m| item(m, &mut out));
        out += "</ol>\n";
    }
    out += "</main>\n</body>\n</html>\n";
    out
}

fn item(shown: &Shown, out: &mut String) {
    let m = shown.moment;
    let time = Time::from_millis(m.keyframe_ms).clock();
    let name = m.video.rsplit(['/', '\\']).find(|p| !p.is_empty()).unwrap_or(&m.video);
    // The caption beside it says what a picture shows.
    let alt = if m.caption.is_some() { "" } else { "keyframe without a caption" };
    let picture = match &shown.picture {
        Some(jpeg) => format!("<img src=\"data:image/jpeg;base64,{}\" alt=\"{alt}\">", BASE64.encode(jpeg)),
        None => "<span class=\"none\">no picture</span>".into(),
    };
    let what = format!("{picture}<h2>{}. {}, {time}</h2>", m.rank, escape(name));
    // Writing to a string does not fail.
    let _ = match &shown.link {
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

/// Text as HTML, in an element or between quotes. Characters that HTML cannot hold are replaced.
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

/// The address of a video at a moment, as seen from a page in a folder (absolute): a relative one for a file, the web's own
/// for what is there, none for what a browser has no scheme for.
pub fn link(video: &str, at_ms: i64, folder: &Path) -> Option<String> {
    let at = format!("#t={}.{:03}", at_ms.max(0) / 1_000, at_ms.max(0) % 1_000);
    if is_url(video) {
        let web = video.starts_with("http://") || video.starts_with("https://");
        return web.then(|| format!("{}{at}", video.split('#').next().unwrap_or(video)));
    }
    let video = Path::new(video);
    if !video.is_absolute() {
        return None;
    }
    let (to, from): (Vec<Component>, Vec<Component>) = (video.components().collect(), folder.components().collect());
    let same = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<String> = from[same..].iter().map(|_| "..".to_string()).collect();
    // A name with a colon in front would be taken for a scheme.
    if parts.is_empty() {
        parts.push(".".into());
    }
    parts.extend(to[same..].iter().map(|c| percent(&c.as_os_str().to_string_lossy())));
    Some(parts.join("/") + &at)
}

/// One part of a path as part of an address.
fn percent(part: &str) -> String {
    let mut out = String::new();
    for b in part.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_page_to_the_moment() {
        let from = Path::new("/home/me/pages");
        let to = |video: &str| link(video, 12_345, from);
        assert_eq!(to("/home/me/films/a b#?%.mp4").as_deref(), Some("../films/a%20b%23%3F%25.mp4#t=12.345"));
        assert_eq!(to("/home/me/pages/javascript:x.mp4").as_deref(), Some("./javascript%3Ax.mp4#t=12.345"));
        assert_eq!(to("https://h/a.mp4?x=1").as_deref(), Some("https://h/a.mp4?x=1#t=12.345"));
        assert_eq!(to("s3://bucket/a.mp4"), None);
        assert_eq!(to("a.mp4"), None);
        assert_eq!(link("/a.mp4", -5, Path::new("/")).as_deref(), Some("./a.mp4#t=0.000"));
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<b>&\"'\n\0\u{ffff}ü"), "&lt;b&gt;&amp;&quot;&#39; \u{fffd}\u{fffd}ü");
    }
}
