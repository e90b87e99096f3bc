//! The small replicated state: all but the rows of objects and garbage. It lives in memory.
//!
//! Owns its shape, what changed since it was last written down, and the rows it is written down as: one row per thing,
//! so that a checkpoint writes what changed. How commands change it is told in `apply`. Invariant: `State::load` of all
//! rows gives an equal state, and equal states have equal rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hayrick_protocol::cluster_map::{ClusterConfig, Master, Move, Placement, Volume};
use hayrick_protocol::command::Examined;
use hayrick_protocol::limits::{PARTITIONS_MAX, STARTS_PER_MASTER_MAX};
use hayrick_protocol::{EpochId, NodeId, PartitionId, PlacementId, VolumeId, codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Table};
use crate::sessions::Session;
use crate::status::{Copies, Counters};
use crate::store::StoreError;

/// The small state. What may be large lies behind an `Arc`: a clone, which every view is, costs little, and what is changed
/// while a view lives is copied once.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// What is published to requests.
    pub(crate) cluster: Cluster,
    pub(crate) next: NextIds,
    pub(crate) counters: Counters,
    pub(crate) sessions: BTreeMap<EpochId, Arc<Session>>,
    pub(crate) copies: Arc<BTreeMap<PlacementId, Copies>>,
    /// The last starts of each master, by their nonces, oldest first.
    pub(crate) starts: BTreeMap<NodeId, Vec<u64>>,
    /// Rows that differ from what was written down last.
    pub(crate) changed: BTreeSet<RowKey>,
    /// `cluster` differs from what was published last.
    pub(crate) cluster_changed: bool,
    /// The placements of each partition, ascending. Made from the table.
    by_partition: Arc<BTreeMap<PartitionId, Vec<PlacementId>>>,
}

/// The last ids that were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct NextIds {
    pub(crate) volume: u32,
    pub(crate) placement: u32,
    pub(crate) epoch: u32,
}

/// Names a row of the small state. On disk: a byte for the kind and the id, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RowKey {
    Config,
    Counters,
    MapVersion,
    TableVersion,
    Volume(VolumeId),
    Placement(PlacementId),
    Current(PartitionId),
    Master(NodeId),
    Session(EpochId),
    Copies(PlacementId),
    Starts(NodeId),
    Removed(NodeId),
    Move(PlacementId),
    Rebalances,
    MoveRate,
}

impl RowKey {
    pub(crate) fn encode(self) -> Vec<u8> {
        let with = |kind: u8, id: &[u8]| [&[kind], id].concat();
        match self {
            Self::Config => with(1, &[]),
            Self::Counters => with(2, &[]),
            Self::MapVersion => with(3, &[]),
            Self::TableVersion => with(4, &[]),
            Self::Volume(id) => with(5, &id.0.to_be_bytes()),
            Self::Placement(id) => with(6, &id.0.to_be_bytes()),
            Self::Current(id) => with(7, &id.0.to_be_bytes()),
            Self::Master(id) => with(8, &id.0.to_be_bytes()),
            Self::Session(id) => with(9, &id.0.to_be_bytes()),
            Self::Copies(id) => with(10, &id.0.to_be_bytes()),
            Self::Starts(id) => with(11, &id.0.to_be_bytes()),
            Self::Removed(id) => with(12, &id.0.to_be_bytes()),
            Self::Move(id) => with(13, &id.0.to_be_bytes()),
            Self::Rebalances => with(14, &[]),
            Self::MoveRate => with(15, &[]),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let u32_id = || id.try_into().ok().map(u32::from_be_bytes);
        match kind {
            1..=4 | 14..=15 if !id.is_empty() => None,
            1 => Some(Self::Config),
            2 => Some(Self::Counters),
            3 => Some(Self::MapVersion),
            4 => Some(Self::TableVersion),
            5 => u32_id().map(|id| Self::Volume(VolumeId(id))),
            6 => u32_id().map(|id| Self::Placement(PlacementId(id))),
            7 => id.try_into().ok().map(|id| Self::Current(PartitionId(u16::from_be_bytes(id)))),
            8 => id.try_into().ok().map(|id| Self::Master(NodeId(u64::from_be_bytes(id)))),
            9 => u32_id().map(|id| Self::Session(EpochId(id))),
            10 => u32_id().map(|id| Self::Copies(PlacementId(id))),
            11 => id.try_into().ok().map(|id| Self::Starts(NodeId(u64::from_be_bytes(id)))),
            12 => id.try_into().ok().map(|id| Self::Removed(NodeId(u64::from_be_bytes(id)))),
            13 => u32_id().map(|id| Self::Move(PlacementId(id))),
            14 => Some(Self::Rebalances),
            15 => Some(Self::MoveRate),
            _ => None,
        }
    }
}

impl State {
    /// A row as it is now; `None` if there is none.
    pub(crate) fn row(&self, key: RowKey) -> Option<Vec<u8>> {
        let Cluster { config, map, table, masters, removed, .. } = &self.cluster;
        match key {
            RowKey::Config => config.as_ref().map(codec::encode),
            RowKey::Counters => Some(codec::encode(&(self.counters, self.next))),
            RowKey::MapVersion => Some(codec::encode(&map.version)),
            RowKey::TableVersion => Some(codec::encode(&table.version)),
            RowKey::Volume(id) => map.volumes.get(&id).map(codec::encode),
            RowKey::Placement(id) => table.placements.get(&id).map(codec::encode),
            RowKey::Current(id) => {
                table.current.get(usize::from(id.0)).copied().flatten().as_ref().map(codec::encode)
            }
            RowKey::Master(id) => masters.get(&id).map(codec::encode),
            RowKey::Session(id) => self.sessions.get(&id).map(|session| codec::encode(&**session)),
            RowKey::Copies(id) => self.copies.get(&id).map(codec::encode),
            RowKey::Starts(id) => self.starts.get(&id).map(codec::encode),
            RowKey::Removed(id) => removed.contains(&id).then(|| codec::encode(&())),
            RowKey::Move(id) => table.moves.get(&id).map(codec::encode),
            RowKey::Rebalances => self.cluster.rebalances.then(|| codec::encode(&())),
            RowKey::MoveRate => self.cluster.move_rate.as_ref().map(codec::encode),
        }
    }

    /// Every row there is, in the order of the keys' bytes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        let single = [RowKey::Config, RowKey::Counters, RowKey::MapVersion, RowKey::TableVersion];
        let table = &self.cluster.table;
        let partitions = (0..table.current.len()).filter_map(|at| u16::try_from(at).ok());
        single
            .into_iter()
            .chain(self.cluster.map.volumes.keys().map(|id| RowKey::Volume(*id)))
            .chain(table.placements.keys().map(|id| RowKey::Placement(*id)))
            .chain(partitions.map(|id| RowKey::Current(PartitionId(id))))
            .chain(self.cluster.masters.keys().map(|id| RowKey::Master(*id)))
            .chain(self.sessions.keys().map(|id| RowKey::Session(*id)))
            .chain(self.copies.keys().map(|id| RowKey::Copies(*id)))
            .chain(self.starts.keys().map(|id| RowKey::Starts(*id)))
            .chain(self.cluster.removed.iter().map(|id| RowKey::Removed(*id)))
            .chain(table.moves.keys().map(|id| RowKey::Move(*id)))
            .chain([RowKey::Rebalances, RowKey::MoveRate])
            .filter_map(|key| Some((key.encode(), self.row(key)?)))
    }

    /// The state whose rows these are, in the order of their keys; or which row does not fit.
    pub(crate) fn load(rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let mut state = Self::default();
        for (key, value) in rows {
            let unfit = || format!("the row {key:02x?} of the small state does not parse");
            let row = RowKey::decode(&key).ok_or_else(unfit)?;
            state.put(row, &value).ok_or_else(unfit)?;
        }
        state.epochs_from_sessions();
        let by_partition = Arc::make_mut(&mut state.by_partition);
        for placement in state.cluster.table.placements.values() {
            by_partition.entry(placement.partition).or_default().push(placement.id);
        }
        Ok(state)
    }

    fn put(&mut self, row: RowKey, value: &[u8]) -> Option<()> {
        fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
            codec::decode(value).ok()
        }
        match row {
            RowKey::Config => {
                let config: ClusterConfig = read(value)?;
                if !config.partitions.is_power_of_two() || config.partitions > PARTITIONS_MAX {
                    return None;
                }
                self.cluster.config = Some(config);
                self.table().current = vec![None; config.partitions as usize];
            }
            RowKey::Counters => (self.counters, self.next) = read(value)?,
            RowKey::MapVersion => Arc::make_mut(&mut self.cluster.map).version = read(value)?,
            RowKey::TableVersion => self.table().version = read(value)?,
            RowKey::Volume(id) => {
                let volume: Volume = read(value).filter(|volume: &Volume| volume.id == id)?;
                Arc::make_mut(&mut self.cluster.map).volumes.insert(id, volume);
            }
            RowKey::Placement(id) => {
                let placement: Placement = read(value).filter(|placement: &Placement| placement.id == id)?;
                self.table().placements.insert(id, placement);
            }
            RowKey::Current(id) => {
                let current = read(value)?;
                *self.table().current.get_mut(usize::from(id.0))? = Some(current);
            }
            RowKey::Master(id) => {
                let master: Master = read(value).filter(|master: &Master| master.id == id)?;
                Arc::make_mut(&mut self.cluster.masters).insert(id, master);
            }
            RowKey::Session(id) => drop(self.sessions.insert(id, Arc::new(read(value)?))),
            RowKey::Starts(id) => drop(self.starts.insert(id, read(value)?)),
            RowKey::Removed(id) => {
                let () = read(value)?;
                Arc::make_mut(&mut self.cluster.removed).insert(id);
            }
            RowKey::Copies(id) => drop(Arc::make_mut(&mut self.copies).insert(id, read(value)?)),
            RowKey::Move(id) => drop(self.table().moves.insert(id, read(value)?)),
            RowKey::Rebalances => {
                let () = read(value)?;
                self.cluster.rebalances = true;
            }
            RowKey::MoveRate => self.cluster.move_rate = Some(read(value)?),
        }
        Some(())
    }

    fn table(&mut self) -> &mut Table {
        Arc::make_mut(&mut self.cluster.table)
    }

    fn epochs_from_sessions(&mut self) {
        let epochs = self.sessions.iter().map(|(id, session)| (*id, session.epoch)).collect();
        self.cluster.epochs = Arc::new(epochs);
    }

    /// The map, to be changed; its version is raised.
    pub(crate) fn change_map(&mut self, volume: VolumeId) -> &mut BTreeMap<VolumeId, Volume> {
        self.cluster_changed = true;
        self.changed.extend([RowKey::MapVersion, RowKey::Volume(volume)]);
        &mut Arc::make_mut(&mut self.cluster.map).volumes
    }

    pub(crate) fn raise_map_version(&mut self) {
        self.cluster_changed = true;
        self.changed.insert(RowKey::MapVersion);
        Arc::make_mut(&mut self.cluster.map).version += 1;
    }

    /// The table, to be changed by whoever marks the rows.
    pub(crate) fn change_table(&mut self) -> &mut Table {
        self.cluster_changed = true;
        self.table()
    }

    pub(crate) fn change_masters(&mut self, master: NodeId) -> &mut BTreeMap<NodeId, Master> {
        self.cluster_changed = true;
        self.changed.insert(RowKey::Master(master));
        Arc::make_mut(&mut self.cluster.masters)
    }

    /// Takes a master out for good: its row, its epochs and the memory of its starts go, its id is kept.
    pub(crate) fn remove_master(&mut self, master: NodeId) {
        self.change_masters(master).remove(&master);
        Arc::make_mut(&mut self.cluster.removed).insert(master);
        self.starts.remove(&master);
        self.changed.extend([RowKey::Removed(master), RowKey::Starts(master)]);
        let epochs = self.cluster.epochs.iter().filter(|(_, epoch)| epoch.master == master);
        for epoch in epochs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close_session(epoch);
        }
    }

    /// Whether closed placements are to move to where their partitions lie.
    pub(crate) fn set_rebalances(&mut self, rebalances: bool) {
        if self.cluster.rebalances != rebalances {
            self.cluster.rebalances = rebalances;
            self.cluster_changed = true;
            self.changed.insert(RowKey::Rebalances);
        }
    }

    /// How fast copies are made; none: as each master was told when it started.
    pub(crate) fn set_move_rate(&mut self, bytes_per_s: Option<u64>) {
        if self.cluster.move_rate != bytes_per_s {
            self.cluster.move_rate = bytes_per_s;
            self.cluster_changed = true;
            self.changed.insert(RowKey::MoveRate);
        }
    }

    pub(crate) fn open_session(&mut self, epoch: EpochId, session: Session) {
        self.changed.insert(RowKey::Session(epoch));
        self.sessions.insert(epoch, Arc::new(session));
        self.epochs_from_sessions();
        self.cluster_changed = true;
    }

    /// The session of an epoch, to be changed; none if it is not open.
    pub(crate) fn session(&mut self, epoch: EpochId) -> Option<&mut Session> {
        self.sessions.get_mut(&epoch).map(Arc::make_mut)
    }

    /// Forgets what every session remembers, as no state may.
    pub(crate) fn forget_answers(&mut self) {
        self.sessions.values_mut().for_each(|session| Arc::make_mut(session).answers.clear());
    }

    /// Whether this start of the master was not heard of yet, as far as [`STARTS_PER_MASTER_MAX`] reach.
    pub(crate) fn is_new_start(&mut self, master: NodeId, nonce: u64) -> bool {
        let starts = self.starts.entry(master).or_default();
        if starts.contains(&nonce) {
            return false;
        }
        starts.push(nonce);
        starts.drain(..starts.len().saturating_sub(STARTS_PER_MASTER_MAX));
        self.changed.insert(RowKey::Starts(master));
        true
    }

    /// Forgets an epoch and all its answers; whether it was open.
    pub(crate) fn close_session(&mut self, epoch: EpochId) -> bool {
        let was_open = self.sessions.remove(&epoch).is_some();
        if was_open {
            self.changed.insert(RowKey::Session(epoch));
            self.epochs_from_sessions();
            self.cluster_changed = true;
        }
        was_open
    }

    /// The placement of the partition with exactly these members, if there is one; of several, the last one made.
    pub(crate) fn placement_of(&self, partition: PartitionId, members: &[VolumeId]) -> Option<PlacementId> {
        let all = self.by_partition.get(&partition)?.iter().rev().copied();
        all.into_iter().find(|id| {
            self.cluster.table.placement(*id).is_some_and(|placement| placement.members == members)
        })
    }

    /// Adds a placement, with a higher id than all there are.
    pub(crate) fn add_placement(&mut self, placement: Placement) {
        self.changed.insert(RowKey::Placement(placement.id));
        Arc::make_mut(&mut self.by_partition).entry(placement.partition).or_default().push(placement.id);
        self.change_table().placements.insert(placement.id, placement);
    }

    /// A placement, to be changed in what its generation is about; that is raised.
    pub(crate) fn change_placement(&mut self, id: PlacementId) -> Option<&mut Placement> {
        self.changed.insert(RowKey::Placement(id));
        let placement = self.change_table().placements.get_mut(&id)?;
        placement.generation.0 += 1;
        Some(placement)
    }

    /// Who is about to become a member of a placement; nobody, where a move ends.
    pub(crate) fn set_move(&mut self, id: PlacementId, newcomer: Option<VolumeId>) {
        self.changed.insert(RowKey::Move(id));
        let moves = &mut self.change_table().moves;
        match newcomer {
            Some(newcomer) => drop(moves.insert(id, Move { newcomer })),
            None => drop(moves.remove(&id)),
        }
    }

    /// Changes what a placement's members must hold. A row of nothing goes. `None` from `change` says that less is there than
    /// the rows tell.
    pub(crate) fn change_copies(
        &mut self,
        placement: PlacementId,
        change: impl FnOnce(&mut Copies) -> Option<()>,
    ) -> Result<(), StoreError> {
        let all = Arc::make_mut(&mut self.copies);
        let copies = all.entry(placement).or_default();
        let changed = change(copies);
        if *copies == Copies::default() {
            all.remove(&placement);
        }
        self.changed.insert(RowKey::Copies(placement));
        changed.ok_or_else(|| StoreError::lost_count(placement))
    }

    /// Closed placements that nothing names any more.
    pub(crate) fn empty_placements(&self) -> Vec<Examined> {
        let table = &self.cluster.table;
        let is_empty = |row: &&Placement| !self.copies.contains_key(&row.id) && !table.is_current(row.id);
        let examined = |row: &Placement| Examined { placement: row.id, generation: row.generation };
        table.placements.values().filter(is_empty).map(examined).collect()
    }

    /// Takes out the row of a closed placement that nothing names.
    pub(crate) fn remove_placement(&mut self, id: PlacementId) {
        self.changed.insert(RowKey::Placement(id));
        let removed = self.change_table().placements.remove(&id);
        let Some(partition) = removed.map(|placement| placement.partition) else { return };
        let by_partition = Arc::make_mut(&mut self.by_partition);
        let ids = by_partition.entry(partition).or_default();
        ids.retain(|of| *of != id);
        if ids.is_empty() {
            by_partition.remove(&partition);
        }
    }
}
