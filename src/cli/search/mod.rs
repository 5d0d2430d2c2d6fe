//! `descry search`: a query in, moments of an archive out.

mod args;
mod query;
mod render;

use std::io::{self, BufRead};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::reporter::{Reporter, count};
use super::stdout::print_json;
use crate::archive::Archive;
use crate::archive::search::{IndexLocation, Moment, QueryEmbedding, SearchError, SearchQuery, Searcher, UpdateStep};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::expect_model;
use crate::regular_file;
pub(super) use args::SearchArgs;
use args::SearchBy;
use query::QueryModel;

/// Queries that are embedded together.
const QUERIES: usize = 64;
/// Bytes that the built-in model's text tower takes while it loads, and some more.
const MODEL_MEMORY: usize = 192 << 20;
/// How often the progress of an index is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

pub(super) fn run(args: &SearchArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let by = args.check()?;
    if let Some(to) = &args.html {
        render::check_page(to, args.force)?;
    }
    let archive = Archive::open(&args.archive)?;
    let location = args.index_location(&archive)?;
    let opener = IndexOpener { location: &location, archive: &archive, reporter, interrupt };
    let started = Instant::now();
    if args.has_query() && by.compares_pictures() {
        expect_model(MODEL_MEMORY);
    }
    // The model loads while the index is brought up to date.
    let (model, opened) = thread::scope(|scope| {
        let model = scope.spawn(|| {
            let model = if args.has_query() { QueryModel::load(args, by) } else { Ok(QueryModel::None) };
            model.map(|m| (m, started.elapsed()))
        });
        let opened = opener.open(args.rebuild).map(|o| (o, started.elapsed()));
        if let Ok((searcher, _)) = &opened
            && args.has_query()
            && by.compares_pictures()
        {
            searcher.prepare();
        }
        (model.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), opened)
    });
    let ((model, model_time), (searcher, index_time)) = (model?, opened?);
    // Afterwards the process ends, sooner than ONNX Runtime could free the model.
    let mut model = ManuallyDrop::new(model);
    opener.report(&searcher);
    model.check(&searcher, by, reporter)?;
    let mut session = SearchSession { opener, searcher, by, base: args.filter.request(), spent: Duration::ZERO };
    if let Some(from) = &args.queries {
        answer_all(from, &mut model, &mut session)?;
    } else if args.has_query() {
        let query = args.query();
        let like = model.embed(&[&query])?.pop().flatten();
        let moments = session.find(&query, like)?;
        if by == SearchBy::Text && !session.searcher.has_screen_text() {
            reporter.warn("no text on the screen is known of the films in this archive; index them with --text");
        }
        render::show(args, by, &archive, &moments, reporter)?;
    }
    if args.stats {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let keyframes: usize = session.searcher.models().iter().map(|m| m.keyframes).sum();
        reporter.stats(&json!({ "index_ms": ms(index_time), "model_ms": ms(model_time), "ask_ms": ms(session.spent),
            "wall_ms": ms(started.elapsed()), "keyframes": keyframes }));
    }
    Ok(())
}

/// Opens the search index, and reports how that went.
#[derive(Clone, Copy)]
struct IndexOpener<'a> {
    location: &'a IndexLocation,
    archive: &'a Archive,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
}

impl IndexOpener<'_> {
    /// Brings the index up to date, or builds it again if `anew`, and opens it.
    fn open(&self, anew: bool) -> Result<Searcher> {
        let mut reported = Instant::now();
        Searcher::open_at(self.location, self.archive, anew, self.interrupt, &mut |step| match step {
            UpdateStep::Waiting => self.reporter.note("waiting for another descry, which updates the search index"),
            UpdateStep::Video { number: n, of } if reported.elapsed() >= PROGRESS_INTERVAL => {
                reported = Instant::now();
                self.reporter.note(&format!("search index: {n} of {of} videos"));
            }
            UpdateStep::Video { .. } => {}
        })
    }

    fn report(&self, searcher: &Searcher) {
        let report = searcher.report();
        if let Some(why) = &report.damage {
            self.report_rebuilt(why);
        }
        report.unreadable.iter().for_each(|e| self.reporter.error(e));
        if searcher.is_temporary() {
            let at = self.location.folder().display();
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
struct SearchSession<'a> {
    opener: IndexOpener<'a>,
    searcher: Searcher,
    by: SearchBy,
    /// What all queries have in common.
    base: SearchQuery,
    /// Time spent on answers.
    spent: Duration,
}

impl SearchSession<'_> {
    fn find(&mut self, text: &str, like: Option<QueryEmbedding>) -> Result<Vec<Moment>> {
        let words = self.by.reads_captions().then(|| text.to_string());
        let on_screen = self.by.reads_the_screen().then(|| text.to_string());
        let query = SearchQuery { words, on_screen, embedding: like, ..self.base.clone() };
        let started = Instant::now();
        let moments = match self.searcher.find(&query) {
            Err(SearchError::DamagedIndex(why)) => {
                self.opener.report_rebuilt(&why);
                self.searcher = self.opener.open(true)?;
                self.searcher.find(&query)
            }
            other => other,
        };
        self.spent += started.elapsed();
        moments.map_err(|e| match e {
            SearchError::DamagedIndex(why) => Error::output(
                self.searcher.index_folder().display().to_string(),
                format!("the search index is damaged although it was just built: {why}"),
                "Check the disk, or name another place with --index DIR.",
            ),
            SearchError::Other(e) => e,
        })
    }
}

/// Answers many queries with one JSON object each.
fn answer_all(from: &Path, model: &mut QueryModel, session: &mut SearchSession) -> Result<()> {
    let stdin = from == Path::new("-");
    let name = if stdin { "standard input".into() } else { from.display().to_string() };
    let fail = |e: io::Error| Error::input(&name, e.to_string(), "Give queries in UTF-8, one per line.");
    let reader: Box<dyn BufRead> = if stdin {
        Box::new(io::stdin().lock())
    } else {
        Box::new(io::BufReader::new(regular_file::open(from).map_err(fail)?))
    };
    // Who types queries waits for each answer; a file can be read ahead.
    let ahead = if stdin { 1 } else { QUERIES };
    let mut lines = reader.lines();
    loop {
        let read = session.opener.interrupt.endure(|| lines.by_ref().take(ahead).collect::<io::Result<_>>())?;
        let read: Vec<String> = read.map_err(fail)?;
        if read.is_empty() || session.opener.interrupt.is_set() {
            return Ok(());
        }
        let texts: Vec<&str> = read.iter().map(String::as_str).collect();
        for (text, like) in texts.iter().zip(model.embed(&texts)?) {
            let moments = session.find(text, like)?;
            let moments: Vec<Value> = moments.iter().map(render::object).collect();
            if !print_json(&json!({ "query": text, "moments": moments }))? {
                return Ok(());
            }
        }
    }
}
