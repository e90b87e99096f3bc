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
        "dead_bytes": status.dead_bytes,
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use axum::body::to_bytes;
    use hayrick_disk::{FaultyDisk, Op};
    use hayrick_protocol::ids::{ClusterId, InstanceId, NeedleId, PlacementId, VolumeId};
    use hayrick_protocol::messages::volume::AppendError;
    use hayrick_protocol::needle::Body as NeedleBody;
    use serde_json::Value;

    use super::*;
    use crate::store::StoreOptions;

    async fn status(store: &Store) -> Value {
        let names = Names { volume: VolumeId(7), cluster: ClusterId([1; 16]), instance: InstanceId([2; 16]) };
        let body = to_bytes(get(store, &names).into_body(), 1 << 20).await.expect("it is in memory");
        serde_json::from_slice(&body).expect("JSON")
    }

    #[tokio::test]
    async fn what_is_damaged_and_that_a_sync_failed_is_told_and_reads_go_on() {
        let disk = FaultyDisk::new(1);
        // The appends' syncs are the only ones.
        let options = StoreOptions { zero_ahead_bytes: 0, ..StoreOptions::new("/needles", 64 << 20) };
        let store = Store::open(Arc::new(disk.clone()), options).expect("it opens");
        let needle =
            |id| NeedleBody::new(vec![7; 5000], 1).with_header(NeedleId(id), PlacementId(1), 0).concat();
        for id in 1..=3 {
            store.append(vec![needle(id).into()]).await.remove(0).expect("a good needle");
        }
        assert_eq!(status(&store).await["read_only"], Value::Null);
        assert!(disk.flip(Path::new("/needles/0000000000000001.seg"), 4096 + 1000, 1));
        assert!(store.open_needle(NeedleId(1)).is_err());
        store.scrub(&mut |_| true);
        disk.fail(Op::Sync.on(".seg"), 1);
        let failed = store.append(vec![needle(4).into()]).await.remove(0);
        assert!(matches!(failed, Err(AppendError::Failed(_))), "{failed:?}");
        let told = status(&store).await;
        let read_only = told["read_only"].as_str().expect("it is told");
        assert!(read_only.starts_with("/needles/0000000000000001.seg: "), "{read_only}");
        // The stretch, and the needle in it.
        assert_eq!((&told["bad"], &told["damaged_needles"]), (&2.into(), &json!([1])));
        let damaged = &told["damaged"][0];
        assert_eq!((&damaged["segment"], &damaged["from"]), (&"0000000000000001".into(), &4096.into()));
        assert_eq!(told["scrub"]["last_round_found_bad"], 2);
        assert!(store.open_needle(NeedleId(2)).is_ok());
    }
}
