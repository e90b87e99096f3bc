//! What the server promises, over real sockets and real files, with a master played by the test.

mod needles;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hayrick_protocol::cluster_map::VolumeStatus;
use hayrick_protocol::ids::{ClusterId, NeedleId, NodeId, VolumeId};
use hayrick_protocol::limits::{APPEND_BATCH_NEEDLES_MAX, BLOCK_BYTES, REAP_BATCH_MAX};
use hayrick_protocol::messages::master::{
    Heartbeat, HeartbeatReply, NotResolved, Register, RegisterError, Registered, Resolve, Resolved,
};
use hayrick_protocol::messages::volume::{
    Append, AppendError, AppendReply, Delete, Probe, Read, ReadError, ReadReply, Status,
};
use hayrick_protocol::messages::{Identity, Message, Method};
use hayrick_protocol::{digest, messages};
use hayrick_rpc::{CallError, Client, HandleError, Handler, Local, Request, Response};
use hayrick_volume::{DirectoryError, Options, Running, StartError, start};
use needles::{PLACEMENT, data, needle};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const VOLUME: VolumeId = VolumeId(7);
const DEADLINE: Duration = Duration::from_secs(10);

/// A master that answers by a script, and remembers what it was told.
#[derive(Default)]
struct FakeMaster {
    /// Answers to registrations, then "you are volume 7" for ever.
    answers: Mutex<VecDeque<Result<Registered, RegisterError>>>,
    registered: Mutex<Vec<Register>>,
    heard: Mutex<Vec<Heartbeat>>,
    heartbeats: AtomicU64,
    /// Answers to heartbeats, then "known" for ever.
    replies: Mutex<VecDeque<HeartbeatReply>>,
    /// What it was asked to resolve, and the answers, then that there is no such key.
    resolves: Mutex<Vec<Resolve>>,
    resolved: Mutex<VecDeque<Result<Resolved, NotResolved>>>,
}

impl Handler for FakeMaster {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        match request.method {
            Register::METHOD => {
                self.registered.lock().await.push(request.message()?);
                let answer = self.answers.lock().await.pop_front();
                let answer = answer.unwrap_or(Ok(Registered { volume: VOLUME, cluster: CLUSTER }));
                Ok(Response::to::<Register>(&answer, Vec::new()))
            }
            Heartbeat::METHOD => {
                self.heard.lock().await.push(request.message()?);
                self.heartbeats.fetch_add(1, Ordering::Relaxed);
                let reply =
                    self.replies.lock().await.pop_front().unwrap_or(HeartbeatReply::Known(Vec::new()));
                Ok(Response::to::<Heartbeat>(&reply, Vec::new()))
            }
            Resolve::METHOD => {
                self.resolves.lock().await.push(request.message()?);
                let none = NotResolved { status: 404, text: "Key does not exist.".to_owned() };
                let answer = self.resolved.lock().await.pop_front().unwrap_or(Err(none));
                Ok(Response::to::<Resolve>(&answer, Vec::new()))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

/// Starts a master; its address, itself, and the task to abort for its death.
async fn master(cluster: ClusterId) -> (String, Arc<FakeMaster>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let master = Arc::new(FakeMaster::default());
    let local = Local::new(Identity::Master(NodeId(1)), cluster);
    let serving = hayrick_rpc::serve(listener, local, Arc::clone(&master), std::future::pending());
    (address, master, tokio::spawn(serving))
}

fn options(data: &Path, masters: &[&str]) -> Options {
    let mut options = Options::new(data, masters.iter().map(|master| (*master).to_owned()).collect());
    options.listen = "127.0.0.1:0".to_owned();
    options.peer_listen = "127.0.0.1:0".to_owned();
    options.zone = "a".to_owned();
    options.capacity_bytes = Some(64 << 20);
    options.segment_bytes = 8 << 20;
    options
}

/// A volume with a master of its own.
struct Volume {
    _data: TempDir,
    running: Running,
    client: Client,
}

async fn volume() -> Volume {
    let data = TempDir::new().expect("a directory");
    let (address, _, _) = master(CLUSTER).await;
    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts");
    let client = client_of(&running);
    Volume { _data: data, running, client }
}

fn client_of(running: &Running) -> Client {
    let local = Local::new(Identity::Master(NodeId(1)), CLUSTER);
    Client::new(local, running.peer.to_string(), Some(Identity::Volume(running.id)))
}

#[tokio::test]
async fn only_masters_of_the_own_cluster_change_anything() {
    let volume = volume().await;
    volume.append(&[needle(1, 100)]).await.0.remove(0).expect("appended");
    for (who, cluster) in [
        (Identity::Master(NodeId(1)), ClusterId::UNKNOWN),
        (Identity::Volume(VolumeId(9)), CLUSTER),
        (Identity::Volume(VolumeId(9)), ClusterId::UNKNOWN),
    ] {
        let address = volume.running.peer.to_string();
        let stranger =
            Client::new(Local::new(who, cluster), address, Some(Identity::Volume(volume.running.id)));
        let deadline = Instant::now() + DEADLINE;
        let asked = stranger.call(&Delete { needles: vec![NeedleId(1)] }, Vec::new(), deadline).await;
        assert!(
            asked.is_err_and(|error| error.to_string().contains("only a master of this volume's cluster"))
        );
    }
    let deleted = volume.call(&Delete { needles: vec![NeedleId(1)] }, Vec::new()).await;
    assert_eq!(deleted.expect("answered").0, Ok(()), "its own may");
}

impl Volume {
    async fn call<M: Message>(&self, message: &M, body: Vec<Bytes>) -> Result<(M::Reply, Bytes), CallError> {
        self.client.call(message, body, Instant::now() + DEADLINE).await
    }

    async fn append(&self, needles: &[Bytes]) -> AppendReply {
        let message = Append { needles: u32::try_from(needles.len()).expect("few") };
        self.call(&message, needles.to_vec()).await.expect("a good request").0
    }

    async fn read(&self, read: Read) -> (Result<ReadReply, ReadError>, Bytes) {
        self.call(&read, Vec::new()).await.expect("a good request")
    }

    async fn http(&self, request: &str) -> Answer {
        http(self.running.http, request.as_bytes()).await
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it ends in time")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(field))
    }
}

/// Sends `request` (its line and fields, without the end) and reads to the end of the connection.
async fn http(to: std::net::SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    stream.write_all(request).await.expect("sent");
    stream.write_all(b"\r\nHost: volume\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut bytes = Vec::new();
    in_time(stream.read_to_end(&mut bytes)).await.expect("read");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

#[tokio::test]
async fn a_volume_asks_until_it_is_registered_and_keeps_its_id() {
    let data = TempDir::new().expect("a directory");
    let (address, fake, _) = master(CLUSTER).await;
    fake.answers.lock().await.extend([
        Err(RegisterError::Later("no leader yet".to_owned())),
        Err(RegisterError::Later("no leader yet".to_owned())),
    ]);
    let dead = "127.0.0.1:9";
    let running = in_time(start(options(data.path(), &[dead, &address]))).await.expect("it starts");
    assert_eq!(running.id, VOLUME);
    let first = fake.registered.lock().await.pop().expect("it asked");
    assert_eq!((first.volume.volume, first.cluster), (None, ClusterId::UNKNOWN));
    assert_eq!(first.volume.addr, running.http.to_string());
    assert_eq!(first.volume.peer, running.peer.to_string());
    assert_eq!((first.volume.zone.as_str(), first.volume.capacity_bytes), ("a", 64 << 20));
    in_time(running.stop()).await;

    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts again");
    let second = fake.registered.lock().await.pop().expect("it asked");
    assert_eq!((second.volume.volume, second.cluster), (Some(VOLUME), CLUSTER));
    assert_eq!(second.volume.instance, first.volume.instance);
    assert_ne!(second.process, first.process, "each run is told from the one before");
    in_time(running.stop()).await;
}

#[tokio::test]
async fn what_can_never_start_says_why_in_one_sentence() {
    let data = TempDir::new().expect("a directory");
    let (address, fake, _) = master(CLUSTER).await;
    fake.answers.lock().await.push_back(Err(RegisterError::Never("volume 3 was removed".to_owned())));
    let refused = in_time(start(options(data.path(), &[&address]))).await.expect_err("never");
    let path = data.path().display();
    let words = format!("the masters refuse this volume, whose data is in {path}: volume 3 was removed");
    assert_eq!(refused.to_string(), words);

    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts");
    let second = in_time(start(options(data.path(), &[&address]))).await.expect_err("it is in use");
    assert!(matches!(second, StartError::Directory(DirectoryError::InUse(_))), "{second}");

    let mut on_its_port = options(&data.path().join("other"), &[&address]);
    on_its_port.listen = running.http.to_string();
    let listen = in_time(start(on_its_port)).await.expect_err("the port is taken");
    assert!(matches!(listen, StartError::Listen { flag: "--listen", .. }), "{listen}");
    in_time(running.stop()).await;

    let (other_address, _, _) = master(ClusterId([2; 16])).await;
    let needles = || {
        let entries = std::fs::read_dir(data.path().join("needles")).expect("it has needles");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("it can be read").file_name()).collect();
        names.sort();
        names
    };
    let before = needles();
    let foreign = in_time(start(options(data.path(), &[&other_address]))).await.expect_err("another cluster");
    assert!(foreign.to_string().contains("another cluster"), "{foreign}");
    assert_eq!(needles(), before, "it is not touched");
    let masters = [&*other_address, &*address];
    let among_others =
        in_time(start(options(data.path(), &masters))).await.expect("one stranger is passed over");
    in_time(among_others.stop()).await;

    let mut everywhere = options(data.path(), &[&address]);
    everywhere.listen = "0.0.0.0:0".to_owned();
    let unreachable = in_time(start(everywhere)).await.expect_err("no address for others");
    assert!(unreachable.to_string().contains("--advertise"), "{unreachable}");
}

#[tokio::test]
async fn a_dead_and_a_hung_master_do_not_delay_what_the_third_hears() {
    let data = TempDir::new().expect("a directory");
    let (address, fake, _) = master(CLUSTER).await;
    // It accepts connections, by its backlog, and never says a word.
    let hung = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hung_address = hung.local_addr().expect("bound").to_string();
    let running = start(options(data.path(), &[&address, &hung_address, "127.0.0.1:9"]));
    let running = in_time(running).await.expect("it starts");
    let before = Instant::now();
    until("four heartbeats", || fake.heartbeats.load(Ordering::Relaxed) >= 4).await;
    assert!(before.elapsed() < Duration::from_secs(4), "twice a second: {:?}", before.elapsed());
    let heartbeat = fake.heard.lock().await.pop().expect("it was heard");
    assert_eq!(heartbeat.volume, VOLUME);
    assert_eq!(heartbeat.status.capacity_bytes, 64 << 20);
    assert_eq!(heartbeat.status.read_only, None);
    in_time(running.stop()).await;
}

#[tokio::test]
async fn a_master_that_another_one_names_is_told_too_and_asked_when_the_first_is_gone() {
    let data = TempDir::new().expect("a directory");
    let (address, first, serving) = master(CLUSTER).await;
    let (new_address, new, _) = master(CLUSTER).await;
    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts");
    let named = HeartbeatReply::Known(vec![address.clone(), new_address]);
    first.replies.lock().await.push_back(named);
    until("the new one is told", || new.heartbeats.load(Ordering::Relaxed) >= 2).await;
    serving.abort();
    // It registers no sooner than it has settled.
    new.replies.lock().await.extend(vec![HeartbeatReply::Register; 100]);
    until("it registers with the new one", || {
        new.registered.try_lock().is_ok_and(|registered| !registered.is_empty())
    })
    .await;
    in_time(running.stop()).await;
}

#[tokio::test]
async fn a_volume_registers_again_when_asked_and_ends_when_refused() {
    let data = TempDir::new().expect("a directory");
    let (address, fake, _) = master(CLUSTER).await;
    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts");
    fake.replies.lock().await.extend(vec![HeartbeatReply::Register; 100]);
    let again = async {
        while fake.registered.lock().await.len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(again).await;
    *fake.replies.lock().await =
        [HeartbeatReply::Refused("a copy of this directory runs elsewhere".to_owned())].into();
    assert_eq!(in_time(running.refused()).await, "a copy of this directory runs elsewhere");
    let registered = fake.registered.lock().await;
    let again = registered.last().expect("it asked");
    assert_eq!((registered.len(), again.volume.volume), (2, Some(VOLUME)));
    in_time(running.stop()).await;
}

#[tokio::test]
async fn a_volume_does_not_register_again_because_a_master_has_not_heard_of_it_yet() {
    let data = TempDir::new().expect("a directory");
    let (address, fake, _) = master(CLUSTER).await;
    // As followers do for a moment after the leader has registered it.
    fake.replies.lock().await.extend(vec![HeartbeatReply::Register; 2]);
    let began = Instant::now();
    let running = in_time(start(options(data.path(), &[&address]))).await.expect("it starts");
    until("three heartbeats", || fake.heartbeats.load(Ordering::Relaxed) >= 3).await;
    let registrations = fake.registered.lock().await.len();
    // On a machine that stood still meanwhile it may take the master at its word.
    assert!(registrations == 1 || began.elapsed() > Duration::from_secs(2), "{registrations} registrations");
    in_time(running.stop()).await;
}

#[tokio::test]
async fn the_peer_port_appends_reads_probes_and_drops() {
    let volume = volume().await;
    let sizes = [0, 1000, BLOCK_BYTES * 3 + 5, 2 << 20];
    let small: Vec<_> = (1..).zip(&sizes[..3]).map(|(id, size)| needle(id, *size)).collect();
    let AppendReply(outcomes) = volume.append(&small).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(volume.append(&[needle(4, sizes[3])]).await.0[0].is_ok());
    assert_eq!(volume.append(&[needle(1, 9)]).await.0, [Err(AppendError::Conflict(NeedleId(1)))]);

    for (id, size) in (1..).zip(sizes) {
        let (data, needle) = (data(id, size), NeedleId(id));
        let table = digest::block_table(&data);
        let all = Read { needle, first_block: 0, blocks: u32::MAX, with_table: true };
        let (reply, body) = volume.read(all.clone()).await;
        let reply = reply.expect("it is there");
        assert_eq!(
            (reply.placement, reply.size as usize, reply.data_bytes as usize),
            (PLACEMENT, size, size)
        );
        assert_eq!(reply.table_bytes as usize, table.len());
        assert_eq!(body, [&data[..], &table].concat());
        if size > BLOCK_BYTES {
            let (reply, body) =
                volume.read(Read { first_block: 1, blocks: 2, with_table: false, ..all }).await;
            assert_eq!(reply.expect("it is there").data_bytes as usize, 2 * BLOCK_BYTES);
            assert_eq!(body, data[BLOCK_BYTES..3 * BLOCK_BYTES]);
        }
    }
    let behind = Read { needle: NeedleId(2), first_block: 1, blocks: 1, with_table: false };
    assert_eq!(volume.read(behind).await.0, Err(ReadError::Range));

    let status: VolumeStatus =
        volume.call(&Probe, vec![]).await.expect("a good request").0.expect("it works");
    assert_eq!((status.needles, status.bad), (4, 0));
    let needles = vec![NeedleId(2), NeedleId(55)];
    assert_eq!(volume.call(&Delete { needles }, vec![]).await.expect("a good request").0, Ok(()));
    let dropped = Read { needle: NeedleId(2), first_block: 0, blocks: 1, with_table: false };
    assert_eq!(volume.read(dropped).await.0, Err(ReadError::NotFound));
    assert_eq!(volume.call(&Status, vec![]).await.expect("a good request").0.needles, 3);
    in_time(volume.running.stop()).await;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Unheard(u8);

impl Message for Unheard {
    const METHOD: Method = Method(0x7777);
    const NAME: &'static str = "Unheard";
    type Reply = ();
}

/// A delete's number before a count of needles with none behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NoDelete(u64);

impl Message for NoDelete {
    const METHOD: Method = messages::volume::Delete::METHOD;
    const NAME: &'static str = "NoDelete";
    type Reply = ();
}

#[tokio::test]
async fn hostile_peer_messages_are_refused_and_change_nothing() {
    let volume = volume().await;
    assert!(matches!(volume.call(&Unheard(1), vec![]).await, Err(CallError::UnknownMethod)));
    for needles in [1, u64::from(u32::MAX), u64::MAX] {
        let reply = volume.call(&NoDelete(needles), vec![]).await;
        assert!(matches!(reply, Err(CallError::Malformed(_))), "{needles}: {reply:?}");
    }
    let two = [needle(1, 10), needle(2, 10)];
    for (needles, body) in [
        (0, vec![]),
        (1, vec![]),
        (1, two.to_vec()),
        (3, two.to_vec()),
        (u32::MAX, two.to_vec()),
        (u32::try_from(APPEND_BATCH_NEEDLES_MAX).expect("few") + 1, two.to_vec()),
        (1, vec![Bytes::from(vec![0xff; 4096])]),
        (2, vec![needle(1, 3 << 20), needle(2, 3 << 20)]),
    ] {
        let reply = volume.call(&Append { needles }, body).await;
        assert!(matches!(reply, Err(CallError::Malformed(_))), "{needles}: {reply:?}");
    }
    let too_many = Delete { needles: vec![NeedleId(1); REAP_BATCH_MAX + 1] };
    assert!(matches!(volume.call(&too_many, vec![]).await, Err(CallError::Malformed(_))));
    let mut flipped = needle(3, 100).to_vec();
    flipped[80] ^= 1;
    let AppendReply(outcomes) = volume.append(&[flipped.into(), needle(4, 100)]).await;
    assert!(matches!(outcomes[0], Err(AppendError::Malformed(_))));
    assert!(outcomes[1].is_ok(), "the one beside it is taken");
    let read = Read { needle: NeedleId(4), first_block: u32::MAX, blocks: u32::MAX, with_table: true };
    assert_eq!(volume.read(read).await.0, Err(ReadError::Range));

    for port in [volume.running.peer, volume.running.http] {
        let mut garbage = TcpStream::connect(port).await.expect("it listens");
        // It may hang up before it has all of it.
        let _ = garbage.write_all(&data(1, 100_000)).await;
    }
    assert_eq!(volume.call(&Status, vec![]).await.expect("it goes on").0.needles, 1);
    assert_eq!(volume.http("GET /-/needles/4 HTTP/1.1").await.body, data(4, 100));
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn needles_are_read_over_http_whole_and_by_range() {
    let volume = volume().await;
    for (id, size) in [(1, 0), (2, 1000), (3, (2 << 20) + 33)] {
        assert!(volume.append(&[needle(id, size)]).await.0[0].is_ok());
        let data = data(id, size);
        let whole = volume.http(&format!("GET /-/needles/{id} HTTP/1.1")).await;
        assert_eq!((whole.status, whole.body == data), (200, true));
        assert!(whole.has(&format!("content-length: {size}")), "{}", whole.head);
        let head = volume.http(&format!("HEAD /-/needles/{id} HTTP/1.1")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert!(head.has(&format!("content-length: {size}")), "{}", head.head);
        for (from, to) in
            [(0, 0), (1, 10), (size / 2, size / 2 + 70_000), (size.saturating_sub(1), size), (size, size)]
        {
            let part =
                volume.http(&format!("GET /-/needles/{id} HTTP/1.1\r\nRange: bytes={from}-{to}")).await;
            if size == 0 {
                assert_eq!((part.status, part.body.len()), (200, 0), "all there is of an empty object");
                continue;
            }
            if from >= size {
                assert_eq!(part.status, 416);
                assert!(part.has(&format!("content-range: bytes */{size}")), "{}", part.head);
                continue;
            }
            let to = to.min(size - 1);
            assert_eq!((part.status, part.body == data[from..=to]), (206, true), "{from}-{to} of {size}");
            assert!(part.has(&format!("content-range: bytes {from}-{to}/{size}")), "{}", part.head);
        }
    }
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn http_says_what_it_has_not() {
    let volume = volume().await;
    assert!(volume.append(&[needle(1, 10)]).await.0[0].is_ok());
    let health = volume.http("GET /-/health HTTP/1.1").await;
    assert_eq!((health.status, health.text()), (200, "ok\n"));
    let status = volume.http("GET /-/status HTTP/1.1").await;
    let status: serde_json::Value = serde_json::from_str(status.text()).expect("JSON");
    assert_eq!((&status["id"], &status["needles"]), (&7.into(), &1.into()));
    assert_eq!(status["cluster"], CLUSTER.to_string());
    let scrub = &status["scrub"];
    assert_eq!(
        (&scrub["round"], &scrub["done_bytes"], &scrub["found_bad"]),
        (&1.into(), &0.into(), &0.into())
    );
    assert!(scrub["total_bytes"].as_u64() > Some(4096) && scrub["last_round_ended"].is_null(), "{scrub}");

    let missing = volume.http("GET /-/needles/2 HTTP/1.1").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("needle 2"), "{}", missing.text());
    for id in ["x", "", "-1", "+1", "99999999999999999999", "1/2"] {
        assert_eq!(volume.http(&format!("GET /-/needles/{id} HTTP/1.1")).await.status, 400, "{id}");
    }
    let route = volume.http("GET /-/nothing HTTP/1.1").await;
    assert_eq!(route.status, 404);
    assert!(route.text().contains("/-/nothing"), "{}", route.text());
    let list = volume.http("GET /cats/?list HTTP/1.1").await;
    assert_eq!(list.status, 400);
    assert!(list.text().contains("master"), "{}", list.text());
    let write = volume.http("PUT /cats/1.jpg HTTP/1.1\r\nContent-Length: 0").await;
    assert_eq!(write.status, 405);
    assert!(
        write.has("allow: GET, HEAD") && write.text().contains("write to the client port of a master"),
        "{}",
        write.head
    );
    let put = volume.http("PUT /-/needles/1 HTTP/1.1\r\nContent-Length: 0").await;
    assert_eq!(put.status, 405);
    assert!(put.has("allow: GET, HEAD"), "{}", put.head);
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn a_key_is_read_as_a_master_says() {
    let data_dir = TempDir::new().expect("a directory");
    let (address, master, _) = master(CLUSTER).await;
    let running = in_time(start(options(data_dir.path(), &[&address]))).await.expect("it starts");
    let client = client_of(&running);
    let appended = client.call(&Append { needles: 1 }, vec![needle(1, 500)], Instant::now() + DEADLINE);
    assert!(appended.await.expect("a good request").0.0[0].is_ok());
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let crc = digest::table_crc(&digest::block_table(&data(1, 500)));
    let resolved = |needle: Option<u64>, crc| Resolved {
        needle: needle.map(NeedleId),
        crc,
        range_counts: true,
        fields: vec![field("etag", "\"e\""), field("content-type", "image/gif")],
        master: "10.0.0.1:9090".to_owned(),
    };
    let ask = async |answer: Option<Result<Resolved, NotResolved>>, head: &str| {
        master.resolved.lock().await.extend(answer);
        http(running.http, head.as_bytes()).await
    };
    let whole =
        ask(Some(Ok(resolved(Some(1), crc))), "GET /cats/n%C3%A4 HTTP/1.1\r\nIf-Match: *\r\nCookie: x").await;
    assert_eq!((whole.status, whole.body), (200, data(1, 500)));
    for wanted in ["etag: \"e\"", "content-type: image/gif", "content-length: 500", "hayrick-served-by: 7"] {
        assert!(whole.head.contains(wanted), "{wanted} in {}", whole.head);
    }
    let asked = master.resolves.lock().await.pop().expect("it was asked");
    assert_eq!((asked.key.as_str(), asked.stale), ("cats/nä", false));
    assert_eq!(asked.fields, [field("if-match", "*")], "what bears on the answer, and nothing else");

    let part = ask(Some(Ok(resolved(Some(1), crc))), "GET /a HTTP/1.1\r\nRange: bytes=1-2").await;
    assert_eq!((part.status, &part.body[..]), (206, &data(1, 500)[1..=2]));
    let beyond = ask(Some(Ok(resolved(Some(1), crc))), "GET /a HTTP/1.1\r\nRange: bytes=500-").await;
    assert_eq!(beyond.status, 416);
    assert!(beyond.head.contains("content-type: text/plain"), "{}", beyond.head);
    let head = ask(Some(Ok(resolved(Some(1), crc))), "HEAD /a?consistency=stale HTTP/1.1").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.has("content-length: 500"), "{}", head.head);
    assert!(master.resolves.lock().await.pop().expect("it was asked").stale);
    let same = ask(Some(Ok(resolved(None, crc))), "GET /a HTTP/1.1\r\nIf-None-Match: \"e\"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));

    // Neither a copy that is not here nor one that is not what the index names is sent.
    for (needle, crc) in [(2, crc), (1, crc ^ 1)] {
        let elsewhere = ask(Some(Ok(resolved(Some(needle), crc))), "GET /a%20b HTTP/1.1").await;
        assert_eq!(elsewhere.status, 307);
        assert!(elsewhere.has("location: http://10.0.0.1:9090/a%20b"), "{}", elsewhere.head);
    }
    let gone = ask(None, "GET /a HTTP/1.1").await;
    assert_eq!((gone.status, gone.text()), (404, "Key does not exist."));
    let gone = ask(None, "HEAD /a HTTP/1.1").await;
    assert!(gone.status == 404 && gone.has("content-length: 0"), "{}", gone.head);
    let no_leader = NotResolved { status: 503, text: "no master leads".to_owned() };
    let not_now = ask(Some(Err(no_leader)), "GET /a HTTP/1.1").await;
    assert!(not_now.status == 503 && not_now.text().contains("no master leads"), "{}", not_now.head);
    assert_eq!(ask(None, "GET /a/../b HTTP/1.1").await.status, 400);
    in_time(running.stop()).await;
}

#[tokio::test]
async fn a_flipped_byte_is_a_503_and_never_bytes() {
    let data_dir = TempDir::new().expect("a directory");
    let (address, _, _) = master(CLUSTER).await;
    let running = in_time(start(options(data_dir.path(), &[&address]))).await.expect("it starts");
    let client = client_of(&running);
    let bytes = data(1, 500);
    let append = client.call(&Append { needles: 1 }, vec![needle(1, 500)], Instant::now() + DEADLINE);
    assert!(append.await.expect("a good request").0.0[0].is_ok());
    let segment = data_dir.path().join("needles/0000000000000001.seg");
    let mut whole = std::fs::read(&segment).expect("it is there");
    let at = whole.windows(500).position(|window| window == bytes).expect("it is in there");
    whole[at + 100] ^= 0x40;
    std::fs::write(&segment, &whole).expect("written");
    let answer = http(running.http, b"GET /-/needles/1 HTTP/1.1").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let read = Read { needle: NeedleId(1), first_block: 0, blocks: 1, with_table: true };
    let (reply, _) = client.call(&read, vec![], Instant::now() + DEADLINE).await.expect("a good request");
    assert_eq!(reply, Err(ReadError::Damaged));
    in_time(running.stop()).await;
}

#[tokio::test]
async fn what_was_acked_is_there_after_each_stop() {
    let data_dir = TempDir::new().expect("a directory");
    let (address, _, _) = master(CLUSTER).await;
    for round in 1..=4 {
        let running = in_time(start(options(data_dir.path(), &[&address]))).await.expect("it starts");
        for id in 1..round {
            let answer = http(running.http, format!("GET /-/needles/{id} HTTP/1.1").as_bytes()).await;
            assert_eq!(answer.body, data(id, 3000));
        }
        let append = client_of(&running);
        let append =
            append.call(&Append { needles: 1 }, vec![needle(round, 3000)], Instant::now() + DEADLINE);
        assert!(append.await.expect("a good request").0.0[0].is_ok());
        in_time(running.stop()).await;
    }
}
