//! The form in which rclone wants passwords: AES-256 in counter mode with a key that everybody knows, in base64. It hides
//! nothing; rclone only refuses others. Key and form: `fs/config/obscure/obscure.go` of rclone.

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctr::Ctr128BE;
use ring::rand::{SecureRandom as _, SystemRandom};

const KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b,
    0xd3, 0x90, 0x19, 0x8e, 0xb8, 0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];
const BLOCK_BYTES: usize = 16;

/// The obscured form of `password`; another one each time.
pub(super) fn obscure(password: &str) -> Result<String, ring::error::Unspecified> {
    let mut start = [0; BLOCK_BYTES];
    SystemRandom::new().fill(&mut start)?;
    Ok(obscure_from(start, password))
}

fn obscure_from(start: [u8; BLOCK_BYTES], password: &str) -> String {
    let mut bytes = start.to_vec();
    bytes.extend_from_slice(password.as_bytes());
    Ctr128BE::<Aes256>::new(&KEY.into(), &start.into()).apply_keystream(&mut bytes[BLOCK_BYTES..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_one_that_rclone_reads() {
        // `rclone reveal` of version 1.75 gives `potato` for the second of these.
        let start = [b'a'; BLOCK_BYTES];
        assert_eq!(obscure_from(start, ""), "YWFhYWFhYWFhYWFhYWFhYQ");
        assert_eq!(
            obscure_from(start, "potato"),
            "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"
        );
        assert_ne!(obscure("potato").unwrap(), obscure("potato").unwrap());
    }
}
