//! Starts, finds and ends real Hayrick server processes.
//!
//! Owns the processes of one cluster on this machine: their ports, arguments, log files and signals. It is given the
//! binary and looks at no other crate: what the servers do it only knows from cli.md's flags, their `listening:` line and
//! `GET /-/ready`. Invariants: a signal is only ever sent to a process that this crate started and has not yet
//! reaped, or by [`end_left_over`] to one that an owner left behind who was killed; whatever was started is ended when its
//! [`Cluster`] is dropped.
//!
//! ```no_run
//! use std::time::Duration;
//! # fn main() -> Result<(), hayrick_launcher::Error> {
//! let cluster = hayrick_launcher::Cluster::builder("target/debug/hayrick").masters(3).volumes(4).start()?;
//! cluster.wait_ready(Duration::from_secs(10))?;
//! cluster.master(1).kill()?;
//! cluster.master(1).start()?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod child;
mod cluster;
mod deadline;
mod error;
mod left_over;
mod log;
mod ports;
mod probe;
mod process;

pub use builder::Builder;
pub use cluster::Cluster;
pub use deadline::Deadline;
pub use error::Error;
pub use left_over::end_left_over;
pub use ports::{free_base_port, free_port};
pub use probe::http_status;
pub use process::{Process, Role, kill_at_once};
