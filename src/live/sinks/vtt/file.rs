//! One growing WebVTT file: appends whole blocks, and begins the next file where it rotates.
//!
//! Every append is one write of one whole block. A reader sees parts of a write only where it crosses a page of memory, so
//! line feeds fill the rest of a page that is too short for the block. Nothing in the file changes later.
//!
//! Faults: a block that a full disk refuses is removed from the file, kept (the last 256 blocks; older ones are lost and
//! counted) and tried again. If another program empties the file, it starts over. If the folder refuses the next file, the
//! old one keeps growing; that is reported, and the next file is tried again with each cue.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::super::super::event::ClockMapping;
use super::super::super::hub::write_error;
use super::super::block::cue_block;
use super::super::existing::{Existing, create_file, explain, open_existing, write_once};
use super::super::pace::CuePacer;
use super::rotation::{Rotation, day_of, old_path, prune};
use super::tail::whole_blocks;
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::open_folder::{open_folder_of, try_lock};
use crate::time::Time;
use crate::track::cue::CueOptions;
use crate::track::formats::one_line;
use crate::wall::{WallClock, rfc3339};

/// Blocks that wait for disk space.
const WAITING: usize = 256;
/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A page of memory, in bytes.
const PAGE: u64 = 4_096;

/// A file that is about to grow: all of its bytes so far are whole blocks.
struct OpenFile {
    file: File,
    length: u64,
    /// End of the last cue.
    end: Time,
    /// The day of its last change.
    day: u64,
}

pub(super) struct GrowingFile {
    path: PathBuf,
    file: File,
    header: String,
    /// All of these bytes are whole blocks.
    length: u64,
    /// The file has bytes beyond `length`, which must be removed first.
    torn: bool,
    /// Stream time 0 in the file's time.
    offset: Time,
    pacer: CuePacer,
    /// Decides which day it is.
    wall: WallClock,
    /// A clock that is not written yet.
    clock: Option<ClockMapping>,
    /// The last clock, for the next file.
    last_clock: Option<ClockMapping>,
    rotation: Option<Rotation>,
    /// Why the next file could not be begun.
    refused: Option<io::Error>,
    /// The day of the file, in days since 1970.
    day: u64,
    /// Blocks, and for the first of a caption its arrival.
    waiting: VecDeque<(String, Option<Instant>)>,
    /// After a failure: when to try again, and what failed.
    retry: Option<(Instant, io::Error)>,
}

impl GrowingFile {
    /// Creates or opens the file, and locks it against a second writer.
    pub(super) fn open(
        path: PathBuf,
        stream: &str,
        existing: Existing,
        options: &CueOptions,
        clock: WallClock,
    ) -> Result<GrowingFile> {
        let header = format!(
            "WEBVTT\n\nNOTE\nDescriptions of the live stream {}\nmade by descry {}\nkind: descriptions\n",
            one_line(stream),
            env!("CARGO_PKG_VERSION"),
        );
        let there = open_existing(&path, existing, Setting::Vtt)?;
        let appends = there.is_some() && existing == Existing::Append;
        let opened = match there {
            Some(file) if appends => resume(file, &path, &header)?,
            _ => {
                let file = create_file(&path, header.as_bytes(), existing == Existing::Replace, Setting::Vtt)?;
                OpenFile { file, length: header.len() as u64, end: Time::ZERO, day: day_of(clock()) }
            }
        };
        let mut waiting = VecDeque::new();
        if appends {
            waiting.push_back((format!("NOTE descry began anew at {}\n", rfc3339(clock())), None));
        }
        Ok(GrowingFile {
            path,
            file: opened.file,
            header,
            length: opened.length,
            torn: false,
            offset: opened.end,
            pacer: CuePacer::new(options),
            wall: clock,
            clock: None,
            last_clock: None,
            rotation: None,
            refused: None,
            day: opened.day,
            waiting,
            retry: None,
        })
    }

    pub(super) fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = Some(rotation);
    }

    pub(super) fn set_clock(&mut self, mapping: ClockMapping) {
        (self.clock, self.last_clock) = (Some(mapping), Some(mapping));
    }

    /// Queues a caption's cues, a block each. False where older blocks are lost for them.
    pub(super) fn caption(&mut self, start: Time, text: &str, arrived: Instant) -> bool {
        let cues = self.pacer.cues(start, text);
        if let Some(clock) = self.clock.take_if(|_| !cues.is_empty()) {
            let note = self.clock_note(clock);
            self.waiting.push_back((note, None));
        }
        for (i, cue) in cues.iter().enumerate() {
            self.waiting.push_back((cue_block(cue, self.offset), (i == 0).then_some(arrived)));
        }
        let excess = self.waiting.len().saturating_sub(WAITING);
        self.waiting.drain(..excess);
        excess == 0
    }

    fn clock_note(&self, clock: ClockMapping) -> String {
        format!("NOTE {} is {}\n", self.offset + clock.time, rfc3339(clock.wall))
    }

    /// Immediately tries again what failed.
    pub(super) fn hasten(&mut self) {
        self.retry = None;
    }

    /// Brings the file and its name to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        let named = || open_folder_of(&self.path)?.sync("");
        self.file.sync_all().and_then(|()| named()).map_err(|e| self.error(&e))
    }

    /// Fails while something cannot be written.
    pub(super) fn trouble(&self) -> Result<()> {
        match self.retry.as_ref().map(|(_, e)| e).or(self.refused.as_ref()) {
            Some(e) => Err(self.error(e)),
            None => Ok(()),
        }
    }

    fn error(&self, e: &io::Error) -> Error {
        write_error(self.path.display().to_string(), e, Setting::Vtt)
    }

    /// Writes what waits, unless it failed a moment ago. `delivered` gets the arrivals of the captions that are readable now.
    pub(super) fn write(&mut self, now: Instant, mut delivered: impl FnMut(Instant)) -> Result<()> {
        if self.retry.as_ref().is_some_and(|(at, _)| now < *at) {
            return Ok(());
        }
        while let Some((block, arrived)) = self.waiting.front() {
            let (block, arrived) = (format!("\n{block}"), *arrived);
            match self.catch_up().and_then(|()| self.put(&block)) {
                Ok(()) => {
                    self.retry = None;
                    self.waiting.pop_front();
                    arrived.into_iter().for_each(&mut delivered);
                }
                Err(e) => {
                    let error = self.error(&e);
                    self.retry = Some((now + RETRY, e));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes a block into this file, or into the next.
    fn put(&mut self, block: &str) -> io::Result<()> {
        let now = (self.wall)();
        if let Some(rotation) = self.rotation
            && rotation.is_due(self.day, self.length, block.len(), now)
            && self.length > self.header.len() as u64
        {
            let rotated = self.rotate(block, now, rotation.keep);
            self.refused = rotated.err();
            if self.refused.is_none() {
                return Ok(());
            }
        }
        self.append(block.as_bytes())
    }

    /// Begins the next file with this block. It appears whole, under the old one's name. After an error everything is as it
    /// was.
    fn rotate(&mut self, block: &str, now: SystemTime, keep: usize) -> io::Result<()> {
        let mut text = self.header.clone();
        if let Some(clock) = self.last_clock {
            text.push_str(&format!("\n{}", self.clock_note(clock)));
        }
        text.push_str(block);
        let mut next = AtomicFile::create(&self.path, true)?;
        next.write_all(text.as_bytes())?;
        // The name always refers to a file: the old one has two names before it loses this one. File systems without hard
        // links have a moment in which it does not.
        let old = old_path(&self.path, now);
        let linked = std::fs::hard_link(&self.path, &old);
        match &linked {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(&self.path, &old)?,
        }
        let file = next.commit_unsynced().inspect_err(|_| {
            let _ = if linked.is_ok() { std::fs::remove_file(&old) } else { std::fs::rename(&old, &self.path) };
        })?;
        let _ = try_lock(&file);
        (self.file, self.length, self.torn, self.day) = (file, text.len() as u64, false, day_of(now));
        prune(&self.path, keep);
        Ok(())
    }

    /// Notices what others did to the file, and removes what an earlier failure left.
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
        let result = self.file.seek(SeekFrom::Start(self.length)).and_then(|_| write_once(&mut self.file, &whole));
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

/// Continues a file: half a block that a crash may have left is cut off, and times go on where it ends. An empty file gets
/// the header.
fn resume(mut file: File, path: &Path, header: &str) -> Result<OpenFile> {
    let fail = |e: io::Error| explain(path, &e, Setting::Vtt);
    let Some((length, end)) = whole_blocks(&mut file).map_err(fail)? else {
        let remedy = message!["Name another file, or give ", Setting::Overwrite, " to replace it."];
        return Err(Error::output(path.display().to_string(), "is not a WebVTT file that can be continued", remedy));
    };
    let day = day_of(file.metadata().and_then(|m| m.modified()).unwrap_or_else(|_| SystemTime::now()));
    file.set_len(length).map_err(fail)?;
    if length == 0 {
        file.write_all(header.as_bytes()).map_err(fail)?;
        return Ok(OpenFile { file, length: header.len() as u64, end, day });
    }
    Ok(OpenFile { file, length, end, day })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::rotation::RotateWhen;
    use super::*;

    /// Somebody may have made the file, or a crash may have come before its header.
    #[test]
    fn an_empty_file_gets_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vtt");
        std::fs::write(&path, "").unwrap();
        for cues in 1..3 {
            let mut file = GrowingFile::open(
                path.clone(),
                "s",
                Existing::Append,
                &CueOptions::default(),
                Arc::new(SystemTime::now),
            )
            .unwrap();
            file.caption(Time::ZERO, "a dog", Instant::now());
            file.write(Instant::now(), |_| {}).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("WEBVTT\n\nNOTE\nDescriptions of"), "{text}");
            assert_eq!(text.matches(" --> ").count(), cues, "{text}");
        }
    }

    #[test]
    fn another_day_begins_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vtt");
        let mut file =
            GrowingFile::open(path.clone(), "s", Existing::Refuse, &CueOptions::default(), Arc::new(SystemTime::now))
                .unwrap();
        file.set_rotation(Rotation { when: RotateWhen::Day, keep: 2 });
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
        let file =
            GrowingFile::open(path, "s", Existing::Append, &CueOptions::default(), Arc::new(SystemTime::now)).unwrap();
        assert_eq!(file.day, day_of(yesterday));
    }
}
