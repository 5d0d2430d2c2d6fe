//! Keyframes: the frame that represents a scene.
//!
//! Owns the scene detector and, for the time that it has not judged yet, the best frame of each half second
//! ([`buckets`]). At most [`MAX_PICTURES`] frames are held, whatever their rate. Keyframes come out in order and tile
//! the time from the first frame to the end: each ends where the next begins.
//!
//! A good keyframe is not part of a transition, is not flat if the scene has anything better, is sharp, and shows
//! no motion. A long shot gets a keyframe for every `max_gap`.

mod buckets;
mod candidate;
mod options;
mod selector;
mod spread;
mod stretch;

pub use options::{Keyframe, KeyframeOptions};
pub use selector::KeyframeSelector;
pub(crate) use selector::MAX_PICTURES;
pub(in crate::scene) use spread::SpreadFrames;

#[cfg(test)]
mod tests;
