//! All keyframes of an archive as one table, in the order of the record names, with the words of editors where there are
//! some. Memory: one row group.

use std::io::Write;

use super::catalog::Archive;
use super::layout::TABLE;
use super::table::TableWriter;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;

/// Rows per row group. Large enough that readers can skip groups usefully: some 32 MB at 512 values per embedding.
const EXPORT_GROUP_ROWS: usize = 16_384;

/// Writes all keyframes as one Parquet table; returns the writer and the number of rows. `name` is for messages.
///
/// # Errors
/// The archive is empty, holds embeddings of several dimensions, or cannot be read; the table cannot be written; or the
/// interrupt was set.
pub fn export<W: Write + Send>(archive: &Archive, to: W, name: &str, interrupt: &Interrupt) -> Result<(W, usize)> {
    let mut to = Some(to);
    let mut writer: Option<(TableWriter<W>, usize)> = None;
    let mut rows = 0;
    for video in archive.record_names()? {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        // The video may have been removed since the names were listed.
        let Some(table) = archive.corrected_table(video)? else { continue };
        let dimension = table.dimension();
        if let Some(to) = to.take() {
            writer = Some((TableWriter::new(to, name, dimension, EXPORT_GROUP_ROWS)?, dimension));
        }
        let Some((writer, expected)) = &mut writer else { continue };
        if dimension != *expected {
            return Err(Error::input(
                archive.video_path(video, TABLE),
                format!("has embeddings of {dimension} values; other videos of this archive have {expected}"),
                "Index all videos with one model first: all rows of a table have the same dimension.",
            ));
        }
        for batch in table {
            for row in batch? {
                writer.push(row)?;
                rows += 1;
            }
        }
    }
    match writer {
        Some((writer, _)) => Ok((writer.finish()?, rows)),
        None => Err(Error::input(
            archive.location(),
            "holds no videos yet",
            message!["Add some with ", Setting::Index, "."],
        )),
    }
}
