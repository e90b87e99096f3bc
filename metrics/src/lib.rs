//! Counters of what a server did since it started, and how `GET /-/metrics` shows them.
//!
//! All there are stand in one table, so that none can be shown without being described, and each is there from the start,
//! with 0. To count is one addition to a static: no registry, no names looked up, nothing to install. A crate with labels,
//! histograms and exporters would bring a dozen others for that.
//!
//! A counter belongs to the process: of several servers in one (`hayrick dev`), each shows what all of them did. What is
//! counted where is left to the places that count. Looks at nothing. Invariant: a counter never falls, and nothing is ever
//! decided by one.

mod table;

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

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it counts, in one sentence.
    pub fn help(&self) -> &'static str {
        self.help.trim_ascii()
    }

    /// Who shows it.
    pub fn on(&self) -> On {
        self.on
    }
}

/// The counters of a server of this kind, in the text format of Prometheus, version 0.0.4.
pub fn text(of: On) -> String {
    let mut text = String::new();
    for counter in ALL.iter().filter(|counter| counter.on == of || counter.on == On::Both) {
        let (name, help, value) = (counter.name, counter.help(), counter.get());
        // Neither a backslash nor a line break is in a help text, so that nothing is to be escaped.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}")
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
        let names: BTreeSet<&str> = ALL.iter().map(|counter| counter.name()).collect();
        assert_eq!(names.len(), ALL.len(), "no name is taken twice");
        for counter in ALL {
            let (name, help) = (counter.name(), counter.help());
            assert!(name.starts_with("hayrick_") && name.ends_with("_total"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{name}: {help}");
        }
    }

    #[test]
    fn a_server_shows_its_own_counters_and_those_of_both() {
        let (master, volume) = (text(On::Master), text(On::Volume));
        let shown = |text: &str, counter: &Counter| {
            let (name, help) = (counter.name(), counter.help());
            let lines = format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} ");
            text.contains(&lines)
        };
        for counter in ALL {
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
        assert!(text(On::Volume).contains(&line), "{line}");
    }
}
