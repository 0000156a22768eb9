//! Output files: unfinished ones have a name that nobody looks for, and finished ones survive a loss of power.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::Attempt;

/// Free bytes on the disk of a folder, for those who are not root.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A file that is being written; removed when it is dropped before it is published.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    is_published: bool,
}

impl Draft {
    /// Makes the file `name` of `folder`, in place of one that an attempt before may have left.
    pub(super) fn create(folder: &Path, name: &str) -> io::Result<(Self, File)> {
        let path = folder.join(name);
        remove_if_there(&path)?;
        let file = File::create_new(&path)?;
        let draft = Self {
            path,
            is_published: false,
        };
        Ok((draft, file))
    }

    /// One that somebody else has written whole.
    pub(super) fn of(path: PathBuf) -> Self {
        Self {
            path,
            is_published: false,
        }
    }

    /// Gives the file its name, which is returned. Its content must be on the disk already.
    pub(super) fn publish(mut self, name: FinalName) -> io::Result<String> {
        let given = publish(&self.path, name)?;
        self.is_published = true;
        Ok(given)
    }
}

impl Draft {
    /// Gives the file a name that a row has already, in place of one that may have it: whoever gives it, its bytes are the
    /// same.
    pub(super) fn put_in_place(self, name: &str) -> io::Result<()> {
        let folder = self.path.parent().map(Path::to_owned);
        self.put_in_place_unsynced(name)?;
        match folder {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// The same for a file that can be made again, should a loss of power take it.
    pub(super) fn put_in_place_unsynced(mut self, name: &str) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_file_name(name))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        // Whoever closes a file last that has no name any more gives its room back, and waits for what of it is on its way to the
        // disk: a fifth of a second for 600 MB on a disk that takes half a gigabyte a second, during which nobody heard that a job
        // was cancelled.
        let last = File::open(&self.path);
        if let Err(error) = remove_if_there(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays behind");
        }
        if let Ok(last) = last {
            std::thread::spawn(move || drop(last));
        }
    }
}

/// Names for a finished file, one of which it gets.
///
/// A worker may be frozen just before it gives its file a name, and wake when another attempt has long delivered: no file is
/// ever put in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FinalName {
    /// The name that a person expects.
    plain: String,
    /// One that no other attempt ever gives, of this job or of another one that makes the same.
    of_attempt: String,
}

impl FinalName {
    /// `stem.extension`, or `stem.JOB.EPOCH.extension`; no job's id holds a dot.
    pub(super) fn of(attempt: &Attempt, stem: &str, extension: &str) -> Self {
        let Attempt { job_id, epoch, .. } = attempt;
        Self {
            plain: format!("{stem}.{extension}"),
            of_attempt: format!("{stem}.{job_id}.{epoch}.{extension}"),
        }
    }

    /// The same for a whole name.
    pub(super) fn like(attempt: &Attempt, name: &str) -> Self {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        Self::of(attempt, stem, extension)
    }
}

/// The stem of a name that [`FinalName`] gives; `None` where it has no extension.
pub(super) fn stem_of(name: &str) -> Option<(&str, &str)> {
    let (before, extension) = name.rsplit_once('.')?;
    let mut parts = before.rsplitn(3, '.');
    Some(match (parts.next(), parts.next(), parts.next()) {
        (Some(epoch), Some(_), Some(stem)) if epoch.parse::<i64>().is_ok() => (stem, extension),
        _ => (before, extension),
    })
}

/// Renames a finished file, so that the new name survives a loss of power; which name it got.
pub(super) fn publish(part: &Path, name: FinalName) -> io::Result<String> {
    let given = publish_unsynced(part, name)?;
    if let Some(folder) = part.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(given)
}

/// The same where a loss of power may take the name.
pub(super) fn publish_unsynced(part: &Path, name: FinalName) -> io::Result<String> {
    let FinalName { plain, of_attempt } = name;
    let given = match renameat_with(
        CWD,
        part,
        CWD,
        part.with_file_name(&plain),
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => plain,
        // Another attempt made a file, or this file system cannot say so (rename(2)).
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::rename(part, part.with_file_name(&of_attempt))?;
            of_attempt
        }
        Err(error) => return Err(error.into()),
    };
    Ok(given)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::domain::job::JobSpec;
    use crate::domain::source::ImportSpec;

    fn attempt(job_id: &str, epoch: i64) -> Attempt {
        let spec = JobSpec::Import(ImportSpec {
            source_id: String::new(),
        });
        Attempt::new(job_id.to_owned(), epoch, spec, CancellationToken::new()).0
    }

    #[test]
    fn no_attempt_ever_puts_its_file_in_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let attempts = [("job_a", 1), ("job_a", 2), ("job_b", 1)];
        let names = attempts.map(|(job_id, epoch)| {
            let attempt = attempt(job_id, epoch);
            let part = folder.path().join(attempt.temporary_name());
            std::fs::write(&part, format!("{job_id} {epoch}")).unwrap();
            publish(&part, FinalName::of(&attempt, "gate_clip_1", "mp4")).unwrap()
        });
        assert_eq!(
            names,
            [
                "gate_clip_1.mp4",
                "gate_clip_1.job_a.2.mp4",
                "gate_clip_1.job_b.1.mp4"
            ]
        );
        for ((job_id, epoch), name) in attempts.iter().zip(&names) {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text, format!("{job_id} {epoch}"));
            assert_eq!(stem_of(name), Some(("gate_clip_1", "mp4")));
        }
    }
}
