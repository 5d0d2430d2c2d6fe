//! Still pictures from files: JPEG, PNG, WebP, BMP, GIF (its first picture) and TIFF.
//!
//! Pixels are those of Pillow's `Image.open(path).convert("RGB")`: no EXIF rotation, alpha dropped, grey and palettes
//! expanded to RGB. libjpeg's own code decodes JPEG: other decoders differ by several levels where they upsample chroma,
//! which is enough to change captions. JPEG files of more than [`WHOLE`] pixels are decoded at a half, a quarter or an
//! eighth of their size, as libjpeg scales.
//!
//! Memory is bounded: pictures beyond [`PictureOptions::max_pixels`] are refused before they are decoded, and
//! [`StillPicture::bytes`] says beforehand what decoding takes. Samples become RGB in the buffer that they were decoded into.

use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::{Error, Result};
use crate::media::rgb::Rgb;
use crate::message;
use crate::message::{Message, Setting};
use crate::regular_file;

/// File name extensions of pictures, in lower case: those that a search of a folder finds.
pub const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Bytes a pixel of the widest format: 16-bit RGBA.
const WIDEST_PIXEL: u64 = 8;
/// Most bytes a pixel of a JPEG file. Even random noise at quality 100 takes less.
const LARGEST_JPEG_PIXEL: u64 = 4;
/// Bytes beyond the pixels: a decoder's own buffers, or a file's metadata.
const HEADROOM: u64 = 64 << 20;
/// Most pixels of a JPEG file that is decoded at its full size.
pub(crate) const WHOLE: u64 = 8192 * 8192;

const UNDECODABLE: &str = "Give an intact JPEG, PNG, WebP, BMP, GIF or TIFF file.";

/// Which pictures are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureOptions {
    /// Pictures with more pixels are refused. Default: 67,108,864 (8192 × 8192).
    pub max_pixels: u64,
}

impl Default for PictureOptions {
    fn default() -> PictureOptions {
        PictureOptions { max_pixels: WHOLE }
    }
}

/// Whether a file's name has the extension of a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads a picture.
///
/// # Errors
/// If the file cannot be read, is not a picture, is truncated, or has too many pixels.
pub fn open(path: &Path, options: &PictureOptions) -> Result<Rgb> {
    StillPicture::open(path, options)?.decode()
}

/// A picture whose header was read.
pub struct StillPicture {
    path: PathBuf,
    width: u32,
    height: u32,
    body: Body,
    bytes: u64,
}

enum Body {
    /// The whole file, of which so many eighths are decoded.
    Jpeg(Vec<u8>, u8),
    Other(Box<dyn ImageDecoder>),
}

impl StillPicture {
    /// Reads the header of a picture; of JPEG the whole file.
    ///
    /// # Errors
    /// If the file cannot be read, is not a picture, or has too many pixels.
    pub fn open(path: &Path, options: &PictureOptions) -> Result<StillPicture> {
        let file = regular_file::open(path).map_err(|e| unreadable(path, &e))?;
        let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
        if metadata.is_dir() {
            return Err(fail(path, "this is a folder, not a picture", "Name a picture."));
        }
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
        let mut reader = reader.map_err(|e| unreadable(path, &e))?;
        let Some(format) = reader.format() else {
            return Err(fail(path, "this is no picture in a format that descry reads", UNDECODABLE));
        };
        // The decoder of JPEG reads the whole file before it knows its size.
        let longest = options.max_pixels.saturating_mul(LARGEST_JPEG_PIXEL).saturating_add(HEADROOM);
        if format == ImageFormat::Jpeg && metadata.len() > longest {
            let cause = format!("the file has {} bytes, more than any picture within the limit", metadata.len());
            return Err(fail(path, cause, too_large()));
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(options.max_pixels.saturating_mul(WIDEST_PIXEL).saturating_add(HEADROOM));
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(|e| undecodable(path, e))?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(fail(path, "the picture is empty", UNDECODABLE));
        }
        if pixels > options.max_pixels {
            let limit = options.max_pixels;
            let cause = format!("the picture has {width}×{height} pixels, which is more than the limit of {limit}");
            return Err(fail(path, cause, too_large()));
        }
        let is_plain = matches!(decoder.original_color_type(), ExtendedColorType::Rgb8 | ExtendedColorType::L8);
        let (body, bytes) = if format == ImageFormat::Jpeg && is_plain {
            drop(decoder);
            let mut file_bytes = Vec::new();
            let read = regular_file::open(path).and_then(|f| f.take(longest).read_to_end(&mut file_bytes));
            read.map_err(|e| unreadable(path, &e))?;
            let eighths = eighths(pixels);
            let decoded = pixels * 3 * u64::from(eighths).pow(2) / 64;
            // The coefficients of a progressive file are kept until its last scan: two bytes for each sample.
            let kept = if file_bytes.windows(2).any(|pair| pair == [0xFF, 0xC2]) { pixels * 6 } else { 0 };
            let bytes = decoded + kept + file_bytes.len() as u64;
            (Body::Jpeg(file_bytes, eighths), bytes)
        } else {
            let bytes = decoder.total_bytes().max(pixels * 3) + own_bytes(format, decoder.total_bytes(), pixels);
            (Body::Other(Box::new(decoder)), bytes)
        };
        Ok(StillPicture { path: path.to_path_buf(), width, height, body, bytes })
    }

    /// Bytes that decoding takes at most, without what all pictures take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The picture.
    ///
    /// # Errors
    /// If the file is truncated or broken.
    pub fn decode(self) -> Result<Rgb> {
        let StillPicture { path, width, height, body, .. } = self;
        match body {
            Body::Jpeg(bytes, eighths) => {
                let side = |length: u32| (length * u32::from(eighths)).div_ceil(8);
                let (width, height) = (side(width), side(height));
                let data = jpeg(&bytes, width, height, eighths).map_err(|cause| fail(&path, cause, UNDECODABLE))?;
                Ok(Rgb { width, height, data })
            }
            Body::Other(decoder) => {
                let data = decode_rgb(decoder, width, height).map_err(|e| undecodable(&path, e))?;
                Ok(Rgb { width, height, data })
            }
        }
    }
}

/// How many eighths of a JPEG file's size are decoded.
fn eighths(pixels: u64) -> u8 {
    [8u8, 4, 2].into_iter().find(|n| pixels * u64::from(*n).pow(2) / 64 <= WHOLE).unwrap_or(1)
}

/// Bytes that a decoder takes besides the buffer of its samples.
fn own_bytes(format: ImageFormat, samples: u64, pixels: u64) -> u64 {
    match format {
        // The canvas, and a frame on it; planes of YUV.
        ImageFormat::WebP => pixels * 8,
        ImageFormat::Gif => pixels * 5,
        // A strip may be the whole picture.
        ImageFormat::Tiff => samples,
        _ => 0,
    }
}

fn too_large() -> Message {
    message!["Make it smaller first, or raise ", Setting::MaxPixels, " if you trust the file."]
}

/// Decodes samples and makes them RGB where they are.
fn decode_rgb(decoder: Box<dyn ImageDecoder>, width: u32, height: u32) -> Result<Vec<u8>, ImageError> {
    let pixels = width as usize * height as usize;
    let color = decoder.color_type();
    let (step, is_wide, is_grey) = match color {
        ColorType::L8 => (1, false, true),
        ColorType::La8 => (2, false, true),
        ColorType::Rgb8 => (3, false, false),
        ColorType::Rgba8 => (4, false, false),
        ColorType::L16 => (2, true, true),
        ColorType::La16 => (4, true, true),
        ColorType::Rgb16 => (6, true, false),
        ColorType::Rgba16 => (8, true, false),
        // Floats.
        _ => return Ok(DynamicImage::from_decoder(decoder)?.into_rgb8().into_raw()),
    };
    let mut data = vec![0; pixels * step.max(3)];
    // Samples narrower than RGB lie at the end, so that a pixel is read before it is overwritten.
    let start = data.len() - pixels * step;
    decoder.read_image(&mut data[start..])?;
    if color != ColorType::Rgb8 {
        for n in 0..pixels {
            let from = start + n * step;
            let sample =
                |k: usize| if is_wide { narrow(&data[from + 2 * k..from + 2 * k + 2]) } else { data[from + k] };
            let rgb = if is_grey { [sample(0); 3] } else { [sample(0), sample(1), sample(2)] };
            data[n * 3..n * 3 + 3].copy_from_slice(&rgb);
        }
        data.truncate(pixels * 3);
        data.shrink_to_fit();
    }
    Ok(data)
}

/// A sample of 16 bits in 8, rounded as the `image` crate does.
fn narrow(bytes: &[u8]) -> u8 {
    let wide = u16::from_ne_bytes([bytes[0], bytes[1]]);
    ((u32::from(wide) + 128) / 257) as u8
}

fn fail(path: &Path, cause: impl Into<Message>, remedy: impl Into<Message>) -> Error {
    Error::input(path.display().to_string(), cause, remedy)
}

fn unreadable(path: &Path, e: &std::io::Error) -> Error {
    Error::read(path.display().to_string(), e)
}

fn undecodable(path: &Path, e: ImageError) -> Error {
    match e {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            fail(path, "the picture is truncated", UNDECODABLE)
        }
        ImageError::Limits(e) => fail(path, format!("the picture is too large: {e}"), too_large()),
        e => fail(path, format!("the picture cannot be decoded: {e}"), UNDECODABLE),
    }
}

/// Decodes `eighths` of the size of colour or grey JPEG to RGB samples, as libjpeg does by default. `width` and `height` are
/// those of the result.
fn jpeg(bytes: &[u8], width: u32, height: u32, eighths: u8) -> Result<Vec<u8>, String> {
    // libjpeg fills what is missing with grey. Compressed data escapes FF, so a complete file has an end marker (EOI, FFD9)
    // after its last start of scan (SOS, FFDA).
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    if last([0xFF, 0xD9]) < last([0xFF, 0xDA]) {
        return Err("the picture is truncated".into());
    }
    // mozjpeg reports libjpeg's errors by unwinding, with the message and without the panic hook. Nothing of the decoder
    // is used afterwards.
    let decoded = catch_unwind(AssertUnwindSafe(|| -> std::io::Result<Vec<u8>> {
        let mut header = mozjpeg::Decompress::new_mem(bytes)?;
        header.scale(eighths);
        let mut started = header.rgb()?;
        let data = started.read_scanlines::<u8>()?;
        started.finish()?;
        Ok(data)
    }));
    let cause = match decoded {
        Ok(Ok(data)) if data.len() as u64 == u64::from(width) * u64::from(height) * 3 => return Ok(data),
        Ok(Ok(_)) => "its size changes midway".into(),
        Ok(Err(e)) => e.to_string(),
        Err(message) => message.downcast_ref::<String>().cloned().unwrap_or_else(|| "its data is broken".into()),
    };
    Err(format!("the picture cannot be decoded: {cause}"))
}

#[cfg(test)]
mod tests {
    use image::{GenericImageView, ImageBuffer, ImageEncoder, Luma, LumaA, Rgb as Colour, Rgba};
    use proptest::prelude::*;

    use super::*;

    /// The picture as PNG, and as the crate makes it RGB.
    fn check(picture: DynamicImage) {
        let (width, height) = picture.dimensions();
        let mut png = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut png);
        encoder.write_image(picture.as_bytes(), width, height, picture.color().into()).unwrap();
        let decoder = image::codecs::png::PngDecoder::new(std::io::Cursor::new(png)).unwrap();
        assert_eq!(decoder.color_type(), picture.color());
        let data = decode_rgb(Box::new(decoder), width, height).unwrap();
        assert!(data == picture.to_rgb8().into_raw(), "{:?}", picture.color());
        assert!(data.capacity() <= data.len() + 64, "nothing is left over");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn samples_become_rgb_where_they_are((w, h) in (1u32..20, 1u32..20), seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = |n: u32| (0..w * h * n).map(|_| random.u8(..)).collect::<Vec<u8>>();
            check(ImageBuffer::<Luma<u8>, _>::from_raw(w, h, bytes(1)).unwrap().into());
            check(ImageBuffer::<LumaA<u8>, _>::from_raw(w, h, bytes(2)).unwrap().into());
            check(ImageBuffer::<Colour<u8>, _>::from_raw(w, h, bytes(3)).unwrap().into());
            check(ImageBuffer::<Rgba<u8>, _>::from_raw(w, h, bytes(4)).unwrap().into());
            let mut random = fastrand::Rng::with_seed(seed);
            let mut words = |n: u32| (0..w * h * n).map(|_| random.u16(..)).collect::<Vec<u16>>();
            check(ImageBuffer::<Luma<u16>, _>::from_raw(w, h, words(1)).unwrap().into());
            check(ImageBuffer::<LumaA<u16>, _>::from_raw(w, h, words(2)).unwrap().into());
            check(ImageBuffer::<Colour<u16>, _>::from_raw(w, h, words(3)).unwrap().into());
            check(ImageBuffer::<Rgba<u16>, _>::from_raw(w, h, words(4)).unwrap().into());
        }
    }

    #[test]
    fn only_giant_jpeg_files_shrink() {
        assert_eq!([1, WHOLE, WHOLE + 1, WHOLE * 4, WHOLE * 5, WHOLE * 17].map(eighths), [8, 8, 4, 4, 2, 1]);
        let picture = Rgb { width: 33, height: 17, data: [200, 90, 30].repeat(33 * 17) };
        let bytes = picture.to_jpeg(90).unwrap();
        for (eighths, width, height) in [(8, 33, 17), (4, 17, 9), (2, 9, 5), (1, 5, 3)] {
            let data = jpeg(&bytes, width, height, eighths).unwrap();
            assert!(data.chunks_exact(3).all(|p| p[0].abs_diff(200) < 4 && p[2].abs_diff(30) < 4), "{eighths}");
        }
    }
}
