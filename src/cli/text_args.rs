//! Options of reading the text that films show.

use clap::Args;

use crate::error::Result;
use crate::ocr::TextModel;

/// Whether text is read.
#[derive(Args)]
#[command(next_help_heading = "Text")]
pub(super) struct TextArgs {
    /// Read the text that the film shows, and describe it
    ///
    /// Titles, names and signs become part of the descriptions. Subtitles, logos and clocks are kept in the JSON only.
    #[arg(long)]
    text: bool,
}

impl TextArgs {
    /// What reads text, if it is wanted.
    pub(super) fn model(&self) -> Result<Option<TextModel>> {
        self.text.then(TextModel::load).transpose()
    }
}
