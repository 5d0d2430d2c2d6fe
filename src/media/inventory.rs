//! What the FFmpeg of this process has: its libraries, and the decoders, encoders and protocols that descry's documents name.
//!
//! Nothing is opened. A build of FFmpeg may lack any of these, and then only the inputs and outputs that need it fail.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use ffmpeg_next::ffi;
use serde::Serialize;

/// What uses a part of FFmpeg, and the names of which one is enough.
type Wanted = (&'static str, &'static [&'static str]);

const DECODERS: &[Wanted] = &[
    ("H.264", &["h264"]),
    ("HEVC", &["hevc"]),
    ("VP8", &["vp8", "libvpx"]),
    ("VP9", &["vp9", "libvpx-vp9"]),
    // FFmpeg's own decoder needs a device.
    ("AV1", &["libdav1d", "libaom-av1", "libgav1"]),
    ("MPEG-2", &["mpeg2video"]),
    ("MPEG-4", &["mpeg4"]),
    ("MJPEG", &["mjpeg"]),
    ("AAC", &["aac"]),
    ("AC-3", &["ac3"]),
    ("MP3", &["mp3float", "mp3"]),
    ("Opus", &["opus", "libopus"]),
    ("Vorbis", &["vorbis"]),
    ("FLAC", &["flac"]),
    ("PCM", &["pcm_s16le"]),
    ("SubRip", &["subrip"]),
    ("WebVTT", &["webvtt"]),
    ("ASS", &["ass"]),
];
const ENCODERS: &[Wanted] = &[
    ("AAC", &["aac"]),
    ("Opus", &["libopus"]),
    ("MP3", &["libmp3lame"]),
    ("FLAC", &["flac"]),
    ("H.264", &["libx264"]),
    ("VP9", &["libvpx-vp9"]),
];
const PROTOCOLS: &[Wanted] =
    &[("RTMP", &["rtmp"]), ("RTP", &["rtp"]), ("SRT", &["srt"]), ("TCP", &["tcp"]), ("UDP", &["udp"])];

/// A library of FFmpeg.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FfmpegLibrary {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// The file, where the system says which one is loaded.
    pub(crate) path: Option<PathBuf>,
}

/// Parts of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct FfmpegParts {
    pub(crate) present: Vec<&'static str>,
    pub(crate) missing: Vec<&'static str>,
}

/// What this FFmpeg has.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FfmpegInventory {
    pub(crate) libraries: Vec<FfmpegLibrary>,
    pub(crate) decoders: FfmpegParts,
    pub(crate) encoders: FfmpegParts,
    pub(crate) protocols: FfmpegParts,
}

impl FfmpegInventory {
    /// Looks at the FFmpeg that is linked.
    pub(crate) fn read() -> FfmpegInventory {
        let loaded = loaded_libraries();
        let library = |name: &'static str, version: u32| {
            let is_it =
                |path: &&PathBuf| path.file_name().is_some_and(|file| is_library(&file.to_string_lossy(), name));
            FfmpegLibrary { name, version: version_text(version), path: loaded.iter().find(is_it).cloned() }
        };
        let libraries = vec![
            library("libavcodec", ffmpeg_next::codec::version()),
            library("libavformat", ffmpeg_next::format::version()),
            library("libavutil", ffmpeg_next::util::version()),
            library("libswscale", ffmpeg_next::software::scaling::version()),
            library("libswresample", ffmpeg_next::software::resampling::version()),
        ];
        FfmpegInventory {
            libraries,
            decoders: parts(DECODERS, |name| ffmpeg_next::decoder::find_by_name(name).is_some()),
            encoders: parts(ENCODERS, |name| ffmpeg_next::encoder::find_by_name(name).is_some()),
            protocols: parts(PROTOCOLS, has_protocol),
        }
    }
}

fn parts(wanted: &[Wanted], is_there: impl Fn(&str) -> bool) -> FfmpegParts {
    let mut parts = FfmpegParts::default();
    for (name, any) in wanted {
        let list = if any.iter().any(|name| is_there(name)) { &mut parts.present } else { &mut parts.missing };
        list.push(name);
    }
    parts
}

fn has_protocol(name: &str) -> bool {
    let Ok(address) = CString::new(format!("{name}://host")) else { return false };
    // SAFETY: the address is a C string that outlives the call. The answer is null, or a name that FFmpeg keeps for good.
    let found = unsafe { ffi::avio_find_protocol_name(address.as_ptr()) };
    !found.is_null()
}

/// FFmpeg packs a version into 16, 8 and 8 bits.
fn version_text(version: u32) -> String {
    format!("{}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff)
}

/// The shared libraries of this process, where the system lists them.
fn loaded_libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    for line in maps.lines() {
        let path = line.find('/').map(|at| Path::new(&line[at..]));
        if let Some(path) = path.filter(|path| found.last().is_none_or(|last| last != path)) {
            found.push(path.to_path_buf());
        }
    }
    found
}

/// Whether a file is a library of this name: `libavcodec.so.59`, `libavcodec-1a2b.so.59`.
fn is_library(file: &str, name: &str) -> bool {
    file.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffmpeg_has_is_found() {
        let found = FfmpegInventory::read();
        assert_eq!(found.libraries.len(), 5);
        for library in &found.libraries {
            let major: u32 = library.version.split('.').next().unwrap().parse().unwrap();
            assert!(major > 3, "{library:?}");
            #[cfg(target_os = "linux")]
            assert!(library.path.as_ref().is_some_and(|path| path.is_file()), "{library:?}");
        }
        assert!(found.decoders.present.contains(&"H.264") && found.protocols.present.contains(&"TCP"), "{found:?}");
        let none = parts(&[("X", &["no-such-decoder"])], |name| ffmpeg_next::decoder::find_by_name(name).is_some());
        assert_eq!((none.present.len(), none.missing.as_slice()), (0, ["X"].as_slice()));
        assert!(!has_protocol("no-such-protocol"));
    }

    #[test]
    fn versions_and_names_are_read() {
        assert_eq!(version_text(59 << 16 | 37 << 8 | 100), "59.37.100");
        assert!(is_library("libavcodec.so.59", "libavcodec") && is_library("libavcodec-x.so", "libavcodec"));
        assert!(!is_library("libavcodecs.so", "libavcodec") && !is_library("libavutil.so", "libavcodec"));
    }
}
