//! Which addresses a user's URL may lead to.
//!
//! Everything in the IANA special-purpose address registries (RFC 6890 and its successors) that is not
//! globally reachable is refused: loopback, private, link-local (cloud metadata lives there), shared, reserved,
//! multicast; and every IPv6 form that carries such an IPv4 address within it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks that the operator allows although they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<IpNet>);

/// A text that is no list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: networks look like 10.1.0.0/16 or fd00::/8, with commas between them")]
pub struct InvalidNetwork(String);

impl FromStr for AllowList {
    type Err = InvalidNetwork;

    /// Networks or single addresses with commas between them; nothing is an empty list.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let network = part
                .parse::<IpNet>()
                .or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| InvalidNetwork(part.to_owned()))
        };
        Ok(Self(parts.map(network).collect::<Result<_, _>>()?))
    }
}

impl AllowList {
    /// This machine itself: for a service whose world is all on it.
    pub fn loopback() -> Self {
        Self(vec![
            Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
            IpAddr::V6(Ipv6Addr::LOCALHOST).into(),
        ])
    }

    /// True for a public address, and for one that the operator named.
    pub fn allows(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        is_public(plain) || self.0.iter().any(|network| network.contains(&plain))
    }
}

const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    // Shared (carriers); Alibaba's metadata lies here.
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Azure's services for its own virtual machines, metadata among them: public only by its looks.
    v4([168, 63, 129, 16], 32),
    // Link-local: the metadata of most clouds, and ECS's credentials.
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// Global unicast; all else in IPv6 is local, multicast, or carries an IPv4 address.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    // Protocol assignments, Teredo among them.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4: an IPv4 address in the next two groups.
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// RFC 6052: an IPv4 address in the last two groups.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address)
                && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
                && !is_isatap(address)
        }
    }
}

/// RFC 5214, section 6.1: an IPv4 address as the last two groups, in a network of any prefix.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., a, b, _, _] = address.segments();
    b == 0x5efe && (a & !0x0200) == 0
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &str, address: &str) -> bool {
        list.parse::<AllowList>().unwrap().allows(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "93.184.215.14",
            "1.1.1.1",
            "13.224.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(allowed("", address), "{address}");
        }
    }

    #[test]
    fn what_is_not_public_is_refused_in_every_spelling() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.8.8.8",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2a00:1450::5efe:a9fe:a9fe",
            "2a00:1450::200:5efe:10.0.0.1",
            "5f00::1",
            "3fff::1",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(!allowed("", address), "{address}");
        }
    }

    #[test]
    fn the_operator_can_open_networks_and_addresses() {
        let list = "10.1.0.0/16, 127.0.0.1,fd00::/8";
        for address in ["10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "fd12::1", "1.1.1.1"] {
            assert!(allowed(list, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "169.254.169.254"] {
            assert!(!allowed(list, address), "{address}");
        }
        for bad in ["10.0.0.0/33", "example.com", "10.0.0.0/8;::1"] {
            assert!(bad.parse::<AllowList>().is_err(), "{bad}");
        }
        assert_eq!(" , ".parse::<AllowList>().unwrap(), AllowList::default());
    }
}
