//! A new table by itself: computed, encoded as a command and applied, as the leader does it when volumes come and go. What the
//! log and the network take is not in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_disk::RealDisk;
use hayrick_placement::Candidate;
use hayrick_protocol::cluster_map::{ClusterConfig, Volume, VolumeState};
use hayrick_protocol::command::{Command, RegisterVolume, StateChange};
use hayrick_protocol::{EpochId, InstanceId, NodeId, PartitionId, VolumeId};
use hayrick_raft_store::bench::{self, Applier};
use hayrick_raft_store::{Cluster, Options};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::figure::Figure;
use crate::keys;

const REPLICAS: u8 = 3;
/// Keys for each partition, so that nearly every placement that is closed holds something and stays.
const KEYS_OF_PARTITION: u32 = 4;
const ENTRY_COMMANDS: usize = 64;
/// The first one that is opened.
const EPOCH: EpochId = EpochId(1);

/// The longest of: the first table, one without a volume that died, one with it again, and one with another volume.
pub(crate) fn longest(runtime: &Runtime, dir: &Path, volumes: u32, partitions: u32) -> Result<Figure> {
    std::fs::create_dir_all(dir)?;
    let mut applier = Applier::open(Arc::new(RealDisk), &Options::new(NodeId(1), dir))?;
    runtime.block_on(async {
        let config =
            ClusterConfig { cluster: keys::CLUSTER, partitions, replicas: REPLICAS, min_replicas: 2 };
        let mut commands = vec![Command::FormCluster(config)];
        commands.extend((1..=volumes).map(register));
        commands.push(Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: 1 });
        apply(&mut applier, &commands).await?;
        let mut longest = change(&mut applier, config, "the first").await?;
        let mut next_key = 1;
        for (what, command) in [
            ("without a volume", turn(VolumeState::Up, VolumeState::Down)),
            ("with it again", turn(VolumeState::Down, VolumeState::Up)),
            ("with another one", register(volumes + 1)),
        ] {
            next_key = fill(&mut applier, partitions, next_key).await?;
            apply(&mut applier, &[command]).await?;
            longest = longest.max(change(&mut applier, config, what).await?);
        }
        Ok(Figure::plain(longest.as_secs_f64() * 1000.0))
    })
}

/// Brings the table in step with the volumes that are up; how long that took.
async fn change(applier: &mut Applier, config: ClusterConfig, what: &str) -> Result<Duration> {
    let cluster = applier.cluster();
    let begun = Instant::now();
    let (current, candidates) = (current(&cluster, config.partitions), candidates(&cluster));
    let wanted = hayrick_placement::table(&candidates, config.partitions, config.replicas, &current);
    let changes = hayrick_placement::changes(&current, &wanted);
    let computed = begun.elapsed();
    let changed = changes.len();
    let (map_version, table_version) = (cluster.map.version, cluster.table.version);
    let entry = bench::entry(&[Command::ChangeTable { map_version, table_version, changes }]);
    applier.apply([entry]).await?;
    let took = begun.elapsed();
    let cluster = applier.cluster();
    ensure!(changed > 0 && cluster.table.version > table_version, "{what}: no new table was applied");
    eprintln!(
        "{what}: {changed} partitions, {} placements; computed in {computed:?}, applied after {took:?}",
        cluster.table.placements.len()
    );
    Ok(took)
}

fn current(cluster: &Cluster, partitions: u32) -> Vec<Vec<VolumeId>> {
    let members = |partition| cluster.table.current(PartitionId(partition)).map(|row| row.members.clone());
    (0..=u16::MAX).take(partitions as usize).map(|partition| members(partition).unwrap_or_default()).collect()
}

fn candidates(cluster: &Cluster) -> Vec<Candidate> {
    let candidate = |volume: &Volume| Candidate {
        id: volume.id,
        weight: volume.capacity_bytes,
        zone: volume.zone.clone(),
    };
    cluster.map.volumes.values().filter(|volume| volume.state.takes_writes()).map(candidate).collect()
}

/// New keys in all partitions; the number of the next one.
async fn fill(applier: &mut Applier, partitions: u32, first: u32) -> Result<u32> {
    let (cluster, last) = (applier.cluster(), first + partitions * KEYS_OF_PARTITION);
    let mut commits = Vec::new();
    for number in first..last {
        let mut command = keys::commit(EPOCH, number);
        if let Command::Commit(commit) = &mut command {
            let current =
                cluster.table.current(commit.key.partition(partitions)).context("there is a table")?;
            (commit.placement, commit.generation) = (current.id, current.generation);
        }
        commits.push(command);
    }
    for commits in commits.chunks(ENTRY_COMMANDS) {
        apply(applier, commits).await?;
    }
    let found = applier.counters().objects;
    ensure!(found == u64::from(last - 1), "{found} keys of {} were applied", last - 1);
    Ok(last)
}

async fn apply(applier: &mut Applier, commands: &[Command]) -> Result<()> {
    Ok(applier.apply([bench::entry(commands)]).await?)
}

fn turn(from: VolumeState, to: VolumeState) -> Command {
    Command::SetVolumeStates(vec![StateChange { volume: VolumeId(1), from, to }])
}

/// Volumes of three sizes in five zones.
fn register(number: u32) -> Command {
    Command::RegisterVolume(RegisterVolume {
        instance: InstanceId([u8::try_from(number).unwrap_or(u8::MAX); 16]),
        volume: None,
        addr: format!("10.0.0.{number}:9091"),
        peer: format!("10.0.0.{number}:9093"),
        zone: format!("zone-{}", number % 5),
        capacity_bytes: u64::from(1 + number % 3) << 42,
    })
}
