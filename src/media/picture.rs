//! Still pictures from files: JPEG, PNG, WebP, BMP, GIF (its first picture) and TIFF.
//!
//! Pixels are those of Pillow's `Image.open(path).convert("RGB")`: no EXIF rotation, alpha dropped, grey and palettes
//! expanded to RGB. libjpeg's own code decodes JPEG: other decoders differ by several levels where they upsample chroma,
//! which is enough to change captions. Memory is bounded: pictures beyond [`PictureOptions::max_pixels`] are refused before
//! they are decoded.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::{Error, Result};
use crate::media::rgb::Rgb;
use crate::message::Message;

/// File name extensions of pictures, in lower case: those that a search of a folder finds.
pub const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Bytes a pixel of the widest format: 16-bit RGBA.
const WIDEST_PIXEL: u64 = 8;
/// Most bytes a pixel of a JPEG file. Even random noise at quality 100 takes less.
const LARGEST_JPEG_PIXEL: u64 = 4;
/// Bytes beyond the pixels: a decoder's own buffers, or a file's metadata.
const HEADROOM: u64 = 64 << 20;

const UNDECODABLE: &str = "Give an intact JPEG, PNG, WebP, BMP, GIF or TIFF file.";

/// Which pictures are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureOptions {
    /// Pictures with more pixels are refused. Default: 178,956,970, where Pillow refuses too.
    pub max_pixels: u64,
}

impl Default for PictureOptions {
    fn default() -> PictureOptions {
        PictureOptions { max_pixels: 178_956_970 }
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
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    if file.metadata().map_err(|e| unreadable(path, &e))?.is_dir() {
        return Err(fail(path, "this is a folder, not a picture", "Name a picture."));
    }
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|e| unreadable(path, &e))?;
    let format = reader.format();
    if format.is_none() {
        return Err(fail(path, "this is no picture in a format that descry reads", UNDECODABLE));
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
        return Err(fail(path, cause, "Make it smaller first."));
    }
    let is_plain = matches!(decoder.original_color_type(), ExtendedColorType::Rgb8 | ExtendedColorType::L8);
    if format == Some(ImageFormat::Jpeg) && is_plain {
        drop(decoder);
        let mut bytes = Vec::new();
        let limit = options.max_pixels.saturating_mul(LARGEST_JPEG_PIXEL).saturating_add(HEADROOM);
        let read = File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes));
        read.map_err(|e| unreadable(path, &e))?;
        let data = jpeg(&bytes, width, height).map_err(|cause| fail(path, cause, UNDECODABLE))?;
        return Ok(Rgb { width, height, data });
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(|e| undecodable(path, e))?;
    Ok(Rgb { width, height, data: to_rgb(picture).into_raw() })
}

fn fail(path: &Path, cause: impl Into<Message>, remedy: &'static str) -> Error {
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
        ImageError::Limits(e) => fail(path, format!("the picture is too large: {e}"), "Make it smaller first."),
        e => fail(path, format!("the picture cannot be decoded: {e}"), UNDECODABLE),
    }
}

/// Pillow's `convert("RGB")`: alpha is dropped, not blended.
fn to_rgb(picture: DynamicImage) -> image::RgbImage {
    match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        other => other.into_rgb8(),
    }
}

/// Decodes colour or grey JPEG to RGB samples, as libjpeg does by default.
fn jpeg(bytes: &[u8], width: u32, height: u32) -> Result<Vec<u8>, String> {
    // libjpeg fills what is missing with grey. Compressed data escapes FF, so a complete file has an end marker (EOI, FFD9)
    // after its last start of scan (SOS, FFDA).
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    if last([0xFF, 0xD9]) < last([0xFF, 0xDA]) {
        return Err("the picture is truncated".into());
    }
    // mozjpeg reports libjpeg's errors by unwinding, with the message and without the panic hook. Nothing of the decoder
    // is used afterwards.
    let decoded = catch_unwind(AssertUnwindSafe(|| -> std::io::Result<Vec<u8>> {
        let mut started = mozjpeg::Decompress::new_mem(bytes)?.rgb()?;
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
