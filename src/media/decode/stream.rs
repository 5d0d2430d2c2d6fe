//! Which stream of a container is decoded, what its header says, and its decoder.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::container::ffprobe;
use super::device::open_device;
use super::gate::{DecoderState, FrameGate};
use super::log::count_concealed_in;
use super::options::{DecodeOptions, DecodedFrames, decoder_threads};
use crate::error::{Error, Result};
use crate::media::ffmpeg::{PixelFormat, codec_name, decoder, is_encrypted, is_side_data, is_video, parameters};
use crate::media::orientation::Orientation;
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Pixels between these shapes (width / height) are plausible; others come from broken headers.
const PLAUSIBLE_ASPECT: std::ops::RangeInclusive<f64> = 0.1..=10.0;

/// Index of the best video stream that is not a cover picture.
///
/// # Errors
/// If there is none.
pub(super) fn choose_stream(input: &ff::format::context::Input, name: &str) -> Result<usize> {
    let is_cover =
        |s: &ff::format::stream::Stream<'_>| s.disposition().contains(ff::format::stream::Disposition::ATTACHED_PIC);
    if input.nb_streams() == 0 {
        let remedy = "Copy or download it again, or record it again.";
        return Err(Error::input(name, "holds no streams at all", remedy));
    }
    let best = input.streams().best(ff::media::Type::Video).filter(|s| !is_cover(s));
    let chosen = best.or_else(|| input.streams().find(|s| is_video(s) && !is_cover(s)));
    chosen.map(|s| s.index()).ok_or_else(|| {
        let remedy = format!("Give a file with pictures; {} lists what is in it.", ffprobe(name));
        Error::input(name, "has no video stream (audio only?)", remedy)
    })
}

/// What the header says about a video stream.
pub(super) struct StreamHeader {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) orientation: Orientation,
    /// Width : height of one pixel.
    pub(super) sample_aspect: (i32, i32),
    /// FFmpeg's name.
    pub(super) pixel_format: String,
    /// Seconds a tick, as a fraction.
    pub(super) time_base: (i64, i64),
    /// Average frames a second.
    pub(super) frame_rate: Option<f64>,
    is_encrypted: bool,
}

impl StreamHeader {
    /// `container_size`: width and height by the container's header, for streams whose own size FFmpeg refused.
    pub(super) fn read(stream: &ff::format::stream::Stream<'_>, container_size: Option<(i32, i32)>) -> StreamHeader {
        let rate = stream.avg_frame_rate();
        let frame_rate = (rate.numerator() > 0 && rate.denominator() > 0)
            .then(|| f64::from(rate.numerator()) / f64::from(rate.denominator()));
        let mut orientation = Orientation::UPRIGHT;
        for side in stream.side_data() {
            if is_side_data(&side, SideData::AV_PKT_DATA_DISPLAYMATRIX) && side.data().len() >= 36 {
                let mut matrix = [0i32; 9];
                for (value, bytes) in matrix.iter_mut().zip(side.data().chunks_exact(4)) {
                    *value = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                orientation = Orientation::from_matrix(&matrix);
            }
        }
        let par = parameters(stream);
        // SAFETY: plain reads of integers of a valid stream.
        let (own_size, aspects) = unsafe {
            let aspects = ((*stream.as_ptr()).sample_aspect_ratio, (*par).sample_aspect_ratio);
            (((*par).width, (*par).height), aspects)
        };
        let aspect = if aspects.0.num > 0 { aspects.0 } else { aspects.1 };
        let (width, height) = match container_size {
            Some(size) if own_size.0 <= 0 || own_size.1 <= 0 => size,
            _ => own_size,
        };
        StreamHeader {
            width,
            height,
            orientation,
            sample_aspect: plausible_aspect((aspect.num, aspect.den)),
            pixel_format: PixelFormat::of_stream(stream).name(),
            time_base: time_base(stream),
            frame_rate,
            is_encrypted: is_encrypted(stream),
        }
    }

    /// Refuses what cannot be decoded.
    ///
    /// # Errors
    /// If the stream is encrypted, or its frames have no size or more than `max_pixels` pixels.
    pub(super) fn check(&self, name: &str, max_pixels: u64) -> Result<()> {
        let (width, height) = (self.width, self.height);
        if self.is_encrypted {
            return Err(encrypted(name, "video"));
        }
        if width <= 0 || height <= 0 {
            return Err(Error::input(
                name,
                format!("its header says {width}×{height} pixels"),
                format!("The file holds no decodable picture; inspect it with {}, or copy it again.", ffprobe(name)),
            ));
        }
        if width as u64 * height as u64 > max_pixels {
            return Err(Error::input(
                name,
                format!("frames of {width}×{height} are larger than the limit of {max_pixels} pixels"),
                message!["If you trust the file, raise ", Setting::MaxPixels, "."],
            ));
        }
        Ok(())
    }
}

pub(super) fn encrypted(name: &str, what: &str) -> Error {
    let cause = format!("the {what} is encrypted (DRM)");
    Error::input(name, cause, "Give a copy that is not protected; descry cannot decrypt.")
}

/// Opens the decoder of a stream.
pub(super) fn open_codec(
    mut context: ff::decoder::Decoder,
    stream: &ff::format::stream::Stream<'_>,
) -> Result<ff::decoder::Opened, ff::Error> {
    let codec = decoder(stream);
    if codec.is_null() {
        return Err(ff::Error::DecoderNotFound);
    }
    // SAFETY: the context was made for this stream and is not open yet; the codec is static data of FFmpeg.
    let code = unsafe { ffi::avcodec_open2(context.as_mut_ptr(), codec, ptr::null_mut()) };
    if code < 0 { Err(ff::Error::from(code)) } else { Ok(ff::decoder::Opened(context)) }
}

/// Absurd pixel shapes, from broken headers, count as square.
pub(super) fn plausible_aspect((num, den): (i32, i32)) -> (i32, i32) {
    let ratio = f64::from(num) / f64::from(den);
    if num > 0 && den > 0 && PLAUSIBLE_ASPECT.contains(&ratio) { (num, den) } else { (1, 1) }
}

/// Seconds a tick of a stream, as a fraction.
pub(super) fn time_base(stream: &ff::format::stream::Stream<'_>) -> (i64, i64) {
    let tick = stream.time_base();
    (i64::from(tick.numerator()), i64::from(tick.denominator().max(1)))
}

/// Timestamp × time base, nearest microsecond, saturating.
pub(super) fn rescale(timestamp: i64, (num, den): (i64, i64)) -> Time {
    let scaled = i128::from(timestamp) * i128::from(num) * 1_000_000;
    let den = i128::from(den);
    let rounded = (scaled + den / 2).div_euclid(den);
    // A quarter of the range, so that sums and differences of a few times do not overflow.
    Time::from_micros(rounded.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64)
}

/// An open decoder.
pub(crate) struct VideoDecoder {
    /// Dropped before `state`, which it points to.
    pub(crate) video: ff::decoder::Video,
    state: Box<DecoderState>,
}

impl VideoDecoder {
    /// Opens the decoder of a stream.
    ///
    /// # Errors
    /// If FFmpeg cannot decode the codec, or the hardware device cannot be opened.
    pub(super) fn open(
        stream: &ff::format::stream::Stream<'_>,
        header: &StreamHeader,
        options: &DecodeOptions,
        name: &str,
    ) -> Result<VideoDecoder> {
        let mut context = ff::codec::Context::new();
        // SAFETY: FFmpeg copies the parameters of a valid stream into a new context.
        let code = unsafe { ffi::avcodec_parameters_to_context(context.as_mut_ptr(), parameters(stream)) };
        if code < 0 {
            let (e, remedy) = (ff::Error::from(code), format!("Check the file: {}", ffprobe(name)));
            return Err(Error::input(name, format!("its video stream cannot be set up: {e}"), remedy));
        }
        let state = Box::<DecoderState>::default();
        // SAFETY: plain writes to a codec context that is not open yet; `VideoDecoder` keeps the state longer than it.
        unsafe {
            count_concealed_in(context.as_mut_ptr(), &raw const *state);
            let av = context.as_mut_ptr();
            // Each frame thread holds a frame back, for which a live stream has no time.
            let frame_threads = !(options.low_delay && options.threads == 0);
            let threads = if frame_threads { decoder_threads(options.threads) } else { 0 };
            (*av).thread_count = i32::try_from(threads).unwrap_or(0);
            (*av).thread_type = ffi::FF_THREAD_SLICE | if frame_threads { ffi::FF_THREAD_FRAME } else { 0 };
            (*av).max_pixels = i64::try_from(options.max_pixels).unwrap_or(i64::MAX);
            (*av).pkt_timebase = ffi::AVRational { num: header.time_base.0 as i32, den: header.time_base.1 as i32 };
            if let Some(device) = &options.hwaccel {
                // The context frees it.
                (*av).hw_device_ctx = open_device(device)?;
            }
        }
        let mut context = context.decoder();
        if options.frames == DecodedFrames::Keyframes {
            context.skip_frame(ff::codec::discard::Discard::NonKey);
        }
        let opened = open_codec(context, stream).map_err(|e| {
            Error::input(
                name,
                format!("its codec {} cannot be decoded by this FFmpeg: {e}", codec_name(stream)),
                "Install an FFmpeg that has this codec, or convert the file.",
            )
        })?;
        Ok(VideoDecoder { video: ff::decoder::Video(opened), state })
    }

    /// Whether frames from the next packet on pass through the loop filter.
    pub(super) fn set_filter(&mut self, on: bool) {
        use ff::codec::discard::Discard;
        self.video.skip_loop_filter(if on { Discard::Default } else { Discard::All });
    }

    /// Asks `gate` before every frame from now on. Only the first gate counts.
    pub(super) fn guard(&mut self, gate: Arc<dyn FrameGate>) {
        // SAFETY: between two calls of FFmpeg nothing uses the context. `open` made it point to the state.
        unsafe { self.state.guard(self.video.as_mut_ptr(), gate) };
    }

    /// Whether the gate has refused a frame.
    pub(super) fn is_refused(&self) -> bool {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Frames so far in which errors were concealed.
    pub(super) fn concealed(&self) -> u64 {
        self.state.concealed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescale_is_exact_and_saturates() {
        assert_eq!(rescale(1001, (1, 30_000)).micros(), 33_367);
        assert_eq!(rescale(-1, (1, 1000)).micros(), -1_000);
        assert!(rescale(i64::MAX, (1_000_000, 1)) > Time::ZERO);
    }
}
