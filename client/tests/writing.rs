//! Claims about what is put and deleted: it is what was sent, whole or not at all, and of many keys each has its outcome.

mod played;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hayrick_client::{Client, Condition, Error, PutOptions, Source};
use played::{Fault, Master, NO_QUORUM, Store, md5_hex};

fn client(masters: &[&Master]) -> Client {
    Client::new(masters.iter().map(|master| master.addr.to_string())).expect("addresses")
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

fn pieces(all: &[u8]) -> Vec<io::Result<Bytes>> {
    all.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

#[tokio::test]
async fn a_file_is_sent_with_its_digest_and_again_to_another_master_after_503() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::default();
    let refusing = Master::failing(&store, |_, _| Some(NO_QUORUM)).await;
    let taking = Master::start(&store).await;
    for count in [0, 1, 100_000, 3 << 20] {
        let (path, all) = (dir.path().join("file"), bytes(count));
        std::fs::write(&path, &all).unwrap();
        let sent = Arc::<AtomicU64>::default();
        let source = Source::file(&path).await.unwrap().counted(Arc::clone(&sent));
        assert_eq!(source.bytes_known(), Some(count as u64));
        let options = PutOptions::default();
        let outcome = client(&[&refusing, &taking]).put_from("k", &source, &options).await.unwrap();
        assert_eq!(outcome.etag, md5_hex(&all));
        assert_eq!(store.get("k").unwrap().bytes, all);
        assert_eq!(sent.load(Ordering::Relaxed), 2 * count as u64, "to either of them");
    }
    assert_eq!((refusing.asked().len(), taking.asked().len()), (4, 4));
    let empty = &taking.asked()[0];
    assert_eq!(empty.field("content-length"), Some("0"));
    assert_eq!(
        empty.field("content-md5"),
        Some("1b2m2y8asgtpgamy7phcfg=="),
        "in small letters, as it is kept here"
    );
    assert!(Source::file(dir.path()).await.is_err(), "a directory is no file");
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes(3 << 20)).unwrap();
    let source = Source::file(&path).await.unwrap();
    std::fs::write(&path, bytes(2 << 20)).unwrap();
    let store = Store::default();
    let master = Master::start(&store).await;
    let error = client(&[&master]).put_from("k", &source, &PutOptions::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Source { message } if message.contains("shorter")), "{error}");
    assert_eq!(store.keys(), [""; 0]);
}

#[tokio::test]
async fn a_stream_is_sent_once_with_or_without_its_length() {
    let (store, all) = (Store::default(), bytes(100_000));
    let master = Master::start(&store).await;
    for length in [Some(100_000), None] {
        let source = Source::stream(stream::iter(pieces(&all)), length);
        let outcome = client(&[&master]).put_from("k", &source, &PutOptions::default()).await.unwrap();
        assert_eq!(outcome.etag, md5_hex(&all));
        assert_eq!(store.get("k").unwrap().bytes, all);
        let again = client(&[&master]).put_from("k", &source, &PutOptions::default()).await;
        assert!(again.is_err(), "there is nothing left of it");
    }
    assert_eq!(master.asked()[1].field("transfer-encoding"), Some("chunked"));

    // Refused before anything was read of it, it goes to the next master.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let masters = [bound.local_addr().unwrap().to_string(), master.addr.to_string()];
    let source = Source::stream(stream::iter(pieces(&all)), None);
    let outcome = Client::new(masters).unwrap().put_from("k", &source, &PutOptions::default()).await;
    assert!(outcome.is_ok());
    // Refused with 503 after that, it cannot be.
    let refusing = Master::failing(&store, |_, _| Some(NO_QUORUM)).await;
    let source = Source::stream(stream::iter(pieces(&all)), Some(100_000));
    let refused = client(&[&refusing, &master]).put_from("other", &source, &PutOptions::default()).await;
    assert!(matches!(refused, Err(Error::Refused { status: 503, .. })));
    assert_eq!(store.keys(), ["k"]);
}

#[tokio::test]
async fn a_stream_that_fails_or_is_too_short_stores_nothing() {
    let store = Store::default();
    let master = Master::start(&store).await;
    let put = async |source: &Source| client(&[&master]).put_from("k", source, &PutOptions::default()).await;
    let broken =
        stream::iter(pieces(&bytes(50_000))).chain(stream::iter([Err(io::Error::other("unplugged"))]));
    for (source, why) in [
        (Source::stream(broken, None), "unplugged"),
        (Source::stream(stream::iter(pieces(&bytes(50_000))), Some(60_000)), "60000 were announced"),
    ] {
        let error = put(&source).await.unwrap_err();
        assert!(matches!(&error, Error::Source { message } if message.contains(why)), "{error}");
    }
    assert_eq!(store.keys(), [""; 0]);
}

#[tokio::test]
async fn an_object_that_was_stored_with_other_bytes_is_damaged() {
    const OTHER: Fault = Fault::Answer(
        "HTTP/1.1 201 Created\r\nETag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nContent-Length: 1\r\n\r\nk",
    );
    let master = Master::failing(&Store::default(), |_, _| Some(OTHER)).await;
    let error = client(&[&master]).put("k", "purr").await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { expected, .. } if *expected == md5_hex(b"purr")), "{error}");
}

#[tokio::test]
async fn headers_and_conditions_of_a_put_are_sent() {
    let store = Store::default();
    let master = Master::start(&store).await;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = PutOptions {
        content_type: Some("text/html".to_owned()),
        headers: vec![pair("Content-Encoding", "gzip"), pair("Cache-Control", "no-store")],
        meta: vec![pair("author", "me")],
        condition: Condition::Present,
    };
    client(&[&master]).put_with("k", "meow", &options).await.unwrap();
    let asked = &master.asked()[0];
    let fields = ["content-type", "content-encoding", "cache-control", "hayrick-meta-author", "if-match"];
    let values = fields.map(|name| asked.field(name).unwrap_or_default());
    assert_eq!(values, ["text/html", "gzip", "no-store", "me", "*"]);
}

#[tokio::test]
async fn of_many_keys_each_has_its_outcome() {
    let store = Store::default();
    let keys: Vec<String> = (0..2500).map(|number| format!("k/{number:04}")).collect();
    keys.iter().for_each(|key| store.put(key, "x"));
    let master = Master::start(&store).await;
    let mut asked = keys.clone();
    asked.insert(1200, "absent".to_owned());
    asked.insert(0, "a/../b".to_owned());
    let ends = client(&[&master]).delete_all(&asked).await;
    assert_eq!(ends.len(), asked.len());
    assert!(matches!(&ends[0], Err(Error::Key(_))));
    let failed: Vec<usize> = (1..ends.len()).filter(|at| ends[*at].is_err()).collect();
    assert_eq!(failed, [1201]);
    assert!(matches!(&ends[1201], Err(Error::NotFound { key }) if key == "absent"));
    assert_eq!((store.keys().len(), master.asked().len()), (0, 3));
    assert!(client(&[&master]).delete_all::<&str>(&[]).await.is_empty());
}

#[tokio::test]
async fn a_batch_that_was_lost_is_unknown_and_one_that_was_refused_ends_it() {
    let store = Store::default();
    let keys: Vec<String> = (0..3000).map(|number| format!("{number:04}")).collect();
    let losing = Master::failing(&store, |_, number| (number == 1).then_some(Fault::Silence)).await;
    let ends = client(&[&losing]).delete_all(&keys).await;
    let unknown: Vec<usize> =
        (0..ends.len()).filter(|at| matches!(&ends[*at], Err(error) if error.is_unknown())).collect();
    assert_eq!(unknown, (1000..2000).collect::<Vec<_>>());
    assert_eq!(losing.asked().len(), 3, "each once");

    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let refusing = Master::failing(&store, move |_, number| {
        counter.fetch_add(1, Ordering::SeqCst);
        (number > 0).then_some(NO_QUORUM)
    })
    .await;
    let masters = [refusing.addr.to_string()];
    let impatient = Client::builder(masters).patience(Duration::ZERO).build().unwrap();
    let ends = impatient.delete_all(&keys).await;
    let refused = ends.iter().filter(|end| matches!(end, Err(Error::Refused { status: 503, .. }))).count();
    assert_eq!((ends.len(), refused, count.load(Ordering::SeqCst)), (3000, 2000, 2));
}
