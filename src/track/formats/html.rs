//! A descriptive transcript as one HTML page: each described scene with its picture, its time and its whole text, and the
//! dialogue and the text on the screen between them where they are known. The same page is a storyboard, with the pictures in
//! columns: readers choose, and a film that was not described begins as one, with all its scenes.
//!
//! For readers, so a text is not shortened to what fits its time, as that of a cue is. There are no scripts: the times are
//! links to the film at that second. All text is escaped, and the policy of the page lets nothing in from elsewhere.
//!
//! Memory: one picture, and the texts.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use super::shown::MOST_LINES;
use super::{Track, file_name, incomplete, one_line};
use crate::look::page_start;
use crate::markup::{escape, film_link, jpeg_url};
use crate::media::DialogueLine;
use crate::media::language::web_language;
use crate::ocr::{ScreenText, TextKind};
use crate::time::Time;
use crate::track::SceneRecord;
use crate::track::cue::sentence;

const STYLE: &str = include_str!("html.css");

/// A longer film is divided into sections of this length, so that readers can go from heading to heading: 10 minutes.
const SECTION: Time = Time::from_millis(600_000);

/// What appears so shortly before a scene, and stays, belongs to it.
const LATE: Time = Time::from_millis(400);

/// A scene with a description; several that follow each other with the same one; or dialogue and text on the screen alone.
struct TranscriptEntry {
    start: Time,
    end: Time,
    /// Position of the first scene, and its description; none of dialogue and text alone.
    scene: Option<(usize, String)>,
    /// The lines of dialogue that begin before the next entry.
    dialogue: Range<usize>,
    /// The lines of text that appear before the next entry.
    shown: Range<usize>,
}

/// Which scenes a page has, and how it shows them at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageView {
    /// Those with a description, below one another.
    Transcript,
    /// All, in columns.
    Storyboard,
}

/// Writes the page. Links are relative to `folder`.
pub(super) fn write(track: &Track, view: PageView, folder: &Path, to: &mut dyn Write) -> io::Result<()> {
    let dialogue = dialogue(track);
    let shown = shown(track);
    let scenes = if view == PageView::Storyboard { all(track) } else { described(track) };
    let entries = with_lines(scenes, dialogue, &shown);
    let film = one_line(file_name(&track.input));
    let (name, none) = match view {
        PageView::Transcript => ("Descriptive transcript", "The film has no descriptions."),
        PageView::Storyboard => ("Storyboard", "The film has no scenes."),
    };
    write!(to, "{}", page_start(&format!("{film}: {}", name.to_lowercase()), STYLE))?;
    writeln!(to, "<header>\n<h1>{name} of {}</h1>", escape(&film))?;
    let what = match (entries.is_empty(), dialogue.is_empty(), shown.is_empty()) {
        (true, _, _) => none,
        (false, true, true) => "What is seen in the film.",
        (false, false, true) => "What is seen in the film and, in quotation marks, what is said.",
        (false, true, false) => "What is seen in the film and, in quotation marks, what is written.",
        (false, false, false) => "What is seen in the film and, in quotation marks, what is said and written.",
    };
    let page = TranscriptPage { track, folder, dialogue, shown };
    let links = if entries.is_empty() || page.link(Time::ZERO).is_none() {
        ""
    } else {
        " Each time is a link that plays the film from there."
    };
    writeln!(to, "<p>{what}{links}</p>")?;
    about(track, to)?;
    if !entries.is_empty() {
        views(view, to)?;
    }
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
        // Without the role, Safari does not present a list without markers as a list.
        writeln!(to, "<ol class=\"scenes\" role=\"list\">")?;
        section.iter().try_for_each(|entry| page.write_entry(entry, to))?;
        writeln!(to, "</ol>{}", if divided { "\n</section>" } else { "" })?;
    }
    writeln!(to, "</main>\n</body>\n</html>")
}

/// The lines of dialogue, in order of their start; none where they are not known.
fn dialogue(track: &Track) -> &[DialogueLine] {
    track.speech.as_ref().and_then(|speech| speech.dialogue.as_deref()).unwrap_or_default()
}

/// The scenes whose description is shown.
fn described(track: &Track) -> Vec<TranscriptEntry> {
    let mut entries: Vec<TranscriptEntry> = Vec::new();
    for (n, scene) in track.scenes.iter().enumerate() {
        let Some(text) = scene.text.as_ref().filter(|_| scene.shown).map(|text| sentence(text)) else { continue };
        let same = |last: &TranscriptEntry| last.scene.as_ref().is_some_and(|(_, own)| *own == text);
        match entries.last_mut() {
            Some(last) if last.end >= scene.start && same(last) => last.end = scene.end,
            _ if text.is_empty() => {}
            _ => entries.push(TranscriptEntry {
                start: scene.start,
                end: scene.end,
                scene: Some((n, text)),
                dialogue: 0..0,
                shown: 0..0,
            }),
        }
    }
    entries
}

/// All scenes that show something, with their descriptions where there are any.
fn all(track: &Track) -> Vec<TranscriptEntry> {
    let scenes = track.scenes.iter().enumerate().filter(|(_, scene)| !scene.blank);
    let entry = |(n, scene): (usize, &SceneRecord)| {
        let text = scene.text.as_ref().filter(|_| scene.shown).map_or(String::new(), |text| sentence(text));
        TranscriptEntry { start: scene.start, end: scene.end, scene: Some((n, text)), dialogue: 0..0, shown: 0..0 }
    };
    scenes.map(entry).collect()
}

/// The lines of text, in order of their start. Clocks are left out: only what they show first is known.
fn shown(track: &Track) -> Vec<&ScreenText> {
    track.text.iter().flatten().filter(|line| line.kind != TextKind::Counter).collect()
}

/// The scenes with the dialogue and the text that begin before the next one. What begins before the first, or in a section
/// without a description before it, is an entry of its own.
fn with_lines(
    described: Vec<TranscriptEntry>,
    dialogue: &[DialogueLine],
    shown: &[&ScreenText],
) -> Vec<TranscriptEntry> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Next {
        Scene,
        Dialogue,
        Shown,
    }
    let mut entries: Vec<TranscriptEntry> = Vec::new();
    let mut described = described.into_iter().peekable();
    let (mut said, mut seen) = (0, 0);
    loop {
        let scene = described.peek().map(|entry| (entry.start, Next::Scene, entry.end));
        let line = dialogue.get(said).map(|line| (line.start, Next::Dialogue, line.end));
        let text = shown.get(seen).map(|line| ((line.start + LATE).min(line.end), Next::Shown, line.end));
        let Some((start, next, end)) = [scene, line, text].into_iter().flatten().min() else { break };
        if next == Next::Scene {
            let entry =
                described.next().map(|entry| TranscriptEntry { dialogue: said..said, shown: seen..seen, ..entry });
            entries.extend(entry);
            continue;
        }
        let start = if next == Next::Shown { shown[seen].start } else { start };
        if entries.last().is_none_or(|last| section_of(last.start) != section_of(start)) {
            entries.push(TranscriptEntry { start, end, scene: None, dialogue: said..said, shown: seen..seen });
        }
        (said, seen) = if next == Next::Dialogue { (said + 1, seen) } else { (said, seen + 1) };
        if let Some(last) = entries.last_mut() {
            (last.dialogue.end, last.shown.end) = (said, seen);
        }
    }
    entries
}

/// What made the transcript, and what is missing in it.
fn about(track: &Track, to: &mut dyn Write) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut facts = vec![match &*track.model {
        "" => format!("Made by descry {version}."),
        model => format!("Made by descry {version} with the model {model}."),
    }];
    facts.extend(incomplete(track).iter().map(|line| sentence(line)));
    if let Some(scene) = track.pictures.as_ref().and_then(|pictures| track.scenes.get(pictures.full()?)) {
        let from = scene.start.clock();
        facts.push(format!("There are no pictures from {from} on, because a page with more would be too large."));
    }
    writeln!(to, "<p class=\"soft\">{}</p>", escape(&one_line(&facts.join(" "))))
}

/// The choice between a list and a storyboard. The sheet does what is chosen.
fn views(view: PageView, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<fieldset class=\"views\"><legend class=\"unseen\">View</legend>")?;
    for (id, name, own) in [("list", "List", PageView::Transcript), ("storyboard", "Storyboard", PageView::Storyboard)]
    {
        let checked = if own == view { " checked" } else { "" };
        let input = format!("<input type=\"radio\" name=\"view\" id=\"{id}\"{checked}>");
        writeln!(to, "<label class=\"check\">{input} {name}</label>")?;
    }
    writeln!(to, "</fieldset>")
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

/// What the entries of a page have in common.
struct TranscriptPage<'a> {
    track: &'a Track,
    folder: &'a Path,
    dialogue: &'a [DialogueLine],
    shown: Vec<&'a ScreenText>,
}

impl TranscriptPage<'_> {
    /// The address that plays the film from a time on; none where a browser cannot open it.
    fn link(&self, at: Time) -> Option<String> {
        self.track.location.as_ref().and_then(|location| film_link(location, at.millis(), self.folder))
    }

    fn write_entry(&self, entry: &TranscriptEntry, to: &mut dyn Write) -> io::Result<()> {
        let store = self.track.pictures.as_ref().zip(entry.scene.as_ref());
        let picture = store.map_or(Ok(None), |(store, (scene, _))| store.read(*scene))?;
        // The description is the alternative of the picture.
        let picture =
            picture.map_or(String::new(), |jpeg| format!("<img class=\"thumb\" src=\"{}\" alt=\"\">", jpeg_url(&jpeg)));
        writeln!(to, "<li><div class=\"at\">{}</div>\n<div>", self.linked(entry.start, &picture))?;
        if let Some((_, text)) = entry.scene.as_ref().filter(|(_, text)| !text.is_empty()) {
            writeln!(to, "<p{}>{}</p>", language(&self.track.language), escape(text))?;
        }
        let shown = self.shown.get(entry.shown.clone()).unwrap_or_default();
        if !shown.is_empty() {
            let lines: Vec<String> =
                shown.iter().take(MOST_LINES).map(|line| format!("<q lang=\"\">{}</q>", escape(&line.text))).collect();
            let more = if shown.len() > MOST_LINES { " …" } else { "" };
            writeln!(to, "<p class=\"shown\">On the screen: {}{more}</p>", lines.join(" "))?;
        }
        let lines = self.dialogue.get(entry.dialogue.clone()).unwrap_or_default();
        if !lines.is_empty() {
            let language = language(&dialogue_language(self.track));
            writeln!(to, "<ul aria-label=\"Dialogue\">")?;
            for line in lines {
                let (time, text) = (self.linked(line.start, ""), escape(&line.text));
                writeln!(to, "<li>{time} <q{language}>{text}</q></li>")?;
            }
            writeln!(to, "</ul>")?;
        }
        writeln!(to, "</div></li>")
    }

    /// A time that is a link, where there is one; with the picture before it.
    fn linked(&self, at: Time, picture: &str) -> String {
        let time = time(at);
        match self.link(at) {
            Some(link) => format!("<a href=\"{}\">{picture}{time}</a>", escape(&link)),
            None => format!("{picture}{time}"),
        }
    }
}

/// The language of the dialogue: that of the track of subtitles; unknown of a file.
fn dialogue_language(track: &Track) -> String {
    let tag = track.info.as_ref().and_then(|info| info.side_track.as_ref()?.language.as_deref());
    tag.map_or_else(|| "und".into(), web_language)
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
