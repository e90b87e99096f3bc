//! What an operator may set, and which values work. Leaves flags, variables and files to the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use hayrick_protocol::limits::NAME_BYTES_MAX;

use crate::store::SEGMENT_BYTES_MAX;

/// The least segment that may be set: a volume of smaller ones has more files than a process may open.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The least capacity that may be set: eight segments of the least size, two of which are kept in reserve.
const CAPACITY_BYTES_MIN: u64 = 8 * SEGMENT_BYTES_MIN;

/// How a volume is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; created if need be.
    pub data: PathBuf,
    /// `HOST:PORT` of the masters' peer ports, as they advertise them.
    pub masters: Vec<String>,
    /// `HOST:PORT` that the HTTP port listens on; port 0 takes any.
    pub listen: String,
    /// `HOST:PORT` that the peer port listens on; port 0 takes any.
    pub peer_listen: String,
    /// `HOST:PORT` of the HTTP port as others reach it; by default where it listens.
    pub advertise: Option<String>,
    /// `HOST:PORT` of the peer port as others reach it; by default where it listens.
    pub peer_advertise: Option<String>,
    /// What fails together with this volume, or `""`.
    pub zone: String,
    /// Bytes that segments and their index files may take; by default what the file system has free, less 5 %.
    pub capacity_bytes: Option<u64>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes that scrub reads in a second, at most; 0: no scrub.
    pub scrub_bytes_per_s_max: u64,
}

impl Options {
    /// Segments of 1 GiB, the ports of cli.md, on loopback.
    pub fn new(data: impl Into<PathBuf>, masters: Vec<String>) -> Self {
        Self {
            data: data.into(),
            masters,
            listen: "127.0.0.1:9091".to_owned(),
            peer_listen: "127.0.0.1:9093".to_owned(),
            advertise: None,
            peer_advertise: None,
            zone: String::new(),
            capacity_bytes: None,
            segment_bytes: 1 << 30,
            scrub_bytes_per_s_max: 50 << 20,
        }
    }

    /// One plain sentence about the first value that cannot work, in the words of the command line.
    ///
    /// # Errors
    /// When there is one.
    pub fn check(&self) -> Result<(), String> {
        if self.masters.is_empty() {
            return Err("no masters are named; set --masters HOST:PORT,…".to_owned());
        }
        let names = [Some(&self.zone), self.advertise.as_ref(), self.peer_advertise.as_ref()];
        if names.into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(format!(
                "a zone or an address has at most {NAME_BYTES_MAX} bytes; choose a shorter one"
            ));
        }
        if let Some(capacity) = self.capacity_bytes.filter(|bytes| *bytes < CAPACITY_BYTES_MIN) {
            return Err(format!(
                "--capacity is {capacity} bytes; the least that works is {}MiB: segments are an eighth of it and no \
                 smaller than {}MiB, and two are kept in reserve",
                CAPACITY_BYTES_MIN >> 20,
                SEGMENT_BYTES_MIN >> 20
            ));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(format!(
                "--segment-size is {} bytes; it lies between {}MiB, as smaller ones make more files than a process may \
                 open, and {}GiB, the most that the index can name",
                self.segment_bytes,
                SEGMENT_BYTES_MIN >> 20,
                SEGMENT_BYTES_MAX >> 30
            ));
        }
        let ports = [
            ("--listen", &self.listen, "--advertise", &self.advertise),
            ("--peer-listen", &self.peer_listen, "--peer-advertise", &self.peer_advertise),
        ];
        for (listen, address, advertise, advertised) in ports {
            if advertised.is_none()
                && address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
            {
                return Err(format!(
                    "{listen} {address} does not say how others reach this volume; set {advertise} HOST:PORT"
                ));
            }
        }
        if self.listen == self.peer_listen && !self.listen.ends_with(":0") {
            return Err(format!("--listen and --peer-listen are both {}; they are two ports", self.listen));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_work_are_refused_with_the_least_that_does() {
        let options = Options::new("data", vec!["127.0.0.1:9092".to_owned()]);
        assert_eq!(options.check(), Ok(()));
        let refused = |change: fn(&mut Options), words: &str| {
            let mut options = options.clone();
            change(&mut options);
            let reason = options.check().expect_err("it cannot work");
            assert!(reason.contains(words), "{reason:?} does not say {words:?}");
        };
        refused(|o| o.masters.clear(), "set --masters");
        refused(|o| o.zone = "z".repeat(NAME_BYTES_MAX + 1), "choose a shorter one");
        refused(|o| o.advertise = Some("a".repeat(NAME_BYTES_MAX + 1)), "choose a shorter one");
        refused(|o| o.capacity_bytes = Some(CAPACITY_BYTES_MIN - 1), "the least that works is 8MiB");
        refused(|o| o.segment_bytes = SEGMENT_BYTES_MIN - 1, "between 1MiB");
        refused(|o| o.segment_bytes = SEGMENT_BYTES_MAX + 1, "and 16GiB");
        refused(|o| o.listen = "0.0.0.0:9091".to_owned(), "set --advertise");
        refused(|o| o.peer_listen = "[::]:9093".to_owned(), "set --peer-advertise");
        refused(|o| o.listen.clone_from(&o.peer_listen), "they are two ports");
        let any =
            Options { listen: "127.0.0.1:0".to_owned(), peer_listen: "127.0.0.1:0".to_owned(), ..options };
        assert_eq!(any.check(), Ok(()));
    }
}
