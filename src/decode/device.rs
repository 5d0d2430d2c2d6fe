//! Decoding on a device: whether it is there, and its frames brought into memory.

use std::ffi::CString;
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::error::{Error, Result};

/// Says before any work whether frames can be decoded on a device.
pub fn check_device(device: &str) -> Result<()> {
    super::init();
    let mut reference = open_device(device)?;
    // SAFETY: the one reference that was made.
    unsafe { ffi::av_buffer_unref(&raw mut reference) };
    Ok(())
}

pub(super) fn open_device(device: &str) -> Result<*mut ffi::AVBufferRef> {
    let absent = |cause: String| {
        Error::usage(
            format!("--hwaccel {device}: {cause}"),
            "Leave it out to decode on the processor; `ffmpeg -hwaccels` lists what this FFmpeg knows.",
        )
    };
    let name = CString::new(device).map_err(|_| absent("not a name".into()))?;
    // SAFETY: the name is a C string; the reference is the caller's to free.
    unsafe {
        let kind = ffi::av_hwdevice_find_type_by_name(name.as_ptr());
        if kind == ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_NONE {
            return Err(absent("FFmpeg knows no such device type".into()));
        }
        let mut reference = ptr::null_mut();
        let code = ffi::av_hwdevice_ctx_create(&raw mut reference, kind, ptr::null(), ptr::null_mut(), 0);
        if code < 0 {
            return Err(absent(format!("the device cannot be opened: {}", ff::Error::from(code))));
        }
        Ok(reference)
    }
}

/// A frame that lives on a device is brought into memory; others pass.
pub(super) fn download(av: ff::frame::Video) -> std::result::Result<ff::frame::Video, ff::Error> {
    // SAFETY: both frames are valid; FFmpeg allocates the target's buffers.
    unsafe {
        if (*av.as_ptr()).hw_frames_ctx.is_null() {
            return Ok(av);
        }
        let mut memory = ff::frame::Video::empty();
        let code = ffi::av_hwframe_transfer_data(memory.as_mut_ptr(), av.as_ptr(), 0);
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        ffi::av_frame_copy_props(memory.as_mut_ptr(), av.as_ptr());
        Ok(memory)
    }
}
