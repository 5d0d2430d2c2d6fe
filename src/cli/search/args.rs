//! What is searched for, in which moments, and how the answer is shown.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::archive::Archive;
use crate::archive::search::{IndexLocation, SearchQuery};
use crate::cli::model_args::{ModelArgs, PictureArgs, StillArgs};
use crate::cli::values;
use crate::error::{Error, Result};
use crate::time::Time;

const EXAMPLES: &str = "\
Examples:
  descry search archive a dog on a beach               Print the ten best moments
  descry search archive --image photo.jpg              Moments that look like a picture
  descry search archive 'red car' --file '*/2024/*'    Only videos in a folder 2024
  descry search archive --by text 'breaking news'      Moments with these words on the screen
  descry search archive 'red car' --html found.html    A page with pictures and links";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SearchBy {
    /// What the pictures show: the model compares the query with them
    Meaning,
    /// The words of the captions
    Words,
    /// The text on the screen, of films that were indexed with --text
    Text,
    /// Meaning and words, combined into one score
    Both,
    /// Meaning, words and text, combined into one score
    All,
}

impl SearchBy {
    pub(super) fn compares_pictures(self) -> bool {
        matches!(self, SearchBy::Meaning | SearchBy::Both | SearchBy::All)
    }

    pub(super) fn reads_captions(self) -> bool {
        matches!(self, SearchBy::Words | SearchBy::Both | SearchBy::All)
    }

    pub(super) fn reads_the_screen(self) -> bool {
        matches!(self, SearchBy::Text | SearchBy::All)
    }
}

/// Find moments in an archive by what they show
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct SearchArgs {
    /// Archive made by 'descry index': a folder, or s3://BUCKET/PREFIX
    pub(super) archive: String,
    /// What to find, in plain words
    #[arg(value_name = "QUERY", conflicts_with = "keep_bars")]
    query: Vec<String>,
    /// Find moments that look like this picture
    #[arg(long, help_heading = "Query", value_name = "FILE", conflicts_with_all = ["query", "queries"])]
    pub(super) image: Option<PathBuf>,
    /// Answer each line of this file, or of standard input (-), with one JSON object
    #[arg(long, help_heading = "Query", value_name = "FILE", conflicts_with_all = ["query", "keep_bars"])]
    pub(super) queries: Option<PathBuf>,
    /// What to compare with the query [default: all, or meaning for a picture]
    #[arg(long, help_heading = "Query", value_enum)]
    by: Option<SearchBy>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Print one JSON object per moment
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Write an HTML page whose pictures open the video at that second
    #[arg(long, help_heading = "Output", value_name = "FILE", conflicts_with_all = ["json", "queries"])]
    pub(super) html: Option<PathBuf>,
    /// Replace an existing page
    #[arg(long, help_heading = "Output", requires = "html")]
    pub(super) force: bool,
    /// Print the time of each step as JSON on standard error
    #[arg(long, help_heading = "Output")]
    pub(super) stats: bool,
    /// Folder of the search index [default: search/ in the archive]
    #[arg(long, help_heading = "Index", value_name = "DIR")]
    index: Option<PathBuf>,
    /// Build the search index again
    #[arg(long, help_heading = "Index")]
    pub(super) rebuild: bool,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    pub(super) picture: PictureArgs,
    #[command(flatten)]
    pub(super) stills: StillArgs,
}

/// Which moments may be found.
#[derive(Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
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
    pub(super) fn check(&self) -> Result<SearchBy> {
        let by = self.by.unwrap_or(if self.image.is_some() { SearchBy::Meaning } else { SearchBy::All });
        if self.image.is_some() && by != SearchBy::Meaning {
            return Err(Error::usage("a picture has no words to search for", "Leave --by out, or give --by meaning."));
        }
        if !by.compares_pictures() && self.filter.min_similarity.is_some() {
            return Err(Error::usage("--min-similarity needs a search by meaning", "Leave it out, or give --by all."));
        }
        self.filter.check()?;
        if !self.has_query() && !self.rebuild {
            return Err(Error::usage("there is no query", "Say what to find, or give --image or --queries."));
        }
        Ok(by)
    }

    pub(super) fn query(&self) -> String {
        self.query.join(" ")
    }

    pub(super) fn has_query(&self) -> bool {
        self.image.is_some() || self.queries.is_some() || !self.query().trim().is_empty()
    }

    /// Where the index of this archive is.
    pub(super) fn index_location(&self, archive: &Archive) -> Result<IndexLocation> {
        match (&self.index, IndexLocation::of(archive)) {
            (Some(folder), _) => Ok(IndexLocation::Folder(folder.clone())),
            (None, Some(location)) => Ok(location),
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
    pub(super) fn request(&self) -> SearchQuery {
        SearchQuery {
            files: self.file.clone(),
            from_ms: self.start.map(Time::millis),
            until_ms: self.end.map(Time::millis),
            min_score: self.min_score,
            min_similarity: self.min_similarity,
            limit: self.limit as usize,
            ..SearchQuery::default()
        }
    }
}
