//! Moments as one HTML page with embedded pictures. Each links to its video at that second; there are no scripts.
//!
//! All text is escaped, and the page's content security policy allows only its own style and the embedded pictures. The
//! same moments give the same bytes.

use std::fmt::Write;

use super::moments::Moment;
use crate::look::page_start;
use crate::markup::{escape, jpeg_url};
use crate::time::Time;

const STYLE: &str = include_str!("page.css");

/// A moment as a page shows it.
pub struct PageEntry<'a> {
    /// What was found.
    pub moment: &'a Moment,
    /// The thumbnail as JPEG; none where there is none.
    pub picture: Option<Vec<u8>>,
    /// Address of the video at that second; none where a browser cannot open it.
    pub link: Option<String>,
}

/// Writes moments as a page. `query` is the heading; `about` is a sentence on how and where the search was done.
pub fn html_page(query: &str, about: &str, entries: &[PageEntry<'_>]) -> String {
    let title = if query.is_empty() { "descry search".into() } else { format!("{query} – descry search") };
    let mut out = page_start(&title, STYLE);
    out += &format!("<main>\n<h1>{}</h1>\n<p>{}</p>\n", escape(query), escape(about));
    if !entries.is_empty() {
        out += "<ol class=\"scenes columns\" role=\"list\">\n";
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
        Some(jpeg) => format!("<img class=\"thumb\" src=\"{}\" alt=\"{alt}\">", jpeg_url(jpeg)),
        None => "<span class=\"thumb\">no picture</span>".into(),
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
    if !m.shown.is_empty() {
        let lines: Vec<String> = m.shown.iter().map(|line| format!("“{}”", line.text)).collect();
        let _ = writeln!(out, "<p>On the screen: {}</p>", escape(&lines.join(" ")));
    }
    let mut facts = vec![format!("{} to {}", Time::from_secs(m.start).clock(), Time::from_secs(m.end).clock())];
    facts.extend(m.similarity.map(|s| format!("similarity {s:.3}")));
    facts.extend(m.words.map(|w| format!("words {w:.2}")));
    facts.extend(m.text.map(|t| format!("text {t:.2}")));
    facts.extend(m.caption_score.filter(|_| m.caption.is_some()).map(|s| format!("caption score {s:.2}")));
    let _ = writeln!(out, "<p class=\"soft\">{}<br>{}</p></li>", escape(&facts.join(" · ")), escape(&m.video));
}
