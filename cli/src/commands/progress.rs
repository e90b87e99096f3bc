//! How far a command is that takes its time: a bar on a terminal, else a line now and then.
//!
//! Owns standard error while it is shown. What is counted, and what is told in the end, is the command's own.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;
use crate::units::bytes;

/// Between two lines where nobody watches a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR: &str = "{wide_bar} {msg}, {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go";
const COUNT: &str = "{spinner} {msg}, {per_sec}";

/// Things that are done, of those that were found so far.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    begun: Instant,
    told: Cell<Instant>,
    done: Cell<Sum>,
    found: Arc<Found>,
}

/// What is to be done, as far as is known; whoever finds it may be on another thread.
#[derive(Debug, Default)]
pub(crate) struct Found {
    count: AtomicU64,
    bytes: AtomicU64,
}

/// How many, and how large all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    bytes: u64,
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
        Self { what, bar, begun: now, told: Cell::new(now), done: Cell::default(), found: Arc::default() }
    }

    /// Where what is to be done is counted.
    pub(crate) fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found)
    }

    /// So many were done, of so many bytes together.
    pub(crate) fn done(&self, count: u64, bytes: u64) {
        self.done.set(self.done.get().and(count, bytes));
        let Some(bar) = &self.bar else {
            if self.told.get().elapsed() >= LINE_EVERY {
                self.told.set(Instant::now());
                output::noted(&self.line());
            }
            return;
        };
        if bar.length().is_some() {
            bar.set_length(self.found.sum().bytes);
            bar.inc(bytes);
        } else {
            bar.inc(count);
        }
        bar.set_message(self.count());
    }

    /// Takes it off the screen.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn count(&self) -> String {
        let (done, found) = (self.done.get().count, self.found.sum().count);
        if found == 0 { format!("{done} {}", self.what) } else { format!("{done} of {found} {}", self.what) }
    }

    fn line(&self) -> String {
        let (done, found, took) = (self.done.get(), self.found.sum(), self.begun.elapsed());
        if found.count == 0 {
            return format!("{}, {:.0} a second", self.count(), per_second(done.count, took));
        }
        let rate = bytes(per_second(done.bytes, took) as u64);
        format!("{}, {} of {}, {rate}/s", self.count(), bytes(done.bytes), bytes(found.bytes))
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

impl Sum {
    fn and(self, count: u64, bytes: u64) -> Self {
        Self { count: self.count + count, bytes: self.bytes + bytes }
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
            files.found().add(1 << 20);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        files.done(2, 2 << 20);
        assert_eq!(files.line(), "2 of 4 files, 2.0 MiB of 4.0 MiB, 1.0 MiB/s");
        let objects = Progress { bar: None, ..Progress::of_count("deleted") };
        tokio::time::advance(Duration::from_secs(2)).await;
        objects.done(3000, 0);
        assert_eq!(objects.line(), "3000 deleted, 1500 a second");
    }
}
