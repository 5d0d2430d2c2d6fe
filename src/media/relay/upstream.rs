//! Connections to servers: resolved, checked, and secured.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::RelayTarget;
use crate::media::access::Leads;
use crate::media::access::scope::Scope;
use crate::media::access::tls::certificate_words;
use crate::media::remote::RemoteError;

/// Longest time for one address of a server. One that is there answers within a second or two.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection, whatever it runs over.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// An open connection.
pub(super) struct Upstream {
    pub(super) wire: Box<dyn Wire>,
    /// Where the server is.
    pub(super) peer: SocketAddr,
}

/// Connects to a server, at the first of its addresses that answers.
///
/// # Errors
/// In words, without the address.
pub(super) async fn connect(
    target: &RelayTarget,
    leads: &Leads,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Upstream, RemoteError> {
    let (host, port) = (target.place.host(), target.place.port());
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|e| RemoteError::Other(format!("its host cannot be found: {e}")))?;
    let mut fault = RemoteError::Other("its host has no address".into());
    for address in found {
        if let Err(scope) = leads.check(&target.place, address.ip()) {
            fault = RemoteError::Refused(forbidden(host, scope));
            continue;
        }
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Err(_) => fault = RemoteError::Other(format!("its server gave no answer for {} s", CONNECT.as_secs())),
            Ok(Err(e)) => fault = RemoteError::Other(e.to_string()),
            Ok(Ok(stream)) => {
                // Requests are small and wait for answers.
                let _ = stream.set_nodelay(true);
                let wire: Box<dyn Wire> = match tls {
                    Some(config) => Box::new(secure(stream, host, config).await?),
                    None => Box::new(stream),
                };
                return Ok(Upstream { wire, peer: address });
            }
        }
    }
    Err(fault)
}

/// Says where an input must not lead.
fn forbidden(host: &str, scope: Scope) -> String {
    let has = if host.parse::<IpAddr>().is_ok() { "" } else { "which has " };
    format!("it leads to {host}, {has}{scope}")
}

async fn secure(
    stream: TcpStream,
    host: &str,
    config: &Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, RemoteError> {
    let name = ServerName::try_from(host.to_string())
        .map_err(|_| RemoteError::Untrusted("no certificate can have the name of its host".into()))?;
    TlsConnector::from(config.clone()).connect(name, stream).await.map_err(|e| {
        let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => RemoteError::Untrusted(certificate_words(why)),
            _ => RemoteError::Other(format!("no secure connection: {e}")),
        }
    })
}
