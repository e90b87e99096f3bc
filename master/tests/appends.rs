//! What a PUT sends to volumes, as volumes see it that are none: they take every needle and remember it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use hayrick_master::{Options, Running, start};
use hayrick_protocol::cluster_map::VolumeStatus;
use hayrick_protocol::command::RegisterVolume;
use hayrick_protocol::messages::master::{Heartbeat, Register};
use hayrick_protocol::messages::volume::{Append, AppendError, AppendReply, Appended, Probe};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::needle::{self, WIRE_SALT};
use hayrick_protocol::{ClusterId, InstanceId, NodeId, VolumeId, digest};
use hayrick_rpc::{Client, HandleError, Handler, Local, Request, Response, serve};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, Instant, sleep};

const VOLUMES: u8 = 3;
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_member_is_sent_the_same_needle_again_and_the_others_are_not() {
    let cluster = Cluster::start(1).await;
    let busy = &cluster.volumes[2];
    busy.refusals.store(4, Ordering::SeqCst);
    assert_eq!(put(cluster.masters[0].client, "photo").await, 201);
    let sent: Vec<Vec<Bytes>> = cluster.volumes.iter().map(|volume| volume.needles.lock().clone()).collect();
    let counts: Vec<usize> = sent.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 5]);
    assert!(sent[2].iter().all(|needle| *needle == sent[0][0]), "it has one id and the same bytes each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_without_a_majority_of_masters_writes_no_bytes() {
    let mut cluster = Cluster::start(2).await;
    let status = answer(cluster.masters[0].client, "GET", "-/status").await;
    let follower = usize::from(status.contains(r#""leader":1,"#));
    cluster.masters.remove(follower).stop().await;
    let left = cluster.masters[0].client;
    until("the other master is missed", async || status_of(left, "GET", "-/ready").await == 503).await;
    assert_eq!(put(left, "photo").await, 503);
    for volume in &cluster.volumes {
        assert!(volume.needles.lock().is_empty(), "nothing could have been committed");
    }
}

/// Masters in this process, and volumes that only pretend.
struct Cluster {
    masters: Vec<Running>,
    volumes: Vec<Arc<Fake>>,
    _data: TempDir,
}

/// A volume that remembers what it was sent.
#[derive(Default)]
struct Fake {
    needles: Mutex<Vec<Bytes>>,
    /// So many appends are answered "busy" first.
    refusals: AtomicU32,
}

impl Handler for Fake {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        match request.method {
            Probe::METHOD => Ok(Response::to::<Probe>(&Ok(VolumeStatus::default()), Vec::new())),
            Append::METHOD => {
                let needles = request.message::<Append>()?.needles;
                let mut rest = request.body;
                let reply = AppendReply((0..needles).map(|_| self.append(&mut rest)).collect());
                Ok(Response::to::<Append>(&reply, Vec::new()))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

impl Fake {
    fn append(&self, rest: &mut Bytes) -> Result<Appended, AppendError> {
        let needle = needle::parse(rest, WIRE_SALT).map_err(|e| AppendError::Malformed(e.to_string()))?;
        let appended = Appended { needle: needle.header.id, crc: digest::table_crc(needle.table) };
        let bytes = needle.header.total_len();
        self.needles.lock().push(rest.split_to(bytes));
        let refuse = |left: u32| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse) {
            Ok(_) => Err(AppendError::Busy),
            Err(_) => Ok(appended),
        }
    }
}

impl Cluster {
    /// The first `masters` of three (or the only one of one), ready for writes.
    async fn start(masters: u64) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let voters = if masters == 1 { 1 } else { 3 };
        let mut book = BTreeMap::new();
        for id in 1..=voters {
            book.insert(NodeId(id), free_address().await);
        }
        let mut running = Vec::new();
        for id in 1..=masters {
            let id = NodeId(id);
            let peer_listen = book[&id].clone();
            let options = Options {
                listen: "127.0.0.1:0".to_owned(),
                peer_listen,
                partitions: 16,
                request_timeout: Duration::from_secs(3),
                ..Options::new(id, data.path().join(id.to_string()), book.clone())
            };
            running.push(start(options).await.expect("it starts"));
        }
        let mut volumes = Vec::new();
        for number in 1..=VOLUMES {
            volumes.push(volume(number, running[0].peer).await);
        }
        for master in &running {
            until("a master is ready", async || status_of(master.client, "GET", "-/ready").await == 200)
                .await;
        }
        Self { masters: running, volumes, _data: data }
    }
}

/// Serves a fake volume, registers it and lets it beat.
async fn volume(number: u8, master: SocketAddr) -> Arc<Fake> {
    let fake = Arc::new(Fake::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = listener.local_addr().expect("bound").to_string();
    let local = Local::new(Identity::Volume(VolumeId(0)), ClusterId::UNKNOWN);
    tokio::spawn(serve(listener, local.clone(), Arc::clone(&fake), std::future::pending()));
    let instance = InstanceId([number; 16]);
    let client = Client::new(local.clone(), master.to_string(), Some(Identity::Master(NodeId(1))));
    let register = Register {
        volume: RegisterVolume {
            instance,
            volume: None,
            addr: peer.clone(),
            peer,
            zone: String::new(),
            capacity_bytes: 1 << 30,
        },
        process: number.into(),
        cluster: ClusterId::UNKNOWN,
    };
    let mut registered = None;
    until("a volume is registered", async || {
        let answer = client.call(&register, Vec::new(), Instant::now() + PATIENCE).await;
        registered = answer.ok().and_then(|(reply, _)| reply.ok());
        registered.is_some()
    })
    .await;
    let registered = registered.expect("it was waited for");
    local.set_identity(Identity::Volume(registered.volume));
    local.set_cluster(registered.cluster);
    let beat = Heartbeat {
        volume: registered.volume,
        instance,
        process: number.into(),
        status: VolumeStatus::default(),
    };
    tokio::spawn(async move {
        loop {
            // A master that is gone hears nothing.
            let _ = client.call(&beat, Vec::new(), Instant::now() + Duration::from_secs(1)).await;
            sleep(Duration::from_millis(200)).await;
        }
    });
    fake
}

/// Below the ports that the kernel gives to outgoing connections, so that none takes it meanwhile.
async fn free_address() -> String {
    loop {
        let address = format!("127.0.0.1:{}", rand::random_range(10_000..32_000));
        if TcpListener::bind(&address).await.is_ok() {
            return address;
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        sleep(POLL).await;
    }
}

async fn put(master: SocketAddr, key: &str) -> u16 {
    status_of(master, "PUT", key).await
}

/// The status that a request is answered with.
async fn status_of(master: SocketAddr, method: &str, path: &str) -> u16 {
    let answer = answer(master, method, path).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer but {answer:?}"))
}

/// Everything that a request is answered with; the body of a PUT does not matter here.
async fn answer(master: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(master).await.expect("it listens");
    let request =
        format!("{method} /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}
