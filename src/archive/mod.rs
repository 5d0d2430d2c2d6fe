//! An archive: what descry knows about many videos, in open formats, in a folder or an object store.
//!
//! [`index`] describes videos into an archive, each once; [`search`] finds moments in it. An [`Archive`] itself lists, reads
//! and removes videos; [`check()`] verifies their files and [`export()`] joins their keyframes into one table.
//!
//! This module owns the layout of the files, the order in which they are written and removed, and the claims by which
//! processes share the work. A video's record is written last: writing it commits the video.
//!
//! From the bottom up, each file using only those before it: `layout` and `record` (names and contents of the files),
//! `store` (a folder or a bucket), `table` (keyframes as Parquet), `catalog` (the [`Archive`]), `claim`, `writer`, `check`,
//! `reviews` (what editors made of descriptions) and `export`, then `index` and `search`, which do not know each other.

mod catalog;
mod check;
mod claim;
mod export;
pub mod index;
pub(crate) mod io_error;
mod layout;
mod record;
pub mod reviews;
pub mod search;
mod store;
mod table;
mod writer;

pub use catalog::Archive;
pub use check::{CheckReport, check};
pub use claim::Claim;
pub use export::export;
pub use record::{
    FORMAT, FailureRecord, FileRecord, InvalidRecordName, Recipe, RecordName, VideoRecord, Work, video_key,
};
#[cfg(feature = "fuzzing")]
pub(crate) use table::TableWriter;
pub use table::{KeyframeRow, MOST_LINE_BYTES, MOST_LINES, TABLE_FORMAT, TableReader, TextRow};
pub use writer::VideoWriter;
