//! What every request passes: it is checked and counted, and its response gets the headers of every response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{HOST, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::auth::PagePolicy;
use super::peer::Peer;
use super::response::{add_headers, bad_request, method_not_allowed};
use super::site::ServeCounters;

/// What the check of requests needs.
pub(super) struct Gate {
    pub(super) access: PagePolicy,
    pub(super) counters: Arc<dyn ServeCounters>,
}

/// Lets requests through that are allowed, counts them, and adds the headers of every response.
pub(super) async fn guard(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match admit(&gate.access, &parts, peer.address) {
        Ok(cookie) => {
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if let Some(cookie) = cookie {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(refusal) => *refusal,
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        gate.counters.count_refusal();
    } else {
        gate.counters.count_answer();
    }
    add_headers(response.headers_mut());
    response
}

fn admit(access: &PagePolicy, request: &Parts, peer: SocketAddr) -> Result<Option<HeaderValue>, Box<Response>> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Box::new(method_not_allowed()));
    }
    // A path, and not a whole address as for a proxy.
    let is_path = request.uri.authority().is_none() && request.uri.path().starts_with('/');
    if !is_path || request.headers.get_all(HOST).iter().count() > 1 {
        return Err(Box::new(bad_request()));
    }
    access.check(request, peer, Instant::now())
}
