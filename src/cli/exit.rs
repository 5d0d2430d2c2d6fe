//! Exit codes.

use crate::error::Error;

/// descry's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// Some inputs failed, or were described only in part.
    SomeFailed = 1,
    /// Wrong usage, model, runtime or server of models.
    Usage = 2,
    /// The model failed or hung in live mode.
    Broken = 3,
    /// Stopped by SIGINT or SIGTERM (128 + 2).
    Interrupted = 130,
}

impl Exit {
    /// The code for a run that ended with this error.
    pub fn of(error: &Error) -> Exit {
        match error {
            Error::Input { .. } | Error::Output { .. } => Exit::SomeFailed,
            Error::Model { .. } | Error::Runtime { .. } | Error::Server { .. } | Error::Usage { .. } => Exit::Usage,
            Error::Broken { .. } => Exit::Broken,
            Error::Interrupted => Exit::Interrupted,
        }
    }

    /// Ends the process immediately, without the exit handlers of libraries: ONNX Runtime's would free its tables one by
    /// one. Everything must be written and closed.
    pub fn leave(self) -> ! {
        #[cfg(unix)]
        // SAFETY: _exit accepts any number and does not return.
        unsafe {
            nix::libc::_exit(self as i32)
        }
        #[cfg(not(unix))]
        std::process::exit(self as i32)
    }
}
