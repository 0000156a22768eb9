//! One sync for many small files: a sync of each has the disk's journal written and its cache emptied every time.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{fstat, fstatfs, syncfs};

/// Files up to this size are synced together: the bytes of larger ones take longer than their sync.
const SIZE_MAX_BYTES: u64 = 1 << 20;
/// After so many files, or so many bytes of them, the disk is synced while others are written.
const FILES: u64 = 64;
const BYTES: u64 = 32 << 20;
/// Fewer than these are synced one by one.
const FEW: u64 = 8;
/// What others wrote to the file system is waited for, too. When so much of the machine's memory waits for a disk, or a sync
/// took so long, each file is synced by itself.
const WAITING_MAX_KIB: u64 = 256 << 10;
const SLOW: Duration = Duration::from_secs(1);
/// File systems whose sync of everything does for each file what its own sync does (linux/magic.h): ext4 (which drives ext2
/// and ext3, too), XFS, Btrfs. Those in user space are not even told.
const KNOWN: [u32; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
/// From this version of Linux on a sync of everything tells of errors: of those of writing since 5.8 (syncfs(2)), of those of
/// the file system itself since 5.17 (fs/sync.c).
const TELLS_ERRORS: (u32, u32) = (5, 17);

/// Syncs the file system for all threads that write to it, one sync at a time.
pub(super) struct Together {
    /// Open since before anything was written, so that no error of writing is missed.
    folder: Arc<OwnedFd>,
    /// That of the folder's file system.
    device: u64,
    state: Mutex<State>,
    ended: Condvar,
    waiting_max_kib: u64,
    slow: Duration,
}

#[derive(Default)]
struct State {
    /// How many syncs were begun.
    begun: u64,
    is_running: bool,
    /// The last that went well; what was written before it was begun lasts.
    succeeded: u64,
    /// Files that were written since the last one was begun, and their bytes.
    written: u64,
    written_bytes: u64,
    /// Each file is synced by itself from now on.
    is_given_up: bool,
}

/// How many syncs had been begun when a file was written: the next one makes it last.
#[derive(Clone, Copy)]
pub(super) struct WrittenAfter(u64);

impl Together {
    /// For a folder that is open and not yet written to; `None` where each file must be synced by itself.
    pub(super) fn of(folder: &Arc<OwnedFd>) -> Option<Self> {
        // The field is as wide as a word of the machine, the numbers never are wider than this.
        let is_known = fstatfs(folder).is_ok_and(|found| KNOWN.contains(&(found.f_type as u32)));
        let device = fstat(folder).ok()?.st_dev;
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        (is_known && tells_errors(&release)).then(|| Self {
            folder: Arc::clone(folder),
            device,
            state: Mutex::default(),
            ended: Condvar::new(),
            waiting_max_kib: WAITING_MAX_KIB,
            slow: SLOW,
        })
    }

    /// Notes that a file is written, and syncs for all when enough of them are. `None` when it is to be synced by itself.
    pub(super) fn note_written(&self, file: &File) -> Option<WrittenAfter> {
        let metadata = file.metadata().ok()?;
        // Another disk may be mounted beneath the folder.
        if metadata.len() > SIZE_MAX_BYTES || metadata.dev() != self.device {
            return None;
        }
        let mut state = self.lock();
        if state.is_given_up {
            return None;
        }
        let after = WrittenAfter(state.begun);
        state.written += 1;
        state.written_bytes += metadata.len();
        let is_enough = state.written >= FILES || state.written_bytes >= BYTES;
        if is_enough && !state.is_running {
            drop(self.sync(state));
        }
        Some(after)
    }

    /// Waits until the file lasts; whether it does. Else it is to be synced by itself, which tells what is wrong.
    pub(super) fn makes_last(&self, WrittenAfter(begun): WrittenAfter) -> bool {
        let mut state = self.lock();
        loop {
            if state.succeeded > begun {
                return true;
            }
            state = if state.is_running {
                let waited = self.ended.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else if state.is_given_up || state.written < FEW {
                return false;
            } else {
                self.sync(state)
            };
        }
    }

    fn sync<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        if waiting_kib(&meminfo).is_none_or(|waiting| waiting >= self.waiting_max_kib) {
            state.is_given_up = true;
            return state;
        }
        state.begun += 1;
        (state.written, state.written_bytes) = (0, 0);
        state.is_running = true;
        drop(state);
        let at = Instant::now();
        let synced = syncfs(&self.folder);
        let mut state = self.lock();
        state.is_running = false;
        match synced {
            Ok(()) => state.succeeded = state.begun,
            // It may concern any file, and is not told again.
            Err(_) => state.is_given_up = true,
        }
        state.is_given_up |= at.elapsed() > self.slow;
        self.ended.notify_all();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much memory waits for a disk or is on its way to one, of what `/proc/meminfo` says (proc_meminfo(5)).
fn waiting_kib(meminfo: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(of("Dirty:")? + of("Writeback:")?)
}

/// Whether this release of Linux tells of errors when everything is synced.
fn tells_errors(release: &str) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse().ok());
    let version: Option<(u32, u32)> = numbers.next().zip(numbers.next());
    version >= Some(TELLS_ERRORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder, a small file in it, and what syncs it whatever else the machine does.
    fn with_file() -> (tempfile::TempDir, File, Together) {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create_new(folder.path().join("file")).unwrap();
        let together = Together {
            folder: Arc::new(File::open(folder.path()).unwrap().into()),
            device: file.metadata().unwrap().dev(),
            state: Mutex::default(),
            ended: Condvar::new(),
            waiting_max_kib: u64::MAX,
            slow: Duration::MAX,
        };
        (folder, file, together)
    }

    fn some_written(together: &Together, file: &File) -> WrittenAfter {
        let files = (0..FEW).map(|_| together.note_written(file).unwrap());
        files.last().unwrap()
    }

    #[test]
    fn one_sync_makes_all_last_that_were_written_before_it_and_none_after() {
        let (_folder, file, together) = with_file();
        let before: Vec<_> = (0..FILES - 1)
            .map(|_| together.note_written(&file).unwrap())
            .collect();
        assert_eq!(together.lock().begun, 0);
        let last = together.note_written(&file).unwrap();
        assert_eq!(together.lock().begun, 1, "enough of them");
        let later = together.note_written(&file).unwrap();
        for file in before.into_iter().chain([last]) {
            assert!(together.makes_last(file));
        }
        assert!(!together.makes_last(later), "one by itself");
        assert_eq!(together.lock().begun, 1);
        for _ in 1..FEW {
            together.note_written(&file);
        }
        assert!(together.makes_last(later));
        assert_eq!(together.lock().begun, 2);
    }

    #[test]
    fn after_an_error_and_for_a_large_file_each_is_synced_by_itself() {
        let (folder, file, mut together) = with_file();
        file.set_len(SIZE_MAX_BYTES + 1).unwrap();
        assert!(together.note_written(&file).is_none());
        file.set_len(SIZE_MAX_BYTES).unwrap();
        let lasts = some_written(&together, &file);
        assert!(together.makes_last(lasts));
        // What was opened only to be named cannot be synced.
        let flags = rustix::fs::OFlags::PATH;
        let named = rustix::fs::open(folder.path(), flags, rustix::fs::Mode::empty()).unwrap();
        together.folder = Arc::new(named);
        assert!(!together.makes_last(some_written(&together, &file)));
        assert!(together.makes_last(lasts));
        assert!(together.note_written(&file).is_none());
    }

    #[test]
    fn a_file_on_another_disk_is_synced_by_itself_and_many_bytes_of_few_files_at_once() {
        let (_folder, file, mut together) = with_file();
        file.set_len(SIZE_MAX_BYTES).unwrap();
        for _ in 0..BYTES / SIZE_MAX_BYTES {
            assert_eq!(together.lock().begun, 0);
            together.note_written(&file).unwrap();
        }
        assert_eq!(together.lock().begun, 1);
        together.device += 1;
        assert!(together.note_written(&file).is_none());
    }

    #[test]
    fn when_others_write_much_or_a_sync_takes_long_each_is_synced_by_itself() {
        let (_folder, file, mut together) = with_file();
        together.slow = Duration::ZERO;
        assert!(
            together.makes_last(some_written(&together, &file)),
            "this one still"
        );
        assert!(together.note_written(&file).is_none());

        let (_folder, file, mut together) = with_file();
        together.waiting_max_kib = 0;
        assert!(!together.makes_last(some_written(&together, &file)));
        assert!(together.note_written(&file).is_none());
        assert_eq!(together.lock().begun, 0);
    }

    #[test]
    fn threads_that_wait_for_one_sync_are_all_woken() {
        let (_folder, file, together) = with_file();
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..50 {
                        // Those that came after a sync may be few.
                        together.makes_last(some_written(&together, &file));
                    }
                });
            }
        });
        let state = together.lock();
        assert!(!state.is_running && state.begun == state.succeeded && state.begun > 0);
    }

    #[test]
    fn what_waits_for_the_disk_is_read_as_the_system_tells_it() {
        let meminfo =
            "MemTotal:  24 kB\nDirty:               1180 kB\nWriteback:            20 kB\n";
        assert_eq!(waiting_kib(meminfo), Some(1200));
        assert_eq!(waiting_kib("MemTotal: 24 kB\nDirty: 1180 kB\n"), None);
        let here = std::fs::read_to_string("/proc/meminfo").unwrap();
        assert!(waiting_kib(&here).is_some());
    }

    #[test]
    fn old_kernels_are_not_trusted_to_tell_of_errors() {
        for (release, tells) in [
            ("6.18.44-fc", true),
            ("5.17.0", true),
            ("6.0-rc1", true),
            ("5.16.19", false),
            ("4.19.0-amd64", false),
            ("unknown", false),
            ("", false),
        ] {
            assert_eq!(tells_errors(release), tells, "{release}");
        }
    }
}
