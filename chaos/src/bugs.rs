//! Which mix of faults should show each planted bug.
//!
//! The bugs are in the product (`planted/`), built in only by the feature `chaos`; this is the table of what must find each.
//! A harness that finds all of them, and nothing in the same runs without them, can be believed when it finds nothing.

use crate::faults::Kind;
use crate::mixes::{Mix, mix, powered, together, with_flags};

/// A planted bug, and the runs that should catch it.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// What `HAYRICK_BUG` calls it.
    pub bug: &'static str,
    /// The faults that make it show.
    pub mix: &'static Mix,
    /// How long these go on, in seconds.
    pub seconds: u64,
    /// How long, in seconds, whatever has to come to an end by itself may take once all is mended, with the bug or without.
    pub patience: u64,
}

const fn planted_in(mix: &'static Mix, bug: &'static str) -> Planted {
    Planted { bug, mix, seconds: SECONDS, patience: PATIENCE }
}

/// What needs a leader of some standing needs longer.
const fn planted_long(mix: &'static Mix, bug: &'static str, seconds: u64, patience: u64) -> Planted {
    Planted { bug, mix, seconds, patience }
}

/// Long enough for some ten faults.
const SECONDS: u64 = 16;
/// A healthy cluster needs a third of it on a quiet machine; what former members of placements hold goes last.
const PATIENCE: u64 = 30;

/// A master needs a snapshot after it was away for a second or two. (While one stands still, what is on the way to it keeps the
/// leader's log from being purged.)
const SNAPSHOTS: &[(&str, &str)] = &[("--snapshot-after", "100"), ("--log-keep", "20")];
/// A request outlives the death of a volume and the making of new copies.
const LONG_REQUESTS: &[(&str, &str)] = &[
    ("--request-timeout", "6s"),
    ("--reap-after", "12s"),
    ("--repair-after", "1s"),
    ("--partitions", "4096"),
];
const QUICK_REPAIR: &[(&str, &str)] = &[("--repair-after", "500ms")];

const fn lasting(mut mix: Mix, seconds: (f64, f64)) -> Mix {
    mix.lasts = Some(seconds);
    mix
}

/// One fault soon after the other.
const fn quick(mut mix: Mix) -> Mix {
    mix.peace = (0.1, 0.7);
    mix
}

/// With time between two faults in which the cluster goes on.
const fn slow(mut mix: Mix) -> Mix {
    mix.peace = (1.5, 3.5);
    mix
}

const fn flipping(mut mix: Mix, bits: (u32, u32)) -> Mix {
    mix.flips = bits;
    mix
}

const fn segments(mut mix: Mix, size: &'static str) -> Mix {
    mix.segment_size = size;
    mix
}

static POWER_CUTS: Mix = powered(together(
    mix(
        "power-cuts-of-all",
        "Everything, all volumes, or most masters are killed, and what was not synced is lost.",
        &[Kind::KillAll, Kind::KillVolumes, Kind::KillMajority],
        &[],
    ),
    1,
));
static FAILING_SYNCS: Mix = powered(together(
    mix(
        "failing-syncs",
        "Syncs fail, and then the power.",
        &[Kind::FailSyncs, Kind::FailSyncs, Kind::FailSyncs, Kind::KillVolumes, Kind::KillMajority],
        &[],
    ),
    3,
));
static TORN_TAILS: Mix = powered(lasting(
    quick(mix(
        "torn-tails",
        "Servers are killed in the middle of slow writes, of which a part is lost.",
        &[Kind::KillMidWrite],
        &[],
    )),
    (0.1, 0.5),
));
static LOST_VOTES: Mix = powered(together(
    mix(
        "lost-votes",
        "Leaders are killed, and others just after they voted, by power cuts.",
        &[Kind::KillLeader, Kind::KillLeader, Kind::KillMajority],
        &[],
    ),
    2,
));
static STALE_CANDIDATES: Mix = quick(mix(
    "stale-candidates",
    "Masters that missed something stand for election when the leader dies.",
    &[Kind::StaleCandidate],
    &[],
));
static STALE_LEADERS: Mix = mix(
    "stale-leaders",
    "The leader and the other masters do not hear of each other, or it stands still until there is another, and goes on.",
    &[Kind::CutLeader, Kind::CutLeader, Kind::StopLeader],
    &[],
);
static GATEWAY_CUTS: Mix = mix(
    "gateway-cuts",
    "A master that does not lead and the other masters do not hear of each other.",
    &[Kind::CutGateway],
    &[],
);
static LATE_GATEWAYS: Mix = with_flags(
    lasting(
        mix(
            "late-gateways",
            "Masters stand still in the middle of requests that last longer than that.",
            &[Kind::StopGateway],
            &[],
        ),
        (3.0, 3.9),
    ),
    &[("--request-timeout", "4s"), ("--reap-after", "8s"), ("--fence-after", "1s")],
);
static STALE_TABLES: Mix = with_flags(
    quick(mix(
        "stale-tables",
        "Masters stand still while volumes die and others take their place.",
        &[Kind::StaleGateway],
        &[],
    )),
    LONG_REQUESTS,
);
static SNAPSHOTS_NEEDED: Mix = with_flags(
    lasting(
        mix("snapshots-needed", "Masters are away until they need a snapshot.", &[Kind::KillMaster], &[]),
        (0.5, 7.5),
    ),
    SNAPSHOTS,
);
static MASTERS_KILLED: Mix = with_flags(
    mix(
        "masters-killed",
        "Masters are killed under many small snapshots.",
        &[Kind::KillMaster, Kind::KillAll],
        &[],
    ),
    SNAPSHOTS,
);
static PEACE: Mix = mix("peace", "Nothing is broken but one link.", &[Kind::CutGatewayVolume], &[]);
static SWEEPS: Mix = quick(mix(
    "sweeps",
    "Volumes are killed, which makes the leader look for what is nobody's.",
    &[Kind::KillVolume, Kind::KillVolume, Kind::KillVolumes],
    &[],
));
static GATEWAY_KILLS: Mix =
    mix("gateway-kills", "Masters are killed in the middle of requests.", &[Kind::KillMaster], &[]);
static SLOW_VOLUMES: Mix = lasting(
    mix("slow-volumes", "Volumes stand still, too shortly to be judged.", &[Kind::StopVolume], &[]),
    (0.2, 0.9),
);
static ALL_VOLUMES: Mix = mix("all-volumes", "All volumes are killed at once.", &[Kind::KillVolumes], &[]);
static LEADER_DEATHS: Mix = together(
    mix(
        "leader-deaths",
        "The leader is killed, or stands still.",
        &[Kind::KillLeader, Kind::StopLeader],
        &[],
    ),
    1,
);
static QUICK_REPAIRS: Mix = with_flags(
    lasting(
        quick(mix(
            "quick-repairs",
            "Volumes lose their disks, one as soon as the copies of the one before are made anew.",
            &[Kind::WipeVolume],
            &[],
        )),
        (1.2, 1.5),
    ),
    QUICK_REPAIR,
);
static FULL_DISKS: Mix =
    mix("full-disks", "The disks of all volumes are full, and then are not.", &[Kind::FullDisks], &[]);
static COMPACTION_KILLS: Mix = segments(
    slow(mix("compaction-kills", "All volumes are killed while they compact.", &[Kind::KillVolumes], &[])),
    "1MiB",
);
static SMALL_SEGMENTS: Mix =
    segments(mix("small-segments", "Volumes compact all the time.", &[Kind::CutGatewayVolume], &[]), "1MiB");
/// Most of what lies in the files was overwritten since: many bits flip so that some of what is read is hit.
static FLIPS: Mix = with_flags(
    flipping(
        slow(mix("flips", "Many bits flip in the files of a volume.", &[Kind::FlipSegment], &[])),
        (200, 400),
    ),
    &[("--reap-after", "8s")],
);
/// Longer than the pauses between attempts to reach a server take to become longer than service may take to come back.
static LONG_ABSENCE: Mix =
    lasting(mix("long-absence", "Most masters are away for long.", &[Kind::KillMajority], &[]), (7.0, 8.0));
static TORN_ANSWERS: Mix =
    mix("torn-answers", "Connections break while answers are under way.", &[Kind::TearLinks], &[]);

/// All there are.
pub static ALL: &[Planted] = &[
    planted_in(&POWER_CUTS, "skip-sync"),
    planted_in(&FAILING_SYNCS, "retry-failed-sync"),
    planted_in(&FAILING_SYNCS, "failed-write-forgotten"),
    planted_long(&TORN_TAILS, "torn-tail-accepted", 22, PATIENCE),
    planted_in(&LOST_VOTES, "vote-before-durable"),
    planted_long(&STALE_CANDIDATES, "vote-ignores-log", 22, PATIENCE),
    planted_in(&STALE_LEADERS, "read-without-read-index"),
    planted_long(&LATE_GATEWAYS, "epoch-fence-ignored", 18, 20),
    planted_long(&STALE_TABLES, "stale-placement-accepted", 20, 30),
    planted_long(&SNAPSHOTS_NEEDED, "dedupe-dropped-at-snapshot", 16, 25),
    planted_in(&SNAPSHOTS_NEEDED, "deleted-resurrected"),
    planted_in(&SNAPSHOTS_NEEDED, "snapshot-claims-more"),
    planted_in(&MASTERS_KILLED, "log-purged-early"),
    planted_in(&PEACE, "apply-reads-clock"),
    planted_in(&SWEEPS, "orphans-without-fence"),
    planted_in(&GATEWAY_KILLS, "orphans-kept"),
    planted_in(&SLOW_VOLUMES, "ack-two-of-three"),
    planted_in(&GATEWAY_CUTS, "follower-reads-own-state"),
    planted_in(&GATEWAY_CUTS, "list-from-own-state"),
    planted_in(&ALL_VOLUMES, "404-for-lost"),
    planted_in(&PEACE, "condition-at-gateway"),
    planted_in(&LEADER_DEATHS, "definite-failure-took-effect"),
    planted_in(&TORN_ANSWERS, "unknown-committed-anew"),
    planted_in(&LEADER_DEATHS, "delete-acked-before-commit"),
    planted_long(&QUICK_REPAIRS, "repair-without-count", 13, 13),
    planted_in(&PEACE, "reap-before-grace"),
    planted_in(&FULL_DISKS, "full-for-ever"),
    planted_long(&COMPACTION_KILLS, "compact-unlinks-first", SECONDS, 20),
    planted_in(&SMALL_SEGMENTS, "segments-stay-open"),
    planted_long(&FLIPS, "checksum-not-verified", 14, 25),
    planted_long(&LONG_ABSENCE, "reconnects-ever-later", 1, PATIENCE),
];

/// The entry of this bug.
pub fn planted(bug: &str) -> Option<&'static Planted> {
    ALL.iter().find(|planted| planted.bug == bug)
}

/// A mix of faults that is made for bugs, by its name.
pub fn mix_named(name: &str) -> Option<&'static Mix> {
    ALL.iter().map(|planted| planted.mix).find(|mix| mix.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mixes;

    #[test]
    fn no_two_mixes_share_a_name() {
        let for_bugs: BTreeSet<&str> = ALL.iter().map(|planted| planted.mix.name).collect();
        assert!(for_bugs.iter().all(|name| mixes::named(name).is_none()));
        let bugs: BTreeSet<&str> = ALL.iter().map(|planted| planted.bug).collect();
        assert_eq!(bugs.len(), ALL.len());
    }
}
