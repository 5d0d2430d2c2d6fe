//! Black bars around a picture: letterbox, pillarbox, or both.
//!
//! A model that squashes a picture to a square makes the people in it smaller still where bars take a part of the square.
//! So bars are cropped off before a model sees a picture. The answer depends on the picture alone, and no dark picture may
//! be cut:
//!
//! - A line (a row or a column) belongs to a bar if at most 2 % of its pixels are brighter than [`BLACK`]: noise, specks or a
//!   logo do not end a bar.
//! - Bars come in pairs of one width. If one is wider, because the picture is dark beside it, both get the width of the
//!   narrower one. If subtitles end one early, both get the width of the other.
//! - A bar is flat, and the picture begins at once along most of its edge. A night sky or a spotlit face does neither.
//! - Narrow pairs stay, as does everything where too little would remain.
//!
//! `tools/descry_models/bars.py` has the same rule in Python. Time: a picture without bars costs its outermost lines;
//! of each line at most [`SAMPLES`] pixels are read.

use crate::media::resize::Window;
use crate::media::rgb::Rgb;

/// What happens to black bars around a picture before a model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bars {
    /// They are cropped off.
    #[default]
    Crop,
    /// They stay.
    Keep,
}

/// The brightest black, of 255.
const BLACK: u8 = 20;
/// A line is dark if at most one in so many of its pixels is bright.
const SPECKS: usize = 50;
/// A pair of bars is narrow if it takes less than one in so many lines.
const NARROW: usize = 50;
/// Largest standard deviation of the brightness within a bar, specks aside.
const FLAT: u64 = 4;
/// At the edge of a bar, the picture becomes brighter by as much, of 255 …
const STEP: u8 = 16;
/// … within so many lines. A shadow takes more.
const BLUR: usize = 3;
/// Fewest pixels on the shorter side of a picture that may have bars. Smaller ones are icons.
const LEAST_SIDE: usize = 32;
/// Most pixels that are read of a line.
const SAMPLES: usize = 256;

impl Bars {
    /// The name in a track's options.
    pub fn name(self) -> &'static str {
        match self {
            Bars::Crop => "crop",
            Bars::Keep => "keep",
        }
    }

    /// The part of a picture that a model sees. `None`: all of it.
    pub fn window(self, picture: &Rgb) -> Option<Window> {
        if self == Bars::Crop { inside_bars(picture) } else { None }
    }

    /// The picture as a model sees it.
    pub fn apply(self, picture: Rgb) -> Rgb {
        match self.window(&picture) {
            Some(window) => cut(picture, window),
            None => picture,
        }
    }
}

/// A part of a picture, which must lie inside it, in the same memory.
fn cut(picture: Rgb, Window { left, top, width, height }: Window) -> Rgb {
    let (line, mut data) = (picture.width as usize * 3, picture.data);
    for y in 0..height {
        let start = (top + y) * line + left * 3;
        data.copy_within(start..start + width * 3, y * width * 3);
    }
    data.truncate(width * height * 3);
    data.shrink_to_fit();
    Rgb { width: width as u32, height: height as u32, data }
}

/// The picture inside its bars; `None` if it has none.
fn inside_bars(picture: &Rgb) -> Option<Window> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let bytes = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(3));
    if width.min(height) < LEAST_SIDE || bytes != Some(picture.data.len()) {
        return None;
    }
    let (top, bottom) = bar_pair(Lines::rows(picture)).unwrap_or_default();
    let rows = height - top - bottom;
    let (left, right) = bar_pair(Lines::columns(picture, top, rows)).unwrap_or_default();
    let window = Window { left, top, width: width - left - right, height: rows };
    let area = window.width * window.height;
    // What is left of a dark picture is no frame between bars.
    (area < width * height && area * 5 >= width * height * 2).then_some(window)
}

/// Lines of the bar before the picture and of the bar behind it.
fn bar_pair(near: Lines<'_>) -> Option<(usize, usize)> {
    let (far, lines) = (near.reversed(), near.count);
    let first = near.dark_lines();
    if first == lines {
        return None;
    }
    let last = far.dark_lines();
    if (first + last) * NARROW < lines {
        return None;
    }
    if first.abs_diff(last) <= near.slack() {
        let bars = first > 0 && last > 0 && near.is_flat(first) && far.is_flat(last);
        return (bars && (near.is_edge(first) || far.is_edge(last))).then_some((first, last));
    }
    let (short, long) = if first < last { (near, far) } else { (far, near) };
    let (least, most) = (first.min(last), first.max(last));
    if 2 * least * NARROW >= lines && short.is_edge(least) {
        return (short.is_flat(least) && long.is_flat(least)).then_some((least, least));
    }
    let has_text = least > 0
        && 2 * most < lines
        && long.is_edge(most)
        && short.is_edge(most)
        && long.is_flat(most)
        && short.is_dark(most - 1)
        && short.is_mostly_dark(most);
    has_text.then_some((most, most))
}

/// Rows or columns of a picture, counted from one of its sides.
#[derive(Clone, Copy)]
struct Lines<'a> {
    data: &'a [u8],
    count: usize,
    /// Pixels that are read of each line.
    samples: usize,
    /// Where the first pixel of the first line is, in bytes.
    start: usize,
    /// Bytes from a line to the next, and from a pixel that is read to the next.
    line_step: isize,
    sample_step: usize,
}

impl<'a> Lines<'a> {
    fn rows(picture: &'a Rgb) -> Lines<'a> {
        let width = picture.width as usize;
        let stride = width.div_ceil(SAMPLES);
        Lines {
            data: &picture.data,
            count: picture.height as usize,
            samples: width.div_ceil(stride),
            start: 0,
            line_step: 3 * width as isize,
            sample_step: 3 * stride,
        }
    }

    /// The columns, between row `top` and the row `rows` below it.
    fn columns(picture: &'a Rgb, top: usize, rows: usize) -> Lines<'a> {
        let width = picture.width as usize;
        let stride = rows.div_ceil(SAMPLES);
        Lines {
            data: &picture.data,
            count: width,
            samples: rows.div_ceil(stride),
            start: 3 * width * top,
            line_step: 3,
            sample_step: 3 * width * stride,
        }
    }

    /// From the opposite side.
    fn reversed(self) -> Lines<'a> {
        Lines { start: self.line(self.count - 1), line_step: -self.line_step, ..self }
    }

    /// Where a line begins.
    fn line(&self, line: usize) -> usize {
        self.start.wrapping_add_signed(line as isize * self.line_step)
    }

    /// The brightness of a line's pixels as Pillow's `convert("L")` computes it, from 0 to 255.
    fn luma(&self, line: usize) -> impl Iterator<Item = u8> {
        let pixels = self.data[self.line(line)..].chunks(self.sample_step).take(self.samples);
        pixels.map(|p| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
        })
    }

    fn bright(&self, line: usize) -> usize {
        self.luma(line).filter(|&v| v > BLACK).count()
    }

    fn is_dark(&self, line: usize) -> bool {
        self.bright(line) * SPECKS <= self.samples
    }

    /// Dark lines before the first other one.
    fn dark_lines(&self) -> usize {
        (0..self.count).take_while(|&line| self.is_dark(line)).count()
    }

    /// How many lines an edge may be off, or blurred over.
    fn slack(&self) -> usize {
        self.count / 100 + 2
    }

    /// Whether the picture begins at a line, or just behind it: most of it becomes bright within a few lines.
    fn is_edge(&self, line: usize) -> bool {
        (line..(line + self.slack()).min(self.count)).any(|line| {
            let pairs = self.luma(line).zip(self.luma(line.saturating_sub(BLUR)));
            let risen = pairs.filter(|&(now, before)| now > BLACK && now.saturating_sub(before) >= STEP).count();
            risen * 2 >= self.samples
        })
    }

    /// Whether the first `lines` have one brightness, up to the noise that compression leaves beside a picture.
    fn is_flat(&self, lines: usize) -> bool {
        let beside = self.slack().min(lines / 4);
        let (mut sum, mut squares, mut n) = (0, 0, 0);
        for value in (0..lines - beside).flat_map(|line| self.luma(line)).filter(|&v| v <= BLACK).map(u64::from) {
            sum += value;
            squares += value * value;
            n += 1;
        }
        squares * n <= sum * sum + FLAT * FLAT * n * n
    }

    /// Whether the first `lines` are dark apart from a fifth of their pixels, as much as subtitles take.
    fn is_mostly_dark(&self, lines: usize) -> bool {
        let bright: usize = (0..lines).map(|line| self.bright(line)).sum();
        bright * 5 <= lines * self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A repeatable number from 0 to `below`, exclusively, for a position.
    fn noise(x: usize, y: usize, below: u32) -> u8 {
        let mixed = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
        (mixed.wrapping_mul(mixed >> 15 | 1) >> 12 & 0xFFFF).wrapping_mul(below).wrapping_shr(16) as u8
    }

    /// A grey picture.
    fn picture(width: usize, height: usize, grey: impl Fn(usize, usize) -> u8) -> Rgb {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Rgb { width: width as u32, height: height as u32, data: pixels.flat_map(|(x, y)| [grey(x, y); 3]).collect() }
    }

    /// Something lit, up to `left` and `top` pixels from the sides.
    fn between_bars(width: usize, height: usize, left: usize, top: usize, black: impl Fn(usize, usize) -> u8) -> Rgb {
        let inside = |x, y| (left..width - left).contains(&x) && (top..height - top).contains(&y);
        picture(width, height, |x, y| if inside(x, y) { 40 + noise(x, y, 200) } else { black(x, y) })
    }

    /// Left, top, width, height of what a model sees.
    fn seen(picture: &Rgb) -> (usize, usize, usize, usize) {
        let all = Window { left: 0, top: 0, width: picture.width as usize, height: picture.height as usize };
        let Window { left, top, width, height } = Bars::Crop.window(picture).unwrap_or(all);
        (left, top, width, height)
    }

    #[test]
    fn bars_are_cropped_off() {
        let black = |_, _| 0;
        assert_eq!(seen(&between_bars(640, 360, 0, 46, black)), (0, 46, 640, 268), "2.39:1 in 16:9");
        assert_eq!(seen(&between_bars(640, 360, 80, 0, black)), (80, 0, 480, 360), "4:3 in 16:9");
        assert_eq!(seen(&between_bars(640, 360, 80, 40, black)), (80, 40, 480, 280), "both");
        assert_eq!(seen(&between_bars(640, 360, 0, 7, black)), (0, 7, 640, 346), "1.85:1 in 16:9");
        assert_eq!(seen(&between_bars(640, 360, 0, 46, |_, _| 16)), (0, 46, 640, 268), "black that was not stretched");
        assert_eq!(seen(&between_bars(640, 360, 0, 46, |x, y| noise(x, y, 7))), (0, 46, 640, 268), "noise");
        let uneven = picture(640, 360, |_, y| if (46..313).contains(&y) { 90 } else { 0 });
        assert_eq!(seen(&uneven), (0, 46, 640, 267));
    }

    #[test]
    fn the_picture_itself_is_not_changed() {
        let boxed = between_bars(640, 360, 80, 40, |_, _| 0);
        let inside = picture(480, 280, |x, y| 40 + noise(x + 80, y + 40, 200));
        assert_eq!(Bars::Crop.apply(boxed.clone()), inside);
        assert_eq!(Bars::Keep.apply(boxed.clone()), boxed);
        assert_eq!(Bars::Crop.apply(inside.clone()), inside);
    }

    #[test]
    fn specks_and_a_logo_do_not_end_a_bar() {
        // Ten pixels of a row of 640.
        let logo = |x, y| if (600..610).contains(&x) && (10..30).contains(&y) { 255 } else { 0 };
        assert_eq!(seen(&between_bars(640, 360, 0, 46, logo)).1, 46);
    }

    #[test]
    fn subtitles_in_a_bar_do_not_save_it() {
        // Two rows of letters with gaps, over half of the width.
        let text = |x: usize, y| {
            let letter = (160..480).contains(&x) && x % 8 < 5;
            if letter && ((322..334).contains(&y) || (340..352).contains(&y)) { 235 } else { 0 }
        };
        assert_eq!(seen(&between_bars(640, 360, 0, 46, text)), (0, 46, 640, 268));
    }

    #[test]
    fn a_bar_is_not_wider_where_the_picture_is_dark() {
        let dark_above = |x, y| if (150..314).contains(&y) { 40 + noise(x, y, 200) } else { 0 };
        assert_eq!(seen(&picture(640, 360, dark_above)), (0, 46, 640, 268));
    }

    #[test]
    fn dark_pictures_are_not_cut() {
        let all = (0, 0, 640, 360);
        let disc = |x: usize, y: usize, radius: usize| x.abs_diff(320).pow(2) + y.abs_diff(180).pow(2) < radius.pow(2);
        let lamp = picture(640, 360, |x, y| if disc(x, y, 60) { 250 } else { noise(x, y, 6) });
        assert_eq!(seen(&lamp), all, "a lamp");
        let face = picture(640, 360, |x, y| if disc(x, y, 150) { 120 + noise(x, y, 60) } else { 0 });
        assert_eq!(seen(&face), all, "a face in a spotlight");
        let town = picture(640, 360, |x, y| if y < 200 { noise(x, y, 12) } else { 30 + noise(x, y, 200) });
        assert_eq!(seen(&town), all, "a night sky above a lit town");
        let black_sky = picture(640, 360, |x, y| if y < 200 { 0 } else { 30 + noise(x, y, 200) });
        assert_eq!(seen(&black_sky), all, "a bar on one side only");
        assert_eq!(seen(&picture(640, 360, |_, _| 0)), all, "black");
        assert_eq!(seen(&picture(640, 360, |x, y| noise(x, y, 9))), all, "nearly black");
        let fading = between_bars(640, 360, 0, 46, |_, _| 0);
        let fading = Rgb { data: fading.data.iter().map(|v| v / 16).collect(), ..fading };
        assert_eq!(seen(&fading), all, "a fade");
        let vignette = picture(640, 360, |_, y| (y.min(359 - y) * 2).min(200) as u8);
        assert_eq!(seen(&vignette), all, "darker towards the edges");
        let grainy = between_bars(640, 360, 0, 46, |x, y| noise(x, y, 20));
        assert_eq!(seen(&grainy), all, "no flat black");
        let title = |x, y| if (200..440).contains(&x) && (100..260).contains(&y) { 255 } else { 0 };
        assert_eq!(seen(&picture(640, 360, title)), all, "a title");
        assert_eq!(seen(&between_bars(640, 360, 0, 3, |_, _| 0)), all, "a black line");
        assert_eq!(seen(&between_bars(640, 360, 0, 120, |_, _| 0)), all, "too little would remain");
    }

    #[test]
    fn small_or_broken_pictures_stay_whole() {
        for (width, height) in [(1, 1), (3, 2), (5, 5), (31, 100)] {
            let framed = picture(width, height, |x, y| if x % (width - 1).max(1) * y == 0 { 0 } else { 200 });
            assert_eq!(Bars::Crop.window(&framed), None);
        }
        let broken = Rgb { width: 64, height: 64, data: vec![0; 7] };
        assert_eq!(Bars::Crop.apply(broken.clone()), broken);
        let empty = Rgb { width: 0, height: 0, data: Vec::new() };
        assert_eq!(Bars::Crop.apply(empty.clone()), empty);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_crop_keeps_two_fifths_and_is_final(
            (width, height) in (1usize..200, 1usize..200),
            (left, right, top, bottom) in (0usize..90, 0usize..90, 0usize..90, 0usize..90),
            (black, light) in (0u8..40, 0u8..200),
        ) {
            let inside = |x, y| (left..width.saturating_sub(right)).contains(&x)
                && (top..height.saturating_sub(bottom)).contains(&y);
            let picture = picture(width, height, |x, y| if inside(x, y) { light.max(noise(x, y, 255)) } else { black });
            let cropped = Bars::Crop.apply(picture.clone());
            let area = |rgb: &Rgb| rgb.width * rgb.height;
            prop_assert!(area(&cropped) * 5 >= area(&picture) * 2);
            prop_assert_eq!(cropped.data.len() as u32, area(&cropped) * 3);
            prop_assert_eq!(Bars::Crop.apply(picture.clone()), cropped, "the same picture, the same crop");
        }
    }
}
