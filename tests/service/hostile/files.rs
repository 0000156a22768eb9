//! Files that are not what they say.

use super::*;

/// Files that are named `.mp4` and are none; what some of them point to must never be read.
fn impostors(secret: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let at = secret.display();
    vec![
        (
            "hls",
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{at}\n#EXT-X-ENDLIST\n"
            )
            .into_bytes(),
        ),
        (
            "hls_relative",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n../../secret.mp4\n#EXT-X-ENDLIST\n"
                .to_vec(),
        ),
        (
            "concat",
            format!("ffconcat version 1.0\nfile '{at}'\n").into_bytes(),
        ),
        (
            "dash",
            format!("<?xml version=\"1.0\"?><MPD><BaseURL>file://{at}</BaseURL></MPD>")
                .into_bytes(),
        ),
        (
            "sdp",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n".to_vec(),
        ),
        ("text", b"this is no footage\n".repeat(100)),
        ("zeros", vec![0; 100_000]),
        ("one_byte", vec![0x47]),
        ("empty", Vec::new()),
        (
            "sync_bytes",
            [&[0x47][..], &[0xff; 187]].concat().repeat(500),
        ),
        (
            "ebml",
            [&[0x1a, 0x45, 0xdf, 0xa3][..], &[0xff; 5_000]].concat(),
        ),
        (
            "ftyp_alone",
            b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2".to_vec(),
        ),
    ]
}

#[tokio::test]
async fn files_that_only_pretend_to_be_footage_are_left_out_and_nothing_they_name_is_read() {
    let recording = footage().record();
    let site = unfollowed();
    let (secret, _) = secret(&site);
    let good = place(
        &site,
        &heldar_name(CAMERA, epoch()),
        &recording.segments[0].path,
    );
    let impostors = impostors(&secret);
    for (name, bytes) in &impostors {
        let path = place(&site, &heldar_name(&name.replace('_', "-"), epoch()), &good);
        std::fs::write(&path, bytes).unwrap();
        age(&path);
        // The same, put in the place of a file that was footage when it was imported.
        place(
            &site,
            &heldar_name(&format!("was-{}", name.replace('_', "-")), epoch()),
            &good,
        );
    }
    let told = import(&site, &[]);
    for (name, _) in &impostors {
        assert!(
            told.contains(&format!("{}/", name.replace('_', "-"))),
            "{name} is named: {told}"
        );
    }
    for (name, bytes) in &impostors {
        std::fs::write(
            site.recordings().join(heldar_name(
                &format!("was-{}", name.replace('_', "-")),
                epoch(),
            )),
            bytes,
        )
        .unwrap();
    }
    let server = site.start().await;
    let mut messages = Vec::new();
    for (name, _) in &impostors {
        messages.push(message(
            "handed-in",
            &heldar_name(&name.replace('_', "-"), epoch()),
            0,
        ));
    }
    let answer = register(&server, messages).await;
    assert_eq!(
        (answer.segments_added, answer.files_rejected),
        (0, impostors.len() as i64),
        "{answer:?}"
    );
    for rejected in &answer.rejected {
        assert_eq!(
            notice_reason(rejected.error.as_ref().unwrap()),
            "FILE_DAMAGED",
            "{}",
            rejected.path
        );
    }
    for (name, _) in &impostors {
        let camera = name.replace('_', "-");
        let refused = server
            .clips()
            .create_clip(ask(&camera, 0, 5_000))
            .await
            .unwrap_err();
        assert!(
            ["NO_FOOTAGE", "CAMERA_NOT_FOUND"].contains(&reason(&refused).as_str()),
            "{camera}"
        );
        let job = run_job(&server, ask(&format!("was-{camera}"), 0, 5_000)).await;
        assert_eq!(job.state(), JobState::Failed, "{camera}");
        assert_eq!(
            notice_reason(job.error.as_ref().unwrap()),
            "NO_FOOTAGE",
            "{camera}"
        );
    }
    let clip = check_camera(&server, CAMERA, &recording.frames).await;
    server.stop_with(&site, &[&clip]);
}

/// Offsets and names of the boxes of a file and of what is inside of containers.
fn boxes(bytes: &[u8], from: usize, to: usize, found: &mut Vec<(usize, [u8; 4])>) {
    let mut at = from;
    while at + 8 <= to {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let name: [u8; 4] = bytes[at + 4..at + 8].try_into().unwrap();
        let end = if size < 8 { to } else { (at + size).min(to) };
        found.push((at, name));
        if [
            b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf",
            b"dinf",
        ]
        .contains(&&name)
        {
            boxes(bytes, at + 8, end, found);
        } else if &name == b"stsd" {
            boxes(bytes, at + 16, end, found);
        }
        at = end;
    }
}

#[tokio::test]
async fn files_cut_at_every_box_give_their_beginning_or_nothing_and_never_a_false_frame() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            ..footage()
        }
        .record();
        let whole = std::fs::read(&recording.segments[0].path).unwrap();
        let mut found = Vec::new();
        boxes(&whole, 0, whole.len(), &mut found);
        let mut cuts: Vec<usize> = found
            .iter()
            .flat_map(|(at, _)| [*at, at + 4, at + 9])
            .collect();
        cuts.push(whole.len() - 1);
        cuts.sort_unstable();
        cuts.dedup();
        // Of the many fragments the first ones and the last show all that can happen.
        let cuts: Vec<usize> = if cuts.len() > 90 {
            cuts.iter()
                .copied()
                .take(70)
                .chain(cuts.iter().copied().rev().take(15))
                .collect()
        } else {
            cuts
        };
        let site = unfollowed();
        place(
            &site,
            &heldar_name(CAMERA, epoch()),
            &recording.segments[0].path,
        );
        import(&site, &[]);
        let server = site.start().await;
        let mut messages = Vec::new();
        for at in &cuts {
            let path = place(&site, &format!("cut/{at}.mp4"), &recording.segments[0].path);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(*at as u64)
                .unwrap();
            age(&path);
            messages.push(message(&format!("cut{at}"), &format!("cut/{at}.mp4"), 0));
        }
        let answer = register(&server, messages).await;
        assert_eq!(
            answer.segments_added + answer.files_rejected,
            cuts.len() as i64
        );
        assert!(
            answer.segments_added >= 1 && answer.files_rejected >= 5,
            "{answer:?}"
        );
        for rejected in &answer.rejected {
            assert_eq!(
                notice_reason(rejected.error.as_ref().unwrap()),
                "FILE_DAMAGED",
                "{}",
                rejected.path
            );
        }
        let cameras: Vec<String> = segments(&server)
            .await
            .into_iter()
            .map(|segment| segment.camera_id)
            .filter(|id| id != CAMERA)
            .collect();
        let mut clips = Vec::new();
        for camera in cameras {
            // The catalog knows how far such a file goes, so its end is no gap within a shorter window.
            let job = run_job(&server, ask(&camera, 0, 10_000)).await;
            if job.state() == JobState::Succeeded {
                let clip = clip_of(&job);
                let shown = decode(&fetch(&server, &clip).await.path());
                crate::recorder::check_frames(&shown, &recording.frames[..shown.len()]);
                clips.push(clip);
            } else {
                assert_eq!(
                    notice_reason(job.error.as_ref().unwrap()),
                    "NO_FOOTAGE",
                    "{camera}: {:?}",
                    job.error
                );
            }
        }
        clips.push(check_camera(&server, CAMERA, &recording.frames).await);
        server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn boxes_that_lie_cost_neither_memory_nor_the_server_nor_make_internal_errors() {
    for layout in [Layout::Fragmented, Layout::Progressive] {
        let recording = Recipe {
            layout,
            ..footage()
        }
        .record();
        let whole = std::fs::read(&recording.segments[0].path).unwrap();
        let mut found = Vec::new();
        boxes(&whole, 0, whole.len(), &mut found);
        let mut seen = Vec::new();
        let mut lies = Vec::new();
        for (at, name) in found {
            // The same box of the second track or of a later fragment lies as the first one does.
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            // Size, flags and version, and the fields after them: counts, time scales, times, offsets.
            for offset in [0, 8, 12, 16, 20, 24] {
                for lie in [0_u32, 1, 0x7fff_ffff, 0xffff_ffff] {
                    let place = at + offset;
                    if place + 4 <= whole.len() && whole[place..place + 4] != lie.to_be_bytes() {
                        lies.push((
                            format!("{}-{offset}-{lie}", String::from_utf8_lossy(&name)),
                            place,
                            lie,
                        ));
                    }
                }
            }
        }
        let site = unfollowed();
        place(
            &site,
            &heldar_name(CAMERA, epoch()),
            &recording.segments[0].path,
        );
        import(&site, &[]);
        let server = site.start().await;
        let mut messages = Vec::new();
        for (number, (name, at, lie)) in lies.iter().enumerate() {
            let mut bytes = whole.clone();
            bytes[*at..at + 4].copy_from_slice(&lie.to_be_bytes());
            let relative = format!("lies/{number}_{name}.mp4");
            let path = place(&site, &relative, &recording.segments[0].path);
            std::fs::write(&path, bytes).unwrap();
            // All of one camera, one after another, so that few clips read them all.
            messages.push(message("liar", &relative, number as i64 * 10_000));
        }
        let answer = register(&server, messages).await;
        assert_eq!(
            answer.segments_added + answer.files_rejected,
            lies.len() as i64,
            "{answer:?}"
        );
        for rejected in &answer.rejected {
            assert_eq!(
                notice_reason(rejected.error.as_ref().unwrap()),
                "FILE_DAMAGED",
                "{}",
                rejected.path
            );
        }
        let mut clips = Vec::new();
        for first in (0..lies.len()).step_by(40) {
            let (from, to) = (first as i64 * 10_000, (first as i64 + 40) * 10_000);
            match server.clips().create_clip(ask("liar", from, to)).await {
                Err(refused) => assert_eq!(reason(&refused), "NO_FOOTAGE", "{refused:?}"),
                Ok(job) => {
                    let job = crate::server::ended(&server, &job.into_inner().id).await;
                    match job.state() {
                        JobState::Succeeded => clips.push(clip_of(&job)),
                        _ => assert_eq!(
                            notice_reason(job.error.as_ref().unwrap()),
                            "NO_FOOTAGE",
                            "{first}: {:?}",
                            job.error
                        ),
                    }
                }
            }
        }
        assert!(!clips.is_empty(), "many lies do no harm to the pictures");
        assert!(
            server.peak_memory_bytes() < 400 << 20,
            "{} bytes of memory",
            server.peak_memory_bytes()
        );
        clips.push(check_camera(&server, CAMERA, &recording.frames).await);
        server.stop_with(&site, &clips.iter().collect::<Vec<_>>());
    }
}
