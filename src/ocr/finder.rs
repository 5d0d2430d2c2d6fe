//! The text of a film: what is read in the frames that a [`TextGate`](super::TextGate) chose, tracked over time.
//!
//! Memory: a picture, and what a [`TextTracker`] holds.

use super::gate::{Look, LookReason};
use super::screen_text::TextUpdate;
use super::text_box::TextBox;
use super::tracked::{FoundLine, VisibleLine};
use super::tracker::TextTracker;
use super::{TextLine, TextReader};
use crate::error::Result;
use crate::media::{Frame, Rgb};
use crate::scene::StrokeMap;
use crate::time::Time;

/// Longest side of the pictures in which text is read.
const LONGEST_SIDE: u32 = 1_280;

/// At a larger share of a picture, a glance comes before a look.
const LARGE: f64 = 0.2;

/// See the module.
#[derive(Default)]
pub struct TextFinder {
    tracker: TextTracker,
    /// Whether the last look found a line.
    found: bool,
    /// Whether a look is not always followed by the one that repeats it.
    is_quick: bool,
}

impl TextFinder {
    /// For the looks of a gate that is [quick](super::TextGate::quick).
    pub fn quick() -> TextFinder {
        TextFinder { is_quick: true, ..TextFinder::default() }
    }

    /// The strokes of the next frame.
    pub fn frame(&mut self, time: Time, map: StrokeMap) {
        self.tracker.frame(time, map);
    }

    /// Reads a frame whose strokes are known. A picture that cannot be converted is left out.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn look(&mut self, reader: &mut TextReader, frame: &Frame, look: Look) -> Result<()> {
        let has_lines = || self.found || self.is_quick && self.tracker.has_lines_in(&look.regions);
        if look.reason == LookReason::Again && !has_lines() {
            return Ok(());
        }
        let Ok(whole) = frame.to_rgb_within(LONGEST_SIDE) else { return Ok(()) };
        let (mut regions, mut found) = (Vec::new(), Vec::new());
        for region in look.regions {
            let (region, lines) = read(reader, &whole, region, look.reason)?;
            regions.push(region);
            found.extend(lines);
        }
        self.found = !found.is_empty();
        self.tracker.look(frame.time, &regions, found);
        Ok(())
    }

    /// What has become known.
    pub fn update(&mut self) -> TextUpdate {
        self.tracker.update()
    }

    /// The lines that are on the screen and were read well enough, as they read now. Their text may be new since the last look.
    pub fn visible(&self) -> Vec<VisibleLine> {
        self.tracker.visible()
    }

    /// Where lines are that have digits and stay in their places, for [`TextGate::set_lines`](super::TextGate::set_lines).
    pub fn numbers(&self) -> Vec<TextBox> {
        self.tracker.numbers()
    }

    /// What is known at the end of the film, which lasts until `end`.
    pub fn finish(&mut self, end: Time) -> TextUpdate {
        self.tracker.finish(end)
    }
}

/// The lines in a region, which becomes as wide as the picture where a line goes on beyond its edges.
fn read(
    reader: &mut TextReader,
    whole: &Rgb,
    region: TextBox,
    reason: LookReason,
) -> Result<(TextBox, Vec<FoundLine>)> {
    let found = |lines: &[TextLine], picture: &CutOut| {
        lines.iter().map(|line| FoundLine::of(line, picture.origin, (whole.width, whole.height))).collect()
    };
    let picture = cut(whole, &region);
    let glance = reason == LookReason::Motion || picture.share > LARGE;
    if glance && !reader.may_show_text(&picture.part, picture.share)? {
        return Ok((region, Vec::new()));
    }
    let lines = reader.read_part(&picture.part, picture.share)?;
    let wide = TextBox { x: 0.0, width: 1.0, ..region };
    if region == wide || !lines.iter().any(|line| is_cut(line, &picture.part)) {
        return Ok((region, found(&lines, &picture)));
    }
    let picture = cut(whole, &wide);
    Ok((wide, found(&reader.read_part(&picture.part, picture.share)?, &picture)))
}

/// A part of a picture.
struct CutOut {
    part: Rgb,
    /// Its upper left corner, in pixels of the whole.
    origin: (u32, u32),
    /// Its share of the whole's pixels.
    share: f64,
}

/// Whether a line may go on beyond the left or the right edge of a picture.
fn is_cut(line: &TextLine, picture: &Rgb) -> bool {
    let xs = line.corners.map(|corner| corner.x);
    let height = line.corners[0].distance(line.corners[3]);
    let near = height / 2.0;
    xs.iter().any(|x| *x < near || *x > f64::from(picture.width) - near)
}

/// The part of a picture that is in a box.
fn cut(whole: &Rgb, region: &TextBox) -> CutOut {
    let range = |from: f32, length: f32, side: u32| {
        let edge = |at: f32| (at * side as f32).round().clamp(0.0, side as f32) as u32;
        (edge(from), edge(from + length).max(edge(from)))
    };
    let ((left, right), (top, bottom)) =
        (range(region.x, region.width, whole.width), range(region.y, region.height, whole.height));
    let row = |y: u32| {
        let start = 3 * (y as usize * whole.width as usize + left as usize);
        &whole.data[start..start + 3 * (right - left) as usize]
    };
    let data = (top..bottom).flat_map(row).copied().collect();
    let part = Rgb { width: right - left, height: bottom - top, data };
    let pixels = |picture: &Rgb| f64::from(picture.width) * f64::from(picture.height);
    let share = pixels(&part) / pixels(whole).max(1.0);
    CutOut { part, origin: (left, top), share }
}
