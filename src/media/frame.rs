//! A decoded [`Frame`], which becomes an [`Rgb`] picture.
//!
//! A frame owns nothing but references to the decoder's buffers, or to a picture that another process holds. A picture is
//! made only where one is needed: upright, with square pixels, full range.

use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::media::bars::Bars;
#[cfg(doc)]
use crate::media::decode::DecodedFrames;
use crate::media::decode::FrameSize;
use crate::media::ffmpeg::PixelFormat;
use crate::media::orientation::Orientation;
use crate::media::resize::Window;
use crate::media::rgb::Rgb;
use crate::media::scale::{Rows, crop, scale};
use crate::time::Time;

/// A decoded frame: a reference to the decoder's own buffer, with its time.
pub struct Frame {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the frame among those returned and those that were skipped between them, from 0.
    pub index: u64,
    /// Presentation time by the source's own clock, if the source gives one.
    pub pts: Option<Time>,
    /// When its packet was read. Set for live sources only.
    pub arrived: Option<Instant>,
    /// Whether it was decoded without the loop filter, which smooths the edges of blocks; see [`DecodedFrames::Fast`].
    pub unfiltered: bool,
    pub(super) picture: FramePicture,
    pub(super) orientation: Orientation,
    /// Width : height of one pixel.
    pub(super) sample_aspect: (i32, i32),
}

/// A picture as the decoder gives it.
pub(crate) type DecodedPicture = ff::frame::Video;

/// Where a frame's picture is.
pub(super) enum FramePicture {
    /// In this process.
    Here(ff::frame::Video),
    /// In the process that decoded it.
    Away(Arc<dyn AwayPicture>, FrameFlags),
}

/// The picture of a frame that another process decoded.
pub(crate) trait AwayPicture: Send + Sync {
    /// The picture, which is fetched on first use.
    fn fetch(&self) -> Result<&ff::frame::Video>;
    /// The picture, if it was fetched.
    fn fetched(&self) -> Option<&ff::frame::Video>;
    /// [`Frame::identity`], as the other process computes it.
    fn identity(&self) -> u64;
    /// The samples of its thumb, plane by plane, and its sharpness.
    fn samples(&self) -> (&[u8], f32);
    /// The values of its strokes; none where they were not asked for.
    fn strokes(&self) -> Option<&[u8]>;
}

/// What the decoder says about a frame.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct FrameFlags {
    pub(crate) size: FrameSize,
    own_time: bool,
    damaged: bool,
    key: bool,
    unfiltered: bool,
}

/// A frame without its picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FrameHeader {
    pub(crate) time: Time,
    pub(crate) index: u64,
    pub(crate) pts: Option<Time>,
    orientation: Orientation,
    pub(crate) sample_aspect: (i32, i32),
    pub(crate) flags: FrameFlags,
}

// SAFETY: an AVFrame is plain data behind atomically refcounted buffers. Nothing in it is bound to a thread, and `Frame`
// only reads the picture data.
unsafe impl Send for Frame {}
// SAFETY: as above; all methods through `&Frame` only read.
unsafe impl Sync for Frame {}

/// Longest side in pixels of the pictures that [`Frame::to_rgb`] makes: several times what any image tower reads, and
/// small enough that a few of them are nothing beside a decoder's own frames.
pub const LONGEST_SIDE: u32 = 1280;

/// Longest side in pixels of the picture in which the exact edges of bars are found: all of a frame of 1920 × 1080.
const BARS_SIDE: u32 = 2048;

/// Interlaced frames with fewer rows are taken whole: one field would be a single line.
const LEAST_INTERLACED_ROWS: u32 = 4;

/// [`Frame::identity`] reads one row in so many.
const IDENTITY_ROWS: usize = 4;

impl Frame {
    /// A frame whose picture another process holds.
    pub(crate) fn away(header: &FrameHeader, arrived: Option<Instant>, picture: Arc<dyn AwayPicture>) -> Frame {
        Frame {
            time: header.time,
            index: header.index,
            pts: header.pts,
            arrived,
            unfiltered: header.flags.unfiltered,
            picture: FramePicture::Away(picture, header.flags),
            orientation: header.orientation,
            sample_aspect: header.sample_aspect,
        }
    }

    /// The frame without its picture.
    pub(crate) fn header(&self) -> FrameHeader {
        let flags = FrameFlags {
            size: self.size(),
            own_time: self.has_own_time(),
            damaged: self.is_damaged(),
            key: self.is_key(),
            unfiltered: self.unfiltered,
        };
        let (orientation, sample_aspect) = (self.orientation, self.sample_aspect);
        FrameHeader { time: self.time, index: self.index, pts: self.pts, orientation, sample_aspect, flags }
    }

    /// The decoder's picture. Blocks where another process holds it.
    ///
    /// # Errors
    /// If that process has failed.
    pub(crate) fn av(&self) -> Result<&ff::frame::Video> {
        match &self.picture {
            FramePicture::Here(av) => Ok(av),
            FramePicture::Away(picture, _) => picture.fetch(),
        }
    }

    /// The samples of the thumb and the sharpness, where another process has computed them.
    pub(crate) fn samples(&self) -> Option<(&[u8], f32)> {
        match &self.picture {
            FramePicture::Here(_) => None,
            FramePicture::Away(picture, _) => Some(picture.samples()),
        }
    }

    /// Where a place of the picture as it is shown is in the picture as it is stored, both in shares of width and height; none
    /// if that is the same place.
    pub(crate) fn stored_place(&self) -> Option<impl Fn(f32, f32) -> (f32, f32)> {
        let orientation = self.orientation;
        (orientation != Orientation::UPRIGHT).then_some(move |x, y| orientation.stored(x, y))
    }

    /// The values of its strokes, where another process has computed them.
    pub(crate) fn stroke_values(&self) -> Option<&[u8]> {
        match &self.picture {
            FramePicture::Here(_) => None,
            FramePicture::Away(picture, _) => picture.strokes(),
        }
    }

    /// The picture as it is shown: upright, square pixels, one field of an interlaced frame, full range, at most
    /// [`LONGEST_SIDE`] pixels on its longer side.
    ///
    /// # Errors
    /// If FFmpeg cannot convert the pixel format.
    pub fn to_rgb(&self) -> Result<Rgb> {
        self.to_rgb_within(LONGEST_SIDE)
    }

    /// As [`Frame::to_rgb`], at most `longest` pixels on its longer side.
    ///
    /// # Errors
    /// If FFmpeg cannot convert the pixel format.
    pub fn to_rgb_within(&self, longest: u32) -> Result<Rgb> {
        self.convert(self.av()?, longest)
    }

    /// The part of the picture that a model sees, at most `longest` pixels on its longer side; `None` if that is `whole`,
    /// which [`Frame::to_rgb_within`] returned for `longest`.
    ///
    /// The frame is cropped before it is scaled. So the result is that of the same frame without bars.
    ///
    /// # Errors
    /// If FFmpeg cannot convert the pixel format.
    pub fn to_rgb_inside(&self, bars: Bars, whole: &Rgb, longest: u32) -> Result<Option<Rgb>> {
        // Most frames have no bars, and a look at the smaller picture is enough to know.
        if bars.window(whole).is_none() {
            return Ok(None);
        }
        let av = self.av()?;
        let (rows, stride) = rows(av);
        let (all_columns, all_rows) = (av.width(), av.height() / stride * stride);
        let shrink = all_columns.max(all_rows).div_ceil(BARS_SIDE);
        let (width, height) = ((all_columns / shrink).max(1), (all_rows / stride / shrink).max(1));
        let data = scale(av, rows, PixelFormat::RGB24, width, height).ok_or_else(|| unsupported(av))?;
        let Some(found) = bars.window(&Rgb { width, height, data }) else { return Ok(None) };
        // Back to the frame's own columns and rows.
        let (x, y) = (shrink as usize, (shrink * stride) as usize);
        let (right, bottom) = (width as usize - found.left - found.width, height as usize - found.top - found.height);
        let window = Window {
            left: found.left * x,
            top: found.top * y,
            width: all_columns as usize - (found.left + right) * x,
            height: all_rows as usize - (found.top + bottom) * y,
        };
        let part = crop(av, window).ok_or_else(|| unsupported(av))?;
        self.convert(&part, longest).map(Some)
    }

    /// Converts this frame, or a part of it.
    fn convert(&self, av: &ff::frame::Video, longest: u32) -> Result<Rgb> {
        let (w, h) = (av.width(), av.height());
        let (num, den) = self.sample_aspect;
        let (shown_w, shown_h) = (f64::from(w) * f64::from(num) / f64::from(den), f64::from(h));
        let shrink = (f64::from(longest.max(1)) / shown_w.max(shown_h)).min(1.0);
        let side = |length: f64| (length * shrink).round().max(1.0) as u32;
        let (width, height) = (side(shown_w), side(shown_h));
        let data = scale(av, rows(av).0, PixelFormat::RGB24, width, height);
        let data = data.ok_or_else(|| unsupported(av))?;
        Ok(self.orientation.apply(Rgb { width, height, data }))
    }

    /// Its size in memory.
    pub fn size(&self) -> FrameSize {
        match &self.picture {
            FramePicture::Here(av) => {
                let bits_per_pixel = PixelFormat::of(av).bits_per_pixel();
                FrameSize { width: av.width(), height: av.height(), bits_per_pixel }
            }
            FramePicture::Away(_, flags) => flags.size,
        }
    }

    /// A hash of its samples, of its own timestamp and of its position in the file. Two frames with the same hash were
    /// decoded from the same packet to the same picture, except for the three rows in four that are not read.
    pub fn identity(&self) -> u64 {
        match &self.picture {
            FramePicture::Here(av) => self.hash(av),
            FramePicture::Away(picture, _) => picture.fetched().map_or_else(|| picture.identity(), |av| self.hash(av)),
        }
    }

    fn hash(&self, av: &ff::frame::Video) -> u64 {
        let mut hash = RowHash::new();
        // SAFETY: plain reads of a valid frame's fields. Each row that is read is within its plane: FFmpeg guarantees a
        // plane's height times its line size, which may be negative, and the widths and heights are FFmpeg's own.
        unsafe {
            let format = PixelFormat::of(av);
            let av = av.as_ptr();
            hash.word((*av).pkt_pos as u64);
            hash.word(self.pts.map_or(u64::MAX, |t| t.micros() as u64));
            let Some(d) = format.descriptor() else { return hash.finish() };
            let palette = d.flags & ffi::AV_PIX_FMT_FLAG_PAL as u64 != 0;
            for plane in 0..4 {
                let base = (*av).data[plane];
                let bytes = format.line_size((*av).width, plane as i32);
                let height = (*av).height;
                let lines = if plane == 1 || plane == 2 { -((-height) >> d.log2_chroma_h) } else { height };
                let stride = (*av).linesize[plane];
                let exists = !base.is_null() && bytes > 0 && bytes <= stride.abs();
                if !exists || palette && plane > 0 {
                    continue;
                }
                for y in (0..lines).step_by(IDENTITY_ROWS) {
                    let start = base.offset(stride as isize * y as isize);
                    hash.row(std::slice::from_raw_parts(start, bytes as usize));
                }
            }
        }
        hash.finish()
    }

    /// Whether its time is its packet's own timestamp, or the packet had none.
    ///
    /// FFmpeg uses the decoding order instead once a stream's timestamps have been wrong too often, which depends on where
    /// reading began.
    pub fn has_own_time(&self) -> bool {
        match &self.picture {
            FramePicture::Here(av) => {
                // SAFETY: plain reads of a valid frame's fields.
                let (own, used) = unsafe { ((*av.as_ptr()).pts, (*av.as_ptr()).best_effort_timestamp) };
                own == ffi::AV_NOPTS_VALUE || own == used
            }
            FramePicture::Away(_, flags) => flags.own_time,
        }
    }

    /// Whether the decoder concealed errors in it. With frame threads this may become known only later.
    pub fn is_damaged(&self) -> bool {
        match &self.picture {
            FramePicture::Here(av) => av.is_corrupt() || av.has_decode_errors(),
            FramePicture::Away(_, flags) => flags.damaged,
        }
    }

    /// Whether it was coded without reference to other frames.
    pub fn is_key(&self) -> bool {
        match &self.picture {
            FramePicture::Here(av) => av.is_key(),
            FramePicture::Away(_, flags) => flags.key,
        }
    }
}

/// Which rows of a picture are read, and one in how many that is.
fn rows(av: &ff::frame::Video) -> (Rows, u32) {
    // SAFETY: a plain read of a valid frame's field.
    let interlaced = unsafe { (*av.as_ptr()).interlaced_frame != 0 };
    if interlaced && av.height() >= LEAST_INTERLACED_ROWS { (Rows::OneField, 2) } else { (Rows::All, 1) }
}

fn unsupported(av: &ff::frame::Video) -> Error {
    Error::input(
        format!("frame of {}×{} {}", av.width(), av.height(), PixelFormat::of(av).name()),
        "the picture cannot be converted",
        "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4",
    )
}

/// A hash of rows in four lanes side by side, so that it costs next to nothing beside decoding. Its constants are odd
/// numbers with well-mixed bits; others would do as well.
struct RowHash([u64; 4]);

impl RowHash {
    const PRIME: u64 = 0x9FB2_1C65_1E98_DF25;

    fn new() -> RowHash {
        RowHash([0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x2745_9B1D_4CF5_AD43])
    }

    fn mix(lane: &mut u64, word: u64) {
        *lane = (*lane ^ word).wrapping_mul(Self::PRIME).rotate_left(29);
    }

    fn word(&mut self, word: u64) {
        Self::mix(&mut self.0[0], word);
    }

    fn row(&mut self, row: &[u8]) {
        self.word(row.len() as u64);
        let mut blocks = row.chunks_exact(32);
        for block in &mut blocks {
            for (lane, bytes) in self.0.iter_mut().zip(block.chunks_exact(8)) {
                Self::mix(lane, u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
            }
        }
        for byte in blocks.remainder() {
            self.word(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0.iter().fold(0, |sum, lane| (sum ^ lane ^ (lane >> 32)).wrapping_mul(Self::PRIME).rotate_left(31))
    }
}
