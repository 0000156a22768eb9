//! What a failure means to the destination, from what rclone says of it. rclone's exit codes do not tell a refused login
//! from a full disk, and neither do the servers in one way: so the words decide.

use std::borrow::Cow;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// User, password or key were refused.
    LoginRefused,
    /// The SSH host key or the TLS certificate is not the one expected.
    HostChanged,
    /// There is no space left.
    Full,
    /// Writing is not allowed.
    ReadOnly,
    /// The server refused to write and did not say why; OpenSSH does so when the disk is full or read-only.
    WriteRefused,
    /// The settings name something that is not there or cannot be used.
    Settings,
    /// The connection could not be made or broke.
    Unreachable,
    /// There is no such file or folder.
    Missing,
    /// Anything else.
    Other,
}

/// Words that show a cause, in lower case, the most certain first.
const WORDS: &[(Cause, &[&str])] = &[
    (
        Cause::HostChanged,
        &[
            "knownhosts: key mismatch",
            "knownhosts: key is unknown",
            "knownhosts: key is revoked",
            "no common algorithm for host key",
            "host key mismatch",
            "x509: ",
            "failed to verify certificate",
        ],
    ),
    (
        Cause::LoginRefused,
        &[
            "unable to authenticate",
            "login incorrect",
            "login authentication failed",
            "not logged in",
            "authentication failed",
            "invalidaccesskeyid",
            "signaturedoesnotmatch",
            "expiredtoken",
            "invalidtoken",
            "tokenrefreshrequired",
            "statuscode: 401",
            "invalid_grant",
        ],
    ),
    (
        Cause::Full,
        &[
            "no space left",
            "enospc",
            "disk full",
            "disk quota",
            "quota exceeded",
            "quotaexceeded",
            "exceeded storage allocation",
            "insufficient storage",
            "insufficientstorage",
            "storagefull",
            "storage full",
            "not enough space",
            // As rclone says of a disk of its own machine.
            "file too big for remaining disk space",
            "statuscode: 507",
            "storagequotaexceeded",
        ],
    ),
    (
        Cause::Settings,
        &[
            "nosuchbucket",
            "failed to parse private key",
            "ssh: no key found",
            "ssh: this private key is passphrase protected",
            "decryption password incorrect",
            "didn't find section in config file",
            "invalidlocationconstraint",
            "authorizationheadermalformed",
            "objectlockconfigurationnotfounderror",
            "is missing object lock configuration",
            "password authentication is required but no password",
            "couldn't decrypt password",
            "config file encrypted",
            "unable to decrypt configuration",
        ],
    ),
    (
        Cause::ReadOnly,
        &[
            "read-only file system",
            "read only file system",
            "permission denied",
            "ssh_fx_permission_denied",
            "ssh_fx_write_protect",
            "operation not permitted",
            "accessdenied",
            "access denied",
            "statuscode: 403",
            "allaccessdisabled",
        ],
    ),
    (
        Cause::Unreachable,
        &[
            "connection refused",
            "connection reset",
            "connection lost",
            "connection timed out",
            "connection closed",
            "use of closed network connection",
            "no such host",
            "no route to host",
            "network is unreachable",
            "server misbehaving",
            "i/o timeout",
            "tls handshake timeout",
            "deadline exceeded",
            "broken pipe",
            "ssh_fx_connection_lost",
            "ssh_fx_no_connection",
            "unexpected eof",
            "handshake failed: eof",
            "requesttimeout",
            "slowdown",
            "serviceunavailable",
            "statuscode: 500",
            "statuscode: 502",
            "statuscode: 503",
            "statuscode: 504",
        ],
    ),
    (
        Cause::Missing,
        &[
            "directory not found",
            "object not found",
            "no such file",
            "ssh_fx_no_such_file",
            "nosuchkey",
        ],
    ),
    (Cause::WriteRefused, &["ssh_fx_failure"]),
];

/// Reply codes of FTP servers, which stand before the server's own words.
const FTP_CODES: &[(Cause, &[u16])] = &[
    (Cause::LoginRefused, &[530, 532]),
    (Cause::Full, &[452, 552]),
    (Cause::Unreachable, &[421, 425, 426]),
    (Cause::ReadOnly, &[553]),
];

/// The cause that `text` shows. `ours`: paths and hosts that may stand in it and mean nothing, whatever their names are.
pub(super) fn cause(text: &str, ours: &[&str]) -> Cause {
    let text = text.to_ascii_lowercase();
    let ours: Vec<String> = ours.iter().map(|name| name.to_ascii_lowercase()).collect();
    let by_words = WORDS.iter().find(|(_, words)| {
        words
            .iter()
            .any(|word| without(&text, &ours, word).contains(word))
    });
    if let Some((cause, _)) = by_words {
        return *cause;
    }
    let by_code = FTP_CODES.iter().find(|(_, codes)| {
        codes.iter().any(|code| {
            let reply = format!("{code} ");
            has_reply(&without(&text, &ours, &reply), &reply)
        })
    });
    if let Some((cause, _)) = by_code {
        return *cause;
    }
    if text.trim_end().ends_with(": eof") || text.trim() == "eof" {
        return Cause::Unreachable;
    }
    Cause::Other
}

/// The text without those of our names in which the word stands. The others stay: a folder named `disk` must not keep `disk
/// full` from being understood.
fn without<'a>(text: &'a str, ours: &[String], word: &str) -> Cow<'a, str> {
    ours.iter()
        .filter(|name| name.contains(word))
        .fold(Cow::Borrowed(text), |text, name| {
            Cow::Owned(text.replace(name.as_str(), "…"))
        })
}

/// Whether the text has this reply of a server, a number and a space, at its beginning or after `: `.
fn has_reply(text: &str, reply: &str) -> bool {
    text.starts_with(reply) || text.contains(&format!(": {reply}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_understood() {
        // The texts of SSH and SFTP are as rclone 1.75 logs them of OpenSSH; those of S3 and FTP have the same form, and the
        // tests with servers show which of them are met.
        for (text, expected) in [
            (
                "NewFs: couldn't connect SSH: ssh: handshake failed: knownhosts: key mismatch",
                Cause::HostChanged,
            ),
            (
                "couldn't connect SSH: ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
                Cause::LoginRefused,
            ),
            (
                "dial tcp 127.0.0.1:22722: connect: connection refused",
                Cause::Unreachable,
            ),
            (
                "Update ReadFrom failed: sftp: \"Failure\" (SSH_FX_FAILURE)",
                Cause::WriteRefused,
            ),
            (
                "Update ReadFrom failed: sftp: \"write x: no space left on device\" (SSH_FX_FAILURE)",
                Cause::Full,
            ),
            (
                "Update Create failed: sftp: \"Permission denied\" (SSH_FX_PERMISSION_DENIED)",
                Cause::ReadOnly,
            ),
            (
                "NewFs: ftpConnection: 530 Login incorrect.",
                Cause::LoginRefused,
            ),
            ("update stor: 552 Transfer aborted.", Cause::Full),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Cause::HostChanged,
            ),
            (
                "operation error S3: HeadObject, https response error StatusCode: 403, api error Forbidden: Forbidden",
                Cause::ReadOnly,
            ),
            (
                "operation error S3: PutObject, api error SignatureDoesNotMatch: no",
                Cause::LoginRefused,
            ),
            ("api error NoSuchBucket: no", Cause::Settings),
            ("error listing: directory not found", Cause::Missing),
            ("read tcp 127.0.0.1:1->127.0.0.1:2: EOF", Cause::Unreachable),
            ("something new", Cause::Other),
        ] {
            assert_eq!(cause(text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn names_of_ours_are_no_cause() {
        let path = "disk full/permission denied/530 a.mp4";
        let text = format!("Failed to copy {path}: something new");
        assert_eq!(cause(&text, &[path]), Cause::Other);
        assert_eq!(cause(&text, &[]), Cause::Full);
        assert_eq!(cause("took 530 ms", &[]), Cause::Other);
        assert_eq!(cause(&text, &[path, "disk", "full", "i"]), Cause::Other);
        let full = "Failed to copy: write disk/a.mp4: Disk full";
        assert_eq!(cause(full, &["disk", "a.mp4"]), Cause::Full);
    }
}
