//! More entries and more bytes than a zip without ZIP64 can hold.

use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use heldar_footage::proto::{self, stream_archive_response::Content};
use sqlx::ConnectOptions as _;

use super::asking::{
    ask, check_bytes, everything, header_of, hollow, make, plan, rest_of, stream, thirty_seconds,
};
use super::unpacked::{OWN, check_with_all_tools, entries, test_with_7zip, tool};
use super::verification::verify;
use crate::footage::{Recipe, epoch, ms};
use crate::recorder::{CAMERA, heldar_name, import, place, unfollowed};
use crate::server::{Server, Site, time};

/// What a message of a stream is compared with: none is longer.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// More than the 65,535 that the end record of a zip can count (PKWARE APPNOTE 4.4.22).
const MANY: i64 = 65_600;

/// As many segments as an archive may have unless the operator decides otherwise.
const MOST: i64 = 200_000;

/// What an archive may take above what the idle server does, however many entries it has.
const MOST_MEMORY_BYTES: u64 = 64 << 20;

/// What one of [`MANY`] takes less than.
const MEMORY_OF_MANY_BYTES: u64 = 40 << 20;

/// Names of one file that there may be: ext4 has at most 65,000.
const LINKS: usize = 30_000;

/// One second, one frame.
pub(super) fn tiny() -> Recipe {
    Recipe {
        rate: "1",
        gop_frames: 1,
        size: "64x48",
        sound: false,
        segment_s: 1,
        length_s: 1,
        ..Recipe::plain()
    }
}

/// How many segments there are of what is recorded, and how they lie.
#[derive(Clone)]
struct Row {
    recipe: Recipe,
    count: i64,
    /// From the start of one to the start of the next, seconds.
    step_s: i64,
    /// Path by camera, time and number, as SQLite makes it.
    path: String,
    /// What is added to the modification time that the catalog knows.
    modified_later_us: i64,
}

/// Recorded without a break, by a Heldar recorder.
fn unbroken(count: i64) -> Row {
    unbroken_of(tiny(), count)
}

/// The same of another recipe, whose segments have as many seconds as it says.
fn unbroken_of(recipe: Recipe, count: i64) -> Row {
    let step_s = i64::from(recipe.segment_s);
    Row {
        recipe,
        count,
        step_s,
        path: format!(
            "camera_id || strftime('/%Y%m%d_%H%M%S.mp4', start_us / 1000000 + number * {step_s}, 'unixepoch')"
        ),
        modified_later_us: 0,
    }
}

/// All that makes a segment cost more: a gap behind each, a fault in each, and hundreds that are called the same.
fn troubled(count: i64) -> Row {
    Row {
        recipe: tiny(),
        count,
        step_s: 3,
        path: "camera_id || '/' || (number / 500) || '/recorded_at_the_gate_' || (number % 500) || '.mp4'"
            .to_owned(),
        modified_later_us: -1,
    }
}

/// Lays one recording under many names. The first is imported; the rows of the others are made from its row, because
/// reading so many files takes an import longer than all else here.
async fn many_segments(site: &Site, row: Row) {
    let recording = row.recipe.record();
    let first = heldar_name(CAMERA, epoch());
    let mut original = place(site, &first, &recording.segments[0].path);
    import(site, &[]);
    let database = format!("sqlite://{}", site.data().join("heldar.db").display());
    let options: sqlx::sqlite::SqliteConnectOptions = database.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info('segments')")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let start = format!("start_us + number * {}000000", row.step_s);
    let end = format!("end_us + number * {}000000", row.step_s);
    let modified = format!("modified_us + {}", row.modified_later_us);
    let values: Vec<&str> = columns
        .iter()
        .map(|column| match column.as_str() {
            "id" => "'seg_' || printf('%032x', number)",
            "path" => &row.path,
            "start_us" => &start,
            "end_us" => &end,
            "modified_us" => &modified,
            column => column,
        })
        .collect();
    let copy = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {} - 1)
         INSERT INTO segments ({}) SELECT {} FROM segments, numbers",
        row.count,
        columns.join(", "),
        values.join(", ")
    );
    let made = sqlx::query(sqlx::AssertSqlSafe(copy))
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(made.rows_affected(), row.count as u64 - 1);
    let paths: Vec<String> = sqlx::query_scalar("SELECT path FROM segments ORDER BY start_us")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    for (number, path) in paths.iter().enumerate().skip(1) {
        if number % LINKS == 0 {
            original = place(site, path, &recording.segments[0].path);
        } else {
            let path = site.recordings().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::hard_link(&original, path).unwrap();
        }
    }
}

/// Makes an archive of the first second. A server that has never made one has not read the code that does: that is no
/// memory of an archive.
async fn warm_up(server: &Server) -> proto::Archive {
    let first_second = proto::ArchiveSpec {
        start_time: time(epoch()),
        end_time: time(epoch() + ms(1_000)),
        ..Default::default()
    };
    let (_, warm) = make(server, ask(first_second)).await;
    warm
}

/// What a server takes above `idle_bytes` while something is done.
struct Memory<'a> {
    server: &'a Server,
    idle_bytes: u64,
    most_bytes: u64,
}

impl<'a> Memory<'a> {
    fn of(server: &'a Server, most_bytes: u64) -> Self {
        Self {
            server,
            idle_bytes: server.memory_bytes(),
            most_bytes,
        }
    }

    /// Checks what was done since the last check, and forgets it.
    fn check(&self, what: &str) {
        let grown = self
            .server
            .peak_memory_bytes()
            .saturating_sub(self.idle_bytes);
        println!("{what}: {:.1} MiB", grown as f64 / f64::from(1 << 20));
        assert!(
            grown < self.most_bytes,
            "{what} of so many entries takes {grown} bytes more"
        );
        self.server.forget_peak_memory();
    }
}

/// What `unzip -l` says at its end: bytes and files.
fn listed(zip: &Path) -> (u64, u64) {
    let listing = tool(Command::new("unzip").arg("-l").arg(zip));
    let last = listing.lines().last().unwrap();
    let mut words = last.split_whitespace().map(|word| word.parse().ok());
    (
        words.next().flatten().unwrap(),
        words.next().flatten().unwrap(),
    )
}

#[tokio::test]
async fn more_entries_than_65_535_are_all_there() {
    let site = unfollowed();
    many_segments(&site, unbroken(MANY)).await;
    let server = site.start().await;
    let warm = warm_up(&server).await;
    let memory = Memory::of(&server, MEMORY_OF_MANY_BYTES);
    let planned = plan(&server, everything()).await;
    assert_eq!(planned.source_count, MANY);
    memory.check("a plan");
    // What one pass held must be given back before the next, or be used again by it.
    let (_, first) = make(&server, ask(everything())).await;
    memory.check("an archive after a plan");
    let (_, archive) = make(&server, ask(everything())).await;
    memory.check("a second archive");
    for archive in [&first, &archive] {
        assert_eq!(planned.size_bytes, archive.size_bytes);
        assert_eq!((archive.entry_count, archive.fault_count), (MANY + 5, 0));
    }
    assert_eq!(first.sha256, archive.sha256);
    let mut messages = stream(&server, everything()).await.unwrap();
    assert_eq!(
        header_of(&mut messages).await.size_bytes,
        archive.size_bytes
    );
    let (sent, streamed) = rest_of(messages).await;
    check_bytes(&archive, &sent);
    assert_eq!(streamed.unwrap().sha256, archive.sha256);
    memory.check("a stream");

    let zip = site.archives().join(&archive.file_name);
    check_with_all_tools(&zip);
    let found = entries(&zip);
    assert_eq!(found.len() as i64, MANY + OWN.len() as i64);
    let own: Vec<&str> = found[MANY as usize..]
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(own, OWN);
    for (number, entry) in (0..).zip(&found[..MANY as usize]) {
        let expected = heldar_name(CAMERA, epoch() + TimeDelta::seconds(number));
        assert_eq!((&entry.name, entry.method), (&expected, 0));
    }
    assert_eq!(listed(&zip).1 as i64, archive.entry_count);
    server.stop_with_archives(&site, &[&warm, &first, &archive]);
}

/// Checks that all that is done with an archive of as many segments as are allowed stays below what is promised.
async fn check_memory_at_the_limit(row: Row) {
    let site = unfollowed();
    let count = row.count;
    many_segments(&site, row).await;
    let server = site.start().await;
    let warm = warm_up(&server).await;
    let memory = Memory::of(&server, MOST_MEMORY_BYTES);
    let planned = plan(&server, everything()).await;
    memory.check("a plan");
    let (_, first) = make(&server, ask(everything())).await;
    memory.check("an archive after a plan");
    let (_, second) = make(&server, ask(everything())).await;
    memory.check("a second archive");
    assert_eq!(first.sha256, second.sha256);
    assert_eq!(planned.size_bytes, second.size_bytes);
    assert_eq!(planned.fault_count, second.fault_count);
    assert_eq!(second.entry_count, count + OWN.len() as i64);
    let header = stream_into(&server, &site.path("streamed.zip")).await;
    assert_eq!(header.size_bytes, second.size_bytes);
    memory.check("a stream");
    let verified = verify(&server, &second.id).await;
    assert_eq!(verified.defect_count, 0, "{:?}", verified.defects);
    memory.check("a verification");
    server.stop_with_archives(&site, &[&warm, &first, &second]);
}

#[tokio::test]
#[ignore = "takes minutes: `cargo test --release --test service -- --ignored as_many_segments`"]
async fn as_many_segments_as_are_allowed_take_no_more_memory_than_is_promised() {
    check_memory_at_the_limit(unbroken(MOST)).await;
}

#[tokio::test]
#[ignore = "takes minutes: `cargo test --release --test service -- --ignored as_many_segments`"]
async fn as_many_segments_with_gaps_faults_and_equal_names_take_no_more_memory_either() {
    check_memory_at_the_limit(troubled(MOST)).await;
}

#[tokio::test]
async fn clips_of_many_hours_take_no_more_memory_than_clips_of_one() {
    const HOURS: i64 = 6;
    let recipe = Recipe {
        rate: "50",
        gop_frames: 50,
        size: "64x48",
        sound: false,
        segment_s: 10,
        length_s: 10,
        ..Recipe::plain()
    };
    let site = unfollowed();
    many_segments(&site, unbroken_of(recipe, HOURS * 360)).await;
    let server = site.start().await;
    let clips = |hours| proto::ArchiveSpec {
        layout: proto::ArchiveLayout::Clips.into(),
        end_time: time(epoch() + TimeDelta::hours(hours)),
        ..everything()
    };
    let first_minute = proto::ArchiveSpec {
        end_time: time(epoch() + TimeDelta::minutes(1)),
        ..clips(1)
    };
    let (_, warm) = make(&server, ask(first_minute)).await;
    let memory = Memory::of(&server, MOST_MEMORY_BYTES);
    let (_, one) = make(&server, ask(clips(1))).await;
    memory.check("clips of an hour");
    let planned = plan(&server, clips(HOURS)).await;
    let (_, all) = make(&server, ask(clips(HOURS))).await;
    memory.check("clips of many hours");
    let entries_of = |clips: i64| clips + OWN.len() as i64;
    assert_eq!(one.entry_count, entries_of(1));
    assert_eq!(
        (all.entry_count, planned.entry_count),
        (entries_of(HOURS), entries_of(HOURS))
    );
    let [camera] = all.cameras.as_slice() else {
        panic!("{:?}", all.cameras)
    };
    assert_eq!((camera.gaps.as_slice(), all.fault_count), (&[][..], 0));
    assert_eq!(
        camera.covered.map(|covered| covered.seconds),
        Some(HOURS * 3600)
    );
    server.stop_with_archives(&site, &[&warm, &one, &all]);
}

/// Takes a streamed archive into a file that has a hole wherever only zeros come, so that it takes no room on the disk.
async fn stream_into(server: &Server, zip: &Path) -> proto::StreamArchiveHeader {
    let mut messages = stream(server, everything()).await.unwrap();
    let header = header_of(&mut messages).await;
    let mut file = std::fs::File::create(zip).unwrap();
    let mut sent = 0;
    while let Some(message) = messages.message().await.unwrap() {
        match message.content {
            Some(Content::Data(data)) if data == ZEROS[..data.len()] => {
                sent += data.len() as i64;
                file.seek_relative(data.len() as i64).unwrap();
            }
            Some(Content::Data(data)) => {
                sent += data.len() as i64;
                file.write_all(&data).unwrap();
            }
            Some(Content::Trailer(trailer)) => {
                assert_eq!(trailer.archive.unwrap().size_bytes, sent);
            }
            other => panic!("no data: {other:?}"),
        }
    }
    assert_eq!(
        header.size_bytes, sent,
        "the size was announced to the byte"
    );
    // What ends with zeros ends with a hole, of which a file knows nothing yet.
    file.set_len(sent as u64).unwrap();
    header
}

#[tokio::test]
async fn an_entry_larger_than_4_gib_and_what_follows_it_are_whole() {
    let site = unfollowed();
    let recording = thirty_seconds().record();
    let file = &recording.segments[0].path;
    let large = place(&site, &heldar_name(CAMERA, epoch()), file);
    hollow(&large, (4 << 30) + 4096);
    let second = heldar_name(CAMERA, epoch() + ms(10_000));
    let small = place(&site, &second, file);
    import(&site, &[]);
    let server = site.start().await;
    let planned = plan(&server, everything()).await;
    let folder = tempfile::tempdir().unwrap();
    let zip = folder.path().join("archive.zip");
    let header = stream_into(&server, &zip).await;
    assert_eq!(planned.size_bytes, header.size_bytes);
    let peak = server.peak_memory_bytes();
    assert!(peak < 128 << 20, "{peak} bytes of memory");

    let found = entries(&zip);
    let size = std::fs::metadata(&large).unwrap().len();
    assert!(size > 4 << 30);
    assert_eq!((found[0].size_bytes, found[0].packed_bytes), (size, size));
    assert!(found[1].offset > 4 << 30, "the second begins beyond 4 GiB");
    // 7-Zip compares all of it with its CRC-32. The others, which are slow, read what lies beyond 4 GiB.
    test_with_7zip(&zip);
    let rest = folder.path().join("rest");
    let names: Vec<&str> = found[1..].iter().map(|entry| entry.name.as_str()).collect();
    let mut unzip = Command::new("unzip");
    tool(unzip.arg("-q").arg(&zip).args(&names).arg("-d").arg(&rest));
    assert!(std::fs::read(rest.join(&second)).unwrap() == std::fs::read(small).unwrap());
    let script = "import sys, zipfile; zip = zipfile.ZipFile(sys.argv[1])\n\
                  for name in sys.argv[3:]:\n    \
                  assert zip.read(name) == open(sys.argv[2] + '/' + name, 'rb').read()";
    let mut python = Command::new("python3");
    tool(
        python
            .args(["-c", script])
            .arg(&zip)
            .arg(&rest)
            .args(&names),
    );
    tool(
        Command::new("sha256sum")
            .args(["-c", "--ignore-missing", "SHA256SUMS"])
            .current_dir(&rest),
    );
    server.stop_with_archives(&site, &[]);
}
