//! Who may read: a check of the `Host` header on a loopback address, a token elsewhere.
//!
//! On a loopback address, everyone on this machine may read. The `Host` header must name this machine, so that no web page
//! elsewhere can make a browser read it under another name. On another address a token is required; it then replaces that
//! check, also on a loopback address behind a proxy. Tokens are compared in constant time, as SHA-256 digests.
//!
//! A token comes as `Authorization: Bearer`, or once in the address, which gives the browser a [cookie](super::sessions).
//! `descry live --status` [proves](super::proof) that it knows the token. [`super::guesses`] limits wrong ones.

use std::net::SocketAddr;
use std::time::Instant;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::client_address::{ClientAddress, forwarded_for};
use super::guesses::{GuessLimiter, GuessSource};
use super::proof::{CHALLENGE, PROOF, Prover, SCHEME};
use super::response::text;
use super::sessions::Sessions;

/// Where the browser continues once it has its cookie. A redirect would not do: after one that began on another site,
/// browsers do not send a cookie that is `SameSite=Strict`.
const WELCOME: &str = "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>descry</title>\
<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\
<meta http-equiv=\"refresh\" content=\"0; url=/\"><p><a href=\"/\">Continue</a></html>\n";

/// Decides who may read.
pub(super) struct PagePolicy {
    token: Option<AccessToken>,
    /// Names of this machine; `None` where a token guards it.
    hosts: Option<Vec<String>>,
}

struct AccessToken {
    digest: [u8; 32],
    sessions: Sessions,
    prover: Prover,
    guesses: GuessLimiter,
}

/// What a request shows as its right to read.
enum Credential<'a> {
    /// The token, as a header.
    Bearer(&'a [u8]),
    /// The token, in the address.
    Query(&'a str),
    /// A code that only the token's owner can make.
    Proof(&'a str),
}

impl PagePolicy {
    /// `address`: where the server listens. With a token it takes a few hundred milliseconds.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(
        address: SocketAddr,
        token: Option<&str>,
        now: Instant,
    ) -> Result<PagePolicy, ring::error::Unspecified> {
        let token = token.map(|token| {
            Ok::<_, ring::error::Unspecified>(AccessToken {
                digest: Sha256::digest(token).into(),
                sessions: Sessions::new(address.port(), now)?,
                prover: Prover::new(token, now)?,
                guesses: GuessLimiter::default(),
            })
        });
        let token = token.transpose()?;
        let ip = address.ip();
        let hosts = (ip.is_loopback() && token.is_none()).then(|| {
            let own = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into(), own]
        });
        Ok(PagePolicy { token, hosts })
    }

    /// Accepts a request, with a cookie for its answer where the browser's is to be renewed; or gives the response that it
    /// gets instead: a refusal, or the cookie for its token.
    pub(super) fn check(
        &self,
        request: &Parts,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<Option<HeaderValue>, Box<Response>> {
        if is_foreign(&request.headers) {
            return Err(Box::new(text(StatusCode::FORBIDDEN, "Another web page asked for this.")));
        }
        if let Some(hosts) = &self.hosts
            && !host_name(&request.headers).is_some_and(|name| hosts.contains(&name))
        {
            return Err(Box::new(text(StatusCode::FORBIDDEN, "This server is for this machine only.")));
        }
        self.token.as_ref().map_or(Ok(None), |token| token.check(request, peer, now))
    }
}

impl AccessToken {
    fn check(&self, request: &Parts, peer: SocketAddr, now: Instant) -> Result<Option<HeaderValue>, Box<Response>> {
        let headers = &request.headers;
        let credential = Credential::of(request);
        let sources = GuessSource::of(ClientAddress::from(peer.ip()), forwarded_for(peer.ip(), headers));
        let mut wait = None;
        if let Some(credential) = &credential {
            wait = self.guesses.wait(&sources, now);
            if wait.is_none() {
                match (self.accepts(credential, now), credential) {
                    (true, Credential::Query(_)) => return Err(Box::new(self.welcome(headers, now))),
                    (true, _) => return Ok(None),
                    (false, _) => self.guesses.count(&sources, now),
                }
            }
        }
        if let Some(session) = self.sessions.find(headers, now) {
            return Ok(if session.is_old { self.sessions.cookie(headers, now) } else { None });
        }
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + 1;
            let why = format!("Too many wrong tokens came from this address. Try again in {seconds} s.");
            let header = (RETRY_AFTER, seconds.to_string());
            return Err(Box::new(([header], text(StatusCode::TOO_MANY_REQUESTS, &why)).into_response()));
        }
        Err(Box::new(self.refusal(headers, now)))
    }

    fn accepts(&self, credential: &Credential<'_>, now: Instant) -> bool {
        match credential {
            Credential::Bearer(token) => self.matches(token),
            Credential::Query(token) => self.matches(token.as_bytes()),
            Credential::Proof(answer) => self.prover.accepts(answer, now),
        }
    }

    fn matches(&self, given: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(given).into();
        digest.ct_eq(&self.digest).into()
    }

    /// Asks for the token, and proves to those who ask for it that this server knows it.
    fn refusal(&self, headers: &HeaderMap, now: Instant) -> Response {
        let text = text(
            StatusCode::UNAUTHORIZED,
            "A token is required: open /?token=TOKEN, or send Authorization: Bearer TOKEN.",
        );
        let header = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"descry\""));
        let mut response = ([header], text).into_response();
        let challenge = headers.get(CHALLENGE).and_then(|c| c.to_str().ok());
        let proof = challenge.and_then(|c| self.prover.prove(c, now)).and_then(|p| HeaderValue::from_str(&p).ok());
        if let Some(proof) = proof {
            response.headers_mut().insert(PROOF, proof);
        }
        response
    }

    /// Sets the cookie, and leads away from the address with the token: browsers show, keep and share addresses.
    fn welcome(&self, headers: &HeaderMap, now: Instant) -> Response {
        let mut response = ([(CONTENT_TYPE, "text/html; charset=utf-8")], WELCOME).into_response();
        if let Some(cookie) = self.sessions.cookie(headers, now) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl<'a> Credential<'a> {
    fn of(request: &'a Parts) -> Option<Credential<'a>> {
        let authorization = request.headers.get(AUTHORIZATION).map(|a| a.as_bytes().trim_ascii());
        // Other schemes are for a proxy.
        let own = authorization.and_then(|a| {
            let (scheme, given) = a.split_at_checked(7)?;
            if scheme.eq_ignore_ascii_case(b"Bearer ") {
                return Some(Credential::Bearer(given));
            }
            scheme.eq_ignore_ascii_case(SCHEME.as_bytes()).then_some(())?;
            std::str::from_utf8(given).ok().map(Credential::Proof)
        });
        let query = request.uri.query().unwrap_or_default().split('&');
        own.or_else(|| query.filter_map(|p| p.strip_prefix("token=")).next().map(Credential::Query))
    }
}

/// Whether a browser says that another site's page made it ask for something. A person who follows a link is let through.
fn is_foreign(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let elsewhere = matches!(value("sec-fetch-site"), b"cross-site" | b"same-site");
    elsewhere && !(value("sec-fetch-mode") == b"navigate" && value("sec-fetch-dest") == b"document")
}

/// The name in the `Host` header, without its port.
fn host_name(headers: &HeaderMap) -> Option<String> {
    let host = String::from_utf8_lossy(headers.get(HOST)?.as_bytes()).trim().to_ascii_lowercase();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Some(name.into()),
        _ => Some(host),
    }
}
