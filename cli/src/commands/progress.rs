//! How far a command is that takes its time: a bar on a terminal, else a line now and then.
//!
//! Owns standard error while it is shown. What is counted, and what is told in the end, is the command's own. Invariant: a rate
//! is of bytes that were moved, as they go, and of nothing else: what was there already is not in it.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;
use crate::units::bytes;

/// Between two lines where nobody watches a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR: &str = "{wide_bar} {msg}, {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go";
const COUNT: &str = "{spinner} {msg}, {per_sec}";

/// What is waited for is told when it has taken so long; less is no more than a leader that changes.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// Requests that wait so soon after each other wait for the same.
const SAME_WAIT: Duration = Duration::from_secs(5);

/// Things that are done, of those that were found so far.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Cell<Instant>,
    /// Done, and how large all of them.
    done: Cell<Sum>,
    moved_bytes: Cell<u64>,
    /// Of those, of things that are not done.
    under_way_bytes: Cell<u64>,
    found: Arc<Found>,
}

/// What is to be done, as far as is known; whoever finds it may be on another thread.
#[derive(Debug, Default)]
pub(crate) struct Found {
    count: AtomicU64,
    bytes: AtomicU64,
}

/// Tells what is waited for, beside how far it is; from any thread.
#[derive(Debug)]
pub(crate) struct Waits {
    bar: Option<ProgressBar>,
    wait: Mutex<Option<Wait>>,
}

/// One wait, of however many requests.
#[derive(Debug, Clone, Copy)]
struct Wait {
    begun: Instant,
    /// When a request waited last.
    last: Instant,
    told: Option<Instant>,
}

/// How many, and how large all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    bytes: u64,
}

/// One thing that is being moved. It is done when this goes, whether it was moved or not.
pub(crate) struct Moving<'a> {
    progress: &'a Progress,
    size_bytes: u64,
    moved_bytes: Cell<u64>,
}

impl Progress {
    /// Of things with a size, called so in the plural: files.
    pub(crate) fn of_bytes(what: &'static str) -> Self {
        Self::new(what, BAR, ProgressBar::new(0))
    }

    /// Of things that are counted only.
    pub(crate) fn of_count(what: &'static str) -> Self {
        Self::new(what, COUNT, ProgressBar::no_length())
    }

    fn new(what: &'static str, template: &str, bar: ProgressBar) -> Self {
        let style = ProgressStyle::with_template(template).expect("the template is right");
        let bar = stderr().is_terminal().then(|| bar.with_style(style.progress_chars("=> ")));
        let now = Instant::now();
        Self {
            what,
            bar,
            begun: now,
            told: Cell::new(now),
            done: Cell::default(),
            moved_bytes: Cell::default(),
            under_way_bytes: Cell::default(),
            found: Arc::default(),
        }
    }

    /// Where what is to be done is counted.
    pub(crate) fn counter(&self) -> Arc<Found> {
        Arc::clone(&self.found)
    }

    /// Who tells what is waited for meanwhile.
    pub(crate) fn waits(&self) -> Waits {
        Waits { bar: self.bar.clone(), wait: Mutex::default() }
    }

    /// So many more are done, which have no size.
    pub(crate) fn done(&self, count: u64) {
        self.add_done(count, 0);
        self.tell();
    }

    /// Begins one of those that were found.
    pub(crate) fn begin(&self, size_bytes: u64) -> Moving<'_> {
        Moving { progress: self, size_bytes, moved_bytes: Cell::new(0) }
    }

    /// Takes it off the screen.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn add_done(&self, count: u64, bytes: u64) {
        let Sum { count: counted, bytes: summed } = self.done.get();
        self.done.set(Sum { count: counted + count, bytes: summed + bytes });
    }

    fn tell(&self) {
        let Some(bar) = &self.bar else {
            if self.told.get().elapsed() >= LINE_EVERY {
                self.told.set(Instant::now());
                output::noted(&self.line());
            }
            return;
        };
        if bar.length().is_some() {
            bar.set_length(self.to_move_bytes());
            bar.set_position(self.moved_bytes.get());
        } else {
            bar.set_position(self.done.get().count);
        }
        bar.set_message(self.count());
    }

    /// What was moved, and what may be yet: all that was found, less what turned out to need no moving.
    fn to_move_bytes(&self) -> u64 {
        let settled = self.done.get().bytes + self.under_way_bytes.get();
        self.moved_bytes.get() + self.found.sum().bytes.saturating_sub(settled)
    }

    fn count(&self) -> String {
        let (done, found) = (self.done.get().count, self.found.sum().count);
        if found == 0 { format!("{done} {}", self.what) } else { format!("{done} of {found} {}", self.what) }
    }

    fn line(&self) -> String {
        let (done, moved, took) = (self.done.get().count, self.moved_bytes.get(), self.begun.elapsed());
        if self.found.sum().count == 0 {
            return format!("{}, {:.0} a second", self.count(), per_second(done, took));
        }
        let rate = bytes(per_second(moved, took) as u64);
        format!("{}, {} of {}, {rate}/s", self.count(), bytes(moved), bytes(self.to_move_bytes()))
    }
}

impl Found {
    /// One more.
    pub(crate) fn add(&self, bytes: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sum(&self) -> Sum {
        Sum { count: self.count.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

impl Waits {
    /// A request waits for this.
    pub(crate) fn tell(&self, why: &str) {
        if !self.is_due(Instant::now()) {
            return;
        }
        let line = format!("waiting: {why}");
        match &self.bar {
            Some(bar) => bar.suspend(|| output::noted(&line)),
            None => output::noted(&line),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        let same = wait.filter(|wait| now - wait.last < SAME_WAIT);
        let mut current = same.unwrap_or(Wait { begun: now, last: now, told: None });
        current.last = now;
        let is_due =
            now - current.begun >= WAIT_MIN && current.told.is_none_or(|told| now - told >= LINE_EVERY);
        if is_due {
            current.told = Some(now);
        }
        *wait = Some(current);
        is_due
    }
}

impl Moving<'_> {
    /// So many bytes of it were moved by now, those that are moved again counted again.
    pub(crate) fn has_moved(&self, moved_bytes: u64) {
        let more = moved_bytes.saturating_sub(self.moved_bytes.replace(moved_bytes));
        self.progress.moved_bytes.update(|bytes| bytes + more);
        self.progress.under_way_bytes.update(|bytes| bytes + more);
        self.progress.tell();
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.progress.under_way_bytes.update(|bytes| bytes - self.moved_bytes.get());
        self.progress.add_done(1, self.size_bytes);
        self.progress.tell();
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn where_nobody_watches_a_line_tells_how_far_it_is() {
        let files = Progress { bar: None, ..Progress::of_bytes("files") };
        for _ in 0..4 {
            files.counter().add(1 << 20);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        for _ in 0..2 {
            files.begin(1 << 20).has_moved(1 << 20);
        }
        assert_eq!(files.line(), "2 of 4 files, 2.0 MiB of 4.0 MiB, 1.0 MiB/s");
        let objects = Progress { bar: None, ..Progress::of_count("deleted") };
        tokio::time::advance(Duration::from_secs(2)).await;
        objects.done(3000);
        assert_eq!(objects.line(), "3000 deleted, 1500 a second");
    }

    #[test]
    fn what_is_waited_for_is_told_when_it_takes_long_and_now_and_then() {
        let waits = Progress::of_bytes("files").waits();
        let begun = Instant::now();
        let told =
            |seconds: [u64; 9]| seconds.map(|second| waits.is_due(begun + Duration::from_secs(second)));
        assert_eq!(
            told([0, 1, 2, 3, 11, 12, 15, 16, 30]),
            [false, false, true, false, false, false, true, false, false],
            "after 3 s comes a pause, so that the next wait is another one; after 16 s again"
        );
        assert_eq!(
            told([31, 32, 33, 35, 38, 41, 42, 43, 44]),
            [false, true, false, false, false, false, true, false, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_count_as_they_go_and_only_those_that_are_moved() {
        let files = Progress { bar: None, ..Progress::of_bytes("files") };
        for mib in [256, 100, 8] {
            files.counter().add(mib << 20);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        let large = files.begin(256 << 20);
        large.has_moved(2 << 20);
        large.has_moved(4 << 20);
        assert_eq!(files.line(), "0 of 3 files, 4.0 MiB of 364.0 MiB, 2.0 MiB/s");
        // It was there already, ...
        drop(files.begin(100 << 20));
        assert_eq!(files.line(), "1 of 3 files, 4.0 MiB of 264.0 MiB, 2.0 MiB/s");
        // ... one fails at its half, ...
        files.begin(8 << 20).has_moved(4 << 20);
        assert_eq!(files.line(), "2 of 3 files, 8.0 MiB of 260.0 MiB, 4.0 MiB/s");
        // ... and the large one is sent again from its beginning.
        large.has_moved(260 << 20);
        drop(large);
        assert_eq!(files.line(), "3 of 3 files, 264.0 MiB of 264.0 MiB, 132.0 MiB/s");
    }
}
