//! `README.txt`: what the archive is, and how anybody can check it with tools that are on every machine.

use super::{SIGNATURE_NAMESPACE, SIGNER};

/// The text, for the key with this fingerprint.
pub fn readme(fingerprint: &str) -> String {
    format!(
        "\
This archive holds footage of video cameras, as their recorder wrote it.

  CAMERA/...         the recordings. Files named ..._trimmed and clip_... were cut from
                     recordings without encoding them again; all others are the recorder's own
                     files, byte for byte.
  manifest.json      what was asked for, what is here, where it comes from, and what is missing
  SHA256SUMS         the SHA-256 of every file
  SHA256SUMS.sig     the signature of SHA256SUMS
  allowed_signers    the key that the signature is checked with

To check that nothing was changed, unpack the archive and run in its folder:

  sha256sum -c SHA256SUMS
  ssh-keygen -Y verify -f allowed_signers -I {SIGNER} -n {SIGNATURE_NAMESPACE} -s SHA256SUMS.sig < SHA256SUMS

The first command compares every file, the second the list itself. That the key is the
recorder's and nobody else's, this archive cannot prove: ask the operator for the key's
fingerprint by another way, and compare it with this one:

  {fingerprint}

`footage verify ARCHIVE.zip` does all of it at once, without unpacking.
Times in file names are UTC. In zip programs without UTC, the times of files may be shown
shifted by a time zone; those in manifest.json are exact.
"
    )
}
