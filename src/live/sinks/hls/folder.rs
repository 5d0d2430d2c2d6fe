//! The folder of one stream's playlist: writes segments and playlists, and removes old segments.
//!
//! The playlist is as long as a fixed number of full segments. Files are written under temporary names and renamed into
//! place. A segment is removed when it has been out of the playlist for longer than it was in it.
//!
//! Faults: segments that a full disk refuses are kept, as many as the playlist holds, and tried again. Older segments are
//! lost and counted, and leave a discontinuity. After a restart the numbers continue, so that players continue too.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::super::hub::write_error;
use super::HlsOptions;
use super::playlist::{ListedSegment, MASTER, MediaPlaylist, PlaylistNames, is_ours, master_text};
use super::segmenter::{ClosedSegment, LEAST_CUT};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Largest playlist that is continued, in bytes. One of a thousand short segments has a quarter of this.
const MOST_PLAYLIST: u64 = 1 << 20;

pub(super) struct PlaylistFolder {
    folder: PathBuf,
    names: PlaylistNames,
    options: HlsOptions,
    playlist: MediaPlaylist,
    /// Segments from this number on may still be in the folder.
    oldest: u64,
    /// Durations of those that are and have left the playlist, the oldest first.
    left: VecDeque<Time>,
    waiting: VecDeque<ClosedSegment>,
    /// The playlist in the folder is out of date.
    stale: bool,
    /// The master playlist is yet to be written.
    master: bool,
    /// After a failure: when to try again, and what failed.
    retry: Option<(Instant, io::Error)>,
    /// Arrivals of captions that are in a written segment and not in the playlist yet.
    delivered: Vec<Instant>,
}

impl PlaylistFolder {
    /// Opens the folder, and continues an earlier run's playlist where there is one. `has_master`: whether it writes the
    /// master playlist, if there is to be one.
    pub(super) fn open(
        folder: PathBuf,
        names: PlaylistNames,
        options: &HlsOptions,
        has_master: bool,
    ) -> Result<PlaylistFolder> {
        let has_master = has_master && options.video.is_some();
        let name = folder.display().to_string();
        let fail = |e: io::Error| write_error(&name, &e, Setting::Hls);
        fs::create_dir_all(&folder).map_err(fail)?;
        let read = |name: &str| match read_text(&folder.join(name), MOST_PLAYLIST) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() != io::ErrorKind::InvalidData => Err(fail(e)),
            text => Ok(Some(text.unwrap_or_default())),
        };
        let before = read(names.playlist)?;
        let master = if has_master { read(MASTER)? } else { None };
        let foreign = |text: &Option<String>| text.as_ref().is_some_and(|t| !is_ours(t));
        if !options.force && (foreign(&before) || foreign(&master)) {
            let remedy = message!["Name another folder, or give ", Setting::Overwrite, " to replace it."];
            return Err(Error::output(name, "has a playlist that descry did not write", remedy));
        }
        let (playlist, oldest) =
            before.filter(|b| is_ours(b)).map_or_else(Default::default, |before| MediaPlaylist::resume(&before));
        let opened = PlaylistFolder {
            // How long the old segments were is not worth reading.
            left: (oldest..playlist.sequence).map(|_| options.segment).collect(),
            oldest,
            playlist,
            waiting: VecDeque::new(),
            stale: false,
            master: has_master,
            retry: None,
            delivered: Vec::new(),
            options: options.clone(),
            names,
            folder,
        };
        opened.remove_leftovers();
        Ok(opened)
    }

    /// Removes what an earlier run left: segments that no playlist has named for long, and half-written files.
    fn remove_leftovers(&self) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let half = self.names.is_part(name) || self.master && name.starts_with(MASTER) && name.ends_with(".part");
            let number = self.names.number(name);
            if half || number.is_some_and(|n| n < self.oldest || n >= self.playlist.sequence) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Whether an earlier run's playlist continues.
    pub(super) fn is_resumed(&self) -> bool {
        !self.left.is_empty() || self.playlist.sequence > 0
    }

    /// Adds a segment to be written. True where an older one is lost for it.
    pub(super) fn push(&mut self, segment: ClosedSegment) -> bool {
        self.waiting.push_back(segment);
        let kept = self.waiting.iter().skip(1).fold(Time::ZERO, |sum, s| sum + s.duration);
        if kept < self.options.span() && self.waiting.len() <= self.most() {
            return false;
        }
        self.waiting.pop_front();
        if let Some(next) = self.waiting.front_mut() {
            next.discontinuity = true;
        }
        true
    }

    /// The stream has ended: the playlist is to announce it.
    pub(super) fn end(&mut self) {
        self.playlist.ended = true;
        self.stale = true;
    }

    /// Immediately tries again what failed.
    pub(super) fn hasten(&mut self) {
        self.retry = None;
    }

    /// Fails while something cannot be written.
    pub(super) fn trouble(&self) -> Result<()> {
        match &self.retry {
            Some((_, e)) => Err(write_error(self.folder.display().to_string(), e, Setting::Hls)),
            None => Ok(()),
        }
    }

    /// Writes what waits, unless it failed a moment ago. `delivered` gets the arrivals of the captions that are readable now.
    pub(super) fn write(&mut self, now: Instant, delivered: impl FnMut(Instant)) -> Result<()> {
        if self.retry.as_ref().is_some_and(|(at, _)| now < *at) {
            return Ok(());
        }
        if let Err(e) = self.try_write() {
            let error = write_error(self.folder.display().to_string(), &e, Setting::Hls);
            self.retry = Some((now + RETRY, e));
            return Err(error);
        }
        self.retry = None;
        self.delivered.drain(..).for_each(delivered);
        Ok(())
    }

    fn try_write(&mut self) -> io::Result<()> {
        if self.master {
            self.place(MASTER, master_text(&self.options).as_bytes())?;
            self.master = false;
        }
        while let Some(segment) = self.waiting.front() {
            self.place(&self.names.segment(self.playlist.next()), &segment.bytes)?;
            if let Some(ClosedSegment { duration, wall, discontinuity, arrivals, .. }) = self.waiting.pop_front() {
                self.playlist.listed.push_back(ListedSegment { duration, wall, discontinuity });
                self.delivered.extend(arrivals);
            }
            self.roll();
            self.stale = true;
        }
        let mut result = Ok(());
        if self.stale && !self.playlist.listed.is_empty() {
            let text = self.playlist.text(&self.names, self.options.segment);
            result = self.place(self.names.playlist, text.as_bytes());
            self.stale = result.is_err();
        }
        self.remove_old();
        result
    }

    /// Takes segments that the playlist need not have any more out of it.
    fn roll(&mut self) {
        let mut length = self.playlist.listed.iter().fold(Time::ZERO, |sum, s| sum + s.duration);
        while let Some(first) = self.playlist.listed.front() {
            length = length - first.duration;
            if length < self.options.span() && self.playlist.listed.len() <= self.most() {
                break;
            }
            self.playlist.sequence += 1;
            self.playlist.discontinuities += u64::from(first.discontinuity);
            self.left.push_back(first.duration);
            self.playlist.listed.pop_front();
        }
    }

    /// Removes segments that no player reads any more. One may still read what the longest playlist had when it was new.
    fn remove_old(&mut self) {
        let longest = self.options.span() + self.options.segment + self.options.segment;
        let mut out = self.left.iter().skip(1).fold(Time::ZERO, |sum, d| sum + *d);
        while out >= longest || self.left.len() > 2 * self.most() {
            let _ = fs::remove_file(self.folder.join(self.names.segment(self.oldest)));
            self.oldest += 1;
            self.left.pop_front();
            out = out - self.left.front().copied().unwrap_or(out);
        }
    }

    /// Most segments of a playlist: the short ones have captions, or end with a jump.
    fn most(&self) -> usize {
        (self.options.span().micros() / LEAST_CUT.micros()) as usize + self.options.window
    }

    /// Writes a file whole, or leaves it as it was. Not synchronised with the disk: after a crash of the machine players
    /// start over anyway.
    fn place(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let write = || {
            let mut file = AtomicFile::create(&self.folder.join(name), true)?;
            file.write_all(bytes)?;
            file.commit_unsynced().map(drop).map_err(io::Error::from)
        };
        write().inspect_err(|e| {
            if e.kind() == io::ErrorKind::NotFound {
                // The next attempt finds the folder again.
                let _ = fs::create_dir_all(&self.folder);
            }
        })
    }
}
