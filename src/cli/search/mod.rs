//! `descry search`: a query in, moments of an archive out.

mod query;
mod render;

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::args::ModelArgs;
use super::reporter::{Reporter, count};
use super::stdout::print_line;
use super::values;
use crate::archive::Archive;
use crate::archive::search::index::{Report, Step};
use crate::archive::search::{Ask, Damaged, Home, Like, Moment, Search};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::time::Time;
use query::QueryModel;

/// Queries that are embedded together.
const QUERIES: usize = 64;
/// How often the progress of an index is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  descry search archive a dog on a beach               Print the ten best moments
  descry search archive --image photo.jpg              Moments that look like a picture
  descry search archive 'red car' --file '*/2024/*'    Only videos in a folder 2024
  descry search archive 'red car' --html found.html    A page with pictures and links";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SearchBy {
    /// What the pictures show: the model compares the query with them
    Meaning,
    /// The words of the captions
    Words,
    /// Both, combined into one score
    Both,
}

/// Find moments in an archive by what they show
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SearchArgs {
    /// Archive made by 'descry index': a folder, or s3://BUCKET/PREFIX
    archive: String,
    /// What to find, in plain words
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Find moments that look like this picture
    #[arg(long, help_heading = "Query", value_name = "FILE", conflicts_with_all = ["query", "queries"])]
    image: Option<PathBuf>,
    /// Answer each line of this file, or of standard input (-), with one JSON object
    #[arg(long, help_heading = "Query", value_name = "FILE", conflicts_with = "query")]
    queries: Option<PathBuf>,
    /// What to compare with the query [default: both, or meaning for a picture]
    #[arg(long, help_heading = "Query", value_enum)]
    by: Option<SearchBy>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Print one JSON object per moment
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write an HTML page whose pictures open the video at that second
    #[arg(long, help_heading = "Output", value_name = "FILE", conflicts_with_all = ["json", "queries"])]
    html: Option<PathBuf>,
    /// Replace an existing page
    #[arg(long, help_heading = "Output", requires = "html")]
    force: bool,
    /// Print the time of each step as JSON on standard error
    #[arg(long, help_heading = "Output")]
    stats: bool,
    /// Folder of the search index [default: search/ in the archive]
    #[arg(long, help_heading = "Index", value_name = "DIR")]
    index: Option<PathBuf>,
    /// Build the search index again
    #[arg(long, help_heading = "Index")]
    rebuild: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// Which moments may be found.
#[derive(Args)]
#[command(next_help_heading = "Filters")]
struct FilterArgs {
    /// Only videos whose name contains this; with * or ?, only those whose whole name matches
    ///
    /// Can be given several times: videos that match one of them are searched.
    #[arg(long, value_name = "PATTERN")]
    file: Vec<String>,
    /// Only moments that end after this time of their video: seconds, MM:SS or HH:MM:SS
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    start: Option<Time>,
    /// Only moments that begin before this time of their video
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    end: Option<Time>,
    /// Only moments whose caption scores at least this, 0 to 1
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
    /// Only moments at least this similar to the query, -1 to 1
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
    min_similarity: Option<f32>,
    /// Most moments to find
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl SearchArgs {
    /// Checks the options that clap cannot check, and decides what is compared.
    fn check(&self) -> Result<SearchBy> {
        let by = self.by.unwrap_or(if self.image.is_some() { SearchBy::Meaning } else { SearchBy::Both });
        if self.image.is_some() && by != SearchBy::Meaning {
            return Err(Error::usage("a picture has no words to search for", "Leave --by out, or give --by meaning."));
        }
        if by == SearchBy::Words && self.filter.min_similarity.is_some() {
            return Err(Error::usage("--min-similarity needs a search by meaning", "Leave it out, or give --by both."));
        }
        self.filter.check()?;
        if !self.has_query() && !self.rebuild {
            return Err(Error::usage("there is no query", "Say what to find, or give --image or --queries."));
        }
        if let Some(to) = &self.html {
            render::check_page(to, self.force)?;
        }
        Ok(by)
    }

    fn query(&self) -> String {
        self.query.join(" ")
    }

    fn has_query(&self) -> bool {
        self.image.is_some() || self.queries.is_some() || !self.query().trim().is_empty()
    }

    /// Where the index of this archive is.
    fn home<'a>(&'a self, archive: &Archive) -> Result<Home<'a>> {
        match (&self.index, archive.folder()) {
            (Some(folder), _) => Ok(Home::Named(folder)),
            (None, Some(root)) => Ok(Home::Archive(root.join("search"))),
            (None, None) => Err(Error::usage(
                format!("{}: a search index cannot be kept in an object store", self.archive),
                "Name a folder of this machine for it with --index DIR.",
            )),
        }
    }
}

impl FilterArgs {
    fn check(&self) -> Result<()> {
        if let Some(score) = self.min_score.filter(|s| !(0.0..=1.0).contains(s)) {
            return Err(Error::usage(format!("--min-score {score} is not between 0 and 1"), "0 keeps every caption."));
        }
        if let Some(cosine) = self.min_similarity.filter(|s| !(-1.0..=1.0).contains(s)) {
            let cause = format!("--min-similarity {cosine} is not between -1 and 1");
            return Err(Error::usage(cause, "-1 keeps every moment."));
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            return Err(Error::usage("--end is not after --start", "Give an end that lies after the start."));
        }
        Ok(())
    }

    /// A request without a query.
    fn request(&self) -> Ask {
        Ask {
            files: self.file.clone(),
            from_ms: self.start.map(Time::millis),
            until_ms: self.end.map(Time::millis),
            min_score: self.min_score,
            min_similarity: self.min_similarity,
            limit: self.limit as usize,
            ..Ask::default()
        }
    }
}

pub(super) fn run(args: &SearchArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let by = args.check()?;
    let archive = Archive::open(&args.archive)?;
    let home = args.home(&archive)?;
    let opener = IndexOpener { home: &home, archive: &archive, reporter, interrupt };
    let started = Instant::now();
    // The model loads while the index is brought up to date.
    let (model, opened) = thread::scope(|scope| {
        let model = scope.spawn(|| {
            let model = if args.has_query() { QueryModel::load(args, by) } else { Ok(QueryModel::None) };
            model.map(|m| (m, started.elapsed()))
        });
        let opened = opener.open(args.rebuild).map(|o| (o, started.elapsed()));
        (model.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), opened)
    });
    let ((mut model, model_time), ((search, report), index_time)) = (model?, opened?);
    opener.report(&search, &report);
    model.check(&search, by, reporter)?;
    let mut searcher = Searcher { opener, search, by, request: args.filter.request(), spent: Duration::ZERO };
    if let Some(from) = &args.queries {
        answer_all(from, &mut model, &mut searcher)?;
    } else if args.has_query() {
        let query = args.query();
        let like = model.embed(&[&query])?.pop().flatten();
        let moments = searcher.find(&query, like)?;
        render::show(args, by, &archive, &moments, reporter)?;
    }
    if args.stats {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let keyframes: usize = searcher.search.index().models().iter().map(|m| m.keyframes).sum();
        reporter.stats(&json!({ "index_ms": ms(index_time), "model_ms": ms(model_time), "ask_ms": ms(searcher.spent),
            "wall_ms": ms(started.elapsed()), "keyframes": keyframes }));
    }
    Ok(())
}

/// Opens the search index, and reports how that went.
#[derive(Clone, Copy)]
struct IndexOpener<'a> {
    home: &'a Home<'a>,
    archive: &'a Archive,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
}

impl IndexOpener<'_> {
    /// Brings the index up to date and opens it. `anew`: builds it again.
    fn open(&self, anew: bool) -> Result<(Search, Report)> {
        let mut reported = Instant::now();
        Search::open(self.home, self.archive, anew, self.interrupt, &mut |step| match step {
            Step::Waiting => self.reporter.note("waiting for another descry, which updates the search index"),
            Step::Video(n, of) if reported.elapsed() >= PROGRESS_INTERVAL => {
                reported = Instant::now();
                self.reporter.note(&format!("search index: {n} of {of} videos"));
            }
            Step::Video(..) => {}
        })
    }

    fn report(&self, search: &Search, report: &Report) {
        if let Some(why) = &report.anew {
            self.report_rebuilt(why);
        }
        report.faults.iter().for_each(|e| self.reporter.error(e));
        if search.is_passing() {
            let folder = match self.home {
                Home::Archive(folder) => folder.as_path(),
                Home::Named(folder) => folder,
            };
            let at = folder.display();
            self.reporter.warn(&format!(
                "{at} is not writable: the search index is built for this search only; --index DIR keeps one"
            ));
        }
        self.reporter.info(&format!(
            "search index: {} added, {} removed",
            count(report.added, "video"),
            report.removed
        ));
    }

    fn report_rebuilt(&self, why: &str) {
        self.reporter.warn(&format!("the search index was damaged ({why}) and has been rebuilt"));
    }
}

/// Answers queries, and rebuilds the index if an answer shows that it is damaged.
struct Searcher<'a> {
    opener: IndexOpener<'a>,
    search: Search,
    by: SearchBy,
    /// What all queries have in common.
    request: Ask,
    /// Time spent on answers.
    spent: Duration,
}

impl Searcher<'_> {
    fn find(&mut self, text: &str, like: Option<Like>) -> Result<Vec<Moment>> {
        let words = (self.by != SearchBy::Meaning).then(|| text.to_string());
        let request = Ask { words, like, ..self.request.clone() };
        let started = Instant::now();
        let moments = match self.search.ask(&request) {
            Err(Damaged::Index(why)) => {
                self.opener.report_rebuilt(&why);
                self.search = self.opener.open(true)?.0;
                self.search.ask(&request)
            }
            other => other,
        };
        self.spent += started.elapsed();
        moments.map_err(|e| match e {
            Damaged::Index(why) => Error::output(
                self.search.index().folder().display().to_string(),
                format!("the search index is damaged although it was just built: {why}"),
                "Check the disk, or name another place with --index DIR.",
            ),
            Damaged::Other(e) => e,
        })
    }
}

/// Answers many queries with one JSON object each.
fn answer_all(from: &Path, model: &mut QueryModel, searcher: &mut Searcher) -> Result<()> {
    let stdin = from == Path::new("-");
    let name = if stdin { "standard input".into() } else { from.display().to_string() };
    let fail = |e: io::Error| Error::input(&name, e.to_string(), "Give queries in UTF-8, one per line.");
    let reader: Box<dyn BufRead> = if stdin {
        Box::new(io::stdin().lock())
    } else {
        Box::new(io::BufReader::new(std::fs::File::open(from).map_err(fail)?))
    };
    // Who types queries waits for each answer; a file can be read ahead.
    let ahead = if stdin { 1 } else { QUERIES };
    let mut lines = reader.lines();
    loop {
        let read: Vec<String> = lines.by_ref().take(ahead).collect::<io::Result<_>>().map_err(fail)?;
        if read.is_empty() || searcher.opener.interrupt.is_set() {
            return Ok(());
        }
        let texts: Vec<&str> = read.iter().map(String::as_str).collect();
        for (text, like) in texts.iter().zip(model.embed(&texts)?) {
            let moments = searcher.find(text, like)?;
            let moments: Vec<Value> = moments.iter().map(|m| render::object(searcher.opener.archive, m)).collect();
            if !print_line(&json!({ "query": text, "moments": moments }).to_string())? {
                return Ok(());
            }
        }
    }
}
