//! Destinations and their secrets.

use super::backup_sample::*;
use super::statement::sql;
use super::*;
use crate::domain::backup::destination::{
    DestinationKind, DestinationSettings, MASK, Pause, PauseReason, Secret, SftpSettings,
};

const CANARY: &str = "canary-8c1f0b7e";

fn sftp_of(destination: &crate::domain::backup::destination::Destination) -> &SftpSettings {
    match &destination.settings {
        DestinationSettings::Sftp(sftp) => sftp,
        other => panic!("{other:?}"),
    }
}

fn pause() -> Pause {
    Pause {
        reason: PauseReason::LoginRefused,
        message: "the password was refused".to_owned(),
        start_time: at_ms(5),
    }
}

async fn with_key() -> (Store, SecretKey, TempDir) {
    let Database { store, _folder } = Database::new().await;
    let key = SecretKey::generate().unwrap();
    (store.with_secret_key(Some(key.clone())), key, _folder)
}

async fn insert(store: &Store, id: &str, settings: DestinationSettings) {
    let inserted = store
        .insert_destination(&destination(id, settings), None)
        .await
        .unwrap();
    assert!(
        matches!(inserted, InsertedDestination::New(_)),
        "{inserted:?}"
    );
}

fn seal_fault(error: StoreError) -> (String, SealError) {
    match error {
        StoreError::Secrets {
            destination_id,
            source,
        } => (destination_id, source),
        other => panic!("{other:?}"),
    }
}

on_both! {
    a_destination_reads_back_as_it_was_written_with_its_secrets_masked,
    without_the_key_or_with_another_a_destination_can_be_shown_but_not_worked_with,
    secrets_are_not_stored_without_a_key_and_nothing_is_left_of_the_try,
    the_mask_keeps_a_secret_and_an_empty_one_takes_it_away,
    the_same_request_makes_one_destination_and_another_with_its_id_is_refused,
    an_update_of_what_was_read_before_another_update_is_stale,
    a_change_of_the_settings_ends_a_pause_and_other_changes_do_not,
    host_keys_of_the_first_connection_are_kept_once_and_for_the_host_that_was_asked,
    what_is_used_is_not_deleted,
    destinations_are_listed_newest_first_by_kind,
    a_success_is_noted_and_never_goes_back,
    changing_the_key_seals_everything_anew_or_nothing,
}

async fn a_destination_reads_back_as_it_was_written_with_its_secrets_masked() {
    let (store, _key, _folder) = with_key().await;
    let new = destination(NAS, sftp(CANARY, ""));
    insert(&store, NAS, new.settings.clone()).await;
    let shown = store.destination(NAS).await.unwrap().unwrap();
    assert_eq!(sftp_of(&shown).password.reveal(), MASK);
    assert!(sftp_of(&shown).private_key.is_empty());
    let opened = store.destination_with_secrets(NAS).await.unwrap().unwrap();
    assert_eq!(opened, new);
    assert!(store.destination("bkd_other").await.unwrap().is_none());
}

#[tokio::test]
async fn no_byte_of_a_secret_is_in_the_database() {
    let (store, _key, folder) = with_key().await;
    insert(&store, NAS, sftp(CANARY, CANARY)).await;
    store.close().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let finds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        assert!(!finds(CANARY), "{}", path.display());
        // What is written is found, or this test could not fail.
        assert!(finds("nas.example"), "{}", path.display());
    }
}

async fn without_the_key_or_with_another_a_destination_can_be_shown_but_not_worked_with() {
    let (store, _key, _folder) = with_key().await;
    insert(&store, NAS, sftp(CANARY, "")).await;
    let other = SecretKey::generate().unwrap();
    for (key, fault) in [
        (None, SealError::SecretKeyMissing),
        (Some(other), SealError::WrongSecretKey),
    ] {
        let store = store.clone().with_secret_key(key);
        let shown = store.destination(NAS).await.unwrap().unwrap();
        assert_eq!(sftp_of(&shown).password.reveal(), MASK);
        let error = store.destination_with_secrets(NAS).await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains(CANARY));
        assert_eq!(seal_fault(error), (NAS.to_owned(), fault));
        // What concerns no secret can be changed all the same.
        let mut disabled = shown.clone();
        disabled.enabled = false;
        let updated = store.update_destination(&disabled, at_ms(1)).await.unwrap();
        assert!(matches!(updated, UpdatedDestination::Updated(now) if !now.enabled));
    }
    let opened = store.destination_with_secrets(NAS).await.unwrap().unwrap();
    assert_eq!(sftp_of(&opened).password.reveal(), CANARY);
}

async fn secrets_are_not_stored_without_a_key_and_nothing_is_left_of_the_try() {
    let Database { store, _folder } = Database::new().await;
    let error = store
        .insert_destination(
            &destination(NAS, sftp(CANARY, "")),
            Some(&request("r", "d")),
        )
        .await
        .unwrap_err();
    assert_eq!(
        seal_fault(error),
        (NAS.to_owned(), SealError::SecretKeyMissing)
    );
    assert!(store.destination(NAS).await.unwrap().is_none());
    insert(&store, NAS, folder()).await;
    assert!(store.destination_with_secrets(NAS).await.unwrap().is_some());
}

async fn the_mask_keeps_a_secret_and_an_empty_one_takes_it_away() {
    let (store, _key, _folder) = with_key().await;
    insert(&store, NAS, sftp(CANARY, "key")).await;
    let change = async |password: &str, private_key: &str| {
        let mut new = store.destination(NAS).await.unwrap().unwrap();
        new.settings = sftp(password, private_key);
        let updated = store.update_destination(&new, at_ms(1)).await.unwrap();
        assert!(matches!(updated, UpdatedDestination::Updated(_)));
        let opened = store.destination_with_secrets(NAS).await.unwrap().unwrap();
        let sftp = sftp_of(&opened);
        (
            sftp.password.reveal().to_owned(),
            sftp.private_key.reveal().to_owned(),
            sftp.private_key_passphrase.reveal().to_owned(),
        )
    };
    let texts = |a: &str, b: &str| (a.to_owned(), b.to_owned(), String::new());
    assert_eq!(change(MASK, MASK).await, texts(CANARY, "key"));
    assert_eq!(change("new", MASK).await, texts("new", "key"));
    assert_eq!(change(MASK, "").await, texts("new", ""));
    // There is nothing to keep any more.
    assert_eq!(change(MASK, MASK).await, texts("new", ""));
    assert_eq!(change("", "").await, texts("", ""));
}

async fn the_same_request_makes_one_destination_and_another_with_its_id_is_refused() {
    let (store, _key, _folder) = with_key().await;
    let key = request("r", "digest of host, user and password");
    let insert = async |id: &str, request: &crate::domain::job::RequestKey| {
        store
            .insert_destination(&destination(id, sftp(CANARY, "")), Some(request))
            .await
            .unwrap()
    };
    assert!(matches!(
        insert("bkd_1", &key).await,
        InsertedDestination::New(_)
    ));
    let InsertedDestination::Existing(existing) = insert("bkd_2", &key).await else {
        panic!("the request was made before");
    };
    assert_eq!(existing.id, "bkd_1");
    assert_eq!(sftp_of(&existing).password.reveal(), MASK);
    assert!(matches!(
        insert("bkd_2", &request("r", "another")).await,
        InsertedDestination::RequestIdReused
    ));
    assert!(matches!(
        insert("bkd_1", &request("r2", "another")).await,
        InsertedDestination::IdTaken
    ));
    // A plain digest would let whoever reads the database try passwords.
    let stored: String = sql("SELECT request_digest FROM destinations")
        .fetch_value(&mut store.read().await.unwrap())
        .await
        .unwrap();
    assert!(stored.len() == 64 && stored != key.digest, "{stored}");
}

async fn an_update_of_what_was_read_before_another_update_is_stale() {
    let Database { store, _folder } = with_nas().await;
    let read = store.destination(NAS).await.unwrap().unwrap();
    let UpdatedDestination::Updated(second) =
        store.update_destination(&read, at_ms(1)).await.unwrap()
    else {
        panic!("nobody was first");
    };
    assert_eq!((second.revision, second.update_time), (2, at_ms(1)));
    assert!(matches!(
        store.update_destination(&read, at_ms(2)).await.unwrap(),
        UpdatedDestination::Stale
    ));
    let mut other_kind = *second.clone();
    other_kind.settings = sftp("", "");
    assert!(matches!(
        store
            .update_destination(&other_kind, at_ms(2))
            .await
            .unwrap(),
        UpdatedDestination::OtherKind
    ));
    let gone = destination("bkd_gone", folder());
    assert!(matches!(
        store.update_destination(&gone, at_ms(2)).await.unwrap(),
        UpdatedDestination::NotFound
    ));
}

async fn a_change_of_the_settings_ends_a_pause_and_other_changes_do_not() {
    let (store, _key, _folder) = with_key().await;
    insert(&store, NAS, sftp("wrong", "")).await;
    assert!(store.set_pause(NAS, 1, &pause()).await.unwrap());
    let filter = DestinationFilter {
        paused_only: true,
        ..Default::default()
    };
    assert_eq!(
        store
            .destinations(&filter, &FIRST_PAGE)
            .await
            .unwrap()
            .0
            .len(),
        1
    );

    let mut paused = store.destination(NAS).await.unwrap().unwrap();
    assert_eq!(paused.status.pause, Some(pause()));
    paused.display_name = "renamed".to_owned();
    let UpdatedDestination::Updated(mut renamed) =
        store.update_destination(&paused, at_ms(6)).await.unwrap()
    else {
        panic!("nobody was first");
    };
    assert_eq!(renamed.status.pause, Some(pause()));

    let DestinationSettings::Sftp(sftp) = &mut renamed.settings else {
        panic!("it is sftp");
    };
    sftp.password = Secret::new("right");
    let UpdatedDestination::Updated(mended) =
        store.update_destination(&renamed, at_ms(7)).await.unwrap()
    else {
        panic!("nobody was first");
    };
    assert_eq!(mended.status.pause, None);
    // A run that began with the old password says nothing about the new one.
    assert!(!store.set_pause(NAS, 1, &pause()).await.unwrap());
    assert!(
        store
            .set_pause(NAS, mended.revision, &pause())
            .await
            .unwrap()
    );
    store.end_pause(NAS).await.unwrap();
    let ended = store.destination(NAS).await.unwrap().unwrap();
    assert_eq!(ended.status.pause, None);
}

async fn host_keys_of_the_first_connection_are_kept_once_and_for_the_host_that_was_asked() {
    let (store, _key, _folder) = with_key().await;
    insert(&store, NAS, sftp(CANARY, "")).await;
    let seen = store.destination(NAS).await.unwrap().unwrap();
    let mut elsewhere = seen.clone();
    let DestinationSettings::Sftp(sftp) = &mut elsewhere.settings else {
        panic!("it is sftp");
    };
    sftp.port = 2222;
    let keys = ["ssh-ed25519 AAAA".to_owned()];
    let fill =
        async |seen, keys: &[String]| store.fill_in_host_keys(seen, keys, at_ms(3)).await.unwrap();
    assert!(!fill(&elsewhere, &keys).await);
    assert!(fill(&seen, &keys).await);
    assert!(!fill(&seen, &["ssh-ed25519 BBBB".to_owned()]).await);
    let after = store.destination_with_secrets(NAS).await.unwrap().unwrap();
    assert_eq!(sftp_of(&after).host_keys, keys);
    assert_eq!(sftp_of(&after).password.reveal(), CANARY);
    assert_eq!(after.revision, seen.revision);
    // Whoever read it before would write the keys away.
    assert!(matches!(
        store.update_destination(&seen, at_ms(4)).await.unwrap(),
        UpdatedDestination::Stale
    ));
}

async fn what_is_used_is_not_deleted() {
    let Database { store, _folder } = with_nas().await;
    store.insert_policy(&policy("bkp_1"), None).await.unwrap();
    store
        .insert_job(&run("bkj_1", "", None), 10, at_ms(0))
        .await
        .unwrap();
    assert_eq!(
        store.delete_destination(NAS, None).await.unwrap(),
        DeletedDestination::InUse {
            policy_ids: vec!["bkp_1".to_owned()],
            job_ids: vec!["bkj_1".to_owned()],
        }
    );
    store.delete_policy("bkp_1", None).await.unwrap();
    store
        .cancel_job("bkj_1", 0, at_ms(9), at_ms(1))
        .await
        .unwrap();
    store
        .take_in(&[segment("1.mp4", 0, 1000)], at_ms(0))
        .await
        .unwrap();
    assert_eq!(send(&store, "", at_ms(1)).await, 1);
    assert_eq!(
        store.delete_destination(NAS, Some(7)).await.unwrap(),
        DeletedDestination::Stale
    );
    assert_eq!(
        store.delete_destination(NAS, Some(1)).await.unwrap(),
        DeletedDestination::Deleted
    );
    assert_eq!(
        store.delete_destination(NAS, None).await.unwrap(),
        DeletedDestination::NotFound
    );
    insert(&store, NAS, folder()).await;
    assert_eq!(send(&store, "", at_ms(2)).await, 1);
}

async fn destinations_are_listed_newest_first_by_kind() {
    let (store, _key, _folder) = with_key().await;
    for (age, id) in ["bkd_a", "bkd_b", "bkd_c"].into_iter().enumerate() {
        let mut new = destination(
            id,
            if id == "bkd_b" {
                sftp("p", "")
            } else {
                folder()
            },
        );
        new.create_time = at_ms(age as i64);
        store.insert_destination(&new, None).await.unwrap();
    }
    let page = Page {
        size: 2,
        after: None,
    };
    let (first, next) = store
        .destinations(&DestinationFilter::default(), &page)
        .await
        .unwrap();
    let page = Page {
        size: 2,
        after: next,
    };
    let (second, next) = store
        .destinations(&DestinationFilter::default(), &page)
        .await
        .unwrap();
    let ids: Vec<_> = first.iter().chain(&second).map(|d| d.id.as_str()).collect();
    assert_eq!((ids, next), (vec!["bkd_c", "bkd_b", "bkd_a"], None));
    let filter = DestinationFilter {
        kind: Some(DestinationKind::Sftp),
        ..Default::default()
    };
    let (sftp_only, _) = store.destinations(&filter, &FIRST_PAGE).await.unwrap();
    assert_eq!(sftp_only.len(), 1);
}

async fn a_success_is_noted_and_never_goes_back() {
    let Database { store, _folder } = with_nas().await;
    store.note_success(NAS, at_ms(9), Some(77)).await.unwrap();
    store.note_success(NAS, at_ms(3), None).await.unwrap();
    let status = store.destination(NAS).await.unwrap().unwrap().status;
    assert_eq!(
        (status.last_success_time, status.free_bytes),
        (Some(at_ms(9)), Some(77))
    );
    store.note_success(NAS, at_ms(10), None).await.unwrap();
    let status = store.destination(NAS).await.unwrap().unwrap().status;
    assert_eq!(
        (status.last_success_time, status.free_bytes),
        (Some(at_ms(10)), Some(77))
    );
}

async fn changing_the_key_seals_everything_anew_or_nothing() {
    let (store, old, _folder) = with_key().await;
    insert(&store, "bkd_a", sftp(CANARY, "")).await;
    insert(&store, "bkd_b", sftp("other", "key")).await;
    insert(&store, "bkd_c", folder()).await;
    let new = SecretKey::generate().unwrap();
    assert_eq!(store.reseal(&old, &new).await.unwrap(), 2);
    let store = store.with_secret_key(Some(new.clone()));
    let opened = store.destination_with_secrets("bkd_a").await.unwrap();
    assert_eq!(sftp_of(&opened.unwrap()).password.reveal(), CANARY);

    // A row that was moved from another destination does not open: it is named, and the others stay as they are.
    sql(
        "UPDATE destinations SET sealed = (SELECT sealed FROM destinations WHERE id = 'bkd_a') WHERE id = 'bkd_b'",
    )
    .execute(&mut store.writer().await.unwrap())
    .await
    .unwrap();
    let newest = SecretKey::generate().unwrap();
    let error = store.reseal(&new, &newest).await.unwrap_err();
    assert_eq!(seal_fault(error), ("bkd_b".to_owned(), SealError::Damaged));
    assert!(
        store
            .destination_with_secrets("bkd_a")
            .await
            .unwrap()
            .is_some()
    );
    let error = store.reseal(&old, &newest).await.unwrap_err();
    assert_eq!(
        seal_fault(error),
        ("bkd_a".to_owned(), SealError::WrongSecretKey)
    );
}
