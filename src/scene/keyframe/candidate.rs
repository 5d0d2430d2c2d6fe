//! Frames that may become keyframes.

use crate::digest::Digest;
use crate::scene::features::quality;
use crate::time::Time;

/// A frame that may become a keyframe.
#[derive(Clone)]
pub(super) struct KeyframeCandidate<T> {
    pub(super) time: Time,
    pub(super) index: u64,
    /// Whether the picture shows nothing: black, white, or one colour.
    pub(super) flat: bool,
    /// Whether it was decoded without the loop filter.
    pub(super) unfiltered: bool,
    pub(super) sharpness: f32,
    /// Sharpness, less what motion costs.
    pub(super) quality: f32,
    pub(super) picture: T,
}

impl<T> KeyframeCandidate<T> {
    /// Whether this frame is the better keyframe. A frame that shows something beats one that does not, and then one that
    /// was decoded in full beats one that was not; of two equal ones the earlier stays.
    pub(super) fn beats(&self, other: &KeyframeCandidate<T>) -> bool {
        (!self.flat, !self.unfiltered, self.quality) > (!other.flat, !other.unfiltered, other.quality)
    }

    /// Lowers the quality by the motion to a neighbour, a mean luma change. The neighbour that moved more counts.
    pub(super) fn account_for_motion(&mut self, motion: f32) {
        self.quality = self.quality.min(quality(self.sharpness, motion));
    }

    /// Adds the candidate to a digest. `picture` gives the number that represents a picture.
    pub(super) fn digest(&self, d: &mut Digest, picture: &impl Fn(&T) -> u64) {
        let KeyframeCandidate { time, index, flat, unfiltered, sharpness, quality, picture: held } = self;
        d.time(*time);
        d.frame(*index);
        d.flag(*flat);
        d.flag(*unfiltered);
        d.floats(&[*sharpness, *quality]);
        d.number(picture(held));
    }
}
