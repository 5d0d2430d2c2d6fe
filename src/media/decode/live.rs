//! Sources that never end: opening one, what kind of failure each failure is, when packets arrived, and skipping ahead.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fmt;
use std::time::{Duration, Instant};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::open::{Patience, open_container};
use super::{DecodeOptions, Frame, Source, init, is_timeout};
use crate::error::Error;
use crate::interrupt::Interrupt;

/// What FFmpeg is told to open. Nothing of `address` is ever shown; `name` is.
#[derive(Clone)]
pub struct Access {
    pub address: String,
    pub name: String,
    /// The one container that it may be; none where that is to be found out.
    pub format: Option<&'static str>,
    /// FFmpeg's options, `protocol_whitelist` among them.
    pub options: Vec<(&'static str, String)>,
}

/// Why a source cannot be read, or not any more. The words are for people and hold nothing of the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Told to stop.
    Stopped,
    /// Nothing came within the time-out.
    Silent(String),
    /// The server has no such thing.
    Absent(String),
    /// Wrong user name or password.
    Forbidden(String),
    /// Nobody answers there, or not in words that are understood.
    Unreachable(String),
    /// It broke off.
    Lost(String),
    /// It ended in order.
    Ended,
    /// What comes cannot be decoded.
    Undecodable(String),
    /// It has no video.
    NoVideo,
}

impl Fault {
    fn of(e: ff::Error, opening: bool, silence: impl FnOnce() -> String) -> Fault {
        use ff::util::error::{EACCES, ENODEV, ENOENT, EPERM};
        let words = e.to_string();
        match e {
            ff::Error::Exit => Fault::Silent(silence()),
            e if is_timeout(e) => Fault::Silent(silence()),
            ff::Error::HttpUnauthorized | ff::Error::HttpForbidden => Fault::Forbidden(words),
            ff::Error::Other { errno: EACCES | EPERM } => Fault::Forbidden(words),
            ff::Error::Other { errno: ff::util::error::ENOTTY } => Fault::Unreachable("it is no camera".into()),
            ff::Error::HttpNotFound | ff::Error::StreamNotFound => Fault::Absent(words),
            ff::Error::Other { errno: ENOENT | ENODEV } => Fault::Absent(words),
            ff::Error::Eof if !opening => Fault::Ended,
            ff::Error::InvalidData => Fault::Undecodable(words),
            _ if opening => Fault::Unreachable(words),
            _ => Fault::Lost(words),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Stopped => f.write_str("stopped"),
            Fault::Ended => f.write_str("it ended"),
            Fault::NoVideo => f.write_str("it has no video"),
            Fault::Absent(words) => write!(f, "it is not there: {words}"),
            Fault::Forbidden(words) => write!(f, "access is refused: {words}"),
            Fault::Unreachable(words) => write!(f, "it cannot be opened: {words}"),
            Fault::Lost(words) => write!(f, "the connection broke: {words}"),
            Fault::Undecodable(words) => write!(f, "it cannot be decoded: {words}"),
            Fault::Silent(words) => f.write_str(words),
        }
    }
}

/// What one call of [`Source::advance`] came to.
pub enum Progress {
    Frame(Frame),
    /// A packet was read, and no frame is ready yet.
    Packet,
}

/// Most packets between the demuxer and the decoder's output whose arrival is remembered.
const MOST_UNDER_WAY: usize = 256;

/// What only matters of a source that never ends.
pub(super) struct Live {
    /// Presentation time by the stream's own clock, and arrival, of packets whose frame has not come yet.
    under_way: VecDeque<(Option<i64>, Instant)>,
    /// Whether packets are skipped up to the next keyframe, and those after it that are none.
    hurry: bool,
    skipping: bool,
    skipped: u64,
    /// How long reading has waited for packets.
    waited: Duration,
    began: Instant,
}

impl Live {
    fn new() -> Live {
        Live {
            under_way: VecDeque::new(),
            hurry: false,
            skipping: false,
            skipped: 0,
            waited: Duration::ZERO,
            began: Instant::now(),
        }
    }

    pub(super) fn reading(&mut self) {
        self.began = Instant::now();
    }

    /// Stamps a packet; false where it is skipped.
    pub(super) fn arrived(&mut self, packet: &ff::Packet) -> bool {
        let now = Instant::now();
        self.waited += now - self.began;
        // What follows on a skipped packet cannot be decoded: it goes on with a keyframe.
        self.skipping = (self.skipping || self.hurry) && !packet.is_key();
        if self.skipping {
            self.skipped += 1;
            return false;
        }
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((packet.pts().or(packet.dts()), now));
        true
    }

    /// When the packet of a frame arrived.
    pub(super) fn take(&mut self, pts: Option<i64>) -> Instant {
        let place = pts.and_then(|pts| self.under_way.iter().position(|(p, _)| *p == Some(pts)));
        let Some(place) = place else {
            // Without times the order of arrival must do: the oldest is never too late a stamp.
            return self.under_way.pop_front().map_or_else(Instant::now, |(_, at)| at);
        };
        let at = self.under_way.remove(place).map_or_else(Instant::now, |(_, at)| at);
        // Frames come in order of presentation: whatever lay before this one is gone.
        self.under_way.retain(|(p, _)| p.is_none_or(|p| pts.is_none_or(|pts| p > pts)));
        at
    }
}

impl Source {
    /// Opens a source that never ends; nothing is decoded yet.
    pub fn connect(
        access: &Access,
        options: &DecodeOptions,
        interrupt: Interrupt,
    ) -> std::result::Result<Source, Fault> {
        init();
        let unusable = |what: &str| Fault::Unreachable(format!("its {what} holds a NUL byte"));
        let address = CString::new(access.address.as_str()).map_err(|_| unusable("address"))?;
        let format = access.format.map(CString::new).transpose().map_err(|_| unusable("format"))?;
        let mut dictionary = ff::Dictionary::new();
        for (name, value) in &access.options {
            dictionary.set(name, value);
        }
        let patience = Patience::new(Some(options.timeout));
        let (flag, waiting) = (interrupt.clone(), patience.clone());
        let stop = move || flag.is_set() || waiting.is_over();
        patience.begin();
        let opened = open_container(&address, format.as_deref(), stop, dictionary, options.max_pixels, None);
        // Whom our patience has made leave may say so in other words.
        let late = patience.is_over();
        patience.end();
        let (context, sizes) = match opened {
            _ if interrupt.is_set() => return Err(Fault::Stopped),
            Ok(opened) => opened,
            Err(_) if late => return Err(Fault::Silent(patience.cause())),
            // A stream that ends before its first frame.
            Err(ff::Error::Eof) => return Err(Fault::Unreachable(ff::Error::Eof.to_string())),
            Err(e) => return Err(Fault::of(e, true, || patience.cause())),
        };
        if !context.streams().any(|s| s.parameters().medium() == ff::media::Type::Video) {
            return Err(Fault::NoVideo);
        }
        let mut source = Source::with_context(&access.name, context, &sizes, options, interrupt, patience, None)
            .map_err(|e| Fault::Undecodable(cause(e)))?;
        source.live = Some(Live::new());
        Ok(source)
    }

    /// Reads on, by a packet at most. Whatever was decoded before a failure comes before it.
    pub fn advance(&mut self) -> std::result::Result<Progress, Fault> {
        if self.done {
            return Err(match self.ending {
                Some(e) => Fault::of(e, false, || self.patience.cause()),
                None => Fault::Ended,
            });
        }
        match self.step() {
            Ok(Some(frame)) => Ok(Progress::Frame(frame)),
            Ok(None) => Ok(Progress::Packet),
            Err(Error::Interrupted) => Err(Fault::Stopped),
            Err(e) => Err(Fault::Undecodable(cause(e))),
        }
    }

    /// Skips what is no keyframe, from now on or no more: for who cannot keep up.
    pub fn hurry(&mut self, on: bool) {
        if let Some(live) = &mut self.live {
            live.hurry = on;
        }
    }

    /// Packets that were skipped so far.
    pub fn skipped(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.skipped)
    }

    /// How long reading has waited for packets so far: a reader that never waits has fallen behind.
    pub fn waited(&self) -> Duration {
        self.live.as_ref().map_or(Duration::ZERO, |live| live.waited)
    }

    /// Video packets read so far.
    pub fn packets(&self) -> u64 {
        self.packets_read
    }
}

/// What went wrong, without the name and the remedy.
fn cause(e: Error) -> String {
    match e {
        Error::Input { cause, .. } => cause.to_string(),
        e => e.to_string(),
    }
}

/// FFmpeg's major version of its container library, by which some options are named.
pub fn container_version() -> u32 {
    // SAFETY: a pure function.
    unsafe { ffi::avformat_version() >> 16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: Option<i64>, key: bool) -> ff::Packet {
        let mut packet = ff::Packet::copy(&[0]);
        packet.set_pts(pts);
        if key {
            packet.set_flags(ff::packet::Flags::KEY);
        }
        packet
    }

    #[test]
    fn arrival_follows_a_frame_through_reordering() {
        let mut live = Live::new();
        let mut stamps = Vec::new();
        for pts in [0, 120, 40, 80] {
            assert!(live.arrived(&packet(Some(pts), false)));
            stamps.push(live.under_way.back().unwrap().1);
            std::thread::sleep(Duration::from_millis(1));
        }
        let taken = [0, 40, 80, 120].map(|pts| live.take(Some(pts)));
        assert_eq!(taken, [stamps[0], stamps[2], stamps[3], stamps[1]]);
        assert!(live.under_way.is_empty());
    }

    #[test]
    fn arrival_without_times_goes_by_order_and_memory_is_bounded() {
        let mut live = Live::new();
        live.arrived(&packet(None, true));
        let first = live.under_way[0].1;
        for _ in 0..100 {
            live.arrived(&packet(None, false));
        }
        assert_eq!(live.take(Some(7)), first);
        for _ in 0..1_000 {
            live.arrived(&packet(Some(i64::MAX), false));
        }
        assert_eq!(live.under_way.len(), MOST_UNDER_WAY);
    }

    #[test]
    fn a_hurry_skips_to_keyframes_and_ends_with_one() {
        let mut live = Live::new();
        let mut take = |hurry: bool, key: bool| {
            live.hurry = hurry;
            live.arrived(&packet(Some(0), key))
        };
        assert!(take(false, false));
        assert!(!take(true, false) && take(true, true) && !take(true, false));
        assert!(!take(false, false) && take(false, true) && take(false, false));
        assert_eq!(live.skipped, 3);
    }

    #[test]
    fn failures_are_told_apart() {
        let of = |e, opening| Fault::of(e, opening, || "silent".into());
        let other = |errno| ff::Error::Other { errno };
        assert!(matches!(of(ff::Error::HttpUnauthorized, true), Fault::Forbidden(_)));
        assert!(matches!(of(ff::Error::HttpNotFound, true), Fault::Absent(_)));
        assert!(matches!(of(other(ff::util::error::ECONNREFUSED), true), Fault::Unreachable(_)));
        assert!(matches!(of(other(ff::util::error::EIO), false), Fault::Lost(_)));
        assert!(matches!(of(other(ff::util::error::ETIMEDOUT), false), Fault::Silent(_)));
        assert!(matches!(of(ff::Error::Exit, false), Fault::Silent(_)));
        assert_eq!(of(ff::Error::Eof, false), Fault::Ended);
    }
}
