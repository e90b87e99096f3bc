//! The aims of docs/placement.md at full size: 4096 partitions, three replicas, equal weights.

use hayrick_placement::{Candidate, changes, table};
use hayrick_protocol::ids::VolumeId;

const PARTITIONS: u32 = 4096;

fn next(volumes: impl Iterator<Item = u32>, current: &[Vec<VolumeId>]) -> Vec<Vec<VolumeId>> {
    let candidates: Vec<Candidate> =
        volumes.map(|id| Candidate { id: VolumeId(id), weight: 1 << 40, zone: String::new() }).collect();
    table(&candidates, PARTITIONS, 3, current)
}

fn load(table: &[Vec<VolumeId>], id: u32) -> usize {
    table.iter().filter(|members| members.contains(&VolumeId(id))).count()
}

#[test]
fn load_is_even_and_least_moves_at_4_10_and_50_volumes() {
    for volumes in [3, 4, 10, 50] {
        let before = next(1..=volumes, &[]);
        let mean = PARTITIONS as usize * 3 / volumes as usize;
        for id in 1..=volumes {
            assert!(load(&before, id) <= mean + 1, "{volumes} volumes: {id} holds {}", load(&before, id));
        }

        let joined = next(1..=volumes + 1, &before);
        let share = PARTITIONS as usize * 3 / (volumes as usize + 1);
        assert!(changes(&before, &joined).len() <= share + 1);
        assert!(load(&joined, volumes + 1) >= share);

        if volumes > 3 {
            let left = next(1..volumes, &before);
            assert_eq!(changes(&before, &left).len(), load(&before, volumes));
            assert_eq!(next(1..=volumes, &left), before);
        }
    }
}

#[test]
fn a_cluster_that_grew_is_even_and_mostly_finds_former_members() {
    let grown = (3..=10).fold(Vec::new(), |table, volumes| next(1..=volumes, &table));
    for id in 1..=10 {
        assert!(load(&grown, id) <= PARTITIONS as usize * 3 / 10 + 1);
        let without = next((1..=10).filter(|volume| *volume != id), &grown);
        let again = next(1..=10, &without);
        assert!(changes(&grown, &again).len() * 10 <= load(&grown, id), "volume {id}");
    }
}

#[test]
fn with_as_many_zones_as_copies_a_volume_is_replaced_within_its_zone_and_finds_all_again() {
    let volume = |id: u32| Candidate { id: VolumeId(id), weight: 1, zone: format!("z{}", id % 3) };
    let all: Vec<Candidate> = (1..=12).map(volume).collect();
    let before = table(&all, PARTITIONS, 3, &[]);
    for id in 1..=12 {
        let others: Vec<Candidate> = all.iter().filter(|volume| volume.id.0 != id).cloned().collect();
        let without = table(&others, PARTITIONS, 3, &before);
        assert_eq!(changes(&before, &without).len(), load(&before, id));
        assert!(without.iter().all(|members| (0..3).all(|zone| members.iter().any(|id| id.0 % 3 == zone))));
        assert_eq!(table(&all, PARTITIONS, 3, &without), before);
    }
}
