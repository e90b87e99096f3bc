//! All counters there are. docs/metrics.md says of each what to do when it grows.

use crate::{Counter, On};

macro_rules! counters {
    ($(#[doc = $help:literal] $on:ident $counter:ident = $name:literal,)+) => {
        $(#[doc = $help] pub static $counter: Counter = Counter::new($name, $help, On::$on);)+

        /// All of them.
        pub static ALL: &[&Counter] = &[$(&$counter),+];
    };
}

counters! {
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
