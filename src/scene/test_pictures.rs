//! Pictures for the tests of this folder.

use crate::scene::thumb::{THUMB_HEIGHT, THUMB_WIDTH, Thumb};
use crate::time::Time;

/// A textured picture, different for each seed, shifted by `shift` blocks.
pub(crate) fn picture(seed: u32, shift: f32) -> Vec<f32> {
    let mut out = vec![0.0; THUMB_WIDTH * THUMB_HEIGHT];
    for (i, v) in out.iter_mut().enumerate() {
        let (x, y) = ((i % THUMB_WIDTH) as f32 + shift, (i / THUMB_WIDTH) as f32);
        let s = seed as f32;
        *v = 128.0
            + 40.0 * ((x * (0.11 + 0.07 * (s % 3.0))) + s * 1.7).sin()
            + 35.0 * ((y * (0.17 + 0.05 * (s % 5.0))) + x * 0.05 * s + s).cos()
            + 25.0 * ((x * 0.31 + y * 0.23 * (s % 2.0) + s * s).sin());
    }
    out
}

/// A mix of two pictures, with this share of the second.
pub(crate) fn blend(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
    a.iter().zip(b).map(|(x, y)| x * (1.0 - share) + y * share).collect()
}

/// A grey thumb of a picture.
pub(crate) fn thumb(time_ms: i64, index: u64, luma: &[f32]) -> Thumb {
    let n = THUMB_WIDTH * THUMB_HEIGHT;
    Thumb {
        time: Time::from_millis(time_ms),
        index,
        y: luma.iter().map(|v| v.clamp(0.0, 255.0) as u8).collect(),
        u: vec![128; n],
        v: vec![128; n],
        sharpness: 5.0,
        unfiltered: false,
    }
}
