//! The search index: a folder made from an archive's tables. It may be deleted at any time.
//!
//! ```text
//! index.sqlite     records in the index, models, files of vectors, every caption once and the text on the screen, both
//!                  with full-text search
//! HASH.vectors     keyframes of one model (see `vector_file`)
//! lock             held by the process that updates the index
//! ```
//!
//! The names of the archive's records say what has to be added and removed. Order: files of vectors are complete before the
//! transaction that names them, and removed after the transaction that replaces them. So a killed process leaves at worst
//! files that no transaction names; the next writer removes them. Readers take no lock: they see the last transaction that
//! ended.
//!
//! Memory of an update: one file of vectors for each of three models, the texts of one transaction, and eight bytes per
//! video.

mod compact;
mod database;
mod fault;
mod quantize;
mod report;
mod schema;
mod screen;
mod script;
mod snapshot;
mod source;
mod text_tables;
mod update;
mod vector_file;
mod vector_writer;
mod writer;

pub(super) use database::record_name;
pub(super) use fault::IndexFault;
pub use report::{UpdateReport, UpdateStep};
#[cfg(test)]
pub(super) use schema::CAPTION_TABLES;
pub(super) use screen::{MARKS, MarkedLine, ScreenLine};
pub(super) use script::{is_mark, spaced, unspaced};
pub use snapshot::IndexedModel;
pub(super) use snapshot::{SearchIndex, most_ids};
pub use source::RecordSource;
pub(super) use text_tables::{CAPTIONS, SCREENS, TextTables};
pub(super) use update::open_current;
pub use vector_file::{RowFacts, VectorFile};
#[cfg(test)]
pub(super) use vector_writer::VectorFileBuilder;
#[cfg(test)]
pub(super) use vector_writer::tests::facts;
