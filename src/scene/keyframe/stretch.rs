//! The stretch of time that the next keyframe will represent.

use super::candidate::KeyframeCandidate;
use super::options::Keyframe;
use super::spread::SpreadFrames;
use crate::digest::Digest;
use crate::scene::boundary::Transition;
use crate::time::Time;

/// The stretch of time that the next keyframe will represent, while its end is still open.
pub(super) struct OpenStretch<T> {
    /// Ordinal of its scene.
    pub(super) scene: u32,
    pub(super) start: Time,
    pub(super) start_frame: u64,
    pub(super) transition: Transition,
    /// Frames before this moment belong to the transition.
    pub(super) clear_from: Time,
    /// The best frame so far.
    pub(super) best: Option<KeyframeCandidate<T>>,
    /// The best frame after `max_gap`, in case the shot is long enough for another keyframe.
    pub(super) next: Option<KeyframeCandidate<T>>,
    /// Time and ordinal of the first frame after `max_gap`.
    pub(super) next_start: Option<(Time, u64)>,
    /// Frames spread over it.
    pub(super) spread: SpreadFrames<T>,
}

impl<T> OpenStretch<T> {
    /// A stretch with no frames yet. `first` is the time and the ordinal of its first frame.
    pub(super) fn new(
        scene: u32,
        first: (Time, u64),
        transition: Transition,
        clear_from: Time,
        spread: SpreadFrames<T>,
    ) -> OpenStretch<T> {
        let (start, start_frame) = first;
        let (best, next, next_start) = (None, None, None);
        OpenStretch { scene, start, start_frame, transition, clear_from, best, next, next_start, spread }
    }

    /// How many pictures it holds.
    pub(super) fn held(&self) -> usize {
        usize::from(self.best.is_some()) + usize::from(self.next.is_some()) + self.spread.held()
    }

    /// The keyframe for the stretch, which ends before `end` and the frame `end_frame`.
    pub(super) fn keyframe(&mut self, c: KeyframeCandidate<T>, end: Time, end_frame: u64) -> Keyframe<T> {
        Keyframe {
            scene: self.scene,
            start: self.start,
            end,
            time: c.time,
            index: c.index,
            start_frame: self.start_frame,
            end_frame,
            transition: self.transition,
            blank: c.flat,
            quality: c.quality,
            picture: c.picture,
            spread: self.spread.cut(end),
        }
    }

    /// Adds the stretch to a digest, except the ordinal of its scene.
    pub(super) fn digest(&self, d: &mut Digest, picture: &impl Fn(&T) -> u64) {
        let OpenStretch { scene: _, start, start_frame, transition, clear_from, best, next, next_start, spread } = self;
        d.time(*start);
        d.frame(*start_frame);
        d.bytes(transition.name().as_bytes());
        d.time(*clear_from);
        d.option(best.as_ref(), |d, c| c.digest(d, picture));
        d.option(next.as_ref(), |d, c| c.digest(d, picture));
        d.option(*next_start, |d, (time, index)| {
            d.time(time);
            d.frame(index);
        });
        spread.digest(d, picture);
    }
}
