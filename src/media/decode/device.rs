//! Devices: to decode on (whether it is there, and its frames brought into memory), and to read from.

use std::ffi::CString;
use std::ptr;
use std::sync::OnceLock;

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

/// Lets FFmpeg read from cameras. That is in a library of its own, which draws in windows and sound and is not linked: only
/// who watches a camera needs it.
pub fn cameras() -> Result<()> {
    static LOADED: OnceLock<std::result::Result<libloading::Library, String>> = OnceLock::new();
    super::init();
    // The two libraries have gone by the same numbers ever since they were renumbered together.
    let name = if cfg!(target_os = "macos") {
        format!("libavdevice.{}.dylib", super::container_version())
    } else {
        format!("libavdevice.so.{}", super::container_version())
    };
    let loaded = LOADED.get_or_init(|| {
        // SAFETY: FFmpeg's own library, found as the ones that are linked; the function takes nothing, gives nothing, and
        // adds the devices to the list of formats, for good. The library is never unloaded.
        unsafe {
            let library = libloading::Library::new(&name).map_err(|e| e.to_string())?;
            let register =
                library.get::<unsafe extern "C" fn()>(b"avdevice_register_all\0").map_err(|e| e.to_string())?;
            register();
            Ok(library)
        }
    });
    match loaded {
        Ok(_) => Ok(()),
        Err(cause) => Err(Error::usage(
            format!("cameras cannot be read: {cause}"),
            format!("Install FFmpeg's {name} (Debian: libavdevice{}).", super::container_version()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_a_format_once_asked_for() {
        // Where FFmpeg's programs are installed so is the library.
        cameras().unwrap();
        // SAFETY: the name is a C string.
        assert!(!unsafe { ffi::av_find_input_format(c"v4l2".as_ptr()) }.is_null());
    }
}
