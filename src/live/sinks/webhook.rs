//! A webhook: each caption, change of state, loss and end is posted as JSON, one at a time, in order.
//!
//! A try that fails for want of a connection, with 429 or with 5xx is repeated, three tries in all; what the server
//! refuses otherwise, or redirects, is lost and counted. Answers are not read. The address may hold secrets: only its host
//! is ever told. With [authorities](WebhookOptions::authorities) of one's own no others are trusted.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::super::event::{Event, What};
use super::super::hub::{Sink, Stop};
use super::super::line::{line, lost};
use crate::error::{Error, Result};

/// How a webhook is called.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Of one try, from the connection to the head of the answer. Default: 5 s.
    pub timeout: Duration,
    /// Tries for one event. Default: 3.
    pub tries: u32,
    /// Pause before the second try, doubled for each further one. Default: 500 ms.
    pub pause: Duration,
    /// Sent as `Authorization: Bearer`. Default: none.
    pub token: Option<String>,
    /// PEM file of the certificates that may vouch for the server, and no others. Default: those of Mozilla.
    pub authorities: Option<PathBuf>,
    /// Nothing but captions. Default: false.
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

pub struct Webhook {
    name: String,
    url: Uri,
    options: WebhookOptions,
    agent: Agent,
    stop: Stop,
}

impl Webhook {
    /// Checks the address; connects to nothing yet.
    pub fn new(url: &str, options: &WebhookOptions) -> Result<Webhook> {
        let wrong = |what| Error::usage(format!("the webhook's address {what}"), "Give http://… or https://….");
        let url: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
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
        Ok(Webhook { name, url, options: options.clone(), agent, stop: Stop::default() })
    }

    fn post(&self, body: &str) -> Result<()> {
        let mut pause = self.options.pause;
        let mut cause = "was not called: there was no more time".to_string();
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
            let request = match &self.options.token {
                Some(token) => request.header("Authorization", format!("Bearer {token}")),
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

/// A bundle of every authority that there is has a quarter of this.
const MOST: u64 = 1 << 20;

/// The certificates of a PEM file.
fn authorities(path: &Path) -> Result<RootCerts> {
    let wrong = |cause: String| {
        Error::usage(format!("{}: {cause}", path.display()), "Name a PEM file of the authorities' certificates.")
    };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    file.take(MOST + 1).read_to_end(&mut pem).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if pem.len() as u64 > MOST {
        return Err(wrong("is too large".into()));
    }
    let mut all = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => all.push(certificate),
            // A key has no business there, and is left alone.
            Ok(_) => {}
            Err(_) => return Err(wrong("is no PEM file, or is cut off".into())),
        }
    }
    if all.is_empty() { Err(wrong("holds no certificate".into())) } else { Ok(all.into()) }
}

/// Without what an error may tell of the address.
fn explain(e: &ureq::Error) -> String {
    match e {
        ureq::Error::Timeout(_) => "does not answer in time".into(),
        ureq::Error::HostNotFound => "its host is not known".into(),
        ureq::Error::ConnectionFailed => "nobody answers".into(),
        // A certificate that is not trusted comes as one of these.
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => "no secure connection can be made".into(),
        ureq::Error::Io(e) => format!("cannot be reached: {}", e.kind()),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "no secure connection can be made".into(),
        _ => "cannot be called".into(),
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> fn(&What) -> bool {
        if self.options.captions_only {
            |what| matches!(what, What::Caption(_))
        } else {
            |what| !matches!(what, What::Clock(_) | What::Watched { .. })
        }
    }

    fn begin(&mut self, stop: Stop) {
        self.stop = stop;
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        line(event).map_or(Ok(()), |object| self.post(&object.to_string()))
    }

    fn lost(&mut self, events: u64) -> Result<()> {
        if self.options.captions_only { Ok(()) } else { self.post(&lost(events).to_string()) }
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_told() {
        let hook = |url| Webhook::new(url, &WebhookOptions::default()).map(|w| w.name);
        assert_eq!(hook("https://me:secret@example.org:8443/hook?key=secret").unwrap(), "webhook example.org:8443");
        for wrong in ["file:///etc/passwd", "ftp://h/x", "nonsense", "http://", "", "/secret"] {
            let e = hook(wrong).unwrap_err().to_string();
            assert!(!e.contains("secret") && e.contains("webhook"), "{e}");
        }
    }
}
