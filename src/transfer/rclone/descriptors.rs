//! Names for open files. What rclone sends it finds under the names that the files get at the destination, whatever became
//! of their own.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, linkat};

use super::workspace::new_folder_name;

/// Links to the descriptors of this process, by number, which get further names while files are sent.
///
/// A new link is an inode, and ext4 passes over all those that were given up in the last minute before it takes one
/// (`recently_deleted` in its `ialloc.c`): for 500 files that took 105 ms again and again. One more name for a link that
/// stays takes 7 µs. All clones have the same links, which go with the last of them.
#[derive(Clone, Debug, Default)]
pub struct DescriptorLinks(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Where the links lie, each under its descriptor's number; made when the first is needed.
    folder: Mutex<Option<PathBuf>>,
}

impl DescriptorLinks {
    /// Gives open files names below `tree`, which is in `scratch`. Each leads to the descriptor of this process, so that a
    /// file is found which has lost its name, and nothing that gets its name is found in its place.
    pub(super) fn name<'a>(
        &self,
        scratch: &Path,
        tree: &Path,
        files: impl IntoIterator<Item = (&'a str, &'a File)>,
    ) -> io::Result<()> {
        let kept = self.folder(scratch)?;
        let process = std::process::id();
        let mut made = None;
        for (path, file) in files {
            let name = tree.join(path);
            let folder = name.parent().unwrap_or(tree);
            if made.as_deref() != Some(folder) {
                std::fs::create_dir_all(folder)?;
                made = Some(folder.to_owned());
            }
            let number = file.as_raw_fd();
            let link = kept.join(number.to_string());
            let give = || linkat(CWD, &link, CWD, &name, AtFlags::empty());
            let target = || format!("/proc/{process}/fd/{number}");
            if give().is_ok() {
                continue;
            }
            // Another batch may make it at the same time: it leads to the same.
            let _ = symlink(target(), &link);
            if give().is_err() {
                // The file system has no second names, or has no more of them.
                symlink(target(), &name)?;
            }
        }
        Ok(())
    }

    fn folder(&self, scratch: &Path) -> io::Result<PathBuf> {
        let mut folder = self.0.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = &*folder {
            return Ok(folder.clone());
        }
        std::fs::create_dir_all(scratch)?;
        let made = scratch.join(new_folder_name()?);
        DirBuilder::new().mode(0o700).create(&made)?;
        Ok(folder.insert(made).clone())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let folder = self
            .folder
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.take()
            && let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "a folder of links could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn file(scratch: &Path, says: &str) -> File {
        let mut file = tempfile::tempfile_in(scratch).expect("a file");
        file.write_all(says.as_bytes()).expect("written");
        file
    }

    fn tree_in(scratch: &Path, name: &str) -> PathBuf {
        let tree = scratch.join(name);
        std::fs::create_dir(&tree).expect("a tree");
        tree
    }

    fn read(path: &Path) -> String {
        let mut text = String::new();
        File::open(path)
            .expect("opened")
            .read_to_string(&mut text)
            .expect("read");
        text
    }

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).expect("a folder").count()
    }

    #[test]
    fn open_files_without_a_name_get_one_in_each_tree_and_the_links_are_made_once() {
        let scratch = tempfile::tempdir().expect("a folder");
        let links = DescriptorLinks::default();
        let (one, other) = (file(scratch.path(), "one"), file(scratch.path(), "other"));
        let mut inodes = Vec::new();
        for tree in ["first", "second"] {
            let tree = tree_in(scratch.path(), tree);
            links
                .clone()
                .name(
                    scratch.path(),
                    &tree,
                    [("gate/1.mp4", &one), ("yard/2.mp4", &other)],
                )
                .expect("named");
            assert_eq!(read(&tree.join("gate/1.mp4")), "one");
            assert_eq!(read(&tree.join("yard/2.mp4")), "other");
            let named = std::fs::symlink_metadata(tree.join("gate/1.mp4")).expect("a link");
            inodes.push(named.ino());
            std::fs::remove_dir_all(&tree).expect("removed");
        }
        assert_eq!(inodes[0], inodes[1], "the same link under another name");
        assert_eq!(entries(scratch.path()), 1, "the folder of the links");
        drop(links);
        assert_eq!(entries(scratch.path()), 0, "nothing is left");
    }

    #[test]
    fn files_get_their_names_where_no_links_can_be_kept() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (links, tree) = (DescriptorLinks::default(), tree_in(scratch.path(), "tree"));
        let kept = links.folder(scratch.path()).expect("a folder");
        // As when somebody tidies up the scratch folder.
        std::fs::remove_dir(kept).expect("removed");
        let one = file(scratch.path(), "one");
        links
            .name(scratch.path(), &tree, [("gate/1.mp4", &one)])
            .expect("named");
        assert_eq!(read(&tree.join("gate/1.mp4")), "one");
    }

    #[test]
    fn two_files_of_the_same_name_are_an_error() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (links, tree) = (DescriptorLinks::default(), tree_in(scratch.path(), "tree"));
        let one = file(scratch.path(), "one");
        let twice = [("gate/1.mp4", &one), ("gate/1.mp4", &one)];
        let error = links
            .name(scratch.path(), &tree, twice)
            .expect_err("a name that is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
