//! What every request passes: it is checked and counted, and its response gets the headers of every response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{HOST, SET_COOKIE};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::auth::PagePolicy;
use super::body::{check_write, read_body};
use super::peer::Peer;
use super::response::{add_headers, bad_request, method_not_allowed};
use super::site::{BodyLimits, ContentPolicy, ServeCounters};

/// What the check of requests needs.
pub(super) struct Gate {
    pub(super) access: PagePolicy,
    pub(super) counters: Arc<dyn ServeCounters>,
    pub(super) content: ContentPolicy,
    pub(super) bodies: Option<BodyLimits>,
}

/// Lets requests through that are allowed, counts them, and adds the headers of every response.
pub(super) async fn guard(
    State(gate): State<Arc<Gate>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match gate.admit(request, peer.address).await {
        Ok((request, cookie)) => {
            let mut response = next.run(request).await;
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
    add_headers(response.headers_mut(), gate.content);
    response
}

impl Gate {
    /// A request that may be answered, with its whole body, and with a cookie for its answer where the browser's is to be
    /// renewed; or its refusal.
    async fn admit(&self, request: Request, peer: SocketAddr) -> Result<(Request, Option<HeaderValue>), Box<Response>> {
        let (parts, body) = request.into_parts();
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let limits = self.bodies.filter(|_| matches!(parts.method, Method::POST | Method::PUT | Method::DELETE));
        if !reads && limits.is_none() {
            return Err(Box::new(method_not_allowed(self.bodies.is_some())));
        }
        // A path, and not a whole address as for a proxy.
        let is_path = parts.uri.authority().is_none() && parts.uri.path().starts_with('/');
        if !is_path || parts.headers.get_all(HOST).iter().count() > 1 {
            return Err(Box::new(bad_request()));
        }
        let cookie = self.access.check(&parts, peer, Instant::now())?;
        let body = match limits {
            Some(limits) => {
                check_write(&parts.headers)?;
                read_body(&parts.headers, body, limits).await?.into()
            }
            None => body,
        };
        Ok((Request::from_parts(parts, body), cookie))
    }
}
