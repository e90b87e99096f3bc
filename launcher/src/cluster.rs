//! A cluster of real processes on this machine.
//!
//! Owns the layout: who listens where, and what each is told of the others. Invariant: dropping it ends every
//! process, and removes the data only if it lies in a temporary directory of its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::is_free;
use crate::{Builder, Deadline, Error, Process, Role, http_status};

/// How often a start is repeated with other ports when somebody took one.
const START_ATTEMPTS: usize = 3;
/// How long one question of readiness may take, and the pause between two.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// A cluster of real processes on this machine.
pub struct Cluster {
    builder: Builder,
    masters: Vec<Process>,
    volumes: Vec<Process>,
    /// Masters that entered the running cluster, and at whose peer address they ask to.
    joining: BTreeMap<u32, SocketAddr>,
    /// What others are told to dial instead of a process's own peer address.
    advertised: BTreeMap<(Role, u32), SocketAddr>,
    dir: PathBuf,
    /// Set by [`Cluster::close`]; held while a process is spawned, so that none slips past it.
    closed: Mutex<bool>,
    /// Declared last: removed after the processes have ended.
    _temporary: Option<TempDir>,
}

impl Cluster {
    /// A cluster of this binary; 3 masters and 4 volumes unless said otherwise.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder::new(binary.into())
    }

    pub(crate) fn from_builder(builder: Builder) -> Result<Self, Error> {
        if !builder.binary.is_file() {
            return Err(Error::NoBinary { path: builder.binary });
        }
        let (dir, temporary) = match &builder.dir {
            Some(dir) => (dir.clone(), None),
            None => {
                let temporary = TempDir::with_prefix("hayrick-")
                    .map_err(|source| Error::File { path: std::env::temp_dir(), source })?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let masters = Vec::new();
        let mut cluster = Self {
            builder,
            masters,
            volumes: Vec::new(),
            joining: BTreeMap::new(),
            advertised: BTreeMap::new(),
            dir,
            closed: Mutex::new(false),
            _temporary: temporary,
        };
        cluster.lay_out()?;
        Ok(cluster)
    }

    /// Starts every process and waits for all `listening:` lines; with other ports if somebody took one meanwhile.
    ///
    /// # Errors
    /// When one cannot be started or does not listen.
    pub fn start(&mut self) -> Result<(), Error> {
        let may_move = self.builder.base_port.is_none() && self.advertised.is_empty();
        let mut attempt = 1;
        loop {
            match self.start_all() {
                Err(error) if may_move && attempt < START_ATTEMPTS && error.is_port_taken() => {
                    self.lay_out()?
                }
                other => return other,
            }
            attempt += 1;
        }
    }

    /// Starts every process that does not run, on its own ports, and waits for all `listening:` lines. Volumes that never
    /// ran start one after the other, so that they get their ids in order. A master that was removed stays as it is.
    ///
    /// # Errors
    /// When one cannot be started or does not listen, or after [`Cluster::close`]; the others run on.
    pub fn start_all(&self) -> Result<(), Error> {
        let is_due = |process: &&Process| !process.is_running() && !process.is_removed();
        let stopped: Vec<&Process> = self.processes().filter(is_due).collect();
        let is_new = |process: &Process| process.role() == Role::Volume && !process.data_dir().exists();
        let (new, known): (Vec<_>, Vec<_>) = stopped.into_iter().partition(|process| is_new(process));
        // All at once: no volume listens before it has met the masters.
        for process in &known {
            self.spawn(process)?;
        }
        for process in &new {
            self.spawn(process)?;
            process.wait_listening(self.builder.start_timeout)?;
        }
        known.iter().try_for_each(|process| match process.wait_listening(self.builder.start_timeout) {
            // It was just told so.
            Err(Error::Ended { .. }) if process.is_removed() => Ok(()),
            listening => listening,
        })
    }

    fn spawn(&self, process: &Process) -> Result<(), Error> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(Error::Closed { name: process.name() });
        }
        process.spawn()
    }

    /// Makes the processes anew, on other ports and with the settings they had; whatever ran is ended.
    fn lay_out(&mut self) -> Result<(), Error> {
        let make = |role, count| (1..=count).map(move |number| (role, number));
        let build = |(role, number)| -> Result<Process, Error> {
            let process = self.builder.process(&self.dir, role, number)?;
            let former = match role {
                Role::Master => &self.masters,
                Role::Volume => &self.volumes,
            };
            if let Some(former) = former.get(number as usize - 1) {
                process.lock().take_settings_of(&former.lock());
            }
            Ok(process)
        };
        let masters = make(Role::Master, self.builder.masters).map(build).collect::<Result<_, _>>()?;
        let volumes = make(Role::Volume, self.builder.volumes).map(build).collect::<Result<_, _>>()?;
        (self.masters, self.volumes) = (masters, volumes);
        self.write_args();
        Ok(())
    }

    /// Tells everybody of everybody: flags as in cli.md.
    fn write_args(&self) {
        let peers = self.masters_flag();
        for master in &self.masters {
            let mut args = match self.joining.get(&master.number) {
                Some(at) => args_with(master, "--join", &at.to_string()),
                None => args_with(master, "--masters", &peers),
            };
            args.extend(["--id".into(), master.number.to_string().into()]);
            args.extend(self.advertise_args(master));
            master.lock().args = args;
        }
        for volume in &self.volumes {
            let mut args = args_with(volume, "--masters", &peers);
            args.extend(["--segment-size".into(), self.builder.segment_size.clone().into()]);
            args.extend(self.advertise_args(volume));
            volume.lock().args = args;
        }
    }

    fn advertise_args(&self, process: &Process) -> Vec<OsString> {
        match self.advertised.get(&(process.role, process.number)) {
            Some(addr) => vec!["--peer-advertise".into(), addr.to_string().into()],
            None => Vec::new(),
        }
    }

    /// Where others reach the peer port of a process.
    fn peer_of(&self, process: &Process) -> SocketAddr {
        self.advertised.get(&(process.role, process.number)).copied().unwrap_or(process.peer)
    }

    /// The value of `--masters`: `1=HOST:PORT,2=…`, as others reach them; those that formed the cluster.
    pub fn masters_flag(&self) -> String {
        let entry = |master: &Process| format!("{}={}", master.number, self.peer_of(master));
        let first = self.masters.iter().filter(|master| !self.joining.contains_key(&master.number));
        first.map(entry).collect::<Vec<_>>().join(",")
    }

    /// Makes others dial `addr` for the peer port of a process, where somebody has put a proxy. Before its first start.
    pub fn advertise_peer(&mut self, role: Role, number: u32, addr: SocketAddr) {
        self.advertised.insert((role, number), addr);
        self.write_args();
    }

    /// Lays out one more master, with the next id, that enters the running cluster by asking master `at`; not yet started:
    /// `.start()` it.
    ///
    /// # Errors
    /// When no port is free.
    pub fn add_master(&mut self, at: u32) -> Result<&Process, Error> {
        let number = u32::try_from(self.masters.len()).expect("a handful") + 1;
        let master = self.builder.process(&self.dir, Role::Master, number)?;
        let at = self.peer_of(self.master(at));
        self.joining.insert(number, at);
        self.masters.push(master);
        self.write_args();
        Ok(self.master(number))
    }

    /// Lays out one more volume, not yet started: `.start()` it.
    ///
    /// # Errors
    /// When no port is free.
    pub fn add_volume(&mut self) -> Result<&Process, Error> {
        let number = u32::try_from(self.volumes.len()).expect("a handful") + 1;
        let volume = self.builder.process(&self.dir, Role::Volume, number)?;
        self.volumes.push(volume);
        self.write_args();
        Ok(self.volume(number))
    }

    /// Lays out a volume that is not part of the cluster's own, at the addresses of volume `number` and with a data
    /// directory of its own: what happens when somebody replaces a disk and nothing else.
    ///
    /// # Errors
    /// None today; kept for what may need a port later.
    pub fn impostor_of(&self, number: u32) -> Result<Process, Error> {
        let original = self.volume(number);
        let mut impostor = self.builder.process(&self.dir, Role::Volume, number)?;
        impostor.http = original.http;
        impostor.peer = original.peer;
        impostor.data_dir = self.dir.join(format!("volume-{number}-impostor"));
        impostor.log_path = self.dir.join("logs").join(format!("volume-{number}-impostor.log"));
        let mut args = args_with(&impostor, "--masters", &self.masters_flag());
        args.extend(["--segment-size".into(), self.builder.segment_size.clone().into()]);
        impostor.lock().args = args;
        Ok(impostor)
    }

    /// Waits until every running master says that it can serve (`GET /-/ready` answers 200).
    ///
    /// # Errors
    /// When one ends, or the time is over; the error shows its last answer.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = Deadline::after(timeout);
        self.masters
            .iter()
            .filter(|master| master.is_running())
            .try_for_each(|master| wait_ready(master, deadline))
    }

    /// Master `id`, from 1.
    ///
    /// # Panics
    /// When there is no such master: a mistake of the caller.
    pub fn master(&self, id: u32) -> &Process {
        &self.masters[id as usize - 1]
    }

    /// Volume `number`, from 1: the launcher's number, not the id that the cluster gave it.
    ///
    /// # Panics
    /// When there is no such volume: a mistake of the caller.
    pub fn volume(&self, number: u32) -> &Process {
        &self.volumes[number as usize - 1]
    }

    /// All masters.
    pub fn masters(&self) -> &[Process] {
        &self.masters
    }

    /// All volumes.
    pub fn volumes(&self) -> &[Process] {
        &self.volumes
    }

    /// All processes, masters first.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.masters.iter().chain(&self.volumes)
    }

    /// The client addresses of all masters.
    pub fn client_addrs(&self) -> Vec<SocketAddr> {
        self.masters.iter().map(Process::http_addr).collect()
    }

    /// The first port of its layout that somebody else has, and the process that wants it. Before anything is started.
    pub fn taken_port(&self) -> Option<(&Process, u16)> {
        let mut wanted = self
            .processes()
            .flat_map(|process| [process.http, process.peer].map(|addr| (process, addr.port())));
        wanted.find(|(_, port)| !is_free(*port))
    }

    /// Where data and logs lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills every running process at once.
    ///
    /// # Errors
    /// When a signal cannot be sent.
    pub fn kill_all(&self) -> Result<(), Error> {
        crate::kill_at_once(self.processes())
    }

    /// From now on nothing is started any more, not even by a [`Cluster::start_all`] that is at work. Before stopping
    /// for good.
    pub fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Asks every running process to stop, all at the same time, and waits until they have.
    ///
    /// # Errors
    /// When one does not stop in time.
    pub fn stop_all(&self) -> Result<(), Error> {
        let running: Vec<&Process> = self.processes().filter(|process| process.is_running()).collect();
        for process in &running {
            match process.terminate() {
                Ok(()) | Err(Error::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        running.iter().try_for_each(|process| process.wait_ended(process.stop_timeout).map(drop))
    }
}

/// What every server is told: where it lies and listens, and by `flag` where the masters are.
fn args_with(process: &Process, flag: &str, masters: &str) -> Vec<OsString> {
    vec![
        "--data".into(),
        process.data_dir.clone().into(),
        "--listen".into(),
        process.http.to_string().into(),
        "--peer-listen".into(),
        process.peer.to_string().into(),
        flag.into(),
        masters.into(),
    ]
}

fn wait_ready(master: &Process, deadline: Deadline) -> Result<(), Error> {
    // Nobody sends: receiving is how a plain thread pauses.
    let (_keep, pause) = mpsc::channel::<()>();
    let mut last = "no answer yet".to_owned();
    while let Some(left) = deadline.remaining() {
        match http_status(master.http, "/-/ready", left.min(PROBE_TIMEOUT)) {
            Ok((200, _)) => return Ok(()),
            Ok((status, body)) => last = format!("{status} {body}"),
            Err(error) => last = error.to_string(),
        }
        if let Some(status) = master.exit_status() {
            return Err(Error::Ended { name: master.name(), status, tail: master.log_tail() });
        }
        let _ = pause.recv_timeout(PROBE_PAUSE);
    }
    Err(Error::NotReady { name: master.name(), after: deadline.allowed(), answer: last })
}
