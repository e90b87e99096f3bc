//! How many connections the process's limit on open files leaves room for.
//!
//! Owns the share of HTTP in that limit; raising it is left to the program. Invariant: however many strangers connect,
//! descriptors are left for files and for the connections between our own processes.

use hayrick_protocol::limits::{HTTP_CONNECTIONS_MAX, PEER_CONNECTIONS_MAX};
use rustix::process::{Resource, getrlimit};

/// What is no HTTP connection: as many as peers may have here, and three times that for the connections to peers and
/// for files, a volume's segments above all.
const RESERVED: usize = 4 * PEER_CONNECTIONS_MAX;

/// How many files a process must be able to open for the limits on connections to be what bounds them.
pub const DESCRIPTORS_WANTED: usize = HTTP_CONNECTIONS_MAX + RESERVED;

/// How many connections one HTTP listener may have open.
pub(crate) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    share(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The limit less the reserve, but never less than half of it.
fn share(descriptors: usize) -> usize {
    let reserved = RESERVED.min(descriptors / 2);
    HTTP_CONNECTIONS_MAX.min(descriptors - reserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(share(usize::MAX), HTTP_CONNECTIONS_MAX);
        assert_eq!(share(DESCRIPTORS_WANTED), HTTP_CONNECTIONS_MAX);
        assert_eq!(share(DESCRIPTORS_WANTED - 1), HTTP_CONNECTIONS_MAX - 1);
        assert_eq!(share(1024), 512);
    }
}
