//! The wires between the nodes: requests go straight to the other one's `handle`, unless a test has them lost or late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hayrick_protocol::NodeId;
use hayrick_raft_store::{Node, Transport, TransportError};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Kinds of requests, as raft-store's `wire` numbers them.
pub(crate) const APPEND: u8 = 1;
pub(crate) const VOTE: u8 = 2;
pub(crate) const PRE_VOTE: u8 = 3;
pub(crate) const CHUNK: u8 = 4;

/// All wires.
#[derive(Clone, Default)]
pub(crate) struct Wires(Arc<Mutex<WiresState>>);

#[derive(Default)]
struct WiresState {
    nodes: BTreeMap<NodeId, Node>,
    cut: BTreeSet<NodeId>,
    /// From whom to whom nothing comes through, neither requests nor answers.
    lost: BTreeSet<(NodeId, NodeId)>,
    rule: Option<Rule>,
    chunks: u64,
}

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

/// Says of each request, at once or later, whether it arrives.
pub(crate) type Rule = Arc<dyn Fn(Sent) -> BoxFuture<'static, bool> + Send + Sync>;

/// A rule that need not wait.
pub(crate) fn rule(passes: impl Fn(&Sent) -> bool + Send + Sync + 'static) -> Rule {
    Arc::new(move |sent| std::future::ready(passes(&sent)).boxed())
}

impl Wires {
    pub(crate) fn add(&self, id: NodeId, node: Node) {
        self.0.lock().nodes.insert(id, node);
    }

    pub(crate) fn take(&self, id: NodeId) -> Option<Node> {
        self.0.lock().nodes.remove(&id)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<Node> {
        self.0.lock().nodes.get(&id).cloned()
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.0.lock().nodes.values().cloned().collect()
    }

    /// Nothing comes to this node or from it.
    pub(crate) fn cut(&self, id: NodeId) {
        self.0.lock().cut.insert(id);
    }

    pub(crate) fn is_cut(&self, id: NodeId) -> bool {
        self.0.lock().cut.contains(&id)
    }

    /// Nothing comes from the one to the other.
    pub(crate) fn lose(&self, from: NodeId, to: NodeId) {
        self.0.lock().lost.insert((from, to));
    }

    pub(crate) fn set_rule(&self, rule: Rule) {
        self.0.lock().rule = Some(rule);
    }

    /// Everything comes through again.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock();
        state.cut.clear();
        state.lost.clear();
        state.rule = None;
    }

    /// Pieces of snapshots that were sent.
    pub(crate) fn chunks(&self) -> u64 {
        self.0.lock().chunks
    }
}

impl WiresState {
    fn loses(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&from) || self.cut.contains(&to) || self.lost.contains(&(from, to))
    }
}

/// One node's end.
pub(crate) struct Wire {
    pub(crate) from: NodeId,
    pub(crate) wires: Wires,
}

impl Transport for Wire {
    fn send(
        &self,
        to: NodeId,
        _address: String,
        kind: u8,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (from, wires) = (self.from, self.wires.clone());
        async move {
            let unreachable = |why: &str| TransportError::Unreachable(why.into());
            let rule = {
                let mut state = wires.0.lock();
                state.chunks += u64::from(kind == CHUNK);
                state.rule.clone()
            };
            if let Some(rule) = rule {
                let passes = rule(Sent { from, to, kind, body: body.clone() });
                match tokio::time::timeout_at(deadline, passes).await {
                    Ok(true) => {}
                    Ok(false) => return Err(unreachable("the wire loses it")),
                    Err(_) => return Err(TransportError::NoReply("too late".into())),
                }
            }
            let node = {
                let state = wires.0.lock();
                if state.loses(from, to) {
                    return Err(unreachable("the wire is cut"));
                }
                state.nodes.get(&to).cloned()
            };
            let node = node.ok_or_else(|| unreachable("nobody listens"))?;
            let answer = tokio::time::timeout_at(deadline, node.handle(kind, body)).await;
            let answer = answer.map_err(|_| TransportError::NoReply("too late".into()))?;
            // An answer does not come through a wire that was cut meanwhile, nor against the way of one that goes one way.
            if wires.0.lock().loses(to, from) {
                return Err(TransportError::NoReply("the wire is cut".into()));
            }
            answer.map_err(TransportError::Refused)
        }
        .boxed()
    }
}
