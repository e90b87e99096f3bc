//! Volumes that a test starts, each with a master of its own, and what is asked of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::ids::{ClusterId, NeedleId, NodeId, PlacementId, VolumeId};
use hayrick_protocol::messages::master::{Heartbeat, HeartbeatReply, Register, Registered};
use hayrick_protocol::messages::volume::{
    Append, AppendReply, Damaged, Delete, Fetch, Fetched, List, ListPosition, Pull, PullError, Pulled,
    ReadError,
};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::needle::Body;
use hayrick_rpc::{Client, HandleError, Handler, Local, Request, Response};
use hayrick_volume::{Options, Running, start};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::needles::{PLACEMENT, data};

pub(crate) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A master that knows its volume.
pub(crate) struct FakeMaster(VolumeId);

impl Handler for FakeMaster {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        match request.method {
            Register::METHOD => {
                let answer = Ok(Registered { volume: self.0, cluster: CLUSTER });
                Ok(Response::to::<Register>(&answer, Vec::new()))
            }
            Heartbeat::METHOD => {
                Ok(Response::to::<Heartbeat>(&HeartbeatReply::Known(Vec::new()), Vec::new()))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

/// Serves at a port of its own; where.
pub(crate) async fn serve(identity: Identity, handler: Arc<impl Handler>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let local = Local::new(identity, CLUSTER);
    tokio::spawn(hayrick_rpc::serve(listener, local, handler, std::future::pending()));
    address
}

/// A volume with a master of its own.
pub(crate) struct Volume {
    data: TempDir,
    options: Options,
    pub(crate) running: Running,
    pub(crate) client: Client,
}

pub(crate) async fn volume(id: u32, capacity_bytes: u64) -> Volume {
    let data = TempDir::new().expect("a directory");
    let master = serve(Identity::Master(NodeId(1)), Arc::new(FakeMaster(VolumeId(id)))).await;
    let mut options = Options::new(data.path(), vec![master]);
    options.listen = "127.0.0.1:0".to_owned();
    options.peer_listen = "127.0.0.1:0".to_owned();
    options.capacity_bytes = Some(capacity_bytes);
    options.segment_bytes = 1 << 20;
    let running = in_time(start(options.clone())).await.expect("it starts");
    let client = client_of(&running);
    Volume { data, options, running, client }
}

pub(crate) fn client_of(running: &Running) -> Client {
    let local = Local::new(Identity::Master(NodeId(1)), CLUSTER);
    Client::new(local, running.peer.to_string(), Some(Identity::Volume(running.id)))
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it ends in time")
}

impl Volume {
    /// The same directory, in another process.
    pub(crate) async fn restarted(self) -> Self {
        in_time(self.running.stop()).await;
        let running = in_time(start(self.options.clone())).await.expect("it starts again");
        let client = client_of(&running);
        Self { running, client, ..self }
    }

    pub(crate) async fn call<M: Message>(&self, message: &M, body: Vec<Bytes>) -> (M::Reply, Bytes) {
        self.client.call(message, body, Instant::now() + DEADLINE).await.expect("a good request")
    }

    pub(crate) async fn append(&self, needles: impl IntoIterator<Item = Bytes>) {
        for needle in needles {
            let AppendReply(outcomes) = self.call(&Append { needles: 1 }, vec![needle]).await.0;
            assert!(outcomes[0].is_ok(), "{:?}", outcomes[0]);
        }
    }

    pub(crate) async fn delete(&self, ids: impl IntoIterator<Item = u64>) {
        let needles = ids.into_iter().map(NeedleId).collect();
        self.call(&Delete { needles }, Vec::new()).await.0.expect("dropped");
    }

    /// The whole needle.
    pub(crate) async fn fetch(&self, id: u64) -> Result<Bytes, ReadError> {
        let (Fetched(outcomes), needle) = self.call(&Fetch { needles: vec![NeedleId(id)] }, Vec::new()).await;
        outcomes[0].clone().map(|()| needle)
    }

    /// Ids of all needles here of these placements.
    pub(crate) async fn list(&self, placements: &[PlacementId]) -> Vec<u64> {
        let (mut ids, mut from) = (Vec::new(), Some(ListPosition::default()));
        while let Some(position) = from {
            let list = List { placements: placements.to_vec(), from: position, only_looks: false };
            let page = self.call(&list, Vec::new()).await.0.expect("it can be listed");
            ids.extend(page.needles.into_iter().map(|row| row.needle.0));
            from = page.next;
        }
        ids.sort_unstable();
        ids
    }

    /// The placements of what is damaged here.
    pub(crate) async fn damaged(&self) -> Vec<PlacementId> {
        self.call(&Damaged, Vec::new()).await.0.placements
    }

    pub(crate) fn pull_from(&self, source: VolumeId, address: String) -> Pull {
        assert_ne!(source, self.running.id);
        let from = ListPosition::default();
        Pull { source, address, placements: vec![PLACEMENT], from, bytes_max: u64::MAX, only: Vec::new() }
    }

    /// One pull of the placement of all needles from another volume.
    pub(crate) fn pull_of(&self, source: &Volume) -> Pull {
        self.pull_from(source.running.id, source.running.peer.to_string())
    }

    pub(crate) async fn pull(&self, pull: &Pull) -> Result<Pulled, PullError> {
        self.call(pull, Vec::new()).await.0
    }

    /// Pulls until the source has no more; all together.
    pub(crate) async fn pull_all(&self, mut pull: Pull) -> Pulled {
        let mut all = Pulled { next: None, listed: 0, needles: 0, bytes: 0, failed: 0 };
        loop {
            let pulled = self.pull(&pull).await.expect("it can be pulled");
            all.listed += pulled.listed;
            all.needles += pulled.needles;
            all.bytes += pulled.bytes;
            all.failed += pulled.failed;
            let Some(next) = pulled.next else { return all };
            assert!(next > pull.from, "it goes on");
            pull.from = next;
        }
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.data.path().join(Path::new("needles")).join(format!("{number:016x}.seg"))
    }

    /// Flips a bit in the data of a needle in the first segment.
    pub(crate) fn flip(&self, id: u64, len: usize) {
        let mut whole = std::fs::read(self.segment(1)).expect("it is there");
        let sample = data(id, len);
        let tail = &sample[len - 50..];
        let at = whole.windows(50).position(|window| window == tail).expect("it lies there");
        whole[at - 100] ^= 1;
        let file = std::fs::OpenOptions::new().write(true).open(self.segment(1)).expect("it is there");
        std::os::unix::fs::FileExt::write_all_at(&file, &whole[at - 100..at - 99], at as u64 - 100)
            .expect("it can be written");
    }
}

/// A needle of another placement.
pub(crate) fn elsewhere(id: u64, len: usize) -> Bytes {
    let body = Body::new([b"elsewhere", &data(id, len)[..]].concat(), 9);
    body.with_header(NeedleId(id), PlacementId(PLACEMENT.0 + 1), 0).concat().into()
}
