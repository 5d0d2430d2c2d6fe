//! What protects this machine from a decoder that was taken over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a decoder's process is kept from, besides being a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Landlock: it can read nothing but its input and system libraries, and write nothing.
    pub files: bool,
    /// Seccomp: it can run no program, look into no process, and use the network only for URLs.
    pub calls: bool,
    /// Whether a sandbox was left out because of a hardware device, whose driver needs more than a sandbox allows.
    pub device: bool,
}

impl Protection {
    /// Whether all of the sandbox is active.
    pub fn is_full(&self) -> bool {
        self.files && self.calls
    }
}

/// In words, for people and for `--stats`.
impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.files, self.calls) {
            (true, true) => "separate processes in a sandbox (Landlock, seccomp)",
            (true, false) => "separate processes in a partial sandbox (Landlock; no seccomp)",
            (false, true) => "separate processes in a partial sandbox (seccomp; no Landlock)",
            (false, false) if self.device => "separate processes without a sandbox, because of the hardware device",
            (false, false) => "separate processes without a sandbox (no Landlock, no seccomp)",
        })
    }
}
