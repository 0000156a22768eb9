//! How recorders lay out footage on disk: names, times and when a file is finished.
//!
//! A source is a root folder, a [`PathTemplate`], a [`SourceZone`] and a [`ClosedRule`]. The key
//! of a segment is its whole path relative to the root, never its base name: some recorders use
//! the same base names each hour. A modification time alone never dates a segment.
//!
//! Nothing here touches a disk; `work::scan` walks the folders.

mod closed;
mod file_name;
mod named;
mod path_match;
mod template;
mod zone;

pub use closed::{ClosedRule, Closing, WrittenFile};
pub use file_name::{FileNameKind, VIDEO_EXTENSIONS};
pub use named::NamedLayout;
pub use path_match::{PathMatch, UnsafePath, WhyNot, check_relative_path};
pub use template::{PATH_MAX_BYTES, PathTemplate, TemplateError};
pub use zone::{NameTime, SourceTime, SourceZone, TimeError, ZoneError};

#[cfg(test)]
mod tests;
