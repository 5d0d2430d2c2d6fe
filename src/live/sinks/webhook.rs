//! A webhook: posts each caption, change of state, loss and end as JSON, one at a time, in order.
//!
//! Faults: an attempt that fails without an answer, with 429 or with 5xx is repeated, three attempts in all. What the server
//! refuses otherwise, or redirects, is lost and counted. Answers are not read.
//!
//! Security: the address may contain secrets, so messages show its host only. With
//! [authorities](WebhookOptions::authorities) of your own no others are trusted.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::super::event::{Event, EventKind};
use super::super::hub::{Sink, StopSignal};
use super::super::json::{event_json, has_json, lost_json};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;

/// How the webhook is called.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Longest time of one attempt, from the connection to the head of the answer. Default: 5 s.
    pub timeout: Duration,
    /// Attempts for one event. Default: 3.
    pub tries: u32,
    /// Pause before the second attempt; doubled for each further one. Default: 500 ms.
    pub pause: Duration,
    /// Sent as `Authorization: Bearer`. Default: none.
    pub token: Option<String>,
    /// PEM file of the only certificate authorities to trust. Default: Mozilla's.
    pub authorities: Option<PathBuf>,
    /// Posts captions only. Default: false.
    pub captions_only: bool,
}

impl Default for WebhookOptions {
    fn default() -> WebhookOptions {
        WebhookOptions {
            timeout: Duration::from_secs(5),
            tries: 3,
            pause: Duration::from_millis(500),
            token: None,
            authorities: None,
            captions_only: false,
        }
    }
}

/// Posts events to a web server.
pub struct WebhookSink {
    name: String,
    url: Uri,
    /// The user name and password of the address.
    login: Option<String>,
    options: WebhookOptions,
    agent: Agent,
    stop: StopSignal,
}

impl WebhookSink {
    /// Checks the address; does not connect yet.
    ///
    /// # Errors
    /// When the address is not an HTTP URL, or the authorities cannot be read.
    pub fn new(url: &str, options: &WebhookOptions) -> Result<WebhookSink> {
        let wrong = |what| Error::usage(format!("the webhook's address {what}"), "Give http://… or https://….");
        let (url, login) = Address::new(url).split_login();
        let url: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(wrong("is neither HTTP nor HTTPS"));
        }
        let Some(host) = url.host().filter(|h| !h.is_empty()) else { return Err(wrong("names no host")) };
        let name = format!("webhook {host}{}", url.port_u16().map_or(String::new(), |p| format!(":{p}")));
        let roots = options.authorities.as_deref().map(authorities).transpose()?.unwrap_or(RootCerts::WebPki);
        let tls = TlsConfig::builder().root_certs(roots).build();
        let agent = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .user_agent(concat!("descry/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(WebhookSink { name, url, login, options: options.clone(), agent, stop: StopSignal::default() })
    }

    fn post(&self, body: &str) -> Result<()> {
        let mut pause = self.options.pause;
        let mut cause = "was not called: no time was left".to_string();
        for attempt in 0..self.options.tries.max(1) {
            if attempt > 0 {
                self.stop.sleep(pause);
                pause = pause.saturating_mul(2);
            }
            let timeout = self.stop.at_most(self.options.timeout);
            if timeout.is_zero() {
                break;
            }
            let request = self.agent.post(&self.url).config().timeout_global(Some(timeout)).build();
            let request = request.header("Content-Type", "application/json");
            let bearer = self.options.token.as_ref().map(|token| format!("Bearer {token}"));
            let request = match bearer.as_ref().or(self.login.as_ref()) {
                Some(authorization) => request.header("Authorization", authorization),
                None => request,
            };
            cause = match request.send(body) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status();
                    let cause = format!("answers {status}");
                    if !(status.is_server_error() || status.as_u16() == 429) {
                        return Err(self.fail(&cause));
                    }
                    cause
                }
                Err(e) => explain(&e),
            };
        }
        Err(self.fail(&cause))
    }

    fn fail(&self, cause: &str) -> Error {
        Error::output(&self.name, cause, "Check its address and its server.")
    }
}

/// Largest PEM file. A bundle of all public authorities has a quarter of this.
const MOST_PEM: u64 = 1 << 20;

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<RootCerts> {
    let wrong = |cause: String| {
        Error::usage(format!("{}: {cause}", path.display()), "Name a PEM file of the authorities' certificates.")
    };
    let pem = read_bytes(path, MOST_PEM).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => wrong("is too large".into()),
        _ => wrong(format!("cannot be read: {e}")),
    })?;
    let mut all = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => all.push(certificate),
            // A key does not belong there, and is ignored.
            Ok(_) => {}
            Err(_) => return Err(wrong("is not a PEM file, or is truncated".into())),
        }
    }
    if all.is_empty() { Err(wrong("contains no certificate".into())) } else { Ok(all.into()) }
}

/// Explains an error without what it may reveal of the address.
fn explain(e: &ureq::Error) -> String {
    match e {
        ureq::Error::Timeout(_) => "does not answer in time".into(),
        ureq::Error::HostNotFound => "its host is unknown".into(),
        ureq::Error::ConnectionFailed => "nothing answers".into(),
        // An untrusted certificate is reported like this.
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => "no secure connection can be made".into(),
        ureq::Error::Io(e) => format!("cannot be reached: {}", e.kind()),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "no secure connection can be made".into(),
        _ => "cannot be called".into(),
    }
}

impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        if self.options.captions_only { |kind| matches!(kind, EventKind::Caption(_)) } else { has_json }
    }

    fn begin(&mut self, stop: StopSignal) {
        self.stop = stop;
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        event_json(event).map_or(Ok(()), |object| self.post(&object.to_string()))
    }

    fn lost(&mut self, events: u64) -> Result<()> {
        if self.options.captions_only { Ok(()) } else { self.post(&lost_json(events).to_string()) }
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_only_the_host() {
        let hook = |url| WebhookSink::new(url, &WebhookOptions::default()).map(|w| w.name);
        assert_eq!(hook("https://me:secret@example.org:8443/hook?key=secret").unwrap(), "webhook example.org:8443");
        for wrong in ["file:///etc/passwd", "ftp://h/x", "nonsense", "http://", "", "/secret"] {
            let e = hook(wrong).unwrap_err().to_string();
            assert!(!e.contains("secret") && e.contains("webhook"), "{e}");
        }
    }
}
