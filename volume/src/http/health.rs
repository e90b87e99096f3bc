//! `/-/health`: the process works.

use axum::body::Body;
use http::{HeaderValue, Response, header};

pub(crate) const PATH: &str = "/-/health";

pub(crate) fn get() -> Response<Body> {
    let mut response = Response::new(Body::from("ok\n"));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
