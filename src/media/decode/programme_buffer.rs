//! The sound of a source as it is heard: two channels, with times by the source's own clock.

use ffmpeg_next as ff;

use crate::media::audio_format::AudioFormat;
use crate::media::resampler::Resampler;
use crate::media::side_track::{PROGRAMME_CHANNELS, PROGRAMME_RATE, ProgrammeChunk};
use crate::time::Time;

/// Most samples that wait to be taken: 5 s. Older ones are dropped.
const MOST_WAITING: usize = 5 * PROGRAMME_RATE as usize * PROGRAMME_CHANNELS;
/// A frame that is further from its place by the source's own clock is on another clock.
const JUMP: Time = Time::from_millis(500);

/// Converts decoded frames, and holds their samples until they are taken.
#[derive(Default)]
pub(super) struct ProgrammeBuffer {
    /// None before the first frame of a run.
    resampler: Option<Resampler>,
    /// Time of the next sample; none before the first run.
    next: Option<Time>,
    /// Of the run: the time of its first sample, and how many frames of samples there have been.
    run: Option<(Time, u64)>,
    chunks: Vec<ProgrammeChunk>,
    samples: Vec<f32>,
}

impl ProgrammeBuffer {
    /// Frames of another format or place follow. `start`: their time by the source's clock; if it is unknown, they follow
    /// those before.
    pub(super) fn begin_run(&mut self, start: Option<Time>) {
        self.end_run();
        self.run = start.or(self.next).map(|start| (start, 0));
    }

    /// Takes a frame that follows the one before. `own`: its time by the source's clock, which may have jumped.
    pub(super) fn push(&mut self, frame: &ff::frame::Audio, own: Option<Time>) {
        if let (Some(own), Some((start, frames))) = (own, self.run)
            && (own - time_after(start, frames)).micros().saturating_abs() > JUMP.micros()
        {
            self.begin_run(Some(own));
        }
        if self.resampler.is_none() {
            self.resampler = Resampler::new(AudioFormat::usual(PROGRAMME_RATE, PROGRAMME_CHANNELS as u32));
        }
        self.samples.clear();
        if let Some(resampler) = &mut self.resampler
            && resampler.convert(frame, &mut self.samples).is_ok()
        {
            self.put();
        }
    }

    /// Hands out what the resampler still holds.
    pub(super) fn end_run(&mut self) {
        if let Some(resampler) = self.resampler.take() {
            self.samples.clear();
            resampler.finish(&mut self.samples);
            self.put();
        }
        self.run = None;
    }

    fn put(&mut self) {
        let Some((start, frames)) = &mut self.run else { return };
        if self.samples.is_empty() {
            return;
        }
        let pts = time_after(*start, *frames);
        *frames += (self.samples.len() / PROGRAMME_CHANNELS) as u64;
        let next = time_after(*start, *frames);
        match self.chunks.last_mut() {
            Some(last) if self.next == Some(pts) => last.samples.extend_from_slice(&self.samples),
            _ => self.chunks.push(ProgrammeChunk { pts, samples: self.samples.clone() }),
        }
        self.next = Some(next);
        while self.waiting() > MOST_WAITING {
            self.chunks.remove(0);
        }
    }

    /// Samples that wait, of all channels.
    pub(super) fn waiting(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.samples.len()).sum()
    }

    pub(super) fn take(&mut self) -> Vec<ProgrammeChunk> {
        std::mem::take(&mut self.chunks)
    }
}

/// The time so many frames of samples after another.
fn time_after(start: Time, frames: u64) -> Time {
    let micros = u128::from(frames) * 1_000_000 / u128::from(PROGRAMME_RATE);
    start + Time::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
