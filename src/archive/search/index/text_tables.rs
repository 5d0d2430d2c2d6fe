//! The two kinds of texts of an index, and where they are.

use super::vector_file::VectorFile;

/// A table of texts, the table of their words, and which of them a keyframe has.
pub(crate) struct TextTables {
    pub(crate) texts: &'static str,
    pub(crate) words: &'static str,
    /// By row of a file; 0 where there is none.
    pub(crate) ids: fn(&VectorFile) -> &[u32],
}

/// Captions.
pub(crate) const CAPTIONS: TextTables = TextTables { texts: "texts", words: "words", ids: VectorFile::texts };
/// Text on the screen.
pub(crate) const SCREENS: TextTables = TextTables { texts: "screens", words: "screen_words", ids: VectorFile::screens };
