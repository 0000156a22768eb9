//! The key that signs archives, and its signatures.
//!
//! Keys are Ed25519 in OpenSSH's format (PROTOCOL.key), signatures are SSHSIG (PROTOCOL.sshsig of OpenSSH), so that
//! `ssh-keygen -Y verify` of any machine checks them. Whose signatures are trusted is in
//! [`KnownKeys`](super::KnownKeys).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::Ed25519KeyPair;
use rustix::fs::OFlags;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SshSig};

use super::durable;

/// Keeps a signature of an archive from being taken for one of anything else.
pub const SIGNATURE_NAMESPACE: &str = "heldar-footage-archive";

/// Who signs, in `allowed_signers` and in the comment of a key.
pub const SIGNER: &str = "heldar-footage";

/// Only the owner may use a key.
const KEY_MODE: u32 = 0o600;
const MODE_OF_OTHERS: u32 = 0o077;

/// An Ed25519 key takes some 400 bytes; a file beyond this holds no key.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Why there is no key to sign with. The words tell the operator what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operator named a file that is not there.
    #[error("there is no signing key {0}; `ssh-keygen -t ed25519 -N '' -f {0}` makes one")]
    Missing(PathBuf),
    /// A folder, a device, or a link where the service keeps its own key.
    #[error("the signing key {0} is not a regular file; move it away, or name another key")]
    NotAFile(PathBuf),
    /// Somebody else could sign with it.
    #[error(
        "the signing key {path} has mode {mode:04o}, so that others than its owner can use it; run `chmod 600 {path}`"
    )]
    OpenToOthers {
        /// The key.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Nobody can type a passphrase when the server starts.
    #[error(
        "the signing key {0} has a passphrase, which the server cannot type; `ssh-keygen -p -N '' -f {0}` takes it off"
    )]
    Encrypted(PathBuf),
    /// A key of another kind.
    #[error(
        "the signing key {0} is not an Ed25519 key; `ssh-keygen -t ed25519 -N '' -f NEW_FILE` makes one"
    )]
    NotEd25519(PathBuf),
    /// Not a private key, or a damaged one.
    #[error(
        "{0} is not a private key in the format of OpenSSH; restore it, or move it away so that a new one can be made"
    )]
    Garbage(PathBuf),
    /// The file cannot be read.
    #[error("the signing key {path} cannot be read")]
    Read {
        /// The key.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("the new signing key {path} cannot be written")]
    Write {
        /// The key.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gave no random numbers.
    #[error("the system has no random numbers for a new signing key")]
    Random,
    /// The key cannot be put into words, or does not sign.
    #[error("the signing key does not work")]
    Format(#[source] ssh_key::Error),
}

/// A key that signs archives.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: Ed25519PublicKey,
    fingerprint: String,
    /// Kind and key, as in a `.pub` file.
    public_words: String,
}

impl std::fmt::Debug for SigningKey {
    /// The private part stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.fingerprint)
            .finish()
    }
}

impl SigningKey {
    /// The key in the file; a new one, readable by its owner only, when there is no file. Processes that start at the
    /// same time get the same key.
    ///
    /// # Errors
    /// [`KeyError`]; also when `path` is a symbolic link, because whoever placed it would choose the key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::read(path, OFlags::NOFOLLOW) {
            Err(KeyError::Missing(_)) => {}
            read => return read,
        }
        let text = new_key()?;
        match durable::write_new(path, text.as_bytes(), KEY_MODE) {
            // Another process was faster; its key is the one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => written.map_err(|source| KeyError::Write {
                path: path.to_owned(),
                source,
            })?,
        }
        // What signs is what the next start will read.
        Self::read(path, OFlags::NOFOLLOW)
    }

    /// The key that the operator named. Links are followed: secrets are often mounted as links.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Missing`] when there is no file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::read(path, OFlags::empty())
    }

    fn read(path: &Path, flags: OFlags) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read {
            path: path.to_owned(),
            source,
        };
        // Opening a pipe would wait for its other end.
        let flags = flags | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing(path.to_owned()));
            }
            Err(error) if is_link(&error) => return Err(KeyError::NotAFile(path.to_owned())),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(KeyError::NotAFile(path.to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & MODE_OF_OTHERS != 0 {
            return Err(KeyError::OpenToOthers {
                path: path.to_owned(),
                mode,
            });
        }
        let text = read_bounded(&file).map_err(failed)?;
        Self::from_openssh(path, &text)
    }

    fn from_openssh(path: &Path, text: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateKey::from_openssh(text).map_err(|error| match error {
            ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
                KeyError::NotEd25519(path.to_owned())
            }
            _ => KeyError::Garbage(path.to_owned()),
        })?;
        if key.is_encrypted() {
            return Err(KeyError::Encrypted(path.to_owned()));
        }
        let KeypairData::Ed25519(keys) = key.key_data() else {
            return Err(KeyError::NotEd25519(path.to_owned()));
        };
        let public = keys.public;
        let seed = keys.private.to_bytes();
        // A private part that does not belong to the public one signs nothing that can be verified.
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public.0)
            .map_err(|_| KeyError::Garbage(path.to_owned()))?;
        Ok(Self {
            pair,
            fingerprint: fingerprint(public),
            public_words: public_words(public).map_err(KeyError::Format)?,
            public,
        })
    }

    /// Fingerprint as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The public key as the line of a `.pub` file, with its line break.
    pub fn public_line(&self) -> String {
        format!("{} {SIGNER}\n", self.public_words)
    }

    /// The line by which `ssh-keygen -Y verify -I heldar-footage -n heldar-footage-archive` trusts this key, for
    /// archives only (ssh-keygen(1), "ALLOWED SIGNERS"), with its line break.
    pub fn allowed_signers(&self) -> String {
        format!(
            "{SIGNER} namespaces=\"{SIGNATURE_NAMESPACE}\" {}\n",
            self.public_words
        )
    }

    /// Signs the contents of SHA256SUMS: an armored SSHSIG with a line break at its end, the same each time, and of the
    /// same length for all keys and contents.
    ///
    /// # Errors
    /// [`KeyError::Format`], which an Ed25519 key does not cause.
    pub fn sign(&self, sums: &[u8]) -> Result<String, KeyError> {
        self.sign_hashed(&Sha512::digest(sums))
    }

    /// The same for contents of which only the SHA-512 is known: an SSHSIG signs no more of them.
    ///
    /// # Errors
    /// [`KeyError::Format`], which an Ed25519 key does not cause.
    pub fn sign_hashed(&self, sums: &Sha512) -> Result<String, KeyError> {
        let signature = self.pair.sign(&signed_data(sums));
        Signature::new(Algorithm::Ed25519, signature.as_ref())
            .and_then(|signature| {
                let key = KeyData::Ed25519(self.public);
                SshSig::new(key, SIGNATURE_NAMESPACE, HashAlg::Sha512, signature)
            })
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(KeyError::Format)
    }

    /// The public part.
    pub(super) fn public(&self) -> Ed25519PublicKey {
        self.public
    }
}

/// What is signed (PROTOCOL.sshsig): a preamble, and as strings with their lengths the namespace, nothing, the name of
/// the hash and the hash.
fn signed_data(sums: &Sha512) -> Vec<u8> {
    let mut data = b"SSHSIG".to_vec();
    for text in [SIGNATURE_NAMESPACE.as_bytes(), b"", b"sha512", &sums.0] {
        // Each is far below 4 GiB.
        data.extend((text.len() as u32).to_be_bytes());
        data.extend(text);
    }
    data
}

/// A SHA-512 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha512([u8; 64]);

impl Sha512 {
    /// That of some bytes.
    pub fn digest(bytes: &[u8]) -> Self {
        let mut hashing = Hashing512::default();
        hashing.update(bytes);
        hashing.finish()
    }
}

/// SHA-512 of what comes piece by piece.
#[derive(Clone)]
pub struct Hashing512(ring::digest::Context);

impl Default for Hashing512 {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA512))
    }
}

impl Hashing512 {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> Sha512 {
        let mut digest = [0; 64];
        digest.copy_from_slice(self.0.finish().as_ref());
        Sha512(digest)
    }
}

fn new_key() -> Result<impl std::ops::Deref<Target = String>, KeyError> {
    let mut seed = [0; Ed25519PrivateKey::BYTE_SIZE];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| KeyError::Random)?;
    PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), SIGNER)
        .and_then(|key| key.to_openssh(LineEnding::LF))
        .map_err(KeyError::Format)
}

fn read_bounded(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(KEY_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// How the system refuses to follow a link.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Fingerprint as `ssh-keygen -l` prints it.
fn fingerprint(key: Ed25519PublicKey) -> String {
    KeyData::Ed25519(key)
        .fingerprint(HashAlg::Sha256)
        .to_string()
}

/// Kind and key, without a comment.
pub(super) fn public_words(key: Ed25519PublicKey) -> Result<String, ssh_key::Error> {
    PublicKey::from(key).to_openssh()
}

/// A signature that fits, and by whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// Fingerprint of the key, `SHA256:…`.
    pub fingerprint: String,
    /// The key; [`KnownKeys::contains`](super::KnownKeys::contains) says whether it is trusted.
    pub(super) key: Ed25519PublicKey,
}

/// Why a signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not an SSHSIG of an Ed25519 key.
    #[error("the signature cannot be read")]
    Unreadable,
    /// Not of these bytes, or made for another purpose.
    #[error("the signature by {fingerprint} does not fit")]
    DoesNotFit {
        /// Fingerprint of the key that it names, which anybody can name.
        fingerprint: String,
    },
}

/// Checks a signature of SHA256SUMS against the key inside it.
///
/// # Errors
/// [`SignatureError`].
pub fn check_signature(sums: &[u8], pem: &[u8]) -> Result<SignedBy, SignatureError> {
    let signature = SshSig::from_pem(pem).map_err(|_| SignatureError::Unreadable)?;
    let KeyData::Ed25519(key) = *signature.public_key() else {
        return Err(SignatureError::Unreadable);
    };
    // Version and lengths are not among what is signed: there is one way only to write a signature down.
    let written = signature
        .to_pem(LineEnding::LF)
        .map_err(|_| SignatureError::Unreadable)?;
    if signature.version() != SshSig::VERSION || !dense(written.as_bytes()).eq(dense(pem)) {
        return Err(SignatureError::Unreadable);
    }
    let fingerprint = fingerprint(key);
    let fits = signature.algorithm() == Algorithm::Ed25519
        && PublicKey::from(key)
            .verify(SIGNATURE_NAMESPACE, sums, &signature)
            .is_ok();
    if fits {
        Ok(SignedBy { fingerprint, key })
    } else {
        Err(SignatureError::DoesNotFit { fingerprint })
    }
}

/// A text without its blanks and line breaks.
fn dense(text: &[u8]) -> impl Iterator<Item = &u8> {
    text.iter().filter(|byte| !byte.is_ascii_whitespace())
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
