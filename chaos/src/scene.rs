//! The cluster under test: real processes, a relay on every link, and a note of what each process is at every time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_client::{Client, Status};
use hayrick_launcher::{Cluster, Process, Role};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::record::{Fate, Fault, Life, LifeState, Record, Stranger};
use crate::relay::{Links, Node};

/// How long a new cluster may take to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A master that does not say how it is in this time does not say it.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// Clients give up sooner than people: an outcome that is unknown early is unknown often.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Of a server that is started again and again, to panic each time, more tell nothing.
const PANICS_MAX: usize = 20;
/// Between two looks for a condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// A server by its role and the launcher's number.
pub type Server = (Role, u32);

/// What the cluster shall be.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The binary.
    pub binary: PathBuf,
    /// Whether it is the build that can break its disk and have a bug.
    pub is_chaos: bool,
    /// The bug it shall have.
    pub bug: Option<String>,
    /// Where data and logs go.
    pub dir: PathBuf,
    /// Masters that form the cluster.
    pub masters: u32,
    /// Volumes at the start.
    pub volumes: u32,
    /// Masters and volumes that are laid out and not started.
    pub spare_masters: u32,
    /// See there.
    pub spare_volumes: u32,
    /// Bits that flip at a time.
    pub flips: (u32, u32),
    /// `--segment-size` of the volumes.
    pub segment_size: &'static str,
    /// Flags of every master, and of every volume.
    pub master_flags: Vec<(&'static str, &'static str)>,
    /// See there.
    pub volume_flags: Vec<(&'static str, &'static str)>,
    /// Whether what was not synced is lost when a process is killed.
    pub forget: bool,
    /// From which the relays draw.
    pub seed: u64,
}

/// A running cluster that can be broken.
pub struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) links: Links,
    pub(crate) clock: Clock,
    pub(crate) layout: Layout,
    /// Of each master by its number, a client that asks that one only.
    clients: BTreeMap<u32, Client>,
    /// Where the relay before each server listens.
    peers: BTreeMap<Server, SocketAddr>,
    /// The number that the cluster gave each volume, by the launcher's.
    numbers: Arc<Mutex<BTreeMap<u32, u64>>>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    lives: Vec<Life>,
    faults: Vec<Fault>,
    left_out: BTreeSet<String>,
    strangers: Vec<Stranger>,
    /// Who ought to run once all is well.
    members: BTreeSet<Server>,
    paused: BTreeSet<Server>,
    /// Who was killed and not started since.
    killed: BTreeSet<Server>,
    /// Whose disk is broken.
    bad_disks: BTreeSet<Server>,
    /// Whose disk rots, by role.
    rotten: BTreeMap<Role, Server>,
}

impl Scene {
    /// Starts the cluster and waits until it serves with all volumes.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(layout: Layout, clock: Clock) -> Result<Arc<Self>> {
        let mut builder = Cluster::builder(&layout.binary)
            .masters(layout.masters)
            .volumes(layout.volumes)
            .segment_size(layout.segment_size)
            .dir(&layout.dir)
            .own_process_groups();
        for (flag, value) in &layout.master_flags {
            builder = builder.master_arg(*flag).master_arg(*value);
        }
        for (flag, value) in &layout.volume_flags {
            builder = builder.volume_arg(*flag).volume_arg(*value);
        }
        if let Some(bug) = &layout.bug {
            builder = builder.env("HAYRICK_BUG", bug);
        }
        let mut cluster = builder.build()?;
        for _ in 0..layout.spare_masters {
            cluster.add_master(1)?;
        }
        for _ in 0..layout.spare_volumes {
            cluster.add_volume()?;
        }
        let links = Links::new(layout.seed);
        let numbers = Arc::default();
        let servers: Vec<_> =
            cluster.processes().map(|process| (server_of(process), process.peer_addr())).collect();
        let mut peers = BTreeMap::new();
        for (server, peer) in servers {
            let numbers: Arc<Mutex<_>> = Arc::clone(&numbers);
            let addr = links.before(peer, move || node_of(server, &numbers)).await?;
            cluster.advertise_peer(server.0, server.1, addr);
            peers.insert(server, addr);
        }
        let clients = cluster.masters().iter().map(|master| Ok((master.number(), client(master)?)));
        let clients = clients.collect::<Result<_>>()?;
        let scene = Self { cluster, links, clock, layout, clients, peers, numbers, notes: Mutex::default() };
        scene.wire_disks()?;
        scene.begin().await?;
        Ok(Arc::new(scene))
    }

    async fn begin(&self) -> Result<()> {
        for number in 1..=self.layout.masters {
            self.cluster.master(number).spawn()?;
            self.joined((Role::Master, number));
        }
        for number in 1..=self.layout.masters {
            block_in_place(|| self.cluster.master(number).wait_listening(READY_TIMEOUT))?;
        }
        for number in 1..=self.layout.volumes {
            let volume = self.cluster.volume(number);
            block_in_place(|| volume.start())?;
            self.learn_numbers();
            self.joined((Role::Volume, number));
        }
        let up = self.layout.volumes as usize;
        self.until("the cluster serves with all volumes", READY_TIMEOUT, async || {
            for number in 1..=self.layout.masters {
                let client = &self.clients[&number];
                client.ready().await?;
                let status = client.status().await?;
                let seen = status.volumes.iter().filter(|volume| volume.state == "up").count();
                ensure!(seen == up, "master {number} sees {seen} volumes up");
            }
            Ok(())
        })
        .await
    }

    /// Tells the servers where their disk's faults will be written, if they can have any.
    fn wire_disks(&self) -> Result<()> {
        if !self.layout.is_chaos {
            return Ok(());
        }
        std::fs::create_dir_all(self.layout.dir.join("faults"))?;
        for process in self.cluster.processes() {
            process.set_env("HAYRICK_DISK_FAULTS", self.disk_orders(server_of(process)));
            self.order_disk(server_of(process), "")?;
        }
        Ok(())
    }

    fn disk_orders(&self, server: Server) -> PathBuf {
        self.layout.dir.join("faults").join(format!("{}.toml", name(server)))
    }

    /// Orders the disk of a server to be so, beside what holds for the whole run.
    pub(crate) fn order_disk(&self, server: Server, orders: &str) -> Result<()> {
        let always = match self.layout.forget {
            // Each server draws other sectors, and the same ones with the same seed.
            true => format!("forget = true\ntorn = true\nseed = {}\n", self.seed_of(server)),
            false => String::new(),
        };
        let path = self.disk_orders(server);
        let beside = path.with_extension("new");
        std::fs::write(&beside, format!("{always}{orders}"))?;
        std::fs::rename(&beside, &path).with_context(|| path.display().to_string())?;
        let bad_disks = &mut self.notes().bad_disks;
        if orders.is_empty() {
            bad_disks.remove(&server)
        } else {
            bad_disks.insert(server)
        };
        Ok(())
    }

    fn seed_of(&self, (role, number): Server) -> u64 {
        // Within what a TOML integer holds.
        let seed = self.layout.seed.wrapping_mul(64).wrapping_add(u64::from(number) * 2);
        (seed + u64::from(role == Role::Master)) & (u64::MAX >> 1)
    }

    /// The process of a server.
    pub(crate) fn process(&self, (role, number): Server) -> &Process {
        match role {
            Role::Master => self.cluster.master(number),
            Role::Volume => self.cluster.volume(number),
        }
    }

    /// A client that asks one master only.
    pub(crate) fn client(&self, master: u32) -> &Client {
        &self.clients[&master]
    }

    /// Where others reach a server, through its relay.
    pub(crate) fn peer(&self, server: Server) -> SocketAddr {
        self.peers[&server]
    }

    /// How the links know a server; none while it has no number yet.
    pub(crate) fn node(&self, server: Server) -> Option<Node> {
        match server {
            (Role::Master, number) => Some(Node::Master(number.into())),
            server => self.process(server).server_id().map(|id| Node::Volume(id.into())),
        }
    }

    /// Takes note of the numbers that the cluster gave the volumes: of new ones once they listen, and of those that got
    /// another one with an empty disk.
    pub(crate) fn learn_numbers(&self) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        for volume in self.cluster.volumes() {
            if let Some(id) = volume.server_id() {
                numbers.insert(volume.number(), id.into());
            }
        }
    }

    /// Who ought to run once all is well, of a role.
    pub(crate) fn members(&self, role: Role) -> Vec<u32> {
        let notes = self.notes();
        notes.members.iter().filter(|member| member.0 == role).map(|member| member.1).collect()
    }

    /// From now on this one ought to run.
    pub(crate) fn joined(&self, server: Server) {
        self.notes().members.insert(server);
        self.lives(server, LifeState::Runs);
    }

    /// From now on this one ought not to.
    pub(crate) fn left(&self, server: Server) {
        self.notes().members.remove(&server);
        self.lives(server, LifeState::Dead);
    }

    /// A server that is laid out, and neither a member nor ever was.
    pub(crate) fn spare(&self, role: Role) -> Option<Server> {
        let members = self.members(role);
        let all = match role {
            Role::Master => self.cluster.masters(),
            Role::Volume => self.cluster.volumes(),
        };
        let fresh = |process: &&Process| {
            !members.contains(&process.number()) && !process.data_dir().exists() && !process.is_running()
        };
        all.iter().find(fresh).map(server_of)
    }

    /// Whose disk rots, if somebody's does.
    pub(crate) fn rotten(&self, role: Role) -> Option<Server> {
        self.notes().rotten.get(&role).copied()
    }

    pub(crate) fn rots(&self, server: Server) {
        self.notes().rotten.insert(server.0, server);
    }

    /// Whether a fault of this disk is there now.
    pub(crate) fn has_bad_disk(&self, server: Server) -> bool {
        self.notes().bad_disks.contains(&server)
    }

    /// Whether a server was killed, and nobody has started it since.
    pub(crate) fn is_killed(&self, server: Server) -> bool {
        self.notes().killed.contains(&server)
    }

    /// Whether a server ended by itself.
    pub(crate) fn gave_up(&self, server: Server) -> bool {
        !self.process(server).is_running() && !self.is_killed(server)
    }

    pub(crate) fn kill(&self, server: Server) -> Result<()> {
        self.kill_at_once(&[server])
    }

    /// Kills all of these as a power cut does: none does anything while the next one dies.
    pub(crate) fn kill_at_once(&self, servers: &[Server]) -> Result<()> {
        block_in_place(|| {
            hayrick_launcher::kill_at_once(servers.iter().map(|server| self.process(*server)))
        })?;
        for server in servers {
            self.notes().paused.remove(server);
            self.notes().killed.insert(*server);
            self.lives(*server, LifeState::Dead);
        }
        Ok(())
    }

    /// Starts a server, and waits for nothing.
    pub(crate) fn spawn(&self, server: Server) -> Result<()> {
        match self.process(server).spawn() {
            Err(hayrick_launcher::Error::Running { .. }) => Ok(()),
            Ok(()) => {
                self.notes().killed.remove(&server);
                self.lives(server, LifeState::Runs);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn pause(&self, server: Server) -> Result<()> {
        self.process(server).pause()?;
        self.notes().paused.insert(server);
        self.lives(server, LifeState::Stopped);
        Ok(())
    }

    pub(crate) fn resume(&self, server: Server) -> Result<()> {
        if self.notes().paused.remove(&server) {
            self.process(server).resume()?;
            self.lives(server, LifeState::Runs);
        }
        Ok(())
    }

    /// Starts all that ought to run and does not; whoever went away by itself, too.
    pub(crate) fn start_all(&self) -> Result<()> {
        let members = self.notes().members.clone();
        for server in members.into_iter().filter(|server| !self.process(*server).is_running()) {
            self.spawn(server)?;
        }
        Ok(())
    }

    /// The master that most likely leads: of those that say so, the one of the highest term.
    pub(crate) async fn leader(&self) -> Option<u32> {
        let mut seen = Vec::new();
        for number in self.members(Role::Master) {
            if let Some(status) = self.status(number).await {
                seen.push((status.term, status.leader));
            }
        }
        let leader = seen.into_iter().filter(|(_, leader)| leader.is_some()).max()?.1?;
        u32::try_from(leader).ok()
    }

    /// That every object has all its copies, and every volume is up, as the leader sees it; or what is not so.
    pub(crate) async fn is_whole(&self) -> Result<()> {
        let leader = self.leader().await.context("nobody leads")?;
        let status = self.status(leader).await.context("the leader does not answer")?;
        let volumes = self.members(Role::Volume).len();
        let up = status.volumes.iter().filter(|volume| volume.state == "up").count();
        // More of them: one that lost its disk was let in anew, and nobody has missed the one that it was.
        ensure!(up == volumes, "{up} volumes are up, of {volumes} that run");
        ensure!(status.under_replicated == 0, "{} objects lack copies", status.under_replicated);
        ensure!(status.moves.is_empty(), "{} moves are under way", status.moves.len());
        Ok(())
    }

    /// How a master sees the cluster, if it says so soon.
    pub(crate) async fn status(&self, master: u32) -> Option<Status> {
        timeout(STATUS_TIMEOUT, self.clients[&master].status()).await.ok()?.ok()
    }

    /// Waits until something holds; the error says why it did not at last.
    pub(crate) async fn until(
        &self,
        what: &str,
        patience: Duration,
        mut holds: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut why = anyhow::anyhow!("it was not told");
        loop {
            match timeout(patience.saturating_sub(began.elapsed()), holds()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => why = error,
                // Its last word before tells more.
                Err(_) => {}
            }
            if began.elapsed() >= patience {
                return Err(why.context(format!("not after {} s: {what}", patience.as_secs())));
            }
            sleep(PAUSE).await;
        }
    }

    pub(crate) fn note_fault(&self, fault: Fault) {
        self.notes().faults.push(fault);
    }

    pub(crate) fn leave_out(&self, why: impl Into<String>) {
        self.notes().left_out.insert(why.into());
    }

    /// Notes what became of a master on a disk that was not its own any more.
    pub(crate) fn note_stranger(&self, who: String, fate: Fate) {
        self.notes().strangers.push(Stranger { at: self.clock.now(), who, fate });
    }

    /// How many faults have been undone so far.
    pub(crate) fn faults_so_far(&self) -> usize {
        self.notes().faults.len()
    }

    /// Puts all that was noted into the record.
    pub(crate) fn note_in(&self, record: &mut Record) {
        let notes = self.notes();
        record.lives.clone_from(&notes.lives);
        record.faults.clone_from(&notes.faults);
        record.strangers.clone_from(&notes.strangers);
        record.left_out = notes.left_out.iter().cloned().collect();
    }

    /// Where each process logs.
    pub(crate) fn logs(&self) -> BTreeMap<String, PathBuf> {
        let log = |process: &Process| (name(server_of(process)), process.log_path().to_owned());
        self.cluster.processes().map(log).collect()
    }

    /// The first panics that the processes logged.
    pub(crate) fn panics(&self) -> Vec<String> {
        let mut panics = Vec::new();
        for (name, log) in self.logs() {
            let Ok(log) = std::fs::read(&log) else { continue };
            let text = String::from_utf8_lossy(&log);
            let of_process = text.lines().filter(|line| line.contains("panicked at "));
            panics.extend(of_process.map(|line| format!("{name}: {line}")));
        }
        panics.truncate(PANICS_MAX);
        panics
    }

    fn lives(&self, server: Server, state: LifeState) {
        let life = Life { at: self.clock.now(), process: name(server), state };
        self.notes().lives.push(life);
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `master-2`, as logs and reports call it.
pub(crate) fn name((role, number): Server) -> String {
    format!("{role}-{number}")
}

pub(crate) fn server_of(process: &Process) -> Server {
    (process.role(), process.number())
}

/// How the links know a server; a volume whose number they were not told is volume 0.
fn node_of((role, number): Server, numbers: &Mutex<BTreeMap<u32, u64>>) -> Node {
    match role {
        Role::Master => Node::Master(number.into()),
        Role::Volume => {
            let numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
            Node::Volume(numbers.get(&number).copied().unwrap_or_default())
        }
    }
}

fn client(master: &Process) -> Result<Client> {
    let client = Client::builder([master.http_addr().to_string()])
        .connect_timeout(CONNECT_TIMEOUT)
        .silence_max(SILENCE_MAX)
        // What each master says is what is judged.
        .patience(Duration::ZERO)
        .build()?;
    Ok(client)
}
