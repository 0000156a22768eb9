//! What a server must not leave behind: files that nobody asked for, processes that go on.

use heldar_footage::proto;

use super::processes::processes_of;
use super::{Server, Site, files_in};

impl Server {
    /// Stops the server and checks that it left nothing behind but the files of these clips.
    pub fn stop_with(self, site: &Site, clips: &[&proto::Clip]) {
        assert_eq!(self.stop(), 0, "the server ends well");
        nothing_left(site, clips);
    }
}

/// Checks that no server of this site runs and that it left nothing behind but the files of these clips: no other
/// file beside them, nothing in the scratch folder, no process that was started for it.
pub fn nothing_left(site: &Site, clips: &[&proto::Clip]) {
    nothing_left_but(site, clips, &[]);
}

/// The same with the files of archives.
pub fn nothing_left_but(site: &Site, clips: &[&proto::Clip], archives: &[&proto::Archive]) {
    site.check_left_with(clips, archives);
    assert_eq!(
        processes_of(site),
        Vec::<String>::new(),
        "processes left behind"
    );
}

impl Site {
    /// Checks that the clips folder holds these clips and that nothing unfinished lies anywhere.
    pub fn check_left(&self, clips: &[&proto::Clip]) {
        self.check_left_with(clips, &[]);
    }

    /// The same with what the archive folder holds.
    pub fn check_left_with(&self, clips: &[&proto::Clip], archives: &[&proto::Archive]) {
        let mut zips: Vec<_> = archives
            .iter()
            .map(|made| made.file_name.as_str())
            .collect();
        zips.sort_unstable();
        assert_eq!(
            files_in(&self.archives()),
            zips,
            "files in the archive folder"
        );
        let mut known: Vec<_> = clips.iter().map(|clip| clip.file_name.as_str()).collect();
        known.sort_unstable();
        assert_eq!(self.clip_files(), known, "files in the clips folder");
        // That of a clip which has a file by now is swept later.
        for name in self.kept_layouts() {
            assert!(
                name.starts_with("clip_"),
                "{name} is kept, which is no clip's"
            );
        }
        let scratch = files_in(&self.data().join("scratch"));
        assert_eq!(scratch, Vec::<String>::new(), "files in the scratch folder");
        for name in files_in(&self.data()) {
            let is_known = [
                "archives",
                "clips",
                "restores",
                "scratch",
                "footage.lock",
                "signing_key",
                "signing_keys.pub",
            ]
            .contains(&name.as_str())
                || name.starts_with("heldar.db");
            assert!(is_known, "{name} in the data folder");
        }
    }
}
