//! The accept loop and one connection's life.
//!
//! Owns sockets from accept to close: the bounds on heads and waiting, what is said to a head that never becomes a
//! request, and closing so that the last answer arrives. Invariant: no more connections are open than
//! `HTTP_CONNECTIONS_MAX` and the limit on open files allow; more wait in the listener's backlog.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use hayrick_protocol::limits::{
    HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT_MS, HTTP_TARGET_BYTES_MAX,
};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tower_service::Service;

use crate::Problem;
use crate::answering::Answering;
use crate::descriptors::connections_max;
use crate::door::{Door, SERVER_KIND, ServerKind, target_too_long};
use crate::socket::Socket;

/// What a connection buffers of a body or of pipelined requests; a head has its own, lower bound.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What is in flight at shutdown gets this long.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after a failed accept: most likely others took the descriptors, and spinning makes none.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A connection that served a request may wait this long for the next: longer than our client keeps one (60 s), so
/// that it closes first. A client that keeps them longer may send into one that closes.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// A client that goes on sending after the last answer is heard this long in all, ...
const LINGER: Duration = Duration::from_secs(5);
/// ... and this long without a byte.
const LINGER_IDLE: Duration = Duration::from_secs(1);

/// Serves `service` (an [`axum::Router`], or anything cheap to clone) of a server of this kind on the connections that `listener`
/// accepts, until `shutdown` is done. Then accepts no more, finishes what is in flight within 10 s, and returns.
pub async fn serve<S>(
    listener: TcpListener,
    kind: ServerKind,
    service: S,
    shutdown: impl Future<Output = ()> + Send,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let hyper = hyper();
    let places = Arc::new(Semaphore::new(connections_max()));
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = connections.join_next() => {}
            (socket, place) = accept(&listener, &places) => {
                let connection = connection(hyper.clone(), socket, kind, service.clone(), stopping.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections with requests still in flight");
    }
}

fn hyper() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Who has sent all may say so, as `nc -N` does, and still wait for the answer.
        .half_close(true)
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_TIMEOUT_MS))
        .max_headers(HTTP_FIELDS_MAX)
        .max_header_size(HTTP_HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return (socket, place),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(
    hyper: http1::Builder,
    socket: TcpStream,
    kind: ServerKind,
    service: S,
    mut stopping: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke before its first byte");
        return;
    }
    let answering = Answering::default();
    let mut socket = Socket::new(socket, answering.clone());
    let mut served = false;
    loop {
        let mut conversation =
            hyper.serve_connection(socket, Door::new(service.clone(), kind, answering.clone()));
        let result = tokio::select! {
            biased;
            result = &mut conversation => result,
            () = stopped(&mut stopping) => {
                std::pin::Pin::new(&mut conversation).graceful_shutdown();
                (&mut conversation).await
            }
        };
        let parts = conversation.into_parts();
        socket = parts.io;
        served |= parts.service.served();
        let Err(error) = result else { break };
        if socket.held_back {
            say(&mut socket, kind, &unreadable(&error, &parts.read_buf)).await;
            break;
        }
        if !error.is_timeout() || socket.stalled {
            tracing::debug!(%error, "a connection broke");
            return;
        }
        if !served || !parts.read_buf.is_empty() {
            say(&mut socket, kind, &head_timeout()).await;
            break;
        }
        // Between requests, it waits without hyper and its buffers.
        let next = timeout(KEEP_ALIVE_IDLE, socket.tcp().readable());
        let readable = tokio::select! {
            readable = next => matches!(readable, Ok(Ok(()))),
            () = stopped(&mut stopping) => false,
        };
        if !readable {
            return;
        }
    }
    linger(&mut socket).await;
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("the server is gone without a word");
    }
}

/// What hyper refused: `head` is what it had read.
fn unreadable(error: &hyper::Error, head: &[u8]) -> Problem {
    if !error.is_parse_too_large() {
        return Problem::new(
            StatusCode::BAD_REQUEST,
            "this is not HTTP/1.1 that can be understood; check the request",
        );
    }
    let line_bytes = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    if line_bytes > HTTP_TARGET_BYTES_MAX {
        return target_too_long();
    }
    let text = format!(
        "the request's head is over {HTTP_HEAD_BYTES_MAX} bytes or {HTTP_FIELDS_MAX} fields; send less of it"
    );
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
}

fn head_timeout() -> Problem {
    let text = format!("the request's head did not arrive within {HTTP_HEAD_TIMEOUT_MS} ms; send it faster");
    Problem::new(StatusCode::REQUEST_TIMEOUT, text)
}

/// Answers where no request is known: the last thing on a connection.
async fn say(socket: &mut Socket, kind: ServerKind, problem: &Problem) {
    let (status, line) = (problem.status, problem.line());
    let answer = format!(
        "HTTP/1.1 {status}\r\n{SERVER_KIND}: {}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{line}",
        kind.name(),
        line.len()
    );
    let written = timeout(LINGER_IDLE, socket.tcp().write_all(answer.as_bytes())).await;
    tracing::debug!(%status, ?written, "refused a head");
}

/// Says that no more comes, and reads on until the client does the same: closing with something unread may take the
/// last answer back.
async fn linger(socket: &mut Socket) {
    let socket = socket.tcp();
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut unread = vec![0; 16 * 1024];
    let closed =
        async { while matches!(timeout(LINGER_IDLE, socket.read(&mut unread)).await, Ok(Ok(1..))) {} };
    if timeout(LINGER, closed).await.is_err() {
        tracing::debug!("a client went on sending");
    }
}
