//! Moments as a table, as JSON lines, or as an HTML page.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::args::{SearchArgs, SearchBy};
use crate::archive::Archive;
use crate::archive::search::{Moment, PageEntry, html_page};
use crate::atomic_file::AtomicFile;
use crate::cli::reporter::Reporter;
use crate::cli::stdout::{print_json, print_line};
use crate::error::{Error, Result};
use crate::markup::film_link;
use crate::printable::printable;
use crate::regular_file;
use crate::time::Time;
use crate::track::formats::one_line;

/// Most characters of the text on the screen in a table. JSON has all.
const MOST_SHOWN: usize = 120;

/// Shows the moments in the form that the arguments name.
pub(super) fn show(
    args: &SearchArgs,
    by: SearchBy,
    archive: &Archive,
    moments: &[Moment],
    reporter: &Reporter,
) -> Result<()> {
    if let Some(to) = &args.html {
        return write_page(args, by, archive, moments, to, reporter);
    }
    if args.json {
        for moment in moments {
            if !print_json(&object(moment))? {
                break;
            }
        }
    } else if moments.is_empty() {
        reporter.note("nothing was found");
    } else {
        print_line(&table(moments))?;
    }
    Ok(())
}

/// A moment for programs.
pub(super) fn object(moment: &Moment) -> Value {
    let mut value = serde_json::to_value(moment).unwrap_or_default();
    value["thumbnail"] = json!(moment.thumbnail());
    value
}

/// The moments for people. There is a column for the text on the screen where some was found.
fn table(moments: &[Moment]) -> String {
    let has_text = moments.iter().any(|m| m.text.is_some());
    let mut lines = vec![["", "from", "to", "like", "words", "text", "caption", "video"].map(String::from)];
    for m in moments {
        lines.push([
            m.rank.to_string(),
            Time::from_secs(m.start).to_string(),
            Time::from_secs(m.end).to_string(),
            m.similarity.map_or("-".into(), |s| format!("{s:.3}")),
            m.words.map_or("-".into(), |w| format!("{w:.2}")),
            m.text.map_or("-".into(), |t| format!("{t:.2}")),
            what(m),
            printable(&one_line(&m.video)).into_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..8).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let line = |l: &[String; 8]| {
        // The first column is a number; the last one ends the line.
        let mut out = format!("{:>w$}", l[0], w = widths[0]);
        for c in (1..7).filter(|c| *c != 5 || has_text) {
            out += &format!("  {:<w$}", l[c], w = widths[c]);
        }
        out + "  " + &l[7]
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The caption of a moment, and what it shows of the query's words.
fn what(moment: &Moment) -> String {
    let caption = moment.caption.as_deref().map(|c| printable(&one_line(c)).into_owned());
    let shown: Vec<String> =
        moment.shown.iter().map(|line| format!("“{}”", printable(&one_line(&line.text)))).collect();
    let mut shown = shown.join(" ");
    if shown.chars().count() > MOST_SHOWN {
        shown = shown.chars().take(MOST_SHOWN).chain(['…']).collect();
    }
    let shown = (!shown.is_empty()).then(|| format!("shown: {shown}"));
    let parts: Vec<String> = caption.into_iter().chain(shown).collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

fn write_page(
    args: &SearchArgs,
    by: SearchBy,
    archive: &Archive,
    moments: &[Moment],
    to: &Path,
    reporter: &Reporter,
) -> Result<()> {
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| page_error(to, &e))?;
    let asked = match &args.image {
        Some(image) => format!("like {}", image.file_name().unwrap_or(image.as_os_str()).to_string_lossy()),
        None => args.query(),
    };
    let count = match moments.len() {
        0 => "Nothing was found".to_string(),
        1 => "1 moment".to_string(),
        n => format!("{n} moments"),
    };
    let how = match by {
        SearchBy::Meaning => "by meaning",
        SearchBy::Words => "by words",
        SearchBy::Text => "by the text on the screen",
        SearchBy::Both => "by meaning and by words",
        SearchBy::All => "by meaning, by words and by the text on the screen",
    };
    let about = format!("{count} {how} in the archive {}, best first.", args.archive);
    let entries: Vec<PageEntry> = moments
        .iter()
        .map(|moment| PageEntry {
            moment,
            picture: read_thumbnail(archive, moment, reporter),
            link: film_link(&moment.video, moment.play_ms, &folder),
        })
        .collect();
    let html = html_page(&asked, &about, &entries);
    let written = AtomicFile::create(to, args.force).and_then(|mut file| {
        file.write_all(html.as_bytes())?;
        file.commit().map(drop).map_err(io::Error::from)
    });
    written.map_err(|e| page_error(to, &e))?;
    reporter.info(&format!("→ {}, {count}", to.display()));
    Ok(())
}

/// A moment's thumbnail. One that is missing or is no JPEG is left out, with a warning.
fn read_thumbnail(archive: &Archive, moment: &Moment, reporter: &Reporter) -> Option<Vec<u8>> {
    let path = moment.thumbnail()?;
    let problem = match archive.read_thumbnail(&path) {
        Ok(Some(jpeg)) if jpeg.starts_with(&[0xFF, 0xD8, 0xFF]) => return Some(jpeg),
        Ok(Some(_)) => format!("{}: is damaged; the page leaves it out", archive.shown(&path)),
        Ok(None) => format!("{}: is missing; the page leaves it out", archive.shown(&path)),
        Err(e) => e.to_string(),
    };
    reporter.warn(&problem);
    None
}

/// Checks, before any work, that a page may be written.
pub(super) fn check_page(to: &Path, overwrite: bool) -> Result<()> {
    let name = to.display().to_string();
    let kind = |path| regular_file::kind(path).map_err(|e| page_error(to, &e));
    if kind(to)?.is_some_and(|kind| kind.is_dir()) {
        return Err(Error::output(name, "is a folder", "Name a file with --html."));
    }
    if !overwrite && to.symlink_metadata().is_ok() {
        return Err(Error::output(name, "exists already", "Give --force to replace it, or another name."));
    }
    let Some(folder) = to.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    match kind(folder)? {
        Some(kind) if kind.is_dir() => Ok(()),
        _ => Err(Error::usage(
            format!("{}: no such folder", folder.display()),
            format!("Create it first: mkdir -p {}", folder.display()),
        )),
    }
}

/// Explains why a page cannot be written.
fn page_error(to: &Path, e: &io::Error) -> Error {
    let (cause, remedy) = match e.kind() {
        io::ErrorKind::AlreadyExists => ("exists already".into(), "Give --force to replace it, or another name."),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("the disk is full".into(), "Free some space."),
        _ => (format!("cannot be written: {e}"), "Name another place with --html."),
    };
    Error::output(to.display().to_string(), cause, remedy)
}
