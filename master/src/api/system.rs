//! What the system says of itself: readiness, status, metrics, and the page at `/`.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use hayrick_metrics as metrics;
use hayrick_web::Problem;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::problem::not_now;
use super::{Head, plain, switch};
use crate::gateway::read_index::{NotLinearizable, linearize};
use crate::master::Master;
use crate::status;

/// How long `/-/ready` waits for a read-index.
const READY_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn ready(master: &Arc<Master>) -> Result<Response, Problem> {
    status::ready(master).map_err(not_now)?;
    let linearized = linearize(master, Instant::now() + READY_PATIENCE).await;
    linearized.map_err(|NotLinearizable(text)| not_now(text))?;
    Ok(plain(StatusCode::OK, "ready\n"))
}

/// Asked often and for nothing else, so it waits for nobody but the index, and not for long.
pub(super) async fn metrics(master: &Arc<Master>) -> Response {
    let gauges = status::gauges(master).await;
    let mut response = Response::new(Body::from(metrics::text(metrics::On::Master, &gauges)));
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

pub(super) async fn status(master: &Arc<Master>, request: &Head) -> Result<Response, Problem> {
    let with_state_hash = switch(request, "state-hash")?;
    let status = status::status(master).await;
    let mut status = status.map_err(|error| not_now(error.to_string()))?;
    if with_state_hash {
        let hash = master.node.state_hash().await;
        let (applied, hash) =
            hash.map_err(|error| not_now(format!("the state could not be hashed: {error}")))?;
        status["applied"] = applied.into();
        status["state_hash"] = hash.into();
    }
    Ok(json_answer(json_text(&status)))
}

pub(super) fn json_text(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("own types have only text for keys")
}

pub(super) fn json_answer(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What this is, and what to try.
pub(super) fn front_page(master: &Master) -> Response {
    let here = &master.client_address;
    plain(
        StatusCode::OK,
        format!(
            "Hayrick {version}, master {id}: a store for billions of small files.\n\n\
             Try:\n\
             \x20 curl -X PUT -T cat.jpg http://{here}/cats/1     store a file\n\
             \x20 curl http://{here}/cats/1                       get it back, from any master\n\
             \x20 curl 'http://{here}/cats/?list'                 list what begins with cats/\n\
             \x20 curl -X DELETE http://{here}/cats/1             delete it\n\
             \x20 curl http://{here}/-/explain/cats/1             where it lies, and why\n\
             \x20 curl http://{here}/-/status                     how the cluster fares\n",
            version = env!("CARGO_PKG_VERSION"),
            id = master.options.id,
        ),
    )
}
