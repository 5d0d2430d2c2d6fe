//! What a search asks for.

/// A query: words, text on the screen, an embedding or several of them, and which moments may answer.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// Finds captions with any of these words. Every character is text; there is no syntax. Default: none.
    pub words: Option<String>,
    /// Finds text on the screen with any of these words. Every character is text; there is no syntax. Default: none.
    pub on_screen: Option<String>,
    /// Finds keyframes similar to this, among those of the same model. Default: none.
    pub embedding: Option<QueryEmbedding>,
    /// Only videos whose names match one of these patterns, whatever the case. A pattern with `*`, `?` or `[` must match
    /// the whole name, another one any part of it. Default: empty, for all videos.
    pub files: Vec<String>,
    /// Only moments that end after this time of their video, in milliseconds. Default: none.
    pub from_ms: Option<i64>,
    /// Only moments that begin before this time of their video, in milliseconds. Default: none.
    pub until_ms: Option<i64>,
    /// Only captions with at least this score, 0 to 1. Default: none.
    pub min_score: Option<f32>,
    /// Only keyframes with at least this cosine, -1 to 1. Default: none.
    pub min_similarity: Option<f32>,
    /// Number of moments at most. Default: 10.
    pub limit: usize,
    /// Threads of the scan; they do not change the answer. Default: one per core.
    pub threads: usize,
}

impl Default for SearchQuery {
    fn default() -> SearchQuery {
        SearchQuery {
            words: None,
            on_screen: None,
            embedding: None,
            files: Vec::new(),
            from_ms: None,
            until_ms: None,
            min_score: None,
            min_similarity: None,
            limit: 10,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// An embedding to search for, and the model that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryEmbedding {
    /// SHA-256 of the model's manifest in hex.
    pub model_hash: String,
    /// The embedding, of length 1.
    pub embedding: Vec<f32>,
}
