//! The mixes: which faults come together, in what cluster, and what a run of each must have reached to prove anything.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::faults::Kind;

/// Flags and their values.
pub(crate) type Flags = &'static [(&'static str, &'static str)];

/// A named mix of faults.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// The faults that are drawn, each as often as it stands here.
    pub kinds: &'static [Kind],
    /// So many at a time, at most.
    pub together: usize,
    /// Peace between two faults, in seconds: drawn from this range.
    pub peace: (f64, f64),
    /// Whether a kill is a power cut: what was not synced is lost. Only with the build for chaos tests.
    pub power: bool,
    /// How long faults last, in seconds: drawn from this range; without it, as is usual for each.
    pub lasts: Option<(f64, f64)>,
    /// Bits that flip at a time, where some do: drawn from this range.
    pub flips: (u32, u32),
    /// Flags of the masters, over those that all mixes have.
    pub master_flags: Flags,
    /// `--segment-size` of the volumes.
    pub segment_size: &'static str,
    /// What must have been reached, by the names of counters.
    pub must_reach: &'static [&'static str],
    /// What must have been reached, too, by a run that is long enough for what is rare: [`RARE_AFTER`].
    pub must_reach_late: &'static [&'static str],
}

/// A run that is broken for so long must have reached what is rare.
pub(crate) const RARE_AFTER: Duration = Duration::from_secs(60);
/// The counter of what only a power cut leaves.
pub(crate) const TORN_TAILS: &str = "disk_cut_tails";
impl Mix {
    /// Whether little is left of it in a build that cannot break its disk.
    pub fn needs_chaos_build(&self) -> bool {
        2 * self.kinds.iter().filter(|kind| kind.needs_chaos_build()).count() > self.kinds.len()
    }
}

const FLIPS: (u32, u32) = (1, 40);
const PEACE: (f64, f64) = (0.5, 2.5);
/// A request outlives the epoch in which it began.
pub(crate) const LONG_REQUESTS: Flags =
    &[("--request-timeout", "6s"), ("--reap-after", "12s"), ("--fence-after", "2s")];
/// So small that segments are sealed and compacted within minutes.
const SEGMENT_SIZE: &str = "4MiB";

pub(crate) const fn mix(
    name: &'static str,
    about: &'static str,
    kinds: &'static [Kind],
    must_reach: &'static [&'static str],
) -> Mix {
    Mix {
        name,
        about,
        kinds,
        together: 1,
        peace: PEACE,
        power: false,
        lasts: None,
        flips: FLIPS,
        master_flags: &[],
        segment_size: SEGMENT_SIZE,
        must_reach,
        must_reach_late: &[],
    }
}

pub(crate) const fn powered(mut mix: Mix) -> Mix {
    mix.power = true;
    mix
}

pub(crate) const fn with_flags(mut mix: Mix, flags: Flags) -> Mix {
    mix.master_flags = flags;
    mix
}

const fn late(mut mix: Mix, must_reach: &'static [&'static str]) -> Mix {
    mix.must_reach_late = must_reach;
    mix
}

pub(crate) const fn together(mut mix: Mix, together: usize) -> Mix {
    mix.together = together;
    mix
}

/// All there are.
pub static ALL: [Mix; 24] = [
    late(
        mix(
            "leader-kills",
            "The leader is killed, again and again.",
            &[Kind::KillLeader],
            &["elections", "gateway_repeated_commits"],
        ),
        &["apply_repeated_commands"],
    ),
    mix(
        "master-kills",
        "Any master is killed, and those that missed something stand for election.",
        &[Kind::KillMaster, Kind::KillLeader, Kind::StaleCandidate],
        &["elections", "gateway_repeated_commits"],
    ),
    mix(
        "volume-kills",
        "Volumes are killed, one by one and all at once.",
        &[Kind::KillVolume, Kind::KillVolume, Kind::KillVolumes],
        &["leader_suspected_volumes", "gateway_failed_over_reads"],
    ),
    mix(
        "majority-kills",
        "All masters but one are killed at once.",
        &[Kind::KillMajority],
        &["elections", "unknown_outcomes"],
    ),
    powered(mix(
        "total-kills",
        "Everything is killed at once; in the build for chaos tests as by a power cut.",
        &[Kind::KillAll],
        &["elections", "unknown_outcomes"],
    )),
    mix(
        "leader-pauses",
        "The leader stands still for longer than an election takes.",
        &[Kind::StopLeader],
        &["elections", "gateway_repeated_commits"],
    ),
    with_flags(
        mix(
            "gateway-pauses",
            "Masters stand still in the middle of requests, some for longer than their epoch lasts.",
            &[Kind::StopGateway, Kind::StopGateway, Kind::StaleGateway],
            &["leader_fenced_epochs", "apply_fenced_commands"],
        ),
        LONG_REQUESTS,
    ),
    mix(
        "volume-pauses",
        "Volumes stand still.",
        &[Kind::StopVolume],
        &["leader_downed_volumes", "gateway_redone_drafts"],
    ),
    mix(
        "one-way-cuts",
        "The leader is not heard, or hears nobody.",
        &[Kind::CutFromLeader, Kind::CutToLeader],
        &["elections", "rpc_timed_out_calls"],
    ),
    mix(
        "leader-cut-off",
        "The leader and the other masters, or a master and everybody else, do not hear of each other.",
        &[Kind::CutLeader, Kind::CutLeader, Kind::IsolateMaster],
        &["elections", "gateway_repeated_commits"],
    ),
    mix(
        "bridges",
        "Two masters do not hear of each other, the third hears both.",
        &[Kind::CutBridge],
        &["rpc_timed_out_calls"],
    ),
    with_flags(
        late(
            mix(
                "gateway-volume-cuts",
                "A master does not hear of a volume, or of the other masters.",
                &[Kind::CutGatewayVolume, Kind::CutGatewayVolume, Kind::CutGateway],
                &["rpc_timed_out_calls"],
            ),
            &["gateway_handed_over_requests"],
        ),
        // A request is handed over when a second volume in turn was waited for in vain.
        &[("--request-timeout", "5s"), ("--reap-after", "10s")],
    ),
    mix(
        "volume-cuts",
        "A volume is cut off, or volumes do not hear of each other.",
        &[Kind::CutVolume, Kind::CutVolume, Kind::CutVolumes],
        &["leader_downed_volumes", "apply_stale_placements"],
    ),
    mix(
        "slow-links",
        "Everything comes late, or through a narrow line.",
        &[Kind::SlowLinks, Kind::NarrowLinks],
        &["gateway_failed_over_reads"],
    ),
    mix(
        "torn-links",
        "Connections break in the middle of messages.",
        &[Kind::TearLinks],
        &["torn_connections"],
    ),
    mix(
        "rolling-restarts",
        "Everything is restarted in turn, and leadership handed over.",
        &[Kind::RollingRestart, Kind::TransferLeader],
        &["elections", "gateway_redone_drafts"],
    ),
    with_flags(
        mix(
            "master-changes",
            "Masters are replaced by new ones while leaders die.",
            &[Kind::ReplaceMaster, Kind::KillLeader, Kind::TransferLeader],
            &["elections", "raft_snapshots_installed"],
        ),
        &[("--snapshot-after", "200"), ("--log-keep", "50")],
    ),
    mix(
        "volume-changes",
        "Volumes come, are drained, and lose their disks.",
        &[Kind::DrainVolume, Kind::WipeVolume, Kind::KillVolume],
        &["leader_repaired_placements", "volume_pulled_needles"],
    ),
    mix(
        "wrong-disks",
        "Masters come back with an empty disk, or with an older one.",
        &[Kind::WipeMaster, Kind::RollBackMaster],
        &["strange_masters"],
    ),
    mix(
        "flipped-bits",
        "Bits flip in the files of volumes and masters.",
        &[Kind::FlipSegment, Kind::FlipSegment, Kind::FlipSegment, Kind::FlipIndex],
        &["volume_damaged_needles"],
    ),
    powered(together(
        late(
            mix(
                "power-cuts",
                "Processes are killed, and what they had not synced is lost.",
                &[Kind::KillAll, Kind::KillMaster, Kind::KillVolume, Kind::KillMajority, Kind::KillMidWrite],
                &["elections"],
            ),
            &[TORN_TAILS],
        ),
        2,
    )),
    powered(together(
        late(
            mix(
                "bad-disks",
                "Disks fail, are slow, full, or hang, and servers lose power.",
                &[
                    Kind::FailSyncs,
                    Kind::FailSyncs,
                    Kind::FailWrites,
                    Kind::FailReads,
                    Kind::SlowDisk,
                    Kind::FullDisk,
                    Kind::FullDisks,
                    Kind::HangDisk,
                    Kind::KillMaster,
                    Kind::KillVolume,
                ],
                &["gateway_redone_drafts"],
            ),
            &["volume_refused_full_appends", "leader_downed_volumes"],
        ),
        2,
    )),
    mix(
        "wrong-clocks",
        "Processes come back with clocks that are wrong by up to an hour.",
        &[Kind::ShiftClock],
        &[],
    ),
    together(
        late(
            mix(
                "everything",
                "Up to three of all these at a time.",
                &[
                    Kind::KillLeader,
                    Kind::KillVolume,
                    Kind::KillAll,
                    Kind::StopLeader,
                    Kind::StopGateway,
                    Kind::StopVolume,
                    Kind::CutFromLeader,
                    Kind::CutLeader,
                    Kind::CutBridge,
                    Kind::CutVolume,
                    Kind::CutGatewayVolume,
                    Kind::SlowLinks,
                    Kind::TearLinks,
                    Kind::SlowDisk,
                    Kind::TransferLeader,
                    Kind::WipeVolume,
                ],
                &["elections"],
            ),
            &[
                "gateway_repeated_commits",
                "apply_stale_placements",
                "leader_repaired_placements",
                "torn_connections",
            ],
        ),
        3,
    ),
];

/// All of them, in an order drawn from the seed.
pub fn shuffled(seed: u64) -> Vec<&'static Mix> {
    let mut all: Vec<&'static Mix> = ALL.iter().collect();
    all.shuffle(&mut StdRng::seed_from_u64(seed));
    all
}

/// The mix of this name.
pub fn named(name: &str) -> Option<&'static Mix> {
    ALL.iter().find(|mix| mix.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_must_be_reached_is_counted_by_somebody() {
        let counters = include_str!("../../docs/metrics.md");
        let own = ["elections", "unknown_outcomes", "torn_connections", "strange_masters"];
        let counted =
            |name: &str| own.contains(&name) || counters.contains(&format!("`hayrick_{name}_total`"));
        for mix in &ALL {
            let names = mix.must_reach.iter().chain(mix.must_reach_late);
            let unknown: Vec<_> = names.filter(|name| !counted(name)).collect();
            assert!(unknown.is_empty(), "{}: {unknown:?}", mix.name);
        }
    }

    #[test]
    fn each_mix_has_a_name_of_its_own_and_every_kind_is_in_one() {
        let names: BTreeSet<&str> = ALL.iter().map(|mix| mix.name).collect();
        assert_eq!(names.len(), ALL.len());
        let used: BTreeSet<Kind> = ALL.iter().flat_map(|mix| mix.kinds).copied().collect();
        let unused: Vec<&Kind> = Kind::ALL.iter().filter(|kind| !used.contains(kind)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
