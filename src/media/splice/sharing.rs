//! Whether a copy by the kernel may be more than a copy: file systems that let files share bytes, and servers that copy by
//! themselves. Elsewhere the kernel moves every byte as well, and the hash has to read them a second time.

use std::fs::File;

use rustix::fs::fstatfs;

/// Magic numbers of such file systems (linux/magic.h and the sources of ZFS and bcachefs).
const SHARING: [u32; 10] = [
    0x9123_683e, // Btrfs
    0x5846_5342, // XFS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x7461_636f, // OCFS2
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x00c3_6400, // Ceph
    0x6573_5546, // FUSE
];

/// Whether copies into this file may take no moving of bytes.
pub(in crate::media) fn may_share(out: &File) -> bool {
    // The field is as wide as a word of the machine, the numbers never are wider than this.
    fstatfs(out).is_ok_and(|found| SHARING.contains(&(found.f_type as u32)))
}
