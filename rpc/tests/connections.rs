//! What both ends promise, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hayrick_protocol::codec;
use hayrick_protocol::limits::REQUESTS_IN_FLIGHT_MAX;
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::volume::{Append, AppendError, AppendReply};
use hayrick_protocol::{ClusterId, NodeId, VolumeId};
use hayrick_rpc::{CallError, Client, HandleError, Handler, Local, RefusalReason, Request, Response, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, timeout};

const VOLUME: Identity = Identity::Volume(VolumeId(3));
const MASTER: Identity = Identity::Master(NodeId(1));
const CLUSTER: ClusterId = ClusterId([7; 16]);

/// What [`Volume`] does with `needles`: a number of its own answers with the body, these do as they say.
const WAIT_AT_GATE: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;
const MALFORMED: u32 = u32::MAX - 2;
const OVERLOADED: u32 = u32::MAX - 3;
const PANIC: u32 = u32::MAX - 4;

/// Answers with the body it got and, as a `Malformed`, who asked.
struct Volume {
    gate: Semaphore,
    taken: AtomicUsize,
}

impl Handler for Volume {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        match request.message::<Append>()?.needles {
            WAIT_AT_GATE => self.gate.acquire().await.expect("never closed").forget(),
            UNKNOWN => return Err(HandleError::UnknownMethod),
            MALFORMED => return Err(HandleError::Malformed("no needle".to_owned())),
            OVERLOADED => return Err(HandleError::Overloaded),
            PANIC => panic!("as asked"),
            _ => {}
        }
        let reply = AppendReply(vec![Err(AppendError::Malformed(request.from.identity.to_string()))]);
        Ok(Response::to::<Append>(&reply, vec![request.body]))
    }
}

struct Server {
    address: String,
    volume: Arc<Volume>,
    local: Local,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let volume = Arc::new(Volume { gate: Semaphore::new(0), taken: AtomicUsize::new(0) });
        let local = Local::new(VOLUME, CLUSTER);
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, local.clone(), Arc::clone(&volume), stopped));
        Self { address, volume, local, stop: Some(stop), task }
    }

    fn client(&self) -> Client {
        Client::new(Local::new(MASTER, CLUSTER), self.address.clone(), Some(VOLUME))
    }

    /// Waits until its handler took so many requests.
    async fn took(&self, requests: usize) {
        until(|| self.volume.taken.load(Ordering::SeqCst) >= requests).await;
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), waited).await.expect("it comes true in 10 s");
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn ask(client: &Client, needles: u32, body: &[u8]) -> Result<Bytes, CallError> {
    let body = vec![Bytes::copy_from_slice(body)];
    Ok(client.call(&Append { needles }, body, soon()).await?.1)
}

#[tokio::test]
async fn a_call_brings_the_reply_and_says_who_asked() {
    let server = Server::start().await;
    let client = server.client();
    assert!(!client.is_connected());
    let body = vec![Bytes::from_static(b"two "), Bytes::from_static(b"chunks")];
    let (reply, body) = client.call(&Append { needles: 1 }, body, soon()).await.expect("it answers");
    assert_eq!(reply, AppendReply(vec![Err(AppendError::Malformed("master 1".to_owned()))]));
    assert_eq!(body, "two chunks");
    let peer = client.peer().expect("connected");
    assert_eq!((peer.identity, peer.cluster, peer.version), (VOLUME, CLUSTER, 1));
}

#[tokio::test]
async fn bodies_of_any_size_come_back_whole() {
    let server = Server::start().await;
    let client = server.client();
    let mut calls = JoinSet::new();
    for size_bytes in [0, 1, 4095, 4097, 65_535, 1 << 20, (8 << 20) + 3] {
        let client = client.clone();
        calls.spawn(async move {
            let body: Vec<u8> = (0..size_bytes).map(|at| (at * 7 % 251) as u8).collect();
            assert_eq!(ask(&client, 1, &body).await.expect("it answers"), body, "{size_bytes} bytes");
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn replies_may_overtake_each_other() {
    let server = Server::start().await;
    let client = server.client();
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, WAIT_AT_GATE, b"slow").await }
    });
    server.took(1).await;
    assert_eq!(ask(&client, 1, b"fast").await.expect("it answers"), "fast");
    assert!(!slow.is_finished());
    server.volume.gate.add_permits(1);
    assert_eq!(slow.await.expect("no panic").expect("it answers"), "slow");
}

#[tokio::test]
async fn what_a_handler_refuses_is_told_apart() {
    let server = Server::start().await;
    let client = server.client();
    assert_eq!(ask(&client, UNKNOWN, b"").await, Err(CallError::UnknownMethod));
    assert_eq!(ask(&client, MALFORMED, b"").await, Err(CallError::Malformed("no needle".to_owned())));
    assert_eq!(ask(&client, OVERLOADED, b"").await, Err(CallError::Overloaded));
}

#[tokio::test]
async fn a_handler_that_dies_loses_its_calls_at_once() {
    let server = Server::start().await;
    let client = server.client();
    let error = ask(&client, PANIC, b"").await.expect_err("it panics");
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert!(!error.surely_not_executed());
    assert_eq!(ask(&client, 1, b"again").await.expect("the server lives"), "again");
}

#[tokio::test]
async fn another_cluster_is_refused_in_plain_words() {
    let server = Server::start().await;
    let other = Local::new(MASTER, ClusterId([8; 16]));
    let client = Client::new(other, server.address.clone(), Some(VOLUME));
    let error = ask(&client, 1, b"").await.expect_err("another cluster");
    let CallError::Refused(refusal) = &error else { panic!("{error}") };
    assert_eq!(refusal.reason, RefusalReason::OtherCluster);
    let words = format!("this is volume 3 of cluster {CLUSTER}; you are of cluster {}", ClusterId([8; 16]));
    assert_eq!(refusal.text, words);
    assert!(error.surely_not_executed());
    assert_eq!(server.volume.taken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_identity_than_expected_is_refused_in_plain_words() {
    let server = Server::start().await;
    let expects = Some(Identity::Master(NodeId(2)));
    let client = Client::new(Local::new(MASTER, CLUSTER), server.address.clone(), expects);
    let error = ask(&client, 1, b"").await.expect_err("another identity");
    let CallError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.reason, RefusalReason::OtherIdentity);
    assert_eq!(refusal.text, format!("this is volume 3 of cluster {CLUSTER}; you expected master 2"));
}

#[tokio::test]
async fn an_unknown_cluster_passes_until_it_is_known_to_differ() {
    let server = Server::start().await;
    server.local.set_cluster(ClusterId::UNKNOWN);
    let client = server.client();
    ask(&client, 1, b"").await.expect("an unknown cluster passes");
    server.local.set_cluster(ClusterId([8; 16]));
    let error = ask(&client, 1, b"").await.expect_err("now they differ");
    assert!(matches!(error, CallError::Lost { .. } | CallError::Refused(_)), "{error}");
    let error = ask(&client, 1, b"").await.expect_err("they still differ");
    assert!(matches!(error, CallError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_new_identity_is_told_with_the_next_call() {
    let server = Server::start().await;
    let local = Local::new(Identity::Volume(VolumeId(0)), ClusterId::UNKNOWN);
    let client = Client::new(local.clone(), server.address.clone(), None);
    let who = async || match client.call(&Append { needles: 1 }, Vec::new(), soon()).await {
        Ok((AppendReply(replies), _)) => format!("{replies:?}"),
        Err(error) => error.to_string(),
    };
    assert!(who().await.contains("a volume without an id"));
    local.set_identity(Identity::Volume(VolumeId(9)));
    local.set_cluster(CLUSTER);
    assert!(who().await.contains("volume 9"));
}

#[tokio::test]
async fn a_deadline_is_kept_though_the_handler_hangs() {
    let server = Server::start().await;
    let client = server.client();
    // Connected before the time runs: on a busy machine it would be over before the request is sent.
    ask(&client, 1, b"").await.expect("it answers");
    let started = Instant::now();
    let deadline = started + Duration::from_secs(1);
    let error =
        client.call(&Append { needles: WAIT_AT_GATE }, Vec::new(), deadline).await.expect_err("hangs");
    assert_eq!(error, CallError::Deadline { sent: true });
    assert!(started.elapsed() < Duration::from_secs(5));
    let error = client.call(&Append { needles: 1 }, Vec::new(), started).await.expect_err("it passed before");
    assert_eq!(error, CallError::Deadline { sent: false });
    ask(&client, 1, b"").await.expect("the connection goes on");
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_was_surely_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let client = Client::new(Local::new(MASTER, CLUSTER), address, None);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = client.call(&Append { needles: 1 }, Vec::new(), deadline).await.expect_err("silence");
    assert_eq!(error, CallError::Deadline { sent: false });
}

#[tokio::test]
async fn a_client_finds_its_server_again_after_a_restart() {
    let mut server = Server::start().await;
    let client = server.client();
    ask(&client, 1, b"").await.expect("it answers");
    server.stop.take().expect("once").send(()).expect("it runs");
    (&mut server.task).await.expect("it stops");
    until(|| !client.is_connected()).await;
    let error = ask(&client, 1, b"").await.expect_err("nobody listens");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    assert!(error.to_string().contains(&server.address), "{error}");

    let server = Server::start_at(&server.address).await;
    let back = async {
        while ask(&client, 1, b"").await.is_err() {
            tokio::task::yield_now().await
        }
    };
    timeout(Duration::from_secs(5), back).await.expect("it reconnects within half a second");
    assert!(server.volume.taken.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_is_in_flight_and_begins_nothing() {
    let mut server = Server::start().await;
    let client = server.client();
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, WAIT_AT_GATE, b"slow").await }
    });
    server.took(1).await;
    server.stop.take().expect("once").send(()).expect("it runs");
    // The listener closes first: then the server is stopping.
    let refused = async { while TcpStream::connect(&server.address).await.is_ok() {} };
    timeout(Duration::from_secs(5), refused).await.expect("it stops listening");
    let closing = async {
        loop {
            match ask(&client, 1, b"late").await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let error = timeout(Duration::from_secs(5), closing).await.expect("it says that it closes");
    assert!(error.surely_not_executed(), "{error}");
    server.volume.gate.add_permits(1);
    assert_eq!(slow.await.expect("no panic").expect("it was in flight"), "slow");
    timeout(Duration::from_secs(5), server.task).await.expect("it ends").expect("no panic");
}

#[tokio::test]
async fn a_lost_connection_tells_that_the_call_may_have_been_executed() {
    let server = Server::start().await;
    let client = server.client();
    let call = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, WAIT_AT_GATE, b"").await }
    });
    server.took(1).await;
    server.task.abort();
    let error = call.await.expect("no panic").expect_err("the connection broke");
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert!(!error.surely_not_executed());
}

#[tokio::test]
async fn a_closed_client_sends_nothing_more() {
    let server = Server::start().await;
    let client = server.client();
    ask(&client, 1, b"").await.expect("it answers");
    client.clone().close();
    let error = ask(&client, 1, b"").await.expect_err("closed");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn dropped_calls_free_their_places_and_a_full_server_says_so() {
    let server = Server::start().await;
    let client = server.client();
    let mut calls = JoinSet::new();
    for _ in 0..REQUESTS_IN_FLIGHT_MAX {
        let client = client.clone();
        calls.spawn(async move { ask(&client, WAIT_AT_GATE, b"").await });
    }
    server.took(REQUESTS_IN_FLIGHT_MAX).await;
    calls.shutdown().await;
    // The client has room again; the server is still at work on all of them.
    assert_eq!(ask(&client, 1, b"").await, Err(CallError::Overloaded));
    server.volume.gate.add_permits(REQUESTS_IN_FLIGHT_MAX);
    let back = async {
        while ask(&client, 1, b"").await.is_err() {
            tokio::task::yield_now().await
        }
    };
    timeout(Duration::from_secs(5), back).await.expect("it takes requests again");
}

#[tokio::test]
async fn garbage_is_refused_and_the_server_goes_on() {
    let server = Server::start().await;
    let tls_hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0x5a; 300]].concat();
    let garbage: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        &tls_hello,
        &[0; 4096],
        &[0xff; 4096],
        b"HayrickH",
        &[b"HayrickH".as_slice(), &[0; 400]].concat(),
        b"HayrickN\x01\x00\xff\xff",
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(&server.address).await.expect("it listens");
        // The server may have closed before all was written.
        let _refused = socket.write_all(bytes).await;
        let _refused = socket.shutdown().await;
        let mut answer = Vec::new();
        let _reset =
            timeout(Duration::from_secs(2), socket.read_to_end(&mut answer)).await.expect("it closes");
        // A person with the wrong port is told so; nothing is said to other strangers.
        let told: &[u8] = if bytes.starts_with(b"GET ") { b"HTTP/1.1 400 " } else { b"" };
        assert!(answer.starts_with(told) && told.is_empty() == answer.is_empty(), "{answer:?}");
        assert_eq!(ask(&server.client(), 1, b"on").await.expect("it serves"), "on");
    }
    assert_eq!(server.volume.taken.load(Ordering::SeqCst), garbage.len());
}

/// Passes everything between one client and the server, with one bit of the server's bytes flipped.
async fn relay(listener: TcpListener, server: String, flip_at: usize) {
    let (near, _) = listener.accept().await.expect("a client comes");
    let far = TcpStream::connect(server).await.expect("the server listens");
    let (mut near_reader, mut near_writer) = near.into_split();
    let (mut far_reader, mut far_writer) = far.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut near_reader, &mut far_writer).await });
    let (mut bytes, mut passed) = ([0; 4096], 0);
    while let Ok(count @ 1..) = far_reader.read(&mut bytes).await {
        if (passed..passed + count).contains(&flip_at) {
            bytes[flip_at - passed] ^= 1;
        }
        passed += count;
        if near_writer.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    up.abort();
}

/// Lets the handshake through and then drops each connection.
async fn dropping_relay(listener: TcpListener, server: String, dialled: Arc<AtomicUsize>) {
    loop {
        let (mut asker, _) = listener.accept().await.expect("accepted");
        dialled.fetch_add(1, Ordering::SeqCst);
        let mut server = TcpStream::connect(&server).await.expect("it listens");
        let mut hello = [0; 4096];
        let bytes = asker.read(&mut hello).await.expect("an offer");
        server.write_all(&hello[..bytes]).await.expect("taken");
        let bytes = server.read(&mut hello).await.expect("an answer");
        asker.write_all(&hello[..bytes]).await.expect("taken");
    }
}

#[tokio::test]
async fn a_peer_that_accepts_and_drops_is_not_dialled_without_pause() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let dialled = Arc::new(AtomicUsize::new(0));
    tokio::spawn(dropping_relay(listener, server.address.clone(), Arc::clone(&dialled)));
    let client = Client::new(Local::new(MASTER, CLUSTER), address, Some(VOLUME));
    let began = Instant::now();
    for _ in 0..300 {
        ask(&client, 1, b"").await.expect_err("dropped");
    }
    // The pauses are 15 ms at least, and grow: by the time that went by, fewer attempts were due than there were calls.
    let due = 3 + began.elapsed().as_millis() / 15;
    let dialled = dialled.load(Ordering::SeqCst) as u128;
    assert!(dialled <= due && dialled >= 1, "dialled {dialled} times in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stranger_may_ask_small_things_only() {
    let server = Server::start().await;
    let stranger = Client::new(Local::new(MASTER, ClusterId::UNKNOWN), server.address.clone(), Some(VOLUME));
    ask(&stranger, 1, b"small").await.expect("as a master does that asks whether there is a cluster");
    let large = vec![7; hayrick_protocol::limits::LARGE_FRAME_BYTES + 1];
    ask(&stranger, 1, &large).await.expect_err("it would hold the place of those that belong here");
    ask(&server.client(), 1, &large).await.expect("they are served");
    // A master that was away while the cluster was formed learns of it from the log, which may be long by then.
    server.local.set_cluster(ClusterId::UNKNOWN);
    ask(&server.client(), 1, &large).await.expect("it may be the leader");
}

#[tokio::test]
async fn a_flipped_bit_in_a_reply_loses_the_call() {
    let server = Server::start().await;
    let reply_bytes = {
        let reply = AppendReply(vec![Err(AppendError::Malformed("master 1".to_owned()))]);
        32 + codec::encode(&reply).len() + b"body".len()
    };
    for at in [0, 5, 13, 24, 40, reply_bytes - 1] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        // The first 52 bytes are the server's hello; what follows may begin with a sign of life of 32 bytes.
        let relay = tokio::spawn(relay(listener, server.address.clone(), 52 + at));
        let client = Client::new(Local::new(MASTER, CLUSTER), address, Some(VOLUME));
        let mut calls = 0;
        let error = loop {
            match ask(&client, 1, b"body").await {
                // A sign of life came first, so that the bit was another's.
                Ok(body) => assert_eq!(body, "body"),
                Err(error) => break error,
            }
            calls += 1;
            assert!(calls < 5, "the bit was never flipped");
        };
        assert!(matches!(error, CallError::Lost { .. }), "bit of byte {at}: {error}");
        assert!(error.to_string().contains("checksum"), "{error}");
        relay.abort();
    }
}
