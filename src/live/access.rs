//! How FFmpeg opens a stream.

use super::config::StreamConfig;
use super::source::{RtspTransport, SourceKind};
use crate::address::Address;
use crate::media::{StreamAccess, container_version};

/// The address and the options for FFmpeg.
pub(super) fn access(stream: &StreamConfig) -> StreamAccess {
    let reveal = stream.address.reveal();
    let address = match stream.kind {
        SourceKind::File => format!("file:{reveal}"),
        SourceKind::Camera => reveal.strip_prefix("v4l2:").unwrap_or(reveal).to_string(),
        _ => reveal.to_string(),
    };
    let micros = stream.silence.as_micros().to_string();
    let mut options = vec![("protocol_whitelist", stream.kind.protocols(stream.transport).to_string())];
    if stream.kind != SourceKind::File {
        // Missing times are generated and damaged packets discarded. The analysis before the first frame is kept short:
        // everything that arrives meanwhile is old when it is decoded.
        options.push(("fflags", "+genpts+discardcorrupt".into()));
        options.push(("analyzeduration", "2000000".into()));
        options.push(("fpsprobesize", "0".into()));
    }
    match stream.kind {
        SourceKind::Rtsp | SourceKind::Rtsps => {
            let udp = stream.kind == SourceKind::Rtsp && stream.transport == RtspTransport::Udp;
            options.push(("rtsp_transport", if udp { "udp" } else { "tcp" }.into()));
            // In libavformat before 59 `timeout` makes FFmpeg listen for a connection.
            options.push((if container_version() >= 59 { "timeout" } else { "stimeout" }, micros));
        }
        SourceKind::Udp => {
            options.push(("overrun_nonfatal", "1".into()));
            options.push(("timeout", micros));
        }
        // For RTMP `timeout` is how long to listen.
        SourceKind::Rtmp | SourceKind::Rtmps | SourceKind::Srt => {
            options.push(("rw_timeout", micros));
        }
        SourceKind::Http | SourceKind::Camera | SourceKind::File => {}
    }
    StreamAccess {
        address: Address::new(address),
        name: stream.name.to_string(),
        format: stream.kind.format(),
        options,
    }
}
