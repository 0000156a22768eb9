//! Servers that are killed again and again while they have clips, archives and backups to do.
//!
//! `HELDAR_TEST_KILLS` says how often, `HELDAR_TEST_POSTGRES=1` has it done on PostgreSQL; `make soak` does both. The moments
//! are random; `HELDAR_TEST_SEED` repeats those that a failed run printed, as far as a machine can repeat moments.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures::future::join_all;
use heldar_footage::proto::archive_service_client::ArchiveServiceClient;
use heldar_footage::proto::backup_service_client::BackupServiceClient;
use heldar_footage::proto::clip_service_client::ClipServiceClient;
use heldar_footage::proto::{self, JobState};
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::archives::OTHER;
use crate::backups::asking::{create_destination, expected, footage_in, local, objects, site};
use crate::footage::{epoch, ms};
use crate::recorder::{CAMERA, sha256};
use crate::server::{
    Server, Site, ended, eventually, files_in, nothing_left_but, notice_reason, time,
};

const KILLS: usize = 200;
/// Servers that have these kills among them: each of them mostly waits for its next one.
const SERVERS: usize = 4;
/// A life ends at a random moment within this after it serves.
const LONGEST_LIFE_MS: u64 = 1_200;
/// A start that is killed before it serves is killed within this.
const LONGEST_START_MS: u64 = 400;
/// Requests of one life at most, for each of the three kinds.
const REQUESTS: u64 = 8;

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn window(&mut self) -> (i64, i64) {
        let from = self.below(20_000) as i64;
        (from, from + 500 + self.below(9_000) as i64)
    }
}

/// A request that can be repeated.
#[derive(Clone)]
enum Ask {
    Clip(proto::CreateClipRequest),
    Archive(proto::CreateArchiveRequest),
    Backup(proto::CreateBackupRequest),
}

impl Ask {
    fn clip(random: &mut Random) -> Self {
        let (from, to) = random.window();
        Self::Clip(proto::CreateClipRequest {
            camera_id: [CAMERA, OTHER][random.below(2) as usize].to_owned(),
            start_time: time(epoch() + ms(from)),
            end_time: time(epoch() + ms(to)),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        })
    }

    fn archive(random: &mut Random) -> Self {
        let (from, to) = random.window();
        let layout = [
            proto::ArchiveLayout::Segments,
            proto::ArchiveLayout::Clips,
            proto::ArchiveLayout::SegmentsAndClips,
        ][random.below(3) as usize];
        Self::Archive(proto::CreateArchiveRequest {
            spec: Some(proto::ArchiveSpec {
                start_time: time(epoch() + ms(from)),
                end_time: time(epoch() + ms(to)),
                trim: random.below(2) == 0,
                layout: layout.into(),
                ..Default::default()
            }),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        })
    }

    fn backup(destination_id: &str) -> Self {
        Self::Backup(proto::CreateBackupRequest {
            destination_id: destination_id.to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        })
    }

    fn request_id(&self) -> &str {
        match self {
            Self::Clip(request) => &request.request_id,
            Self::Archive(request) => &request.request_id,
            Self::Backup(request) => &request.request_id,
        }
    }

    async fn send(&self, channel: Channel) -> Result<proto::Job, Status> {
        let answer = match self.clone() {
            Self::Clip(request) => ClipServiceClient::new(channel).create_clip(request).await,
            Self::Archive(request) => {
                let mut client = ArchiveServiceClient::new(channel);
                client.create_archive(request).await
            }
            Self::Backup(request) => {
                let mut client = BackupServiceClient::new(channel);
                client.create_backup(request).await
            }
        };
        answer.map(tonic::Response::into_inner)
    }
}

/// What was asked for so far, with the job of each request that was answered.
type Asked = Arc<Mutex<Vec<(Ask, Option<String>)>>>;

/// Whether the server was gone before it answered; it may have written the job.
fn is_unanswered(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
    )
}

/// Sends `asks` one after the other with pauses of these milliseconds, until the server is gone.
async fn call(channel: Channel, asks: Vec<(Ask, u64)>, asked: Asked) {
    for (ask, pause_ms) in asks {
        let at = {
            let mut asked = asked.lock().unwrap();
            asked.push((ask.clone(), None));
            asked.len() - 1
        };
        match ask.send(channel.clone()).await {
            Ok(job) => asked.lock().unwrap()[at].1 = Some(job.id),
            Err(status) if is_unanswered(&status) => return,
            Err(status) => panic!("a request was refused: {status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// A server that is killed before or while it starts.
async fn killed_start(site: &Site, after: Duration) {
    let mut child = site
        .footage(&["serve"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A folder to back up to and the destination's id, made by a server that lives.
async fn new_destination(site: &Site, server: &Server, number: usize) -> (String, String) {
    let folder = site.path(&format!("nas_{number}"));
    std::fs::create_dir_all(&folder).unwrap();
    let made = create_destination(server, local(&folder)).await.unwrap();
    (made.id, folder.to_str().unwrap().to_owned())
}

/// One life: callers ask, some jobs are cancelled, and a kill ends it.
async fn life(site: &Site, random: &mut Random, destination: Option<&str>, asked: &Asked) {
    let server = site.start().await;
    let lives_for = Duration::from_millis(random.below(LONGEST_LIFE_MS));
    let mut calls = tokio::task::JoinSet::new();
    for kind in 0..3 {
        let asks: Vec<_> = (0..random.below(REQUESTS))
            .filter_map(|_| {
                let ask = match kind {
                    0 => Ask::clip(random),
                    1 => Ask::archive(random),
                    _ => Ask::backup(destination?),
                };
                Some((ask, random.below(100)))
            })
            .collect();
        calls.spawn(call(server.channel(), asks, Arc::clone(asked)));
    }
    let unwanted = {
        let asked = asked.lock().unwrap();
        let at = random.below(asked.len().max(1) as u64) as usize;
        asked.get(at).and_then(|(_, job_id)| job_id.clone())
    };
    let mut jobs = server.jobs();
    let cancel_after = Duration::from_millis(random.below(LONGEST_LIFE_MS));
    calls.spawn(async move {
        let Some(job_id) = unwanted else { return };
        tokio::time::sleep(cancel_after).await;
        // It may have ended, and the server may be gone.
        let _ = jobs.cancel_job(proto::CancelJobRequest { job_id }).await;
    });
    tokio::time::sleep(lives_for).await;
    server.kill();
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
}

async fn all_jobs(server: &Server) -> Vec<proto::Job> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListJobsRequest {
            page_size: 200,
            page_token,
            ..Default::default()
        };
        let page = server.jobs().list_jobs(request).await.unwrap().into_inner();
        found.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// The states that the jobs ended in, with the reason of those that failed; each has one.
fn tally(jobs: &[proto::Job]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        let ended_as = match job.state() {
            JobState::Failed => notice_reason(job.error.as_ref().expect("a failed job says why")),
            JobState::Succeeded | JobState::Cancelled => job
                .state()
                .as_str_name()
                .trim_start_matches("JOB_STATE_")
                .to_owned(),
            _ => panic!("not ended: {job:?}"),
        };
        *counts
            .entry(format!("{:?} {ended_as}", job.kind()))
            .or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn whenever_the_server_is_killed_no_job_is_lost_or_made_twice_and_nothing_is_left_behind() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let kills = number("HELDAR_TEST_KILLS").map_or(KILLS, |kills: u64| kills as usize);
    let seed = number("HELDAR_TEST_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("{kills} kills of {SERVERS} servers with HELDAR_TEST_SEED={seed}");
    let began = Instant::now();
    let series = (0..SERVERS).map(|at| {
        let share = kills / SERVERS + usize::from(at < kills % SERVERS);
        let random = Random(seed.wrapping_add(at as u64));
        // Each on a thread of its own: starting and looking at a server takes the thread.
        tokio::spawn(kill_again_and_again(share, random))
    });
    let mut whole = Account::default();
    for account in join_all(series).await {
        let account = account.expect("the series ends");
        let succeeded: usize = account
            .ended_as
            .iter()
            .filter(|(name, _)| name.ends_with("SUCCEEDED"))
            .map(|(_, count)| count)
            .sum();
        assert!(
            succeeded > 0,
            "nothing was done at all: {:?}",
            account.ended_as
        );
        whole.tried_again += account.tried_again;
        whole.requests += account.requests;
        whole.unanswered += account.unanswered;
        for (end, jobs) in account.ended_as {
            *whole.ended_as.entry(end).or_default() += jobs;
        }
    }
    let Account {
        requests,
        unanswered,
        tried_again,
        ended_as,
    } = whole;
    println!(
        "{kills} kills in {:.0} s: {requests} requests, {unanswered} of them unanswered, {tried_again} jobs tried again; {ended_as:?}",
        began.elapsed().as_secs_f64(),
    );
    if kills >= KILLS {
        assert!(unanswered > 0, "no kill came before an answer");
        assert!(tried_again > 0, "no kill met a job that ran");
    }
}

/// What came of the requests to one server, or to several.
#[derive(Default)]
struct Account {
    requests: usize,
    unanswered: usize,
    /// Jobs that took more than one attempt.
    tried_again: usize,
    /// See [`tally`].
    ended_as: BTreeMap<String, usize>,
}

/// Kills a server so often, and has it finish in the end and show that all holds.
async fn kill_again_and_again(kills: usize, mut random: Random) -> Account {
    let site = site();
    let asked = Asked::default();
    let mut destinations = Vec::new();
    for kill in 0..kills {
        if random.below(5) == 0 {
            killed_start(&site, Duration::from_millis(random.below(LONGEST_START_MS))).await;
            continue;
        }
        // A folder that has all footage already gives a run nothing to do.
        if kill % 4 == 0 {
            let server = site.start().await;
            destinations.push(new_destination(&site, &server, kill).await);
            server.kill();
        }
        let destination = destinations
            .last()
            .map(|(id, _): &(String, String)| id.clone());
        life(&site, &mut random, destination.as_deref(), &asked).await;
    }

    let server = site.start().await;
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let mut unanswered = 0;
    let mut ids = BTreeSet::new();
    for (ask, answered) in &asked {
        let job = ask.send(server.channel()).await.unwrap();
        match answered {
            Some(id) => assert_eq!(job.id, *id, "the same request gave another job"),
            None => unanswered += 1,
        }
        assert!(ids.insert(job.id), "two requests share a job");
    }
    for id in &ids {
        ended(&server, id).await;
    }
    // What failed because the server died may have left files that only a run finds.
    for (id, _) in &destinations {
        let request = Ask::backup(id);
        let job = request.send(server.channel()).await.unwrap();
        let job = ended(&server, &job.id).await;
        assert_eq!(job.state(), JobState::Succeeded, "{:?}", job.error);
    }
    let imports = proto::JobKind::Import;
    for job in all_jobs(&server).await {
        if job.kind() == imports && job.end_time.is_none() {
            ended(&server, &job.id).await;
        }
    }
    let jobs = all_jobs(&server).await;
    let mut of_request: BTreeMap<&str, usize> = BTreeMap::new();
    for job in jobs.iter().filter(|job| !job.request_id.is_empty()) {
        *of_request.entry(&job.request_id).or_default() += 1;
    }
    for (ask, _) in &asked {
        assert_eq!(of_request[ask.request_id()], 1, "{}", ask.request_id());
    }
    let ended_as = tally(&jobs);
    let (clips, archives) = outputs(&jobs);
    for (name, sha256) in clips.iter().map(|clip| (&clip.file_name, &clip.sha256)) {
        check_hash(&site.clips().join(name), sha256);
    }
    for (name, sha256) in archives.iter().map(|zip| (&zip.file_name, &zip.sha256)) {
        check_hash(&site.archives().join(name), sha256);
    }
    let expected = expected(&site);
    for (id, folder) in &destinations {
        let ledger = objects(&server, id).await;
        assert_eq!(footage_in(folder.as_ref()), expected, "files at {folder}");
        assert_eq!(ledger.len(), expected.len());
        for (path, object) in ledger {
            assert_eq!(object.sha256, sha256(&expected[&path]), "{path}");
        }
    }
    assert_eq!(server.stop(), 0);
    // A start looks for what no row knows.
    let server = site.start().await;
    let files = |folder: std::path::PathBuf| files_in(&folder).len();
    eventually("files without a row go", || {
        files(site.clips()) == clips.len() && files(site.archives()) == archives.len()
    });
    assert_eq!(server.stop(), 0);
    nothing_left_but(&site, &clips, &archives);
    Account {
        requests: asked.len(),
        unanswered,
        tried_again: jobs.iter().filter(|job| job.attempt > 1).count(),
        ended_as,
    }
}

/// What the jobs made.
fn outputs(jobs: &[proto::Job]) -> (Vec<&proto::Clip>, Vec<&proto::Archive>) {
    let mut clips = Vec::new();
    let mut archives = Vec::new();
    for job in jobs {
        match &job.result {
            Some(proto::job::Result::Clip(clip)) => clips.push(clip),
            Some(proto::job::Result::Archive(archive)) => archives.push(archive),
            _ => {}
        }
    }
    (clips, archives)
}

fn check_hash(path: &std::path::Path, expected: &str) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(sha256(&bytes), expected, "{}", path.display());
}
