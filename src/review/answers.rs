//! The form of answers that say what is wrong, and of the requests that they answer.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json as object;

use crate::serve::response::json;

/// An answer that says what is wrong.
pub(super) fn wrong(status: StatusCode, why: impl std::fmt::Display) -> Response {
    json(status, &object!({ "error": why.to_string() }))
}

/// A body of JSON.
#[allow(clippy::result_large_err)]
pub(super) fn parsed<T: for<'de> Deserialize<'de>>(body: &Bytes) -> std::result::Result<T, Response> {
    serde_json::from_slice(body).map_err(|e| wrong(StatusCode::BAD_REQUEST, format!("This is no request: {e}")))
}
