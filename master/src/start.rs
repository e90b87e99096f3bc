//! How a master starts and how it stops.
//!
//! Owns the order of both. A master that stops hands leadership over, finishes what clients asked, fences its epoch, and
//! only then leaves the Raft group. Invariant: when [`start`] returns, both ports are served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hayrick_protocol::cluster_map;
use hayrick_protocol::messages::Identity;
use hayrick_protocol::{InstanceId, NodeId};
use hayrick_raft_store::Node;
use hayrick_rpc::Local;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::admission::{Admission, removed};
use crate::api;
use crate::bootstrap;
use crate::cluster::detect::Detect;
use crate::cluster::heartbeats::Heartbeats;
use crate::cluster::members::{self, Members};
use crate::cluster::place::Place;
use crate::cluster::repair::Repair;
use crate::cluster::seen::Sightings;
use crate::cluster::{self, reap};
use crate::gateway::Gateway;
use crate::master::Master;
use crate::meta::{Directory, Meta, MetaError, Standing};
use crate::options::Options;
use crate::peer::client::Peers;
use crate::peer::server::Server;
use crate::restore;
use crate::status::Heard;
use crate::transport::{GROUP, PeerTransport};

/// How long [`start`] waits for the other masters to say whether this one may go on; it goes on without them then.
const FIRST_MEETING: Duration = Duration::from_secs(1);
/// Shares of the 10 s that a stop may take: requests in flight, fencing the epoch, handing leadership over, and
/// whatever else is on its way.
const FINISH_REQUESTS: Duration = Duration::from_millis(5500);
const FENCE_EPOCH: Duration = Duration::from_millis(1200);
const HAND_OVER_LAST: Duration = Duration::from_millis(1000);
const SAVE_SEEN: Duration = Duration::from_millis(300);
const FINISH_PEERS: Duration = Duration::from_millis(500);
const CLOSE_NODE: Duration = Duration::from_millis(1500);
/// What handing leadership over may take while requests are finished.
const HAND_OVER: Duration = Duration::from_secs(2);

/// Why a master did not start, in one plain sentence.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct StartError(pub(crate) String);

impl From<MetaError> for StartError {
    fn from(error: MetaError) -> Self {
        Self(error.to_string())
    }
}

/// A master that serves both its ports.
pub struct Running {
    /// Its id.
    pub id: NodeId,
    /// Where clients are served.
    pub client: SocketAddr,
    /// Where masters and volumes are served.
    pub peer: SocketAddr,
    master: Arc<Master>,
    web: Task,
    peers: Task,
    gateway: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
}

/// A listener, and where.
type Port = (TcpListener, SocketAddr);

/// A listener and what ends it.
struct Task {
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// Opens the data directory, serves both ports and starts Raft. The cluster need not be there yet: `/-/ready` tells.
///
/// # Errors
/// When the options make no sense, an address is taken, the directory belongs to somebody else or is damaged, or the
/// other masters know another directory under this id.
pub async fn start(options: Options) -> Result<Running, StartError> {
    options.check().map_err(StartError)?;
    let disk = hayrick_disk::system();
    let before = options.restore.is_some().then(|| restore::Before::look(&options));
    let directory = Directory::lock(disk.clone(), &options.data)?;
    // Held until this returns, also where it takes back what it made.
    let begun = begin(&directory, &options).await.inspect_err(|_| before.iter().for_each(|it| it.put_back()));
    let (meta, web, peer) = begun?;
    reap::tell_if_raised(&options);
    let client = web.1;
    let own = own(&options, meta.instance, client, peer.1);

    let local = Local::new(Identity::Master(options.id), meta.cluster);
    let peers = Arc::new(Peers::new(local.clone(), options.masters.clone()));
    let transport = Arc::new(PeerTransport(Arc::clone(&peers)));
    let seen = match meta.standing {
        // What lies there is of another life, in which other directories went by the same ids.
        Standing::New => Sightings::none(disk.clone(), &options.data),
        _ => Sightings::open(disk.clone(), &options.data),
    };
    let node_options = hayrick_raft_store::Options { elects: false, ..node_options(&options) };
    let node = Node::open(node_options, disk, transport).await;
    let node = node.map_err(|error| StartError(in_words(&error)))?;
    if let Err(refused) = check_log(&options, &meta, node.is_pristine()) {
        // At once, before it could stand for election: who has no part in the group must not disturb it.
        node.shutdown().await;
        return Err(refused);
    }
    peers.set_node(node.clone());

    let master = Arc::new(Master {
        gateway: Gateway::new(&options),
        client_address: own.client.clone(),
        own,
        node,
        peers,
        admission: Admission::new(directory, meta),
        members: Members::new(),
        seen,
        heartbeats: Heartbeats::new(),
        detect: Detect::new(),
        place: Place::new(),
        repair: Repair::new(options.move_bytes_per_s),
        heard: Heard::default(),
        stopping: CancellationToken::new(),
        options,
    });
    let running = serve(master, web, peer, local);
    running.first_meeting().await?;
    Ok(running)
}

/// Both ports, and whose directory this is. The ports come before a restore, which takes long to make what is good for one
/// start only.
async fn begin(directory: &Directory, options: &Options) -> Result<(Meta, Port, Port), StartError> {
    let instance = InstanceId(rand::random());
    let ports = async || -> Result<(Port, Port), StartError> {
        Ok((bind(&options.listen, "--listen").await?, bind(&options.peer_listen, "--peer-listen").await?))
    };
    let (meta, (web, peer)) = match &options.restore {
        Some(file) => {
            let ports = ports().await?;
            (restore::restore(directory, options, file, instance).await?, ports)
        }
        None => {
            let meta = directory.load_or_create(options.id, instance)?;
            check_standing(options, &meta)?;
            (meta, ports().await?)
        }
    };
    Ok((meta, web, peer))
}

impl Running {
    /// Waits until this master cannot go on, and says why in one plain sentence; for ever while it can.
    pub async fn failed(&self) -> String {
        self.master.admission.failed().await
    }

    /// Finishes what is in flight, fences the epoch, hands leadership over and closes all files, within 10 s.
    pub async fn stop(mut self) {
        let master = &self.master;
        self.web.stop.cancel();
        // At once and beside the rest, so that nobody waits for an election: what is in flight here is committed by the
        // new leader.
        tokio::join!(
            within(FINISH_REQUESTS, "requests are still in flight", &mut self.web.served),
            hand_leadership_over(master, HAND_OVER),
        );
        master.stopping.cancel();
        within(FENCE_EPOCH, "the epoch is not fenced; the leader will", &mut self.gateway).await;
        for task in &self.background {
            task.abort();
        }
        // Where nobody could take it over before, or it came back.
        hand_leadership_over(master, HAND_OVER_LAST).await;
        let last = Arc::clone(master);
        let mut save = tokio::spawn(async move { last.seen.save(true).await });
        within(SAVE_SEEN, "what was seen of other masters is not written down", &mut save).await;
        self.peers.stop.cancel();
        within(FINISH_PEERS, "peers are still being answered", &mut self.peers.served).await;
        let node = master.node.clone();
        within(CLOSE_NODE, "the log is still being closed", &mut tokio::spawn(node.shutdown())).await;
    }

    /// Gives the other masters a moment to object.
    async fn first_meeting(&self) -> Result<(), StartError> {
        let mut meeting = tokio::spawn(bootstrap::run(Arc::clone(&self.master)));
        // Out of time: it goes on by itself, and `failed` tells what came of it.
        let _ = timeout(FIRST_MEETING, &mut meeting).await;
        let Some(reason) = self.master.admission.failure() else { return Ok(()) };
        self.master.stopping.cancel();
        self.web.stop.cancel();
        self.peers.stop.cancel();
        self.background.iter().for_each(JoinHandle::abort);
        self.master.node.clone().shutdown().await;
        Err(StartError(reason))
    }
}

fn serve(master: Arc<Master>, (web, client): Port, (listener, peer): Port, local: Local) -> Running {
    let task = |stop: CancellationToken, served: JoinHandle<()>| Task { stop, served };
    let (stop_web, stop_peers) = (CancellationToken::new(), CancellationToken::new());
    let router = api::router(Arc::clone(&master));
    let server = Arc::new(Server { master: Arc::clone(&master) });
    let web = tokio::spawn(hayrick_web::serve(
        web,
        hayrick_web::ServerKind::Master,
        router,
        stop_web.clone().cancelled_owned(),
    ));
    let peers =
        tokio::spawn(hayrick_rpc::serve(listener, local, server, stop_peers.clone().cancelled_owned()));
    let gateway = Arc::clone(&master);
    Running {
        id: master.options.id,
        client,
        peer,
        web: task(stop_web, web),
        peers: task(stop_peers, peers),
        gateway: tokio::spawn(async move { gateway.gateway.run(Arc::clone(&gateway)).await }),
        background: vec![
            tokio::spawn(members::run(Arc::clone(&master))),
            tokio::spawn(cluster::run(Arc::clone(&master))),
        ],
        master,
    }
}

async fn bind(address: &str, flag: &str) -> Result<Port, StartError> {
    let refused =
        |error| StartError(format!("cannot listen on {address}: {error}; choose another with {flag}"));
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    if let Some(warning) = hayrick_web::warning(bound) {
        warn!("{flag} {warning}");
    }
    Ok((listener, bound))
}

/// What this master registers as.
fn own(options: &Options, instance: InstanceId, client: SocketAddr, peer: SocketAddr) -> cluster_map::Master {
    let named = options.peer_advertise.as_ref().or_else(|| options.masters.get(&options.id));
    cluster_map::Master {
        id: options.id,
        instance,
        client: options.advertise.clone().unwrap_or_else(|| client.to_string()),
        peer: named.cloned().unwrap_or_else(|| peer.to_string()),
    }
}

pub(crate) fn node_options(options: &Options) -> hayrick_raft_store::Options {
    let (shortest, longest) = options.election;
    hayrick_raft_store::Options {
        group: GROUP,
        heartbeat: options.heartbeat,
        election: shortest..longest,
        index_cache_bytes: options.index_cache_bytes,
        snapshot_after_entries: options.snapshot_after_entries,
        log_keep_entries: options.log_kept_entries,
        ..hayrick_raft_store::Options::new(options.id, options.data.join("raft"))
    }
}

/// Whether the directory may be started at all, and is told enough.
fn check_standing(options: &Options, meta: &Meta) -> Result<(), StartError> {
    match meta.standing {
        Standing::Removed => Err(StartError(removed(options.id))),
        Standing::New if options.masters.is_empty() && options.join.is_none() => {
            Err(StartError(options.nobody_named()))
        }
        _ => Ok(()),
    }
}

/// Whether the log is there that the directory once had.
fn check_log(options: &Options, meta: &Meta, is_pristine: bool) -> Result<(), StartError> {
    let (id, data) = (options.id, options.data.display());
    match (meta.standing, is_pristine) {
        (Standing::Member | Standing::Restored, true) => Err(StartError(format!(
            "the Raft log in {data} is gone: master {id} may have voted and must not again; put the directory back as \
             it was. Where it is lost, replace this master: `hayrick master remove {id}`, then a master with an empty \
             directory, an id that was never used, and --join"
        ))),
        (Standing::New, false) => Err(StartError(format!(
            "{data} holds a Raft log but nothing that says whose it is: it was put together from parts; restore the \
             directory as a whole, or start with an empty one"
        ))),
        _ => Ok(()),
    }
}

/// An error with its causes, in one line.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

async fn within(patience: Duration, otherwise: &str, task: &mut JoinHandle<()>) {
    if timeout(patience, &mut *task).await.is_err() {
        debug!("stopping although {otherwise}");
        task.abort();
    }
}

/// To whoever is least behind, so that clients wait for no election.
async fn hand_leadership_over(master: &Master, patience: Duration) {
    master.node.leave();
    if !master.leads() {
        return;
    }
    match master.node.hand_over(Instant::now() + patience).await {
        Ok(to) => info!(to = to.0, "leadership was handed over"),
        Err(error) => debug!(%error, "leadership was not handed over; the others will elect"),
    }
}
