//! Who may read: a check of the `Host` header on a loopback address, a token elsewhere.
//!
//! On a loopback address, everyone on this machine may read. The `Host` header must name this machine, so that no web page
//! elsewhere can make a browser read it under another name. On another address a token is required; it then replaces that
//! check, also on a loopback address behind a proxy. Tokens are compared in constant time, as SHA-256 digests.

use std::net::SocketAddr;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::response::text;
use crate::digest::hex;

/// How long the browser keeps the cookie, in seconds: a year.
const COOKIE_AGE: u32 = 31_536_000;

/// Decides who may read.
pub(super) struct AccessPolicy {
    token: Option<AccessToken>,
    /// Names of this machine; `None` where a token guards it.
    hosts: Option<Vec<String>>,
}

struct AccessToken {
    digest: [u8; 32],
    cookie_name: String,
    cookie: String,
    cookie_digest: [u8; 32],
}

/// Why a request does not get what it asked for.
pub(super) struct Refusal {
    /// What it gets instead.
    pub(super) response: Box<Response>,
    /// The client may be guessing tokens.
    pub(super) is_guess: bool,
}

impl From<Response> for Refusal {
    fn from(response: Response) -> Refusal {
        Refusal { response: Box::new(response), is_guess: false }
    }
}

impl AccessPolicy {
    /// `address`: where the server listens.
    pub(super) fn new(address: SocketAddr, token: Option<&str>) -> AccessPolicy {
        let token = token.map(|token| {
            let cookie = hex(&Sha256::digest(format!("descry cookie {token}")));
            AccessToken {
                digest: Sha256::digest(token).into(),
                cookie_name: format!("descry_{}", address.port()),
                cookie_digest: Sha256::digest(&cookie).into(),
                cookie,
            }
        });
        let ip = address.ip();
        let hosts = (ip.is_loopback() && token.is_none()).then(|| {
            let own = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into(), own]
        });
        AccessPolicy { token, hosts }
    }

    /// Accepts a request, or gives the response that it gets instead: a refusal, or the cookie for its token.
    pub(super) fn check(&self, request: &Parts) -> Result<(), Refusal> {
        if let Some(hosts) = &self.hosts
            && !host_name(&request.headers).is_some_and(|name| hosts.contains(&name))
        {
            return Err(text(StatusCode::FORBIDDEN, "This server is for this machine only.").into());
        }
        self.token.as_ref().map_or(Ok(()), |token| token.check(request))
    }
}

impl AccessToken {
    fn check(&self, request: &Parts) -> Result<(), Refusal> {
        let authorization = request.headers.get(AUTHORIZATION).map(|a| a.as_bytes().trim_ascii());
        let bearer = authorization.and_then(|a| a.split_at_checked(7));
        if bearer.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(b"Bearer ") && self.matches(given)) {
            return Ok(());
        }
        let asked = request.uri.query().unwrap_or_default().split('&').find_map(|p| p.strip_prefix("token="));
        if asked.is_some_and(|given| self.matches(given.as_bytes())) {
            return Err(self.welcome().into());
        }
        if self.has_cookie(&request.headers) {
            return Ok(());
        }
        let text = text(
            StatusCode::UNAUTHORIZED,
            "A token is required: open /?token=TOKEN, or send Authorization: Bearer TOKEN.",
        );
        let header = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"descry\""));
        let response = Box::new(([header], text).into_response());
        Err(Refusal { response, is_guess: asked.is_some() || authorization.is_some() })
    }

    fn matches(&self, given: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(given).into();
        digest.ct_eq(&self.digest).into()
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter().flat_map(|h| h.as_bytes().split(|b| *b == b';'));
        cookies.map(<[u8]>::trim_ascii).any(|c| {
            let value = c.strip_prefix(self.cookie_name.as_bytes()).and_then(|c| c.strip_prefix(b"="));
            let digest = |v: &[u8]| -> [u8; 32] { Sha256::digest(v).into() };
            value.is_some_and(|v| digest(v).ct_eq(&self.cookie_digest).into())
        })
    }

    /// Sets the cookie, and leads away from the address with the token: browsers show, keep and share addresses.
    fn welcome(&self) -> Response {
        let cookie =
            format!("{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_AGE}", self.cookie_name, self.cookie);
        let headers = [(LOCATION, "/".to_string()), (SET_COOKIE, cookie)];
        (headers, text(StatusCode::SEE_OTHER, "The token is valid.")).into_response()
    }
}

/// The name in the `Host` header, without its port.
fn host_name(headers: &HeaderMap) -> Option<String> {
    let host = String::from_utf8_lossy(headers.get(HOST)?.as_bytes()).trim().to_ascii_lowercase();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Some(name.into()),
        _ => Some(host),
    }
}
