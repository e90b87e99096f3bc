//! A master that is played: it keeps objects in memory, answers as http-api.md says, and fails where a test wants it to.
//!
//! Owns a listener and what it was asked. What it leaves out (placements, versions, kept headers but the type) no test that
//! uses it asks for. Invariant: what it records is the request target as it came over the wire.

#![allow(dead_code, reason = "each test that has this as a module uses its part of it")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hayrick_protocol::key::percent_decode;
use md5::{Digest, Md5};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Its fields, a line each, in small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: String,
}

/// What several masters have in common.
#[derive(Clone)]
pub(crate) struct Store {
    objects: Arc<Mutex<BTreeMap<String, Stored>>>,
    /// Lines of a page at most, however many are asked for.
    page: usize,
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is answered so, and nothing is done.
    Answer(&'static str),
    /// It is done, and the connection closed without an answer.
    Silence,
    /// It is done, and the connection closed after so many bytes of the answer's body.
    Cut(usize),
    /// It is done, and never answered.
    Hang,
    /// It is done, and nothing comes after so many bytes of the answer's body.
    Stall(usize),
}

/// Says what goes wrong with a request: the one with this number, from 0.
type Rule = dyn Fn(&Request, usize) -> Option<Fault> + Send + Sync;

/// A master that runs until its runtime ends.
pub(crate) struct Master {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
}

pub(crate) const NO_QUORUM: Fault =
    Fault::Answer("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 9\r\n\r\nno quorum");

impl Master {
    /// One that does all it is asked.
    pub(crate) async fn start(store: &Store) -> Self {
        Self::failing(store, |_, _| None).await
    }

    /// One that fails by a rule.
    pub(crate) async fn failing(
        store: &Store,
        rule: impl Fn(&Request, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let asked = Arc::<Mutex<Vec<Request>>>::default();
        let (log, store, rule) =
            (Arc::clone(&asked), store.clone(), Arc::<Rule>::from(Box::new(rule) as Box<Rule>));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, store, rule) = (Arc::clone(&log), store.clone(), Arc::clone(&rule));
                // The client may go at any time.
                tokio::spawn(async move { serve(stream, &log, &store, &*rule).await });
            }
        });
        Self { addr, asked }
    }

    /// All that it was asked.
    pub(crate) fn asked(&self) -> Vec<Request> {
        lock(&self.asked).clone()
    }

    /// `METHOD TARGET` of each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The decoded path behind its slash.
    fn key(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        percent_decode(path.strip_prefix('/').unwrap_or(path)).expect("UTF-8")
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let parts = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        let found = parts.into_iter().find(|(part, _)| *part == name)?;
        Some(percent_decode(found.1).expect("UTF-8"))
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::with_pages_of(1000)
    }
}

impl Store {
    pub(crate) fn with_pages_of(page: usize) -> Self {
        Self { objects: Arc::default(), page }
    }

    pub(crate) fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let stored = Stored { bytes: bytes.into(), content_type: String::new() };
        self.lock().insert(key.to_owned(), stored);
    }

    pub(crate) fn get(&self, key: &str) -> Option<Stored> {
        self.lock().get(key).cloned()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        lock(&self.objects)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

async fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, store: &Store, rule: &Rule) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let number = {
            let mut log = lock(log);
            log.push(request.clone());
            log.len() - 1
        };
        match rule(&request, number) {
            None => stream.write_all(&answer(store, &request)).await?,
            Some(Fault::Answer(text)) => {
                let text = text.replacen("\r\n", "\r\nHayrick-Server: master\r\n", 1);
                stream.write_all(text.as_bytes()).await?;
            }
            Some(Fault::Silence) => {
                answer(store, &request);
                return Ok(());
            }
            Some(Fault::Cut(bytes)) => {
                stream.write_all(beginning(&answer(store, &request), bytes)).await?;
                return stream.shutdown().await;
            }
            Some(Fault::Hang) => {
                answer(store, &request);
                return std::future::pending().await;
            }
            Some(Fault::Stall(bytes)) => {
                stream.write_all(beginning(&answer(store, &request), bytes)).await?;
                return std::future::pending().await;
            }
        }
    }
    Ok(())
}

/// The head of an answer, and so many bytes of its body.
fn beginning(answer: &[u8], bytes: usize) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    &answer[..answer.len().min(end + bytes)]
}

/// `None` where the client has closed the connection, also in the middle of a request.
async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let (mut line, mut head) = (String::new(), String::new());
    stream.read_line(&mut line).await?;
    while stream.read_line(&mut head).await? > 2 {}
    let head = head.to_lowercase();
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request { method, target, head, body: Vec::new() };
    if request.field("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await?;
            let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return Ok(None) };
            let begin = request.body.len();
            request.body.resize(begin + size + 2, 0);
            stream.read_exact(&mut request.body[begin..]).await?;
            request.body.truncate(begin + size);
            if size == 0 {
                return Ok(Some(request));
            }
        }
    }
    let length = request.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    match stream.read_exact(&mut request.body).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|_| Some(request)),
    }
}

fn answer(store: &Store, request: &Request) -> Vec<u8> {
    match request.method.as_str() {
        "GET" | "HEAD" if request.parameter("list").is_some() => list(store, request),
        "GET" | "HEAD" => get(store, request),
        "PUT" => {
            let etag = md5_hex(&request.body);
            let content_type = request.field("content-type").unwrap_or_default().to_owned();
            let stored = Stored { bytes: request.body.clone(), content_type };
            let before = store.lock().insert(request.key(), stored);
            let status = if before.is_none() { "201 Created" } else { "200 OK" };
            message(status, &format!("ETag: \"{etag}\"\r\nHayrick-Version: 7\r\n"), request.key().as_bytes())
        }
        "DELETE" => match store.lock().remove(&request.key()) {
            Some(_) => b"HTTP/1.1 204 No Content\r\nHayrick-Server: master\r\n\r\n".to_vec(),
            None => absent(),
        },
        _ if request.target == "/-/delete" => {
            let keys: Vec<String> = serde_json::from_slice(&request.body).expect("a list of keys");
            let status = |key: &String| if store.lock().remove(key).is_some() { 204 } else { 404 };
            let ends: Vec<_> = keys.iter().map(|key| json!({ "key": key, "status": status(key) })).collect();
            message("200 OK", "", json!(ends).to_string().as_bytes())
        }
        _ => message("405 Method Not Allowed", "", b"not played"),
    }
}

fn get(store: &Store, request: &Request) -> Vec<u8> {
    let Some(Stored { bytes, content_type }) = store.get(&request.key()) else { return absent() };
    let etag = format!("\"{}\"", md5_hex(&bytes));
    if request.field("if-match").is_some_and(|tag| tag != etag) {
        return message("412 Precondition Failed", "", b"it is another one");
    }
    let mut fields = format!("ETag: {etag}\r\nContent-Type: {content_type}\r\n");
    if request.field("if-none-match") == Some(&etag) {
        return format!("HTTP/1.1 304 Not Modified\r\nHayrick-Server: master\r\n{fields}\r\n").into_bytes();
    }
    let range = request.field("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (status, part) = match range {
        None => ("200 OK", &bytes[..]),
        Some((first, last)) => {
            let first = first.parse().unwrap_or(0).min(bytes.len());
            let end = last.parse().map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
            fields.push_str(&format!("Content-Range: bytes {first}-{}/{}\r\n", end - 1, bytes.len()));
            ("206 Partial Content", &bytes[first..end])
        }
    };
    let mut answer = message(status, &fields, part);
    if request.method == "HEAD" {
        answer.truncate(answer.len() - part.len());
    }
    answer
}

fn list(store: &Store, request: &Request) -> Vec<u8> {
    let number = request.parameter("limit").and_then(|limit| limit.parse().ok());
    let (prefix, limit) = (request.key(), number.unwrap_or(1000).min(store.page));
    let (start, delimiter) = (request.parameter("start").unwrap_or_default(), request.parameter("delimiter"));
    let (mut keys, mut prefixes, mut next) = (Vec::new(), Vec::<String>::new(), String::new());
    for (key, stored) in store.lock().iter().filter(|(key, _)| key.starts_with(&prefix) && **key >= start) {
        let common = delimiter.as_ref().and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter.as_str())?;
            Some(&key[..prefix.len() + at + delimiter.len()])
        });
        if common.is_some() && prefixes.last().map(String::as_str) == common {
            continue;
        }
        if keys.len() + prefixes.len() == limit {
            next = key.clone();
            break;
        }
        match common {
            Some(common) => prefixes.push(common.to_owned()),
            None if request.parameter("detail").is_none() => keys.push(json!(key)),
            None => keys.push(json!({
                "key": key,
                "size": stored.bytes.len(),
                "etag": md5_hex(&stored.bytes),
                "modified": "2026-11-23T10:00:00.000Z",
                "content_type": stored.content_type,
            })),
        }
    }
    let mut page = json!({ "next": next, "keys": keys });
    if delimiter.is_some() {
        page["prefixes"] = json!(prefixes);
    }
    message("200 OK", "Content-Type: application/json\r\n", page.to_string().as_bytes())
}

fn absent() -> Vec<u8> {
    message("404 Not Found", "", b"Key does not exist.")
}

fn message(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nHayrick-Server: master\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut message = head.into_bytes();
    message.extend_from_slice(body);
    message
}
