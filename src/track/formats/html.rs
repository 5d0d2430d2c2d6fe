//! A descriptive transcript as one HTML page: each described scene with its picture, its time and its whole text.
//!
//! For readers, so a text is not shortened to what fits its time, as that of a cue is. There are no scripts: the times are
//! links to the film at that second. All text is escaped, and the policy of the page lets nothing in from elsewhere.
//!
//! Memory: one picture, and the texts.

use std::io::{self, Write};
use std::path::Path;

use super::{Track, file_name, incomplete, one_line};
use crate::markup::{escape, film_link, jpeg_url, page_start};
use crate::time::Time;
use crate::track::cue::sentence;

const STYLE: &str = include_str!("html.css");

/// A longer film is divided into sections of this length, so that readers can go from heading to heading: 10 minutes.
const SECTION: Time = Time::from_millis(600_000);

/// A scene with a description; several that follow each other with the same one.
struct TranscriptEntry {
    start: Time,
    end: Time,
    /// Position of the first scene.
    scene: usize,
    text: String,
}

/// Writes the page. Links are relative to `folder`.
pub(super) fn write(track: &Track, folder: &Path, to: &mut dyn Write) -> io::Result<()> {
    let entries = entries(track);
    let film = one_line(file_name(&track.input));
    write!(to, "{}", page_start(&format!("{film}: descriptive transcript"), STYLE))?;
    writeln!(to, "<header>\n<h1>Descriptive transcript of {}</h1>", escape(&film))?;
    let link = |at: Time| track.location.as_ref().and_then(|location| film_link(location, at.millis(), folder));
    let what = if entries.is_empty() { "The film has no descriptions." } else { "What is seen in the film." };
    let links = if entries.is_empty() || link(Time::ZERO).is_none() {
        ""
    } else {
        " Each time is a link that plays the film from there."
    };
    writeln!(to, "<p>{what}{links}</p>")?;
    about(track, to)?;
    writeln!(to, "</header>")?;
    let divided = entries.last().is_some_and(|last| last.start >= SECTION);
    if divided {
        contents(&entries, to)?;
    }
    writeln!(to, "<main>")?;
    for (number, section) in sections(&entries, divided) {
        if divided {
            writeln!(to, "<section aria-labelledby=\"s{number}\">\n<h2 id=\"s{number}\">{}</h2>", heading(number))?;
        }
        writeln!(to, "<ol>")?;
        section.iter().try_for_each(|entry| write_entry(track, entry, link(entry.start), to))?;
        writeln!(to, "</ol>{}", if divided { "\n</section>" } else { "" })?;
    }
    writeln!(to, "</main>\n</body>\n</html>")
}

/// The scenes whose description is shown.
fn entries(track: &Track) -> Vec<TranscriptEntry> {
    let mut entries: Vec<TranscriptEntry> = Vec::new();
    for (n, scene) in track.scenes.iter().enumerate() {
        let Some(text) = scene.text.as_ref().filter(|_| scene.shown).map(|text| sentence(text)) else { continue };
        match entries.last_mut() {
            Some(last) if last.end >= scene.start && last.text == text => last.end = scene.end,
            _ if text.is_empty() => {}
            _ => entries.push(TranscriptEntry { start: scene.start, end: scene.end, scene: n, text }),
        }
    }
    entries
}

/// What made the transcript, and what is missing in it.
fn about(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let mut facts = vec![format!("Made by descry {} with the model {}.", env!("CARGO_PKG_VERSION"), track.model)];
    facts.extend(incomplete(track).iter().map(|line| sentence(line)));
    if let Some(scene) = track.pictures.as_ref().and_then(|pictures| track.scenes.get(pictures.full()?)) {
        let from = scene.start.clock();
        facts.push(format!("There are no pictures from {from} on, because a page with more would be too large."));
    }
    writeln!(to, "<p class=\"about\">{}</p>", escape(&one_line(&facts.join(" "))))
}

/// The number of the section that a time is in.
fn section_of(time: Time) -> i64 {
    time.micros().max(0) / SECTION.micros()
}

/// The entries by section; all in one if the film is not divided.
fn sections(entries: &[TranscriptEntry], divided: bool) -> impl Iterator<Item = (i64, &[TranscriptEntry])> {
    let together =
        move |a: &TranscriptEntry, b: &TranscriptEntry| !divided || section_of(a.start) == section_of(b.start);
    entries.chunk_by(together).map(|entries| (section_of(entries[0].start), entries))
}

fn heading(section: i64) -> String {
    let at = |number: i64| Time::from_micros(number.saturating_mul(SECTION.micros())).clock();
    format!("{} to {}", at(section), at(section + 1))
}

/// Links to the sections.
fn contents(entries: &[TranscriptEntry], to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<nav aria-label=\"Sections\">\n<ul>")?;
    for (number, _) in sections(entries, true) {
        writeln!(to, "<li><a href=\"#s{number}\">{}</a></li>", heading(number))?;
    }
    writeln!(to, "</ul>\n</nav>")
}

fn write_entry(track: &Track, entry: &TranscriptEntry, link: Option<String>, to: &mut dyn Write) -> io::Result<()> {
    let picture = track.pictures.as_ref().map_or(Ok(None), |pictures| pictures.read(entry.scene))?;
    let (open, close) = match link {
        Some(link) => (format!("<a class=\"at\" href=\"{}\">", escape(&link)), "</a>"),
        None => ("<div class=\"at\">".into(), "</div>"),
    };
    // The description is the alternative of the picture.
    let picture = picture.map_or(String::new(), |jpeg| format!("<img src=\"{}\" alt=\"\">", jpeg_url(&jpeg)));
    writeln!(to, "<li>{open}{picture}{}{close}", time(entry.start))?;
    writeln!(to, "<p{}>{}</p></li>", language(&track.language), escape(&entry.text))
}

/// A time of the film, for people and for programs.
fn time(at: Time) -> String {
    let millis = at.millis().max(0);
    format!("<time datetime=\"PT{}.{:03}S\">{}</time>", millis / 1_000, millis % 1_000, at.clock())
}

/// The attribute of a text that is not in the language of the page.
fn language(tag: &str) -> String {
    match tag {
        "en" => String::new(),
        "und" => " lang=\"\"".into(),
        tag => format!(" lang=\"{}\"", escape(tag)),
    }
}
