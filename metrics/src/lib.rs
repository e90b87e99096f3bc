//! What a server did since it started and how long it took, what it is now, and how `GET /-/metrics` shows that.
//!
//! All there are stand in one table, so that none can be shown without being described. Counters and histograms are there
//! from the start, with 0. To count is an addition to a static: no registry, no names looked up, nothing to install. A crate
//! with labels and exporters would bring a dozen others for that.
//!
//! Counters and histograms belong to the process: of several servers in one (`hayrick dev`), each shows what all of them did.
//! Gauges are given by the server that is asked. What is counted where is left to the places that count. Looks at nothing but
//! this process. Invariant: a counter never falls, and nothing is ever decided by one.

/// What every kind of them is asked for.
macro_rules! described {
    ($kind:ident) => {
        impl $kind {
            /// What it is called.
            pub fn name(&self) -> &'static str {
                self.name
            }

            /// What it tells, in one sentence.
            pub fn help(&self) -> &'static str {
                self.help.trim_ascii()
            }

            /// Who shows it.
            pub fn on(&self) -> On {
                self.on
            }
        }
    };
}

mod gauge;
mod histogram;
mod table;

pub use gauge::{Gauge, of_process};
pub use histogram::Histogram;
pub use table::*;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the answer is, to whoever scrapes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which servers show a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Masters.
    Master,
    /// Volumes.
    Volume,
    /// Both.
    Both,
}

/// How often something happened since the process started.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    on: On,
    value: AtomicU64,
}

described!(Counter);

impl Counter {
    const fn new(name: &'static str, help: &'static str, on: On) -> Self {
        Self { name, help, on, value: AtomicU64::new(0) }
    }

    /// It happened once more.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// It happened so often.
    #[inline]
    pub fn add(&self, times: u64) {
        // Nothing hangs on it, so it need not come before or after anything.
        self.value.fetch_add(times, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// All that a server of this kind shows, with its gauges as they are now, in the text format of Prometheus, version 0.0.4.
pub fn text(of: On, gauges: &[(&'static Gauge, f64)]) -> String {
    let is_shown = |on: On| on == of || on == On::Both;
    let mut text = String::new();
    // Neither a backslash nor a line break is in a help text, so that nothing is to be escaped.
    for counter in COUNTERS.iter().filter(|counter| is_shown(counter.on)) {
        let (name, help, value) = (counter.name, counter.help(), counter.get());
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}")
            .expect("a string takes all");
    }
    HISTOGRAMS.iter().filter(|histogram| is_shown(histogram.on())).for_each(|it| it.write(&mut text));
    for (gauge, value) in gauges {
        let (name, help) = (gauge.name(), gauge.help());
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")
            .expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_in_the_style_of_the_field_and_each_is_described() {
        let counters = COUNTERS.iter().map(|it| (it.name(), it.help(), "_total"));
        let histograms = HISTOGRAMS.iter().map(|it| (it.name(), it.help(), "_seconds"));
        let gauges = GAUGES.iter().map(|it| (it.name(), it.help(), ""));
        let all: Vec<_> = counters.chain(histograms).chain(gauges).collect();
        let names: BTreeSet<&str> = all.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), all.len(), "no name is taken twice");
        for (name, help, ending) in all {
            let of_the_process = name.starts_with("process_");
            assert!((name.starts_with("hayrick_") || of_the_process) && name.ends_with(ending), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}: {help}");
        }
    }

    #[test]
    fn a_server_shows_its_own_counters_and_those_of_both() {
        let (master, volume) = (text(On::Master, &[]), text(On::Volume, &[]));
        let shown = |text: &str, counter: &Counter| {
            let (name, help) = (counter.name(), counter.help());
            let lines = format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} ");
            text.contains(&lines)
        };
        for counter in COUNTERS {
            assert_eq!(shown(&master, counter), counter.on() != On::Volume, "{}", counter.name());
            assert_eq!(shown(&volume, counter), counter.on() != On::Master, "{}", counter.name());
        }
    }

    #[test]
    fn what_was_counted_is_shown() {
        let before = RPC_TIMEOUTS.get();
        RPC_TIMEOUTS.increment();
        RPC_TIMEOUTS.add(2);
        let line = format!("\n{} {}\n", RPC_TIMEOUTS.name(), before + 3);
        assert!(text(On::Volume, &[]).contains(&line), "{line}");
        let is_leader = text(On::Master, &[(&RAFT_IS_LEADER, 1.0)]);
        let lines = format!("# TYPE {0} gauge\n{0} 1\n", RAFT_IS_LEADER.name());
        assert!(is_leader.contains(&lines), "{is_leader}");
    }
}
