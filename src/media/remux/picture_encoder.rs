//! Encoding pictures.

use std::ffi::CStr;
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::encoder_context::EncoderContext;
use super::format::FilmFormat;
use crate::media::ffmpeg::{
    PixelFormat, ScalerSide, SourceParameters, encoder_format, forget_kind, is_side_data, scaler, set_encoder_format,
    set_encoder_matrix,
};

/// FFmpeg's name of the encoder for browsers.
pub(super) const VP8: &CStr = c"libvpx";
/// Threads of an encoder. What x264 makes depends on their number, so it is the same everywhere.
const THREADS: i32 = 4;

/// A codec of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PictureCodec {
    H264,
    Vp9,
}

impl PictureCodec {
    /// The usual one of a container.
    pub(crate) fn of(format: FilmFormat) -> PictureCodec {
        if format == FilmFormat::Webm { PictureCodec::Vp9 } else { PictureCodec::H264 }
    }

    /// FFmpeg's name of its encoder.
    pub(crate) fn encoder(self) -> &'static CStr {
        match self {
            PictureCodec::H264 => c"libx264",
            PictureCodec::Vp9 => c"libvpx-vp9",
        }
    }

    /// Options of the encoder. `quality`: the constant rate factor, or none for the usual one.
    fn options(self, quality: Option<u8>) -> ff::Dictionary<'static> {
        let mut options = ff::Dictionary::new();
        match self {
            PictureCodec::H264 => {
                options.set("crf", &quality.unwrap_or(18).min(51).to_string());
                options.set("preset", "medium");
            }
            PictureCodec::Vp9 => {
                options.set("crf", &quality.unwrap_or(28).min(63).to_string());
                // Rows of blocks on several threads are not the same for every number of them.
                options.set("row-mt", "0");
                options.set("deadline", "good");
                options.set("cpu-used", "4");
            }
        }
        options
    }
}

/// Encodes frames, whose times are ticks of the film's stream.
pub(super) struct PictureEncoder {
    context: EncoderContext,
    size: (i32, i32),
    format: PixelFormat,
    /// Converts frames of another size or format.
    scaler: Option<PictureScaler>,
}

// SAFETY: the scaler is bound to no thread, and one thread at a time uses it.
unsafe impl Send for PictureEncoder {}

impl PictureEncoder {
    /// Opens an encoder for pictures such as a stream has: its size, its shape of pixels, its format if the encoder knows
    /// that, and its colours.
    ///
    /// # Errors
    /// If this FFmpeg has no such encoder, or it refuses the pictures.
    pub(super) fn open(
        stream: &ff::format::stream::Stream<'_>,
        codec: PictureCodec,
        quality: Option<u8>,
    ) -> Result<PictureEncoder, ff::Error> {
        let parameters = SourceParameters::of(stream);
        let mut context = EncoderContext::new(codec.encoder())?;
        let own = PixelFormat::of_stream(stream);
        // SAFETY: a valid encoder.
        let format = unsafe { encoder_format(context.codec(), own) };
        // SAFETY: a valid context, which is not open yet.
        unsafe {
            let raw = context.as_ptr();
            parameters.fill(raw, context.codec())?;
            set_encoder_format(raw, format);
            if own.is_rgb() && !format.is_rgb() {
                set_encoder_matrix(raw);
            }
            (*raw).time_base = stream.time_base().into();
            (*raw).framerate = stream.avg_frame_rate().into();
            (*raw).bit_rate = 0;
            (*raw).thread_count = THREADS;
            if parameters.is_interlaced() && codec == PictureCodec::H264 {
                (*raw).flags |= ffi::AV_CODEC_FLAG_INTERLACED_DCT as i32 | ffi::AV_CODEC_FLAG_INTERLACED_ME as i32;
            }
        }
        context.open(codec.options(quality))?;
        // SAFETY: a valid context.
        let size = unsafe { ((*context.as_ptr()).width, (*context.as_ptr()).height) };
        Ok(PictureEncoder { context, size, format, scaler: None })
    }

    /// Gives a stream the parameters of the encoder.
    ///
    /// # Safety
    /// `parameters` must be valid.
    pub(super) unsafe fn describe(&self, parameters: *mut ffi::AVCodecParameters) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { self.context.describe(parameters) }
    }

    /// Encodes a frame at a time in ticks, later than those before, and appends the packets that are ready. `repeated`: the
    /// frame is shown again.
    ///
    /// # Errors
    /// If the encoder fails, or the frame cannot be converted.
    pub(super) fn push(
        &mut self,
        frame: &ff::frame::Video,
        time: i64,
        repeated: bool,
        out: &mut Vec<ff::Packet>,
    ) -> Result<(), ff::Error> {
        let mut frame = self.fitting(frame)?;
        forget_kind(&mut frame);
        // SAFETY: a frame of this function's own, which refers to buffers that it does not change. Captions must not be
        // repeated.
        unsafe {
            let raw = frame.as_mut_ptr();
            (*raw).pts = time;
            if repeated {
                ffi::av_frame_remove_side_data(raw, ffi::AVFrameSideDataType::AV_FRAME_DATA_A53_CC);
            }
            self.context.encode(raw, out)
        }
    }

    /// Appends the last packets.
    ///
    /// # Errors
    /// As [`PictureEncoder::push`].
    pub(super) fn finish(&mut self, out: &mut Vec<ff::Packet>) -> Result<(), ff::Error> {
        // SAFETY: an open encoder; null ends the stream.
        unsafe { self.context.encode(ptr::null(), out) }
    }

    /// The frame in the size and the format of the encoder.
    fn fitting(&mut self, frame: &ff::frame::Video) -> Result<ff::frame::Video, ff::Error> {
        let (width, height) = (frame.width() as i32, frame.height() as i32);
        let own = ScalerSide { width, height, format: PixelFormat::of(frame) };
        let mut fitting = ff::frame::Video::empty();
        if (width, height) == self.size && own.format == self.format {
            // SAFETY: a valid frame, and a new one that refers to its buffers.
            let code = unsafe { ffi::av_frame_ref(fitting.as_mut_ptr(), frame.as_ptr()) };
            return if code < 0 { Err(ff::Error::from(code)) } else { Ok(fitting) };
        }
        let to = ScalerSide { width: self.size.0, height: self.size.1, format: self.format };
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.from == own => scaler,
            other => other.insert(PictureScaler::new(own, to)?),
        };
        scaler.scale(frame)
    }
}

/// Converts frames of one size and format, with FFmpeg's libswscale.
pub(super) struct PictureScaler {
    context: *mut ffi::SwsContext,
    from: ScalerSide,
    to: ScalerSide,
}

impl PictureScaler {
    /// # Errors
    /// If FFmpeg cannot convert one into the other.
    pub(super) fn new(from: ScalerSide, to: ScalerSide) -> Result<PictureScaler, ff::Error> {
        let context = scaler(from, to, ffi::SWS_BICUBIC | ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT);
        if context.is_null() { Err(ff::Error::InvalidData) } else { Ok(PictureScaler { context, from, to }) }
    }

    /// Whether it converts from such frames.
    pub(super) fn is_from(&self, side: ScalerSide) -> bool {
        self.from == side
    }

    /// # Errors
    /// If there is no memory for the result.
    pub(super) fn scale(&self, frame: &ff::frame::Video) -> Result<ff::frame::Video, ff::Error> {
        let mut scaled = ff::frame::Video::empty();
        self.to.format.set(&mut scaled);
        // SAFETY: a new frame gets a size and buffers. The context is made for exactly these sizes and formats.
        unsafe {
            let (from, to) = (frame.as_ptr(), scaled.as_mut_ptr());
            (*to).width = self.to.width;
            (*to).height = self.to.height;
            let code = ffi::av_frame_get_buffer(to, 0);
            if code < 0 {
                return Err(ff::Error::from(code));
            }
            let code = ffi::sws_scale(
                self.context,
                (*from).data.as_ptr().cast(),
                (*from).linesize.as_ptr(),
                0,
                self.from.height,
                (*to).data.as_ptr(),
                (*to).linesize.as_ptr(),
            );
            if code < 0 { Err(ff::Error::from(code)) } else { Ok(scaled) }
        }
    }
}

impl Drop for PictureScaler {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and dropped here alone.
        unsafe { ffi::sws_freeContext(self.context) };
    }
}

/// Whether side data of a stream of pictures is still true once the pictures are encoded anew: how they are turned, and
/// how bright they are.
pub(super) fn survives_encoding(side: &ff::codec::packet::SideData<'_>) -> bool {
    [
        SideData::AV_PKT_DATA_DISPLAYMATRIX,
        SideData::AV_PKT_DATA_STEREO3D,
        SideData::AV_PKT_DATA_SPHERICAL,
        SideData::AV_PKT_DATA_MASTERING_DISPLAY_METADATA,
        SideData::AV_PKT_DATA_CONTENT_LIGHT_LEVEL,
    ]
    .into_iter()
    .any(|kind| is_side_data(side, kind))
}
