//! Times of packets: ticks of a stream, and descry's own.

use ffmpeg_next as ff;

use crate::time::Time;

/// A time in ticks, the nearest.
pub(super) fn in_ticks(time: Time, tick: ff::Rational) -> i64 {
    let (num, den) = (i128::from(tick.numerator().max(1)), i128::from(tick.denominator().max(1)));
    let (value, unit) = (i128::from(time.micros()) * den, num * 1_000_000);
    (value + unit / 2).div_euclid(unit).clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64
}

/// Ticks as a time, the nearest microsecond.
pub(super) fn in_time(ticks: i64, tick: ff::Rational) -> Time {
    let (num, den) = (i128::from(tick.numerator().max(1)), i128::from(tick.denominator().max(1)));
    let micros = (i128::from(ticks) * num * 1_000_000 + den / 2).div_euclid(den);
    Time::from_micros(micros.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64)
}
