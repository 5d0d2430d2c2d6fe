//! Opening RTSP and RTMP through a [`Relay`](crate::media::relay::Relay), and following redirects.

use std::ffi::CString;

use ffmpeg_next as ff;

use super::container::{Container, ContainerRequest, OpenFailure, open_container};
use super::deadline::{Deadline, stop_check};
use super::formats::Origin;
use super::nested::Opener;
use super::options::DecodeOptions;
use crate::interrupt::Interrupt;
use crate::media::relay::RelayRequest;
use crate::media::remote::RemoteError;

/// Opens a container behind a relay, with these options of FFmpeg.
pub(super) fn open_relayed(
    mut request: RelayRequest,
    ffmpeg: &[(&'static str, String)],
    options: &DecodeOptions,
    deadline: &Deadline,
    interrupt: &Interrupt,
) -> Result<Container, OpenFailure> {
    loop {
        deadline.start();
        let relay = request.open(&stop_check(deadline, interrupt)).map_err(OpenFailure::unreached)?;
        let address = CString::new(relay.address())
            .map_err(|_| OpenFailure::unreached(RemoteError::Other("the address holds a NUL byte".into())))?;
        let mut dictionary = ff::Dictionary::new();
        for (name, value) in ffmpeg.iter().chain(&relay.options()) {
            dictionary.set(name, value);
        }
        let asked = ContainerRequest {
            opener: Opener::new(address, Origin::Stream),
            format: None,
            options: dictionary,
            max_pixels: options.max_pixels,
            io: None,
            relay: Some(relay),
        };
        match open_container(asked, deadline, interrupt) {
            Err(OpenFailure { redirect: Some(location), .. }) if !interrupt.is_set() => {
                request = request.redirected(&location).map_err(OpenFailure::unreached)?;
            }
            opened => return opened,
        }
    }
}
