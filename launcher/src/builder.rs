//! What a cluster shall be: how many servers, where, and with which arguments.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::ports::PORTS_PER_MACHINE;
use crate::process::State;
use crate::{Cluster, Error, Process, Role, free_port};

/// How long a server may take to print its `listening:` line.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to stop: cli.md gives it ten seconds, the rest is for a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The segments of tests and of a cluster on one machine (cli.md).
const SEGMENT_SIZE: &str = "64MiB";

/// What a cluster shall be. Made by [`Cluster::builder`].
#[must_use]
pub struct Builder {
    pub(crate) binary: PathBuf,
    pub(crate) masters: u32,
    pub(crate) volumes: u32,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) base_port: Option<u16>,
    pub(crate) segment_size: String,
    pub(crate) master_args: Vec<OsString>,
    pub(crate) volume_args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) start_timeout: Duration,
    pub(crate) own_groups: bool,
    pub(crate) inherits_settings: bool,
}

impl Builder {
    pub(crate) fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            masters: 3,
            volumes: 4,
            dir: None,
            base_port: None,
            segment_size: SEGMENT_SIZE.to_owned(),
            master_args: Vec::new(),
            volume_args: Vec::new(),
            env: Vec::new(),
            start_timeout: START_TIMEOUT,
            own_groups: false,
            inherits_settings: false,
        }
    }

    /// How many masters; 3 unless said.
    pub fn masters(mut self, count: u32) -> Self {
        self.masters = count;
        self
    }

    /// How many volumes; 4 unless said.
    pub fn volumes(mut self, count: u32) -> Self {
        self.volumes = count;
        self
    }

    /// Where data and logs go. Without it: a temporary directory that is removed with the cluster.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Fixed ports, in cli.md's layout: machine `i` owns the hundred ports from `base + 100 * i`. Without it: free ones.
    pub fn base_port(mut self, base: u16) -> Self {
        self.base_port = Some(base);
        self
    }

    /// `--segment-size` of the volumes; 64MiB unless said.
    pub fn segment_size(mut self, size: impl Into<String>) -> Self {
        self.segment_size = size.into();
        self
    }

    /// Adds an argument to every master.
    pub fn master_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.master_args.push(arg.into());
        self
    }

    /// Adds an argument to every volume.
    pub fn volume_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.volume_args.push(arg.into());
        self
    }

    /// Sets an environment variable for every process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// How long each process may take until its `listening:` line; 30 s unless said.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Puts every process into a process group of its own, out of reach of the terminal's Ctrl-C: for an owner that
    /// catches it and ends them itself. The process ids are noted beside the data, for [`end_left_over`](crate::end_left_over)
    /// should the owner itself be killed.
    pub fn own_process_groups(mut self) -> Self {
        self.own_groups = true;
        self
    }

    /// Servers heed the `HAYRICK_…` variables of this process; without it they know only what is set here.
    pub fn inherits_settings(mut self) -> Self {
        self.inherits_settings = true;
        self
    }

    /// Lays the cluster out without starting anything.
    ///
    /// # Errors
    /// When the binary is missing, no port is free, or the directory cannot be made.
    pub fn build(self) -> Result<Cluster, Error> {
        Cluster::from_builder(self)
    }

    /// Lays the cluster out and starts it, with other ports if somebody took one of them meanwhile.
    ///
    /// # Errors
    /// As [`Builder::build`], and when a process does not listen.
    pub fn start(self) -> Result<Cluster, Error> {
        let mut cluster = self.build()?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Where server `number` of `role` listens: HTTP, peer.
    pub(crate) fn addresses(&self, role: Role, number: u32) -> Result<(SocketAddr, SocketAddr), Error> {
        let (http, peer) = match self.base_port {
            None => (free_port()?, free_port()?),
            Some(base) => {
                let block =
                    u16::try_from(number - 1).ok().and_then(|index| index.checked_mul(PORTS_PER_MACHINE));
                let (http, peer) = match role {
                    Role::Master => (0, 2),
                    Role::Volume => (1, 3),
                };
                let port = |offset: u16| block.and_then(|block| base.checked_add(block)?.checked_add(offset));
                port(http).zip(port(peer)).ok_or_else(|| Error::NoPort {
                    source: std::io::Error::other(format!(
                        "base port {base} leaves no room for {role} {number}"
                    )),
                })?
            }
        };
        Ok(((Ipv4Addr::LOCALHOST, http).into(), (Ipv4Addr::LOCALHOST, peer).into()))
    }

    pub(crate) fn process(&self, dir: &std::path::Path, role: Role, number: u32) -> Result<Process, Error> {
        let (http, peer) = self.addresses(role, number)?;
        let own = match role {
            Role::Master => &self.master_args,
            Role::Volume => &self.volume_args,
        };
        let state = State::new(own.clone(), self.env.clone());
        Ok(Process {
            binary: self.binary.clone(),
            role,
            number,
            http,
            peer,
            data_dir: dir.join(format!("{role}-{number}")),
            log_path: dir.join("logs").join(format!("{role}-{number}.log")),
            start_timeout: self.start_timeout,
            stop_timeout: STOP_TIMEOUT,
            own_group: self.own_groups,
            inherits_settings: self.inherits_settings,
            state: Mutex::new(state),
        })
    }
}
