//! All keyframes of an archive as one table, in the order of its names. Memory: one row group.

use std::io::Write;

use super::Archive;
use super::table::TableWriter;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// Rows of a row group of the one table: large enough for readers to skip by, some 32 MB at 512 values.
const ROWS: usize = 16_384;

/// Writes the table; gives back what was written to, and the rows. `name` is for messages.
pub fn export<W: Write + Send>(archive: &Archive, to: W, name: &str, interrupt: &Interrupt) -> Result<(W, usize)> {
    let names = archive.record_names()?;
    let mut to = Some(to);
    let mut writer: Option<(TableWriter<W>, usize)> = None;
    let mut rows = 0;
    for video in names {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        // One that was taken away since it was listed is not there any more.
        let Some(table) = archive.table(video)? else { continue };
        let dimension = table.dimension();
        if let Some(to) = to.take() {
            writer = Some((TableWriter::new(to, name, dimension, ROWS)?, dimension));
        }
        let Some((writer, width)) = &mut writer else { continue };
        if dimension != *width {
            return Err(Error::input(
                archive.place(video, super::TABLE),
                format!("has embeddings of {dimension} values, and others in this archive of {width}"),
                "Index all videos with one model first: a table has one width.",
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
        None => Err(Error::input(archive.location(), "holds no videos yet", "Index some first.")),
    }
}
