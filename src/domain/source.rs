//! Sources: the root folders below which recorders write.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A root folder, how paths below it are to be read, and the zone of the times in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Short name, for example `recordings`; it stands in answers in place of the server's path.
    pub id: String,
    /// Absolute path of the root folder.
    pub root: PathBuf,
    /// A named layout or a path template.
    pub layout: String,
    /// Zone of the local times in names: `UTC`, an IANA name or a fixed offset.
    pub zone: String,
    /// Whether the server follows the folder while it grows.
    pub follow: bool,
    /// When the catalog first knew it.
    pub create_time: DateTime<Utc>,
}

/// The work of an import job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportSpec {
    /// The source to read.
    pub source_id: String,
}
