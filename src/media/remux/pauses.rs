//! Where a film pauses, and when everything comes because of it.

use crate::time::Time;

/// A pause of a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilmPause {
    /// When it begins, in the time of the film.
    pub(crate) at: Time,
    pub(crate) length: Time,
}

/// All pauses of a film, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilmPauses {
    all: Vec<FilmPause>,
    /// The length of each and of those before it.
    sums: Vec<Time>,
}

impl FilmPauses {
    /// Adds a pause after the others.
    pub(crate) fn push(&mut self, pause: FilmPause) {
        self.sums.push(self.total() + pause.length);
        self.all.push(pause);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Each pause.
    pub(crate) fn iter(&self) -> impl Iterator<Item = FilmPause> + '_ {
        self.all.iter().copied()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The length of all.
    pub(crate) fn total(&self) -> Time {
        self.sums.last().copied().unwrap_or_default()
    }

    /// When something at a time of the film comes. A pause at that very time begins after it.
    pub(crate) fn shifted(&self, time: Time) -> Time {
        let before = self.all.partition_point(|pause| pause.at < time);
        before.checked_sub(1).map_or(time, |last| time + self.sums[last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_a_pause_is_shifted() {
        let at = Time::from_millis;
        let mut pauses = FilmPauses::default();
        assert_eq!((pauses.shifted(at(5)), pauses.total()), (at(5), Time::ZERO));
        pauses.push(FilmPause { at: at(1_000), length: at(500) });
        pauses.push(FilmPause { at: at(4_000), length: at(2_000) });
        for (time, want) in [(-10, -10), (0, 0), (1_000, 1_000), (1_001, 1_501), (4_000, 4_500), (5_000, 7_500)] {
            assert_eq!(pauses.shifted(at(time)), at(want), "{time}");
        }
        assert_eq!((pauses.count(), pauses.total()), (2, at(2_500)));
    }
}
