//! HLS: a rolling WebVTT media playlist beside another program's video, and one of its sound with spoken descriptions.
//!
//! Each segment maps its local time to the source's own clock (`X-TIMESTAMP-MAP`), so that players lay the cues over a
//! video that has the same clock, and each has its wall-clock time. Where the source's clock jumps, the segment ends there
//! and the next one has `EXT-X-DISCONTINUITY`. [`segmenter`] cuts segments of text and [`audio`] those of sound,
//! [`playlist`] formats the playlists, [`folder`] writes the files, and [`source_clock`] relates the clocks.
//!
//! Memory: the cues that have not ended, and on a full disk as many segments as the playlist holds.

mod audio;
mod folder;
mod playlist;
mod segmenter;
mod source_clock;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::event::{Event, EventKind, Reason, StreamState};
use super::super::hub::Sink;
use super::paths::stream_paths;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::time::Time;
use crate::track::cue::CueOptions;
use folder::PlaylistFolder;
use playlist::TEXT;
use segmenter::Segmenter;

pub(super) use audio::AudioPlaylist;

/// How the playlist is made.
#[derive(Debug, Clone)]
pub struct HlsOptions {
    /// Longest segment, from 0.5 to 60 s. HLS wants the target duration of the video's own playlist. Default: 2 s.
    pub segment: Time,
    /// Length of the playlist in segments of that length, from 3 to 1000; shorter segments are more. Default: 10.
    pub window: usize,
    /// The video's media playlist, as `master.m3u8` names it. Default: none, and no master playlist.
    pub video: Option<Address>,
    /// Peak bit rate of that video in bits a second; the master playlist must name one. Default: 5 000 000.
    pub bandwidth: u64,
    /// Language of the descriptions, a BCP 47 tag. Default: en.
    pub language: String,
    /// Replaces a playlist that descry did not write. Default: false.
    pub force: bool,
    /// Whether there is a playlist of spoken descriptions too, which the master playlist names. Default: false.
    pub is_spoken: bool,
    /// How cues are laid out.
    pub cue: CueOptions,
}

impl Default for HlsOptions {
    fn default() -> HlsOptions {
        HlsOptions {
            segment: Time::from_millis(2_000),
            window: 10,
            video: None,
            bandwidth: 5_000_000,
            language: "en".into(),
            force: false,
            is_spoken: false,
            cue: CueOptions::default(),
        }
    }
}

impl HlsOptions {
    /// Length of the playlist.
    fn span(&self) -> Time {
        Time::from_micros(self.segment.micros().saturating_mul(self.window as i64))
    }

    fn check(&self) -> Result<()> {
        if !(Time::from_millis(500)..=Time::from_millis(60_000)).contains(&self.segment) {
            return Err(Error::usage("HLS segments must have between 0.5 and 60 s", "2 s to 6 s is usual."));
        }
        if !(3..=1_000).contains(&self.window) {
            return Err(Error::usage("an HLS playlist must have between 3 and 1000 segments", "10 is usual."));
        }
        let plain = |s: &str| !s.is_empty() && !s.contains(['"', '\n', '\r']) && !s.starts_with('#');
        if !plain(&self.language) || !self.video.as_ref().is_none_or(|video| plain(video.reveal())) {
            let cause = "the language or the video's playlist has characters that HLS does not allow";
            return Err(Error::usage(cause, "Give a tag such as en, and a plain URL."));
        }
        if self.video.as_ref().is_some_and(Address::has_login) {
            let cause = "the URL of the video's playlist has a user name or password, which every player would see";
            return Err(Error::usage(cause, "Give the URL without them."));
        }
        Ok(())
    }
}

/// The playlist of one stream.
struct StreamPlaylist {
    segmenter: Segmenter,
    folder: PlaylistFolder,
    /// The stream was stopped, so its end is not the source's.
    stopped: bool,
}

impl StreamPlaylist {
    fn open(folder: PathBuf, options: &HlsOptions) -> Result<StreamPlaylist> {
        let folder = PlaylistFolder::open(folder, TEXT, options, true)?;
        let segmenter = Segmenter::new(options.segment, options.span(), &options.cue, folder.is_resumed());
        Ok(StreamPlaylist { segmenter, folder, stopped: false })
    }

    /// Takes an event. True where segments were lost for it.
    fn event(&mut self, kind: &EventKind) -> bool {
        match kind {
            EventKind::Clock(mapping) => self.segmenter.set_clock(*mapping),
            EventKind::Caption(c) => self.segmenter.caption(c),
            EventKind::Progress { time, wall } => self.segmenter.progress(*time, *wall),
            EventKind::State { state, reason } => {
                self.stopped = *reason == Some(Reason::Stopped);
                // Frames may stay away for long: captions are not held back until they return.
                if *state != StreamState::Playing && self.segmenter.has_unpublished() {
                    self.segmenter.finish();
                }
            }
            EventKind::End => {
                self.segmenter.finish();
                if !self.stopped {
                    self.folder.end();
                }
            }
            EventKind::Dropped { .. } | EventKind::Text(_) | EventKind::Audio(_) => {}
        }
        self.push_closed()
    }

    fn push_closed(&mut self) -> bool {
        let closed = self.segmenter.take_closed();
        closed.into_iter().fold(false, |lost, segment| self.folder.push(segment) | lost)
    }
}

/// Writes a playlist for each stream.
pub struct HlsSink {
    streams: Vec<(Arc<str>, StreamPlaylist)>,
    delivered: Vec<(Arc<str>, Duration)>,
}

impl HlsSink {
    /// Into `folder` for one stream, or `folder/STREAM` for each of several. The folders are created.
    ///
    /// # Errors
    /// When an option is out of range, or a folder cannot be written or has a playlist that descry did not write.
    pub fn open(folder: &Path, streams: &[Arc<str>], options: &HlsOptions) -> Result<HlsSink> {
        options.check()?;
        let open = |(stream, folder): (Arc<str>, PathBuf)| Ok((stream, StreamPlaylist::open(folder, options)?));
        let streams = stream_paths(folder, streams, "")?.into_iter().map(open).collect::<Result<_>>()?;
        Ok(HlsSink { streams, delivered: Vec::new() })
    }

    /// Writes what is due in every folder. Returns the first error.
    fn write(&mut self, now: Instant) -> Result<()> {
        let mut result = Ok(());
        for (stream, playlist) in &mut self.streams {
            let delivered = |arrived: Instant| self.delivered.push((stream.clone(), arrived.elapsed()));
            let written = playlist.folder.write(now, delivered);
            result = result.and(written);
        }
        result
    }
}

impl Sink for HlsSink {
    fn name(&self) -> &str {
        "hls"
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        |kind| !matches!(kind, EventKind::Dropped { .. } | EventKind::Text(_) | EventKind::Audio(_))
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some((_, playlist)) = self.streams.iter_mut().find(|(s, _)| *s == event.stream) else { return Ok(()) };
        let lost = playlist.event(&event.kind);
        // `tick` reports trouble: nothing is lost by it yet.
        let _ = self.write(Instant::now());
        let full =
            || Error::output("hls", "the oldest segments that waited for disk space are lost", "Free some space.");
        (!lost).then_some(()).ok_or_else(full)
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        self.write(now)?;
        self.streams.iter().try_for_each(|(_, p)| p.folder.trouble())
    }

    fn close(&mut self) -> Result<()> {
        for (_, playlist) in &mut self.streams {
            playlist.segmenter.finish();
            playlist.push_closed();
            playlist.folder.hasten();
        }
        self.write(Instant::now())
    }

    fn buffers(&self) -> bool {
        true
    }

    fn delivered(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.delivered))
    }
}
