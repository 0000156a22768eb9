//! The form that the settings of a destination must have: each rule says what is wrong in words for the caller.
//!
//! What passes here is put into environment variables and configuration of other programs, so each rule names what is
//! allowed and not what is forbidden, wherever the protocol itself allows that.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

use axum::http::Uri;
use ssh_key::PublicKey;

/// Longest name of a machine, as in RFC 1035 section 2.3.4.
const HOST_MAX_BYTES: usize = 253;
const PATH_MAX_BYTES: usize = 4096;

/// A form that a text has, or what is wrong with it.
pub(super) type Formed<T = String> = Result<T, String>;

/// A host: a name, an IPv4 address, or an IPv6 address in brackets; no port.
pub(super) fn host(text: String) -> Formed {
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("has no IPv6 address in its brackets".to_owned()),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err("must have brackets around an IPv6 address".to_owned());
    }
    let is_name = text.len() <= HOST_MAX_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_name {
        Ok(text)
    } else {
        Err(
            "must be a name or an address without a port: letters, digits, `.`, `-` and `_`"
                .to_owned(),
        )
    }
}

/// A TCP port; 0 asks for `default`.
pub(super) fn port(port: i32, default: u16) -> Formed<u16> {
    match u16::try_from(port) {
        Ok(0) => Ok(default),
        Ok(port) => Ok(port),
        Err(_) => Err("must be between 1 and 65535; 0 means the usual port".to_owned()),
    }
}

/// A folder at a destination. It may be relative, and nothing of it is resolved here.
pub(super) fn remote_path(text: String) -> Formed {
    if text.len() > PATH_MAX_BYTES {
        return Err(format!("must have at most {PATH_MAX_BYTES} bytes"));
    }
    printable(text)
}

/// The folder of a local destination: absolute, without steps up, in one of the operator's folders. Links are
/// followed by nobody here; the folder is opened beneath its root later.
pub(super) fn local_path(text: String, roots: &[PathBuf]) -> Formed {
    if text.is_empty() {
        return Err("local destination has no `path` configured".to_owned());
    }
    let text = remote_path(text)?;
    let path = Path::new(&text);
    if !path.is_absolute() {
        return Err("must be an absolute path".to_owned());
    }
    if path
        .components()
        .any(|step| matches!(step, Component::ParentDir))
    {
        return Err("must not hold `..`".to_owned());
    }
    // Components leave out `.`, doubled slashes and one at the end, so that equal folders have equal paths.
    let path: PathBuf = path.components().collect();
    if !roots.iter().any(|root| path.starts_with(root)) {
        return Err(
            "must be in a folder that the operator allows for backups (HELDAR_BACKUP_LOCAL_ROOTS)"
                .to_owned(),
        );
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| "must be UTF-8".to_owned())
}

/// A bucket of S3, by the rules for general purpose buckets.
pub(super) fn bucket(text: String) -> Formed {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let is_right = (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| is_edge(byte) || matches!(byte, b'.' | b'-'))
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
        && !text.contains("..")
        && text.parse::<Ipv4Addr>().is_err();
    if is_right {
        Ok(text)
    } else {
        Err(
            "must be the name of a bucket: 3 to 63 small letters, digits, `.` and `-`, a letter or digit at both ends"
                .to_owned(),
        )
    }
}

/// What stands in front of every object's name, without a slash at its ends.
pub(super) fn prefix(text: String) -> Formed {
    let text = remote_path(text)?;
    let is_plain = text.is_empty() || text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_plain {
        Ok(text)
    } else {
        Err("must have no slash at its ends, and no empty part, `.` or `..`".to_owned())
    }
}

/// The URL of an S3 service, without anything after the host and its port.
pub(super) fn endpoint(text: String) -> Formed {
    let wrong = || "must be `https://host[:port]` or `http://host[:port]`".to_owned();
    // `Uri` drops a fragment without a word.
    if text.contains('#') {
        return Err(wrong());
    }
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))
        .ok_or_else(wrong)?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if !is_bare || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let host = host(authority.host().to_owned()).map_err(|_| wrong())?;
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => String::new(),
        // `Uri` shows no port where there is one that is too large.
        Some(_) => match authority.port_u16() {
            Some(port) if port > 0 => format!(":{port}"),
            _ => return Err(wrong()),
        },
        None => return Err(wrong()),
    };
    Ok(format!("{scheme}://{host}{port}"))
}

/// A word of an S3 service, such as a region or a storage class.
pub(super) fn word(text: String) -> Formed {
    let is_word = text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_word {
        Ok(text)
    } else {
        Err("must have at most 64 characters: letters, digits, `_` and `-`".to_owned())
    }
}

/// The id or ARN of a key.
pub(super) fn key_id(text: String) -> Formed {
    let is_key_id = text.len() <= 2048
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b':' | b'/' | b'_' | b'-' | b'.' | b'+' | b'=')
        });
    if is_key_id {
        Ok(text)
    } else {
        Err("must be the id or the ARN of a key".to_owned())
    }
}

/// The name of a remote in rclone's configuration.
pub(super) fn remote(text: String) -> Formed {
    if text.is_empty() {
        return Err("rclone destination requires `remote`".to_owned());
    }
    word(text).map_err(|_| {
        "must be the name of a remote, without a colon: 1 to 64 letters, digits, `_` and `-`"
            .to_owned()
    })
}

/// Texts in PEM form, each of them labelled as in RFC 7468. Only line breaks are control characters in it.
pub(super) fn pem(text: &str, label: &str, max_bytes: usize) -> Formed {
    if text.len() > max_bytes {
        return Err(format!("must have at most {max_bytes} bytes"));
    }
    let text = text.replace("\r\n", "\n");
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err("must not hold control characters other than line breaks".to_owned());
    }
    let has = |edge: &str| {
        text.lines().any(|line| {
            line.strip_prefix(edge)
                .and_then(|rest| rest.trim_end().strip_suffix("-----"))
                .is_some_and(|found| found.ends_with(label))
        })
    };
    if has("-----BEGIN ") && has("-----END ") {
        Ok(text)
    } else {
        Err(format!(
            "must be in PEM form, from `-----BEGIN … {label}-----` to `-----END … {label}-----`"
        ))
    }
}

/// A host key as in a known_hosts file, without the host. A comment behind it is left out.
pub(super) fn host_key(text: &str) -> Formed {
    let wrong = || "must be a host key such as `ssh-ed25519 AAAA…`".to_owned();
    let mut key = PublicKey::from_openssh(text).map_err(|_| wrong())?;
    key.set_comment("");
    key.to_openssh().map_err(|_| wrong())
}

/// Text without control characters.
pub(super) fn printable(text: String) -> Formed {
    if text.chars().any(char::is_control) {
        Err("must not hold control characters".to_owned())
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that each text is taken as what stands beside it, and that the others are refused.
    fn check(rule: impl Fn(String) -> Formed, taken: &[(&str, &str)], refused: &[&str]) {
        for (text, formed) in taken {
            assert_eq!(rule((*text).to_owned()).as_deref(), Ok(*formed), "{text:?}");
        }
        for text in refused {
            assert!(rule((*text).to_owned()).is_err(), "{text:?}");
        }
    }

    /// The same for texts that are taken as they are.
    fn check_as_is(rule: impl Fn(String) -> Formed, taken: &[&str], refused: &[&str]) {
        let taken: Vec<_> = taken.iter().map(|text| (*text, *text)).collect();
        check(rule, &taken, refused);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_that_could_be_more() {
        check(
            host,
            &[
                ("nas", "nas"),
                ("NAS-2.example.org", "NAS-2.example.org"),
                ("my_nas.local.", "my_nas.local."),
                ("192.0.2.7", "192.0.2.7"),
                ("[2001:DB8::7]", "[2001:db8::7]"),
            ],
            &[
                "",
                "nas:22",
                "::1",
                "[::1]:22",
                "[nas]",
                "[]",
                "user@nas",
                "nas/share",
                "nas,key_file=/etc/shadow",
                "nas'",
                "nas\"",
                "nas\n",
                "nas x",
                " nas",
                "-oProxyCommand=x",
                ".nas",
                "nas\0",
                "n\u{e4}s",
                "[fe80::1%eth0]",
                &"a".repeat(254),
            ],
        );
    }

    #[test]
    fn a_port_is_a_port_or_the_usual_one() {
        for (asked, taken) in [(0, Some(22)), (1, Some(1)), (65_535, Some(65_535))] {
            assert_eq!(port(asked, 22).ok(), taken);
        }
        for bad in [-1, 65_536, i32::MIN] {
            assert!(port(bad, 22).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_at_a_destination_hold_anything_but_control_characters() {
        check_as_is(
            remote_path,
            &["", "backup", "/a b/c'd\"e,f:g", "../x", "\u{e4}/[x]"],
            &["a\nb", "a\0b", "a\u{7f}", &"a".repeat(4097)],
        );
    }

    #[test]
    fn local_folders_lie_in_the_folders_that_the_operator_allows() {
        let roots = [PathBuf::from("/mnt"), PathBuf::from("/srv/backup")];
        check(
            |text| local_path(text, &roots),
            &[
                ("/mnt", "/mnt"),
                ("/mnt/usb/", "/mnt/usb"),
                ("/srv//backup/./a b", "/srv/backup/a b"),
            ],
            &[
                "",
                "mnt",
                "/",
                "/mntx",
                "/srv",
                "/srv/backupx",
                "/mnt/../etc",
                "/mnt/usb/..",
                "/etc",
                "/mnt/a\nb",
                "/mnt/a\0b",
            ],
        );
        assert!(local_path("/mnt".to_owned(), &[]).is_err());
        assert_eq!(
            local_path(String::new(), &roots).unwrap_err(),
            "local destination has no `path` configured"
        );
    }

    #[test]
    fn buckets_have_the_names_that_s3_allows() {
        check_as_is(
            bucket,
            &["abc", "my-bucket.2026", "0a0", &"a".repeat(63)],
            &[
                "",
                "ab",
                "Abc",
                "a_b",
                "-abc",
                "abc-",
                ".abc",
                "a..b",
                "192.0.2.7",
                "a/b",
                "abc,d",
                "abc:d",
                &"a".repeat(64),
            ],
        );
    }

    #[test]
    fn prefixes_have_no_slash_at_their_ends() {
        check_as_is(
            prefix,
            &["", "a", "a/b c"],
            &["/", "/a", "a/", "a//b", ".", "..", "a/../b", "a\nb"],
        );
    }

    #[test]
    fn endpoints_are_a_scheme_a_host_and_a_port() {
        check(
            endpoint,
            &[
                ("https://s3.example.org", "https://s3.example.org"),
                ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
                ("HTTP://minio:9000", "http://minio:9000"),
                ("https://[::1]:9000", "https://[::1]:9000"),
            ],
            &[
                "",
                "s3.example.org",
                "s3.example.org:443",
                "//s3.example.org",
                "ftp://s3.example.org",
                "https://",
                "https://u:p@s3.example.org",
                "https://s3.example.org/path",
                "https://s3.example.org?x=1",
                "https://s3.example.org/#x",
                "https://s3.example.org:",
                "https://s3.example.org:0",
                "https://s3.example.org:99999",
                "https://s3.example.org,x",
                "https://s3 .example.org",
                "https://s3.example.org\n",
            ],
        );
    }

    #[test]
    fn words_key_ids_and_remotes_hold_only_what_they_can() {
        check_as_is(
            word,
            &["", "eu-central-1", "STANDARD_IA"],
            &["a b", "a,b", "a\n", "a=b", &"a".repeat(65)],
        );
        check_as_is(
            key_id,
            &[
                "",
                "arn:aws:kms:eu-central-1:111122223333:key/1234-ab",
                "alias/x",
            ],
            &["a b", "a,b", "a\n", "a\"b"],
        );
        check_as_is(
            remote,
            &["nas", "my_remote-2"],
            &["", "nas:", ":sftp,host=x:", "a b", "a/b", &"a".repeat(65)],
        );
    }

    #[test]
    fn pem_texts_have_their_label_and_no_control_characters_but_line_breaks() {
        let certificate = |text: String| pem(&text, "CERTIFICATE", 200);
        let whole = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(
            certificate,
            &[(whole, whole), (&whole.replace('\n', "\r\n"), whole)],
            &[
                "",
                "AAAA",
                "-----BEGIN CERTIFICATE-----\nAAAA",
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "-----BEGIN CERTIFICATE-----\nAA\rAA\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nAA\tAA\n-----END CERTIFICATE-----\n",
                "-----BEGIN CERTIFICATE-----\nAA\0AA\n-----END CERTIFICATE-----\n",
                &format!("{whole}{}", "\n".repeat(200)),
            ],
        );
        for label in [
            "PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
        ] {
            let key = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----");
            assert!(pem(&key, "PRIVATE KEY", 200).is_ok(), "{label}");
        }
    }

    #[test]
    fn host_keys_are_whole_keys_of_the_usual_kinds() {
        let ed25519 =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
        check(
            |text| host_key(&text),
            &[
                (ed25519, ed25519),
                (&format!("{ed25519} root@nas"), ed25519),
                (ecdsa, ecdsa),
            ],
            &[
                "",
                "ssh-ed25519",
                "ssh-ed25519 AAAA",
                "nas ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti",
                &format!("{ed25519}\n{ed25519}"),
                &format!("@cert-authority {ed25519}"),
                &ed25519.replace("ssh-ed25519", "ssh-rsa"),
            ],
        );
    }
}
