//! The rows of the contract: what is asked, what is answered, and the test of that.

use hayrick_integration_tests::rows::Row;

use crate::{
    Contract, bodies, conditions, digests, keys, limits, lists, objects, refusals, system, undelete, volumes,
};

pub(crate) const ROWS: &[Row<Contract>] = hayrick_integration_tests::rows! { asked:
    "Objects" {
        "`PUT /{key}`" => "201 new, 200 replaced; the body is the key, without a newline; `ETag`, `Hayrick-Version`": objects::put_answers_201_then_200_and_the_key;
        "`GET /{key}`" => "200 the bytes; 206 one range; 404 `Key does not exist.`; 416": objects::get_answers_the_bytes_or_a_range;
        "`HEAD /{key}`" => "as GET, without the body; on 404 `Content-Length: 0`": objects::head_is_a_get_without_the_body;
        "`DELETE /{key}`" => "204; 404 if there is none": objects::delete_answers_204_then_404;
        "`GET /{prefix}?list`" => "`{\"next\", \"keys\"}` in the order of keys; `limit` 1 to 10 000 (1000), `start` inclusive, `next` the first not shown, `\"\"` at the end; `/?list` lists all": lists::list_pages_in_the_order_of_keys;
        "`…?list&delimiter=/`" => "`\"prefixes\"`, which count in `limit`": lists::list_with_a_delimiter_shows_prefixes;
        "`…?list&detail`" => "objects instead of names: `key`, `size`, `etag`, `modified` (RFC 3339), `content_type`": lists::list_with_detail_shows_objects;
        "a list" => "is linearizable like any read": lists::list_shows_what_was_acknowledged_at_any_master;
        "`POST /-/delete`" => "200 and `[{\"key\", \"status\"}]` in the order asked, 1000 keys at most; `detail` says why where it is neither 204 nor 404": objects::delete_list_answers_each_key;
        "`POST /-/undelete/{key}`" => "200 brought back; 404 nothing to bring back; 409 something newer has the key": undelete::brings_back_what_was_deleted;
        "`GET /{prefix}?unlinked`" => "the keys that an undelete would bring back, in the order in which they were deleted; `limit`, `start`": lists::list_of_what_was_deleted;
        "`UNLINK /{key}`" => "as DELETE, by minikeyvalue's name": objects::unlink_is_a_delete;
        "`?redirect`" => "307 to a volume that holds it": objects::redirect_leads_to_a_volume;
        "`?consistency=stale`" => "what this master knows; other values 400": objects::stale_reads_what_a_master_knows;
        "the same without a leader" => "is answered, where all else is 503": quorum::a_leader_that_lost_both_followers_promises_nothing_and_says_why in "integration-tests/tests/quorum.rs";
    }
    "Keys" {
        "any key" => "1 to 1024 bytes of UTF-8 after percent-decoding, any `/`": keys::awkward_keys_are_kept_as_they_are;
        "control characters, `.` and `..` segments, `-/`, bad encodings" => "400 and the reason": keys::what_is_no_key_is_refused_with_the_reason;
    }
    "Bodies" {
        "`Content-Length` or chunked" => "stored; neither: 411": bodies::a_body_says_its_length_or_is_chunked;
        "`Content-Length: 0`" => "an object of no bytes": bodies::an_empty_body_is_an_object;
        "more than `--max-object-size`" => "413 before the body is read": bodies::a_body_that_is_too_large_is_refused_unread;
        "more than that in chunks" => "413, nothing is stored": bodies::chunks_that_become_too_many_are_refused;
        "a `Transfer-Encoding` other than `chunked`" => "501, nothing is stored": bodies::no_other_coding_than_chunks_is_taken;
        "`Expect: 100-continue`" => "100 at once, or the final refusal": bodies::who_expects_100_gets_it_or_the_refusal;
        "a body shorter than announced" => "400, nothing is stored": bodies::half_a_body_stores_nothing;
    }
    "Integrity" {
        "`Content-MD5`, `Repr-Digest`, `Content-Digest`" => "verified; 400 on a mismatch, nothing is stored": digests::wrong_ones_store_nothing;
        "`Want-Repr-Digest`" => "`Repr-Digest`": digests::wanted_ones_are_answered;
        "any answer with an object" => "`ETag` is the MD5 in hex": digests::the_etag_is_the_md5;
    }
    "Headers" {
        "`Content-Type`, `-Encoding`, `-Disposition`, `-Language`, `Cache-Control`, `Expires`, `Hayrick-Meta-*`" => "kept and returned; together over 2 KiB: 431": objects::headers_are_kept_and_returned;
        "GET and HEAD" => "`Hayrick-Placement`, `Hayrick-Version`, the same at every master; GET `Hayrick-Served-By`": objects::answers_say_where_it_lives;
        "any answer" => "`Hayrick-Server`: `master` or `volume`": refusals::every_answer_says_who_gives_it;
        "`X-Request-Id`" => "echoed if sent, never added": refusals::request_ids_are_echoed_and_never_added;
    }
    "Conditions" {
        "`If-None-Match: *`, `If-Match` on PUT and DELETE" => "decided where the order of writes is; 412, nothing was changed": conditions::of_writes_are_decided;
        "N writers with the same condition" => "exactly one wins, the others 412": conditions::of_racing_writers_one_wins;
        "`If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`" => "RFC 9110 on GET and HEAD: 304, 412": conditions::of_reads_are_weighed;
        "`If-Range`" => "the range if the object has that ETag, else the whole": conditions::if_range_gives_the_range_or_the_whole;
    }
    "What an answer promises" {
        "any 4xx to a write" => "no effect": refusals::a_refused_write_has_no_effect;
        "503 to a write" => "no effect, now or later": quorum::a_leader_that_lost_both_followers_promises_nothing_and_says_why in "integration-tests/tests/quorum.rs";
        "507 to a write" => "no effect; reads and deletes go on": full::a_full_cluster_answers_507_serves_the_rest_and_recovers_with_room in "integration-tests/tests/full.rs";
        "500 or a broken connection" => "outcome unknown: our client says so, and does not repeat it": masters::a_write_of_unknown_outcome_is_never_repeated in "client/tests/masters.rs";
        "504 to a write" => "outcome unknown: it may have happened": retries::a_commit_whose_answer_never_comes_is_504_and_the_write_may_be_there in "integration-tests/tests/retries.rs";
    }
    "Limits" {
        "a head over 32 KiB or 100 fields" => "431": limits::heads_are_bounded;
        "a target over 8 KiB" => "414": limits::targets_are_bounded;
        "malformed percent-encoding or UTF-8; no HTTP" => "400": limits::what_cannot_be_read_is_400;
        "a head not complete after 10 s" => "408, closed": limits::half_a_head_is_408;
        "no byte of a body for 30 s" => "408, closed": limits::a_silent_body_is_408;
        "`--request-timeout` (5 s)" => "runs from the last byte of the body to the answer": limits::the_request_timeout_runs_from_the_last_byte;
    }
    "System" {
        "`GET /-/health`" => "200 while the process works": system::health_answers_while_the_process_works;
        "`GET /-/ready`" => "200 when this master serves linearizable reads and writes, 503 with the reason": system::ready_answers_when_a_master_serves;
        "`GET /-/status`" => "JSON; `?state-hash` adds `state_hash`": system::status_has_every_name_of_the_contract;
        "`moves` in `GET /-/status`" => "what is being moved: `kind`, `placement`, `from`, `to`, `done`, `total`, `bytes_per_s`, `eta_ms`": system::moves_are_told_while_they_are_made;
        "a new cluster" => "is ready when `--replicas` volumes are up": ready::a_server_is_called_ready_when_it_serves_and_says_before_what_it_waits_for in "integration-tests/tests/ready.rs";
        "a new cluster with fewer volumes" => "is ready after 10 s, with at least `--min-replicas`": ready::with_fewer_volumes_than_replicas_a_new_cluster_is_ready_after_ten_seconds in "integration-tests/tests/ready.rs";
        "`GET /-/openapi.json`" => "the description of all this": system::openapi_describes_it;
        "`GET /`" => "a page of text: what this is, what to try": system::the_front_page_says_what_to_try;
        "`GET /-/explain/{key}`" => "JSON and text; `?without=ID`": system::explain_answers_json_and_text;
        "`GET /-/metrics`" => "Prometheus text": system::metrics_are_prometheus_text;
        "`POST /-/volumes/{id}/drain`, `…/undrain`, `…/remove`" => "with `?dry-run` what would be done; 404, 409": system::volumes_are_operated;
        "`POST /-/rebalance`" => "with `?dry-run` what would move": system::rebalance_says_what_would_move;
        "`POST /-/masters`, `DELETE /-/masters/{id}`, `POST /-/leader/{id}`" => "400, 404, 409 with the reason": system::masters_are_operated;
        "the same, of masters that are there" => "one comes, one goes, another leads": membership::a_dead_master_is_replaced_by_a_new_id in "integration-tests/tests/membership.rs";
        "`GET /-/check`, `GET /-/backup`, `GET` and `PUT /-/move-rate`" => "a report by lines; the index; a rate": system::check_backup_and_move_rate_answer;
        "an unknown route under `/-/`" => "404 that repeats it": refusals::an_unknown_route_is_repeated;
        "a method that a path does not take" => "405 with `Allow`": refusals::other_methods_are_405_with_allow;
        "a parameter that a request does not take" => "400 that names it": refusals::unknown_parameters_are_named;
    }
    "Errors" {
        "a second check at one master" => "429, `Retry-After`": system::a_second_check_at_one_master_is_429;
        "any refusal" => "one line of text, or `application/problem+json` where `Accept` asks for JSON": refusals::problems_are_a_line_or_json;
    }
    "Volumes" {
        "`GET` and `HEAD /{key}` on the volume port" => "as a master answers, or 307 to one": volumes::a_volume_answers_keys;
        "`GET /-/needles/{id}`" => "the needle, with ranges": volumes::needles_are_served_by_their_volumes;
        "`GET /-/health`, `/-/ready`, `/-/status`, `/-/metrics` on the volume port" => "as on a master": volumes::a_volume_tells_how_it_fares;
        "503" => "`Retry-After`, and which volumes to start": refusals::unreadable_objects_name_the_volumes_to_start;
    }
};
