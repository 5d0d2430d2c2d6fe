//! The end of a WebVTT file that is to be appended to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::time::Time;

/// Bytes of a file's end that are read.
const TAIL: u64 = 64 << 10;

/// Cues that end later, after a hundred years, leave no room for the times of those that follow.
const LATEST: Time = Time::from_millis(100 * 365 * 86_400_000);

/// Length of the file up to its last whole block, and the end of its last cue. Zero for an empty file, `None` for one that is
/// not WebVTT, or whose times cannot be continued.
pub(super) fn whole_blocks(file: &mut File) -> io::Result<Option<(u64, Time)>> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Some((0, Time::ZERO)));
    }
    let mut signature = [0; 7];
    file.seek(SeekFrom::Start(0))?;
    if file.read_exact(&mut signature).is_err() || &signature != b"WEBVTT\n" {
        return Ok(None);
    }
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    loop {
        let block = tail.windows(2).rposition(|w| w == b"\n\n").map_or(0, |at| at + 2);
        let last = String::from_utf8_lossy(&tail[block..]);
        let lines: Vec<&str> = last.lines().collect();
        let cue = lines.first().is_some_and(|l| l.contains(" --> "));
        let whole = last.ends_with('\n') && !last.contains('\0') && (!cue || lines.len() > 1);
        if last.is_empty() || whole || block == 0 {
            break;
        }
        tail.truncate(block - 1);
    }
    let text = String::from_utf8_lossy(&tail);
    let end = match text.lines().rev().find_map(|l| l.split_once(" --> ")) {
        Some((_, end)) => stamp(end),
        None => Some(Time::ZERO),
    };
    Ok(end.filter(|end| *end <= LATEST).map(|end| (from + tail.len() as u64, end)))
}

/// `HH:MM:SS.mmm`, which the settings of a cue may follow.
fn stamp(text: &str) -> Option<Time> {
    let (clock, millis) = text.split_whitespace().next()?.split_once('.')?;
    let only_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !clock.split(':').chain([millis]).all(only_digits) {
        return None;
    }
    let parts: Option<Vec<i64>> = clock.split(':').map(|p| p.parse().ok()).collect();
    let secs = parts?.iter().try_fold(0i64, |sum, p| sum.checked_mul(60)?.checked_add(*p))?;
    Some(Time::from_millis(secs.checked_mul(1_000)?.checked_add(millis.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_block_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vtt");
        let head = "WEBVTT\n\nNOTE x\n";
        let cue = "\n00:00:01.000 --> 01:00:02.500\nA dog.\n";
        for half in [
            "",
            "\n",
            "\n00:00:0",
            "\n00:00:03.000 --> 00:00:05.000\n",
            "\n00:00:03.000 --> 00:00:05.000\nA c",
            "\n\0\0\0",
        ] {
            std::fs::write(&path, format!("{head}{cue}{half}")).unwrap();
            let (length, end) = whole_blocks(&mut File::open(&path).unwrap()).unwrap().unwrap();
            let kept = &std::fs::read_to_string(&path).unwrap()[..length as usize];
            assert_eq!(kept.trim_end(), format!("{head}{cue}").trim_end(), "{half:?}");
            assert!(kept.ends_with('\n'));
            assert_eq!(end, Time::from_millis(3_602_500));
        }
        let cue_until = |end: &str| {
            std::fs::write(&path, format!("WEBVTT\n\n00:00:01.000 --> {end}\nA dog.\n")).unwrap();
            whole_blocks(&mut File::open(&path).unwrap()).unwrap().map(|(_, end)| end)
        };
        assert_eq!(cue_until("00:02.500 align:start"), Some(Time::from_millis(2_500)));
        for end in ["2562047788:00:54.775", "-5620477507:08:4.775", "00:00:+2.000", "00:00:02", "soon"] {
            assert_eq!(cue_until(end), None, "{end}");
        }
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(whole_blocks(&mut File::open(&path).unwrap()).unwrap(), None);
    }
}
