//! The one place through which FFmpeg opens anything: an input itself, and what its content names.
//!
//! FFmpeg calls [`open`] for every file or address that a demuxer wants, and for the input unless descry reads that itself.
//! A file leads to nothing else. An address of a web server leads to other web servers only, through the
//! [client](crate::media::web::WebClient) of the input, whose policy decides which. Demuxers that open things past this
//! function are left out of the [formats](super::formats) that an input may have; the list of protocols is a second bar.
//!
//! Memory: the sources that FFmpeg holds open, which are a few segments of a playlist.

use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::byte_io::{ByteIo, error_code};
use super::encrypted_bytes::EncryptedBytes;
use super::formats::Origin;
use super::web_input::{WebInput, no_memory, web_io};
use crate::address::{Address, hide};
use crate::media::remote::RemoteError;
use crate::media::web::{WebRange, WebSource, parse};

/// FFmpeg's own function that opens.
type OpenFn = unsafe extern "C" fn(
    *mut ffi::AVFormatContext,
    *mut *mut ffi::AVIOContext,
    *const c_char,
    c_int,
    *mut *mut ffi::AVDictionary,
) -> c_int;
/// FFmpeg's own function that closes.
type CloseFn = unsafe extern "C" fn(*mut ffi::AVFormatContext, *mut ffi::AVIOContext) -> c_int;

/// Opens what an input and its content name. Outlives the container that uses it.
pub(super) struct Opener {
    /// What FFmpeg calls the input.
    address: CString,
    origin: Origin,
    /// Whether FFmpeg opens the input itself, and descry only what its content names.
    by_ffmpeg: bool,
    /// An input on a web server.
    web: Option<WebInput>,
    defaults: Option<(OpenFn, CloseFn)>,
    /// What is open. FFmpeg closes each before the container, or with it.
    opened: Vec<ByteIo>,
    fault: NestedFault,
}

/// Why something that the content names was not opened: a refusal before anything else, else what came last.
#[derive(Clone, Default)]
pub(super) struct NestedFault(Arc<Mutex<Option<RemoteError>>>);

impl NestedFault {
    pub(super) fn get(&self) -> Option<RemoteError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the input must not reach, or a certificate that is not accepted. Other faults may be no harm: a playlist of a
    /// live stream can name a segment that is gone.
    pub(super) fn refusal(&self) -> Option<RemoteError> {
        self.get().filter(|e| matches!(e, RemoteError::Refused(_) | RemoteError::Untrusted(_)))
    }

    fn set(&self, fault: RemoteError) {
        if self.refusal().is_none() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        }
    }
}

impl Opener {
    /// For an input that FFmpeg calls `address` and opens itself.
    pub(super) fn new(address: CString, origin: Origin) -> Opener {
        let (defaults, opened, fault) = (None, Vec::new(), NestedFault::default());
        Opener { address, origin, by_ffmpeg: true, web: None, defaults, opened, fault }
    }

    /// For an object, which descry reads.
    pub(super) fn object(name: CString) -> Opener {
        Opener { by_ffmpeg: false, ..Opener::new(name, Origin::File) }
    }

    /// For an input on a web server, which descry reads, and which leads to other web servers.
    pub(super) fn web(input: WebInput) -> Opener {
        let address = input.address();
        Opener { by_ffmpeg: false, web: Some(input), ..Opener::new(address, Origin::Web) }
    }

    /// Where the input comes from.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// What FFmpeg calls the input.
    pub(super) fn address(&self) -> &CStr {
        &self.address
    }

    /// Why something was not opened.
    pub(super) fn fault(&self) -> NestedFault {
        self.fault.clone()
    }

    /// Makes a container that is not open yet open everything through `opener`.
    ///
    /// # Safety
    /// Both must be valid, and `context` must not outlive `opener`.
    pub(super) unsafe fn install(opener: *mut Opener, context: *mut ffi::AVFormatContext) {
        // SAFETY: the fields are those of FFmpeg's user. The context's own functions are kept.
        unsafe {
            (*opener).defaults = (*context).io_open.zip((*context).io_close2);
            (*context).opaque = opener.cast();
            (*context).io_open = Some(open);
            (*context).io_close2 = Some(close);
        }
    }

    /// Opens what the content of the input names.
    fn open(&mut self, url: &CStr, options: &IoOptions) -> Result<ByteIo, RemoteError> {
        if url == self.address.as_c_str()
            && let Some(playlist) = self.web.as_mut().and_then(WebInput::reopen)
        {
            return playlist;
        }
        let url = url.to_string_lossy();
        // Whatever credentials it has are hidden from now on.
        let shown = Address::led_to(url.as_ref()).shown();
        let Some(web) = &self.web else {
            return Err(RemoteError::Refused(format!("it leads to {}", hide(&shown))));
        };
        let plain = url.strip_prefix("crypto+").or(url.strip_prefix("crypto:"));
        let target = parse(plain.unwrap_or(&url)).map_err(|e| match e {
            RemoteError::Refused(words) => RemoteError::Refused(words),
            _ => RemoteError::Refused(format!("it leads to {}, which is no address of a web server", hide(&shown))),
        })?;
        let source = WebSource::open(&web.client, target, options.range, options.parts)?;
        let io = match plain {
            None => web_io(source),
            Some(_) => {
                let (key, iv) =
                    options.key.zip(options.iv).ok_or_else(|| RemoteError::Other("a segment has no key".into()))?;
                EncryptedBytes::new(Box::new(source), key, iv).and_then(|source| ByteIo::new(Box::new(source), None))
            }
        };
        io.ok_or_else(no_memory)
    }
}

/// What a demuxer asks for besides an address.
#[derive(Debug, Default)]
struct IoOptions {
    range: WebRange,
    /// Whether parts may be asked for.
    parts: bool,
    key: Option<[u8; 16]>,
    iv: Option<[u8; 16]>,
}

impl IoOptions {
    /// # Safety
    /// `options` must be null or point to a dictionary.
    unsafe fn read(options: *mut *mut ffi::AVDictionary) -> IoOptions {
        // SAFETY: the dictionary is valid, and so are the texts in it until it changes.
        let get = |name: &CStr| unsafe {
            let dictionary = options.as_ref().copied().unwrap_or(ptr::null_mut());
            let entry = ffi::av_dict_get(dictionary, name.as_ptr(), ptr::null(), 0);
            let value = entry.as_ref().map(|entry| CStr::from_ptr(entry.value));
            value.and_then(|value| value.to_str().ok()).map(str::to_string)
        };
        let end = get(c"end_offset").and_then(|text| text.parse().ok());
        IoOptions {
            range: WebRange {
                start: get(c"offset").and_then(|text| text.parse().ok()).unwrap_or(0),
                end: end.filter(|end| *end > 0),
            },
            parts: get(c"seekable").as_deref() != Some("0"),
            key: get(c"key").and_then(|text| block(&text)),
            iv: get(c"iv").and_then(|text| block(&text)),
        }
    }
}

/// A key or an initialization vector in hexadecimal digits.
fn block(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Called by FFmpeg to open a file or an address.
unsafe extern "C" fn open(
    context: *mut ffi::AVFormatContext,
    io: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    options: *mut *mut ffi::AVDictionary,
) -> c_int {
    let refused = ffi::AVERROR(ff::util::error::EPERM);
    // SAFETY: FFmpeg passes a context of `install`, whose opener is alive, and valid pointers.
    unsafe {
        let Some(opener) = (*context).opaque.cast::<Opener>().as_mut() else { return refused };
        let address = CStr::from_ptr(url);
        *io = ptr::null_mut();
        let is_data = opener.web.is_some() && address.to_bytes().starts_with(b"data:");
        // The input itself, unless descry reads that, and bytes that stand in the address.
        if (opener.by_ffmpeg && address == opener.address.as_c_str()) || is_data {
            return match opener.defaults {
                Some((open, _)) => open(context, io, url, flags, options),
                None => refused,
            };
        }
        if flags & ffi::AVIO_FLAG_WRITE as c_int != 0 {
            return refused;
        }
        let options = IoOptions::read(options);
        // A panic must not unwind through FFmpeg's frames.
        let opened = catch_unwind(AssertUnwindSafe(|| opener.open(address, &options)));
        match opened.unwrap_or_else(|_| Err(RemoteError::Other("opening it failed".into()))) {
            Ok(opened) => {
                *io = opened.context();
                opener.opened.push(opened);
                0
            }
            Err(fault) => {
                let code = error_code(&fault);
                opener.fault.set(fault);
                code
            }
        }
    }
}

/// Called by FFmpeg to close what it opened.
unsafe extern "C" fn close(context: *mut ffi::AVFormatContext, io: *mut ffi::AVIOContext) -> c_int {
    // SAFETY: as for `open`. What is not ours was opened by FFmpeg's own function.
    unsafe {
        let Some(opener) = (*context).opaque.cast::<Opener>().as_mut() else { return 0 };
        if let Some(at) = opener.opened.iter().position(|opened| opened.context() == io) {
            drop(opener.opened.swap_remove(at));
            return 0;
        }
        match opener.defaults {
            Some((_, close)) if !io.is_null() => close(context, io),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_hexadecimal_digits() {
        assert_eq!(block("000102030405060708090A0b0c0d0e0f").unwrap()[10..], [10, 11, 12, 13, 14, 15]);
        assert_eq!((block("00"), block(&"zz".repeat(16)), block(&"é".repeat(16))), (None, None, None));
    }

    #[test]
    fn a_file_leads_to_nothing() {
        let mut opener = Opener::new(c"file:list.m3u8".into(), Origin::File);
        for url in [c"file:other.ts", c"other.ts", c"http://host/a.ts", c"data:,x", c"concat:a|b", c"file:list.m3u8 "] {
            assert!(matches!(opener.open(url, &IoOptions::default()), Err(RemoteError::Refused(_))), "{url:?}");
        }
    }
}
