//! Decodes one track of sound: packets in, samples in their places out.
//!
//! Times count from the container's start, as those of pictures do, and a clock that starts again (recordings that were
//! joined) continues. Within a run of frames, samples are counted. A frame whose time differs from that count begins a new
//! run: at once if it differs by more than [`AT_ONCE`], and after [`PERSISTENT`] frames if by more than [`TOLERATED`].

use ffmpeg_next as ff;

use super::clock::FrameClock;
use super::programme_buffer::ProgrammeBuffer;
use super::sample_grid::SampleGrid;
use super::stream::rescale;
use crate::media::audio_format::AudioFormat;
use crate::media::resampler::Resampler;
use crate::media::side_track::{AUDIO_RATE, AudioChunk, ProgrammeChunk, sample_at};
use crate::time::Time;

/// A frame whose time differs by more from the end of its run begins a new run at once.
const AT_ONCE: Time = Time::from_millis(20);
/// A frame whose time differs by more begins a new run if the frames before it differed as well: clocks drift. Smaller
/// differences come from rounded times.
const TOLERATED: Time = Time::from_millis(8);
/// How many frames in a row must be late, or early, before a new run begins.
const PERSISTENT: u32 = 8;
/// Rates that sound can have, in samples a second. Others come from broken headers.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=768_000;
/// Most channels that can be mixed (`SWR_CH_MAX` is 64).
const MOST_CHANNELS: u16 = 64;
/// Frames a second that a clock assumes.
const FRAMES: f64 = 47.0;

/// Decodes a track of sound.
pub(super) struct AudioDecoder {
    audio: ff::decoder::Audio,
    /// Seconds a tick, as a fraction.
    time_base: (i64, i64),
    clock: FrameClock,
    /// None before the first frame of a run.
    resampler: Option<Resampler>,
    run: Option<FrameRun>,
    /// Start of the wanted range.
    start: Time,
    pub(super) grid: SampleGrid,
    /// None if nobody wants to hear it.
    programme: Option<ProgrammeBuffer>,
    /// Samples that came too late.
    late: u64,
    samples: Vec<f32>,
}

/// Frames that follow one another.
struct FrameRun {
    /// Time of the first.
    start: Time,
    rate: u32,
    /// Samples of all of them.
    samples: u64,
    /// How many frames in a row, up to the last one, were not in their place, and whether they were late.
    strays: (u32, bool),
}

impl FrameRun {
    /// When the next frame should begin.
    fn end(&self) -> Time {
        let micros = u128::from(self.samples) * 1_000_000 / u128::from(self.rate.max(1));
        self.start + Time::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Whether a frame that begins at `time` is the next one.
    fn continues(&mut self, time: Time, rate: u32) -> bool {
        let off = time - self.end();
        let (distance, late) = (off.micros().saturating_abs(), off > Time::ZERO);
        if rate != self.rate || distance > AT_ONCE.micros() {
            return false;
        }
        let (count, were_late) = self.strays;
        self.strays = match distance > TOLERATED.micros() {
            true if late == were_late => (count + 1, late),
            true => (1, late),
            false => (0, late),
        };
        self.strays.0 < PERSISTENT
    }
}

impl AudioDecoder {
    /// `origin`: start of the container's own clock. `range`: what is wanted, in times from there.
    pub(super) fn new(
        opened: ff::decoder::Opened,
        time_base: (i64, i64),
        origin: Option<Time>,
        range: (Option<Time>, Option<Time>),
    ) -> AudioDecoder {
        let place = |time: Time| u64::try_from(sample_at(time)).unwrap_or(0);
        let start = range.0.unwrap_or_default().max(Time::ZERO);
        AudioDecoder {
            audio: ff::decoder::Audio(opened),
            time_base,
            clock: FrameClock::new(origin, Some(FRAMES)),
            resampler: None,
            run: None,
            start,
            grid: SampleGrid::new(place(start), range.1.map(place)),
            programme: None,
            late: 0,
            samples: Vec::new(),
        }
    }

    /// Hands out the sound as it is heard, too.
    pub(super) fn with_programme(mut self) -> AudioDecoder {
        self.programme = Some(ProgrammeBuffer::default());
        self
    }

    /// Decodes a packet. Returns how many packets are found to be broken: none or one.
    pub(super) fn push(&mut self, packet: &ff::Packet) -> u64 {
        if self.audio.send_packet(packet).is_err() {
            return self.broken();
        }
        self.receive()
    }

    /// Decodes the rest, after the last packet.
    pub(super) fn finish(&mut self) -> u64 {
        let _ = self.audio.send_eof();
        let broken = self.receive();
        self.end_run();
        broken
    }

    /// A decoder that begins within a stream may refuse the first packets.
    fn broken(&self) -> u64 {
        u64::from(self.start == Time::ZERO || self.run.is_some())
    }

    fn receive(&mut self) -> u64 {
        let mut frame = ff::frame::Audio::empty();
        loop {
            match self.audio.receive_frame(&mut frame) {
                Ok(()) if self.place(&frame) => {}
                Err(ff::Error::Eof) => return 0,
                Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN => return 0,
                Ok(()) | Err(_) => return self.broken(),
            }
        }
    }

    /// Puts a frame's samples into their places. False if it cannot be converted.
    fn place(&mut self, frame: &ff::frame::Audio) -> bool {
        let (rate, count) = (frame.rate(), frame.samples());
        if !RATES.contains(&rate) || count == 0 || frame.channels() > MOST_CHANNELS {
            return false;
        }
        let own = frame.timestamp().map(|ts| rescale(ts, self.time_base));
        let time = match (own, &self.run) {
            (None, Some(run)) => run.end(),
            _ => self.clock.time_of(own),
        };
        self.clock.advance(time);
        if self.grid.is_late(sample_at(time)) {
            self.late += count as u64 * u64::from(AUDIO_RATE) / u64::from(rate);
        }
        if !self.run.as_mut().is_some_and(|run| run.continues(time, rate)) {
            self.begin_run(time, own, rate);
        }
        // A frame of another layout begins a run of its own.
        if !self.convert(frame, own) {
            self.begin_run(time, own, rate);
            if !self.convert(frame, own) {
                self.run = None;
                return false;
            }
        }
        if let Some(run) = &mut self.run {
            run.samples += count as u64;
        }
        true
    }

    /// Whether more than a second of sound came too late. The last frames of a track that ends early may be held back by FFmpeg.
    pub(super) fn is_late(&self) -> bool {
        self.late > u64::from(AUDIO_RATE)
    }

    /// `own`: the frame's time by the source's own clock.
    fn convert(&mut self, frame: &ff::frame::Audio, own: Option<Time>) -> bool {
        if self.resampler.is_none() {
            self.resampler = Resampler::new(AudioFormat::usual(AUDIO_RATE, 1)).map(Resampler::within_range);
        }
        self.samples.clear();
        let resampler = self.resampler.as_mut();
        let converted = resampler.is_some_and(|resampler| resampler.convert(frame, &mut self.samples).is_ok());
        self.grid.put(&self.samples);
        if let Some(programme) = &mut self.programme
            && converted
        {
            programme.push(frame, own);
        }
        converted
    }

    /// `own`: its time by the source's own clock.
    fn begin_run(&mut self, time: Time, own: Option<Time>, rate: u32) {
        self.end_run();
        if let Some(programme) = &mut self.programme {
            programme.begin_run(own);
        }
        self.grid.go_to(sample_at(time));
        self.run = Some(FrameRun { start: time, rate, samples: 0, strays: (0, false) });
    }

    fn end_run(&mut self) {
        if let Some(resampler) = self.resampler.take() {
            self.samples.clear();
            resampler.finish(&mut self.samples);
            self.grid.put(&self.samples);
        }
        if let Some(programme) = &mut self.programme {
            programme.end_run();
        }
        self.run = None;
    }

    pub(super) fn take(&mut self) -> Vec<AudioChunk> {
        self.grid.take()
    }

    /// The sound as it is heard, since the last call.
    pub(super) fn take_programme(&mut self) -> Vec<ProgrammeChunk> {
        self.programme.as_mut().map_or_else(Vec::new, ProgrammeBuffer::take)
    }

    /// Samples that wait: on the grid, and as they are heard.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.grid.waiting(), self.programme.as_ref().map_or(0, ProgrammeBuffer::waiting))
    }
}

const _: () = assert!(AUDIO_RATE >= *RATES.start());

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> FrameRun {
        FrameRun { start: Time::ZERO, rate: 48_000, samples: 48_000, strays: (0, false) }
    }

    /// How many frames of a run, each off by this many milliseconds, continue it.
    fn frames(off: &[i64]) -> usize {
        let mut run = run();
        let step = Time::from_micros(21_333);
        let mut continued = 0;
        for off in off {
            if !run.continues(run.end() + Time::from_millis(*off), 48_000) {
                break;
            }
            run.samples += 1_024;
            continued += 1;
        }
        assert!(run.end() >= step);
        continued
    }

    #[test]
    fn jitter_continues_and_drift_does_not() {
        assert_eq!(frames(&[12, -12].repeat(20)), 40);
        assert_eq!(frames(&[5; 40]), 40);
        assert_eq!(frames(&[12; 40]), 7);
        assert_eq!(frames(&[-12; 40]), 7);
        assert_eq!(frames(&[0, 21]), 1);
        assert_eq!(frames(&[0, -21]), 1);
    }

    #[test]
    fn another_rate_begins_another_run() {
        let mut run = run();
        assert!(run.continues(run.end(), 48_000) && !run.continues(run.end(), 44_100));
    }
}
