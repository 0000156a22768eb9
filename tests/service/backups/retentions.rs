//! What policies no longer keep at a destination.

use heldar_footage::proto::{self, JobState};

use super::asking::{
    at_its_end, expected, footage_in, local_destination, nas, objects, run_of, site, stand_in,
};
use super::policies::{create, hourly, policy, run_by_hand};
use crate::server::{Server, Site, becomes, ended, seconds};
use crate::servers::{OpenSsh, sftp_destination};
use crate::small_disk::SmallDisk;

#[tokio::test]
async fn retention_leaves_the_newest_day_of_each_camera_and_sends_nothing_that_it_would_remove() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let made = create(&server, hourly(&id)).await;
    assert_eq!(run_by_hand(&server, &made.id).await.files_sent, 6);
    keep_a_day(&server, &made.id).await;
    // All footage of the tests is of one day, long ago: the newest day of each camera.
    let run = run_by_hand(&server, &made.id).await;
    assert_eq!(
        (run.files_selected, run.files_sent, run.files_removed),
        (0, 0, 0)
    );
    assert_eq!(objects(&server, &id).await.len(), 6);
    assert_eq!(footage_in(&nas(&site)), expected(&site));
    assert_eq!(server.stop(), 0);
}

/// Three days with three recordings each, and a policy that sends them into a folder.
async fn three_days(site: &Site) -> (Server, String, proto::Policy) {
    lay_three_days(site);
    let server = site.start().await;
    let id = local_destination(site, &server).await;
    let made = create(&server, of_the_dock(&id)).await;
    (server, id, made)
}

fn of_the_dock(destination_id: &str) -> proto::Policy {
    proto::Policy {
        camera_ids: vec!["dock".to_owned()],
        ..hourly(destination_id)
    }
}

fn lay_three_days(site: &Site) {
    let recording = crate::server::twelve_seconds();
    for day in 10..13 {
        for (second, segment) in [0, 4, 8].iter().zip(&recording.segments) {
            let name = format!("dock/202401{day}_12000{second}.mp4");
            crate::server::put(&segment.path, &site.recordings().join(name));
        }
    }
    crate::recorder::import(site, &[]);
}

/// Holds the oldest recording of the three days as evidence; its id.
async fn hold_the_oldest(server: &Server) -> String {
    let held = server.segments("dock").await[0].id.clone();
    let lock = proto::SetEvidenceLockRequest {
        selection: Some(proto::set_evidence_lock_request::Selection::Segments(
            proto::SegmentSelection {
                segment_ids: vec![held.clone()],
            },
        )),
        ..Default::default()
    };
    server.catalog().set_evidence_lock(lock).await.unwrap();
    held
}

#[tokio::test]
async fn what_a_limit_of_bytes_removed_is_not_sent_again_unless_it_is_evidence_or_the_limit_changes()
 {
    let site = site();
    let (server, id, made) = three_days(&site).await;
    keep(&server, &made.id, None, 1).await;
    let first = run_by_hand(&server, &made.id).await;
    assert_eq!((first.files_sent, first.files_removed), (9, 6));
    let again = run_by_hand(&server, &made.id).await;
    assert_eq!((again.files_sent, again.files_removed), (0, 0), "{again:?}");
    let status = policy(&server, &made.id).await.status.unwrap();
    assert_eq!(status.files_unsent, 0);
    let held = hold_the_oldest(&server).await;
    let evidence = run_by_hand(&server, &made.id).await;
    assert_eq!((evidence.files_sent, evidence.files_removed), (1, 0));
    let left = objects(&server, &id).await;
    assert!(left.values().any(|object| object.segment_id == held));
    keep(&server, &made.id, None, 1 << 40).await;
    let roomy = run_by_hand(&server, &made.id).await;
    assert_eq!((roomy.files_sent, roomy.files_removed), (5, 0));
    assert_eq!(server.stop(), 0);
}

#[tokio::test]
async fn retention_removes_what_is_older_than_the_newest_day_but_evidence_stays() {
    let site = site();
    let (server, id, made) = three_days(&site).await;
    assert_eq!(run_by_hand(&server, &made.id).await.files_sent, 9);
    let held = hold_the_oldest(&server).await;
    keep_a_day(&server, &made.id).await;
    let run = run_by_hand(&server, &made.id).await;
    assert_eq!(run.files_removed, 5, "{run:?}");
    let left = objects(&server, &id).await;
    let names: Vec<_> = left.keys().cloned().collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(left.values().any(|object| object.segment_id == held));
    assert_eq!(
        footage_in(&nas(&site)).into_keys().collect::<Vec<_>>(),
        names
    );
    let again = run_by_hand(&server, &made.id).await;
    assert_eq!((again.files_sent, again.files_removed), (0, 0));
    assert_eq!(server.stop(), 0);
}

/// Gives a policy a retention of one day.
async fn keep_a_day(server: &Server, policy_id: &str) {
    keep(server, policy_id, seconds(86_400), 0).await;
}

/// Gives a policy a retention.
async fn keep(
    server: &Server,
    policy_id: &str,
    max_age: Option<prost_types::Duration>,
    max_bytes: i64,
) {
    let change = proto::UpdatePolicyRequest {
        policy: Some(proto::Policy {
            id: policy_id.to_owned(),
            retention: Some(proto::BackupRetention { max_age, max_bytes }),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["retention".to_owned()],
        }),
    };
    server.backups().update_policy(change).await.unwrap();
}

#[tokio::test]
async fn a_policy_that_does_not_keep_everything_makes_room_at_a_full_destination_and_goes_on() {
    let site = site();
    lay_three_days(&site);
    let sizes: Vec<u64> = crate::server::files_in(&site.recordings().join("dock"))
        .iter()
        .map(|name| std::fs::metadata(site.recordings().join("dock").join(name)))
        .map(|found| found.unwrap().len().next_multiple_of(4096))
        .collect();
    // Two of the three days, and what the ledger's copy needs.
    let two_days = sizes.iter().sum::<u64>() / 3 * 2;
    let _disk = SmallDisk::mount(nas(&site), two_days + sizes[0] / 2);
    let server = site.start().await;
    let destination = proto::Destination {
        // One after the other, so that the oldest are whole when there is no more room.
        transfers: Some(1),
        ..super::asking::local(&nas(&site))
    };
    let made = super::asking::create_destination(&server, destination).await;
    let id = made.unwrap().id;
    let made = create(&server, of_the_dock(&id)).await;
    keep(&server, &made.id, None, 1).await;
    let run = run_by_hand(&server, &made.id).await;
    assert_eq!(
        (run.files_sent, run.files_removed, run.files_failed),
        (9, 6, 0),
        "{run:?}"
    );
    let newest: Vec<_> = footage_in(&nas(&site)).into_keys().collect();
    assert_eq!(newest.len(), 3);
    assert!(
        newest
            .iter()
            .all(|path| path.starts_with("dock/2024-01-12/")),
        "{newest:?}"
    );
    assert!(objects(&server, &id).await.keys().eq(&newest));
    assert_eq!(server.stop(), 0);
}

/// A server with the three days at an SSH server, from where a day is kept from now on, by an rclone that does something
/// else first.
async fn three_days_by(
    site: &mut Site,
    ssh: &OpenSsh,
    body: &str,
) -> (Server, String, proto::Policy) {
    stand_in(site, body);
    lay_three_days(site);
    let server = site.start().await;
    let made = super::asking::create_destination(&server, sftp_destination(&ssh.settings())).await;
    let id = made.unwrap().id;
    let made = create(&server, of_the_dock(&id)).await;
    assert_eq!(run_by_hand(&server, &made.id).await.files_sent, 9);
    keep_a_day(&server, &made.id).await;
    (server, id, made)
}

/// Shell text that keeps the list of files which a call reads in the file `$list`, where the call then reads it from, and
/// puts what follows the flag of the list into `$root`.
const LIST: &str = r#"list=/dev/null; before=
for argument in "$@"; do
  [ "$before" = - ] && root="$argument"
  [ "$argument" = - ] && list="$0.list.$$" && cat > "$list"
  before="$argument"
done
exec < "$list""#;

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_evidence_while_retention_is_at_work_stays() {
    let mut site = site();
    let ssh = OpenSsh::start();
    let (arrived, go) = (site.path("arrived"), site.path("go"));
    let body = format!(
        r#"{LIST}
if [ "$1" = copy ] && grep -q _removed "$list"; then
  : > '{}'; while [ ! -e '{}' ]; do sleep 0.05; done
fi"#,
        arrived.display(),
        go.display()
    );
    let (server, id, made) = three_days_by(&mut site, &ssh, &body).await;
    let request = proto::RunPolicyRequest {
        policy_id: made.id.clone(),
        ..Default::default()
    };
    let job = server.backups().run_policy(request).await.unwrap();
    becomes("the ledger's copy is told of what goes", async || {
        arrived.exists().then_some(())
    })
    .await;
    let held = hold_the_oldest(&server).await;
    std::fs::write(&go, "").unwrap();
    let run = run_of(&ended(&server, &job.into_inner().id).await);
    assert_eq!(run.files_removed, 5, "{run:?}");
    let left = objects(&server, &id).await;
    assert!(left.values().any(|object| object.segment_id == held));
    assert!(footage_in(&ssh.files).keys().eq(left.keys()));
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_is_cut_short_leaves_nothing_in_the_ledger_that_is_gone() {
    let mut site = site();
    let ssh = OpenSsh::start();
    let body = format!(
        r#"{LIST}
if [ "$1" = delete ] && [ "$(wc -l < "$list")" -gt 2 ]; then
  head -n 2 "$list" > "$list.2"
  "$rclone" delete --files-from-raw "$list.2" "$root"
  echo '{{"level":"error","msg":"ssh: handshake failed: ssh: unable to authenticate","source":"x"}}' >&2; exit 1
fi"#
    );
    let (server, id, made) = three_days_by(&mut site, &ssh, &body).await;
    let request = proto::RunPolicyRequest {
        policy_id: made.id.clone(),
        wait: seconds(60),
        ..Default::default()
    };
    let job = server.backups().run_policy(request).await.unwrap();
    let job = at_its_end(&server, job.into_inner()).await;
    assert_eq!(job.state(), JobState::Failed, "{job:?}");
    let there = footage_in(&ssh.files);
    assert_eq!(there.len(), 7, "{:?}", there.keys());
    assert!(objects(&server, &id).await.keys().eq(there.keys()));
    assert_eq!(server.stop(), 0);
}
