//! `descry search`: a query in, moments out.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::exit::Exit;
use super::{ModelArgs, Voice, moment, print};
use crate::archive::Archive;
use crate::archive::search::{
    IndexLocation, Moment, PageEntry, QueryEmbedding, QueryEncoder, SearchError, SearchQuery, Searcher, UpdateStep,
    html_page, image_embedding, moment_link,
};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::picture::{self, PictureOptions};
use crate::model::{Encode, EncodeOptions, ImageEncoder, ModelFolder, SessionOptions, TextEncoder, preprocess};
use crate::time::Time;
use crate::track::formats::one_line;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// What is to be seen: the model compares the query with the pictures.
    Meaning,
    /// The words of the captions.
    Words,
    /// Both, made one score.
    Both,
}

#[derive(Args)]
pub(super) struct Search {
    /// An archive that `descry index` made.
    archive: String,
    /// What is to be found.
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Find what looks like this picture.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "queries"])]
    image: Option<PathBuf>,
    /// Answer many queries, one a line of this file or (-) of standard input: one JSON object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    queries: Option<PathBuf>,
    /// What is compared [default: both; meaning for pictures].
    #[arg(long, value_enum)]
    by: Option<By>,
    /// Only in videos whose name has this in it, or matches it as a whole where it has * or ?. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    file: Vec<String>,
    /// Only what goes on after this moment of its video.
    #[arg(long, value_parser = moment)]
    start: Option<Time>,
    /// Only what begins before this moment of its video.
    #[arg(long, value_parser = moment)]
    end: Option<Time>,
    /// Only moments whose caption has at least this score, 0 to 1.
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
    /// Only moments that are at least so like the query.
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
    min_similarity: Option<f32>,
    /// Moments at most.
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// One JSON object a moment.
    #[arg(long)]
    json: bool,
    /// Write a page with pictures, which open the video at that second.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "queries"])]
    html: Option<PathBuf>,
    /// Replace a page that exists.
    #[arg(long, requires = "html")]
    force: bool,
    /// Where the search index is [default: search/ in the archive].
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Make the search index anew.
    #[arg(long)]
    rebuild: bool,
    /// Print as JSON on standard error what took how long.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// The model's part of a search.
enum Eye {
    /// Words alone are compared.
    Blind,
    Texts(Box<(ModelFolder, QueryEncoder)>),
    Seen {
        name: String,
        like: QueryEmbedding,
    },
}

impl Eye {
    fn open(args: &Search, by: By) -> Result<Eye> {
        if by == By::Words {
            return Ok(Eye::Blind);
        }
        let folder = ModelFolder::load(args.model.model.as_deref())?;
        let session = args.model.session(false)?;
        match &args.image {
            Some(image) => {
                Ok(Eye::Seen { like: image_embedding(&folder, image, &session)?, name: folder.manifest().title() })
            }
            None if folder.manifest().text.is_none() => Err(folder.error(
                "it has no text tower, and cannot tell what a query means",
                "give --by words, or another --model",
            )),
            None => {
                let encoder = QueryEncoder::new(&folder, &session)?;
                Ok(Eye::Texts(Box::new((folder, encoder))))
            }
        }
    }

    /// What queries are like.
    fn look(&mut self, queries: &[&str]) -> Result<Vec<Option<QueryEmbedding>>> {
        match self {
            Eye::Blind => Ok(vec![None; queries.len()]),
            Eye::Seen { like, .. } => Ok(vec![Some(like.clone()); queries.len()]),
            Eye::Texts(eye) => Ok(eye.1.encode_all(queries)?.into_iter().map(Some).collect()),
        }
    }

    /// Name and hash of the model.
    fn model(&self) -> Option<(String, &str)> {
        match self {
            Eye::Blind => None,
            Eye::Seen { name, like } => Some((name.clone(), &like.model_hash)),
            Eye::Texts(eye) => Some((eye.0.manifest().title(), eye.0.hash())),
        }
    }
}

/// How many queries are looked at together.
const QUERIES: usize = 64;
/// How often it is said how far an index is.
const TELL: Duration = Duration::from_secs(2);

pub(super) fn search(args: &Search, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    let by = by(args)?;
    let query = args.query.join(" ");
    let asks = args.image.is_some() || args.queries.is_some() || !query.trim().is_empty();
    if !asks && !args.rebuild {
        return Err(Error::usage("nothing is asked for", "Say what is to be found, or give --image or --queries."));
    }
    if let Some(to) = &args.html {
        check_page(to, args.force)?;
    }
    let archive = Archive::open(&args.archive)?;
    let home = match (&args.index, IndexLocation::of(&archive)) {
        (Some(folder), _) => IndexLocation::Folder(folder.clone()),
        (None, Some(location)) => location,
        (None, None) => {
            let cause = format!("{}: an index cannot be kept in an object store", args.archive);
            return Err(Error::usage(cause, "Name a folder of this machine for it with --index DIR."));
        }
    };
    let started = Instant::now();
    let mut told = Instant::now();
    let mut step = |step: UpdateStep| match step {
        UpdateStep::Waiting => voice.note("another descry brings the search index up to date: waiting for it"),
        UpdateStep::Video { number: n, of } if told.elapsed() >= TELL => {
            told = Instant::now();
            voice.note(&format!("search index: {n} of {of} videos"));
        }
        UpdateStep::Video { .. } => {}
    };
    let mut open = |anew: bool| Searcher::open_at(&home, &archive, anew, interrupt, &mut step);
    // The model loads while the index is brought up to date.
    let (eye, opened) = thread::scope(|scope| {
        let eye =
            scope.spawn(|| if asks { Eye::open(args, by) } else { Ok(Eye::Blind) }.map(|e| (e, started.elapsed())));
        let opened = open(args.rebuild).map(|o| (o, started.elapsed()));
        (eye.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), opened)
    });
    let ((mut eye, model_time), (mut search, index_time)) = (eye?, opened?);
    let report = search.report();
    let mut exit = Exit::Done;
    if let Some(why) = &report.damage {
        voice.warn(&format!("the search index was damaged ({why}) and has been made anew"));
    }
    for fault in &report.unreadable {
        voice.error(fault);
        exit = Exit::SomeFailed;
    }
    if search.is_temporary() {
        let at = home.folder().display().to_string();
        voice.warn(&format!(
            "{at} may not be written: the search index is made for this search alone; --index DIR keeps one"
        ));
    }
    voice.info(&format!("search index: {} videos added, {} removed", report.added, report.removed));
    check_model(&search, &eye, voice, by)?;
    let base = SearchQuery {
        files: args.file.clone(),
        from_ms: args.start.map(Time::millis),
        until_ms: args.end.map(Time::millis),
        min_score: args.min_score,
        min_similarity: args.min_similarity,
        limit: args.limit as usize,
        ..SearchQuery::default()
    };
    let mut asking = Duration::ZERO;
    let mut find = |search: &mut Searcher, text: &str, like: Option<QueryEmbedding>| -> Result<Vec<Moment>> {
        let words = (by != By::Meaning).then(|| text.to_string());
        let ask = SearchQuery { words, embedding: like, ..base.clone() };
        let t = Instant::now();
        let moments = match search.find(&ask) {
            Err(SearchError::DamagedIndex(why)) => {
                voice.warn(&format!("the search index was damaged ({why}) and has been made anew"));
                *search = open(true)?;
                search.find(&ask)
            }
            other => other,
        };
        asking += t.elapsed();
        moments.map_err(|e| match e {
            SearchError::DamagedIndex(why) => Error::output(
                search.index_folder().display().to_string(),
                format!("the search index is damaged as soon as it is made: {why}"),
                "Check the disk, or name another place with --index DIR.",
            ),
            SearchError::Other(e) => e,
        })
    };
    if let Some(from) = &args.queries {
        exit = answer_all(from, &mut eye, &mut search, &mut find, interrupt, exit)?;
    } else if asks {
        let like = eye.look(&[&query])?.pop().flatten();
        let moments = find(&mut search, &query, like)?;
        show(args, by, &query, &archive, &moments, voice)?;
    }
    if args.stats {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let stats = json!({ "index_ms": ms(index_time), "model_ms": ms(model_time), "ask_ms": ms(asking),
            "wall_ms": ms(started.elapsed()), "keyframes": search.models().iter().map(|m| m.keyframes).sum::<usize>() });
        let line = if voice.json { json!({ "level": "info", "message": "stats", "stats": stats }) } else { stats };
        voice.line(&line.to_string());
    }
    Ok(if interrupt.is_set() { Exit::Interrupted } else { exit })
}

fn by(args: &Search) -> Result<By> {
    let by = args.by.unwrap_or(if args.image.is_some() { By::Meaning } else { By::Both });
    if args.image.is_some() && by != By::Meaning {
        return Err(Error::usage("a picture has no words to look for", "Leave --by out, or give --by meaning."));
    }
    if by == By::Words && args.min_similarity.is_some() {
        return Err(Error::usage("--min-similarity is of the meaning", "Leave it out, or give --by both."));
    }
    if let Some(score) = args.min_score.filter(|s| !(0.0..=1.0).contains(s)) {
        return Err(Error::usage(format!("--min-score {score} is not between 0 and 1"), "0 takes every caption."));
    }
    if let Some(cosine) = args.min_similarity.filter(|s| !(-1.0..=1.0).contains(s)) {
        return Err(Error::usage(format!("--min-similarity {cosine} is not between -1 and 1"), "-1 takes everything."));
    }
    if let (Some(start), Some(end)) = (args.start, args.end)
        && end <= start
    {
        return Err(Error::usage("--end is not after --start", "Give a later --end."));
    }
    Ok(by)
}

/// An embedding says something only beside others of its own model.
fn check_model(search: &Searcher, eye: &Eye, voice: &Voice, by: By) -> Result<()> {
    let Some((name, hash)) = eye.model() else { return Ok(()) };
    let (same, others): (Vec<_>, Vec<_>) =
        search.models().iter().filter(|m| m.keyframes > 0).partition(|m| m.hash == hash);
    if others.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> =
        others.iter().map(|m| format!("{} ({}…)", m.name, m.hash.get(..8).unwrap_or(&m.hash))).collect();
    names.sort();
    let names = names.join(", ");
    let hash = hash.get(..8).unwrap_or(hash);
    if same.is_empty() {
        return Err(Error::usage(
            format!(
                "the archive was made with {names}, and the query would be read by {name} ({hash}…), which cannot be compared"
            ),
            "Name the archive's model with --model, or give --by words.",
        ));
    }
    let keyframes: usize = others.iter().map(|m| m.keyframes).sum();
    let how = if by == By::Both { "are found by their words alone" } else { "are left out" };
    voice.warn(&format!("{keyframes} keyframes were seen by {names} and not by {name} ({hash}…): they {how}"));
    Ok(())
}

/// A moment for machines.
fn object(moment: &Moment) -> Value {
    let mut value = serde_json::to_value(moment).unwrap_or_default();
    value["thumbnail"] = json!(moment.thumbnail());
    value
}

fn show(args: &Search, by: By, query: &str, archive: &Archive, moments: &[Moment], voice: &Voice) -> Result<()> {
    if let Some(to) = &args.html {
        return write_page(args, by, query, archive, moments, to, voice);
    }
    if args.json {
        for moment in moments {
            if !print(&object(moment).to_string())? {
                break;
            }
        }
    } else if moments.is_empty() {
        voice.note("nothing was found");
    } else {
        print(&table(moments))?;
    }
    Ok(())
}

/// Moments for people.
fn table(moments: &[Moment]) -> String {
    let mut lines = vec![["", "from", "to", "like", "words", "caption", "video"].map(String::from)];
    for m in moments {
        lines.push([
            m.rank.to_string(),
            Time::from_secs(m.start).to_string(),
            Time::from_secs(m.end).to_string(),
            m.similarity.map_or("-".into(), |s| format!("{s:.3}")),
            m.words.map_or("-".into(), |w| format!("{w:.2}")),
            m.caption.as_deref().map_or("-".into(), one_line),
            one_line(&m.video),
        ]);
    }
    let widths: Vec<usize> = (0..7).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let line = |l: &[String; 7]| {
        // The first column is a number; the last one ends the line.
        let mut out = format!("{:>w$}", l[0], w = widths[0]);
        for c in 1..6 {
            out += &format!("  {:<w$}", l[c], w = widths[c]);
        }
        out + "  " + &l[6]
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The largest picture that a page takes in; thumbnails have some 20 kB.
const PICTURE: u64 = 4 << 20;

fn write_page(
    args: &Search,
    by: By,
    query: &str,
    archive: &Archive,
    moments: &[Moment],
    to: &Path,
    voice: &Voice,
) -> Result<()> {
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| unwritten(to, &e))?;
    let asked = match &args.image {
        Some(image) => format!("like {}", image.file_name().unwrap_or(image.as_os_str()).to_string_lossy()),
        None => query.to_string(),
    };
    let count = match moments.len() {
        0 => "Nothing was found".to_string(),
        1 => "1 moment".to_string(),
        n => format!("{n} moments"),
    };
    let how = match by {
        By::Meaning => "by meaning",
        By::Words => "by words",
        By::Both => "by meaning and by words",
    };
    let about = format!("{count} {how} in the archive {}, best first.", args.archive);
    let entries: Vec<PageEntry> = moments
        .iter()
        .map(|moment| PageEntry {
            moment,
            picture: picture_of(archive, moment, voice),
            link: moment_link(&moment.video, moment.keyframe_ms, &folder),
        })
        .collect();
    let html = html_page(&asked, &about, &entries);
    let written = AtomicFile::create(to, args.force).and_then(|mut file| {
        file.write_all(html.as_bytes())?;
        file.commit().map(drop).map_err(std::io::Error::from)
    });
    written.map_err(|e| unwritten(to, &e))?;
    voice.info(&format!("→ {}, {count}", to.display()));
    Ok(())
}

/// A moment's thumbnail; what is missing or is no JPEG is left out, and said.
fn picture_of(archive: &Archive, moment: &Moment, voice: &Voice) -> Option<Vec<u8>> {
    let place = moment.thumbnail()?;
    let read = archive.read_thumbnail(&place);
    match read {
        Ok(Some(jpeg)) if jpeg.starts_with(&[0xFF, 0xD8, 0xFF]) && jpeg.len() as u64 <= PICTURE => return Some(jpeg),
        Ok(Some(_)) => voice.warn(&format!("{}: is damaged, and left out", archive.shown(&place))),
        Ok(None) => voice.warn(&format!("{}: is missing, and left out", archive.shown(&place))),
        Err(e) => voice.warn(&e.to_string()),
    }
    None
}

/// Says before any work whether a page may be written.
fn check_page(to: &Path, force: bool) -> Result<()> {
    let name = to.display().to_string();
    if to.is_dir() {
        return Err(Error::output(name, "is a folder", "Name a file with --html."));
    }
    if !force && to.symlink_metadata().is_ok() {
        return Err(Error::output(name, "exists already", "Give --force to replace it, or another name."));
    }
    match to.parent().filter(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        Some(folder) => Err(Error::usage(
            format!("{}: no such folder", folder.display()),
            format!("Make it first: mkdir -p {}", folder.display()),
        )),
        None => Ok(()),
    }
}

fn unwritten(to: &Path, e: &io::Error) -> Error {
    let (cause, remedy) = match e.kind() {
        io::ErrorKind::AlreadyExists => ("exists already".into(), "Give --force to replace it, or another name."),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("the disk is full".into(), "Free some space."),
        _ => (format!("cannot be written: {e}"), "Name another place with --html."),
    };
    Error::output(to.display().to_string(), cause, remedy)
}

/// Many queries, one JSON object each.
fn answer_all(
    from: &Path,
    eye: &mut Eye,
    search: &mut Searcher,
    find: &mut impl FnMut(&mut Searcher, &str, Option<QueryEmbedding>) -> Result<Vec<Moment>>,
    interrupt: &Interrupt,
    exit: Exit,
) -> Result<Exit> {
    let shown = if from == Path::new("-") { "standard input".into() } else { from.display().to_string() };
    let fail = |e: io::Error| Error::input(&shown, e.to_string(), "Give queries as UTF-8, one a line.");
    let reader: Box<dyn BufRead> = if from == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(io::BufReader::new(std::fs::File::open(from).map_err(fail)?))
    };
    // A person or a program that waits for each answer gets it at once; a file is read ahead.
    let ahead = if from == Path::new("-") { 1 } else { QUERIES };
    let mut lines = reader.lines();
    loop {
        let some: Vec<String> = lines.by_ref().take(ahead).collect::<io::Result<_>>().map_err(fail)?;
        if some.is_empty() || interrupt.is_set() {
            return Ok(exit);
        }
        let texts: Vec<&str> = some.iter().map(String::as_str).collect();
        for (text, like) in texts.iter().zip(eye.look(&texts)?) {
            let moments: Vec<Value> = find(search, text, like)?.iter().map(object).collect();
            if !print(&json!({ "query": text, "moments": moments }).to_string())? {
                return Ok(exit);
            }
        }
    }
}
