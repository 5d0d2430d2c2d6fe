//! Writes keyframes as Parquet. The same rows give the same bytes.
//!
//! A row group ends early where it has very many lines of text: [`reader`](super::reader) refuses what could take much memory.
//!
//! Memory: one row group, and [`BATCH_ROWS`] rows that are not encoded yet.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, Float32Builder, Int32Builder, Int64Builder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::json;

use super::lines::line_column;
use super::row::{
    BATCH_ROWS, GROUP_LINE_BYTES, GROUP_LINES, KeyframeRow, MAX_DIMENSION, MOST_LINE_BYTES, MOST_LINES, SPEECH,
    TABLE_FORMAT, TEXT, TextRow, embedding_value, line_fields, schema,
};
use crate::archive::io_error::write_error;
use crate::error::{Error, Result};

/// Writes rows as they come.
pub(crate) struct TableWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    dimension: usize,
    waiting: Vec<KeyframeRow>,
    /// Lines of text in this row group, and their bytes.
    lines: (usize, usize),
    name: String,
}

impl<W: Write + Send> TableWriter<W> {
    /// Starts a table. `name` is for messages, `dimension` the values of every embedding, `group_rows` the rows of a row
    /// group.
    pub(crate) fn new(to: W, name: impl Into<String>, dimension: usize, group_rows: usize) -> Result<TableWriter<W>> {
        let name = name.into();
        if dimension == 0 || dimension > MAX_DIMENSION {
            return Err(Error::output(
                name,
                format!("embeddings of {dimension} values cannot be written"),
                format!("Use a model with 1 to {MAX_DIMENSION}."),
            ));
        }
        let schema = schema(dimension);
        let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties(group_rows)));
        let writer = writer.map_err(|e| cannot_write(&name, &e))?;
        Ok(TableWriter { writer, schema, dimension, waiting: Vec::new(), lines: (0, 0), name })
    }

    /// Adds a row. Fails where its embedding has another dimension, or where the rows cannot be written.
    pub(crate) fn push(&mut self, row: KeyframeRow) -> Result<()> {
        if row.embedding.len() != self.dimension {
            return Err(Error::output(
                &self.name,
                format!("an embedding of {} values does not fit a table of {}", row.embedding.len(), self.dimension),
                "Use separate archives for models of different dimensions.",
            ));
        }
        let lines = row.text.as_deref().unwrap_or_default();
        let bytes = lines.iter().map(TextRow::bytes).sum::<usize>();
        if lines.len() > MOST_LINES || bytes > MOST_LINE_BYTES {
            return Err(Error::output(
                &self.name,
                format!("a keyframe with {} lines of text, of {bytes} bytes, cannot be written", lines.len()),
                format!("Leave out those beyond {MOST_LINES} lines and {MOST_LINE_BYTES} bytes."),
            ));
        }
        let (lines, bytes) = (self.lines.0 + lines.len(), self.lines.1 + bytes);
        self.lines = (lines, bytes);
        self.waiting.push(row);
        if lines >= GROUP_LINES || bytes >= GROUP_LINE_BYTES {
            self.flush()?;
            self.lines = (0, 0);
            return self.writer.flush().map_err(|e| cannot_write(&self.name, &e));
        }
        if self.waiting.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let batch = RecordBatch::try_new(self.schema.clone(), columns(&rows, self.dimension));
        let written = batch.map_err(ParquetError::from).and_then(|b| self.writer.write(&b));
        written.map_err(|e| cannot_write(&self.name, &e))
    }

    /// Writes the remaining rows and the footer, and returns the underlying writer.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.flush()?;
        self.writer.into_inner().map_err(|e| cannot_write(&self.name, &e))
    }
}

pub(super) fn properties(group_rows: usize) -> WriterProperties {
    let about = json!({ "format": TABLE_FORMAT, "descry": env!("CARGO_PKG_VERSION") }).to_string();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("start_ms"), EnabledStatistics::Page)
        .set_column_statistics_enabled(ColumnPath::from("score"), EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(group_rows.max(1)))
        .set_key_value_metadata(Some(vec![KeyValue::new("descry".into(), about)]));
    // These numbers hardly repeat: neither a dictionary nor a compressor saves anything.
    let embedding = ColumnPath::new(vec!["embedding".into(), "list".into(), "element".into()]);
    properties = properties
        .set_column_dictionary_enabled(embedding.clone(), false)
        .set_column_compression(embedding, Compression::UNCOMPRESSED);
    for column in ["start_ms", "end_ms", "keyframe_ms", "score", "mean_logprob", SPEECH, "thumbnail"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    // Without dictionaries, the bytes in the file bound those in memory.
    for field in &line_fields() {
        let path = [TEXT, "list", "element", field.name()].map(String::from).to_vec();
        properties = properties.set_column_dictionary_enabled(ColumnPath::new(path), false);
    }
    properties.build()
}

/// The columns of some rows, in the schema's order.
pub(super) fn columns(rows: &[KeyframeRow], dimension: usize) -> Vec<ArrayRef> {
    let text = |value: &dyn Fn(&KeyframeRow) -> Option<&str>| -> ArrayRef {
        let mut column = StringBuilder::new();
        rows.iter().for_each(|r| column.append_option(value(r)));
        Arc::new(column.finish())
    };
    let long = |value: &dyn Fn(&KeyframeRow) -> i64| -> ArrayRef {
        let mut column = Int64Builder::with_capacity(rows.len());
        rows.iter().for_each(|r| column.append_value(value(r)));
        Arc::new(column.finish())
    };
    let float = |value: &dyn Fn(&KeyframeRow) -> Option<f32>| -> ArrayRef {
        let mut column = Float32Builder::with_capacity(rows.len());
        rows.iter().for_each(|r| column.append_option(value(r)));
        Arc::new(column.finish())
    };
    let flag = |value: &dyn Fn(&KeyframeRow) -> bool| -> ArrayRef {
        let mut column = BooleanBuilder::with_capacity(rows.len());
        rows.iter().for_each(|r| column.append_value(value(r)));
        Arc::new(column.finish())
    };
    let mut scene = Int32Builder::with_capacity(rows.len());
    rows.iter().for_each(|r| scene.append_value(r.scene));
    let values = Float32Builder::with_capacity(rows.len() * dimension);
    let mut embedding = FixedSizeListBuilder::new(values, dimension as i32).with_field(embedding_value());
    for row in rows {
        embedding.values().append_slice(&row.embedding);
        embedding.append(true);
    }
    vec![
        text(&|r| Some(&r.video)),
        long(&|r| r.start_ms),
        long(&|r| r.end_ms),
        long(&|r| r.keyframe_ms),
        Arc::new(scene.finish()),
        text(&|r| Some(&r.transition)),
        text(&|r| r.caption.as_deref()),
        flag(&|r| r.said),
        float(&|r| r.score),
        float(&|r| r.mean_logprob),
        flag(&|r| r.repeats),
        float(&|r| r.speech),
        line_column(rows),
        text(&|r| r.thumbnail.as_deref()),
        text(&|r| Some(&r.model)),
        text(&|r| Some(&r.model_hash)),
        Arc::new(embedding.finish()),
    ]
}

/// Explains an error by the I/O error that caused it, where there is one: a full disk, a store that does not answer.
fn cannot_write(name: &str, e: &ParquetError) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return write_error(name, io);
        }
        source = match cause.downcast_ref::<ParquetError>() {
            // `source` of this variant skips the error that it holds.
            Some(ParquetError::External(held)) => Some(&**held),
            _ => cause.source(),
        };
    }
    Error::output(name, format!("cannot be written as Parquet: {e}"), "Report this as a bug.")
}
