//! Keys as files, and signatures of them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::{
    Hashing512, KeyError, SIGNATURE_NAMESPACE, SignatureError, SigningKey, check_signature, dense,
};

/// Made by `ssh-keygen -t ed25519 -C heldar-footage` with a passphrase, for this test.
const ENCRYPTED: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCekavgxI
0fbRoHlRUFELrLAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIImm3Eh/Uu/68jCU
NAPbOJuhTmMxmJ54AyFGJelDxGezAAAAoM8KbKhyBijEOVfewYgOhdNvuCIVyIKT8QdaZC
0AUyW0vcK3lCRjE2Lw0WCymJvC78wqkyJECID+gG3O6jAxN3TlCLyLCDgWJyaMShmnw7md
5qlnPKuo1wP1hBngy18hBADul5HQ1ypKqNvvSQZ4iW1n6SnBjW4PAzDwRg5wJJGCWFWAgl
ePffdZDv2977xIczdSuJoQzCEaL6F3Lz+uwRk=
-----END OPENSSH PRIVATE KEY-----
";
/// Made by `ssh-keygen -t ecdsa`, for this test.
const ECDSA: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQRG1sukcZzj4RSn6XTLku9azmdZZDk7
G2DzP+YoNE8eB3xWhUBuU4fnB7gRxntvcPlREfyWZiTNx9WKRPfL2q6rAAAAqIlu/r6Jbv
6+AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEbWy6RxnOPhFKfp
dMuS71rOZ1lkOTsbYPM/5ig0Tx4HfFaFQG5Th+cHuBHGe29w+VER/JZmJM3H1YpE98varq
sAAAAhALTSweQSskCDs/VSJwvKZW6nG38fK+ZP3FtyHiZt0c6SAAAADmhlbGRhci1mb290
YWdlAQ==
-----END OPENSSH PRIVATE KEY-----
";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn seeded(seed: u8) -> PrivateKey {
    PrivateKey::new(Ed25519Keypair::from_seed(&[seed; 32]).into(), "").unwrap()
}

fn openssh(key: &PrivateKey) -> String {
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

#[test]
fn a_key_is_made_once_and_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = SigningKey::load_or_create(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let again = SigningKey::load_or_create(&path).unwrap();
    assert_eq!(again.fingerprint(), made.fingerprint());
    assert!(made.fingerprint().starts_with("SHA256:"));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn two_keys_are_not_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name| SigningKey::load_or_create(&folder.path().join(name)).unwrap();
    assert_ne!(made("first").fingerprint(), made("second").fingerprint());
}

#[test]
fn all_that_start_at_once_get_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let start = std::sync::Barrier::new(8);
    let fingerprints: std::collections::HashSet<String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let key = SigningKey::load_or_create(&path).unwrap();
                    key.fingerprint().to_owned()
                })
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(fingerprints.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_key_that_others_can_use_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    SigningKey::load_or_create(&path).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let error = SigningKey::load_or_create(&path).unwrap_err();
        assert!(matches!(&error, KeyError::OpenToOthers { mode: found, .. } if *found == mode));
        let mend = format!("`chmod 600 {}`", path.display());
        assert!(error.to_string().contains(&mend), "{error}");
    }
}

#[test]
fn what_is_no_usable_key_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = openssh(&seeded(1));
    type Expected = fn(&KeyError) -> bool;
    let cases: [(&str, Expected); 6] = [
        ("", |error| matches!(error, KeyError::Garbage(_))),
        ("ssh-ed25519 AAAA", |error| {
            matches!(error, KeyError::Garbage(_))
        }),
        (&key[..key.len() / 2], |error| {
            matches!(error, KeyError::Garbage(_))
        }),
        (&key.replacen('A', "B", 1), |error| {
            matches!(error, KeyError::Garbage(_))
        }),
        (ENCRYPTED, |error| matches!(error, KeyError::Encrypted(_))),
        (ECDSA, |error| matches!(error, KeyError::NotEd25519(_))),
    ];
    for (text, is_expected) in cases {
        write(&path, text, 0o600);
        let error = SigningKey::load_or_create(&path).unwrap_err();
        assert!(is_expected(&error), "{text}: {error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_folder_or_a_link_is_no_key_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let (key, link) = (folder.path().join("key"), folder.path().join("link"));
    SigningKey::load_or_create(&key).unwrap();
    symlink(&key, &link).unwrap();
    for path in [folder.path(), &link] {
        let error = SigningKey::load_or_create(path).unwrap_err();
        assert!(matches!(error, KeyError::NotAFile(_)), "{error:?}");
    }
    // A link that leads nowhere must not become a key elsewhere.
    std::fs::remove_file(&key).unwrap();
    let error = SigningKey::load_or_create(&link).unwrap_err();
    assert!(matches!(error, KeyError::NotAFile(_)), "{error:?}");
    assert!(!key.exists());
}

#[test]
fn a_key_of_the_operator_must_be_there_and_may_be_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (key, link) = (folder.path().join("key"), folder.path().join("link"));
    assert!(matches!(SigningKey::load(&key), Err(KeyError::Missing(_))));
    assert!(!key.exists());
    let made = SigningKey::load_or_create(&key).unwrap();
    symlink(&key, &link).unwrap();
    assert_eq!(
        SigningKey::load(&link).unwrap().fingerprint(),
        made.fingerprint()
    );
}

#[test]
fn a_signature_is_the_same_each_time_and_always_as_long() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load_or_create(&folder.path().join("key")).unwrap();
    let signature = key.sign(b"one").unwrap();
    assert_eq!(signature, key.sign(b"one").unwrap());
    assert_eq!(signature.len(), key.sign(&[0; 100_000]).unwrap().len());
    assert!(signature.starts_with("-----BEGIN SSH SIGNATURE-----\n"));
    assert!(signature.ends_with("-----END SSH SIGNATURE-----\n"));
}

#[test]
fn a_signature_fits_what_was_signed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load_or_create(&folder.path().join("key")).unwrap();
    let signature = key.sign(b"sums").unwrap();
    let signed_by = check_signature(b"sums", signature.as_bytes()).unwrap();
    assert_eq!(signed_by.fingerprint, key.fingerprint());
    assert_eq!(
        check_signature(b"sumt", signature.as_bytes()),
        Err(SignatureError::DoesNotFit {
            fingerprint: key.fingerprint().to_owned()
        })
    );
}

#[test]
fn a_signature_for_another_purpose_does_not_fit() {
    let key = seeded(1);
    let signature = key.sign("git", HashAlg::Sha512, b"sums").unwrap();
    let pem = signature.to_pem(LineEnding::LF).unwrap();
    assert!(matches!(
        check_signature(b"sums", pem.as_bytes()),
        Err(SignatureError::DoesNotFit { .. })
    ));
}

#[test]
fn a_damaged_signature_never_fits_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load_or_create(&folder.path().join("key")).unwrap();
    let signature = key.sign(b"sums").unwrap().into_bytes();
    for length in 0..signature.len() - 1 {
        // Without the last line break it is still whole.
        assert!(
            check_signature(b"sums", &signature[..length]).is_err(),
            "{length}"
        );
    }
    for at in 0..signature.len() {
        let mut damaged = signature.clone();
        damaged[at] ^= 1;
        if !dense(&damaged).eq(dense(&signature)) {
            assert!(check_signature(b"sums", &damaged).is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_signature_of_the_hash_is_the_one_that_openssh_makes_of_the_contents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let theirs = seeded(7);
    write(&path, &openssh(&theirs), 0o600);
    let ours = SigningKey::load(&path).unwrap();
    for sums in [&b""[..], b"sums", &[0xff; 100_000]] {
        let expected = theirs
            .sign(SIGNATURE_NAMESPACE, HashAlg::Sha512, sums)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .unwrap();
        let mut hashing = Hashing512::default();
        for part in sums.chunks(1000) {
            hashing.update(part);
        }
        assert_eq!(ours.sign_hashed(&hashing.finish()).unwrap(), expected);
        assert_eq!(ours.sign(sums).unwrap(), expected);
    }
}
