//! Claims about which master is asked, on masters that answer from a script.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hayrick_client::{Client, Condition, Error, ListOptions, PutOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A master that gives each connection one answer and counts the requests that reached it.
struct Scripted {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Scripted {
    async fn start(answer: &'static str) -> Self {
        Self::start_slow(answer, Duration::ZERO).await
    }

    /// The same, which begins to read a body only after `pause`.
    async fn start_slow(answer: &'static str, pause: Duration) -> Self {
        Self::answering(answer.replacen("\r\n", "\r\nHayrick-Server: master\r\n", 1), pause).await
    }

    /// Some other server, that does not say that it is a master.
    async fn stranger(answer: &'static str) -> Self {
        Self::answering(answer.to_owned(), Duration::ZERO).await
    }

    async fn answering(answer: String, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                read_request(&mut stream, pause).await;
                counter.fetch_add(1, Ordering::SeqCst);
                // The client may have gone; the next one will tell.
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { addr, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads head and body: what is left unread at the close would reset the connection and take the answer back.
async fn read_request(stream: &mut TcpStream, pause: Duration) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&seen).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    tokio::time::sleep(pause).await;
    let mut body = stream.take(length.unwrap_or(0));
    // The client may have given up.
    let _ = tokio::io::copy(&mut body, &mut tokio::io::sink()).await;
}

const CREATED: &str = "HTTP/1.1 201 Created\r\nConnection: close\r\nETag: \"9e3669d19b675bd57058fd4664205d2a\"\r\nHayrick-Version: 7\r\nContent-Length: 1\r\n\r\nk";
/// To 8 MiB of ones.
const CREATED_LARGE: &str = "HTTP/1.1 201 Created\r\nConnection: close\r\nETag: \"4b087ce3111c75919019c76230e566e3\"\r\nContent-Length: 1\r\n\r\nk";
const TOO_LARGE: &str =
    "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 7\r\n\r\nat most";
const NO_ROOM: &str =
    "HTTP/1.1 507 Insufficient Storage\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfull";
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 9\r\n\r\nno quorum";
/// The MD5 of `v`.
const V: &str = "9e3669d19b675bd57058fd4664205d2a";
const UNKNOWN: &str =
    "HTTP/1.1 504 Gateway Timeout\r\nConnection: close\r\nContent-Length: 15\r\n\r\noutcome unknown";
const FAILED: &str = "HTTP/1.1 412 Precondition Failed\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno.";
const CONFLICT: &str = "HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 5\r\n\r\nnewer";
const ABSENT: &str =
    "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 19\r\n\r\nKey does not exist.";
const NOT_IMPLEMENTED: &str =
    "HTTP/1.1 501 Unsupported method\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno.";
const OBJECT: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"abc\"\r\nContent-Length: 4\r\n\r\nmeow";
const CUT_SHORT: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 400\r\n\r\nmeow";
const BROKEN: &str = "";
const LIST: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 29\r\n\r\n{\"next\":\"c\",\"keys\":[\"a\",\"b\"]}";

/// Asks each once.
fn client(masters: &[&Scripted]) -> Client {
    let masters = masters.iter().map(|master| master.addr.to_string());
    Client::builder(masters).patience(Duration::ZERO).build().expect("addresses")
}

#[tokio::test]
async fn no_stranger_is_believed_and_the_next_master_is_asked() {
    for answer in [ABSENT, OBJECT, CREATED, NOT_IMPLEMENTED] {
        let (stranger, master) = (Scripted::stranger(answer).await, Scripted::start(OBJECT).await);
        let alone = client(&[&stranger]);
        let error = alone.get("k").await.unwrap_err();
        assert!(
            matches!(&error, Error::NoMaster { tried } if tried[0].1.contains("no master of Hayrick")),
            "{error}"
        );
        let both = Client::new([stranger.addr, master.addr].map(|addr| addr.to_string())).unwrap();
        assert_eq!(both.get("k").await.unwrap().bytes().await.unwrap(), "meow");
    }
}

#[tokio::test]
async fn a_write_that_a_stranger_may_have_passed_on_is_unknown_and_not_repeated() {
    for answer in [OBJECT, CREATED, UNAVAILABLE] {
        let (stranger, master) = (Scripted::stranger(answer).await, Scripted::start(CREATED).await);
        let error = client(&[&stranger, &master]).put("k", "v").await.unwrap_err();
        assert!(error.is_unknown() && error.to_string().contains("`Hayrick-Server`"), "{error}");
        assert_eq!((stranger.requests(), master.requests()), (1, 0), "{answer}");
    }
    for answer in [ABSENT, NOT_IMPLEMENTED] {
        let (stranger, master) = (Scripted::stranger(answer).await, Scripted::start(CREATED).await);
        client(&[&stranger, &master]).put("k", "v").await.unwrap();
        assert_eq!((stranger.requests(), master.requests()), (1, 1), "{answer}");
    }
}

#[tokio::test]
async fn a_write_goes_on_to_the_next_master_after_503_and_after_a_refused_connection() {
    // Bound, and so nobody else's, but nobody listens.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed = bound.local_addr().unwrap().to_string();
    let (refusing, taking) = (Scripted::start(UNAVAILABLE).await, Scripted::start(CREATED).await);
    let client = Client::new([closed.clone(), refusing.addr.to_string(), taking.addr.to_string()]).unwrap();
    let outcome = client.put("k", "v").await.unwrap();
    assert_eq!((outcome.created, outcome.etag.as_str(), outcome.version), (true, V, 7));
    assert_eq!((refusing.requests(), taking.requests()), (1, 1));
    // The one that answered is asked first from now on.
    client.put("k", "v").await.unwrap();
    assert_eq!((refusing.requests(), taking.requests()), (1, 2));

    let alone = Client::new([closed]).unwrap();
    assert!(matches!(alone.put("k", "v").await, Err(Error::NoMaster { tried }) if tried.len() == 1));
}

/// An error with all its causes, as a program shows it.
fn shown(error: &Error) -> String {
    let (mut text, mut cause) = (error.to_string(), std::error::Error::source(error));
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn what_broke_is_told_in_one_sentence_without_layers() {
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed = bound.local_addr().unwrap().to_string();
    let error = Client::new([closed.clone()]).unwrap().get("k").await.unwrap_err();
    assert_eq!(shown(&error), format!("no master answers: {closed}: nobody listens there"));

    let broken = Scripted::start(BROKEN).await;
    let error = client(&[&broken]).put("k", "v").await.unwrap_err();
    let broke = "connection closed before message completed";
    assert_eq!(shown(&error), format!("outcome unknown: {}: {broke}", broken.addr));

    let short = Scripted::start(CUT_SHORT).await;
    let error = client(&[&short]).get("k").await.unwrap().bytes().await.unwrap_err();
    assert_eq!(shown(&error), "the body broke off before its end: the connection was closed");

    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let silence_max = Duration::from_millis(50);
    let patient = Client::builder([addr.to_string()]).silence_max(silence_max).patience(Duration::ZERO);
    let patient = patient.build().unwrap();
    let error = patient.get("k").await.unwrap_err();
    assert_eq!(shown(&error), format!("no master answers: {addr}: nothing came from it in time"));
}

#[tokio::test]
async fn a_write_of_unknown_outcome_is_never_repeated() {
    for answer in [UNKNOWN, BROKEN] {
        let (first, second) = (Scripted::start(answer).await, Scripted::start(CREATED).await);
        let client = client(&[&first, &second]);
        let error = client.put("k", "v").await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        let error = client.delete("k").await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        let error = client.undelete("k").await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        assert_eq!((first.requests(), second.requests()), (3, 0));
    }
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_server_may_be_silent() {
    let silence_max = Duration::from_millis(500);
    let slow = Scripted::start_slow(CREATED_LARGE, 3 * silence_max).await;
    let client = Client::builder([slow.addr.to_string()]).silence_max(silence_max).patience(Duration::ZERO);
    let client = client.build().unwrap();
    // More than sockets buffer, so that the upload goes on until the server reads; its time is 128 s.
    client.put("k", vec![1; 8 << 20]).await.unwrap();

    let error = client.delete("k").await.unwrap_err();
    assert!(error.is_unknown(), "a delete has no upload to wait for: {error}");
    assert!(matches!(client.get("k").await, Err(Error::NoMaster { .. })), "nor has a read");
}

#[tokio::test]
async fn a_read_goes_on_to_the_next_master_whatever_happened() {
    for answer in [UNAVAILABLE, UNKNOWN, BROKEN] {
        let (first, second) = (Scripted::start(answer).await, Scripted::start(OBJECT).await);
        let object = client(&[&first, &second]).get("k").await.unwrap();
        assert_eq!(object.meta().etag, "abc");
        assert_eq!(object.bytes().await.unwrap(), "meow");
        assert_eq!((first.requests(), second.requests()), (1, 1));
    }
}

#[tokio::test]
async fn answers_become_typed_errors() {
    let absent = Scripted::start(ABSENT).await;
    assert!(matches!(client(&[&absent]).get("a b").await, Err(Error::NotFound { key }) if key == "a b"));
    let nothing = client(&[&absent]).undelete("k").await.unwrap_err();
    assert!(matches!(nothing, Error::NothingToBringBack { message } if message == "Key does not exist."));
    let conflict = Scripted::start(CONFLICT).await;
    let taken = client(&[&conflict]).undelete("k").await.unwrap_err();
    assert!(matches!(taken, Error::Taken { message } if message == "newer"));
    let failed = Scripted::start(FAILED).await;
    let options = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
    let error = client(&[&failed]).put_with("k", "v", &options).await.unwrap_err();
    assert!(matches!(error, Error::PreconditionFailed { message } if message == "no."));
    let large = Scripted::start(TOO_LARGE).await;
    let error = client(&[&large]).put("k", "v").await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { message } if message == "at most"));
    let full = Scripted::start(NO_ROOM).await;
    let error = client(&[&full]).put("k", "v").await.unwrap_err();
    assert!(matches!(error, Error::NoRoom { message } if message == "full"));
    let unavailable = Scripted::start(UNAVAILABLE).await;
    let error = client(&[&unavailable]).put("k", "v").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, message } if message == "no quorum"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_never_a_short_object() {
    let master = Scripted::start(CUT_SHORT).await;
    let object = client(&[&master]).get("k").await.unwrap();
    assert!(matches!(object.bytes().await, Err(Error::Body(_))));
}

#[tokio::test]
async fn a_page_names_where_the_next_begins() {
    let master = Scripted::start(LIST).await;
    let page = client(&[&master]).list("", &ListOptions::default()).await.unwrap();
    assert_eq!((page.keys, page.next.as_str()), (vec!["a".to_owned(), "b".to_owned()], "c"));
}
