//! Opening a container, and how far a file reaches.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::byte_io::ByteIo;
use super::deadline::Deadline;
use super::formats::find;
use super::nested::Opener;
use super::open_input::OpenInput;
use super::reading::Reading;
use crate::interrupt::Interrupt;
use crate::media::ffmpeg::parameters;
use crate::media::relay::Relay;
use crate::media::remote::RemoteError;

/// What to open, and how.
pub(super) struct ContainerRequest<'a> {
    /// Opens the input, and what its content names.
    pub(super) opener: Opener,
    /// The one format that it may be; if none, FFmpeg guesses from the first bytes.
    pub(super) format: Option<CString>,
    /// FFmpeg's options.
    pub(super) options: ff::Dictionary<'a>,
    /// Largest frame in pixels.
    pub(super) max_pixels: u64,
    /// What to read through, if FFmpeg does not open the input itself.
    pub(super) io: Option<ByteIo>,
    /// What FFmpeg connects to, if that is not the server itself.
    pub(super) relay: Option<Relay>,
}

/// An open container.
pub(super) struct Container {
    pub(super) open: OpenInput,
    /// Width and height of each stream by the container's header. FFmpeg forgets a size that it refuses.
    pub(super) sizes: Vec<(i32, i32)>,
    pub(super) deadline: Deadline,
}

/// Why a container could not be opened.
pub(super) struct OpenFailure {
    pub(super) error: ff::Error,
    /// What a server answered, or where the input must not lead.
    pub(super) remote: Option<RemoteError>,
    /// FFmpeg's name of its format and what to do about it, if that is one that the input must not have.
    pub(super) format: Option<(String, &'static str)>,
    /// Where the server of a relay leads.
    pub(super) redirect: Option<String>,
    /// Whether the deadline had passed. FFmpeg may report that in other words.
    pub(super) late: bool,
}

impl OpenFailure {
    fn new(error: ff::Error, reading: &mut Reading) -> OpenFailure {
        let redirect = reading.redirect();
        OpenFailure { error, remote: reading.cause(), format: reading.forbidden_format(), redirect, late: false }
    }

    /// A server that was not reached, before FFmpeg was asked.
    pub(super) fn unreached(fault: RemoteError) -> OpenFailure {
        let late = matches!(fault, RemoteError::Late(_));
        OpenFailure { error: ff::Error::Exit, remote: Some(fault), format: None, redirect: None, late }
    }
}

/// Opens a container and finds its streams. Gives up when interrupted or when the deadline passes.
pub(super) fn open_container(
    request: ContainerRequest<'_>,
    deadline: &Deadline,
    interrupt: &Interrupt,
) -> Result<Container, OpenFailure> {
    let (stopped, waiting) = (interrupt.clone(), deadline.clone());
    let stop = move || stopped.is_set() || waiting.has_passed();
    deadline.start();
    let opened = open_streams(request, stop);
    let late = deadline.has_passed();
    deadline.stop();
    let (open, sizes) = opened.map_err(|failure| OpenFailure { late, ..failure })?;
    Ok(Container { open, sizes, deadline: deadline.clone() })
}

/// Opens a container and finds its streams, whose sizes by the header it returns.
fn open_streams(
    request: ContainerRequest<'_>,
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<(OpenInput, Vec<(i32, i32)>), OpenFailure> {
    let ContainerRequest { opener, format, options, max_pixels, io, relay } = request;
    let mut reading = Reading::new(io, opener, relay);
    let input = match open_input(&mut reading, format.as_ref(), options, stop) {
        Ok(input) => input,
        Err(error) => return Err(OpenFailure::new(error, &mut reading)),
    };
    let mut open = OpenInput::new(input, reading);
    let sizes = header_sizes(open.input());
    match find_streams(open.input_mut(), max_pixels) {
        Ok(()) => Ok((open, sizes)),
        Err(error) => Err(OpenFailure::new(error, open.reading_mut())),
    }
}

/// `reading` must outlive the input.
fn open_input(
    reading: &mut Reading,
    format: Option<&CString>,
    mut options: ff::Dictionary<'_>,
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<ff::format::context::Input, ff::Error> {
    let format = match format {
        Some(name) => find(name).ok_or(ff::Error::DemuxerNotFound)?,
        None => {
            options.set("format_whitelist", &reading.origin().formats());
            ptr::null()
        }
    };
    // A picture whose name looks like a pattern is still one picture.
    options.set("pattern_type", "none");
    // Connections are kept by the client, not by FFmpeg, which takes a context that it did not make for its own.
    options.set("http_persistent", "0");
    options.set("http_multiple", "0");
    // Newer versions guess from a segment's name whether it may be read. The policy decides that here.
    options.set("extension_picky", "0");
    options.set("allowed_segment_extensions", "ALL");
    // SAFETY: `avformat_open_input` frees the context if it fails. Otherwise `wrap` takes it, together with the guard that
    // keeps the callback alive. FFmpeg may have replaced the dictionary, which `own` frees. `reading` outlives
    // the input.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        reading.install(context);
        let interrupt = ff::util::interrupt::new(Box::new(stop));
        (*context).interrupt_callback = interrupt.interrupt;
        let address = reading.address().as_ptr();
        let mut options = options.disown();
        let code = ffi::avformat_open_input(&raw mut context, address, format, &raw mut options);
        drop(ff::Dictionary::own(options));
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        Ok(ff::format::context::Input::wrap_with_interrupt(context, interrupt.guard))
    }
}

fn header_sizes(input: &ff::format::context::Input) -> Vec<(i32, i32)> {
    // SAFETY: plain reads of integers of valid streams' parameters.
    input.streams().map(|s| unsafe { ((*parameters(&s)).width, (*parameters(&s)).height) }).collect()
}

/// Finds the streams by decoding their first frames. `ffmpeg_next` cannot limit how large those may be, and a header can
/// ask for hundreds of megabytes.
fn find_streams(input: &mut ff::format::context::Input, max_pixels: u64) -> Result<(), ff::Error> {
    let limit = CString::new(max_pixels.min(i64::MAX as u64).to_string()).unwrap_or_default();
    // SAFETY: there is one dictionary for each stream known before the call. FFmpeg may replace them but does not keep
    // them; the second loop frees them.
    let code = unsafe {
        let context = input.as_mut_ptr();
        let mut options: Vec<*mut ffi::AVDictionary> = vec![ptr::null_mut(); (*context).nb_streams as usize];
        for dictionary in &mut options {
            ffi::av_dict_set(&raw mut *dictionary, c"max_pixels".as_ptr(), limit.as_ptr(), 0);
        }
        let list = if options.is_empty() { ptr::null_mut() } else { options.as_mut_ptr() };
        let code = ffi::avformat_find_stream_info(context, list);
        for dictionary in &mut options {
            ffi::av_dict_free(&raw mut *dictionary);
        }
        code
    };
    if code < 0 { Err(ff::Error::from(code)) } else { Ok(()) }
}

/// Major version of FFmpeg's container library. Some options have other names in other versions.
pub fn container_version() -> u32 {
    // SAFETY: a pure function.
    unsafe { ffi::avformat_version() >> 16 }
}

/// The command that lists what is in a file, as a shell takes it: the remedy of many errors.
pub(super) fn ffprobe(name: &str) -> String {
    format!("ffprobe {}", shlex::try_quote(name).unwrap_or(name.into()))
}

/// Bytes at the start of a Matroska file in which its segment begins.
const MATROSKA_HEAD: u64 = 4096;
const EBML_HEADER: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// How a Matroska file is cut off, if it ends before its segment does. FFmpeg takes such an end for the film's own.
pub(super) fn matroska_cut_off(path: &Path) -> Option<String> {
    use std::io::Read;
    let size = std::fs::metadata(path).ok().filter(|m| m.is_file())?.len();
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(MATROSKA_HEAD).read_to_end(&mut head).ok()?;
    let (body, length) = matroska_element(&head, 0, EBML_HEADER)?;
    let (start, length) = matroska_element(&head, body.checked_add(usize::try_from(length).ok()?)?, SEGMENT)?;
    let whole = (start as u64).checked_add(length)?;
    (size < whole).then(|| format!("the file is cut off, {size} of {whole} bytes are there"))
}

/// Where an element's body begins, and its length. An element is its name, then a number whose leading zeros give its
/// length in bytes (RFC 8794), then as many bytes.
fn matroska_element(head: &[u8], at: usize, name: [u8; 4]) -> Option<(usize, u64)> {
    let rest = head.get(at..)?.strip_prefix(&name)?;
    let width = rest.first()?.leading_zeros() as usize + 1;
    let bytes = rest.get(..width).filter(|_| width <= 8)?;
    let length = bytes.iter().fold(0u64, |v, &b| v << 8 | u64::from(b)) & !(1 << (7 * width));
    // All ones: unknown, as in a live recording.
    (length != (1 << (7 * width)) - 1).then_some((at + 4 + width, length))
}
