//! What a benchmark feeds to the state machine alone, as openraft does, but from memory. No part of the API.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hayrick_disk::Disk;
use hayrick_protocol::command::Command;
use openraft::EntryPayload;
use openraft::storage::RaftStateMachine;

use crate::cluster::Cluster;
use crate::errors::OpenError;
use crate::machine::Machine;
use crate::options::Options;
use crate::status::Counters;
pub use crate::store::Space;
use crate::types::{Commands, Entry, LeaderId, LogId};

/// The commands of one entry as they lie in the log.
pub fn entry(commands: &[Command]) -> Bytes {
    Commands::join([(commands.len(), &Commands::frame(commands))].into_iter()).0
}

/// A state machine that nobody else applies to.
pub struct Applier {
    machine: Machine,
    next: u64,
}

impl Applier {
    /// Opens the index in the options' directory, which is there and empty. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self, OpenError> {
        Ok(Self { machine: Machine::open(disk, options)?, next: 1 })
    }

    /// Applies entries made by [`entry`], and returns when readers see them all.
    ///
    /// # Errors
    /// When the state machine stops.
    pub async fn apply<I>(&mut self, entries: I) -> io::Result<()>
    where
        I: IntoIterator<Item = Bytes>,
        I::IntoIter: Send,
    {
        let next = &mut self.next;
        let entries = entries.into_iter().map(|commands| {
            let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, *next);
            *next += 1;
            Ok((Entry { log_id, payload: EntryPayload::Normal(Commands(commands)) }, None))
        });
        self.machine.apply(stream::iter(entries)).await
    }

    /// Makes everything durable that was applied.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn checkpoint(&self) -> io::Result<()> {
        self.machine.checkpoint().await
    }

    /// What the index file takes. Reads all of it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn space(&self) -> io::Result<Space> {
        self.machine.space().await
    }

    /// The cluster as it is applied.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.machine.cluster()
    }

    /// What the applied state holds.
    pub fn counters(&self) -> Counters {
        self.machine.counters()
    }
}
