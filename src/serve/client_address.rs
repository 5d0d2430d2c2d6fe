//! Which client a connection or a request comes from, as far as limits are concerned.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// The network of an IPv6 address that one customer usually has, in bits.
const CUSTOMER: u32 = 64;

/// An IPv4 address, or the first 64 bits of an IPv6 address: whoever has one address there has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl From<IpAddr> for ClientAddress {
    fn from(ip: IpAddr) -> ClientAddress {
        ClientAddress(match ip.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> CUSTOMER)).into(),
            v4 => v4,
        })
    }
}

/// The client that a proxy at `peer` names in `X-Forwarded-For`. Proxies append to that header, so the last entry is the
/// nearest proxy's own. `None` where the peer is a public address, from which no proxy of the user's is to be expected.
///
/// Any local program can write this header too, so it may only relax a limit, never lift it.
pub(super) fn forwarded_for(peer: IpAddr, headers: &HeaderMap) -> Option<ClientAddress> {
    let near = match peer.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    };
    let header = headers.get_all("x-forwarded-for").iter().next_back().filter(|_| near)?;
    let last = header.to_str().ok()?.rsplit(',').next()?.trim();
    last.parse::<IpAddr>().ok().map(ClientAddress::from)
}

/// The address that holds the most of something.
pub(crate) struct Heaviest {
    pub(crate) address: ClientAddress,
    /// How many more it holds than the newcomer.
    pub(crate) surplus: usize,
}

/// The address that holds the most places, where it is not the newcomer's own. Places that run out are shared like this: the
/// address with the most gives one to those with fewer.
pub(crate) fn heaviest(places: &[ClientAddress], newcomer: ClientAddress) -> Option<Heaviest> {
    let held = |address| places.iter().filter(|a| **a == address).count();
    let address = *places.iter().max_by_key(|a| held(**a))?;
    let surplus = held(address).checked_sub(held(newcomer)).filter(|s| *s > 0)?;
    Some(Heaviest { address, surplus })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> ClientAddress {
        ClientAddress::from(ip.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn one_customer_is_one_client() {
        assert_eq!(of("2001:db8:0:1::5"), of("2001:db8:0:1:ffff::"));
        assert_ne!(of("2001:db8:0:1::5"), of("2001:db8:0:2::5"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn only_a_proxy_nearby_is_believed() {
        let named = |peer: &str, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            forwarded_for(peer.parse().unwrap(), &headers)
        };
        assert_eq!(named("127.0.0.1", &["198.51.100.7, 203.0.113.9"]), Some(of("203.0.113.9")));
        assert_eq!(named("::ffff:10.0.0.1", &["198.51.100.7", "2001:db8::1"]), Some(of("2001:db8::1")));
        assert_eq!(named("203.0.113.1", &["198.51.100.7"]), None);
        assert_eq!(named("127.0.0.1", &["unknown"]), None);
        assert_eq!(named("127.0.0.1", &[]), None);
    }
}
