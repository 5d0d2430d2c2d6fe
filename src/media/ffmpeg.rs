//! What FFmpeg stores as C enumerations, read as integers.
//!
//! A C enumeration can hold any integer. Some of FFmpeg's come straight from the stream, and a newer FFmpeg knows values
//! that the bindings do not. In Rust such a value in an `enum` is undefined behaviour, as soon as it is read. So nothing
//! else in descry reads an enumeration of a frame, a stream, a codec context or side data, and the functions that take or
//! return one are declared here once more, with the integers of their C interface.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

pub(crate) mod sound;

/// FFmpeg's own functions, as C sees them: an enumeration is an `int`.
mod c {
    use super::*;

    unsafe extern "C" {
        pub(super) fn av_pix_fmt_desc_get(format: c_int) -> *const ffi::AVPixFmtDescriptor;
        pub(super) fn av_get_pix_fmt_name(format: c_int) -> *const c_char;
        pub(super) fn av_get_pix_fmt(name: *const c_char) -> c_int;
        pub(super) fn av_image_get_linesize(format: c_int, width: c_int, plane: c_int) -> c_int;
        pub(super) fn avcodec_find_best_pix_fmt_of_list(
            list: *const c_int,
            from: c_int,
            has_alpha: c_int,
            loss: *mut c_int,
        ) -> c_int;
        pub(super) fn avcodec_get_name(id: c_uint) -> *const c_char;
        pub(super) fn avcodec_find_decoder(id: c_uint) -> *const ffi::AVCodec;
        pub(super) fn avcodec_descriptor_get(id: c_uint) -> *const ffi::AVCodecDescriptor;
        pub(super) fn av_hwdevice_find_type_by_name(name: *const c_char) -> c_uint;
        pub(super) fn av_hwdevice_ctx_create(
            device: *mut *mut ffi::AVBufferRef,
            kind: c_uint,
            name: *const c_char,
            options: *mut ffi::AVDictionary,
            flags: c_int,
        ) -> c_int;
        pub(super) fn sws_getContext(
            width: c_int,
            height: c_int,
            format: c_int,
            to_width: c_int,
            to_height: c_int,
            to_format: c_int,
            flags: c_int,
            source_filter: *mut c_void,
            target_filter: *mut c_void,
            parameters: *const f64,
        ) -> *mut ffi::SwsContext;
    }
}

/// A profile or a level that is not known.
const UNKNOWN_PROFILE: c_int = -99;
/// Bits a pixel of an unknown format: those of 8-bit RGB.
const DEFAULT_BITS_PER_PIXEL: u32 = 24;

/// A pixel format: one that FFmpeg knows, or any other integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelFormat(c_int);

impl PixelFormat {
    /// Packed 8-bit RGB.
    pub(crate) const RGB24: PixelFormat = PixelFormat(ffi::AVPixelFormat::AV_PIX_FMT_RGB24 as c_int);
    /// Planar 8-bit YUV with a quarter of the colours, limited range.
    pub(crate) const YUV420P: PixelFormat = PixelFormat(ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as c_int);
    /// Planar 8-bit YUV without subsampling, full range.
    pub(crate) const YUVJ444P: PixelFormat = PixelFormat(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ444P as c_int);

    /// The format of a frame.
    pub(crate) fn of(frame: &ff::frame::Video) -> PixelFormat {
        // SAFETY: a valid frame.
        unsafe { PixelFormat::of_raw(frame.as_ptr()) }
    }

    /// The format of a frame of FFmpeg's own.
    ///
    /// # Safety
    /// `frame` must be valid.
    pub(super) unsafe fn of_raw(frame: *const ffi::AVFrame) -> PixelFormat {
        // SAFETY: a plain read of an integer of a frame that the caller vouches for.
        PixelFormat(unsafe { (*frame).format })
    }

    /// The format of a stream, as its header gives it.
    pub(super) fn of_stream(stream: &ff::format::stream::Stream<'_>) -> PixelFormat {
        // SAFETY: a plain read of an integer of a valid stream's parameters.
        PixelFormat(unsafe { (*parameters(stream)).format })
    }

    /// The format of this name, if FFmpeg knows it.
    pub(crate) fn named(name: &CStr) -> PixelFormat {
        // SAFETY: a look-up in FFmpeg's static table, which takes any C string.
        PixelFormat(unsafe { c::av_get_pix_fmt(name.as_ptr()) })
    }

    /// Makes it the format of a frame that has no buffers yet.
    pub(crate) fn set(self, frame: &mut ff::frame::Video) {
        // SAFETY: a plain write of an integer to a valid frame.
        unsafe { (*frame.as_mut_ptr()).format = self.0 }
    }

    /// Whether it is this one.
    pub(crate) fn is(self, format: ffi::AVPixelFormat) -> bool {
        self.0 == format as c_int
    }

    /// Whether its samples are red, green and blue.
    pub(crate) fn is_rgb(self) -> bool {
        self.descriptor().is_some_and(|d| d.flags & ffi::AV_PIX_FMT_FLAG_RGB as u64 != 0)
    }

    /// FFmpeg's name, `unknown` for what it does not know.
    pub(crate) fn name(self) -> String {
        // SAFETY: a look-up in FFmpeg's static table, which takes any integer.
        unsafe { text(c::av_get_pix_fmt_name(self.0)) }
    }

    /// Where its samples are; `None` for what FFmpeg does not know.
    pub(crate) fn descriptor(self) -> Option<&'static ffi::AVPixFmtDescriptor> {
        // SAFETY: a look-up in FFmpeg's static table, which takes any integer. It returns null or an entry, which never
        // changes and has no enumeration in it.
        unsafe { c::av_pix_fmt_desc_get(self.0).as_ref() }
    }

    /// Bits that a pixel takes in memory; those of 8-bit RGB for what FFmpeg does not know.
    pub(super) fn bits_per_pixel(self) -> u32 {
        // SAFETY: a computation from an entry of FFmpeg's static table.
        let bits = self.descriptor().map(|d| unsafe { ffi::av_get_padded_bits_per_pixel(d) });
        bits.and_then(|bits| u32::try_from(bits).ok()).unwrap_or(DEFAULT_BITS_PER_PIXEL)
    }

    /// Bytes of a row of a plane; not positive if there is no such plane.
    pub(crate) fn line_size(self, width: c_int, plane: c_int) -> c_int {
        // SAFETY: a computation from FFmpeg's static table, which checks all three.
        unsafe { c::av_image_get_linesize(self.0, width, plane) }
    }
}

/// A frame's matrix between YUV and RGB: an `AVColorSpace`, or any other integer.
pub(crate) fn color_space(frame: &ff::frame::Video) -> c_uint {
    // SAFETY: a read of a valid frame's field, as the integer that it is in C.
    unsafe { ptr::addr_of!((*frame.as_ptr()).colorspace).cast::<c_uint>().read() }
}

/// Whether a frame's samples use all values: an `AVColorRange`, or any other integer.
pub(crate) fn color_range(frame: &ff::frame::Video) -> c_uint {
    // SAFETY: a read of a valid frame's field, as the integer that it is in C.
    unsafe { ptr::addr_of!((*frame.as_ptr()).color_range).cast::<c_uint>().read() }
}

/// Sets the matrix and the range of a frame: an `AVColorSpace` and an `AVColorRange`, or any other integers.
pub(crate) fn set_colors(frame: &mut ff::frame::Video, space: c_uint, range: c_uint) {
    // SAFETY: writes to a valid frame's fields, as the integers that they are in C.
    unsafe {
        ptr::addr_of_mut!((*frame.as_mut_ptr()).colorspace).cast::<c_uint>().write(space);
        ptr::addr_of_mut!((*frame.as_mut_ptr()).color_range).cast::<c_uint>().write(range);
    }
}

/// A stream's parameters; valid as long as the stream. Their enumerations are read here only.
pub(super) fn parameters(stream: &ff::format::stream::Stream<'_>) -> *const ffi::AVCodecParameters {
    // SAFETY: a plain read of a pointer of a valid stream.
    unsafe { (*stream.as_ptr()).codecpar.cast_const() }
}

/// A copy of what the header says about the pictures of a stream, for an encoder of such pictures.
pub(super) struct SourceParameters(*mut ffi::AVCodecParameters);

impl SourceParameters {
    pub(super) fn of(stream: &ff::format::stream::Stream<'_>) -> SourceParameters {
        // SAFETY: new parameters, which `drop` frees, get copies of a valid stream's. What belongs to its codec goes.
        unsafe {
            let copy = ffi::avcodec_parameters_alloc();
            if !copy.is_null() && ffi::avcodec_parameters_copy(copy, parameters(stream)) >= 0 {
                ffi::av_freep((&raw mut (*copy).extradata).cast());
                (*copy).extradata_size = 0;
                (*copy).codec_tag = 0;
                (*copy).bit_rate = 0;
                (*copy).profile = UNKNOWN_PROFILE;
                (*copy).level = UNKNOWN_PROFILE;
                let shape = (*stream.as_ptr()).sample_aspect_ratio;
                if shape.num > 0 && shape.den > 0 {
                    (*copy).sample_aspect_ratio = shape;
                }
            }
            SourceParameters(copy)
        }
    }

    /// Whether each picture has two fields, of two times.
    pub(super) fn is_interlaced(&self) -> bool {
        use ffi::AVFieldOrder::{AV_FIELD_BB, AV_FIELD_BT, AV_FIELD_TB, AV_FIELD_TT};
        // SAFETY: null or valid; a read of a field as the integer that it is in C.
        let order = unsafe { self.0.as_ref().map(|copy| ptr::addr_of!(copy.field_order).cast::<c_uint>().read()) };
        [AV_FIELD_TT, AV_FIELD_BB, AV_FIELD_TB, AV_FIELD_BT].iter().any(|known| order == Some(*known as c_uint))
    }

    /// Gives them to an encoder that is not open yet.
    ///
    /// # Safety
    /// Both must be valid.
    pub(super) unsafe fn fill(
        &self,
        context: *mut ffi::AVCodecContext,
        encoder: *const ffi::AVCodec,
    ) -> Result<(), ff::Error> {
        if self.0.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        // SAFETY: by the caller's word. The codec is one that the bindings know.
        let code = unsafe {
            (*self.0).codec_id = (*encoder).id;
            ffi::avcodec_parameters_to_context(context, self.0)
        };
        if code < 0 { Err(ff::Error::from(code)) } else { Ok(()) }
    }
}

impl Drop for SourceParameters {
    fn drop(&mut self) {
        // SAFETY: null or made in `of`, and dropped here alone.
        unsafe { ffi::avcodec_parameters_free(&raw mut self.0) };
    }
}

/// The format in which an encoder takes pictures: their own, or the nearest that it knows.
///
/// # Safety
/// `encoder` must be one of FFmpeg's encoders.
pub(super) unsafe fn encoder_format(encoder: *const ffi::AVCodec, own: PixelFormat) -> PixelFormat {
    // SAFETY: the list is static data, and ends with -1; it is read as the integers that it has in C.
    unsafe {
        let list = (*encoder).pix_fmts.cast::<c_int>();
        if list.is_null() {
            return own;
        }
        let known = (0..).map(|n| *list.add(n)).take_while(|format| *format >= 0).any(|format| format == own.0);
        if known {
            return own;
        }
        PixelFormat(c::avcodec_find_best_pix_fmt_of_list(list, own.0, 0, ptr::null_mut()))
    }
}

/// Sets the format of an encoder that is not open yet.
///
/// # Safety
/// `context` must be valid.
pub(super) unsafe fn set_encoder_format(context: *mut ffi::AVCodecContext, format: PixelFormat) {
    // SAFETY: a write to a valid context's field, as the integer that it is in C.
    unsafe { ptr::addr_of_mut!((*context).pix_fmt).cast::<c_int>().write(format.0) };
}

/// Sets the colours of an encoder that gets pictures which swscale has made of red, green and blue.
///
/// # Safety
/// `context` must be valid.
pub(super) unsafe fn set_encoder_matrix(context: *mut ffi::AVCodecContext) {
    // SAFETY: writes of values that the enumerations have.
    unsafe {
        (*context).colorspace = ffi::AVColorSpace::AVCOL_SPC_SMPTE170M;
        (*context).color_range = ffi::AVColorRange::AVCOL_RANGE_MPEG;
    }
}

/// What a stream holds: an `AVMediaType`, or any other integer.
fn medium(stream: &ff::format::stream::Stream<'_>) -> c_int {
    // SAFETY: a read of a valid stream's parameters, as the integer that it is in C.
    unsafe { ptr::addr_of!((*parameters(stream)).codec_type).cast::<c_int>().read() }
}

/// Whether a stream holds video.
pub(super) fn is_video(stream: &ff::format::stream::Stream<'_>) -> bool {
    medium(stream) == ffi::AVMediaType::AVMEDIA_TYPE_VIDEO as c_int
}

/// Whether the codec of a stream holds text, and not pictures of it.
pub(super) fn is_text(stream: &ff::format::stream::Stream<'_>) -> bool {
    // SAFETY: a look-up in FFmpeg's static tables, which takes any integer. It returns null or an entry, of which an integer
    // is read.
    unsafe {
        let descriptor = c::avcodec_descriptor_get(codec_id(stream));
        !descriptor.is_null() && (*descriptor).props & ffi::AV_CODEC_PROP_TEXT_SUB as c_int != 0
    }
}

/// What a stream holds, in a word.
pub(super) fn medium_name(stream: &ff::format::stream::Stream<'_>) -> &'static str {
    use ffi::AVMediaType::*;
    const KINDS: [(ffi::AVMediaType, &str); 5] = [
        (AVMEDIA_TYPE_VIDEO, "video"),
        (AVMEDIA_TYPE_AUDIO, "Audio"),
        (AVMEDIA_TYPE_DATA, "Data"),
        (AVMEDIA_TYPE_SUBTITLE, "Subtitle"),
        (AVMEDIA_TYPE_ATTACHMENT, "Attachment"),
    ];
    let medium = medium(stream);
    KINDS.iter().find(|(kind, _)| *kind as c_int == medium).map_or("Unknown", |(_, name)| name)
}

/// A stream's codec: an `AVCodecID`, or any other integer.
fn codec_id(stream: &ff::format::stream::Stream<'_>) -> c_uint {
    // SAFETY: a read of a valid stream's parameters, as the integer that it is in C.
    unsafe { ptr::addr_of!((*parameters(stream)).codec_id).cast::<c_uint>().read() }
}

/// FFmpeg's name of a stream's codec.
pub(super) fn codec_name(stream: &ff::format::stream::Stream<'_>) -> String {
    // SAFETY: a look-up in FFmpeg's static tables, which takes any integer.
    unsafe { text(c::avcodec_get_name(codec_id(stream))) }
}

/// A decoder for a stream; null if this FFmpeg has none. What is found is static data of FFmpeg.
pub(super) fn decoder(stream: &ff::format::stream::Stream<'_>) -> *const ffi::AVCodec {
    // SAFETY: a look-up in FFmpeg's static tables, which takes any integer.
    unsafe { c::avcodec_find_decoder(codec_id(stream)) }
}

/// A decoder for what parameters describe; null if this FFmpeg has none. What is found is static data of FFmpeg.
///
/// # Safety
/// `parameters` must be valid.
pub(super) unsafe fn decoder_of(parameters: *const ffi::AVCodecParameters) -> *const ffi::AVCodec {
    // SAFETY: a read of an integer, and a look-up in FFmpeg's static tables, which takes any.
    unsafe { c::avcodec_find_decoder(ptr::addr_of!((*parameters).codec_id).cast::<c_uint>().read()) }
}

/// Lets an encoder choose of which kind the picture of a frame becomes.
pub(super) fn forget_kind(frame: &mut ff::frame::Video) {
    // SAFETY: a write of a value that the enumeration has.
    unsafe { (*frame.as_mut_ptr()).pict_type = ffi::AVPictureType::AV_PICTURE_TYPE_NONE };
}

/// Whether side data is of a kind.
pub(super) fn is_side_data(side: &ff::codec::packet::SideData<'_>, kind: ffi::AVPacketSideDataType) -> bool {
    // SAFETY: a read of a field of valid side data, as the integer that it is in C.
    unsafe { ptr::addr_of!((*side.as_ptr()).type_).cast::<c_uint>().read() == kind as c_uint }
}

/// Whether a stream is encrypted, by its tag or its side data.
pub(super) fn is_encrypted(stream: &ff::format::stream::Stream<'_>) -> bool {
    // SAFETY: a plain read of an integer of a valid stream's parameters.
    let tag = unsafe { (*parameters(stream)).codec_tag };
    let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INIT_INFO;
    [b"encv", b"enca", b"enct", b"encs"].iter().any(|name| tag == u32::from_le_bytes(**name))
        || stream.side_data().any(|side| is_side_data(&side, kind))
}

/// A kind of hardware devices.
pub(super) struct DeviceKind(c_uint);

impl DeviceKind {
    /// The kind of this name, if FFmpeg knows it.
    pub(super) fn named(name: &CStr) -> Option<DeviceKind> {
        // SAFETY: a look-up in FFmpeg's static table, which takes any C string.
        let kind = unsafe { c::av_hwdevice_find_type_by_name(name.as_ptr()) };
        (kind != ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_NONE as c_uint).then_some(DeviceKind(kind))
    }

    /// Opens the system's default device of this kind. The caller frees the reference.
    pub(super) fn open(&self) -> Result<*mut ffi::AVBufferRef, ff::Error> {
        let mut device = ptr::null_mut();
        // SAFETY: `device` is a place for the pointer; there is no name and there are no options.
        let code = unsafe { c::av_hwdevice_ctx_create(&raw mut device, self.0, ptr::null(), ptr::null_mut(), 0) };
        if code < 0 { Err(ff::Error::from(code)) } else { Ok(device) }
    }
}

/// The picture on one side of a scaler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScalerSide {
    pub(super) width: c_int,
    pub(super) height: c_int,
    pub(super) format: PixelFormat,
}

/// A scaler's context; null if swscale refuses a format or a size. The caller frees it.
pub(super) fn scaler(from: ScalerSide, to: ScalerSide, flags: c_int) -> *mut ffi::SwsContext {
    let none = ptr::null_mut();
    // Swscale ends the process for a format that FFmpeg does not know.
    if from.format.descriptor().is_none() || to.format.descriptor().is_none() {
        return ptr::null_mut();
    }
    // SAFETY: swscale refuses formats that it cannot convert, and wrong sizes; filters and parameters are optional.
    unsafe {
        c::sws_getContext(
            from.width,
            from.height,
            from.format.0,
            to.width,
            to.height,
            to.format.0,
            flags,
            none,
            none,
            ptr::null(),
        )
    }
}

/// A name out of FFmpeg's tables.
///
/// # Safety
/// `name` must be null or a static C string.
unsafe fn text(name: *const c_char) -> String {
    if name.is_null() {
        return "unknown".into();
    }
    // SAFETY: not null, so it is a C string, by the caller's word.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::FramePicture;
    use crate::media::orientation::Orientation;
    use crate::media::{Frame, Rgb};
    use crate::time::Time;

    /// A grey frame whose fields a stream or a newer FFmpeg filled with these integers.
    fn frame(format: c_int, space: c_uint, range: c_uint) -> Frame {
        let mut av = ff::frame::Video::new(ff::format::Pixel::YUV420P, 64, 36);
        (0..3).for_each(|plane| av.data_mut(plane).fill(90 + 30 * plane as u8));
        PixelFormat(format).set(&mut av);
        set_colors(&mut av, space, range);
        let orientation = Orientation::UPRIGHT;
        let picture = FramePicture::Here(av);
        let (time, sample_aspect) = (Time::ZERO, (1, 1));
        Frame { time, index: 0, pts: None, arrived: None, unfiltered: false, picture, orientation, sample_aspect }
    }

    #[test]
    fn integers_that_no_enumeration_has_are_unknown() {
        for format in [-2, 5_000, c_int::MAX, c_int::MIN] {
            let odd = frame(format, 2, 0);
            assert_eq!(PixelFormat::of(odd.av().unwrap()).name(), "unknown");
            let refused = [odd.thumb().unwrap_err(), odd.to_rgb().unwrap_err()].map(|e| e.to_string());
            assert!(refused[0].contains("this pixel format cannot be read"), "{refused:?}");
            assert!(refused[1].contains("the picture cannot be converted"), "{refused:?}");
            odd.identity();
        }
        let plain = frame(0, 2, 0);
        let same = |frame: &Frame| -> (Rgb, Vec<u8>) { (frame.to_rgb().unwrap(), frame.thumb().unwrap().y) };
        for (space, range) in [(99, 0), (2, 77), (c_uint::MAX, c_uint::MAX)] {
            assert!(same(&frame(0, space, range)) == same(&plain), "{space} {range}");
        }
        assert!(same(&frame(0, 1, 0)) != same(&plain), "the matrix counts");
    }
}
