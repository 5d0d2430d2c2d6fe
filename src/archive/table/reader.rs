//! Reads keyframes from Parquet. A damaged table is an error, never a panic.
//!
//! Memory: [`BATCH_ROWS`] rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;

use super::row::{BATCH_ROWS, KeyframeRow, schema};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Reads a table in order: an iterator over batches of at most 256 rows. It ends after the first error.
pub struct TableReader {
    reader: ParquetRecordBatchReader,
    dimension: usize,
    rows: usize,
    name: String,
    ended: bool,
}

impl TableReader {
    /// Opens a table on disk.
    pub(crate) fn open(path: &Path) -> Result<TableReader> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::read(&name, &e))?;
        TableReader::new(file, name)
    }

    /// Opens a table in memory; `name` is for messages.
    pub(crate) fn of_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Result<TableReader> {
        TableReader::new(bytes.into(), name.into())
    }

    fn new<R: ChunkReader + 'static>(from: R, name: String) -> Result<TableReader> {
        let opened = guarded(|| {
            let metadata = ArrowReaderMetadata::load(&from, Default::default())?;
            let rows = metadata.metadata().file_metadata().num_rows();
            let schema = metadata.schema().clone();
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(from, metadata);
            Ok((schema, rows, builder.with_batch_size(BATCH_ROWS).build()?))
        });
        let (found, rows, reader) = opened.map_err(|cause| broken(&name, &cause))?;
        let dimension = check_schema(&found).map_err(|cause| broken(&name, &cause))?;
        let rows = usize::try_from(rows).unwrap_or(0);
        Ok(TableReader { reader, dimension, rows, name, ended: false })
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

/// Checks that a table has all columns; returns the values per embedding.
fn check_schema(found: &Schema) -> Result<usize, String> {
    let dimension = match found.field_with_name("embedding").map(Field::data_type) {
        Ok(DataType::FixedSizeList(_, n)) => usize::try_from(*n).unwrap_or(0),
        _ => 0,
    };
    for wanted in schema(dimension).fields() {
        let there = found.field_with_name(wanted.name()).map(Field::data_type).ok();
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

impl Iterator for TableReader {
    type Item = Result<Vec<KeyframeRow>>;

    fn next(&mut self) -> Option<Result<Vec<KeyframeRow>>> {
        if self.ended {
            return None;
        }
        let (reader, dimension) = (&mut self.reader, self.dimension);
        let rows = guarded(|| match reader.next() {
            None => Ok(None),
            Some(batch) => read_rows(&batch?, dimension).map(Some),
        });
        match rows {
            Ok(Some(rows)) => Some(Ok(rows)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(cause) => {
                self.ended = true;
                Some(Err(broken(&self.name, &cause)))
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
            thumbnail: (!thumbnail.is_null(n)).then(|| thumbnail.value(n).to_string()),
            model: share(2, model.value(n)),
            model_hash: share(3, model_hash.value(n)),
            embedding: values.to_vec(),
        });
    }
    Ok(rows)
}

/// Turns panics of the Parquet reader into errors: a damaged table must not end the program.
fn guarded<T>(act: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("its pages are broken".into()),
    }
}

fn broken(name: &str, cause: &str) -> Error {
    Error::input(
        name,
        format!("is not a readable table of keyframes: {cause}"),
        message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."],
    )
}
