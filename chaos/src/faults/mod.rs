//! What can be broken, each from `begin` until `end`.
//!
//! A fault is drawn by its kind; whom it hits is drawn too, or follows from who leads at that time. Ending one brings back what
//! it took: after all have ended, every member runs and every link passes.

mod disk;
mod files;
mod membership;
mod network;
mod process;

use std::sync::Arc;

use anyhow::Result;
use hayrick_launcher::Role;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::record;
use crate::relay::Cause;
use crate::scene::{Scene, Server, name};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What it is called.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it does, in one sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

kinds! {
    /// SIGKILL of the leader.
    KillLeader = "kill-leader",
    /// SIGKILL of any master.
    KillMaster = "kill-master",
    /// SIGKILL of a volume.
    KillVolume = "kill-volume",
    /// SIGKILL of all volumes at once.
    KillVolumes = "kill-volumes",
    /// SIGKILL of all masters but one, at once.
    KillMajority = "kill-majority",
    /// SIGKILL of everything at once.
    KillAll = "kill-all",
    /// SIGSTOP of the leader for longer than an election takes.
    StopLeader = "stop-leader",
    /// SIGSTOP of a master that does not lead and has requests under way, for longer than its epoch lasts or not.
    StopGateway = "stop-gateway",
    /// SIGSTOP of a master that does not lead, while a volume dies and others take its place.
    StaleGateway = "stale-gateway",
    /// SIGKILL of the leader, after which a master that missed the last second of writes asks for the vote of one that has them
    /// and comes back just then.
    StaleCandidate = "stale-candidate",
    /// SIGSTOP of a volume.
    StopVolume = "stop-volume",
    /// Nothing that the leader sends reaches the other masters; what they send reaches it.
    CutFromLeader = "cut-from-leader",
    /// Nothing that the other masters send reaches the leader; what it sends arrives.
    CutToLeader = "cut-to-leader",
    /// The leader and the other masters do not hear of each other; volumes hear all.
    CutLeader = "cut-leader",
    /// A master that does not lead and the other masters do not hear of each other; volumes hear all.
    CutGateway = "cut-gateway",
    /// A master and everybody else do not hear of each other.
    IsolateMaster = "isolate-master",
    /// Two masters do not hear of each other, the third hears both.
    CutBridge = "cut-bridge",
    /// A master and a volume do not hear of each other.
    CutGatewayVolume = "cut-gateway-volume",
    /// A volume and everybody else do not hear of each other.
    CutVolume = "cut-volume",
    /// Volumes do not hear of each other.
    CutVolumes = "cut-volumes",
    /// Everything between the servers comes later.
    SlowLinks = "slow-links",
    /// Connections break in the middle of messages.
    TearLinks = "tear-links",
    /// Few bytes a second come through.
    NarrowLinks = "narrow-links",
    /// Writes and syncs of a server take long.
    SlowDisk = "slow-disk",
    /// SIGKILL of a volume, or of all masters at once, in the middle of writes that their disks take long for.
    KillMidWrite = "kill-mid-write",
    /// The disk of a server is full.
    FullDisk = "full-disk",
    /// The disks of all volumes are full.
    FullDisks = "full-disks",
    /// Syncs of a server fail now and then.
    FailSyncs = "fail-syncs",
    /// Writes of a server fail now and then.
    FailWrites = "fail-writes",
    /// Reads of a volume fail now and then.
    FailReads = "fail-reads",
    /// The disk of a server answers nothing.
    HangDisk = "hang-disk",
    /// Bits of a volume's files flip while it is down.
    FlipSegment = "flip-segment",
    /// Bits of a master's files flip while it is down; if it refuses to run, it is replaced.
    FlipIndex = "flip-index",
    /// A volume comes back with an empty disk.
    WipeVolume = "wipe-volume",
    /// A master comes back with an empty disk, and must not be taken for itself; then with its own.
    WipeMaster = "wipe-master",
    /// A master comes back with an older state of its disk, and must not be taken for itself; then with its own.
    RollBackMaster = "roll-back-master",
    /// Every process is stopped in order and started again.
    RollingRestart = "rolling-restart",
    /// Leadership is handed to another master.
    TransferLeader = "transfer-leader",
    /// A master is removed for good, and a new one enters.
    ReplaceMaster = "replace-master",
    /// A volume enters, another is drained, and taken back.
    DrainVolume = "drain-volume",
    /// A process comes back with a clock that is wrong by up to an hour.
    ShiftClock = "shift-clock",
}

impl Kind {
    /// Whether only the build for chaos tests can do it.
    pub const fn needs_chaos_build(self) -> bool {
        matches!(
            self,
            Self::SlowDisk
                | Self::KillMidWrite
                | Self::FullDisk
                | Self::FullDisks
                | Self::FailSyncs
                | Self::FailWrites
                | Self::FailReads
                | Self::HangDisk
        )
    }

    /// How long it lasts, in seconds: drawn from this range.
    pub(crate) const fn lasts(self) -> (f64, f64) {
        match self {
            Self::KillLeader | Self::KillMaster | Self::KillVolume => (0.2, 3.0),
            Self::KillMajority | Self::KillAll | Self::KillVolumes | Self::KillMidWrite => (0.1, 1.5),
            Self::StaleCandidate | Self::StaleGateway => (0.2, 1.5),
            Self::StopLeader => (1.5, 4.0),
            Self::StopGateway => (2.0, 9.0),
            Self::FlipSegment | Self::FlipIndex => (0.2, 1.0),
            // Long enough to come back and to serve.
            Self::ShiftClock => (2.0, 6.0),
            // They last as long as they take.
            Self::WipeMaster
            | Self::RollBackMaster
            | Self::RollingRestart
            | Self::TransferLeader
            | Self::ReplaceMaster
            | Self::DrainVolume => (0.0, 0.2),
            _ => (1.0, 5.0),
        }
    }
}

/// A fault that is there now.
pub(crate) struct Running {
    kind: Kind,
    what: String,
    from: crate::history::Moment,
    undo: Undo,
}

/// How what was broken is made well again.
enum Undo {
    /// Nothing is left to do.
    Nothing,
    /// Start these.
    Start(Vec<Server>),
    /// Let these go on.
    Resume(Vec<Server>),
    /// Let through what this one held, slowed or tore.
    Links(Cause),
    /// Well disks for these, and a new start for those that gave up.
    Disks(Vec<Server>),
    /// A well disk and a new start for this one: a volume whose write failed takes no more until somebody has looked at it.
    NewStart(Server),
    /// What came back with a wrong clock comes back with the right one.
    Clocks(Vec<Server>),
}

/// What a fault did, and how to undo it.
type Begun = (String, Undo);

/// Breaks something; none where this kind finds nothing to break now.
pub(crate) async fn begin(scene: &Arc<Scene>, kind: Kind, rng: &mut StdRng) -> Result<Option<Running>> {
    let from = scene.clock.now();
    let begun = match kind {
        Kind::KillLeader
        | Kind::KillMaster
        | Kind::KillVolume
        | Kind::KillVolumes
        | Kind::KillMajority
        | Kind::KillAll
        | Kind::StopLeader
        | Kind::StopGateway
        | Kind::StopVolume
        | Kind::StaleGateway
        | Kind::RollingRestart
        | Kind::ShiftClock => process::begin(scene, kind, rng).await?,
        Kind::StaleCandidate => network::stale_candidate(scene, rng).await?,
        Kind::CutFromLeader
        | Kind::CutToLeader
        | Kind::CutLeader
        | Kind::CutGateway
        | Kind::IsolateMaster
        | Kind::CutBridge
        | Kind::CutGatewayVolume
        | Kind::CutVolume
        | Kind::CutVolumes
        | Kind::SlowLinks
        | Kind::TearLinks
        | Kind::NarrowLinks => network::begin(scene, kind, rng).await,
        Kind::SlowDisk
        | Kind::KillMidWrite
        | Kind::FullDisk
        | Kind::FullDisks
        | Kind::FailSyncs
        | Kind::FailWrites
        | Kind::FailReads
        | Kind::HangDisk => disk::begin(scene, kind, rng).await?,
        Kind::FlipSegment | Kind::FlipIndex | Kind::WipeVolume | Kind::WipeMaster | Kind::RollBackMaster => {
            files::begin(scene, kind, rng).await?
        }
        Kind::TransferLeader | Kind::ReplaceMaster | Kind::DrainVolume => {
            membership::begin(scene, kind, rng).await?
        }
    };
    Ok(begun.map(|(what, undo)| Running { kind, what, from, undo }))
}

impl Running {
    /// `kill-leader: master-2`
    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.kind.name(), self.what)
    }

    /// Undoes it, and notes that it was.
    pub(crate) async fn end(self, scene: &Arc<Scene>) -> Result<()> {
        match self.undo {
            Undo::Nothing => {}
            Undo::Start(servers) => servers.into_iter().try_for_each(|server| scene.spawn(server))?,
            Undo::Resume(servers) => servers.into_iter().try_for_each(|server| scene.resume(server))?,
            Undo::Links(cause) => scene.links.end(cause),
            Undo::Disks(servers) => disk::end(scene, servers).await?,
            Undo::NewStart(server) => disk::start_anew(scene, server)?,
            Undo::Clocks(servers) => process::right_clocks(scene, servers)?,
        }
        scene.note_fault(record::Fault {
            kind: self.kind.name().to_owned(),
            what: self.what,
            from: self.from,
            to: scene.clock.now(),
        });
        Ok(())
    }
}

/// A running member of a role, by lot.
fn any(scene: &Scene, role: Role, rng: &mut StdRng) -> Option<Server> {
    let running: Vec<Server> = running(scene, role);
    running.choose(rng).copied()
}

/// Running members of a role, in an order by lot.
fn shuffled(scene: &Scene, role: Role, rng: &mut StdRng) -> Vec<Server> {
    let mut running = running(scene, role);
    running.shuffle(rng);
    running
}

fn running(scene: &Scene, role: Role) -> Vec<Server> {
    let members = scene.members(role).into_iter().map(|number| (role, number));
    members.filter(|server| scene.process(*server).is_running()).collect()
}

/// The leader, if it is known and runs.
async fn leader(scene: &Scene) -> Option<Server> {
    let leader = (Role::Master, scene.leader().await?);
    scene.process(leader).is_running().then_some(leader)
}

/// A running master that does not lead, by lot.
async fn follower(scene: &Scene, rng: &mut StdRng) -> Option<Server> {
    let leader = leader(scene).await?;
    let mut masters = shuffled(scene, Role::Master, rng);
    masters.retain(|master| *master != leader);
    masters.first().copied()
}

fn names(servers: &[Server]) -> String {
    servers.iter().map(|server| name(*server)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_a_name_and_a_sentence_of_its_own() {
        let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.about().ends_with('.') && kind.lasts().0 <= kind.lasts().1));
    }
}
