//! The client itself: the list of masters and the connections to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hayrick_protocol::ObjectKey;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{BuildError, Error};

/// How long a master may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server may be silent: `--request-timeout` is 5 s by default, the rest is for the way.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The slowest upload that is waited for. A server gives up earlier on one that stands still (http-api.md).
const UPLOAD_BYTES_PER_S_MIN: f64 = 64.0 * 1024.0;
/// Unused connections are closed after this, before a server closes them (75 s): a write that meets a connection
/// which closes in that moment has an unknown outcome.
const POOL_IDLE: Duration = Duration::from_secs(60);

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

    /// How long a write with a body of so many bytes may take: its upload, and then the server's silence.
    pub(crate) fn write_timeout(&self, body_bytes: usize) -> Duration {
        self.silence_max + Duration::from_secs_f64(body_bytes as f64 / UPLOAD_BYTES_PER_S_MIN)
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
    /// the time that its body takes at 64 KiB/s.
    pub fn silence_max(mut self, timeout: Duration) -> Self {
        self.silence_max = timeout;
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
        let silence_max = self.silence_max;
        Ok(Client { reads, writes, silence_max, masters: self.masters.into(), preferred: Arc::default() })
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

/// A prefix in a path; unlike a key it may be empty.
pub(crate) fn prefix_path(prefix: &str) -> String {
    format!("/{}", utf8_percent_encode(prefix, KEY_ENCODED))
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
