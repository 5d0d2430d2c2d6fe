//! The bodies of requests.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::serve::response::wrong;

/// A body of JSON.
#[allow(clippy::result_large_err)]
pub(super) fn parsed<T: for<'de> Deserialize<'de>>(body: &Bytes) -> std::result::Result<T, Response> {
    serde_json::from_slice(body).map_err(|e| wrong(StatusCode::BAD_REQUEST, format!("This is no request: {e}")))
}
