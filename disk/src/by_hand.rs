//! A stream without threads, for tests that must do the same to the disk each time: the work of the threads is done when
//! the test says so, on its own thread.
//!
//! The work itself is that of the threads: a batch is `group_commit`'s, a step of preparing `zero_ahead`'s. The invariant:
//! nothing is written but in a call of these.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::format::{Format, Owner};
use crate::group_commit::Writer;
use crate::queue::Taken;
use crate::stream::Shared;
use crate::zero_ahead::{Prepared, Zeroing, one_step};

/// What the threads would do, in the hands of the callers.
pub(crate) struct ByHand(Mutex<Box<dyn Hands>>);

/// The work of both threads, whoever the owner is.
trait Hands: Send {
    fn write(&mut self);
    fn leave_mark(&mut self);
    fn prepare(&mut self) -> Prepared;
}

struct Both<F: Format, O: Owner> {
    shared: Arc<Shared>,
    writer: Writer<F, O>,
    zeroing: Zeroing,
}

impl<F: Format, O: Owner> Hands for Both<F, O> {
    fn write(&mut self) {
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        while self.shared.queue.take(&mut jobs, Some(Duration::ZERO)) == Taken::Batch {
            self.writer.commit(&mut jobs, &mut answers);
        }
    }

    fn leave_mark(&mut self) {
        if self.writer.wants_mark() {
            self.writer.leave_mark();
        }
    }

    fn prepare(&mut self) -> Prepared {
        one_step::<F>(&self.shared, &mut self.zeroing)
    }
}

impl ByHand {
    pub(crate) fn new<F: Format, O: Owner>(shared: Arc<Shared>, writer: Writer<F, O>) -> Self {
        let both = Both { shared, writer, zeroing: Zeroing::default() };
        Self(Mutex::new(Box::new(both)))
    }

    /// Writes what is queued.
    pub(crate) fn write(&self) {
        self.0.lock().write();
    }

    /// Leaves the mark that is due.
    pub(crate) fn leave_mark(&self) {
        self.0.lock().leave_mark();
    }

    /// One step of preparing; whether there was anything to do.
    pub(crate) fn prepare(&self) -> bool {
        matches!(self.0.lock().prepare(), Prepared::File | Prepared::Piece)
    }
}
