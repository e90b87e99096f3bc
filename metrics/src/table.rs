//! All counters, histograms and gauges there are. docs/metrics.md says of each what to do when it is bad.

use crate::{Counter, Gauge, Histogram, On};

macro_rules! table {
    ($kind:ident, $all:ident: $($(#[doc = $help:literal])+ $on:ident $metric:ident = $name:literal,)+) => {
        $($(#[doc = $help])+ pub static $metric: $kind = $kind::new($name, concat!($($help),+), On::$on);)+

        /// All of this kind.
        pub static $all: &[&$kind] = &[$(&$metric),+];
    };
}

table! { Counter, COUNTERS:
    /// Elections that this master won.
    Master ELECTIONS_WON = "hayrick_raft_elections_won_total",
    /// Times this master stopped leading, whether it handed leadership over or lost it.
    Master LEADERSHIPS_LOST = "hayrick_raft_leaderships_lost_total",
    /// Snapshots (durable checkpoints of the index) built here.
    Master SNAPSHOTS_BUILT = "hayrick_raft_snapshots_built_total",
    /// Snapshots received from a leader and installed here.
    Master SNAPSHOTS_INSTALLED = "hayrick_raft_snapshots_installed_total",
    /// Entries appended to the log here.
    Master LOG_ENTRIES = "hayrick_raft_log_entries_total",
    /// Syncs of the log, each shared by all that waited.
    Master LOG_FLUSHES = "hayrick_raft_log_flushes_total",

    /// Commands applied here, those of the log that are applied again after a start included.
    Master COMMANDS_APPLIED = "hayrick_apply_commands_total",
    /// Commands that came again and were answered from their session, without effect.
    Master COMMANDS_REPEATED = "hayrick_apply_repeated_commands_total",
    /// Commands refused because the placement they were appended under had changed.
    Master STALE_PLACEMENTS = "hayrick_apply_stale_placements_total",
    /// Commands refused because their epoch was fenced.
    Master FENCED_COMMANDS = "hayrick_apply_fenced_commands_total",
    /// Commands refused because the client's condition did not hold.
    Master CONDITIONS_FAILED = "hayrick_apply_failed_conditions_total",

    /// Commands asked again under the same sequence number because the answer to the first sending was lost.
    Master COMMITS_REPEATED = "hayrick_gateway_repeated_commits_total",
    /// Requests answered 504, mostly because the outcome stayed unknown.
    Master OUTCOMES_UNKNOWN = "hayrick_gateway_unknown_outcomes_total",
    /// Writes begun anew with another needle, because the placement changed or the epoch was fenced.
    Master DRAFTS_REDONE = "hayrick_gateway_redone_drafts_total",
    /// PUTs handed over to another master because a volume could not be reached from here.
    Master HAND_OVERS = "hayrick_gateway_handed_over_requests_total",
    /// Times a member gave no good answer to a read, or none in time, and another was asked if there was one.
    Master READS_FAILED_OVER = "hayrick_gateway_failed_over_reads_total",
    /// Answers of volumes whose bytes failed the checksum in the index.
    Master DAMAGED_ANSWERS = "hayrick_gateway_damaged_answers_total",
    /// Rounds to a majority that reads waited for.
    Master READ_ROUNDS = "hayrick_gateway_read_rounds_total",
    /// Reads that those rounds were for.
    Master READS_CONFIRMED = "hayrick_gateway_confirmed_reads_total",

    /// Times this leader judged a volume suspect: it takes no new writes.
    Master VOLUMES_SUSPECTED = "hayrick_leader_suspected_volumes_total",
    /// Times this leader judged a volume down.
    Master VOLUMES_DOWNED = "hayrick_leader_downed_volumes_total",
    /// Tables of placements that this leader proposed.
    Master TABLES_PROPOSED = "hayrick_leader_proposed_tables_total",
    /// Placements that got a member which was shown to hold everything.
    Master PLACEMENTS_REPAIRED = "hayrick_leader_repaired_placements_total",
    /// Needles given up as missing: no volume that is up has them.
    Master NEEDLES_MISSING = "hayrick_leader_missing_needles_total",
    /// Needles that were missing and were found again.
    Master NEEDLES_FOUND = "hayrick_leader_found_needles_total",
    /// Objects overwritten or deleted whose needles were dropped everywhere.
    Master OBJECTS_REAPED = "hayrick_leader_reaped_objects_total",
    /// Epochs of gateways fenced because their master was silent for a minute.
    Master EPOCHS_FENCED = "hayrick_leader_fenced_epochs_total",
    /// Needles dropped on volumes because nobody counts on them: of writes that never committed, and copies too many.
    Master ORPHANS_DROPPED = "hayrick_leader_dropped_orphans_total",

    /// Needles appended and synced, those that other volumes gave included.
    Volume NEEDLES_APPENDED = "hayrick_volume_appended_needles_total",
    /// Needles not appended because there was no room.
    Volume APPENDS_REFUSED_FULL = "hayrick_volume_refused_full_appends_total",
    /// Tombstones appended and synced: needles that were dropped.
    Volume TOMBSTONES = "hayrick_volume_tombstones_total",
    /// Syncs of segments, each shared by all that waited.
    Volume SYNCS = "hayrick_volume_syncs_total",
    /// Segments sealed, or found sealed and read at the start.
    Volume SEGMENTS_SEALED = "hayrick_volume_sealed_segments_total",
    /// Segments compacted and removed.
    Volume COMPACTIONS = "hayrick_volume_compacted_segments_total",
    /// Bytes of the disk that compaction gave back.
    Volume BYTES_RECLAIMED = "hayrick_volume_reclaimed_bytes_total",
    /// Needles found damaged, each once until it is well again.
    Volume NEEDLES_DAMAGED = "hayrick_volume_damaged_needles_total",
    /// Needles taken from other volumes, because they lacked here or were damaged.
    Volume NEEDLES_PULLED = "hayrick_volume_pulled_needles_total",

    /// Ends of append files, cut at the start: what a crash left of a write that was not acknowledged.
    Both TAILS_CUT = "hayrick_disk_cut_tails_total",
    /// Connections to peers opened from here.
    Both RPC_OPENED = "hayrick_rpc_opened_connections_total",
    /// Connections from peers refused or broken off before they said who they are.
    Both RPC_REFUSED = "hayrick_rpc_refused_connections_total",
    /// Calls to peers that were not answered by their deadline.
    Both RPC_TIMEOUTS = "hayrick_rpc_timed_out_calls_total",
}

table! { Histogram, HISTOGRAMS:
    /// From the last byte of a PUT's body to its answer.
    Master PUT_SECONDS = "hayrick_put_seconds",
    /// From a GET to the first bytes of its answer.
    Master GET_SECONDS = "hayrick_get_seconds",
    /// From a HEAD to its answer.
    Master HEAD_SECONDS = "hayrick_head_seconds",
    /// From a DELETE, or a list of them, to its answer.
    Master DELETE_SECONDS = "hayrick_delete_seconds",
    /// From a listing to its answer.
    Master LIST_SECONDS = "hayrick_list_seconds",
    /// Part of a PUT: until its body is in memory, which is up to the client and --body-memory.
    Master BODY_SECONDS = "hayrick_put_body_seconds",
    /// Part of a PUT: until all volumes have the bytes on their disks, or one has failed.
    Master REPLICATION_SECONDS = "hayrick_put_replication_seconds",
    /// Part of a PUT or DELETE: until its command is applied, or refused.
    Master COMMIT_SECONDS = "hayrick_commit_seconds",
    /// Part of a read: until it is sure to see all that was acknowledged before.
    Master READ_INDEX_SECONDS = "hayrick_read_index_seconds",
    /// Part of a GET: until a volume has given the first bytes.
    Master FETCH_SECONDS = "hayrick_fetch_seconds",
    /// A sync of a log or of a segment.
    Both FSYNC_SECONDS = "hayrick_fsync_seconds",
}

table! { Gauge, GAUGES:
    /// Whether this master leads, 1 or 0.
    Master RAFT_IS_LEADER = "hayrick_raft_is_leader",
    /// The term of this master.
    Master RAFT_TERM = "hayrick_raft_term",
    /// Index of the last entry of the log that this master knows to be committed.
    Master RAFT_COMMITTED = "hayrick_raft_committed_index",
    /// Index of the last entry that this master has applied.
    Master RAFT_APPLIED = "hayrick_raft_applied_index",
    /// Live objects.
    Master OBJECTS = "hayrick_objects",
    /// Their bytes.
    Master OBJECT_BYTES = "hayrick_object_bytes",
    /// Objects with fewer copies on volumes that are up than --replicas.
    Master UNDER_REPLICATED = "hayrick_under_replicated_objects",
    /// Objects that no volume had when they were looked for.
    Master MISSING = "hayrick_missing_objects",
    /// Bytes of what was overwritten or deleted and is kept for --reap-after.
    Master GARBAGE_BYTES = "hayrick_garbage_bytes",
    /// Volumes that take writes.
    Master VOLUMES_WRITABLE = "hayrick_writable_volumes",
    /// Volumes that are suspect or down.
    Master VOLUMES_AWAY = "hayrick_unavailable_volumes",

    /// Bytes that the volume may hold.
    Volume CAPACITY_BYTES = "hayrick_volume_capacity_bytes",
    /// Bytes allocated to its segments.
    Volume USED_BYTES = "hayrick_volume_used_bytes",
    /// Bytes that appends may still take.
    Volume FREE_BYTES = "hayrick_volume_free_bytes",
    /// Bytes of segments that hold nothing that is needed: compaction gives them back.
    Volume DEAD_BYTES = "hayrick_volume_dead_bytes",
    /// Needles that it holds.
    Volume NEEDLES = "hayrick_volume_needles",
    /// Needles or stretches known to be damaged.
    Volume BAD = "hayrick_volume_bad_needles",
    /// Whether it takes appends, 1 or 0: it is not full, and no write or sync has failed.
    Volume WRITABLE = "hayrick_volume_writable",
    /// For how long the write or sync in progress has been going on.
    Volume STALLED_SECONDS = "hayrick_volume_stalled_seconds",

    /// Resident memory of the process.
    Both PROCESS_RESIDENT_BYTES = "process_resident_memory_bytes",
    /// Open files and connections of the process.
    Both PROCESS_OPEN_FDS = "process_open_fds",
}
