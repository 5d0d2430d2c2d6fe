//! Values of options: times, sizes and command lines.
//!
//! Sizes are parsed here and not by the `bytesize` crate: that crate takes `800M` as a decimal unit, accepts a number
//! without a unit and rounds differently, which would change the meaning of `--memory`.

use std::time::Duration;

use crate::live::CommandLine;
use crate::time::Time;

/// What to write instead of a time that cannot be read.
const TIME_FORMS: &str = "use seconds, MM:SS or HH:MM:SS";
/// What to write instead of a size that cannot be read.
const SIZE_FORMS: &str = "use a number and M, G or T, such as 800M or 2G";

/// Reads seconds, `MM:SS` or `HH:MM:SS`, each with an optional fraction.
pub(super) fn time(text: &str) -> Result<Time, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(TIME_FORMS.into());
    }
    let mut secs = 0.0;
    for part in parts {
        let value: f64 = part.parse().map_err(|_| TIME_FORMS.to_string())?;
        if !(0.0..1e9).contains(&value) {
            return Err("a time must be finite and not negative".into());
        }
        secs = secs * 60.0 + value;
    }
    Ok(Time::from_secs(secs))
}

/// A time limit: at least 1 ms, because a limit of zero would allow nothing.
pub(super) fn limit(time: Time) -> Duration {
    Duration::from_micros(time.micros().max(1_000) as u64)
}

/// Reads the words of a command line, some of which may be quoted.
pub(super) fn command_line(text: &str) -> Result<CommandLine, String> {
    let words = shlex::split(text).ok_or("it has a quote without its end")?;
    Ok(CommandLine::from(words))
}

/// Reads a size such as `800M`, `2G` or `1.5G`; returns whole megabytes (2^20 bytes), rounded down.
pub(super) fn megabytes(text: &str) -> Result<usize, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit.to_ascii_uppercase().as_str() {
        "M" => 1.0,
        "G" => 1024.0,
        "T" => 1024.0 * 1024.0,
        _ => return Err(SIZE_FORMS.into()),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 && n < 1e9 => Ok((n * factor) as usize),
        _ => Err(SIZE_FORMS.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("1.5"), Ok(Time::from_millis(1_500)));
        assert_eq!(time("1:02.5"), Ok(Time::from_millis(62_500)));
        assert_eq!(time("1:00:00"), Ok(Time::from_millis(3_600_000)));
        for bad in ["", "x", "-1", "1:2:3:4", "NaN", "inf"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!((megabytes("800M"), megabytes("2g"), megabytes("1.5G")), (Ok(800), Ok(2048), Ok(1536)));
        for bad in ["", "M", "800", "-1G", "0G", "xG", "1é"] {
            assert!(megabytes(bad).is_err(), "{bad}");
        }
    }
}
