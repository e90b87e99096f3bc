//! How many calls a second one connection carries. Run in release:
//! `cargo test -p hayrick-rpc --release --test call_rate -- --ignored --nocapture`.

use std::sync::Arc;

use bytes::Bytes;
use hayrick_protocol::ClusterId;
use hayrick_protocol::messages::volume::{Append, AppendReply};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::{NodeId, VolumeId};
use hayrick_rpc::{Client, HandleError, Handler, Local, Request, Response, serve};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

/// Answers everything with nothing.
struct Nothing;

impl Handler for Nothing {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        let _append: Append = request.message::<Append>()?;
        Ok(Response::to::<Append>(&AppendReply(Vec::new()), Vec::new()))
    }
}

async fn client() -> Client {
    let cluster = ClusterId([7; 16]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let volume = Identity::Volume(VolumeId(3));
    tokio::spawn(serve(listener, Local::new(volume, cluster), Arc::new(Nothing), std::future::pending()));
    Client::new(Local::new(Identity::Master(NodeId(1)), cluster), address, Some(volume))
}

async fn rate(client: &Client, callers: usize, body: Bytes, run: Duration) -> f64 {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            let mut calls = 0_u64;
            while started.elapsed() < run {
                let deadline = Instant::now() + Duration::from_secs(5);
                client.call(&Append { needles: 1 }, vec![body.clone()], deadline).await.expect("it answers");
                calls += 1;
            }
            calls
        });
    }
    let calls: u64 = tasks.join_all().await.into_iter().sum();
    calls as f64 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn calls_per_second() {
    let client = client().await;
    println!("{} without a body, then with 4 KiB, then with 1 MiB", Append::NAME);
    for callers in [1, 8, 32, 128] {
        let run = Duration::from_secs(2);
        let nothing = rate(&client, callers, Bytes::new(), run).await;
        let some = rate(&client, callers, Bytes::from(vec![1; 4096]), run).await;
        let much = rate(&client, callers, Bytes::from(vec![1; 1024 * 1024]), run).await;
        println!("{callers:>4} callers: {nothing:>8.0}/s {some:>8.0}/s {much:>8.0}/s");
    }
}
