//! The film of a review: pictures and sound for the page, each from a source that is opened for it.
//!
//! Memory: what [`FrameSource`] holds, and one picture.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::address::Address;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::isolate::{FrameSource, Isolation};
use crate::lock::lock;
use crate::media::decode::Polled;
use crate::media::{
    DecodeOptions, DecodedFrames, Frame, PreviewEncoder, Rgb, SideTrack, SideTrackData, StreamInfo, ThumbnailOptions,
    TrackChoice, sample_at, thumbnail,
};
use crate::message::Setting;
use crate::time::Time;

/// Another version may make other pictures.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longest side of the pictures of a preview, in pixels.
const PREVIEW: u32 = 854;
/// A preview begins with the frame that is shown then: the last one of so much before it.
const LEAD: Time = Time::from_millis(1_000);
/// Peaks of the waveform a second.
pub const PEAKS: u32 = 20;
/// Samples of one peak.
const PEAK: i64 = crate::media::AUDIO_RATE as i64 / PEAKS as i64;
/// Most peaks: those of 1,000 hours.
const MOST_PEAKS: usize = 1_000 * 3_600 * PEAKS as usize;
/// Longest side of the pictures from which thumbnails are made, in pixels.
const SCALED: u32 = 640;

/// A film as the page shows it. Times are those from the start of its clock.
#[derive(Debug, Clone)]
pub struct ReviewFilm {
    input: Address,
    options: DecodeOptions,
    isolation: Option<Isolation>,
    info: StreamInfo,
}

/// How a browser can play a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Playback {
    /// As it is.
    File,
    /// Only when it is converted while it plays.
    Preview,
}

impl ReviewFilm {
    /// Opens a film to learn what it is.
    ///
    /// # Errors
    /// If it cannot be opened, or has no pictures.
    pub fn open(
        input: &Address,
        options: DecodeOptions,
        isolation: Option<Isolation>,
        interrupt: Interrupt,
    ) -> Result<ReviewFilm> {
        let options = DecodeOptions { side_track: SideTrack::Audio(TrackChoice::Usual), ..options };
        let source = FrameSource::open(input, &options, isolation.as_ref(), interrupt)?;
        let info = source.info().clone();
        Ok(ReviewFilm { input: input.clone(), options, isolation, info })
    }

    /// What is known about it.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Its name as the user gave it, without credentials.
    pub(super) fn shown(&self) -> String {
        self.input.shown()
    }

    /// Its file; none if it is elsewhere.
    pub fn path(&self) -> Option<&Path> {
        (!self.input.is_url()).then(|| Path::new(self.input.reveal()))
    }

    /// How long it is; none if its container does not say.
    pub fn duration(&self) -> Option<Time> {
        self.info.duration.filter(|seconds| *seconds > 0.0).map(Time::from_secs)
    }

    /// How browsers can play it: as it is, if all of Chromium, Firefox and Safari know its container, its pictures and its
    /// sound.
    pub fn playback(&self) -> Playback {
        let sound = self.info.side_track.as_ref().map(|track| &*track.codec);
        let info = &self.info;
        // Browsers count time from zero, whatever the clock of the film says.
        let is_plain = info.start_time.abs() < 0.001 && matches!(&*info.pixel_format, "yuv420p" | "yuvj420p");
        if is_plain && self.path().is_some() && is_played(&info.container, &info.codec, sound) {
            Playback::File
        } else {
            Playback::Preview
        }
    }

    /// The first frame from a time on, as a JPEG of this size and quality; none if it has no pixels.
    ///
    /// # Errors
    /// If the film cannot be read or decoded there, or has ended.
    pub fn picture(&self, at: Time, size: ThumbnailOptions, interrupt: Interrupt) -> Result<Option<Vec<u8>>> {
        let jpeg =
            self.with_frame(at, interrupt, |frame| Ok(thumbnail(&frame.to_rgb_within(size.width.max(SCALED))?, size)));
        Ok(jpeg?.flatten())
    }

    /// What `take` takes of the first frame from a time on; none if there is none.
    ///
    /// # Errors
    /// If the film cannot be read or decoded there, and those of `take`.
    pub(super) fn with_frame<T>(
        &self,
        at: Time,
        interrupt: Interrupt,
        take: impl FnOnce(&Frame) -> Result<T>,
    ) -> Result<Option<T>> {
        let options = DecodeOptions {
            start: (at > Time::ZERO).then_some(at),
            side_track: SideTrack::Nothing,
            threads: 1,
            ..self.options.clone()
        };
        // The frame's pixels may be in the process that has decoded it.
        let mut source = FrameSource::open(&self.input, &options, self.isolation.as_ref(), interrupt)?;
        source.next()?.map(|frame| take(&frame)).transpose()
    }

    /// Names the film as it is now in addresses of its pictures: another one, or a changed one, has another key.
    pub(super) fn key(&self) -> String {
        let metadata = self.path().and_then(|path| std::fs::metadata(path).ok());
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        // What is known of a film at a web address may stay the same although the film changes.
        let begun = if modified.is_none() { Some(SystemTime::now()) } else { None };
        let length = metadata.map(|metadata| metadata.len());
        let state = format!("{VERSION} {} {length:?} {modified:?} {begun:?}", self.input.reveal());
        hex(&Sha256::digest(state)[..12])
    }

    /// Writes the film from a time on as WebM, as fast as the reader reads.
    ///
    /// # Errors
    /// If the film cannot be decoded, this FFmpeg cannot encode for browsers, or `to` cannot be written.
    pub fn preview(&self, from: Time, interrupt: Interrupt, to: &mut dyn Write) -> Result<()> {
        let options =
            DecodeOptions { start: (from > LEAD).then(|| from - LEAD), programme: true, ..self.options.clone() };
        let mut source = FrameSource::open(&self.input, &options, self.isolation.as_ref(), interrupt)?;
        let bare = !source.info().has_side_track();
        let Some(mut shown) = source.next()? else { return Ok(()) };
        // The sound is on the clock of the source, and pictures on that of the film.
        let clock = Time::ZERO - Time::from_secs(source.info().start_time);
        let shift = shown.pts.map_or(clock, |pts| shown.time - pts);
        let mut following = source.next()?;
        while let Some(frame) = following.take_if(|frame| frame.time <= from) {
            shown = frame;
            following = source.next()?;
        }
        let picture = shown.to_rgb_within(PREVIEW)?;
        let size = (picture.width, picture.height);
        let made = EncodedBytes::default();
        let encoder = PreviewEncoder::new(made.clone(), size, from, bare);
        let mut encoder = encoder.map_err(|e| self.no_encoder(e))?;
        let fail = |e: std::io::Error| Error::write("the film for the page", &e, Setting::Output);
        // A browser waits for a picture of the time that it wants to show.
        let (mut picture, mut time) = (picture, from);
        loop {
            let sound = source.take_side_track().unwrap_or_default();
            write_part(&mut encoder, &picture, time, sound, shift, from).map_err(|e| self.no_encoder(e))?;
            to.write_all(&made.take()).map_err(fail)?;
            let Some(frame) = following else { break };
            (picture, time) = (frame.to_rgb_within(PREVIEW)?, frame.time);
            following = source.next()?;
        }
        encoder.finish().map_err(|e| self.no_encoder(e))?;
        to.write_all(&made.take()).map_err(fail)
    }

    fn no_encoder(&self, e: impl std::fmt::Display) -> Error {
        let cause = format!("cannot be converted for browsers: {e}");
        let remedy = "Install an FFmpeg with libvpx and libopus, as Debian's, or review an MP4 with H.264 and AAC.";
        Error::input(self.input.shown(), cause, remedy)
    }

    /// The loudest sample of each stretch of 1/20 s, from 0 to 255, from the start of the film's clock. `found` gets them as
    /// they become known, and returns whether to go on.
    ///
    /// # Errors
    /// If the film cannot be read.
    pub fn waveform(&self, interrupt: Interrupt, mut found: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let options = DecodeOptions { frames: DecodedFrames::Nothing, start: None, end: None, ..self.options.clone() };
        let mut source = FrameSource::open(&self.input, &options, self.isolation.as_ref(), interrupt)?;
        if !source.info().has_side_track() {
            return Ok(());
        }
        let mut peaks = Peaks::default();
        loop {
            let ended = matches!(source.poll()?, Polled::End);
            let data = source.take_side_track();
            let is_over = ended && data.is_none();
            if let Some(data) = data {
                peaks.push(&data);
            }
            let ready = peaks.take(is_over);
            if (!ready.is_empty() && !found(&ready)) || is_over {
                return Ok(());
            }
        }
    }
}

/// What was encoded and is not written yet.
#[derive(Clone, Default)]
struct EncodedBytes(Arc<Mutex<Vec<u8>>>);

impl EncodedBytes {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Write for EncodedBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a picture and the sound that was read with it.
fn write_part(
    encoder: &mut PreviewEncoder,
    picture: &Rgb,
    time: Time,
    sound: SideTrackData,
    shift: Time,
    from: Time,
) -> Result<(), ffmpeg_next::Error> {
    for mut chunk in sound.programme {
        chunk.pts = chunk.pts + shift;
        if chunk.pts >= from {
            encoder.sound(&chunk)?;
        }
    }
    encoder.picture(picture, time)
}

/// Whether all common browsers play a container (FFmpeg's name) with these codecs.
fn is_played(container: &str, pictures: &str, sound: Option<&str>) -> bool {
    // Matroska and WebM have the same name, so it does not say which of the two it is.
    let is_mp4 = container.split(',').any(|name| name == "mp4");
    is_mp4 && pictures == "h264" && matches!(sound, None | Some("aac" | "mp3"))
}

/// Collects the loudest samples.
#[derive(Default)]
struct Peaks {
    /// Peaks that are not taken yet; the last one may still change.
    waiting: Vec<u8>,
    /// How many were taken.
    taken: usize,
}

impl Peaks {
    fn push(&mut self, data: &SideTrackData) {
        for chunk in &data.audio {
            let start = i64::try_from(chunk.start).unwrap_or(i64::MAX);
            let mut at = start;
            for stretch in chunk.samples.chunks(PEAK as usize) {
                let peak = stretch.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
                self.put(at / PEAK, (peak.min(1.0) * 255.0).round() as u8);
                at = at.saturating_add(PEAK);
            }
        }
        // At the end, everything after the film is known: there is nothing.
        if data.until < Time::MAX {
            self.extend_to(sample_at(data.until).max(0) / PEAK);
        }
    }

    fn put(&mut self, at: i64, peak: u8) {
        let Ok(at) = usize::try_from(at) else { return };
        self.extend_to(at as i64 + 1);
        if let Some(place) = at.checked_sub(self.taken).and_then(|at| self.waiting.get_mut(at)) {
            *place = (*place).max(peak);
        }
    }

    /// Fills up with silence.
    fn extend_to(&mut self, peaks: i64) {
        let peaks = usize::try_from(peaks).unwrap_or(0).min(MOST_PEAKS);
        let length = peaks.saturating_sub(self.taken);
        if length > self.waiting.len() {
            self.waiting.resize(length, 0);
        }
    }

    /// Those that are known: all but the last, unless the film is over.
    fn take(&mut self, over: bool) -> Vec<u8> {
        let ready = if over { self.waiting.len() } else { self.waiting.len().saturating_sub(1) };
        self.taken += ready;
        self.waiting.drain(..ready).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioChunk;

    #[test]
    fn what_browsers_play_is_known() {
        let mp4 = "mov,mp4,m4a,3gp,3g2,mj2";
        assert!(is_played(mp4, "h264", Some("aac")) && is_played(mp4, "h264", None));
        assert!(!is_played(mp4, "hevc", Some("aac")) && !is_played(mp4, "h264", Some("ac3")));
        assert!(!is_played("matroska,webm", "h264", Some("aac")));
    }

    #[test]
    fn peaks_are_in_their_places() {
        let mut peaks = Peaks::default();
        let chunk = |start, samples| AudioChunk { start, samples };
        let data = |audio, until| SideTrackData { audio, until: Time::from_millis(until), ..SideTrackData::default() };
        peaks.push(&data(vec![chunk(0, vec![0.5; 800]), chunk(2_400, vec![-1.5; 100])], 150));
        assert_eq!(peaks.take(false), [128, 0, 0]);
        peaks.push(&data(vec![chunk(2_500, vec![0.1; 900])], 500));
        peaks.push(&SideTrackData { until: Time::MAX, ..SideTrackData::default() });
        assert_eq!(peaks.take(true), [255, 26, 0, 0, 0, 0, 0]);
    }
}
