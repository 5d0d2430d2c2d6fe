//! One request over HTTP, with its attempts.
//!
//! Redirects are not followed and proxies not used, so that pictures and key go to the configured address only.

use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

use super::options::{ServerModel, ServerOptions};
use super::request::Question;
use super::response::{ServerFault, text_of};
use super::retry::{pause, retry_after};
use crate::address::hide_these;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Largest answer in bytes: thousands of times as long as a caption.
const LARGEST_ANSWER: u64 = 1 << 20;
/// How often a pause checks whether to stop.
const TICK: Duration = Duration::from_millis(20);

/// Asks one model on one server. Shared by the threads that ask.
pub(super) struct ChatClient {
    agent: Agent,
    endpoint: String,
    /// The server's address in messages.
    shown: String,
    /// The header `Authorization`.
    authorization: Option<String>,
    /// What no caption may repeat: the key, and the credentials of the address.
    secrets: Vec<String>,
    question: Question,
}

impl ChatClient {
    pub(super) fn new(server: &ServerModel, options: &ServerOptions, question: Question) -> ChatClient {
        let agent = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections_per_host(options.jobs)
            .user_agent(concat!("descry/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let key = options.key.as_ref().map(|key| key.reveal().to_string());
        let (endpoint, login) = server.endpoint();
        ChatClient {
            agent,
            endpoint,
            shown: server.shown(),
            secrets: key.iter().cloned().chain(server.secrets()).collect(),
            authorization: key.map(|key| format!("Bearer {key}")).or(login),
            question,
        }
    }

    /// What the model writes about a picture; empty if it refuses. Ends early once `stopped`.
    pub(super) fn ask(&self, prompt: &str, jpegs: &[Vec<u8>], stopped: &(dyn Fn() -> bool + Sync)) -> Result<String> {
        let body = self.question.body(prompt, jpegs).to_string();
        let mut tries = 0;
        loop {
            if stopped() {
                return Err(Error::Interrupted);
            }
            tries += 1;
            let fault = match self.attempt(&body) {
                Ok(text) => return Ok(hide_these(&text, &self.secrets)),
                Err(fault) => fault,
            };
            if stopped() {
                return Err(Error::Interrupted);
            }
            match pause(tries, fault.pause).filter(|_| fault.temporary) {
                Some(pause) => sleep(pause, stopped),
                None => return Err(fault.into_error(&self.shown, tries)),
            }
        }
    }

    /// Ends all requests under way, and allows no further one.
    pub(super) fn abort(&self) {
        self.agent.clone().shutdown();
    }

    fn attempt(&self, body: &str) -> Result<String, ServerFault> {
        let request = self.agent.post(&self.endpoint).header("Content-Type", "application/json");
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        let mut answer = request.send(body).map_err(explain)?;
        let status = answer.status();
        let asked = retry_after(answer.headers().get("retry-after").and_then(|value| value.to_str().ok()));
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec().map_err(explain)?;
        text_of((status.as_u16(), &status.to_string()), asked, &body)
    }
}

fn sleep(pause: Duration, stopped: &(dyn Fn() -> bool + Sync)) {
    let until = Instant::now() + pause;
    while !stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(TICK));
    }
}

/// Explains an error without what it may reveal of the address.
fn explain(e: ureq::Error) -> ServerFault {
    use std::io::ErrorKind;
    let start = || message!["Start the server, or check the address in ", Setting::Model, "."];
    let broken = "See the server's own log.";
    let fault = match &e {
        ureq::Error::Timeout(_) => ServerFault::temporary(
            "does not answer in time",
            message!["A slow server may need a longer ", Setting::ServerTimeout, "."],
        ),
        ureq::Error::HostNotFound => ServerFault::temporary("its host is unknown", start()),
        ureq::Error::ConnectionFailed => ServerFault::temporary("nothing answers", start()),
        ureq::Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => ServerFault::temporary("nothing answers: connection refused", start()),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                ServerFault::temporary("closes the connection before its answer is complete", broken)
            }
            // An untrusted certificate is reported like this.
            ErrorKind::InvalidData => insecure(),
            kind => ServerFault::temporary(format!("cannot be reached: {kind}"), start()),
        },
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => insecure(),
        ureq::Error::BodyExceedsLimit(_) => {
            ServerFault::permanent(format!("answers with more than {} MB", LARGEST_ANSWER >> 20), start())
        }
        ureq::Error::Protocol(_) => ServerFault::permanent("does not answer as an HTTP server does", start()),
        _ => ServerFault::permanent("cannot be called", start()),
    };
    ServerFault { source: Some(Box::new(e)), ..fault }
}

fn insecure() -> ServerFault {
    ServerFault::permanent(
        "no secure connection can be made",
        "Check the server's certificate, or use http:// on your own network.",
    )
}
