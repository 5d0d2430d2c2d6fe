//! What can go wrong, by cause, and the exit code that each cause has.
//!
//! A message names the thing (file, folder, option), the cause, and on a second line what to do about it.

use std::process::ExitCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error by cause. `Display` gives the whole message for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One input cannot be read or described. Other inputs go on.
    #[error("{input}: {cause}\n  {remedy}")]
    Input { input: String, cause: String, remedy: String },
    /// An output cannot be written. Other inputs go on.
    #[error("{output}: {cause}\n  {remedy}")]
    Output { output: String, cause: String, remedy: String },
    /// A model folder is missing, wrong, truncated or tampered with.
    #[error("model {folder}: {cause}\n  {remedy}")]
    Model { folder: String, cause: String, remedy: String },
    /// The ONNX Runtime library or an execution provider is missing, wrong or failed.
    #[error("ONNX Runtime: {cause}\n  {remedy}")]
    Runtime { cause: String, remedy: String },
    /// The command line asks for something that cannot be.
    #[error("{cause}\n  {remedy}")]
    Usage { cause: String, remedy: String },
    /// What has worked works no more: the model failed or hangs while streams are watched. A new start may help.
    #[error("{cause}\n  {remedy}")]
    Broken { cause: String, remedy: String },
    /// Stopped by the user.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub fn input(input: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Input { input: input.into(), cause: cause.into(), remedy: remedy.into() }
    }

    pub fn output(output: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Output { output: output.into(), cause: cause.into(), remedy: remedy.into() }
    }

    pub fn model(folder: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Model { folder: folder.into(), cause: cause.into(), remedy: remedy.into() }
    }

    pub fn runtime(cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Runtime { cause: cause.into(), remedy: remedy.into() }
    }

    pub fn usage(cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Usage { cause: cause.into(), remedy: remedy.into() }
    }

    pub fn broken(cause: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Broken { cause: cause.into(), remedy: remedy.into() }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Error::Input { .. } | Error::Output { .. } => Exit::SomeFailed,
            Error::Model { .. } | Error::Runtime { .. } | Error::Usage { .. } => Exit::Usage,
            Error::Broken { .. } => Exit::Broken,
            Error::Interrupted => Exit::Interrupted,
        }
    }
}

/// descry's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// Some inputs failed, or were described only in part.
    SomeFailed = 1,
    /// Wrong usage, model or runtime; nothing was described.
    Usage = 2,
    /// The model failed or hung while streams were watched.
    Broken = 3,
    /// Stopped by SIGINT or SIGTERM (128 + 2).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
