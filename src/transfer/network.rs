//! Where settings lead to, and whether a destination may be there.

use std::time::Duration;

use super::TransferError;
use crate::domain::backup::destination::DestinationSettings;
use crate::domain::backup::network::AllowedNetworks;

/// How long a name may take to resolve.
const PATIENCE: Duration = Duration::from_secs(10);

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
    Ok(Some((bare(&host).to_owned(), port)))
}

/// A host without the brackets that stand around an address of IPv6 where a port follows (RFC 3986, section 3.2.2).
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inside| inside.contains(':'))
        .unwrap_or(host)
}

/// Checks every address that a host has at present.
///
/// # Errors
/// [`TransferError::Settings`] when one of them is not allowed, [`TransferError::Unreachable`] when there is none.
pub async fn check_host(
    allowed: &AllowedNetworks,
    host: &str,
    port: u16,
) -> Result<(), TransferError> {
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
        if !allowed.allows(address.ip()) {
            return Err(TransferError::Settings(format!(
                "the host {host} is in a network that is not allowed for backups (HELDAR_BACKUP_NETWORKS)"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn odd_forms_of_a_number_are_the_address_that_they_lead_to() {
        let some = AllowedNetworks::parse("192.168.0.0/16").expect("networks");
        for host in ["127.0.0.1", "127.1", "2130706433", "0177.0.0.1"] {
            assert!(check_host(&some, host, 22).await.is_err(), "{host}");
        }
        let loopback = AllowedNetworks::parse("127.0.0.0/8").expect("networks");
        assert!(check_host(&loopback, "127.1", 22).await.is_ok());
    }
}
