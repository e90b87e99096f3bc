//! Each limit of the front door, met with raw bytes over real sockets.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use hayrick_protocol::limits::{HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_TARGET_BYTES_MAX};
use hayrick_web::{BodyError, BodyIdle, Problem, ServerKind, serve};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, timeout};

struct Server {
    address: String,
    gate: Arc<Notify>,
    begun: Arc<Notify>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let (gate, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (gated, beginning) = (Arc::clone(&gate), Arc::clone(&begun));
        let router = Router::new()
            .route("/", get(async || "hello\n"))
            .route(
                "/refuse",
                post(async |request: Request| {
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large; send less").response(&request)
                }),
            )
            .route("/count", post(count))
            .route("/pieces", get(pieces))
            .route(
                "/wait",
                get(async move || {
                    beginning.notify_one();
                    gated.notified().await;
                    "waited\n"
                }),
            )
            .fallback(async |request: Request| {
                Problem::new(StatusCode::NOT_FOUND, "no route").response(&request)
            });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, ServerKind::Master, router, async { drop(stopped.await) }));
        Self { address, gate, begun, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("it listens")
    }

    /// Sends `bytes`, and returns all that comes back until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.expect("it is read");
        rest(&mut socket).await
    }
}

/// How long a body may fall silent: longer than a busy machine keeps a test from sending on.
const IDLE: Duration = Duration::from_secs(2);

/// Counts a body's bytes.
async fn count(request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let head = Request::from_parts(parts, Body::empty());
    let body = BodyIdle::with_timeout(body, IDLE);
    match body.collect().await {
        Ok(body) => Response::new(Body::from(format!("{}\n", body.to_bytes().len()))),
        Err(BodyError::Idle { .. }) => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "silence; send on").response(&head)
        }
        Err(BodyError::Broken(_)) => Problem::new(StatusCode::BAD_REQUEST, "broken").response(&head),
    }
}

/// An object that holds an answer of HTTP, ...
const WORDLESS: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// ... sent in pieces, with a pause before each, so that each is written by itself.
async fn pieces() -> Response<Body> {
    let pieces = futures_util::stream::unfold(0, async |sent| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (sent < 3).then_some((Ok::<_, Infallible>(WORDLESS), sent + 1))
    });
    let mut response = Response::new(Body::from_stream(Box::pin(pieces)));
    response.headers_mut().insert("content-length", (3 * WORDLESS.len()).into());
    response
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(15), socket.read_to_end(&mut answer)).await;
    read.expect("the server closes").expect("without a reset");
    String::from_utf8(answer).expect("it is text")
}

/// Reads until `end` came.
async fn until(socket: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let byte = timeout(Duration::from_secs(15), socket.read_u8()).await.expect("it answers");
        answer.push(byte.expect("it does not close"));
    }
    String::from_utf8(answer).expect("it is text")
}

fn assert_refused(answer: &str, status: &str, word: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(answer.contains(word) && answer.ends_with('\n'), "says what is wrong: {answer}");
    assert!(answer.contains("text/plain"), "{answer}");
}

#[tokio::test]
async fn connections_are_kept_and_pipelined_requests_answered_in_order() {
    let server = Server::start().await;
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
        assert!(until(&mut socket, "hello\n").await.starts_with("HTTP/1.1 200"));
    }
    let two = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(two).await.expect("it is read");
    let answers = rest(&mut socket).await;
    let (first, second) = (answers.find("hello\n"), answers.find("no route\n"));
    assert!(first.is_some() && first < second, "{answers}");
}

#[tokio::test]
async fn a_target_that_is_too_long_is_414_whatever_its_length() {
    let server = Server::start().await;
    for bytes in [HTTP_TARGET_BYTES_MAX + 1, HTTP_HEAD_BYTES_MAX - 100, 2 * HTTP_HEAD_BYTES_MAX, 200_000] {
        let head = format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "k".repeat(bytes - 1));
        assert_refused(&server.exchange(head.as_bytes()).await, "414", "target");
    }
    let longest = "k".repeat(HTTP_TARGET_BYTES_MAX - 1);
    let head = format!("GET /{longest} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_refused(&server.exchange(head.as_bytes()).await, "404", "no route");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let server = Server::start().await;
    let field = |bytes| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nfat: {}\r\n\r\n", "f".repeat(bytes))
    };
    for bytes in [HTTP_HEAD_BYTES_MAX, 10 * HTTP_HEAD_BYTES_MAX] {
        assert_refused(&server.exchange(field(bytes).as_bytes()).await, "431", "fields");
    }
    let fits = server.exchange(field(HTTP_HEAD_BYTES_MAX - 100).as_bytes()).await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");

    let fields = |count| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n", "a: b\r\n".repeat(count - 2))
    };
    assert_refused(&server.exchange(fields(HTTP_FIELDS_MAX + 1).as_bytes()).await, "431", "fields");
    let fits = server.exchange(fields(HTTP_FIELDS_MAX).as_bytes()).await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
}

#[tokio::test]
async fn a_request_of_http_1_1_has_one_host() {
    let server = Server::start().await;
    for hosts in ["", "host: x\r\nhost: y\r\n"] {
        let head = format!("GET / HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        assert_refused(&server.exchange(head.as_bytes()).await, "400", "one Host");
    }
    let old = server.exchange(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[tokio::test]
async fn a_body_that_is_coded_otherwise_than_in_chunks_is_501() {
    let server = Server::start().await;
    let request = |coding: &str| {
        format!(
            "POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: {coding}\r\n\r\n1\r\na\r\n0\r\n\r\n"
        )
    };
    let refused = server.exchange(request("gzip, chunked").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 501 ") && refused.contains("is chunked"), "{refused}");
    let taken = server.exchange(request("Chunked").as_bytes()).await;
    assert!(taken.starts_with("HTTP/1.1 200 ") && taken.ends_with("1\n"), "{taken}");
}

#[tokio::test]
async fn a_request_id_comes_back_as_it_was_sent_with_every_answer() {
    let server = Server::start().await;
    let longest = "k".repeat(HTTP_TARGET_BYTES_MAX);
    for (target, status) in [("", "200"), ("none", "404"), (&longest, "414")] {
        let head = |id| format!("GET /{target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{id}\r\n");
        let echoed = server.exchange(head("X-Request-Id: a/b c-1\r\n").as_bytes()).await;
        assert!(echoed.starts_with(&format!("HTTP/1.1 {status}")), "{echoed}");
        assert!(echoed.contains("\r\nx-request-id: a/b c-1\r\n"), "{echoed}");
        assert!(!server.exchange(head("").as_bytes()).await.contains("x-request-id"), "never added");
    }
}

#[tokio::test]
async fn what_is_no_http_is_400_and_the_server_goes_on() {
    let server = Server::start().await;
    let garbage: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
        b"HayrickH and so on\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
    ];
    for bytes in garbage {
        assert_refused(&server.exchange(bytes).await, "400", "HTTP");
    }
    let answer = server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello\n"), "{answer}");
}

#[tokio::test]
async fn bytes_of_an_object_are_never_taken_for_an_answer_of_hyper() {
    let server = Server::start().await;
    let answer = server.exchange(b"GET /pieces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with(&format!("\r\n\r\n{}", WORDLESS.repeat(3))), "{answer}");
    // And when the object is done, what hyper says is given words again.
    let answer = server.exchange(b"GET /pieces HTTP/1.1\r\nhost: x\r\n\r\nwhat is this\r\n\r\n").await;
    let (object, refusal) = answer.split_once(&WORDLESS.repeat(3)).expect("the whole object");
    assert!(object.starts_with("HTTP/1.1 200"), "{answer}");
    assert_refused(refusal, "400", "HTTP");
}

#[tokio::test]
async fn half_a_head_is_408_after_its_time_and_closed() {
    let server = Server::start().await;
    let started = Instant::now();
    let half = server.exchange(b"GET / HTTP/1.1\r\nhost: ");
    let nothing = server.exchange(b"");
    let second = server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET ");
    let (half, nothing, second) = tokio::join!(half, nothing, second);
    assert_refused(&half, "408", "head");
    assert_refused(&nothing, "408", "head");
    assert!(second.starts_with("HTTP/1.1 200") && second.contains("HTTP/1.1 408"), "{second}");
    assert!((9..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_between_requests_is_kept_beyond_the_heads_time() {
    let server = Server::start().await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    until(&mut socket, "hello\n").await;
    // Nothing may come for longer than a head may take; then the connection still serves.
    let silent = timeout(Duration::from_millis(10_500), socket.read_u8()).await;
    assert!(silent.is_err(), "neither closed nor answered: {silent:?}");
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it is open");
    assert!(rest(&mut socket).await.ends_with("hello\n"));
}

#[tokio::test]
async fn a_refusal_arrives_though_the_body_is_still_being_sent() {
    let server = Server::start().await;
    let body_bytes = 32 * 1024 * 1024;
    let mut socket = server.connect().await;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: {body_bytes}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("it is read");
    socket.write_all(&vec![1; body_bytes]).await.expect("the server reads on");
    assert_refused(&rest(&mut socket).await, "413", "too large");
}

#[tokio::test]
async fn who_expects_100_continue_gets_it_or_the_refusal() {
    let server = Server::start().await;
    let head = |route| {
        format!("POST {route} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    };
    assert_refused(&server.exchange(head("/refuse").as_bytes()).await, "413", "too large");
    let mut socket = server.connect().await;
    socket.write_all(head("/count").as_bytes()).await.expect("it is read");
    assert_eq!(until(&mut socket, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"12345").await.expect("it is read");
    assert!(until(&mut socket, "5\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_falls_silent_is_408_and_one_that_breaks_off_is_told() {
    let server = Server::start().await;
    let head = b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n123";
    assert_refused(&server.exchange(head).await, "408", "silence");
    let mut socket = server.connect().await;
    socket.write_all(head).await.expect("it is read");
    socket.shutdown().await.expect("it is open");
    assert_refused(&rest(&mut socket).await, "400", "broken");
}

#[tokio::test]
async fn who_ends_his_sending_side_gets_his_answer_and_is_then_let_go() {
    let server = Server::start().await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    server.begun.notified().await;
    socket.shutdown().await.expect("it is open");
    // The end of what is sent must not be seen only after the answer: on this one thread it is seen before what another sends
    // later.
    server.exchange(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    server.gate.notify_one();
    assert!(rest(&mut socket).await.ends_with("waited\n"), "and the server closes, as no more can come");

    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    until(&mut idle, "hello\n").await;
    idle.shutdown().await.expect("it is open");
    assert_eq!(rest(&mut idle).await, "", "it is closed, too");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_is_in_flight() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    until(&mut idle, "hello\n").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is read");
    server.begun.notified().await;
    server.stop.send(()).expect("it runs");
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
    assert!(TcpStream::connect(&server.address).await.is_err(), "nobody listens");
    server.gate.notify_one();
    assert!(rest(&mut busy).await.ends_with("waited\n"));
    drop((idle, busy));
    timeout(Duration::from_secs(5), server.task).await.expect("it ends").expect("no panic");
}
