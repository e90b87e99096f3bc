//! `/-/metrics`: what this volume did since it started and how it fares, for Prometheus.

use axum::body::Body;
use hayrick_metrics::{self as metrics, Gauge};
use http::{HeaderValue, Response, header};

use crate::store::Store;

pub(crate) const PATH: &str = "/-/metrics";

pub(crate) fn get(store: &Store) -> Response<Body> {
    let mut response = Response::new(Body::from(metrics::text(metrics::On::Volume, &gauges(store))));
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn gauges(store: &Store) -> Vec<(&'static Gauge, f64)> {
    let status = store.status();
    let is_writable = !status.full && status.read_only.is_none();
    let mut gauges = vec![
        (&metrics::CAPACITY_BYTES, status.capacity_bytes as f64),
        (&metrics::USED_BYTES, status.used_bytes as f64),
        (&metrics::FREE_BYTES, status.free_bytes as f64),
        (&metrics::DEAD_BYTES, status.dead_bytes as f64),
        (&metrics::NEEDLES, status.needles as f64),
        (&metrics::BAD, status.bad as f64),
        (&metrics::WRITABLE, f64::from(u8::from(is_writable))),
        (&metrics::STALLED_SECONDS, status.stalled_ms as f64 / 1000.0),
    ];
    gauges.extend(metrics::of_process());
    gauges
}
