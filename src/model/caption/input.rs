//! What captioners read of a keyframe.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::media::rgb::Rgb;
use crate::model::image::Encoded;
use crate::model::prompt::CaptionPrompt;

/// A keyframe to caption.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionInput {
    /// What the image tower returned. ClipCap reads nothing else.
    pub encoded: Encoded,
    /// Pictures of the scene, in order of time, as many as the captioner reads at most; see [`PictureDemand`].
    pub pictures: Vec<Arc<Rgb>>,
    /// What is asked about it. None for the captioner's own prompt, and for captioners that take none.
    pub prompt: Option<Arc<CaptionPrompt>>,
}

impl CaptionInput {
    /// The pictures, of which a captioner that reads any gets at least one.
    pub(crate) fn required_pictures(&self) -> Result<&[Arc<Rgb>]> {
        if self.pictures.is_empty() {
            return Err(Error::runtime(
                "a keyframe reached the captioner without its picture",
                "Report this as a bug.",
            ));
        }
        Ok(&self.pictures)
    }
}

/// The pictures that a captioner reads besides what the image tower returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureDemand {
    /// Most pictures of a scene; 0 if the captioner reads the image tower's result only. Default: 0.
    pub count: usize,
    /// Longest side in pixels that is of any use. Default: 0.
    pub longest: u32,
}
