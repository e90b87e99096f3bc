//! Starts a real cluster, loads it, breaks it on a seeded schedule, and says with evidence whether its promises held.
//!
//! A run has three parts that know nothing of each other: `workload` and `faults` make a [`record::Record`], the checkers
//! judge it, and the report draws it. A record is complete: it can be stored, judged again, and drawn again.

pub mod bugs;
pub mod checkers;
pub mod clock;
pub mod document;
pub mod faults;
pub mod history;
pub mod kept;
pub mod mixes;
pub mod prove;
mod quiet;
pub mod record;
pub mod relay;
pub mod report;
pub mod scene;
pub mod self_test;
mod steady;
pub mod verdict;
pub mod watch;
pub mod workload;
