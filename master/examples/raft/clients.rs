//! Clients in a process of their own, with a connection to each node: what another store's clients are compared with.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use hayrick_protocol::codec;
use hayrick_protocol::command::Reply;
use hayrick_protocol::messages::{Identity, Message, Method, master::Propose};
use hayrick_protocol::{EpochId, NodeId, ObjectKey};
use hayrick_rpc::{Client, Local};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::figure::Figure;
use crate::{WARM_UP, keys};

const PATIENCE: Duration = Duration::from_secs(10);

/// A linearizable get, which masters answer over HTTP only; the record is the reply's body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Get {
    pub(crate) key: ObjectKey,
}

impl Message for Get {
    const METHOD: Method = Method(0xff01);
    const NAME: &'static str = "Get";
    type Reply = Result<(), String>;
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    /// A commit of a new key, to the leader; the first one has this number.
    Put { first: u32 },
    /// Of one of so many keys, to all nodes.
    Get { keys: u32 },
}

/// Calls a second by so many clients, each of which waits for its own. The first node leads.
pub(crate) async fn rate(
    addresses: [String; 3],
    call: Call,
    clients: usize,
    measured: Duration,
) -> Result<Figure> {
    // By their own word: whoever asks is taken for a master.
    let local = Local::new(Identity::Master(NodeId(4)), keys::CLUSTER);
    let connect = |(id, address)| Client::new(local.clone(), address, Some(Identity::Master(NodeId(id))));
    let nodes: Vec<Client> = (1..).zip(addresses).map(connect).collect();
    let next = Arc::new(AtomicU32::new(match call {
        Call::Put { first } => first,
        Call::Get { .. } => 0,
    }));
    if let Call::Put { first } = call {
        let bytes = codec::encode(&keys::longer_commit(EpochId(1), first)).len();
        eprintln!("commits of {bytes} bytes");
    }
    let from = Instant::now() + WARM_UP;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let node = match call {
                Call::Put { .. } => &nodes[0],
                Call::Get { .. } => &nodes[client % nodes.len()],
            };
            tokio::spawn(ask(node.clone(), call, Arc::clone(&next), from..from + measured))
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(Figure::rate(latencies, measured))
}

/// One client: how long each call took that ended in the time that counts.
async fn ask(
    node: Client,
    call: Call,
    next: Arc<AtomicU32>,
    counts: Range<Instant>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        match call {
            Call::Put { .. } => put(&node, turn).await?,
            Call::Get { keys } => get(&node, 1 + (keys::mixed(turn.into()) % u64::from(keys)) as u32).await?,
        }
        let ended = Instant::now();
        if ended >= counts.end {
            return Ok(latencies);
        }
        if ended >= counts.start {
            latencies.push(ended - begun);
        }
    }
}

async fn put(node: &Client, number: u32) -> Result<()> {
    let commands = vec![keys::longer_commit(EpochId(1), number)];
    let (replies, _) = node.call(&Propose { commands }, Vec::new(), Instant::now() + PATIENCE).await?;
    let replies = replies?;
    ensure!(matches!(replies[..], [Reply::Applied(_)]), "a commit was refused: {replies:?}");
    Ok(())
}

async fn get(node: &Client, number: u32) -> Result<()> {
    let (found, record) =
        node.call(&Get { key: keys::key(number) }, Vec::new(), Instant::now() + PATIENCE).await?;
    found.map_err(anyhow::Error::msg)?;
    ensure!(!record.is_empty(), "key {number} is not there");
    Ok(())
}
