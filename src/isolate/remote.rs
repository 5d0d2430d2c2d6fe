//! A source in a child process. Everything that comes from the child is checked: sizes, counts, order and texts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use ffmpeg_next as ff;

use super::child::monotonic;
use super::link::{DecoderLink, DroppedFrames, LinkFault, lock};
use super::options::Isolation;
use super::protection::Protection;
use super::trust::{CheckedSideTrack, FrameOrder, SAMPLES, check_info, clean_state, error, fault_of};
use super::wire::{AssignedInput, LiveAccess, NoFrame, Reply, Request, SentFrame, SourceState};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::Polled;
use crate::media::frame::AwayPicture;
use crate::media::object_store::longest_wait as object_wait;
use crate::media::{Advance, DecodeOptions, Frame, FrameGate, SideTrackData, StreamAccess, StreamFault, StreamInfo};

/// Packets do not wait longer than this for their frame.
const OLDEST: Duration = Duration::from_secs(3_600);

/// A picture that a child holds.
struct AwayFrame {
    id: u64,
    samples: Vec<u8>,
    sharpness: f32,
    max_pixels: u64,
    name: Arc<str>,
    link: Arc<Mutex<DecoderLink>>,
    dropped: DroppedFrames,
    video: OnceLock<ff::frame::Video>,
}

impl AwayPicture for AwayFrame {
    fn fetch(&self) -> Result<&ff::frame::Video> {
        if self.video.get().is_none() {
            let mut link = lock(&self.link);
            // Another thread may have fetched it meanwhile.
            if self.video.get().is_none() {
                let video = fetch(&mut link, self.id, self.max_pixels, &self.name)?;
                let _ = self.video.set(video);
            }
        }
        self.video.get().ok_or_else(|| Error::input(&*self.name, "a picture is missing", "Report this."))
    }

    fn fetched(&self) -> Option<&ff::frame::Video> {
        self.video.get()
    }

    fn identity(&self) -> u64 {
        // If the child has failed, so does the film, and nobody needs the number.
        match lock(&self.link).ask(Request::Identity(self.id)) {
            Ok((Reply::Identity(identity), _)) => identity,
            _ => 0,
        }
    }

    fn samples(&self) -> (&[u8], f32) {
        (&self.samples[..SAMPLES], self.sharpness)
    }

    fn strokes(&self) -> Option<&[u8]> {
        Some(&self.samples[SAMPLES..]).filter(|strokes| !strokes.is_empty())
    }
}

impl Drop for AwayFrame {
    fn drop(&mut self) {
        if self.video.get().is_none() {
            self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}

fn fetch(link: &mut DecoderLink, id: u64, max_pixels: u64, name: &str) -> Result<ff::frame::Video> {
    match link.ask(Request::Picture(id)).map_err(|e| e.input(name))? {
        (Reply::Picture(header), behind) if behind.is_empty() => {
            link.picture(&header, max_pixels).map_err(|e| e.input(name))
        }
        (Reply::Failed(e), _) => Err(error(e, name)),
        _ => Err(link.distrust("a picture was asked for").input(name)),
    }
}

/// A source in a child.
pub(super) struct RemoteSource {
    name: Arc<str>,
    link: Arc<Mutex<DecoderLink>>,
    dropped: DroppedFrames,
    max_pixels: u64,
    info: StreamInfo,
    protection: Protection,
    /// Frames that were received, each with the state after it.
    waiting: VecDeque<(Frame, SourceState)>,
    /// The state after the frame that was returned last.
    state: SourceState,
    /// The state after the frames that were received, and whether they were the last ones.
    received: Option<SourceState>,
    ended: bool,
    order: FrameOrder,
    keyframes_only: bool,
    side_track: CheckedSideTrack,
    /// Frames whose pictures may not have been fetched.
    away: Vec<Weak<AwayFrame>>,
}

impl RemoteSource {
    pub(super) fn open(
        input: &Address,
        options: &DecodeOptions,
        isolation: &Isolation,
        interrupt: &Interrupt,
    ) -> Result<RemoteSource> {
        let assigned = AssignedInput::Film(input.clone());
        let patience = match input {
            object if object.is_object() => object_wait(options.timeout),
            url if url.is_url() => options.timeout,
            _ => Duration::ZERO,
        };
        let (link, reply) = start(assigned, options, isolation, interrupt, patience)?;
        RemoteSource::new(input.shown().into(), link, options, reply)
    }

    pub(super) fn connect(
        access: &StreamAccess,
        options: &DecodeOptions,
        isolation: &Isolation,
        interrupt: &Interrupt,
    ) -> Result<RemoteSource, StreamFault> {
        let StreamAccess { address, name, format, options: own } = access;
        let own = own.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect();
        let access = LiveAccess {
            address: address.clone(),
            name: name.clone(),
            format: format.map(str::to_string),
            options: own,
        };
        let cause = |e| match e {
            Error::Interrupted => StreamFault::Stopped,
            Error::Input { cause, .. } => StreamFault::Lost(cause.to_string()),
            e => StreamFault::Unreachable(e.to_string().replace('\n', " ")),
        };
        let assigned = AssignedInput::Stream(access);
        let (link, reply) = start(assigned, options, isolation, interrupt, options.timeout).map_err(cause)?;
        match reply {
            Reply::Fault(fault) => Err(fault_of(fault)),
            reply => RemoteSource::new(name.as_str().into(), link, options, reply).map_err(cause),
        }
    }

    fn new(
        name: Arc<str>,
        (mut link, protection): (DecoderLink, Protection),
        options: &DecodeOptions,
        reply: Reply,
    ) -> Result<RemoteSource> {
        let (mut info, state) = match reply {
            Reply::Opened(info, state) => (*info, *state),
            Reply::Failed(e) => return Err(error(e, &name)),
            _ => return Err(link.distrust("an input was to be opened").input(&name)),
        };
        if let Err(what) = check_info(&mut info, options.max_pixels) {
            return Err(link.distrust(what).input(&name));
        }
        Ok(RemoteSource {
            name,
            dropped: link.dropped(),
            link: Arc::new(Mutex::new(link)),
            max_pixels: options.max_pixels,
            info,
            protection,
            waiting: VecDeque::new(),
            state: clean_state(state),
            received: None,
            ended: false,
            order: FrameOrder::new(options),
            keyframes_only: false,
            side_track: CheckedSideTrack::default(),
            away: Vec::new(),
        })
    }

    pub(super) fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub(super) fn state(&self) -> &SourceState {
        &self.state
    }

    pub(super) fn protection(&self) -> Protection {
        self.protection
    }

    pub(super) fn set_keyframes_only(&mut self, on: bool) {
        self.keyframes_only = on;
    }

    /// Whether the child is gone.
    pub(super) fn has_failed(&self) -> bool {
        lock(&self.link).has_failed()
    }

    /// Who decides which frames the child may allocate.
    pub(super) fn guard(&mut self, gate: Arc<dyn FrameGate>) {
        lock(&self.link).guard(gate, self.info.frame_size());
    }

    /// Fetches the pictures of all frames that somebody still holds, so that the child is no longer needed.
    pub(super) fn retire(&mut self) {
        self.waiting.clear();
        lock(&self.link).hurry();
        for frame in self.away.drain(..) {
            // Frames of a child that has failed are lost, which is reported where they are used.
            if let Some(frame) = frame.upgrade()
                && frame.fetch().is_err()
            {
                return;
            }
        }
    }

    /// The next frame. Data of the side track before it is lost.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.poll()? {
                Polled::Frame(frame) => return Ok(Some(frame)),
                Polled::Pending => self.side_track.clear(),
                Polled::End => return Ok(None),
            }
        }
    }

    /// The next frame; pending where data of the side track comes first.
    pub(super) fn poll(&mut self) -> Result<Polled> {
        loop {
            if let Some((frame, state)) = self.waiting.pop_front() {
                self.state = state;
                return Ok(Polled::Frame(frame));
            }
            if let Some(state) = self.received.take() {
                self.state = state;
            }
            if self.ended {
                return Ok(Polled::End);
            }
            match self.ask(Request::Next).map_err(|e| e.input(&self.name))? {
                (Reply::SideTrack(data, state), behind) if behind.is_empty() && self.info.has_side_track() => {
                    self.side_track.receive(data).map_err(|what| self.distrust(what).input(&self.name))?;
                    self.state = clean_state(*state);
                    return Ok(Polled::Pending);
                }
                (Reply::Frames(frames, reason, state), samples) => {
                    self.receive(frames, &samples, *state).map_err(|e| e.input(&self.name))?;
                    match reason {
                        Some(NoFrame::Failed(e)) if self.waiting.is_empty() => {
                            self.state = self.received.take().unwrap_or_else(|| self.state.clone());
                            return Err(error(e, &self.name));
                        }
                        Some(NoFrame::Failed(_)) => {
                            return Err(self.distrust("frames and a failure").input(&self.name));
                        }
                        Some(NoFrame::Ended) => self.ended = true,
                        None => {}
                    }
                }
                _ => return Err(self.distrust("frames were asked for").input(&self.name)),
            }
        }
    }

    /// Data of the side track before the next frame.
    pub(super) fn take_side_track(&mut self) -> Option<SideTrackData> {
        self.side_track.take()
    }

    pub(super) fn advance(&mut self) -> Result<Advance, StreamFault> {
        let lost = |e| match e {
            LinkFault::Interrupted => StreamFault::Stopped,
            LinkFault::Failed(cause, _) => StreamFault::Lost(cause),
        };
        match self.ask(Request::Advance(self.keyframes_only)).map_err(lost)? {
            (Reply::Frames(frames, _, state), samples) => {
                self.receive(frames, &samples, (*state).clone()).map_err(lost)?;
                self.received = None;
                self.state = clean_state(*state);
            }
            (Reply::SideTrack(data, state), behind) if behind.is_empty() && self.info.has_side_track() => {
                self.side_track.receive(data).map_err(|what| lost(self.distrust(what)))?;
                self.state = clean_state(*state);
            }
            (Reply::Fault(fault), _) => return Err(fault_of(fault)),
            _ => return Err(lost(self.distrust("a packet was asked for"))),
        }
        Ok(self.waiting.pop_front().map_or(Advance::Packet, |(frame, _)| Advance::Frame(frame)))
    }

    fn ask(&mut self, request: Request) -> Result<(Reply, Vec<u8>), LinkFault> {
        lock(&self.link).ask(request)
    }

    fn distrust(&self, what: &str) -> LinkFault {
        lock(&self.link).distrust(what)
    }

    /// Takes a reply's frames.
    fn receive(&mut self, frames: Vec<SentFrame>, samples: &[u8], state: SourceState) -> Result<(), LinkFault> {
        self.order.count(&frames, samples).map_err(|what| self.distrust(what))?;
        self.away.retain(|frame| frame.strong_count() > 0);
        for (sent, samples) in frames.into_iter().zip(samples.chunks_exact(self.order.frame_bytes)) {
            self.order.receive(&sent).map_err(|what| self.distrust(what))?;
            let SentFrame { header, sharpness, arrived, state } = sent;
            // Some decoders allocate frames without asking.
            lock(&self.link).reserve(header.flags.size);
            let away = Arc::new(AwayFrame {
                id: header.index,
                samples: samples.to_vec(),
                sharpness,
                max_pixels: self.max_pixels,
                name: self.name.clone(),
                link: self.link.clone(),
                dropped: self.dropped.clone(),
                video: OnceLock::new(),
            });
            self.away.push(Arc::downgrade(&away));
            let frame = Frame::away(&header, arrived.map(instant), away);
            self.waiting.push_back((frame, clean_state(state)));
        }
        self.received = Some(clean_state(state));
        Ok(())
    }
}

/// A frame outlives its source, and must not keep the child alive.
impl Drop for RemoteSource {
    fn drop(&mut self) {
        lock(&self.link).close();
    }
}

/// Starts a child, and waits until it has opened its input.
fn start(
    input: AssignedInput,
    options: &DecodeOptions,
    isolation: &Isolation,
    interrupt: &Interrupt,
    patience: Duration,
) -> Result<((DecoderLink, Protection), Reply)> {
    let name = match &input {
        AssignedInput::Film(input) => input.shown(),
        AssignedInput::Stream(access) => access.name.clone(),
    };
    let (mut link, protection) = DecoderLink::start(isolation, input, options, interrupt)?;
    // To open is to ask whether the object exists, and to open the container.
    link.set_patience(patience.saturating_mul(2));
    let (reply, _) = link.receive().map_err(|e| e.input(&name))?;
    link.set_patience(patience);
    Ok(((link, protection), reply))
}

/// When something happened, by the monotonic clock that all processes share.
fn instant(nanos: u64) -> Instant {
    let (now, age) = (Instant::now(), Duration::from_nanos(monotonic().saturating_sub(nanos)));
    now.checked_sub(age.min(OLDEST)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
