//! Decoding: a file or URL in, frames in presentation order out.
//!
//! Owns the demuxer and the decoder of one input. Frames come with strictly increasing times, counted from the
//! container's start. Memory is bounded by FFmpeg's own frame threads: a [`Frame`] is a reference to the decoder's
//! buffer, not a copy, and lives only as long as a later stage holds it.
//!
//! Broken packets and frames do not end the decoding: they are counted in [`Damage`], so that a file which decodes
//! in part is described in part.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::frame::Rgb;
use crate::interrupt::Interrupt;
use crate::time::Time;

/// How to open and decode an input.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// First moment to look at. Default: the beginning.
    pub start: Option<Time>,
    /// First moment not to look at any more. Default: the end.
    pub end: Option<Time>,
    /// Decode only the container's own keyframes. Default: false.
    pub keyframes_only: bool,
    /// Decoder threads; 0 lets FFmpeg choose. Default: 0.
    pub threads: usize,
    /// FFmpeg's name of a hardware device to decode on (`vaapi`, `cuda`, …); an error where it is absent. Default: none.
    pub hwaccel: Option<String>,
    /// Frames of more pixels are refused before memory is taken for them. Default: 67,108,864 (8192 × 8192).
    pub max_pixels: u64,
    /// A server that has not opened the stream, or given its next packet, within this time has failed. Files may take
    /// as long as they need. Default: 30 s.
    pub timeout: Duration,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            start: None,
            end: None,
            keyframes_only: false,
            threads: 0,
            hwaccel: None,
            max_pixels: 8192 * 8192,
            timeout: Duration::from_secs(30),
        }
    }
}

/// What is known of the chosen video stream before decoding.
#[derive(Debug, Clone, Serialize)]
pub struct StreamInfo {
    /// FFmpeg's short name of the container format.
    pub container: String,
    pub codec: String,
    /// Stored size in pixels, before rotation.
    pub width: u32,
    pub height: u32,
    /// Width : height of one pixel.
    pub sample_aspect: (i32, i32),
    /// Clockwise turn, in degrees, that shows the picture upright: 0, 90, 180 or 270.
    pub rotation: u32,
    /// Whole container, in seconds.
    pub duration: Option<f64>,
    /// Average frames a second.
    pub frame_rate: Option<f64>,
    pub pixel_format: String,
    /// Start of the container's own clock, in seconds; subtracted from every time.
    pub start_time: f64,
}

/// What was lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Damage {
    /// Packets that could not be read or that the decoder refused.
    pub packets: u64,
    /// Frames that were decoded with errors.
    pub frames: u64,
    /// Reading stopped early, with this reason.
    pub stopped: Option<String>,
    /// The container promises this much more, in seconds, than was there.
    pub missing: Option<f64>,
}

impl Damage {
    pub fn is_clean(&self) -> bool {
        *self == Damage::default()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.packets > 0 {
            parts.push(format!("{} broken packet{}", self.packets, if self.packets == 1 { "" } else { "s" }));
        }
        if self.frames > 0 {
            parts.push(format!("{} frame{} decoded with errors", self.frames, if self.frames == 1 { "" } else { "s" }));
        }
        if let Some(reason) = &self.stopped {
            parts.push(format!("reading stopped: {reason}"));
        }
        if let Some(missing) = self.missing {
            parts.push(format!("the last {missing:.1} s are missing"));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Where a stored pixel goes on the screen: the signs of the display matrix's 2×2 part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Orientation {
    a: i8,
    b: i8,
    c: i8,
    d: i8,
}

impl Orientation {
    const UPRIGHT: Orientation = Orientation { a: 1, b: 0, c: 0, d: 1 };

    /// From FFmpeg's 3×3 matrix (`a b u c d v x y w`); anything but right angles is shown as stored.
    fn from_matrix(m: &[i32; 9]) -> Orientation {
        let s = |v: i32| v.signum() as i8;
        match (s(m[0]), s(m[1]), s(m[3]), s(m[4])) {
            (a, 0, 0, d) if a != 0 && d != 0 => Orientation { a, b: 0, c: 0, d },
            (0, b, c, 0) if b != 0 && c != 0 => Orientation { a: 0, b, c, d: 0 },
            _ => Orientation::UPRIGHT,
        }
    }

    /// Clockwise turn in degrees; a mirrored picture reports the turn that comes before the mirror.
    fn degrees(self) -> u32 {
        match self {
            Orientation { a: 0, b, .. } => {
                if b > 0 {
                    90
                } else {
                    270
                }
            }
            Orientation { d, .. } => {
                if d > 0 {
                    0
                } else {
                    180
                }
            }
        }
    }

    fn apply(self, picture: Rgb) -> Rgb {
        if self == Orientation::UPRIGHT {
            return picture;
        }
        let (w, h) = (picture.width as usize, picture.height as usize);
        let turned = self.a == 0;
        let (ow, oh) = if turned { (h, w) } else { (w, h) };
        let mut data = vec![0u8; w * h * 3];
        for oy in 0..oh {
            for ox in 0..ow {
                let (x, y) = if turned {
                    (if self.b > 0 { oy } else { w - 1 - oy }, if self.c > 0 { ox } else { h - 1 - ox })
                } else {
                    (if self.a > 0 { ox } else { w - 1 - ox }, if self.d > 0 { oy } else { h - 1 - oy })
                };
                let (to, from) = ((oy * ow + ox) * 3, (y * w + x) * 3);
                data[to..to + 3].copy_from_slice(&picture.data[from..from + 3]);
            }
        }
        Rgb { width: ow as u32, height: oh as u32, data }
    }
}

/// A decoded frame: a reference to the decoder's own buffer with its time.
pub struct Frame {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the frame among those decoded, from 0.
    pub index: u64,
    pub(crate) av: ff::frame::Video,
    orientation: Orientation,
    sample_aspect: (i32, i32),
}

// SAFETY: an AVFrame is plain data behind atomically refcounted buffers; nothing in it is bound to a thread, and
// `Frame` only ever reads the picture data once it is made.
unsafe impl Send for Frame {}
// SAFETY: as above; all methods through `&Frame` only read.
unsafe impl Sync for Frame {}

/// Pictures for people and models are made no longer than this on their longer side: several times what any image
/// tower reads, and small enough that a few of them are nothing beside a decoder's own frames.
pub const LONGEST_SIDE: u32 = 1280;

impl Frame {
    /// The picture as it is shown: upright, square pixels, one field of an interlaced frame, full range, at most
    /// [`LONGEST_SIDE`] on its longer side.
    pub fn to_rgb(&self) -> Result<Rgb> {
        let (w, h) = (self.av.width(), self.av.height());
        // SAFETY: reads plain fields of a valid AVFrame.
        let (interlaced, range, space) = unsafe {
            let f = &*self.av.as_ptr();
            (f.interlaced_frame != 0 && h >= 4, f.color_range, f.colorspace)
        };
        let (num, den) = self.sample_aspect;
        let (mut dw, mut dh) = (f64::from(w) * f64::from(num) / f64::from(den), f64::from(h));
        let scale = (f64::from(LONGEST_SIDE) / dw.max(dh)).min(1.0);
        (dw, dh) = ((dw * scale).round().max(1.0), (dh * scale).round().max(1.0));
        let (dw, dh) = (dw as u32, dh as u32);
        let lines = if interlaced { h / 2 } else { h };
        let source = Planes { frame: &self.av, lines, stride: if interlaced { 2 } else { 1 } };
        let data = scale_to(&source, ff::format::Pixel::RGB24, dw, dh, range, space)
            .ok_or_else(|| unreadable(&self.av, "the picture cannot be converted"))?;
        Ok(self.orientation.apply(Rgb { width: dw, height: dh, data: data.0 }))
    }
}

fn unreadable(frame: &ff::frame::Video, cause: &str) -> Error {
    Error::input(
        format!("frame of {}×{} {:?}", frame.width(), frame.height(), frame.format()),
        cause,
        "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4",
    )
}

/// The lines of a frame that are read: all, or every second one (one field).
pub(crate) struct Planes<'a> {
    pub frame: &'a ff::frame::Video,
    pub lines: u32,
    pub stride: i32,
}

/// Scales into one buffer: packed, or three equal planes for YUVJ444P. `None` where swscale refuses the format.
/// The second value says whether the source was full range.
pub(crate) fn scale_to(
    source: &Planes<'_>,
    to: ff::format::Pixel,
    width: u32,
    height: u32,
    range: ffi::AVColorRange,
    space: ffi::AVColorSpace,
) -> Option<(Vec<u8>, bool)> {
    use ffi::AVColorSpace::*;
    let size = width as usize * height as usize * 3;
    let mut out = vec![0u8; size + 64];
    let format: ffi::AVPixelFormat = source.frame.format().into();
    let full = full_range(source.frame.format(), range);
    // Rec. 709 where the stream does not say and is larger than standard definition, as players do.
    let coefficients = match space {
        AVCOL_SPC_BT709 => ffi::SWS_CS_ITU709,
        AVCOL_SPC_BT2020_NCL | AVCOL_SPC_BT2020_CL => ffi::SWS_CS_BT2020,
        AVCOL_SPC_SMPTE240M => ffi::SWS_CS_SMPTE240M,
        AVCOL_SPC_UNSPECIFIED if source.frame.height() > 576 => ffi::SWS_CS_ITU709,
        _ => ffi::SWS_CS_ITU601,
    };
    let shrinks = width < source.frame.width() || height < source.lines;
    let filter = if shrinks { ffi::SWS_AREA } else { ffi::SWS_BICUBIC };
    let flags = filter | ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT;
    // SAFETY: the context is made for exactly these sizes and formats and freed below; source pointers come from a
    // valid frame and are read for `lines` rows only; `out` holds three bytes a pixel, which both targets need, and
    // 64 more that swscale's vector code may touch.
    unsafe {
        let context = ffi::sws_getContext(
            source.frame.width() as i32,
            source.lines as i32,
            format,
            width as i32,
            height as i32,
            to.into(),
            flags,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null(),
        );
        if context.is_null() {
            return None;
        }
        let table = ffi::sws_getCoefficients(coefficients);
        ffi::sws_setColorspaceDetails(context, table, i32::from(full), table, 1, 0, 1 << 16, 1 << 16);
        let av = &*source.frame.as_ptr();
        let mut data = [ptr::null::<u8>(); 4];
        let mut strides = [0i32; 4];
        for i in 0..4 {
            data[i] = av.data[i].cast_const();
            // A palette is no picture plane and has no second field.
            strides[i] = av.linesize[i] * source.stride;
        }
        let plane = width as usize * height as usize;
        let packed = to == ff::format::Pixel::RGB24;
        let base = out.as_mut_ptr();
        let targets = if packed {
            [base, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()]
        } else {
            [base, base.add(plane), base.add(2 * plane), ptr::null_mut()]
        };
        let line = if packed { 3 * width as i32 } else { width as i32 };
        let target_strides = if packed { [line, 0, 0, 0] } else { [line, line, line, 0] };
        let rows = ffi::sws_scale(
            context,
            data.as_ptr(),
            strides.as_ptr(),
            0,
            source.lines as i32,
            targets.as_ptr(),
            target_strides.as_ptr(),
        );
        ffi::sws_freeContext(context);
        if rows <= 0 {
            return None;
        }
    }
    out.truncate(size);
    Some((out, full))
}

/// Whether samples use all values. Grey without a word about it does, as swscale has it.
pub(crate) fn full_range(format: ff::format::Pixel, range: ffi::AVColorRange) -> bool {
    use ff::format::Pixel::*;
    match format {
        YUVJ420P | YUVJ422P | YUVJ444P | YUVJ440P | YUVJ411P => true,
        GRAY8 | GRAY10LE | GRAY12LE | GRAY16LE | YA8 => range != ffi::AVColorRange::AVCOL_RANGE_MPEG,
        _ => range == ffi::AVColorRange::AVCOL_RANGE_JPEG,
    }
}

/// How long a server may keep us waiting. FFmpeg asks it, together with the interrupt flag, wherever it blocks: its own
/// time-outs begin again with every reconnection and every byte.
#[derive(Clone)]
struct Patience {
    /// Milliseconds after `since` at which it ends; 0 where nobody waits.
    end: Arc<AtomicU64>,
    since: Instant,
    /// None for what is no server.
    limit: Option<Duration>,
}

impl Patience {
    fn new(limit: Option<Duration>) -> Patience {
        Patience { end: Arc::default(), since: Instant::now(), limit }
    }

    fn begin(&self) {
        if let Some(limit) = self.limit {
            let end = (self.since.elapsed() + limit).as_millis().max(1);
            self.end.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    fn end(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end != 0 && self.since.elapsed().as_millis() >= u128::from(end)
    }

    fn cause(&self) -> String {
        format!("the server gave nothing for {} s", self.limit.unwrap_or_default().as_secs_f64())
    }
}

/// Reads without a packet between them that a demuxer may answer with "invalid data" before it counts as stuck.
const MOST_INVALID: u32 = 1_000;

/// Errors in a row at the end of a file before a decoder counts as stuck: more than it has threads.
const MOST_REFUSED: u32 = 256;

/// One open input.
pub struct Source {
    input: ff::format::context::Input,
    decoder: ff::decoder::Video,
    stream: usize,
    time_base: (i64, i64),
    origin: Option<Time>,
    shift: Time,
    last: Option<Time>,
    step: Time,
    index: u64,
    draining: bool,
    done: bool,
    orientation: Orientation,
    sample_aspect: (i32, i32),
    options: DecodeOptions,
    interrupt: Interrupt,
    info: StreamInfo,
    damage: Damage,
    /// Behind the decoder, which points to it and is dropped before it.
    concealed: Arc<AtomicU64>,
    name: String,
    packets_read: u64,
    /// Latest presentation time of a packet, by the stream's clock.
    last_packet: Option<Time>,
    /// What is known from outside of FFmpeg of the file's end being missing.
    cut_off: Option<String>,
    patience: Patience,
}

static INIT: Once = Once::new();

/// Counts the frames of which a decoder had to make up a part. With frame threads the flags of a frame are copied while it
/// may still be decoded (before FFmpeg 7), so that by them alone a broken file is broken in one run and whole in the next;
/// the word that FFmpeg says of each such frame to its log is always said. Nothing is printed.
///
/// Generic over the argument list, which has another type on each platform and is not looked at.
unsafe extern "C" fn on_log<T>(whose: *mut c_void, _level: c_int, format: *const c_char, _arguments: T) {
    // SAFETY: FFmpeg logs with a C string, and for a structure that begins with the pointer to its class, or null. A
    // codec context that has an opaque pointer is one of ours: it points to a counter that lives longer than the context.
    unsafe {
        if whose.is_null() || format.is_null() || !CStr::from_ptr(format).to_bytes().starts_with(b"concealing ") {
            return;
        }
        let class = (*whose.cast::<*const ffi::AVClass>()).as_ref();
        if class.is_some_and(|c| !c.class_name.is_null() && CStr::from_ptr(c.class_name) == c"AVCodecContext")
            && let Some(counter) = (*whose.cast::<ffi::AVCodecContext>()).opaque.cast::<AtomicU64>().as_ref()
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn init() {
    INIT.call_once(|| {
        // `init` only registers; it cannot fail on any FFmpeg since 4.0.
        let _ = ff::init();
        ff::format::network::init();
        ff::util::log::set_level(ff::util::log::Level::Quiet);
        // SAFETY: the callback is a plain function that is safe to call from any thread.
        unsafe { ffi::av_log_set_callback(Some(on_log)) };
    });
}

/// Lets FFmpeg print its own warnings.
pub fn loud() {
    init();
    // SAFETY: FFmpeg's own callback.
    unsafe { ffi::av_log_set_callback(Some(ffi::av_log_default_callback)) };
    ff::util::log::set_level(ff::util::log::Level::Warning);
}

/// Whether an input is a URL rather than a path.
pub fn is_url(input: &str) -> bool {
    input.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// What can be said of a path without FFmpeg.
fn check_path(input: &str) -> Result<()> {
    let path = Path::new(input);
    if input == "-" {
        return Err(Error::input(
            input,
            "standard input is not read, for a video must be looked at from more than one place",
            "Write it to a file first and name that (a file called - is ./-).",
        ));
    }
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::input(input, "no such file", "Check the path."),
        std::io::ErrorKind::PermissionDenied => {
            Error::input(input, "permission denied", "Make the file and its folders readable for this user.")
        }
        _ => Error::input(input, format!("cannot be opened: {e}"), "Check the path."),
    })?;
    if metadata.is_dir() {
        return Err(Error::input(input, "is a folder, not a video", "Name the files in it, for example FOLDER/*.mp4."));
    }
    if !metadata.is_file() {
        // A named pipe that is opened to see whether it can be would lose its writer.
        return Ok(());
    }
    std::fs::File::open(path).map_err(|e| {
        let cause = if e.kind() == std::io::ErrorKind::PermissionDenied {
            "permission denied".to_string()
        } else {
            format!("cannot be opened: {e}")
        };
        Error::input(input, cause, "Make the file and its folders readable for this user.")
    })?;
    if metadata.len() == 0 {
        return Err(Error::input(input, "the file is empty (0 bytes)", "Copy or download it again."));
    }
    Ok(())
}

/// Opens a container and looks for its streams, which is done by decoding their first frames. `ffmpeg_next` has no way to
/// tell those decoders how large a frame may be, and a header can ask for hundreds of megabytes. Gives also the sizes
/// that the header says of its streams: where one is refused, FFmpeg forgets it.
fn open_container(
    address: &CString,
    stop: impl FnMut() -> bool + Send + 'static,
    options: ff::Dictionary,
    max_pixels: u64,
) -> std::result::Result<(ff::format::context::Input, Vec<(i32, i32)>), ff::Error> {
    let limit = CString::new(max_pixels.min(i64::MAX as u64).to_string()).unwrap_or_default();
    // SAFETY: `open_input` frees the context where it fails; where it does not, the context is FFmpeg's to close until
    // `wrap` takes it, together with the guard that keeps the callback alive. The dictionaries are freed by `own` and by
    // the loop, one a stream that was known before; FFmpeg may have replaced them, and does not keep them.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        let interrupt = ff::util::interrupt::new(Box::new(stop));
        (*context).interrupt_callback = interrupt.interrupt;
        let mut options = options.disown();
        let code = ffi::avformat_open_input(&raw mut context, address.as_ptr(), ptr::null_mut(), &raw mut options);
        drop(ff::Dictionary::own(options));
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        let input = ff::format::context::Input::wrap_with_interrupt(context, interrupt.guard);
        let sizes =
            input.streams().map(|s| ((*(*s.as_ptr()).codecpar).width, (*(*s.as_ptr()).codecpar).height)).collect();
        let mut of_streams: Vec<*mut ffi::AVDictionary> = vec![ptr::null_mut(); (*context).nb_streams as usize];
        for dictionary in &mut of_streams {
            ffi::av_dict_set(&raw mut *dictionary, c"max_pixels".as_ptr(), limit.as_ptr(), 0);
        }
        let list = if of_streams.is_empty() { ptr::null_mut() } else { of_streams.as_mut_ptr() };
        let code = ffi::avformat_find_stream_info(context, list);
        for dictionary in &mut of_streams {
            ffi::av_dict_free(&raw mut *dictionary);
        }
        if code < 0 { Err(ff::Error::from(code)) } else { Ok((input, sizes)) }
    }
}

/// Whether a Matroska file ends before its segment does. FFmpeg takes such an end for the film's, without a word.
fn matroska_cut_off(path: &Path) -> Option<String> {
    use std::io::Read;
    let there = std::fs::metadata(path).ok().filter(|m| m.is_file())?.len();
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    // An element: its name, then a number of which the leading zeros tell the length, then as many bytes.
    let element = |at: usize, name: [u8; 4]| -> Option<(usize, u64)> {
        let rest = head.get(at..)?.strip_prefix(&name)?;
        let length = rest.first()?.leading_zeros() as usize + 1;
        let bytes = rest.get(..length).filter(|_| length <= 8)?;
        let value = bytes.iter().fold(0u64, |v, &b| v << 8 | u64::from(b)) & !(1 << (7 * length));
        // All ones: not known, as in a live recording.
        (value != (1 << (7 * length)) - 1).then_some((at + 4 + length, value))
    };
    let (body, length) = element(0, [0x1A, 0x45, 0xDF, 0xA3])?;
    let (start, length) = element(body.checked_add(usize::try_from(length).ok()?)?, [0x18, 0x53, 0x80, 0x67])?;
    let whole = (start as u64).checked_add(length)?;
    (there < whole).then(|| format!("the file is cut off, {there} of {whole} bytes are there"))
}

impl Source {
    /// Opens an input and its best video stream; nothing is decoded yet.
    pub fn open(input: &str, options: &DecodeOptions, interrupt: Interrupt) -> Result<Source> {
        init();
        let url = is_url(input);
        let mut dictionary = ff::Dictionary::new();
        let target = if url {
            dictionary.set("protocol_whitelist", "file,crypto,data,http,https,httpproxy,tcp,tls,udp,rtp,rtsp,srt,rtmp");
            if input.starts_with("http") {
                // Only where the server can go on from where it stopped: `reconnect_streamed` begins again from the
                // first byte, which is another place in the film, and does so for ever.
                dictionary.set("reconnect", "1");
                dictionary.set("reconnect_delay_max", "4");
            }
            dictionary.set("rw_timeout", &options.timeout.as_micros().max(1).to_string());
            input.to_string()
        } else {
            check_path(input)?;
            // Only real files behind a path: a playlist on disk must not make us open the network.
            dictionary.set("protocol_whitelist", "file,crypto,data");
            format!("file:{input}")
        };
        let address = CString::new(target).map_err(|_| {
            Error::input(input.escape_debug().to_string(), "the name holds a NUL byte", "Rename the file.")
        })?;
        let patience = Patience::new(url.then_some(options.timeout));
        let (flag, waiting) = (interrupt.clone(), patience.clone());
        let stop = move || flag.is_set() || waiting.is_over();
        patience.begin();
        let opened = open_container(&address, stop, dictionary, options.max_pixels);
        let late = opened.as_ref().is_err_and(|e| *e == ff::Error::Exit || is_timeout(*e));
        patience.end();
        let (context, sizes) = opened.map_err(|e| {
            if interrupt.is_set() {
                return Error::Interrupted;
            }
            if late {
                return Error::input(input, patience.cause(), "Check the address, or wait longer with --timeout.");
            }
            match e {
                ff::Error::Eof => Error::input(
                    input,
                    "ends with its header: it holds no frames",
                    "Copy or download it again, or record it again.",
                ),
                ff::Error::InvalidData => Error::input(
                    input,
                    "not a video that FFmpeg can read, or cut off before its index",
                    format!("Check that the file is complete: ffprobe {}", quoted(input)),
                ),
                e => Error::input(
                    input,
                    format!("cannot be opened: {e}"),
                    format!("Check the address, or the file: ffprobe {}", quoted(input)),
                ),
            }
        })?;
        let mut source = Source::with_context(input, context, &sizes, options, interrupt, patience)?;
        if source.info.container.starts_with("matroska") && !url {
            source.cut_off = matroska_cut_off(Path::new(input));
        }
        Ok(source)
    }

    fn with_context(
        name: &str,
        mut input: ff::format::context::Input,
        sizes: &[(i32, i32)],
        options: &DecodeOptions,
        interrupt: Interrupt,
        patience: Patience,
    ) -> Result<Source> {
        let bad = |cause: String, remedy: &str| Error::input(name, cause, remedy);
        let is_video = |s: &ff::format::stream::Stream<'_>| s.parameters().medium() == ff::media::Type::Video;
        let attached = |s: &ff::format::stream::Stream<'_>| {
            s.disposition().contains(ff::format::stream::Disposition::ATTACHED_PIC)
        };
        let best = input.streams().best(ff::media::Type::Video).map(|s| s.index());
        let chosen = best
            .and_then(|i| input.stream(i))
            .filter(|s| !attached(s))
            .or_else(|| input.streams().find(|s| is_video(s) && !attached(s)))
            .map(|s| s.index());
        if input.nb_streams() == 0 {
            return Err(bad("holds no streams at all".into(), "Copy or download it again, or record it again."));
        }
        let Some(stream) = chosen else {
            return Err(bad(
                "has no video stream (audio only?)".into(),
                &format!("Give a file with pictures; ffprobe {} lists what is in it.", quoted(name)),
            ));
        };
        let s = input.stream(stream).ok_or_else(|| bad("lost its video stream".into(), "Report this file."))?;
        let parameters = s.parameters();
        let time_base = (i64::from(s.time_base().numerator()), i64::from(s.time_base().denominator().max(1)));
        // SAFETY: plain reads of a valid stream's fields; the display matrix is copied out of its side data.
        let (orientation, sample_aspect, protected, width, height, pixels) = unsafe {
            let av = &*s.as_ptr();
            let par = &*av.codecpar;
            let mut orientation = Orientation::UPRIGHT;
            let mut protected = par.codec_tag == u32::from_le_bytes(*b"encv");
            for side in s.side_data() {
                match side.kind() {
                    ff::codec::packet::side_data::Type::DisplayMatrix if side.data().len() >= 36 => {
                        let mut matrix = [0i32; 9];
                        for (value, bytes) in matrix.iter_mut().zip(side.data().chunks_exact(4)) {
                            *value = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                        }
                        orientation = Orientation::from_matrix(&matrix);
                    }
                    ff::codec::packet::side_data::Type::EncryptionInitInfo => protected = true,
                    _ => {}
                }
            }
            let aspect = if av.sample_aspect_ratio.num > 0 { av.sample_aspect_ratio } else { par.sample_aspect_ratio };
            let pixels = ffi::av_get_pix_fmt_name(std::mem::transmute::<i32, ffi::AVPixelFormat>(par.format));
            let pixels = if pixels.is_null() {
                "unknown".to_string()
            } else {
                CStr::from_ptr(pixels).to_string_lossy().into_owned()
            };
            (orientation, (aspect.num, aspect.den), protected, par.width, par.height, pixels)
        };
        if protected {
            return Err(encrypted(name));
        }
        let (width, height) = match sizes.get(stream) {
            Some(&told) if width <= 0 || height <= 0 => told,
            _ => (width, height),
        };
        if width <= 0 || height <= 0 {
            return Err(bad(
                format!("its header says {width}×{height} pixels"),
                &format!(
                    "The file holds no decodable picture; look at it with ffprobe {}, or copy it again.",
                    quoted(name)
                ),
            ));
        }
        if width as u64 * height as u64 > options.max_pixels {
            return Err(bad(
                format!("frames of {width}×{height} are larger than the limit of {} pixels", options.max_pixels),
                "If the file is to be trusted, raise --max-pixels.",
            ));
        }
        let rate = s.avg_frame_rate();
        let frame_rate = (rate.numerator() > 0 && rate.denominator() > 0)
            .then(|| f64::from(rate.numerator()) / f64::from(rate.denominator()));
        let sample_aspect = sane_aspect(sample_aspect);

        let mut context = ff::codec::Context::from_parameters(parameters).map_err(|e| {
            bad(format!("its video stream cannot be set up: {e}"), &format!("Check the file: ffprobe {}", quoted(name)))
        })?;
        let codec_name = context.id().name().to_string();
        let concealed = Arc::new(AtomicU64::new(0));
        // SAFETY: plain writes to a codec context that is not open yet; the counter outlives it.
        unsafe {
            let av = &mut *context.as_mut_ptr();
            av.opaque = Arc::as_ptr(&concealed).cast_mut().cast();
            av.thread_count = i32::try_from(options.threads).unwrap_or(0);
            av.thread_type = ffi::FF_THREAD_FRAME | ffi::FF_THREAD_SLICE;
            av.max_pixels = i64::try_from(options.max_pixels).unwrap_or(i64::MAX);
            av.pkt_timebase = ffi::AVRational { num: time_base.0 as i32, den: time_base.1 as i32 };
            if let Some(device) = &options.hwaccel {
                // The context frees it.
                av.hw_device_ctx = open_device(device)?;
            }
        }
        let mut decoder = context.decoder();
        if options.keyframes_only {
            decoder.skip_frame(ff::codec::discard::Discard::NonKey);
        }
        let decoder = decoder.video().map_err(|e| {
            bad(
                format!("its codec {codec_name} cannot be decoded by this FFmpeg: {e}"),
                "Install an FFmpeg that has this codec, or convert the file.",
            )
        })?;

        // SAFETY: plain reads of the open container's fields.
        let (start, duration) = unsafe { ((*input.as_ptr()).start_time, (*input.as_ptr()).duration) };
        let origin = (start != ffi::AV_NOPTS_VALUE).then(|| Time::from_micros(start));
        let duration = (duration != ffi::AV_NOPTS_VALUE && duration > 0).then(|| Time::from_micros(duration));
        let info = StreamInfo {
            container: input.format().name().to_string(),
            codec: codec_name,
            width: width as u32,
            height: height as u32,
            sample_aspect,
            rotation: orientation.degrees(),
            duration: duration.map(Time::secs),
            frame_rate,
            pixel_format: pixels,
            start_time: origin.map_or(0.0, Time::secs),
        };
        // Streams that nobody reads are not worth demuxing.
        for i in 0..input.nb_streams() as usize {
            if i != stream
                && let Some(mut other) = input.stream_mut(i)
            {
                // SAFETY: a plain write to a field of a valid stream.
                unsafe { (*other.as_mut_ptr()).discard = ffi::AVDiscard::AVDISCARD_ALL };
            }
        }
        if let Some(from) = options.start
            && from > Time::ZERO
        {
            let at = (from + origin.unwrap_or_default()).micros();
            // A container that cannot seek is read from its beginning; frames before `start` are dropped all the same.
            let _ = input.seek(at, ..at);
        }
        let step = frame_rate.map_or(Time::from_millis(40), |r| Time::from_secs(1.0 / r.clamp(0.1, 1000.0)));
        Ok(Source {
            input,
            decoder,
            stream,
            time_base,
            origin,
            shift: Time::ZERO,
            last: None,
            step,
            index: 0,
            draining: false,
            done: false,
            orientation,
            sample_aspect,
            options: options.clone(),
            interrupt,
            info,
            damage: Damage::default(),
            concealed,
            name: name.to_string(),
            packets_read: 0,
            last_packet: None,
            cut_off: None,
            patience,
        })
    }

    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Every stream of the container in a few words, the chosen one marked.
    pub fn streams(&self) -> Vec<String> {
        self.input
            .streams()
            .map(|s| {
                let p = s.parameters();
                let chosen = if s.index() == self.stream { " (described)" } else { "" };
                format!("{}: {:?} {}{chosen}", s.index(), p.medium(), p.id().name()).replace("Video", "video")
            })
            .collect()
    }

    /// What was lost so far; complete once [`Source::next`] has returned `None`.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    /// End of the last frame: its time and one frame's duration. Where only keyframes are decoded, the packets between
    /// them say it.
    pub fn end(&self) -> Time {
        let mut last = self.last.map_or(Time::ZERO, |t| t + self.step);
        if let (true, Some(packets)) = (self.options.keyframes_only, self.last_packet) {
            last = last.max(packets - self.origin.unwrap_or_default() + self.shift + self.step);
        }
        self.options.end.map_or(last, |end| last.min(end))
    }

    /// The next frame in presentation order, or `None` at the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>> {
        let mut refused = 0;
        while !self.done {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let mut av = ff::frame::Video::empty();
            match self.decoder.receive_frame(&mut av) {
                Ok(()) => {
                    if let Some(frame) = self.admit(av)? {
                        return Ok(Some(frame));
                    }
                }
                Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN && !self.draining => self.feed()?,
                Err(ff::Error::Eof) => self.finish(),
                // A packet that is refused is told of here or when it is sent, as the decoder's threads have it; and at the
                // end of the file there may be good frames behind it in other threads.
                Err(_) if self.draining => {
                    self.damage.packets += 1;
                    refused += 1;
                    if refused >= MOST_REFUSED {
                        self.finish();
                    }
                }
                Err(_) => {
                    self.damage.packets += 1;
                    self.feed()?;
                }
            }
        }
        if self.index == 0 && self.last.is_none() && self.options.start.is_none() {
            let cause = match (&self.damage.stopped, self.packets_read) {
                (Some(reason), _) => format!("no frame could be decoded: {reason}"),
                (None, 0) => "its video stream holds no frames".to_string(),
                (None, n) => format!("none of its {n} video packets could be decoded"),
            };
            let remedy = if self.patience.limit.is_some() {
                "Download it first and describe the file: this server may not be able to seek.".to_string()
            } else {
                format!("Check the file: ffprobe {}, or copy it again.", quoted(&self.name))
            };
            return Err(Error::input(&self.name, cause, remedy));
        }
        if let (0, Some(start)) = (self.index, self.options.start) {
            let end = self.last.map(|t| t + self.step).or(self.info.duration.map(Time::from_secs));
            let end = end.map_or(String::new(), |t| format!(", it ends at {t}"));
            return Err(Error::input(
                &self.name,
                format!("holds nothing from {start} on{end}"),
                "Give an earlier --start, or a later --end.",
            ));
        }
        Ok(None)
    }

    fn finish(&mut self) {
        self.done = true;
        if self.draining {
            // Every packet has been through the decoder; earlier the count would hang on its threads.
            self.damage.frames = self.damage.frames.max(self.concealed.load(Ordering::Relaxed));
        }
        if self.options.end.is_none() && self.damage.stopped.is_none() {
            self.damage.stopped = self.cut_off.take();
        }
        if let (Some(promised), Some(last), None) = (self.info.duration, self.last, self.options.end) {
            // The container's duration is its longest stream's; only a gap that no sound track explains is damage.
            let missing = promised - (last + self.step).secs();
            if missing > 2.0 && (self.damage.packets > 0 || self.damage.stopped.is_some()) {
                self.damage.missing = Some(missing);
            }
        }
    }

    /// One packet of our stream into the decoder, or the end of the file.
    fn feed(&mut self) -> Result<()> {
        let mut invalid = 0;
        self.patience.begin();
        loop {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let mut packet = ff::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => continue,
                Ok(()) => {
                    self.patience.end();
                    self.packets_read += 1;
                    let shown = packet.pts().map(|ts| rescale(ts, self.time_base));
                    self.last_packet = self.last_packet.max(shown);
                    if packet.side_data().any(|d| d.kind() == ff::codec::packet::side_data::Type::EncryptionInfo) {
                        return Err(encrypted(&self.name));
                    }
                    if packet.is_corrupt() {
                        self.damage.packets += 1;
                    }
                    match self.decoder.send_packet(&packet) {
                        Ok(()) => {}
                        Err(ff::Error::Other { errno }) if errno == ff::util::error::ENOMEM => {
                            return Err(Error::input(
                                &self.name,
                                "not enough memory to decode it",
                                "Free memory, or lower --jobs.",
                            ));
                        }
                        Err(_) => self.damage.packets += 1,
                    }
                    return Ok(());
                }
                Err(ff::Error::Eof) => break,
                Err(ff::Error::InvalidData) if invalid < MOST_INVALID => {
                    self.damage.packets += 1;
                    invalid += 1;
                }
                Err(ff::Error::Exit) if self.interrupt.is_set() => return Err(Error::Interrupted),
                Err(e) => {
                    // Only our patience makes FFmpeg leave where the user did not.
                    let late = e == ff::Error::Exit || is_timeout(e);
                    self.damage.stopped = Some(if late { self.patience.cause() } else { e.to_string() });
                    break;
                }
            }
        }
        self.patience.end();
        self.draining = true;
        // An error here is one of a packet that was sent before; the draining has begun all the same, and a decoder that
        // cannot be drained says so when it is asked for the next frame.
        if self.decoder.send_eof().is_err() {
            self.damage.packets += 1;
        }
        Ok(())
    }

    /// Gives a decoded frame its time; `None` where it lies outside of what was asked for.
    fn admit(&mut self, av: ff::frame::Video) -> Result<Option<Frame>> {
        if av.width() == 0 || av.height() == 0 {
            self.damage.frames += 1;
            return Ok(None);
        }
        if av.has_decode_errors() || av.is_corrupt() {
            self.damage.frames += 1;
        }
        let av = download(av).map_err(|e| {
            Error::input(
                &self.name,
                format!("a frame cannot be read back from the device: {e}"),
                "Leave out --hwaccel.",
            )
        })?;
        let own = av.timestamp().map(|ts| rescale(ts, self.time_base));
        let time = match (own, self.last) {
            (Some(t), _) => {
                let origin = *self.origin.get_or_insert(t);
                t - origin + self.shift
            }
            (None, Some(last)) => last + self.step,
            (None, None) => {
                self.origin.get_or_insert(Time::ZERO);
                Time::ZERO
            }
        };
        let time = match self.last {
            // A clock that starts again (joined recordings) goes on from where we are.
            Some(last) if time < last - Time::from_millis(1_000) => {
                let go_on = last + self.step;
                self.shift = self.shift + (go_on - time);
                go_on
            }
            Some(last) if time <= last => last + Time::from_micros(1),
            _ => time,
        };
        if self.options.end.is_some_and(|end| time >= end) {
            self.done = true;
            return Ok(None);
        }
        self.last = Some(time);
        if self.options.start.is_some_and(|start| time < start) {
            return Ok(None);
        }
        // SAFETY: a plain read of a valid frame's field.
        let own_aspect = unsafe { (*av.as_ptr()).sample_aspect_ratio };
        let sample_aspect =
            if own_aspect.num > 0 { sane_aspect((own_aspect.num, own_aspect.den)) } else { self.sample_aspect };
        let frame = Frame { time, index: self.index, av, orientation: self.orientation, sample_aspect };
        self.index += 1;
        Ok(Some(frame))
    }
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.into() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

fn is_timeout(e: ff::Error) -> bool {
    matches!(e, ff::Error::Other { errno } if errno == ff::util::error::ETIMEDOUT)
}

fn encrypted(input: &str) -> Error {
    Error::input(input, "the video is encrypted (DRM)", "Give a copy that is not protected; descry cannot decrypt.")
}

/// Absurd pixel shapes, from broken headers, are taken as square.
fn sane_aspect((num, den): (i32, i32)) -> (i32, i32) {
    let ratio = f64::from(num) / f64::from(den);
    if num > 0 && den > 0 && (0.1..=10.0).contains(&ratio) { (num, den) } else { (1, 1) }
}

/// Timestamp × time base in microseconds, nearest, saturating.
fn rescale(ts: i64, (num, den): (i64, i64)) -> Time {
    let scaled = i128::from(ts) * i128::from(num) * 1_000_000;
    let den = i128::from(den);
    let rounded = (scaled + den / 2).div_euclid(den);
    Time::from_micros(rounded.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64)
}

/// Says before any work whether frames can be decoded on a device.
pub fn check_device(device: &str) -> Result<()> {
    init();
    let mut reference = open_device(device)?;
    // SAFETY: the one reference that was made.
    unsafe { ffi::av_buffer_unref(&raw mut reference) };
    Ok(())
}

fn open_device(device: &str) -> Result<*mut ffi::AVBufferRef> {
    let absent = |cause: String| {
        Error::usage(
            format!("--hwaccel {device}: {cause}"),
            "Leave it out to decode on the processor; `ffmpeg -hwaccels` lists what this FFmpeg knows.",
        )
    };
    let name = CString::new(device).map_err(|_| absent("not a name".into()))?;
    // SAFETY: the name is a C string; the reference is the caller's to free.
    unsafe {
        let kind = ffi::av_hwdevice_find_type_by_name(name.as_ptr());
        if kind == ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_NONE {
            return Err(absent("FFmpeg knows no such device type".into()));
        }
        let mut reference = ptr::null_mut();
        let code = ffi::av_hwdevice_ctx_create(&raw mut reference, kind, ptr::null(), ptr::null_mut(), 0);
        if code < 0 {
            return Err(absent(format!("the device cannot be opened: {}", ff::Error::from(code))));
        }
        Ok(reference)
    }
}

/// A frame that lives on a device is brought into memory; others pass.
fn download(av: ff::frame::Video) -> std::result::Result<ff::frame::Video, ff::Error> {
    // SAFETY: both frames are valid; FFmpeg allocates the target's buffers.
    unsafe {
        if (*av.as_ptr()).hw_frames_ctx.is_null() {
            return Ok(av);
        }
        let mut memory = ff::frame::Video::empty();
        let code = ffi::av_hwframe_transfer_data(memory.as_mut_ptr(), av.as_ptr(), 0);
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        ffi::av_frame_copy_props(memory.as_mut_ptr(), av.as_ptr());
        Ok(memory)
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

    #[test]
    fn orientation_turns_clockwise() {
        // a b / c d of two pixels side by side: left red, right blue.
        let picture = Rgb { width: 2, height: 1, data: vec![255, 0, 0, 0, 0, 255] };
        // The matrix that FFmpeg writes for a 90° clockwise turn: x' = -y, y' = x.
        let turn = Orientation::from_matrix(&[0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]);
        assert_eq!(turn.degrees(), 90);
        let turned = turn.apply(picture.clone());
        assert_eq!((turned.width, turned.height), (1, 2));
        assert_eq!(turned.data, [255, 0, 0, 0, 0, 255]);
        let half = Orientation::from_matrix(&[-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30]);
        assert_eq!(half.degrees(), 180);
        assert_eq!(half.apply(picture).data, [0, 0, 255, 255, 0, 0]);
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted("films/a-1.mp4"), "films/a-1.mp4");
        assert_eq!(quoted("it's a film.mp4"), r"'it'\''s a film.mp4'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }

    #[test]
    fn urls_are_told_from_paths() {
        assert!(is_url("https://host/a.mp4") && is_url("rtsp://h/s"));
        assert!(!is_url("a:b.mp4") && !is_url("/x/y://z") && !is_url("://"));
    }
}
