//! When WebVTT files give way to new ones, and the names and the number of the old ones.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use crate::wall::rfc3339;

/// When the next file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotateWhen {
    /// On another day, in UTC.
    Day,
    /// When the next cue would make the file larger than this many bytes.
    Bytes(u64),
}

/// How files give way to new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// When the next file begins.
    pub when: RotateWhen,
    /// Old files that are kept, for each stream. Default on the command line: 30.
    pub keep: usize,
}

/// Smallest limit of a file's size: a page of memory.
const LEAST_SIZE: u64 = 4 << 10;

impl FromStr for RotateWhen {
    type Err = String;

    /// `day`, or bytes with the suffix `k`, `M` or `G` for powers of 1024. `bytesize` reads sizes too, and is not used: its
    /// `M` means 1000 · 1000, it accepts any case and fractions, and files would change their size.
    fn from_str(text: &str) -> Result<RotateWhen, String> {
        if text == "day" {
            return Ok(RotateWhen::Day);
        }
        let (number, unit) = match text.char_indices().last() {
            Some((at, 'k')) => (&text[..at], 1 << 10),
            Some((at, 'M')) => (&text[..at], 1 << 20),
            Some((at, 'G')) => (&text[..at], 1 << 30),
            _ => (text, 1),
        };
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|b| *b >= LEAST_SIZE);
        bytes.map(RotateWhen::Bytes).ok_or_else(|| "Give day, or a size from 4k on, such as 10M.".into())
    }
}

impl Rotation {
    /// Whether a file of `day` with `length` bytes is full for a block of `block` bytes at `now`.
    pub(super) fn is_due(&self, day: u64, length: u64, block: usize, now: SystemTime) -> bool {
        match self.when {
            // A clock that is set back a little at midnight is no other day; one that was far ahead is.
            RotateWhen::Day => day_of(now) > day || day_of(now) + 1 < day,
            RotateWhen::Bytes(most) => length + block as u64 > most,
        }
    }
}

/// Days since 1970, in UTC.
pub(super) fn day_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

/// The name of a file that gives way at `now`: its own name with the moment in it.
pub(super) fn old_path(path: &Path, now: SystemTime) -> PathBuf {
    with_moment(path, &rfc3339(now).replace(':', "-"))
}

fn with_moment(path: &Path, moment: &str) -> PathBuf {
    let name = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = (name(path.file_stem()), name(path.extension()));
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}.{moment}{dot}{extension}"))
}

/// Removes the oldest of the old files of `path`, so that `keep` are left.
pub(super) fn prune(path: &Path, keep: usize) {
    // A moment in a name has as many characters as this, and digits where this has digits.
    let example = "0000-00-00T00-00-00.000Z";
    let pattern = with_moment(path, example);
    let pattern = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(at) = pattern.rfind(example) else { return };
    let is_old = |name: &str| {
        let moment = name.strip_prefix(&pattern[..at]).and_then(|n| n.strip_suffix(&pattern[at + example.len()..]));
        moment.is_some_and(|m| {
            m.len() == example.len()
                && m.bytes().zip(example.bytes()).all(|(a, b)| if b == b'0' { a.is_ascii_digit() } else { a == b })
        })
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(files) = std::fs::read_dir(folder) else { return };
    let mut old: Vec<String> =
        files.flatten().filter_map(|f| f.file_name().into_string().ok()).filter(|n| is_old(n)).collect();
    old.sort_unstable();
    for name in old.iter().take(old.len().saturating_sub(keep)) {
        let _ = std::fs::remove_file(folder.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_once_even_if_the_clock_is_set_back() {
        let daily = Rotation { when: RotateWhen::Day, keep: 2 };
        let at = |secs: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        let due = |day: u64, secs: u64| daily.is_due(day, 100, 100, at(secs));
        assert!(!due(20_000, 20_001 * 86_400 - 1) && due(20_000, 20_001 * 86_400));
        // Set back over midnight by a correction, and by years after a start with a wrong clock.
        assert!(!due(20_001, 20_001 * 86_400 - 1));
        assert!(due(24_000, 20_001 * 86_400));
    }

    #[test]
    fn sizes_are_read() {
        let of = |text: &str| text.parse::<RotateWhen>();
        assert_eq!(of("day"), Ok(RotateWhen::Day));
        assert_eq!(
            (of("5000"), of("4k"), of("10M")),
            (Ok(RotateWhen::Bytes(5_000)), Ok(RotateWhen::Bytes(4_096)), of("10240k"))
        );
        for wrong in ["", "k", "-1", "1k", "10m", "99999999999G", "week", "1.5M"] {
            assert!(of(wrong).unwrap_err().contains("10M"), "{wrong}");
        }
    }
}
