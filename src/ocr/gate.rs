//! Which frames are worth a look at their text: those in which something like letters has just come to rest, and some of
//! those in which it moves.
//!
//! A block of a [`StrokeMap`] rests when its strokes have changed little for a while. A row of blocks that have come to rest
//! since the last look is a reason for the next one: a title has appeared, or the scene is another. The same frame is read
//! again a second later, so that a line counts only if it was read twice. Text that moves never rests; where there are many
//! strokes that move, there is a look every second and a half, and one at the last frame before a cut or the end: what has come
//! in since would not be seen otherwise.
//!
//! Memory: a few bytes for each block.

use super::text_box::TextBox;
use super::trace::is_cut;
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
const AGAIN_SOON: Time = Time::from_millis(600);
/// Least time between a look and one again that comes soon.
const AGAIN_DISTANCE: Time = Time::from_millis(250);
/// Least time between two looks at known lines of which a part changes.
const LINE_DISTANCE: Time = Time::from_millis(500);
/// Time between two looks at known lines of which nothing seems to change; that at a whole picture, in seconds.
const LINES_AGAIN: Time = Time::from_millis(800);
const SECONDS_PER_STALE_PICTURE: f64 = 6.0;
/// Time between two looks at what moves.
const MOTION_DISTANCE: Time = Time::from_millis(1_500);
/// What has come in within so short a time before a cut or the end is not looked at.
const LEAST_LAST: Time = Time::from_millis(300);
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
    /// The last one at something that had come to rest.
    last_rest: Option<Time>,
    /// The newest frame's strokes, and when that is.
    newest: Option<(Time, StrokeMap)>,
    /// Since when something has moved without a pause.
    moving: Option<Time>,
    /// When and where to look again at what came to rest.
    again: Vec<(Time, Vec<TextBox>)>,
    /// How much later that is.
    again_after: Time,
    /// Whether it does not become later by what comes to rest meanwhile.
    is_quick: bool,
    /// Lines that are known: a part of one that changes is a reason for a look, however small it is.
    lines: Vec<TextBox>,
    /// Which blocks they have.
    in_line: Vec<bool>,
    /// The last look at lines that are known.
    last_change: Option<Time>,
}

impl Look {
    /// This look and a later one, in one look at the later one's frame.
    pub fn with(self, later: Look) -> Look {
        let reason = match (self.reason, later.reason) {
            (LookReason::Rest, _) | (_, LookReason::Rest) => LookReason::Rest,
            (LookReason::Again, _) | (_, LookReason::Again) => LookReason::Again,
            (LookReason::Motion, LookReason::Motion) => LookReason::Motion,
        };
        Look { reason, regions: apart(self.regions.into_iter().chain(later.regions).collect()) }
    }
}

impl Default for TextGate {
    fn default() -> TextGate {
        TextGate {
            blocks: vec![Block::default(); THUMB_WIDTH * THUMB_HEIGHT],
            last_look: None,
            last_rest: None,
            newest: None,
            moving: None,
            again: Vec::new(),
            again_after: AGAIN,
            is_quick: false,
            lines: Vec::new(),
            in_line: vec![false; THUMB_WIDTH * THUMB_HEIGHT],
            last_change: None,
        }
    }
}

/// Whether strokes differ by more than noise does. One letter of a line may be less than half of a block.
fn differ(a: u8, b: u8, in_line: bool) -> bool {
    let (part, least) = if in_line { (6, 4) } else { (3, 6) };
    a.abs_diff(b) > (a.max(b) / part).max(least)
}

impl TextGate {
    /// For what is to be known soon: it is looked at again after 0.6 s.
    pub fn quick() -> TextGate {
        TextGate { again_after: AGAIN_SOON, is_quick: true, ..TextGate::default() }
    }

    /// Lines that are known from now on, in place of those before: a change of one letter is a reason to look at its line.
    pub fn set_lines(&mut self, lines: Vec<TextBox>) {
        self.in_line.fill(false);
        for at in lines.iter().flat_map(blocks_of) {
            self.in_line[at] = true;
        }
        self.lines = lines;
    }

    /// The lines in which a block has come to rest that nobody has seen, with room.
    fn changed_lines(&self, time: Time, since_rest: Time) -> Vec<TextBox> {
        let since_change = self.last_change.map_or(Time::MAX, |last| time - last);
        if since_rest < LEAST_DISTANCE || since_change < LINE_DISTANCE {
            return Vec::new();
        }
        let is_new = |block: &Block| time - block.since >= REST && !block.seen;
        let changed = |line: &&TextBox| blocks_of(line).any(|at| is_new(&self.blocks[at]));
        apart(self.lines.iter().filter(changed).map(with_room).collect())
    }

    /// Whether to look at the frame with these strokes. Frames come in order of time.
    pub fn push(&mut self, time: Time, map: &StrokeMap) -> Option<Look> {
        for ((block, &strokes), &in_line) in self.blocks.iter_mut().zip(&map.values).zip(&self.in_line) {
            if differ(block.strokes, strokes, in_line) {
                *block = Block { strokes, since: time, seen: false };
            }
        }
        let since_last = self.last_look.map_or(Time::MAX, |last| time - last);
        let rests = |block: &Block| time - block.since >= REST;
        let is_new = |block: &Block| block.strokes >= ACTIVE && rests(block) && !block.seen;
        let moves = |block: &Block| block.strokes >= ACTIVE && !rests(block);
        let moving = self.regions(moves);
        self.moving = if moving.is_empty() { None } else { self.moving.or(Some(time)) };
        // A look that repeats one delays none at something new.
        let since_rest = if self.is_quick { self.last_rest.map_or(Time::MAX, |last| time - last) } else { since_last };
        let mut at_rest = if since_rest >= LEAST_DISTANCE { self.regions(is_new) } else { Vec::new() };
        let changed = self.changed_lines(time, since_rest);
        if !changed.is_empty() {
            at_rest = apart(at_rest.into_iter().chain(changed).collect());
            self.last_change = Some(time);
        }
        // A look at large regions takes longer, so there are fewer of them.
        let area: f32 = at_rest.iter().map(|region| region.width * region.height).sum();
        let is_due = since_rest.secs() >= f64::from(area) * SECONDS_PER_PICTURE;
        self.newest = Some((time, map.clone()));
        let look = if !at_rest.is_empty() && is_due {
            self.last_rest = Some(time);
            Look { reason: LookReason::Rest, regions: self.plan_again(time, at_rest) }
        } else if let Some(regions) = self.take_due(time, since_last) {
            Look { reason: LookReason::Again, regions }
        } else if let Some(regions) = self.stale_lines(time, since_last) {
            Look { reason: LookReason::Again, regions }
        } else if since_last >= MOTION_DISTANCE && self.moving.is_some_and(|since| time - since >= LEAST_MOTION) {
            Look { reason: LookReason::Motion, regions: moving }
        } else {
            return None;
        };
        self.last_look = Some(time);
        self.see(time, &look.regions);
        Some(look)
    }

    /// Plans to look again at regions that have come to rest. Returns what there is to look at now.
    fn plan_again(&mut self, time: Time, at_rest: Vec<TextBox>) -> Vec<TextBox> {
        let again = time + self.again_after;
        if self.is_quick {
            let due = self.take_due(time, Time::MAX).unwrap_or_default();
            self.again.push((again, at_rest.clone()));
            return apart(at_rest.into_iter().chain(due).collect());
        }
        // What came to rest a moment ago is looked at again together with this.
        let before = self.again.drain(..).flat_map(|(_, regions)| regions);
        let together = apart(before.chain(at_rest.iter().copied()).collect());
        self.again.push((again, together));
        at_rest
    }

    /// The known lines, with room, if nobody has looked at them for a while: the strokes of some digits hardly differ.
    fn stale_lines(&mut self, time: Time, since_last: Time) -> Option<Vec<TextBox>> {
        let regions = apart(self.lines.iter().map(with_room).collect());
        let area: f32 = regions.iter().map(|region| region.width * region.height).sum();
        let distance = LINES_AGAIN.secs().max(f64::from(area) * SECONDS_PER_STALE_PICTURE);
        let is_due = self.last_change.is_none_or(|last| (time - last).secs() >= distance);
        if regions.is_empty() || !is_due || since_last < AGAIN_DISTANCE {
            return None;
        }
        self.last_change = Some(time);
        Some(regions)
    }

    /// Plans one more look at some regions. `now`: the time of the newest frame.
    pub fn look_again(&mut self, now: Time, regions: Vec<TextBox>) {
        self.again.push((now + self.again_after, regions));
    }

    /// What is to be looked at again by now, if the last look was so long ago.
    fn take_due(&mut self, time: Time, since_last: Time) -> Option<Vec<TextBox>> {
        // Two looks that follow closely see the same.
        if self.is_quick && since_last < AGAIN_DISTANCE {
            return None;
        }
        let due: Vec<TextBox> = self.again.extract_if(.., |(again, _)| time >= *again).flat_map(|due| due.1).collect();
        (!due.is_empty()).then(|| apart(due))
    }

    /// What rests is seen by a look. If some looks only repeat others, that holds for what they look at.
    fn see(&mut self, time: Time, regions: &[TextBox]) {
        let mut looked = vec![!self.is_quick; self.blocks.len()];
        for at in regions.iter().flat_map(blocks_of) {
            looked[at] = true;
        }
        for (block, looked) in self.blocks.iter_mut().zip(looked) {
            block.seen |= looked && time - block.since >= REST;
        }
    }

    /// A look at the frame that was pushed last, if the one with these strokes begins another scene.
    pub fn before(&mut self, next: &StrokeMap) -> Option<Look> {
        let cut = self.newest.as_ref().is_some_and(|(_, newest)| is_cut(newest, next));
        if cut { self.finish() } else { None }
    }

    /// A look at the frame that was pushed last, after which its scene or the film ends.
    pub fn finish(&mut self) -> Option<Look> {
        let (time, _) = self.newest.as_ref()?;
        let since_last = self.last_look.map_or(Time::MAX, |last| *time - last);
        let moves_for = self.moving.map_or(Time::ZERO, |since| *time - since);
        if since_last < LEAST_LAST || moves_for < LEAST_MOTION {
            return None;
        }
        let moves = |block: &Block| block.strokes >= ACTIVE && *time - block.since < REST;
        let regions = self.regions(moves);
        self.last_look = Some(*time);
        (!regions.is_empty()).then_some(Look { reason: LookReason::Motion, regions })
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

/// The places of the blocks of a box.
fn blocks_of(region: &TextBox) -> impl Iterator<Item = usize> + use<> {
    let (columns, rows) = region.blocks();
    rows.flat_map(move |y| columns.clone().map(move |x| y * THUMB_WIDTH + x))
}

/// A line with room around it.
fn with_room(line: &TextBox) -> TextBox {
    let (across, down) = (ROOM.0 as f32 / THUMB_WIDTH as f32, ROOM.1 as f32 / THUMB_HEIGHT as f32);
    let (left, top) = ((line.x - across).max(0.0), (line.y - down).max(0.0));
    let (right, bottom) = ((line.x + line.width + across).min(1.0), (line.y + line.height + down).min(1.0));
    TextBox { x: left, y: top, width: right - left, height: bottom - top }
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
    fn what_moves_is_read_once_more_before_it_ends() {
        // A ticker below one scene or another.
        let map = |frame: i64, scene: usize| StrokeMap {
            values: (0..THUMB_WIDTH * THUMB_HEIGHT)
                .map(|n| match (n % THUMB_WIDTH, n / THUMB_WIDTH) {
                    (x, 30) => ((x as i64 * 37 + frame * 53) % 120) as u8,
                    (x, _) => {
                        if x % 2 == scene {
                            90
                        } else {
                            0
                        }
                    }
                })
                .collect(),
        };
        let mut gate = TextGate::default();
        let mut last = 0;
        for frame in 0..90 {
            assert_eq!(gate.before(&map(frame, 0)), None);
            last = gate.push(Time::from_millis(40 * frame), &map(frame, 0)).map_or(last, |_| frame);
        }
        assert!((50..=72).contains(&last), "{last}");
        // A cut some time after that, and another one at once.
        let look = gate.before(&map(90, 1)).unwrap();
        assert!(look.reason == LookReason::Motion && look.regions.len() == 1 && look.regions[0].y > 0.5, "{look:?}");
        gate.push(Time::from_millis(40 * 90), &map(90, 1));
        assert_eq!((gate.before(&map(91, 0)), gate.finish()), (None, None));
        assert_eq!(TextGate::default().finish(), None);
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

    #[test]
    fn a_digit_that_changes_in_a_known_line_is_read_soon_whatever_else_is() {
        let mut gate = TextGate::quick();
        let map = |frame: i64| {
            let value = |x: usize, y: usize| match (x, y) {
                // One block of a line at rest changes after 4 s. A title comes and goes beside it, and is read all the time.
                (20, 3) if frame >= 100 => 40,
                (4..24, 3) => 30,
                (10..40, 20) => 30 + 30 * ((frame / 11) % 2) as u8,
                _ => 0,
            };
            let places = (0..THUMB_HEIGHT).flat_map(|y| (0..THUMB_WIDTH).map(move |x| (x, y)));
            StrokeMap { values: places.map(|(x, y)| value(x, y)).collect() }
        };
        let line = TextBox { x: 4.0 / 64.0, y: 3.0 / 36.0, width: 20.0 / 64.0, height: 1.0 / 36.0 };
        let mut looks = Vec::new();
        for frame in 0..200 {
            if frame == 50 {
                gate.set_lines(vec![line]);
            }
            let look = gate.push(Time::from_millis(40 * frame), &map(frame));
            let shows = |look: &Look| look.regions.iter().any(|region| line.share_in(region) > 0.99);
            looks.extend(look.filter(shows).map(|look| (frame, look.reason)));
        }
        let rests: Vec<i64> =
            looks.iter().filter(|(at, reason)| *at >= 50 && *reason == LookReason::Rest).map(|(at, _)| *at).collect();
        let [first] = rests[..] else { panic!("{looks:?}") };
        assert!((107..=125).contains(&first), "{looks:?}");
        assert!(looks.iter().any(|(at, _)| (first + 10..first + 30).contains(at)), "{looks:?}");
        // Also if no strokes tell that something changes.
        let again: Vec<i64> = looks.iter().map(|(at, _)| *at).filter(|at| *at >= 50).collect();
        assert!(again.windows(2).all(|pair| pair[1] - pair[0] <= 30) && again.len() < 12, "{looks:?}");
    }

    #[test]
    fn a_look_that_is_dropped_is_made_up_for_by_the_next() {
        let region = |y| TextBox { x: 0.0, y, width: 1.0, height: 0.1 };
        let earlier = Look { reason: LookReason::Rest, regions: vec![region(0.0), region(0.5)] };
        let both = earlier.with(Look { reason: LookReason::Motion, regions: vec![region(0.55), region(0.9)] });
        assert_eq!((both.reason, both.regions.len()), (LookReason::Rest, 3));
    }
}
