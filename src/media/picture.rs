//! Still pictures from files: JPEG, PNG, WebP, BMP, GIF (first picture), TIFF.
//!
//! Pixels come as Pillow's `Image.open(path).convert("RGB")` gives them: no EXIF rotation, alpha dropped, grey and
//! palette spread to RGB. JPEG is decoded by libjpeg's own code, because decoders differ by several levels where chroma
//! is spread, which is enough to change captions. Bounded: pictures beyond [`PictureOptions::max_pixels`] are refused before they are decoded.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::{Error, Result};
use crate::media::frame::Rgb;

/// File name extensions of pictures, in lower case: what a folder is searched for.
pub const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// What is read and what is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureOptions {
    /// Pictures with more pixels are refused. Default: 178 956 970, where Pillow refuses too.
    pub max_pixels: u64,
}

impl Default for PictureOptions {
    fn default() -> PictureOptions {
        PictureOptions { max_pixels: 178_956_970 }
    }
}

/// Whether a file's name says that it is a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads a picture.
pub fn open(path: &Path, options: &PictureOptions) -> Result<Rgb> {
    let fail = |cause: String, remedy: &str| Error::input(path.display().to_string(), cause, remedy);
    const FORMATS: &str = "give a JPEG, PNG, WebP, BMP, GIF or TIFF file that is whole";
    let unreadable = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => fail("there is no such file".into(), "check the path"),
        ErrorKind::PermissionDenied => fail("it may not be read".into(), "check its permissions"),
        _ => fail(format!("it cannot be read: {e}"), "check the path and the disk"),
    };
    let undecodable = |e: ImageError| match e {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            fail("the picture is truncated".into(), FORMATS)
        }
        ImageError::Limits(e) => fail(format!("the picture is too large: {e}"), "make it smaller first"),
        e => fail(format!("the picture cannot be decoded: {e}"), FORMATS),
    };

    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(fail("this is a folder, not a picture".into(), "name a picture"));
    }
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(unreadable)?;
    let format = reader.format();
    if format.is_none() {
        return Err(fail("this is no picture of a format that descry reads".into(), FORMATS));
    }
    // 16-bit RGBA is the widest that the formats hold; headroom for a decoder's own buffers.
    let mut limits = Limits::default();
    limits.max_alloc = Some(options.max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(fail("the picture is empty".into(), FORMATS));
    }
    if pixels > options.max_pixels {
        return Err(fail(
            format!("the picture has {width}×{height} pixels, and {} is the most", options.max_pixels),
            "make it smaller first",
        ));
    }
    if format == Some(ImageFormat::Jpeg)
        && matches!(decoder.original_color_type(), ExtendedColorType::Rgb8 | ExtendedColorType::L8)
    {
        drop(decoder);
        let mut bytes = Vec::new();
        let most = options.max_pixels.saturating_mul(4).saturating_add(64 << 20);
        File::open(path).and_then(|f| f.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
        let data = jpeg(&bytes, width, height).map_err(|e| fail(e, FORMATS))?;
        return Ok(Rgb { width, height, data });
    }
    let picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    Ok(Rgb { width, height, data: to_rgb(picture).into_raw() })
}

/// Pillow's `convert("RGB")`: alpha is dropped, not blended.
fn to_rgb(picture: DynamicImage) -> image::RgbImage {
    match picture {
        DynamicImage::ImageRgb8(rgb) => rgb,
        other => other.into_rgb8(),
    }
}

/// Colour or grey JPEG to RGB samples, as libjpeg does it with its defaults.
fn jpeg(bytes: &[u8], width: u32, height: u32) -> Result<Vec<u8>, String> {
    // libjpeg fills what is missing with grey. Inside the compressed data FF is always escaped, so that a whole
    // file has an end mark behind its last scan.
    let last = |mark: [u8; 2]| bytes.windows(2).rposition(|pair| pair == mark);
    if last([0xFF, 0xD9]) < last([0xFF, 0xDA]) {
        return Err("the picture is truncated".into());
    }
    // libjpeg's errors leave its C code by unwinding, with the message and without the panic hook; nothing of the
    // decoder is looked at afterwards.
    let decoded = catch_unwind(AssertUnwindSafe(|| -> std::io::Result<Vec<u8>> {
        let mut started = mozjpeg::Decompress::new_mem(bytes)?.rgb()?;
        let data = started.read_scanlines::<u8>()?;
        started.finish()?;
        Ok(data)
    }));
    let cause = match decoded {
        Ok(Ok(data)) if data.len() as u64 == u64::from(width) * u64::from(height) * 3 => return Ok(data),
        Ok(Ok(_)) => "its size changes on the way".into(),
        Ok(Err(e)) => e.to_string(),
        Err(message) => message.downcast_ref::<String>().cloned().unwrap_or_else(|| "its data are broken".into()),
    };
    Err(format!("the picture cannot be decoded: {cause}"))
}
