//! Live sources: [`Source::connect`] opens one, [`Source::advance`] reads it, and [`StreamFault`] names the kind of each
//! failure.

use std::ffi::CString;
use std::fmt;
use std::time::Duration;

use ffmpeg_next as ff;
use serde::{Deserialize, Serialize};

use super::arrivals::Arrivals;
use super::container::{ContainerRequest, OpenFailure, open_container};
use super::deadline::{Deadline, is_timeout, stop_check};
use super::formats::Origin;
use super::log::init;
use super::nested::Opener;
use super::options::DecodeOptions;
use super::relayed::open_relayed;
use super::source::Source;
use super::web_input::{WebInput, is_web};
use crate::address::Address;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::media::ffmpeg::is_video;
use crate::media::frame::Frame;
use crate::media::relay::RelayRequest;
use crate::media::remote::RemoteError;

/// How to reach a live source.
#[derive(Clone)]
pub struct StreamAccess {
    /// What FFmpeg opens, credentials included. Never shown.
    pub address: Address,
    /// What messages call the source.
    pub name: String,
    /// FFmpeg's name of the one container that it may be. If none, FFmpeg guesses from the first bytes.
    pub format: Option<&'static str>,
    /// FFmpeg's options, `protocol_whitelist` among them.
    pub options: Vec<(&'static str, String)>,
}

/// Why a live source cannot be read, or stopped. The words are for people and hold nothing of the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamFault {
    /// The user stopped it.
    Stopped,
    /// Nothing came within the time-out.
    Silent(String),
    /// The server does not have it.
    Absent(String),
    /// Wrong user name or password.
    Forbidden(String),
    /// No answer, or one in another protocol.
    Unreachable(String),
    /// The connection broke.
    Lost(String),
    /// It ended in order.
    Ended,
    /// What comes cannot be decoded.
    Undecodable(String),
    /// It has no video.
    NoVideo,
}

impl StreamFault {
    /// Why a web server does not give it, or must not be asked.
    fn remote(e: RemoteError) -> StreamFault {
        match e {
            RemoteError::Interrupted => StreamFault::Stopped,
            RemoteError::Late(words) => StreamFault::Silent(words),
            RemoteError::Status(401 | 403) => StreamFault::Forbidden(e.to_string()),
            RemoteError::Absent | RemoteError::Status(404 | 410) => StreamFault::Absent(e.to_string()),
            e => StreamFault::Unreachable(e.to_string()),
        }
    }

    /// `silence`: the words for a time-out.
    fn of(e: ff::Error, opening: bool, silence: impl FnOnce() -> String) -> StreamFault {
        use ff::util::error::{EACCES, ENODEV, ENOENT, ENOTTY, EPERM};
        let words = e.to_string();
        match e {
            ff::Error::Exit => StreamFault::Silent(silence()),
            e if is_timeout(e) => StreamFault::Silent(silence()),
            ff::Error::HttpUnauthorized | ff::Error::HttpForbidden => StreamFault::Forbidden(words),
            ff::Error::Other { errno: EACCES | EPERM } => StreamFault::Forbidden(words),
            ff::Error::Other { errno: ENOTTY } => StreamFault::Unreachable("it is not a camera".into()),
            ff::Error::HttpNotFound | ff::Error::StreamNotFound => StreamFault::Absent(words),
            ff::Error::Other { errno: ENOENT | ENODEV } => StreamFault::Absent(words),
            ff::Error::Eof if !opening => StreamFault::Ended,
            ff::Error::InvalidData => StreamFault::Undecodable(words),
            _ if opening => StreamFault::Unreachable(words),
            _ => StreamFault::Lost(words),
        }
    }
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamFault::Stopped => f.write_str("stopped"),
            StreamFault::Ended => f.write_str("it ended"),
            StreamFault::NoVideo => f.write_str("it has no video"),
            StreamFault::Absent(words) => write!(f, "it is not there: {words}"),
            StreamFault::Forbidden(words) => write!(f, "access is refused: {words}"),
            StreamFault::Unreachable(words) => write!(f, "it cannot be opened: {words}"),
            StreamFault::Lost(words) => write!(f, "the connection broke: {words}"),
            StreamFault::Undecodable(words) => write!(f, "it cannot be decoded: {words}"),
            StreamFault::Silent(words) => f.write_str(words),
        }
    }
}

/// What one call of [`Source::advance`] came to.
pub enum Advance {
    /// A frame.
    Frame(Frame),
    /// A packet was read, and no frame is ready yet.
    Packet,
}

impl Source {
    /// Opens a live source. Nothing is decoded yet.
    ///
    /// # Errors
    /// The kind of the failure.
    pub fn connect(
        access: &StreamAccess,
        options: &DecodeOptions,
        interrupt: Interrupt,
    ) -> Result<Source, StreamFault> {
        init();
        let deadline = Deadline::new(Some(options.timeout));
        deadline.start();
        let relayed = RelayRequest::new(&access.address, &options.access);
        let opened = match relayed.map_err(StreamFault::remote)? {
            Some(relayed) => open_relayed(relayed, &access.options, options, &deadline, &interrupt),
            None => open_container(stream_request(access, options, &deadline, &interrupt)?, &deadline, &interrupt),
        };
        let container = match opened {
            _ if interrupt.is_set() => return Err(StreamFault::Stopped),
            Ok(container) => container,
            Err(failure) if failure.late => return Err(StreamFault::Silent(deadline.cause())),
            Err(OpenFailure { format: Some((format, _)), .. }) => {
                return Err(StreamFault::Undecodable(format!("its format is {format}, which is none of a video")));
            }
            Err(OpenFailure { remote: Some(remote), .. }) => return Err(StreamFault::remote(remote)),
            // A stream that ends before its first frame.
            Err(failure) if failure.error == ff::Error::Eof => {
                return Err(StreamFault::Unreachable(failure.error.to_string()));
            }
            Err(failure) => return Err(StreamFault::of(failure.error, true, || deadline.cause())),
        };
        if !container.open.input().streams().any(|s| is_video(&s)) {
            return Err(StreamFault::NoVideo);
        }
        let mut source =
            Source::new(&access.name, container, options, interrupt).map_err(|e| StreamFault::Undecodable(cause(e)))?;
        source.arrivals = Some(Arrivals::new());
        Ok(source)
    }

    /// Reads on, by at most one packet. Whatever was decoded before a failure is returned before it.
    ///
    /// # Errors
    /// The kind of the failure, [`StreamFault::Ended`] at the end.
    pub fn advance(&mut self) -> Result<Advance, StreamFault> {
        if self.done {
            return Err(match self.ending {
                Some(e) => StreamFault::of(e, false, || self.silence()),
                None => StreamFault::Ended,
            });
        }
        match self.step() {
            Ok(Some(frame)) => Ok(Advance::Frame(frame)),
            Ok(None) => Ok(Advance::Packet),
            Err(Error::Interrupted) => Err(StreamFault::Stopped),
            Err(e) => Err(StreamFault::Undecodable(cause(e))),
        }
    }

    /// Turns keyframe-only decoding of a live source on or off. A caller that cannot keep up turns it on.
    pub fn set_keyframes_only(&mut self, on: bool) {
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.set_keyframes_only(on);
        }
    }

    /// Packets of a live source that were skipped so far.
    pub fn skipped(&self) -> u64 {
        self.arrivals.as_ref().map_or(0, Arrivals::skipped)
    }

    /// How long reading a live source has waited for packets so far. A reader that never waits has fallen behind.
    pub fn waited(&self) -> Duration {
        self.arrivals.as_ref().map_or(Duration::ZERO, Arrivals::waited)
    }
}

/// How FFmpeg opens a live source.
fn stream_request(
    access: &StreamAccess,
    options: &DecodeOptions,
    deadline: &Deadline,
    interrupt: &Interrupt,
) -> Result<ContainerRequest<'static>, StreamFault> {
    let unusable = |what: &str| StreamFault::Unreachable(format!("its {what} holds a NUL byte"));
    let format = access.format.map(CString::new).transpose().map_err(|_| unusable("format"))?;
    let mut dictionary = ff::Dictionary::new();
    for (name, value) in &access.options {
        dictionary.set(name, value);
    }
    let (opener, io) = if is_web(access.address.reveal()) {
        let opened = WebInput::open(access.address.reveal(), &options.access, stop_check(deadline, interrupt));
        let (web, io) = opened.map_err(StreamFault::remote)?;
        (Opener::web(web), Some(io))
    } else {
        let address = CString::new(access.address.reveal()).map_err(|_| unusable("address"))?;
        let origin = if access.address.reveal().starts_with("file:") { Origin::File } else { Origin::Stream };
        (Opener::new(address, origin), None)
    };
    Ok(ContainerRequest { opener, format, options: dictionary, max_pixels: options.max_pixels, io, relay: None })
}

/// What went wrong, without the name and the remedy.
fn cause(e: Error) -> String {
    match e {
        Error::Input { cause, .. } => cause.to_string(),
        e => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_distinguished() {
        let of = |e, opening| StreamFault::of(e, opening, || "silent".into());
        let other = |errno| ff::Error::Other { errno };
        assert!(matches!(of(ff::Error::HttpUnauthorized, true), StreamFault::Forbidden(_)));
        assert!(matches!(of(ff::Error::HttpNotFound, true), StreamFault::Absent(_)));
        assert!(matches!(of(other(ff::util::error::ECONNREFUSED), true), StreamFault::Unreachable(_)));
        assert!(matches!(of(other(ff::util::error::EIO), false), StreamFault::Lost(_)));
        assert!(matches!(of(other(ff::util::error::ETIMEDOUT), false), StreamFault::Silent(_)));
        assert!(matches!(of(ff::Error::Exit, false), StreamFault::Silent(_)));
        assert_eq!(of(ff::Error::Eof, false), StreamFault::Ended);
    }
}
