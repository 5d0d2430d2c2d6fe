//! What a container reads through: bytes that descry reads, and the function that opens whatever its content names.

use std::ffi::CStr;
use std::io::Read;
use std::path::Path;

use ffmpeg_next::ffi;

use super::byte_io::ByteIo;
use super::formats::{Origin, remedy};
use super::nested::Opener;
use crate::media::relay::Relay;
use crate::media::remote::RemoteError;

/// Bytes from the start of a file by which its format is named in a message.
const PROBED: u64 = 64 << 10;

/// What a container reads through. Dropped after it.
pub(super) struct Reading {
    /// What to read through, if FFmpeg does not open the input itself.
    io: Option<ByteIo>,
    /// Owned. A plain pointer, because the container has it too.
    opener: *mut Opener,
    /// What FFmpeg is connected to, if that is not the server itself.
    relay: Option<Relay>,
}

// SAFETY: one thread at a time uses it, that of its container.
unsafe impl Send for Reading {}

impl Reading {
    pub(super) fn new(io: Option<ByteIo>, opener: Opener, relay: Option<Relay>) -> Reading {
        Reading { io, opener: Box::into_raw(Box::new(opener)), relay }
    }

    fn opener(&self) -> &Opener {
        // SAFETY: made in `new`. FFmpeg uses it only while it is called, so nothing changes it meanwhile.
        unsafe { &*self.opener }
    }

    /// Makes a container that is not open yet read through this.
    ///
    /// # Safety
    /// `context` must be valid and must not outlive `self`.
    pub(super) unsafe fn install(&mut self, context: *mut ffi::AVFormatContext) {
        // SAFETY: the opener lives as long as `self`. FFmpeg never closes `pb`: it is not its own.
        unsafe {
            Opener::install(self.opener, context);
            if let Some(io) = &self.io {
                (*context).pb = io.context();
            }
        }
    }

    /// Where the input comes from.
    pub(super) fn origin(&self) -> Origin {
        self.opener().origin()
    }

    /// What FFmpeg calls the input.
    pub(super) fn address(&self) -> &CStr {
        self.opener().address()
    }

    /// What descry reads for FFmpeg.
    pub(super) fn io_mut(&mut self) -> Option<&mut ByteIo> {
        self.io.as_mut()
    }

    /// Why reading failed, or why the input must not be read to its end.
    pub(super) fn error(&self) -> Option<RemoteError> {
        self.io.as_ref().and_then(ByteIo::error).or_else(|| self.opener().fault().refusal())
    }

    /// Why the input could not be opened, as far as a server is to blame.
    pub(super) fn cause(&self) -> Option<RemoteError> {
        let relay = || self.relay.as_ref().and_then(Relay::fault);
        self.error().or_else(|| self.opener().fault().get()).or_else(relay)
    }

    /// Where the server of a relay leads.
    pub(super) fn redirect(&self) -> Option<String> {
        self.relay.as_ref().and_then(Relay::redirect)
    }

    /// The format of what could not be opened, if the input must not have it, and what to do about it.
    pub(super) fn forbidden_format(&mut self) -> Option<(String, &'static str)> {
        let origin = self.origin();
        let head = match &mut self.io {
            Some(io) => io.head(),
            None if origin == Origin::File => file_head(self.address())?,
            None => return None,
        };
        let format = origin.forbidden_format(self.address(), &head)?;
        let remedy = remedy(&format, origin);
        Some((format, remedy))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and dropped here alone. The container is closed by now.
        unsafe { drop(Box::from_raw(self.opener)) };
    }
}

/// The first bytes of a file.
fn file_head(address: &CStr) -> Option<Vec<u8>> {
    let path = Path::new(address.to_str().ok()?.strip_prefix("file:")?);
    // Opening a named pipe would wait for its writer.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(PROBED).read_to_end(&mut head).ok()?;
    Some(head)
}
