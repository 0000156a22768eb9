//! Sealing: how the secrets of destinations are kept, and the key that opens them.
//!
//! A sealed text is AES-256-GCM (NIST SP 800-38D) in this form, which a later one can be told from by its first byte:
//!
//! ```text
//! 1 byte    form, 1
//! 8 bytes   key id: the first bytes of SHA-256 over a fixed text and the key
//! 12 bytes  nonce, random
//! n bytes   the encrypted text, and 16 bytes of tag
//! ```
//!
//! The associated data name the row, so that sealed secrets do not open in another one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

use crate::domain::backup::destination::DestinationKind;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const FORM: u8 = 1;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;

/// Keeps a key id from being the hash of anything else that the key is used for.
const KEY_ID_DOMAIN: &[u8] = b"heldar-footage secret key id\0";
const SEAL_DOMAIN: &str = "heldar-footage destination secrets";

/// Why secrets cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operator has to set the key.
    #[error("HELDAR_SECRET_KEY is not set; secrets are neither stored nor opened without it")]
    SecretKeyMissing,
    /// The operator has to set the key that the secrets were sealed with, or the secrets have to be written again.
    #[error("HELDAR_SECRET_KEY is not the key that the secrets were sealed with")]
    WrongSecretKey,
    /// The secrets have to be written again.
    #[error("the sealed secrets are damaged")]
    Damaged,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// Why a text is no secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not base64 of 32 bytes; `footage secret-key new` makes a key")]
pub struct SecretKeyError;

/// The key that seals secrets. Its debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey {
    bytes: [u8; KEY_BYTES],
    id: [u8; KEY_ID_BYTES],
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretKey")
    }
}

impl SecretKey {
    /// Reads a key: base64 (RFC 4648, section 4) of 32 bytes.
    ///
    /// # Errors
    /// [`SecretKeyError`], which does not show the text.
    pub fn parse(text: &str) -> Result<Self, SecretKeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SecretKeyError)?;
        Ok(Self::of(bytes.try_into().map_err(|_| SecretKeyError)?))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = [0; KEY_BYTES];
        fill(&mut bytes)?;
        Ok(Self::of(bytes))
    }

    /// The key as [`SecretKey::parse`] reads it, for the operator who keeps it.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.bytes)
    }

    fn of(bytes: [u8; KEY_BYTES]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(KEY_ID_DOMAIN);
        hash.update(&bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash.finish().as_ref()[..KEY_ID_BYTES]);
        Self { bytes, id }
    }

    /// Seals the secrets of a destination.
    pub(super) fn seal(&self, row: &SealedRow<'_>, secrets: &[&str]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let mut text = super::error::to_json(&secrets).into_bytes();
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                row.associated_data(),
                &mut text,
            )
            .map_err(|_| SealError::Damaged)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + text.len() + tag.as_ref().len());
        sealed.push(FORM);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`SecretKey::seal`] made for the same row.
    pub(super) fn open(
        &self,
        row: &SealedRow<'_>,
        sealed: &[u8],
    ) -> Result<Vec<String>, SealError> {
        let (header, text) = sealed
            .split_at_checked(HEADER_BYTES)
            .ok_or(SealError::Damaged)?;
        let (form, rest) = header.split_at(1);
        let (id, nonce) = rest.split_at(KEY_ID_BYTES);
        if form != [FORM] {
            return Err(SealError::Damaged);
        }
        if id != self.id {
            return Err(SealError::WrongSecretKey);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut text = text.to_vec();
        let opened = self
            .cipher()?
            .open_in_place(nonce, row.associated_data(), &mut text)
            .map_err(|_| SealError::Damaged)?;
        serde_json::from_slice(opened).map_err(|_| SealError::Damaged)
    }

    /// A digest that only the holder of the key can compute: a plain one of a request with a password would let whoever
    /// reads the database try passwords.
    pub(super) fn keyed_digest(&self, text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        hmac::sign(&key, text.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        UnboundKey::new(&AES_256_GCM, &self.bytes)
            .map(LessSafeKey::new)
            .map_err(|_| SealError::WrongSecretKey)
    }
}

/// The row that sealed secrets belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedRow<'a> {
    pub(super) id: &'a str,
    pub(super) kind: DestinationKind,
}

impl SealedRow<'_> {
    fn associated_data(&self) -> Aad<Vec<u8>> {
        // None of the three holds a zero byte, so no two rows have the same text.
        Aad::from(format!("{SEAL_DOMAIN}\0{}\0{}", self.kind.as_str(), self.id).into_bytes())
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), SealError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| SealError::Random)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: SealedRow<'_> = SealedRow {
        id: "bkd_nas",
        kind: DestinationKind::Sftp,
    };

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_row_and_nowhere_else() {
        let key = SecretKey::generate().unwrap();
        let sealed = key.seal(&ROW, &["p\"\n\0ä", ""]).unwrap();
        assert_eq!(key.open(&ROW, &sealed).unwrap(), ["p\"\n\0ä", ""]);
        let other_row = SealedRow {
            id: "bkd_other",
            ..ROW
        };
        let other_kind = SealedRow {
            kind: DestinationKind::Ftp,
            ..ROW
        };
        assert_eq!(key.open(&other_row, &sealed), Err(SealError::Damaged));
        assert_eq!(key.open(&other_kind, &sealed), Err(SealError::Damaged));
        let other_key = SecretKey::generate().unwrap();
        assert_eq!(
            other_key.open(&ROW, &sealed),
            Err(SealError::WrongSecretKey)
        );
    }

    #[test]
    fn no_changed_byte_and_no_missing_byte_goes_unnoticed() {
        let key = SecretKey::generate().unwrap();
        let sealed = key.seal(&ROW, &["password"]).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&ROW, &changed).is_err(), "byte {at}");
            assert!(key.open(&ROW, &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn the_same_secrets_never_look_the_same_when_sealed() {
        let key = SecretKey::generate().unwrap();
        assert_ne!(
            key.seal(&ROW, &["password"]).unwrap(),
            key.seal(&ROW, &["password"]).unwrap()
        );
    }

    #[test]
    fn a_key_is_read_as_it_is_shown_and_nothing_else_is_a_key() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(SecretKey::parse(&key.reveal()), Ok(key.clone()));
        assert!(!format!("{key:?}").contains(&key.reveal()));
        for text in ["", "short", "c2hvcnQ=", &format!("{}AA==", key.reveal())] {
            assert_eq!(SecretKey::parse(text), Err(SecretKeyError), "{text}");
        }
    }
}
