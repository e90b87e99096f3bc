//! One running volume: the order in which it starts, and in which it stops.
//!
//! Owns that order. Invariants: nothing of the store is served before the volume's id is on disk; a stop finishes what is in flight
//! and closes the stream with a mark, or gives up after a bound; the directory stays locked until the stream is closed, or
//! the process ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hayrick_disk::Disk;
use hayrick_protocol::ids::{ClusterId, VolumeId};
use hayrick_protocol::messages::Identity;
use hayrick_rpc::{Client, Local};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::directory::{Directory, DirectoryError};
use crate::heartbeat::Pulse;
use crate::http::{Masters, Names, Starting, VolumePort};
use crate::options::Options;
use crate::peer::PeerPort;
use crate::register::{self, Applicant, SETTLED};
use crate::store::{Store, StoreError, StoreOptions};

/// What is in flight may take this share of the 10 s that a stop may take in all.
const PORTS_CLOSE_TIMEOUT: Duration = Duration::from_secs(6);
/// What those who answered the last requests may take to let go of the store, and between two looks whether they have.
const LET_GO_MAX: Duration = Duration::from_millis(500);
const LET_GO_PAUSE: Duration = Duration::from_millis(1);
/// How long closing the stream may take before the process may end without it; recovery is made for that.
const STREAM_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Of the free space, the share that is left to others when no capacity is set.
const CAPACITY_OF_FREE_PERCENT: u64 = 95;

/// Why a volume cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The segments.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port.
    #[error("cannot listen on {address}: {why}; choose another with {flag}")]
    Listen {
        /// What was asked for.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
        /// Why not.
        why: std::io::Error,
    },
    /// The free space cannot be asked for.
    #[error("the free space of {data} is not known: set --capacity")]
    FreeSpace {
        /// The data directory.
        data: String,
        /// Why not.
        source: std::io::Error,
    },
    /// An option makes no sense.
    #[error("{0}")]
    Options(String),
    /// The masters will not have it, ever.
    #[error("the masters refuse this volume, whose data is in {data}: {why}")]
    Refused {
        /// The data directory.
        data: String,
        /// Why they do.
        why: String,
    },
    /// A thread died.
    #[error("the store could not be opened: {0}")]
    Opening(tokio::task::JoinError),
}

/// A volume that is registered and serves. Dropping it without [`Running::stop`] ends its tasks at once.
#[derive(Debug)]
pub struct Running {
    /// Its id.
    pub id: VolumeId,
    /// Where its HTTP port listens.
    pub http: SocketAddr,
    /// Where its peer port listens.
    pub peer: SocketAddr,
    /// The cluster's word that it is not to be used again.
    refused: watch::Receiver<Option<String>>,
    stopping: CancellationToken,
    ports: JoinSet<()>,
    tasks: JoinSet<()>,
    /// Holds the lock of the directory: as long as anything runs, nobody else may use that.
    store: Arc<Store>,
}

/// Starts a volume; returns when it is registered and serves. While no master answers it keeps asking, and logs why.
pub async fn start(options: Options) -> Result<Running, StartError> {
    options.check().map_err(StartError::Options)?;
    let disk = hayrick_disk::system();
    let mut directory = Directory::open(&disk, &options.data)?;
    let (http_listener, http) = bind(&options.listen, "--listen").await?;
    let stopping = CancellationToken::new();
    let (mut ports, volume_port) = (JoinSet::new(), Starting::default());
    let serving = hayrick_web::serve(
        http_listener,
        hayrick_web::ServerKind::Volume,
        volume_port.clone(),
        stopping.clone().cancelled_owned(),
    );
    ports.spawn(serving);
    let identity = directory.identity();
    let (own_id, own_cluster) = identity.registered.unwrap_or((VolumeId(0), ClusterId::UNKNOWN));
    let local = Local::new(Identity::Volume(own_id), own_cluster);
    let client = |address: &String| Client::new(local.clone(), address.clone(), None);
    let masters: Vec<Client> = options.masters.iter().map(client).collect();
    let refused = |why| StartError::Refused { data: options.data.display().to_string(), why };
    if identity.registered.is_some() {
        // Before what is somebody else's is touched.
        register::no_strangers(&masters).await.map_err(refused)?;
    }

    let store_options = store_options(disk.as_ref(), &options, &directory)?;
    let capacity_bytes = store_options.capacity_bytes;
    let opening = {
        let (disk, lock) = (Arc::clone(&disk), directory.lock());
        tokio::task::spawn_blocking(move || {
            Ok::<_, StoreError>(Store::open(disk, store_options)?.holding(lock))
        })
    };
    let store = Arc::new(opening.await.map_err(StartError::Opening)??);

    // Not before, so that who calls is refused and does not wait.
    let (peer_listener, peer) = bind(&options.peer_listen, "--peer-listen").await?;
    let applicant = Applicant {
        instance: identity.instance,
        process: disk.random(),
        addr: advertised(options.advertise, http, "--advertise")?,
        peer: advertised(options.peer_advertise, peer, "--peer-advertise")?,
        zone: options.zone,
        capacity_bytes,
    };
    let registered = applicant.register(&masters, identity.registered).await.map_err(refused)?;
    let (id, cluster) = (registered.volume, registered.cluster);
    directory.register(disk.as_ref(), id, cluster)?;
    local.set_identity(Identity::Volume(id));
    local.set_cluster(cluster);

    let handler = Arc::new(PeerPort::new(Arc::clone(&store), local.clone(), stopping.clone()));
    ports.spawn(hayrick_rpc::serve(
        peer_listener,
        local.clone(),
        handler,
        stopping.clone().cancelled_owned(),
    ));
    let (refused_sender, refused) = watch::channel(None);
    let pulse = Arc::new(Pulse {
        store: Arc::clone(&store),
        volume: id,
        instance: identity.instance,
        process: applicant.process,
        register: Notify::new(),
        masters: watch::Sender::new(options.masters),
        refused: refused_sender,
    });
    let names = Names { volume: id, cluster, instance: identity.instance };
    let asked = Masters::new(local.clone(), pulse.masters.subscribe());
    volume_port.serve(VolumePort::new(Arc::clone(&store), names, Arc::new(asked)));
    let tasks = keep_in_touch(&pulse, applicant, local, (id, cluster));
    Ok(Running { id, http, peer, refused, stopping, ports, tasks, store })
}

impl Running {
    /// Done when the cluster says that this volume is never to be used again: the reason. Stop it then.
    pub async fn refused(&self) -> String {
        let mut refused = self.refused.clone();
        match refused.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().expect("waited for"),
            // The tasks that could tell are gone only when this is being stopped.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops: accepts nothing more, finishes what is in flight, and closes the stream, all within 10 s.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        let ports = async { while self.ports.join_next().await.is_some() {} };
        if timeout(PORTS_CLOSE_TIMEOUT, ports).await.is_err() {
            tracing::warn!("some requests did not end in time");
            self.ports.shutdown().await;
        }
        // Last, so that the masters hear of this volume while it still answers.
        self.tasks.shutdown().await;
        let store = alone(self.store).await;
        let closing = tokio::task::spawn_blocking(move || match store {
            Some(store) => store.close(),
            None => tracing::warn!("a request still holds the store; it is closed with the process"),
        });
        if timeout(STREAM_CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("the disk hangs; what was acknowledged is safe, the next start recovers");
        }
    }
}

/// The store, once nobody else has it: a thread that has just answered the last request lets go of it within microseconds,
/// unless it is not given a processor for a while.
async fn alone(mut store: Arc<Store>) -> Option<Store> {
    let until = Instant::now() + LET_GO_MAX;
    loop {
        match Arc::try_unwrap(store) {
            Ok(alone) => return Some(alone),
            Err(_) if Instant::now() >= until => return None,
            Err(shared) => store = shared,
        }
        sleep(LET_GO_PAUSE).await;
    }
}

/// Heartbeats to each master, and another registration whenever one asks for it.
fn keep_in_touch(
    pulse: &Arc<Pulse>,
    applicant: Applicant,
    local: Local,
    known: (VolumeId, ClusterId),
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(pulse).beat_all(local.clone()));
    let pulse = Arc::clone(pulse);
    tasks.spawn(async move {
        let mut registered_at = Instant::now();
        loop {
            pulse.register.notified().await;
            // If it is so still, the next heartbeat says so again.
            if registered_at.elapsed() < SETTLED {
                continue;
            }
            let masters = pulse.masters.borrow().clone();
            let masters: Vec<Client> =
                masters.into_iter().map(|address| Client::new(local.clone(), address, None)).collect();
            match applicant.register(&masters, Some(known)).await {
                Ok(registered) if (registered.volume, registered.cluster) == known => {
                    registered_at = Instant::now();
                    tracing::info!("registered again");
                }
                Ok(_) => {
                    let reason =
                        "the masters know this data directory under another id or cluster".to_owned();
                    pulse.refused.send_replace(Some(reason));
                }
                Err(reason) => {
                    pulse.refused.send_replace(Some(reason));
                }
            }
        }
    });
    tasks
}

fn store_options(
    disk: &dyn Disk,
    options: &Options,
    directory: &Directory,
) -> Result<StoreOptions, StartError> {
    let capacity_bytes = match options.capacity_bytes {
        Some(capacity_bytes) => capacity_bytes,
        None => default_capacity_bytes(disk, &options.data, &directory.needles())
            .map_err(|source| StartError::FreeSpace { data: options.data.display().to_string(), source })?,
    };
    let mut store = StoreOptions::new(directory.needles(), capacity_bytes);
    store.segment_bytes = options.segment_bytes;
    store.scrub_bytes_per_s_max = options.scrub_bytes_per_s_max;
    Ok(store)
}

/// What is free and what the segments take already, less 5 %: so a restart comes to the same.
fn default_capacity_bytes(disk: &dyn Disk, data: &Path, needles: &Path) -> std::io::Result<u64> {
    let mut bytes = disk.free_bytes(data)?;
    if disk.exists(needles)? {
        for name in disk.list(needles)? {
            bytes += disk.open(&needles.join(name))?.len()?;
        }
    }
    Ok(bytes / 100 * CAPACITY_OF_FREE_PERCENT)
}

async fn bind(address: &str, flag: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |why| StartError::Listen { address: address.to_owned(), flag, why };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if let Some(warning) = hayrick_web::warning(bound) {
        tracing::warn!("{flag} {warning}");
    }
    Ok((listener, bound))
}

fn advertised(set: Option<String>, bound: SocketAddr, flag: &str) -> Result<String, StartError> {
    match set {
        Some(address) => Ok(address),
        None if bound.ip().is_unspecified() => {
            let text = format!("{bound} is no address that others can reach; set {flag} HOST:PORT");
            Err(StartError::Options(text))
        }
        None => Ok(bound.to_string()),
    }
}
