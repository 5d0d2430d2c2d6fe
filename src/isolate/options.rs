//! How isolated decoders are started, and how long they may be silent.

use std::path::PathBuf;
use std::time::Duration;

use super::protection::Protection;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Decoding in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The program that is started for each input: descry, or one whose `main` begins with
    /// [`serve`](super::serve) where [`is_asked_for`](super::is_asked_for).
    pub program: PathBuf,
    /// A decoder that gives no sign of life for this long is ended, besides the time that a server may take. Default: 30 s.
    pub limit: Duration,
}

impl Isolation {
    /// How long a decoder may be silent if nobody says otherwise.
    pub const LIMIT: Duration = Duration::from_secs(30);

    /// Starts this program itself. It must be descry, or call [`serve`](super::serve).
    ///
    /// # Errors
    /// If the system does not say where the program is.
    pub fn of_this_program() -> Result<Isolation> {
        // Also the right one once an update has replaced the file.
        let own = PathBuf::from("/proc/self/exe");
        let program = if own.exists() {
            own
        } else {
            std::env::current_exe().map_err(|e| {
                Error::usage(
                    format!("the program's own file cannot be found, to decode in another process: {e}"),
                    message!["Decode in this one: leave out ", Setting::Isolate, "."],
                )
            })?
        };
        Ok(Isolation { program, limit: Isolation::LIMIT })
    }

    /// Whether this system has separate decoders at all.
    pub const fn is_supported() -> bool {
        cfg!(unix)
    }

    /// What would protect this machine from a decoder. `hwaccel`: whether it decodes on a device.
    pub fn protection(hwaccel: bool) -> Protection {
        #[cfg(unix)]
        return super::sandbox::try_on_a_thread(hwaccel);
        #[cfg(not(unix))]
        Protection { files: false, calls: false, device: hwaccel }
    }

    /// Fails: there are no separate decoders on this system.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(unix))]
    pub fn prepare(&self) -> Result<()> {
        Err(unsupported())
    }
}

#[cfg(not(unix))]
pub(super) fn unsupported() -> Error {
    Error::usage(
        "decoding in a process of its own is not supported on this system",
        message!["Leave out ", Setting::Isolate, "."],
    )
}
