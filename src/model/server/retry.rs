//! How long to wait before the next attempt. Nothing is drawn at random, so that a run can be repeated.

use std::time::Duration;

/// Attempts for one picture, or one file.
pub(super) const TRIES: u32 = 4;
/// The first pause; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause after attempt number `failed`, from 1; `None` if that was the last one. `asked`: what the server asks for.
pub(crate) fn pause(failed: u32, asked: Option<Duration>) -> Option<Duration> {
    let own = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(8));
    (failed < TRIES).then(|| asked.map_or(own, |asked| asked.min(LONGEST_PAUSE).max(own)))
}

/// What a `Retry-After` header asks for. Only seconds are read: a date needs two clocks that agree.
pub(crate) fn retry_after(header: Option<&str>) -> Option<Duration> {
    let seconds: f64 = header?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST_PAUSE.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_after_the_last_attempt() {
        let pauses: Vec<Option<u128>> = (1..=5).map(|n| pause(n, None).map(|p| p.as_millis())).collect();
        assert_eq!(pauses, [Some(500), Some(1_000), Some(2_000), None, None]);
    }

    #[test]
    fn a_server_may_ask_for_a_longer_pause_up_to_a_limit() {
        let pause = |asked| pause(1, retry_after(Some(asked))).unwrap().as_millis();
        assert_eq!(pause("3"), 3_000);
        assert_eq!(pause(" 1.5 "), 1_500);
        assert_eq!(pause("3600"), 30_000);
        assert_eq!(pause("1e300"), 30_000);
        // Never shorter than without it, and what cannot be read counts as absent.
        for other in ["0", "-1", "NaN", "inf", "", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(pause(other), 500, "{other}");
        }
    }
}
