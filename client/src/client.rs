//! The client itself: the list of masters and the connections to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hayrick_protocol::ObjectKey;
use hayrick_protocol::key::KeyError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{BuildError, Error};

/// How long a master may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may be silent: `--request-timeout` is 5 s by default, the rest is for the way.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The slowest upload that is waited for. A server gives up earlier on one that stands still (http-api.md).
const UPLOAD_BYTES_PER_S_MIN: f64 = 64.0 * 1024.0;
/// A body that is no larger has memory at once at a master that is well.
const SMALL_BYTES: u64 = 64 * 1024;
/// How long a larger one may have to wait for memory, which a master that many others send large ones to gives in turn. It
/// looks the same as a master that hangs; a master itself waits for five minutes.
const TURN_MAX: Duration = Duration::from_secs(60);
/// Unused connections are closed after this, before a server closes them (75 s): a write that meets a connection
/// which closes in that moment has an unknown outcome.
const POOL_IDLE: Duration = Duration::from_secs(60);
/// How long a request that may be repeated goes on asking: a change of the leader takes one to two seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything is encoded in a key but what a path may carry literally, and the slash.
const KEY_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Everything is encoded in a query's value but the unreserved characters.
const QUERY_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one cluster. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Gives up when nothing comes for [`ClientBuilder::silence_max`].
    pub(crate) reads: reqwest::Client,
    /// Does not: that time would run during an upload, in which a server rightly says nothing. Each write has a
    /// timeout of its own, see [`Client::write_timeout`].
    pub(crate) writes: reqwest::Client,
    silence_max: Duration,
    pub(crate) patience: Duration,
    pub(crate) on_wait: OnWait,
    masters: Arc<[String]>,
    /// The master that answered last, tried first the next time.
    preferred: Arc<AtomicUsize>,
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    masters: Vec<String>,
    connect_timeout: Duration,
    silence_max: Duration,
    patience: Duration,
    on_wait: OnWait,
}

/// Who wants to hear why a request waits.
#[derive(Clone, Default)]
pub(crate) struct OnWait(Option<Arc<Tell>>);

type Tell = dyn Fn(&Error) + Send + Sync;

impl OnWait {
    pub(crate) fn tell(&self, error: &Error) {
        if let Some(tell) = &self.0 {
            tell(error);
        }
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnWait(..)" } else { "OnWait" })
    }
}

impl Client {
    /// A client that asks these masters, each `HOST:PORT` of a client port, the first one first.
    ///
    /// # Errors
    /// When the list is empty or holds something that is no address.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(masters: I) -> Result<Self, BuildError> {
        Self::builder(masters).build()
    }

    /// The same, with settings.
    pub fn builder<I: IntoIterator<Item = S>, S: Into<String>>(masters: I) -> ClientBuilder {
        ClientBuilder {
            masters: masters.into_iter().map(Into::into).collect(),
            connect_timeout: CONNECT_TIMEOUT,
            silence_max: SILENCE_MAX,
            patience: PATIENCE,
            on_wait: OnWait::default(),
        }
    }

    /// The masters it knows, as given.
    pub fn masters(&self) -> &[String] {
        &self.masters
    }

    /// The order in which to try the masters: the one that answered last, then those after it.
    pub(crate) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.masters.len());
        (0..count).map(move |step| (first + step) % count)
    }

    pub(crate) fn prefer(&self, master: usize) {
        self.preferred.store(master, Ordering::Relaxed);
    }

    /// Tries the one behind this master first, as this one just broke off.
    pub(crate) fn pass_over(&self, master: usize) {
        self.prefer((master + 1) % self.masters.len());
    }

    /// How long a write with a body of so many bytes may take: its upload, and then the server's silence.
    pub(crate) fn write_timeout(&self, body_bytes: u64) -> Duration {
        self.silence_max + Duration::from_secs_f64(body_bytes as f64 / UPLOAD_BYTES_PER_S_MIN)
    }

    /// How long a PUT may take: as [`Self::write_timeout`], and where it is not small the time in which its turn comes.
    pub(crate) fn put_timeout(&self, bytes: u64) -> Duration {
        let turn = if bytes > SMALL_BYTES { TURN_MAX } else { Duration::ZERO };
        self.write_timeout(bytes) + turn
    }

    /// The URL of a target, which begins with a slash, at one master.
    pub(crate) fn url(&self, master: usize, target: &str) -> String {
        format!("http://{}{target}", self.masters[master])
    }
}

impl ClientBuilder {
    /// How long a master may take to accept a connection before the next one is tried; 2 s unless said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a server may send nothing before a request is given up; 10 s unless said. A write may take longer by
    /// the time that its body takes at 64 KiB/s, and a PUT of more than 64 KiB by another minute, in which a busy master gives it
    /// memory.
    pub fn silence_max(mut self, timeout: Duration) -> Self {
        self.silence_max = timeout;
        self
    }

    /// How long a request that surely had no effect is sent again and again, to all masters, before its error is told: a read
    /// that failed, and a write that was refused with 503. 5 s unless said; with zero each master is asked once. Where nobody
    /// listens at any address, nothing is waited for, and `status`, `ready` and the like tell what is so now.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Calls this, which is not to take long, with the error for which a request is about to be sent again, each time: so that
    /// people can be told what is waited for.
    pub fn on_wait(mut self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_wait = OnWait(Some(Arc::new(tell)));
        self
    }

    /// Makes the client; connects nowhere yet.
    ///
    /// # Errors
    /// When the list of masters is empty or holds something that is no address.
    pub fn build(self) -> Result<Client, BuildError> {
        if self.masters.is_empty() {
            return Err(BuildError::NoMasters);
        }
        for addr in &self.masters {
            let is_address =
                addr.parse::<http::uri::Authority>().is_ok_and(|authority| authority.port().is_some());
            if !is_address {
                return Err(BuildError::BadAddress { addr: addr.clone() });
            }
        }
        let reads = self.http().read_timeout(self.silence_max).build().map_err(BuildError::Http)?;
        let writes = self.http().build().map_err(BuildError::Http)?;
        let Self { masters, silence_max, patience, on_wait, .. } = self;
        let (masters, preferred) = (masters.into(), Arc::default());
        Ok(Client { reads, writes, silence_max, patience, on_wait, masters, preferred })
    }

    /// What reads and writes have in common.
    fn http(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(POOL_IDLE)
            // Masters are named by address; a proxy that is set for the web knows none of them.
            .no_proxy()
            // Nothing below this crate may repeat a write.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
    }
}

/// The path of a key: a slash and the key, percent-encoded.
pub(crate) fn key_path(key: &str) -> Result<String, Error> {
    let key = ObjectKey::new(key)?;
    Ok(format!("/{}", utf8_percent_encode(key.as_str(), KEY_ENCODED)))
}

/// What of a prefix is sent as a path, and from where the listing is to start for the rest of it.
///
/// A URL has no `.` or `..` segments, also none that are percent-encoded: whoever reads one takes them out together with
/// what stands before them, and `a/..` would list everything. So `a/.`, with which keys may begin, is listed as `a/` from
/// `a/.` on, and who lists ends at the first key that does not begin with it.
pub(crate) fn prefix_path(prefix: &str) -> Result<(String, Option<&str>), Error> {
    let why = |error: KeyError| Error::BadPrefix { prefix: prefix.to_owned(), message: error.to_string() };
    if prefix.starts_with("-/") {
        return Err(why(KeyError::Reserved));
    }
    let is_dots = |segment: &str| segment == "." || segment == "..";
    let (before, last) = prefix.rsplit_once('/').map_or(("", prefix), |(before, last)| (before, last));
    if before.split('/').any(is_dots) {
        return Err(why(KeyError::DotSegment));
    }
    let sent = if is_dots(last) { &prefix[..prefix.len() - last.len()] } else { prefix };
    let path = format!("/{}", utf8_percent_encode(sent, KEY_ENCODED));
    Ok((path, (sent.len() < prefix.len()).then_some(prefix)))
}

/// A value in a query.
pub(crate) fn query_value(value: &str) -> String {
    utf8_percent_encode(value, QUERY_ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_but_for_their_slashes() {
        assert_eq!(key_path("a b/ü?#%.jpg").unwrap(), "/a%20b/%C3%BC%3F%23%25.jpg");
        assert!(matches!(key_path("a/../b"), Err(Error::Key(_))));
        assert!(matches!(key_path(""), Err(Error::Key(_))));
    }

    #[test]
    fn no_prefix_makes_a_path_that_a_url_would_shorten() {
        let path = |prefix| prefix_path(prefix).ok().map(|(path, start)| (path, start.map(str::to_owned)));
        let plain = |path: &str| Some((path.to_owned(), None));
        assert_eq!(path(""), plain("/"));
        assert_eq!(path("a b/c.d"), plain("/a%20b/c.d"));
        assert_eq!(path("a/..."), plain("/a/..."));
        assert_eq!(path("/a//"), plain("//a//"));
        assert_eq!(path("a/%2e%2E"), plain("/a/%252e%252E"));
        for (prefix, sent) in [("a/..", "/a/"), ("a/.", "/a/"), ("..", "/"), (".", "/"), ("/.", "//")] {
            assert_eq!(path(prefix), Some((sent.to_owned(), Some(prefix.to_owned()))), "{prefix}");
        }
        for prefix in ["a/../b", "a/../", "./", "../a", "-/", "-/status"] {
            assert!(matches!(prefix_path(prefix), Err(Error::BadPrefix { .. })), "{prefix}");
        }
    }

    #[test]
    fn a_client_needs_masters_with_ports() {
        assert!(matches!(Client::new(Vec::<String>::new()), Err(BuildError::NoMasters)));
        assert!(matches!(Client::new(["localhost"]), Err(BuildError::BadAddress { .. })));
        assert!(matches!(Client::new(["http://x:1"]), Err(BuildError::BadAddress { .. })));
        assert!(Client::new(["localhost:9090"]).is_ok());
    }

    #[test]
    fn the_master_that_answered_is_tried_first() {
        let client = Client::new(["a:1", "b:1", "c:1"]).unwrap();
        assert_eq!(client.order().collect::<Vec<_>>(), [0, 1, 2]);
        client.prefer(2);
        assert_eq!(client.order().collect::<Vec<_>>(), [2, 0, 1]);
    }
}
