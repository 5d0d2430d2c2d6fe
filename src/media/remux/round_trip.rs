//! What a listener gets of an encoded track: its packets, decoded again.

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::encoder::AudioEncoder;
use crate::media::audio_format::AudioFormat;
use crate::media::ffmpeg::decoder_of;
use crate::media::resampler::Resampler;

/// Decodes the packets of an encoder, in order.
pub(crate) struct RoundTrip {
    audio: ff::decoder::Audio,
    resampler: Resampler,
}

impl RoundTrip {
    /// None if this FFmpeg has no decoder for it.
    pub(crate) fn of(encoder: &AudioEncoder, format: AudioFormat) -> Option<RoundTrip> {
        let mut context = ff::codec::Context::new();
        // SAFETY: the encoder's parameters are copied into new ones, and those into a new context. They are freed here. The
        // decoder is static data, or null.
        let decoder = unsafe {
            let mut parameters = ffi::avcodec_parameters_alloc();
            if parameters.is_null() {
                return None;
            }
            let copied = encoder.describe(parameters);
            let decoder = decoder_of(parameters);
            let set = ffi::avcodec_parameters_to_context(context.as_mut_ptr(), parameters);
            ffi::avcodec_parameters_free(&raw mut parameters);
            (*context.as_mut_ptr()).thread_count = 1;
            if copied < 0 || set < 0 || decoder.is_null() {
                return None;
            }
            ff::Codec::wrap(decoder.cast_mut())
        };
        let opened = context.decoder().open_as(decoder).ok()?;
        Some(RoundTrip { audio: ff::decoder::Audio(opened), resampler: Resampler::new(format)? })
    }

    /// Decodes packets, and appends the samples that are ready. What cannot be decoded is passed over.
    pub(crate) fn push(&mut self, packets: &[ff::Packet], to: &mut Vec<f32>) {
        for packet in packets {
            let _ = self.audio.send_packet(packet);
            self.receive(to);
        }
    }

    /// Appends the last samples.
    pub(crate) fn finish(mut self, to: &mut Vec<f32>) {
        let _ = self.audio.send_eof();
        self.receive(to);
        self.resampler.finish(to);
    }

    fn receive(&mut self, to: &mut Vec<f32>) {
        let mut frame = ff::frame::Audio::empty();
        while self.audio.receive_frame(&mut frame).is_ok() {
            let _ = self.resampler.convert(&frame, to);
        }
    }
}
