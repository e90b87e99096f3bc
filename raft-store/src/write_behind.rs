//! The thread that brings to the index file what was applied, behind the back of those who wait for an answer.
//!
//! ```text
//! wait until enough has changed, or somebody asks ─▶ freeze (apply goes on) ─▶ write all of it, sorted, and the small
//!   state, the applied index and the membership as they were then, in one durable transaction ─▶ drop those layers
//! ```
//!
//! What is not asked for is written with pauses, so that it neither takes the processors from those who apply nor the disk
//! from the log's syncs. Owns that pace; what is applied, and who waits for room, is told in `machine`. Invariant: the
//! file only ever holds a whole state of one index, and a layer goes only after that.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::applied::Applied;
use crate::machine::Shared;
use crate::overlay::{Layer, Merged};
use crate::store::{Reader, Store, StoreError, TableId, Tables};

/// Rows that are written between two pauses.
const ROWS_AT_ONCE: usize = 64;
/// Twice about what those rows take.
const PAUSE: Duration = Duration::from_millis(1);

/// How much nicer than the others the thread is: a third of the weight of one that somebody waits for.
const NICE: i32 = 5;

/// What the thread is asked for.
pub(crate) enum Job {
    /// Enough has changed.
    Due,
    /// Somebody waits until all that was applied so far is durable.
    Checkpoint {
        done: oneshot::Sender<io::Result<()>>,
    },
    Stop,
}

/// A state on its way to the file.
pub(crate) struct Checkpoint {
    pub(crate) store: Arc<Store>,
    pub(crate) layers: Vec<Arc<Layer>>,
    /// Rows of the small state that changed.
    pub(crate) small: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) applied: Applied,
}

/// The body of the thread.
pub(crate) fn run(shared: &Shared, jobs: &mpsc::Receiver<Job>) {
    let _guard = PanicGuard(shared);
    // On Linux this concerns the calling thread alone. Where it is refused, the pauses have to do.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
    while let Ok(job) = jobs.recv() {
        match job {
            // A failure is remembered.
            Job::Due => drop(checkpoint(shared, true)),
            Job::Checkpoint { done } => drop(done.send(checkpoint(shared, false))),
            Job::Stop => return,
        }
    }
}

/// Should the thread panic, whoever waits for room or for a checkpoint is told, instead of waiting for ever.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up("the thread that writes behind panicked");
        }
    }
}

fn checkpoint(shared: &Shared, relaxed: bool) -> io::Result<()> {
    let Some(checkpoint) = shared.begin_checkpoint()? else { return Ok(()) };
    let pace = checkpoint.store.pace();
    pace.relax(relaxed);
    let written = checkpoint.write(|| {
        if shared.is_pressed() {
            pace.relax(false);
        }
        pace.pause(PAUSE);
    });
    shared.end_checkpoint(&checkpoint.applied, written)
}

impl Checkpoint {
    /// Writes it; gives what reads it.
    fn write(&self, pause: impl Fn()) -> Result<Reader, StoreError> {
        self.store.write(true, |tables| {
            for table in [TableId::Objects, TableId::Garbage] {
                self.write_table(tables, table, &pause)?;
            }
            for (key, value) in &self.small {
                tables.put(TableId::Small, key, value.as_deref())?;
            }
            tables.put_applied(&self.applied)
        })?;
        self.store.reader()
    }

    fn write_table(
        &self,
        tables: &mut Tables<'_>,
        table: TableId,
        pause: impl Fn(),
    ) -> Result<(), StoreError> {
        let mut at_once = 0;
        for (key, change) in Merged::new(&self.layers, table, std::ops::Bound::Unbounded) {
            tables.put(table, key, change.as_deref())?;
            at_once += 1;
            if at_once == ROWS_AT_ONCE {
                at_once = 0;
                pause();
            }
        }
        Ok(())
    }
}
