//! The text that streams show: which frames are read, and what is reported of it.
//!
//! ```text
//! feed    on the stream's thread: which frames to read
//!   │ inbox: of each stream, the strokes of some seconds, and one frame to read
//! reader  (one thread) reads, and follows lines over time
//! news    what is new about them
//! desk    joins that with the description of a picture, or publishes it alone
//! ```
//!
//! Where the reader falls behind, a frame that waits gives way to the next, in which everything is read that would have been
//! read in it. So nothing waits in line, and no stream waits for the reader.

mod clock;
mod desk;
mod feed;
mod inbox;
mod news;
mod reader;
mod ticker;

pub(super) use desk::TextDesk;
pub(super) use feed::TextFeed;
pub(super) use inbox::TextInbox;
pub(super) use reader::{LookFrame, TextReaderJob, read_text};
