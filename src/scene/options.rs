//! How scene changes are found.

use crate::time::Time;

/// How scene changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// Cuts by comparison with their neighbourhood, and fades and dissolves. Flashes do not count.
    Adaptive,
    /// A fixed threshold on the mean HSV change from frame to frame, as in PySceneDetect's ContentDetector.
    Content,
    /// No detection: a boundary every `interval`.
    Fixed,
}

/// Thresholds and intervals of scene detection.
#[derive(Debug, Clone)]
pub struct SceneOptions {
    /// How scene changes are found. Default: adaptive.
    pub detector: Detector,
    /// Adaptive: a cut changes this many times as much as the frames around it. Default: 3.0, as in PySceneDetect.
    pub ratio: f32,
    /// Adaptive: the least change of a cut, in 8-bit levels. Default: 12.
    pub floor: f32,
    /// Content: the least mean HSV change of a cut, from 0 to 255. Default: 27, as in PySceneDetect.
    pub threshold: f32,
    /// Fixed: time between boundaries. Default: 5 s.
    pub interval: Time,
    /// Fixed: the moment from which intervals count. Default: the first frame.
    pub origin: Option<Time>,
    /// The shortest scene. A boundary that comes sooner after the last one is dropped. Default: 0.6 s, as in
    /// PySceneDetect.
    pub min_scene: Time,
}

impl Default for SceneOptions {
    fn default() -> Self {
        SceneOptions {
            detector: Detector::Adaptive,
            ratio: 3.0,
            floor: 12.0,
            threshold: 27.0,
            interval: Time::from_millis(5_000),
            origin: None,
            min_scene: Time::from_millis(600),
        }
    }
}
