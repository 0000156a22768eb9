//! Networks that destinations may be in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses at which clouds tell a machine about itself, secrets included, and that are not link-local.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// Networks that destinations may be in. Link-local and metadata addresses, and those that are no machine's, never are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNetworks {
    /// Empty: all.
    networks: Vec<IpNet>,
}

/// Why a text is no list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; write, for example, 192.168.0.0/16 or fd12::/16")]
pub struct NetworkError(String);

impl AllowedNetworks {
    /// Reads networks in CIDR form or single addresses, separated by commas; an empty text allows all.
    ///
    /// # Errors
    /// [`NetworkError`] names the first part that is neither.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let networks = parts
            .map(|part| {
                part.parse::<IpNet>()
                    .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| NetworkError(part.to_owned()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { networks })
    }

    /// Whether a destination may have this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = plain(address);
        !is_never_allowed(address)
            && (self.networks.is_empty()
                || self
                    .networks
                    .iter()
                    .any(|network| network.contains(&address)))
    }
}

impl fmt::Display for AllowedNetworks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.networks.iter().enumerate() {
            write!(out, "{}{network}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// The IPv4 address that an IPv6 address stands for (RFC 4291, section 2.5.5.2; RFC 6052, section 2.1), or the address
/// itself: a forbidden one has no other spelling.
fn plain(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    }
}

fn is_never_allowed(address: IpAddr) -> bool {
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_special || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &str, address: &str) -> bool {
        AllowedNetworks::parse(networks)
            .unwrap()
            .allows(address.parse().unwrap())
    }

    #[test]
    fn without_a_list_every_machine_is_allowed() {
        for address in ["127.0.0.1", "::1", "192.168.1.2", "8.8.8.8", "2001:db8::1"] {
            assert!(allows("", address), "{address}");
        }
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_spelling_and_by_every_list() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
        ] {
            assert!(!allows("", address), "{address}");
            assert!(!allows("0.0.0.0/0, ::/0", address), "{address}");
        }
    }

    #[test]
    fn a_list_allows_what_is_in_it() {
        let list = "192.168.0.0/16, fd12::/16,10.0.0.7";
        for address in ["192.168.255.1", "fd12::9", "10.0.0.7", "::ffff:10.0.0.7"] {
            assert!(allows(list, address), "{address}");
        }
        for address in ["192.169.0.1", "fd13::9", "10.0.0.8", "127.0.0.1"] {
            assert!(!allows(list, address), "{address}");
        }
        assert_eq!(
            AllowedNetworks::parse(list).unwrap().to_string(),
            "192.168.0.0/16,fd12::/16,10.0.0.7/32"
        );
        for text in ["nas", "10.0.0.0/33", "10.0.0.0/8;::1"] {
            assert!(AllowedNetworks::parse(text).is_err(), "{text}");
        }
    }
}
