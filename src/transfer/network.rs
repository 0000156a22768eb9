//! Which machines a destination may be: a network of the operator's choice, and never one that hands out secrets of
//! this machine.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::TransferError;
use crate::domain::backup::destination::DestinationSettings;

/// How long a name may take to resolve.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses at which clouds answer with credentials of the machine that asks, and which are not link-local (those are
/// refused anyway): Amazon's over IPv6, Alibaba's, Oracle's.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 0, 192)),
];

/// The host and port that settings lead to, where this service has a say in it: what the operator's rclone configuration
/// names is the operator's choice.
///
/// # Errors
/// [`TransferError::Settings`] when an endpoint names no host.
pub fn host_of(settings: &DestinationSettings) -> Result<Option<(String, u16)>, TransferError> {
    let (host, port) = match settings {
        DestinationSettings::Local(_) | DestinationSettings::Rclone(_) => return Ok(None),
        DestinationSettings::Sftp(sftp) => (sftp.host.clone(), sftp.port),
        DestinationSettings::Ftp(ftp) => (ftp.host.clone(), ftp.port),
        DestinationSettings::S3(s3) if s3.endpoint.is_empty() => return Ok(None),
        DestinationSettings::S3(s3) => {
            let no_host = || {
                TransferError::Settings(
                    "the endpoint of an S3 destination names no host".to_owned(),
                )
            };
            let endpoint: http::Uri = s3.endpoint.parse().map_err(|_| no_host())?;
            let port = match endpoint.scheme_str() {
                Some("http") => 80,
                _ => 443,
            };
            let host = endpoint.host().ok_or_else(no_host)?.to_owned();
            (host, endpoint.port_u16().unwrap_or(port))
        }
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(Some((host, port)))
}

/// The networks that destinations may be in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Empty: every network.
    allowed: Vec<IpNet>,
}

impl FromStr for Networks {
    type Err = String;

    /// Reads networks such as `192.168.0.0/16`, separated by commas. Nothing is every network.
    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = text
            .split(',')
            .map(str::trim)
            .filter(|network| !network.is_empty())
            .map(|network| {
                network
                    .parse::<IpNet>()
                    .or_else(|_| network.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| {
                        format!("`{network}` is no network such as 192.168.0.0/16 or fd00::/8")
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { allowed })
    }
}

impl Networks {
    /// Whether a destination may be at this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address in the clothes of IPv6 leads to the same machine.
        let address = address.to_canonical();
        let is_never = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        } || address.is_unspecified()
            || address.is_multicast()
            || METADATA.contains(&address);
        let is_allowed =
            self.allowed.is_empty() || self.allowed.iter().any(|net| net.contains(&address));
        !is_never && is_allowed
    }

    /// Checks every address that a host has at present.
    ///
    /// # Errors
    /// [`TransferError::Settings`] when one of them is not allowed, [`TransferError::Unreachable`] when there is none.
    pub async fn check(&self, host: &str, port: u16) -> Result<(), TransferError> {
        let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
        let addresses = match looked_up {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) => {
                return Err(TransferError::Unreachable(format!(
                    "the host {host} is not known"
                )));
            }
            Err(_) => {
                return Err(TransferError::Unreachable(format!(
                    "the name {host} takes too long to resolve"
                )));
            }
        };
        for address in addresses {
            if !self.allows(address.ip()) {
                return Err(TransferError::Settings(format!(
                    "the host {host} is in a network that is not allowed for backups (HELDAR_BACKUP_NETWORKS)"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        text.parse().expect("networks")
    }

    fn allows(networks: &Networks, address: &str) -> bool {
        networks.allows(address.parse().expect("an address"))
    }

    #[test]
    fn without_a_choice_every_network_is_allowed_but_those_that_hold_secrets() {
        let any = networks("");
        for address in ["192.168.1.7", "127.0.0.1", "203.0.113.9", "2001:db8::1"] {
            assert!(allows(&any, address), "{address}");
        }
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
        ] {
            assert!(!allows(&any, address), "{address}");
        }
    }

    #[test]
    fn a_choice_holds_in_every_form_of_an_address_and_cannot_allow_what_never_is() {
        let some = networks("192.168.0.0/16, fd00::/8,169.254.0.0/16");
        assert!(allows(&some, "192.168.9.9") && allows(&some, "::ffff:192.168.9.9"));
        for address in [
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "169.254.1.1",
            "fd00:ec2::254",
        ] {
            assert!(!allows(&some, address), "{address}");
        }
        assert!("10.0.0.0/33".parse::<Networks>().is_err());
    }

    #[tokio::test]
    async fn odd_forms_of_a_number_are_the_address_that_they_lead_to() {
        let some = networks("192.168.0.0/16");
        for host in ["127.0.0.1", "127.1", "2130706433", "0177.0.0.1"] {
            assert!(some.check(host, 22).await.is_err(), "{host}");
        }
        assert!(networks("127.0.0.0/8").check("127.1", 22).await.is_ok());
    }
}
