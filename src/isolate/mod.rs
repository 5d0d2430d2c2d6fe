//! Decoding in processes of their own, so that a decoder that crashes, hangs or is taken over costs one film.
//!
//! A [`FrameSource`] is a [`Source`](crate::media::Source) in this process, or one in a child process: the same frames, the
//! same errors. The child is this program itself ([`Isolation::of_this_program`]), or any other whose `main` calls
//! [`serve`]. It opens one input, decodes it, reduces each frame to its thumb, and keeps the frames that the parent still
//! holds. The parent gets thumbs, and fetches the pictures of keyframes.
//!
//! Another kind of child renders the chat template of a model, which is a program, too.
//!
//! ```text
//! wire        requests and replies, with a length before each
//! picture     a frame's planes as bytes
//! sandbox     what a child may still do: Landlock, seccomp, limits
//! ahead       a film that is decoded ahead of the questions
//! child       the child: reads requests, decodes streams, replies
//! process     the child as its parent sees it: started, ended, reaped
//! link        one question, one answer, and how long it may take
//! trust       what a parent believes of what a child says
//! remote      a source in a child; checks all that comes from it
//! source      a source here or in a child
//! task        what a child is for
//! template    chat templates of models, rendered in a child
//! ```
//!
//! Order: frames come as the decoder gives them, and every question has its answer before the next one. Memory: the parent
//! holds the thumbs of the frames that it asked for, and the pictures that it fetched; the child, the frames that the parent
//! holds, and those that it has decoded ahead, which are [`FRAMES_AHEAD`] together with those on their way.
//! Threads: one that starts all children, and one per child for what it prints. In the child, one that replies, one that
//! listens, and one that decodes a film.

mod options;
mod protection;
mod source;
mod template;

#[cfg(unix)]
mod ahead;
#[cfg(unix)]
mod child;
#[cfg(unix)]
mod link;
#[cfg(unix)]
mod picture;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod remote;
#[cfg(all(unix, feature = "fuzzing"))]
mod replies;
#[cfg(unix)]
mod sandbox;
#[cfg(unix)]
mod task;
#[cfg(unix)]
mod trust;
#[cfg(unix)]
mod wire;

/// Frames of a film that are decoded and that nobody has looked at yet.
pub(crate) const FRAMES_AHEAD: usize = 12;

#[cfg(unix)]
pub use child::serve;
pub use options::Isolation;
pub use protection::Protection;
#[cfg(all(unix, feature = "fuzzing"))]
pub use replies::{ReceivedReplies, received, reply_seeds};
pub use source::FrameSource;
#[cfg(unix)]
pub use task::is_asked_for;
pub(crate) use template::render_template;
