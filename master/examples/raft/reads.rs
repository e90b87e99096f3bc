//! Linearizable gets, as a gateway makes them: a read-index that all share who gathered while the last one was on its
//! way, until that is applied here, and then the record.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_protocol::NodeId;
use hayrick_protocol::messages::master::ReadIndex;
use hayrick_raft_store::Node;
use hayrick_rpc::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::WARM_UP;
use crate::figure::Figure;
use crate::keys;
use crate::node::Own;

const PATIENCE: Duration = Duration::from_secs(5);

/// The reads that wait for an index, and the way to the leader.
struct Rounds {
    waiting: Mutex<Vec<oneshot::Sender<u64>>>,
    arrived: Notify,
    node: Node,
    /// None where this node leads.
    leader: Option<Client>,
}

/// Gets a second by so many tasks, of keys that were there before.
pub(crate) async fn rate(own: &Own, tasks: usize, measured: Duration) -> Result<Figure> {
    let rounds = Arc::new(Rounds::new(own).await?);
    let asking = tokio::spawn(ask(Arc::clone(&rounds)));
    one(own).await?;
    let keys = u32::try_from(own.node.status().counters.objects)?;
    ensure!(keys > 0, "there is nothing to read");
    let from = Instant::now() + WARM_UP;
    let counts = from..from + measured;
    let running: Vec<_> = (0..tasks)
        .map(|task| tokio::spawn(read(Arc::clone(&rounds), task as u64, keys, counts.clone())))
        .collect();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    asking.abort();
    Ok(Figure::rate(latencies, measured))
}

/// One reader of them: how long each get took that ended in the time that counts.
async fn read(rounds: Arc<Rounds>, task: u64, keys: u32, counts: Range<Instant>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for turn in 0.. {
        // Numbers begin at 1, and whatever was written meanwhile is behind them.
        let number = 1 + (keys::mixed(task << 40 | turn) % u64::from(keys)) as u32;
        let begun = Instant::now();
        rounds.get(number).await?;
        let ended = Instant::now();
        if ended >= counts.end {
            break;
        }
        if ended >= counts.start {
            latencies.push(ended - begun);
        }
    }
    Ok(latencies)
}

/// One get, of the first key.
pub(crate) async fn one(own: &Own) -> Result<()> {
    let rounds = Rounds::new(own).await?;
    let index = rounds.index().await?;
    rounds.finish(index, 1).await
}

/// Asks the leader as long as there is somebody to ask for.
async fn ask(rounds: Arc<Rounds>) -> Result<()> {
    loop {
        let waiting = std::mem::take(&mut *rounds.waiting.lock());
        if waiting.is_empty() {
            rounds.arrived.notified().await;
            // Whoever is ready to ask goes with the same question.
            tokio::task::yield_now().await;
            continue;
        }
        let index = rounds.index().await?;
        for reader in waiting {
            // It may have given up.
            let _ = reader.send(index);
        }
    }
}

impl Rounds {
    async fn new(own: &Own) -> Result<Self> {
        let mut progress = own.node.watch();
        let led = progress.wait_for(|progress| progress.leader.is_some());
        let leader = tokio::time::timeout(PATIENCE, led).await??.leader.context("there is a leader")?;
        let leader = if leader == own.id { None } else { Some(client(own, leader)?) };
        let (waiting, arrived) = (Mutex::default(), Notify::new());
        Ok(Self { waiting, arrived, node: own.node.clone(), leader })
    }

    async fn get(&self, number: u32) -> Result<()> {
        let (asking, answer) = oneshot::channel();
        self.waiting.lock().push(asking);
        self.arrived.notify_one();
        let index = answer.await.context("the leader did not answer")?;
        self.finish(index, number).await
    }

    async fn index(&self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        match &self.leader {
            Some(leader) => Ok(leader.call(&ReadIndex, Vec::new(), deadline).await?.0?),
            None => Ok(self.node.read_index(deadline).await?),
        }
    }

    async fn finish(&self, index: u64, number: u32) -> Result<()> {
        self.node.wait_applied(index, Instant::now() + PATIENCE).await?;
        let record = self.node.get(&keys::key(number))?;
        let crc = record.with_context(|| format!("key {number} is not there"))?.crc;
        ensure!(crc == number, "key {number} has the record of another");
        Ok(())
    }
}

fn client(own: &Own, leader: NodeId) -> Result<Client> {
    let voters = own.node.status().voters;
    let member = voters.iter().find(|member| member.node == leader).context("the leader is no voter")?;
    Ok(own.peers.client(leader, &member.address))
}
