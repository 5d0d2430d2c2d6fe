//! Where a stream comes from: what kind of source an address is, and what FFmpeg may do for it.

use serde::Deserialize;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// How RTSP delivers its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum RtspTransport {
    /// Inside the RTSP connection: nothing gets lost.
    #[default]
    Tcp,
    /// As datagrams: less delay, and losses on a busy network.
    Udp,
}

/// What an address is, by its scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// `rtsp://`
    Rtsp,
    /// `rtsps://`: RTSP over TLS.
    Rtsps,
    /// `rtmp://`
    Rtmp,
    /// `rtmps://`: RTMP over TLS.
    Rtmps,
    /// `srt://`: MPEG-TS over SRT.
    Srt,
    /// `http://` or `https://`: HLS, or anything else that a web server streams.
    Http,
    /// `udp://`: MPEG-TS in datagrams.
    Udp,
    /// A V4L2 camera: `/dev/videoN` or `v4l2:/dev/videoN`.
    Camera,
    /// A file, which plays at its own pace.
    File,
}

impl SourceKind {
    /// The kind of an address.
    pub(super) fn of(address: &Address) -> Result<SourceKind> {
        let url = address.reveal();
        if !address.is_url() {
            let camera = url.starts_with("v4l2:") || url.starts_with("/dev/video");
            return Ok(if camera { SourceKind::Camera } else { SourceKind::File });
        }
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        Ok(match scheme.as_str() {
            "rtsp" => SourceKind::Rtsp,
            "rtsps" => SourceKind::Rtsps,
            "rtmp" => SourceKind::Rtmp,
            "rtmps" => SourceKind::Rtmps,
            "srt" => SourceKind::Srt,
            "http" | "https" => SourceKind::Http,
            "udp" => SourceKind::Udp,
            _ => {
                return Err(Error::usage(
                    format!("{address}: descry cannot read {scheme}:// streams"),
                    message![
                        "Use rtsp, rtsps, rtmp, rtmps, srt, http, https, udp, /dev/videoN, or a file with ",
                        Setting::Realtime,
                        "."
                    ],
                ));
            }
        })
    }

    /// The protocols that FFmpeg may open for it: for the address itself, a redirect, or what a playlist names.
    pub(super) fn protocols(self, transport: RtspTransport) -> &'static str {
        match (self, transport) {
            // TLS is descry's own.
            (SourceKind::Rtsp, RtspTransport::Tcp) | (SourceKind::Rtsps, _) => "rtsp,rtp,tcp",
            (SourceKind::Rtsp, RtspTransport::Udp) => "rtsp,rtp,tcp,udp",
            (SourceKind::Rtmp | SourceKind::Rtmps, _) => "rtmp,tcp",
            (SourceKind::Srt, _) => "srt",
            // descry itself connects to web servers. FFmpeg opens only bytes that stand in an address.
            (SourceKind::Http, _) => "data",
            (SourceKind::Udp, _) => "udp",
            (SourceKind::Camera | SourceKind::File, _) => "file",
        }
    }

    /// The container, where it is known and FFmpeg must not guess.
    pub(super) fn format(self) -> Option<&'static str> {
        match self {
            // Datagrams can only carry this; a guess could be led astray.
            SourceKind::Udp | SourceKind::Srt => Some("mpegts"),
            SourceKind::Camera => Some("v4l2"),
            _ => None,
        }
    }

    /// Whether the source ends for good with its last frame.
    pub(super) fn ends(self) -> bool {
        self == SourceKind::File
    }
}
