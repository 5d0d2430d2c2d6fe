//! One keyframe of a table, and the table's columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

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
    /// The lines of text that can be seen in this stretch, in order of their start; at most [`MOST_LINES`], of
    /// [`MOST_LINE_BYTES`] together. None where text was not read, and in tables of earlier versions.
    pub text: Option<Vec<TextRow>>,
    /// Path of the thumbnail from the archive's root; none where there is no thumbnail.
    pub thumbnail: Option<String>,
    /// Name and version of the model.
    pub model: Arc<str>,
    /// SHA-256 of the model's manifest in hex.
    pub model_hash: Arc<str>,
    /// The image embedding, of length 1.
    pub embedding: Vec<f32>,
}

/// A line of text that can be seen in a keyframe's stretch. The box is in shares of the picture's width and height.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRow {
    /// As it is written.
    pub text: String,
    /// When it is seen first. May be before the stretch.
    pub start_ms: i64,
    /// When it is gone, or the end of the stretch if it stays.
    pub end_ms: i64,
    /// Left edge of its box, 0 to 1.
    pub x: f32,
    /// Top edge of its box, 0 to 1.
    pub y: f32,
    /// Width of its box, 0 to 1.
    pub width: f32,
    /// Height of its box, 0 to 1.
    pub height: f32,
    /// How likely it was read correctly, 0 to 1.
    pub confidence: f32,
    /// How it behaves: `title`, `subtitle`, `static`, `rolling`, `counter` or `scene`.
    pub kind: Arc<str>,
}

/// Most lines of a keyframe.
pub const MOST_LINES: usize = 200;
/// Most bytes of a keyframe's lines: their texts and their kinds.
pub const MOST_LINE_BYTES: usize = 16 << 10;
/// Lines of a row group after which a writer begins the next one.
pub(super) const GROUP_LINES: usize = 1 << 16;
/// Bytes of a row group's lines after which a writer begins the next one.
pub(super) const GROUP_LINE_BYTES: usize = 4 << 20;

impl TextRow {
    /// Bytes of its texts.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.kind.len()
    }
}

/// A column that tables of earlier versions do not have.
pub(super) const SPEECH: &str = "speech";
/// A column that tables of earlier versions do not have.
pub(super) const TEXT: &str = "text";

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
        field(SPEECH, DataType::Float32, true),
        field(TEXT, DataType::List(Arc::new(line())), true),
        field("thumbnail", DataType::Utf8, true),
        field("model", DataType::Utf8, false),
        field("model_hash", DataType::Utf8, false),
        field("embedding", DataType::FixedSizeList(Arc::new(embedding_value()), dimension as i32), false),
    ]))
}

/// A line of text.
pub(super) fn line() -> Field {
    Field::new("element", DataType::Struct(line_fields()), false)
}

/// What is known of a line of text.
pub(super) fn line_fields() -> Fields {
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    Fields::from(vec![
        field("text", DataType::Utf8),
        field("start_ms", DataType::Int64),
        field("end_ms", DataType::Int64),
        field("x", DataType::Float32),
        field("y", DataType::Float32),
        field("width", DataType::Float32),
        field("height", DataType::Float32),
        field("confidence", DataType::Float32),
        field("kind", DataType::Utf8),
    ])
}

/// One value of an embedding.
pub(super) fn embedding_value() -> Field {
    Field::new("element", DataType::Float32, false)
}
