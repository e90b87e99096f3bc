//! What is being moved, as the leader tells it: at any master.
//!
//! Owns the question to the leader, and the names under which `/-/status` shows the answer. One question serves all who ask
//! within half a second. Invariant: what is shown is the leader's own word, or it is said that there is none.

use hayrick_protocol::messages::moves::{AskMoves, Move, Moves};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::leader;
use crate::master::Master;

/// What the leader may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an answer, or that there was none, is good.
const HOLDS: Duration = Duration::from_millis(500);

/// The leader's last answer.
#[derive(Default)]
pub(crate) struct Heard {
    /// Held while it is asked, so that whoever comes meanwhile waits for the same answer.
    last: Mutex<Option<(Instant, Option<Moves>)>>,
}

/// What the leader says; none where it was not reached.
pub(super) async fn told(master: &Master) -> Option<Moves> {
    if master.leads() {
        return Some(master.repair.told());
    }
    let mut last = master.heard.last.lock().await;
    if let Some((at, told)) = &*last
        && at.elapsed() < HOLDS
    {
        return told.clone();
    }
    let told = ask(master).await;
    *last = Some((Instant::now(), told.clone()));
    told
}

async fn ask(master: &Master) -> Option<Moves> {
    let client = master.peers.master(leader::current(master)?)?;
    let answer = client.call(&AskMoves, Vec::new(), Instant::now() + PATIENCE).await;
    answer.ok().and_then(|(told, _)| told)
}

/// In the place of reasons, where the leader was not reached.
pub(super) const NOT_REACHED: &str = "the leader was not reached: what is being moved, and what waits to be, is not known here; ask again, or another master";

/// One of the moves.
pub(super) fn shown(step: &Move) -> Value {
    json!({
        "kind": step.kind.name(),
        "placement": step.placement.0,
        "placements": step.placements,
        "from": step.from.map(|id| id.0),
        "to": step.to.0,
        "done": step.done,
        "total": step.total,
        "bytes_per_s": step.bytes_per_s,
        "eta_ms": step.eta_ms,
    })
}

/// All of them together.
pub(super) fn summary(told: &Moves) -> Value {
    json!({
        "placements": told.placements_left,
        "bytes_left": told.bytes_left,
        "bytes_per_s": told.bytes_per_s,
        "eta_ms": told.eta_ms,
    })
}
