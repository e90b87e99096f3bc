//! What an operator may set. Which flag is which is the command line's.

use std::path::PathBuf;

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
    /// Bytes that the segments may take; by default what the file system has free, less 5 %.
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
}
