//! The key that signs archives: made once, or given, and refused when it is not safe to use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::asking::{all_of, ask, entry, make, two_cameras};
use crate::recorder::CAMERA;
use crate::server::Site;

/// Makes a key with the tool of OpenSSH.
fn ssh_keygen(path: &Path, options: &[&str]) {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-f", path.to_str().unwrap()])
        .args(options);
    let made = keygen.output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// What `ssh-keygen -l` says of a key.
fn fingerprint(path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    let output = keygen.arg("-l").arg("-f").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    told.split(' ').nth(1).unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs a server that must not start: what it says.
fn refused(site: &Site) -> String {
    let (code, out, err) = site.run(&["serve"]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    err
}

#[tokio::test]
async fn a_key_is_made_at_the_first_start_for_its_owner_only_and_stays_the_same() {
    let site = two_cameras();
    let key = site.data().join("signing_key");
    let server = site.start().await;
    assert_eq!(mode(&key), 0o600);
    let made = std::fs::read(&key).unwrap();
    let (_, first) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(first.signing_key_fingerprint, fingerprint(&key));
    assert_eq!(server.stop(), 0);

    let server = site.start().await;
    assert_eq!(std::fs::read(&key).unwrap(), made);
    let (_, second) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(
        second.signing_key_fingerprint,
        first.signing_key_fingerprint
    );
    assert_eq!(
        second.sha256, first.sha256,
        "equal requests give equal bytes"
    );
    server.stop_with_archives(&site, &[&first, &second]);
    let known = std::fs::read_to_string(site.data().join("signing_keys.pub")).unwrap();
    assert_eq!(known.lines().count(), 1, "{known}");

    // Another service has another key.
    let other = two_cameras();
    let server = other.start().await;
    let (_, third) = make(&server, ask(all_of(CAMERA))).await;
    assert_ne!(third.signing_key_fingerprint, first.signing_key_fingerprint);
    server.stop_with_archives(&other, &[&third]);
}

#[tokio::test]
async fn a_key_that_is_given_signs_and_none_is_made() {
    let mut site = two_cameras();
    let given = site.path("given");
    ssh_keygen(&given, &["-t", "ed25519", "-N", ""]);
    // Secrets are often mounted as links.
    let link = site.path("link");
    std::os::unix::fs::symlink(&given, &link).unwrap();
    site.set("HELDAR_SIGNING_KEY", link.to_str().unwrap());
    let server = site.start().await;
    let (_, archive) = make(&server, ask(all_of(CAMERA))).await;
    assert_eq!(archive.signing_key_fingerprint, fingerprint(&given));
    assert!(!site.data().join("signing_key").exists());
    let zip = site.archives().join(&archive.file_name);
    let signers = String::from_utf8(entry(&zip, "allowed_signers")).unwrap();
    let public = std::fs::read_to_string(given.with_extension("pub")).unwrap();
    let key = public.split(' ').nth(1).unwrap();
    assert!(signers.contains(key), "{signers}");
    server.stop_with_archives(&site, &[&archive]);
}

#[tokio::test]
async fn a_key_that_cannot_be_used_stops_the_start_with_words_that_name_it_and_the_cure() {
    let mut site = Site::new();
    let file = |name: &str| site.path(name);
    let (open, rsa, locked, text, folder) = (
        file("open"),
        file("rsa"),
        file("locked"),
        file("text"),
        file("folder"),
    );
    let ed25519 = ["-t", "ed25519", "-N"];
    ssh_keygen(&open, &[&ed25519[..], &[""]].concat());
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    ssh_keygen(&rsa, &["-t", "rsa", "-b", "2048", "-N", ""]);
    ssh_keygen(&locked, &[&ed25519[..], &["secret phrase"]].concat());
    std::fs::write(&text, "not a key at all").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let missing = file("missing");
    let key = |path: &Path| path.to_str().unwrap().to_owned();
    let told = [
        (&open, format!("run `chmod 600 {}`", key(&open))),
        (&rsa, "`ssh-keygen -t ed25519".to_owned()),
        (&locked, "`ssh-keygen -p -N ''".to_owned()),
        (
            &text,
            "not a private key in the format of OpenSSH".to_owned(),
        ),
        (&folder, "is not a regular file".to_owned()),
        (&missing, "`ssh-keygen -t ed25519".to_owned()),
    ];
    for (path, cure) in told {
        site.set("HELDAR_SIGNING_KEY", key(path));
        let told = refused(&site);
        assert!(told.contains(&key(path)), "the file is named: {told}");
        assert!(
            told.contains("HELDAR_SIGNING_KEY"),
            "so is the variable: {told}"
        );
        assert!(told.contains(&cure), "{cure}: {told}");
        assert!(!told.contains("OPENSSH PRIVATE"), "{told}");
        assert!(
            !site.data().join("signing_key").exists(),
            "a key was made instead"
        );
    }
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o600)).unwrap();
    site.set("HELDAR_SIGNING_KEY", key(&open));
    let server = site.start().await;
    server.stop_with_archives(&site, &[]);
}

#[tokio::test]
async fn the_own_key_is_refused_and_not_replaced_when_others_could_have_had_it() {
    let site = Site::new();
    let server = site.start().await;
    assert_eq!(server.stop(), 0);
    let key = site.data().join("signing_key");
    let made = std::fs::read(&key).unwrap();
    let allow = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode));
    allow(0o644).unwrap();
    let told = refused(&site);
    assert!(
        told.contains(key.to_str().unwrap()) && told.contains("chmod 600"),
        "{told}"
    );
    allow(0o600).unwrap();
    std::fs::write(&key, &made[..made.len() / 2]).unwrap();
    let told = refused(&site);
    assert!(told.contains(key.to_str().unwrap()), "{told}");
    assert_eq!(
        std::fs::read(&key).unwrap(),
        made[..made.len() / 2],
        "it is left as it is"
    );
    std::fs::write(&key, &made).unwrap();
    let server = site.start().await;
    server.stop_with_archives(&site, &[]);
}
