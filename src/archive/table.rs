//! Keyframes as Parquet: the schema, its writer and its reader.
//!
//! One row a keyframe that has an embedding, in order of time. The same rows give the same bytes. Memory: the writer
//! holds one row group (of one film at most [`ROWS`] rows, some 2 MB at 512 values), the reader [`BATCH`] rows; neither
//! grows with the table.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, Float32Builder, Int32Builder, Int64Builder, StringBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;
use serde_json::json;

use super::store;
use crate::error::{Error, Result};

/// What the file says of itself under the key `descry`.
pub const FORMAT: &str = "descry-keyframes/1";
/// Rows of a row group in the table of one film.
pub const ROWS: usize = 1_024;
/// Rows that a reader gives at once, and that a writer collects before it encodes them.
pub const BATCH: usize = 256;
/// The most values of an embedding: what a model's manifest may say.
const WIDEST: usize = 1 << 20;

/// A keyframe. Times are whole milliseconds from the container's start.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The video's name in the archive.
    pub video: Arc<str>,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Time of the picture.
    pub keyframe_ms: i64,
    /// Ordinal of the scene, from 1; looks at one long shot share it.
    pub scene: i32,
    pub transition: Arc<str>,
    /// As the model gave it.
    pub caption: Option<String>,
    /// Whether the caption was said.
    pub said: bool,
    /// Calibrated, 0 … 1.
    pub score: Option<f32>,
    pub mean_logprob: Option<f32>,
    /// Whether the caption is that of an earlier keyframe.
    pub repeats: bool,
    /// The picture's place from the archive's root.
    pub thumbnail: Option<String>,
    /// Name and version.
    pub model: Arc<str>,
    /// SHA-256 of the model's manifest, in hex.
    pub model_hash: Arc<str>,
    /// Of length 1.
    pub embedding: Vec<f32>,
}

fn schema(dimension: usize) -> SchemaRef {
    let field = |name: &str, kind: DataType, null: bool| Field::new(name, kind, null);
    let value = Arc::new(field("element", DataType::Float32, false));
    Arc::new(Schema::new(vec![
        field("video", DataType::Utf8, false),
        field("start_ms", DataType::Int64, false),
        field("end_ms", DataType::Int64, false),
        field("keyframe_ms", DataType::Int64, false),
        field("scene", DataType::Int32, false),
        field("transition", DataType::Utf8, false),
        field("caption", DataType::Utf8, true),
        field("said", DataType::Boolean, false),
        field("score", DataType::Float32, true),
        field("mean_logprob", DataType::Float32, true),
        field("repeats", DataType::Boolean, false),
        field("thumbnail", DataType::Utf8, true),
        field("model", DataType::Utf8, false),
        field("model_hash", DataType::Utf8, false),
        field("embedding", DataType::FixedSizeList(value, dimension as i32), false),
    ]))
}

/// Writes rows as they come.
pub struct TableWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    dimension: usize,
    waiting: Vec<Row>,
    name: String,
}

impl<W: Write + Send> TableWriter<W> {
    /// `name` is for messages, `dimension` the length of every embedding, `group` the rows of a row group.
    pub fn new(to: W, name: impl Into<String>, dimension: usize, group: usize) -> Result<TableWriter<W>> {
        let name = name.into();
        if dimension == 0 || dimension > WIDEST {
            return Err(Error::output(
                name,
                format!("embeddings of {dimension} values cannot be written"),
                format!("Use a model with 1 to {WIDEST}."),
            ));
        }
        let schema = schema(dimension);
        let about = json!({ "format": FORMAT, "descry": env!("CARGO_PKG_VERSION") }).to_string();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_statistics_enabled(ColumnPath::from("start_ms"), EnabledStatistics::Page)
            .set_column_statistics_enabled(ColumnPath::from("score"), EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(group.max(1)))
            .set_key_value_metadata(Some(vec![KeyValue::new("descry".into(), about)]));
        // Numbers that hardly repeat: neither a dictionary nor a compressor finds anything in them.
        let embedding = ColumnPath::new(vec!["embedding".into(), "list".into(), "element".into()]);
        properties = properties
            .set_column_dictionary_enabled(embedding.clone(), false)
            .set_column_compression(embedding, Compression::UNCOMPRESSED);
        for plain in ["start_ms", "end_ms", "keyframe_ms", "score", "mean_logprob", "thumbnail"] {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(plain), false);
        }
        let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties.build()));
        let writer = writer.map_err(|e| unwritten(&name, &e))?;
        Ok(TableWriter { writer, schema, dimension, waiting: Vec::new(), name })
    }

    pub fn push(&mut self, row: Row) -> Result<()> {
        if row.embedding.len() != self.dimension {
            return Err(Error::output(
                &self.name,
                format!("an embedding of {} values came to a table of {}", row.embedding.len(), self.dimension),
                "Keep models of different widths in archives of their own.",
            ));
        }
        self.waiting.push(row);
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let text = |of: &dyn Fn(&Row) -> Option<&str>| -> ArrayRef {
            let mut column = StringBuilder::new();
            rows.iter().for_each(|r| column.append_option(of(r)));
            Arc::new(column.finish())
        };
        let long = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
            let mut column = Int64Builder::with_capacity(rows.len());
            rows.iter().for_each(|r| column.append_value(of(r)));
            Arc::new(column.finish())
        };
        let float = |of: &dyn Fn(&Row) -> Option<f32>| -> ArrayRef {
            let mut column = Float32Builder::with_capacity(rows.len());
            rows.iter().for_each(|r| column.append_option(of(r)));
            Arc::new(column.finish())
        };
        let flag = |of: &dyn Fn(&Row) -> bool| -> ArrayRef {
            let mut column = BooleanBuilder::with_capacity(rows.len());
            rows.iter().for_each(|r| column.append_value(of(r)));
            Arc::new(column.finish())
        };
        let mut scene = Int32Builder::with_capacity(rows.len());
        rows.iter().for_each(|r| scene.append_value(r.scene));
        let values = Float32Builder::with_capacity(rows.len() * self.dimension);
        let mut embedding = FixedSizeListBuilder::new(values, self.dimension as i32).with_field(Field::new(
            "element",
            DataType::Float32,
            false,
        ));
        for row in &rows {
            embedding.values().append_slice(&row.embedding);
            embedding.append(true);
        }
        let columns: Vec<ArrayRef> = vec![
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
            text(&|r| r.thumbnail.as_deref()),
            text(&|r| Some(&r.model)),
            text(&|r| Some(&r.model_hash)),
            Arc::new(embedding.finish()),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(ParquetError::from);
        batch.and_then(|b| self.writer.write(&b)).map_err(|e| unwritten(&self.name, &e))
    }

    /// Writes what waits and the footer, and gives back what was written to.
    pub fn finish(mut self) -> Result<W> {
        self.flush()?;
        self.writer.into_inner().map_err(|e| unwritten(&self.name, &e))
    }
}

/// The reason, where there is one below: a full disk, a store that is gone.
fn unwritten(name: &str, e: &ParquetError) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return store::unwritten(name, io);
        }
        source = match cause.downcast_ref::<ParquetError>() {
            // Its own `source` passes over the error that it holds.
            Some(ParquetError::External(held)) => Some(&**held),
            _ => cause.source(),
        };
    }
    Error::output(name, format!("cannot be written as Parquet: {e}"), "Report this.")
}

/// Reads a table in order, some rows at a time.
pub struct TableReader {
    reader: ParquetRecordBatchReader,
    dimension: usize,
    rows: usize,
    name: String,
    ended: bool,
}

impl TableReader {
    /// Of a file on disk.
    pub fn open(path: &Path) -> Result<TableReader> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| store::unread(&name, &e))?;
        TableReader::new(file, name)
    }

    /// Of bytes in memory; `name` is for messages.
    pub fn of_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Result<TableReader> {
        TableReader::new(bytes.into(), name.into())
    }

    fn new<R: ChunkReader + 'static>(from: R, name: String) -> Result<TableReader> {
        let opened = guarded(|| {
            let metadata = ArrowReaderMetadata::load(&from, Default::default())?;
            let rows = metadata.metadata().file_metadata().num_rows();
            let schema = metadata.schema().clone();
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(from, metadata);
            Ok((schema, rows, builder.with_batch_size(BATCH).build()?))
        });
        let (found, rows, reader) = opened.map_err(|cause| broken(&name, cause))?;
        let dimension = match found.field_with_name("embedding").map(Field::data_type) {
            Ok(DataType::FixedSizeList(_, n)) => usize::try_from(*n).unwrap_or(0),
            _ => 0,
        };
        for wanted in schema(dimension).fields() {
            let there = found.field_with_name(wanted.name()).map(Field::data_type).ok();
            // The name of a list's field is nobody's business.
            let same = match (there, wanted.data_type()) {
                (Some(DataType::FixedSizeList(a, n)), DataType::FixedSizeList(b, _)) => {
                    a.data_type() == b.data_type() && *n > 0
                }
                (Some(a), b) => a == b,
                (None, _) => false,
            };
            if !same {
                return Err(broken(&name, format!("it has no column {} of {}", wanted.name(), wanted.data_type())));
            }
        }
        let rows = usize::try_from(rows).unwrap_or(0);
        Ok(TableReader { reader, dimension, rows, name, ended: false })
    }

    /// Values of every embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Rows of the whole table.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl Iterator for TableReader {
    type Item = Result<Vec<Row>>;

    fn next(&mut self) -> Option<Result<Vec<Row>>> {
        if self.ended {
            return None;
        }
        let (reader, dimension) = (&mut self.reader, self.dimension);
        let rows = guarded(|| match reader.next() {
            None => Ok(None),
            Some(batch) => read(&batch?, dimension).map(Some),
        });
        match rows {
            Ok(Some(rows)) => Some(Ok(rows)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(cause) => {
                self.ended = true;
                Some(Err(broken(&self.name, cause)))
            }
        }
    }
}

fn read(batch: &RecordBatch, dimension: usize) -> Result<Vec<Row>, ParquetError> {
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
    // What repeats from row to row is held once.
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
        rows.push(Row {
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

/// A damaged table must not end the program, wherever in the reader it is noticed.
fn guarded<T>(act: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("its pages are broken".into()),
    }
}

fn broken(name: &str, cause: String) -> Error {
    Error::input(
        name,
        format!("is no table of keyframes that can be read: {cause}"),
        "Let descry archive check find what is damaged, and index again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize, dimension: usize) -> Row {
        Row {
            video: "/films/a.mp4".into(),
            start_ms: n as i64 * 1_000,
            end_ms: n as i64 * 1_000 + 999,
            keyframe_ms: n as i64 * 1_000 + 500,
            scene: n as i32 + 1,
            transition: if n.is_multiple_of(3) { "cut" } else { "fade" }.into(),
            caption: n.is_multiple_of(2).then(|| format!("Number {n} “…”.")),
            said: n.is_multiple_of(4),
            score: n.is_multiple_of(5).then_some(0.25),
            mean_logprob: Some(-0.5),
            repeats: n.is_multiple_of(7),
            thumbnail: Some(format!("videos/{n}.jpg")),
            model: "m 1".into(),
            model_hash: "ab".into(),
            embedding: (0..dimension).map(|d| (n * 31 + d) as f32).collect(),
        }
    }

    fn table(rows: usize, dimension: usize, group: usize) -> Vec<u8> {
        let mut writer = TableWriter::new(Vec::new(), "t", dimension, group).unwrap();
        (0..rows).for_each(|n| writer.push(row(n, dimension)).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn rows_come_back_as_they_went_and_bytes_are_the_same() {
        for (rows, group) in [(0, 8), (1, 8), (BATCH, ROWS), (BATCH * 3 + 7, 300)] {
            let bytes = table(rows, 5, group);
            assert_eq!(bytes, table(rows, 5, group));
            let reader = TableReader::of_bytes("t", bytes).unwrap();
            assert_eq!((reader.rows(), reader.dimension()), (rows, 5));
            let batches: Vec<Vec<Row>> = reader.map(|b| b.unwrap()).collect();
            assert!(batches.iter().all(|b| b.len() <= BATCH));
            assert_eq!(batches.concat(), (0..rows).map(|n| row(n, 5)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(TableWriter::new(Vec::new(), "t", 0, 8).is_err());
        let mut writer = TableWriter::new(Vec::new(), "t", 4, 8).unwrap();
        assert!(writer.push(row(1, 5)).unwrap_err().to_string().contains("5 values"));
        assert!(TableReader::of_bytes("t", b"PAR1PAR1".to_vec()).is_err());
        assert!(TableReader::of_bytes("t", Vec::new()).is_err());
    }

    /// A panic would be caught, and printed: this test shows what a user would see.
    #[test]
    fn a_damaged_table_is_an_error_and_no_panic() {
        let whole = table(300, 3, 100);
        for at in (0..whole.len()).step_by(97) {
            let cut = TableReader::of_bytes("t", whole[..at].to_vec());
            assert!(cut.is_err(), "cut at {at}");
        }
        for at in (0..whole.len()).step_by(11) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            // Values that were changed cannot be told from others here: the record has their hash.
            if let Ok(reader) = TableReader::of_bytes("t", bytes) {
                reader.for_each(drop);
            }
        }
    }

    #[test]
    fn a_full_disk_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let told = TableWriter::new(Full, "t", 3, 8).and_then(|mut w| {
            (0..BATCH).try_for_each(|n| w.push(row(n, 3)))?;
            w.finish().map(drop)
        });
        let told = told.unwrap_err().to_string();
        assert!(told.contains("t: the disk is full"), "{told}");
    }
}
