//! Leadership only goes on: no master that named a leader goes back to an earlier one.
//!
//! Raft's rule is one leader a term. openraft orders leaders by term and then by id, so that in an election at which two stand in
//! the same term the one with the higher id can still win; a term alone may see two. What must hold is that order: a vote for
//! one leader is a promise never to hear an earlier one again, which outlives every restart.

use std::collections::BTreeMap;

use crate::record::{LeaderSeen, Record};
use crate::verdict::{Evidence, Verdict};

const NAME: &str = "leadership-goes-on";
const PROMISE: &str = "No master goes back to an earlier leader, by term and then by id.";

/// Looks at whom each master named, in the order in which it did.
pub(crate) fn check(record: &Record) -> Verdict {
    let mut last: BTreeMap<u32, (u64, u32, &LeaderSeen)> = BTreeMap::new();
    let mut evidence = Vec::new();
    let mut named = 0;
    for seen in &record.leaders {
        let Some(leader) = seen.leader else { continue };
        named += 1;
        let now = (seen.term, leader);
        if let Some((term, before, when)) = last.get(&seen.by)
            && now < (*term, *before)
        {
            let what = format!(
                "master {} named master {before} in term {term} at {}, and master {leader} in term {} at {}",
                seen.by, when.at, seen.term, seen.at
            );
            evidence.push(Evidence { at: Some(seen.at), ..Evidence::says(what) });
        }
        last.insert(seen.by, (seen.term, leader, seen));
    }
    if named == 0 {
        return Verdict::skipped(NAME, PROMISE, "no master ever named a leader");
    }
    Verdict::of(NAME, PROMISE, format!("{} masters named a leader {named} times", last.len()), evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::testing::{assert_proved, assert_violated, record};
    use crate::history::Moment;
    use crate::verdict::Outcome;

    fn seen(words: &[(u32, u64, Option<u32>)]) -> Verdict {
        let mut record = record(Vec::new());
        let seen = |&(by, term, leader)| LeaderSeen { at: Moment(1), by, term, leader };
        record.leaders = words.iter().map(seen).collect();
        check(&record)
    }

    #[test]
    fn later_leaders_and_late_words_of_others_are_fine() {
        assert_proved(&seen(&[
            (1, 1, Some(1)),
            (2, 1, Some(1)),
            (2, 2, None),
            (3, 2, Some(2)),
            (3, 2, Some(3)),
            (1, 1, Some(1)),
        ]));
    }

    #[test]
    fn going_back_contradicts() {
        let verdict = seen(&[(1, 8, Some(1)), (2, 7, Some(2)), (1, 7, Some(2))]);
        assert_violated(&verdict, "master 1 named master 1 in term 8");
        assert_violated(&seen(&[(1, 8, Some(3)), (1, 8, None), (1, 8, Some(2))]), "master 1 named master 3");
    }

    #[test]
    fn where_nobody_named_one_it_is_skipped() {
        assert_eq!(seen(&[(1, 1, None)]).outcome, Outcome::Skipped);
    }
}
