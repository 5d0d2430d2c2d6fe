//! Places samples on a grid that begins with the film's clock.

use crate::media::side_track::{AUDIO_RATE, AudioChunk};

/// Shorter gaps are filled with silence, in samples: 1 s. Longer ones stay open.
const MOST_FILLED: u64 = AUDIO_RATE as u64;
/// Most samples that wait to be taken: 30 s. Further ones are left out.
const MOST_WAITING: usize = 30 * AUDIO_RATE as usize;

/// Puts samples into their places, and holds them until they are taken.
pub(super) struct SampleGrid {
    /// The place of the next sample.
    next: u64,
    /// Whether a sample has been put before it.
    follows: bool,
    /// Samples to come whose places are taken, or are before the start.
    dropping: u64,
    /// Samples with places before this one come too late.
    passed: u64,
    /// The first place that is not wanted.
    end: u64,
    chunks: Vec<AudioChunk>,
}

impl SampleGrid {
    /// From place `start` on, up to `end`.
    pub(super) fn new(start: u64, end: Option<u64>) -> SampleGrid {
        let end = end.unwrap_or(u64::MAX);
        SampleGrid { next: start, follows: false, dropping: 0, passed: 0, end, chunks: Vec::new() }
    }

    /// The place of the next sample: everything before it is known.
    pub(super) fn position(&self) -> u64 {
        self.next.min(self.end)
    }

    /// Whether every place has been filled or passed.
    pub(super) fn is_full(&self) -> bool {
        self.next >= self.end
    }

    /// How many samples wait.
    pub(super) fn waiting(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.samples.len()).sum()
    }

    /// The next sample is that of this place. A place that has been filled or passed keeps what it has.
    pub(super) fn go_to(&mut self, place: i64) {
        let ahead = i128::from(place) - i128::from(self.next);
        let gap = u64::try_from(ahead).unwrap_or(0);
        self.dropping = 0;
        if gap <= MOST_FILLED && self.follows {
            self.put(&vec![0.0; gap as usize]);
        } else {
            self.leave(self.next.saturating_add(gap));
        }
        self.dropping = u64::try_from(-ahead).unwrap_or(0);
    }

    /// Puts the next samples.
    pub(super) fn put(&mut self, samples: &[f32]) {
        let dropped = usize::try_from(self.dropping).map_or(samples.len(), |n| n.min(samples.len()));
        self.dropping -= dropped as u64;
        let room = usize::try_from(self.end.saturating_sub(self.next)).unwrap_or(usize::MAX);
        let samples = &samples[dropped..];
        let samples = &samples[..samples.len().min(room)];
        if samples.is_empty() {
            return;
        }
        let start = self.next;
        self.next += samples.len() as u64;
        if self.waiting() + samples.len() > MOST_WAITING {
            self.follows = false;
            return;
        }
        self.follows = true;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.end() == start => chunk.samples.extend_from_slice(samples),
            _ => self.chunks.push(AudioChunk { start, samples: samples.to_vec() }),
        }
    }

    /// Stops waiting for samples before a place. If they still come, they are dropped.
    pub(super) fn pass(&mut self, place: u64) {
        if place > self.next {
            self.dropping = self.dropping.saturating_add(place - self.next);
            self.passed = place;
            self.leave(place);
        }
    }

    /// Whether samples for a place come after it was passed.
    pub(super) fn is_late(&self, place: i64) -> bool {
        i128::from(place) < i128::from(self.passed)
    }

    fn leave(&mut self, place: u64) {
        if place > self.next {
            self.next = place;
            self.follows = false;
        }
    }

    /// The samples that wait.
    pub(super) fn take(&mut self) -> Vec<AudioChunk> {
        std::mem::take(&mut self.chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(grid: &mut SampleGrid) -> Vec<(u64, Vec<f32>)> {
        grid.take().into_iter().map(|chunk| (chunk.start, chunk.samples)).collect()
    }

    #[test]
    fn samples_follow_one_another_however_they_are_taken() {
        let mut grid = SampleGrid::new(0, None);
        grid.go_to(100);
        grid.put(&[1.0, 2.0]);
        grid.put(&[3.0]);
        assert_eq!((grid.position(), grid.waiting()), (103, 3));
        assert_eq!(taken(&mut grid), [(100, vec![1.0, 2.0, 3.0])]);
        grid.put(&[4.0]);
        assert_eq!(taken(&mut grid), [(103, vec![4.0])]);
    }

    #[test]
    fn short_gaps_are_filled_and_long_ones_stay_open() {
        let mut grid = SampleGrid::new(0, None);
        grid.go_to(0);
        grid.put(&[1.0]);
        grid.go_to(4);
        grid.put(&[2.0]);
        assert_eq!(taken(&mut grid), [(0, vec![1.0, 0.0, 0.0, 0.0, 2.0])]);
        grid.go_to(5 + 16_001);
        grid.put(&[3.0]);
        assert_eq!(taken(&mut grid), [(16_006, vec![3.0])]);
    }

    #[test]
    fn what_overlaps_or_lies_outside_is_dropped() {
        let mut grid = SampleGrid::new(10, Some(14));
        grid.go_to(-2);
        grid.put(&[0.0; 11]);
        assert_eq!(grid.waiting(), 0);
        grid.put(&[1.0, 2.0, 3.0]);
        grid.go_to(11);
        grid.put(&[8.0, 9.0, 4.0]);
        assert_eq!(taken(&mut grid), [(10, vec![2.0, 3.0, 9.0, 4.0])]);
        assert!(grid.is_full() && grid.position() == 14);
        grid.put(&[5.0]);
        assert!(taken(&mut grid).is_empty());
    }

    #[test]
    fn what_was_passed_comes_too_late() {
        let mut grid = SampleGrid::new(0, None);
        grid.go_to(0);
        grid.put(&[1.0]);
        grid.pass(3);
        assert_eq!(grid.position(), 3);
        grid.put(&[2.0, 3.0, 4.0, 5.0]);
        assert_eq!(taken(&mut grid), [(0, vec![1.0]), (3, vec![4.0, 5.0])]);
        grid.pass(2);
        assert_eq!(grid.position(), 5);
    }

    #[test]
    fn what_is_not_taken_is_bounded() {
        let mut grid = SampleGrid::new(0, None);
        grid.go_to(i64::MAX);
        grid.go_to(i64::MIN);
        let mut grid = SampleGrid::new(0, None);
        (0..40).for_each(|_| grid.put(&[0.5; 16_000]));
        assert_eq!((grid.waiting(), grid.position()), (30 * 16_000, 40 * 16_000));
        grid.take();
        grid.put(&[1.0]);
        assert_eq!(taken(&mut grid), [(40 * 16_000, vec![1.0])]);
    }
}
