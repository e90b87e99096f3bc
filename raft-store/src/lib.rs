//! The replicated index: Raft log, state machine and snapshots behind a small API.
//!
//! [`Node`] is all that others need: it proposes commands, answers reads from the applied state, and takes the Raft
//! requests of other masters. This crate names openraft and redb, and no other does. It decides nothing about
//! volumes or placements (that is `master/`), and it opens no sockets: bytes travel through a [`Transport`].
//!
//! [`inspect`] looks into the directory of a node, offline; [`backup`] tells the whole index in one stream, and makes a node
//! of it.
//!
//! One [`Node`] is one Raft group; there are no globals, so several groups can live in one process.

mod applied;
mod apply;
mod audit;
mod backend;
pub mod backup;
#[doc(hidden)]
pub mod bench;
mod cluster;
mod complete;
#[cfg(test)]
mod crash_tests;
mod dead;
mod deleted;
mod errors;
#[doc(hidden)]
pub mod fuzz;
pub mod inspect;
#[cfg(test)]
mod install_tests;
mod keeper;
mod listing;
mod log;
mod log_index;
mod log_record;
#[cfg(test)]
mod log_tests;
mod machine;
#[cfg(test)]
mod machine_tests;
mod membership;
mod network;
mod node;
mod observe;
#[cfg(test)]
mod once_tests;
mod options;
mod overlay;
mod panics;
mod piggyback;
mod proposer;
mod sessions;
mod shown;
mod snapshot;
#[cfg(test)]
mod space_tests;
mod state;
mod status;
mod store;
mod transport;
mod types;
mod unheard;
mod view;
mod wire;
mod write_behind;

/// What a log filter says of the library below: its errors, but for those of messages between its tasks, which fail when it is
/// stopped, as they should. Where it stops by itself, [`Status::stopped`] says so.
pub const LOG_FILTER: &str = "openraft=error,openraft::raft::raft_inner=off";

pub use audit::{Audit, Class, Holding, Identified};
pub use cluster::{Cluster, OpenEpoch, Table};
pub use complete::{Compared, Completeness, SearchedTo, TURNED_UP_MAX};
pub use dead::{Dead, GarbageNames};
pub use deleted::{Deleted, DeletedPage};
pub use errors::{ChangeError, InitializeError, OpenError, ReadError, Timeout, TransferError};
pub use listing::{Listing, Page};
pub use node::Node;
pub use options::{LOG_FILE_BYTES_MIN, Options};
pub use panics::last_panic;
pub use status::{Copies, Counters, Follower, LogStatus, Member, Progress, Role, Status};
pub use transport::{Transport, TransportError};
