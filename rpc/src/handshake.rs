//! The first bytes of a connection, both ways: who is there, of which cluster, speaking which versions.
//!
//! ```text
//! offset  bytes
//!      0      8  "HayrickH"
//!      8      2  oldest version of the messages that the sender speaks
//!     10      2  newest
//!     12     16  its cluster, zeros if not known yet
//!     28      1  its role: 1 master, 2 volume
//!     29      8  its id
//!     37      1  the role it expects at the other end; 0 any
//!     38      8  the id it expects there
//!     46      2  zeros
//!     48      4  crc32c over the rest
//! ```
//! The end that connected says this first, the other answers alike, or refuses with one plain sentence and closes:
//!
//! ```text
//!      0      8  "HayrickN"
//!      8      2  code
//!     10      2  length of the sentence
//!     12      n  the sentence, UTF-8
//!   12+n      4  crc32c over the rest
//! ```
//! All numbers are little-endian. Whoever speaks HTTP, which a person with `curl` and the wrong port does, is told so in
//! HTTP; everybody else who is not one of us gets no word.
//!
//! Owns these layouts and the judgement. Invariant: of whoever does not prove to be one of us, at most a few hundred bytes
//! are looked at and [`HTTP_UNREAD_MAX`] thrown away, only for a bounded time.

use std::io;

use hayrick_protocol::messages::{Identity, VERSION_MAX, VERSION_MIN};
use hayrick_protocol::{ClusterId, NodeId, VolumeId};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use crate::local::{Local, Peer};

const HELLO: &[u8; 8] = b"HayrickH";
const REFUSAL: &[u8; 8] = b"HayrickN";
const HELLO_BYTES: usize = 52;
const SENTENCE_BYTES_MAX: usize = 512;
/// A handshake takes a round trip; who needs longer is not one of us.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How a request of HTTP begins, as far as a handshake's first bytes show it.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];
/// How an answer of HTTP begins.
const HTTP_ANSWER: &[u8; 8] = b"HTTP/1.1";
/// What is thrown away of an HTTP request so that its sender reads the answer: a close with bytes unread resets the
/// connection, and takes the answer back.
const HTTP_UNREAD_MAX: u64 = 64 * 1024;

/// The other end, or this one, would not have the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Refusal {
    /// Why, for programs.
    pub reason: RefusalReason,
    /// Why, in one plain sentence.
    pub text: String,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The ends are of two known, different clusters.
    OtherCluster,
    /// Somebody else listens there than was expected.
    OtherIdentity,
    /// The ranges of versions do not meet.
    NoCommonVersion,
    /// HTTP is spoken there.
    Http,
    /// A reason that this build does not know.
    Other(u16),
}

impl RefusalReason {
    fn code(self) -> u16 {
        match self {
            Self::OtherCluster => 1,
            Self::OtherIdentity => 2,
            Self::NoCommonVersion => 3,
            Self::Http => 4,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u16) -> Self {
        match code {
            1 => Self::OtherCluster,
            2 => Self::OtherIdentity,
            3 => Self::NoCommonVersion,
            4 => Self::Http,
            other => Self::Other(other),
        }
    }
}

/// Why there was no handshake.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(#[from] io::Error),
    /// The other end took too long.
    #[error("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    /// The other end is not one of us.
    #[error("what is there does not speak our protocol")]
    Stranger,
    /// The other end asks for something in HTTP.
    #[error("an HTTP request came to the peer port")]
    HttpRequest,
    /// An end would not have it.
    #[error("{0}")]
    Refused(Refusal),
}

/// What an end says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    versions: (u16, u16),
    cluster: ClusterId,
    identity: Identity,
    expects: Option<Identity>,
}

impl Hello {
    fn of(local: &Local, expects: Option<Identity>) -> Self {
        let (identity, cluster) = local.names();
        Self { versions: (VERSION_MIN, VERSION_MAX), cluster, identity, expects }
    }

    pub(crate) fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(HELLO);
        bytes[8..10].copy_from_slice(&self.versions.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.versions.1.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.cluster.0);
        bytes[28..37].copy_from_slice(&encode_identity(Some(self.identity)));
        bytes[37..46].copy_from_slice(&encode_identity(self.expects));
        let crc = crc32c::crc32c(&bytes[..48]);
        bytes[48..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HELLO_BYTES]) -> Option<Self> {
        let crc = u32::from_le_bytes(*bytes[48..].first_chunk()?);
        if &bytes[..8] != HELLO || crc != crc32c::crc32c(&bytes[..48]) {
            return None;
        }
        Some(Self {
            versions: (u16::from_le_bytes([bytes[8], bytes[9]]), u16::from_le_bytes([bytes[10], bytes[11]])),
            cluster: ClusterId(*bytes[12..].first_chunk()?),
            identity: decode_identity(bytes[28..].first_chunk()?)??,
            expects: decode_identity(bytes[37..].first_chunk()?)?,
        })
    }

    /// Whether this end, saying `self`, has the one that says `theirs`.
    fn judge(&self, theirs: &Self) -> Result<Peer, Refusal> {
        let me = match self.cluster.is_known() {
            true => format!("this is {} of cluster {}", self.identity, self.cluster),
            false => format!("this is {} of no cluster yet", self.identity),
        };
        let refusal = |reason, you: String| Err(Refusal { reason, text: format!("{me}; {you}") });
        if self.cluster.is_known() && theirs.cluster.is_known() && self.cluster != theirs.cluster {
            return refusal(RefusalReason::OtherCluster, format!("you are of cluster {}", theirs.cluster));
        }
        if let Some(expected) = theirs.expects.filter(|expected| *expected != self.identity) {
            return refusal(RefusalReason::OtherIdentity, format!("you expected {expected}"));
        }
        let (oldest, newest) = theirs.versions;
        let version = newest.min(self.versions.1);
        if version < oldest.max(self.versions.0) {
            let (min, max) = self.versions;
            let you = format!(
                "it speaks versions {min} to {max} and you {oldest} to {newest}: run builds that meet"
            );
            return refusal(RefusalReason::NoCommonVersion, you);
        }
        Ok(Peer { identity: theirs.identity, cluster: theirs.cluster, version })
    }
}

fn encode_identity(identity: Option<Identity>) -> [u8; 9] {
    let (role, id) = match identity {
        None => (0, 0),
        Some(Identity::Master(id)) => (1, id.0),
        Some(Identity::Volume(id)) => (2, u64::from(id.0)),
    };
    let mut bytes = [role; 9];
    bytes[1..].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// None if there is no such role or id; the inner one is "any".
fn decode_identity(bytes: &[u8; 9]) -> Option<Option<Identity>> {
    let id = u64::from_le_bytes(*bytes[1..].first_chunk()?);
    match bytes[0] {
        0 => Some(None),
        1 => Some(Some(Identity::Master(NodeId(id)))),
        2 => Some(Some(Identity::Volume(VolumeId(u32::try_from(id).ok()?)))),
        _ => None,
    }
}

impl Refusal {
    fn encode(&self) -> Vec<u8> {
        let text = &self.text.as_bytes()[..self.text.len().min(SENTENCE_BYTES_MAX)];
        let length = u16::try_from(text.len()).expect("SENTENCE_BYTES_MAX fits a u16");
        let mut bytes = REFUSAL.to_vec();
        bytes.extend_from_slice(&self.reason.code().to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads what follows the magic.
    async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Self, HandshakeError> {
        let (code, length) = (socket.read_u16_le().await?, socket.read_u16_le().await?);
        if usize::from(length) > SENTENCE_BYTES_MAX {
            return Err(HandshakeError::Stranger);
        }
        let mut text = vec![0; usize::from(length)];
        socket.read_exact(&mut text).await?;
        let refusal = Self {
            reason: RefusalReason::from_code(code),
            text: String::from_utf8_lossy(&text).into_owned(),
        };
        let crc = socket.read_u32_le().await?;
        let sum = [&REFUSAL[..], &code.to_le_bytes(), &length.to_le_bytes(), &text].concat();
        if crc == crc32c::crc32c(&sum) { Ok(refusal) } else { Err(HandshakeError::Stranger) }
    }
}

/// The connecting end's part.
pub(crate) async fn offer<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    local: &Local,
    expects: Option<Identity>,
) -> Result<Peer, HandshakeError> {
    let mine = Hello::of(local, expects);
    let talk = async {
        socket.write_all(&mine.encode()).await?;
        let theirs = read_hello(socket).await?;
        if let Some(expected) = expects.filter(|expected| *expected != theirs.identity) {
            let text = format!("{} is there; expected {expected}", theirs.identity);
            return Err(HandshakeError::Refused(Refusal { reason: RefusalReason::OtherIdentity, text }));
        }
        mine.judge(&theirs).map_err(HandshakeError::Refused)
    };
    timeout(HANDSHAKE_TIMEOUT, talk).await.map_err(|_| HandshakeError::Timeout)?
}

/// The accepting end's part: refuses in plain words before it returns an error.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    local: &Local,
) -> Result<Peer, HandshakeError> {
    let talk = async {
        let theirs = match read_hello(socket).await {
            Err(HandshakeError::HttpRequest) => {
                answer_http(socket, local.identity()).await?;
                return Err(HandshakeError::HttpRequest);
            }
            theirs => theirs?,
        };
        let mine = Hello::of(local, Some(theirs.identity));
        match mine.judge(&theirs) {
            Ok(peer) => {
                socket.write_all(&mine.encode()).await?;
                Ok(peer)
            }
            Err(refusal) => {
                socket.write_all(&refusal.encode()).await?;
                socket.shutdown().await?;
                Err(HandshakeError::Refused(refusal))
            }
        }
    };
    timeout(HANDSHAKE_TIMEOUT, talk).await.map_err(|_| HandshakeError::Timeout)?
}

async fn read_hello<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Hello, HandshakeError> {
    let mut bytes = [0; HELLO_BYTES];
    let (magic, rest) = bytes.split_at_mut(HELLO.len());
    // The magic first, so that a stranger who sends less than a hello and waits is not waited for.
    socket.read_exact(magic).await?;
    if magic == REFUSAL {
        return Err(HandshakeError::Refused(Refusal::read(socket).await?));
    }
    if magic == HTTP_ANSWER {
        let text = "HTTP is spoken there, so that it is no peer port; the peer port of a master is the one of its \
                    --peer-listen, by default 9092, and `hayrick master ls` shows it";
        let refusal = Refusal { reason: RefusalReason::Http, text: text.to_owned() };
        return Err(HandshakeError::Refused(refusal));
    }
    // `OPTIONS ` and `CONNECT ` just fit into the magic.
    if HTTP_METHODS.iter().any(|method| magic.starts_with(method)) {
        return Err(HandshakeError::HttpRequest);
    }
    if magic != HELLO {
        return Err(HandshakeError::Stranger);
    }
    socket.read_exact(rest).await?;
    Hello::decode(&bytes).ok_or(HandshakeError::Stranger)
}

/// Says to who speaks HTTP where HTTP is spoken.
async fn answer_http<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, me: Identity) -> io::Result<()> {
    let elsewhere = match me {
        Identity::Master(_) => "the client port is the one of --listen, by default 9090",
        Identity::Volume(_) => "needles are read from the port of --listen, by default 9091",
    };
    let text = format!(
        "this is the peer port of {me}, where masters and volumes speak a protocol of their own; {elsewhere}\n"
    );
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    socket.write_all((head + &text).as_bytes()).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket.take(HTTP_UNREAD_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        ClusterId, HELLO_BYTES, HandshakeError, Hello, Identity, Local, NodeId, Refusal, RefusalReason,
        VolumeId, accept, offer, read_hello,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const HELLO: Hello = Hello {
        versions: (1, 2),
        cluster: ClusterId([0xab; 16]),
        identity: Identity::Master(NodeId(2)),
        expects: Some(Identity::Volume(VolumeId(3))),
    };

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_bytes_of_a_hello() {
        let bytes = HELLO.encode();
        let cluster = "ab".repeat(16);
        let golden = format!(
            "4861797269636b48 0100 0200 {cluster} 01 0200000000000000 02 0300000000000000 0000 f2977db1"
        );
        assert_eq!(hex(&bytes), golden.replace(' ', ""));
        assert_eq!(Hello::decode(&bytes), Some(HELLO));
    }

    #[test]
    fn golden_bytes_of_a_refusal() {
        let refusal = Refusal { reason: RefusalReason::OtherIdentity, text: "no".to_owned() };
        assert_eq!(hex(&refusal.encode()), "4861797269636b4e020002006e6fde7fbc88");
    }

    #[test]
    fn a_flipped_bit_in_a_hello_is_found() {
        let bytes = HELLO.encode();
        for bit in 0..HELLO_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Hello::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn versions_meet_or_are_refused() {
        let theirs = Hello { expects: None, versions: (2, 5), ..HELLO };
        assert_eq!(HELLO.judge(&theirs).expect("2 is common").version, 2);
        let newer = Hello { versions: (3, 5), ..theirs };
        let refusal = HELLO.judge(&newer).expect_err("nothing in common");
        assert_eq!(refusal.reason, RefusalReason::NoCommonVersion);
        assert!(refusal.text.contains("versions 1 to 2 and you 3 to 5"), "{refusal}");
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_other_end_in_its_own_words() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let master = Local::new(Identity::Master(NodeId(2)), ClusterId([1; 16]));
        let other = Local::new(Identity::Master(NodeId(1)), ClusterId([1; 16]));
        let expects = Some(Identity::Volume(VolumeId(3)));
        let (asked, answered) = tokio::join!(offer(&mut near, &other, expects), accept(&mut far, &master));
        let expected = format!("this is master 2 of cluster {}; you expected volume 3", ClusterId([1; 16]));
        for result in [asked, answered] {
            match result {
                Err(HandshakeError::Refused(refusal)) => assert_eq!(refusal.text, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn who_asks_in_http_is_told_in_http_where_that_is_spoken() {
        for (me, says) in [
            (Identity::Master(NodeId(2)), "peer port of master 2"),
            (Identity::Volume(VolumeId(3)), "by default 9091"),
        ] {
            for request in
                ["GET / HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n", "PUT /k HTTP/1.1\r\n\r\nbody"]
            {
                let (mut near, mut far) = tokio::io::duplex(1024);
                let local = Local::new(me, ClusterId([1; 16]));
                let asked = async {
                    near.write_all(request.as_bytes()).await.expect("it fits the pipe");
                    let mut answer = String::new();
                    near.read_to_string(&mut answer).await.expect("an answer");
                    drop(near);
                    answer
                };
                let (answer, accepted) = tokio::join!(asked, accept(&mut far, &local));
                assert!(matches!(accepted, Err(HandshakeError::HttpRequest)), "{accepted:?}");
                let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
                assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
                assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
                assert!(body.contains(says), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_neither_of_us_nor_http_gets_no_word() {
        for bytes in ["GETAWAY!", "get / ht", "SSH-2.0-", "\0\0\0\0\0\0\0\0"] {
            let (mut near, mut far) = tokio::io::duplex(1024);
            near.write_all(bytes.as_bytes()).await.expect("it fits the pipe");
            let local = Local::new(Identity::Master(NodeId(2)), ClusterId([1; 16]));
            assert!(matches!(accept(&mut far, &local).await, Err(HandshakeError::Stranger)), "{bytes:?}");
            drop(far);
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.expect("it is closed");
            assert!(answer.is_empty(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn an_http_port_is_recognised_and_the_right_one_named() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it fits the pipe");
        let local = Local::new(Identity::Volume(VolumeId(3)), ClusterId([1; 16]));
        let error = offer(&mut near, &local, None).await.expect_err("nobody of us");
        let HandshakeError::Refused(refusal) = error else { panic!("{error}") };
        assert!(refusal.reason == RefusalReason::Http && refusal.text.contains("9092"), "{refusal}");
    }

    #[tokio::test]
    async fn a_damaged_refusal_is_a_strangers() {
        let refusal = Refusal { reason: RefusalReason::OtherCluster, text: "go away".to_owned() };
        let mut bytes = refusal.encode();
        bytes[13] ^= 1;
        let (mut near, mut far) = tokio::io::duplex(1024);
        far.write_all(&bytes).await.expect("fits the pipe");
        drop(far);
        assert!(matches!(read_hello(&mut near).await, Err(HandshakeError::Stranger)));
    }
}
