//! Lines of text over time: what looks at single frames have found, put together.
//!
//! A [`TextTracker`] gets the strokes of every frame and the lines of the frames that were looked at, in order of time. It
//! recognises lines by their place and what they say, follows their strokes from frame to frame, lets their readings vote,
//! and tells how they behave. It is a state machine without threads or models.
//!
//! Memory: the strokes of some seconds of film ([`trace`](super::trace)), and the lines that are on the screen: at most
//! [`MOST_OPEN`].

use super::screen_text::{ScreenText, TextKind, TextUpdate};
use super::text_box::TextBox;
use super::trace::{Motion, StrokeHistory};
use super::tracked::{FoundLine, TrackedLine, VisibleLine};
use crate::scene::StrokeMap;
use crate::time::Time;

/// Most lines that are followed at a time: twice as many as are read of a picture by default.
const MOST_OPEN: usize = 400;
/// A line that no look has found again for so long is gone.
const PATIENCE: Time = Time::from_millis(3_500);
/// What begins is known so much later: it has come to rest, and was read twice.
const DELAY: Time = Time::from_millis(3_600);
/// Looks that do not find a line although its strokes are there: then they are not those of text.
const MOST_MISSED: u32 = 2;
/// Lines that roll together.
const ROLLING_LINES: usize = 3;
/// A line that outlives a scene, and is there for this share of the film, is static.
const NEARLY_ALL: f64 = 0.9;
/// So many different texts in the same place, each for a few seconds, are subtitles.
const SUBTITLES: usize = 3;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct TextTracker {
    history: StrokeHistory,
    open: Vec<TrackedLine>,
    ended: Vec<ScreenText>,
    /// Time of the first frame.
    began: Option<Time>,
    /// Time of the newest frame.
    now: Time,
    /// Rows in which a line has scrolled sideways, and when that was: their middles.
    ticker_rows: Vec<(Time, f32)>,
    /// Middles of the latest lines that were where subtitles are, from top to bottom of the picture.
    subtitle_rows: Vec<f32>,
}

/// A row in which nothing has scrolled for so long is no ticker any more.
const TICKER_PAUSE: Time = Time::from_millis(15_000);

/// Whether a line is where tickers are.
fn is_at_edge(place: &TextBox) -> bool {
    let y = place.center().1;
    !(0.15..=0.75).contains(&y)
}

impl TextTracker {
    /// The strokes of the next frame.
    pub fn frame(&mut self, time: Time, map: StrokeMap) {
        self.now = time;
        self.began.get_or_insert(time);
        let cut = self.history.begins_scene(&map);
        self.open.iter_mut().for_each(|line| line.follow(time, &map, cut));
        self.history.push(time, map);
        let gone = |line: &TrackedLine| line.lost.is_some_and(|since| time - since > PATIENCE);
        for line in self.open.extract_if(.., |line| gone(line)).collect::<Vec<_>>() {
            self.end(&line, line.lost.unwrap_or(time));
        }
    }

    /// The lines that were found in some regions of the frame at `time`, whose strokes the tracker has.
    pub(super) fn look(&mut self, time: Time, regions: &[TextBox], found: Vec<FoundLine>) {
        let Some(map) = self.history.at(time).cloned() else { return };
        let (pairs, new) = self.matches(time, found);
        let mut matched = vec![false; self.open.len()];
        for (index, line) in pairs {
            matched[index] = true;
            self.open[index].update(line, time, &map, &self.history);
        }
        self.find_rolling();
        let begins = |line| TrackedLine::new(line, time, &map, &self.history);
        let mut begin: Vec<TrackedLine> = new.into_iter().map(begins).collect();
        if let Some(motion) = self.rolling_motion(time) {
            begin.iter_mut().for_each(|line| line.join(motion, &self.history));
        }
        self.close(time, regions, &mut matched, &mut begin);
        let room = MOST_OPEN.saturating_sub(self.open.len());
        self.open.extend(begin.into_iter().take(room));
        self.find_tickers(time);
    }

    /// Whether lines that are on the screen are in some regions.
    pub(super) fn has_lines_in(&self, regions: &[TextBox]) -> bool {
        self.open.iter().any(|line| regions.iter().any(|region| line.place.share_in(region) >= 0.5))
    }

    /// Pairs lines that are on the screen with those that were found, the best pairs first; and those that are new.
    fn matches(&self, time: Time, found: Vec<FoundLine>) -> (Vec<(usize, FoundLine)>, Vec<FoundLine>) {
        let mut fits: Vec<(f64, usize, usize)> = Vec::new();
        for (n, line) in found.iter().enumerate() {
            for (index, open) in self.open.iter().enumerate() {
                let fit = open.fit(line, time);
                if fit > 0.0 {
                    fits.push((fit, index, n));
                }
            }
        }
        fits.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut found: Vec<Option<FoundLine>> = found.into_iter().map(Some).collect();
        let mut taken = vec![false; self.open.len()];
        let mut pairs = Vec::new();
        for (_, index, n) in fits {
            if !taken[index]
                && let Some(line) = found[n].take()
            {
                taken[index] = true;
                pairs.push((index, line));
            }
        }
        (pairs, found.into_iter().flatten().collect())
    }

    /// Ends the lines that a look has not found: those that `begin` replaces, those that are lost, and those that are none.
    fn close(&mut self, time: Time, regions: &[TextBox], matched: &mut Vec<bool>, begin: &mut [TrackedLine]) {
        let mut over = Vec::new();
        for (index, line) in self.open.iter_mut().enumerate().filter(|(index, _)| !matched[*index]) {
            let successor = begin.iter_mut().find(|new| new.place.overlap(&line.place) >= 0.3);
            if let Some(new) = successor {
                let at = line.replaced_at(time, &self.history);
                let end = line.lost.map_or(at, |lost| lost.min(at));
                new.start = new.start.max(end);
                over.push((index, Some(end)));
            } else if !regions.iter().any(|region| line.place.share_in(region) >= 0.9) {
                // Nobody has looked there.
            } else if let Some(lost) = line.lost {
                over.push((index, Some(lost)));
            } else {
                line.missed += 1;
                if line.missed >= MOST_MISSED {
                    let end = line.replaced_at(time, &self.history);
                    over.push((index, line.was_read_twice().then_some(end)));
                }
            }
        }
        for (index, end) in over.into_iter().rev() {
            let line = self.open.remove(index);
            matched.remove(index);
            if let Some(end) = end {
                self.end(&line, end);
            }
        }
    }

    fn end(&mut self, line: &TrackedLine, end: Time) {
        let Some(mut text) = line.text(end) else { return };
        if text.kind == TextKind::Title && self.is_subtitle(&text) {
            text.kind = TextKind::Subtitle;
        }
        self.ended.push(text);
    }

    /// Whether a line is where subtitles are, and others have been there before.
    fn is_subtitle(&mut self, text: &ScreenText) -> bool {
        if !text.may_be_subtitle() {
            return false;
        }
        let y = text.place.center().1;
        let near = |row: &&f32| (**row - y).abs() < 0.5 * text.place.height;
        let before = self.subtitle_rows.iter().filter(near).count();
        self.subtitle_rows.push(y);
        if self.subtitle_rows.len() > 4 * SUBTITLES {
            self.subtitle_rows.remove(0);
        }
        before + 1 >= SUBTITLES
    }

    /// How the credits move that a look at `time` has found.
    fn rolling_motion(&self, time: Time) -> Option<Motion> {
        let rolls = |line: &&TrackedLine| line.group == Some(TextKind::Rolling) && line.looked == time;
        let mut motions = self.open.iter().filter(rolls).filter_map(|line| line.motion);
        motions.find(|motion| motion.x.abs() < 0.2 * motion.y.abs())
    }

    /// Lines that move up or down together, at one speed, are credits.
    fn find_rolling(&mut self) {
        let together = |a: &Motion, b: &Motion| {
            let speed = a.y.abs().max(b.y.abs());
            a.x.abs() < 0.2 * a.y.abs() && (a.y - b.y).abs() < 0.2 * speed && (a.x - b.x).abs() < 0.2 * speed
        };
        let motions: Vec<Option<Motion>> = self.open.iter().map(|line| line.motion).collect();
        for (index, motion) in motions.iter().enumerate() {
            let Some(motion) = motion else { continue };
            if motions.iter().flatten().filter(|other| together(motion, other)).count() >= ROLLING_LINES {
                self.open[index].group = Some(TextKind::Rolling);
            }
        }
    }

    /// Lines that move sideways in a row at the edge of the picture, one after the other, are a ticker. Where lines of other
    /// rows move with them, the camera moves.
    fn find_tickers(&mut self, time: Time) {
        let others: Vec<(f32, Motion)> =
            self.open.iter().filter_map(|line| Some((line.place.center().1, line.motion?))).collect();
        let is_alone = |line: &TrackedLine| {
            let (y, x) = (line.place.center().1, line.motion.map_or(0.0, |motion| motion.x));
            let with_it = |(row, motion): &(f32, Motion)| {
                (row - y).abs() > line.place.height && (motion.x - x).abs() < 0.3 * x.abs().max(motion.x.abs())
            };
            !others.iter().any(with_it)
        };
        let moves = |line: &&mut TrackedLine| line.moves_sideways() && is_at_edge(&line.place) && is_alone(line);
        for line in self.open.iter_mut().filter(moves) {
            let y = line.place.center().1;
            let row = self.ticker_rows.iter_mut().find(|(_, row)| (row - y).abs() < 0.3 * line.place.height);
            match row {
                // In the first look at it, too, if it has moved for long enough.
                Some((last, _)) if time - *last < TICKER_PAUSE || line.moves >= 3 => {
                    line.group = Some(TextKind::Rolling);
                    *last = time;
                }
                Some((last, _)) => *last = time,
                None => self.ticker_rows.push((time, y)),
            }
        }
        if self.ticker_rows.len() > SUBTITLES {
            self.ticker_rows.remove(0);
        }
    }

    /// What has become known.
    pub fn update(&mut self) -> TextUpdate {
        let now = self.now;
        let current = self.open.iter().filter_map(|line| line.text(line.lost.unwrap_or(now))).collect();
        TextUpdate { ended: std::mem::take(&mut self.ended), current, until: now - DELAY }
    }

    /// The lines that are on the screen and were read well enough, as they read now.
    pub fn visible(&self) -> Vec<VisibleLine> {
        self.open.iter().filter_map(|line| line.visible(self.now)).collect()
    }

    /// Where lines are that have digits and stay in their places, also those that nobody has seen for a moment.
    pub fn numbers(&self) -> Vec<TextBox> {
        self.open.iter().filter(|line| line.has_digits()).map(|line| line.place).collect()
    }

    /// What is known at the end of the film.
    pub fn finish(&mut self, end: Time) -> TextUpdate {
        let film_end = end.max(self.now);
        let film = film_end - self.began.unwrap_or(film_end);
        for mut line in std::mem::take(&mut self.open) {
            let line_end = line.lost.unwrap_or(film_end);
            line.lasts = (line_end - line.start).secs() >= NEARLY_ALL * film.secs();
            self.end(&line, line_end);
        }
        TextUpdate { until: Time::MAX, ..self.update() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{THUMB_HEIGHT, THUMB_WIDTH};

    /// A film of 25 frames a second: strokes of lines, and what looks find.
    struct Film {
        tracker: TextTracker,
        frames: i64,
    }

    /// A line in a film: what it says, from when to when, where it begins and how far it moves in a second.
    #[derive(Clone, Copy)]
    struct Shown {
        text: &'static str,
        frames: (i64, i64),
        place: TextBox,
        motion: (f32, f32),
    }

    impl Shown {
        fn at(self, frame: i64) -> Option<TextBox> {
            let seconds = (frame - self.frames.0) as f32 / 25.0;
            let place = TextBox {
                x: self.place.x + self.motion.0 * seconds,
                y: self.place.y + self.motion.1 * seconds,
                ..self.place
            };
            (self.frames.0 <= frame && frame < self.frames.1).then_some(place)
        }
    }

    fn shown(text: &'static str, frames: (i64, i64), x: f32, y: f32) -> Shown {
        Shown { text, frames, place: TextBox { x, y, width: 0.4, height: 0.08 }, motion: (0.0, 0.0) }
    }

    fn time(frame: i64) -> Time {
        Time::from_millis(40 * frame)
    }

    /// The strokes of lines, which depend on what they say.
    fn strokes(lines: &[Shown], frame: i64) -> StrokeMap {
        let mut values = vec![3; THUMB_WIDTH * THUMB_HEIGHT];
        for (line, place) in lines.iter().filter_map(|line| Some((line, line.at(frame)?))) {
            let seed: usize = line.text.bytes().map(usize::from).sum();
            for (n, value) in values.iter_mut().enumerate() {
                let (x, y) = ((n % THUMB_WIDTH) as f32 + 0.5, (n / THUMB_WIDTH) as f32 + 0.5);
                let (x, y) = (x / THUMB_WIDTH as f32 - place.x, y / THUMB_HEIGHT as f32 - place.y);
                if (0.0..place.width).contains(&x) && (0.0..place.height).contains(&y) {
                    let column = (x * THUMB_WIDTH as f32) as usize;
                    let letter = (column + 64 * seed).wrapping_mul(0x9e37_79b9) >> 20;
                    *value = if letter % 5 < 1 { 120 } else { 10 };
                }
            }
        }
        StrokeMap { values }
    }

    impl Film {
        /// Plays a film and looks at it in these frames. `read`: what is read of a line in a frame.
        fn play(frames: i64, lines: &[Shown], looks: &[i64], read: impl Fn(&Shown, i64) -> (String, f32)) -> Film {
            let mut film = Film { tracker: TextTracker::default(), frames };
            for frame in 0..frames {
                film.tracker.frame(time(frame), strokes(lines, frame));
                if looks.contains(&frame) {
                    let found = lines.iter().filter_map(|line| {
                        let (place, (text, score)) = (line.at(frame)?, read(line, frame));
                        // What is beyond the edge is not seen.
                        let seen = TextBox { height: place.height.min(1.0 - place.y), ..place };
                        place.is_visible().then_some(FoundLine { text, score, place: seen })
                    });
                    let found = found.collect();
                    film.tracker.look(time(frame), &[TextBox::WHOLE], found);
                }
            }
            film
        }

        /// Text, first and last frame, and kind.
        fn lines(mut self) -> Vec<(String, i64, i64, TextKind)> {
            let mut log = crate::ocr::TextLog::default();
            log.update(self.tracker.finish(time(self.frames)));
            let frame = |time: Time| time.millis() / 40;
            log.into_lines().into_iter().map(|l| (l.text, frame(l.start), frame(l.end), l.kind)).collect()
        }
    }

    fn well(line: &Shown, _: i64) -> (String, f32) {
        (line.text.into(), 0.99)
    }

    #[test]
    fn a_title_has_its_times_from_its_strokes() {
        let title = shown("The Peach Open Movie Project", (40, 120), 0.3, 0.5);
        let film = Film::play(200, &[title], &[50, 75, 130], well);
        assert_eq!(film.lines(), [("The Peach Open Movie Project".into(), 40, 120, TextKind::Title)]);
    }

    #[test]
    fn one_text_takes_the_place_of_another() {
        let (a, b) = (shown("Good evening.", (10, 90), 0.3, 0.8), shown("I lost my key.", (90, 160), 0.3, 0.8));
        let film = Film::play(200, &[a, b], &[20, 45, 100, 125, 170], well);
        let kind = TextKind::Title;
        assert_eq!(film.lines(), [("Good evening.".into(), 10, 90, kind), ("I lost my key.".into(), 90, 160, kind)]);
    }

    #[test]
    fn what_is_read_differently_each_time_or_once_with_doubt_is_left_out() {
        let title = shown("Big Buck Bunny", (10, 190), 0.3, 0.3);
        let misread = |_: &Shown, frame: i64| (["BUNKY", "RONIN", "8UMHY"][frame as usize % 3].to_string(), 0.9);
        assert_eq!(Film::play(200, &[title], &[20, 46, 72, 100], misread).lines(), []);
        let doubtful = |_: &Shown, _: i64| ("BUNKY".to_string(), 0.8);
        assert_eq!(Film::play(200, &[title], &[20, 45, 70], doubtful).lines(), []);
        assert_eq!(Film::play(200, &[title], &[20], |_, _| ("BUNKY".to_string(), 0.92)).lines(), []);
        assert_eq!(Film::play(200, &[title], &[20], well).lines().len(), 1);
    }

    #[test]
    fn a_text_has_no_characters_that_act() {
        let title = shown("Rue Haute", (10, 190), 0.3, 0.3);
        let read = |_: &Shown, _: i64| ("Rue\u{202e}\u{1b}[2J \u{feff}<b>Haute\n\u{2066}".to_string(), 0.99);
        assert_eq!(Film::play(200, &[title], &[20, 46], read).lines()[0].0, "Rue[2J <b>Haute");
        let nothing = |_: &Shown, _: i64| ("\u{202e}\u{7}\u{200b}\u{1b}".to_string(), 0.99);
        assert_eq!(Film::play(200, &[title], &[20, 46], nothing).lines(), []);
    }

    #[test]
    fn the_vote_of_the_readings_wins() {
        let title = shown("Rue Haute", (10, 190), 0.3, 0.3);
        let read = |_: &Shown, frame: i64| (if frame == 46 { "Rue Hautc" } else { "Rue Haute" }.to_string(), 0.95);
        assert_eq!(Film::play(200, &[title], &[20, 46, 72], read).lines()[0].0, "Rue Haute");
    }

    #[test]
    fn signs_move_and_credits_roll() {
        let sign = Shown { motion: (0.05, 0.0), ..shown("Rue Haute", (0, 150), 0.2, 0.4) };
        let lines = Film::play(150, &[sign], &[10, 48, 86, 124], well).lines();
        assert_eq!(lines, [("Rue Haute".into(), 0, 150, TextKind::Scene)]);
        // Under a slow camera.
        let sign = Shown { motion: (0.003, 0.0), ..shown("Rue Haute", (0, 350), 0.2, 0.4) };
        let looks: Vec<i64> = (0..14).map(|n| 25 * n + 10).collect();
        let lines = Film::play(350, &[sign], &looks, well).lines();
        assert!(lines.len() == 1 && lines[0].3 == TextKind::Scene, "{lines:?}");
        let name = |text, n: i64| Shown { motion: (0.0, -0.1), ..shown(text, (40 * n, 40 * n + 260), 0.3, 1.0) };
        let credits = [name("Ana Silva", 0), name("Bo Lind", 1), name("Carl Sand", 2), name("Dora Ek", 3)];
        let looks: Vec<i64> = (0..10).map(|n| 38 * n + 20).collect();
        let lines = Film::play(400, &credits, &looks, well).lines();
        assert!(lines.len() == 4 && lines.iter().all(|line| line.3 == TextKind::Rolling), "{lines:?}");
        assert!(lines[0].1 <= 25 && lines[0].2 >= 230, "{lines:?}");
        // The film ends when the last one has just come in.
        let film = Film::play(150, &credits, &[20, 58, 96, 134], well);
        let last = film.lines().pop().unwrap();
        assert!(last.0 == "Dora Ek" && (125..=134).contains(&last.1) && last.2 == 150, "{last:?}");
        assert_eq!(last.3, TextKind::Rolling);
    }

    #[test]
    fn a_line_that_was_cut_off_is_the_same_when_it_is_whole() {
        let name = Shown { motion: (0.0, -0.1), ..shown("Ana Silva", (0, 150), 0.3, 1.0) };
        let lines = Film::play(150, &[name], &[11, 49, 87, 125], well).lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_ticker_moves_alone() {
        let moving = |text, y, speed| Shown { motion: (speed, 0.0), ..shown(text, (0, 150), 0.3, y) };
        let looks = [10, 48, 86, 124];
        let kinds = |lines: &[Shown]| -> Vec<TextKind> {
            Film::play(150, lines, &looks, well).lines().into_iter().map(|line| line.3).collect()
        };
        let news = moving("Storm warning for the coast", 0.88, -0.05);
        assert_eq!(kinds(&[news]), [TextKind::Rolling]);
        assert_eq!(kinds(&[moving("Rue Haute", 0.4, 0.05), news]), [TextKind::Scene, TextKind::Rolling]);
        assert_eq!(kinds(&[moving("Rue Haute", 0.4, -0.045), news]), [TextKind::Scene; 2]);
    }

    #[test]
    fn a_clock_is_one_line_and_a_logo_outlives_scenes() {
        let clock = shown("12:00:00", (0, 500), 0.1, 0.1);
        let read = |_: &Shown, frame: i64| (format!("12:00:{:02}", frame / 25), 0.99);
        let looks: Vec<i64> = (0..12).map(|n| 40 * n + 10).collect();
        let lines = Film::play(500, &[clock], &looks, read).lines();
        assert_eq!(lines, [("12:00:00".into(), 0, 500, TextKind::Counter)]);
        let logo = shown("KANAL 5", (0, 500), 0.05, 0.05);
        let scenes: Vec<Shown> = (0..5)
            .map(|n| Shown {
                place: TextBox { x: 0.0, y: if n % 2 == 0 { 0.2 } else { 0.6 }, width: 1.0, height: 0.4 },
                ..shown(["a", "e", "i", "o", "u"][n], (100 * n as i64, 100 * n as i64 + 100), 0.0, 0.3)
            })
            .collect();
        let all: Vec<Shown> = std::iter::once(logo).chain(scenes).collect();
        let read = |line: &Shown, _: i64| (line.text.into(), if line.text.len() > 1 { 0.99 } else { 0.1 });
        let lines = Film::play(500, &all, &looks, read).lines();
        assert_eq!(lines, [("KANAL 5".into(), 0, 500, TextKind::Static)]);
    }

    #[test]
    fn subtitles_are_told_from_titles_by_their_place_and_number() {
        let texts = ["Good evening.", "I lost my key.", "Where were you?", "At the harbour."];
        let lines: Vec<Shown> =
            (0..4).map(|n| shown(texts[n as usize], (60 * n + 10, 60 * n + 60), 0.3, 0.85)).collect();
        let looks: Vec<i64> = (0..4).flat_map(|n| [60 * n + 20, 60 * n + 45]).collect();
        let found = Film::play(260, &lines, &looks, well).lines();
        assert!(found.len() == 4 && found.iter().all(|line| line.3 == TextKind::Subtitle), "{found:?}");
    }

    #[test]
    fn what_is_known_does_not_change_later() {
        let title = shown("The End", (40, 400), 0.3, 0.5);
        let mut film = Film::play(200, &[title], &[50, 75], well);
        let update = film.tracker.update();
        assert_eq!((update.until, update.current.len()), (time(199) - DELAY, 1));
        assert_eq!((update.current[0].start, update.current[0].end), (time(40), time(199)));
    }

    #[test]
    fn a_line_reads_as_it_was_read_last_once_two_looks_agree() {
        let score = shown("HOME 9 AWAY 9", (0, 500), 0.1, 0.1);
        let read =
            |_: &Shown, frame: i64| (["HOME O AWAY O", "HOME 1 AWAY O"][usize::from(frame >= 100)].to_string(), 0.95);
        let text = |frames, looks: &[i64]| {
            let visible = Film::play(frames, &[score], looks, read).tracker.visible();
            visible.into_iter().map(|line| (line.line.text, line.looks)).collect::<Vec<_>>()
        };
        assert_eq!(text(60, &[10, 25]), [("HOME O AWAY O".to_string(), 2)]);
        assert_eq!(text(130, &[10, 25, 110, 125]), [("HOME 1 AWAY 0".to_string(), 4)]);
        // Which way a word slides in.
        let word =
            |_: &Shown, frame: i64| (["Wel", "Welco", "Welcome"][(frame as usize / 10 - 1).min(2)].to_string(), 0.99);
        let slides = |looks: &[i64]| Film::play(80, &[score], looks, word).tracker.visible()[0].looks;
        assert_eq!((slides(&[10, 20, 30]), slides(&[10, 20, 30, 40])), (1, 2));
    }
}
