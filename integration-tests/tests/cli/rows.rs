//! The rows of the contract: what is typed, what comes of it, and the test of that.

use hayrick_integration_tests::rows::Row;

use crate::{Contract, files, servers, system};

pub(crate) const ROWS: &[Row<Contract>] = hayrick_integration_tests::rows! { typed:
    "Files" {
        "`hayrick put KEY [FILE|-]`" => "stores a file, or what comes on standard input": files::put_stores_a_file_or_standard_input;
        "`hayrick get KEY [-o FILE]`" => "to standard output, or beside the file and renamed": files::get_writes_to_standard_output_or_a_file;
        "`hayrick rm KEY…`" => "deletes each": files::rm_deletes_each;
        "`hayrick rm -r PREFIX`" => "deletes all below it": files::rm_r_deletes_all_below;
        "`hayrick undelete KEY`" => "brings back what the last delete took away": files::undelete_brings_back;
        "`hayrick ls [PREFIX]`" => "one level; `-r` all keys; `-l` size, date, ETag; `--json`": files::ls_lists_a_level_or_all;
        "`hayrick stat KEY`" => "what is known of an object; `--json`": files::stat_shows_what_is_known;
        "`hayrick cp SRC DST`" => "one of the two begins with `hay:`; `-r` trees, both ways; again is nothing to do": files::cp_copies_both_ways;
        "`hayrick backup FILE`" => "the index, in a file that is verified": files::backup_writes_the_index;
    }
    "The cluster" {
        "`hayrick status`" => "the cluster at a glance; `--json`; `--watch` until it is ended": system::status_shows_the_cluster;
        "`hayrick explain KEY`" => "why the key lives where it lives; `--without ID`": system::explain_says_why;
        "`hayrick volume ls`" => "the volumes; `--json`": system::volume_ls_lists_volumes;
        "`hayrick volume drain|undrain|remove ID`" => "with `--dry-run` what would be done": system::volumes_are_drained_and_undrained;
        "the same without `--dry-run`" => "what is on it moves, and nobody notices": draining::a_volume_is_drained_stopped_and_removed_and_nobody_notices in "integration-tests/tests/draining.rs";
        "`hayrick master ls`" => "the masters; `--json`": system::master_ls_lists_masters;
        "`hayrick master add|remove|transfer`" => "changes who they are, and who leads": system::masters_are_changed;
        "`hayrick rebalance [--dry-run]`" => "what would move, how much, how long": system::rebalance_says_what_would_move;
        "`hayrick move-rate [RATE]`" => "how fast copies are made": system::move_rate_is_shown_and_set;
        "`hayrick check [--deep]`" => "index against volumes; exit 1 if anything is not as it should be": system::check_finds_all_well;
        "`hayrick check` of a cluster that lacks something" => "exit 1, and what to do": check::a_dead_volume_is_a_finding_until_nothing_names_it_any_more in "integration-tests/tests/check.rs";
        "`hayrick bench`" => "rate, p50, p99, p99.9, and the share of this machine's own limits": system::bench_measures;
    }
    "Offline" {
        "`hayrick inspect segment|raft PATH`" => "what is in a file, read-only": servers::inspect_shows_what_is_in_a_file;
        "`hayrick config master|volume`" => "the TOML file with defaults and reasons, which `--config` takes": servers::config_prints_what_config_takes;
        "`hayrick completions SHELL`" => "completions for the shell": servers::completions_are_made;
        "`hayrick man DIR`" => "a page for each command": servers::man_writes_pages;
        "`hayrick prove --list`" => "the mixes of faults; without `--list` it breaks a cluster of its own": servers::prove_lists_its_mixes;
        "`hayrick prove`" => "breaks a cluster, says whether a promise broke, leaves a report": prove::nothing_is_found_in_three_mixes_of_faults in "integration-tests/tests/prove.rs";
        "`hayrick --version`" => "version and commit": servers::version_names_the_commit;
        "`hayrick COMMAND --help`" => "teaches with an example": servers::help_teaches_with_an_example;
    }
    "Servers" {
        "`hayrick dev`" => "3 masters and 3 volumes in one process, stopped by Ctrl-C": servers::dev_serves_and_stops;
        "`hayrick master`, `hayrick volume`" => "one line when they are ready; stop cleanly on SIGTERM within 10 s": servers::servers_stop_cleanly;
        "a master that stops" => "fences its epoch, so that nobody waits for what it had under way": begun_anew::a_master_that_stops_fences_its_own_epoch_and_one_that_dies_is_fenced in "integration-tests/tests/begun_anew.rs";
        "`--listen`, `--peer-listen` beyond loopback" => "a warning: who reaches it can read, write and delete": outside::listening_beyond_loopback_is_warned_of in "web/src/outside.rs";
        "two processes on one data directory" => "the second refuses at once": data_directory::a_second_process_on_a_data_directory_refuses_at_once in "integration-tests/tests/data_directory.rs";
        "a directory of another id, another cluster, or a copy of one in use" => "refused, saying which is which": data_directory::a_directory_of_another_server_or_cluster_is_refused_in_a_sentence in "integration-tests/tests/data_directory.rs";
        "`hayrick master --join HOST:PORT`" => "enters a running cluster": membership::a_dead_master_is_replaced_by_a_new_id in "integration-tests/tests/membership.rs";
        "`hayrick master --restore FILE`" => "forms a new cluster from a backup": backup::what_was_backed_up_is_read_back_after_all_masters_are_lost in "integration-tests/tests/backup.rs";
        "`make cluster`" => "real processes on one machine, stopped by Ctrl-C; finds its data again": dev::the_cluster_program_serves_ends_all_its_children_on_ctrl_c_and_finds_its_data_again in "integration-tests/tests/dev.rs";
    }
    "Everywhere" {
        "`--server HOST:PORT,…`, `HAYRICK_SERVER`" => "the next master is tried when one does not answer; the flag beats the variable": files::any_master_that_answers_is_asked;
        "`--config FILE`, `HAYRICK_…`" => "flag beats variable beats file beats default": settings::flag_beats_variable_beats_file_beats_default in "cli/tests/settings.rs";
        "`--log`, `RUST_LOG`" => "one line of JSON a request at debug only; text on a terminal": servers::requests_are_logged_at_debug_only;
        "times as `3s`, `250ms`" => "what is none is refused, with what would do": units::times_are_read_and_zero_is_refused in "cli/src/units.rs";
        "exit code 5" => "outcome unknown: no answer came to what was sent": retries::a_commit_whose_answer_never_comes_is_504_and_the_write_may_be_there in "integration-tests/tests/retries.rs";
        "exit codes" => "0 done, 1 could not be done, 2 wrong use, 3 no such key, 4 a condition failed": files::exit_codes_tell_what_happened;
    }
};
