//! Pictures to pixels, as the processor's configuration says: the sizes of `transformers`, the filters of Pillow.
//!
//! Memory: the picture between two resizings, at most [`MAX_SIDE`] pixels on its longer side.

use super::config::{Family, HubConfig, ProcessorConfig};
use super::files::HubFolder;
use crate::error::{Error, Result};
use crate::media::resize::{Resample, Window, resize};
use crate::media::rgb::Rgb;

/// The absolute maximum of `transformers` (`MAX_IMAGE_SIZE` of SmolVLM).
const MAX_SIDE: usize = 4096;

/// Most tiles along a side of a picture; published models have four.
const MAX_TILES: usize = 16;

/// The tiles of a picture that is split. The whole picture comes behind them, as large as a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TileGrid {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl TileGrid {
    /// Pictures that the image tower reads of a picture; one if it is not split.
    pub(crate) fn pictures(grid: Option<TileGrid>) -> usize {
        grid.map_or(1, |grid| grid.rows * grid.columns + 1)
    }
}

/// How pictures become pixels.
#[derive(Debug, Clone)]
pub(crate) struct Processor {
    steps: Vec<ResizeStep>,
    /// Whether pictures are split into tiles.
    split: bool,
    filter: Resample,
    /// Value of a sample of 8 bits, by colour.
    tables: [Box<[f32; 256]>; 3],
    /// Width and height of the result.
    side: usize,
}

/// One change of a picture's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResizeStep {
    /// The longer side gets this length, the other one follows and is made even.
    LongestEdge(usize),
    /// Both sides get this length.
    Square(usize),
    /// The shorter side gets a length, and the middle square of this side is the result.
    Middle { shortest: usize, side: usize },
}

impl Processor {
    /// The processor of a folder. `split`: pictures are split into tiles if its configuration says so.
    ///
    /// # Errors
    /// [`Error::Model`] if its configuration asks for something that descry cannot do.
    pub(crate) fn new(folder: &HubFolder, split: bool) -> Result<Processor> {
        let HubConfig { processor, family, .. } = &folder.config;
        let unsupported = |what: String| {
            folder.error(format!("preprocessor_config.json asks for {what}"), "Use a model that descry can run.")
        };
        let filter = processor
            .filter()
            .map_err(|other| unsupported(format!("Pillow's filter {other}, which descry does not have")))?;
        let steps = match family {
            Family::SmolVlm => smolvlm_steps(processor),
            Family::Llava | Family::Florence => llava_steps(processor),
        };
        let steps = steps.ok_or_else(|| unsupported(format!("the size {}", processor.size)))?;
        let (Some(ResizeStep::Square(side) | ResizeStep::Middle { side, .. }), true) =
            (steps.last().copied(), processor.do_resize)
        else {
            return Err(unsupported("pictures of different sizes".into()));
        };
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(unsupported(format!("pictures of {side} pixels")));
        }
        if let Some(ResizeStep::LongestEdge(length)) = steps.first()
            && length.div_ceil(side) > MAX_TILES
        {
            return Err(unsupported(format!("more than {MAX_TILES} tiles along a side")));
        }
        let (mean, std) = (processor.image_mean.unwrap_or([0.5; 3]), processor.image_std.unwrap_or([0.5; 3]));
        let tables = std::array::from_fn(|c| {
            Box::new(std::array::from_fn(|v| {
                let scaled = if processor.do_rescale { v as f64 * processor.rescale_factor } else { v as f64 } as f32;
                if processor.do_normalize { (scaled - mean[c]) / std[c] } else { scaled }
            }))
        });
        let split = split && processor.do_image_splitting && *family == Family::SmolVlm;
        Ok(Processor { steps, split, filter, tables, side })
    }

    /// Width and height of the result.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// Appends a picture's pixels to `out`: three planes, red first.
    ///
    /// # Errors
    /// [`Error::Input`] for a picture without pixels.
    pub(crate) fn append(&self, picture: &Rgb, out: &mut Vec<f32>) -> Result<()> {
        let bytes = (picture.width as usize).checked_mul(picture.height as usize).and_then(|n| n.checked_mul(3));
        if picture.data.is_empty() || bytes != Some(picture.data.len()) {
            return Err(Error::input("picture", "it has no pixels", "Leave it out."));
        }
        match self.grid(picture) {
            Some(grid) => self.tiles(picture, grid).iter().for_each(|tile| self.append_samples(tile, out)),
            None => {
                let mut resized = None;
                for step in &self.steps {
                    let from = resized.as_ref().unwrap_or(picture);
                    resized = Some(step.apply(from, self.filter));
                }
                self.append_samples(resized.as_ref().unwrap_or(picture), out);
            }
        }
        Ok(())
    }

    fn append_samples(&self, picture: &Rgb, out: &mut Vec<f32>) {
        for (c, table) in self.tables.iter().enumerate() {
            out.extend(picture.data.iter().skip(c).step_by(3).map(|&v| table[usize::from(v)]));
        }
    }

    /// The tiles of a picture; `None` if it is not split.
    pub(crate) fn grid(&self, picture: &Rgb) -> Option<TileGrid> {
        let (true, Some(ResizeStep::LongestEdge(length))) = (self.split, self.steps.first()) else { return None };
        let (w, h) = longest_edge(picture.width as usize, picture.height as usize, *length);
        let (columns, rows) = tiles(w, h, self.side);
        (rows > 1 || columns > 1).then_some(TileGrid { rows, columns })
    }

    /// The tiles of a picture, row by row, and the whole picture. As in `transformers`, the whole is made of the picture
    /// that was resized for the tiles.
    fn tiles(&self, picture: &Rgb, grid: TileGrid) -> Vec<Rgb> {
        let side = self.side;
        let first = self.steps[0].apply(picture, self.filter);
        let all = stretched(&first, grid.columns * side, grid.rows * side, self.filter);
        let mut tiles = Vec::with_capacity(TileGrid::pictures(Some(grid)));
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                let mut data = Vec::with_capacity(side * side * 3);
                for y in row * side..(row + 1) * side {
                    let start = (y * grid.columns + column) * side * 3;
                    data.extend_from_slice(&all.data[start..start + side * 3]);
                }
                tiles.push(Rgb { width: side as u32, height: side as u32, data });
            }
        }
        tiles.push(stretched(&all, side, side, self.filter));
        tiles
    }
}

/// A picture in another size.
fn stretched(picture: &Rgb, w: usize, h: usize, filter: Resample) -> Rgb {
    resize(picture, w, h, filter, Window { left: 0, top: 0, width: w, height: h })
}

/// Columns and rows of tiles that cover a picture, as Python computes them: the longer side decides.
fn tiles(w: usize, h: usize, side: usize) -> (usize, usize) {
    let aspect = w as f64 / h as f64;
    let covering = |length: f64| (length as usize).div_ceil(side).max(1);
    if w >= h {
        let columns = w.div_ceil(side);
        (columns, covering((columns * side) as f64 / aspect))
    } else {
        let rows = h.div_ceil(side);
        (covering((rows * side) as f64 * aspect), rows)
    }
}

impl ResizeStep {
    fn apply(self, picture: &Rgb, filter: Resample) -> Rgb {
        let (w, h) = (picture.width as usize, picture.height as usize);
        let whole = |w: usize, h: usize| stretched(picture, w, h, filter);
        match self {
            ResizeStep::LongestEdge(length) => {
                let (w, h) = longest_edge(w, h, length);
                whole(w, h)
            }
            ResizeStep::Square(side) => whole(side, side),
            ResizeStep::Middle { shortest, side } => {
                // Python's int(length * long / short).
                let other = |long: usize, short: usize| (shortest as f64 * long as f64 / short as f64) as usize;
                let (w, h) = if w <= h { (shortest, other(h, w)) } else { (other(w, h), shortest) };
                // Only what is kept is computed: the rest of a picture that is long and narrow may fill the memory.
                let (left, top) = (w.saturating_sub(side) / 2, h.saturating_sub(side) / 2);
                let window = Window { left, top, width: w.min(side), height: h.min(side) };
                centre(&resize(picture, w, h, filter, window), side)
            }
        }
    }
}

/// SmolVLM's sizes: the longest edge first, then a square, or tiles of it.
fn smolvlm_steps(config: &ProcessorConfig) -> Option<Vec<ResizeStep>> {
    let first = config.size["longest_edge"].as_u64()? as usize;
    let side = config.max_image_size["longest_edge"].as_u64()? as usize;
    Some(vec![ResizeStep::LongestEdge(first.clamp(1, MAX_SIDE)), ResizeStep::Square(side)])
}

/// CLIP's sizes (the shortest edge, then the middle) or SigLIP's (a square).
fn llava_steps(config: &ProcessorConfig) -> Option<Vec<ResizeStep>> {
    if let Some(side) = ProcessorConfig::square(&config.size) {
        return Some(vec![ResizeStep::Square(side)]);
    }
    let shortest = config.shortest_edge()?;
    let crop = config.crop().filter(|_| config.do_center_crop.unwrap_or(false));
    (1..=MAX_SIDE).contains(&shortest).then(|| vec![ResizeStep::Middle { shortest, side: crop.unwrap_or(shortest) }])
}

/// `get_resize_output_image_size` of SmolVLM's processor: as Python computes it, in f64.
fn longest_edge(w: usize, h: usize, length: usize) -> (usize, usize) {
    let aspect = w as f64 / h as f64;
    let even = |n: usize| n + n % 2;
    let (w, h) = if w >= h {
        (length, even((length as f64 / aspect) as usize))
    } else {
        (even((length as f64 * aspect) as usize), length)
    };
    (w.max(1), h.max(1))
}

/// The middle of a picture, with black around it where it is smaller.
fn centre(picture: &Rgb, side: usize) -> Rgb {
    let (w, h) = (picture.width as usize, picture.height as usize);
    let mut data = vec![0; side * side * 3];
    // As transformers' center_crop: the upper left corner is rounded down.
    let offset = |length: usize| (length as i64 - side as i64).div_euclid(2);
    let (left, top) = (offset(w), offset(h));
    for y in 0..side {
        let from = y as i64 + top;
        if !(0..h as i64).contains(&from) {
            continue;
        }
        for x in 0..side {
            let column = x as i64 + left;
            if (0..w as i64).contains(&column) {
                let (at, source) = ((y * side + x) * 3, (from as usize * w + column as usize) * 3);
                data[at..at + 3].copy_from_slice(&picture.data[source..source + 3]);
            }
        }
    }
    Rgb { width: side as u32, height: side as u32, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of a .npy file with 32-bit floats.
    fn npy(name: &str) -> Vec<f32> {
        let bytes = std::fs::read(goldens().join(name)).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn goldens() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/hub")
    }

    #[test]
    fn pixels_are_those_of_pillow() {
        for (model, suffix) in [("hub", ""), ("florence", ".florence")] {
            let folder = HubFolder::open(goldens().join("../../models").join(model), None).unwrap();
            let processor = Processor::new(&folder, true).unwrap();
            for name in ["landscape", "wide"] {
                let path = goldens().join(format!("{name}.png"));
                let picture = crate::media::picture::open(&path, &Default::default()).unwrap();
                let mut pixels = Vec::new();
                processor.append(&picture, &mut pixels).unwrap();
                let wanted = npy(&format!("{name}{suffix}.npy"));
                assert_eq!(pixels.len(), wanted.len());
                let off = pixels.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{model}, {name}: {off}");
            }
        }
    }

    #[test]
    fn the_longest_edge_decides_and_the_other_is_even() {
        assert_eq!(longest_edge(500, 333, 2048), (2048, 1364));
        assert_eq!(longest_edge(333, 500, 2048), (1364, 2048));
        assert_eq!(longest_edge(1, 1, 128), (128, 128));
        assert_eq!(longest_edge(5000, 1, 128), (128, 1), "not below one pixel");
    }

    #[test]
    fn tiles_cover_a_picture_as_in_transformers() {
        assert_eq!(tiles(2048, 1364, 512), (4, 3));
        assert_eq!(tiles(1364, 2048, 512), (3, 4));
        assert_eq!(tiles(64, 64, 32), (2, 2));
        assert_eq!(tiles(64, 2, 32), (2, 1));
        assert_eq!(tiles(64, 66, 32), (3, 3));
    }

    /// Whole, it would have 4,096 × 245,760,000 pixels.
    #[test]
    fn only_the_middle_of_a_long_picture_is_resized() {
        let picture = Rgb { width: 1, height: 60_000, data: vec![9; 180_000] };
        let middle = ResizeStep::Middle { shortest: 4096, side: 8 }.apply(&picture, Resample::Bicubic);
        assert_eq!((middle.width, middle.height, middle.data), (8, 8, vec![9; 192]));
    }

    #[test]
    fn a_crop_of_a_small_picture_is_padded() {
        let picture = Rgb { width: 1, height: 1, data: vec![9, 8, 7] };
        let crop = centre(&picture, 3);
        assert_eq!(crop.data.iter().filter(|&&v| v > 0).count(), 3);
        assert_eq!(crop.data[12..15], [9, 8, 7]);
    }
}
