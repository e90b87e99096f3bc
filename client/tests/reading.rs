//! Claims about reads: they are repeated for as long as somebody has patience, read on where a body broke off, and list
//! exactly what begins with a prefix.

mod played;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use hayrick_client::{
    ByteRange, Client, Error, GetOptions, ListOptions, Listed, ListedObject, ReadCondition,
};
use played::{Fault, Master, NO_QUORUM, Store, md5_hex};

fn client(masters: &[&Master]) -> Client {
    Client::new(masters.iter().map(|master| master.addr.to_string())).expect("addresses")
}

fn impatient(masters: &[&Master]) -> Client {
    let masters = masters.iter().map(|master| master.addr.to_string());
    Client::builder(masters).patience(Duration::ZERO).build().expect("addresses")
}

#[tokio::test]
async fn a_reader_waits_out_a_change_of_the_leader() {
    let store = Store::default();
    store.put("k", "meow");
    // Both refuse three times, as masters do while they elect.
    let electing = |_: &played::Request, number: usize| (number < 3).then_some(NO_QUORUM);
    let masters = [Master::failing(&store, electing).await, Master::failing(&store, electing).await];
    let masters = [&masters[0], &masters[1]];
    assert!(matches!(impatient(&masters).get("k").await, Err(Error::Refused { status: 503, .. })));
    assert_eq!(client(&masters).get("k").await.unwrap().bytes().await.unwrap(), "meow");
    assert_eq!(client(&masters).list("", &ListOptions::default()).await.unwrap().keys, ["k"]);
    // What asks how things are is told at once.
    let no = Master::failing(&store, |_, _| Some(NO_QUORUM)).await;
    let error = client(&[&no]).ready().await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 503, .. }) && error.is_temporary(), "{error}");
    assert_eq!(no.asked().len(), 1);
}

#[tokio::test]
async fn a_write_is_repeated_after_503_and_only_then() {
    let store = Store::default();
    let refusing = Master::failing(&store, |_, number| (number < 2).then_some(NO_QUORUM)).await;
    client(&[&refusing]).put("k", "meow").await.unwrap();
    assert_eq!(refusing.asked().len(), 3);
    let silent = Master::failing(&store, |_, _| Some(Fault::Silence)).await;
    assert!(client(&[&silent]).put("k", "purr").await.unwrap_err().is_unknown());
    assert_eq!(silent.asked().len(), 1);
    // What is done to the cluster itself is for who does it to repeat.
    let error = client(&[&Master::failing(&store, |_, _| Some(NO_QUORUM)).await]).transfer_leader(1).await;
    assert!(matches!(error, Err(Error::Refused { status: 503, .. })));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_on_at_another_master() {
    let store = Store::default();
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    store.put("k", bytes.clone());
    let cut = |after| {
        move |request: &played::Request, _: usize| (request.method == "GET").then_some(Fault::Cut(after))
    };
    let verify = GetOptions { verify: true, ..GetOptions::default() };
    let (first, second) =
        (Master::failing(&store, cut(1000)).await, Master::failing(&store, cut(2000)).await);
    let third = Master::start(&store).await;
    let all = client(&[&first, &second, &third]).get_with("k", &verify).await.unwrap();
    assert_eq!(all.bytes().await.unwrap(), bytes);
    let ranges: Vec<_> =
        third.asked().iter().map(|request| request.field("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [Some("bytes=3000-99999".to_owned())]);

    let range = GetOptions { range: Some(ByteRange::Closed(500, 5000)), ..GetOptions::default() };
    let part = client(&[&first, &third]).get_with("k", &range).await.unwrap();
    assert_eq!(part.bytes().await.unwrap(), bytes[500..=5000]);

    // Bounded: this one never comes to the end.
    let creeping = Master::failing(&store, cut(10)).await;
    let broken = client(&[&creeping]).get("k").await.unwrap().bytes().await.unwrap_err();
    assert!(matches!(broken, Error::Body(_)), "{broken}");
    assert!((2..20).contains(&creeping.asked().len()));
}

#[tokio::test]
async fn nothing_of_a_newer_object_is_put_behind_the_beginning_of_an_older_one() {
    let store = Store::default();
    store.put("k", "an older object");
    let other = store.clone();
    let replacing = Master::failing(&store, move |_, number| {
        let is_first = number == 0;
        // The answer is made of what is there now, and only then it is replaced.
        if !is_first {
            other.put("k", "another one, newer");
        }
        is_first.then_some(Fault::Cut(5))
    })
    .await;
    let error = client(&[&replacing]).get("k").await.unwrap().bytes().await.unwrap_err();
    assert!(matches!(&error, Error::Body(why) if why.contains("replaced meanwhile")), "{error}");
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_etag_are_damaged() {
    const OTHER: Fault = Fault::Answer(
        "HTTP/1.1 200 OK\r\nETag: \"4a4be40c96ac6314e91d93f38043a634\"\r\nContent-Length: 4\r\n\r\nmeoW",
    );
    let master = Master::failing(&Store::default(), |_, _| Some(OTHER)).await;
    let verify = GetOptions { verify: true, ..GetOptions::default() };
    let error = client(&[&master]).get_with("k", &verify).await.unwrap().bytes().await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { expected, .. } if *expected == md5_hex(b"meow")), "{error}");
}

#[tokio::test]
async fn the_condition_of_a_read_has_a_typed_outcome() {
    let store = Store::default();
    store.put("k", "meow");
    let master = Master::start(&store).await;
    let client = client(&[&master]);
    let under = |condition| GetOptions { condition, ..GetOptions::default() };
    let (same, other) = (md5_hex(b"meow"), md5_hex(b"purr"));
    let unchanged = client.get_with("k", &under(ReadCondition::Differs(same.clone()))).await;
    assert!(matches!(unchanged, Err(Error::NotModified { key }) if key == "k"));
    assert!(client.get_with("k", &under(ReadCondition::Differs(other.clone()))).await.is_ok());
    assert!(client.head_with("k", &under(ReadCondition::Matches(same))).await.is_ok());
    let failed = client.head_with("k", &under(ReadCondition::Matches(other))).await;
    assert!(matches!(failed, Err(Error::PreconditionFailed { .. })));
    let stale = GetOptions { stale: true, ..GetOptions::default() };
    assert_eq!(client.head_with("k", &stale).await.unwrap().size_bytes, 4);
    assert_eq!(master.lines().last().unwrap(), "HEAD /k?consistency=stale");
}

#[tokio::test]
async fn a_prefix_lists_what_begins_with_it_and_nothing_else() {
    let store = Store::default();
    let keys = ["a", "a/.a/b", "a/.b", "a/..", "a/..c", "a/...", "a/b", "a b/c", "b", "z/%2e/x"];
    for key in keys {
        store.put(key, key);
    }
    let master = Master::start(&store).await;
    let client = client(&[&master]);
    for prefix in ["", "a", "a/", "a/.", "a/..", "a/...", ".", "..", "z/%2e", "z/%2e/", "a b/", "none/"] {
        let expected: Vec<String> = store.keys().into_iter().filter(|key| key.starts_with(prefix)).collect();
        let all: Vec<String> = client.list_all(prefix).try_collect().await.unwrap();
        assert_eq!(all, expected, "{prefix:?}");
        // One key a page, so that every page but the last has to know where the prefix ends.
        let options = ListOptions { limit: Some(1), ..ListOptions::default() };
        let all: Vec<Listed> = client.list_all_with(prefix, &options).try_collect().await.unwrap();
        assert_eq!(all, expected.into_iter().map(Listed::Key).collect::<Vec<_>>(), "{prefix:?}");
    }
    let asked = master.asked().len();
    let options = ListOptions { limit: Some(1), ..ListOptions::default() };
    let three: Vec<Listed> = client.list_all_with("a/..", &options).try_collect().await.unwrap();
    assert_eq!((three.len(), master.asked().len() - asked), (3, 3), "what follows is not asked for");
    // A URL would have lost these on the way.
    let lines = master.lines();
    assert!(lines.iter().any(|line| line.starts_with("GET /a/?list&start=a%2F..")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("GET /z/%252e?list")), "{lines:#?}");
    let asked = lines.len();
    for prefix in ["a/../", "./a", "../..", "-/status"] {
        let refused = client.list(prefix, &ListOptions::default()).await;
        assert!(matches!(refused, Err(Error::BadPrefix { .. })), "{prefix}");
    }
    assert_eq!(master.asked().len(), asked, "nothing was sent");
}

#[tokio::test]
async fn a_listing_has_details_and_shows_directories_as_one_line() {
    let store = Store::default();
    for key in ["p/a", "p/d/1", "p/d/2", "p/e", "p/f/1", "q"] {
        store.put(key, "meow");
    }
    let master = Master::start(&store).await;
    let options =
        ListOptions { delimiter: Some("/".to_owned()), limit: Some(2), start: Some("p/b".to_owned()) };
    let lines = client(&[&master]).list_all_with::<ListedObject>("p/", &options);
    // The stream owns what it needs.
    let lines: Vec<_> = tokio::spawn(lines.try_collect::<Vec<_>>()).await.unwrap().unwrap();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| match line {
            Listed::Key(object) => format!("{} {} {}", object.key, object.size, object.etag),
            Listed::Prefix(prefix) => prefix.clone(),
        })
        .collect();
    assert_eq!(shown, ["p/d/", &format!("p/e 4 {}", md5_hex(b"meow")), "p/f/"]);
    assert_eq!(master.asked().len(), 2);
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_waited_for() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let closed = bound.local_addr().unwrap().to_string();
    let store = Store::default();
    store.put("k", "meow");
    let is_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_up);
    let refusing = Master::failing(&store, move |_, number| {
        seen.store(true, Ordering::SeqCst);
        (number == 0).then_some(NO_QUORUM)
    })
    .await;
    let nobody = Client::builder([closed.clone()]).patience(Duration::from_secs(3600)).build().unwrap();
    assert!(matches!(nobody.get("k").await, Err(Error::NoMaster { .. })), "not after an hour");
    let one = Client::new([closed, refusing.addr.to_string()]).unwrap();
    assert_eq!(one.get("k").await.unwrap().bytes().await.unwrap(), "meow");
    assert!(is_up.load(Ordering::SeqCst));
}
