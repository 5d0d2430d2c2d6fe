//! The file of one stream's spoken descriptions: AAC in ADTS, with silence between them, on stream time.
//!
//! Only whole frames are written, so the file can be played at every instant, and appended to. While the disk is full, the
//! file stands still; afterwards it catches up with silence. Memory: [`MOST_WAITING`] bytes and one step.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::existing::{Existing, create_file, open_existing, write_once};
use super::aac::AacTrack;
use super::mix::{LiveMix, LiveSpeech, MixPiece, frame_at};
use super::rendition::unsaid;
use crate::error::{Error, Result};
use crate::live::hub::write_error;
use crate::media::PROGRAMME_RATE;
use crate::message::Setting;
use crate::open_folder::open_folder_of;
use crate::time::Time;

/// A write that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that wait for disk space.
const MOST_WAITING: usize = 256 << 10;
/// Longest silence that is written at once, in frames of samples: 10 minutes. After hours without a connection, the file
/// catches up within seconds.
const STEP: u64 = 600 * PROGRAMME_RATE as u64;

pub(super) struct VoiceFile {
    path: PathBuf,
    file: File,
    /// All of these bytes are whole frames.
    length: u64,
    /// The file has bytes beyond `length`, which must be removed first.
    torn: bool,
    mix: LiveMix,
    track: AacTrack,
    /// The first frame of AAC, which comes before the first sample, is yet to come.
    primes: bool,
    /// The stream is processed up to this frame of samples.
    reached: u64,
    /// Frames of AAC to be written, and the arrivals of the descriptions that begin in them.
    waiting: VecDeque<(Vec<u8>, Vec<Instant>)>,
    /// After a failure: when to try again, and what failed.
    retry: Option<(Instant, io::Error)>,
}

impl VoiceFile {
    /// Creates or opens the file, and locks it against a second writer.
    pub(super) fn open(path: PathBuf, existing: Existing) -> Result<VoiceFile> {
        let track = AacTrack::new(1)?;
        let there = open_existing(&path, existing, Setting::VoiceFile)?;
        let file = match there {
            Some(file) if existing == Existing::Append => file,
            _ => create_file(&path, b"", existing == Existing::Replace, Setting::VoiceFile)?,
        };
        let length =
            file.metadata().map_err(|e| write_error(path.display().to_string(), &e, Setting::VoiceFile))?.len();
        Ok(VoiceFile {
            path,
            file,
            length,
            torn: false,
            mix: LiveMix::speech_alone(),
            track,
            primes: true,
            reached: 0,
            waiting: VecDeque::new(),
            retry: None,
        })
    }

    /// The stream is processed up to a time.
    pub(super) fn progress(&mut self, time: Time) {
        self.reached = self.reached.max(frame_at(time));
    }

    /// Takes a description.
    ///
    /// # Errors
    /// If another one is lost for it.
    pub(super) fn speak(&mut self, speech: LiveSpeech) -> Result<()> {
        if self.mix.speak(speech) {
            return Ok(());
        }
        let remedy = "Describe less often, with a longer `min_interval`, or free some space.";
        Err(Error::output(self.name(), "descriptions come faster than they can be spoken; one is lost", remedy))
    }

    /// Ends the stream: what is left is said while there is time. Nothing follows.
    ///
    /// # Errors
    /// If descriptions are lost.
    pub(super) fn finish(&mut self, has_time: &dyn Fn() -> bool) -> Result<()> {
        while self.mix.position() < self.reached && self.has_room() {
            self.advance()?;
        }
        let rest = self.mix.finish(has_time);
        self.encode(&rest)?;
        let last = self.track.finish()?.concat();
        self.waiting.push_back((last, Vec::new()));
        unsaid(&self.name(), self.mix.drop_waiting())
    }

    /// Writes what is due, unless it failed a moment ago. `delivered` gets the arrivals of the descriptions that can be heard
    /// now.
    pub(super) fn write(&mut self, now: Instant, mut delivered: impl FnMut(Instant)) -> Result<()> {
        if self.has_room() {
            self.advance()?;
        }
        if self.retry.as_ref().is_some_and(|(at, _)| now < *at) {
            return Ok(());
        }
        while let Some((bytes, _)) = self.waiting.front() {
            let bytes = bytes.clone();
            if let Err(e) = self.append(&bytes) {
                let error = self.error(&e);
                self.retry = Some((now + RETRY, e));
                return Err(error);
            }
            let written = self.waiting.pop_front();
            written.into_iter().flat_map(|(_, arrivals)| arrivals).for_each(&mut delivered);
        }
        self.retry = None;
        Ok(())
    }

    /// Fails while something cannot be written.
    pub(super) fn trouble(&self) -> Result<()> {
        self.retry.as_ref().map_or(Ok(()), |(_, e)| Err(self.error(e)))
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

    fn has_room(&self) -> bool {
        self.waiting.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() < MOST_WAITING
    }

    /// Goes on by one step at most.
    fn advance(&mut self) -> Result<()> {
        let pieces = self.mix.silence_until(self.reached.min(self.mix.position() + STEP));
        self.encode(&pieces)
    }

    fn encode(&mut self, pieces: &[MixPiece]) -> Result<()> {
        let arrivals = self.mix.take_begun().into_iter().map(|(_, arrived)| arrived).collect::<Vec<_>>();
        let mut bytes = Vec::new();
        for piece in pieces {
            let frames = self.track.push(piece)?;
            let skipped = usize::from(self.primes && !frames.is_empty());
            self.primes &= skipped == 0;
            bytes.extend(frames.into_iter().skip(skipped).flatten());
        }
        if !bytes.is_empty() || !arrivals.is_empty() {
            self.waiting.push_back((bytes, arrivals));
        }
        Ok(())
    }

    /// Appends the bytes whole, or leaves the file as it was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        // Another program may have emptied the file.
        self.length = self.length.min(self.file.metadata()?.len());
        let mut done = 0;
        while done < bytes.len() {
            let at = SeekFrom::Start(self.length + done as u64);
            let written = self.file.seek(at).and_then(|_| write_once(&mut self.file, &bytes[done..]));
            match written {
                Ok(n) if n > 0 => done += n,
                other => {
                    self.torn = self.file.set_len(self.length).is_err();
                    return Err(other.err().unwrap_or(ErrorKind::StorageFull.into()));
                }
            }
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn error(&self, e: &io::Error) -> Error {
        write_error(self.name(), e, Setting::VoiceFile)
    }
}
