//! Which addresses may be reached: public ones, and those of `fetch.networks`. What has a special purpose is refused, by the
//! registries of IANA; of IPv6 only global unicast (`2000::/3`) is public at all. An IPv4 address that is wrapped in an IPv6
//! one is refused as such, and where its wrapping is permitted by a network it must be permitted itself.
//!
//! Where clouds serve a machine's own credentials is refused always, whatever the networks say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)
}

const METADATA: &str = "a cloud's metadata";

/// Never reached. The first is all of IPv4's link-local range: nearly every cloud's metadata is in it, and no image store.
const METADATA_V4: [(Ipv4Net, &str); 4] = [
    (v4([169, 254, 0, 0], 16), "link-local, where clouds keep their metadata"),
    (v4([100, 100, 100, 200], 32), METADATA),
    (v4([168, 63, 129, 16], 32), METADATA),
    (v4([192, 0, 0, 192], 32), METADATA),
];
const METADATA_V6: [(Ipv6Net, &str); 4] = [
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), METADATA),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), METADATA),
];

const SPECIAL_V4: [(Ipv4Net, &str); 14] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a provider"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "for protocols"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relays"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];
/// Beyond global unicast these only name what is refused; within it they are what is refused.
const SPECIAL_V6: [(Ipv6Net, &str); 9] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discarded"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "for protocols"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Ranges that wrap an IPv4 address, with the bit it begins at, and whether its bits are inverted.
const WRAPPED: [(Ipv6Net, &str, u32, bool); 7] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible", 96, false),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped", 96, false),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "IPv4-translated", 96, false),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64", 96, false),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64", 96, false),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo", 96, true),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4", 16, false),
];

/// An address that may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// Which.
    pub(super) address: IpAddr,
    /// What it is for.
    pub(super) purpose: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may not be reached: {}", self.address, self.purpose)
    }
}

impl std::error::Error for Forbidden {}

/// Whether the address may be reached.
pub(super) fn check(address: IpAddr, networks: &[IpNet]) -> Result<(), Forbidden> {
    let purpose = metadata(address).or_else(|| match wrapped(address) {
        Some((inner, _)) if is_in(address, networks) => check(inner, networks).err().map(|refused| refused.purpose),
        Some((_, purpose)) => Some(purpose),
        None if is_in(address, networks) => None,
        None => special(address),
    });
    purpose.map_or(Ok(()), |purpose| Err(Forbidden { address, purpose }))
}

fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn metadata(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => METADATA_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what),
        IpAddr::V6(address) => METADATA_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what),
    }
}

fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => SPECIAL_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what),
        IpAddr::V6(address) => {
            let named = SPECIAL_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, what)| *what);
            named.or_else(|| (!GLOBAL_UNICAST.contains(&address)).then_some("not global unicast"))
        }
    }
}

/// The IPv4 address in an IPv6 one, and how it is wrapped.
fn wrapped(address: IpAddr) -> Option<(IpAddr, &'static str)> {
    let IpAddr::V6(address) = address else { return None };
    if address.is_unspecified() || address.is_loopback() {
        return None;
    }
    let (_, purpose, first_bit, inverted) = WRAPPED.iter().find(|(net, ..)| net.contains(&address))?;
    let bits = if *inverted { !address.to_bits() } else { address.to_bits() };
    let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = (bits >> (96 - first_bit)).to_be_bytes();
    Some((Ipv4Addr::new(a, b, c, d).into(), purpose))
}

#[cfg(test)]
mod tests;
