//! What makes a command take effect at most once: the memory of each open epoch.
//!
//! Owns the order of the questions: an epoch that is not open, a remembered answer, a seq that was resolved, a full
//! window. What the command does is left to apply, which gives the answer to remember. The memory is bounded: answers
//! lie between `resolved_below` and [`SESSION_WINDOW`] above it.

use std::collections::BTreeMap;

use hayrick_protocol::Seq;
use hayrick_protocol::command::{Refusal, Reply, Session as Sending};
use hayrick_protocol::limits::SESSION_WINDOW;
use serde::{Deserialize, Serialize};

use crate::cluster::OpenEpoch;

/// An open epoch, with the answers that its gateway may still ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) epoch: OpenEpoch,
    pub(crate) resolved_below: Seq,
    pub(crate) answers: BTreeMap<Seq, Reply>,
}

impl Session {
    pub(crate) fn new(epoch: OpenEpoch) -> Self {
        Self { epoch, resolved_below: Seq(1), answers: BTreeMap::new() }
    }

    /// The answer to a sending that is not to be executed; `None` if it is, and [`Self::remember`] follows.
    pub(crate) fn answer(&mut self, sending: &Sending) -> Option<Reply> {
        let remembered = self.answers.get(&sending.seq).cloned();
        if sending.resolved_below > self.resolved_below {
            self.resolved_below = sending.resolved_below;
            self.answers = self.answers.split_off(&self.resolved_below);
        }
        if remembered.is_some() {
            return remembered;
        }
        if sending.seq < self.resolved_below {
            return Some(Reply::Refused(Refusal::AlreadyResolved));
        }
        if sending.seq.0 - self.resolved_below.0 >= SESSION_WINDOW {
            return Some(Reply::Refused(Refusal::WindowFull));
        }
        None
    }

    /// Keeps the answer for a repeated sending.
    pub(crate) fn remember(&mut self, seq: Seq, reply: Reply) {
        self.answers.insert(seq, reply);
    }
}

#[cfg(test)]
mod tests {
    use hayrick_protocol::command::Applied;
    use hayrick_protocol::{AppliedVersion, EpochId, NodeId};
    use proptest::prelude::*;

    use super::*;

    fn sending(seq: u32, resolved_below: u32) -> Sending {
        Sending { epoch: EpochId(1), seq: Seq(seq), resolved_below: Seq(resolved_below) }
    }

    fn session() -> Session {
        Session::new(OpenEpoch { master: NodeId(1), nonce: 7 })
    }

    #[test]
    fn the_window_bounds_what_is_remembered() {
        let mut session = session();
        assert_eq!(session.answer(&sending(SESSION_WINDOW, 1)), None);
        let full = Some(Reply::Refused(Refusal::WindowFull));
        assert_eq!(session.answer(&sending(SESSION_WINDOW + 1, 1)), full);
        assert_eq!(session.answer(&sending(SESSION_WINDOW + 1, 2)), None, "and it is not remembered");
        assert_eq!(session.answer(&sending(u32::MAX, 2)), full);
    }

    proptest! {
        #[test]
        fn however_often_and_in_whatever_order_each_seq_is_executed_at_most_once(
            sendings in prop::collection::vec((1u32..20, 0u32..20), 0..200),
        ) {
            let mut session = session();
            let mut executed: BTreeMap<u32, Reply> = BTreeMap::new();
            for (n, (seq, resolved_below)) in sendings.into_iter().enumerate() {
                match session.answer(&sending(seq, resolved_below)) {
                    Some(Reply::Refused(Refusal::AlreadyResolved)) => {}
                    Some(reply) => prop_assert_eq!(Some(&reply), executed.get(&seq)),
                    None => {
                        let reply = Reply::Applied(Applied { version: AppliedVersion(n as u64), replaced: false });
                        prop_assert!(executed.insert(seq, reply.clone()).is_none());
                        session.remember(Seq(seq), reply);
                    }
                }
                prop_assert!(session.answers.keys().all(|seq| *seq >= session.resolved_below));
            }
        }
    }
}
