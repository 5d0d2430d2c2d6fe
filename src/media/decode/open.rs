//! Opening files, URLs and objects: [`Source::open`].

use std::ffi::CString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

use ffmpeg_next as ff;

use super::container::{ContainerRequest, OpenFailure, ffprobe, matroska_cut_off, open_container};
use super::deadline::{Deadline, is_timeout};
use super::log::init;
use super::named_pipe::{OpenPipe, PROTOCOLS};
use super::object_io::ObjectIo;
use super::options::DecodeOptions;
use super::source::Source;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;

impl Source {
    /// Opens an input and its best video stream. Nothing is decoded yet.
    ///
    /// # Errors
    /// If the input cannot be read, has no video, is encrypted, or exceeds a limit of the options.
    pub fn open(input: &str, options: &DecodeOptions, interrupt: Interrupt) -> Result<Source> {
        init();
        let input = Address::new(input);
        // Messages name the input without its credentials.
        let name = input.shown();
        let pipe = if input.is_url() { None } else { check_path(&name, &interrupt)? };
        let io = if input.is_object() {
            Some(ObjectIo::open(input.reveal(), options.timeout, interrupt.clone())?)
        } else {
            None
        };
        let (target, dictionary) = match &pipe {
            Some(pipe) => pipe_address(pipe),
            None => ffmpeg_address(&input, options),
        };
        let address = CString::new(target).map_err(|_| {
            Error::input(name.escape_debug().to_string(), "the name holds a NUL byte", "Rename the file.")
        })?;
        let deadline = Deadline::new(input.is_url().then_some(options.timeout));
        let request = ContainerRequest {
            address: &address,
            format: None,
            options: dictionary,
            max_pixels: options.max_pixels,
            io,
        };
        let container = open_container(request, &deadline, &interrupt).map_err(|failure| {
            if interrupt.is_set() { Error::Interrupted } else { explain(&input, failure, &deadline) }
        })?;
        let mut source = Source::new(&name, container, options, interrupt)?;
        source.pipe = pipe;
        if source.info().container.starts_with("matroska") && !input.is_url() {
            source.cut_off = matroska_cut_off(Path::new(input.reveal()));
        }
        Ok(source)
    }
}

fn pipe_address(pipe: &OpenPipe) -> (String, ff::Dictionary<'static>) {
    let mut dictionary = ff::Dictionary::new();
    dictionary.set("protocol_whitelist", PROTOCOLS);
    (pipe.address(), dictionary)
}

/// What FFmpeg opens, and with which options.
fn ffmpeg_address(address: &Address, options: &DecodeOptions) -> (String, ff::Dictionary<'static>) {
    let mut dictionary = ff::Dictionary::new();
    let input = address.reveal();
    if address.is_object() {
        // Nothing but the object itself: a playlist in a bucket must not make us open anything else.
        dictionary.set("protocol_whitelist", "crypto,data");
        let path = input.split(['?', '#']).next().unwrap_or(input);
        return (path.rsplit('/').next().unwrap_or("object").to_string(), dictionary);
    }
    if !address.is_url() {
        // Only real files behind a path: a playlist on disk must not make us open the network.
        dictionary.set("protocol_whitelist", "file,crypto,data");
        return (format!("file:{input}"), dictionary);
    }
    dictionary.set("protocol_whitelist", "file,crypto,data,http,https,httpproxy,tcp,tls,udp,rtp,rtsp,srt,rtmp");
    if input.starts_with("http") {
        // Not `reconnect_streamed`: it starts again from the first byte, which is another place in the film, and repeats
        // that for ever. `reconnect` continues from where the server stopped.
        dictionary.set("reconnect", "1");
        dictionary.set("reconnect_delay_max", "4");
        let access = &options.access;
        dictionary.set("tls_verify", if access.insecure { "0" } else { "1" });
        if let Some(path) = access.authorities.as_ref().and_then(|a| a.path().to_str()) {
            dictionary.set("ca_file", path);
        }
    }
    dictionary.set("rw_timeout", &options.timeout.as_micros().max(1).to_string());
    (input.to_string(), dictionary)
}

fn explain(address: &Address, failure: OpenFailure, deadline: &Deadline) -> Error {
    if let Some(remote) = failure.remote {
        return remote.input(address.reveal());
    }
    let input = &address.shown();
    match failure.error {
        e if e == ff::Error::Exit || is_timeout(e) => Error::input(
            input,
            deadline.cause(),
            message!["Check the address, or wait longer with ", Setting::Timeout, "."],
        ),
        ff::Error::Eof => Error::input(
            input,
            "ends with its header: it holds no frames",
            "Copy or download it again, or record it again.",
        ),
        ff::Error::InvalidData => Error::input(
            input,
            "not a video that FFmpeg can read, or cut off before its index",
            format!("Check that the file is complete: {}", ffprobe(input)),
        ),
        e => Error::input(
            input,
            format!("cannot be opened: {e}"),
            format!("Check the address, or the file: {}", ffprobe(input)),
        ),
    }
}

/// Checks a path before FFmpeg opens it: FFmpeg's own errors are less precise.
///
/// Returns the pipe if it is a named pipe.
fn check_path(input: &str, interrupt: &Interrupt) -> Result<Option<OpenPipe>> {
    const UNREADABLE: &str = "Make the file and its folders readable for this user.";
    let path = Path::new(input);
    if input == "-" {
        return Err(Error::input(
            input,
            "standard input cannot be read, because a video must be read from several positions",
            "Write it to a file first and name that (a file called - is ./-).",
        ));
    }
    let fail = |e: std::io::Error, remedy| match e.kind() {
        ErrorKind::NotFound => Error::input(input, "no such file", "Check the path."),
        ErrorKind::PermissionDenied => Error::input(input, "permission denied", UNREADABLE),
        _ => Error::input(input, format!("cannot be opened: {e}"), remedy),
    };
    let metadata = std::fs::metadata(path).map_err(|e| fail(e, "Check the path."))?;
    if metadata.is_dir() {
        return Err(Error::input(input, "is a folder, not a video", "Name the files in it, for example FOLDER/*.mp4."));
    }
    let pipe = OpenPipe::open(path, &|| interrupt.is_set()).map_err(|e| match e.kind() {
        ErrorKind::Interrupted => Error::Interrupted,
        _ => fail(e, UNREADABLE),
    })?;
    if pipe.is_some() {
        return Ok(pipe);
    }
    if !metadata.is_file() && !is_disk(&metadata) {
        return Err(Error::input(input, "is a device or a socket, not a video", "Name a file."));
    }
    std::fs::File::open(path).map_err(|e| fail(e, UNREADABLE))?;
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Error::input(input, "the file is empty (0 bytes)", "Copy or download it again."));
    }
    Ok(None)
}

/// Whether it is a disk, such as a DVD.
fn is_disk(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type());
    #[cfg(not(unix))]
    return !metadata.is_file();
}
