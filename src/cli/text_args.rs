//! Options of reading the text that films show.

use clap::Args;

use crate::error::{Error, Result};
use crate::ocr::{StaticText, TextModel};

/// Whether text is read.
#[derive(Args)]
#[command(next_help_heading = "Text")]
pub(super) struct TextArgs {
    /// Read the text that the film shows, and describe it
    ///
    /// Titles, names and signs become part of the descriptions. Subtitles and clocks are kept in the JSON only.
    #[arg(long)]
    text: bool,
    /// How often to describe text that stays in its place from scene to scene, such as logos
    #[arg(
        long,
        value_enum,
        value_name = "once|never",
        hide_possible_values = true,
        requires = "text",
        default_value = "once"
    )]
    text_static: StaticText,
}

impl TextArgs {
    /// Refuses to read text in a part of a video: a line may be shown in two of them.
    pub(super) fn refuse_for_parts(&self) -> Result<()> {
        if self.text {
            return Err(Error::usage(
                "--text: the parts of a video are described without the text that it shows",
                "Leave --text out, or describe the whole video with 'descry describe'.",
            ));
        }
        Ok(())
    }

    /// What is said about text that is static.
    pub(super) fn static_text(&self) -> StaticText {
        self.text_static
    }

    /// What reads text, if it is wanted.
    pub(super) fn model(&self) -> Result<Option<TextModel>> {
        self.text.then(TextModel::load).transpose()
    }
}
