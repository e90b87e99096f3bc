//! How many copies there are of what is stored, and what cannot be read for want of one.
//!
//! Owns the counting: a copy counts where a member of the placement serves reads. A needle that is damaged on one of them is
//! not told from the others here: volumes say only how many are (`bad`).

use std::collections::{BTreeMap, BTreeSet};

use hayrick_protocol::cluster_map::{Volume, VolumeState};
use hayrick_protocol::{PlacementId, VolumeId};
use hayrick_raft_store::{Cluster, Copies};
use serde_json::{Map, Value, json};

/// Live objects, and placements that hold something, by the number of copies that can be read.
pub(super) struct Counts {
    objects: BTreeMap<u8, u64>,
    placements: BTreeMap<u8, u64>,
    /// Of the placements that hold objects and have no copy: who is a member and not removed, and how many objects.
    unreadable: BTreeMap<Vec<VolumeId>, u64>,
}

impl Counts {
    pub(super) fn of(cluster: &Cluster, copies: &BTreeMap<PlacementId, Copies>, replicas: u8) -> Self {
        let none = || (0..=replicas).map(|held| (held, 0)).collect::<BTreeMap<u8, u64>>();
        let mut counts = Self { objects: none(), placements: none(), unreadable: BTreeMap::new() };
        let state = |id: &VolumeId| cluster.map.volumes.get(id).map(|volume: &Volume| volume.state);
        for (placement, copies) in copies {
            let row = cluster.table.placement(*placement);
            let members = row.map(|row| row.members.as_slice()).unwrap_or_default();
            let held = members.iter().filter(|id| state(id).is_some_and(VolumeState::serves_reads)).count();
            let count = u8::try_from(held).unwrap_or(u8::MAX);
            *counts.objects.entry(count).or_default() += copies.live.count;
            // Whoever is up, nobody has them.
            *counts.objects.entry(0).or_default() += copies.missing.count;
            *counts.placements.entry(count).or_default() += u64::from(!copies.is_nothing());
            if held == 0 && copies.live.count > 0 {
                let may_come = |id: &&VolumeId| state(id).is_some_and(|state| state != VolumeState::Removed);
                let members = members.iter().filter(may_come).copied().collect();
                *counts.unreadable.entry(members).or_default() += copies.live.count;
            }
        }
        counts
    }

    pub(super) fn objects_json(&self) -> Value {
        by_copies(&self.objects)
    }

    pub(super) fn placements_json(&self) -> Value {
        by_copies(&self.placements)
    }

    /// Objects with fewer copies than that.
    pub(super) fn under(&self, replicas: u8) -> u64 {
        self.objects.range(..replicas).map(|(_, count)| count).sum()
    }

    /// How many objects cannot be read at the moment, and what is to be started so that they can.
    pub(super) fn unreadable(&self, cluster: &Cluster) -> Option<String> {
        let all: u64 = self.unreadable.values().sum();
        if all == 0 {
            return None;
        }
        let (wanted, lost) = self.to_start();
        let address =
            |id: &VolumeId| cluster.map.volumes.get(id).map_or("address unknown", |it| it.addr.as_str());
        let wanted: Vec<String> = wanted.iter().map(|id| format!("{id} ({})", address(id))).collect();
        let what = match &wanted[..] {
            [] => "all volumes that held them were removed".to_owned(),
            [one] => format!("none of the volumes that hold them is up; start volume {one}"),
            some => format!("none of the volumes that hold them is up; start volumes {}", some.join(", ")),
        };
        let but = if lost > 0 && !wanted.is_empty() {
            format!("; {lost} of them were on volumes that are all removed")
        } else {
            String::new()
        };
        Some(format!("{all} objects cannot be read at the moment: {what}{but}"))
    }

    /// Few volumes that between them hold all that can come back, the one that brings most first; and how many objects
    /// cannot.
    fn to_start(&self) -> (Vec<VolumeId>, u64) {
        let (mut rest, mut lost) = (Vec::new(), 0);
        for (members, objects) in &self.unreadable {
            match members.is_empty() {
                true => lost += objects,
                false => rest.push((members.iter().copied().collect::<BTreeSet<VolumeId>>(), *objects)),
            }
        }
        let mut wanted = Vec::new();
        while !rest.is_empty() {
            let mut brings: BTreeMap<VolumeId, u64> = BTreeMap::new();
            for (members, objects) in &rest {
                members.iter().for_each(|id| *brings.entry(*id).or_default() += objects);
            }
            // Of those that bring the same, the first.
            let Some((best, _)) = brings.iter().rev().max_by_key(|(_, objects)| **objects) else { break };
            let best = *best;
            rest.retain(|(members, _)| !members.contains(&best));
            wanted.push(best);
        }
        (wanted, lost)
    }
}

fn by_copies(counts: &BTreeMap<u8, u64>) -> Value {
    let named: Map<String, Value> =
        counts.iter().rev().map(|(held, count)| (held.to_string(), json!(count))).collect();
    Value::Object(named)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_protocol::cluster_map::{ClusterMap, Placement};
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::VolumeState::{Down, Full, Removed, Up};
    use super::*;

    /// Volumes 1 to 5 in these states, and placements with these members and so many objects.
    fn counts(states: [VolumeState; 5], placements: &[(&[u32], u64)]) -> (Cluster, Counts) {
        let volume = |(id, state)| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: format!("v{id}"),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let volumes = (1..).zip(states).map(volume).map(|volume| (volume.id, volume)).collect();
        let (mut table, mut copies) = (Table::default(), BTreeMap::new());
        for (id, (members, objects)) in (1..).zip(placements) {
            let id = PlacementId(id);
            let members = members.iter().copied().map(VolumeId).collect();
            let row = Placement { id, partition: PartitionId(0), members, generation: Generation(1) };
            table.placements.insert(id, row);
            let live = SetDigest { count: *objects, bytes: 0, sum: 0 };
            copies.insert(id, Copies { live, ..Copies::default() });
        }
        let map = Arc::new(ClusterMap { version: 1, volumes });
        let cluster = Cluster { map, table: Arc::new(table), ..Cluster::default() };
        let counts = Counts::of(&cluster, &copies, 3);
        (cluster, counts)
    }

    #[test]
    fn copies_count_members_that_are_there() {
        let placements: &[(&[u32], u64)] = &[(&[1, 2, 4], 10), (&[1, 2, 3], 5), (&[3], 1), (&[3, 5], 0)];
        let (cluster, counts) = counts([Up, Full, Down, Up, Down], placements);
        assert_eq!(counts.objects, [(0, 1), (1, 0), (2, 5), (3, 10)].into());
        assert_eq!(counts.placements, [(0, 1), (1, 0), (2, 1), (3, 1)].into());
        assert_eq!(counts.under(3), 6);
        let text = counts.unreadable(&cluster).expect("one object is on volume 3 alone");
        assert!(
            text.starts_with("1 objects cannot be read") && text.ends_with("start volume 3 (v3)"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_has_no_copy_whoever_is_up() {
        let (cluster, _) = counts([Up; 5], &[(&[1, 2, 4], 10)]);
        let set = |count| SetDigest { count, bytes: 0, sum: 0 };
        let copies =
            [(PlacementId(1), Copies { live: set(10), missing: set(4), ..Copies::default() })].into();
        let counts = Counts::of(&cluster, &copies, 3);
        assert_eq!(counts.objects, [(0, 4), (1, 0), (2, 0), (3, 10)].into());
        assert_eq!(counts.under(3), 4);
    }

    #[test]
    fn what_cannot_be_read_names_few_volumes_to_start_and_what_is_lost() {
        let placements: &[(&[u32], u64)] =
            &[(&[1, 2], 7), (&[2, 3], 7), (&[3, 4], 1), (&[5], 2), (&[1, 5], 1)];
        let (cluster, counts) = counts([Down, Down, Down, Down, Removed], placements);
        let text = counts.unreadable(&cluster).expect("nothing can be read");
        assert_eq!(
            text,
            "18 objects cannot be read at the moment: none of the volumes that hold them is up; start volumes 2 (v2), 1 (v1), \
             3 (v3); 2 of them were on volumes that are all removed"
        );
        let (cluster, counts) = self::counts([Removed; 5], placements);
        let text = counts.unreadable(&cluster).expect("nothing ever will");
        assert!(text.ends_with("all volumes that held them were removed"), "{text}");
        let (cluster, counts) = self::counts([Up, Up, Up, Down, Up], placements);
        assert_eq!(counts.unreadable(&cluster), None);
    }
}
