//! Which addresses are public: those that IANA's registries of special-purpose addresses do not list.
//!
//! Not public is everything that leads to this machine, to a network of its own, to many at once, or to nobody. An IPv6
//! address that carries an IPv4 address is what that one is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Reachable from everywhere.
    Public,
    /// This machine.
    Loopback,
    /// A network of its own.
    Private,
    /// Neighbours on one link. Clouds keep their credentials there.
    LinkLocal,
    /// Many receivers.
    Multicast,
    /// Set aside for documentation, measurements, transition or the future.
    Reserved,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Public => "a public address",
            Scope::Loopback => "an address of this machine",
            Scope::Private => "a private address",
            Scope::LinkLocal => "a link-local address",
            Scope::Multicast => "a multicast address",
            Scope::Reserved => "a reserved address",
        })
    }
}

/// IPv4 blocks that are not public: first address, bits of the prefix, what it is.
const V4: &[([u8; 4], u32, Scope)] = &[
    ([0, 0, 0, 0], 8, Scope::Loopback), // RFC 791: this network; Linux connects to itself
    ([10, 0, 0, 0], 8, Scope::Private), // RFC 1918
    ([100, 64, 0, 0], 10, Scope::Private), // RFC 6598: behind a provider's translation
    ([127, 0, 0, 0], 8, Scope::Loopback), // RFC 1122
    ([169, 254, 0, 0], 16, Scope::LinkLocal), // RFC 3927
    ([172, 16, 0, 0], 12, Scope::Private), // RFC 1918
    ([192, 0, 0, 0], 24, Scope::Reserved), // RFC 6890: protocol assignments
    ([192, 0, 2, 0], 24, Scope::Reserved), // RFC 5737: documentation
    ([192, 88, 99, 0], 24, Scope::Reserved), // RFC 7526: relays of 6to4
    ([192, 168, 0, 0], 16, Scope::Private), // RFC 1918
    ([198, 18, 0, 0], 15, Scope::Private), // RFC 2544: benchmarks
    ([198, 51, 100, 0], 24, Scope::Reserved), // RFC 5737
    ([203, 0, 113, 0], 24, Scope::Reserved), // RFC 5737
    ([224, 0, 0, 0], 4, Scope::Multicast), // RFC 5771
    ([240, 0, 0, 0], 4, Scope::Reserved), // RFC 1112, and RFC 919: broadcast
];

/// IPv6 blocks that are not public, within 2000::/3. Nothing outside of that is assigned to anybody (RFC 4291).
const V6: &[([u16; 3], u32, Scope)] = &[
    ([0x2001, 0, 0], 23, Scope::Reserved), // RFC 2928: protocols, Teredo (RFC 4380) and ORCHID among them
    ([0x2001, 0xdb8, 0], 32, Scope::Reserved), // RFC 3849: documentation
    ([0x3fff, 0, 0], 20, Scope::Reserved), // RFC 9637: documentation
];

/// What an address is.
pub(crate) fn scope(ip: IpAddr) -> Scope {
    match ip {
        IpAddr::V4(ip) => scope_v4(ip),
        IpAddr::V6(ip) => scope_v6(ip),
    }
}

fn scope_v4(ip: Ipv4Addr) -> Scope {
    let bits = u32::from(ip);
    let found = V4.iter().find(|(start, prefix, _)| (bits ^ u32::from_be_bytes(*start)) >> (32 - prefix) == 0);
    found.map_or(Scope::Public, |(_, _, scope)| *scope)
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let carried = |high: u16, low: u16| scope_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        _ if ip == Ipv6Addr::LOCALHOST || ip.is_unspecified() => Scope::Loopback,
        // IPv4-mapped (RFC 4291), IPv4-compatible (the same, deprecated) and translated (RFC 2765, deprecated).
        (0, 0) if (c, d, e) == (0, 0, 0) && matches!(f, 0 | 0xffff) => carried(g, h),
        (0, 0) if (c, d, e, f) == (0, 0, 0xffff, 0) => carried(g, h),
        // NAT64 (RFC 6052). The prefix for local use (RFC 8215) has no public meaning.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => carried(g, h),
        // 6to4 (RFC 3056).
        (0x2002, _) => carried(b, c),
        (0xff00..=0xffff, _) => Scope::Multicast,
        // Unique local (RFC 4193), link-local and the former site-local (RFC 3879).
        (0xfc00..=0xfdff, _) => Scope::Private,
        (0xfe80..=0xfebf, _) => Scope::LinkLocal,
        (0xfec0..=0xfeff, _) => Scope::Private,
        (0x2000..=0x3fff, _) => {
            let start = |[x, y, z]: [u16; 3]| u64::from(x) << 32 | u64::from(y) << 16 | u64::from(z);
            let bits = start([a, b, c]);
            let found = V6.iter().find(|(block, prefix, _)| (bits ^ start(*block)) >> (48 - prefix) == 0);
            found.map_or(Scope::Public, |(_, _, scope)| *scope)
        }
        _ => Scope::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_public_are_known_by_their_edges() {
        for (scope_, addresses) in [
            (Scope::Loopback, "0.0.0.0 0.255.255.255 127.0.0.1 127.255.255.255 :: ::1 ::ffff:127.0.0.1 ::127.0.0.1"),
            (Scope::Loopback, "64:ff9b::127.0.0.1 2002:7f00:1:: ::ffff:0:127.0.0.1 ::ffff:0.0.0.0"),
            (Scope::Private, "10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 172.16.0.0 172.31.255.255"),
            (Scope::Private, "192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 fc00:: fdff:ffff::1 fec0::1"),
            (Scope::Private, "::ffff:192.168.1.1 64:ff9b::10.0.0.1 2002:c0a8:101::1 2002:a00::"),
            (Scope::LinkLocal, "169.254.0.0 169.254.169.254 169.254.255.255 fe80::1 febf::1 ::ffff:169.254.169.254"),
            (Scope::Multicast, "224.0.0.0 239.255.255.255 ff02::1 ffff::1"),
            (Scope::Reserved, "192.0.0.8 192.0.2.1 192.88.99.1 198.51.100.7 203.0.113.7 240.0.0.1 255.255.255.255"),
            (Scope::Reserved, "2001::1 2001:1ff:ffff::1 2001:db8::1 3fff::1 3fff:fff::1 100::1 64:ff9b:1::1 5f00::1"),
            (Scope::Reserved, "4000::1 1fff::1 e000::1 2001:0:4136:e378:8000:63bf:3fff:fdd2"),
            (Scope::Public, "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0"),
            (
                Scope::Public,
                "169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255",
            ),
            (Scope::Public, "192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2606:2800:220:1::1 2001:200::1"),
            (Scope::Public, "::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808:: 3ffe:ffff::1 3fff:1000::1 2001:db9::1"),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(scope(address.parse().unwrap()), scope_, "{address}");
            }
        }
    }
}
