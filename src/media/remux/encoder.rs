//! Encoding a track of sound.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::packet::Mut;

use super::format::AudioCodec;
use crate::media::audio_format::AudioFormat;
use crate::media::decode::init;
use crate::media::ffmpeg::sound::SampleFormat;

/// Frames at once for a codec that takes any number.
const BLOCK: usize = 4_096;

/// Encodes interleaved samples. Times of packets are in samples.
pub(crate) struct AudioEncoder {
    context: *mut ffi::AVCodecContext,
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

// SAFETY: the context is bound to no thread, and one thread at a time uses it.
unsafe impl Send for AudioEncoder {}

impl AudioEncoder {
    /// # Errors
    /// If this FFmpeg has no such encoder, or it refuses the format.
    pub(crate) fn open(codec: AudioCodec, format: AudioFormat) -> Result<AudioEncoder, ff::Error> {
        init();
        // SAFETY: a look-up by a C string. The context is made for the encoder, filled, opened, and freed by `drop`.
        unsafe {
            let found = ffi::avcodec_find_encoder_by_name(codec.encoder().as_ptr());
            if found.is_null() {
                return Err(ff::Error::EncoderNotFound);
            }
            let context = ffi::avcodec_alloc_context3(found);
            if context.is_null() {
                return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
            }
            let channels = format.channels();
            let mut encoder =
                AudioEncoder { context, codec, channels, block: BLOCK, format, waiting: Vec::new(), position: 0 };
            let rate = encoder.format.rate;
            (*context).sample_rate = i32::try_from(rate).unwrap_or(48_000);
            (*context).time_base = ffi::AVRational { num: 1, den: (*context).sample_rate };
            (*context).bit_rate = codec.bit_rate() * channels as i64;
            (*context).thread_count = 1;
            // Without the version of the encoder: the same input gives the same bytes.
            (*context).flags |= ffi::AV_CODEC_FLAG_BITEXACT as i32;
            // Containers want it; those that do not ignore it.
            (*context).flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
            SampleFormat::named(codec.samples()).set_encoder(context);
            let copied = encoder.format.copy_to(&raw mut (*context).ch_layout);
            let opened = if copied < 0 { copied } else { ffi::avcodec_open2(context, found, ptr::null_mut()) };
            if opened < 0 {
                return Err(ff::Error::from(opened));
            }
            if let Ok(size @ 1..) = usize::try_from((*context).frame_size) {
                encoder.block = size;
            }
            Ok(encoder)
        }
    }

    /// Gives a stream the parameters of the encoder.
    ///
    /// # Safety
    /// `parameters` must be valid.
    pub(super) unsafe fn describe(&self, parameters: *mut ffi::AVCodecParameters) -> i32 {
        // SAFETY: both are valid.
        unsafe { ffi::avcodec_parameters_from_context(parameters, self.context) }
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
        // SAFETY: an open encoder, and a frame that it only refers to, or none for the end.
        let sent = unsafe { ffi::avcodec_send_frame(self.context, raw) };
        if sent < 0 {
            return Err(ff::Error::from(sent));
        }
        loop {
            let mut packet = ff::Packet::empty();
            // SAFETY: an open encoder and a valid packet.
            let code = unsafe { ffi::avcodec_receive_packet(self.context, packet.as_mut_ptr()) };
            match ff::Error::from(code) {
                _ if code >= 0 => out.push(packet),
                ff::Error::Eof => return Ok(()),
                ff::Error::Other { errno } if errno == ff::util::error::EAGAIN => return Ok(()),
                e => return Err(e),
            }
        }
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
            (*raw).sample_rate = (*self.context).sample_rate;
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

impl Drop for AudioEncoder {
    fn drop(&mut self) {
        // SAFETY: made in `open`, and dropped here alone.
        unsafe { ffi::avcodec_free_context(&raw mut self.context) };
    }
}
