//! Public keys whose signatures are trusted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};

use super::durable;
use super::signing::{SignedBy, SigningKey};

/// Some ten thousand keys; a file beyond this is no list of keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everybody may know the public keys.
const FILE_MODE: u32 = 0o644;

const ED25519: &str = "ssh-ed25519";

/// Why a list of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownKeysError {
    /// A line that is no public key.
    #[error("line {line} is not a public key in the format of OpenSSH")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The file is too large to be a list of keys, or holds no text.
    #[error("the file is not a list of public keys")]
    NotAList,
    /// The file cannot be read or written.
    #[error("the list of public keys cannot be read or written")]
    Io(#[from] io::Error),
}

/// Public keys whose signatures are trusted. Only Ed25519 signs archives; keys of other kinds are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeys {
    keys: HashSet<Ed25519PublicKey>,
}

impl KnownKeys {
    /// The keys in a file; none when there is no file.
    ///
    /// # Errors
    /// [`KnownKeysError`].
    pub fn read(path: &Path) -> Result<Self, KnownKeysError> {
        Self::from_text(&text(path)?)
    }

    /// The keys in a text of lines as in `.pub` files, in `authorized_keys` (sshd(8)) or in `allowed_signers`
    /// (ssh-keygen(1)). Empty lines and comments are passed over, and options have no effect: whoever names a list
    /// trusts the keys in it.
    ///
    /// # Errors
    /// [`KnownKeysError::Line`].
    pub fn from_text(text: &str) -> Result<Self, KnownKeysError> {
        let mut keys = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.extend(key_of(line).ok_or(KnownKeysError::Line { line: index + 1 })?);
        }
        Ok(Self { keys })
    }

    /// Adds the key to the file, unless it is there already.
    ///
    /// # Errors
    /// [`KnownKeysError`]; the file is then as it was.
    pub fn remember(path: &Path, key: &SigningKey) -> Result<(), KnownKeysError> {
        let mut text = text(path)?;
        if Self::from_text(&text)?.keys.contains(&key.public()) {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&key.public_line());
        Ok(durable::replace(path, text.as_bytes(), FILE_MODE)?)
    }

    /// Whether the signature is by one of these keys.
    pub fn contains(&self, signed_by: &SignedBy) -> bool {
        self.keys.contains(&signed_by.key)
    }

    /// Whether no signature is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn text(path: &Path) -> Result<String, KnownKeysError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KnownKeysError::NotAList);
    }
    String::from_utf8(bytes).map_err(|_| KnownKeysError::NotAList)
}

/// The key of a line: `Some(None)` when it is of a kind that signs no archives, `None` when the line has no key.
/// The kind comes first, or after options, or after principals and options.
fn key_of(line: &str) -> Option<Option<Ed25519PublicKey>> {
    let words = words(line);
    let at = words.iter().take(3).position(|word| is_kind(word))?;
    let encoded = words.get(at + 1)?;
    if words[at] != ED25519 {
        return Some(None);
    }
    let key = PublicKey::from_openssh(&format!("{ED25519} {encoded}")).ok()?;
    match *key.key_data() {
        KeyData::Ed25519(key) => Some(Some(key)),
        _ => None,
    }
}

fn is_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"]
        .iter()
        .any(|start| word.starts_with(start))
}

/// The words of a line; blanks inside quotes do not part them.
fn words(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    line.split(|c: char| {
        is_quoted ^= c == '"';
        c.is_ascii_whitespace() && !is_quoted
    })
    .filter(|word| !word.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{KnownKeys, KnownKeysError};
    use crate::packing::signing::{SigningKey, check_signature};

    fn key(folder: &tempfile::TempDir, name: &str) -> SigningKey {
        SigningKey::load_or_create(&folder.path().join(name)).unwrap()
    }

    fn knows(text: &str, key: &SigningKey) -> bool {
        let signed_by = check_signature(b"sums", key.sign(b"sums").unwrap().as_bytes()).unwrap();
        KnownKeys::from_text(text).unwrap().contains(&signed_by)
    }

    #[test]
    fn a_key_is_remembered_once_and_beside_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (key(&folder, "first"), key(&folder, "second"));
        let path = folder.path().join("known");
        assert!(KnownKeys::read(&path).unwrap().is_empty());
        for key in [&first, &second, &first] {
            KnownKeys::remember(&path, key).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            format!("{}{}", first.public_line(), second.public_line())
        );
        assert!(knows(&text, &first) && knows(&text, &second));
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 3, "two keys and their list");
    }

    #[test]
    fn a_list_without_a_last_line_break_keeps_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (key(&folder, "first"), key(&folder, "second"));
        let path = folder.path().join("known");
        std::fs::write(&path, first.public_line().trim_end()).unwrap();
        KnownKeys::remember(&path, &second).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(knows(&text, &first) && knows(&text, &second));
    }

    #[test]
    fn keys_are_found_in_each_format_that_openssh_has_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let (known, other) = (key(&folder, "known"), key(&folder, "other"));
        let line = known.public_line();
        for text in [
            line.clone(),
            known.allowed_signers(),
            format!("# keys\n\n  command=\"a \\\"b\\\" c\",no-pty {line}"),
            format!("somebody@example.org,else@example.org {line}"),
            format!("ssh-rsa AAAAB3NzaC1yc2E somebody\n{line}"),
        ] {
            assert!(knows(&text, &known), "{text}");
            assert!(!knows(&text, &other), "{text}");
        }
    }

    #[test]
    fn a_key_inside_of_an_option_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (key(&folder, "inside"), key(&folder, "outside"));
        let text = format!(
            "command=\"x {} \" {}",
            inside.public_line().trim_end(),
            outside.public_line()
        );
        assert!(knows(&text, &outside) && !knows(&text, &inside));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let line = key(&folder, "key").public_line();
        for bad in [
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "a b c ssh-ed25519 AAAA",
        ] {
            let error = KnownKeys::from_text(&format!("{line}{bad}\n")).unwrap_err();
            assert!(matches!(error, KnownKeysError::Line { line: 2 }), "{bad}");
        }
    }

    #[test]
    fn a_file_that_is_no_text_or_has_no_end_is_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(
            KnownKeys::read(&path),
            Err(KnownKeysError::NotAList)
        ));
        assert!(matches!(
            KnownKeys::read("/dev/zero".as_ref()),
            Err(KnownKeysError::NotAList)
        ));
    }
}
