//! Clips of segments whose samples the catalog knows: what is read of a file, and what when the file is another one.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::*;
use crate::recorder::blank_headers;

async fn check_without_headers(recipe: Recipe) {
    let recording = recipe.record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    paths.iter().for_each(|path| blank_headers(path));
    let server = site.start().await;
    let planned = server
        .clips()
        .create_clip(proto::CreateClipRequest {
            validate_only: true,
            ..ask(CAMERA, 1_400, 24_005)
        })
        .await
        .unwrap()
        .into_inner();
    let Some(proto::job::Plan::ClipPlan(plan)) = planned.plan else {
        panic!("a plan")
    };
    assert_eq!(plan.gaps, []);
    let mut clips = Vec::new();
    for engine in [proto::ClipEngine::Native, proto::ClipEngine::Ffmpeg] {
        for (from, to) in [(1_400, 8_200), (3_010, 24_005)] {
            let request = proto::CreateClipRequest {
                engine: engine.into(),
                ..ask(CAMERA, from, to)
            };
            let (job, clip) = cut(&server, request).await;
            check(
                &server,
                &clip,
                &recording.between(ms(from), ms(to)),
                START,
                FRAME,
            )
            .await;
            assert_eq!((clip.gaps.len(), job.warnings.len()), (0, 0));
            clips.push(clip);
        }
    }

    // With another time the second file is another one: it is read, and found to be no footage.
    age_by_a_day(&paths[1]);
    let (_, clip) = cut(&server, ask(CAMERA, 3_010, 24_005)).await;
    assert_eq!(gap_reasons(&clip), [GapReason::FileDamaged]);
    let expected = without(&recording.between(ms(3_010), ms(24_005)), &[1]);
    check(&server, &clip, &expected, START, FRAME).await;
    clips.push(clip);
    server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
}

fn age_by_a_day(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let day_ago = SystemTime::now() - std::time::Duration::from_secs(86_400);
    file.set_modified(day_ago).unwrap();
}

#[tokio::test]
async fn a_clip_of_fragmented_segments_needs_nothing_of_their_headers() {
    check_without_headers(Recipe {
        b_frames: 2,
        ..thirty_seconds()
    })
    .await;
}

#[tokio::test]
async fn a_clip_of_progressive_segments_needs_nothing_of_their_headers() {
    check_without_headers(Recipe {
        layout: Layout::Progressive,
        ..thirty_seconds()
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_replaced_since_its_import_is_cut_by_what_is_in_it_now() {
    let recording = thirty_seconds().record();
    let other = Recipe {
        gop_frames: 50,
        b_frames: 2,
        ..thirty_seconds()
    }
    .record();
    let site = unfollowed();
    let paths = lay(&site, CAMERA, &recording);
    import(&site, &[]);
    for (path, segment) in paths.iter().zip(&other.segments) {
        std::fs::copy(&segment.path, path).unwrap();
    }
    let server = site.start().await;
    let (_, clip) = cut(&server, ask(CAMERA, 3_010, 24_005)).await;
    check(
        &server,
        &clip,
        &other.between(ms(3_010), ms(24_005)),
        START,
        FRAME,
    )
    .await;
    assert_eq!(clip.gaps, []);
    server.stop_with(&site, &[&clip]);
}

#[tokio::test]
async fn stored_indexes_that_are_damaged_or_missing_are_made_up_for_by_the_files() {
    let recording = thirty_seconds().record();
    let site = unfollowed().on_sqlite();
    lay(&site, CAMERA, &recording);
    import(&site, &[]);
    let database = format!("sqlite://{}/heldar.db", site.data().display());
    let mut connection = SqliteConnection::connect(&database).await.unwrap();
    // The last byte belongs to the checksum; a row that is not there is as one of before there were indexes.
    for change in [
        "UPDATE segment_indexes SET samples = CAST(substr(samples, 1, length(samples) - 1) AS BLOB)
         WHERE segment_id = (SELECT id FROM segments ORDER BY start_us LIMIT 1)",
        "DELETE FROM segment_indexes
         WHERE segment_id = (SELECT id FROM segments ORDER BY start_us DESC LIMIT 1)",
    ] {
        let changed = sqlx::query(change).execute(&mut connection).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }
    connection.close().await.unwrap();
    let server = site.start().await;
    let (job, clip) = cut(&server, ask(CAMERA, 1_400, 28_200)).await;
    check(
        &server,
        &clip,
        &recording.between(ms(1_400), ms(28_200)),
        START,
        FRAME,
    )
    .await;
    assert_eq!((clip.gaps.len(), job.warnings.len()), (0, 0));
    let log = server.log();
    assert_eq!(
        log.matches("a stored index cannot be used").count(),
        1,
        "{log}"
    );
    server.stop_with(&site, &[&clip]);
}
