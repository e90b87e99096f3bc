//! The thread that keeps the segments in order: index files for those that were sealed, compaction, and
//! that what is damaged is written down.
//!
//! Owns what it does when. One segment is worked on at a time, so that none goes while its index file is being written.
//! Invariant: it ends soon after [`Job::Stop`], whatever it is at.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hayrick_disk::FileId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::compact::{Compactor, Pause};
use crate::damage::kept::KeptDamage;
use crate::seal::Indexer;

/// How often it looks whether a segment is worth compacting, and whether damage was found.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much nicer the thread is than those that somebody waits for: a third of their weight.
const NICE: i32 = 5;

/// What the thread is asked for.
pub(crate) enum Job {
    /// An index file for this segment, or for its beginning: up to here.
    Index(FileId, Option<u64>),
    /// To end.
    Stop,
}

/// A segment, and up to where an index file of it is asked for.
type Work = (FileId, Option<u64>);

/// The thread's work.
pub(crate) struct Housekeeper {
    pub(crate) indexer: Indexer,
    pub(crate) compactor: Compactor,
    pub(crate) damage: KeptDamage,
    /// Whether it compacts unasked.
    pub(crate) compacts: bool,
    /// Held while a segment is worked on.
    pub(crate) at_work: Mutex<()>,
}

impl Housekeeper {
    /// Starts the thread.
    pub(crate) fn begin(housekeeper: Arc<Self>, jobs: Receiver<Job>) -> io::Result<JoinHandle<()>> {
        let thread = thread::Builder::new().name("segment-keeper".to_owned());
        thread.spawn(move || {
            // On Linux this concerns the calling thread alone. Where it is refused, the pauses have to do.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICE);
            housekeeper.run(&jobs);
        })
    }

    /// Works until it is stopped.
    pub(crate) fn run(&self, jobs: &Receiver<Job>) {
        let mut waiting: VecDeque<Work> = VecDeque::new();
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            // A segment that was sealed comes first: until it has its index file, a start has to read all of it.
            while let Some((segment, end)) = waiting.pop_front() {
                let _work = self.at_work.lock();
                self.indexer.index(segment, end);
            }
            match jobs.recv_timeout(look_at.saturating_duration_since(Instant::now())) {
                Ok(Job::Index(segment, end)) => waiting.push_back((segment, end)),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.damage.save();
                    let mut goes_on = true;
                    let another = self.compacts
                        && self.compact_one(&mut |duration| {
                            self.damage.save();
                            goes_on = self.pause(jobs, &mut waiting, duration);
                            goes_on
                        });
                    if !goes_on {
                        return;
                    }
                    look_at = Instant::now() + if another { Duration::ZERO } else { LOOK_EVERY };
                }
            }
        }
    }

    /// Writes the index files that are asked for by now.
    pub(crate) fn do_waiting(&self, jobs: &Receiver<Job>) {
        while let Ok(Job::Index(segment, end)) = jobs.try_recv() {
            let _work = self.at_work.lock();
            self.indexer.index(segment, end);
        }
    }

    /// Compacts the segment that is worth it most, if any is. Whether another may be.
    pub(crate) fn compact_one(&self, pause: &mut Pause<'_>) -> bool {
        let _work = self.at_work.lock();
        self.compactor.compact_one(pause)
    }

    /// Waits while a segment is compacted, and takes in what is asked for meanwhile. Whether to go on: not if that was to
    /// end.
    fn pause(&self, jobs: &Receiver<Job>, waiting: &mut VecDeque<Work>, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        loop {
            match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                // The one that is appended to is another than the one at hand, and does not wait for that.
                Ok(Job::Index(segment, end @ Some(_))) => self.indexer.index(segment, end),
                Ok(Job::Index(segment, None)) => waiting.push_back((segment, None)),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }
}
