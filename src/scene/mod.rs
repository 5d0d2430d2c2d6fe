//! Which frames matter: where scenes begin and end, and which frame represents each of them.
//!
//! ```text
//! thumb      a decoded frame as 64×36 block means
//! strokes    where a frame may show text
//! features   what is kept of a thumb, and how two of them compare
//! options    how scene changes are found
//! boundary   a scene change, as the detector reports it
//! detector   thumbs in, boundaries out, 2.4 s later: exact, for files
//! keyframe   frames in, one keyframe for each scene out; uses the detector
//! watcher    frames in, keyframes out within a quarter of a second of a cut: for live streams
//! ```
//!
//! All of them are state machines without threads. What they hold is bounded whatever the frame rate.

mod boundary;
mod detector;
mod features;
pub(crate) mod keyframe;
mod options;
mod strokes;
mod thumb;
mod watcher;

pub use boundary::{Boundary, Transition};
pub use detector::SceneDetector;
pub use keyframe::{Keyframe, KeyframeOptions, KeyframeSelector};
pub use options::{Detector, SceneOptions};
pub use strokes::StrokeMap;
pub(crate) use thumb::SAMPLES as THUMB_SAMPLES;
pub use thumb::{THUMB_HEIGHT, THUMB_WIDTH, Thumb};
pub use watcher::{LiveKeyframe, Watcher, WatcherOptions};

#[cfg(test)]
mod test_pictures;
