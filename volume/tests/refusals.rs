//! What a volume refuses, over real sockets and real files: each request that makes no sense gets a clear word and changes
//! nothing, and so does each directory that is not this volume's to use.

mod needles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hayrick_disk::{Disk, FaultyDisk};
use hayrick_protocol::ids::{ClusterId, NeedleId, NodeId, PlacementId, VolumeId};
use hayrick_protocol::limits::{APPEND_BATCH_NEEDLES_MAX, REAP_BATCH_MAX};
use hayrick_protocol::messages::master::{Heartbeat, HeartbeatReply, Register, Registered};
use hayrick_protocol::messages::volume::{Append, AppendError, AppendReply, Delete, Probe, Read, Status};
use hayrick_protocol::messages::{Identity, Message};
use hayrick_protocol::needle::Body;
use hayrick_rpc::{CallError, Client, HandleError, Handler, Local, Request, Response};
use hayrick_volume::{Options, Running, StartError, Store, StoreOptions, start};
use needles::{PLACEMENT, data, needle};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const DEADLINE: Duration = Duration::from_secs(10);

/// A master that takes every volume.
struct Welcoming;

impl Handler for Welcoming {
    async fn handle(&self, request: Request) -> Result<Response, HandleError> {
        match request.method {
            Register::METHOD => {
                let answer = Ok(Registered { volume: VolumeId(7), cluster: CLUSTER });
                Ok(Response::to::<Register>(&answer, Vec::new()))
            }
            Heartbeat::METHOD => {
                Ok(Response::to::<Heartbeat>(&HeartbeatReply::Known(Vec::new()), Vec::new()))
            }
            _ => Err(HandleError::UnknownMethod),
        }
    }
}

async fn options(data: &Path, capacity_bytes: u64) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let master = listener.local_addr().expect("bound").to_string();
    let local = Local::new(Identity::Master(NodeId(1)), CLUSTER);
    tokio::spawn(hayrick_rpc::serve(listener, local, Arc::new(Welcoming), std::future::pending()));
    let mut options = Options::new(data, vec![master]);
    options.listen = "127.0.0.1:0".to_owned();
    options.peer_listen = "127.0.0.1:0".to_owned();
    options.capacity_bytes = Some(capacity_bytes);
    options.segment_bytes = 1 << 20;
    options
}

struct Volume {
    _data: TempDir,
    running: Running,
    client: Client,
}

impl Volume {
    async fn start(capacity_bytes: u64) -> Self {
        let data = TempDir::new().expect("a directory");
        let running = in_time(start(options(data.path(), capacity_bytes).await)).await.expect("it starts");
        let client = client_of(&running, running.peer.to_string());
        Self { _data: data, running, client }
    }

    async fn call<M: Message>(&self, message: &M, body: Vec<Bytes>) -> Result<M::Reply, CallError> {
        Ok(self.client.call(message, body, Instant::now() + DEADLINE).await?.0)
    }

    async fn append(&self, needle: Bytes) -> Result<(), AppendError> {
        let AppendReply(mut outcomes) =
            self.call(&Append { needles: 1 }, vec![needle]).await.expect("a good request");
        outcomes.remove(0).map(|_| ())
    }

    /// What a refusal says.
    async fn refusal<M: Message>(&self, message: &M, body: Vec<Bytes>) -> String {
        match self.call(message, body).await {
            Err(CallError::Malformed(text)) => text,
            Err(error) => panic!("{}: {error}", M::NAME),
            Ok(_) => panic!("{} was taken", M::NAME),
        }
    }

    /// Needles, and bytes in the segments.
    async fn content(&self) -> (u64, u64, Vec<u8>) {
        let status = self.call(&Status, vec![]).await.expect("it goes on");
        let read = Read { needle: NeedleId(1), first_block: 0, blocks: u32::MAX, with_table: true };
        let body = self.client.call(&read, vec![], Instant::now() + DEADLINE).await.expect("it goes on").1;
        (status.needles, status.bad, body.to_vec())
    }
}

fn client_of(running: &Running, address: String) -> Client {
    Client::new(Local::new(Identity::Master(NodeId(1)), CLUSTER), address, Some(Identity::Volume(running.id)))
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it ends in time")
}

/// A needle with everything right but what is set in its header at `at`.
fn with(at: usize, bytes: &[u8]) -> Bytes {
    let mut needle = needle(3, 100).to_vec();
    needle[at..at + bytes.len()].copy_from_slice(bytes);
    needle.into()
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_with_a_reason_and_changes_nothing() {
    let volume = Volume::start(64 << 20).await;
    volume.append(needle(1, 100)).await.expect("a good needle");
    let before = volume.content().await;
    let whole = needle(3, 100);
    let short = whole.slice(..whole.len() - 8);
    let many = u32::try_from(APPEND_BATCH_NEEDLES_MAX).expect("few") + 1;
    for (needles, body, says) in [
        (1, with(2, &[0x20]), "needle 1 of 1: the needle has format version 2, and this build knows 1"),
        (1, with(7, &[0; 8]), "needle 1 of 1: these bytes do not begin with a needle's header"),
        (1, with(19, &[0; 2]), "do not begin with a needle's header"),
        (1, with(19, &[0xff; 2]), "do not begin with a needle's header"),
        (1, with(21, &[0xff; 4]), "do not begin with a needle's header"),
        (1, with(21, &200_u32.to_le_bytes()), "needle 1 of 1: the needle is"),
        (1, short.clone(), "but only"),
        (2, whole.clone(), "needle 2 of 2: these bytes do not begin"),
        (1, [&whole[..], &[0; 8]].concat().into(), "8 bytes follow the last needle"),
        (0, Bytes::new(), "an append holds 1 to 512 needles, not 0"),
        (many, whole.clone(), "an append holds 1 to 512 needles, not 513"),
        (2, [&needle(3, 3 << 20)[..], &needle(4, 3 << 20)].concat().into(), "at most 4194304 bytes"),
    ] {
        let refusal = volume.refusal(&Append { needles }, vec![body]).await;
        assert!(refusal.contains(says), "{refusal:?} does not say {says:?}");
    }
    let too_many = Delete { needles: vec![NeedleId(1); REAP_BATCH_MAX + 1] };
    assert!(volume.refusal(&too_many, vec![]).await.contains("names at most 1024 needles, not 1025"));
    let zero = Delete { needles: vec![NeedleId(1), NeedleId(0)] };
    assert_eq!(volume.refusal(&zero, vec![]).await, "no needle has the id 0");
    let stray = vec![Bytes::from_static(b"stray")];
    let says = "5 bytes follow a request that has no body";
    assert_eq!(volume.refusal(&Delete { needles: vec![NeedleId(1)] }, stray.clone()).await, says);
    assert_eq!(volume.refusal(&Probe, stray.clone()).await, says);
    assert_eq!(volume.refusal(&Status, stray.clone()).await, says);
    let read = Read { needle: NeedleId(1), first_block: 0, blocks: 1, with_table: false };
    assert_eq!(volume.refusal(&read, stray).await, says);
    assert_eq!(volume.content().await, before);
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn a_needle_that_cannot_be_is_refused_by_itself_and_changes_nothing() {
    let volume = Volume::start(64 << 20).await;
    volume.append(needle(1, 100)).await.expect("a good needle");
    let before = volume.content().await;
    let made = |id, placement, key: &[u8], data: &[u8]| {
        let body = Body::new([key, data].concat(), key.len());
        Bytes::from(body.with_header(NeedleId(id), placement, 1_700_000_000).concat())
    };
    let own = data(1, 100);
    for (needle, says) in [
        (with(3, &[0; 4]), "the header of needle 3 does not match its checksum"),
        (with(60, &[0; 4]), "the data of needle 3 does not match its checksums"),
        (made(3, PlacementId(0), b"key/3", &own), "it names no placement"),
        (made(1, PLACEMENT, b"key/1", &data(2, 100)), "needle 1 is there already with other bytes"),
        (made(1, PLACEMENT, b"key/1", &own[..99]), "needle 1 is there already with other bytes"),
        (made(1, PLACEMENT, b"key/x", &own), "needle 1 is there already with other bytes"),
        (made(1, PlacementId(4), b"key/1", &own), "needle 1 is there already with other bytes"),
    ] {
        let refused = volume.append(needle).await.expect_err("it cannot be").to_string();
        assert!(refused.contains(says), "{refused:?} does not say {says:?}");
    }
    volume.append(made(1, PLACEMENT, b"key/1", &own)).await.expect("the same once more");
    assert_eq!(volume.content().await, before);
    in_time(volume.running.stop()).await;
}

/// Takes one connection to `to`, passes on so many bytes of what its opener says, and then hangs up.
async fn hangs_up_after(to: std::net::SocketAddr, bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let (opener, _) = listener.accept().await.expect("it is opened");
        let (mut says, mut hears) = opener.into_split();
        let (mut back, mut on) = TcpStream::connect(to).await.expect("it listens").into_split();
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut hears).await });
        let mut passed = 0;
        let mut buffer = vec![0; 4096];
        while passed < bytes {
            let most = buffer.len().min(bytes - passed);
            let Ok(len @ 1..) = says.read(&mut buffer[..most]).await else { return };
            if on.write_all(&buffer[..len]).await.is_err() {
                return;
            }
            passed += len;
        }
    });
    address
}

#[tokio::test]
async fn half_a_request_changes_nothing() {
    let volume = Volume::start(64 << 20).await;
    volume.append(needle(1, 100)).await.expect("a good needle");
    let before = volume.content().await;
    let body = needle(2, 20_000);
    // The handshake has 52 bytes, a frame's header 32.
    for passed in [60, 84, 90, 4000, 52 + 32 + body.len() / 2, 52 + 32 + body.len() - 1] {
        let address = hangs_up_after(volume.running.peer, passed).await;
        let client = client_of(&volume.running, address);
        let call =
            client.call(&Append { needles: 1 }, vec![body.clone()], Instant::now() + Duration::from_secs(3));
        assert!(in_time(call).await.is_err(), "after {passed} bytes");
        assert_eq!(volume.content().await, before, "after {passed} bytes");
    }
    volume.append(body).await.expect("the whole of it is taken");
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn a_full_volume_says_what_is_used_what_is_kept_and_what_frees_space() {
    let capacity_bytes = 8 << 20;
    let volume = Volume::start(capacity_bytes).await;
    let mut id = 0;
    let full = loop {
        id += 1;
        match volume.append(needle(id, 50_000)).await {
            Ok(()) => assert!(id < 200, "it is never full"),
            Err(error) => break error,
        }
    };
    let AppendError::Full { used_bytes, reserve_bytes } = full else { panic!("{full}") };
    let left_bytes =
        capacity_bytes.checked_sub(used_bytes + reserve_bytes).expect("the reserve is not touched");
    assert!(left_bytes < capacity_bytes / 8, "{left_bytes} bytes are left, room for another segment");
    let text = full.to_string();
    for says in [
        &format!("{used_bytes} bytes used"),
        &format!("{reserve_bytes} kept in reserve"),
        "add a volume, or delete",
    ] {
        assert!(text.contains(says), "{text:?} does not say {says:?}");
    }
    let status = volume.call(&Status, vec![]).await.expect("it goes on");
    assert!(status.full && status.needles == id - 1);
    let dropped = volume.call(&Delete { needles: vec![NeedleId(1)] }, vec![]).await.expect("a good request");
    assert_eq!(dropped, Ok(()), "drops go on");
    in_time(volume.running.stop()).await;
}

#[tokio::test]
async fn values_that_cannot_work_are_refused_in_the_words_of_the_command_line_and_nothing_is_made() {
    let dir = TempDir::new().expect("a directory");
    let data = dir.path().join("data");
    let good = options(&data, 64 << 20).await;
    let changes: [fn(&mut Options); 6] = [
        |options| options.capacity_bytes = Some((8 << 20) - 1),
        |options| options.segment_bytes = (1 << 20) - 1,
        |options| options.segment_bytes = (16 << 30) + 1,
        |options| options.listen = "0.0.0.0:0".to_owned(),
        |options| options.zone = "z".repeat(1000),
        |options| options.masters.clear(),
    ];
    for change in changes {
        let mut options = good.clone();
        change(&mut options);
        let words = options.check().expect_err("the command line refuses it");
        let error = in_time(start(options)).await.expect_err("it cannot work");
        assert!(matches!(error, StartError::Options(_)), "{error}");
        assert_eq!(error.to_string(), words);
        assert!(!data.exists(), "{words}");
    }
    in_time(in_time(start(good)).await.expect("without a change it starts").stop()).await;
}

/// All files of a directory with their bytes, but for the lock.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !path.ends_with("lock") {
            all.insert(path.clone(), std::fs::read(&path).expect("it can be read"));
        }
    }
    all
}

/// Makes a file of a later version of one.
type Rewrite<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[tokio::test]
async fn a_directory_of_a_later_version_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().expect("a directory");
    let running = in_time(start(options(dir.path(), 64 << 20).await)).await.expect("it starts");
    in_time(running.stop()).await;
    let (identity, segment) =
        (dir.path().join("volume.toml"), dir.path().join("needles/0000000000000001.seg"));
    let later_identity = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).expect("text").replace("format = 1", "format = 2");
        let fields = &text[..text.rfind("crc32c = ").expect("it has a checksum")];
        format!("{fields}crc32c = \"{:08x}\"\n", crc32c::crc32c(fields.as_bytes())).into_bytes()
    };
    let later_segment = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..40]).to_le_bytes();
        bytes[40..44].copy_from_slice(&crc);
        bytes
    };
    let index = dir.path().join("needles/0000000000000001.idx");
    let later_index = |_: &[u8]| {
        let mut bytes = b"hayindex\x04\0\0\0".to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        [&bytes, "whatever follows".as_bytes()].concat()
    };
    let scrub = dir.path().join("needles/scrub");
    let later_scrub = |_: &[u8]| {
        let fields = "hayrick scrub 2\nwhatever follows\n";
        format!("{fields}crc32c {:08x}\n", crc32c::crc32c(fields.as_bytes())).into_bytes()
    };
    let rewrites: [(&Path, Rewrite<'_>, &str); 4] = [
        (
            &identity,
            &later_identity,
            "is of format 2, this build knows 1; start the version of hayrick that made it",
        ),
        (
            &segment,
            &later_segment,
            "has format version 2, and this build knows versions up to 1: start it with the newer build",
        ),
        (
            &index,
            &later_index,
            "has format version 4, and this build knows versions up to 3: start the newer hayrick, or remove the .idx \
             files beside it, which are then made anew from the segments",
        ),
        (
            &scrub,
            &later_scrub,
            "has format version 2, and this build knows versions up to 1: start the newer hayrick, or remove that file, so \
             that scrub begins a new round",
        ),
    ];
    for (path, rewrite, says) in rewrites {
        let own = std::fs::read(path).ok();
        std::fs::write(path, rewrite(own.as_deref().unwrap_or_default())).expect("written");
        let before = files(dir.path());
        let refused = in_time(start(options(dir.path(), 64 << 20).await)).await.expect_err("a later version");
        let refused = refused.to_string();
        let name = path.display().to_string();
        assert!(refused.starts_with(&name) && refused.contains(says), "{refused}");
        assert!(!refused.contains('\n'), "one sentence: {refused}");
        assert!(files(dir.path()) == before, "{name}: something was changed");
        match own {
            Some(own) => std::fs::write(path, own).expect("written"),
            None => std::fs::remove_file(path).expect("removed"),
        }
    }
    let running = in_time(start(options(dir.path(), 64 << 20).await)).await.expect("it starts again");
    in_time(running.stop()).await;
}

#[tokio::test]
async fn an_index_file_that_is_damaged_or_of_an_earlier_version_is_made_anew_and_costs_nothing() {
    let disk = FaultyDisk::new(1);
    let open = || {
        let mut options = StoreOptions::new("/needles", 64 << 20);
        options.compact_bytes_per_s = 0;
        Store::open(Arc::new(disk.clone()), options).expect("the store opens")
    };
    let index = Path::new("/needles/0000000000000001.idx");
    let until_indexed = async |version: u8| {
        let is_there = || disk.bytes(index).is_some_and(|bytes| bytes.get(8) == Some(&version));
        let wait = async {
            while !is_there() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time(wait).await;
    };
    let store = open();
    store.append(vec![needle(1, 100)]).await.remove(0).expect("a good needle");
    store.seal();
    until_indexed(3).await;
    store.close();
    let earlier = [&b"\x02\0\0\0"[..], &crc32c::crc32c(b"hayindex\x02\0\0\0").to_le_bytes()].concat();
    // Of the others, the checksum does not vouch for the version: a later one, by a flipped bit, must not stop a start.
    for version in [&earlier[..], &[9], &[7], &[2]] {
        assert!(disk.overwrite(index, 8, version));
        let store = open();
        assert_eq!(store.status().needles, 1);
        until_indexed(3).await;
        store.close();
    }
}

#[tokio::test]
async fn a_drop_of_no_needle_harms_nobody() {
    let disk = FaultyDisk::new(2);
    let open =
        || Store::open(Arc::new(disk.clone()), StoreOptions::new("/needles", 64 << 20)).expect("it opens");
    let store = open();
    store.append((1..=3).map(|id| needle(id, 100)).collect()).await.remove(0).expect("a good needle");
    store.close();
    // With a damaged stretch, what nothing is known of is dropped all the same: it may lie there.
    assert!(disk.exists(Path::new("/needles/0000000000000001.seg")).expect("a sound disk"));
    assert!(disk.flip(Path::new("/needles/0000000000000001.seg"), 4096 + 60, 1));
    let store = open();
    assert_eq!(store.status().bad, 1);
    in_time(store.delete(&[NeedleId(0), NeedleId(77)])).await.expect("dropped");
    store.append(vec![needle(4, 100)]).await.remove(0).expect("it goes on");
    assert_eq!(store.status().read_only, None);
    store.close();
}
