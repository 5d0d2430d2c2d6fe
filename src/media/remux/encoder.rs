//! Encoding a track of sound.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::encoder_context::EncoderContext;
use super::format::AudioCodec;
use crate::media::audio_format::AudioFormat;
use crate::media::decode::init;
use crate::media::ffmpeg::sound::SampleFormat;

/// Frames at once for a codec that takes any number.
const BLOCK: usize = 4_096;

/// Encodes interleaved samples. Times of packets are in samples.
pub(crate) struct AudioEncoder {
    context: EncoderContext,
    codec: AudioCodec,
    channels: usize,
    /// Frames at once.
    block: usize,
    format: AudioFormat,
    /// Samples that wait for a whole block.
    waiting: Vec<f32>,
    /// Frames encoded so far.
    position: i64,
}

impl AudioEncoder {
    /// # Errors
    /// If this FFmpeg has no such encoder, or it refuses the format.
    pub(crate) fn open(codec: AudioCodec, format: AudioFormat) -> Result<AudioEncoder, ff::Error> {
        init();
        let mut context = EncoderContext::new(codec.encoder())?;
        let channels = format.channels();
        // SAFETY: a valid context, which is not open yet.
        unsafe {
            let raw = context.as_ptr();
            (*raw).sample_rate = i32::try_from(format.rate).unwrap_or(48_000);
            (*raw).time_base = ffi::AVRational { num: 1, den: (*raw).sample_rate };
            (*raw).bit_rate = codec.bit_rate() * channels as i64;
            (*raw).thread_count = 1;
            SampleFormat::named(codec.samples()).set_encoder(raw);
            let copied = format.copy_to(&raw mut (*raw).ch_layout);
            if copied < 0 {
                return Err(ff::Error::from(copied));
            }
        }
        context.open(ff::Dictionary::new())?;
        // SAFETY: a valid context.
        let frame_size = unsafe { (*context.as_ptr()).frame_size };
        let block = usize::try_from(frame_size).ok().filter(|size| *size > 0).unwrap_or(BLOCK);
        Ok(AudioEncoder { context, codec, channels, block, format, waiting: Vec::new(), position: 0 })
    }

    /// Gives a stream the parameters of the encoder.
    ///
    /// # Safety
    /// `parameters` must be valid.
    pub(super) unsafe fn describe(&self, parameters: *mut ffi::AVCodecParameters) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { self.context.describe(parameters) }
    }

    /// Its codec.
    pub(super) fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Its rate in Hz.
    pub(crate) fn rate(&self) -> u32 {
        self.format.rate
    }

    /// Encodes whole frames, and appends the packets that are ready.
    ///
    /// # Errors
    /// If the encoder fails.
    pub(crate) fn push(&mut self, samples: &[f32], out: &mut Vec<ff::Packet>) -> Result<(), ff::Error> {
        self.waiting.extend_from_slice(samples);
        let size = self.block * self.channels;
        let whole = self.waiting.len() / size * size;
        let rest = self.waiting.split_off(whole);
        let blocks = std::mem::replace(&mut self.waiting, rest);
        blocks.chunks_exact(size).try_for_each(|block| self.encode(Some(block), out))
    }

    /// Encodes what waits, and appends the last packets.
    ///
    /// # Errors
    /// As [`AudioEncoder::push`].
    pub(crate) fn finish(&mut self, out: &mut Vec<ff::Packet>) -> Result<(), ff::Error> {
        let rest = std::mem::take(&mut self.waiting);
        if !rest.is_empty() {
            self.encode(Some(&rest), out)?;
        }
        self.encode(None, out)
    }

    fn encode(&mut self, block: Option<&[f32]>, out: &mut Vec<ff::Packet>) -> Result<(), ff::Error> {
        let frame = block.map(|block| self.frame(block)).transpose()?;
        let raw = frame.as_ref().map_or(ptr::null(), |frame| {
            // SAFETY: a valid frame, which lives until the end of the function.
            unsafe { frame.as_ptr() }
        });
        // SAFETY: an open encoder, and a frame that is valid, or null for the end.
        unsafe { self.context.encode(raw, out) }
    }

    /// A frame of samples, in the encoder's own format.
    fn frame(&mut self, block: &[f32]) -> Result<ff::frame::Audio, ff::Error> {
        let frames = block.len() / self.channels;
        let mut frame = ff::frame::Audio::empty();
        // SAFETY: a new frame gets its format, and buffers for it, into which as many samples are written as it has.
        unsafe {
            let raw = frame.as_mut_ptr();
            SampleFormat::named(self.codec.samples()).set_frame(raw);
            (*raw).nb_samples = frames as i32;
            (*raw).sample_rate = (*self.context.as_ptr()).sample_rate;
            (*raw).pts = self.position;
            let copied = self.format.copy_to(&raw mut (*raw).ch_layout);
            let code = if copied < 0 { copied } else { ffi::av_frame_get_buffer(raw, 0) };
            if code < 0 {
                return Err(ff::Error::from(code));
            }
            let plane = |n: usize| *(*raw).extended_data.add(n);
            match self.codec {
                AudioCodec::Opus => {
                    std::slice::from_raw_parts_mut(plane(0).cast::<f32>(), block.len()).copy_from_slice(block);
                }
                AudioCodec::Flac | AudioCodec::Pcm => {
                    let to = std::slice::from_raw_parts_mut(plane(0).cast::<i16>(), block.len());
                    to.iter_mut().zip(block).for_each(|(to, sample)| *to = (sample * 32_768.0).round() as i16);
                }
                AudioCodec::Aac | AudioCodec::Mp3 => {
                    for channel in 0..self.channels {
                        let to = std::slice::from_raw_parts_mut(plane(channel).cast::<f32>(), frames);
                        let from = block.iter().skip(channel).step_by(self.channels);
                        to.iter_mut().zip(from).for_each(|(to, sample)| *to = *sample);
                    }
                }
            }
        }
        self.position += frames as i64;
        Ok(frame)
    }
}
