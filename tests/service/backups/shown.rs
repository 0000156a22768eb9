//! What the commands show of backup jobs.

use heldar_footage::proto::BackupCheck;

use super::asking::{
    at_its_end, back_up, everything_to, expected, local_destination, nas, run_of, site,
};
use super::restores::from;
use super::verifications::verify_job;
use crate::server::Site;

/// What `footage jobs show` and `footage watch` say of a job that has ended, which is the same.
fn shown(site: &Site, at: &str, id: &str) -> String {
    let (code, shown, err) = site.run(&["jobs", "show", id, "--server", at]);
    assert_eq!(code, 0, "{err}");
    let (code, watched, err) = site.run(&["watch", id, "--server", at]);
    assert_eq!((code, watched.as_str()), (0, shown.as_str()), "{err}");
    shown
}

fn check_shows(shown: &str, lines: &[&str]) {
    for line in lines {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_results_of_backup_jobs_are_shown_and_jobs_of_their_kinds_can_be_listed() {
    let site = site();
    let server = site.start().await;
    let at = format!("http://{}", server.address);
    let id = local_destination(&site, &server).await;
    let name = expected(&site).into_keys().next().unwrap();

    let backup = back_up(&server, everything_to(&id)).await;
    assert_eq!(run_of(&backup).files_sent, 6);
    check_shows(
        &shown(&site, &at, &backup.id),
        &[
            &format!("Destination   {id}"),
            "Selected      6 files",
            "Sent          6 files, ",
            "Failed        0 files",
        ],
    );

    let intact = verify_job(&server, &id, BackupCheck::Hash).await;
    check_shows(
        &shown(&site, &at, &intact.id),
        &["Verdict       intact", " of 6 objects, "],
    );
    std::fs::remove_file(nas(&site).join(&name)).unwrap();
    let damaged = verify_job(&server, &id, BackupCheck::Hash).await;
    let fault = format!("\n  {name}: ");
    check_shows(
        &shown(&site, &at, &damaged.id),
        &["Verdict       not intact", "Missing       1 object", &fault],
    );

    let restore = server.backups().restore_backup(from(&id, "case-17")).await;
    let restore = at_its_end(&server, restore.unwrap().into_inner()).await;
    check_shows(
        &shown(&site, &at, &restore.id),
        &[
            "Folder        case-17",
            "Restored      5 files, ",
            "Failed        1 file",
            &fault,
        ],
    );

    for (kind, job_id) in [("backup", &backup.id), ("restore", &restore.id)] {
        let (code, listed, err) = site.run(&["jobs", "--kind", kind, "--server", &at]);
        assert_eq!(code, 0, "{err}");
        assert!(listed.contains(job_id.as_str()), "{listed}");
        assert!(!listed.contains(intact.id.as_str()), "{listed}");
    }
    assert_eq!(server.stop(), 0);
}
