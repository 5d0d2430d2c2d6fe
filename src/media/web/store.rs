//! The requests of object stores.
//!
//! The store's own address is the user's choice, wherever it is. Where the store redirects to must be public, like
//! everything that an input leads to; credentials do not go there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use ureq::http::{Method, Request};

use super::client::is_redirect;
use super::clients::{WebClients, WebTimes};
use super::guard::system_lookup;
use crate::media::access::{AccessPolicy, Leads};
use crate::media::remote::RemoteError;

/// Most redirects of one request.
const MOST_REDIRECTS: usize = 5;

/// Makes the clients of object stores.
#[derive(Debug)]
pub(crate) struct StoreConnector(pub(crate) AccessPolicy);

impl HttpConnector for StoreConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let time = |key| options.get_config_value(&key).and_then(|text| humantime::parse_duration(&text).ok());
        let times = WebTimes {
            connect: time(ClientConfigKey::ConnectTimeout).unwrap_or(Duration::from_secs(10)),
            read: time(ClientConfigKey::ReadTimeout),
            total: time(ClientConfigKey::Timeout),
        };
        let fail = |e| object_store::Error::Generic { store: "HTTP", source: Box::new(e) };
        let clients = WebClients::new(Leads::new(&self.0, None), system_lookup(), times).map_err(fail)?;
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        Ok(HttpClient::new(StoreService { clients: Arc::new(clients), plain }))
    }
}

/// Carries requests, and follows redirects of those that only read.
struct StoreService {
    clients: Arc<WebClients>,
    /// Whether addresses without TLS are allowed.
    plain: bool,
}

impl fmt::Debug for StoreService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreService")
    }
}

impl HttpService for StoreService {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.follow(request))
    }
}

impl StoreService {
    async fn follow(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let named: Url = request.uri().to_string().parse().map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        if named.scheme() != "https" && !self.plain {
            return Err(fault(RemoteError::Refused("the store's address has no TLS".into())));
        }
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let (method, mut headers) = (request.method().clone(), request.headers().clone());
        let mut response = self.clients.pick(&named, true).await.map_err(fault)?.call(request).await?;
        let mut url = named.clone();
        for _ in 0..MOST_REDIRECTS {
            let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let Some(location) = location.filter(|_| reads && is_redirect(response.status())) else { break };
            url = url.join(location).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
            let trusted = url.origin() == named.origin();
            if !trusted {
                remove_credentials(&mut headers);
            }
            let mut next = Request::new(HttpRequestBody::empty());
            *next.method_mut() = method.clone();
            *next.uri_mut() = url.as_str().parse().map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
            *next.headers_mut() = headers.clone();
            response = self.clients.pick(&url, trusted).await.map_err(fault)?.call(next).await?;
        }
        Ok(response)
    }
}

fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove("x-amz-security-token");
}

fn fault(e: RemoteError) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, e)
}
