//! The writer thread: many submissions, one write, one `fdatasync`, then all their callbacks in order.
//!
//! ```text
//! take all that is queued ─▶ stage: copy, pad, seal ─▶ write ─▶ sync ─▶ owner.durable ─▶ callbacks
//!                               └─ the next record does not fit: write, sync, seal the file, go on in the next
//! ```
//!
//! A *run* is what is written to one file at once; its first record is sealed as the first of a batch, because all before
//! it was synced before the run was written. Which bytes make a record is left to the format, and finding the runs again
//! to `recover`. The invariant: no callback gets `Ok` before its records were synced; after one failed write or sync
//! nothing is written any more, and no sync is tried twice.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hayrick_planted::{self as planted, Bug};

use crate::append_file::{AppendFile, HEADER_BYTES};
use crate::format::{DurableRecords, Format, Location, Owner, Record};
use crate::limits::{BATCH_BYTES_MAX, FIRST_RECORDS_BYTES_MAX};
use crate::queue::{AppendDone, Job, ProbeDone, Taken, WRITER_PANICKED};
use crate::recover::{Active, OpenError};
use crate::stall::timed_sync;
use crate::stream::{AppendError, Entry, Shared};
use crate::zero_ahead::{self, NextFileError};

pub(crate) struct Writer<F: Format, O: Owner> {
    shared: Arc<Shared>,
    owner: O,
    active: Option<Active>,
    /// The run that is being staged; it begins at the end of the active file.
    run: Vec<u8>,
    /// Where the run's records will lie, without first records and marks.
    run_locations: Vec<Location>,
    /// Runs and marks synced so far.
    syncs: u64,
    mark_len: u64,
    format: PhantomData<F>,
}

/// Why a batch stops.
enum Stop {
    /// There is no next file; nothing was changed.
    Refused(AppendError),
    Broken(io::Error),
}

impl From<NextFileError> for Stop {
    fn from(error: NextFileError) -> Self {
        match error {
            NextFileError::Full(full) => Self::Refused(full),
            NextFileError::Disk(error) => Self::Refused(no_next_file(&error)),
        }
    }
}

fn no_next_file(error: &io::Error) -> AppendError {
    AppendError::NoNextFile { cause: error.to_string().into() }
}

/// A job that only waits for its answer.
pub(crate) enum Answer {
    Append(AppendDone, Result<Vec<Location>, AppendError>),
    Probe(ProbeDone),
}

impl<F: Format, O: Owner> Writer<F, O> {
    pub(crate) fn new(shared: Arc<Shared>, owner: O, active: Option<Active>) -> Self {
        Self {
            shared,
            owner,
            active,
            run: Vec::new(),
            run_locations: Vec::new(),
            syncs: 0,
            mark_len: F::mark().len() as u64,
            format: PhantomData,
        }
    }

    /// Makes the first file, if there is none to append to. A full disk is no reason not to open: what is there can be
    /// read, and removed.
    pub(crate) fn begin(&mut self) -> Result<(), OpenError> {
        if self.active.is_some() {
            // Which of the files were made of the reserve is not written anywhere: when it is not whole, the last was.
            let in_reserve = self.shared.options.keeps_reserve && self.reserve_is_broken();
            self.set_in_reserve(in_reserve);
            return Ok(());
        }
        match zero_ahead::next_file::<F>(&self.shared, self.shared.options.file_bytes(), false) {
            Ok(file) => self.activate(file),
            Err(NextFileError::Full(full)) => tracing::warn!(%full, "opened an append stream without room"),
            Err(NextFileError::Disk(error)) => {
                return Err(OpenError::io("make a file in", &self.shared.options.dir)(error));
            }
        }
        Ok(())
    }

    /// The body of the writer thread: ends when the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        let mut jobs = Vec::new();
        let mut answers = Vec::new();
        loop {
            let idle_after = self.wants_mark().then_some(self.shared.options.idle_mark_after);
            match self.shared.queue.take(&mut jobs, idle_after) {
                Taken::Batch => self.commit(&mut jobs, &mut answers),
                Taken::Idle => self.leave_mark(),
                Taken::Closed => {
                    if self.wants_mark() {
                        self.leave_mark();
                    }
                    return;
                }
            }
        }
    }

    /// Stages all jobs, makes them durable, and answers them in order.
    pub(crate) fn commit(&mut self, jobs: &mut Vec<Job>, answers: &mut Vec<Answer>) {
        let syncs_before = self.syncs;
        let mut refused = None;
        for job in jobs.drain(..) {
            match job {
                Job::Append { records, reserve, done, .. } => {
                    let outcome = self.append(&records, reserve, &mut refused);
                    answers.push(Answer::Append(done, outcome));
                }
                Job::Probe { done } => answers.push(Answer::Probe(done)),
                Job::Rotate => {
                    let rotated = if self.poisoned().is_none() { self.rotate() } else { Ok(()) };
                    let _ = rotated.map_err(|error| self.poison(&error));
                }
            }
        }
        if self.poisoned().is_none() {
            let _ = self.flush().map_err(|error| self.poison(&error));
        }
        for answer in answers.drain(..) {
            match answer {
                Answer::Append(done, outcome) => done.call(self.unless_poisoned(outcome)),
                Answer::Probe(done) => {
                    let outcome = if self.syncs > syncs_before { Ok(()) } else { self.probe() };
                    done.call(self.unless_poisoned(outcome));
                }
            }
        }
        if self.run.capacity() > 2 * BATCH_BYTES_MAX {
            self.run.shrink_to(BATCH_BYTES_MAX);
        }
    }

    /// Stages one submission. Once one was refused for want of a file, so are those behind it.
    fn append(
        &mut self,
        records: &[Record],
        reserve: bool,
        refused: &mut Option<AppendError>,
    ) -> Result<Vec<Location>, AppendError> {
        if let Some(poisoned) = self.poisoned() {
            return Err(poisoned);
        }
        match refused {
            Some(refused) if !reserve && !records.is_empty() => return Err(refused.clone()),
            _ => {}
        }
        self.stage(records, reserve).map_err(|stop| match stop {
            Stop::Refused(error) => refused.insert(error).clone(),
            Stop::Broken(error) => self.poison(&error),
        })
    }

    /// Copies the records to the run, and goes on to the next file when one does not fit.
    fn stage(&mut self, records: &[Record], reserve: bool) -> Result<Vec<Location>, Stop> {
        if self.in_reserve() && !reserve && !records.is_empty() {
            self.leave_reserve()?;
        }
        let before = (self.run.len(), self.run_locations.len());
        let mut locations = Vec::with_capacity(records.len());
        for record in records {
            let len = record.padded_len();
            if self.run.is_empty() {
                self.begin_run().map_err(Stop::Broken)?;
            }
            if !self.fits(len) {
                // A submission crosses at most once: several records together are bounded by half of a file, and what does
                // not fit an empty file gets a file that it fits. So what is taken back was never written.
                if let Err(stop) = self.cross(len, reserve) {
                    self.run.truncate(before.0);
                    self.run_locations.truncate(before.1);
                    return Err(stop);
                }
            }
            locations.push(self.put(record, len));
        }
        Ok(locations)
    }

    /// Whether a record fits the active file, and a mark behind it.
    fn fits(&self, len: usize) -> bool {
        let staged = (self.run.len() + len) as u64;
        self.active
            .as_ref()
            .is_some_and(|active| active.end + staged + self.mark_len <= active.file.capacity())
    }

    /// Copies a record to the end of the run, pads and seals it. There is an active file, and it fits.
    fn put(&mut self, record: &Record, len: usize) -> Location {
        let active = self.active.as_ref().expect("a record is put where it fits");
        let start = self.run.len();
        for chunk in &record.0 {
            self.run.extend_from_slice(chunk);
        }
        self.run.resize(start + len, 0);
        let offset = active.end + start as u64;
        let salt = active.file.salt_at(offset);
        F::seal(&mut self.run[start..], salt, start == 0);
        debug_assert_eq!(
            F::head(&self.run[start..start + F::HEADER_LEN], salt).map(|head| head.len),
            Some(len),
            "the format must read back what it sealed"
        );
        let len = u32::try_from(len).expect("submit refuses what is too long");
        let location = Location { file: active.file.id(), offset, len };
        self.run_locations.push(location);
        location
    }

    /// Puts what the owner wants to stand first in a file, if that is not there yet.
    fn begin_run(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_ref().filter(|active| active.first_due) else { return Ok(()) };
        let records = self.owner.first_records(active.file.id());
        let bytes: u64 = records.iter().map(|record| record.len().next_multiple_of(8) as u64).sum();
        if bytes > FIRST_RECORDS_BYTES_MAX {
            return Err(io::Error::other(format!(
                "first records of {bytes} bytes exceed {FIRST_RECORDS_BYTES_MAX}"
            )));
        }
        for record in records {
            let record = Record::from(record);
            self.put(&record, record.padded_len());
        }
        self.run_locations.clear();
        Ok(())
    }

    /// Goes on in the next file. That is had before anything else, so that a failure to make it changes nothing.
    fn cross(&mut self, len: usize, reserve: bool) -> Result<(), Stop> {
        let wanted = HEADER_BYTES + FIRST_RECORDS_BYTES_MAX + len as u64 + self.mark_len;
        let capacity = self.shared.options.file_bytes().max(wanted.next_multiple_of(HEADER_BYTES));
        let shared = Arc::clone(&self.shared);
        let next = shared.stall.watch(|| zero_ahead::next_file::<F>(&shared, capacity, reserve));
        let next = next.map_err(|error| match error {
            NextFileError::Disk(error) if !shared.options.records_stand_alone => Stop::Broken(error),
            error => error.into(),
        })?;
        self.flush().and_then(|()| self.seal_active()).map_err(Stop::Broken)?;
        self.activate(next);
        self.set_in_reserve(reserve && self.reserve_is_broken());
        self.begin_run().map_err(Stop::Broken)
    }

    /// An ordinary append may use a file made of the reserve only once the reserve is whole again.
    fn leave_reserve(&mut self) -> Result<(), Stop> {
        let free_bytes =
            zero_ahead::free_bytes(&self.shared).map_err(|error| Stop::Refused(no_next_file(&error)))?;
        let reserve_bytes = self.shared.options.reserve_bytes;
        if free_bytes < reserve_bytes {
            let used_bytes = self.shared.allocated_bytes.load(Ordering::Relaxed);
            return Err(Stop::Refused(AppendError::Full {
                needed_bytes: 0,
                used_bytes,
                free_bytes,
                reserve_bytes,
            }));
        }
        self.set_in_reserve(false);
        Ok(())
    }

    fn in_reserve(&self) -> bool {
        self.shared.in_reserve.load(Ordering::Relaxed)
    }

    fn set_in_reserve(&self, in_reserve: bool) {
        self.shared.in_reserve.store(in_reserve, Ordering::Relaxed);
    }

    /// Whether less is free than the reserve; also when that cannot be told, so that it is never used up by mistake.
    fn reserve_is_broken(&self) -> bool {
        zero_ahead::free_bytes(&self.shared).map_or(true, |free| free < self.shared.options.reserve_bytes)
    }

    fn activate(&mut self, file: Arc<AppendFile>) {
        let entry = Entry { bytes: file.capacity(), file: Some(Arc::clone(&file)) };
        self.shared.files.write().insert(file.id(), entry);
        *self.shared.active.lock() = Some(Arc::clone(&file));
        self.active = Some(Active { file, end: HEADER_BYTES, marked: true, first_due: true });
        self.set_in_reserve(false);
        self.shared.ahead.nudge();
    }

    /// Writes and syncs the run.
    fn flush(&mut self) -> io::Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let active = self.active.as_mut().expect("a run is staged for an active file");
        let start = active.end;
        self.shared.stall.watch(|| {
            active.file.write_run(&self.run, start)?;
            sync(&active.file)
        })?;
        let run_bytes = self.run.len() as u64;
        active.end += run_bytes;
        active.marked = false;
        active.first_due = false;
        active.file.set_end(active.end);
        self.syncs += 1;
        let of_late = self.shared.run_bytes.load(Ordering::Relaxed);
        self.shared.run_bytes.store((3 * of_late + run_bytes) / 4, Ordering::Relaxed);
        let piece = self.shared.options.zero_ahead_bytes;
        if piece > 0 && start / piece != active.end / piece {
            self.shared.ahead.nudge();
        }
        let records = DurableRecords { bytes: &self.run, start, locations: &self.run_locations };
        if !records.locations.is_empty() {
            self.owner.durable(records);
        }
        self.run.clear();
        self.run_locations.clear();
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.active.as_ref().is_some_and(|active| active.end > HEADER_BYTES) {
            self.seal_active()
        } else {
            Ok(())
        }
    }

    /// Ends the active file, all of which is synced, with a mark and a seal.
    fn seal_active(&mut self) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        let (file, end) = (active.file, active.end);
        self.shared.stall.watch(|| {
            if !active.marked && end + self.mark_len <= file.capacity() {
                file.write_run(&sealed_mark::<F>(&file, end), end)?;
            }
            file.write_seal(end)?;
            file.file().sync_data()
        })?;
        file.set_sealed();
        *self.shared.active.lock() = None;
        self.owner.sealed(file.id(), end);
        Ok(())
    }

    pub(crate) fn wants_mark(&self) -> bool {
        let fits = |active: &Active| active.end + self.mark_len <= active.file.capacity();
        self.shared.poison.get().is_none()
            && self.active.as_ref().is_some_and(|active| !active.marked && fits(active))
    }

    pub(crate) fn leave_mark(&mut self) {
        let _ = self.append_mark().map_err(|error| self.poison(&error));
    }

    /// Appends and syncs a mark: a batch of its own. There is an active file, and it fits.
    fn append_mark(&mut self) -> io::Result<()> {
        let active = self.active.as_mut().expect("a mark goes to an active file");
        let mark = sealed_mark::<F>(&active.file, active.end);
        self.shared.stall.watch(|| {
            active.file.write_run(&mark, active.end)?;
            sync(&active.file)
        })?;
        active.end += self.mark_len;
        active.marked = true;
        active.file.set_end(active.end);
        self.syncs += 1;
        Ok(())
    }

    /// A durable append of a mark, in the next file if it does not fit this one. Where there is no room for more marks,
    /// the last one is written once more: a full stream must still show that it can write, and probes must not take what
    /// is kept for those who make room.
    fn probe(&mut self) -> Result<(), AppendError> {
        if let Some(poisoned) = self.poisoned() {
            return Err(poisoned);
        }
        if self.in_reserve() && self.ends_with_mark() {
            return self.rewrite_mark().map_err(|error| self.poison(&error));
        }
        let probed = if self.fits(0) { self.begin_run().map_err(Stop::Broken) } else { self.cross(0, false) };
        let syncs_before = self.syncs;
        probed
            .and_then(|()| self.flush().map_err(Stop::Broken))
            .and_then(|()| {
                // First records of a new file, just synced, are a durable append too.
                if self.syncs > syncs_before { Ok(()) } else { self.append_mark().map_err(Stop::Broken) }
            })
            .or_else(|stop| match stop {
                Stop::Refused(_) if self.ends_with_mark() => {
                    self.rewrite_mark().map_err(|error| self.poison(&error))
                }
                Stop::Refused(refused) => Err(refused),
                Stop::Broken(error) => Err(self.poison(&error)),
            })
    }

    fn ends_with_mark(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.marked && active.end > HEADER_BYTES)
    }

    /// Writes and syncs the last mark once more, with the same bytes. There is an active file, and it ends with a mark.
    fn rewrite_mark(&mut self) -> io::Result<()> {
        let active = self.active.as_ref().expect("it ends with a mark");
        let offset = active.end - self.mark_len;
        let mark = sealed_mark::<F>(&active.file, offset);
        self.shared.stall.watch(|| {
            active.file.file().write_all_at(&mark, offset)?;
            active.file.file().sync_data()
        })?;
        self.syncs += 1;
        Ok(())
    }

    /// Remembers the first failure for good.
    fn poison(&mut self, error: &io::Error) -> AppendError {
        if planted::is(Bug::FailedWriteForgotten) {
            self.run.clear();
            self.run_locations.clear();
            return no_next_file(error);
        }
        let at = self
            .active
            .as_ref()
            .map_or_else(|| self.shared.options.dir.clone(), |a| a.file.path().to_owned());
        let cause = self.shared.poison_by(&at, error);
        self.run.clear();
        self.run_locations.clear();
        poisoned_by(&self.shared).unwrap_or(AppendError::Poisoned { cause })
    }

    fn poisoned(&self) -> Option<AppendError> {
        poisoned_by(&self.shared)
    }

    fn unless_poisoned<T>(&self, outcome: Result<T, AppendError>) -> Result<T, AppendError> {
        self.poisoned().map_or(outcome, Err)
    }
}

/// Makes what was appended to the file durable.
fn sync(file: &AppendFile) -> io::Result<()> {
    if planted::is(Bug::SkipSync) {
        return Ok(());
    }
    let synced = timed_sync(|| file.file().sync_data());
    if planted::is(Bug::RetryFailedSync) { synced.or_else(|_| file.file().sync_data()) } else { synced }
}

fn poisoned_by(shared: &Shared) -> Option<AppendError> {
    shared.poison.get().map(|cause| AppendError::Poisoned { cause: Arc::clone(cause) })
}

fn sealed_mark<F: Format>(file: &AppendFile, offset: u64) -> Vec<u8> {
    let mut mark = F::mark();
    F::seal(&mut mark, file.salt_at(offset), true);
    mark
}

/// Should the owner or a callback panic, whoever waits is told, instead of waiting for ever.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let _ = self.0.poison.set(WRITER_PANICKED.into());
        // Their callbacks are told as they are dropped, as were those that the writer had taken.
        drop(self.0.queue.abandon());
    }
}
