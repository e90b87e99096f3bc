//! `/-/metrics`: what this volume did since it started, for Prometheus.

use axum::body::Body;
use http::{HeaderValue, Response, header};

pub(crate) const PATH: &str = "/-/metrics";

pub(crate) fn get() -> Response<Body> {
    let mut response = Response::new(Body::from(hayrick_metrics::text(hayrick_metrics::On::Volume)));
    let content_type = HeaderValue::from_static(hayrick_metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
