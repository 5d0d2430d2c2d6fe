//! Opening files, URLs and objects: [`Source::open`].

use std::ffi::CString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::Path;

use ffmpeg_next as ff;

use super::byte_io::ByteIo;
use super::container::{
    Container, ContainerRequest, OpenFailure, container_version, ffprobe, matroska_cut_off, open_container,
};
use super::deadline::{Deadline, is_timeout, stop_check};
use super::formats::Origin;
use super::log::init;
use super::named_pipe::{OpenPipe, PROTOCOLS};
use super::nested::Opener;
use super::options::DecodeOptions;
use super::ranges::{ObjectRanges, RangeReader};
use super::relayed::open_relayed;
use super::source::Source;
use super::web_input::{WebInput, is_web, no_memory};
use crate::address::{Address, NO_SLASHES};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::byte_source::ByteSource;
use crate::media::object_store::Bucket;
use crate::media::relay::RelayRequest;
use crate::message;
use crate::message::Setting;

impl Source {
    /// Opens an input and its best video stream. Nothing is decoded yet.
    ///
    /// # Errors
    /// If the input cannot be read, has no video, is encrypted, or exceeds a limit of the options.
    pub fn open(input: &Address, options: &DecodeOptions, interrupt: Interrupt) -> Result<Source> {
        let name = input.shown();
        let (container, pipe) = open_any(input, options, &interrupt)?;
        let mut source = Source::new(&name, container, options, interrupt)?;
        source.pipe = pipe;
        if source.info().container.starts_with("matroska") && !input.is_url() {
            source.cut_off = matroska_cut_off(Path::new(input.reveal()));
        }
        Ok(source)
    }
}

/// Opens the container of an input. If that is a named pipe, it is returned too, and must be dropped after the container.
///
/// # Errors
/// If the input cannot be read.
pub(super) fn open_any(
    input: &Address,
    options: &DecodeOptions,
    interrupt: &Interrupt,
) -> Result<(Container, Option<OpenPipe>)> {
    init();
    // Messages name the input without its credentials.
    let name = input.shown();
    let pipe = if input.is_url() { None } else { check_path(input, interrupt)? };
    let deadline = Deadline::new(input.is_url().then_some(options.timeout));
    deadline.start();
    let opened = match RelayRequest::new(input, &options.access).map_err(|e| e.web_input(&name))? {
        Some(relayed) => {
            let ffmpeg = relayed_options(&relayed, options);
            open_relayed(relayed, &ffmpeg, options, &deadline, interrupt)
        }
        None => {
            let request = container_request(input, pipe.as_ref(), options, &deadline, interrupt)?;
            open_container(request, &deadline, interrupt)
        }
    };
    let container = opened
        .map_err(|failure| if interrupt.is_set() { Error::Interrupted } else { explain(input, failure, &deadline) })?;
    Ok((container, pipe))
}

/// FFmpeg's options for what is behind a relay.
fn relayed_options(request: &RelayRequest, options: &DecodeOptions) -> Vec<(&'static str, String)> {
    let micros = options.timeout.as_micros().max(1).to_string();
    if !request.is_rtsp() {
        return vec![("protocol_whitelist", "rtmp,tcp".into()), ("rw_timeout", micros)];
    }
    let timeout = if container_version() >= 59 { "timeout" } else { "stimeout" };
    // Never as multicast, whose address the server chooses. Datagrams only if there is no other way, because some get lost.
    let (transport, protocols) =
        if request.is_secure() { ("tcp", "rtsp,rtp,tcp") } else { ("tcp+udp", "rtsp,rtp,tcp,udp") };
    vec![
        ("protocol_whitelist", protocols.into()),
        ("rtsp_transport", transport.into()),
        ("rtsp_flags", "prefer_tcp".into()),
        (timeout, micros),
    ]
}

/// How FFmpeg opens an input.
fn container_request(
    input: &Address,
    pipe: Option<&OpenPipe>,
    options: &DecodeOptions,
    deadline: &Deadline,
    interrupt: &Interrupt,
) -> Result<ContainerRequest<'static>> {
    let address = |text: String| {
        CString::new(text).map_err(|_| {
            let name = input.shown().escape_debug().to_string();
            Error::input(name, "the name holds a NUL byte", "Rename the file.")
        })
    };
    let reveal = input.reveal();
    let mut dictionary = ff::Dictionary::new();
    let (opener, io) = if let Some(pipe) = pipe {
        dictionary.set("protocol_whitelist", PROTOCOLS);
        (Opener::new(address(pipe.address())?, Origin::File), None)
    } else if input.is_object() {
        // Bytes that stand in an address, at most.
        dictionary.set("protocol_whitelist", "data");
        let path = reveal.split(['?', '#']).next().unwrap_or(reveal);
        let name = address(path.rsplit('/').next().unwrap_or("object").to_string())?;
        let io = ByteIo::new(object_bytes(input, options, interrupt.clone())?, None);
        (Opener::object(name), Some(io.ok_or_else(|| no_memory().input(&input.shown()))?))
    } else if is_web(reveal) {
        dictionary.set("protocol_whitelist", "data");
        let opened = WebInput::open(reveal, &options.access, stop_check(deadline, interrupt));
        let (web, io) = opened.map_err(|e| e.web_input(&input.shown()))?;
        (Opener::web(web), Some(io))
    } else if input.is_url() {
        dictionary.set("protocol_whitelist", "tcp,udp,rtp,srt");
        dictionary.set("rw_timeout", &options.timeout.as_micros().max(1).to_string());
        (Opener::new(address(reveal.to_string())?, Origin::Stream), None)
    } else {
        dictionary.set("protocol_whitelist", "file");
        (Opener::new(address(format!("file:{reveal}"))?, Origin::File), None)
    };
    Ok(ContainerRequest { opener, format: None, options: dictionary, max_pixels: options.max_pixels, io, relay: None })
}

/// The bytes of an object. None of them is read yet.
fn object_bytes(address: &Address, options: &DecodeOptions, interrupt: Interrupt) -> Result<Box<dyn ByteSource>> {
    let (bucket, path) = Bucket::open(address, options.timeout, &options.access, interrupt)?;
    let (object, _) = bucket.head(&path).map_err(|e| e.input(&address.shown()))?;
    if object.size == 0 {
        return Err(Error::input(address.shown(), "the object is empty (0 bytes)", "Upload it again."));
    }
    let size = object.size;
    Ok(Box::new(RangeReader::new(ObjectRanges { bucket, object }, size)))
}

fn explain(address: &Address, failure: OpenFailure, deadline: &Deadline) -> Error {
    let input = &address.shown();
    if let Some((format, remedy)) = failure.format {
        return Error::input(input, format!("its format is {format}, which is none of a video"), remedy);
    }
    if let Some(remote) = failure.remote {
        return if address.is_object() { remote.input(input) } else { remote.web_input(input) };
    }
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
        ff::Error::HttpUnauthorized | ff::Error::HttpForbidden => Error::input(
            input,
            format!("access is refused: {}", failure.error),
            "Check the user name and the password in the address.",
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
fn check_path(address: &Address, interrupt: &Interrupt) -> Result<Option<OpenPipe>> {
    const UNREADABLE: &str = "Make the file and its folders readable for this user.";
    // A message may show less than the path.
    let (path, input) = (Path::new(address.reveal()), &address.shown());
    if input == "-" {
        return Err(Error::input(
            input,
            "standard input cannot be read, because a video must be read from several positions",
            "Write it to a file first and name that (a file called - is ./-).",
        ));
    }
    let fail = |e: std::io::Error, remedy| match e.kind() {
        ErrorKind::NotFound if address.lacks_slashes() => {
            Error::input(input, NO_SLASHES, "Write SCHEME://… for an address.")
        }
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
