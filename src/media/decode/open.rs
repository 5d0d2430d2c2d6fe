//! Opening an input: what can be said of it before FFmpeg looks, the container, and how long a server may take.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::bytes::Io;
use crate::error::{Error, Result};

/// How long a server may keep us waiting. FFmpeg asks it, together with the interrupt flag, wherever it blocks: its own
/// time-outs begin again with every reconnection and every byte.
#[derive(Clone)]
pub(super) struct Patience {
    /// Milliseconds after `since` at which it ends; 0 where nobody waits.
    end: Arc<AtomicU64>,
    since: Instant,
    /// None for what is no server.
    pub(super) limit: Option<Duration>,
}

impl Patience {
    pub(super) fn new(limit: Option<Duration>) -> Patience {
        Patience { end: Arc::default(), since: Instant::now(), limit }
    }

    pub(super) fn begin(&self) {
        if let Some(limit) = self.limit {
            let end = (self.since.elapsed() + limit).as_millis().max(1);
            self.end.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end != 0 && self.since.elapsed().as_millis() >= u128::from(end)
    }

    pub(super) fn cause(&self) -> String {
        format!("the server gave nothing for {} s", self.limit.unwrap_or_default().as_secs_f64())
    }
}

/// What can be said of a path without FFmpeg.
pub(super) fn check_path(input: &str) -> Result<()> {
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
/// that the header says of its streams: where one is refused, FFmpeg forgets it. `format`: what it is, where that is
/// not to be guessed from its first bytes. `io`: what is read through, where FFmpeg cannot open the address itself; it must
/// outlive the container.
pub(super) fn open_container(
    address: &CString,
    format: Option<&CStr>,
    stop: impl FnMut() -> bool + Send + 'static,
    options: ff::Dictionary,
    max_pixels: u64,
    io: Option<&Io>,
) -> std::result::Result<(ff::format::context::Input, Vec<(i32, i32)>), ff::Error> {
    let format = match format {
        // SAFETY: the name is a C string; what is found is static data of FFmpeg.
        Some(name) => match unsafe { ffi::av_find_input_format(name.as_ptr()) } {
            found if found.is_null() => return Err(ff::Error::DemuxerNotFound),
            found => found,
        },
        None => ptr::null(),
    };
    let limit = CString::new(max_pixels.min(i64::MAX as u64).to_string()).unwrap_or_default();
    // SAFETY: `open_input` frees the context where it fails; where it does not, the context is FFmpeg's to close until
    // `wrap` takes it, together with the guard that keeps the callback alive. The dictionaries are freed by `own` and by
    // the loop, one a stream that was known before; FFmpeg may have replaced them, and does not keep them.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        if let Some(io) = io {
            // Whatever becomes of the container, FFmpeg leaves this open: it is not its own.
            (*context).pb = io.context();
        }
        let interrupt = ff::util::interrupt::new(Box::new(stop));
        (*context).interrupt_callback = interrupt.interrupt;
        let mut options = options.disown();
        let code = ffi::avformat_open_input(&raw mut context, address.as_ptr(), format, &raw mut options);
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
pub(super) fn matroska_cut_off(path: &Path) -> Option<String> {
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
