//! Where a picture may show text: how much of its brightness goes up and down again within a few letters.
//!
//! Letters are strokes: along a row, each is an edge up and an edge down, or the other way round, close together. The outline
//! of a large object is an edge in one direction only, and a smooth background has none. Grass has strokes too, so a
//! [`StrokeMap`] says where text may be, not where it is. It is linear in the contrast, so a title that fades in has half of
//! its strokes when it has half of its opacity.
//!
//! Like [`thumb`](super::thumb), this reads some rows of each block, on every frame that is decoded. No state. Memory: a few
//! rows.

use super::thumb::{
    ROWS, SAMPLES, THUMB_HEIGHT, THUMB_WIDTH, WIDE, layout, row_of_bytes, sampled_row, sum, unreadable,
};
use crate::error::Result;
use crate::media::Frame;
use crate::media::ffmpeg::PixelFormat;
use crate::media::scale::{Rows, scale};

/// The strokes of a picture, on the grid of a [`Thumb`](super::Thumb).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrokeMap {
    /// [`THUMB_HEIGHT`] rows of [`THUMB_WIDTH`] blocks: an eighth of the steps in brightness that go up along a row of the
    /// block and its two neighbours, or of those that go down if they are less; in levels of 8 bits, at most 255.
    pub values: Vec<u8>,
}

/// Smaller steps in brightness are noise.
const NOISE: i16 = 12;
/// A step is measured across this share of a frame's width, so that it is one in frames of any size: 1/320. An edge of
/// compressed video is about as wide.
const ACROSS: usize = 320;
/// Samples of a block in the small copy of frames that are turned, or in formats without rows of luma, in each direction.
const SMALL: usize = 10;
/// What a value of 1 stands for, in levels.
const LEVELS: u32 = 8;

impl Frame {
    /// The strokes of the frame as it is shown.
    ///
    /// # Errors
    /// [`Error::Input`](crate::error::Error::Input) if the pixel format cannot be read.
    pub fn strokes(&self) -> Result<StrokeMap> {
        if let Some(values) = self.stroke_values() {
            return Ok(StrokeMap { values: values.to_vec() });
        }
        let av = self.av()?;
        let place = self.stored_place();
        if place.is_none()
            && let Some(luma) = layout(av).and_then(|layout| layout.components.first().copied())
        {
            let mut narrow = Vec::new();
            return Ok(of_rows(luma.width, luma.height, |y, add| add(row_of_bytes(av, &luma, y, &mut narrow))));
        }
        // Letters stand upright in the picture as it is shown. A small copy of the one that is stored is turned.
        let (width, height) = (SMALL * THUMB_WIDTH, SMALL * THUMB_HEIGHT);
        let place = place.as_ref();
        let turned = place.is_some_and(|place| place(1.0, 0.5).0 == 0.5);
        let (stored_width, stored_height) = if turned { (height, width) } else { (width, height) };
        let data = scale(av, Rows::All, PixelFormat::YUVJ444P, stored_width as u32, stored_height as u32);
        let data = data.ok_or_else(|| unreadable(av))?;
        let sample = |x: usize, y: usize| {
            let (x, y) = ((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
            let (x, y) = place.map_or((x, y), |place| place(x, y));
            let column = ((x * stored_width as f32) as usize).min(stored_width - 1);
            data[((y * stored_height as f32) as usize).min(stored_height - 1) * stored_width + column]
        };
        Ok(of_rows(width, height, |y, add| add(&(0..width).map(|x| sample(x, y)).collect::<Vec<u8>>())))
    }
}

/// The strokes of a picture whose rows `with_row` shows.
fn of_rows(width: usize, height: usize, mut with_row: impl FnMut(usize, &mut dyn FnMut(&[u8]))) -> StrokeMap {
    let edge = |i: usize| i * width / THUMB_WIDTH;
    let blocks: Vec<_> = (0..THUMB_WIDTH).map(|i| edge(i)..edge(i + 1)).collect();
    let step = (width / ACROSS).max(1);
    let rows = if width / THUMB_WIDTH >= WIDE { ROWS / 2 } else { ROWS };
    let mut values = vec![0; SAMPLES];
    if width <= step || width < THUMB_WIDTH {
        return StrokeMap { values };
    }
    let (mut up, mut down) = (vec![0u16; width], vec![0u16; width]);
    for (by, values) in values.chunks_exact_mut(THUMB_WIDTH).enumerate() {
        let top = by * height / THUMB_HEIGHT;
        let bottom = ((by + 1) * height / THUMB_HEIGHT).max(top + 1);
        let take = rows.min(bottom - top);
        up.fill(0);
        down.fill(0);
        for r in 0..take {
            with_row(sampled_row(top..bottom, r, take), &mut |row| add_steps(row, step, &mut up, &mut down));
        }
        let sums = |columns: &[u16]| -> Vec<u32> { blocks.iter().map(|block| sum(&columns[block.clone()])).collect() };
        let (up, down) = (sums(&up), sums(&down));
        let unit = (step * take) as u32 * LEVELS;
        for (x, value) in values.iter_mut().enumerate() {
            let near = x.saturating_sub(1)..(x + 2).min(THUMB_WIDTH);
            let (up, down): (u32, u32) = (up[near.clone()].iter().sum(), down[near].iter().sum());
            *value = (up.min(down) / unit).min(255) as u8;
        }
    }
    StrokeMap { values }
}

/// Adds the steps of a row to those of its columns.
fn add_steps(row: &[u8], step: usize, up: &mut [u16], down: &mut [u16]) {
    for (((&from, &to), up), down) in row.iter().zip(&row[step.min(row.len())..]).zip(up).zip(down) {
        let change = i16::from(to) - i16::from(from);
        *up += (change - NOISE).max(0) as u16;
        *down += (-change - NOISE).max(0) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map of a picture whose luma at each place is `value`.
    fn map(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> StrokeMap {
        of_rows(width, height, |y, add| add(&(0..width).map(|x| value(x, y)).collect::<Vec<u8>>()))
    }

    fn at(map: &StrokeMap, x: usize, y: usize) -> u8 {
        map.values[y * THUMB_WIDTH + x]
    }

    #[test]
    fn strokes_are_counted_and_edges_are_not() {
        for (width, height) in [(640, 360), (1_280, 720), (1_920, 1_080)] {
            let scale = width / 320;
            // Bars two units wide and six apart in the left half, between one sixth and one third of the height.
            let bars = map(width, height, |x, y| {
                let text = x < width / 2 && (height / 6..height / 3).contains(&y);
                if text && x / scale % 8 < 2 { 220 } else { 20 }
            });
            // A block and its neighbours are 15 units wide: two bars, of 188 levels after the noise.
            assert!((35..=60).contains(&at(&bars, 10, 9)), "{}", at(&bars, 10, 9));
            assert_eq!([at(&bars, 50, 9), at(&bars, 10, 20), at(&bars, 10, 2)], [0; 3]);
            let edge = map(width, height, |x, _| if x < width / 2 { 20 } else { 220 });
            assert_eq!(edge.values, vec![0; SAMPLES]);
            let faint = map(width, height, |x, _| if x / scale % 8 < 2 { 30 } else { 20 });
            assert_eq!(faint.values, vec![0; SAMPLES]);
        }
    }

    #[test]
    fn half_of_the_contrast_is_about_half_of_the_strokes() {
        let strokes = |bright: u8| f32::from(at(&map(640, 360, |x, _| if x / 2 % 8 < 2 { bright } else { 0 }), 20, 20));
        let share = strokes(120) / strokes(240);
        assert!((0.4..0.55).contains(&share), "{share}");
    }

    #[test]
    fn tiny_pictures_have_no_strokes() {
        for (width, height) in [(0, 0), (1, 1), (2, 50), (63, 36), (64, 1)] {
            assert_eq!(map(width, height, |x, y| ((x + y) % 2 * 255) as u8).values.len(), SAMPLES);
        }
    }
}
