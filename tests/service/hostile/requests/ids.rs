//! Ids that are none, in every field that takes one.

use super::*;

#[tokio::test]
async fn ids_that_are_none_are_refused_by_every_method_with_the_path_of_the_field() {
    use heldar_footage::proto::set_evidence_lock_request::Selection;
    let recording = footage().record();
    let site = Site::new();
    lay(&site, CAMERA, &recording);
    site.import();
    let server = site.start().await;
    let (mut catalog, mut clips, mut jobs) = (server.catalog(), server.clips(), server.jobs());
    let mut ids = bad_ids();
    ids.push(String::new());
    for id in &ids {
        let what = format!("{id:?}");
        let camera = Some(proto::Camera {
            id: id.clone(),
            ..Default::default()
        });
        check_invalid(
            &what,
            called!(
                catalog,
                upsert_camera,
                proto::UpsertCameraRequest {
                    camera,
                    update_mask: None
                }
            ),
            "camera.id",
        );
        check_invalid(
            &what,
            called!(
                catalog,
                get_camera,
                proto::GetCameraRequest {
                    camera_id: id.clone()
                }
            ),
            "camera_id",
        );
        let request = proto::DeleteCameraRequest {
            camera_id: id.clone(),
            force: true,
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, delete_camera, request), "camera_id");
        let request = proto::GetTimelineRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, get_timeline, request), "camera_id");
        let window = proto::CameraWindow {
            camera_id: id.clone(),
            start_time: time(epoch()),
            end_time: time(epoch() + ms(1_000)),
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Window(window)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "window.camera_id",
        );
        let chosen = proto::SegmentSelection {
            segment_ids: vec![id.clone()],
        };
        let request = proto::SetEvidenceLockRequest {
            selection: Some(Selection::Segments(chosen)),
            ..Default::default()
        };
        check_invalid(
            &what,
            called!(catalog, set_evidence_lock, request),
            "segments.segment_ids",
        );
        check_invalid(
            &what,
            called!(clips, create_clip, ask(id, 0, 1_000)),
            "camera_id",
        );
    }
    check_invalid(
        "empty",
        called!(clips, get_clip, proto::GetClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, delete_clip, proto::DeleteClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(clips, download_clip, proto::DownloadClipRequest::default()),
        "clip_id",
    );
    check_invalid(
        "empty",
        called!(jobs, get_job, proto::GetJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, watch_job, proto::WatchJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, cancel_job, proto::CancelJobRequest::default()),
        "job_id",
    );
    check_invalid(
        "empty",
        called!(jobs, retry_job, proto::RetryJobRequest::default()),
        "job_id",
    );
    for id in bad_ids() {
        for id in [id.clone(), format!("clip_{id}\n"), format!("job_{id}/")] {
            let what = format!("{id:?}");
            check_missing(
                &what,
                called!(
                    clips,
                    get_clip,
                    proto::GetClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(
                    clips,
                    delete_clip,
                    proto::DeleteClipRequest {
                        clip_id: id.clone()
                    }
                ),
                "CLIP_NOT_FOUND",
            );
            let request = proto::DownloadClipRequest {
                clip_id: id.clone(),
                ..Default::default()
            };
            check_missing(
                &what,
                called!(clips, download_clip, request),
                "CLIP_NOT_FOUND",
            );
            check_missing(
                &what,
                called!(jobs, get_job, proto::GetJobRequest { job_id: id.clone() }),
                "JOB_NOT_FOUND",
            );
            let request = proto::WatchJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, watch_job, request), "JOB_NOT_FOUND");
            check_missing(
                &what,
                called!(
                    jobs,
                    cancel_job,
                    proto::CancelJobRequest { job_id: id.clone() }
                ),
                "JOB_NOT_FOUND",
            );
            let request = proto::RetryJobRequest {
                job_id: id.clone(),
                ..Default::default()
            };
            check_missing(&what, called!(jobs, retry_job, request), "JOB_NOT_FOUND");
        }
        let what = format!("{id:?}");
        let request = proto::CreateClipRequest {
            clip_id: format!("clip_{id}/"),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "clip_id");
        let request = proto::CreateClipRequest {
            request_id: id.clone(),
            ..ask(CAMERA, 0, 1_000)
        };
        check_invalid(&what, called!(clips, create_clip, request), "request_id");
        let request = proto::ListClipsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(clips, list_clips, request), "camera_id");
        let request = proto::ListSegmentsRequest {
            camera_id: id.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(catalog, list_segments, request), "camera_id");
        let filter = Some(proto::JobFilter {
            camera_id: id.clone(),
            ..Default::default()
        });
        let request = proto::ListJobsRequest {
            filter: filter.clone(),
            ..Default::default()
        };
        check_invalid(&what, called!(jobs, list_jobs, request), "filter.camera_id");
        check_invalid(
            &what,
            called!(jobs, watch_jobs, proto::WatchJobsRequest { filter }),
            "filter.camera_id",
        );
        for token in [id.clone(), "////".to_owned()] {
            let tokens = [
                called!(
                    clips,
                    list_clips,
                    proto::ListClipsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    jobs,
                    list_jobs,
                    proto::ListJobsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_cameras,
                    proto::ListCamerasRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
                called!(
                    catalog,
                    list_segments,
                    proto::ListSegmentsRequest {
                        page_token: token.clone(),
                        ..Default::default()
                    }
                ),
            ];
            for answer in tokens {
                let status = answer.expect_err("a page token");
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
                );
                assert_eq!(fields(&status), ["page_token"]);
                check_told(&status);
            }
        }
        let messages = vec![proto::RegisterSegmentsRequest {
            camera_id: id.clone(),
            ..message("x", "x.mp4", 0)
        }];
        let answer = register(&server, messages).await;
        assert_eq!(answer.files_rejected, 1, "{what}");
    }
    // Nothing of all that did any harm.
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}
