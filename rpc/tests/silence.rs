//! What becomes of connections whose other end falls silent without closing.

use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::messages::Identity;
use hayrick_protocol::messages::volume::{Append, AppendReply};
use hayrick_protocol::{ClusterId, NodeId, VolumeId};
use hayrick_rpc::{CallError, Client, HandleError, Handler, Local, Request, Response, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, timeout};

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Takes as many milliseconds as it is asked for needles.
struct Slow;

impl Handler for Slow {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        sleep(Duration::from_millis(u64::from(request.message::<Append>()?.needles))).await;
        Ok(Response::to::<Append>(&AppendReply(Vec::new()), Vec::new()))
    }
}

async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let local = Local::new(Identity::Volume(VolumeId(3)), CLUSTER);
    tokio::spawn(serve(listener, local, Arc::new(Slow), std::future::pending()));
    address
}

fn client(address: String) -> Client {
    Client::new(Local::new(Identity::Master(NodeId(1)), CLUSTER), address, None)
}

async fn ask(client: &Client, needles: u32, patience: Duration) -> Result<(), CallError> {
    client.call(&Append { needles }, vec![Bytes::new()], Instant::now() + patience).await.map(drop)
}

/// Passes everything on, each connection until `frozen` turns true while it is open; then neither passes nor closes.
async fn relay(server: String, frozen: watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a client comes");
            let far = TcpStream::connect(&server).await.expect("the server listens");
            let mut frozen = frozen.clone();
            frozen.mark_unchanged();
            tokio::spawn(async move {
                let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                    (near.into_split(), far.into_split());
                tokio::select! {
                    _ = copy(&mut near_in, &mut far_out) => {}
                    _ = copy(&mut far_in, &mut near_out) => {}
                    _ = frozen.changed() => std::future::pending().await,
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_replaced() {
    let (freeze, frozen) = watch::channel(false);
    let client = client(relay(server().await, frozen).await);
    ask(&client, 0, Duration::from_secs(5)).await.expect("it answers");
    freeze.send(true).expect("the relay runs");

    let started = Instant::now();
    let error = ask(&client, 0, Duration::from_millis(100)).await.expect_err("silence");
    assert_eq!(error, CallError::Deadline { sent: true });
    assert!(started.elapsed() < Duration::from_secs(2), "the deadline is kept");

    // No other call is made: the connection is found dead though nothing waits for it any more.
    let given_up = async {
        while client.is_connected() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(9), given_up).await.expect("after some seconds of silence");
    ask(&client, 0, Duration::from_secs(5)).await.expect("a new connection passes");
}

#[tokio::test]
async fn a_call_that_outlasts_the_silence_is_lost_before_its_deadline() {
    let (freeze, frozen) = watch::channel(false);
    let client = client(relay(server().await, frozen).await);
    ask(&client, 0, Duration::from_secs(5)).await.expect("it answers");
    freeze.send(true).expect("the relay runs");
    let error = ask(&client, 0, Duration::from_secs(60)).await.expect_err("silence");
    assert!(matches!(&error, CallError::Lost { why } if why.contains("silent")), "{error}");
}

#[tokio::test]
async fn a_slow_handler_is_not_taken_for_a_dead_peer() {
    let client = client(server().await);
    ask(&client, 8000, Duration::from_secs(12)).await.expect("signs of life come meanwhile");
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_closed() {
    let mut socket = TcpStream::connect(server().await).await.expect("it listens");
    socket.write_all(b"Hayr").await.expect("it is open");
    let end = timeout(Duration::from_secs(6), socket.read_u8()).await.expect("within seconds");
    assert!(end.is_err(), "nothing is said to strangers");
}
