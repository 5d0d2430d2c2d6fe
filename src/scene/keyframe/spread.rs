//! Frames spread over a stretch, for captioners that look at several.

use crate::digest::Digest;
use crate::time::Time;

/// Frames at about equal distances over a stretch whose end is not known yet.
///
/// Memory: at most twice as many frames as are wanted. When there are more, every other one goes, and from then on only
/// every other one comes in.
#[derive(Debug, Clone)]
pub(in crate::scene) struct SpreadFrames<T> {
    wanted: usize,
    /// One frame in so many is held.
    stride: usize,
    /// Frames since the last one that was held.
    skipped: usize,
    frames: Vec<(Time, T)>,
}

impl<T> SpreadFrames<T> {
    /// None yet. Of a single one there is nothing to spread: then no frame is held.
    pub(in crate::scene) fn new(wanted: usize) -> SpreadFrames<T> {
        SpreadFrames { wanted, stride: 1, skipped: 0, frames: Vec::new() }
    }

    pub(in crate::scene) fn held(&self) -> usize {
        self.frames.len()
    }

    /// Adds the next frame.
    pub(in crate::scene) fn add(&mut self, time: Time, picture: T) {
        if self.wanted <= 1 {
            return;
        }
        if !self.frames.is_empty() && self.skipped + 1 < self.stride {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.frames.push((time, picture));
        if self.frames.len() > 2 * self.wanted {
            let mut keep = false;
            self.frames.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Drops the frames before `start`, because the stretch begins there.
    pub(in crate::scene) fn drop_before(&mut self, start: Time) {
        self.frames.retain(|(time, _)| *time >= start);
        if self.frames.is_empty() {
            (self.stride, self.skipped) = (1, 0);
        }
    }

    /// Takes the frames before `end` out, and returns as many as are wanted of them, in order. The others belong to the
    /// next stretch.
    pub(in crate::scene) fn cut(&mut self, end: Time) -> Vec<T> {
        let count = self.frames.iter().take_while(|(time, _)| *time < end).count();
        let rest = self.frames.split_off(count);
        let own = std::mem::replace(&mut self.frames, rest);
        (self.stride, self.skipped) = (1, 0);
        // The middle of each of `wanted` equal shares.
        let shares = self.wanted.min(count);
        let chosen: Vec<usize> = (0..shares).map(|n| (2 * n + 1) * count / (2 * shares)).collect();
        let numbered = own.into_iter().enumerate();
        numbered.filter(|(n, _)| chosen.contains(n)).map(|(_, (_, picture))| picture).collect()
    }

    pub(in crate::scene) fn digest(&self, d: &mut Digest, picture: &impl Fn(&T) -> u64) {
        let SpreadFrames { wanted, stride, skipped, frames } = self;
        // Parts that were made without spread frames stay equal.
        if *wanted <= 1 {
            return;
        }
        d.number(*stride as u64);
        d.number(*skipped as u64);
        d.all(frames.iter(), |d, (time, held)| {
            d.time(*time);
            d.number(picture(held));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(wanted: usize, frames: i64) -> SpreadFrames<i64> {
        let mut spread = SpreadFrames::new(wanted);
        (0..frames).for_each(|n| spread.add(Time::from_millis(n), n));
        spread
    }

    #[test]
    fn frames_are_spread_over_stretches_of_any_length() {
        for frames in 0..500 {
            let mut spread = spread(4, frames);
            assert!(spread.held() <= 8);
            let chosen = spread.cut(Time::from_millis(frames));
            assert_eq!(chosen.len() as i64, frames.min(4), "{frames}");
            assert!(chosen.windows(2).all(|w| w[0] < w[1]));
            if frames >= 4 {
                let gaps: Vec<i64> = chosen.windows(2).map(|w| w[1] - w[0]).collect();
                let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
                assert!(*most <= 2 * least, "{frames}: {chosen:?}");
                assert!(chosen[0] <= frames / 3 && chosen[3] >= frames / 2, "{frames}: {chosen:?}");
            }
        }
    }

    #[test]
    fn later_frames_belong_to_the_next_stretch() {
        let mut spread = spread(3, 6);
        assert_eq!(spread.cut(Time::from_millis(3)), [0, 1, 2]);
        assert_eq!(spread.cut(Time::from_millis(9)), [3, 4, 5]);
    }

    #[test]
    fn a_stretch_that_begins_later_has_its_own_frames() {
        let mut spread = spread(2, 100);
        spread.drop_before(Time::from_millis(90));
        let held = spread.held();
        assert!((1..=2).contains(&held), "{held}");
        spread.drop_before(Time::from_millis(100));
        assert_eq!(spread.held(), 0);
        (100..104).for_each(|n| spread.add(Time::from_millis(n), n));
        assert_eq!(spread.cut(Time::from_millis(104)), [101, 103]);
    }

    #[test]
    fn a_single_picture_needs_none() {
        assert_eq!(spread(1, 9).held(), 0);
    }
}
