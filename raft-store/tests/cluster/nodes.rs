//! Some nodes in one process, on disks that can crash, and what a test has them do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::cluster_map::{ClusterConfig, TableChange};
use hayrick_protocol::command::{Command, Commit, Precondition, RegisterVolume, Reply, Session};
use hayrick_protocol::record::Headers;
use hayrick_protocol::{
    ClusterId, EpochId, Generation, InstanceId, NodeId, ObjectKey, PartitionId, PlacementId, Seq, VolumeId,
};
use hayrick_raft_store::{ChangeError, Node, Options, Role};
use tokio::time::Instant;

use crate::wires::{Wire, Wires};

pub(crate) struct Cluster {
    pub(crate) wires: Wires,
    pub(crate) disks: BTreeMap<NodeId, FaultyDisk>,
    change: fn(&mut Options),
}

pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) fn soon() -> Instant {
    Instant::now() + WAIT
}

impl Cluster {
    pub(crate) async fn start(count: u64, change: fn(&mut Options)) -> Self {
        let disks = (1..=count).map(|id| (NodeId(id), FaultyDisk::new(id))).collect();
        let cluster = Self { wires: Wires::default(), disks, change };
        let masters: BTreeMap<NodeId, String> =
            cluster.disks.keys().map(|id| (*id, format!("master-{id}"))).collect();
        for id in masters.keys() {
            assert!(cluster.open(*id).await.is_pristine());
        }
        for id in masters.keys() {
            // The same call on several nodes, one of them twice, is safe.
            cluster.node(*id).initialize(masters.clone()).await.expect("formed");
        }
        cluster.node(NodeId(1)).initialize(masters).await.expect("formed");
        cluster
    }

    pub(crate) async fn open(&self, id: NodeId) -> Node {
        let mut options = Options {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(400)..Duration::from_millis(800),
            log_file_bytes: 1 << 20,
            index_cache_bytes: 4 << 20,
            ..Options::new(id, "/master")
        };
        (self.change)(&mut options);
        let disk: Arc<dyn Disk> = Arc::new(self.disks[&id].clone());
        let wire = Arc::new(Wire { from: id, wires: self.wires.clone() });
        let node = Node::open(options, disk, wire).await.expect("the node opens");
        self.wires.add(id, node.clone());
        node
    }

    pub(crate) fn node(&self, id: NodeId) -> Node {
        self.wires.node(id).expect("it runs")
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.wires.nodes()
    }

    pub(crate) fn cut(&self, id: NodeId) {
        self.wires.cut(id);
    }

    pub(crate) fn heal(&self) {
        self.wires.heal();
    }

    /// Ends a node as a kill does, with its disk as it is.
    pub(crate) async fn kill(&mut self, id: NodeId, power_too: Option<u64>) {
        let node = self.wires.take(id).expect("it runs");
        let disk = self.disks.get_mut(&id).expect("it has a disk");
        let after = power_too.map_or_else(|| disk.restart(), |seed| disk.crash(seed));
        let before = std::mem::replace(disk, after);
        // What the old process still does reaches a disk that nobody sees.
        before.fail_power_after(0);
        node.shutdown().await;
    }

    /// Whoever leads with a majority, among those that are not cut off.
    pub(crate) async fn leader(&self) -> Node {
        let deadline = soon();
        loop {
            for node in self.nodes() {
                let status = node.status();
                let cut = self.wires.is_cut(status.node);
                if !cut && status.role == Role::Leader && node.read_index(soon()).await.is_ok() {
                    return node;
                }
            }
            assert!(
                Instant::now() < deadline,
                "no leader: {:?}",
                self.nodes().iter().map(Node::status).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Proposes at whoever leads until it is answered. Repeats unknown outcomes too: sessions make that safe.
    pub(crate) async fn propose(&self, commands: Vec<Command>) -> Vec<Reply> {
        let deadline = soon();
        loop {
            let leader = self.leader().await;
            match leader.propose(commands.clone(), Instant::now() + Duration::from_secs(2)).await {
                Ok(replies) => return replies,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    /// A node with an empty disk that is no member yet.
    pub(crate) async fn open_new(&mut self, id: NodeId) -> Node {
        self.disks.insert(id, FaultyDisk::new(id.0));
        self.open(id).await
    }

    /// Asks whoever leads for a change of the membership, until it is made or refused for good.
    pub(crate) async fn change<F: Future<Output = Result<(), ChangeError>>>(
        &self,
        change: impl Fn(Node) -> F,
    ) -> Result<(), ChangeError> {
        let deadline = soon();
        loop {
            let error = match change(self.leader().await).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_help = matches!(
                error,
                ChangeError::NotLeader { .. }
                    | ChangeError::UnderWay
                    | ChangeError::Lags { .. }
                    | ChangeError::Unknown(_)
            );
            if !may_help || Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes a node a learner, then a voter.
    pub(crate) async fn enter(&self, id: NodeId) -> Result<(), ChangeError> {
        self.change(|leader| async move { leader.add_learner(id, format!("master-{id}"), soon()).await })
            .await?;
        self.change(|leader| async move { leader.promote(id, soon()).await }).await
    }

    pub(crate) async fn remove(&self, id: NodeId) -> Result<(), ChangeError> {
        self.change(|leader| async move { leader.remove_member(id, soon()).await }).await
    }

    /// Ends a node for good.
    pub(crate) async fn forget(&mut self, id: NodeId) {
        self.kill(id, None).await;
        self.disks.remove(&id);
    }

    pub(crate) async fn voters(&self) -> Vec<u64> {
        self.leader().await.voters().into_iter().map(|id| id.0).collect()
    }

    /// A cluster with one volume, one partition and one open epoch.
    pub(crate) async fn form(&self) -> EpochId {
        let replies = self
            .propose(vec![
                Command::FormCluster(ClusterConfig {
                    cluster: ClusterId([7; 16]),
                    partitions: 1,
                    replicas: 1,
                    min_replicas: 1,
                }),
                Command::RegisterVolume(RegisterVolume {
                    instance: InstanceId([1; 16]),
                    volume: None,
                    addr: "a".into(),
                    peer: "p".into(),
                    zone: String::new(),
                    capacity_bytes: 1,
                }),
                Command::ChangeTable {
                    map_version: 1,
                    table_version: 0,
                    changes: vec![TableChange { partition: PartitionId(0), members: vec![VolumeId(1)] }],
                },
                Command::OpenEpoch { master: NodeId(1), at_start: true, nonce: 1 },
            ])
            .await;
        match replies.last() {
            Some(Reply::EpochOpened(epoch)) => *epoch,
            other => panic!("{other:?}"),
        }
    }

    /// All nodes have applied what the leader has, and have the same state.
    pub(crate) async fn agree(&self) {
        let deadline = soon();
        loop {
            let index = self.leader().await.read_index(soon()).await.unwrap_or(u64::MAX);
            let mut hashes = BTreeSet::new();
            for node in self.nodes() {
                if node.wait_applied(index, Instant::now() + Duration::from_secs(1)).await.is_ok() {
                    hashes.insert(node.state_hash().await.expect("readable"));
                } else {
                    hashes.insert((0, format!("{:?}", node.status())));
                }
            }
            if hashes.len() == 1 {
                return;
            }
            assert!(Instant::now() < deadline, "{hashes:#?}");
        }
    }
}

pub(crate) fn commit(epoch: EpochId, seq: u32) -> Command {
    Command::Commit(Commit {
        session: Session { epoch, seq: Seq(seq), resolved_below: Seq(1) },
        key: key(seq),
        placement: PlacementId(1),
        generation: Generation(1),
        size: 10,
        crc: 1,
        md5: [3; 16],
        headers: Headers::default(),
        precondition: Precondition::None,
        now_ms: 1,
    })
}

pub(crate) fn key(n: u32) -> ObjectKey {
    ObjectKey::new(&format!("dir/{n:05}")).expect("a key")
}
