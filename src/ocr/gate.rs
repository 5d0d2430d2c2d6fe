//! Which frames are worth a look at their text: those in which something like letters has just come to rest, and some of
//! those in which it moves.
//!
//! A block of a [`StrokeMap`] rests when its strokes have changed little for a while. A row of blocks that have come to rest
//! since the last look is a reason for the next one: a title has appeared, or the scene is another. The same frame is read
//! again a second later, so that a line counts only if it was read twice. Text that moves never rests; where there are many
//! strokes that move, there is a look every second and a half.
//!
//! Memory: a few bytes for each block.

use super::text_box::TextBox;
use crate::scene::{StrokeMap, THUMB_HEIGHT, THUMB_WIDTH};
use crate::time::Time;

/// Why to look at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookReason {
    /// Something has come to rest.
    Rest,
    /// What came to rest is still there.
    Again,
    /// Something moves.
    Motion,
}

/// A look at a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Why.
    pub reason: LookReason,
    /// Where: everything in which something like letters has come to rest or moves, with room around it. From top to bottom,
    /// apart from each other.
    pub regions: Vec<TextBox>,
}

/// Blocks with fewer strokes show no text.
const ACTIVE: u8 = 9;
/// Text rests when its strokes have changed little for this long.
const REST: Time = Time::from_millis(280);
/// Least time between two looks at what has come to rest.
const LEAST_DISTANCE: Time = Time::from_millis(400);
/// Least time between a look and one at a whole picture, in seconds.
const SECONDS_PER_PICTURE: f64 = 1.5;
/// When to look again.
const AGAIN: Time = Time::from_millis(1_000);
/// Time between two looks at what moves.
const MOTION_DISTANCE: Time = Time::from_millis(1_500);
/// What moves for a shorter time fades in or out, or is noise.
const LEAST_MOTION: Time = Time::from_millis(600);
/// Of so many blocks in a row …
const WINDOW: usize = 6;
/// … this many have strokes where there is text.
const OF_WINDOW: usize = 4;

/// Blocks beside, and above and below, that are looked at, too: the ends of lines have fewer strokes, and the detector needs
/// something around a line.
const ROOM: (usize, usize) = (3, 5);

/// What is known of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// Its strokes when they changed last.
    strokes: u8,
    /// When that was.
    since: Time,
    /// Whether somebody has looked since.
    seen: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct TextGate {
    blocks: Vec<Block>,
    last_look: Option<Time>,
    /// Since when something has moved without a pause.
    moving: Option<Time>,
    /// When and where to look again at what came to rest.
    again: Option<(Time, Vec<TextBox>)>,
}

impl Default for TextGate {
    fn default() -> TextGate {
        TextGate {
            blocks: vec![Block::default(); THUMB_WIDTH * THUMB_HEIGHT],
            last_look: None,
            moving: None,
            again: None,
        }
    }
}

/// Whether strokes differ by more than noise does.
fn differ(a: u8, b: u8) -> bool {
    a.abs_diff(b) > (a.max(b) / 3).max(6)
}

impl TextGate {
    /// Whether to look at the frame with these strokes. Frames come in order of time.
    pub fn push(&mut self, time: Time, map: &StrokeMap) -> Option<Look> {
        for (block, &strokes) in self.blocks.iter_mut().zip(&map.values) {
            if differ(block.strokes, strokes) {
                *block = Block { strokes, since: time, seen: false };
            }
        }
        let since_last = self.last_look.map_or(Time::MAX, |last| time - last);
        let rests = |block: &Block| time - block.since >= REST;
        let is_new = |block: &Block| block.strokes >= ACTIVE && rests(block) && !block.seen;
        let moves = |block: &Block| block.strokes >= ACTIVE && !rests(block);
        let moving = self.regions(moves);
        self.moving = if moving.is_empty() { None } else { self.moving.or(Some(time)) };
        let at_rest = if since_last >= LEAST_DISTANCE { self.regions(is_new) } else { Vec::new() };
        // A look at large regions takes longer, so there are fewer of them.
        let area: f32 = at_rest.iter().map(|region| region.width * region.height).sum();
        let is_due = since_last.secs() >= f64::from(area) * SECONDS_PER_PICTURE;
        let look = if !at_rest.is_empty() && is_due {
            // What came to rest a moment ago is looked at again together with this.
            let before = self.again.take().into_iter().flat_map(|(_, regions)| regions);
            self.again = Some((time + AGAIN, apart(before.chain(at_rest.iter().copied()).collect())));
            Look { reason: LookReason::Rest, regions: at_rest }
        } else if let Some((_, regions)) = self.again.take_if(|(again, _)| time >= *again) {
            Look { reason: LookReason::Again, regions }
        } else if since_last >= MOTION_DISTANCE && self.moving.is_some_and(|since| time - since >= LEAST_MOTION) {
            Look { reason: LookReason::Motion, regions: moving }
        } else {
            return None;
        };
        self.last_look = Some(time);
        for block in self.blocks.iter_mut().filter(|block| rests(block)) {
            block.seen = true;
        }
        Some(look)
    }

    /// What lies around the parts of rows that have enough blocks which are `wanted`.
    fn regions(&self, wanted: impl Fn(&Block) -> bool) -> Vec<TextBox> {
        let rows = self.blocks.chunks_exact(THUMB_WIDTH).enumerate();
        apart(rows.filter_map(|(y, row)| row_region(y, row, &wanted)).collect())
    }
}

/// What lies around the parts of a row that have enough blocks which are `wanted`, with room.
fn row_region(y: usize, row: &[Block], wanted: impl Fn(&Block) -> bool) -> Option<TextBox> {
    let wanted: Vec<bool> = row.iter().map(wanted).collect();
    let enough = |window: &[bool]| window.iter().filter(|&&wanted| wanted).count() >= OF_WINDOW;
    let left = wanted.windows(WINDOW).position(enough)?.saturating_sub(ROOM.0);
    let right = wanted.windows(WINDOW).rposition(enough)? + WINDOW + ROOM.0;
    let (right, top, bottom) = (right.min(THUMB_WIDTH), y.saturating_sub(ROOM.1), (y + 1 + ROOM.1).min(THUMB_HEIGHT));
    let (across, down) = (|x: usize| x as f32 / THUMB_WIDTH as f32, |y: usize| y as f32 / THUMB_HEIGHT as f32);
    Some(TextBox { x: across(left), y: down(top), width: across(right - left), height: down(bottom - top) })
}

/// Regions from top to bottom; those whose rows overlap become one.
fn apart(mut regions: Vec<TextBox>) -> Vec<TextBox> {
    regions.sort_by(|a, b| a.y.total_cmp(&b.y));
    let mut out: Vec<TextBox> = Vec::new();
    for region in regions {
        match out.last_mut() {
            Some(last) if region.y < last.y + last.height => *last = last.with(&region),
            _ => out.push(region),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When and why a gate looks at a film of so many frames, 25 a second, with strokes `value(frame, x, y)`.
    fn looks(frames: i64, value: impl Fn(i64, usize, usize) -> u8) -> Vec<(i64, LookReason)> {
        let mut gate = TextGate::default();
        let map = |frame| {
            let places = (0..THUMB_HEIGHT).flat_map(|y| (0..THUMB_WIDTH).map(move |x| (x, y)));
            StrokeMap { values: places.map(|(x, y)| value(frame, x, y)).collect() }
        };
        let push = |frame: i64| Some((frame, gate.push(Time::from_millis(40 * frame), &map(frame))?.reason));
        (0..frames).filter_map(push).collect()
    }

    fn title(x: usize, y: usize) -> bool {
        (20..40).contains(&x) && (10..12).contains(&y)
    }

    #[test]
    fn a_title_is_read_when_it_rests_and_once_more() {
        // It fades in over ten frames, and flickers a little.
        let found = looks(200, |frame, x, y| {
            let opacity = (frame - 50).clamp(0, 10) as u8;
            if title(x, y) { 6 * opacity + (frame % 2) as u8 * 4 } else { 2 }
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!((60..=70).contains(&found[0].0) && found[0].1 == LookReason::Rest, "{found:?}");
        assert_eq!(found[1], (found[0].0 + 25, LookReason::Again));
    }

    #[test]
    fn another_text_in_its_place_is_read_too() {
        let found =
            looks(200, |frame, x, y| if title(x, y) { 30 + 40 * u8::from(frame >= 100 && x % 4 < 3) } else { 0 });
        let rests: Vec<i64> = found.iter().filter(|look| look.1 == LookReason::Rest).map(|look| look.0).collect();
        assert_eq!(rests, [7, 107]);
    }

    #[test]
    fn what_moves_is_read_from_time_to_time_and_a_blank_picture_never() {
        let ticker = looks(150, |frame, x, y| if y == 30 { ((x as i64 * 37 + frame * 53) % 120) as u8 } else { 0 });
        assert!((3..=5).contains(&ticker.len()), "{ticker:?}");
        assert!(ticker.iter().all(|look| look.1 == LookReason::Motion));
        assert_eq!(looks(150, |_, _, _| ACTIVE - 1), []);
        // Short edges are no text.
        assert_eq!(looks(150, |_, x, _| if x % 8 < 3 { 90 } else { 0 }), []);
    }
}
