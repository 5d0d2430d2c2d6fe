//! Reads keyframes from Parquet. Other people may have made the table: whatever is wrong with it is an error, never a panic,
//! and nothing in it decides how much memory is used.
//!
//! Before the Parquet reader reads a page, the footer (`check_footer`), the columns and every page's header
//! ([`pages`](super::pages)) are compared with the file. Embeddings are in it as they are, so the file's size bounds the
//! rows; other values may be repeated, so a batch has fewer rows where a page is large. Lines of text are in the file as they
//! are too, and those of a row group are limited as they are for a writer: however they are divided among rows, the rows of a
//! batch have not many more.
//!
//! Memory: [`BATCH_ROWS`] rows or [`BATCH_BYTES`], whichever is less, and at least one row; the lines of two row groups; and
//! the footer.

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

use super::lines::LineColumns;
use super::pages::ColumnPages;
use super::row::{
    BATCH_ROWS, GROUP_LINE_BYTES, GROUP_LINES, KeyframeRow, MAX_DIMENSION, MOST_LINE_BYTES, MOST_LINES, SPEECH, TEXT,
    schema,
};
use super::watched_file::{ReadFault, WatchedFile};
use crate::error::{Error, Result};
use crate::guard::guarded;
use crate::message;
use crate::message::Setting;

/// Largest footer. One of a film of a day has 2 MiB; in memory, it takes some twenty times its size.
const FOOTER_LIMIT: u64 = 8 << 20;
/// What ends a Parquet file: the length of the footer, and `PAR1`.
const TAIL: u64 = 8;
/// What a batch may take, as far as rows allow.
const BATCH_BYTES: u64 = 64 << 20;
/// Most bytes of a text in a row. The longest are answers of servers.
const TEXT_LIMIT: usize = 1 << 20;

/// Reads a table in order: an iterator over batches of at most 256 rows. It ends after the first error.
pub struct TableReader {
    reader: ParquetRecordBatchReader,
    dimension: usize,
    rows: usize,
    name: String,
    fault: ReadFault,
    ended: bool,
}

impl TableReader {
    /// Opens a table on disk; `name` is for messages.
    pub(crate) fn of_file(name: String, file: File) -> Result<TableReader> {
        let fault = ReadFault::default();
        TableReader::new(WatchedFile::new(file, fault.clone()), name, fault)
    }

    /// Opens a table in memory; `name` is for messages.
    pub(crate) fn of_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Result<TableReader> {
        TableReader::new(bytes.into(), name.into(), ReadFault::default())
    }

    fn new<R: ChunkReader + 'static>(from: R, name: String, fault: ReadFault) -> Result<TableReader> {
        let opened = without_panic(|| {
            check_footer(&from)?;
            let metadata = ArrowReaderMetadata::load(&from, Default::default()).map_err(|e| e.to_string())?;
            let dimension = check_schema(metadata.schema())?;
            let (rows, batch) = check_pages(metadata.metadata(), dimension, &from)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(from, metadata);
            let reader = builder.with_batch_size(batch).build().map_err(|e| e.to_string())?;
            Ok((dimension, rows, reader))
        });
        let (dimension, rows, reader) = opened.map_err(|cause| explain(&name, &cause, &fault))?;
        Ok(TableReader { reader, dimension, rows, name, fault, ended: false })
    }

    /// Values per embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Rows of the whole table.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Checks how a file ends, before its footer is read.
fn check_footer<R: ChunkReader>(from: &R) -> Result<(), String> {
    let length = from.len();
    let tail = length.checked_sub(TAIL).ok_or("it is too short")?;
    let tail = from.get_bytes(tail, TAIL as usize).map_err(|e| e.to_string())?;
    let footer = tail.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    match &tail[4..] == b"PAR1" && footer <= FOOTER_LIMIT.min(length - TAIL) {
        true => Ok(()),
        false => Err("it does not end as a table does".into()),
    }
}

/// Checks that a table has the columns of one, in their order; returns the values per embedding.
fn check_schema(found: &Schema) -> Result<usize, String> {
    let dimension = match found.field_with_name("embedding").map(Field::data_type) {
        Ok(DataType::FixedSizeList(_, n)) => usize::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    if dimension > MAX_DIMENSION {
        return Err(format!("it has embeddings of {dimension} values"));
    }
    let wanted = schema(dimension);
    let is_left_out = |name: &str| [SPEECH, TEXT].contains(&name) && found.field_with_name(name).is_err();
    let wanted: Vec<_> = wanted.fields().iter().filter(|field| !is_left_out(field.name())).collect();
    if found.fields().len() != wanted.len() {
        return Err(format!("it has {} columns instead of {}", found.fields().len(), wanted.len()));
    }
    for (wanted, found) in wanted.into_iter().zip(found.fields()) {
        let there = Some(found.data_type()).filter(|_| found.name() == wanted.name());
        let same = match (there, wanted.data_type()) {
            // Writers name the values of a list differently.
            (Some(DataType::FixedSizeList(a, n)), DataType::FixedSizeList(b, _)) => {
                a.data_type() == b.data_type() && *n > 0
            }
            (Some(a), b) => a == b,
            (None, _) => false,
        };
        if !same {
            return Err(format!("it has no column {} of {}", wanted.name(), wanted.data_type()));
        }
    }
    Ok(dimension)
}

/// Checks the row groups and the headers of all pages; returns the rows of the table, and how many a batch may have.
fn check_pages<R: ChunkReader>(
    metadata: &ParquetMetaData,
    dimension: usize,
    from: &R,
) -> Result<(usize, usize), String> {
    let (mut rows, mut row_bytes) = (0u64, dimension as u64 * 4);
    let mut largest = Vec::new();
    for group in metadata.row_groups() {
        let in_group = u64::try_from(group.num_rows()).map_err(|_| "a row group has a negative size")?;
        rows = rows.checked_add(in_group).ok_or("it has too many rows")?;
        largest.resize(group.num_columns(), 0u64);
        for (column, largest) in group.columns().iter().zip(&mut largest) {
            *largest = column_pages(column, in_group, dimension)?.check(from)?.max(*largest);
        }
    }
    if i64::try_from(rows) != Ok(metadata.file_metadata().num_rows()) {
        return Err("its row groups do not have the rows that it states".into());
    }
    // A text of a dictionary may be that of every row. Lines have none.
    let texts = metadata.file_metadata().schema_descr().columns().iter().zip(&largest);
    let texts = texts.filter(|(c, _)| c.physical_type() == Type::BYTE_ARRAY && c.max_rep_level() == 0);
    row_bytes += texts.map(|(_, bytes)| bytes).sum::<u64>();
    let batch = (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS as u64);
    Ok((usize::try_from(rows).map_err(|e| e.to_string())?, batch as usize))
}

/// Lines of text in a row group, as a column of theirs states it, and most bytes of that column. A row without lines counts as
/// one.
fn lines_in_group(column: &ColumnChunkMetaData, rows: u64) -> Result<(u64, u64), String> {
    // A writer looks at the limits after each row.
    let most = rows.saturating_mul(MOST_LINES as u64).min((GROUP_LINES + MOST_LINES) as u64 + rows);
    let lines = u64::try_from(column.num_values()).ok().filter(|lines| *lines <= most);
    let lines = lines.ok_or("a row group has too many lines of text")?;
    let texts = rows.saturating_mul(MOST_LINE_BYTES as u64).min((GROUP_LINE_BYTES + MOST_LINE_BYTES) as u64);
    // And of each its length or number, and what says where it belongs.
    Ok((lines, texts + 16 * lines))
}

/// What the pages of a column must be, from the footer and from what descry writes.
fn column_pages(column: &ColumnChunkMetaData, rows: u64, dimension: usize) -> Result<ColumnPages, String> {
    let is_list = column.column_descr().max_rep_level() > 0;
    let is_line = is_list && column.column_path().parts().first().is_some_and(|name| name == TEXT);
    let lines = if is_line { lines_in_group(column, rows)? } else { (0, u64::MAX) };
    let (values, dictionary) = match (is_line, is_list) {
        (true, _) => (Some(lines.0), false),
        (_, true) => (rows.checked_mul(dimension as u64), false),
        _ => (Some(rows), true),
    };
    let required = is_list && !is_line || column.column_descr().max_def_level() == 0;
    let width = match column.column_type() {
        Type::INT64 if required => 8,
        Type::INT32 | Type::FLOAT if required => 4,
        // The length.
        Type::BYTE_ARRAY if required => 4,
        Type::INT64 | Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY | Type::BOOLEAN => 0,
        other => return Err(format!("it has a column of {other}")),
    };
    let compressed = match column.compression() {
        Compression::SNAPPY => true,
        Compression::UNCOMPRESSED => false,
        other => return Err(format!("a column is compressed with {other}")),
    };
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let position = |n: i64| u64::try_from(n).map_err(|_| "a column has a negative position".to_string());
    Ok(ColumnPages {
        start: position(start)?,
        bytes: position(column.compressed_size())?,
        compressed,
        values: values.ok_or("it has too many values")?,
        width,
        dictionary,
        most_bytes: lines.1,
    })
}

impl Iterator for TableReader {
    type Item = Result<Vec<KeyframeRow>>;

    fn next(&mut self) -> Option<Result<Vec<KeyframeRow>>> {
        if self.ended {
            return None;
        }
        let (reader, dimension) = (&mut self.reader, self.dimension);
        let rows = without_panic(|| match reader.next() {
            None => Ok(None),
            Some(batch) => {
                let rows = batch.map_err(ParquetError::from).and_then(|batch| read_rows(&batch, dimension));
                rows.map(Some).map_err(|e| e.to_string())
            }
        });
        match rows {
            Ok(Some(rows)) => Some(Ok(rows)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(cause) => {
                self.ended = true;
                Some(Err(explain(&self.name, &cause, &self.fault)))
            }
        }
    }
}

fn read_rows(batch: &RecordBatch, dimension: usize) -> Result<Vec<KeyframeRow>, ParquetError> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| ParquetError::General(format!("no {name}")));
    let (video, transition) = (column("video")?.as_string::<i32>(), column("transition")?.as_string::<i32>());
    let (model, model_hash) = (column("model")?.as_string::<i32>(), column("model_hash")?.as_string::<i32>());
    let (caption, thumbnail) = (column("caption")?.as_string::<i32>(), column("thumbnail")?.as_string::<i32>());
    let start = column("start_ms")?.as_primitive::<Int64Type>();
    let end = column("end_ms")?.as_primitive::<Int64Type>();
    let keyframe = column("keyframe_ms")?.as_primitive::<Int64Type>();
    let scene = column("scene")?.as_primitive::<Int32Type>();
    let (said, repeats) = (column("said")?.as_boolean(), column("repeats")?.as_boolean());
    let score = column("score")?.as_primitive::<Float32Type>();
    let mean_logprob = column("mean_logprob")?.as_primitive::<Float32Type>();
    let speech = batch.column_by_name(SPEECH).map(|column| column.as_primitive::<Float32Type>());
    let lines = batch.column_by_name(TEXT).and_then(LineColumns::of);
    let embedding = column("embedding")?.as_fixed_size_list();
    if embedding.null_count() > 0 {
        return Err(ParquetError::General("a keyframe without an embedding".into()));
    }
    // Consecutive rows with the same text share it.
    let mut shared: [Arc<str>; 4] = std::array::from_fn(|_| Arc::from(""));
    let mut share = |n: usize, text: &str| {
        if &*shared[n] != text {
            shared[n] = text.into();
        }
        shared[n].clone()
    };
    for column in [video, transition, model, model_hash, caption, thumbnail] {
        if column.iter().flatten().any(|text| text.len() > TEXT_LIMIT) {
            return Err(ParquetError::General(format!("a text of more than {TEXT_LIMIT} bytes")));
        }
    }
    let mut rows = Vec::with_capacity(batch.num_rows());
    for n in 0..batch.num_rows() {
        let values = embedding.value(n);
        let values = values.as_primitive::<Float32Type>().values();
        if values.len() != dimension {
            return Err(ParquetError::General("an embedding of another length".into()));
        }
        rows.push(KeyframeRow {
            video: share(0, video.value(n)),
            start_ms: start.value(n),
            end_ms: end.value(n),
            keyframe_ms: keyframe.value(n),
            scene: scene.value(n),
            transition: share(1, transition.value(n)),
            caption: (!caption.is_null(n)).then(|| caption.value(n).to_string()),
            said: said.value(n),
            score: (!score.is_null(n)).then(|| score.value(n)),
            mean_logprob: (!mean_logprob.is_null(n)).then(|| mean_logprob.value(n)),
            repeats: repeats.value(n),
            speech: speech.filter(|column| !column.is_null(n)).map(|column| column.value(n)),
            text: lines.as_ref().map_or(Ok(None), |lines| lines.row(n))?,
            thumbnail: (!thumbnail.is_null(n)).then(|| thumbnail.value(n).to_string()),
            model: share(2, model.value(n)),
            model_hash: share(3, model_hash.value(n)),
            embedding: values.to_vec(),
        });
    }
    Ok(rows)
}

/// A panic of the Parquet reader must not end the program. The checks above are there so that it has no reason for one.
fn without_panic<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    guarded(act).unwrap_or_else(|_| Err("its pages are broken".into()))
}

/// Why a table cannot be read: the disk has failed, or else the table is damaged.
fn explain(name: &str, cause: &str, fault: &ReadFault) -> Error {
    if let Some(e) = fault.get() {
        return Error::read(name, e);
    }
    Error::input(
        name,
        format!("is not a readable table of keyframes: {cause}"),
        message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."],
    )
}
