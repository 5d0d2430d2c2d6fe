//! What a keyframe is, and how often there is one.

use crate::scene::boundary::Transition;
use crate::time::Time;

/// How often a scene gets a keyframe.
#[derive(Debug, Clone)]
pub struct KeyframeOptions {
    /// A longer shot gets another keyframe for each such stretch. 0 or less: one for each scene. Default: 8 s.
    pub max_gap: Time,
}

impl Default for KeyframeOptions {
    fn default() -> Self {
        KeyframeOptions { max_gap: Time::from_millis(8_000) }
    }
}

/// A frame, and the stretch of time that it represents.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyframe<T> {
    /// Ordinal of the scene, from 0. Several keyframes of a long shot share it.
    pub scene: u32,
    /// First moment of the stretch.
    pub start: Time,
    /// End of the stretch: the start of the next one.
    pub end: Time,
    /// Time of the frame itself.
    pub time: Time,
    /// Ordinal of the frame, from 0.
    pub index: u64,
    /// Ordinal of the stretch's first frame.
    pub start_frame: u64,
    /// Ordinal of the frame after the stretch's last one.
    pub end_frame: u64,
    /// How the stretch follows the previous one.
    pub transition: Transition,
    /// Whether the whole stretch shows nothing: black, white, or one colour.
    pub blank: bool,
    /// Sharpness, less what motion costs. Comparable only within one scene.
    pub quality: f32,
    /// The frame's picture.
    pub picture: T,
    /// Pictures spread over the stretch, in order of time, if [`KeyframeSelector::with_spread`](super::KeyframeSelector::with_spread) asks for more than one.
    pub spread: Vec<T>,
}
