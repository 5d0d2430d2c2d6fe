//! DASH: presentations in the MPD format (ISO/IEC 23009-1), for an FFmpeg that reads HLS.
//!
//! FFmpeg's own demuxer for DASH opens segments past every check of descry. So descry reads the manifest itself and
//! chooses the best video. If that is one file, the file is the input; else its segments become a playlist of HLS, which
//! FFmpeg reads like any other. Live presentations are read again whenever FFmpeg wants the playlist again.
//!
//! Memory: one manifest of at most [`MOST_BYTES`], and at most [`MOST_SEGMENTS`] addresses.

mod manifest;
mod playlist;
mod segments;
mod times;

pub(crate) use playlist::{DashPlaylists, Rendition};

/// Largest manifest in bytes.
pub(crate) const MOST_BYTES: usize = 4 << 20;
/// Most segments of a presentation: two days of seconds.
const MOST_SEGMENTS: usize = 200_000;

/// Whether bytes begin like a manifest.
pub(crate) fn is_manifest(head: &[u8]) -> bool {
    let head = &head[..head.len().min(4096)];
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && (text.contains("<MPD") || text.contains(":MPD "))
}
