//! `/-/status`: how the volume fares, as JSON. Sizes in bytes, times in milliseconds.

use axum::body::Body;
use http::{HeaderValue, Response, header};
use serde_json::json;

use crate::http::Names;
use crate::store::Store;

pub(crate) const PATH: &str = "/-/status";

/// Segments, damaged stretches and damaged needles that are listed, each.
const LISTED_MAX: usize = 1000;

pub(crate) fn get(store: &Store, names: &Names) -> Response<Body> {
    let status = store.status();
    let segments: Vec<_> = store
        .segments(LISTED_MAX)
        .into_iter()
        .map(|segment| {
            json!({
                "id": segment.id.to_string(), "bytes": segment.bytes, "sealed": segment.sealed,
                "needles": segment.needles, "live_bytes": segment.live_bytes,
            })
        })
        .collect();
    let damaged: Vec<_> = store
        .damaged_stretches(LISTED_MAX)
        .into_iter()
        .map(|stretch| {
            json!({ "segment": stretch.segment.to_string(), "from": stretch.range.start, "to": stretch.range.end })
        })
        .collect();
    let (compacted, scrubbed) = (store.compacted(), store.scrubbed());
    let body = json!({
        "id": names.volume,
        "cluster": names.cluster.to_string(),
        "instance": names.instance.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "capacity": status.capacity_bytes,
        "used": status.used_bytes,
        "free": status.free_bytes,
        "needles": status.needles,
        "segments": status.segments,
        "bad": status.bad,
        "bad_bytes": status.bad_bytes,
        "full": status.full,
        "read_only": status.read_only,
        "stalled_ms": status.stalled_ms,
        "compacted": { "segments": compacted.segments, "bytes": compacted.bytes },
        "scrub": {
            "round": scrubbed.round,
            "done_bytes": scrubbed.done_bytes,
            "total_bytes": scrubbed.total_bytes,
            "found_bad": scrubbed.found_bad,
            "bad_index_files": scrubbed.bad_index_files,
            "last_round_ended": scrubbed.last_round_ended_ms,
            "last_round_found_bad": scrubbed.last_round_found_bad,
            "last_round_bad_index_files": scrubbed.last_round_bad_index_files,
        },
        "segment_list": segments,
        "damaged": damaged,
        "damaged_needles": store.damaged_needles(LISTED_MAX),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
