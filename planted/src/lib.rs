//! Bugs that a build for chaos tests can be told to have.
//!
//! A harness that finds nothing proves little, unless it is known to find what is there. So the product can be built with the
//! feature `chaos`, and then does at most one thing wrong, named by `HAYRICK_BUG` when a process starts. At each place
//! where a bug sits, the right code asks `planted::is(Bug::…)`. Without the feature that is a constant `false`, and the
//! compiler removes what hangs on it.
//!
//! Looks at nothing. Invariant: without the feature no bug can be chosen, and the variable is not even read.

/// Which bug to have.
pub const VARIABLE: &str = "HAYRICK_BUG";

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, shown_by $shown_by:tt: $shows:literal,)+) => {
        /// A bug that can be planted; what the process does then.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bug {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Bug {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What `HAYRICK_BUG` calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What the process does then, in one sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// Which of [`CHECKERS`] find what it does. Whatever else is found in a run with this bug does not come of it.
            pub const fn shown_by(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &$shown_by,)+
                }
            }

            /// Which faults make it show.
            pub const fn shows(self) -> &'static str {
                match self {
                    $(Self::$variant => $shows,)+
                }
            }
        }
    };
}

/// What a run is judged by, as [`Bug::shown_by`] calls it.
pub const CHECKERS: &[&str] = &[
    "linearizability",
    "acknowledged-is-durable",
    "deleted-stays-deleted",
    "deleted-can-be-brought-back",
    "failures-have-no-effect",
    "every-byte-right",
    "replicas-complete",
    "space-accounted-for",
    "masters-agree",
    "leadership-goes-on",
    "identity",
    "service-comes-back",
    "nobody-panics",
    "bounded",
];

bugs! {
    /// Appends are acknowledged without an fdatasync.
    SkipSync = "skip-sync", shown_by ["acknowledged-is-durable", "linearizability", "service-comes-back"]:
        "SIGKILL of all volumes, or of most masters, at once, while unsynced writes are lost at a kill.",
    /// An fdatasync that failed is tried once more, and if that succeeds, what it should have made durable is
    /// acknowledged.
    RetryFailedSync = "retry-failed-sync",
        shown_by ["acknowledged-is-durable", "linearizability", "service-comes-back"]:
        "Every second or third sync of all volumes, or of most masters, fails and loses its writes, then SIGKILL \
         of those while unsynced writes are lost.",
    /// A write or an fdatasync of an append stream that failed is not remembered, so that its batch is acknowledged
    /// and the next one is written in its place.
    FailedWriteForgotten = "failed-write-forgotten",
        shown_by ["replicas-complete", "acknowledged-is-durable", "linearizability", "service-comes-back"]:
        "Every third sync or write of a volume or a master fails.",
    /// A record whose header can be read counts as whole when a stream is opened, whatever became of its body.
    TornTailAccepted = "torn-tail-accepted", shown_by ["service-comes-back", "masters-agree"]:
        "SIGKILL of a master in the middle of writes that its disk takes long for, while a part of what was not \
         synced is lost.",
    /// A vote is answered before it is written down, which follows a second later.
    VoteBeforeDurable = "vote-before-durable", shown_by ["service-comes-back", "leadership-goes-on"]:
        "SIGKILL of the leader, and of another master within a second after the election, while unsynced writes \
         are lost: that master finds itself rolled back, or votes twice.",
    /// A vote is given to whoever asks for it, though his log ends before the own one.
    VoteIgnoresLog = "vote-ignores-log", shown_by ["acknowledged-is-durable", "masters-agree", "linearizability", "nobody-panics"]:
        "A follower is cut off under writes; then SIGKILL of both others, and a start of the one that did not lead, \
         which the first one asks for its vote.",
    /// A leader answers a read-index from what it has applied, without hearing of a majority, and thinks that it has one.
    ReadWithoutReadIndex = "read-without-read-index", shown_by ["linearizability"]:
        "SIGSTOP of the leader, reads sent to it after another leader took writes, SIGCONT; or a cut between it \
         and the other masters, not clients.",
    /// Commands of an epoch that was fenced are applied.
    EpochFenceIgnored = "epoch-fence-ignored",
        shown_by ["acknowledged-is-durable", "replicas-complete", "linearizability"]:
        "SIGSTOP of a gateway under writes for 3 to 4 s, less than its requests may take, by a leader that leads \
         for longer than --reap-after and twice --request-timeout.",
    /// A commit is applied whatever its placement has become since its needle was appended.
    StalePlacementAccepted = "stale-placement-accepted", shown_by ["acknowledged-is-durable", "replicas-complete"]:
        "SIGSTOP of a gateway under writes and SIGKILL of a volume at once, and SIGCONT when its empty placements are \
         forgotten (--partitions large, --down-after 1s, some 4 s) and before --request-timeout.",
    /// The answers that sessions remember are lost when a snapshot is installed, and gateways send every command
    /// twice.
    DedupeDroppedAtSnapshot = "dedupe-dropped-at-snapshot", shown_by ["masters-agree", "linearizability"]:
        "A follower is stopped, or cut off, while others take writes, until it needs a snapshot (--snapshot-after \
         and --log-keep small).",
    /// When a snapshot is installed, what was changed here since the last checkpoint stays on top of it.
    DeletedResurrected = "deleted-resurrected",
        shown_by ["service-comes-back", "deleted-stays-deleted", "linearizability", "masters-agree"]:
        "A follower is stopped, not killed, while others take overwrites and deletes, until it needs a snapshot \
         (--snapshot-after and --log-keep small); it may find its counts wrong, and stop.",
    /// A snapshot is sent as one that holds an entry more than it does.
    SnapshotClaimsMore = "snapshot-claims-more", shown_by ["masters-agree", "linearizability"]:
        "A follower is stopped, or killed, while others take writes, until it needs a snapshot (--snapshot-after \
         and --log-keep small), and gets it under writes.",
    /// The log is purged though the state in the index file is older.
    LogPurgedEarly = "log-purged-early", shown_by ["service-comes-back"]:
        "SIGKILL of a master after more entries than --snapshot-after and --log-keep, without a clean stop in \
         between.",
    /// An object's date is that of the clock of each master that applies its commit.
    ApplyReadsClock = "apply-reads-clock", shown_by ["masters-agree"]:
        "Writes are enough.",
    /// Needles that nothing names are called dead though a gateway may commit them yet.
    OrphansWithoutFence = "orphans-without-fence", shown_by ["acknowledged-is-durable", "replicas-complete"]:
        "SIGKILL and start of a volume or a master under writes, which makes the leader look for dead needles, \
         once it leads for longer than --reap-after and twice --request-timeout.",
    /// Needles that nothing names are never called dead.
    OrphansKept = "orphans-kept", shown_by ["space-accounted-for"]:
        "SIGKILL of a gateway under writes, and its start, which fences its epochs.",
    /// A write is committed when all members but one have the needle, and what was not sent to that one by then is
    /// never sent.
    AckTwoOfThree = "ack-two-of-three", shown_by ["replicas-complete", "acknowledged-is-durable"]:
        "A slow disk of one volume, or SIGSTOP of it for less than --down-after; then the loss of the others.",
    /// A gateway answers reads from what it has applied, without asking the leader.
    FollowerReadsOwnState = "follower-reads-own-state", shown_by ["linearizability"]:
        "A gateway is cut off from the other masters, not from clients.",
    /// A gateway lists keys from what it has applied, without asking the leader.
    ListFromOwnState = "list-from-own-state", shown_by ["linearizability"]:
        "A gateway is cut off from the other masters, not from clients, and asked for a list.",
    /// An object that no volume can give is answered 404.
    NotFoundForLost = "404-for-lost", shown_by ["linearizability", "acknowledged-is-durable"]:
        "All volumes that hold an object are killed, stopped or cut off.",
    /// The condition of a PUT is decided by a read before it, and the commit has none.
    ConditionAtGateway = "condition-at-gateway", shown_by ["linearizability"]:
        "Conditional writes of one key at the same time, through any masters.",
    /// A commit of which nobody knows what became of it is answered 503, as one that surely was not made.
    DefiniteFailureTookEffect = "definite-failure-took-effect",
        shown_by ["failures-have-no-effect", "linearizability"]:
        "SIGKILL, SIGSTOP or a cut of the leader under writes.",
    /// A PUT of which nobody knows what became of it is made once more, as another needle under another seq.
    UnknownCommittedAnew = "unknown-committed-anew", shown_by ["failures-have-no-effect", "linearizability"]:
        "Connections that break while answers are under way, under conditional writes, or writes of one key by \
         several clients.",
    /// A DELETE that is not committed after 100 ms is answered 204 all the same.
    DeleteAckedBeforeCommit = "delete-acked-before-commit", shown_by ["deleted-stays-deleted", "linearizability"]:
        "SIGSTOP, SIGKILL or a cut of the leader, or slow disks of the masters, under deletes.",
    /// A newcomer becomes a member of a placement without having been shown complete, and before it has pulled
    /// anything.
    RepairWithoutCount = "repair-without-count", shown_by ["replicas-complete", "acknowledged-is-durable"]:
        "A volume loses its disk, and once it is said to be repaired another one does, some times.",
    /// Garbage is dropped at once, whatever --reap-after says.
    ReapBeforeGrace = "reap-before-grace",
        shown_by ["deleted-can-be-brought-back", "linearizability", "every-byte-right"]:
        "An undelete within --reap-after of its delete, or a reader of a large object that is overwritten \
         meanwhile.",
    /// A volume that was full stays so, though it has room again.
    FullForEver = "full-for-ever", shown_by ["service-comes-back"]:
        "The disks of all volumes are full, and then are not.",
    /// Compaction unlinks a segment a second before it moves what lives in it.
    CompactUnlinksFirst = "compact-unlinks-first", shown_by ["acknowledged-is-durable", "replicas-complete"]:
        "SIGKILL of all volumes at once, or of one, under overwrites of some 20 KB (--segment-size 1MiB, \
         --reap-after and --request-timeout 1s).",
    /// A segment that was compacted is never closed.
    SegmentsStayOpen = "segments-stay-open", shown_by ["bounded"]:
        "Overwrites are enough (--segment-size and --reap-after small).",
    /// Volumes and gateways return bytes without verifying them.
    ChecksumNotVerified = "checksum-not-verified", shown_by ["every-byte-right"]:
        "Bytes of the segments of a volume that is stopped are flipped.",
    /// The pause between two attempts to reach a peer is sixteen times the last one, without end.
    ReconnectsEverLater = "reconnects-ever-later", shown_by ["service-comes-back", "replicas-complete"]:
        "Most masters are away for 7 s or longer, and come back: volumes do not reach them for long.",
}

impl Bug {
    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Whether this process has this bug.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Whether this process has one of these bugs.
#[inline(always)]
pub fn is_any(bugs: &[Bug]) -> bool {
    bugs.iter().any(|bug| is(*bug))
}

/// Whether this process has this bug.
#[cfg(feature = "chaos")]
pub fn is(bug: Bug) -> bool {
    chosen::get() == Some(bug)
}

#[cfg(feature = "chaos")]
pub use chosen::choose;

#[cfg(feature = "chaos")]
mod chosen {
    use std::sync::OnceLock;

    use super::{Bug, VARIABLE};

    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();

    pub(super) fn get() -> Option<Bug> {
        *CHOSEN.get().unwrap_or(&None)
    }

    /// Takes the bug that the environment names, if any; once, when the process starts.
    ///
    /// # Errors
    /// When there is no such bug; the text lists those there are.
    pub fn choose() -> Result<Option<Bug>, String> {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        let bug = match (name.as_str(), Bug::named(&name)) {
            ("", _) => None,
            (_, Some(bug)) => Some(bug),
            (name, None) => {
                let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                return Err(format!("{VARIABLE}: there is no bug {name:?}; there are: {}", names.join(", ")));
            }
        };
        Ok(*CHOSEN.get_or_init(|| bug))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_bug_has_a_name_and_a_sentence_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(
            Bug::ALL.iter().all(|bug| Bug::named(bug.name()) == Some(*bug) && bug.about().ends_with('.'))
        );
    }

    #[test]
    fn each_bug_says_what_makes_it_show_and_which_checkers_find_it() {
        for bug in Bug::ALL {
            let (name, by) = (bug.name(), bug.shown_by());
            assert!(!by.is_empty() && by.iter().all(|checker| CHECKERS.contains(checker)), "{name}: {by:?}");
            assert_eq!(by.iter().collect::<BTreeSet<_>>().len(), by.len(), "{name} names one twice");
            assert!(bug.shows().ends_with('.'), "{name}: {}", bug.shows());
        }
    }
}
