//! Linearizable gets, as a gateway makes them: a read-index that all share who gathered while the last one was on its
//! way, until that is applied here, and then the record.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_protocol::messages::master::ReadIndex;
use hayrick_protocol::record::ObjectRecord;
use hayrick_protocol::{NodeId, ObjectKey};
use hayrick_raft_store::Node;
use hayrick_rpc::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::WARM_UP;
use crate::figure::Figure;
use crate::keys;
use crate::peers::Peers;

const PATIENCE: Duration = Duration::from_secs(5);

/// The reads that wait for an index, and the way to the leader.
pub(crate) struct Rounds {
    id: NodeId,
    node: Node,
    peers: Arc<Peers>,
    waiting: Mutex<Vec<oneshot::Sender<u64>>>,
    arrived: Notify,
    /// Who was asked last.
    leader: Mutex<Option<(NodeId, Client)>>,
}

/// Gets a second by so many tasks, of keys that were there before.
pub(crate) async fn rate(rounds: &Arc<Rounds>, tasks: usize, measured: Duration) -> Result<Figure> {
    rounds.get(&keys::key(1)).await?;
    let keys = u32::try_from(rounds.node.status().counters.objects)?;
    let from = Instant::now() + WARM_UP;
    let counts = from..from + measured;
    let running: Vec<_> = (0..tasks)
        .map(|task| tokio::spawn(read(Arc::clone(rounds), task as u64, keys, counts.clone())))
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    Ok(Figure::rate(latencies, measured))
}

/// One reader of them: how long each get took that ended in the time that counts.
async fn read(rounds: Arc<Rounds>, task: u64, keys: u32, counts: Range<Instant>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for turn in 0.. {
        // Numbers begin at 1, and whatever was written meanwhile is behind them.
        let number = 1 + (keys::mixed(task << 40 | turn) % u64::from(keys)) as u32;
        let begun = Instant::now();
        let record = rounds.get(&keys::key(number)).await?;
        let ended = Instant::now();
        ensure!(record.crc == number, "key {number} has the record of another");
        if ended >= counts.end {
            break;
        }
        if ended >= counts.start {
            latencies.push(ended - begun);
        }
    }
    Ok(latencies)
}

/// Asks the leader as long as there is somebody to ask for.
async fn ask(rounds: Arc<Rounds>) {
    loop {
        let waiting = std::mem::take(&mut *rounds.waiting.lock());
        if waiting.is_empty() {
            rounds.arrived.notified().await;
            // Whoever is ready to ask goes with the same question.
            tokio::task::yield_now().await;
            continue;
        }
        // Where there is no answer, who waits learns of it by being dropped.
        let Ok(index) = rounds.index().await else { continue };
        for reader in waiting {
            // It may have given up.
            let _ = reader.send(index);
        }
    }
}

impl Rounds {
    /// Of this node; asks for ever.
    pub(crate) fn start(id: NodeId, node: Node, peers: Arc<Peers>) -> Arc<Self> {
        let (waiting, arrived, leader) = (Mutex::default(), Notify::new(), Mutex::default());
        let rounds = Arc::new(Self { id, node, peers, waiting, arrived, leader });
        tokio::spawn(ask(Arc::clone(&rounds)));
        rounds
    }

    /// The record of a key, as of this call or later.
    pub(crate) async fn get(&self, key: &ObjectKey) -> Result<ObjectRecord> {
        let (asking, answer) = oneshot::channel();
        self.waiting.lock().push(asking);
        self.arrived.notify_one();
        let index = answer.await.context("the leader did not answer")?;
        self.node.wait_applied(index, Instant::now() + PATIENCE).await?;
        self.node.get(key)?.with_context(|| format!("{key} is not there"))
    }

    async fn index(&self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let leader = self.node.watch().borrow().leader.context("there is no leader")?;
        if leader == self.id {
            return Ok(self.node.read_index(deadline).await?);
        }
        Ok(self.client(leader)?.call(&ReadIndex, Vec::new(), deadline).await?.0?)
    }

    fn client(&self, leader: NodeId) -> Result<Client> {
        let mut last = self.leader.lock();
        if let Some((id, client)) = &*last
            && *id == leader
        {
            return Ok(client.clone());
        }
        let voters = self.node.status().voters;
        let member = voters.iter().find(|member| member.node == leader).context("the leader is no voter")?;
        let client = self.peers.client(leader, &member.address);
        *last = Some((leader, client.clone()));
        Ok(client)
    }
}
