//! One keyframe of a table, and the table's columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

/// Format of a table, which it states under the key `descry` of its metadata.
pub const TABLE_FORMAT: &str = "descry-keyframes/1";
/// Rows per row group in the table of one video: some 2 MB at 512 values per embedding.
pub(crate) const GROUP_ROWS: usize = 1_024;
/// Rows that a reader returns at once, and that a writer collects before it encodes them.
pub(crate) const BATCH_ROWS: usize = 256;

/// The largest number of values in an embedding. A model's manifest has the same limit.
pub(crate) const MAX_DIMENSION: usize = 1 << 20;

/// A keyframe in an archive. Times are whole milliseconds from the container's start.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyframeRow {
    /// The video's name in the archive.
    pub video: Arc<str>,
    /// Start of the scene, or of this section of a long one.
    pub start_ms: i64,
    /// End of the scene, or of this section of a long one.
    pub end_ms: i64,
    /// Time of the picture.
    pub keyframe_ms: i64,
    /// Ordinal of the scene, from 1. Keyframes of one long scene share it.
    pub scene: i32,
    /// How the scene begins: `start`, `cut`, `fade`, `dissolve` or `gap`.
    pub transition: Arc<str>,
    /// The model's caption; none where it made none.
    pub caption: Option<String>,
    /// Whether the caption became a cue: its score reached the minimum.
    pub said: bool,
    /// Calibrated score of the caption, 0 to 1; none where the model has no calibration.
    pub score: Option<f32>,
    /// Mean log-probability of the caption's tokens.
    pub mean_logprob: Option<f32>,
    /// Whether the caption is that of an earlier keyframe.
    pub repeats: bool,
    /// Share of the scene, or of this section of a long one, in which somebody talks, 0 to 1; none where that is not known, and
    /// in tables of earlier versions.
    pub speech: Option<f32>,
    /// Path of the thumbnail from the archive's root; none where there is no thumbnail.
    pub thumbnail: Option<String>,
    /// Name and version of the model.
    pub model: Arc<str>,
    /// SHA-256 of the model's manifest in hex.
    pub model_hash: Arc<str>,
    /// The image embedding, of length 1.
    pub embedding: Vec<f32>,
}

/// The column that tables of earlier versions do not have.
pub(super) const LATER: &str = "speech";

/// The columns of a table whose embeddings have `dimension` values.
pub(super) fn schema(dimension: usize) -> SchemaRef {
    let field = |name: &str, kind: DataType, null: bool| Field::new(name, kind, null);
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
        field(LATER, DataType::Float32, true),
        field("thumbnail", DataType::Utf8, true),
        field("model", DataType::Utf8, false),
        field("model_hash", DataType::Utf8, false),
        field("embedding", DataType::FixedSizeList(Arc::new(embedding_value()), dimension as i32), false),
    ]))
}

/// One value of an embedding.
pub(super) fn embedding_value() -> Field {
    Field::new("element", DataType::Float32, false)
}
