//! The limit on open files, which must be above what our own limits on connections and files add up to.
//!
//! Owns the raising of the soft limit, which is 1024 in most shells; the hard one is the operator's.

use hayrick_web::DESCRIPTORS_WANTED;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says so if that is too little.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    if let Some(limit) = limit.filter(|limit| *limit < DESCRIPTORS_WANTED as u64) {
        tracing::warn!(
            "this process may open only {limit} files, and serves fewer connections for it; let it open \
             {DESCRIPTORS_WANTED} (ulimit -Hn, or LimitNOFILE= of systemd)"
        );
    }
}
