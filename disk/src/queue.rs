//! The bounded queue between those who append and the writer thread. It orders and bounds; what a job means is left to
//! `group_commit`. Probes come first, so that a stream with much to write is not taken for one that cannot. The
//! invariant: a job that was accepted is taken by the writer in its turn, also after `close`.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::format::{Location, Record};
use crate::limits::{BATCH_BYTES_MAX, BATCH_SUBMISSIONS_MAX, PROBES_MAX};
use crate::stream::{AppendError, SubmitError};

/// Told the outcome of a submission.
pub(crate) type AppendDone = Done<Vec<Location>>;
/// Told the outcome of a probe.
pub(crate) type ProbeDone = Done<()>;

type Callback<T> = Box<dyn FnOnce(Result<T, AppendError>) + Send>;

/// A callback that is called in any case: should it be dropped uncalled, because the writer thread panicked, it is told
/// so, instead of leaving those who wait behind it waiting for ever.
pub(crate) struct Done<T>(Option<Callback<T>>);

impl<T> Done<T> {
    pub(crate) fn new(callback: impl FnOnce(Result<T, AppendError>) + Send + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    pub(crate) fn call(mut self, outcome: Result<T, AppendError>) {
        if let Some(callback) = self.0.take() {
            callback(outcome);
        }
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(AppendError::Poisoned { cause: WRITER_PANICKED.into() }));
        }
    }
}

/// Why nothing is written any more, when a callback or the owner panicked.
pub(crate) const WRITER_PANICKED: &str = "the writer thread panicked";

pub(crate) enum Job {
    Append { records: Vec<Record>, bytes: usize, reserve: bool, done: AppendDone },
    Probe { done: ProbeDone },
    Rotate,
}

impl Job {
    /// Lets go of the callback uncalled: the job was not taken in.
    fn refuse(self) {
        match self {
            Self::Append { mut done, .. } => drop(done.0.take()),
            Self::Probe { mut done } => drop(done.0.take()),
            Self::Rotate => {}
        }
    }

    fn bytes(&self) -> usize {
        if let Self::Append { bytes, .. } = self { *bytes } else { 0 }
    }

    fn records(&self) -> usize {
        match self {
            Self::Append { records, .. } => records.len().max(1),
            Self::Rotate => 1,
            Self::Probe { .. } => 0,
        }
    }
}

/// What the writer finds when it looks for work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Jobs were moved out.
    Batch,
    /// Nothing came for the time it was to wait.
    Idle,
    /// Closed, and empty.
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    bytes_max: usize,
    records_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    records: usize,
    /// How many of the jobs, all of them in front, are probes.
    probes: usize,
    writer_waits: bool,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize, records_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), bytes_max, records_max }
    }

    /// Takes a job in; an empty queue takes one of any size, and probes have a bound of their own.
    pub(crate) fn push(&self, job: Job) -> Result<(), SubmitError> {
        let (bytes, records) = (job.bytes(), job.records());
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            job.refuse();
            return Err(SubmitError::Closed);
        }
        let is_probe = matches!(job, Job::Probe { .. });
        let full = if is_probe {
            state.probes >= PROBES_MAX
        } else {
            state.jobs.len() > state.probes
                && (state.bytes.saturating_add(bytes) > self.bytes_max
                    || state.records.saturating_add(records) > self.records_max)
        };
        if full {
            let error = SubmitError::QueueFull { bytes: state.bytes, records: state.records };
            drop(state);
            job.refuse();
            return Err(error);
        }
        state.bytes += bytes;
        state.records += records;
        if is_probe {
            state.probes += 1;
            state.jobs.push_front(job);
        } else {
            state.jobs.push_back(job);
        }
        if state.writer_waits {
            state.writer_waits = false;
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Moves the next batch of jobs into `batch`: all that is queued, up to the bounds of a batch, at least one. Waits at
    /// most `idle_after` if that is given.
    pub(crate) fn take(&self, batch: &mut Vec<Job>, idle_after: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.writer_waits = true;
            let timed_out = match idle_after {
                Some(limit) => self.arrived.wait_for(&mut state, limit).timed_out(),
                None => {
                    self.arrived.wait(&mut state);
                    false
                }
            };
            state.writer_waits = false;
            if timed_out && state.jobs.is_empty() && !state.closed {
                return Taken::Idle;
            }
        }
        let mut bytes = 0;
        while let Some(job) = state.jobs.front() {
            let more = bytes + job.bytes();
            if !batch.is_empty() && (more > BATCH_BYTES_MAX || batch.len() >= BATCH_SUBMISSIONS_MAX) {
                break;
            }
            bytes = more;
            let job = state.jobs.pop_front().expect("it has a front");
            state.records -= job.records();
            state.probes -= usize::from(matches!(job, Job::Probe { .. }));
            batch.push(job);
        }
        state.bytes -= bytes;
        Taken::Batch
    }

    /// Takes nothing in any more, and wakes the writer.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Closes and gives back what is queued: for a writer that ends before its time.
    pub(crate) fn abandon(&self) -> VecDeque<Job> {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        state.records = 0;
        state.probes = 0;
        std::mem::take(&mut state.jobs)
    }

    /// Bytes and records that wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes, state.records)
    }
}
