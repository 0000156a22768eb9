//! The host keys that an SSH server shows to whoever connects. `ssh-keyscan` asks for them: the key exchange of a crate
//! would bring seventy more.

use std::io::Write as _;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::TransferError;
use super::network::bare;
use crate::process::{Job, ProcessError};

const PROGRAM: &str = "ssh-keyscan";
/// Every kind that rclone may agree on with a server.
const KINDS: &str = "ed25519,ecdsa,rsa";
const OUTPUT_MAX_BYTES: usize = 64 << 10;
/// Time to end after the last attempt to connect.
const REST: Duration = Duration::from_secs(2);

/// Asks an SSH server for its host keys, `ssh-ed25519 AAAA…` each, in a fixed order. Nothing proves that they are those of
/// the right server: whoever keeps them trusts the network at this moment.
///
/// # Errors
/// [`TransferError::Unreachable`] when no key came within `timeout`; [`TransferError::Settings`] when `host` cannot be the
/// name or address of a host; [`TransferError::Failed`] when `ssh-keyscan` is not installed; [`TransferError::Cancelled`].
pub async fn host_keys(
    host: &str,
    port: u16,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Vec<String>, TransferError> {
    let host = bare(host);
    // In the list that ssh-keyscan reads, other characters would make several hosts of one.
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:%-".contains(&byte));
    if !is_host {
        return Err(TransferError::Settings(
            "`host` is neither a name nor an address".to_owned(),
        ));
    }
    let line = format!("{host}\n");
    let scanned = Job::new(PROGRAM, timeout + REST)
        .arguments(["-T".to_owned(), timeout.as_secs().max(1).to_string()])
        .arguments(["-p".to_owned(), port.to_string()])
        .arguments(["-t", KINDS, "-f", "-"])
        .input(Box::new(move |pipe| {
            // A child that ended without reading says why by its end.
            let _ = std::fs::File::from(pipe).write_all(line.as_bytes());
        }))
        .output(cancel, OUTPUT_MAX_BYTES)
        .await;
    let unreachable = || {
        TransferError::Unreachable(format!(
            "`{host}` shows no SSH host key on port {port} within {} s",
            timeout.as_secs().max(1)
        ))
    };
    let failed = |message: String| TransferError::Failed {
        status: PROGRAM.to_owned(),
        message,
    };
    let output = match scanned {
        Ok(output) => output,
        Err(ProcessError::NotFound { .. }) => {
            return Err(failed(
                "the host keys cannot be asked for: ssh-keyscan is not available; install openssh-client, or set `host_keys`"
                    .to_owned(),
            ));
        }
        Err(ProcessError::Cancelled) => return Err(TransferError::Cancelled),
        Err(ProcessError::Failed { .. } | ProcessError::TimedOut { .. }) => {
            return Err(unreachable());
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let keys = keys_in(&String::from_utf8_lossy(&output));
    if keys.is_empty() {
        return Err(unreachable());
    }
    Ok(keys)
}

/// The keys of lines `host ssh-ed25519 AAAA…`, each once.
fn keys_in(output: &str) -> Vec<String> {
    let mut keys: Vec<String> = output
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_output() {
        let output = "# 127.0.0.1:22 SSH-2.0-OpenSSH_9.2\n[127.0.0.1]:2222 ssh-rsa BBBB\n[127.0.0.1]:2222 ssh-ed25519 AAAA\n\n";
        assert_eq!(keys_in(output), ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]);
    }

    #[tokio::test]
    async fn what_is_no_host_is_refused() {
        for host in ["", "a b", "a,b", "10.0.0.0/8", "#a", "a\nb", "[a", "[a]"] {
            let asked =
                host_keys(host, 22, Duration::from_secs(1), &CancellationToken::new()).await;
            assert!(matches!(asked, Err(TransferError::Settings(_))), "{host}");
        }
    }
}
