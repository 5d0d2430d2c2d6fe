//! What a live stream has to tell: the one thing that goes from the streams to the outputs.
//!
//! Events of one stream are in order and numbered without a gap; an output that sees one knows that it missed some.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::time::Time;

/// One thing that one stream tells.
#[derive(Debug, Clone)]
pub struct Event {
    /// The stream's name as configured: safe to show, unique in the process.
    pub stream: Arc<str>,
    /// Counts this stream's events from 0.
    pub number: u64,
    /// When it was made.
    pub at: SystemTime,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    /// Something new is to be seen.
    Caption(Spoken),
    /// The stream's state changed.
    State { state: State, reason: Option<Reason> },
    /// How stream time relates to the source's own clock, from here on: at the start and after each reconnection.
    Clock(Mapping),
    /// The stream has been watched up to here, and what there is to say of the time before has been told. At least once a
    /// second while frames come, also when there is nothing to say: outputs that are cut by time go on by it.
    Watched { time: Time, wall: SystemTime },
    /// What was left out since the last such event, because the machine could not keep up: pictures that were chosen and
    /// never described, and frames that were never decoded.
    Dropped { keyframes: u64, frames: u64 },
    /// Nothing more comes.
    End,
}

/// A description and the picture that it was made from.
#[derive(Debug, Clone)]
pub struct Spoken {
    /// Stream time from which on it is to be seen: monotonic across reconnections, from 0 at the first frame.
    pub start: Time,
    /// Stream time of the picture.
    pub picture_time: Time,
    /// Wall clock at `start`.
    pub wall: SystemTime,
    /// When the picture's packet arrived; lag is counted from here.
    pub arrived: Instant,
    pub text: String,
    /// From 0 to 1, where the model has a calibration.
    pub score: Option<f32>,
    /// A scene that was described before is back, and `text` says so shortly.
    pub returning: bool,
    /// The picture, as JPEG, at most 640 pixels wide.
    pub jpeg: Arc<[u8]>,
}

/// Stream time `time` is the source's `pts` (90 kHz, as in MPEG transport streams) and `wall` of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mapping {
    pub time: Time,
    pub pts: i64,
    pub wall: SystemTime,
}

/// GStreamer's words for what a stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not connected; waits for its next try.
    Null,
    /// Connecting.
    Ready,
    /// Connected; no frame has come yet, or none for a while.
    Paused,
    /// Frames come.
    Playing,
}

/// Why a stream is not playing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The address, the path or the stream is not there.
    NotFound,
    /// User name or password is wrong.
    NotAuthorized,
    /// Nobody answers at the address.
    OpenRead,
    /// The connection ended in the middle.
    Read,
    /// Nothing came for too long.
    Timeout,
    /// The source ended in order.
    Eos,
    /// What comes cannot be decoded.
    Decode,
    /// There is no video in it.
    WrongType,
    /// Told to stop.
    Stopped,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Null => "null",
            State::Ready => "ready",
            State::Paused => "paused",
            State::Playing => "playing",
        }
    }
}

impl Reason {
    pub const ALL: [Reason; 9] = [
        Reason::NotFound,
        Reason::NotAuthorized,
        Reason::OpenRead,
        Reason::Read,
        Reason::Timeout,
        Reason::Eos,
        Reason::Decode,
        Reason::WrongType,
        Reason::Stopped,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::NotFound => "not-found",
            Reason::NotAuthorized => "not-authorized",
            Reason::OpenRead => "open-read",
            Reason::Read => "read",
            Reason::Timeout => "timeout",
            Reason::Eos => "eos",
            Reason::Decode => "decode",
            Reason::WrongType => "wrong-type",
            Reason::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
