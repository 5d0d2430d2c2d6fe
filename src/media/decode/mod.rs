//! Decoding: a file or URL in, frames in presentation order out.
//!
//! Owns the demuxer and the decoder of one input. Frames come with strictly increasing times, counted from the
//! container's start. Memory is bounded by FFmpeg's own frame threads: a [`Frame`] is a reference to the decoder's
//! buffer, not a copy, and lives only as long as a later stage holds it.
//!
//! Broken packets and frames do not end the decoding: they are counted in [`Damage`], so that a file which decodes
//! in part is described in part.
//!
//! [`Source::connect`] is for what never ends: it says of each failure what kind it is, stamps what arrives, and lets a
//! caller that cannot keep up skip to the next keyframe.

mod bytes;
mod device;
mod frame;
mod live;
mod open;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use serde::Serialize;

use crate::address::hide;
use crate::address::{is_object, is_url};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::object_store::Trouble;
use crate::time::Time;
use bytes::Io;
pub use device::{cameras, check_device};
use device::{download, open_device};
use frame::Orientation;
pub use frame::{Frame, LONGEST_SIDE};
pub(crate) use frame::{Planes, full_range, scale_to};
use live::Live;
pub use live::{Access, Fault, Progress, container_version};
use open::{Patience, check_path, matroska_cut_off, open_container};

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
    /// Rather decode with fewer threads than hold frames back. Default: false.
    pub low_delay: bool,
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
            low_delay: false,
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

impl StreamInfo {
    /// Bits that a pixel takes in memory; 24 where the header does not say the format.
    pub fn bits_per_pixel(&self) -> u32 {
        let Ok(name) = CString::new(self.pixel_format.as_str()) else { return 24 };
        // SAFETY: both are look-ups in FFmpeg's static tables; the second takes null for what it does not know.
        let bits = unsafe {
            let description = ffi::av_pix_fmt_desc_get(ffi::av_get_pix_fmt(name.as_ptr()));
            if description.is_null() { 24 } else { ffi::av_get_padded_bits_per_pixel(description) }
        };
        u32::try_from(bits).unwrap_or(24)
    }
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

/// Reads without a packet between them that a demuxer may answer with "invalid data" before it counts as stuck.
const MOST_INVALID: u32 = 1_000;

/// Errors in a row at the end of a file before a decoder counts as stuck: more than it has threads.
const MOST_REFUSED: u32 = 256;

/// One open input.
pub struct Source {
    input: ff::format::context::Input,
    /// What the container is read through, where it is not FFmpeg's own; behind it, for it is dropped after it.
    io: Option<Io>,
    decoder: ff::decoder::Video,
    stream: usize,
    time_base: (i64, i64),
    origin: Option<Time>,
    /// Whether the container named the origin.
    clock: bool,
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
    /// The keyframes that were jumped from and to last, by the stream's clock.
    jumped: Option<(i64, i64)>,
    /// Reading stopped for the sake of the server that it comes from.
    lost: bool,
    /// Errors in a row while draining.
    refused: u32,
    /// Why reading stopped.
    ending: Option<ff::Error>,
    /// A frame was met that lies after what was asked for.
    passed_end: bool,
    /// What only matters of a source that never ends.
    live: Option<Live>,
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

/// Prints what FFmpeg says, without the credentials of any address.
unsafe extern "C" fn on_log_loud<T: Copy>(whose: *mut c_void, level: c_int, format: *const c_char, arguments: T) {
    type Format<T> =
        unsafe extern "C" fn(*mut c_void, c_int, *const c_char, T, *mut c_char, c_int, *mut c_int) -> c_int;
    static PREFIX: AtomicI32 = AtomicI32::new(1);
    if level > ffi::AV_LOG_WARNING {
        return;
    }
    let mut line = [0u8; 1024];
    let mut prefix = PREFIX.load(Ordering::Relaxed);
    // SAFETY: FFmpeg's own function, whose one argument of a platform's own type is the one that came in; it ends the line
    // with a zero within its size.
    unsafe {
        let to_line: Format<T> = std::mem::transmute(ffi::av_log_format_line2 as *const ());
        to_line(whose, level, format, arguments, line.as_mut_ptr().cast(), line.len() as c_int, &raw mut prefix);
        on_log(whose, level, format, arguments);
    }
    PREFIX.store(prefix, Ordering::Relaxed);
    let mut text = CStr::from_bytes_until_nul(&line).unwrap_or_default().to_string_lossy();
    // Of a line that is cut off the last word goes: half a password is not known as one.
    if text.len() + 1 >= line.len() {
        let whole = text.rfind(char::is_whitespace).unwrap_or(0);
        text = format!("{}…\n", &text[..whole]).into();
    }
    // A closed standard error must not end the work.
    let _ = std::io::stderr().write_all(hide(&text).as_bytes());
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
    // SAFETY: the callback is a plain function that is safe to call from any thread.
    unsafe { ffi::av_log_set_callback(Some(on_log_loud)) };
    ff::util::log::set_level(ff::util::log::Level::Warning);
}

impl Source {
    /// Opens an input and its best video stream; nothing is decoded yet.
    pub fn open(input: &str, options: &DecodeOptions, interrupt: Interrupt) -> Result<Source> {
        init();
        let url = is_url(input);
        let mut dictionary = ff::Dictionary::new();
        let io = if is_object(input) { Some(Io::open(input, options.timeout, interrupt.clone())?) } else { None };
        let target = if io.is_some() {
            // Nothing but the object itself: a playlist in a bucket must not make us open anything else.
            dictionary.set("protocol_whitelist", "crypto,data");
            input.split(['?', '#']).next().unwrap_or(input).rsplit('/').next().unwrap_or("object").to_string()
        } else if url {
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
        let opened = open_container(&address, None, stop, dictionary, options.max_pixels, io.as_ref());
        let late = opened.as_ref().is_err_and(|e| *e == ff::Error::Exit || is_timeout(*e));
        patience.end();
        let (context, sizes) = opened.map_err(|e| {
            if interrupt.is_set() {
                return Error::Interrupted;
            }
            if let Some(trouble) = io.as_ref().and_then(Io::trouble) {
                return trouble.input(input);
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
        let mut source = Source::with_context(input, context, &sizes, options, interrupt, patience, io)?;
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
        io: Option<Io>,
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
            // Each frame thread holds a frame back, which a live stream has no time for.
            let frames = if options.low_delay && options.threads == 0 { 0 } else { ffi::FF_THREAD_FRAME };
            av.thread_type = frames | ffi::FF_THREAD_SLICE;
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
            io,
            decoder,
            stream,
            time_base,
            origin,
            clock: origin.is_some(),
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
            jumped: None,
            lost: false,
            refused: 0,
            ending: None,
            passed_end: false,
            live: None,
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

    /// Whether no frame will come any more.
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// Whether there are frames after the end that was asked for.
    pub fn goes_on(&self) -> bool {
        self.passed_end
    }

    /// Whether times are counted from a clock that the container itself names: only then has a frame the same time
    /// wherever the reading begins.
    pub fn has_clock(&self) -> bool {
        self.clock
    }

    /// Everything that the times of frames to come depend on, beside their packets.
    pub fn digest(&self, d: &mut Digest) {
        d.option(self.origin, Digest::time);
        d.option(self.last, Digest::time);
        d.time(self.shift);
        d.time(self.step);
    }

    /// What was lost so far, as one number that only grows.
    pub fn losses(&self) -> u64 {
        let d = &self.damage;
        d.packets + d.frames + self.concealed.load(Ordering::Relaxed) + u64::from(d.stopped.is_some())
    }

    /// Whether reading stopped because of the server, not of the file.
    pub fn is_lost(&self) -> bool {
        self.lost
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
        while !self.done {
            if let Some(frame) = self.step()? {
                self.refused = 0;
                return Ok(Some(frame));
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

    /// Takes a frame from the decoder, or gives it a packet where it has none.
    fn step(&mut self) -> Result<Option<Frame>> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        let mut av = ff::frame::Video::empty();
        match self.decoder.receive_frame(&mut av) {
            Ok(()) => return self.admit(av),
            Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN && !self.draining => self.feed()?,
            Err(ff::Error::Eof) => self.finish(),
            // A packet that is refused is told of here or when it is sent, as the decoder's threads have it; and at the
            // end of the file there may be good frames behind it in other threads.
            Err(_) if self.draining => {
                self.damage.packets += 1;
                self.refused += 1;
                if self.refused >= MOST_REFUSED {
                    self.finish();
                }
            }
            Err(_) => {
                self.damage.packets += 1;
                self.feed()?;
            }
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

    /// From a keyframe to the next, where only those are wanted and the container's index knows it: of an object in a store
    /// what lies between is not fetched. After the last one reading goes on, for the film's end.
    fn jump(&mut self, packet: &ff::Packet) {
        // Jumps that would save less are not worth their request.
        const LEAST: u64 = 256 << 10;
        let (true, Some(dts)) = (self.io.is_some() && self.options.keyframes_only && packet.is_key(), packet.dts())
        else {
            return;
        };
        if self.jumped.is_some_and(|(_, to)| dts < to) {
            // It led elsewhere than the index says: no more of that.
            self.jumped = Some((dts, i64::MAX));
            return;
        }
        // SAFETY: look-ups in the open container's index, and a seek as `Input::seek` does it, but in one stream.
        unsafe {
            let stream = *(*self.input.as_ptr()).streams.add(self.stream);
            let entries = ffi::avformat_index_get_entries_count(stream);
            let here = ffi::av_index_search_timestamp(stream, dts, ffi::AVSEEK_FLAG_BACKWARD | ffi::AVSEEK_FLAG_ANY);
            if here < 0 {
                return;
            }
            let mut keyframes = (here + 1..entries).filter_map(|n| {
                let entry = ffi::avformat_index_get_entry(stream, n).as_ref()?;
                let start = u64::try_from(entry.pos).ok()?;
                let range = start..start.saturating_add(u64::try_from(entry.size()).unwrap_or(0));
                (entry.flags() & ffi::AVINDEX_KEYFRAME != 0).then_some((entry.timestamp, range))
            });
            let Some((timestamp, range)) = keyframes.next() else { return };
            let between = range.start.saturating_sub(u64::try_from(packet.position()).unwrap_or(u64::MAX));
            if timestamp <= dts || between < LEAST {
                return;
            }
            let then = keyframes.next().map(|(_, range)| range);
            let context = self.input.as_mut_ptr();
            // The index goes by decoding, a seek by presentation: a keyframe is presented as much later as this one.
            let shown = timestamp.saturating_add(packet.pts().map_or(0, |pts| pts.saturating_sub(dts)).max(0));
            if ffi::av_seek_frame(context, self.stream as i32, shown, ffi::AVSEEK_FLAG_BACKWARD) >= 0 {
                self.jumped = Some((dts, timestamp));
                if let Some(io) = &mut self.io {
                    io.expect(range, then);
                }
            }
        }
    }

    /// One packet of our stream into the decoder, or the end of the file.
    fn feed(&mut self) -> Result<()> {
        let mut invalid = 0;
        self.patience.begin();
        if let Some(live) = &mut self.live {
            live.reading();
        }
        loop {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let mut packet = ff::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => continue,
                // A jump that led back: this has been decoded.
                Ok(()) if self.jumped.is_some_and(|(from, _)| packet.dts().is_some_and(|dts| dts <= from)) => continue,
                Ok(()) => {
                    self.patience.end();
                    self.packets_read += 1;
                    let shown = packet.pts().map(|ts| rescale(ts, self.time_base));
                    self.last_packet = self.last_packet.max(shown);
                    if let Some(live) = &mut self.live
                        && !live.arrived(&packet)
                    {
                        return Ok(());
                    }
                    if packet.side_data().any(|d| d.kind() == ff::codec::packet::side_data::Type::EncryptionInfo) {
                        return Err(encrypted(&self.name));
                    }
                    if packet.is_corrupt() {
                        self.damage.packets += 1;
                    }
                    self.jump(&packet);
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
                // A container may take what cannot be read for its end.
                Err(ff::Error::Eof) if self.io.as_ref().and_then(Io::trouble).is_none() => {
                    self.ending = Some(ff::Error::Eof);
                    break;
                }
                Err(ff::Error::InvalidData) if invalid < MOST_INVALID => {
                    self.damage.packets += 1;
                    invalid += 1;
                }
                Err(ff::Error::Exit) if self.interrupt.is_set() => return Err(Error::Interrupted),
                Err(e) => {
                    // Only our patience makes FFmpeg leave where the user did not.
                    let late = e == ff::Error::Exit || is_timeout(e);
                    let trouble = self.io.as_ref().and_then(Io::trouble).filter(|t| *t != Trouble::Interrupted);
                    self.damage.stopped = Some(match trouble {
                        Some(trouble) => trouble.words(),
                        None if late => self.patience.cause(),
                        None => e.to_string(),
                    });
                    self.lost = self.patience.limit.is_some();
                    self.ending = Some(e);
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
            self.passed_end = true;
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
        let arrived = self.live.as_mut().map(|live| live.take(av.timestamp()));
        let frame =
            Frame { time, index: self.index, pts: own, arrived, av, orientation: self.orientation, sample_aspect };
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
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted("films/a-1.mp4"), "films/a-1.mp4");
        assert_eq!(quoted("it's a film.mp4"), r"'it'\''s a film.mp4'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
