//! Where a server listens, and who may read.

use std::net::SocketAddr;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Shortest token.
const TOKEN: usize = 16;

/// Where the server listens, and who may read.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// At least 16 letters, digits or `-._~`; required where `listen` is not a loopback address. Default: none.
    pub token: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), token: None }
    }
}

impl HttpOptions {
    pub(super) fn check(&self, setting: Setting) -> Result<()> {
        if !self.listen.ip().is_loopback() && self.token.is_none() {
            let cause = message![setting, format!(" {}: other machines could read it without a token", self.listen)];
            return Err(Error::usage(cause, "Give a token, or listen on 127.0.0.1."));
        }
        let fit = |t: &str| t.len() >= TOKEN && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if !self.token.as_deref().is_none_or(fit) {
            let cause = "the HTTP token is too short, or has characters other than letters, digits and -._~";
            return Err(Error::usage(cause, "Give at least 16 of them, such as: openssl rand -hex 16"));
        }
        Ok(())
    }
}
