//! The policy itself, and the server that the user named.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::authorities::Authorities;
use super::scope::{Scope, scope};

/// What an input may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// Let redirects and playlists lead to this machine, to private networks and to other addresses that are not public.
    /// Default: false.
    pub allow_private: bool,
    /// Accept any certificate. Default: false.
    pub insecure: bool,
    /// Authorities to trust besides Mozilla's. Default: none.
    pub authorities: Option<Authorities>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    host: String,
    port: u16,
}

impl Place {
    /// A host as it stands in a URL (an IPv6 address with or without brackets), and its port.
    pub(crate) fn new(host: &str, port: u16) -> Place {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        // An address has several spellings, and a host is the same in any case.
        let host = host.parse::<IpAddr>().map_or_else(|_| host.to_ascii_lowercase(), |ip| ip.to_string());
        Place { host, port }
    }

    /// The host, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Where one input may lead: the policy, and the place that the user named.
#[derive(Debug, Clone)]
pub(crate) struct Leads {
    policy: AccessPolicy,
    named: Option<Place>,
}

impl Leads {
    /// Of an input at `named`; none if it is not on a server.
    pub(crate) fn new(policy: &AccessPolicy, named: Option<Place>) -> Leads {
        Leads { policy: policy.clone(), named }
    }

    /// The policy.
    pub(crate) fn policy(&self) -> &AccessPolicy {
        &self.policy
    }

    /// Whether a place may have any address: because the user named it, or allowed it.
    pub(crate) fn trusts(&self, place: &Place) -> bool {
        self.policy.allow_private || self.named.as_ref() == Some(place)
    }

    /// Checks the address to which a place was resolved.
    ///
    /// # Errors
    /// What the address is, if the input must not lead there.
    pub(crate) fn check(&self, place: &Place, ip: IpAddr) -> Result<(), Scope> {
        match scope(ip) {
            Scope::Public => Ok(()),
            _ if self.trusts(place) => Ok(()),
            scope => Err(scope),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_place_may_be_anywhere_and_what_it_leads_to_may_not() {
        let named = Place::new("Camera.local", 8080);
        let leads = Leads::new(&AccessPolicy::default(), Some(named.clone()));
        let private: IpAddr = "192.168.1.4".parse().unwrap();
        assert_eq!(leads.check(&named, private), Ok(()));
        assert_eq!(leads.check(&Place::new("camera.local.", 8080), private), Ok(()));
        assert_eq!(leads.check(&Place::new("camera.local", 22), private), Err(Scope::Private));
        assert_eq!(leads.check(&Place::new("other.example", 8080), private), Err(Scope::Private));
        assert_eq!(leads.check(&Place::new("other.example", 8080), "93.184.216.34".parse().unwrap()), Ok(()));
        let allowed = AccessPolicy { allow_private: true, ..AccessPolicy::default() };
        assert_eq!(Leads::new(&allowed, None).check(&Place::new("x", 1), private), Ok(()));
    }

    #[test]
    fn places_are_compared_by_what_they_mean() {
        assert_eq!(Place::new("[::0001]", 80), Place::new("::1", 80));
        assert_eq!(Place::new("HOST.", 80), Place::new("host", 80));
        assert_ne!(Place::new("host", 80), Place::new("host", 81));
    }
}
