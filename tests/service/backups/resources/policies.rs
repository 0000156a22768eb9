//! Policies, and a destination that one of them names.

use heldar_footage::proto;
use prost_types::FieldMask;
use tonic::Code;

use super::{mask, why};
use crate::backups::asking::{local_destination, site};
use crate::server::{Server, fields, seconds};

async fn create_policy(
    server: &Server,
    policy: proto::Policy,
) -> Result<proto::Policy, tonic::Status> {
    let request = proto::CreatePolicyRequest {
        policy: Some(policy),
        ..Default::default()
    };
    let answer = server.backups().create_policy(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn update_policy(
    server: &Server,
    policy: proto::Policy,
    update_mask: Option<FieldMask>,
) -> Result<proto::Policy, tonic::Status> {
    let request = proto::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask,
    };
    let answer = server.backups().update_policy(request).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_a_policy_names_is_not_deleted() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let policy = create_policy(
        &server,
        proto::Policy {
            destination_id: id.clone(),
            enabled: Some(false),
            ..Default::default()
        },
    )
    .await
    .unwrap();
    let delete = async |etag: &str| {
        let request = proto::DeleteDestinationRequest {
            destination_id: id.clone(),
            etag: etag.to_owned(),
        };
        server.backups().delete_destination(request).await
    };
    let refused = delete("").await.unwrap_err();
    assert_eq!(
        why(&refused),
        (Code::FailedPrecondition, "DESTINATION_IN_USE".to_owned())
    );
    assert!(
        refused.message().contains(&policy.id),
        "{}",
        refused.message()
    );
    let request = proto::DeletePolicyRequest {
        policy_id: policy.id.clone(),
        etag: policy.etag,
    };
    server
        .backups()
        .delete_policy(request.clone())
        .await
        .unwrap();
    let gone = server.backups().delete_policy(request).await.unwrap_err();
    assert_eq!(why(&gone), (Code::NotFound, "POLICY_NOT_FOUND".to_owned()));
    assert_eq!(why(&delete("r9").await.unwrap_err()).0, Code::Aborted);
    delete("").await.unwrap();
    let gone = delete("").await.unwrap_err();
    assert_eq!(
        why(&gone),
        (Code::NotFound, "DESTINATION_NOT_FOUND".to_owned())
    );
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_when_it_runs_and_a_change_of_its_schedule_moves_that() {
    let site = site();
    let server = site.start().await;
    let id = local_destination(&site, &server).await;
    let nightly = |expression: &str| {
        Some(proto::policy::Schedule::Cron(proto::CronSchedule {
            expression: expression.to_owned(),
            time_zone: "UTC".to_owned(),
        }))
    };
    let made = create_policy(
        &server,
        proto::Policy {
            destination_id: id.clone(),
            schedule: nightly("30 2 * * *"),
            camera_ids: vec!["gate_a_01".to_owned()],
            ..Default::default()
        },
    )
    .await
    .unwrap();
    let next = |policy: &proto::Policy| policy.status.as_ref().unwrap().next_run_time;
    assert_eq!(next(&made).unwrap().seconds % 86_400, 2 * 3600 + 30 * 60);

    let change = |policy: proto::Policy| proto::Policy {
        id: made.id.clone(),
        ..policy
    };
    let labelled = change(proto::Policy {
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    });
    let changed = update_policy(&server, labelled, None).await.unwrap();
    assert_eq!(next(&changed), next(&made));
    let later = change(proto::Policy {
        schedule: nightly("45 3 * * *"),
        ..Default::default()
    });
    let changed = update_policy(&server, later, mask(&["cron"]))
        .await
        .unwrap();
    assert_eq!(next(&changed).unwrap().seconds % 86_400, 3 * 3600 + 45 * 60);
    assert_eq!(changed.camera_ids, ["gate_a_01"]);
    let off = change(proto::Policy {
        enabled: Some(false),
        ..Default::default()
    });
    assert_eq!(
        next(&update_policy(&server, off, None).await.unwrap()),
        None
    );

    for (asked, named) in [
        (
            proto::Policy {
                schedule: nightly("0 0 30 2 *"),
                ..Default::default()
            },
            "policy.cron.expression",
        ),
        (
            proto::Policy {
                destination_id: "bkd_other".to_owned(),
                ..Default::default()
            },
            "policy.destination_id",
        ),
        (
            proto::Policy {
                run_timeout: seconds(29),
                ..Default::default()
            },
            "policy.run_timeout",
        ),
    ] {
        let refused = update_policy(&server, change(asked), None)
            .await
            .unwrap_err();
        assert_eq!(fields(&refused), [named]);
    }
    for (asked, expected) in [
        (
            proto::Policy {
                destination_id: "bkd_nobody".to_owned(),
                ..Default::default()
            },
            "DESTINATION_NOT_FOUND",
        ),
        (
            proto::Policy {
                destination_id: id.clone(),
                camera_ids: vec!["nobody".to_owned()],
                ..Default::default()
            },
            "CAMERA_NOT_FOUND",
        ),
    ] {
        let refused = create_policy(&server, asked).await.unwrap_err();
        assert_eq!(why(&refused), (Code::NotFound, expected.to_owned()));
    }
    assert_eq!(server.stop(), 0);
}
