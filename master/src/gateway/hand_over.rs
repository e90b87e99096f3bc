//! A PUT handed over whole, once: for a gateway that cannot reach a volume which the leader can.
//!
//! Owns the choice of the other master and the reading of its answer. Invariant: a hand-over without an answer
//! is an unknown outcome, never a reason for a second write.

use bytes::Bytes;
use hayrick_metrics as metrics;
use hayrick_protocol::command::Applied;
use hayrick_protocol::messages::master::{HandOver, HandOverError};
use hayrick_protocol::{NodeId, limits};
use hayrick_web::Sparing;
use tokio::time::Instant;
use tracing::info;

use crate::leader;
use crate::master::Master;

static HAND_OVERS: Sparing = Sparing::new(10);

/// Gives the object to the leader, or when this is the leader to any other master that is connected. `None` when
/// nobody took it: it surely has had no effect.
pub(crate) async fn give(
    master: &Master,
    request: &HandOver,
    body: Bytes,
    deadline: Instant,
) -> Option<Result<Applied, HandOverError>> {
    debug_assert!(body.len() <= limits::OBJECT_BYTES_MAX, "the body was taken in under the limit");
    let me = master.options.id;
    let leader = leader::current(master).filter(|leader| *leader != me);
    let others = master.voters().into_iter().filter(|id| *id != me && Some(*id) != leader);
    for other in leader.into_iter().chain(others) {
        let Some(client) = master.peers.master(other) else { continue };
        metrics::HAND_OVERS.increment();
        if HAND_OVERS.may_tell() {
            info!(key = %request.key, to = other.0, "handing a PUT over: a volume cannot be reached from here");
        }
        match client.call(request, vec![body.clone()], deadline).await {
            Ok((answer, _)) => return Some(answer),
            Err(error) if error.surely_not_executed() => {}
            Err(error) => return Some(Err(unknown(other, &error))),
        }
    }
    None
}

fn unknown(other: NodeId, error: &impl std::fmt::Display) -> HandOverError {
    HandOverError::Unknown(format!("master {other} took the request over and has not answered: {error}"))
}
