//! Every special range by its first and last address and the neighbours of both, told anew here and not taken from the code.

use proptest::prelude::*;

use super::*;

/// First and last address of what may never be reached without leave.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
];

const SPECIAL_V6: &[(&str, &str)] = &[
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

fn v4(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an address").to_bits()
}

fn v6(text: &str) -> u128 {
    text.parse::<Ipv6Addr>().expect("an address").to_bits()
}

fn is_special_v4(bits: u32) -> bool {
    SPECIAL.iter().any(|(first, last)| (v4(first)..=v4(last)).contains(&bits))
}

fn is_special_v6(bits: u128) -> bool {
    SPECIAL_V6.iter().any(|(first, last)| (v6(first)..=v6(last)).contains(&bits))
}

fn is_refused(address: impl Into<IpAddr>) -> bool {
    check(address.into(), &[]).is_err()
}

fn with(networks: &[&str], address: &str) -> Result<(), &'static str> {
    let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().expect("a network")).collect();
    check(address.parse().expect("an address"), &networks).map_err(|forbidden| forbidden.purpose)
}

#[test]
fn every_special_range_is_refused_to_its_ends_and_no_further() {
    for (first, last) in SPECIAL {
        for bits in [v4(first), v4(last)] {
            assert!(is_refused(Ipv4Addr::from_bits(bits)), "{}", Ipv4Addr::from_bits(bits));
        }
        for bits in [v4(first).wrapping_sub(1), v4(last).wrapping_add(1)] {
            assert_eq!(is_refused(Ipv4Addr::from_bits(bits)), is_special_v4(bits), "{}", Ipv4Addr::from_bits(bits));
        }
    }
    for (first, last) in SPECIAL_V6 {
        for bits in [v6(first), v6(last)] {
            assert!(is_refused(Ipv6Addr::from_bits(bits)), "{}", Ipv6Addr::from_bits(bits));
        }
        for bits in [v6(first).wrapping_sub(1), v6(last).wrapping_add(1)] {
            assert_eq!(is_refused(Ipv6Addr::from_bits(bits)), is_special_v6(bits), "{}", Ipv6Addr::from_bits(bits));
        }
    }
}

#[test]
fn what_is_refused_is_told_by_its_purpose() {
    for (address, purpose) in [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "shared by a provider"),
        ("169.254.169.254", "link-local, where clouds keep their metadata"),
        ("198.18.0.1", "benchmarking"),
        ("203.0.113.9", "documentation"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "IPv4-compatible"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("::ffff:0:8.8.8.8", "IPv4-translated"),
        ("64:ff9b::8.8.8.8", "NAT64"),
        ("64:ff9b:1::1", "NAT64"),
        ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64"),
        ("100::1", "discarded"),
        ("2001::1", "Teredo"),
        ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
        ("2001:2::1", "for protocols"),
        ("2001:db8::1", "documentation"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("5f00::1", "not global unicast"),
        ("fc00::1", "private"),
        ("fdff:ffff::1", "private"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("fd00:ec2::254", METADATA),
        ("ff02::1", "multicast"),
    ] {
        assert_eq!(with(&[], address), Err(purpose), "{address}");
    }
    for address in ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450::1", "2003::1", "2001:200::1"] {
        assert_eq!(with(&[], address), Ok(()), "{address}");
    }
}

#[test]
fn a_network_lets_its_addresses_in_and_no_other() {
    assert_eq!(with(&["10.20.0.0/16"], "10.20.255.255"), Ok(()));
    assert_eq!(with(&["10.20.0.0/16"], "10.21.0.0"), Err("private"));
    assert_eq!(with(&["127.0.0.0/8", "::1/128"], "::1"), Ok(()));
    assert_eq!(with(&["127.0.0.0/8"], "::ffff:127.0.0.1"), Err("IPv4-mapped"));
    assert_eq!(with(&["fd12::/16"], "fd12::1"), Ok(()));
}

#[test]
fn no_network_lets_metadata_in() {
    let all = &["0.0.0.0/0", "::/0"];
    for address in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "fe80::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:1:2:3:4:5601:5601",
    ] {
        assert!(with(all, address).is_err(), "{address}");
    }
    assert_eq!(with(all, "10.0.0.1"), Ok(()));
    assert_eq!(with(all, "::ffff:10.0.0.1"), Ok(()));
}

#[test]
fn a_wrapped_address_needs_leave_for_what_is_in_it_too() {
    assert_eq!(with(&["64:ff9b::/96"], "64:ff9b::8.8.8.8"), Ok(()));
    assert_eq!(with(&["64:ff9b::/96"], "64:ff9b::10.0.0.1"), Err("private"));
    assert_eq!(with(&["64:ff9b::/96", "10.0.0.0/8"], "64:ff9b::10.0.0.1"), Ok(()));
    assert_eq!(with(&["2002::/16"], "2002:7f00:1::1"), Err("loopback"));
    // Teredo tells the client's address inverted: 127.0.0.1.
    assert_eq!(with(&["2001::/32"], "2001:0:808:808:0:0:80ff:fffe"), Err("loopback"));
}

proptest! {
    #[test]
    fn any_address_is_refused_where_it_is_special(bits: u32, wide: u128) {
        prop_assert_eq!(is_refused(Ipv4Addr::from_bits(bits)), is_special_v4(bits));
        prop_assert_eq!(is_refused(Ipv6Addr::from_bits(wide)), is_special_v6(wide));
        let global = (wide >> 3) | (1 << 125);
        prop_assert_eq!(is_refused(Ipv6Addr::from_bits(global)), is_special_v6(global));
    }

    #[test]
    fn no_wrapping_makes_an_address_reachable(bits: u32) {
        let address = Ipv4Addr::from_bits(bits);
        prop_assert!(is_refused(address.to_ipv6_mapped()));
        prop_assert!(is_refused(address.to_ipv6_compatible()));
        prop_assert!(is_refused(Ipv6Addr::from_bits(v6("64:ff9b::") | u128::from(bits))));
        prop_assert!(is_refused(Ipv6Addr::from_bits(v6("2002::") | u128::from(bits) << 80)));
        prop_assert!(is_refused(Ipv6Addr::from_bits(v6("2001::") | u128::from(!bits))));
    }
}
