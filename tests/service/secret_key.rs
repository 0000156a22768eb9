//! `footage secret-key`, and what shows of the key.

use heldar_footage::proto;

use crate::backups::asking::create_destination;
use crate::server::Site;

fn new_key(site: &Site) -> String {
    let (code, key, _) = site.run(&["secret-key", "new"]);
    assert_eq!(code, 0);
    key.trim().to_owned()
}

#[test]
fn each_new_key_is_another_one_and_can_be_used() {
    let site = Site::new();
    let (first, second) = (new_key(&site), new_key(&site));
    assert_ne!(first, second);
    let site = site.with("HELDAR_SECRET_KEY", first);
    let (code, shown, _) = site.run(&["settings"]);
    assert_eq!(code, 0, "{shown}");
    let site = site.with("HELDAR_SECRET_KEY", "short");
    let (code, _, said) = site.run(&["settings"]);
    assert_eq!(code, 2);
    assert!(
        said.contains("HELDAR_SECRET_KEY: is not base64 of 32 bytes"),
        "{said}"
    );
}

#[test]
fn settings_say_whether_a_secret_is_set_and_do_not_show_it() {
    let site = Site::new();
    let key = new_key(&site);
    let site = site
        .with("HELDAR_SECRET_KEY", key.clone())
        .with("HELDAR_BACKUP_WEBHOOK_URL", "https://hooks.example/canary");
    for arguments in [["settings"].as_slice(), &["settings", "--json"]] {
        let (code, shown, said) = site.run(arguments);
        assert_eq!(code, 0, "{said}");
        assert!(
            !shown.contains(&key) && !shown.contains("canary"),
            "{shown}"
        );
    }
    let (_, shown, _) = site.run(&["settings"]);
    let state = |name: &str| {
        let mut lines = shown.lines().skip_while(|line| !line.starts_with(name));
        lines.nth(2).unwrap().trim().to_owned()
    };
    assert_eq!(state("HELDAR_SECRET_KEY "), "is set");
    assert_eq!(state("HELDAR_SECRET_KEY_NEW "), "is unset");
}

#[tokio::test]
async fn the_key_is_changed_only_while_no_server_runs() {
    let mut site = Site::new().on_sqlite();
    let (old, new) = (new_key(&site), new_key(&site));
    let change = ["secret-key", "change"];
    let (code, _, said) = site.run(&change);
    assert_eq!(code, 2);
    assert!(
        said.contains("HELDAR_SECRET_KEY, the present key, is not set"),
        "{said}"
    );
    site.set("HELDAR_SECRET_KEY", old);
    let (code, _, said) = site.run(&change);
    assert_eq!(code, 2);
    assert!(said.contains("there is no new key"), "{said}");
    site.set("HELDAR_SECRET_KEY_NEW", new);
    let (code, _, said) = site.run(&change);
    assert_eq!(code, 2);
    assert!(said.contains("there is no database"), "{said}");

    let server = site.start().await;
    let (code, _, said) = site.run(&change);
    assert_eq!(code, 1);
    assert!(
        said.contains("another server already uses the data folder"),
        "{said}"
    );
    assert_eq!(server.stop(), 0);
    let (code, told, said) = site.run(&change);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("no destination has secrets"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_fails_when_the_key_does_not_open_the_secrets_of_every_destination() {
    let mut site = Site::new();
    let (key, other) = (new_key(&site), new_key(&site));
    site.set("HELDAR_SECRET_KEY", key.clone());
    let server = site.start().await;
    let sftp = proto::SftpSettings {
        host: "127.0.0.1".to_owned(),
        user: "footage".to_owned(),
        password: "hush-hush".to_owned(),
        ..Default::default()
    };
    let destination = proto::Destination {
        settings: Some(proto::destination::Settings::Sftp(sftp)),
        ..Default::default()
    };
    let id = create_destination(&server, destination).await.unwrap().id;
    assert_eq!(server.stop(), 0);
    for (key, verdict, found) in [
        (key, "ok  ", "opens the secrets of 1 destination"),
        (
            other,
            "fail",
            "is not the key that the secrets were sealed with",
        ),
        (String::new(), "fail", "HELDAR_SECRET_KEY is not set"),
    ] {
        site.set("HELDAR_SECRET_KEY", key);
        let (code, out, _) = site.run(&["doctor"]);
        let told = out.lines().find(|line| line.contains("  secret key "));
        let told = told.unwrap_or_else(|| panic!("{out}"));
        assert!(told.starts_with(verdict) && told.contains(found), "{out}");
        if verdict == "fail" {
            assert_eq!(code, 1);
            assert!(told.contains(&id) && !out.contains("All is well"), "{out}");
        }
    }
}
