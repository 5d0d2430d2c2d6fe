//! The HTTP library's clients, and which of them may carry a request.
//!
//! A place that the input may reach whatever address it has goes through a client that resolves freely. Everything else
//! goes through one that resolves to public addresses only. If the environment names a proxy, that resolves instead.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Url};
use rustls::ClientConfig;

use super::guard::{ForbiddenHost, Lookup, PublicResolver, check_for_proxy};
use crate::media::access::tls::client_config;
use crate::media::access::{Leads, Place};
use crate::media::remote::RemoteError;

/// How long clients wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct WebTimes {
    /// For a connection.
    pub(super) connect: Duration,
    /// For the next bytes of an answer; none if something else limits it.
    pub(super) read: Option<Duration>,
    /// For a whole answer; none if there is no limit.
    pub(super) total: Option<Duration>,
}

/// The clients of one input or bucket.
pub(super) struct WebClients {
    leads: Leads,
    lookup: Lookup,
    times: WebTimes,
    tls: ClientConfig,
    /// Resolves freely.
    free: Client,
    /// Resolves to public addresses only.
    guarded: Client,
    proxies: Matcher,
    /// Clients of proxies, by their address.
    proxied: Mutex<HashMap<String, Client>>,
}

impl WebClients {
    /// # Errors
    /// If TLS cannot be used.
    pub(super) fn new(leads: Leads, lookup: Lookup, times: WebTimes) -> Result<WebClients, RemoteError> {
        let tls = client_config(leads.policy()).map_err(RemoteError::Other)?;
        let free = build(builder(&tls, times).no_proxy())?;
        let guarded = build(builder(&tls, times).no_proxy().dns_resolver(PublicResolver(lookup.clone())))?;
        let proxies = Matcher::from_env();
        Ok(WebClients { leads, lookup, times, tls, free, guarded, proxies, proxied: Mutex::default() })
    }

    /// The client for a request. `trusted`: whatever its address is.
    ///
    /// # Errors
    /// If the input must not lead there.
    pub(super) async fn pick(&self, url: &Url, trusted: bool) -> Result<Client, RemoteError> {
        let place = place(url)?;
        let trusted = trusted || self.leads.trusts(&place);
        // Nothing resolves a host that is an address.
        if let Ok(ip) = place.host().parse()
            && !trusted
        {
            let forbidden = |scope| ForbiddenHost { host: place.host().to_string(), scope };
            self.leads.check(&place, ip).map_err(|scope| RemoteError::Refused(forbidden(scope).to_string()))?;
        }
        if let Some(proxy) = url.as_str().parse().ok().and_then(|uri| self.proxies.intercept(&uri)) {
            if !trusted {
                let checked = check_for_proxy(&self.leads, &self.lookup, place.host()).await;
                checked.map_err(|e| RemoteError::Refused(e.to_string()))?;
            }
            return self.through(&proxy);
        }
        Ok(if trusted { &self.free } else { &self.guarded }.clone())
    }

    /// A client for a proxy. It resolves nothing but the proxy's own name.
    fn through(&self, proxy: &hyper_util::client::proxy::matcher::Intercept) -> Result<Client, RemoteError> {
        let address = proxy.uri().to_string();
        let mut clients = self.proxied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&address) {
            return Ok(client.clone());
        }
        let wrong = |_| RemoteError::Other("the proxy that the environment names cannot be used".into());
        let mut named = Proxy::all(&address).map_err(wrong)?;
        if let Some(login) = proxy.basic_auth() {
            named = named.custom_http_auth(login.clone());
        }
        let client = build(builder(&self.tls, self.times).proxy(named))?;
        clients.insert(address, client.clone());
        Ok(client)
    }
}

fn builder(tls: &ClientConfig, times: WebTimes) -> ClientBuilder {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(Policy::none())
        .referer(false)
        .user_agent(concat!("descry/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(times.connect)
        // Cameras bend the rules.
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true);
    if let Some(read) = times.read {
        builder = builder.read_timeout(read);
    }
    if let Some(total) = times.total {
        builder = builder.timeout(total);
    }
    builder
}

fn build(builder: ClientBuilder) -> Result<Client, RemoteError> {
    builder.build().map_err(|e| super::fault::explain(&e))
}

/// The host and the port of a URL.
///
/// # Errors
/// If it is not one of a web server.
pub(super) fn place(url: &Url) -> Result<Place, RemoteError> {
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("http" | "https", Some(host), Some(port)) => Ok(Place::new(host, port)),
        (scheme, _, _) => {
            Err(RemoteError::Refused(format!("it leads to an address of {scheme}:, which is no web server's")))
        }
    }
}
