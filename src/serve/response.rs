//! The form of all responses: plain texts, JSON, files of the program, and the headers that each of them has.

use std::fmt::Display;

use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json as object};

use super::site::ContentPolicy;

/// Nothing inline, nothing from elsewhere, no markup from text.
macro_rules! policy {
    ($pictures:literal) => {
        concat!(
            "default-src 'none'; script-src 'self'; style-src 'self'; ",
            $pictures,
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; ",
            "require-trusted-types-for 'script'"
        )
    };
}

impl ContentPolicy {
    fn header(self) -> &'static str {
        match self {
            ContentPolicy::Page => policy!("img-src 'self'; "),
            ContentPolicy::Player => policy!("img-src 'self' blob:; media-src 'self' blob:; "),
        }
    }
}

/// The headers of every response.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Adds the headers of every response. Nothing is kept by a browser, but for what says that it never changes.
pub(super) fn add_headers(headers: &mut HeaderMap, content: ContentPolicy) {
    let is_immutable = headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes().ends_with(b"immutable"));
    for (name, value) in HEADERS {
        if name != CACHE_CONTROL || !is_immutable {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(content.header()));
}

/// A file that is part of the program, of this type.
pub(crate) fn asset<S: Clone + Send + Sync + 'static>(kind: &'static str, body: &'static str) -> MethodRouter<S> {
    get(move || async move { ([(CONTENT_TYPE, kind)], body) })
}

/// A plain text of one sentence.
pub fn text(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

/// A JSON object.
pub fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

/// An answer to a script that says what is wrong, as JSON.
pub fn wrong(status: StatusCode, why: impl Display) -> Response {
    json(status, &object!({ "error": why.to_string() }))
}

/// The answer for a path that is none.
pub fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "There is nothing here.")
}

pub(super) fn bad_request() -> Response {
    text(StatusCode::BAD_REQUEST, "descry does not understand this request.")
}

/// `writes`: whether the server answers POST, PUT and DELETE too.
pub(super) fn method_not_allowed(writes: bool) -> Response {
    let (allowed, why) = match writes {
        true => ("GET, HEAD, POST, PUT, DELETE", "This method is not answered."),
        false => ("GET, HEAD", "Only GET is answered."),
    };
    ([(ALLOW, allowed)], text(StatusCode::METHOD_NOT_ALLOWED, why)).into_response()
}

/// No place is free for what is asked.
pub(super) fn busy() -> Response {
    ([(RETRY_AFTER, "10")], text(StatusCode::SERVICE_UNAVAILABLE, "Too many films are sent already.")).into_response()
}

/// A refusal of a request whose body may still be on its way: the connection closes after it.
pub(super) fn refused_body(status: StatusCode, why: &str) -> Response {
    ([(CONNECTION, "close")], text(status, why)).into_response()
}
