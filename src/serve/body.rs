//! The bodies of requests that change something: only JSON from the server's own pages, within limits.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::response::refused_body;
use super::site::BodyLimits;

/// Refuses what another site's page, or a form, may have made a browser send. A browser asks the server before it lets a
/// page elsewhere send JSON, and this server never agrees.
pub(super) fn check_write(headers: &HeaderMap) -> Result<(), Box<Response>> {
    let foreign = || Box::new(refused_body(StatusCode::FORBIDDEN, "Another web page asked for this."));
    let site = only(headers, HeaderName::from_static("sec-fetch-site")).map_err(|()| foreign())?;
    if site.is_some_and(|site| site != "same-origin") {
        return Err(foreign());
    }
    if let Some(origin) = only(headers, ORIGIN).map_err(|()| foreign())? {
        let host = only(headers, HOST).ok().flatten().ok_or_else(foreign)?;
        // A proxy may have come by HTTPS.
        let own = ["http://", "https://"].iter().filter_map(|scheme| origin.strip_prefix(scheme)).next();
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Err(foreign());
        }
    }
    let kind = only(headers, CONTENT_TYPE).ok().flatten().unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let why = "The body must be JSON, with Content-Type: application/json.";
        return Err(Box::new(refused_body(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)));
    }
    Ok(())
}

/// The value of a header; none where it is missing.
///
/// # Errors
/// Where it comes twice, or is not text.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        _ => Err(()),
    }
}

/// The whole body.
///
/// # Errors
/// A response where it is too long, too slow, or breaks off.
pub(super) async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, Box<Response>> {
    let too_long = || {
        let why = format!("The body may have {} bytes.", limits.bytes);
        Box::new(refused_body(StatusCode::PAYLOAD_TOO_LARGE, &why))
    };
    let stated = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > limits.bytes as u64) {
        return Err(too_long());
    }
    let read = async {
        let mut parts = body.into_data_stream();
        let mut whole = Vec::new();
        while let Some(part) = parts.next().await {
            let Ok(part) = part else {
                return Err(Box::new(refused_body(StatusCode::BAD_REQUEST, "The body broke off.")));
            };
            if whole.len() + part.len() > limits.bytes {
                return Err(too_long());
            }
            whole.extend_from_slice(&part);
        }
        Ok(Bytes::from(whole))
    };
    let late = || Box::new(refused_body(StatusCode::REQUEST_TIMEOUT, "The body took too long."));
    timeout(limits.time, read).await.unwrap_or_else(|_| Err(late()))
}
