//! Probing: what an input holds and what descry would describe. Decodes only the first frame.

use std::fmt;

use serde::Serialize;

use crate::address::Address;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::media::decode::{DecodeOptions, Source, StreamInfo};
use crate::media::side_track::MediaTrack;
use crate::printable::printable;
use crate::time::Time;

/// What [`probe`] found. `Display` gives it as text for a person.
#[derive(Debug, Clone, Serialize)]
pub struct Probe {
    /// The input as the caller named it, without credentials.
    pub input: String,
    /// Every stream in a few words, the described one marked.
    pub streams: Vec<String>,
    /// The stream that would be described.
    pub video: StreamInfo,
    /// Tracks of sound.
    pub audio: Vec<MediaTrack>,
    /// Tracks of subtitles.
    pub subtitles: Vec<MediaTrack>,
    /// Time of the first frame, in seconds from the container's start.
    pub first_frame: f64,
    /// Width and height in pixels of the picture as it is shown: upright, with square pixels.
    pub shown: (u32, u32),
}

/// Opens an input and decodes its first frame.
///
/// # Errors
/// As [`Source::open`] and [`Source::next`].
pub fn probe(input: &Address, options: &DecodeOptions, interrupt: Interrupt) -> Result<Probe> {
    let mut source = Source::open(input, options, interrupt)?;
    let streams = source.streams();
    let (audio, subtitles) = source.tracks();
    let first = source.next()?;
    let (first_frame, shown) = match first {
        Some(frame) => {
            let picture = frame.to_rgb()?;
            (frame.time.secs(), (picture.width, picture.height))
        }
        None => (Time::ZERO.secs(), (0, 0)),
    };
    let video = source.info().clone();
    Ok(Probe { input: input.shown(), streams, video, audio, subtitles, first_frame, shown })
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = &self.video;
        writeln!(f, "{}", printable(&self.input))?;
        writeln!(f, "  container  {}", v.container)?;
        for stream in &self.streams {
            writeln!(f, "  stream     {stream}")?;
        }
        let duration = v.duration.map_or("unknown".into(), |d| Time::from_secs(d).to_string());
        writeln!(f, "  duration   {duration}, clock starts at {:.3} s", v.start_time)?;
        let rate = v.frame_rate.map_or("unknown rate".into(), |r| format!("{r:.3} frames/s on average"));
        writeln!(f, "  video      {} {}×{} {}, {rate}", v.codec, v.width, v.height, v.pixel_format)?;
        let (num, den) = v.sample_aspect;
        for track in &self.audio {
            writeln!(f, "  audio      {track}")?;
        }
        for track in &self.subtitles {
            writeln!(f, "  subtitles  {track}")?;
        }
        writeln!(f, "  shape      pixels {num}:{den}, turned {}°", v.rotation)?;
        write!(
            f,
            "  descry     describes {} from {}, pictures of {}×{}",
            v.codec,
            Time::from_secs(self.first_frame),
            self.shown.0,
            self.shown.1
        )
    }
}
