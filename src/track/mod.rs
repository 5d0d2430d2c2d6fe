//! From captioned keyframes to a track on disk.
//!
//! [`Dedup`] finds repeated scenes, [`CueBuilder`] turns descriptions into readable cues, [`place`] puts them into the pauses
//! of speech, [`write`] puts a [`Track`] into a format, and [`output`] names and writes the files. A [`PictureStore`] keeps the
//! pictures of a page until then.

pub(crate) mod cue;
pub(crate) mod dedup;
pub(crate) mod formats;
#[cfg(unix)]
mod named_pipe;
pub mod output;
pub(crate) mod pictures;
pub mod place;
pub(crate) mod record;
pub(crate) mod writing;

pub use cue::{Cue, CueBuilder, CueOptions, Description};
pub use dedup::{Dedup, DedupOptions, Judgement, Verdict};
pub use formats::{Format, write};
pub use output::Target;
pub use pictures::PictureStore;
pub use record::{SceneRecord, Speech, SpeechSource, Track};
