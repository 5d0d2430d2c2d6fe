//! Inputs on web servers: a film, a playlist of HLS, or a presentation of DASH, which FFmpeg gets as HLS.

use std::ffi::CString;
use std::time::SystemTime;

use super::byte_io::{ByteIo, ByteLabels};
use crate::media::access::AccessPolicy;
use crate::media::byte_source::{ByteSource, MemoryBytes};
use crate::media::dash::{DashPlaylists, MOST_BYTES, Rendition, is_manifest};
use crate::media::remote::{RemoteError, StopCheck};
use crate::media::web::{WebClient, WebRange, WebSource};

/// What a server of HLS calls a playlist.
const HLS: &str = "application/vnd.apple.mpegurl";

/// An input on a web server.
pub(super) struct WebInput {
    pub(super) client: WebClient,
    /// Makes playlists again, if the input is a presentation of DASH.
    dash: Option<DashPlaylists>,
}

impl WebInput {
    /// Opens an address. Returns what FFmpeg reads.
    ///
    /// # Errors
    /// If the server does not give it, or must not be asked.
    pub(super) fn open(
        address: &str,
        access: &AccessPolicy,
        stop: StopCheck,
    ) -> Result<(WebInput, ByteIo), RemoteError> {
        let client = WebClient::new(address, access, stop)?;
        let mut input = WebInput { client, dash: None };
        let mut source = input.source()?;
        let io = if is_manifest(source.peek()?) {
            match input.read_manifest(source)? {
                Rendition::File(url) => web_io(WebSource::open(&input.client, url, WebRange::default(), true)?),
                Rendition::Playlist(text) => input.playlist_io(text),
            }
        } else {
            web_io(source)
        };
        Ok((input, io.ok_or_else(no_memory)?))
    }

    /// What FFmpeg calls the input.
    pub(super) fn address(&self) -> CString {
        CString::new(self.client.named().as_str()).unwrap_or_default()
    }

    /// The playlist of a presentation as it is now; none if the input is no presentation.
    pub(super) fn reopen(&mut self) -> Option<Result<ByteIo, RemoteError>> {
        self.dash.as_ref()?;
        Some(self.source().and_then(|source| self.read_manifest(source)).and_then(|rendition| match rendition {
            Rendition::Playlist(text) => self.playlist_io(text).ok_or_else(no_memory),
            Rendition::File(_) => Err(RemoteError::Changed),
        }))
    }

    fn source(&self) -> Result<WebSource, RemoteError> {
        WebSource::open(&self.client, self.client.named().clone(), WebRange::default(), true)
    }

    fn read_manifest(&mut self, mut source: WebSource) -> Result<Rendition, RemoteError> {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 32 << 10];
        loop {
            match source.read(&mut piece)? {
                0 => break,
                n if bytes.len() + n > MOST_BYTES => {
                    return Err(RemoteError::Other(format!("its manifest has more than {} MB", MOST_BYTES >> 20)));
                }
                n => bytes.extend_from_slice(&piece[..n]),
            }
        }
        let mut dash = self.dash.take().unwrap_or_default();
        let rendition = dash.read(&String::from_utf8_lossy(&bytes), source.url(), SystemTime::now());
        self.dash = Some(dash);
        rendition.map_err(|words| RemoteError::Other(format!("not a DASH presentation that descry can read: {words}")))
    }

    fn playlist_io(&self, text: String) -> Option<ByteIo> {
        let labels = ByteLabels { location: self.address(), mime_type: CString::new(HLS).unwrap_or_default() };
        ByteIo::new(Box::new(MemoryBytes::new(text.into_bytes())), Some(labels))
    }
}

/// Whether an address is one of a web server.
pub(super) fn is_web(address: &str) -> bool {
    address
        .split_once("://")
        .is_some_and(|(scheme, _)| ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)))
}

/// Lets FFmpeg read from a web server; none if there is no memory for it.
pub(super) fn web_io(source: WebSource) -> Option<ByteIo> {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let labels = ByteLabels { location: text(source.url().as_str()), mime_type: text(source.mime_type()) };
    ByteIo::new(Box::new(source), Some(labels))
}

pub(super) fn no_memory() -> RemoteError {
    RemoteError::Other("not enough memory to read it".into())
}
