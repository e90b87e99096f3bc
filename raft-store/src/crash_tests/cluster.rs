//! What the cluster of a history commits, and the state behind each entry, as a master has it that nothing ever happened to.
//!
//! Owns that a history is drawn from its seed alone. Invariant: of an index there is one committed entry; what may lie in its
//! place for a while is of an older term.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::command::Command;
use openraft::storage::RaftStateMachine;
use openraft::{BasicNode, EntryPayload};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::Rng;
use rand::rngs::StdRng;

use super::options;
use crate::machine::Machine;
use crate::machine_tests::{command, commit, prelude};
use crate::types::{Commands, Entry, LeaderId, LogId, Membership};
use crate::view::View;

/// Entries that are committed in a history.
const ENTRIES: u64 = 24;
/// Bytes of the longest keys: some entries are to be larger than others, so that log files fill up.
const LONG_KEY_BYTES: usize = 900;

/// What is committed.
pub(super) struct Cluster {
    pub(super) entries: Vec<Entry>,
    /// The state behind each.
    pub(super) views: Vec<Arc<View>>,
    pub(super) hashes: Vec<u128>,
}

impl Cluster {
    pub(super) async fn new(random: &mut StdRng) -> Self {
        let entries = entries(random);
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(random.random()));
        disk.create_dir_all(Path::new("/reference")).expect("a directory");
        let mut machine = Machine::open(disk, &options("/reference")).expect("a new index");
        let (mut views, mut hashes) = (Vec::new(), Vec::new());
        for entry in &entries {
            machine.apply(stream::iter([Ok((entry.clone(), None))])).await.expect("applied");
            let view = machine.view().await.expect("a view");
            hashes.push(Arc::clone(&view).hash().expect("readable"));
            views.push(view);
        }
        Self { entries, views, hashes }
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The committed entry's id.
    pub(super) fn id(&self, index: u64) -> LogId {
        self.entry(index).expect("the caller knows that it was committed").log_id
    }

    pub(super) fn view(&self, index: u64) -> &Arc<View> {
        &self.views[usize::try_from(index).expect("entries are in memory")]
    }

    pub(super) fn hash(&self, index: u64) -> u128 {
        self.hashes[usize::try_from(index).expect("entries are in memory")]
    }

    /// Up to which index (excluded) these entries, which follow on `purged`, are the committed ones.
    pub(super) fn agrees_until(&self, purged: Option<LogId>, entries: &[Entry]) -> u64 {
        let next = purged.map_or(0, |id| id.index + 1);
        let agrees = |entry: &&Entry| self.entry(entry.log_id.index).is_some_and(|ours| ours == *entry);
        next + entries.iter().take_while(agrees).count() as u64
    }

    /// The term of a leader that wrote at this index and was deposed before it could commit; none if there was no such.
    pub(super) fn deposed_at(&self, index: u64) -> Option<u64> {
        let term = |index: u64| self.entry(index).map(|entry| entry.log_id.leader_id.term);
        let before = term(index.checked_sub(1)?)? + 1;
        (term(index)? > before).then_some(before)
    }
}

fn entries(random: &mut StdRng) -> Vec<Entry> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &random.random::<[u8; 32]>()),
    );
    let any_command = command();
    let mut term = 1;
    let mut entries = Vec::new();
    for index in 0..ENTRIES {
        let payload = match (index, random.random_range(0..10)) {
            (0, _) | (2.., 0) => membership(random),
            (1, _) => normal(&prelude()),
            (_, 1) => EntryPayload::Blank,
            _ => {
                let commands: Vec<Command> = (0..random.random_range(1..5_u32))
                    .map(|n| match random.random_range(0..4) {
                        0 => commit(index as u32 * 8 + n, &key(random, LONG_KEY_BYTES)),
                        1 => commit(index as u32 * 8 + n, &key(random, 0)),
                        _ => any_command.new_tree(&mut runner).expect("it filters nothing").current(),
                    })
                    .collect();
                normal(&commands)
            }
        };
        // The term between is that of a leader that committed nothing.
        term += if index > 1 && random.random_bool(0.25) { 2 } else { 0 };
        entries.push(entry(term, index, payload));
    }
    entries
}

fn key(random: &mut StdRng, bytes: usize) -> String {
    format!("key-{}{}", random.random_range(0..12), "x".repeat(bytes))
}

fn normal(commands: &[Command]) -> EntryPayload<Commands, u64, BasicNode> {
    let framed = Commands::frame(commands);
    EntryPayload::Normal(Commands::join([(commands.len(), &framed)].into_iter()))
}

/// Three voters of five masters.
fn membership(random: &mut StdRng) -> EntryPayload<Commands, u64, BasicNode> {
    let first = random.random_range(1..=3);
    let addr = format!("m{}", random.random_range(0..9));
    let nodes: BTreeMap<u64, BasicNode> = (1..=5).map(|id| (id, BasicNode { addr: addr.clone() })).collect();
    let voters: BTreeSet<u64> = (first..first + 3).collect();
    EntryPayload::Membership(Membership::new(vec![voters], nodes).expect("the voters are nodes"))
}

fn entry(term: u64, index: u64, payload: EntryPayload<Commands, u64, BasicNode>) -> Entry {
    Entry { log_id: LogId::new(LeaderId { term, node_id: term % 3 + 1 }, index), payload }
}

/// An entry that was never committed.
pub(super) fn stray(random: &mut StdRng, term: u64, index: u64) -> Entry {
    let payload = match random.random_range(0..4) {
        0 => membership(random),
        1 => EntryPayload::Blank,
        // Nobody reads these as commands.
        _ => EntryPayload::Normal(Commands(Bytes::from(vec![7; random.random_range(0..6000)]))),
    };
    entry(term, index, payload)
}
