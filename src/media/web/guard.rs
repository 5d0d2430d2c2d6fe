//! Names are resolved here, so that an address is checked before anything connects to it.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::media::access::Leads;
use crate::media::access::scope::{Scope, scope};

/// Addresses of a host.
pub(super) type Lookup =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

/// Asks the system.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) }))
}

/// A host that an input must not reach.
#[derive(Debug, Clone)]
pub(super) struct ForbiddenHost {
    pub(super) host: String,
    pub(super) scope: Scope,
}

impl fmt::Display for ForbiddenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.parse::<IpAddr>().is_ok() {
            write!(f, "it leads to {}, {}", self.host, self.scope)
        } else {
            write!(f, "it leads to {}, which has {}", self.host, self.scope)
        }
    }
}

impl std::error::Error for ForbiddenHost {}

/// Resolves names to public addresses only.
pub(super) struct PublicResolver(pub(super) Lookup);

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, lookup) = (name.as_str().to_string(), self.0.clone());
        Box::pin(async move {
            let found = public(&host, lookup(host.clone()).await?)?;
            let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// The public ones among the addresses of a host.
///
/// # Errors
/// If there are others only.
pub(super) fn public(host: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, ForbiddenHost> {
    let other = found.iter().map(|ip| scope(*ip)).find(|scope| *scope != Scope::Public);
    let public: Vec<IpAddr> = found.into_iter().filter(|ip| scope(*ip) == Scope::Public).collect();
    match other {
        Some(scope) if public.is_empty() => Err(ForbiddenHost { host: host.to_string(), scope }),
        _ => Ok(public),
    }
}

/// Checks a host that a proxy will resolve. What this machine cannot resolve is left to the proxy.
///
/// # Errors
/// If the host is not public.
pub(super) async fn check_for_proxy(leads: &Leads, lookup: &Lookup, host: &str) -> Result<(), ForbiddenHost> {
    if leads.policy().allow_private {
        return Ok(());
    }
    match lookup(host.to_string()).await {
        Ok(found) => public(host, found).map(drop),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_of_a_host_are_used() {
        let ips = |text: &str| text.split(' ').map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let private = public("intranet.example", ips("10.0.0.1 fd00::1")).unwrap_err();
        assert_eq!(private.to_string(), "it leads to intranet.example, which has a private address");
        assert_eq!(public("mixed.example", ips("127.0.0.1 93.184.216.34")).unwrap(), ips("93.184.216.34"));
        assert_eq!(public("none.example", Vec::new()).unwrap(), Vec::<IpAddr>::new());
    }
}
