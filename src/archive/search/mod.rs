//! Search: finds moments of an archive by what they show, by the words of their captions, and by the text on the screen.
//!
//! A [`Searcher`] holds an index that it makes from the archive's tables and keeps up to date (`index`). It finds keyframes
//! by meaning (the dot product of the query's embedding with theirs, `scan`) and by words (BM25 of the captions and of the text
//! on the screen, `words`), combines the lists (`ranking`, `fuse`), and turns neighbouring keyframes of a scene into one moment (`moments`).
//! [`html_page`] shows moments as HTML.
//!
//! Order: best first; equals by the videos' keys and time. The same archive gives the same moments, whatever the history of
//! its index and the number of threads. Memory: the keyframes of each list (1,000, or as many as the wanted moments need),
//! besides what the index and a scan need.
//!
//! # Example
//!
//! ```
//! # fn main() -> descry::error::Result<()> {
//! # use std::sync::Arc;
//! # use descry::archive::index::{IndexJob, NetworkSources, PlanOptions, list_sources, plan, recipe};
//! # use descry::interrupt::Interrupt;
//! # use descry::pipeline::{Config, Model, Silent};
//! # let place = tempfile::tempdir().unwrap();
//! # let location = place.path().join("archive").display().to_string();
//! # let model_name = "tests/models/tiny";
//! # let folder = descry::model::ModelFolder::load(Some(model_name))?;
//! # let (config, interrupt) = (Config::default(), Interrupt::new());
//! # let load = || Model::of(&folder.clone().into(), Default::default());
//! # let network = NetworkSources::new(&config.decode, interrupt.clone());
//! # let made = descry::archive::Archive::create(&location)?;
//! # let listing = list_sources(&["samples/bikes.mp4".into()], made.folder(), &network, &interrupt)?;
//! # let recipe = Arc::new(recipe(&folder, &config, &load()?.decoding));
//! # let todo = plan(&made, &listing.videos, &recipe, &PlanOptions::default())?;
//! # IndexJob { archive: &made, videos: &todo.videos, config: &config, model: &load, interrupt: &interrupt, observer: &Silent }
//! #     .run()?;
//! use descry::archive::Archive;
//! use descry::archive::search::{QueryEncoder, SearchQuery, Searcher};
//! use descry::model::ModelFolder;
//! use descry::model::SessionOptions;
//!
//! let archive = Archive::open(&location)?;
//! let mut searcher = Searcher::open(&archive)?;
//! let model = ModelFolder::load(Some(model_name))?;
//! let mut encoder = QueryEncoder::new(&model, &SessionOptions::default())?;
//!
//! let text = "a man riding a bike";
//! let query = SearchQuery {
//!     words: Some(text.into()),
//!     embedding: Some(encoder.encode(text)?),
//!     files: vec!["bikes".into()],
//!     limit: 2,
//!     ..SearchQuery::default()
//! };
//! let moments = searcher.find(&query)?;
//! for moment in &moments {
//!     println!("{} from {} s to {} s: {:?}", moment.video, moment.start, moment.end, moment.caption);
//! }
//! assert_eq!(moments.len(), 2);
//! # Ok(())
//! # }
//! ```

mod answer;
mod encoder;
mod fuse;
mod index;
mod moments;
mod page;
mod query;
mod ranking;
mod scan;
mod searcher;
mod words;

pub use encoder::{QueryEncoder, image_embedding};
pub use index::{IndexedModel, RecordSource, RowFacts, UpdateReport, UpdateStep, VectorFile};
pub use moments::{Moment, ShownLine};
pub use page::{PageEntry, html_page};
pub use query::{QueryEmbedding, SearchQuery};
pub use scan::{CodeMismatch, RowId, ScanOptions, ScanQuery, ScoredRow, nearest};
pub use searcher::{IndexLocation, SearchError, Searcher};

#[cfg(test)]
mod tests;
