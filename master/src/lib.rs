//! The master: gateway for clients, Raft voter, keeper of the cluster.
//!
//! [`start`] opens the data directory, serves the client port and the peer port, and meets the other masters. What
//! it is made of:
//!
//! - `api` answers clients, one verb a file; `gateway` has the steps that those answers are made of;
//! - `peer` answers masters and volumes, and finds the way to them;
//! - `cluster` is what the leader keeps in order: who is up, where partitions lie, what is reaped;
//! - `bootstrap` decides whether there is a cluster already, `restore` forms one from a backup; `leader` finds the leader.
//! - `wrong_port` tells what is at an address that is no peer port, `ended` why a master cannot go on.
//!
//! It leaves what commands mean to `raft-store`, and which volumes make a good table to `placement`. Invariant: this
//! crate decides and asks; everything that must be remembered goes through Raft.

mod admission;
mod api;
mod bootstrap;
mod check;
mod cluster;
mod ended;
mod gateway;
mod join;
mod leader;
mod master;
mod meta;
mod options;
mod peer;
mod restore;
mod start;
mod status;
mod transport;
mod wrong_port;

pub use options::Options;
pub use start::{Running, StartError, start};
