//! Claim 9: hostile input on any port gets a clear refusal; no panic, bounded memory, and honest users go on.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use hayrick_integration_tests::frames::{self, Greeting};
use hayrick_integration_tests::raw::{self, Answer, resident_bytes};
use hayrick_integration_tests::{cluster, content, figure, ledger, metrics, wait};
use hayrick_launcher::{Cluster, Process};
use rand::RngCore;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The kind and the code of a frame that says: there is no such method.
const UNKNOWN_METHOD: (u8, u16) = (3, 1);
/// And of one that says: the head is no message of that method.
const MALFORMED: (u8, u16) = (3, 2);
/// And of a reply.
const REPLY: (u8, u16) = (2, 0);
/// What volumes are asked, and masters (`protocol/src/messages/`).
const VOLUME_METHODS: RangeInclusive<u16> = 0x0101..=0x0105;
const MASTER_METHODS: RangeInclusive<u16> = 0x0201..=0x0208;
/// One of them asks without saying anything, and its head is not looked at: ReadIndex.
const SAY_NOTHING: [u16; 1] = [0x0203];
/// Connections that announce the largest body and send a part of it: a master that took all that its third of them
/// send would hold 1.6 GB, far above [`RESIDENT_BYTES_MAX`]; a process that took all half messages, 384 MiB and more.
const GREEDY: usize = 200;
const GREEDY_BYTES: usize = 24 << 20;
/// Strangers on each peer port that announce a message of so many bytes, and send as much of it.
const HALF_MESSAGES: usize = 16;
const HALF_MESSAGE_BYTES: u32 = 200 << 20;
/// A server that takes nothing for so long has stopped reading.
const STALL: Duration = Duration::from_secs(1);
/// Connections that say nothing.
const SILENT: usize = 300;
/// The memory for all bodies together is 256 MiB (cli.md); a server itself needs some.
const RESIDENT_BYTES_MAX: u64 = 450 << 20;
/// A head must be complete after 10 s (http-api.md).
const HEAD_AIM: Duration = Duration::from_secs(11);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_input_is_refused_without_harm() -> Result<()> {
    let seed = content::seed("hostile");
    let cluster = cluster::start(3).await?;
    let honest = cluster::client_any(&cluster)?;
    honest.put("honest", "here before").await?;
    let master = cluster.master(1).http_addr();

    let slow = tokio::spawn(slow_head(master));
    bad_targets(master).await?;
    bad_heads(master).await?;
    bad_bodies(master).await?;
    wrong_digests_and_half_bodies_store_nothing(master).await?;
    bad_volume_requests(cluster.volume(1).http_addr()).await?;
    garbage_on_every_port(&cluster, seed).await?;
    foreign_and_unknown_messages(&cluster).await?;
    half_messages_of_strangers(&cluster).await?;
    greedy_and_silent_connections(&cluster).await?;
    slow.await??;

    let stored = honest.list("", &hayrick_client::ListOptions::default()).await?;
    ensure!(stored.keys == ["honest"], "something was stored: {:?}", stored.keys);
    for (number, client) in cluster::client_each(&cluster)?.iter().enumerate() {
        ensure!(
            ledger::read(client, "honest").await?.as_deref() == Some(b"here before"),
            "the object is lost"
        );
        client.put(&format!("after/{number}"), "still works").await?;
    }
    memory_is_bounded(cluster.processes())?;
    metrics::moved("hostile::hostile_input_is_refused_without_harm", &cluster).await?;
    cluster::no_panics(&cluster)
}

async fn expect(addr: SocketAddr, request: &str, allowed: &[u16]) -> Result<Answer> {
    expect_bytes(addr, request.as_bytes(), allowed).await
}

async fn expect_bytes(addr: SocketAddr, request: &[u8], allowed: &[u16]) -> Result<Answer> {
    let answer = raw::send(addr, request).await?;
    let status = answer.status.unwrap_or(0);
    let shown = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
    ensure!(allowed.contains(&status), "{shown:?} got {status}, expected {allowed:?}: {:?}", answer.text);
    Ok(answer)
}

async fn bad_targets(master: SocketAddr) -> Result<()> {
    let long_key = "k".repeat(1025);
    let long_target = "t".repeat(9000);
    let cases = [
        ("/a/../b", 400),
        ("/a/./b", 400),
        ("/..", 400),
        ("/%2e%2e/secret", 400),
        ("/%01", 400),
        ("/a%00b", 400),
        ("/%zz", 400),
        ("/%e", 400),
        ("/%ff%fe", 400),
        ("/%C2%80", 400),
        (&format!("/{long_key}"), 400),
        (&format!("/{long_target}"), 414),
    ];
    for (target, status) in cases {
        for method in ["GET", "PUT", "DELETE"] {
            let length = if method == "PUT" { "Content-Length: 0\r\n" } else { "" };
            let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{length}\r\n");
            let answer = expect(master, &request, &[status]).await?;
            ensure!(!answer.body().trim().is_empty(), "{method} {target}: no reason was given");
        }
    }
    let unknown = expect(master, "GET /-/nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[404]).await?;
    ensure!(unknown.body().contains("/-/nothing"), "an unknown route: {:?}", unknown.body());
    expect(master, "HEAD /-/x HTTP/1.1\r\nHost: x\r\n\r\n", &[404]).await?;
    for request in [
        "PUT /-/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        "DELETE /-/x HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let answer = expect(master, request, &[400]).await?;
        ensure!(answer.body().contains("do not begin with `-/`"), "a reserved key: {:?}", answer.body());
    }
    for limit in ["0", "10001", "-1", "many"] {
        expect(master, &format!("GET /?list&limit={limit} HTTP/1.1\r\nHost: x\r\n\r\n"), &[400]).await?;
    }
    let gone = expect(master, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[404]).await?;
    ensure!(gone.body().trim_end() == "Key does not exist.", "404 says {:?}", gone.body());
    Ok(())
}

async fn bad_heads(master: SocketAddr) -> Result<()> {
    for method in ["PATCH", "TRACE", "POST", "BREW"] {
        let request = format!("{method} /key HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = expect(master, &request, &[405]).await?;
        ensure!(answer.text.to_lowercase().contains("\r\nallow:"), "405 without Allow: {:?}", answer.text);
    }
    let huge = format!("GET /key HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "h".repeat(40 * 1024));
    expect(master, &huge, &[431]).await?;
    let many: String = (0..150).map(|number| format!("X-{number}: y\r\n")).collect();
    expect(master, &format!("GET /key HTTP/1.1\r\nHost: x\r\n{many}\r\n"), &[431]).await?;
    for garbage in [
        "GET /key\r\n\r\n",
        "GET  /key HTTP/1.1\r\n\r\n",
        "GET /key HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ] {
        expect(master, garbage, &[400]).await?;
    }
    let meta = format!(
        "PUT /meta HTTP/1.1\r\nHost: x\r\nHayrick-Meta-A: {}\r\nContent-Length: 1\r\n\r\nx",
        "m".repeat(3000)
    );
    expect(master, &meta, &[431]).await?;
    Ok(())
}

async fn bad_bodies(master: SocketAddr) -> Result<()> {
    let put = |headers: &str, body: &str| format!("PUT /body HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}");
    expect(master, &put("", ""), &[411]).await?;
    expect(master, &put("Content-Length: abc\r\n", "abc"), &[400]).await?;
    expect(master, &put("Content-Length: -1\r\n", "x"), &[400]).await?;
    expect(master, &put("Content-Length: 1\r\nContent-Length: 2\r\n", "xx"), &[400]).await?;
    expect(master, &put("Content-Length: 99999999999999999999999\r\n", "x"), &[400]).await?;
    expect(master, &put("Content-Length: 1099511627776\r\n", "x"), &[413]).await?;
    let expecting = put("Content-Length: 67108865\r\nExpect: 100-continue\r\n", "");
    let answer = expect(master, &expecting, &[413]).await?;
    ensure!(!answer.text.contains("100 Continue"), "413 came after 100 Continue");
    let limit = ["64 MiB (67108864 bytes)", "--max-object-size"];
    ensure!(limit.iter().all(|part| answer.body().contains(part)), "{:?}", answer.text);
    expect(master, &put("Transfer-Encoding: chunked\r\n", "zzz\r\nx\r\n0\r\n\r\n"), &[400]).await?;
    expect(master, &put("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nx"), &[400]).await?;
    let unquoted = expect(master, &put("Content-Length: 1\r\nIf-Match: unquoted\r\n", "x"), &[400]).await?;
    ensure!(unquoted.body().contains("in double quotes"), "{:?}", unquoted.text);
    expect(master, &put("Content-Length: 1\r\nContent-Type: \u{7f}\r\n", "x"), &[400]).await?;
    Ok(())
}

async fn wrong_digests_and_half_bodies_store_nothing(master: SocketAddr) -> Result<()> {
    let wrong = "PUT /digest HTTP/1.1\r\nHost: x\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\nContent-Length: 4\r\n\r\nmeow";
    expect(master, wrong, &[400]).await?;
    expect(master, &wrong.replace("AAAAAAAAAAAAAAAAAAAAAA==", "not base64!"), &[400]).await?;
    let half = b"PUT /half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf";
    let answer = raw::send_and_close(master, half).await?;
    ensure!(answer.status == Some(400), "half a body got {:?}", answer.status);
    let half_chunked = b"PUT /half HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let answer = raw::send_and_close(master, half_chunked).await?;
    ensure!(answer.status == Some(400), "half a chunked body got {:?}", answer.status);
    for key in ["digest", "half"] {
        expect(master, &format!("GET /{key} HTTP/1.1\r\nHost: x\r\n\r\n"), &[404]).await?;
    }
    Ok(())
}

async fn bad_volume_requests(volume: SocketAddr) -> Result<()> {
    for id in ["-1", "abc", "18446744073709551616", "99999999999999999999999999", "%00"] {
        let request = format!("GET /-/needles/{id} HTTP/1.1\r\nHost: x\r\n\r\n");
        expect(volume, &request, &[400]).await?;
    }
    for id in ["0", "18446744073709551615"] {
        let request = format!("GET /-/needles/{id} HTTP/1.1\r\nHost: x\r\n\r\n");
        expect(volume, &request, &[404]).await?;
    }
    expect(volume, "GET /-/nothing HTTP/1.1\r\nHost: x\r\n\r\n", &[404]).await?;
    expect(volume, "PUT /-/needles/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", &[405]).await?;
    let huge = format!("GET /-/health HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", "h".repeat(40 * 1024));
    expect(volume, &huge, &[431]).await?;
    Ok(())
}

/// Random bytes, huge lengths, the wrong protocol: each connection ends, and each process lives on.
async fn garbage_on_every_port(cluster: &Cluster, seed: u64) -> Result<()> {
    let mut rng = content::rng(seed, 9);
    let mut random = vec![0; 64 * 1024];
    rng.fill_bytes(&mut random);
    let payloads: Vec<Vec<u8>> = vec![
        random.clone(),
        random[..7].to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat(),
        [&u32::MAX.to_be_bytes()[..], &[1; 64]].concat(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // The beginning of a TLS handshake.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    let ports: Vec<SocketAddr> =
        cluster.processes().flat_map(|process| [process.http_addr(), process.peer_addr()]).collect();
    for payload in &payloads {
        try_join_all(ports.iter().map(|addr| raw::send_and_close(*addr, payload))).await?;
    }
    for process in cluster.processes() {
        ensure!(process.is_running(), "{} died of garbage", process.name());
        expect(process.http_addr(), "GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n", &[200]).await?;
    }
    Ok(())
}

/// Well-formed frames of another cluster, of another time, and of a kind that this build does not know.
async fn foreign_and_unknown_messages(cluster: &Cluster) -> Result<()> {
    let status = cluster::client_each(cluster)?[0].status().await?;
    let own =
        u128::from_str_radix(&status.cluster, 16).context("a cluster's id is hexadecimal")?.to_be_bytes();
    for (number, process) in cluster.processes().enumerate() {
        let is_master = number < cluster.masters().len();
        let addr = process.peer_addr();
        let foreign = frames::greet(addr, [9; 16], (0, u16::MAX)).await?;
        ensure!(
            matches!(&foreign, Greeting::Refused(why) if why.contains("cluster")),
            "{} to another cluster: {foreign:?}",
            process.name()
        );
        let future = frames::greet(addr, [0; 16], (900, 901)).await?;
        ensure!(
            matches!(&future, Greeting::Refused(why) if why.contains("version")),
            "{} to versions from the future: {future:?}",
            process.name()
        );
        // Of a stranger, and of one that says it is a master of this cluster.
        for (who, head) in [[0; 16], own].into_iter().flat_map(|who| [(who, &b""[..]), (who, &[0xff; 300])]) {
            let known = frames::greet(addr, who, (0, u16::MAX)).await?;
            let Greeting::Accepted(mut stream) = known else {
                anyhow::bail!("{} to one of its own: {known:?}", process.name());
            };
            // An error that says "unknown method", and the connection lives on for the next.
            for method in [u16::MAX, 0x7fff] {
                let answer = frames::exchange(&mut stream, &frames::request(method, head)).await?;
                ensure!(answer == Some(UNKNOWN_METHOD), "{}: {method} got {answer:?}", process.name());
            }
            garbage_heads(&process.name(), &mut stream, head, is_master).await?;
        }
    }
    Ok(())
}

/// Methods that exist, with a head that is none.
async fn garbage_heads(name: &str, stream: &mut TcpStream, head: &[u8], is_master: bool) -> Result<()> {
    let (own, others) =
        if is_master { (MASTER_METHODS, VOLUME_METHODS) } else { (VOLUME_METHODS, MASTER_METHODS) };
    for method in own {
        let answer = frames::exchange(stream, &frames::request(method, head)).await?;
        let expected = if SAY_NOTHING.contains(&method) { REPLY } else { MALFORMED };
        ensure!(answer == Some(expected), "{name}: a bad head of {method:#06x} got {answer:?}");
    }
    for method in others {
        let answer = frames::exchange(stream, &frames::request(method, head)).await?;
        ensure!(answer == Some(UNKNOWN_METHOD), "{name}: {method:#06x} is not for it, and got {answer:?}");
    }
    Ok(())
}

/// Many large announcements and many silent connections: memory stays bounded and others are served.
async fn greedy_and_silent_connections(cluster: &Cluster) -> Result<()> {
    let mut held = Vec::new();
    for process in cluster.processes() {
        for addr in [process.http_addr(), process.peer_addr()] {
            for _ in 0..SILENT / 6 {
                held.push(TcpStream::connect(addr).await?);
            }
        }
    }
    let mut greedy = JoinSet::new();
    let addrs = cluster.client_addrs();
    for number in 0..GREEDY {
        greedy.spawn(greedy_put(addrs[number % addrs.len()], number));
    }
    // They announced more than all memory for bodies: an honest write may have to wait, a read has not.
    let client = cluster::client_any(cluster)?;
    let mut sent = 0;
    while let Some(stream) = greedy.join_next().await {
        let (stream, bytes) = stream??;
        held.push(stream);
        sent += bytes;
        let read = ledger::read(&client, "honest").await?;
        ensure!(read.as_deref() == Some(b"here before"), "a read beside greedy connections: {read:?}");
        memory_is_bounded(cluster.processes())?;
    }
    figure::say(&format!("{GREEDY} greedy connections got rid of {} MiB", sent >> 20));
    tell_memory(cluster)?;
    drop(held);
    wait::until("honest writes are taken again", Duration::from_secs(30), async || {
        for client in cluster::client_each(cluster)? {
            client.put("honest", "here before").await?;
        }
        Ok(())
    })
    .await
}

/// Announces the largest body and sends a part of it, as much as the server takes within a while.
async fn greedy_put(master: SocketAddr, number: usize) -> Result<(TcpStream, usize)> {
    let mut stream = TcpStream::connect(master).await?;
    let head = format!("PUT /greedy/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let sent = send_piecemeal(&mut stream, GREEDY_BYTES).await;
    Ok((stream, sent))
}

/// Half messages of the largest kind, from peers that know no cluster: what is announced costs nothing until it comes.
async fn half_messages_of_strangers(cluster: &Cluster) -> Result<()> {
    let mut strangers = JoinSet::new();
    for process in cluster.processes() {
        for _ in 0..HALF_MESSAGES {
            strangers.spawn(half_message(process.peer_addr()));
        }
    }
    let mut held = Vec::new();
    while let Some(stream) = strangers.join_next().await {
        held.push(stream??);
        memory_is_bounded(cluster.processes())?;
    }
    tell_memory(cluster)
}

async fn half_message(peer: SocketAddr) -> Result<TcpStream> {
    let greeting = frames::greet(peer, [0; 16], (0, u16::MAX)).await?;
    let Greeting::Accepted(mut stream) = greeting else { anyhow::bail!("not taken for one of ours") };
    stream.write_all(&frames::announcement(HALF_MESSAGE_BYTES)).await?;
    send_piecemeal(&mut stream, GREEDY_BYTES).await;
    Ok(stream)
}

/// Sends so many bytes, fewer if the other end stops reading or closes; how many.
async fn send_piecemeal(stream: &mut TcpStream, bytes: usize) -> usize {
    let piece = [7; 64 * 1024];
    let mut sent = 0;
    while sent < bytes {
        match timeout(STALL, stream.write(&piece)).await {
            Ok(Ok(written)) => sent += written,
            _ => break,
        }
    }
    sent
}

fn memory_is_bounded<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Result<()> {
    for process in processes {
        let resident = resident_bytes(process.pid().with_context(|| format!("{} died", process.name()))?)?;
        ensure!(resident < RESIDENT_BYTES_MAX, "{} takes {} MiB", process.name(), resident >> 20);
    }
    Ok(())
}

fn tell_memory(cluster: &Cluster) -> Result<()> {
    for process in cluster.processes() {
        let resident = resident_bytes(process.pid().with_context(|| format!("{} died", process.name()))?)?;
        figure::say(&format!("{} takes {} MiB", process.name(), resident >> 20));
    }
    Ok(())
}

async fn slow_head(master: SocketAddr) -> Result<()> {
    let started = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(master).await?;
    stream.write_all(b"GET /key HTTP/1.1\r\nHost: x\r\nX-Slow").await?;
    let answer = tokio::time::timeout(HEAD_AIM * 3, raw::read_answer(&mut stream));
    let answer = answer.await.context("a head that never ends is waited for without end")??;
    ensure!(answer.status == Some(408), "a slow head got {:?}", answer.status);
    figure::at_most("a head that never ends is given up", started.elapsed(), HEAD_AIM)
}
