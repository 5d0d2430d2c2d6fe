//! Telling clocks from scores: both are digits that change.

use crate::ocr::with_zeros;
use crate::time::Time;

/// How far the steps of a clock may be from the time that has passed: it is not looked at all the time.
const TOLERANCE: i64 = 2;

/// The numbers in a text, in order.
pub(super) fn digits(text: &str) -> Vec<String> {
    let text = with_zeros(text);
    text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).map(String::from).collect()
}

/// What a word may be as a time of day, or of a game, in units of its last two digits: seconds or minutes.
fn time_of(word: &str) -> Option<i64> {
    let word = word.trim_matches(|c: char| !c.is_ascii_digit());
    let parts: Vec<&str> = word.split([':', '.']).collect();
    let (first, rest) = parts.split_first()?;
    let is_number =
        |part: &&str, most: usize| !part.is_empty() && part.len() <= most && part.bytes().all(|c| c.is_ascii_digit());
    if rest.is_empty()
        || rest.len() > 2
        || !is_number(first, 3)
        || !rest.iter().all(|part| part.len() == 2 && is_number(part, 2))
    {
        return None;
    }
    parts.iter().try_fold(0i64, |all, part| Some(60 * all + part.parse::<i64>().ok()?))
}

/// Whether a text is nothing but a time.
pub(super) fn is_time(text: &str) -> bool {
    let mut words = text.split_whitespace().peekable();
    words.peek().is_some() && words.all(|word| time_of(word).is_some())
}

/// Whether all that differs between two texts is what a clock does in this time.
pub(super) fn ticks(before: &str, after: &str, passed: Time) -> bool {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.split_whitespace().collect(), after.split_whitespace().collect());
    let passed = passed.secs().round() as i64;
    // Nobody knows for how long the first minute had lasted. Beside other words, it may be a score.
    let minute = if before.len() == 1 { 60 } else { TOLERANCE };
    let tick = |(a, b): (&&str, &&str)| {
        if digits(a) == digits(b) {
            return true;
        }
        let (Some(a), Some(b)) = (time_of(a), time_of(b)) else { return false };
        let step = (b - a).abs();
        (step - passed).abs() <= TOLERANCE || (60 * step - passed).abs() <= minute
    };
    before.len() == after.len() && before.iter().zip(&after).all(tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_in(before: &str, after: &str, seconds: i64) -> bool {
        ticks(before, after, Time::from_millis(1_000 * seconds))
    }

    #[test]
    fn clocks_go_with_the_time_and_scores_do_not() {
        assert!(ticks_in("12:59:59", "13:00:01", 2) && ticks_in("67:12", "67:13", 1));
        assert!(ticks_in("HOM 1 - 0 AWY 67:12", "HOM 1 - 0 AWY 67:15", 3));
        // Down, as in basketball; and with minutes only.
        assert!(ticks_in("Q3 04:10", "Q3 04:07", 3) && ticks_in("20:15", "20:16", 60));
        assert!(!ticks_in("HOM 1 - 0 AWY 67:12", "HOM 2 - 0 AWY 67:15", 3));
        assert!(!ticks_in("HOME 1 AWAY 0", "HOME 2 AWAY 0", 1) && !ticks_in("24:21", "25:21", 9));
        assert!(!ticks_in("24:21", "24:22", 200));
        assert!(is_time("12:00:03") && is_time("20.15") && !is_time("2:1") && !is_time("KANAL 5") && !is_time(""));
    }
}
