//! An open input: packets in, frames with their times out.

use std::sync::Arc;

use ffmpeg_next as ff;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::arrivals::Arrivals;
use super::clock::FrameClock;
use super::container::{Container, ffprobe};
use super::demux::{Demuxed, Demuxer, Ending};
use super::device::download;
use super::gate::FrameGate;
use super::named_pipe::OpenPipe;
use super::options::{Damage, DecodeOptions, DecodedFrames, StreamInfo};
use super::side_track_reader::{OpenedSideTrack, SideTrackReader};
use super::skip::{FrameSkipper, PacketPlan};
use super::stream::{StreamHeader, VideoDecoder, choose_stream, encrypted, plausible_aspect, rescale};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::ffmpeg::{codec_name, is_side_data};
use crate::media::frame::{Frame, FramePicture};
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Errors in a row at the end of a file before a decoder counts as stuck: more than it has threads.
const MOST_REFUSED: u32 = 256;
/// A gap at the end, in seconds, that is still no damage: streams of one file seldom end together.
const TOLERATED_GAP: f64 = 2.0;

/// What one step of [`Source::poll`] came to.
pub(crate) enum Polled {
    /// The next frame.
    Frame(Frame),
    /// No frame is ready yet.
    Pending,
    /// The input has ended.
    End,
}

/// One open input.
pub struct Source {
    name: String,
    options: DecodeOptions,
    interrupt: Interrupt,
    info: StreamInfo,
    header: StreamHeader,
    pub(super) demuxer: Demuxer,
    decoder: VideoDecoder,
    clock: FrameClock,
    /// None if every frame is decoded.
    skipper: Option<FrameSkipper>,
    /// Frames returned so far.
    frames: u64,
    /// Skipped frames that come before the last one returned, and after the first one.
    passed: u64,
    /// Video packets read so far.
    packets: u64,
    /// Latest presentation time of a packet, by the stream's clock.
    last_packet: Option<Time>,
    /// How the file is cut off, if something other than FFmpeg noticed.
    pub(super) cut_off: Option<String>,
    /// The named pipe that FFmpeg reads, if the input is one. Dropped after `demuxer`.
    pub(super) pipe: Option<OpenPipe>,
    pub(super) damage: Damage,
    pub(super) side_track: Option<SideTrackReader>,
    /// Every packet has been sent to the decoder.
    draining: bool,
    /// Errors in a row while draining.
    refused: u32,
    /// Why reading ended.
    pub(super) ending: Option<ff::Error>,
    /// Reading stopped because of the server.
    lost: bool,
    /// There was a frame after the end that was asked for.
    passed_end: bool,
    pub(super) done: bool,
    /// Set for live sources only.
    pub(super) arrivals: Option<Arrivals>,
}

impl Source {
    /// Chooses the stream, opens its decoder and seeks to the start.
    pub(super) fn new(
        name: &str,
        container: Container,
        options: &DecodeOptions,
        interrupt: Interrupt,
    ) -> Result<Source> {
        let input = container.open.input();
        let index = choose_stream(input, name)?;
        let stream =
            input.stream(index).ok_or_else(|| Error::input(name, "lost its video stream", "Report this file."))?;
        let header = StreamHeader::read(&stream, container.sizes.get(index).copied());
        header.check(name, options.max_pixels)?;
        let decoder = VideoDecoder::open(&stream, &header, options, name)?;
        let skipper = (options.frames == DecodedFrames::Fast).then(|| FrameSkipper::of(&stream, &header));
        let start = container.open.start_time();
        let opened = OpenedSideTrack::new(&container, options, start, &header, name)?;
        let info = StreamInfo {
            container: container.open.format_name(),
            codec: codec_name(&stream),
            width: header.width as u32,
            height: header.height as u32,
            sample_aspect: header.sample_aspect,
            rotation: header.orientation.degrees(),
            duration: container.open.duration().map(Time::secs),
            frame_rate: header.frame_rate,
            pixel_format: header.pixel_format.clone(),
            start_time: start.map_or(0.0, Time::secs),
            side_track: opened.track,
            side_track_fault: opened.fault,
        };
        let side_track = opened.reader;
        let mut demuxer =
            Demuxer::new(container, index, side_track.as_ref().map(|side_track| side_track.stream), interrupt.clone());
        if let Some(from) = options.start.filter(|from| *from > Time::ZERO) {
            demuxer.seek(from + start.unwrap_or_default());
        }
        Ok(Source {
            name: name.to_string(),
            options: options.clone(),
            interrupt,
            clock: FrameClock::new(start, header.frame_rate),
            info,
            header,
            demuxer,
            decoder,
            skipper,
            frames: 0,
            passed: 0,
            packets: 0,
            last_packet: None,
            cut_off: None,
            pipe: None,
            damage: Damage::default(),
            side_track,
            draining: false,
            refused: 0,
            ending: None,
            lost: false,
            passed_end: false,
            done: false,
            arrivals: None,
        })
    }

    /// Asks `gate` before the decoder allocates a frame. Only the first gate counts.
    pub fn guard(&mut self, gate: Arc<dyn FrameGate>) {
        self.decoder.guard(gate);
    }

    /// What is known about the stream before decoding.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Every stream of the container in a few words, the chosen one marked.
    pub fn streams(&self) -> Vec<String> {
        self.demuxer.streams()
    }

    /// What was lost so far; complete once [`Source::next`] has returned `None`.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// What was lost so far, as one number that only grows.
    pub fn losses(&self) -> u64 {
        let d = &self.damage;
        d.packets + d.frames + self.decoder.concealed() + u64::from(d.stopped.is_some())
    }

    /// Whether reading stopped because of the server, not of the file.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether there are no more frames.
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// Whether there are frames after [`DecodeOptions::end`].
    pub fn has_more(&self) -> bool {
        self.passed_end
    }

    /// Whether the container itself names the start of its clock. Only then does a frame have the same time wherever
    /// reading begins.
    pub fn has_clock(&self) -> bool {
        self.clock.is_from_container()
    }

    /// The clock of its frames.
    pub(crate) fn clock(&self) -> &FrameClock {
        &self.clock
    }

    /// Adds everything that the times of later frames depend on, apart from their packets.
    pub fn digest(&self, digest: &mut Digest) {
        self.clock.digest(digest);
    }

    /// Video packets read so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Frames that were not decoded, because no other frame refers to them: see [`DecodedFrames::Fast`].
    pub fn left_out(&self) -> u64 {
        self.skipper.as_ref().map_or(0, FrameSkipper::skipped)
    }

    /// End of the last frame: its time and one frame's duration. Packets that are not decoded count too.
    pub fn end(&self) -> Time {
        let mut end = self.clock.end().unwrap_or_default();
        if let (true, Some(packet)) = (self.options.frames != DecodedFrames::All, self.last_packet) {
            end = end.max(self.clock.end_of(packet));
        }
        self.options.end.map_or(end, |limit| end.min(limit))
    }

    /// What a silent server's failure is called.
    pub(super) fn silence(&self) -> String {
        self.demuxer.silence()
    }

    /// The next frame in presentation order, or `None` at the end.
    ///
    /// # Errors
    /// When interrupted, if the stream is encrypted, if memory runs out, or if there is not a single frame to return.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.poll()? {
                Polled::Frame(frame) => return Ok(Some(frame)),
                Polled::Pending => {}
                Polled::End => return Ok(None),
            }
        }
    }

    /// As [`Source::next`], by at most one packet.
    ///
    /// # Errors
    /// As [`Source::next`].
    pub(crate) fn poll(&mut self) -> Result<Polled> {
        if !self.done {
            return Ok(self.step()?.map_or(Polled::Pending, Polled::Frame));
        }
        if self.read_side_track()? {
            return Ok(Polled::Pending);
        }
        match (self.frames, self.options.start) {
            _ if self.options.frames == DecodedFrames::Nothing => Ok(Polled::End),
            (0, None) if !self.clock.has_frames() => Err(self.undecodable()),
            (0, Some(start)) => Err(self.nothing_after(start)),
            _ => Ok(Polled::End),
        }
    }

    fn undecodable(&self) -> Error {
        let cause = match (&self.damage.stopped, self.packets) {
            (Some(reason), _) => format!("no frame could be decoded: {reason}"),
            (None, 0) => "its video stream holds no frames".to_string(),
            (None, n) => format!("none of its {n} video packets could be decoded"),
        };
        let remedy = if self.demuxer.is_remote() {
            "Download it first and describe the file: this server may not be able to seek.".to_string()
        } else {
            format!("Check the file: {}, or copy it again.", ffprobe(&self.name))
        };
        Error::input(&self.name, cause, remedy)
    }

    fn nothing_after(&self, start: Time) -> Error {
        let end = self.clock.end().or(self.info.duration.map(Time::from_secs));
        let end = end.map_or(String::new(), |t| format!(", it ends at {t}"));
        Error::input(
            &self.name,
            format!("holds nothing from {start} on{end}"),
            message!["Give an earlier ", Setting::Start, ", or a later ", Setting::End, "."],
        )
    }

    /// Takes a frame from the decoder, or gives it a packet if it has none.
    pub(super) fn step(&mut self) -> Result<Option<Frame>> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        if self.decoder.is_refused() {
            let remedy = message!["Allow more memory with ", Setting::Memory, ", or lower ", Setting::Jobs, "."];
            return Err(Error::input(&self.name, "its frames have become too large", remedy));
        }
        let mut av = ff::frame::Video::empty();
        match self.decoder.video.receive_frame(&mut av) {
            Ok(()) => {
                let frame = self.admit(av)?;
                if frame.is_some() {
                    self.refused = 0;
                }
                return Ok(frame);
            }
            Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN && !self.draining => self.feed()?,
            Err(ff::Error::Eof) => self.finish(),
            // A refused packet is reported here or when it is sent, depending on the decoder's threads. At the end of the
            // file other threads may hold good frames that came after it.
            Err(_) if self.draining => {
                self.damage.packets += 1;
                self.refused += 1;
                if self.refused >= MOST_REFUSED {
                    self.finish();
                }
            }
            Err(_) => {
                self.damage.packets += 1;
                self.feed()?;
            }
        }
        Ok(None)
    }

    /// Sends the next packet to the decoder, or the end of the file.
    fn feed(&mut self) -> Result<()> {
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.start_wait();
        }
        let demuxed = self.demuxer.read(&mut self.damage.packets)?;
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.end_wait();
        }
        match demuxed {
            Demuxed::Packet(packet) if self.take_side_packet(&packet) => Ok(()),
            Demuxed::Packet(packet) => self.send(&packet),
            Demuxed::End(ending) => {
                self.drain(ending);
                Ok(())
            }
        }
    }

    fn send(&mut self, packet: &ff::Packet) -> Result<()> {
        self.packets += 1;
        if let Some(side_track) = &mut self.side_track {
            side_track.follow_pictures(packet);
        }
        if self.options.frames == DecodedFrames::Nothing {
            return Ok(());
        }
        let shown = packet.pts().map(|ts| rescale(ts, self.header.time_base));
        self.last_packet = self.last_packet.max(shown);
        if let Some(arrivals) = &mut self.arrivals
            && !arrivals.admit(packet)
        {
            return Ok(());
        }
        if packet.side_data().any(|d| is_side_data(&d, SideData::AV_PKT_DATA_ENCRYPTION_INFO)) {
            return Err(encrypted(&self.name, "video"));
        }
        if packet.is_corrupt() {
            self.damage.packets += 1;
        }
        if self.options.frames == DecodedFrames::Keyframes && packet.is_key() && self.side_track.is_none() {
            self.demuxer.jump(packet);
        }
        match self.skipper.as_mut().map(|skipper| skipper.plan(packet)) {
            None => {}
            Some(PacketPlan::Skip) => return Ok(()),
            Some(plan) => self.decoder.set_filter(plan == PacketPlan::Decode),
        }
        match self.decoder.video.send_packet(packet) {
            Ok(()) => {}
            Err(ff::Error::Other { errno }) if errno == ff::util::error::ENOMEM => {
                let remedy = message!["Free memory, or lower ", Setting::Jobs, "."];
                return Err(Error::input(&self.name, "not enough memory to decode it", remedy));
            }
            Err(_) => self.damage.packets += 1,
        }
        Ok(())
    }

    /// Drains the decoder after the last packet.
    fn drain(&mut self, ending: Ending) {
        self.lost = ending.reason.is_some() && self.demuxer.is_remote();
        if ending.reason.is_some() {
            self.damage.stopped = ending.reason;
        }
        self.ending = Some(ending.error);
        self.end_side_track();
        self.draining = true;
        // An error here belongs to a packet sent earlier. Draining has begun all the same, and a decoder that cannot be
        // drained reports that with the next frame.
        if self.decoder.video.send_eof().is_err() {
            self.damage.packets += 1;
        }
    }

    fn finish(&mut self) {
        self.done = true;
        if self.draining {
            // Every packet has been through the decoder. Earlier the count would depend on its threads.
            self.damage.frames = self.damage.frames.max(self.decoder.concealed());
        }
        if self.options.end.is_none() && self.damage.stopped.is_none() {
            self.damage.stopped = self.cut_off.take();
        }
        if let (Some(promised), Some(end), None) = (self.info.duration, self.clock.end(), self.options.end) {
            // The container's duration is its longest stream's: a gap without other damage may be one in the video only.
            let missing = promised - end.secs();
            if missing > TOLERATED_GAP && (self.damage.packets > 0 || self.damage.stopped.is_some()) {
                self.damage.missing = Some(missing);
            }
        }
    }

    /// Gives a decoded frame its time; `None` if it is outside of the requested range.
    fn admit(&mut self, av: ff::frame::Video) -> Result<Option<Frame>> {
        if av.width() == 0 || av.height() == 0 {
            self.damage.frames += 1;
            return Ok(None);
        }
        if av.has_decode_errors() || av.is_corrupt() {
            self.damage.frames += 1;
        }
        let av = download(av, self.options.hwaccel.as_deref(), &self.name)?;
        let passed = self.skipper.as_mut().map_or(0, |skipper| skipper.passed(av.timestamp()));
        let unfiltered = self.skipper.as_mut().is_some_and(|skipper| skipper.was_unfiltered(av.timestamp()));
        let pts = av.timestamp().map(|ts| rescale(ts, self.header.time_base));
        let time = self.clock.time_of(pts);
        if self.options.end.is_some_and(|end| time >= end) {
            self.done = true;
            self.passed_end = true;
            return Ok(None);
        }
        self.clock.advance(time);
        if self.options.start.is_some_and(|start| time < start) {
            return Ok(None);
        }
        // SAFETY: a plain read of a valid frame's field.
        let own_aspect = unsafe { (*av.as_ptr()).sample_aspect_ratio };
        let sample_aspect = if own_aspect.num > 0 {
            plausible_aspect((own_aspect.num, own_aspect.den))
        } else {
            self.header.sample_aspect
        };
        let arrived = self.arrivals.as_mut().map(|arrivals| arrivals.take(av.timestamp()));
        let orientation = self.header.orientation;
        if self.frames > 0 {
            self.passed += passed;
        }
        let index = self.frames + self.passed;
        let picture = FramePicture::Here(av);
        let frame = Frame { time, index, pts, arrived, unfiltered, picture, orientation, sample_aspect };
        self.frames += 1;
        Ok(Some(frame))
    }
}
