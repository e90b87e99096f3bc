//! What a master's disk holds of its Raft log, as masters tell each other, and what of it can only grow.
//!
//! Owns the comparison that tells a directory from an older state of itself. Votes only ever grow, and what is committed is
//! never taken out of a log again; the last entry of a log alone proves nothing, as entries that were not committed are
//! replaced by those of another leader.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// A Raft vote. Greater is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// Whom it is for.
    pub node: NodeId,
    /// Whether a majority gave the same, so that it is for a leader.
    pub committed: bool,
}

/// Where an entry stands. Greater is later in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The term of the leader who wrote it.
    pub term: u64,
    /// That leader.
    pub node: NodeId,
    /// Its place in the log.
    pub index: u64,
}

/// What a master's disk holds; nothing of it is lost in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Its vote.
    pub vote: Option<Vote>,
    /// Its last entry, committed or not.
    pub last: Option<LogPosition>,
    /// Index up to which it has all entries and knows that they are committed.
    pub committed: u64,
}

/// What another master knows that this one's disk held. Each part on its own only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The latest vote.
    pub vote: Option<Vote>,
    /// Index up to which it had all entries, and knew that they are committed.
    pub committed: u64,
    /// What it acknowledged to the leader that the vote is for.
    pub acknowledged: Option<(Vote, LogPosition)>,
}

impl Seen {
    /// What a disk that once held this lacks now, in words; `None` where it may hold what it ever did.
    #[must_use]
    pub fn missing_in(&self, held: &Held) -> Option<String> {
        if let Some(vote) = self.vote.filter(|vote| Some(*vote) > held.vote) {
            return Some(match held.vote {
                Some(now) => format!("it once held {vote} and now holds {now}"),
                None => format!("it once held {vote} and now holds none"),
            });
        }
        let last = held.last.map_or(0, |last| last.index);
        if self.committed > last {
            let once = self.committed;
            return Some(format!("it once held the committed entry {once}, and now ends at entry {last}"));
        }
        let (to, entry) = self.acknowledged?;
        // A later leader may have had it replace what was never committed.
        (held.vote < Some(to) || held.vote == Some(to) && held.last < Some(entry)).then(|| {
            let (index, term) = (entry.index, entry.term);
            format!("it acknowledged entry {index} of term {term}, and now ends at entry {last}")
        })
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the vote of term {} for master {}", self.term, self.node)
    }
}

/// Whose majority decides, as one entry of the log says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Voters {
    /// Where that entry stands: of two of them the later counts.
    pub at: Option<LogPosition>,
    /// A majority of each is needed. Two while a change is under way, none before there is a cluster.
    pub sets: Vec<BTreeSet<NodeId>>,
}

impl Voters {
    /// Whether these of them can decide; nobody can where no voters are known.
    #[must_use]
    pub fn is_majority(&self, some: &BTreeSet<NodeId>) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(|set| set.intersection(some).count() > set.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(term: u64, node: u64, committed: bool) -> Vote {
        Vote { term, node: NodeId(node), committed }
    }

    fn entry(term: u64, index: u64) -> LogPosition {
        LogPosition { term, node: NodeId(1), index }
    }

    fn held(vote: Vote, last: LogPosition) -> Held {
        Held { vote: Some(vote), last: Some(last), committed: 0 }
    }

    #[test]
    fn an_older_vote_or_a_missing_committed_entry_is_missed() {
        let seen = Seen { vote: Some(vote(7, 2, true)), committed: 100, acknowledged: None };
        assert_eq!(seen.missing_in(&held(vote(7, 2, true), entry(7, 100))), None);
        assert_eq!(seen.missing_in(&held(vote(8, 1, false), entry(7, 100))), None);
        for older in [vote(7, 2, false), vote(7, 1, true), vote(6, 3, true)] {
            let missing = seen.missing_in(&held(older, entry(7, 200))).expect("it voted since");
            assert!(missing.contains("term 7 for master 2"), "{missing}");
        }
        let missing = seen.missing_in(&held(vote(9, 1, true), entry(9, 99))).expect("it held entry 100");
        assert!(missing.contains("entry 100") && missing.contains("entry 99"), "{missing}");
        assert!(seen.missing_in(&Held::default()).is_some(), "it was wiped");
        assert_eq!(Seen::default().missing_in(&Held::default()), None);
    }

    #[test]
    fn what_it_acknowledged_is_missed_unless_a_later_leader_may_have_replaced_it() {
        let leader = vote(7, 1, true);
        let seen = Seen { acknowledged: Some((leader, entry(7, 100))), ..Seen::default() };
        assert_eq!(seen.missing_in(&held(leader, entry(7, 100))), None);
        assert!(seen.missing_in(&held(leader, entry(7, 99))).is_some());
        assert!(seen.missing_in(&held(leader, entry(6, 300))).is_some());
        assert!(seen.missing_in(&held(vote(6, 3, true), entry(6, 300))).is_some());
        assert_eq!(seen.missing_in(&held(vote(8, 2, true), entry(6, 90))), None, "cut back for a new leader");
    }

    #[test]
    fn a_majority_is_one_of_each_set() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let joint = Voters { at: None, sets: vec![set(&[1, 2, 3]), set(&[3, 4, 5])] };
        assert!(joint.is_majority(&set(&[1, 3, 4])) && joint.is_majority(&set(&[1, 2, 4, 5])));
        assert!(!joint.is_majority(&set(&[1, 2, 3])) && !joint.is_majority(&set(&[3, 4])));
        let two = Voters { at: None, sets: vec![set(&[1, 2])] };
        assert!(!two.is_majority(&set(&[1])) && two.is_majority(&set(&[1, 2, 9])));
        assert!(!Voters::default().is_majority(&set(&[1])));
    }
}
