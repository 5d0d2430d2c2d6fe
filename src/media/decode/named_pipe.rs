//! Named pipes as inputs.
//!
//! Opening one, and reading it, waits for its writer, and FFmpeg would not notice meanwhile that it is to stop. So the pipe
//! is opened here, without waiting; FFmpeg gets the open pipe and asks between two reads.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::path::Path;

/// How often a waiting thread checks whether to stop, in milliseconds.
#[cfg(unix)]
const CHECK: u16 = 50;

/// A pipe that is open for FFmpeg. It must live as long as the container that reads it.
pub(super) struct OpenPipe(File);

impl OpenPipe {
    /// Opens `path` if it is a named pipe, and waits until something is written to it. `None` if it is anything else.
    ///
    /// # Errors
    /// Those of the system, and [`ErrorKind::Interrupted`] where `stop` returned true.
    #[cfg(unix)]
    pub(super) fn open(path: &Path, stop: &dyn Fn() -> bool) -> Result<Option<OpenPipe>> {
        use std::os::fd::AsFd;
        use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

        use nix::poll::{PollFd, PollFlags, poll};

        if !std::fs::metadata(path)?.file_type().is_fifo() {
            return Ok(None);
        }
        let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
        // It may have been replaced by something else meanwhile.
        if !file.metadata()?.file_type().is_fifo() {
            return Err(ErrorKind::Unsupported.into());
        }
        loop {
            if stop() {
                return Err(ErrorKind::Interrupted.into());
            }
            match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], CHECK) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(Some(OpenPipe(file))),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// There are none that are files.
    #[cfg(not(unix))]
    pub(super) fn open(_path: &Path, _stop: &dyn Fn() -> bool) -> Result<Option<OpenPipe>> {
        Ok(None)
    }

    /// What FFmpeg opens.
    #[cfg(unix)]
    pub(super) fn address(&self) -> String {
        format!("pipe:{}", std::os::fd::AsRawFd::as_raw_fd(&self.0))
    }

    /// What FFmpeg opens.
    #[cfg(not(unix))]
    pub(super) fn address(&self) -> String {
        String::new()
    }
}

/// The protocols that FFmpeg may use for it.
pub(super) const PROTOCOLS: &str = "pipe";
