//! The commands that are proposed: what a cluster of one volume needs, and commits of keys that come in random order.

use anyhow::{Result, bail};
use hayrick_protocol::cluster_map::{ClusterConfig, TableChange};
use hayrick_protocol::command::{Command, Commit, Precondition, RegisterVolume, Reply, Session};
use hayrick_protocol::record::Headers;
use hayrick_protocol::{
    ClusterId, EpochId, Generation, InstanceId, NodeId, ObjectKey, PartitionId, PlacementId, Seq, VolumeId,
};

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);
/// More than are ever in flight, so that no commit is taken for an old one.
const RESOLVED_BEHIND: u32 = 8192;

/// What makes a state that takes commits; the last reply has the epoch.
pub(crate) fn forming() -> Vec<Command> {
    let config = ClusterConfig { cluster: CLUSTER, partitions: 1, replicas: 1, min_replicas: 1 };
    let volume = RegisterVolume {
        instance: InstanceId([1; 16]),
        volume: None,
        addr: "127.0.0.1:1".into(),
        peer: "127.0.0.1:2".into(),
        zone: String::new(),
        capacity_bytes: 1,
    };
    let changes = vec![TableChange { partition: PartitionId(0), members: vec![VolumeId(1)] }];
    vec![
        Command::FormCluster(config),
        Command::RegisterVolume(volume),
        Command::ChangeTable { map_version: 1, table_version: 0, changes },
        Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: 1 },
    ]
}

/// The epoch that [`forming`] opened.
pub(crate) fn epoch(replies: &[Reply]) -> Result<EpochId> {
    match replies.last() {
        Some(Reply::EpochOpened(epoch)) => Ok(*epoch),
        other => bail!("no epoch was opened: {other:?}"),
    }
}

/// Key `number`: 32 bytes, of which the first 16 have no order.
pub(crate) fn key(number: u32) -> ObjectKey {
    ObjectKey::new(&format!("{:016x}{number:016}", mixed(number.into()))).expect("hex digits are a key")
}

/// A commit of key `number`, some 80 bytes in the log.
pub(crate) fn commit(epoch: EpochId, number: u32) -> Command {
    let resolved_below = number.saturating_sub(RESOLVED_BEHIND).max(1);
    Command::Commit(Commit {
        session: Session { epoch, seq: Seq(number), resolved_below: Seq(resolved_below) },
        key: key(number),
        placement: PlacementId(1),
        generation: Generation(1),
        size: 1024,
        crc: number,
        md5: [3; 16],
        headers: Headers::default(),
        precondition: Precondition::None,
        now_ms: 1_760_000_000_000 + u64::from(number),
    })
}

/// The same with a longer key, some 150 bytes in the log.
pub(crate) fn longer_commit(epoch: EpochId, number: u32) -> Command {
    let mut command = commit(epoch, number);
    if let Command::Commit(commit) = &mut command {
        let longer = format!("{}{:079}", commit.key.as_str(), 0);
        commit.key = ObjectKey::new(&longer).expect("digits are a key");
    }
    command
}

/// A number as one of 64 bits without an order (splitmix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
