//! What parent and child say to each other: requests and replies, each with its length before it.
//!
//! A message is a value in Postcard's format, and perhaps bytes behind it. Its length is checked before memory is taken for
//! it. Pictures follow their reply as they are ([`picture`](super::picture)).

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use super::picture::PictureHeader;
use super::protection::Protection;
use crate::address::Address;
use crate::error::Error;
use crate::media::decode::FrameClock;
use crate::media::frame::FrameHeader;
use crate::media::{
    AUDIO_RATE, Damage, DecodeOptions, FrameSize, LONGEST_LINE, SideTrackData, Source, StreamFault, StreamInfo,
};
use crate::message::Message;
use crate::time::Time;

/// Frames that are sent at a time, at most.
pub(super) const BATCH: usize = 8;
/// Frames that a child decodes before they are asked for.
pub(super) const AHEAD: usize = 4;

const _: () = assert!(BATCH + AHEAD == super::FRAMES_AHEAD);
/// Most samples of sound in a reply: 2 s.
pub(super) const MOST_SAMPLES: usize = 2 * AUDIO_RATE as usize;
/// Most samples of sound as it is heard in a reply, of both channels: 0.17 s.
pub(super) const MOST_PROGRAMME: usize = 16_384;
/// Most lines of dialogue in a reply.
pub(super) const MOST_LINES: usize = 80;
/// Longest reply in bytes: [`BATCH`] frames with their thumbs, or [`MOST_SAMPLES`] or [`MOST_LINES`], and room.
pub(super) const LONGEST_REPLY: usize = 192 << 10;

// Each character takes four bytes at most, and times and lengths take fewer than 32.
const _: () = assert!(MOST_LINES * (4 * LONGEST_LINE + 32) < LONGEST_REPLY);
/// Longest request in bytes: an address, options, authorities, the environment of a server's client.
pub(super) const LONGEST_REQUEST: usize = 4 << 20;
/// How often a child that works without a result gives a sign of life.
pub(super) const SIGN: Duration = Duration::from_secs(1);

/// What a child is for: the first request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// Version of the parent. Both must be the same.
    pub(super) version: String,
    pub(super) input: AssignedInput,
    pub(super) decode: DecodeOptions,
    /// Whether FFmpeg's warnings are wanted.
    pub(super) warnings: bool,
    /// Megabytes that the child may take.
    pub(super) memory_mb: u64,
    /// Variables that may hold secrets, which do not belong into the environment that a process starts with.
    pub(super) environment: Vec<(String, String)>,
}

/// The one input of a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum AssignedInput {
    /// A file, URL or object.
    Film(#[serde(serialize_with = "revealed")] Address),
    /// A live source.
    Stream(LiveAccess),
}

/// All of an address: the socket leads to the child alone.
fn revealed<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(address.reveal())
}

/// [`StreamAccess`](crate::media::StreamAccess) with strings of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LiveAccess {
    #[serde(serialize_with = "revealed")]
    pub(super) address: Address,
    pub(super) name: String,
    pub(super) format: Option<String>,
    pub(super) options: Vec<(String, String)>,
}

/// What a parent asks. Each request has one reply, after any number of [`Reply::Working`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The next frames of a film: at least one, at most [`BATCH`]; or the data of the side track before them.
    Next,
    /// By at most one packet of a stream, or data of the side track. `true`: decode only keyframes from now on.
    Advance(bool),
    /// The picture of a frame, which the parent no longer needs from then on.
    Picture(u64),
    /// A hash of a frame's samples.
    Identity(u64),
}

/// What a parent sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromParent {
    /// A request, and the frames that the parent has dropped since the last one.
    Ask(Request, Vec<u64>),
    /// Whether the frame that the child asked for may be allocated.
    Admit(bool),
}

/// What a child replies.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The child is ready to open its input, and protected like this.
    Ready(String, Protection),
    /// There is no result yet.
    Working,
    /// May a frame of this size be allocated? At any time, from any thread, and the child waits.
    MayAllocate(FrameSize),
    /// The input is open.
    Opened(Box<StreamInfo>, Box<SourceState>),
    /// The request failed.
    Failed(SentError),
    /// The request failed on a stream.
    Fault(StreamFault),
    /// Frames, with the samples of their thumbs behind the message; why there are none; and the source after them.
    Frames(Vec<SentFrame>, Option<NoFrame>, Box<SourceState>),
    /// Data of the side track, instead of frames, and the source after it.
    SideTrack(SideTrackData, Box<SourceState>),
    /// A picture, which follows.
    Picture(PictureHeader),
    /// A hash.
    Identity(u64),
}

/// Why there is no frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NoFrame {
    /// The film has ended.
    Ended,
    /// Decoding failed.
    Failed(SentError),
}

/// A frame without its picture.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentFrame {
    pub(super) header: FrameHeader,
    pub(super) sharpness: f32,
    /// When its packet arrived, in nanoseconds of the system's monotonic clock.
    pub(super) arrived: Option<u64>,
    /// The source after this frame.
    pub(super) state: SourceState,
}

/// What a source reports besides its frames.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SourceState {
    pub(super) clock: FrameClock,
    pub(super) damage: Damage,
    pub(super) losses: u64,
    pub(super) packets: u64,
    pub(super) skipped: u64,
    pub(super) left_out: u64,
    pub(super) waited: Duration,
    pub(super) end: Time,
    pub(super) lost: bool,
    pub(super) over: bool,
    pub(super) passed_end: bool,
}

impl SourceState {
    /// What a source reports now.
    pub(super) fn of(source: &Source) -> SourceState {
        SourceState {
            clock: source.clock().clone(),
            damage: source.damage().clone(),
            losses: source.losses(),
            packets: source.packets(),
            skipped: source.skipped(),
            left_out: source.left_out(),
            waited: source.waited(),
            end: source.end(),
            lost: source.is_lost(),
            over: source.is_over(),
            passed_end: source.has_more(),
        }
    }
}

/// An error of a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum SentError {
    Interrupted,
    Input { input: String, cause: Message, remedy: Message },
    Usage { cause: Message, remedy: Message },
}

impl From<Error> for SentError {
    fn from(e: Error) -> SentError {
        match e {
            Error::Interrupted => SentError::Interrupted,
            Error::Input { input, cause, remedy, .. } => SentError::Input { input, cause, remedy },
            Error::Usage { cause, remedy, .. } => SentError::Usage { cause, remedy },
            other => SentError::Usage { cause: other.to_string().into(), remedy: Message::default() },
        }
    }
}

/// Writes a message and the bytes behind it.
///
/// # Errors
/// If the other side is gone.
pub(super) fn write_message(out: &mut impl Write, message: &impl Serialize, behind: &[u8]) -> io::Result<()> {
    let mut bytes = postcard::to_extend(message, vec![0; 4]).map_err(|e| io::Error::other(e.to_string()))?;
    bytes.extend_from_slice(behind);
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::Error::other("a message of 4 GB"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    out.write_all(&bytes)
}

/// Reads a message of at most `longest` bytes, and the bytes behind it.
///
/// # Errors
/// If the other side is gone, or sends something else ([`ErrorKind::InvalidData`]).
pub(super) fn read_message<T: DeserializeOwned>(input: &mut impl Read, longest: usize) -> io::Result<(T, Vec<u8>)> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > longest {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    let (message, behind) = postcard::take_from_bytes(&bytes)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "a message cannot be read"))?;
    let start = bytes.len() - behind.len();
    bytes.drain(..start);
    Ok((message, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a child sends is a message or an error.
        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes: Vec<u8>, tag in 0u8..10) {
            let length = bytes.len() as u32;
            bytes.splice(0..0, length.to_le_bytes());
            let _ = read_message::<Reply>(&mut bytes.as_slice(), LONGEST_REPLY);
            if let Some(first) = bytes.get_mut(4) {
                *first = tag;
            }
            let _ = read_message::<Reply>(&mut bytes.as_slice(), LONGEST_REPLY);
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut sent = Vec::new();
        write_message(&mut sent, &Reply::Identity(u64::MAX), b"behind").unwrap();
        let (reply, behind) = read_message::<Reply>(&mut sent.as_slice(), LONGEST_REPLY).unwrap();
        assert!(matches!(reply, Reply::Identity(u64::MAX)));
        assert_eq!(behind, b"behind");
    }

    #[test]
    fn a_message_that_is_too_long_takes_no_memory() {
        let sent = u32::MAX.to_le_bytes();
        let e = read_message::<Reply>(&mut sent.as_slice(), LONGEST_REPLY).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidData);
    }
}
