//! Which mix of faults should show each planted bug.
//!
//! The bugs are in the product (`planted/`), built in only by the feature `chaos`; this is the table of what must find each.
//! A harness that finds all of them, and nothing in the same runs without them, can be believed when it finds nothing.

use crate::faults::Kind;
use crate::mixes::{Mix, mix, powered, together};

/// A planted bug, and the runs that should catch it.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// What `HAYRICK_BUG` calls it.
    pub bug: &'static str,
    /// The faults that make it show.
    pub mix: &'static Mix,
}

/// Followers need snapshots after a second or two without the leader.
const SNAPSHOTS: &[(&str, &str)] = &[("--snapshot-after", "60"), ("--log-keep", "10")];
/// A request outlives the death of a volume and the making of new copies.
const LONG_REQUESTS: &[(&str, &str)] =
    &[("--request-timeout", "10s"), ("--reap-after", "20s"), ("--repair-after", "1s")];
const QUICK_REPAIR: &[(&str, &str)] = &[("--repair-after", "500ms")];

const fn with_flags(mut mix: Mix, flags: &'static [(&'static str, &'static str)]) -> Mix {
    mix.master_flags = flags;
    mix
}

const fn stretched(mut mix: Mix, times: f64) -> Mix {
    mix.stretch = times;
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
static TORN_TAILS: Mix = powered(mix(
    "torn-tails",
    "Servers are killed again and again, and a part of what was not synced is lost.",
    &[Kind::KillAll, Kind::KillMaster, Kind::KillMajority],
    &[],
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
static LATE_VOTERS: Mix = together(
    mix(
        "late-voters",
        "Masters that missed something come back when the leader dies.",
        &[Kind::StopGateway, Kind::CutGateway, Kind::KillLeader, Kind::KillLeader],
        &[],
    ),
    2,
);
static LEADER_CUTS: Mix = mix(
    "leader-cuts",
    "The leader and the other masters do not hear of each other.",
    &[Kind::CutLeader],
    &[],
);
static GATEWAY_CUTS: Mix = mix(
    "gateway-cuts",
    "A master that does not lead and the other masters do not hear of each other.",
    &[Kind::CutGateway],
    &[],
);
static LATE_GATEWAYS: Mix = with_flags(
    mix(
        "late-gateways",
        "Masters stand still in the middle of requests that last long.",
        &[Kind::StopGateway],
        &[],
    ),
    &[("--request-timeout", "5s"), ("--reap-after", "10s")],
);
static STALE_TABLES: Mix = with_flags(
    together(
        mix(
            "stale-tables",
            "Masters stand still while volumes die and others take their place.",
            &[Kind::StopGateway, Kind::KillVolume],
            &[],
        ),
        2,
    ),
    LONG_REQUESTS,
);
static SNAPSHOTS_NEEDED: Mix = with_flags(
    stretched(
        mix("snapshots-needed", "Masters stand still until they need a snapshot.", &[Kind::StopGateway], &[]),
        0.8,
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
static SWEEPS: Mix = mix(
    "sweeps",
    "Servers are killed, which makes the leader look for what is nobody's.",
    &[Kind::KillVolume, Kind::KillVolume, Kind::KillVolumes],
    &[],
);
static GATEWAY_KILLS: Mix =
    mix("gateway-kills", "Masters are killed in the middle of requests.", &[Kind::KillMaster], &[]);
static SLOW_VOLUMES: Mix = stretched(
    mix("slow-volumes", "Volumes stand still, too shortly to be judged.", &[Kind::StopVolume], &[]),
    0.2,
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
    mix(
        "quick-repairs",
        "Volumes lose their disks, or are away for longer than they are waited for.",
        &[Kind::WipeVolume, Kind::KillVolume],
        &[],
    ),
    QUICK_REPAIR,
);
static FULL_DISKS: Mix =
    mix("full-disks", "The disks of all volumes are full, and then are not.", &[Kind::FullDisks], &[]);
static COMPACTION_KILLS: Mix = segments(
    mix("compaction-kills", "All volumes are killed while they compact.", &[Kind::KillVolumes], &[]),
    "1MiB",
);
static SMALL_SEGMENTS: Mix =
    segments(mix("small-segments", "Volumes compact all the time.", &[Kind::CutGatewayVolume], &[]), "1MiB");
static FLIPS: Mix = mix("flips", "Bits flip in the files of a volume.", &[Kind::FlipSegment], &[]);
static LONG_CUTS: Mix = stretched(
    mix("long-cuts", "Masters are cut off for long.", &[Kind::CutGateway, Kind::CutVolume], &[]),
    4.0,
);

/// All there are.
pub static ALL: &[Planted] = &[
    Planted { bug: "skip-sync", mix: &POWER_CUTS },
    Planted { bug: "retry-failed-sync", mix: &FAILING_SYNCS },
    Planted { bug: "failed-write-forgotten", mix: &FAILING_SYNCS },
    Planted { bug: "torn-tail-accepted", mix: &TORN_TAILS },
    Planted { bug: "vote-before-durable", mix: &LOST_VOTES },
    Planted { bug: "vote-ignores-log", mix: &LATE_VOTERS },
    Planted { bug: "read-without-read-index", mix: &LEADER_CUTS },
    Planted { bug: "epoch-fence-ignored", mix: &LATE_GATEWAYS },
    Planted { bug: "stale-placement-accepted", mix: &STALE_TABLES },
    Planted { bug: "dedupe-dropped-at-snapshot", mix: &SNAPSHOTS_NEEDED },
    Planted { bug: "deleted-resurrected", mix: &SNAPSHOTS_NEEDED },
    Planted { bug: "snapshot-claims-more", mix: &SNAPSHOTS_NEEDED },
    Planted { bug: "log-purged-early", mix: &MASTERS_KILLED },
    Planted { bug: "apply-reads-clock", mix: &PEACE },
    Planted { bug: "orphans-without-fence", mix: &SWEEPS },
    Planted { bug: "orphans-kept", mix: &GATEWAY_KILLS },
    Planted { bug: "ack-two-of-three", mix: &SLOW_VOLUMES },
    Planted { bug: "follower-reads-own-state", mix: &GATEWAY_CUTS },
    Planted { bug: "list-from-own-state", mix: &GATEWAY_CUTS },
    Planted { bug: "404-for-lost", mix: &ALL_VOLUMES },
    Planted { bug: "condition-at-gateway", mix: &PEACE },
    Planted { bug: "definite-failure-took-effect", mix: &LEADER_DEATHS },
    Planted { bug: "unknown-committed-anew", mix: &LEADER_DEATHS },
    Planted { bug: "delete-acked-before-commit", mix: &LEADER_DEATHS },
    Planted { bug: "repair-without-count", mix: &QUICK_REPAIRS },
    Planted { bug: "reap-before-grace", mix: &PEACE },
    Planted { bug: "full-for-ever", mix: &FULL_DISKS },
    Planted { bug: "compact-unlinks-first", mix: &COMPACTION_KILLS },
    Planted { bug: "segments-stay-open", mix: &SMALL_SEGMENTS },
    Planted { bug: "checksum-not-verified", mix: &FLIPS },
    Planted { bug: "reconnects-ever-later", mix: &LONG_CUTS },
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
