//! Whether a reader has fallen behind its source.
//!
//! A reader that keeps up waits for packets now and then. One that never waits has packets in hand all the time, so its lag
//! grows: it then skips to keyframes until it waits again. Pure, like the connection's states.

use std::time::{Duration, Instant};

/// A reader that has hardly waited for this long has fallen behind.
const BEHIND: Duration = Duration::from_secs(3);
/// How often a reader that skips is checked for having caught up.
const CAUGHT_UP: Duration = Duration::from_millis(300);
/// The share of its time that a reader which keeps up waits at least.
const IDLE: f64 = 0.05;

/// Decides when a reader skips to keyframes.
#[derive(Debug)]
pub(super) struct CatchUp {
    since: Instant,
    /// How long the reader had waited by then.
    waited: Duration,
    skipping: bool,
}

impl CatchUp {
    pub(super) fn new(now: Instant) -> CatchUp {
        CatchUp { since: now, waited: Duration::ZERO, skipping: false }
    }

    /// `waited`: how long the reader has waited for packets in all. Returns whether to skip, where that changes.
    pub(super) fn tick(&mut self, now: Instant, waited: Duration) -> Option<bool> {
        let passed = now.saturating_duration_since(self.since);
        if passed < if self.skipping { CAUGHT_UP } else { BEHIND } {
            return None;
        }
        let idle = waited.saturating_sub(self.waited).as_secs_f64() >= IDLE * passed.as_secs_f64();
        (self.since, self.waited) = (now, waited);
        (self.skipping == idle).then(|| {
            self.skipping = !idle;
            self.skipping
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_never_waits_skips_until_it_waits_again() {
        let start = Instant::now();
        let mut catch_up = CatchUp::new(start);
        let mut waited = Duration::ZERO;
        let mut changes = Vec::new();
        for tenth in 1..=200u32 {
            // Keeps up for 5 s, then not for 7, then again.
            let idle = tenth <= 50 || tenth > 120;
            waited += Duration::from_millis(if idle { 50 } else { 0 });
            if let Some(on) = catch_up.tick(start + Duration::from_millis(100) * tenth, waited) {
                changes.push((tenth, on));
            }
        }
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].1 && (80..=110).contains(&changes[0].0), "{changes:?}");
        assert!(!changes[1].1 && (121..=125).contains(&changes[1].0), "{changes:?}");
    }
}
