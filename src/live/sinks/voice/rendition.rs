//! The HLS rendition of one stream: its sound, turned down under spoken descriptions.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::super::hls::{AudioPlaylist, HlsOptions};
use super::aac::{AAC_FRAME, AacTrack};
use super::mix::{LiveMix, LiveSpeech, MixPiece, frame_at, frame_time};
use crate::error::{Error, Result};
use crate::live::event::{ClockMapping, LiveAudio};
use crate::time::Time;

/// How long sound may come after the pictures of its time, while it comes at all.
const LATE: Time = Time::from_millis(3_000);
/// Sound that has not come for this long has ended.
const ENDED: Time = Time::from_millis(6_000);
/// Channels of the rendition.
const CHANNELS: u8 = 2;

pub(super) struct AudioRendition {
    mix: LiveMix,
    track: AacTrack,
    playlist: AudioPlaylist,
    /// The frame of samples at which the track begins; none before the stream has a clock.
    origin: Option<u64>,
    /// Frames of AAC so far.
    frames: u64,
    /// The stream time of the last sound, or of the beginning.
    sounded: Time,
}

impl AudioRendition {
    /// # Errors
    /// As [`AudioPlaylist::open`], and if FFmpeg cannot encode AAC.
    pub(super) fn open(folder: PathBuf, options: &HlsOptions) -> Result<AudioRendition> {
        Ok(AudioRendition {
            mix: LiveMix::over_programme(),
            track: AacTrack::new(CHANNELS)?,
            playlist: AudioPlaylist::open(folder, options)?,
            origin: None,
            frames: 0,
            sounded: Time::ZERO,
        })
    }

    /// The source's clock is this from here on. Where it jumps, or after a long gap, the sound begins anew.
    pub(super) fn set_clock(&mut self, mapping: ClockMapping) -> Result<()> {
        if self.origin.is_none() {
            self.begin(mapping.time);
        } else if let Some(end) = self.playlist.breaks(&mapping) {
            self.begin_anew(end, mapping.time)?;
        }
        self.playlist.set_clock(mapping);
        Ok(())
    }

    /// Ends the sound so far, with silence where some of it did not come in time, and begins anew at another time.
    fn begin_anew(&mut self, end: Time, resume: Time) -> Result<()> {
        let mut rest = self.mix.silence_until(frame_at(end));
        rest.extend(self.mix.skip_to(frame_at(resume)));
        self.encode(&rest)?;
        let last = std::mem::replace(&mut self.track, AacTrack::new(CHANNELS)?).finish()?;
        self.hand_on(last);
        self.playlist.cut();
        self.begin(resume);
        Ok(())
    }

    fn begin(&mut self, time: Time) {
        let _ = self.mix.skip_to(frame_at(time));
        self.playlist.begin(time);
        (self.origin, self.frames, self.sounded) = (Some(self.mix.position()), 0, time);
    }

    /// Takes sound of the stream.
    pub(super) fn sound(&mut self, sound: &LiveAudio) -> Result<()> {
        if self.origin.is_none() {
            return Ok(());
        }
        self.sounded = self.sounded.max(sound.start);
        let pieces = self.mix.programme(frame_at(sound.start), &sound.samples);
        self.encode(&pieces)
    }

    /// The stream is processed up to a time.
    pub(super) fn progress(&mut self, time: Time, wall: SystemTime) -> Result<()> {
        self.playlist.follow(time, wall);
        self.reach(time)?;
        if self.origin.is_none() {
            return Ok(());
        }
        let end = if time - self.sounded < ENDED { time - LATE } else { time };
        let pieces = self.mix.silence_until(frame_at(end));
        self.encode(&pieces)
    }

    /// The stream has been processed up to a time, whether or not its sound is due.
    pub(super) fn reach(&mut self, time: Time) -> Result<()> {
        if self.origin.is_some()
            && let Some((end, resume)) = self.playlist.progress(time)
        {
            self.begin_anew(end, resume)?;
        }
        Ok(())
    }

    /// Takes a description.
    ///
    /// # Errors
    /// If another one is lost for it.
    pub(super) fn speak(&mut self, speech: LiveSpeech) -> Result<()> {
        if self.mix.speak(speech) {
            return Ok(());
        }
        let remedy = "Describe less often, with a longer `min_interval`.";
        Err(Error::output("voice", "descriptions come faster than they can be spoken; one is lost", remedy))
    }

    /// Ends the stream: what is left is said while there is time. `is_final`: the source has ended.
    ///
    /// # Errors
    /// If descriptions are lost.
    pub(super) fn finish(&mut self, is_final: bool, has_time: &dyn Fn() -> bool) -> Result<()> {
        let pieces = if self.origin.is_some() { self.mix.finish(has_time) } else { Vec::new() };
        let encoded = self.encode(&pieces).and_then(|()| self.track.finish()).map(|last| self.hand_on(last));
        self.playlist.finish(is_final);
        encoded.and(unsaid("hls", self.mix.drop_waiting()))
    }

    /// Writes what waits. `delivered` gets the arrivals of the descriptions that can be heard now.
    pub(super) fn write(&mut self, now: Instant, delivered: impl FnMut(Instant)) -> Result<()> {
        self.playlist.write(now, delivered)
    }

    /// Fails while something cannot be written.
    pub(super) fn trouble(&self) -> Result<()> {
        self.playlist.trouble()
    }

    /// Immediately tries again what failed.
    pub(super) fn hasten(&mut self) {
        self.playlist.hasten();
    }

    /// Fails once for segments that were lost.
    pub(super) fn check_lost(&mut self) -> Result<()> {
        let full =
            || Error::output("voice", "the oldest segments that waited for disk space are lost", "Free some space.");
        if self.playlist.take_lost() { Err(full()) } else { Ok(()) }
    }

    fn encode(&mut self, pieces: &[MixPiece]) -> Result<()> {
        for (at, arrived) in self.mix.take_begun() {
            self.playlist.begin_speech(frame_time(i64::try_from(at).unwrap_or(i64::MAX)), arrived);
        }
        for piece in pieces {
            let frames = self.track.push(piece)?;
            self.hand_on(frames);
        }
        Ok(())
    }

    /// Puts frames of AAC into their places.
    fn hand_on(&mut self, frames: Vec<Vec<u8>>) {
        let origin = i64::try_from(self.origin.unwrap_or_default()).unwrap_or(i64::MAX);
        for bytes in frames {
            self.frames += 1;
            // The first frame has what comes before the first sample, at a time that the source's clock may not have.
            let Some(before) = self.frames.checked_sub(2) else { continue };
            let start = origin + (before * AAC_FRAME) as i64;
            self.playlist.frame(frame_time(start), frame_time(start + AAC_FRAME as i64), &bytes);
        }
    }
}

/// Fails if descriptions were not said when the stream ended.
pub(super) fn unsaid(output: &str, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let last = if count == 1 { "the last description".into() } else { format!("the last {count} descriptions") };
    let cause = format!("there was no time for {last}");
    Err(Error::output(output, cause, "Describe less often, with a longer `min_interval`."))
}
