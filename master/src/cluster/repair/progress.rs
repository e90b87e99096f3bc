//! How far the moves are, for people to look at.

use std::sync::atomic::{AtomicU64, Ordering};

use hayrick_protocol::messages::volume::Pulled;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::plan::{Group, Kind};

/// One group of placements that is being moved.
pub(super) struct Progress {
    group: Group,
    began: Instant,
    pulled_bytes: AtomicU64,
}

impl Progress {
    pub(super) fn new(group: Group) -> Self {
        Self { group, began: Instant::now(), pulled_bytes: AtomicU64::new(0) }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn pulled(&self, pulled: &Pulled) {
        self.pulled_bytes.fetch_add(pulled.bytes, Ordering::Relaxed);
    }

    /// As `/-/status` shows it. What was there already is not pulled, so that the end may come sooner.
    pub(super) fn shown(&self) -> Value {
        let done = self.pulled_bytes.load(Ordering::Relaxed).min(self.group.bytes);
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let bytes_per_s = done.saturating_mul(1000) / ms;
        let eta_ms = (self.group.bytes - done).saturating_mul(1000).checked_div(bytes_per_s);
        let kind = match self.group.kind {
            Kind::Repair => "repair",
            Kind::Drain => "drain",
            Kind::Rebalance => "rebalance",
        };
        json!({
            "kind": kind,
            "placement": self.group.placements.first().map(|(examined, _)| examined.placement.0),
            "placements": self.group.placements.len(),
            "from": self.group.out.map(|id| id.0),
            "to": self.group.newcomer.0,
            "done": done,
            "total": self.group.bytes,
            "bytes_per_s": bytes_per_s,
            "eta_ms": eta_ms,
        })
    }
}
