//! What servers count and gauge, and which test brings it about that they do.
//!
//! Owns the lists of both: a test whose events move counters says so by [`moved`], one that brings about what a gauge shows by
//! [`raised`], and `tests/metrics.rs` sees that the lists have every counter, every histogram and every gauge that
//! docs/metrics.md describes. Leaves how they are shown to that test, too.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hayrick_launcher::{Cluster, Process};

use crate::{raw, wait};

/// The file and the name of a test, and what moves there.
pub const MOVED: &[(&str, &[&str])] = &[
    (
        "metrics::what_is_shown_is_documented_and_counts_what_happens",
        &[
            "hayrick_put_seconds",
            "hayrick_put_body_seconds",
            "hayrick_put_replication_seconds",
            "hayrick_commit_seconds",
            "hayrick_get_seconds",
            "hayrick_head_seconds",
            "hayrick_read_index_seconds",
            "hayrick_fetch_seconds",
            "hayrick_delete_seconds",
            "hayrick_list_seconds",
            "hayrick_fsync_seconds",
            "hayrick_raft_elections_won_total",
            "hayrick_raft_log_entries_total",
            "hayrick_raft_log_flushes_total",
            "hayrick_apply_commands_total",
            "hayrick_gateway_read_rounds_total",
            "hayrick_gateway_confirmed_reads_total",
            "hayrick_leader_proposed_tables_total",
            "hayrick_volume_appended_needles_total",
            "hayrick_volume_syncs_total",
            "hayrick_rpc_opened_connections_total",
        ],
    ),
    (
        "move_rate::a_repair_crawls_or_ends_soon_as_it_is_told_and_a_new_leader_keeps_to_it",
        &[
            "hayrick_raft_leaderships_lost_total",
            "hayrick_leader_suspected_volumes_total",
            "hayrick_leader_downed_volumes_total",
            "hayrick_leader_repaired_placements_total",
            "hayrick_volume_pulled_needles_total",
        ],
    ),
    (
        "snapshot::a_master_away_for_longer_than_the_log_comes_back_and_a_new_volume_takes_writes",
        &["hayrick_raft_snapshots_built_total", "hayrick_raft_snapshots_installed_total"],
    ),
    (
        "retries::a_commit_whose_answer_was_lost_is_applied_once",
        &["hayrick_gateway_repeated_commits_total", "hayrick_apply_repeated_commands_total"],
    ),
    (
        "retries::a_commit_whose_answer_never_comes_is_504_and_the_write_may_be_there",
        &["hayrick_gateway_unknown_outcomes_total", "hayrick_rpc_timed_out_calls_total"],
    ),
    (
        "begun_anew::a_put_whose_placement_changed_under_it_is_stored_where_it_belongs_now",
        &["hayrick_apply_stale_placements_total", "hayrick_gateway_redone_drafts_total"],
    ),
    (
        "begun_anew::a_put_of_a_master_that_was_given_up_meanwhile_is_stored_under_a_new_epoch",
        &["hayrick_leader_fenced_epochs_total", "hayrick_apply_fenced_commands_total"],
    ),
    (
        "begun_anew::a_put_whose_master_does_not_reach_a_volume_is_handed_over",
        &["hayrick_gateway_handed_over_requests_total"],
    ),
    (
        "races::of_eight_that_create_or_swap_at_once_exactly_one_wins",
        &["hayrick_apply_failed_conditions_total"],
    ),
    (
        "corruption::a_flipped_byte_is_never_returned",
        &["hayrick_gateway_failed_over_reads_total", "hayrick_volume_damaged_needles_total"],
    ),
    (
        "corruption::bytes_that_rot_behind_a_volumes_own_check_are_never_returned",
        &["hayrick_gateway_damaged_answers_total"],
    ),
    (
        "missing::what_nobody_has_is_missing_all_else_is_repaired_and_it_comes_back_with_its_volume",
        &["hayrick_leader_missing_needles_total", "hayrick_leader_found_needles_total"],
    ),
    (
        "reaping::garbage_is_dropped_everywhere_and_nothing_that_lives",
        &["hayrick_leader_reaped_objects_total", "hayrick_volume_tombstones_total"],
    ),
    (
        "leaving::who_held_or_half_pulled_what_lies_elsewhere_gets_the_space_back",
        &[
            "hayrick_leader_dropped_orphans_total",
            "hayrick_volume_sealed_segments_total",
            "hayrick_volume_compacted_segments_total",
            "hayrick_volume_reclaimed_bytes_total",
        ],
    ),
    (
        "full::a_full_cluster_answers_507_serves_the_rest_and_recovers_with_room",
        &["hayrick_volume_refused_full_appends_total"],
    ),
    ("hostile::hostile_input_is_refused_without_harm", &["hayrick_rpc_refused_connections_total"]),
    ("durability::what_was_acknowledged_survives_the_death_of_everything", &["hayrick_disk_cut_tails_total"]),
];

/// The file and the name of a test, and the gauges that are not 0 at some moment there.
pub const RAISED: &[(&str, &[&str])] = &[
    (
        "metrics::what_is_shown_is_documented_and_counts_what_happens",
        &[
            "hayrick_raft_is_leader",
            "hayrick_raft_term",
            "hayrick_raft_committed_index",
            "hayrick_raft_applied_index",
            "hayrick_objects",
            "hayrick_object_bytes",
            "hayrick_garbage_bytes",
            "hayrick_writable_volumes",
            "hayrick_volume_capacity_bytes",
            "hayrick_volume_used_bytes",
            "hayrick_volume_free_bytes",
            "hayrick_volume_needles",
            "hayrick_volume_writable",
            "process_resident_memory_bytes",
            "process_open_fds",
        ],
    ),
    (
        "move_rate::a_repair_crawls_or_ends_soon_as_it_is_told_and_a_new_leader_keeps_to_it",
        &["hayrick_under_replicated_objects"],
    ),
    (
        "missing::what_nobody_has_is_missing_all_else_is_repaired_and_it_comes_back_with_its_volume",
        &["hayrick_missing_objects", "hayrick_unavailable_volumes", "hayrick_volume_bad_needles"],
    ),
    ("reaping::garbage_is_dropped_everywhere_and_nothing_that_lives", &["hayrick_volume_dead_bytes"]),
    (
        "stalled_disk::a_volume_whose_disk_stalls_says_so_and_is_done_without",
        &["hayrick_volume_stalled_seconds"],
    ),
];

/// How long a gauge may take until it shows what is: heartbeats carry some of them.
const RAISED_TIMEOUT: Duration = Duration::from_secs(30);

/// Name → value, as a server shows them; of a histogram how often it was observed.
pub type Shown = BTreeMap<String, f64>;

/// What a server shows.
///
/// # Errors
/// When it does not answer, or in another format.
pub async fn of(server: &Process) -> Result<Shown> {
    let text = String::from_utf8(raw::get(server.http_addr(), "/-/metrics").await?)?;
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains('{'));
    samples
        .map(|line| {
            let (sample, value) = line.split_once(' ').with_context(|| line.to_owned())?;
            let name = sample.strip_suffix("_count").unwrap_or(sample);
            Ok((name.to_owned(), value.parse().with_context(|| line.to_owned())?))
        })
        .collect()
}

/// What all servers that run show together of this one.
///
/// # Errors
/// When one of them does not answer.
pub async fn total(cluster: &Cluster, name: &str) -> Result<f64> {
    let mut total = 0.0;
    for server in cluster.processes().filter(|server| server.is_running()) {
        total += of(server).await?.get(name).unwrap_or(&0.0);
    }
    Ok(total)
}

/// Whether all has moved that the list says of this test, since the servers started that run now.
///
/// # Errors
/// When something has not.
pub async fn moved(test: &str, cluster: &Cluster) -> Result<()> {
    for name in of_test(MOVED, test)? {
        let total = total(cluster, name).await?;
        ensure!(total > 0.0, "{name} has not moved");
    }
    Ok(())
}

/// Waits until some server shows, of each gauge that the list says of this test, more than 0.
///
/// # Errors
/// When one stays at 0.
pub async fn raised(test: &str, cluster: &Cluster) -> Result<()> {
    for name in of_test(RAISED, test)? {
        wait::until(&format!("{name} is raised"), RAISED_TIMEOUT, async || {
            ensure!(total(cluster, name).await? > 0.0, "it is 0");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn of_test(list: &'static [(&str, &[&str])], test: &str) -> Result<&'static [&'static str]> {
    let (_, names) =
        list.iter().find(|(by, _)| *by == test).with_context(|| format!("{test} is not listed"))?;
    Ok(names)
}
