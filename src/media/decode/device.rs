//! Devices: those to decode on, and cameras to read from.

use std::ffi::CString;
use std::sync::OnceLock;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::container::container_version;
use super::log::init;
use crate::error::{Error, Result};
use crate::media::ffmpeg::DeviceKind;
use crate::message;
use crate::message::Setting;

/// Checks that frames can be decoded on a hardware device. `device` is FFmpeg's name of it, for example `vaapi`.
///
/// # Errors
/// If FFmpeg does not know the device, or cannot open it.
pub fn check_device(device: &str) -> Result<()> {
    init();
    let mut reference = open_device(device)?;
    // SAFETY: the only reference, made by `open_device`.
    unsafe { ffi::av_buffer_unref(&raw mut reference) };
    Ok(())
}

/// Opens a hardware device. The caller frees the reference.
pub(super) fn open_device(device: &str) -> Result<*mut ffi::AVBufferRef> {
    let absent = |cause: String| {
        Error::usage(
            message![Setting::Hwaccel, format!(" {device}: {cause}")],
            "Leave it out to decode on the processor; `ffmpeg -hwaccels` lists what this FFmpeg knows.",
        )
    };
    let name = CString::new(device).map_err(|_| absent("not a name".into()))?;
    let kind = DeviceKind::named(&name).ok_or_else(|| absent("FFmpeg knows no such device type".into()))?;
    kind.open().map_err(|e| absent(format!("the device cannot be opened: {e}")))
}

/// Copies a frame from a device into memory. `wanted` is the device that it should come from; without one, the frame is in
/// memory already.
///
/// # Errors
/// If the frame cannot be read back, or comes from the processor: FFmpeg decodes there what a device cannot.
pub(super) fn download(av: ff::frame::Video, wanted: Option<&str>, name: &str) -> Result<ff::frame::Video> {
    let failed = |cause: String| Error::input(name, cause, message!["Leave out ", Setting::Hwaccel, "."]);
    // SAFETY: a plain read of a valid frame's field.
    let in_memory = unsafe { (*av.as_ptr()).hw_frames_ctx.is_null() };
    match wanted {
        Some(device) if in_memory => Err(failed(format!("{device} does not decode this video stream"))),
        _ if in_memory => Ok(av),
        _ => {
            let mut memory = ff::frame::Video::empty();
            // SAFETY: both frames are valid; FFmpeg allocates the target's buffers.
            let code = unsafe { ffi::av_hwframe_transfer_data(memory.as_mut_ptr(), av.as_ptr(), 0) };
            if code < 0 {
                let e = ff::Error::from(code);
                return Err(failed(format!("a frame cannot be read back from the device: {e}")));
            }
            // SAFETY: both frames are valid.
            unsafe { ffi::av_frame_copy_props(memory.as_mut_ptr(), av.as_ptr()) };
            Ok(memory)
        }
    }
}

/// Lets FFmpeg read from cameras.
///
/// That code is in a library of its own, libavdevice, which depends on window and sound systems. It is loaded here rather
/// than linked, so that only those who use a camera need it.
///
/// # Errors
/// If libavdevice is not installed.
pub fn load_camera_support() -> Result<()> {
    static LOADED: OnceLock<Result<libloading::Library, String>> = OnceLock::new();
    init();
    // libavdevice and libavformat have had the same major version ever since FFmpeg 2.
    let version = container_version();
    let name = if cfg!(target_os = "macos") {
        format!("libavdevice.{version}.dylib")
    } else {
        format!("libavdevice.so.{version}")
    };
    let loaded = LOADED.get_or_init(|| {
        // SAFETY: FFmpeg's own library, of the version that is linked. The function has no arguments and no result; it
        // adds the devices to the list of formats for good. The library is never unloaded.
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
            format!("Install FFmpeg's {name} (Debian: libavdevice{version})."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FFmpeg falls back to the processor by itself.
    #[test]
    fn a_frame_of_the_processor_is_refused_where_a_device_was_asked_for() {
        let frame = || ff::frame::Video::new(ff::format::Pixel::YUV420P, 16, 16);
        assert!(download(frame(), None, "film.mkv").is_ok());
        let error = download(frame(), Some("vaapi"), "film.mkv").err().expect("an error");
        let text = error.to_string();
        assert!(text.contains("film.mkv") && text.contains("vaapi does not decode this video stream"), "{text}");
        assert!(matches!(error, Error::Input { .. }), "{error:?}");
    }

    #[test]
    fn cameras_are_a_format_once_support_is_loaded() {
        // Wherever FFmpeg's programs are installed, so is the library.
        load_camera_support().unwrap();
        // SAFETY: the name is a C string.
        assert!(!unsafe { ffi::av_find_input_format(c"v4l2".as_ptr()) }.is_null());
    }
}
