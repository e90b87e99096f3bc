//! Which closed placements are to gain a member, in the place of one that is gone or is being drained, or because they never
//! had enough; and who that is: the pure part of `repair`.
//!
//! Owns what is planned. Who the newcomer is, of those that take writes and have room, is `placement`'s to say; pulling and
//! proving is `group`'s, and what is true apply's, which looks at the generation. Invariant: nothing is planned that leaves a placement with fewer
//! members than it has.

use std::collections::{BTreeMap, BTreeSet};

use hayrick_placement::Candidate;
use hayrick_protocol::cluster_map::{ClusterMap, Placement, VolumeState};
use hayrick_protocol::command::Examined;
use hayrick_protocol::messages::moves::MoveKind;
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies};

use crate::cluster::place::candidate;

/// Placements that are pulled together: their source looks into its segments once for all of them.
const GROUP_PLACEMENTS_MAX: usize = 128;
/// Needles that are pulled together, as the leader remembers what it saw of them.
const GROUP_NEEDLES_MAX: u64 = 500_000;
/// Bytes that are pulled together, so that what is in danger does not wait long for a newcomer that is busy.
const GROUP_BYTES_MAX: u64 = 1 << 30;
/// What is left free on a newcomer, as a part of its capacity: it is to take writes afterwards.
const LEFT_FREE_PART: u64 = 32;
/// A needle's header, checksums and key, as the room for it is counted.
const OVERHEAD_BYTES: u64 = 128;

/// What the leader knows beside the replicated state.
pub(super) struct Known<'a> {
    /// Volumes that are not waited for any more.
    pub(super) gone: &'a BTreeSet<VolumeId>,
    /// Volumes that failed to pull, of late: others are asked.
    pub(super) avoided: &'a BTreeSet<VolumeId>,
    /// Bytes that each volume may still take, without what is on its way to it.
    pub(super) free_bytes: &'a BTreeMap<VolumeId, u64>,
}

/// What a placement holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    /// Needles, live or garbage.
    pub(super) needles: u64,
    /// Their bytes, with what a volume adds to them.
    pub(super) bytes: u64,
}

/// Placements that one volume pulls from the same others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Why.
    pub(super) kind: MoveKind,
    /// Who pulls.
    pub(super) newcomer: VolumeId,
    /// Who has the needles, and is up.
    pub(super) sources: Vec<VolumeId>,
    /// Whose place the newcomer takes; nobody's, where a member was missing.
    pub(super) out: Option<VolumeId>,
    /// As they were examined; and whether the move was begun already.
    pub(super) placements: Vec<(Examined, bool)>,
    /// What they hold.
    pub(super) needles: u64,
    /// Its bytes.
    pub(super) bytes: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Those with the fewest copies first.
    pub(super) groups: Vec<Group>,
    /// All that is in the groups.
    pub(super) wanted: BTreeMap<PlacementId, Size>,
    /// Moves that were begun and that nobody needs any more, or whose newcomer is gone.
    pub(super) abandoned: Vec<(Examined, VolumeId)>,
    /// Why placements wait, and how many of them.
    pub(super) waiting: BTreeMap<Reason, u64>,
}

/// Why a placement cannot be repaired now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// No member is up.
    NoCopy(Vec<VolumeId>),
    /// Every volume that takes writes is a member already.
    NoOther(MoveKind, Option<VolumeId>),
    /// Those that are no members failed to pull, of late.
    Avoided(Vec<VolumeId>),
    /// No volume that is not a member has room for so many bytes.
    NoRoom(u64),
    /// The newcomer is not to be trusted at the moment.
    Newcomer(VolumeId),
}

impl Reason {
    /// In words, with what to do.
    pub(super) fn text(&self, placements: u64) -> String {
        let of = format!("repair of {placements} placements");
        match self {
            Self::NoCopy(members) => {
                let ids: Vec<String> = members.iter().map(VolumeId::to_string).collect();
                format!(
                    "{of}: none of the volumes that hold them is up ({}); start one of them",
                    ids.join(", ")
                )
            }
            Self::NoOther(kind, out) => {
                let or = match (kind, out) {
                    (MoveKind::Drain, Some(out)) => format!(", or undrain volume {out}"),
                    (_, Some(out)) => format!(", or volume {out} again"),
                    (_, None) => String::new(),
                };
                format!("{of}: every volume that takes writes holds a copy already; start another one{or}")
            }
            Self::Avoided(others) => {
                let ids: Vec<String> = others.iter().map(VolumeId::to_string).collect();
                format!(
                    "{of}: volumes that could hold them failed to pull of late ({}) and are tried again within a minute; see \
                     the leader's log",
                    ids.join(", ")
                )
            }
            Self::NoRoom(bytes) => {
                format!("{of}: no other volume has {} MiB free; add a volume", bytes.div_ceil(1 << 20))
            }
            Self::Newcomer(volume) => {
                format!(
                    "{of}: volume {volume}, which is pulling them, does not answer; another one is taken if it is down"
                )
            }
        }
    }
}

/// What is to be done for the closed placements that hold something.
pub(super) fn plan(
    cluster: &Cluster,
    copies: &BTreeMap<PlacementId, Copies>,
    replicas: u8,
    known: &Known<'_>,
) -> Plan {
    let mut plan = Plan::default();
    let mut wanted = Vec::new();
    let mut free = known.free_bytes.clone();
    let candidates: BTreeMap<VolumeId, Candidate> = cluster
        .map
        .volumes
        .values()
        .filter(|volume| volume.state.takes_writes() && !known.avoided.contains(&volume.id))
        .map(|volume| (volume.id, candidate(volume)))
        .collect();
    for placement in cluster.table.placements.values() {
        if cluster.table.is_current(placement.id) {
            continue;
        }
        let examined = Examined { placement: placement.id, generation: placement.generation };
        let begun = cluster.table.moves.get(&placement.id).map(|begun| begun.newcomer);
        // Of what is missing a copy may turn up, and members are to be there for it.
        let held = copies.get(&placement.id).filter(|held| !held.is_nothing() || held.missing.count > 0);
        let need = need(cluster, placement, replicas, known);
        let Some((held, (kind, out))) = held.zip(need) else {
            plan.abandoned.extend(begun.map(|newcomer| (examined, newcomer)));
            continue;
        };
        let needles = held.live.count + held.garbage.count;
        let bytes = held.live.bytes + held.garbage.bytes + needles * OVERHEAD_BYTES;
        let members = placement.members.iter().copied();
        let is_there = |id: &VolumeId| reads(&cluster.map, *id) && !known.gone.contains(id);
        let sources: Vec<VolumeId> = members.filter(is_there).collect();
        let newcomer = match begun {
            _ if sources.is_empty() => Err(Reason::NoCopy(placement.members.clone())),
            Some(newcomer)
                if state(&cluster.map, newcomer) == Some(VolumeState::Up)
                    && !known.avoided.contains(&newcomer) =>
            {
                Ok(newcomer)
            }
            Some(newcomer)
                if known.gone.contains(&newcomer)
                    || known.avoided.contains(&newcomer)
                    || refuses(&cluster.map, newcomer) =>
            {
                plan.abandoned.push((examined, newcomer));
                continue;
            }
            Some(newcomer) => Err(Reason::Newcomer(newcomer)),
            None => choose(cluster, placement, (kind, out), bytes, (&candidates, &free)).map_err(|reason| {
                let may = |id: &&VolumeId| {
                    state(&cluster.map, **id) == Some(VolumeState::Up) && !placement.members.contains(id)
                };
                let avoided: Vec<VolumeId> = known.avoided.iter().filter(may).copied().collect();
                if avoided.is_empty() { reason } else { Reason::Avoided(avoided) }
            }),
        };
        match newcomer {
            Ok(newcomer) => {
                free.entry(newcomer).and_modify(|free| *free = free.saturating_sub(bytes));
                plan.wanted.insert(placement.id, Size { needles, bytes });
                let placements = vec![(examined, begun.is_some())];
                wanted.push(Group { kind, newcomer, sources, out, placements, needles, bytes });
            }
            Err(reason) => *plan.waiting.entry(reason).or_default() += 1,
        }
    }
    wanted.sort_by(|a, b| a.kin().cmp(&b.kin()));
    for one in wanted {
        match plan.groups.last_mut() {
            Some(group) if group.takes(&one) => group.join(one),
            _ => plan.groups.push(one),
        }
    }
    plan
}

impl Group {
    /// What is the same of all placements of a group; what has fewer copies comes first.
    fn kin(&self) -> (usize, MoveKind, VolumeId, &[VolumeId], Option<VolumeId>) {
        (self.sources.len(), self.kind, self.newcomer, &self.sources, self.out)
    }

    fn takes(&self, other: &Self) -> bool {
        self.kin() == other.kin()
            && self.placements.len() + other.placements.len() <= GROUP_PLACEMENTS_MAX
            && self.needles + other.needles <= GROUP_NEEDLES_MAX
            && self.bytes + other.bytes <= GROUP_BYTES_MAX
    }

    fn join(&mut self, other: Self) {
        self.placements.extend(other.placements);
        self.needles += other.needles;
        self.bytes += other.bytes;
    }
}

/// Why a closed placement is to gain a member, and whose place that takes.
fn need(
    cluster: &Cluster,
    placement: &Placement,
    replicas: u8,
    known: &Known<'_>,
) -> Option<(MoveKind, Option<VolumeId>)> {
    let members = || placement.members.iter().copied();
    let is_draining = |id: &VolumeId| state(&cluster.map, *id) == Some(VolumeState::Draining);
    // Who is gone is more urgent than who gives what it has.
    if let Some(gone) = members().find(|id| known.gone.contains(id)) {
        return Some((MoveKind::Repair, Some(gone)));
    }
    if placement.members.len() < usize::from(replicas) {
        return Some((MoveKind::Repair, None));
    }
    if let Some(draining) = members().find(is_draining) {
        return Some((MoveKind::Drain, Some(draining)));
    }
    let (out, _) = exchange(cluster, placement).filter(|_| cluster.rebalances)?;
    Some((MoveKind::Rebalance, Some(out)))
}

/// A member that does not hold the partition now, and a volume that does and is no member; none where the partition has
/// fewer members now than the placement.
pub(super) fn exchange(cluster: &Cluster, placement: &Placement) -> Option<(VolumeId, VolumeId)> {
    let current = cluster.table.current(placement.partition)?;
    if current.members.len() < placement.members.len() {
        return None;
    }
    let lacks = |one: &Placement, other: &Placement| {
        one.members.iter().copied().find(|id| !other.members.contains(id))
    };
    Some((lacks(placement, current)?, lacks(current, placement)?))
}

/// Who is to hold the placement, too.
fn choose(
    cluster: &Cluster,
    placement: &Placement,
    (kind, out): (MoveKind, Option<VolumeId>),
    bytes: u64,
    (candidates, free): (&BTreeMap<VolumeId, Candidate>, &BTreeMap<VolumeId, u64>),
) -> Result<VolumeId, Reason> {
    let wanted =
        exchange(cluster, placement).filter(|_| kind == MoveKind::Rebalance).map(|(_, wanted)| wanted);
    let is_other = |candidate: &&Candidate| {
        wanted.is_none_or(|wanted| wanted == candidate.id) && !placement.members.contains(&candidate.id)
    };
    let mut others = candidates.values().filter(is_other).peekable();
    if others.peek().is_none() {
        // Who was removed is let in no more.
        let out = out.filter(|out| state(&cluster.map, *out) != Some(VolumeState::Removed));
        return Err(Reason::NoOther(kind, out));
    }
    let staying = placement.members.iter().filter(|member| Some(**member) != out);
    let zones: BTreeSet<&str> =
        staying.filter_map(|id| cluster.map.volumes.get(id)).map(|volume| volume.zone.as_str()).collect();
    let current = cluster.table.current(placement.partition);
    let holders = current.map(|current| current.members.as_slice()).unwrap_or_default();
    let has_room = |other: &&Candidate| {
        free.get(&other.id).is_some_and(|free| *free >= bytes.saturating_add(other.weight / LEFT_FREE_PART))
    };
    let with_room = others.filter(has_room);
    hayrick_placement::newcomer(with_room, placement.partition, &zones, holders).ok_or(Reason::NoRoom(bytes))
}

fn state(map: &ClusterMap, id: VolumeId) -> Option<VolumeState> {
    map.volumes.get(&id).map(|volume| volume.state)
}

fn reads(map: &ClusterMap, id: VolumeId) -> bool {
    state(map, id).is_some_and(VolumeState::serves_reads)
}

/// Whether the volume is there, and takes nothing.
fn refuses(map: &ClusterMap, id: VolumeId) -> bool {
    matches!(
        state(map, id),
        None | Some(
            VolumeState::Down
                | VolumeState::Full
                | VolumeState::ReadOnly
                | VolumeState::Draining
                | VolumeState::Removed
        )
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_protocol::cluster_map::{Move, Volume};
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::*;

    const UP: VolumeState = VolumeState::Up;
    const DOWN: VolumeState = VolumeState::Down;

    /// Volumes 1 to 5 in these states, and placements with these members; the first of a partition takes its writes.
    fn cluster(states: [VolumeState; 5], placements: &[(u16, &[u32])]) -> Cluster {
        let volumes = (1..).zip(states).map(|(id, state)| {
            let volume = Volume {
                id: VolumeId(id),
                instance: InstanceId::UNKNOWN,
                addr: String::new(),
                peer: String::new(),
                zone: String::new(),
                capacity_bytes: 1 << 20,
                state,
            };
            (VolumeId(id), volume)
        });
        let mut table = Table { current: vec![None; 8], ..Table::default() };
        for (id, (partition, members)) in (1..).zip(placements) {
            let (id, partition) = (PlacementId(id), PartitionId(*partition));
            let members = members.iter().copied().map(VolumeId).collect();
            table.placements.insert(id, Placement { id, partition, members, generation: Generation(2) });
            table.current[usize::from(partition.0)].get_or_insert(id);
        }
        let map = ClusterMap { version: 1, volumes: volumes.collect() };
        Cluster { map: Arc::new(map), table: Arc::new(table), ..Cluster::default() }
    }

    fn begin(cluster: &mut Cluster, placement: u32, newcomer: u32) {
        let table = Arc::make_mut(&mut cluster.table);
        table.moves.insert(PlacementId(placement), Move { newcomer: VolumeId(newcomer) });
    }

    /// What is planned when each placement holds ten needles of 1000 bytes in all, and these volumes are not waited for.
    fn plan_of(cluster: &Cluster, gone: &[u32]) -> Plan {
        let held = Copies { live: SetDigest { count: 10, bytes: 1000, sum: 7 }, ..Copies::default() };
        let copies = cluster.table.placements.keys().map(|id| (*id, held)).collect();
        let gone = gone.iter().copied().map(VolumeId).collect();
        let free_bytes = cluster.map.volumes.keys().map(|id| (*id, 1 << 20)).collect();
        plan(cluster, &copies, 3, &Known { gone: &gone, avoided: &BTreeSet::new(), free_bytes: &free_bytes })
    }

    /// Who pulls from whom, and which placements.
    fn groups(plan: &Plan) -> Vec<(u32, Vec<u32>, Vec<u32>)> {
        let ids = |ids: &[VolumeId]| ids.iter().map(|id| id.0).collect();
        let of = |group: &Group| group.placements.iter().map(|(examined, _)| examined.placement.0).collect();
        plan.groups.iter().map(|group| (group.newcomer.0, ids(&group.sources), of(group))).collect()
    }

    #[test]
    fn what_a_volume_held_that_is_gone_goes_to_whoever_takes_the_writes_now() {
        let placements: &[(u16, &[u32])] =
            &[(0, &[2, 3, 4]), (0, &[1, 2, 3]), (1, &[2, 3, 5]), (1, &[1, 2, 3])];
        let cluster = cluster([DOWN, UP, UP, UP, UP], placements);
        assert_eq!(plan_of(&cluster, &[]), Plan::default(), "it may come back");
        let plan = plan_of(&cluster, &[1]);
        assert_eq!(groups(&plan), [(4, vec![2, 3], vec![2]), (5, vec![2, 3], vec![4])]);
        assert_eq!(plan.groups[0].out, Some(VolumeId(1)));
        assert_eq!((plan.groups[0].needles, plan.groups[0].bytes), (10, 1000 + 10 * OVERHEAD_BYTES));
    }

    #[test]
    fn what_takes_writes_or_holds_nothing_is_left_alone() {
        let cluster = cluster([DOWN, UP, UP, UP, UP], &[(0, &[1, 2, 3]), (0, &[1, 2, 4])]);
        let gone = [VolumeId(1)].into();
        let free_bytes = BTreeMap::from([(VolumeId(5), 1 << 20)]);
        let (avoided, copies) = (BTreeSet::new(), BTreeMap::new());
        let known = Known { gone: &gone, avoided: &avoided, free_bytes: &free_bytes };
        let plan = plan(&cluster, &copies, 3, &known);
        assert_eq!(plan, Plan::default());
        assert_eq!(groups(&plan_of(&cluster, &[1])).len(), 1, "of the two, the one that takes no writes");
    }

    #[test]
    fn the_fewest_copies_come_first_and_placements_of_a_kind_go_together() {
        let placements: &[(u16, &[u32])] = &[
            (0, &[3, 4, 5]),
            (0, &[1, 3, 4]),
            (1, &[3, 4, 5]),
            (1, &[1, 2, 3]),
            (2, &[3, 4, 5]),
            (2, &[1, 3, 4]),
        ];
        let cluster = cluster([DOWN, DOWN, UP, UP, UP], placements);
        let plan = plan_of(&cluster, &[1, 2]);
        let [first, second] = &plan.groups[..] else { panic!("{plan:?}") };
        assert_eq!((&first.sources[..], first.placements.len()), (&[VolumeId(3)][..], 1));
        assert_eq!((second.newcomer, second.placements.len()), (VolumeId(5), 2));
    }

    #[test]
    fn a_placement_with_too_few_members_gains_one_and_loses_none() {
        let cluster = cluster([UP, UP, UP, DOWN, DOWN], &[(0, &[1, 2, 3]), (0, &[1, 2])]);
        let plan = plan_of(&cluster, &[]);
        assert_eq!(groups(&plan), [(3, vec![1, 2], vec![2])]);
        assert_eq!(plan.groups[0].out, None);
    }

    #[test]
    fn a_move_goes_on_with_its_newcomer_and_ends_when_that_is_gone_or_nobody_needs_it() {
        let placements: &[(u16, &[u32])] = &[(0, &[2, 3, 4]), (0, &[1, 2, 3])];
        let mut moving = cluster([DOWN, UP, UP, UP, UP], placements);
        begin(&mut moving, 2, 5);
        let plan = plan_of(&moving, &[1]);
        assert_eq!(groups(&plan), [(5, vec![2, 3], vec![2])]);
        assert!(plan.groups[0].placements[0].1, "it is begun");
        let ended = |cluster: &Cluster, gone: &[u32]| {
            let plan = plan_of(cluster, gone);
            assert!(plan.groups.is_empty());
            plan.abandoned
                .iter()
                .map(|(examined, newcomer)| (examined.placement.0, newcomer.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(ended(&moving, &[]), [(2, 5)], "volume 1 is not given up, or is back");
        let mut lost = cluster([DOWN, UP, UP, UP, DOWN], placements);
        begin(&mut lost, 2, 5);
        assert_eq!(ended(&lost, &[1, 5]), [(2, 5)]);
        assert_eq!(ended(&lost, &[1]), [(2, 5)], "another one is chosen");
        let mut doubtful = cluster([DOWN, UP, UP, UP, VolumeState::Suspect], placements);
        begin(&mut doubtful, 2, 5);
        assert_eq!(ended(&doubtful, &[1]), [], "it may be well in a moment");
        assert_eq!(plan_of(&doubtful, &[1]).waiting, [(Reason::Newcomer(VolumeId(5)), 1)].into());
    }

    #[test]
    fn what_waits_says_why() {
        let placements: &[(u16, &[u32])] = &[(0, &[2, 3]), (0, &[1, 2, 3]), (1, &[2, 3]), (1, &[1, 4, 5])];
        let stuck = cluster([DOWN, UP, UP, DOWN, DOWN], placements);
        let plan = plan_of(&stuck, &[1, 4, 5]);
        assert_eq!(groups(&plan), []);
        let none = Reason::NoCopy([1, 4, 5].map(VolumeId).to_vec());
        assert_eq!(
            plan.waiting,
            [(none, 1), (Reason::NoOther(MoveKind::Repair, Some(VolumeId(1))), 1)].into()
        );
        let full = cluster([DOWN, UP, UP, UP, UP], placements);
        let free_bytes = full.map.volumes.keys().map(|id| (*id, 100)).collect();
        let held = Copies { live: SetDigest { count: 1, bytes: 1000, sum: 7 }, ..Copies::default() };
        let copies = [(PlacementId(2), held)].into();
        let (gone, avoided) = ([VolumeId(1)].into(), BTreeSet::new());
        let known = Known { gone: &gone, avoided: &avoided, free_bytes: &free_bytes };
        let plan = super::plan(&full, &copies, 3, &known);
        assert_eq!(plan.waiting, [(Reason::NoRoom(1000 + OVERHEAD_BYTES), 1)].into());
    }
}
