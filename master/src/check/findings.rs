//! What a check has found so far, and what it says of it. Pure.
//!
//! Owns what counts as a finding, and the words. A needle that died and is on its way out (garbage, orphans, what a former
//! member keeps) is none, and neither is one that a write in flight has not committed yet: they are counted. Invariant: of
//! each kind a few lines are kept and all are counted, whatever there is.

use std::collections::BTreeMap;

use hayrick_protocol::answers::check::{Finding, Held, Lacks, Report, VolumeChecked};
use hayrick_protocol::cluster_map::{Placement, VolumeState, VolumeStatus};
use hayrick_protocol::{ObjectKey, PlacementId, VolumeId};
use hayrick_raft_store::{Audit, Class, Cluster, Compared, Copies};

use super::listing::Listed;

/// Lines that are kept of a kind.
const LINES_MAX: usize = 20;

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings {
    volumes: BTreeMap<VolumeId, Found>,
    missing: Lines,
    copies: Lines,
    lacks: Lines,
    wrong: Lines,
    named: usize,
    placements_short: u64,
    /// Partitions that hold no object and take writes with fewer copies.
    thin_writes: u64,
    /// How many placements that hold objects, or take writes, name each volume.
    names: BTreeMap<VolumeId, u64>,
}

#[derive(Default)]
struct Found {
    held: Held,
    lacks: Lacks,
    wrong: u64,
}

/// The first lines of a kind, and how many there are.
#[derive(Default)]
struct Lines {
    count: u64,
    lines: Vec<String>,
}

impl Lines {
    fn push(&mut self, line: String) {
        self.count += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }

    fn finding(self, kind: &str, advice: &str) -> Option<Finding> {
        let Self { count, lines } = self;
        (count > 0).then(|| Finding { kind: kind.to_owned(), count, lines, advice: advice.to_owned() })
    }
}

impl Findings {
    /// A volume showed all that it holds of a portion.
    pub(super) fn listed(&mut self, listed: &Listed) {
        let found = self.volumes.entry(listed.holding.volume()).or_default();
        for (class, needles, bytes) in listed.holding.sums() {
            part(&mut found.held, class).add(needles, bytes);
        }
        found.wrong += listed.wrong;
        self.wrong.count += listed.wrong;
        let room = LINES_MAX.saturating_sub(self.wrong.lines.len());
        self.wrong.lines.extend(listed.wrong_lines.iter().take(room).cloned());
    }

    /// A volume does not hold all that it must of a placement.
    pub(super) fn lacks(&mut self, volume: VolumeId, placement: PlacementId, compared: &Compared) {
        let needles = compared.lacks();
        let found = self.volumes.entry(volume).or_default();
        found.lacks.placements += 1;
        found.lacks.needles += needles;
        let must = compared.must.live.count + compared.must.garbage.count;
        self.lacks.push(match needles {
            0 => format!("volume {volume}: of placement {placement} it holds other needles than the index says"),
            _ => format!(
                "volume {volume}: of placement {placement} it lacks {needles} of {must} needles, or holds them damaged"
            ),
        });
    }

    /// What lacks, by name; said with the line of its placement.
    pub(super) fn name(&mut self, volume: VolumeId, placement: PlacementId, names: Vec<String>) {
        let start = format!("volume {volume}: of placement {placement} ");
        let Some(line) = self.lacks.lines.iter_mut().find(|line| line.starts_with(&start)) else { return };
        if !names.is_empty() {
            self.named += names.len();
            line.push_str(&format!(": {}", names.join(", ")));
        }
    }

    /// Nobody has this object.
    pub(super) fn missing(&mut self, key: &ObjectKey) {
        self.missing.push(format!("{key}: no volume that was up had it when it was looked for"));
    }

    /// Nobody has so many objects, whether they were named or not.
    pub(super) fn count_missing(&mut self, count: u64) {
        self.missing.count = self.missing.count.max(count);
    }

    /// How many were named.
    pub(super) fn named(&self) -> usize {
        self.named
    }

    /// Who holds the placements of a portion.
    pub(super) fn placements(&mut self, audit: &Audit) {
        let rows = audit.placements().iter().filter_map(|id| audit.cluster().table.placement(*id));
        for row in rows {
            self.placement(audit.cluster(), row, audit.must_hold(row.id));
        }
    }

    fn placement(&mut self, cluster: &Cluster, row: &Placement, held: Copies) {
        let is_current = cluster.table.is_current(row.id);
        // What died there is on its way out.
        let has_objects = held.live.count > 0 || held.missing.count > 0;
        if !has_objects && !is_current {
            return;
        }
        row.members.iter().for_each(|member| *self.names.entry(*member).or_default() += 1);
        let state = |id: &VolumeId| cluster.map.volumes.get(id).map(|volume| volume.state);
        let away = row.members.iter().filter(|id| !state(id).is_some_and(VolumeState::serves_reads));
        let away: Vec<String> = away
            .map(|id| match state(id) {
                Some(state) => format!("volume {id} is {state}"),
                None => format!("volume {id} is not known"),
            })
            .collect();
        let replicas = cluster.config.map_or(1, |config| usize::from(config.replicas));
        if away.is_empty() && row.members.len() >= replicas {
            return;
        }
        if !has_objects {
            self.thin_writes += 1;
            return;
        }
        self.placements_short += 1;
        let (id, partition, objects) = (row.id, row.partition, held.live.count);
        let up = row.members.len() - away.len();
        let why = if away.is_empty() { "it has no more members".to_owned() } else { away.join(", ") };
        let writes = if is_current { ", which takes writes" } else { "" };
        self.copies.push(format!(
            "placement {id} of partition {partition}{writes}: {up} of {replicas} copies of {objects} objects are there: {why}"
        ));
    }

    /// One line for all partitions that hold no object.
    fn thin_writes(&mut self, cluster: &Cluster) {
        if self.thin_writes > 0 {
            let (count, replicas) = (self.thin_writes, cluster.config.map_or(1, |config| config.replicas));
            self.copies.push(format!(
                "{count} partitions that hold no object take writes with fewer than {replicas} copies, as too few volumes take any"
            ));
        }
    }

    /// All of it. `unseen` are the volumes that did not show all that they hold, `status` what volumes say of themselves.
    pub(super) fn report(
        mut self,
        cluster: &Cluster,
        unseen: &BTreeMap<VolumeId, String>,
        status: impl Fn(VolumeId) -> Option<VolumeStatus>,
    ) -> Report {
        let (mut volumes, mut total) = (Vec::new(), Held::default());
        let (mut lost, mut bad) = (Lines::default(), Lines::default());
        for volume in cluster.map.volumes.values().filter(|volume| volume.state != VolumeState::Removed) {
            let id = volume.id;
            let Found { held, lacks, wrong } = self.volumes.remove(&id).unwrap_or_default();
            add(&mut total, &held);
            let why = unseen.get(&id).cloned().unwrap_or_default();
            let names = self.names.get(&id).copied().unwrap_or_default();
            let status = status(id).unwrap_or_default();
            if !why.is_empty() && names > 0 {
                lost.push(format!(
                    "volume {id} does not show what it holds, and {names} placements name it: {why}"
                ));
            }
            if status.bad > 0 && why.is_empty() {
                let (bad_now, bytes) = (status.bad, status.bad_bytes);
                bad.push(format!(
                    "volume {id} knows of {bad_now} damaged needles or stretches, {bytes} bytes"
                ));
            }
            volumes.push(VolumeChecked {
                id: id.0,
                state: volume.state.to_string(),
                unseen: why,
                held,
                lacks,
                wrong,
                bad: status.bad,
                used: status.used_bytes,
                free: status.free_bytes,
                dead_bytes: status.dead_bytes,
            });
        }
        self.thin_writes(cluster);
        let findings = [
            lost.finding(
                "volume",
                "start it; what a lost one held is copied from the others after --repair-after",
            ),
            self.missing
                .finding("missing", "start the volumes that had them, store them again, or delete them"),
            self.copies.finding(
                "copies",
                "copies are made by themselves where that can be done: `hayrick status` shows \
                 them, and what they wait for",
            ),
            self.lacks.finding(
                "lacks",
                "what another member has is pulled by itself: check again in some minutes; what \
                 stays is told under waiting in `hayrick status`",
            ),
            self.wrong.finding(
                "wrong",
                "what is damaged is pulled anew from another member by itself: check again in some \
                 minutes, and look at the volume's disk",
            ),
            bad.finding(
                "bad",
                "what was hit is pulled anew from another member by itself; look at the volume's disk",
            ),
        ];
        Report {
            volumes,
            total,
            placements_short: self.placements_short,
            findings: findings.into_iter().flatten().collect(),
            ..Report::default()
        }
    }
}

fn part(held: &mut Held, class: Class) -> &mut hayrick_protocol::answers::check::Sum {
    match class {
        Class::Live => &mut held.live,
        Class::Moving => &mut held.moving,
        Class::Garbage => &mut held.garbage,
        Class::LeftOver => &mut held.left_over,
        Class::Orphan => &mut held.orphan,
        Class::Unaccounted => &mut held.unaccounted,
    }
}

fn add(total: &mut Held, held: &Held) {
    let Held { live, moving, garbage, left_over, orphan, unaccounted } = held;
    total.live.add(live.needles, live.bytes);
    total.moving.add(moving.needles, moving.bytes);
    total.garbage.add(garbage.needles, garbage.bytes);
    total.left_over.add(left_over.needles, left_over.bytes);
    total.orphan.add(orphan.needles, orphan.bytes);
    total.unaccounted.add(unaccounted.needles, unaccounted.bytes);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hayrick_protocol::cluster_map::{ClusterConfig, ClusterMap, Volume};
    use hayrick_protocol::digest::SetDigest;
    use hayrick_protocol::{ClusterId, Generation, InstanceId, PartitionId};
    use hayrick_raft_store::Table;

    use super::*;

    const DOWN: VolumeState = VolumeState::Down;

    /// Volumes 1 to 4 in these states, and placements of one partition with these members, the first of which takes its
    /// writes.
    fn cluster(states: [VolumeState; 4], placements: &[&[u32]]) -> Cluster {
        let volume = |(id, state)| Volume {
            id: VolumeId(id),
            instance: InstanceId::UNKNOWN,
            addr: String::new(),
            peer: String::new(),
            zone: String::new(),
            capacity_bytes: 1,
            state,
        };
        let volumes = (1..).zip(states).map(volume).map(|volume| (volume.id, volume)).collect();
        let row = |(id, members): (u32, &&[u32])| Placement {
            id: PlacementId(id),
            partition: PartitionId(0),
            members: members.iter().copied().map(VolumeId).collect(),
            generation: Generation(1),
        };
        let rows = (1..).zip(placements).map(row).map(|row| (row.id, row)).collect();
        let table = Table { current: vec![Some(PlacementId(1))], placements: rows, ..Table::default() };
        let config =
            ClusterConfig { cluster: ClusterId::UNKNOWN, partitions: 1, replicas: 3, min_replicas: 2 };
        Cluster {
            config: Some(config),
            map: Arc::new(ClusterMap { version: 1, volumes }),
            table: Arc::new(table),
            ..Cluster::default()
        }
    }

    fn holding(count: u64) -> Copies {
        Copies { live: SetDigest { count, bytes: count, sum: count }, ..Copies::default() }
    }

    /// What is found where each placement holds so many needles, and what is down shows nothing.
    fn report(cluster: &Cluster, needles: u64, bad: u64) -> Report {
        let mut findings = Findings::default();
        for row in cluster.table.placements.values() {
            findings.placement(cluster, row, holding(needles));
        }
        let down = cluster.map.volumes.values().filter(|volume| volume.state == DOWN);
        let unseen = down.map(|volume| (volume.id, "it is down".to_owned())).collect();
        findings.report(cluster, &unseen, |_| Some(VolumeStatus { bad, ..VolumeStatus::default() }))
    }

    fn kinds(report: &Report) -> Vec<(&str, u64)> {
        report.findings.iter().map(|finding| (finding.kind.as_str(), finding.count)).collect()
    }

    #[test]
    fn a_down_volume_counts_as_long_as_something_that_matters_names_it() {
        use VolumeState::{Full, Removed, Up};
        let named: &[&[u32]] = &[&[2, 3, 4], &[1, 2, 3]];
        assert_eq!(kinds(&report(&cluster([Up, Full, Up, Up], named), 5, 0)), []);
        let lost = report(&cluster([DOWN, Up, Up, Up], named), 5, 0);
        assert_eq!((kinds(&lost), lost.placements_short), (vec![("volume", 1), ("copies", 1)], 1));
        assert!(lost.findings[1].lines[0].contains("2 of 3 copies of 5 objects are there: volume 1 is down"));
        let empty = report(&cluster([DOWN, Up, Up, Up], named), 0, 0);
        assert_eq!(kinds(&empty), [], "nothing lies in the closed one");
        let of_writes = report(&cluster([Up, Up, Up, DOWN], named), 0, 0);
        assert_eq!(kinds(&of_writes), [("volume", 1), ("copies", 1)], "it takes writes");
        let unnamed = report(&cluster([DOWN, Up, Up, Up], &[&[2, 3, 4]]), 5, 0);
        assert_eq!((kinds(&unnamed), unnamed.volumes.len()), (vec![], 4));
        assert_eq!(report(&cluster([Removed, Up, Up, Up], &[&[2, 3, 4]]), 5, 0).volumes.len(), 3);
        let few = report(&cluster([Up, Up, Up, Up], &[&[2, 3]]), 5, 0);
        assert!(few.findings[0].lines[0].contains("2 of 3 copies"), "{few:?}");
        assert_eq!(kinds(&report(&cluster([Up, Up, Up, Up], named), 5, 2)), [("bad", 4)]);

        let emptied = cluster([Up, Up, Up, DOWN], named);
        let garbage = Copies { garbage: holding(5).live, ..Copies::default() };
        let mut findings = Findings::default();
        emptied.table.placements.values().for_each(|row| findings.placement(&emptied, row, garbage));
        let lines = findings.report(&emptied, &BTreeMap::new(), |_| None).findings.remove(0).lines;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("1 partitions that hold no object take writes"), "{lines:?}");
    }

    #[test]
    fn of_each_kind_a_few_are_told_and_all_are_counted() {
        let mut findings = Findings::default();
        let compared = Compared { must: holding(9), found: holding(7) };
        for id in 1..=25 {
            findings.lacks(VolumeId(2), PlacementId(id), &compared);
        }
        findings.name(VolumeId(2), PlacementId(1), vec!["needle 4 of a/b".to_owned()]);
        assert_eq!(findings.named(), 1);
        let cluster = cluster([VolumeState::Up; 4], &[&[2, 3, 4]]);
        let report = findings.report(&cluster, &BTreeMap::new(), |_| None);
        let [lacks] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((lacks.count, lacks.lines.len()), (25, LINES_MAX));
        assert!(lacks.lines[0].contains("placement 1 it lacks 2 of 9 needles"), "{lacks:?}");
        assert!(lacks.lines[0].ends_with(": needle 4 of a/b") && !lacks.lines[9].contains("needle 4"));
        assert_eq!(report.volumes[1].lacks, Lacks { placements: 25, needles: 50 });
    }
}
