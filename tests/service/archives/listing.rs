//! Lists of archives: filters and pages.

use heldar_footage::proto;
use tonic::Code;

use super::asking::{
    OTHER, all_of, ask, check_refused, delete, everything, make, trimmed, two_cameras,
};
use crate::footage::{epoch, ms};
use crate::recorder::CAMERA;
use crate::server::{Server, fields, reason, time};

async fn list(
    server: &Server,
    request: proto::ListArchivesRequest,
) -> Result<proto::ListArchivesResponse, tonic::Status> {
    let answer = server.archives().list_archives(request).await;
    answer.map(tonic::Response::into_inner)
}

/// The ids that a filter finds.
async fn found(server: &Server, request: proto::ListArchivesRequest) -> Vec<String> {
    let answer = list(server, request).await.unwrap();
    assert_eq!(answer.next_page_token, "");
    answer
        .archives
        .into_iter()
        .map(|archive| archive.id)
        .collect()
}

fn filter() -> proto::ListArchivesRequest {
    proto::ListArchivesRequest::default()
}

fn labels(shift: &str) -> std::collections::BTreeMap<String, String> {
    [("shift", shift), ("all", "yes")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[tokio::test]
async fn each_filter_finds_its_archives_alone() {
    let site = two_cameras();
    let server = site.start().await;
    let request = |id: &str, spec: proto::ArchiveSpec, shift: &str| proto::CreateArchiveRequest {
        archive_id: id.to_owned(),
        labels: labels(shift),
        ..ask(spec)
    };
    // Quotes and wildcards of SQL are letters like others.
    let early = proto::ArchiveSpec {
        case_id: "it's 100%".to_owned(),
        operator: "ann".to_owned(),
        end_time: time(epoch() + ms(10_000)),
        ..all_of(CAMERA)
    };
    let late = proto::ArchiveSpec {
        case_id: "it's 100_".to_owned(),
        operator: "ben".to_owned(),
        camera_ids: vec![OTHER.to_owned()],
        trim: true,
        ..trimmed(20_000, 25_000)
    };
    let (_, early) = make(&server, request("bkj_early", early, "day")).await;
    let (_, late) = make(&server, request("bkj_late", late, "night")).await;
    let (_, both) = make(&server, request("bkj_both", everything(), "night")).await;

    assert_eq!(
        found(&server, filter()).await,
        ["bkj_both", "bkj_late", "bkj_early"]
    );
    let listed = list(&server, filter()).await.unwrap().archives;
    assert_eq!(listed, [both.clone(), late.clone(), early.clone()]);
    let at = |milliseconds| time(epoch() + ms(milliseconds));
    let cases: [(proto::ListArchivesRequest, &[&str]); 14] = [
        (
            proto::ListArchivesRequest {
                camera_ids: vec![CAMERA.to_owned()],
                ..filter()
            },
            &["bkj_both", "bkj_early"],
        ),
        (
            proto::ListArchivesRequest {
                camera_ids: vec![CAMERA.to_owned(), OTHER.to_owned()],
                ..filter()
            },
            &["bkj_both", "bkj_late", "bkj_early"],
        ),
        (
            proto::ListArchivesRequest {
                camera_ids: vec!["nobody".to_owned()],
                ..filter()
            },
            &[],
        ),
        (
            proto::ListArchivesRequest {
                start_time: at(15_000),
                ..filter()
            },
            &["bkj_both", "bkj_late"],
        ),
        (
            proto::ListArchivesRequest {
                end_time: at(15_000),
                ..filter()
            },
            &["bkj_both", "bkj_early"],
        ),
        (
            proto::ListArchivesRequest {
                start_time: at(12_000),
                end_time: at(18_000),
                ..filter()
            },
            &["bkj_both"],
        ),
        (
            proto::ListArchivesRequest {
                start_time: at(25_000),
                end_time: at(25_001),
                ..filter()
            },
            &["bkj_both"],
        ),
        (
            proto::ListArchivesRequest {
                case_id: "it's 100%".to_owned(),
                ..filter()
            },
            &["bkj_early"],
        ),
        (
            proto::ListArchivesRequest {
                case_id: "it's 100".to_owned(),
                ..filter()
            },
            &[],
        ),
        (
            proto::ListArchivesRequest {
                operator: "ben".to_owned(),
                ..filter()
            },
            &["bkj_late"],
        ),
        (
            proto::ListArchivesRequest {
                operator: "Ben".to_owned(),
                ..filter()
            },
            &[],
        ),
        (
            proto::ListArchivesRequest {
                labels: labels("night"),
                ..filter()
            },
            &["bkj_both", "bkj_late"],
        ),
        (
            proto::ListArchivesRequest {
                labels: [("shift".to_owned(), "nigh".to_owned())].into(),
                ..filter()
            },
            &[],
        ),
        (
            proto::ListArchivesRequest {
                labels: labels("night"),
                operator: "ben".to_owned(),
                camera_ids: vec![CAMERA.to_owned()],
                ..filter()
            },
            &[],
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(
            found(&server, request.clone()).await,
            expected,
            "{request:?}"
        );
    }
    let reversed = proto::ListArchivesRequest {
        start_time: at(5_000),
        end_time: at(5_000),
        ..filter()
    };
    let refused = list(&server, reversed).await.unwrap_err();
    let words = "`to` must be after `from`";
    check_refused(&refused, Code::InvalidArgument, "WINDOW_REVERSED", words);
    server.stop_with_archives(&site, &[&early, &late, &both]);
}

#[tokio::test]
async fn pages_are_newest_first_and_survive_what_is_made_and_deleted_between_them() {
    let site = two_cameras();
    let server = site.start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(make(&server, ask(all_of(CAMERA))).await.1);
    }
    let page = |page_token: &str| proto::ListArchivesRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        ..filter()
    };
    let first = list(&server, page("")).await.unwrap();
    assert_eq!(first.archives, [made[4].clone(), made[3].clone()]);
    // Neither what comes nor what goes moves the next page.
    let newest = make(&server, ask(all_of(CAMERA))).await.1;
    delete(&server, &made[3].id).await.unwrap();
    let second = list(&server, page(&first.next_page_token)).await.unwrap();
    assert_eq!(second.archives, [made[2].clone(), made[1].clone()]);
    let third = list(&server, page(&second.next_page_token)).await.unwrap();
    assert_eq!(third.archives, [made[0].clone()]);
    assert_eq!(third.next_page_token, "");

    let of_other_filter = proto::ListArchivesRequest {
        case_id: "other".to_owned(),
        ..page(&first.next_page_token)
    };
    let cameras = proto::ListCamerasRequest {
        page_size: 1,
        ..Default::default()
    };
    let cameras = server.catalog().list_cameras(cameras).await.unwrap();
    let of_other_list = page(&cameras.into_inner().next_page_token);
    assert_ne!(of_other_list.page_token, "");
    for request in [of_other_filter, of_other_list, page("%%%")] {
        let refused = list(&server, request).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
        );
        assert_eq!(fields(&refused), ["page_token"]);
    }
    let left = [&made[0], &made[1], &made[2], &made[4], &newest];
    server.stop_with_archives(&site, &left);
}
