//! Waiting for servers: the process's one runtime for the network, and why a request failed.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::address::hide;
use crate::error::Error;
use crate::message;
use crate::message::{Message, Setting};

/// How often a waiting call checks whether to stop.
pub(crate) const POLL: Duration = Duration::from_millis(100);
const STORE_REMEDY: &str = "Check the address, AWS_ENDPOINT_URL, AWS_REGION and the credentials in the environment.";

/// Where requests run. One thread is enough: it only waits and copies.
pub(crate) fn runtime() -> Result<&'static Runtime, RemoteError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        // Fails if a provider is installed already, which will do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let built = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(16).enable_all().build();
        built.map_err(|e| format!("no thread for the network: {e}"))
    });
    runtime.as_ref().map_err(|e| RemoteError::Other(e.clone()))
}

/// Asked again and again while a call waits. An error ends the wait.
pub(crate) type StopCheck = Arc<dyn Fn() -> Result<(), RemoteError> + Send + Sync>;

/// Blocks until a request is answered, or until it is to stop.
///
/// # Errors
/// When the request fails, or with the reason to stop.
pub(crate) fn wait<T>(
    stop: &StopCheck,
    request: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    stop()?;
    runtime()?.block_on(async {
        let mut request = std::pin::pin!(request);
        loop {
            match tokio::time::timeout(POLL, request.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => stop()?,
            }
        }
    })
}

/// Why a request failed. The words hold no credentials, which is why the client's own error is not kept as a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemoteError {
    /// The user stopped it.
    Interrupted,
    /// Nothing came in time, in words.
    Late(String),
    /// There is no such object.
    Absent,
    /// The object is not what it was when it was opened.
    Changed,
    /// A web server's answer that is no success.
    Status(u16),
    /// It leads where the input must not lead, in words.
    Refused(String),
    /// The server's certificate is not accepted, in words.
    Untrusted(String),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::Interrupted => "interrupted",
            RemoteError::Absent => "no such object",
            RemoteError::Changed => "it has changed since it was opened",
            RemoteError::Status(code) => {
                let reason = reqwest::StatusCode::from_u16(*code).ok().and_then(|s| s.canonical_reason());
                return write!(
                    f,
                    "the server answers {code}{}{}",
                    if reason.is_some() { " " } else { "" },
                    reason.unwrap_or("")
                );
            }
            RemoteError::Late(words)
            | RemoteError::Refused(words)
            | RemoteError::Untrusted(words)
            | RemoteError::Other(words) => words,
        })
    }
}

impl std::error::Error for RemoteError {}

impl RemoteError {
    /// The error about an object that is read.
    pub(crate) fn input(self, address: &str) -> Error {
        self.about(address, STORE_REMEDY)
    }

    /// The error about an object that is written.
    pub(crate) fn output(self, address: &str) -> Error {
        match self {
            RemoteError::Interrupted => Error::Interrupted,
            other => {
                let cause = format!("cannot be written: {other}");
                let remedy = other.remedy().unwrap_or(STORE_REMEDY.into()).and(" Finished work is kept.");
                Error::output(hide(address), cause, remedy)
            }
        }
    }

    /// The error about an input on a web server.
    pub(crate) fn web_input(self, address: &str) -> Error {
        self.about(address, "Check the address and the server.")
    }

    fn about(self, address: &str, remedy: &str) -> Error {
        match self {
            RemoteError::Interrupted => Error::Interrupted,
            other => {
                let remedy = other.remedy().unwrap_or(remedy.into());
                Error::input(hide(address), other.to_string(), remedy).with_source(other)
            }
        }
    }

    /// What to do about it, where that does not depend on the kind of server.
    pub(crate) fn remedy(&self) -> Option<Message> {
        match self {
            RemoteError::Late(_) => Some(message!["Check the address, or wait longer with ", Setting::Timeout, "."]),
            RemoteError::Refused(_) => {
                Some(message!["If you trust the server, allow it with ", Setting::AllowPrivate, "."])
            }
            RemoteError::Untrusted(_) => Some(message![
                "Name its authority with ",
                Setting::Authorities,
                ", or accept any certificate with ",
                Setting::Insecure,
                "."
            ]),
            _ => None,
        }
    }
}
