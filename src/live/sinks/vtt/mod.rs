//! A WebVTT file that grows, and is valid at every instant.
//!
//! A caption is written the moment it comes, with the end that [`pace`](super::pace) gives it: nothing that is in the file
//! changes later. Every append is one write of one whole block. A system shows a reader parts
//! of a write only where it crosses a page of memory, so line feeds fill what is left of a page whose rest would not hold
//! the block. What a full disk refuses is taken back, kept (the last 256 blocks; older ones are lost and counted) and
//! tried again. The file is locked against a second writer.
//!
//! Times are stream times. A file that is there already is refused, replaced or gone on with, as told: then half a block
//! that a crash may have left is cut off, and times go on where the file ends. Where somebody else empties the file,
//! it begins anew.
//!
//! Where it is told to [rotate](Rotation), a cue that comes when the file is full, or on another day (UTC), begins the next
//! file: that appears whole, with the cue in it, under the old one's name, and the old one stays beside it, named after the
//! moment. Of those so many are kept, and older ones removed. Times go on from file to file, and a note says what time it
//! was. A folder that refuses the new file lets the old one grow on; that is told, and it is tried again with each cue.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::event::{Event, Mapping, What};
use super::super::hub::{Sink, explain};
use super::super::wall::rfc3339;
use super::pace::Pace;
use crate::error::{Error, Result};
use crate::time::Time;
use crate::track::cue::{Cue, CueOptions};
use crate::track::formats::{plain, vtt_escape};
use crate::track::output;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
    Append,
}

/// When the next file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// On another day, by UTC.
    Day,
    /// When the next cue would make it larger than this.
    Bytes(u64),
}

/// Whether and how files give way to new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    pub full: Full,
    /// Old files that stay, for each stream. Default on the command line: 30.
    pub keep: usize,
}

/// The least size that a file may be limited to.
const LEAST_SIZE: u64 = 4 << 10;

impl FromStr for Full {
    type Err = String;

    /// `day`, or bytes with `k`, `M` or `G` behind them.
    fn from_str(text: &str) -> std::result::Result<Full, String> {
        if text == "day" {
            return Ok(Full::Day);
        }
        let (number, unit) = match text.char_indices().last() {
            Some((at, 'k')) => (&text[..at], 1 << 10),
            Some((at, 'M')) => (&text[..at], 1 << 20),
            Some((at, 'G')) => (&text[..at], 1 << 30),
            _ => (text, 1),
        };
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|b| *b >= LEAST_SIZE);
        bytes.map(Full::Bytes).ok_or_else(|| "give day, or a size from 4k on, such as 10M".into())
    }
}

/// Blocks that wait for room on the disk.
const WAITING: usize = 256;
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
const PAGE: u64 = 4_096;
/// As much of a file is looked at to go on with it.
const TAIL: u64 = 64 << 10;

/// Files of one or several streams.
pub struct Vtt {
    files: Vec<(Arc<str>, Growing)>,
    settled: Vec<(Arc<str>, Duration)>,
}

impl Vtt {
    /// Opens `path` for one stream, or `path/STREAM.vtt` for each of several, and writes the header.
    pub fn open(path: &Path, streams: &[Arc<str>], existing: Existing, options: &CueOptions) -> Result<Vtt> {
        if streams.len() > 1 {
            std::fs::create_dir_all(path).map_err(|e| explain(path.display().to_string(), &e))?;
        }
        let open = |(stream, path): (Arc<str>, PathBuf)| {
            let file = Growing::open(path, &stream, existing, options)?;
            Ok((stream, file))
        };
        let files = super::places(path, streams, ".vtt")?.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Vtt { files, settled: Vec::new() })
    }

    /// Files that are full give way to new ones.
    pub fn rotating(mut self, rotation: Rotation) -> Vtt {
        self.files.iter_mut().for_each(|(_, f)| f.rotation = Some(rotation));
        self
    }

    /// Tries what is due in every file; the first error tells.
    fn write(&mut self, now: Instant) -> Result<()> {
        let mut result = Ok(());
        for (stream, file) in &mut self.files {
            let written = file.write(now, |arrived| self.settled.push((stream.clone(), arrived.elapsed())));
            result = result.and(written);
        }
        result
    }
}

impl Sink for Vtt {
    fn name(&self) -> &str {
        "vtt"
    }

    fn wants(&self) -> fn(&What) -> bool {
        |what| matches!(what, What::Caption(_) | What::Clock(_))
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some((_, file)) = self.files.iter_mut().find(|(s, _)| *s == event.stream) else { return Ok(()) };
        let mut kept = true;
        match &event.what {
            What::Clock(mapping) => (file.clock, file.told) = (Some(*mapping), Some(*mapping)),
            What::Caption(c) => kept = file.caption(c.start, &c.text, c.arrived),
            _ => {}
        }
        // Trouble is told by `tick`: nothing is lost by it yet.
        let _ = self.write(Instant::now());
        let full =
            || Error::output("vtt", "the oldest cues that waited for room on the disk are lost", "Free some space.");
        kept.then_some(()).ok_or_else(full)
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        self.write(now)?;
        self.files.iter().try_for_each(|(_, f)| f.trouble())
    }

    fn close(&mut self) -> Result<()> {
        for (_, file) in &mut self.files {
            file.retry = None;
        }
        self.write(Instant::now())?;
        let sync = |f: &Growing| f.file.sync_all().map_err(|e| explain(f.path.display().to_string(), &e));
        self.files.iter().try_for_each(|(_, f)| sync(f))
    }

    fn keeps(&self) -> bool {
        true
    }

    fn settled(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.settled))
    }
}

/// One file.
struct Growing {
    path: PathBuf,
    file: File,
    header: String,
    /// All that stands in it is whole.
    length: u64,
    /// Something beyond that does, too, and must go first.
    torn: bool,
    /// Stream time 0 in the file's time.
    offset: Time,
    pace: Pace,
    /// Not written down yet.
    clock: Option<Mapping>,
    /// The last one, for the next file.
    told: Option<Mapping>,
    rotation: Option<Rotation>,
    /// Why the next file could not be begun.
    refused: Option<ErrorKind>,
    /// The day that the file is of, in days of Unix time.
    day: u64,
    waiting: VecDeque<(String, Option<Instant>)>,
    /// After a failure: when to try again, and what failed.
    retry: Option<(Instant, ErrorKind)>,
}

impl Growing {
    fn open(path: PathBuf, stream: &str, existing: Existing, options: &CueOptions) -> Result<Growing> {
        let name = path.display().to_string();
        let fail = |e: io::Error| match e.kind() {
            ErrorKind::AlreadyExists => {
                Error::output(&name, "exists already", "Give --force to replace it, or --append to go on with it.")
            }
            ErrorKind::NotFound => Error::output(&name, "its folder does not exist", "Make the folder first."),
            ErrorKind::IsADirectory => Error::output(&name, "is a folder", "Name a file."),
            _ => explain(&name, &e),
        };
        let there = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(fail(e)),
        };
        if let Some(file) = &there {
            if !file.metadata().map_err(fail)?.is_file() {
                return Err(Error::output(name, "is no plain file", "Name a file for the cues to grow in."));
            }
            if existing == Existing::Refuse {
                return Err(fail(ErrorKind::AlreadyExists.into()));
            }
            lock(file, &name)?;
        }
        let header = format!(
            "WEBVTT\n\nNOTE\nDescriptions of the live stream {}\nmade by descry {}\nkind: descriptions\n",
            plain(stream),
            env!("CARGO_PKG_VERSION"),
        );
        let mut waiting = VecDeque::new();
        let mut day = day_of(SystemTime::now());
        let (file, length, offset) = match there {
            Some(mut file) if existing == Existing::Append => {
                let Some((length, offset)) = ending(&mut file).map_err(fail)? else {
                    return Err(Error::output(name, "is no WebVTT file", "Name another, or --force to replace it."));
                };
                day = file.metadata().and_then(|m| m.modified()).map_or(day, day_of);
                file.set_len(length).map_err(fail)?;
                waiting.push_back((format!("NOTE descry began anew at {}\n", rfc3339(SystemTime::now())), None));
                (file, length, offset)
            }
            // Readers see the file with its header or not at all.
            _ => {
                let part = output::part(&path);
                let made = begin(&part, &header, &name).and_then(|file| {
                    let named = if existing == Existing::Replace {
                        std::fs::rename(&part, &path)
                    } else {
                        output::rename_new(&part, &path)
                    };
                    named.map(|()| file).map_err(fail)
                });
                let _ = made.as_ref().inspect_err(|_| drop(std::fs::remove_file(&part)));
                (made?, header.len() as u64, Time::ZERO)
            }
        };
        let pace = Pace::new(options);
        Ok(Growing {
            path,
            file,
            header,
            length,
            torn: false,
            offset,
            pace,
            clock: None,
            told: None,
            rotation: None,
            refused: None,
            day,
            waiting,
            retry: None,
        })
    }

    /// Queues a caption's cues, a block each; false where older blocks had to go for them.
    fn caption(&mut self, start: Time, text: &str, arrived: Instant) -> bool {
        let cues = self.pace.cues(start, text);
        if let Some(clock) = self.clock.take_if(|_| !cues.is_empty()) {
            self.waiting.push_back((format!("NOTE {} is {}\n", self.offset + clock.time, rfc3339(clock.wall)), None));
        }
        for (i, cue) in cues.iter().enumerate() {
            self.waiting.push_back((cue_block(cue, self.offset), (i == 0).then_some(arrived)));
        }
        let excess = self.waiting.len().saturating_sub(WAITING);
        self.waiting.drain(..excess);
        excess == 0
    }

    fn trouble(&self) -> Result<()> {
        match self.retry.map(|(_, kind)| kind).or(self.refused) {
            Some(kind) => Err(explain(self.path.display().to_string(), &kind.into())),
            None => Ok(()),
        }
    }

    /// Writes what waits, unless it was tried a moment ago; an error only where something was tried.
    fn write(&mut self, now: Instant, mut settled: impl FnMut(Instant)) -> Result<()> {
        if self.retry.is_some_and(|(at, _)| now < at) {
            return Ok(());
        }
        while let Some((block, arrived)) = self.waiting.front() {
            let (block, arrived) = (format!("\n{block}"), *arrived);
            match self.catch_up().and_then(|()| self.put(&block)) {
                Ok(()) => {
                    self.retry = None;
                    self.waiting.pop_front();
                    arrived.into_iter().for_each(&mut settled);
                }
                Err(e) => {
                    self.retry = Some((now + RETRY, e.kind()));
                    return Err(explain(self.path.display().to_string(), &e));
                }
            }
        }
        Ok(())
    }

    /// A block into this file, or the next.
    fn put(&mut self, block: &str) -> io::Result<()> {
        let now = SystemTime::now();
        if let Some(rotation) = self.rotation
            && match rotation.full {
                Full::Day => self.day != day_of(now),
                Full::Bytes(most) => self.length + block.len() as u64 > most,
            }
            && self.length > self.header.len() as u64
        {
            let rotated = self.rotate(block, now, rotation.keep);
            self.refused = rotated.as_ref().err().map(io::Error::kind);
            if rotated.is_ok() {
                return Ok(());
            }
        }
        self.append(block.as_bytes())
    }

    /// Begins the next file with this block; where that cannot be, all is as it was.
    fn rotate(&mut self, block: &str, now: SystemTime, keep: usize) -> io::Result<()> {
        let mut text = self.header.clone();
        if let Some(clock) = self.told {
            text.push_str(&format!("\nNOTE {} is {}\n", self.offset + clock.time, rfc3339(clock.wall)));
        }
        text.push_str(block);
        let (part, old) = (output::part(&self.path), self.old(&rfc3339(now)));
        let result = fresh(&part, &text).and_then(|file| {
            // The name never stands for nothing: the old file has two before it loses this one. File systems without links
            // have a moment in which it does.
            let linked = std::fs::hard_link(&self.path, &old);
            match &linked {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(ErrorKind::AlreadyExists.into()),
                Err(_) => std::fs::rename(&self.path, &old)?,
            }
            let renamed = std::fs::rename(&part, &self.path);
            let _ = renamed.as_ref().inspect_err(|_| {
                let _ = if linked.is_ok() { std::fs::remove_file(&old) } else { std::fs::rename(&old, &self.path) };
            });
            renamed.map(|()| file)
        });
        let file = result.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
        (self.file, self.length, self.torn, self.day) = (file, text.len() as u64, false, day_of(now));
        self.prune(keep);
        Ok(())
    }

    /// What the file is called once it is old: its own name with the moment in it.
    fn old(&self, moment: &str) -> PathBuf {
        let name = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let (stem, extension) = (name(self.path.file_stem()), name(self.path.extension()));
        let dot = if extension.is_empty() { "" } else { "." };
        self.path.with_file_name(format!("{stem}.{}{dot}{extension}", moment.replace(':', "-")))
    }

    /// Removes the oldest of the old files.
    fn prune(&self, keep: usize) {
        // As many signs as a moment has, and all of them digits where it has digits.
        let example = "0000-00-00T00-00-00.000Z";
        let pattern = self.old(example);
        let pattern = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(at) = pattern.rfind(example) else { return };
        let of_this = |name: &str| {
            let moment = name.strip_prefix(&pattern[..at]).and_then(|n| n.strip_suffix(&pattern[at + example.len()..]));
            moment.is_some_and(|m| {
                m.len() == example.len()
                    && m.bytes().zip(example.bytes()).all(|(a, b)| if b == b'0' { a.is_ascii_digit() } else { a == b })
            })
        };
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(files) = std::fs::read_dir(folder) else { return };
        let mut old: Vec<String> =
            files.flatten().filter_map(|f| f.file_name().into_string().ok()).filter(|n| of_this(n)).collect();
        old.sort_unstable();
        for name in old.iter().take(old.len().saturating_sub(keep)) {
            let _ = std::fs::remove_file(folder.join(name));
        }
    }

    /// Takes note of what others did to the file, and back what could not be taken back at once.
    fn catch_up(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        let there = self.file.metadata()?.len();
        if there < self.length {
            self.file.set_len(0)?;
            self.length = 0;
            let header = self.header.clone();
            return self.append(header.as_bytes());
        }
        self.length = there;
        Ok(())
    }

    /// Appends the bytes whole, or leaves the file as it was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = PAGE - self.length % PAGE;
        let filler = if bytes.len() as u64 > left && bytes.len() as u64 <= PAGE { left as usize } else { 0 };
        let mut whole = vec![b'\n'; filler];
        whole.extend_from_slice(bytes);
        let result = self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write(&whole));
        match result {
            Ok(n) if n == whole.len() => {
                self.length += n as u64;
                Ok(())
            }
            other => {
                self.torn = self.file.set_len(self.length).is_err();
                Err(other.err().unwrap_or(ErrorKind::StorageFull.into()))
            }
        }
    }
}

/// Days since 1970.
fn day_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

/// A file of that name with the header in it, locked.
fn begin(path: &Path, header: &str, name: &str) -> Result<File> {
    let file = fresh(path, header).map_err(|e| explain(name, &e))?;
    lock(&file, name).map(|()| file)
}

/// A file of that name with this in it, and a lock where there are locks.
fn fresh(path: &Path, text: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())?;
    let _ = file.try_lock();
    Ok(file)
}

fn lock(file: &File, name: &str) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::output(name, "is being written by another program", "Name another file."))
        }
        // File systems without locks have none to lose.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// A cue's block, with the line feed that ends it.
pub(super) fn cue_block(cue: &Cue, offset: Time) -> String {
    let mut block = format!("{} --> {}\n", offset + cue.start, offset + cue.end);
    for line in &cue.lines {
        block.push_str(&vtt_escape(&plain(line)));
        block.push('\n');
    }
    block
}

/// Up to where a file holds whole blocks, and the end of its last cue; 0 for an empty one, none for one that is no WebVTT.
fn ending(file: &mut File) -> io::Result<Option<(u64, Time)>> {
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
    let end = text.lines().rev().find_map(|l| l.split_once(" --> ")).and_then(|(_, end)| stamp(end));
    Ok(Some((from + tail.len() as u64, end.unwrap_or(Time::ZERO))))
}

/// `HH:MM:SS.mmm`.
fn stamp(text: &str) -> Option<Time> {
    let (clock, millis) = text.trim().split_once('.')?;
    let parts: Option<Vec<i64>> = clock.split(':').map(|p| p.parse().ok()).collect();
    let secs = parts?.iter().try_fold(0i64, |sum, p| sum.checked_mul(60)?.checked_add(*p))?;
    Some(Time::from_millis(secs.checked_mul(1_000)?.checked_add(millis.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let of = |text: &str| text.parse::<Full>();
        assert_eq!(of("day"), Ok(Full::Day));
        assert_eq!((of("5000"), of("4k"), of("10M")), (Ok(Full::Bytes(5_000)), Ok(Full::Bytes(4_096)), of("10240k")));
        for wrong in ["", "k", "-1", "1k", "10m", "99999999999G", "week", "1.5M"] {
            assert!(of(wrong).unwrap_err().contains("10M"), "{wrong}");
        }
    }

    #[test]
    fn another_day_begins_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vtt");
        let mut file = Growing::open(path.clone(), "s", Existing::Refuse, &CueOptions::default()).unwrap();
        file.rotation = Some(Rotation { full: Full::Day, keep: 2 });
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        for second in 0..6 {
            file.caption(Time::from_millis(second * 2_000), "a dog", Instant::now());
            file.write(Instant::now(), |_| {}).unwrap();
            // Nothing changes within a day, and a day later all of it.
            assert_eq!(files(), 1 + (second as usize / 2).min(2));
            if second % 2 == 1 {
                file.day -= 1;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(std::fs::read_to_string(&path).unwrap().contains("00:00:10.000 --> "));
        drop(file);
        // One that is gone on with is of the day it was written to last.
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        File::options().write(true).open(&path).unwrap().set_modified(yesterday).unwrap();
        let file = Growing::open(path, "s", Existing::Append, &CueOptions::default()).unwrap();
        assert_eq!(file.day, day_of(yesterday));
    }

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
            let (length, end) = ending(&mut File::open(&path).unwrap()).unwrap().unwrap();
            let kept = &std::fs::read_to_string(&path).unwrap()[..length as usize];
            assert_eq!(kept.trim_end(), format!("{head}{cue}").trim_end(), "{half:?}");
            assert!(kept.ends_with('\n'));
            assert_eq!(end, Time::from_millis(3_602_500));
        }
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(ending(&mut File::open(&path).unwrap()).unwrap(), None);
    }
}
