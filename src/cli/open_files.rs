//! How many files this process may have open, and room for them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// An archive holds all of its sources open: as many files as the system lets this process have.
pub(super) fn allow() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files cannot be raised; large archives open their sources late");
    }
    make_room();
}

/// The table of open files doubles when it is full, and each time waits until every processor has let go of the old one. A
/// clip of an hour would wait some 15 ms for that, so the table is made large before anyone waits: as large as its highest
/// descriptor asks.
fn make_room() {
    const HIGHEST: i32 = 4_095;
    let limit = getrlimit(Resource::Nofile).current;
    let allowed = limit.and_then(|limit| i32::try_from(limit).ok());
    let highest = allowed.map_or(HIGHEST, |allowed| HIGHEST.min(allowed - 1));
    if let Err(error) = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest) {
        debug!(%error, "the table of open files grows when it has to");
    }
}
