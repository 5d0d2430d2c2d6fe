//! What a caller chooses, and what a source reports: the chosen stream and what was lost.

use std::ffi::CString;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::FrameSize;
use crate::media::access::AccessPolicy;
use crate::media::ffmpeg::PixelFormat;
use crate::media::side_track::{MediaTrack, SideTrack};
use crate::time::Time;

/// Which frames of a stream are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DecodedFrames {
    /// Every frame.
    #[default]
    All,
    /// Every frame to which others refer, and of the others only as many as scene detection needs: at most two in a row are
    /// left out, and none that are more than 140 ms apart. A stream without such frames, or in a format other than H.264,
    /// HEVC, MPEG-1 and MPEG-2, is decoded as a whole.
    ///
    /// In H.264, only frames within 350 ms after a keyframe, or after a frame that may be a cut, pass through the loop
    /// filter. The others are [marked](crate::media::Frame::unfiltered). In other formats, the frames that are decoded are
    /// the same as with [`DecodedFrames::All`].
    Fast,
    /// Only the keyframes of the container.
    Keyframes,
    /// None: only the side track is wanted.
    Nothing,
}

impl DecodedFrames {
    /// The name in a track's options.
    pub fn name(self) -> &'static str {
        match self {
            DecodedFrames::All => "all",
            DecodedFrames::Fast => "fast",
            DecodedFrames::Keyframes => "keyframes",
            DecodedFrames::Nothing => "nothing",
        }
    }
}

/// How to open and decode an input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DecodeOptions {
    /// Time of the first frame to return, from the container's start. Default: the beginning.
    pub start: Option<Time>,
    /// Frames from this time on are not returned. Default: the end.
    pub end: Option<Time>,
    /// Which frames are decoded. Default: all.
    pub frames: DecodedFrames,
    /// Decoder threads; 0 for as many as [`decoder_threads`] says. Default: 0.
    pub threads: usize,
    /// FFmpeg's name of a hardware device to decode on (`vaapi`, `cuda`, …). Opening fails if it is missing. Default: none.
    pub hwaccel: Option<String>,
    /// Frames with more pixels are refused before memory is taken for them. Default: 67,108,864 (8192 × 8192), room for
    /// 8K video of any shape.
    pub max_pixels: u64,
    /// A server fails if it takes longer than this to open the stream or to send the next packet. Files have no limit.
    /// Default: 30 s.
    pub timeout: Duration,
    /// What the input may reach on the network. Default: public addresses, and servers with a valid certificate.
    pub access: AccessPolicy,
    /// Avoid decoder threads that hold frames back, and hand out sound in small pieces, on a clock of its own: for live
    /// sources. Default: false.
    pub low_delay: bool,
    /// Which track is read in the same pass as the pictures: see
    /// [`Source::take_side_track`](crate::media::Source::take_side_track). With [`DecodedFrames::Keyframes`], everything
    /// between keyframes is then fetched from an object store, too. Default: nothing.
    pub side_track: SideTrack,
    /// Hand out the side track's sound as it is heard, too. Default: false.
    pub programme: bool,
    /// Compute the strokes of every frame, where a process of its own decodes: see [`StrokeMap`](crate::scene::StrokeMap).
    /// Default: false.
    pub strokes: bool,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            start: None,
            end: None,
            frames: DecodedFrames::All,
            threads: 0,
            hwaccel: None,
            max_pixels: 8192 * 8192,
            timeout: Duration::from_secs(30),
            access: AccessPolicy::default(),
            low_delay: false,
            side_track: SideTrack::Nothing,
            programme: false,
            strokes: false,
        }
    }
}

/// Most decoder threads by default. Each holds frames.
const MOST_THREADS: usize = 16;

/// Decoder threads, if `threads` are asked for: for 0, two more than there are cores, and at most 16. Frames wait for the
/// frames that they refer to, so with a thread for each core some cores are idle.
pub fn decoder_threads(threads: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if threads == 0 { (cores + 2).min(MOST_THREADS) } else { threads }
}

/// What is known about the chosen video stream before decoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamInfo {
    /// FFmpeg's short name of the container format.
    pub container: String,
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Stored width in pixels, before rotation.
    pub width: u32,
    /// Stored height in pixels, before rotation.
    pub height: u32,
    /// Width : height of one pixel.
    pub sample_aspect: (i32, i32),
    /// Clockwise turn in degrees that shows the picture upright: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Duration of the whole container in seconds.
    pub duration: Option<f64>,
    /// Average frames a second.
    pub frame_rate: Option<f64>,
    /// FFmpeg's name of the pixel format; `unknown` if the header does not give it.
    pub pixel_format: String,
    /// Start of the container's own clock in seconds; subtracted from every time.
    pub start_time: f64,
    /// The track that is read in the same pass as the pictures, or would be if it had no fault; none if there is none, or
    /// nothing is to be read. `listens_to` in JSON.
    #[serde(rename = "listens_to")]
    pub side_track: Option<MediaTrack>,
    /// Why that track cannot be read, as a text for people. `unheard` in JSON.
    #[serde(rename = "unheard")]
    pub side_track_fault: Option<String>,
}

impl StreamInfo {
    /// Whether a side track is read.
    pub fn has_side_track(&self) -> bool {
        self.side_track.is_some() && self.side_track_fault.is_none()
    }

    /// The size of its frames by the header; 24 bits a pixel if that does not give the format.
    pub fn frame_size(&self) -> FrameSize {
        let name = CString::new(self.pixel_format.as_str()).unwrap_or_default();
        let bits_per_pixel = PixelFormat::named(&name).bits_per_pixel();
        FrameSize { width: self.width, height: self.height, bits_per_pixel }
    }
}

/// What was lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// Packets that could not be read or that the decoder refused.
    pub packets: u64,
    /// Frames that were decoded with errors.
    pub frames: u64,
    /// Packets of sound or subtitles that could not be decoded.
    pub sound: u64,
    /// Sound that came more than 10 s after its pictures was left out.
    pub late_sound: bool,
    /// Why reading stopped early.
    pub stopped: Option<String>,
    /// Seconds that the container promises beyond what was there.
    pub missing: Option<f64>,
}

impl Damage {
    /// Whether nothing was lost.
    pub fn is_clean(&self) -> bool {
        *self == Damage::default()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.packets > 0 {
            parts.push(format!("{} broken packet{}", self.packets, if self.packets == 1 { "" } else { "s" }));
        }
        if self.frames > 0 {
            parts.push(format!("{} frame{} decoded with errors", self.frames, if self.frames == 1 { "" } else { "s" }));
        }
        if self.sound > 0 {
            parts.push(format!("{} broken packet{} of sound", self.sound, if self.sound == 1 { "" } else { "s" }));
        }
        if self.late_sound {
            parts.push("sound that comes more than 10 s after its pictures was not heard".into());
        }
        if let Some(reason) = &self.stopped {
            parts.push(format!("reading stopped: {reason}"));
        }
        if let Some(missing) = self.missing {
            parts.push(format!("the last {missing:.1} s are missing"));
        }
        f.write_str(&parts.join(", "))
    }
}
