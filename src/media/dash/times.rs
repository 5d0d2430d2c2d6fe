//! Durations and moments as XML Schema writes them.

use std::time::{Duration, SystemTime};

/// Seconds of a duration such as `PT1H2M3.5S`. Years and months are no length.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let text = text.trim().strip_prefix('P')?;
    let (mut total, mut number, mut of_day) = (0.0, String::new(), false);
    for c in text.chars() {
        match c {
            'T' => of_day = true,
            '0'..='9' | '.' => number.push(c),
            _ => {
                let unit = match (c, of_day) {
                    ('D', false) => 86_400.0,
                    ('H', true) => 3_600.0,
                    ('M', true) => 60.0,
                    ('S', true) => 1.0,
                    _ => return None,
                };
                total += number.parse::<f64>().ok()? * unit;
                number.clear();
            }
        }
    }
    (number.is_empty() && total.is_finite()).then_some(total)
}

/// Seconds since a moment such as `2024-01-31T12:00:00Z`; zero if it is to come.
pub(super) fn since(text: &str, now: SystemTime) -> Option<f64> {
    let moment = humantime::parse_rfc3339_weak(text.trim()).ok()?;
    Some(now.duration_since(moment).unwrap_or(Duration::ZERO).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, want) in [
            ("PT6S", Some(6.0)),
            ("PT1H2M3.5S", Some(3723.5)),
            ("P1DT1S", Some(86_401.0)),
            ("PT0S", Some(0.0)),
            ("P1M", None),
            ("6", None),
            ("PT6", None),
            ("PTxS", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(since("1970-01-01T00:00:40Z", now), Some(60.0));
        assert_eq!(since("1970-01-01T00:10:00", now), Some(0.0));
        assert_eq!(since("yesterday", now), None);
    }
}
