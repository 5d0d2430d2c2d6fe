//! What live mode reports about a stream: the one type that travels from the streams to the outputs.
//!
//! Events of one stream are in order and numbered without a gap. An output that finds a gap knows that it missed some.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::ocr::ScreenText;
use crate::time::Time;

/// One report about one stream.
#[derive(Debug, Clone)]
pub struct Event {
    /// The stream's name as configured: safe to show, unique in the process.
    pub stream: Arc<str>,
    /// Position among this stream's events, from 0.
    pub number: u64,
    /// When the event was created.
    pub at: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] reports.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// The stream shows something new.
    Caption(LiveCaption),
    /// Lines of text that the stream has shown, and that are gone. Sent only where text is read.
    Text(Arc<[ScreenText]>),
    /// The stream's state changed.
    State {
        /// The new state.
        state: StreamState,
        /// Why the stream is not playing, where there is a reason.
        reason: Option<Reason>,
    },
    /// How stream time relates to the source's own clock from here on: sent at the start and after each reconnection.
    Clock(ClockMapping),
    /// The stream is processed up to here, and all captions that are due before have been sent. Sent at least once a second
    /// while frames arrive, even when there is nothing to describe: outputs that are cut by time advance with it.
    Progress {
        /// Stream time.
        time: Time,
        /// Wall clock at `time`.
        wall: SystemTime,
    },
    /// Sound of the stream, as it is heard. Sent only if an output [asks for it](super::Sink::wants_audio).
    Audio(LiveAudio),
    /// What was left out since the last such event: the machine could not keep up, or the server of models failed.
    Dropped {
        /// Keyframes that were chosen and never described.
        keyframes: u64,
        /// Frames that were never decoded.
        frames: u64,
    },
    /// The stream has ended; this is its last event.
    End,
}

/// A stretch of a stream's sound.
#[derive(Debug, Clone)]
pub struct LiveAudio {
    /// Stream time of its first sample.
    pub start: Time,
    /// Two channels, interleaved, 48,000 samples a second.
    pub samples: Arc<[f32]>,
}

/// A description and the picture that it describes.
#[derive(Debug, Clone)]
pub struct LiveCaption {
    /// Stream time at which the described scene begins, or the text appears that is described. Stream time starts at 0 with the first frame and is monotonic
    /// across reconnections.
    pub start: Time,
    /// Stream time of the picture.
    pub picture_time: Time,
    /// Stream time from which on it is shown or spoken: `start`, or where the stream had arrived when a pause came.
    pub due: Time,
    /// Wall clock at `start`.
    pub wall: SystemTime,
    /// When the picture's packet arrived. Lag is measured from here.
    pub arrived: Instant,
    /// How long it waited for a pause in the talk; zero if it did not. Part of the lag.
    pub waited: Duration,
    /// The description.
    pub text: String,
    /// The model's confidence from 0 to 1, where the model has a calibration.
    pub score: Option<f32>,
    /// A scene that was described before is back. `text` is then short.
    pub returning: bool,
    /// The lines that the description quotes, as they were when it was made: they may stay for longer than their `end`.
    pub screen_text: Arc<[ScreenText]>,
    /// The picture as JPEG, at most 640 pixels on its longer side unless the model reads larger ones. Empty where it could
    /// not be encoded, and where only text is described.
    pub jpeg: Arc<[u8]>,
}

impl LiveCaption {
    /// Whether it comes later than the picture alone would have needed: what is written has been read.
    pub(super) fn is_late(&self) -> bool {
        !self.screen_text.is_empty()
    }
}

/// Stream time `time` equals `pts` on the source's clock and `wall` on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockMapping {
    /// Stream time.
    pub time: Time,
    /// The source's clock in units of 1/90000 s, as in MPEG transport streams.
    pub pts: i64,
    /// The wall clock.
    pub wall: SystemTime,
}

/// What a stream is doing, in GStreamer's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// Not connected; waits for its next attempt.
    Null,
    /// Connecting.
    Ready,
    /// Connected; no frame has arrived yet, or none for a while.
    Paused,
    /// Frames arrive.
    Playing,
}

/// Why a stream is not playing, in GStreamer's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The host, the path or the stream does not exist.
    NotFound,
    /// User name or password is wrong.
    NotAuthorized,
    /// Nothing answers at the address.
    OpenRead,
    /// The connection broke.
    Read,
    /// Nothing arrived for too long.
    Timeout,
    /// The source ended in order.
    Eos,
    /// What arrives cannot be decoded.
    Decode,
    /// The source has no video.
    WrongType,
    /// descry was asked to stop.
    Stopped,
}

impl StreamState {
    /// Every state, from not connected to playing.
    pub(crate) const ALL: [StreamState; 4] =
        [StreamState::Null, StreamState::Ready, StreamState::Paused, StreamState::Playing];

    /// The name that events, metrics and the status use.
    pub fn name(self) -> &'static str {
        match self {
            StreamState::Null => "null",
            StreamState::Ready => "ready",
            StreamState::Paused => "paused",
            StreamState::Playing => "playing",
        }
    }
}

impl Reason {
    /// Every reason.
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

    /// The name that events, metrics and the status use.
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

impl fmt::Display for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
